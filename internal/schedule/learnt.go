package schedule

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// learntVersion is the version of the stored JSON. Recall also reads versions 1 and 2.
const learntVersion = 3

// learnt is the stored JSON, described in docs/scheduling.md: a few kilobytes per API.
type learnt struct {
	Version  int                  `json:"version"`
	At       time.Time            `json:"at"` // when this was written
	Pool     learntModels         `json:"pool"`
	APIs     map[string]learntAPI `json:"apis"`
	Arrivals forecast             `json:"arrivals"`
	Sharing  *learntSharing       `json:"sharing,omitempty"`
}

// learntSharing is about others who spend the same quota, which has to be the one given. A pause is not stored: the
// operator may have restarted to end it.
type learntSharing struct {
	Requests   int       `json:"requests,omitzero"`
	PerSeconds float64   `json:"per_seconds,omitzero"`
	PerDay     int       `json:"per_day,omitzero"`
	Share      float64   `json:"share"`
	Others     float64   `json:"others,omitzero"`
	Noticed    time.Time `json:"noticed,omitzero"`
}

type learntAPI struct {
	Models      learntModels `json:"models"`
	Ends        float64      `json:"ends"`
	WebhookEnds float64      `json:"webhook_ends"`
	// The hypotheses of the API's queue, and the number of workers of the one that is believed; 0: none is.
	Queues  []learntQueue `json:"queues,omitempty"`
	Workers int           `json:"workers,omitzero"`
}

type learntQueue struct {
	Workers  int           `json:"workers"`
	Gain     float64       `json:"gain"`
	Jumped   float64       `json:"jumped"`
	Expected float64       `json:"expected"`
	Gaps     gaps          `json:"gaps,omitzero"` // absent in older documents
	Plain    learntService `json:"without_audio_length"`
	Hinted   learntService `json:"with_audio_length"`
}

// learntService is the duration model of the time in service, which has no table.
type learntService struct {
	Location location `json:"location"`
	Shape    shape    `json:"shape"`
}

type learntModels struct {
	Plain  learntModel `json:"without_audio_length"`
	Hinted learntModel `json:"with_audio_length"`
}

type learntModel struct {
	Location location    `json:"location"`
	Shape    shape       `json:"shape"`
	Drift    drift       `json:"drift"`
	Arrivals float64     `json:"arrivals"`
	Levels   []float64   `json:"levels,omitempty"` // absent at the start, and in older documents
	Table    learntTable `json:"table"`
}

// learntTable lists its bins from the lowest on, without the zeros at the end.
type learntTable struct {
	LowestOctave  int       `json:"lowest_octave"`
	BinsPerOctave int       `json:"bins_per_octave"`
	Events        []float32 `json:"events,omitempty"`
	Exposed       []float32 `json:"exposed,omitempty"`
}

// Learnt returns what was learnt, for Recall after a restart. It has no data of single jobs.
func (s *Scheduler) Learnt(now time.Time) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limits := s.quota.limits
	all := learnt{
		Version: learntVersion, At: now.UTC(), Pool: s.pool.export(),
		APIs: make(map[string]learntAPI), Arrivals: s.forecast,
		Sharing: &learntSharing{
			Requests: limits.Requests, PerSeconds: limits.Per.Seconds(), PerDay: limits.PerDay,
			Share: s.quota.share, Others: s.sharing.others, Noticed: s.sharing.noticed.UTC(),
		},
	}
	all.Arrivals.startDay(s.local(now))
	for _, a := range s.apis {
		all.APIs[a.name] = a.export()
	}
	encoded, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encoding what the scheduler learnt: %w", err)
	}
	return encoded, nil
}

