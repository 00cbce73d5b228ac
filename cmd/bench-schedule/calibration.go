package main

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// calibration counts how many ends fall before the two times that the scheduler gives for each job: half and nine in
// ten should. Both are taken when the job is registered, and at a random moment of its life.
type calibration struct {
	Registered share `json:"registered"`
	Random     share `json:"random"`
}

// share counts jobs that end, also after the trace.
type share struct {
	Jobs     int `json:"jobs"`
	Unknown  int `json:"unknown"`  // jobs without the two times, since nothing was learnt
	Expected int `json:"expected"` // jobs that ended before the first
	Late     int `json:"late"`     // before the second
}

func (s *share) add(o share) {
	s.Jobs, s.Unknown = s.Jobs+o.Jobs, s.Unknown+o.Unknown
	s.Expected, s.Late = s.Expected+o.Expected, s.Late+o.Late
}

// look takes what the scheduler says of a job.
func (s *share) look(scheduler *schedule.Scheduler, j *traceJob, now float64) {
	if j.Fin == nil {
		return
	}
	s.Jobs++
	reason, _ := scheduler.Explain(j.sequence, at(now))
	f, end := reason.Finish, at(*j.Fin)
	switch {
	case f.Expected.IsZero():
		s.Unknown++
	case !end.After(f.Expected):
		s.Expected++
		fallthrough
	case !end.After(f.LateAfter):
		s.Late++
	}
}

// String gives the shares in per cent.
func (s share) String() string {
	known := float64(max(s.Jobs-s.Unknown, 1)) / 100
	return fmt.Sprintf("%8d %7d %8.1f %8.1f", s.Jobs, s.Unknown, float64(s.Expected)/known, float64(s.Late)/known)
}

// moment is when a job is looked at.
type moment struct {
	*traceJob
	t float64
}

// moments returns a random moment of the life of each job that ends, in their order.
func moments(jobs []traceJob) (all []moment) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range jobs {
		if j := &jobs[i]; j.Fin != nil {
			all = append(all, moment{j, j.T + r.Float64()*(*j.Fin-j.T)})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.t, b.t) })
	return all
}

// printCalibration prints the shares of each kind of trace, and of all jobs. Traces whose names differ in the seed are
// of one kind.
func printCalibration(w io.Writer, traces []*trace, results map[string]result) {
	var kinds []string
	var all calibration
	byKind := make(map[string]calibration)
	for _, tr := range traces {
		kind, _, _ := strings.Cut(tr.name, ".")
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		c, r := byKind[kind], results[tr.name].Calibration
		c.Registered.add(r.Registered)
		c.Random.add(r.Random)
		byKind[kind] = c
		all.Registered.add(r.Registered)
		all.Random.add(r.Random)
	}
	fmt.Fprintf(w, "\n%% of the ends before the expected time, and before a job is late "+
		"(as estimated at its registration | at a random moment of its life)\n%-14s %8s %7s %8s %8s | %8s %7s %8s %8s\n",
		"kind", "jobs", "unknown", "expected", "late", "jobs", "unknown", "expected", "late")
	for _, kind := range kinds {
		fmt.Fprintf(w, "%-14s %s | %s\n", kind, byKind[kind].Registered, byKind[kind].Random)
	}
	fmt.Fprintf(w, "%-14s %s | %s\n", "all jobs", all.Registered, all.Random)
}
