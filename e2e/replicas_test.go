//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

const (
	testLease    = 3 * time.Second
	testReplicas = 3
)

// perMinute are the quotas of the accounts; 0: none.
var perMinute = []int{0, 0, 0, 60, 20}

// TestReplicas lets three exporters on one PostgreSQL meet FAULTS faults: killed, paused for longer than the lease, cut
// off from the database, and the database restarted or replaced by its synchronous standby. Registrations and webhooks
// go to random replicas. At the end it compares everything with what was acknowledged, and with what the API was asked.
func TestReplicas(t *testing.T) {
	faults := number(t, "FAULTS", 8)
	f := newFleet(t)
	for _, r := range f.replicas {
		f.launch(r)
	}
	eventually(t, "all accounts owned", f.settled)

	load, endLoad := context.WithCancel(t.Context())
	var working, scraping sync.WaitGroup
	for range 3 {
		working.Go(func() { f.use(load) })
	}
	watching, endWatching := context.WithCancel(t.Context())
	for _, r := range f.replicas {
		scraping.Go(func() { f.watch(watching, r) })
		scraping.Go(func() { f.ask(watching, r) })
	}
	scraping.Go(func() { f.probe(watching) })
	kinds := []func(){f.kill, f.pause, f.cut, f.restartDatabase, f.failOver}
	var lot []int // kinds, each as often as its share
	for kind, share := range shares(t, "SHARES", []int{60, 40, 20, 10, 5}) {
		lot = append(lot, slices.Repeat([]int{kind}, share)...)
	}
	count := make([]int, len(kinds))
	for i := range faults {
		if i%len(lot) == 0 { // one of each kind, and then in any order
			rand.Shuffle(len(lot), func(a, b int) { lot[a], lot[b] = lot[b], lot[a] })
			for kind := range kinds {
				at := kind + slices.Index(lot[kind:], kind)
				lot[kind], lot[at] = lot[at], lot[kind]
			}
		}
		kind := lot[i%len(lot)]
		kinds[kind]()
		f.between()
		count[kind]++
		if t.Failed() {
			break
		}
	}
	endLoad()
	working.Wait()
	eventually(t, "all accounts owned at the end", f.settled)
	eventually(t, "everything is as acknowledged", f.exact)
	endWatching()
	scraping.Wait()
	f.check()
	t.Logf("%d kills, %d pauses, %d cuts, %d restarts of the database and %d failovers; %d registrations, %d webhooks and "+
		"%d removals acknowledged; %d requests; %d tenures",
		count[0], count[1], count[2], count[3], count[4], len(f.registered), len(f.hooked), len(f.removed), f.requests(),
		len(f.tenures))
	f.reportGaps()
}

// A fleet is some replicas, their database and the API, and what they should know.
type fleet struct {
	t        *testing.T
	server   *pgtest.Server
	standby  *pgtest.Server
	replicas []*testReplica
	way      *pgtest.Proxy // of probe to the database
	url      string        // of the database, by that way
	api      string
	client   *http.Client
	names    []string // of the accounts

	mu         sync.Mutex // guards what follows
	next       int        // number of the next job
	registered map[string]string
	hooked     map[string]time.Time
	removed    map[string]bool
	sent       map[string][]time.Time // by key
	late       []string               // polls after an acknowledged end
	highest    map[string]float64     // that a scrape has shown, by series
	owned      map[string]time.Time   // when an account was last seen owned
	gaps       []event                // in which an account was not seen owned
	faults     []event
	outages    []event // in which the database took no commit
	tenures    map[tenure]*span
}

// A tenure is the time for which a replica owns an account.
type tenure struct {
	account, since string
	replica        int
}

// A span is from when to when a tenure surely lasted: it began before the first answer that tells of it came, and ended
// after the last one was asked for.
type span struct{ from, to time.Time }

