//go:build !race

package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
)

// generated returns generated traces by name.
func generated(t *testing.T) map[string]*trace {
	t.Helper()
	dir := t.TempDir()
	if err := generate(dir, 1); err != nil {
		t.Fatal(err)
	}
	traces, err := readTraces(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*trace)
	for _, tr := range traces {
		byName[strings.TrimSuffix(tr.name, ".1")] = tr
	}
	return byName
}

// The scheduler over every kind of generated trace: nothing is refused unless others spend
// the same quota, and then little; ends are seen; the morning leaves enough of the day.
// Webhooks shorten the mean delay. Where the back end works in order, polling the oldest
// job is not better. Over all kinds, half of the ends fall before the expected time, and nine in ten before a job is
// late.
func TestGeneratedTraces(t *testing.T) {
	var all calibration
	for name, tr := range generated(t) {
		hours := 2.5
		switch {
		case tr.budget.DailyCap > 0:
			hours = 34 // until 10:00 of the second day
		case name == "overload":
			hours = 5 // until most ends are seen
		}
		tr.horizon = min(tr.horizon, hours*3600*float64(longtest.Size(1, 10)))
		r := run(tr)
		all.Registered.add(r.Calibration.Registered)
		all.Random.add(r.Calibration.Random)
		if len(tr.budget.Shadow) == 0 && r.Refusals > 0 || r.Refusals > r.Requests/10 {
			t.Errorf("%s: %d of %d requests were refused", name, r.Refusals, r.Requests)
		}
		if r.Detected < 9*(r.Detected+r.Undetected)/10 || r.Detected == 0 {
			t.Errorf("%s: %d ends were seen, %d not", name, r.Detected, r.Undetected)
		}
		if r.SpentBy10 > 0.4 && tr.budget.DailyCap > 0 {
			t.Errorf("%s: %.0f %% of the day's quota was spent by 10:00", name, 100*r.SpentBy10)
		}
		if peer := peerOf(tr, oldest).MeanS; strings.HasPrefix(name, "fifo") && r.MeanS > peer+5 {
			t.Errorf("%s: %.1f s, and %.1f s for the oldest job first", name, r.MeanS, peer)
		}
		if !strings.HasPrefix(name, "hooks") {
			continue
		}
		for i := range tr.jobs {
			tr.jobs[i].Hook = nil
		}
		if without := run(tr).MeanS; r.MeanS > without {
			t.Errorf("%s: %.1f s with webhooks, %.1f s without", name, r.MeanS, without)
		}
	}
	for when, s := range map[string]share{"registered": all.Registered, "at a random moment": all.Random} {
		expected, late := float64(s.Expected)/float64(s.Jobs-s.Unknown), float64(s.Late)/float64(s.Jobs-s.Unknown)
		if !(expected > 0.45 && expected < 0.55 && late > 0.87 && late < 0.93) || s.Unknown > s.Jobs/5 {
			t.Errorf("%s: %.1f %% of the ends are before the expected time, %.1f %% before a job is late; %d of %d unknown",
				when, 100*expected, 100*late, s.Unknown, s.Jobs)
		}
	}
}

