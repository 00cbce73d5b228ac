package schedule

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
)

// learntVersion is that of the JSON below; what another version wrote is of no use.
const learntVersion = 1

// learnt is the JSON of what was learnt: a few kilobytes for each API, of which
// there are at most mostAPIs.
type learnt struct {
	Version int                  `json:"version"`
	Pool    [2]learntLaw         `json:"pool"`
	APIs    map[string]learntAPI `json:"apis"`
	Usual   [24]float64          `json:"usual"`
	Days    [24]float64          `json:"days_watched"`
	Today   [24]float64          `json:"today"`
	Missed  [24]float64          `json:"missed"`
	Date    int                  `json:"date"`
	At      time.Time            `json:"at"` // when this was written
	Sharing *learntSharing       `json:"sharing"`
}

// learntSharing is what is known of others who spend the same quota. A pause ends
// with the process: why one is begun anew may be that somebody has mended it.
type learntSharing struct {
	PerMinute float64   `json:"per_minute"`
	Burst     int       `json:"burst,omitzero"`
	PerDay    int       `json:"per_day"`
	Share     float64   `json:"share"`
	Others    float64   `json:"others,omitzero"`
	Noticed   time.Time `json:"noticed,omitzero"`
}

type learntAPI struct {
	Laws   [2]learntLaw `json:"laws"`
	Ends   float64      `json:"ends"`
	Hooked float64      `json:"hooked"`
	Ranks  ranks        `json:"ranks"`
}

type learntLaw struct {
	Location []float64 `json:"location"` // information matrix, and the sums
	Shape    []float64 `json:"shape"`    // ends, spread, stuck
	Arrivals float64   `json:"arrivals"`
	Drift    []float64 `json:"drift"`
	Events   []float32 `json:"events,omitempty"`
	Exposed  []float32 `json:"exposed,omitempty"`
}

// Learnt returns what was learnt, to be given to Recall after a restart. It says
// nothing of single jobs.
func (s *Scheduler) Learnt(now time.Time) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.forecast
	f.turn(s.clock(now))
	all := learnt{
		Version: learntVersion, APIs: make(map[string]learntAPI),
		Usual: f.usual, Days: f.days, Today: f.today, Missed: f.missed, Date: f.date, At: now.UTC(),
		Sharing: s.sharing.export(s.ledger.quota()),
	}
	for i, l := range s.pool {
		all.Pool[i] = l.export()
	}
	for _, a := range s.apis {
		all.APIs[a.name] = learntAPI{[2]learntLaw{a.laws[0].export(), a.laws[1].export()}, a.ends, a.hooked, a.ranks}
	}
	encoded, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encoding what was learnt: %w", err)
	}
	return encoded, nil
}

// Recall takes what Learnt returned, in a scheduler that has no job yet. On an error
// nothing has changed: it begins to learn anew.
func (s *Scheduler) Recall(encoded []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all learnt
	if err := json.Unmarshal(encoded, &all); err != nil {
		return errors.New("not what a scheduler has learnt")
	}
	if all.Version != learntVersion {
		return fmt.Errorf("of version %d, not %d", all.Version, learntVersion)
	}
	if len(all.APIs) > mostAPIs+1 {
		return errors.New("of too many APIs")
	}
	c := New(s.ledger.quota(), s.epoch, s.without)
	if !sound(all.Usual[:]) || !sound(all.Days[:]) || !sound(all.Today[:]) || !sound(all.Missed[:]) {
		return errors.New("a number is out of range")
	}
	for i := range all.Pool {
		if err := c.pool[i].load(all.Pool[i]); err != nil {
			return err
		}
	}
	for name, stored := range all.APIs {
		a := c.api(name)
		a.ends, a.hooked, a.ranks = stored.Ends, stored.Hooked, stored.Ranks
		if !sound([]float64{a.ends, a.hooked}) || a.hooked > a.ends || !sound(a.ranks.Ends[:]) || !sound(a.ranks.Expected[:]) {
			return errors.New("a number is out of range")
		}
		for i := range stored.Laws {
			if err := a.laws[i].load(stored.Laws[i]); err != nil {
				return err
			}
		}
	}
	if o := all.Sharing; o != nil {
		if !(o.Share >= leastShared && o.Share <= 1) || !sound([]float64{o.Others}) {
			return errors.New("a number of the sharing is out of range")
		}
		if s.ledger.quota().sameQuota(Limits{PerMinute: o.PerMinute, Burst: o.Burst, PerDay: o.PerDay}) {
			s.sharing = sharing{share: o.Share, others: o.Others, noticed: o.Noticed}
			s.ledger.SetShare(o.Share, s.epoch)
		}
	}
	s.apis, s.pool = c.apis, c.pool
	s.forecast = forecast{usual: all.Usual, days: all.Days, today: all.Today, missed: all.Missed, date: all.Date}
	s.forecast.begin(s.clock(all.At), s.clock(s.epoch))
	return nil
}

