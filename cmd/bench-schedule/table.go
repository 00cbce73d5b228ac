package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// A reference is what else is known of a trace: a lower bound of the mean delay,
// and what other policies reach.
type reference struct {
	bound float64
	peers map[string]peer
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
	var traces map[string]map[string]json.RawMessage
	if err := json.Unmarshal(data, &traces); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := make(map[string]reference)
	for name, entries := range traces {
		r := reference{peers: make(map[string]peer)}
		for key, raw := range entries {
			var p peer
			if key == "lower_bound_mean_s" {
				err = json.Unmarshal(raw, &r.bound)
			} else if json.Unmarshal(raw, &p) == nil { // what is no peer is not ours to judge
				r.peers[key] = p
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %s: %w", path, name, key, err)
			}
		}
		all[name] = r
	}
	return all, nil
}

// best is the least mean delay of the peers that pace themselves.
func (r reference) best() float64 {
	least := math.NaN()
	for _, name := range []string{"rr_paced", "backoff", "eta"} {
		if p, found := r.peers[name]; found && !(p.MeanS >= least) {
			least = p.MeanS
		}
	}
	return least
}

// A table is printed as the results come.
type table struct {
	w         io.Writer
	reference map[string]reference
	toBound   means
	toBest    means
	toPeer    map[string]*means // by name
}

// means is a geometric mean.
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

func (m *means) mean() float64 { return math.Exp(m.sum / float64(m.n)) }

var peerNames = []string{"naive10s", "rr_paced", "backoff", "oldest", "eta"}

func newTable(w io.Writer, reference map[string]reference) *table {
	fmt.Fprintf(w, "%-14s %9s %8s %8s %8s %7s %5s %5s %6s %6s", "trace", "mean", "p50", "p95", "max", "req/det", "refus", "undet", "by 10", "cpu")
	if reference != nil {
		fmt.Fprintf(w, " | %7s %6s %6s %6s %6s |", "bound", "ratio", "best/", "p95/rr", "max/rr")
		for _, name := range peerNames {
			fmt.Fprintf(w, " %8s", name)
		}
	}
	fmt.Fprintln(w)
	return &table{w: w, reference: reference, toPeer: make(map[string]*means)}
}

func (t *table) row(name string, r result) {
	perDetected := float64(r.Requests) / max(float64(r.Detected), 1)
	fmt.Fprintf(t.w, "%-14s %9.1f %8.1f %8.0f %8.0f %7.2f %5d %5d %5.1f%% %5.1fs", name, r.MeanS, r.P50S, r.P95S, r.MaxS, perDetected, r.Refusals, r.Undetected, 100*r.SpentBy10, r.CPUS)
	if ref, found := t.reference[name]; found {
		rr := ref.peers["rr_paced"]
		t.toBound.add(r.MeanS / ref.bound)
		t.toBest.add(ref.best() / r.MeanS)
		fmt.Fprintf(t.w, " | %7.1f %6.2f %6.2f %6.2f %6.2f |", ref.bound, r.MeanS/ref.bound, ref.best()/r.MeanS, r.P95S/rr.P95S, r.MaxS/rr.MaxS)
		for _, name := range peerNames {
			p, found := ref.peers[name]
			if !found {
				fmt.Fprintf(t.w, " %8s", "–")
				continue
			}
			if t.toPeer[name] == nil {
				t.toPeer[name] = new(means)
			}
			t.toPeer[name].add(p.MeanS / r.MeanS)
			fmt.Fprintf(t.w, " %8.0f", p.MeanS)
		}
	}
	fmt.Fprintln(t.w)
}

func (t *table) summary() {
	if t.toBound.n == 0 {
		return
	}
	fmt.Fprintf(t.w, "\nMean delay, geometric means: %.2f times the lower bound (worst %.2f), %.2f times less than the best of rr_paced, backoff and eta in each trace", t.toBound.mean(), t.toBound.worst, t.toBest.mean())
	for _, name := range slices.Sorted(maps.Keys(t.toPeer)) {
		fmt.Fprintf(t.w, "; than %s %.2f", name, t.toPeer[name].mean())
	}
	fmt.Fprintln(t.w)
}

// ablate prints the mean delay of each trace with one part left out at a time, by
// the mean delay with all.
func ablate(traces []*trace, reference map[string]reference) error {
	parts := []string{"", "learning", "drift", "rank", "pacing", "hints", "hooks"}
	fmt.Printf("%-14s", "trace")
	for _, part := range parts {
		if part == "" {
			part = "all, s"
		}
		fmt.Printf(" %9s", part)
	}
	fmt.Println()
	sums := make([]means, len(parts))
	for _, tr := range traces {
		fmt.Printf("%-14s", tr.name)
		var whole float64
		for i, part := range parts {
			p, reduced := policyFor(tr, options{without: part})
			mean := run(reduced, p).MeanS
			if i == 0 {
				whole = mean
				fmt.Printf(" %9.1f", mean)
				continue
			}
			sums[i].add(mean / whole)
			fmt.Printf(" %9.2f", mean/whole)
		}
		fmt.Println()
	}
	fmt.Printf("%-14s %9s", "geometric mean", "")
	for i := range sums[1:] {
		fmt.Printf(" %9.2f", sums[i+1].mean())
	}
	fmt.Println()
	return nil
}
