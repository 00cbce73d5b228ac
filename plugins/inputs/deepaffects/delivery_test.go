package deepaffects

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/models"
	"github.com/influxdata/telegraf/plugins/serializers/influx"
)

// ends is an API at which every job has ended: those with "fail" in their ID
// failed.
type ends struct{}

func (ends) RoundTrip(r *http.Request) (*http.Response, error) {
	id := r.URL.Query().Get("request_id")
	body := `{"status":"Completed","response":{"request_id":"` + id + `","response":{"words":[
		{"speaker_id":"a","start":0.5,"end":1,"confidence":0.5},
		{"speaker_id":"b","start":0.5,"end":2},
		{"speaker_id":"b","start":3,"end":3.25,"confidence":1}]}}}`
	if strings.Contains(id, "fail") {
		body = `{"status":"Failed","response":{"request_id":"` + id + `","response":
			{"fault":{"detail":{"error_code":"com.deepaffects.BadRequest"}}}}}`
	}
	return response(r, body), nil
}

func response(r *http.Request, body string) *http.Response {
	return &http.Response{
		StatusCode: 200, Header: make(http.Header), Request: r, Body: io.NopCloser(strings.NewReader(body)),
	}
}

const table = "[[inputs.deepaffects]]\napi_key = \"key\"\nrequests_per_minute = 0\nrequests_per_day = 0\n"

// begin starts the plugin with these options in addition, without accepting
// anything.
func begin(t *testing.T, options string, change func(*DeepAffects)) *pipeline {
	t.Helper()
	input, err := load(t, table+options)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(input.Input.(*DeepAffects))
	}
	return start(t, input, ends{}, false)
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// gathered gathers and returns the points about jobs that came.
func (p *pipeline) gathered(t *testing.T) (metrics []telegraf.Metric) {
	t.Helper()
	p.gather(t)
	return p.emitted()
}

// emitted returns the points about jobs that came without a gather.
func (p *pipeline) emitted() (metrics []telegraf.Metric) {
	synctest.Wait()
	for _, m := range p.take() {
		if m.Name() != "deepaffects" {
			metrics = append(metrics, m)
		}
	}
	return metrics
}

// texts are points as outputs.file writes them.
func texts(metrics []telegraf.Metric) (all []string) {
	s := new(influx.Serializer)
	if err := s.Init(); err != nil {
		return []string{err.Error()}
	}
	for _, m := range metrics {
		line, err := s.Serialize(m)
		all = append(all, strings.TrimSpace(string(line)+fmt.Sprint(err)))
	}
	return all
}

func accept(metrics []telegraf.Metric) {
	for _, m := range metrics {
		m.Accept()
	}
	synctest.Wait()
}

func wantNone(t *testing.T, when string, metrics []telegraf.Metric) {
	t.Helper()
	if len(metrics) > 0 {
		t.Errorf("%s: %q", when, texts(metrics))
	}
}

// wantSame fails where the points are not the ones of before, byte for byte.
func wantSame(t *testing.T, when string, before, after []telegraf.Metric) {
	t.Helper()
	if diff := cmp.Diff(texts(before), texts(after)); diff != "" || len(before) == 0 {
		t.Errorf("%s: %d points (-before +after):\n%s", when, len(before), diff)
	}
}

