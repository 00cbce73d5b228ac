package schedule_test

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// What was learnt survives a restart. Damaged and unknown documents are refused and change
// nothing.
func TestLearnt(t *testing.T) {
	before := newScheduler(schedule.PerMinute(20), start)
	b := make(backEnd)
	for i := range 200 {
		id := fmt.Sprint(i)
		now := at(time.Duration(i) * time.Minute)
		b[id] = now.Add(20 * time.Minute)
		before.Add(now, schedule.Job{RequestID: id, API: fmt.Sprint("api", i%2), Start: now})
		b.work(before, now, now.Add(time.Minute))
	}
	later := at(300 * time.Minute)
	b.work(before, at(200*time.Minute), later)
	state, err := before.Learnt(later)
	if err != nil {
		t.Fatal(err)
	}
	if len(state) > 64<<10 {
		t.Errorf("%d bytes for two APIs", len(state))
	}
	expected := func(s *scheduler) time.Duration {
		s.Add(later, schedule.Job{RequestID: "new", API: "api1", Start: later})
		r, _ := s.Explain("new", later)
		return r.Expected
	}
	fresh := func() *scheduler { return newScheduler(schedule.PerMinute(20), later) }
	after := fresh()
	if err := after.Recall(state); err != nil {
		t.Fatal(err)
	}
	got, want := expected(after), expected(before)
	if math.Abs(got.Seconds()/want.Seconds()-1) > 0.01 || want < 15*time.Minute || want > 25*time.Minute {
		t.Errorf("a job is expected to take %s after the restart, %s before", got, want)
	}
	// The hazards as well, which are computed from what is stored.
	for _, age := range []time.Duration{15 * time.Minute, 18 * time.Minute, 20 * time.Minute} {
		got, _ := after.Explain("new", later.Add(age))
		want, _ := before.Explain("new", later.Add(age))
		if math.Abs(got.Chance-want.Chance) > 0.01 {
			t.Errorf("at %s it is %.3f likely to have ended after the restart, %.3f before",
				age, got.Chance, want.Chance)
		}
	}
	unlearnt := expected(fresh())
	replace := func(old, new string) string {
		if !strings.Contains(string(state), old) {
			t.Errorf("%s is not in %s", old, state)
		}
		return strings.Replace(string(state), old, new, 1)
	}
	for name, damaged := range map[string]string{
		"empty":           "",
		"not JSON":        "what",
		"cut off":         string(state[:len(state)/2]),
		"another version": replace(`"version":3`, `"version":99`),
		"a wrong type":    replace(`"shape":{`, `"shape":{"ends":[],`),
		"too few hours":   replace(`"usual":[`, `"usual":[0,`),
		"other bins":      replace(`"bins_per_octave":6`, `"bins_per_octave":7`),
		"below zero":      replace(`"ends":`, `"ends":-`),
		"absurd sharing":  replace(`"share":1`, `"share":2`),
		"absurd":          replace(`"info_a":`, `"info_a":1e300,"other":`),
		"no duration":     replace(`"sum_a":`, `"sum_a":-9e8,"other":`),
	} {
		s := fresh()
		if err := s.Recall([]byte(damaged)); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
		if got := expected(s); got != unlearnt {
			t.Errorf("%s: a job is expected to take %s, without any state %s", name, got, unlearnt)
		}
	}
}