func (h *sharing) export(quota Limits) *learntSharing {
	return &learntSharing{
		PerMinute: quota.PerMinute, Burst: quota.Burst, PerDay: quota.PerDay,
		Share: h.share, Others: h.others, Noticed: h.noticed.UTC(),
	}
}

func (l *law) export() learntLaw {
	return learntLaw{
		Location: []float64{l.infoA, l.infoAB, l.infoB, l.sumA, l.sumB},
		Shape:    []float64{l.ends, l.spread, l.stuck},
		Arrivals: l.arrivals,
		Drift:    []float64{l.drift.sum, l.drift.info, l.drift.trial, l.drift.gain, l.drift.at, l.drift.variance},
		Events:   shortened(l.events[:]), Exposed: shortened(l.exposed[:]),
	}
}

// shortened is nil for zeros only.
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

func (l *law) load(stored learntLaw) error {
	if len(stored.Location) != 5 || len(stored.Shape) != 3 || len(stored.Drift) != 6 || len(stored.Events) > bins || len(stored.Exposed) > bins {
		return errors.New("a law has not the right size")
	}
	for i, v := range append(append([]float64(nil), stored.Location...), stored.Drift...) {
		if math.Abs(v) > 1e9 {
			return fmt.Errorf("number %d of a law is out of range", i)
		}
	}
	l.infoA, l.infoAB, l.infoB, l.sumA, l.sumB = stored.Location[0], stored.Location[1], stored.Location[2], stored.Location[3], stored.Location[4]
	l.ends, l.spread, l.stuck = stored.Shape[0], stored.Shape[1], stored.Shape[2]
	l.arrivals = stored.Arrivals
	d := stored.Drift
	l.drift = drift{sum: d[0], info: d[1], trial: d[2], gain: d[3], at: d[4], variance: d[5]}
	for i, v := range stored.Events {
		l.events[i] = float64(v)
	}
	for i, v := range stored.Exposed {
		l.exposed[i] = float64(v)
	}
	if !sound(stored.Shape) || !sound([]float64{l.arrivals, l.infoA, l.infoB, l.drift.info, l.drift.variance}) || !sound(l.events[:]) || !sound(l.exposed[:]) || l.infoAB*l.infoAB > l.infoA*l.infoB*1.001+1e-6 {
		return errors.New("a number of a law is out of range")
	}
	l.estimate()
	if !(math.Abs(l.a) < 30 && math.Abs(l.b) < 5 && math.Abs(l.drift.at) < 10 && math.Abs(l.drift.trial) < 10) {
		return errors.New("a law predicts no possible duration")
	}
	return nil
}

// sound says whether all are counts: not negative, and not absurd.
func sound(counts []float64) bool {
	for _, v := range counts {
		if !(v >= 0 && v < 1e9) {
			return false
		}
	}
	return true
}
