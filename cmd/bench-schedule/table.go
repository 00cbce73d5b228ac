package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
)

// reference is what other policies reach on a trace, and a lower bound of the mean delay.
type reference struct {
	Bound float64         `json:"lower_bound_mean_s"`
	Peers map[string]peer `json:",embed"`
}

type peer struct {
	MeanS float64 `json:"mean_s"`
	P95S  float64 `json:"p95_s"`
	MaxS  float64 `json:"max_s"`
}

// readReference reads reference.json where there is one.
func readReference(dir string) (map[string]reference, error) {
	path := filepath.Join(dir, "reference.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the reference: %w", err)
	}
	var all map[string]reference
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// best returns the shortest mean delay of the peers that keep the quota; NaN without any.
func (r reference) best() float64 {
	least := math.NaN()
	for _, name := range []string{"rr_paced", "backoff", "eta"} {
		if p, found := r.Peers[name]; found && !(p.MeanS >= least) {
			least = p.MeanS
		}
	}
	return least
}

// withPeers adds how simple policies do on the traces that the reference lacks.
func withPeers(references map[string]reference, traces []*trace) map[string]reference {
	if references == nil {
		references = make(map[string]reference)
	}
	for _, tr := range traces {
		if _, found := references[tr.name]; !found {
			r := reference{Bound: math.NaN(), Peers: make(map[string]peer)}
			for _, p := range policies {
				of := peerOf(tr, p)
				r.Peers[string(p)] = peer{MeanS: of.MeanS, P95S: of.P95S, MaxS: of.MaxS}
			}
			references[tr.name] = r
		}
	}
	return references
}

// table prints each result when it is added.
type table struct {
	w         io.Writer
	reference map[string]reference
	toBound   means
	toBest    means
	toPeer    map[string]means // by name
}

// means is a geometric mean, and the largest value.
type means struct {
	sum, worst float64
	n          int
}

func (m *means) add(x float64) {
	if x > 0 && !math.IsInf(x, 1) {
		m.sum += math.Log(x)
		m.n++
		m.worst = max(m.worst, x)
	}
}

func (m means) mean() float64 { return math.Exp(m.sum / float64(m.n)) }

var peerNames = []string{"naive10s", "rr_paced", "backoff", "oldest", "eta"}

func newTable(w io.Writer, reference map[string]reference) *table {
	fmt.Fprintf(w, "%-14s %9s %8s %8s %8s %7s %5s %5s %6s %6s",
		"trace", "mean", "p50", "p95", "max", "req/det", "refus", "undet", "by 10", "cpu")
	if reference != nil {
		fmt.Fprintf(w, " | %7s %6s %6s %6s %6s |", "bound", "ratio", "best/", "p95/rr", "max/rr")
		for _, name := range peerNames {
			fmt.Fprintf(w, " %8s", name)
		}
	}
	fmt.Fprintln(w)
	return &table{w: w, reference: reference, toPeer: make(map[string]means)}
}

func (t *table) row(name string, r result) {
	perDetected := float64(r.Requests) / max(float64(r.Detected), 1)
	fmt.Fprintf(t.w, "%-14s %9.1f %8.1f %8.0f %8.0f %7.2f %5d %5d %5.1f%% %5.1fs",
		name, r.MeanS, r.P50S, r.P95S, r.MaxS, perDetected, r.Refusals, r.Undetected, 100*r.SpentBy10, r.CPUS)
	if ref, found := t.reference[name]; found {
		rr := ref.Peers["rr_paced"]
		t.toBound.add(r.MeanS / ref.Bound)
		t.toBest.add(ref.best() / r.MeanS)
		fmt.Fprintf(t.w, " | %7.1f %6.2f %6.2f %6.2f %6.2f |",
			ref.Bound, r.MeanS/ref.Bound, ref.best()/r.MeanS, r.P95S/rr.P95S, r.MaxS/rr.MaxS)
		for _, name := range peerNames {
			if p, found := ref.Peers[name]; found {
				m := t.toPeer[name]
				m.add(p.MeanS / r.MeanS)
				t.toPeer[name] = m
				fmt.Fprintf(t.w, " %8.0f", p.MeanS)
			} else {
				fmt.Fprintf(t.w, " %8s", "–")
			}
		}
	}
	fmt.Fprintln(t.w)
}

func (t *table) summary() {
	if t.toBest.n == 0 {
		return
	}
	fmt.Fprint(t.w, "\nMean delay, geometric means: ")
	if t.toBound.n > 0 {
		fmt.Fprintf(t.w, "%.2f times the lower bound (worst %.2f), ", t.toBound.mean(), t.toBound.worst)
	}
	fmt.Fprintf(t.w, "%.2f times less than the best of rr_paced, backoff and eta in each trace", t.toBest.mean())
	for _, name := range slices.Sorted(maps.Keys(t.toPeer)) {
		fmt.Fprintf(t.w, "; than %s %.2f", name, t.toPeer[name].mean())
	}
	fmt.Fprintln(t.w)
}