// Recall loads what Learnt returned into a scheduler without jobs. On an error nothing has changed.
func (s *Scheduler) Recall(encoded []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := decode(encoded)
	if err != nil {
		return err
	}
	if len(all.APIs) > maxAPIs+1 {
		return errors.New("too many APIs")
	}
	c, f := New(s.quota.limits, s.epoch), all.Arrivals
	valid := counts(f.Usual[:]...) && counts(f.Days[:]...) && counts(f.Today[:]...) &&
		counts(f.Missed[:]...) && counts(f.Uneven)
	if err := c.pool.load(&all.Pool); err != nil {
		return err
	}
	for name, stored := range all.APIs {
		a := c.addAPI(name)
		a.ends, a.webhookEnds = stored.Ends, stored.WebhookEnds
		valid = valid && counts(a.ends, a.webhookEnds) && a.webhookEnds <= a.ends
		if err := errors.Join(a.models.load(&stored.Models), a.loadQueues(stored)); err != nil {
			return err
		}
	}
	o := all.Sharing
	if !valid || o != nil && !(o.Share >= minShare && o.Share <= 1 && counts(o.Others, o.PerSeconds)) {
		return errors.New("a number is out of range")
	}
	if o != nil {
		per := time.Duration(math.Round(o.PerSeconds * float64(time.Second)))
		if s.quota.limits.sameQuota(Limits{Requests: o.Requests, Per: per, PerDay: o.PerDay}) {
			s.sharing = sharing{others: o.Others, noticed: o.Noticed}
			if o.Noticed.After(s.epoch) { // the clock was ahead
				s.sharing.noticed = s.epoch
			}
			s.quota.share = o.Share
		}
	}
	s.apis, s.pool, s.forecast = c.apis, c.pool, f
	s.forecast.begin(s.local(all.At), s.local(s.epoch))
	return nil
}

func decode(encoded []byte) (*learnt, error) {
	var version struct {
		Version int `json:"version"`
	}
	err := json.Unmarshal(encoded, &version)
	all, old := new(learnt), new(learntV1)
	switch {
	case err != nil:
	case version.Version == learntVersion, version.Version == 2: // which had no queues
		err = json.Unmarshal(encoded, all)
	case version.Version == 1:
		err = json.Unmarshal(encoded, old, json.MatchCaseInsensitiveNames(true))
		all = old.upgrade()
	default:
		return nil, fmt.Errorf("version %d is unknown; this is version %d", version.Version, learntVersion)
	}
	if err != nil { // its text may quote the data
		return nil, errors.New("not a document of the scheduler")
	}
	return all, nil
}

func (a *api) export() learntAPI {
	stored := learntAPI{Models: a.models.export(), Ends: a.ends, WebhookEnds: a.webhookEnds}
	for _, q := range a.queues {
		plain, hinted := q.models[0], q.models[1]
		if plain.InfoA+hinted.InfoA+q.expected == 0 {
			continue // nothing was learnt
		}
		stored.Queues = append(stored.Queues, learntQueue{
			q.workers, q.gain, q.jumped, q.expected, q.gaps,
			learntService{plain.location, plain.shape}, learntService{hinted.location, hinted.shape},
		})
	}
	if a.queue != nil {
		stored.Workers = a.queue.workers
	}
	return stored
}

// loadQueues loads the hypotheses that are tried today.
func (a *api) loadQueues(stored learntAPI) error {
	for i := range stored.Queues {
		from := &stored.Queues[i]
		n := slices.Index(workers[:], from.Workers)
		if n < 0 {
			continue
		}
		q := a.queues[n]
		q.gain, q.jumped, q.expected, q.gaps = from.Gain, from.Jumped, from.Expected, from.Gaps
		if !(math.Abs(q.gain) <= queueRange) ||
			!counts(q.jumped, q.expected, q.gaps.Ends, q.gaps.Sum, math.Sqrt(q.gaps.Squares)) {
			return errors.New("a number of a queue is out of range")
		}
		for k, service := range []learntService{from.Plain, from.Hinted} {
			table := learntTable{LowestOctave: lowestOctave, BinsPerOctave: binsPerOctave}
			m := learntModel{Location: service.Location, Shape: service.Shape, Table: table}
			if err := q.models[k].load(&m); err != nil {
				return err
			}
		}
	}
	if i := slices.Index(workers[:], stored.Workers); i >= 0 {
		a.queue = a.queues[i]
	}
	return nil
}

func (m models) export() learntModels { return learntModels{m[0].export(), m[1].export()} }

func (m *model) export() learntModel {
	var levels []float64
	if m.levels != finished {
		levels = m.levels[:]
	}
	return learntModel{
		m.location, m.shape, m.drift, m.arrivals, levels,
		learntTable{lowestOctave, binsPerOctave, shortened(m.events[:]), shortened(m.exposed[:])},
	}
}