// A testReplica is one exporter, with its own way to the database.
type testReplica struct {
	number  int
	config  string
	address string
	way     *pgtest.Proxy // to the database

	mu      sync.Mutex // guards process
	process *process
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{
		t: t, server: pgtest.Start(t), registered: make(map[string]string), hooked: make(map[string]time.Time),
		removed: make(map[string]bool), sent: make(map[string][]time.Time), highest: make(map[string]float64),
		owned: make(map[string]time.Time), tenures: make(map[tenure]*span),
		client: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	f.api = serve(t, f.answer)
	dir := t.TempDir()
	f.standby = f.server.StartStandby(t)
	url := f.server.URL(t)
	f.way = pgtest.NewProxy(t, f.server)
	f.url = f.way.URL(url)
	for i := range testReplicas {
		r := &testReplica{number: i, address: freeport.Address(t), config: filepath.Join(dir, fmt.Sprint(i, ".toml"))}
		r.way = pgtest.NewProxy(t, f.server)
		var text strings.Builder
		f.names = nil
		for n, quota := range perMinute {
			f.names = append(f.names, fmt.Sprint("account-", n))
			fmt.Fprintf(&text, `
[[inputs.deepaffects]]
  account = "account-%d"
  url = %q
  api_key = "key-%d"
  requests_per_minute = %d
  requests_per_day = 0
  webhook_token = "token-%d"
  timeout = "2s"
  job_metrics = "off"
  database_url = %q
  lease = %q
`, n, f.api, n, quota, n, r.way.URL(url), testLease)
		}
		if err := os.WriteFile(r.config, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		f.replicas = append(f.replicas, r)
	}
	return f
}

// answer is the API: a job completes a second after the first request about it. Those of accounts with a quota never
// do.
func (f *fleet) answer(w http.ResponseWriter, r *http.Request) {
	id, key := r.URL.Query().Get("request_id"), r.URL.Query().Get("apikey")
	f.mu.Lock()
	f.sent[key] = append(f.sent[key], time.Now())
	if at, ended := f.hooked[id]; ended && time.Since(at) > 10*time.Second {
		f.late = append(f.late, id)
	}
	n := len(f.sent[id])
	f.sent[id] = append(f.sent[id], time.Now())
	first := f.sent[id][0]
	f.mu.Unlock()
	if n == 0 || time.Since(first) < time.Second || strings.HasPrefix(id, "endless") {
		fmt.Fprint(w, `{"status":"Running"}`)
		return
	}
	fmt.Fprint(w, `{"status":"Completed","response":{"response":{"words":[{"word":"x","start":0,"end":1}]}}}`)
}

func (f *fleet) requests() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for of, sent := range f.sent {
		if strings.HasPrefix(of, "key-") {
			n += len(sent)
		}
	}
	return n
}

func (f *fleet) launch(r *testReplica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = start(f.t, binary, "--config.file="+r.config, "--web.listen-address="+r.address, "--log.level=info")
}

func (f *fleet) random() *testReplica { return f.replicas[rand.IntN(len(f.replicas))] }

// a fault lasts for longer than the lease, so that another replica takes over.
func (f *fleet) outlast() { wait(f.t.Context(), testLease+rand.N(testLease)) }

// between is the time after a fault: sometimes too short for everything to settle.
func (f *fleet) between() { wait(f.t.Context(), rand.N(testLease)) }

func (f *fleet) kill() {
	r := f.random()
	defer f.fault("kill of replica %d", r.number)()
	_ = r.process.Process.Kill()
	<-r.process.done
	f.between()
	f.launch(r)
}

func (f *fleet) pause() {
	r := f.random()
	defer f.fault("pause of replica %d", r.number)()
	_ = r.process.Process.Signal(syscall.SIGSTOP)
	f.outlast()
	_ = r.process.Process.Signal(syscall.SIGCONT)
}

func (f *fleet) cut() {
	r := f.random()
	defer f.fault("cut of replica %d", r.number)()
	r.way.Cut()
	f.outlast()
	r.way.Mend()
}

func (f *fleet) restartDatabase() {
	defer f.databaseFault("restart of the database")()
	if rand.IntN(2) == 0 {
		f.server.Stop()
	} else {
		f.server.Kill()
	}
	if err := f.server.Run(); err != nil {
		f.t.Error(err)
	}
}

// failOver ends the database, and puts its standby in its place, with a new standby.
func (f *fleet) failOver() {
	promoted := f.databaseFault("failover")
	f.server.Kill()
	f.standby.Promote(f.t)
	f.way.Lead(f.standby)
	for _, r := range f.replicas {
		r.way.Lead(f.standby)
	}
	promoted()
	f.between()
	defer f.fault("new standby")()
	f.server.Close()
	f.server = f.standby
	f.standby = f.server.StartStandby(f.t)
}

// use registers and removes jobs, and sends webhooks, at random replicas.
func (f *fleet) use(ctx context.Context) {
	for ctx.Err() == nil {
		f.mu.Lock()
		f.next++
		n := f.next
		f.mu.Unlock()
		account := rand.IntN(len(perMinute))
		id := fmt.Sprint("job-", n)
		if perMinute[account] > 0 {
			id = fmt.Sprint("endless-", n)
		}
		tries := 0
		if n%5 != 0 { // else the webhook tells of it first
			tries = f.insist("POST", "/api/v1/jobs?account="+f.names[account], `{"request_id":"`+id+`"}`, 202)
			if tries == 0 {
				return
			}
			f.note(func() { f.registered[id] = f.names[account] })
		}
		switch {
		case n%5 == 0 || n%3 == 0 || perMinute[account] > 0 && n%2 == 0:
			hook := `{"request_id":"` + id + `","response":{"words":[{"start":0,"end":1},{"start":1,"end":2}]}}`
			if f.insist("POST", fmt.Sprint("/webhook/token-", account), hook, 200) == 0 {
				return
			}
			f.note(func() { f.registered[id], f.hooked[id] = f.names[account], time.Now() })
		case n%7 == 0 && tries == 1: // an earlier registration may be stored later, and the job is tracked again
			if f.insist("DELETE", "/api/v1/jobs/"+id+"?account="+f.names[account], "", 204, 404) == 0 {
				return
			}
			f.note(func() { f.removed[id] = true })
		}
		wait(ctx, rand.N(30*time.Millisecond))
	}
}

func (f *fleet) note(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// insist sends a request to one replica after the other until it is acknowledged, also after the load has ended: what a
// request did whose answer nobody waits for would be unknown. It returns how many it has sent; 0: none is acknowledged.
func (f *fleet) insist(method, path, body string, want ...int) int {
	for tries := 1; f.t.Context().Err() == nil; tries++ {
		request, err := http.NewRequestWithContext(f.t.Context(), method, "http://"+f.random().address+path,
			strings.NewReader(body))
		if err != nil {
			f.t.Error(err)
			return 0
		}
		response, err := f.client.Do(request)
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if slices.Contains(want, response.StatusCode) {
			return tries
		}
		if response.StatusCode != http.StatusServiceUnavailable {
			f.t.Errorf("%s %s: HTTP %d: %s", method, path, response.StatusCode, text)
			return 0
		}
	}
	return 0
}

var ownedSeries = regexp.MustCompile(`(?m)^deepaffects_account_owned\{account="([^"]*)"\} 1$`)

// ask asks a replica time and again which accounts it owns, and since when.
func (f *fleet) ask(ctx context.Context, r *testReplica) {
	for ctx.Err() == nil {
		f.look(r)
		wait(ctx, 100*time.Millisecond)
	}
}

// watch scrapes a replica, and looks whether counters go back and which accounts are owned.
func (f *fleet) watch(ctx context.Context, r *testReplica) {
	for ctx.Err() == nil {
		f.mu.Lock()
		before := maps.Clone(f.highest)
		f.mu.Unlock()
		metrics, err := f.scrape(r)
		if err != nil {
			wait(ctx, 50*time.Millisecond)
			continue
		}
		now := time.Now()
		counters := make(shown)
		_ = counters.check(metrics)
		f.mu.Lock()
		for series, value := range counters {
			if value < before[series] {
				f.t.Errorf("replica %d shows %s %v, and %v was shown before", r.number, series, value, before[series])
			}
			f.highest[series] = max(f.highest[series], value)
		}
		for _, m := range ownedSeries.FindAllStringSubmatch(metrics, -1) {
			if last, was := f.owned[m[1]]; was {
				f.gaps = append(f.gaps, event{m[1], last, now})
			}
			f.owned[m[1]] = now
		}
		f.mu.Unlock()
		wait(ctx, 100*time.Millisecond)
	}
}

// look notes which accounts a replica owns.
func (f *fleet) look(r *testReplica) {
	asked := time.Now()
	body, err := get("http://"+r.address+"/api/v1/status", "application/json")
	answered := time.Now()
	if err != nil {
		return
	}
	var status struct {
		Accounts []struct {
			Account string
			Up      *bool // only the owner knows it
			Owner   struct {
				Since string
				Self  bool
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		f.t.Error(err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range status.Accounts {
		if a.Up == nil || !a.Owner.Self {
			continue
		}
		key := tenure{a.Account, a.Owner.Since, r.number}
		if f.tenures[key] == nil {
			f.tenures[key] = &span{from: answered}
		}
		f.tenures[key].to = asked
	}
}

func (f *fleet) scrape(r *testReplica) (string, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+r.address+"/metrics", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", "text/plain")
	response, err := f.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// settled reports whether each account has one owner.
func (f *fleet) settled() (string, bool) {
	owners := make(map[string]int)
	for _, r := range f.replicas {
		metrics, err := f.scrape(r)
		if err != nil {
			return err.Error(), false
		}
		for _, m := range ownedSeries.FindAllStringSubmatch(metrics, -1) {
			owners[m[1]]++
		}
	}
	for _, name := range f.names {
		if owners[name] != 1 {
			return fmt.Sprint(owners), false
		}
	}
	return "", true
}

// states returns what a replica knows of the jobs of all accounts.
func (f *fleet) states(r *testReplica) (map[string]string, error) {
	states := make(map[string]string)
	for _, account := range f.names {
		for after := ""; ; {
			body, err := get("http://"+r.address+"/api/v1/jobs?limit=1000&account="+account+"&after="+after, "application/json")
			if err != nil {
				return nil, err
			}
			var page struct {
				Jobs []struct {
					RequestID string `json:"request_id"`
					State     string `json:"state"`
				} `json:"jobs"`
				Next string `json:"next"`
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				return nil, err
			}
			for _, j := range page.Jobs {
				states[j.RequestID] = j.State
			}
			if after = page.Next; after == "" {
				break
			}
		}
	}
	return states, nil
}

// exact compares what all replicas know with what was acknowledged.
func (f *fleet) exact() (string, bool) {
	f.mu.Lock()
	registered, hooked, removed := maps.Clone(f.registered), maps.Clone(f.hooked), maps.Clone(f.removed)
	f.mu.Unlock()
	var all string
	for _, r := range f.replicas {
		states, err := f.states(r)
		if err != nil {
			return err.Error(), false
		}
		for id := range registered {
			_, ended := hooked[id]
			switch state := states[id]; {
			case removed[id]:
				if state != "" {
					return fmt.Sprintf("replica %d: %s was removed and is %s", r.number, id, state), false
				}
			case state == "":
				return fmt.Sprintf("replica %d: %s is missing", r.number, id), false
			case (ended || strings.HasPrefix(id, "job-")) != (state == "completed"):
				return fmt.Sprintf("replica %d: %s is %s", r.number, id, state), false
			}
		}
		metrics, err := f.scrape(r)
		if err != nil {
			return err.Error(), false
		}
		all += metrics
	}
	// Each end counts once, and so does each registration.
	sum := func(pattern string) (n int) {
		for _, m := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(all, -1) {
			value, _ := strconv.ParseFloat(m[1], 64)
			n += int(value)
		}
		return n
	}
	tracked, completed := 0, 0
	for id := range registered {
		if !removed[id] {
			tracked++
			if _, ended := hooked[id]; ended || strings.HasPrefix(id, "job-") {
				completed++
			}
		}
	}
	// A job that was removed may have ended before.
	finished := sum(`deepaffects_jobs_finished_total\{[^}]*result="completed"\}`)
	counted := sum(`deepaffects_jobs_registered_total\{[^}]*\}`)
	if finished < completed || finished > completed+len(removed) || counted < len(registered) {
		return fmt.Sprintf("%d of %d finished, %d of %d registered (%d were removed)",
			finished, completed, counted, len(registered), len(removed)), false
	}
	if n := sum(`deepaffects_jobs\{[^}]*\}`); n < tracked {
		return fmt.Sprintf("%d jobs, want %d", n, tracked), false
	}
	return "", true
}

// check compares the requests with the quotas.
func (f *fleet) check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, quota := range perMinute {
		sent := f.sent[fmt.Sprint("key-", n)]
		for i := quota; quota > 0 && i < len(sent); i++ {
			if within := sent[i].Sub(sent[i-quota]); within < time.Minute {
				f.t.Errorf("account-%d: %d requests within %s, and the quota is %d in a minute", n, quota+1, within, quota)
				break
			}
		}
		if len(sent) == 0 {
			f.t.Errorf("account-%d was never polled", n)
		}
	}
	for _, id := range f.late {
		f.t.Errorf("%s was polled more than 10 s after its end was acknowledged", id)
	}
	for a, x := range f.tenures {
		for b, y := range f.tenures {
			if a.account == b.account && a.replica < b.replica && x.from.Before(y.to) && y.from.Before(x.to) {
				f.t.Errorf("%s: replica %d owned it from %s to %s, and replica %d from %s to %s", a.account,
					a.replica, x.from, x.to, b.replica, y.from, y.to)
			}
		}
	}
}