// What Telegraf's outputs have accepted is not emitted again; all else is, as the
// same points, until they have.
func TestDelivery(t *testing.T) {
	in := func(t *testing.T, test func(*testing.T, string)) {
		options := fmt.Sprintf("state_directory = %q\nrequest_ids = [\"a\", \"fail\"]\n", filepath.Join(t.TempDir(), "state"))
		synctest.Test(t, func(t *testing.T) { test(t, options) })
	}
	t.Run("accepted", func(t *testing.T) {
		in(t, func(t *testing.T, options string) {
			p := begin(t, options, nil)
			pass(time.Minute)
			first := p.gathered(t)
			if len(named(first, "deepaffects_job")) != 2 || len(named(first, "deepaffects_speaker")) != 2 {
				t.Errorf("%q", texts(first))
			}
			wantNone(t, "on their way", p.gathered(t))
			accept(first)
			pass(time.Hour)
			wantNone(t, "accepted", p.gathered(t))
			p.stop()
			p = begin(t, options, nil)
			defer p.stop()
			pass(time.Hour)
			wantNone(t, "after a restart", p.gathered(t))
		})
	})
	t.Run("not answered", func(t *testing.T) {
		in(t, func(t *testing.T, options string) {
			p := begin(t, options, nil)
			pass(time.Minute)
			first := p.gathered(t)
			pass(time.Hour)
			wantNone(t, "on their way", p.gathered(t))
			p.stop()
			p = begin(t, options, nil)
			defer p.stop()
			wantSame(t, "after a restart", first, p.gathered(t))
		})
	})
	t.Run("rejected", func(t *testing.T) {
		in(t, func(t *testing.T, options string) {
			p := begin(t, options, nil)
			defer p.stop()
			pass(time.Minute)
			first := p.gathered(t)
			for _, m := range first {
				if m.Tags()["state"] == "completed" {
					m.Accept() // the rest of its group is not
				} else {
					m.Reject()
				}
			}
			pass(firstPause - time.Second)
			wantNone(t, "soon after a rejection", p.gathered(t))
			pass(time.Second)
			second := p.gathered(t)
			wantSame(t, "later", first, second)
			accept(second)
			pass(time.Hour)
			wantNone(t, "accepted", p.gathered(t))
		})
	})
	t.Run("accepted when Telegraf has stopped the plugin", func(t *testing.T) {
		in(t, func(t *testing.T, options string) {
			p := begin(t, options, nil)
			pass(time.Minute)
			first := p.gathered(t)
			p.stop()
			jobs := named(first, "deepaffects_job")
			accept(named(first, "deepaffects_speaker"))
			accept(jobs[:1]) // its last flush writes these
			p = begin(t, options, nil)
			second := p.gathered(t)
			if left := named(second, "deepaffects_job"); len(left) != 1 || left[0].Tags()["state"] != jobs[1].Tags()["state"] {
				t.Errorf("after a restart: %q", texts(second))
			}
			p.stop()
			accept(second)
			p = begin(t, options, nil)
			defer p.stop()
			wantNone(t, "after another", p.gathered(t))
		})
	})
	t.Run("filtered out", func(t *testing.T) {
		in(t, func(t *testing.T, options string) {
			p := begin(t, options+"namedrop = [\"deepaffects_*\"]\n", nil)
			pass(time.Minute)
			wantNone(t, "filtered", p.gathered(t))
			synctest.Wait()
			p.stop()
			p = begin(t, options, nil)
			defer p.stop()
			wantNone(t, "after a restart", p.gathered(t)) // what nobody wants is delivered
		})
	})
	t.Run("accepted from a buffer on disk", func(t *testing.T) {
		in(t, func(t *testing.T, options string) {
			buffer, err := models.NewBuffer("file", "id", "", 10, "disk_write_through", t.TempDir(), false)
			if err != nil {
				t.Fatal(err)
			}
			defer buffer.Close()
			p := begin(t, options, nil)
			defer p.stop()
			pass(time.Minute)
			first := p.gathered(t)
			buffer.Add(first...)
			transaction := buffer.BeginTransaction(10)
			if diff := cmp.Diff(texts(first), texts(transaction.Batch)); diff != "" {
				t.Errorf("(-emitted +written):\n%s", diff)
			}
			transaction.AcceptAll()
			buffer.EndTransaction(transaction)
			synctest.Wait()
			if waiting := p.plugin.account.StateChanges(10); len(waiting) > 0 {
				t.Errorf("%d state changes are not delivered", len(waiting))
			}
		})
	})
	t.Run("without acknowledgements", func(t *testing.T) {
		in(t, func(t *testing.T, options string) {
			external := func(d *DeepAffects) { d.DeliveredAfter = 30 * time.Second }
			p := begin(t, options, external)
			pass(time.Minute)
			first := p.gathered(t)
			accept(first) // they are in the pipe
			pass(20 * time.Second)
			wantNone(t, "on their way", p.gathered(t))
			p.stop()
			p = begin(t, options, external)
			second := p.gathered(t)
			wantSame(t, "after an early end", first, second)
			accept(second)
			pass(30 * time.Second)
			wantNone(t, "on their way", p.gathered(t)) // Telegraf has come back
			p.stop()
			p = begin(t, options, external)
			defer p.stop()
			pass(time.Hour)
			wantNone(t, "after a late end", p.gathered(t))
		})
	})
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := begin(t, "request_ids = [\"a\"]\n", nil)
			pass(time.Minute)
			first := p.gathered(t)
			for _, m := range first {
				m.Reject()
			}
			pass(firstPause)
			second := p.gathered(t)
			wantSame(t, "rejected", first, second)
			p.stop()
			accept(second)
		})
	})
}