// The traces in testdata: near the lower bound, and never worse than a simple policy.
func TestReferenceTraces(t *testing.T) {
	traces, err := readTraces("testdata", "")
	if err != nil {
		t.Fatal(err)
	}
	references, err := readReference("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var toBound means
	for _, tr := range traces {
		r, reference := run(tr), references[tr.name]
		toBound.add(r.MeanS / reference.Bound)
		if r.Refusals > 0 || !(r.MeanS <= 1.05*reference.best()) {
			t.Errorf("%s: a mean delay of %.1f s, the best peer has %.1f s; %d refusals",
				tr.name, r.MeanS, reference.best(), r.Refusals)
		}
	}
	if toBound.n != len(traces) || toBound.mean() > 1.5 || toBound.worst > 2.2 {
		t.Errorf("the mean delay is %.2f times the lower bound, at worst %.2f times, over %d of %d traces",
			toBound.mean(), toBound.worst, toBound.n, len(traces))
	}
}

// Delays are also counted by weekday. Every trace starts on a Monday.
func TestWeekdays(t *testing.T) {
	tr := &trace{horizon: 14 * dayS}
	seen := make(map[string]float64)
	for id, at := range map[string]struct{ end, seen float64 }{
		"monday": {100, 107}, "sunday": {7*dayS - 1, 7*dayS + 1}, "next monday": {7 * dayS, 7*dayS + 5},
	} {
		tr.jobs = append(tr.jobs, traceJob{ID: id, Fin: &at.end})
		seen[id] = at.seen
	}
	var r result
	r.measure(tr, seen)
	if want := [7][]float64{0: {5, 7}, 6: {2}}; !reflect.DeepEqual(r.weekdays, want) {
		t.Errorf("%v, want %v", r.weekdays, want)
	}
}

func TestServer(t *testing.T) {
	type request struct {
		t    float64
		want verdict
	}
	for name, test := range map[string]struct {
		budget   budget
		requests []request
	}{
		"token bucket": {budget{RatePerS: 0.1, Burst: 2}, []request{
			{0, accepted}, {0, accepted}, {9, tooFast}, {10, accepted}, {11, tooFast},
			{100, accepted}, {100, accepted}, {100, tooFast},
		}},
		"window": {budget{RatePerS: 0.1, Burst: 2, WindowS: 20}, []request{
			{0, accepted}, {15, accepted}, {19, tooFast}, {20, accepted}, {34, tooFast}, {35, accepted},
		}},
		"cap": {budget{DailyCap: 2}, []request{
			{0, accepted}, {1, accepted}, {2, overCap}, {86_399, overCap}, {86_400, accepted},
		}},
		"shared": {budget{RatePerS: 0.1, Burst: 1, Shadow: []float64{0, 10}}, []request{
			{0, tooFast}, {9.5, tooFast}, {10, tooFast}, {20, accepted},
		}},
		"no limit": {budget{}, []request{{0, accepted}, {0, accepted}}},
	} {
		s := newServer(test.budget)
		for i, r := range test.requests {
			if got := s.request(r.t); got != r.want {
				t.Errorf("%s: request %d at %v s: %v, want %v", name, i, r.t, got, r.want)
			}
		}
	}
}

// Traces may have few fields, and be compressed; the table needs no reference.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "small.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(file)
	_, err = io.WriteString(w, `{"budget":{"rate_per_s":0.05}}
{"id":"late","t":500,"fin":600}
{"t":0,"fin":100.5,"other":1}
{"id":"never","t":5}
`)
	if err != nil || w.Close() != nil || file.Close() != nil {
		t.Fatal("the trace could not be written")
	}
	out := filepath.Join(dir, "out.json")
	for name, reference := range map[string]string{
		"none":             "",
		"of another trace": `{"x":{"lower_bound_mean_s":1}}`,
		"its own":          `{"small":{"lower_bound_mean_s":1,"eta":{"mean_s":50}}}`,
	} {
		if reference != "" {
			if err := os.WriteFile(filepath.Join(dir, "reference.json"), []byte(reference), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := bench(dir, options{out: out, peers: true, weekdays: true}); err != nil {
			t.Fatalf("reference %s: %v", name, err)
		}
		var results map[string]result
		data, err := os.ReadFile(out)
		if err != nil || json.Unmarshal(data, &results) != nil {
			t.Fatalf("reference %s: %s", name, data)
		}
		r := results["small"]
		if r.Detected != 2 || r.Undetected != 0 || r.Refusals != 0 || !(r.MeanS > 0) || r.MaxS < r.P95S {
			t.Errorf("reference %s: %+v", name, r)
		}
	}
	if err := bench(t.TempDir(), options{}); err == nil || !strings.Contains(err.Error(), "no trace") {
		t.Errorf("an empty folder: %v", err)
	}
}
