//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// acknowledged holds what the exporter has acknowledged so far.
type acknowledged struct {
	mu         sync.Mutex      // guards what follows
	registered map[string]bool // registrations with response 202
	ended      map[string]bool // webhooks with response 200
	polled     map[string]int  // requests to the API since the last start
}

func (k *acknowledged) note(m map[string]bool, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m[id] = true
}

// shown is the highest value of each counter that a scrape showed, by series. Histograms are counters, too.
type shown map[string]float64

// check returns an error if a scrape shows less than an earlier one. The counters of an account that is not configured
// are not shown.
func (s shown) check(metrics string) error {
	counts := false // those of the present family
	now, accounts := make(shown), make(map[string]bool)
	account := func(series string) string {
		_, after, _ := strings.Cut(series, `account="`)
		name, _, _ := strings.Cut(after, `"`)
		return name
	}
	for line := range strings.Lines(metrics) {
		line = strings.TrimSpace(line)
		if family, ok := strings.CutPrefix(line, "# TYPE deepaffects_"); ok {
			counts = strings.HasSuffix(family, " counter") || strings.HasSuffix(family, " histogram")
		}
		end := strings.LastIndexByte(line, ' ')
		if !counts || !strings.HasPrefix(line, "deepaffects_") {
			continue
		}
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		now[line[:end]] = value
		accounts[account(line)] = true
	}
	for series, highest := range s {
		if value, ok := now[series]; accounts[account(series)] && (!ok || value < highest) {
			return fmt.Errorf("%s went back from %v to %v", series, highest, value)
		}
	}
	maps.Copy(s, now)
	return nil
}

// counter returns the value of a series in a scrape, 0 if it is missing.
func counter(metrics, series string) int {
	_, after, _ := strings.Cut(metrics, "\n"+series+" ")
	value, _, _ := strings.Cut(after, "\n")
	n, _ := strconv.ParseFloat(value, 64)
	return int(n)
}

// Killed with -9 at any moment under load, the exporter loses nothing that it has
// acknowledged, counts nothing twice, and no counter is ever less than a scrape showed. CRASHES is the number of
// crashes. docs/reliability.md has the results of a long run.
func TestCrashes(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { crashMany(t, sqliteStore, number(t, "CRASHES", 10)) })
	t.Run("PostgreSQL", func(t *testing.T) { crashMany(t, postgresStore, number(t, "CRASHES", 3)) })
}

func crashMany(t *testing.T, newStore func(*testing.T) storage, crashes int) {
	for done := 0; done < crashes; done += crashesPerStore {
		crash(t, newStore(t), min(crashes-done, crashesPerStore))
	}
}

// A storage is where an exporter stores.
type storage struct {
	flags   []string
	options string // in the table of each account
}

func sqliteStore(t *testing.T) storage {
	return storage{flags: []string{"--storage.path=" + filepath.Join(t.TempDir(), "data")}}
}

func postgresStore(t *testing.T) storage {
	return storage{options: fmt.Sprintf("  database_url = %q\n  lease = \"1s\"\n", pgtest.Start(t).URL(t))}
}

// awaitOwned waits until an exporter owns accounts, and shows all that is theirs.
func awaitOwned(t *testing.T, base string, accounts ...string) {
	t.Helper()
	for _, account := range accounts {
		awaitText(t, base+"/metrics", `deepaffects_account_owned{account="`+account+`"} 1`)
	}
}

// crashesPerStore is the number of crashes with one store. The store grows with each
// crash, and with it the time to check its contents.
const crashesPerStore = 100

