// Bench-peers reads the output of `go test -bench`, compares benchmarks with their peers in the same run and with their
// goals, and writes the table to a Markdown file, between its markers. `make bench-peers` runs it.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A row compares two metrics. A metric is package.Benchmark and a unit. One of the goals is set.
type row struct {
	what, ours, peer string  // the peer may be absent
	most             float64 // goal: ours is at most this
	ratio            float64 // goal: ours is at most so many times the peer
	faster           float64 // goal: the peer is at least so many times ours
}

const cpu = " cpu-ns/op"

var rows = []row{
	{what: "backlog of 10,000 ended jobs: 10,000 polls / without a pause, virtual time",
		ours: "schedule.Backlog/10000 took-ns", peer: "schedule.Backlog/10000 shortest-ns", ratio: 1.05},
	{what: "… of 100,000",
		ours: "schedule.Backlog/100000 took-ns", peer: "schedule.Backlog/100000 shortest-ns", ratio: 1.05},
	{what: "… of 1,000,000",
		ours: "schedule.Backlog/1000000 took-ns", peer: "schedule.Backlog/1000000 shortest-ns", ratio: 1.05},

	{what: "registration of a job beside 10,000 / beside 1,000",
		ours: "collector.Register/beside/10000" + cpu, peer: "collector.Register/beside/1000" + cpu, ratio: 1.5},
	{what: "… beside 100,000 / beside 1,000",
		ours: "collector.Register/beside/100000" + cpu, peer: "collector.Register/beside/1000" + cpu, ratio: 1.5},
	{what: "… beside 1,000,000 / beside 1,000",
		ours: "collector.Register/beside/1000000" + cpu, peer: "collector.Register/beside/1000" + cpu, ratio: 1.5},

	{what: "a decision among 100,000 jobs", ours: "schedule.Decision/100000" + cpu, most: 50e3},
	{what: "… among 1,000,000 / among 100,000",
		ours: "schedule.Decision/1000000" + cpu, peer: "schedule.Decision/100000" + cpu, most: 50e3},
	{what: "… the longest one", ours: "schedule.Decision/1000000 worst-cpu-ns", most: 5e6},

	{what: "decoding of 9,000 words and statistics, compact / encoding/json",
		ours: "jobstatus.DecodeStatus/compact" + cpu, peer: "jobstatus.Peers/encoding/json/compact" + cpu, faster: 9},
	{what: "… pretty / encoding/json",
		ours: "jobstatus.DecodeStatus/pretty" + cpu, peer: "jobstatus.Peers/encoding/json/pretty" + cpu, faster: 9},
	{what: "… allocations",
		ours: "jobstatus.DecodeStatus/compact allocs/op", peer: "jobstatus.Peers/encoding/json/compact allocs/op", most: 30},

	{what: "result with 9,000 words, polled and stored / polled",
		ours: "jobs.Result/stored" + cpu, peer: "jobs.Result/polled" + cpu, ratio: 2.5},
	{what: "poll of a running job, stored / net/http, discarded",
		ours: "jobs.Poll/stored" + cpu, peer: "jobs.Poll/discarded" + cpu, ratio: 2.5},

	{what: "scrape of 1,000 jobs, text / client_golang",
		ours: "exposition.Scrape/plain/ours/1000" + cpu, peer: "exposition.Scrape/plain/client_golang/1000" + cpu,
		faster: 20},
	{what: "… of 10,000, text / client_golang",
		ours: "exposition.Scrape/plain/ours/10000" + cpu, peer: "exposition.Scrape/plain/client_golang/10000" + cpu,
		faster: 20},
	{what: "… of 10,000, OpenMetrics / client_golang",
		ours: "exposition.Scrape/openmetrics-text/ours/10000" + cpu,
		peer: "exposition.Scrape/openmetrics-text/client_golang/10000" + cpu, faster: 20},
	{what: "… of 10,000, protobuf / client_golang",
		ours: "exposition.Scrape/vnd.google.protobuf/ours/10000" + cpu,
		peer: "exposition.Scrape/vnd.google.protobuf/client_golang/10000" + cpu, faster: 20},
	{what: "… of 100,000, text / client_golang",
		ours: "exposition.Scrape/plain/ours/100000" + cpu, peer: "exposition.Scrape/plain/client_golang/100000" + cpu,
		faster: 20},
	{what: "… allocations of 100,000 / 1,000 jobs",
		ours: "exposition.Scrape/plain/ours/100000 allocs/op", peer: "exposition.Scrape/plain/ours/1000 allocs/op",
		ratio: 1.1},
	{what: "… bytes allocated, 100,000 jobs / heap at rest",
		ours: "exposition.Scrape/plain/ours/100000 B/op", peer: "exposition.Scrape/plain/ours/100000 at-rest-B", ratio: 0.3},

	{what: "heap for a pending job / plain map",
		ours: "collector.Pending/ours B/job", peer: "collector.Pending/map B/job", most: 300},
	{what: "start with 1,000,000 pending jobs / reading the rows",
		ours: "collector.Start/ours" + cpu, peer: "collector.Start/bare" + cpu, ratio: 2},
	{what: "durable registration, 64 callers / insertion in transactions of 64",
		ours: "jobs.Register" + cpu, peer: "jobs.BareInsert" + cpu, ratio: 7},

	{what: "GET /, 1,000,000 jobs / a look at each",
		ours: "statuspage.Pages/overview/1000000" + cpu, peer: "statuspage.Pages/a_look_at_each_job/1000000" + cpu,
		most: 10e6},
	{what: "filter without a hit / a look at each",
		ours: "statuspage.Pages/no_hit/1000000" + cpu, peer: "statuspage.Pages/a_look_at_each_job/1000000" + cpu,
		most: 10e6},
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go test -bench ... | bench-peers FILE.md")
	}
	r, err := read(os.Stdin)
	if err != nil {
		log.Fatal("reading benchmarks: ", err)
	}
	table, err := r.table()
	fmt.Print(table)
	if err != nil {
		log.Fatal(err)
	}
	if err := replace(os.Args[1], table); err != nil {
		log.Fatal(err)
	}
}

