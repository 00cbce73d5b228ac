//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/plugins/parsers/influx"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

const influxd = "../.cache/influxdb/usr/bin/influxd" // 1.6, from Debian

// contract has the fields and tags of the measurements, with InfluxDB's types.
var contract = map[string]struct{ integers, floats, strings, tags string }{
	"deepaffects": {
		integers: "api_errors api_ok completed failed finished_completed finished_failed finished_lost late lost pending " +
			"poll_queue registered running up webhooks words",
		floats: "oldest_unfinished_age_seconds quota_day_limit quota_day_used quota_minute_limit quota_minute_used",
		tags:   "account source",
	},
	"deepaffects_job": {
		integers: "num_speakers overlaps state_code words",
		floats: "age_seconds confidence detection_window_seconds dominant_speaker_ratio duration_seconds speech_rate " +
			"speech_seconds transcript_seconds word_confidence_mean word_confidence_min word_confidence_p10 word_duration_mean " +
			"word_duration_p90 word_gap_max word_gap_mean word_gap_p90",
		strings: "error_code request_id",
		tags:    "account api source state team",
	},
	"deepaffects_speaker": {
		integers: "turns words",
		floats:   "confidence_mean talk_seconds",
		strings:  "request_id",
		tags:     "account source speaker",
	},
	"deepaffects_word": {
		integers: "index",
		floats:   "confidence duration end gap start",
		strings:  "request_id",
		tags:     "account source speaker",
	},
}

// A database is a database in a real InfluxDB.
type database struct {
	conf, url string
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	dir, address := t.TempDir(), freeport.Address(t)
	db := &database{conf: filepath.Join(dir, "influxdb.conf"), url: "http://" + address}
	text := fmt.Sprintf(`
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = %q
[data]
  dir = %q
  wal-dir = %q
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = %q
  log-enabled = false
`, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"), address)
	writeFile(t, db.conf, text)
	return db
}

func (db *database) start(t *testing.T) *process {
	t.Helper()
	p := start(t, influxd, "run", "-config", db.conf)
	eventually(t, "InfluxDB", func() (string, bool) {
		resp, err := http.Get(db.url + "/ping")
		if err != nil {
			return err.Error(), false
		}
		resp.Body.Close()
		return resp.Status, resp.StatusCode == http.StatusNoContent
	})
	return p
}

// output returns Telegraf's output for the database.
func (db *database) output() string {
	return fmt.Sprintf("[[outputs.influxdb]]\n  urls = [%q]\n  database = \"calls\"\n", db.url)
}

// A result is a series in the result of an InfluxQL query.
type result struct {
	Tags    map[string]string
	Columns []string
	Values  [][]any
}

func (db *database) query(q string) (all []result, err error) {
	text, err := get(db.url+"/query?"+url.Values{"db": {"calls"}, "epoch": {"ns"}, "q": {q}}.Encode(), "application/json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []struct {
			Series []result
			Error  string
		}
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // a float64 cannot hold a time in nanoseconds
	if err := decoder.Decode(&answer); err != nil {
		return nil, err
	}
	for _, r := range answer.Results {
		if r.Error != "" {
			return nil, errors.New(r.Error)
		}
		all = append(all, r.Series...)
	}
	return all, nil
}

func (db *database) mustQuery(t *testing.T, q string) []result {
	t.Helper()
	all, err := db.query(q)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return all
}

// measurements holds points by measurement, then by the identity of a point: its tags and
// its time. All numbers are float64.
type measurements map[string]map[string]map[string]any

func (m measurements) add(t *testing.T, name string, tags map[string]string, at int64, fields map[string]any) {
	t.Helper()
	if m[name] == nil {
		m[name] = make(map[string]map[string]any)
	}
	var key strings.Builder
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		if tags[tag] == "" {
			continue // InfluxDB shows a tag as empty if only other points have it
		}
		fmt.Fprintf(&key, "%s=%q ", tag, tags[tag])
	}
	fmt.Fprint(&key, at)
	point := m[name][key.String()]
	if point == nil {
		point = make(map[string]any)
		m[name][key.String()] = point
	}
	for field, value := range fields {
		if before, found := point[field]; found && before != value {
			t.Errorf("%s %s: %s is %v and %v", name, &key, field, before, value)
		}
		point[field] = value
	}
}