// crash kills an exporter and starts it again on the same store, crashes times.
func crash(t *testing.T, store storage, crashes int) {
	known := &acknowledged{
		registered: make(map[string]bool), ended: make(map[string]bool), polled: make(map[string]int),
	}
	first := make(map[string]time.Time)
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("request_id")
		known.mu.Lock()
		known.polled[id]++
		begun, seen := first[id]
		if !seen {
			begun = time.Now()
			first[id] = begun
		}
		known.mu.Unlock()
		if time.Since(begun) < 200*time.Millisecond {
			fmt.Fprint(w, `{"status":"Running"}`)
			return
		}
		fmt.Fprint(w, `{"status":"Completed","response":{"response":{"words":[{"word":"x","start":0,"end":1}]}}}`)
	})
	// The second account has a quota, and jobs that never end and spend it.
	const perMinute = 60
	var mu sync.Mutex
	var sent []time.Time
	limited := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		sent = append(sent, time.Now())
		mu.Unlock()
		fmt.Fprint(w, `{"status":"Running"}`)
	})
	var endless []string
	for i := range 200 {
		endless = append(endless, fmt.Sprintf("%q", fmt.Sprint("endless-", i)))
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`
[[inputs.deepaffects]]
  url = %q
  api_key = "key"
  requests_per_minute = 0
  requests_per_day = 0
  webhook_token = "token"
  max_job_series = 1
%s[[inputs.deepaffects]]
  account = "limited"
  url = %q
  api_key = "other"
  requests_per_minute = %d
  requests_per_day = 0
  request_ids = [%s]
%s`, api, store.options, limited, perMinute, strings.Join(endless, ", "), store.options)
	writeFile(t, config, text)
	// A connection does not outlive the process.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post := func(url, body string) int {
		resp, err := client.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	counters := make(shown)
	check := func(when, base string, round int) {
		metrics, err := get(base+"/metrics", "text/plain")
		if err != nil {
			return // the exporter was killed
		}
		if err := counters.check(metrics); err != nil {
			t.Fatalf("round %d, %s: %v", round, when, err)
		}
		registered, tracked := 0, 0
		for _, source := range []string{"http", "webhook"} {
			registered += counter(metrics, `deepaffects_jobs_registered_total{account="default",source="`+source+`"}`)
		}
		for _, state := range []string{"pending", "running", "completed", "failed", "lost"} {
			tracked += counter(metrics, `deepaffects_jobs{account="default",state="`+state+`"}`)
		}
		finished := counter(metrics, `deepaffects_jobs_finished_total{account="default",api="unknown",result="completed"}`)
		completed := counter(metrics, `deepaffects_jobs{account="default",state="completed"}`)
		if registered != tracked || finished != completed {
			t.Fatalf("round %d, %s: %d registered and %d tracked, %d finished and %d completed",
				round, when, registered, tracked, finished, completed)
		}
	}
	for round := range crashes + 1 { // the last start only checks
		address := freeport.Address(t)
		base := "http://" + address
		known.mu.Lock()
		ended := make(map[string]bool)
		for id := range known.ended {
			ended[id] = true
		}
		clear(known.polled)
		known.mu.Unlock()
		p := start(t, binary, append(store.flags, "--config.file="+config, "--web.listen-address="+address,
			"--log.level=error")...)
		awaitText(t, base+"/-/ready", "ready")
		awaitOwned(t, base, "default", "limited")
		check("after the start", base, round)

		// All acknowledged data is present.
		states, err := listed(base, "default")
		if err != nil {
			t.Fatal(err)
		}
		known.mu.Lock()
		for id := range known.registered {
			if states[id] == "" {
				t.Errorf("round %d: %s was registered and is missing", round, id)
			}
		}
		for id := range ended {
			if states[id] != "completed" {
				t.Errorf("round %d: a webhook reported the end of %s, and its state is %q", round, id, states[id])
			}
		}
		known.mu.Unlock()

		// Load until the kill.
		var load sync.WaitGroup
		for g := range 4 {
			load.Go(func() {
				for n := 0; ; n++ {
					id := fmt.Sprintf("%d-%d-%d", round, g, n)
					if post(base+"/api/v1/jobs?account=default", `{"request_id":"`+id+`"}`) != http.StatusAccepted {
						return
					}
					known.note(known.registered, id)
					if n%2 == 0 {
						if g%2 == 0 {
							id += "-adopted"
						}
						hook := `{"request_id":"` + id + `","response":{"words":[{"start":0,"end":1}]}}`
						if post(base+"/webhook/token", hook) != http.StatusOK {
							return
						}
						known.note(known.ended, id)
					}
					if n%4 == 1 { // what is refused is counted, too
						malformed := post(base+"/webhook/token", `{"request_id":`)
						unauthorized := post(base+"/webhook/wrong", `{}`)
						if malformed != http.StatusBadRequest || unauthorized != http.StatusNotFound {
							return
						}
					}
				}
			})
		}
		kill := time.After(time.Duration(50+rand.IntN(500)) * time.Millisecond)
		for alive := true; alive; {
			check("under load", base, round)
			select {
			case <-kill:
				alive = false
			default:
			}
		}
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.done
		load.Wait()
		known.mu.Lock()
		for id := range ended {
			if known.polled[id] > 0 {
				t.Errorf("round %d: %s had ended before the start and was polled", round, id)
			}
		}
		known.mu.Unlock()
		if p.output() != "" {
			t.Errorf("round %d: the exporter logged:\n%s", round, p.output())
		}
		if t.Failed() {
			return
		}
	}
	for i := perMinute; i < len(sent); i++ {
		if within := sent[i].Sub(sent[i-perMinute]); within < time.Minute {
			t.Fatalf("%d requests within %s", perMinute+1, within)
		}
	}
	for _, series := range []string{
		`deepaffects_jobs_evicted_total{account="default",reason="limit"}`,
		`deepaffects_webhook_requests_total{account="default",outcome="malformed"}`,
		`deepaffects_webhook_requests_total{account="default",outcome="unauthorized"}`,
	} {
		if counters[series] == 0 {
			t.Errorf("%s was not tested", series)
		}
	}
	if len(sent) < perMinute/2 {
		t.Errorf("only %d requests of the account with a quota", len(sent))
	}
	t.Logf("%d crashes; acknowledged: %d registrations, %d webhooks; "+
		"%d requests to the API, %d of the account with a quota",
		crashes, len(known.registered), len(known.ended),
		int(counters[`deepaffects_api_requests_total{account="default",outcome="ok"}`]), len(sent))
}