// What an output never takes is offered ever more rarely, and keeps no other change
// from its turn.
func TestNeverAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, failing(1000)+"webhook_token = \"token\"\n", nil)
		defer p.stop()
		pass(time.Hour)
		offers, other := 0, 0
		for minute := range 5 * 60 {
			if minute == 3 {
				body := io.NopCloser(strings.NewReader(`{"request_id":"other","response":null}`))
				if _, err := p.plugin.account.Webhook(body, false); err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range p.gathered(t) {
				switch id, _ := m.GetField("request_id"); id {
				case "other":
					other++
					if m.Accept(); minute > 4 {
						t.Errorf("it waited until minute %d", minute)
					}
				case "fail-7":
					offers++
					m.Reject()
				default:
					m.Reject()
				}
			}
			pass(time.Minute)
		}
		if other != 1 || offers < 8 || offers > 11 {
			t.Errorf("the other was offered %d times, one that is always rejected %d times in five hours", other, offers)
		}
	})
}

// No more changes are on their way through Telegraf at once than its buffers hold.
func TestManyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, failing(2500), nil)
		defer p.stop()
		pass(time.Hour)
		seen := make(map[string]bool)
		times := make(map[int64]bool)
		for _, want := range []int{1000, 1000, 500, 0} {
			metrics := p.gathered(t)
			if len(metrics) != want {
				t.Errorf("%d at once, want %d", len(metrics), want)
			}
			wantNone(t, "while they are on their way", p.gathered(t))
			for _, m := range metrics {
				id, _ := m.GetField("request_id")
				seen[fmt.Sprint(id)] = true
				times[m.Time().UnixNano()] = true
			}
			accept(metrics)
		}
		if len(seen) != 2500 || len(times) != 2500 {
			t.Errorf("%d jobs at %d times", len(seen), len(times))
		}
	})
}

// failing returns the option request_ids with n jobs that have failed.
func failing(n int) string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("%q", fmt.Sprintf("fail-%d", i)))
	}
	return "request_ids = [" + strings.Join(ids, ",") + "]\n"
}

// An output that is down does not keep state changes from the others. It is logged once
// that it is down, and once that all outputs have everything.
func TestOneOutputDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger.RedirectLogging(&log)
		defer logger.RedirectLogging(io.Discard)
		p := begin(t, failing(2600), nil)
		defer p.stop()
		pass(time.Hour)
		var down []telegraf.Metric
		seen := make(map[any]int)
		up := func() {
			for metrics := p.gathered(t); len(metrics) > 0; metrics = p.emitted() {
				for _, m := range metrics {
					id, _ := m.GetField("request_id")
					seen[id]++
					down = append(down, m.Copy())
					m.Accept()
				}
			}
		}
		wantLines := func(when string, want ...string) {
			t.Helper()
			got := regexp.MustCompile(`([WI]! )\[.*\] \(.*?\) (\S.*have accepted .*)`).FindAllStringSubmatch(log.String(), -1)
			matches := len(got) == len(want)
			for i := range min(len(got), len(want)) {
				matches = matches && strings.HasPrefix(got[i][1]+got[i][2], want[i])
			}
			if !matches {
				t.Errorf("%s: logged %q, want %q", when, got, want)
			}
		}
		up()
		if len(seen) != 2600 || len(down) != 2600 {
			t.Errorf("the output that is up has %d state changes, and %d points", len(seen), len(down))
		}
		wantLines("at once")
		for range 10 {
			pass(10 * time.Second)
			up()
		}
		const warning = "W! 2600 state changes wait for the outputs (0 were rejected), some for more than 60 s; "
		wantLines("after a while", warning)
		accept(down)
		pass(time.Minute)
		wantNone(t, "when it is up again", p.gathered(t))
		pass(time.Minute)
		p.gathered(t)
		wantLines("when it is up again", warning, "I! All outputs have accepted")
	})
}