// points returns all points in the database.
func (db *database) points(t *testing.T) measurements {
	t.Helper()
	m := make(measurements)
	for name := range contract {
		for _, r := range db.mustQuery(t, fmt.Sprintf("SELECT * FROM %q GROUP BY *", name)) {
			for _, row := range r.Values {
				at, err := row[0].(json.Number).Int64()
				if err != nil {
					t.Fatal(err)
				}
				fields := make(map[string]any)
				for i, value := range row[1:] {
					if number, ok := value.(json.Number); ok {
						if value, err = number.Float64(); err != nil {
							t.Fatal(err)
						}
					}
					if value != nil {
						fields[r.Columns[i+1]] = value
					}
				}
				m.add(t, name, r.Tags, at, fields)
			}
		}
	}
	return m
}

// parse returns what Telegraf wrote to outputs.file: all points that it received.
func (f *face) parse(t *testing.T) (all []telegraf.Metric) {
	t.Helper()
	parser := &influx.Parser{}
	if err := parser.Init(); err != nil {
		t.Fatal(err)
	}
	for line := range f.lines(t) {
		p, err := parser.ParseLine(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, p)
	}
	return all
}

func (f *face) written(t *testing.T) measurements {
	t.Helper()
	m := make(measurements)
	for _, p := range f.parse(t) {
		fields := p.Fields()
		for field, value := range fields {
			if n, ok := value.(int64); ok {
				fields[field] = float64(n)
			}
		}
		m.add(t, p.Name(), p.Tags(), p.Time().UnixNano(), fields)
	}
	return m
}

// A submission is a line in a file of request IDs.
type submission struct {
	RequestID string            `json:"request_id"`
	API       string            `json:"api"`
	Labels    map[string]string `json:"labels"`
}

// submit submits one job per API that completes, and jobs with other outcomes, and appends
// them to the file. Their label needs escaping in line protocol.
func submit(t *testing.T, sim *simulator.Simulator, file string, others ...simulator.Outcome) {
	t.Helper()
	var jobs []simulator.Job
	for i, api := range simulator.APIs() {
		jobs = append(jobs, simulator.Job{
			API: api, Outcome: simulator.Completed, AudioSeconds: 60, Duration: time.Duration(1+i) * 200 * time.Millisecond,
		})
	}
	for _, outcome := range others {
		jobs = append(jobs, simulator.Job{API: "asr", Outcome: outcome, Duration: time.Second})
	}
	to, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	lines := json.NewEncoder(to)
	for _, job := range jobs {
		id := sim.Submit(job)
		s := submission{
			RequestID: id, API: "/audio/generic/api/v1/async/" + job.API,
			Labels: map[string]string{"team": `Sales, "EU"=South`},
		}
		if err := lines.Encode(s); err != nil {
			t.Fatal(err)
		}
	}
}

