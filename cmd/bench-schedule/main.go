// Command bench-schedule runs the scheduler over traces of jobs in virtual time, against a server that enforces a
// quota, and prints how late it detects their ends.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	var o options
	flag.StringVar(&o.out, "out", "", "write the results as JSON to this `file`")
	flag.StringVar(&o.only, "only", "", "run only traces whose name contains this")
	flag.BoolVar(&o.peers, "peers", false, "also run simple policies over the traces that reference.json lacks")
	flag.BoolVar(&o.weekdays, "weekdays", false, "also print the delay by weekday, beside simple policies")
	seed := flag.Uint64("generate", 0, "generate traces from this seed into the directory, instead of running any")
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
	out, only string
	peers     bool
	weekdays  bool
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
	if o.peers {
		reference = withPeers(reference, traces)
	}
	results := make(map[string]result)
	t := newTable(os.Stdout, reference)
	for _, tr := range traces {
		results[tr.name] = run(tr)
		t.row(tr.name, results[tr.name])
	}
	t.summary()
	printCalibration(os.Stdout, traces, results)
	if o.weekdays {
		for _, tr := range traces {
			printWeekdays(os.Stdout, tr, results[tr.name])
		}
	}
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

func readTraces(dir, only string) (traces []*trace, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for traces: %w", err)
	}
	for _, file := range files {
		name, isTrace := strings.CutSuffix(strings.TrimSuffix(file.Name(), ".gz"), ".jsonl")
		if !isTrace || !strings.Contains(name, only) {
			continue
		}
		tr, err := readTrace(filepath.Join(dir, file.Name()), name)
		if err != nil {
			return nil, err
		}
		traces = append(traces, tr)
	}
	if len(traces) == 0 {
		return nil, fmt.Errorf("no trace (*.jsonl or *.jsonl.gz) in %s", dir)
	}
	return traces, nil
}