// While an output is down, what its full buffer has rejected is not repeated: the others
// have it.
func TestRejectedByOutputThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, failing(100), nil)
		defer p.stop()
		pass(time.Hour)
		var down []telegraf.Metric
		emitted := p.gathered(t)
		for i, m := range emitted {
			if c := m.Copy(); i < 60 {
				c.Reject()
			} else {
				down = append(down, c)
			}
			m.Accept()
		}
		for range 50 {
			pass(time.Minute)
			wantNone(t, "while the output is down", p.gathered(t))
		}
		accept(down)
		wantSame(t, "when it is up", emitted[:60], p.gathered(t))
	})
}

// A backlog is delivered at 2,000 state changes a second and more, whatever Telegraf's
// interval is: as the outputs accept them, or without acknowledgements at a steady rate.
func TestBacklog(t *testing.T) {
	const n, seconds = 4000, 2
	for _, deliveredAfter := range []time.Duration{0, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			input, err := load(t, table+failing(n))
			if err != nil {
				t.Fatal(err)
			}
			input.Input.(*DeepAffects).DeliveredAfter = deliveredAfter
			p := start(t, input, ends{}, false)
			defer p.stop()
			pass(time.Hour)
			emitted, most := p.gathered(t), 0
			total := 0
			for range seconds * 10 {
				total += len(emitted)
				most = max(most, len(emitted))
				accept(emitted)
				pass(100 * time.Millisecond)
				emitted = p.emitted()
			}
			if total != n || most > 1000 {
				t.Errorf("delivered after %s: %d state changes in %d s, at most %d at once",
					deliveredAfter, total, seconds, most)
			}
			for range 5 {
				pass(10 * time.Second)
				wantNone(t, "later", p.gathered(t))
			}
			if waiting := p.plugin.account.StateChanges(n); len(waiting) > 0 {
				t.Errorf("delivered after %s: %d state changes are not delivered", deliveredAfter, len(waiting))
			}
		})
	}
}

// A file of late acknowledgements that is damaged, or of another store, takes
// nothing away.
func TestStrangeLateFile(t *testing.T) {
	state := t.TempDir()
	options := fmt.Sprintf("state_directory = %q\nrequest_ids = [\"a\"]\n", state)
	late := filepath.Join(state, lateFile)
	if err := os.WriteFile(late, []byte("1 12345\nnonsense\n2"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, options, nil)
		pass(time.Minute)
		first := p.gathered(t)
		p.stop()
		if err := os.WriteFile(late, []byte("1 12345\nnonsense\n2"), 0o600); err != nil {
			t.Fatal(err)
		}
		p = begin(t, options, nil)
		defer p.stop()
		wantSame(t, "with a strange file", first, p.gathered(t))
	})
	if _, err := os.Stat(late); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// After Stop, also of one that never started, nothing is emitted, and Start works
// again.
func TestStopAndStartAgain(t *testing.T) {
	input, err := load(t, table+"request_ids = [\"a\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		input.Stop()
		p := start(t, input, ends{}, true)
		pass(time.Minute)
		input.Stop()
		input.Stop()
		p.gather(t)
		synctest.Wait()
		wantNone(t, "after Stop", p.take())
		if err := input.Start(p.acc); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		p.gather(t)
		synctest.Wait()
		if got := p.take(); len(named(got, "deepaffects_job")) != 1 {
			t.Errorf("after another Start: %q", texts(got))
		}
		p.stop()
	})
}