// results are the values of metrics, and the processor.
type results struct {
	values    map[string][]float64
	processor string
}

// line is the output of a benchmark: its name without the number of processors, and pairs of value and unit.
var line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func read(from io.Reader) (r results, err error) {
	r.values = make(map[string][]float64)
	pkg := ""
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if name, found := strings.CutPrefix(lines.Text(), "pkg: "); found {
			pkg = path.Base(name)
		}
		if name, found := strings.CutPrefix(lines.Text(), "cpu: "); found {
			r.processor = name
		}
		match := line.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		fields := strings.Fields(match[2])
		for i := 0; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return r, err
			}
			metric := pkg + "." + match[1] + " " + fields[i+1]
			r.values[metric] = append(r.values[metric], value)
		}
	}
	return r, lines.Err()
}

// median returns the median of a metric's values.
func (r results) median(metric string) (float64, error) {
	values := slices.Sorted(slices.Values(r.values[metric]))
	if len(values) == 0 {
		return 0, fmt.Errorf("no result of %s", metric)
	}
	return values[len(values)/2], nil
}

// table returns the table of the rows, and which metrics are missing.
func (r results) table() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d cores of an %s:\n\n", time.Now().UTC().Format(time.DateOnly), runtime.Version(),
		runtime.NumCPU(), cmp.Or(r.processor, "unknown processor"))
	b.WriteString("| what / beside what | | beside | ratio | goal | reached |\n| --- | --- | --- | --- | --- | --- |\n")
	var missing []error
	for _, row := range rows {
		ours, err := r.median(row.ours)
		beside, ratio := "", ""
		peer := 0.
		if err == nil && row.peer != "" {
			if peer, err = r.median(row.peer); err == nil {
				beside, ratio = quantity(peer, row.peer), number(ours/peer)
			}
		}
		if err != nil {
			missing = append(missing, err)
			continue
		}
		goal, reached := "", false
		switch {
		case row.most > 0:
			goal, reached = "≤ "+quantity(row.most, row.ours), ours <= row.most
		case row.ratio > 0:
			goal, reached = "≤ "+number(row.ratio), ours/peer <= row.ratio
		default:
			ratio = "1/" + number(peer/ours)
			goal, reached = "≤ 1/"+number(row.faster), peer/ours >= row.faster
		}
		yes := map[bool]string{true: "yes", false: "**no**"}[reached]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", row.what, quantity(ours, row.ours), beside, ratio, goal, yes)
	}
	return b.String(), errors.Join(missing...)
}

// number returns three digits of a number.
func number(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// quantity returns a value of a metric with its unit.
func quantity(v float64, metric string) string {
	_, unit, _ := strings.Cut(metric, " ")
	switch {
	case unit == "allocs/op":
		return number(v)
	case strings.HasPrefix(unit, "B/") || strings.HasSuffix(unit, "-B"):
		if v >= 1e6 {
			return number(v/1e6) + " MB"
		}
		return number(v) + " B"
	case v >= 1e9:
		return number(v/1e9) + " s"
	}
	return number(v/1e6) + " ms"
}

const begin, end = "<!-- make bench-peers writes this -->\n", "<!-- the end of what make bench-peers writes -->"

// replace replaces what is between the markers of a file.
func replace(file, by string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(begin))
	_, after, ends := bytes.Cut(rest, []byte(end))
	if !found || !ends {
		return fmt.Errorf("%s has no markers %q and %q", file, begin, end)
	}
	return os.WriteFile(file, slices.Concat(before, []byte(begin+"\n"+by+"\n"+end), after), 0o644)
}