// Telegraf writes all points to a real InfluxDB, with the types of the contract, each state
// change once, and no point replaces another: across several flushes, while InfluxDB is
// down, and across a restart of Telegraf. Compiled in, no state change is lost even if
// Telegraf is killed while InfluxDB is down.
func TestTelegrafInfluxDB(t *testing.T) {
	t.Setenv("DEEPAFFECTS_API_KEY", "key")
	both(t, func(t *testing.T, isCompiled bool) {
		t.Parallel()
		sim := simulator.New(simulator.Options{Seed: 4, Key: "key"})
		t.Cleanup(sim.Close)
		ids := filepath.Join(t.TempDir(), "jobs.ids")
		db := newDatabase(t)
		f := newFace(t, isCompiled, "1s", fmt.Sprintf(`
  url = %q
  api_key = "${DEEPAFFECTS_API_KEY}"
  request_id_files = [%q]
  requests_per_minute = 60000
  requests_per_day = 1000000
  not_found_grace = "1s"
  job_labels = ["team"]
  word_points = true
  state_directory = %q
`, serve(t, sim.ServeHTTP), ids, filepath.Join(t.TempDir(), "state")), db.output())
		var logs strings.Builder
		want := make(map[string]int) // ends, by state
		another := func(others ...simulator.Outcome) {
			submit(t, sim, ids, others...)
			want["completed"] += len(simulator.APIs())
			for _, outcome := range others {
				switch outcome {
				case simulator.Failed, simulator.CompletedWithFault:
					want["failed"]++
				case simulator.Unknown:
					want["lost"]++
				}
			}
		}
		inFile := func(t *testing.T) {
			t.Helper()
			eventually(t, "the ends in the file", func() (string, bool) {
				n := make(map[string]int)
				for _, state := range f.ends(t) {
					n[state]++
				}
				return fmt.Sprint(n), maps.Equal(n, want)
			})
		}
		inDatabase := func(t *testing.T) {
			t.Helper()
			eventually(t, "the ends in InfluxDB", func() (string, bool) {
				counts, err := db.query(
					"SELECT count(state_code) FROM deepaffects_job WHERE state != 'running' GROUP BY state")
				if err != nil {
					return err.Error(), false // Telegraf has not created the database yet
				}
				n := make(map[string]int)
				for _, r := range counts {
					n[r.Tags["state"]], _ = strconv.Atoi(r.Values[0][1].(json.Number).String())
				}
				return fmt.Sprint(n), maps.Equal(n, want)
			})
		}

		influxdb := db.start(t)
		another(simulator.Failed, simulator.CompletedWithFault, simulator.Stuck, simulator.Unknown)
		telegraf := f.start(t)
		inDatabase(t)

		stop(t, influxdb)
		another(simulator.Failed)
		inFile(t)
		gathers := len(f.written(t)["deepaffects"])
		eventually(t, "five more gathers", func() (string, bool) {
			n := len(f.written(t)["deepaffects"])
			return strconv.Itoa(n), n >= gathers+5 // longer than -delivered_after
		})
		influxdb = db.start(t)
		inDatabase(t)

		stop(t, telegraf)
		logs.WriteString(telegraf.output())
		another(simulator.Failed)
		telegraf = f.start(t)
		inDatabase(t)
		stop(t, telegraf)
		logs.WriteString(telegraf.output())
		wantContract(t, db)
		wantSame(t, f.written(t), db.points(t), slices.Collect(maps.Keys(contract))...)

		if isCompiled {
			telegraf = f.start(t)
			awaitText(t, f.metrics, "deepaffects_up{")
			stop(t, influxdb)
			another(simulator.Failed)
			inFile(t)
			if err := telegraf.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-telegraf.done
			logs.WriteString(telegraf.output())
			db.start(t)
			telegraf = f.start(t)
			inDatabase(t)
			stop(t, telegraf)
			logs.WriteString(telegraf.output())
			wantSame(t, f.written(t), db.points(t), "deepaffects_job", "deepaffects_speaker")
		}
		wantConsistent(t, sim, db.points(t), logs.String())
		wantNoErrors(t, logs.String())
		if !isCompiled { // the points of both ways are the same
			testSQL(t, f)
		}
	})
}

// wantContract fails if InfluxDB has other fields, types or tags than the contract.
func wantContract(t *testing.T, db *database) {
	t.Helper()
	for name, want := range contract {
		types := make(map[string]string)
		for text, kind := range map[string]string{
			want.integers: "integer", want.floats: "float", want.strings: "string",
		} {
			for _, field := range strings.Fields(text) {
				types[field] = kind
			}
		}
		got := make(map[string]string)
		for _, r := range db.mustQuery(t, fmt.Sprintf("SHOW FIELD KEYS FROM %q", name)) {
			for _, row := range r.Values {
				if _, twice := got[row[0].(string)]; twice {
					t.Errorf("%s: %s has two types", name, row[0])
				}
				got[row[0].(string)] = row[1].(string)
			}
		}
		if !maps.Equal(got, types) {
			t.Errorf("%s has the fields\n%v, want\n%v", name, got, types)
		}
		var tags []string
		for _, r := range db.mustQuery(t, fmt.Sprintf("SHOW TAG KEYS FROM %q", name)) {
			for _, row := range r.Values {
				tags = append(tags, row[0].(string))
			}
		}
		if !slices.Equal(tags, strings.Fields(want.tags)) {
			t.Errorf("%s has the tags %v, want %s", name, tags, want.tags)
		}
	}
}