// Documents of every version so far are read, and mean the same. They were written after
// the same events, each by the program that wrote its version.
func TestLearntGolden(t *testing.T) {
	written := time.Date(2026, 11, 24, 14, 1, 49, 844897957, time.UTC)
	limits := perMinute(5.5, 1000)
	for _, version := range []string{"v1", "v2", "v3"} {
		state, err := os.ReadFile("testdata/learnt-" + version + ".json")
		if err != nil {
			t.Fatal(err)
		}
		s := newScheduler(limits, written)
		if err := s.Recall(state); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		again, err := s.Learnt(written)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("testdata/learnt-v3.json")
		if err != nil || string(again) != strings.TrimSpace(string(want)) {
			t.Errorf("%s: it is written as\n%s\nwant\n%s, %v", version, again, want, err)
		}
		later := written.Add(90 * time.Minute)
		s = newScheduler(limits, later)
		if err := s.Recall(state); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		for _, want := range []struct {
			api      string
			audio    float64
			expected time.Duration
			chance   float64
		}{
			{"asr", 0, 284561265998, 0.007074},
			{"asr", 600, 118680305971, 0.470643},
			{"diarization", 0, 278064028942, 0.007931},
			{"diarization", 600, 118422845096, 0.528309},
			{"new", 0, 280338007486, 0.253923},
			{"new", 600, 119275322644, 0.535990},
		} {
			id := fmt.Sprint(want.api, want.audio)
			begun := later.Add(-2 * time.Minute)
			s.Add(later, schedule.Job{RequestID: id, API: want.api, AudioSeconds: want.audio, Start: begun})
			r, _ := s.Explain(id, later)
			if (r.Expected-want.expected).Abs() > time.Millisecond || math.Abs(r.Chance-want.chance) > 1e-5 {
				t.Errorf("%s: %s is expected to take %s, and %.6f likely to have ended; want %s, %.6f",
					version, id, r.Expected, r.Chance, want.expected, want.chance)
			}
		}
		s.Refresh(later)
		got := s.View(later, nil).Pricing
		if math.Abs(got.Coming-232.8971) > 1e-3 || math.Abs(got.Sharing-0.49) > 1e-9 || got.PerJob > 0.9 {
			t.Errorf("%s: %+v", version, got)
		}
	}
}

// However many names of APIs there are, what is learnt stays bounded.
func TestLearntIsBounded(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	for i := range 1000 {
		id := fmt.Sprint(i)
		s.Add(start, schedule.Job{RequestID: id, API: id, AudioSeconds: float64(i%2) * 60, Start: start})
		s.StillRunning(id, at(time.Minute))
		s.Ended(id, at(time.Hour), i%3 == 0)
	}
	state, err := s.Learnt(at(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(state) > 512<<10 {
		t.Errorf("%d bytes", len(state))
	}
	if err := newScheduler(schedule.Limits{}, start).Recall(state); err != nil {
		t.Error(err)
	}
}

// Where more APIs have jobs than there are models, some share one. A restart does not mix it up with others.
func TestLearntOfManyAPIs(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	for i := range 100 {
		id := fmt.Sprint(i)
		s.Add(start, schedule.Job{RequestID: id, API: id, Start: start})
	}
	for i := range 100 {
		s.Ended(fmt.Sprint(i), at(time.Duration(i)*time.Minute), false)
	}
	state, err := s.Learnt(at(100 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		again := newScheduler(schedule.Limits{}, at(100*time.Minute))
		if err := again.Recall(state); err != nil {
			t.Fatal(err)
		}
		if got, err := again.Learnt(at(100 * time.Minute)); err != nil || string(got) != string(state) {
			t.Fatalf("after a restart, %v, it is\n%s\nand was\n%s", err, got, state)
		}
	}
}

// APIs about which the least was learnt make room for others, if they have no jobs. Names may be mistakes.
func TestMistakenAPIs(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	add := func(api string) { s.Add(start, schedule.Job{RequestID: api, API: api, Start: start}) }
	add("asr")
	s.Ended("asr", at(time.Hour), false)
	add("with a job")
	for i := range 100 {
		mistake := fmt.Sprint("mistake ", i)
		add(mistake)
		s.Remove(mistake)
	}
	add("diarization")
	s.Ended("diarization", at(time.Hour), false)
	state, err := s.Learnt(at(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var learnt struct {
		APIs map[string]struct{ Ends float64 }
	}
	if err := json.Unmarshal(state, &learnt, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	_, kept := learnt.APIs["with a job"]
	if learnt.APIs["asr"].Ends != 1 || learnt.APIs["diarization"].Ends != 1 || !kept || len(learnt.APIs) != 64 {
		t.Errorf("it has learnt about %v", learnt.APIs)
	}
}
