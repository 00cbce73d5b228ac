package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"strings"
)

// trace is jobs to track, and the quota for it. Times are seconds since a midnight.
type trace struct {
	name    string
	horizon float64
	budget  budget
	jobs    []traceJob // in order of t
}

// budget is what the server allows.
type budget struct {
	RatePerS float64   `json:"rate_per_s"` // 0: unlimited
	Burst    float64   `json:"burst"`
	DailyCap float64   `json:"daily_cap"` // from one multiple of 86,400 s to the next; 0: unlimited
	WindowS  float64   `json:"window_s"`  // burst requests in any window of this length, instead of a token bucket
	Shadow   []float64 `json:"shadow"`    // when others spend the same quota
}

type traceJob struct {
	ID    string   `json:"id"`
	T     float64  `json:"t"`
	API   string   `json:"api"`
	Audio float64  `json:"audio,omitempty"`
	Fin   *float64 `json:"fin,omitempty"`
	Hook  *float64 `json:"hook,omitempty"`
	// Unknown: the job was there when the trace starts, and may be older than T.
	Unknown bool `json:"age_unknown,omitempty"`

	sequence uint64 // in the trace
}

// end returns when the job ends: +Inf for never.
func (j *traceJob) end() float64 {
	if j.Fin == nil {
		return math.Inf(1)
	}
	return *j.Fin
}

func readTrace(path, name string) (*trace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<20))
	var header struct {
		HorizonS float64   `json:"horizon_s"`
		Budget   budget    `json:"budget"`
		Shadow   []float64 `json:"shadow"`
	}
	if err := dec.Decode(&header); err != nil {
		return nil, fmt.Errorf("%s: the header: %w", path, err)
	}
	tr := &trace{name: name, horizon: header.HorizonS, budget: header.Budget}
	if len(tr.budget.Shadow) == 0 {
		tr.budget.Shadow = header.Shadow
	}
	sort.Float64s(tr.budget.Shadow)
	if b := &tr.budget; b.Burst < 1 { // absent: at least one, or what the window's rate gives
		b.Burst = max(1, math.Floor(b.RatePerS*b.WindowS))
	}
	latest := 0.0
	for dec.More() {
		var j traceJob
		if err := dec.Decode(&j); err != nil {
			return nil, fmt.Errorf("%s: job %d: %w", path, len(tr.jobs)+1, err)
		}
		if j.ID == "" {
			j.ID = fmt.Sprintf("job-%d", len(tr.jobs)+1)
		}
		tr.jobs = append(tr.jobs, j)
		latest = max(latest, j.T)
		if j.Fin != nil {
			latest = max(latest, *j.Fin)
		}
	}
	if tr.horizon <= 0 {
		tr.horizon = latest + 3600
	}
	sort.SliceStable(tr.jobs, func(a, b int) bool { return tr.jobs[a].T < tr.jobs[b].T })
	return tr, nil
}
