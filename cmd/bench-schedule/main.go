// Command bench-schedule runs the scheduler over traces of jobs in virtual time,
// against a server that enforces a quota, and tells how late it sees their ends.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

func main() {
	var o options
	flag.StringVar(&o.out, "out", "", "write the results as JSON to this `file`")
	flag.StringVar(&o.only, "only", "", "run only traces whose name contains this")
	flag.StringVar(&o.without, "without", "", "leave these parts out, to see what they are worth: learning, drift, rank, pacing, hints, hooks; all: each in turn")
	flag.BoolVar(&o.inTurn, "in-turn", false, "run the job that was not asked about for longest, instead of the scheduler")
	seed := flag.Uint64("generate", 0, "write made-up traces from this seed into the directory, instead of running any")
	flag.Parse()
	err := errors.New("give one directory with traces")
	switch {
	case flag.NArg() != 1:
	case *seed != 0:
		err = generate(flag.Arg(0), *seed)
	default:
		err = bench(flag.Arg(0), o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-schedule:", err)
		os.Exit(1)
	}
}

type options struct {
	out, only, without string
	inTurn             bool
}

func bench(dir string, o options) error {
	traces, err := readTraces(dir, o.only)
	if err != nil {
		return err
	}
	reference, err := readReference(dir)
	if err != nil {
		return err
	}
	if o.without == "all" {
		return ablate(traces, reference)
	}
	results := make(map[string]result)
	t := newTable(os.Stdout, reference)
	for _, tr := range traces {
		p, reduced := policyFor(tr, o)
		results[tr.name] = run(reduced, p)
		t.row(tr.name, results[tr.name])
	}
	t.summary()
	if o.out == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	if err := os.WriteFile(o.out, append(encoded, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// policyFor returns what is to be run, and the trace as it may be seen.
func policyFor(tr *trace, o options) (policy, *trace) {
	if o.inTurn {
		return newInTurn(tr.budget), tr
	}
	without := strings.Split(o.without, ",")
	has := func(part string) bool { return slices.Contains(without, part) }
	if has("hooks") {
		blind := *tr
		blind.jobs = slices.Clone(tr.jobs)
		for i := range blind.jobs {
			blind.jobs[i].Hook = nil
		}
		tr = &blind
	}
	return newOurs(tr.budget, schedule.Parts{
		Learning: has("learning"), Drift: has("drift"), Rank: has("rank"), Pacing: has("pacing"),
	}, has("hints")), tr
}

func readTraces(dir, only string) ([]*trace, error) {
	var paths []string
	for _, pattern := range []string{"*.jsonl", "*.jsonl.gz"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fmt.Errorf("looking for traces: %w", err)
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	var traces []*trace
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".gz"), ".jsonl")
		if !strings.Contains(name, only) {
			continue
		}
		tr, err := readTrace(path, name)
		if err != nil {
			return nil, err
		}
		traces = append(traces, tr)
	}
	if len(traces) == 0 {
		return nil, fmt.Errorf("%s: no trace, that is no *.jsonl or *.jsonl.gz", dir)
	}
	return traces, nil
}