// shortened drops the zeros at the end.
func shortened(full []float64) []float32 {
	var short []float32
	for i, v := range full {
		if v = math.Round(v*1e4) / 1e4; v != 0 {
			short = append(short, make([]float32, i+1-len(short))...)
			short[i] = float32(v)
		}
	}
	return short
}

func (m models) load(stored *learntModels) error {
	return errors.Join(m[0].load(&stored.Plain), m[1].load(&stored.Hinted))
}

func (m *model) load(stored *learntModel) error {
	t := &stored.Table
	if t.LowestOctave != lowestOctave || t.BinsPerOctave != binsPerOctave || max(len(t.Events), len(t.Exposed)) > bins {
		return errors.New("a duration model has other bins")
	}
	m.location, m.shape, m.drift, m.arrivals = stored.Location, stored.Shape, stored.Drift, stored.Arrivals
	if stored.Levels != nil {
		if len(stored.Levels) != len(m.levels) || slices.Min(stored.Levels) < lowestLevel ||
			slices.Max(stored.Levels) > topLevel {
			return errors.New("a level of a duration model is out of range")
		}
		m.levels = [2]float64(stored.Levels)
	}
	for i, v := range t.Events {
		m.events[i] = float64(v)
	}
	for i, v := range t.Exposed {
		m.exposed[i] = float64(v)
	}
	signed := max(math.Abs(m.InfoAB), math.Abs(m.SumA), math.Abs(m.SumB),
		math.Abs(m.drift.Sum), math.Abs(m.drift.Trial), math.Abs(m.drift.Gain), math.Abs(m.drift.Believed))
	if !(signed < 1e9) || !counts(m.Ends, m.Spread, m.Stuck, m.arrivals) ||
		!counts(m.InfoA, m.InfoB, m.drift.Info, m.drift.Variance) ||
		!counts(m.events[:]...) || !counts(m.exposed[:]...) || m.InfoAB*m.InfoAB > m.InfoA*m.InfoB*1.001+1e-6 {
		return errors.New("a number of a duration model is out of range")
	}
	m.estimate()
	if !(math.Abs(m.a) < 30 && math.Abs(m.b) < 5 && math.Abs(m.drift.Believed) < 10 && math.Abs(m.drift.Trial) < 10) {
		return errors.New("a duration model predicts no possible duration")
	}
	m.tabulate()
	return nil
}

// counts reports whether all are possible counts: not negative, and not absurdly large.
func counts(values ...float64) bool {
	for _, v := range values {
		if !(v >= 0 && v < 1e9) {
			return false
		}
	}
	return true
}

// learntV1 is version 1, which listed numbers by position. Its names are read without regard to case.
type learntV1 struct {
	At   time.Time
	Pool modelsV1
	APIs map[string]struct {
		Laws         modelsV1
		Ends, Hooked float64
	}
	forecast
	Sharing *struct {
		learntSharing
		PerMinute float64 `json:"per_minute"`
	}
}

type modelsV1 [2]struct {
	Location        [5]float64
	Shape           [3]float64
	Drift           [6]float64
	Arrivals        float64
	Events, Exposed []float32
}

func (old *learntV1) upgrade() *learnt {
	all := &learnt{At: old.At, Pool: old.Pool.upgrade(), APIs: make(map[string]learntAPI), Arrivals: old.forecast}
	for name, a := range old.APIs {
		all.APIs[name] = learntAPI{Models: a.Laws.upgrade(), Ends: a.Ends, WebhookEnds: a.Hooked}
	}
	if o := old.Sharing; o != nil {
		limits := PerMinute(o.PerMinute)
		o.Requests, o.PerSeconds = limits.Requests, limits.Per.Seconds()
		all.Sharing = &o.learntSharing
	}
	return all
}

func (old *modelsV1) upgrade() (models learntModels) {
	for i, m := range []*learntModel{&models.Plain, &models.Hinted} {
		l, s, d := old[i].Location, old[i].Shape, old[i].Drift
		*m = learntModel{
			location{l[0], l[1], l[2], l[3], l[4]}, shape{s[0], s[1], s[2]}, drift{d[0], d[1], d[2], d[3], d[4], d[5]},
			old[i].Arrivals, nil, learntTable{lowestOctave, binsPerOctave, old[i].Events, old[i].Exposed},
		}
	}
	return models
}
