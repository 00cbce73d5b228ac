package transcript

import (
	"errors"
	"math"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A member is a member of a JSON object, with a pointer to its value.
type member struct {
	name   string
	value  any
	absent bool // it is not written
}

// members returns the parts of the statistics. Unknown figures and distributions without values are absent.
func (s *Statistics) members() (all []member) {
	for i := range Figures {
		all = append(all, optional(Figures[i].Name, Figures[i].of(s)))
	}
	for i := range WordDistributions {
		d := WordDistributions[i].of(s)
		all = append(all, member{WordDistributions[i].Name, d, d.Count == 0})
	}
	return append(all, member{"by_speaker", &s.BySpeaker, len(s.BySpeaker) == 0},
		member{"anomalies", (*anomalyCounts)(&s.Anomalies), false})
}

// optional returns a number that is absent if it is unknown.
func optional(name string, value *float64) member { return member{name, value, math.IsNaN(*value)} }

// MarshalJSONTo writes the statistics as the API shows them and the store keeps them.
func (s *Statistics) MarshalJSONTo(to *jsontext.Encoder) error { return write(to, s.members()) }

// UnmarshalJSONFrom reads what MarshalJSONTo writes. Names that it does not know are ignored; null means unknown. The
// statistics are unchanged if it fails.
func (s *Statistics) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	parts := Unknown()
	if err := read(from, parts.members()); err != nil {
		return err
	}
	if len(parts.BySpeaker) > MaxSpeakers+1 {
		return errors.New("too many speakers")
	}
	*s = parts
	return nil
}

// anomalyCounts is Statistics.Anomalies, as an object by the anomalies' names. Zero is absent where earlier versions do
// not have the name: the format of what they can store stays the same.
type anomalyCounts [len(Anomalies)]int

func (c *anomalyCounts) members() (all []member) {
	for i, name := range Anomalies {
		all = append(all, member{name, &c[i], Anomaly(i) == SpeakersOutOfRange && c[i] == 0})
	}
	return all
}

func (c *anomalyCounts) MarshalJSONTo(to *jsontext.Encoder) error { return write(to, c.members()) }

func (c *anomalyCounts) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	return read(from, c.members())
}

type distributionJSON struct {
	Count int      `json:"count"`
	Sum   float64  `json:"sum"`
	Min   float64  `json:"min"`
	Max   float64  `json:"max"`
	Mean  float64  `json:"mean"` // follows from the others; ignored when it is read
	P1    *float64 `json:"p1,omitzero"`
	P10   *float64 `json:"p10,omitzero"`
	P50   float64  `json:"p50"`
	P90   float64  `json:"p90"`
	P99   float64  `json:"p99"`
}

// MarshalJSONTo writes a distribution with values, and its mean. Unknown percentiles are absent.
func (d *Distribution) MarshalJSONTo(to *jsontext.Encoder) error {
	j := distributionJSON{d.Count, d.Sum, d.Min, d.Max, Mean.Of(d), nil, nil, d.P50, d.P90, d.P99}
	if !math.IsNaN(d.P1) {
		j.P1 = &d.P1
	}
	if !math.IsNaN(d.P10) {
		j.P10 = &d.P10
	}
	return json.MarshalEncode(to, &j)
}

// UnmarshalJSONFrom reads what MarshalJSONTo writes.
func (d *Distribution) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	var j distributionJSON
	err := json.UnmarshalDecode(from, &j)
	if err == nil && j.Count < 0 {
		err = errors.New("a negative count")
	}
	*d = Distribution{j.Count, j.Sum, j.Min, j.Max, math.NaN(), math.NaN(), j.P50, j.P90, j.P99}
	if j.P1 != nil {
		d.P1 = *j.P1
	}
	if j.P10 != nil {
		d.P10 = *j.P10
	}
	return err
}

func (s *Speaker) members() []member {
	return []member{
		{"talk_seconds", &s.TalkSeconds, false}, {"words", &s.Words, false}, {"turns", &s.Turns, false},
		optional("confidence_mean", &s.ConfidenceMean),
	}
}

// MarshalJSONTo writes a speaker, without an unknown confidence.
func (s *Speaker) MarshalJSONTo(to *jsontext.Encoder) error { return write(to, s.members()) }

// UnmarshalJSONFrom reads what MarshalJSONTo writes.
func (s *Speaker) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	*s = Speaker{ConfidenceMean: math.NaN()}
	return read(from, s.members())
}

// write writes an object in the order of its members.
func write(to *jsontext.Encoder, members []member) error {
	if err := to.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range members {
		if m.absent {
			continue
		}
		if err := to.WriteToken(jsontext.String(m.name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(to, m.value); err != nil {
			return err
		}
	}
	return to.WriteToken(jsontext.EndObject)
}

// read reads an object. It skips names that are not those of members, and values that are null; null as a whole is an
// object without members.
func read(from *jsontext.Decoder, members []member) error {
	switch start, err := from.ReadToken(); {
	case err != nil:
		return err
	case start.Kind() == jsontext.KindNull:
		return nil
	case start.Kind() != jsontext.KindBeginObject:
		return errors.New("not an object")
	}
	for from.PeekKind() != jsontext.KindEndObject {
		name, err := from.ReadToken()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(members, func(m member) bool { return m.name == name.String() })
		if i >= 0 && from.PeekKind() != jsontext.KindNull {
			err = json.UnmarshalDecode(from, members[i].value)
		} else {
			err = from.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := from.ReadToken()
	return err
}