// The key is asked for each time, as a secret store may have another.
func TestKeyChanges(t *testing.T) {
	input, err := load(t, table)
	if err != nil {
		t.Fatal(err)
	}
	plugin := input.Input.(*DeepAffects)
	plugin.RequestIDs = []string{"a"}
	plugin.APIKey = config.NewSecret([]byte("@{store:key}"))
	var rotations atomic.Int64
	if err := plugin.APIKey.Link(map[string]telegraf.ResolveFunc{"@{store:key}": func() ([]byte, bool, error) {
		return fmt.Appendf(nil, "key-%d", rotations.Load()), true, nil
	}}); err != nil {
		t.Fatal(err)
	}
	keys := make(chan string, 10)
	api := roundTripper(func(r *http.Request) (*http.Response, error) {
		keys <- r.URL.Query().Get("apikey")
		return &http.Response{StatusCode: 401, Header: make(http.Header), Request: r, Body: http.NoBody}, nil
	})
	synctest.Test(t, func(t *testing.T) {
		p := start(t, input, api, true)
		defer p.stop()
		pass(time.Minute)
		rotations.Add(1)
		pass(time.Hour)
		if first, second := <-keys, <-keys; first != "key-0" || second != "key-1" {
			t.Errorf("asked with %q and %q", first, second)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The words of a long conversation come in portions, and the job after them; other
// jobs need not wait.
func TestManyWords(t *testing.T) {
	var words strings.Builder
	for i := range 12_000 {
		fmt.Fprintf(&words, `,{"start":%d,"end":%d}`, i, i+1)
	}
	api := roundTripper(func(r *http.Request) (*http.Response, error) {
		id := r.URL.Query().Get("request_id")
		if id != "long" {
			return ends{}.RoundTrip(r)
		}
		body := `{"status":"Completed","response":{"request_id":"long","response":{"words":[` + words.String()[1:] + `]}}}`
		return response(r, body), nil
	})
	input, err := load(t, table+"request_ids = [\"long\", \"fail\"]\nword_points = true\n")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := start(t, input, api, true)
		defer p.stop()
		pass(time.Minute)
		var got []string
		indices := make(map[any]bool)
		for range 4 {
			metrics := p.gathered(t)
			for _, m := range named(metrics, "deepaffects_word") {
				index, _ := m.GetField("index")
				indices[index] = true
			}
			var jobs []string
			for _, m := range named(metrics, "deepaffects_job") {
				jobs = append(jobs, m.Tags()["state"])
			}
			got = append(got, fmt.Sprint(len(named(metrics, "deepaffects_word")), jobs))
		}
		want := []string{"5000 [failed]", "5000 []", "2000 [completed]", "0 []"}
		if !slices.Equal(got, want) || len(indices) != 12_000 {
			t.Errorf("%q with %d words, want %q", got, len(indices), want)
		}
	})
}

// A change that is accepted while others are emitted is not emitted again.
func TestAcceptedMeanwhile(t *testing.T) {
	input, err := load(t, table+"request_ids = [\"fail-1\", \"fail-2\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := start(t, input, ends{}, false)
		defer p.stop()
		pass(time.Minute)
		first := p.gathered(t)
		if len(first) != 2 {
			t.Fatalf("%q", texts(first))
		}
		first[0].Reject()
		pass(longestPause)
		// The first comes again, and the second is accepted at that moment.
		emitting := p.plugin.delivery.acc
		p.plugin.delivery.acc = &meanwhile{Accumulator: emitting, do: sync.OnceFunc(func() { accept(first[1:]) })}
		wantSame(t, "accepted meanwhile", first[:1], p.gathered(t))
	})
}

// meanwhile is an accumulator that does something before it takes a point.
type meanwhile struct {
	telegraf.Accumulator
	do func()
}

func (m *meanwhile) AddMetric(metric telegraf.Metric) {
	m.do()
	m.Accumulator.AddMetric(metric)
}