// wantSame fails if a point of a measurement is missing from InfluxDB, has other fields
// there, or was never written.
func wantSame(t *testing.T, written, stored measurements, names ...string) {
	t.Helper()
	for _, name := range names {
		wrong := 0
		for key, fields := range written[name] {
			if !reflect.DeepEqual(stored[name][key], fields) {
				if wrong++; wrong <= 3 {
					t.Errorf("%s %s: InfluxDB has\n%v, Telegraf wrote\n%v", name, key, stored[name][key], fields)
				}
			}
		}
		if len(written[name]) == 0 || len(stored[name]) != len(written[name]) || wrong > 0 {
			t.Errorf("%s: %d of %d points differ in InfluxDB, which has %d",
				name, wrong, len(written[name]), len(stored[name]))
		}
	}
}

// wantConsistent fails if the points contradict the simulator, the log, or each other.
func wantConsistent(t *testing.T, sim *simulator.Simulator, stored measurements, logs string) {
	t.Helper()
	truth := make(map[string]simulator.JobRecord)
	for _, job := range sim.Jobs() {
		truth[job.RequestID] = job
	}
	observed := make(map[string]bool)
	for _, m := range changed.FindAllStringSubmatch(logs, -1) {
		observed[m[1]+" "+m[2]] = true
	}
	ends := 0 // the log has no other state changes
	for _, point := range stored["deepaffects_job"] {
		if code, _ := point["state_code"].(float64); code >= 2 {
			ends++
		}
	}
	if ends != len(observed) || ends == 0 {
		t.Errorf("InfluxDB has %d ends of jobs, the log %d", ends, len(observed))
	}
	parts := make(map[string]int) // points of words and speakers, by measurement and job
	for _, name := range []string{"deepaffects_word", "deepaffects_speaker"} {
		for _, point := range stored[name] {
			parts[name+point["request_id"].(string)]++
		}
	}
	counted := map[string]int{"words": 0, "speakers": 0}
	for key, point := range stored["deepaffects_job"] {
		id := point["request_id"].(string)
		job := truth[id]
		if code, want := point["error_code"], job.ErrorCode; point["state_code"] == 3.0 && code != want {
			t.Errorf("%s: error code %q, want %q", key, code, want)
		}
		if !strings.Contains(key, `team="Sales, \"EU\"=South"`) {
			t.Errorf("%s: wrong label", key)
		}
		// Word points are lost if Telegraf is killed.
		if n, words := parts["deepaffects_word"+id], point["words"]; words != nil && n > 0 {
			counted["words"]++
			if float64(n) != words {
				t.Errorf("%s: %d points of %v words", id, n, words)
			}
		}
		// Not every result with a number of speakers says who talks when, and in a short
		// one not every speaker has a turn.
		if n, speakers := parts["deepaffects_speaker"+id], point["num_speakers"]; speakers != nil && n > 0 {
			counted["speakers"]++
			if s, _ := speakers.(float64); float64(n) > s {
				t.Errorf("%s: %d points of %v speakers", id, n, speakers)
			}
		}
	}
	if counted["words"] < 3 || counted["speakers"] < 3 {
		t.Errorf("jobs with points of words and speakers: %v", counted)
	}
}

// wantNoErrors fails if Telegraf logged other errors than that InfluxDB is down.
func wantNoErrors(t *testing.T, logs string) {
	t.Helper()
	down := 0
	for line := range strings.Lines(logs) {
		// inputs.execd may log this error for its pipes when it stops.
		if !strings.Contains(line, " E! ") || strings.Contains(line, "file already closed") {
			continue
		}
		// InfluxDB returns 500 while it stops.
		if strings.Contains(line, "connection refused") || strings.Contains(line, ": 500 Internal Server Error: ") ||
			strings.Contains(line, "could not write any address") {
			down++
			continue
		}
		t.Errorf("Telegraf logged %s", line)
	}
	if down == 0 {
		t.Error("Telegraf did not log that InfluxDB is down")
	}
}
