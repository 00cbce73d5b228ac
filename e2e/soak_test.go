//go:build e2e && soak && linux

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// For SOAK, an exporter tracks jobs at an API that knows the truth, while all goes wrong that can: the process, its
// clock, disk and configuration, the API, files, URLs, webhooks and clients. At the end everything must be exact. One
// exporter has the race detector, and is killed and started again and again. Another one is not, and its memory, file
// descriptors and goroutines must not grow: the race detector's own memory does. The tag soak keeps the test from the
// others: it builds the standard library with another clock.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "20s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, killed := range []bool{true, false} {
		t.Run(map[bool]string{true: "killed", false: "never killed"}[killed], func(t *testing.T) {
			program := withClock(t, killed)
			t.Parallel()
			newSoak(t, program, killed).run(length)
		})
	}
}

// withClock builds an exporter whose clock can be set.
func withClock(t *testing.T, race bool) (program string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src/time/time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const reading = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	if bytes.Count(source, []byte(reading)) != 1 {
		t.Fatalf("%s is not as expected", original)
	}
	source = bytes.Replace(source, []byte(reading),
		[]byte("\tsec, nsec, mono := runtimeNow()\n\tsec += ahead()\n\tif mono == 0 {"), 1)
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	added, err := filepath.Abs("testdata/clock.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{
		original: changed, filepath.Join(filepath.Dir(original), "test_clock.go"): added,
	}})
	if err = errors.Join(err, os.WriteFile(changed, source, 0o600), os.WriteFile(overlay, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "deepaffects_exporter")
	build := exec.Command("go", "build", fmt.Sprint("-race=", race), "-overlay", overlay, "-o", program, "../cmd/exporter")
	build.Env = append(os.Environ(), "CGO_ENABLED=1") // as the race detector needs
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// A soak is an exporter, what happens to it, and the truth about it.
type soak struct {
	*testing.T
	program  string
	killed   bool // it is killed and started again
	address  string
	storage  string // on a disk of its own
	config   string
	files    string // directory of the files with request IDs
	clock    string
	log      *os.File
	vendor   *vendor
	process  *os.Process
	ended    chan *os.ProcessState // of process
	client   *http.Client
	renamed  int            // how often accounts were renamed
	happened map[string]int // faults, by name
	begun    time.Time

	mu         sync.Mutex        // guards what follows
	registered map[string]string // source, by request ID: it was acknowledged, or a source names it
	removed    map[string]bool
	halves     int // lines in files whose first half lay there for so long that it may have become a job
	inConfig   []string
	used       []usage
}

// usage is what the process uses.
type usage struct{ goroutines, files, megabytes int }

func newSoak(t *testing.T, program string, killed bool) *soak {
	dir := t.TempDir()
	s := &soak{
		T: t, program: program, killed: killed, address: freeport.Address(t), vendor: newVendor(t, killed),
		storage: filepath.Join(dir, "disk", "data"), config: filepath.Join(dir, "config.toml"),
		files: filepath.Join(dir, "files"), clock: filepath.Join(dir, "clock"),
		client: &http.Client{
			Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		},
		happened: make(map[string]int), registered: make(map[string]string), removed: make(map[string]bool),
		begun: time.Now(),
	}
	var err error
	s.log, err = os.Create(filepath.Join(dir, "log"))
	for _, made := range []string{s.files, filepath.Dir(s.storage)} {
		err = errors.Join(err, os.Mkdir(made, 0o700))
	}
	if err = errors.Join(err, os.WriteFile(s.clock, []byte("+0"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", filepath.Dir(s.storage), "tmpfs", 0, "size=256m"); err != nil {
		t.Fatalf("mounting a disk that can be full: %v; this test needs root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(filepath.Dir(s.storage), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if s.process != nil {
			_ = s.process.Kill()
			<-s.ended
		}
		if text, err := os.ReadFile(s.log.Name()); t.Failed() && err == nil {
			lines := strings.Split(string(text), "\n")
			t.Logf("the end of the log:\n%s", strings.Join(lines[max(len(lines)-60, 0):], "\n"))
		}
	})
	return s
}

func (s *soak) run(length time.Duration) {
	s.configure("")
	s.start()
	var load, checks sync.WaitGroup
	defer load.Wait()
	during, cancel := context.WithTimeout(s.Context(), length)
	defer cancel()
	for _, do := range []func(context.Context){
		s.register, s.register, s.receive, s.write, s.list, s.remove, s.annoy, s.vendor.change,
	} {
		load.Go(func() { do(during) })
	}
	scraping, stopScraping := context.WithCancel(s.Context())
	defer checks.Wait()
	defer stopScraping()
	counters := make(shown)
	checks.Go(func() { s.scrape(scraping, counters) })
	checks.Go(func() { s.vendor.watchItself(scraping) })

	s.spoil(during)

	// Now all is well, and everything must end.
	s.set(0)
	s.configure("")
	if s.killed {
		s.terminate()
		s.start()
	} else {
		s.reload(true)
	}
	load.Wait()
	s.reload(true)
	flat := s.flat(length)
	s.terminate() // a start asks about all jobs at once
	s.start()
	// A longer run leaves more jobs to poll, at so many a minute, and among them are those that never end.
	eventuallyWithin(s.T, usualTimeout+length, "all ends", func() (string, bool) {
		wait(s.Context(), time.Second) // reading all jobs takes time, too
		return outcome(s.exact(s.metrics()))
	})
	s.terminate()
	s.start()
	stopScraping()
	checks.Wait()
	metrics := s.metrics()
	if err := errors.Join(s.exact(metrics), s.vendor.check(), counters.check(metrics)); err != nil {
		s.Error(err)
	}
	s.terminate()
	text, err := os.ReadFile(s.log.Name())
	for _, bad := range []string{"DATA RACE", "panic", "goroutine "} {
		if bytes.Contains(text, []byte(bad)) {
			s.Errorf("the log has %q", bad)
		}
	}
	if err != nil {
		s.Error(err)
	}
	faults := ""
	for _, name := range slices.Sorted(maps.Keys(s.happened)) {
		faults += fmt.Sprintf(", %d %s", s.happened[name], name)
	}
	s.Logf("%s: %d jobs (%d half lines that may be jobs, too), %d requests to the API; %s%s", length, len(s.registered),
		s.halves, s.vendor.requests(), flat, faults)
}

// start starts the exporter and waits until it is ready.
func (s *soak) start() {
	cmd := exec.Command(s.program, "--config.file="+s.config, "--storage.path="+s.storage,
		"--web.listen-address="+s.address, "--web.enable-lifecycle", "--log.level=warn")
	cmd.Env = append(os.Environ(), "TEST_CLOCK_FILE="+s.clock, "GORACE=halt_on_error=1")
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.process = cmd.Process
	s.vendor.note("a start")
	ended := make(chan *os.ProcessState, 1)
	s.ended = ended
	go func() {
		_ = cmd.Wait() // its exit code is in ProcessState
		ended <- cmd.ProcessState
	}()
	eventually(s.T, "ready", func() (string, bool) {
		select {
		case state := <-ended:
			s.process = nil
			s.Fatalf("the exporter ended: %v", state)
		default:
		}
		_, err := s.send(http.MethodGet, "/-/ready", "", http.StatusOK)
		return outcome(err)
	})
}

// kill ends the process in the middle of everything.
func (s *soak) kill() {
	if err := s.process.Kill(); err != nil {
		s.Fatal(err)
	}
	if state := <-s.ended; state.Exited() {
		s.Fatalf("the exporter had ended: %v", state)
	}
	s.process = nil
}

// terminate stops the process as a service manager does.
func (s *soak) terminate() {
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		s.Fatal(err)
	}
	select {
	case state := <-s.ended:
		if s.process = nil; !state.Success() {
			s.Fatalf("the exporter ended: %v", state)
		}
	case <-time.After(30 * time.Second):
		s.Fatal("the exporter did not stop within 30 seconds of SIGTERM")
	}
}

// outcome is what a try of eventually returns.
func outcome(err error) (text string, ok bool) { return fmt.Sprint(err), err == nil }

// send sends a request, and returns an error unless the response has one of the statuses.
func (s *soak) send(method, path, body string, want ...int) (string, error) {
	r, err := http.NewRequest(method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && !slices.Contains(want, resp.StatusCode) {
		err = fmt.Errorf("%s %s: HTTP %d: %.200s", method, path, resp.StatusCode, text)
		if resp.StatusCode != http.StatusServiceUnavailable {
			s.Error(err, body)
		}
	}
	return string(text), err
}

// insist sends a request until it is acknowledged, as a client does.
func (s *soak) insist(method, path, body string, want ...int) {
	for tries := 0; ; tries++ {
		if _, err := s.send(method, path, body, want...); err == nil || s.Failed() {
			return
		}
		wait(s.Context(), time.Duration(10+rand.IntN(50))*time.Millisecond)
	}
}

func (s *soak) metrics() string {
	text, err := s.send(http.MethodGet, "/metrics", "", http.StatusOK)
	if err != nil {
		s.Error(err)
	}
	return text
}

// every calls do until ctx ends, with pauses of about that length.
func every(ctx context.Context, pause time.Duration, do func(n int)) {
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
			do(n)
		}
	}
}

// names notes that a source names a job, or that its registration was acknowledged.
func (s *soak) names(id, source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registered[id] = source
}

// register registers jobs over HTTP, in all forms, also known ones, and sends the webhooks of those that have one.
func (s *soak) register(ctx context.Context) {
	group := rand.IntN(1e9)
	var webhooks sync.WaitGroup
	defer webhooks.Wait()
	known := "endless-known"
	every(ctx, 200*time.Millisecond, func(n int) {
		k := soakKinds[n%len(soakKinds)]
		id := fmt.Sprintf("%s-http-%d-%d", k.name, group, n)
		entry := fmt.Sprintf(`{"request_id":%q,"api":"/audio/generic/api/v1/async/asr","labels":{"team":"a"}}`, id)
		body := []string{entry, `[` + entry + `,"` + known + `"]`, entry + "\n" + entry}[n%3]
		s.names(known, "http")
		s.insist(http.MethodPost, "/api/v1/jobs?account=main", body, http.StatusAccepted)
		s.names(id, "http")
		if k.hook == "" {
			return
		}
		webhooks.Go(func() {
			wait(s.Context(), rand.N(3*time.Second))
			for k.name == "late" {
				state, err := s.send(http.MethodGet, "/api/v1/jobs/"+id+"?account=main", "", http.StatusOK, http.StatusNotFound)
				if err == nil && !strings.Contains(state, `"pending"`) && !strings.Contains(state, `"running"`) {
					break
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Second):
				}
			}
			s.hook(id, k.hook)
		})
	})
}

// hook sends a webhook until it is acknowledged, and sometimes again.
func (s *soak) hook(id, body string) {
	for range 1 + rand.IntN(2) {
		s.insist(http.MethodPost, "/webhook/a-token-of-some-length", strings.Replace(body, "ID", id, 1), http.StatusOK)
		s.vendor.ended(id)
	}
}

// receive sends webhooks about jobs that nobody registered.
func (s *soak) receive(ctx context.Context) {
	every(ctx, 500*time.Millisecond, func(n int) {
		id := fmt.Sprintf("hook-webhook-%d", n)
		s.hook(id, hookBody)
		s.names(id, "webhook")
	})
}

// write writes files with request IDs: they grow, also in the middle of a line, rotate, and are replaced.
func (s *soak) write(ctx context.Context) {
	current := filepath.Join(s.files, "current.ids")
	add := func(text string) {
		f, err := os.OpenFile(current, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			s.Error(err)
		}
	}
	every(ctx, 400*time.Millisecond, func(n int) {
		id := fmt.Sprintf("%s-file-%d", soakKinds[n%8].name, n)
		switch n % 5 {
		case 0:
			begun := time.Now()
			add(id[:2]) // no kind of job
			wait(s.Context(), rand.N(300*time.Millisecond))
			add(id[2:] + "\n")
			if time.Since(begun) > time.Second { // the machine is busy: two looks may lie between
				s.mu.Lock()
				s.halves++
				s.mu.Unlock()
			}
		case 1:
			add("# a comment\n2026-01-01\nnot an ID\n" + id + "\n")
		case 2:
			add(fmt.Sprintf("{\"request_id\":\n%q}\n", id))
		case 3: // replaced, as an editor and a ConfigMap do it
			text, err := os.ReadFile(current)
			text = append(text, id+"\r\n"...)
			err = errors.Join(err, os.WriteFile(current+".new", text, 0o600), os.Rename(current+".new", current))
			if err != nil {
				s.Error(err)
			}
		case 4:
			if n%25 == 24 { // rotated; twenty old ones are kept, each of which is open
				rotated := func(n int) string { return filepath.Join(s.files, fmt.Sprintf("%d.ids", n)) }
				if err := os.Rename(current, rotated(n)); err != nil {
					s.Error(err)
				}
				if err := os.Remove(rotated(n - 20*25)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					s.Error(err)
				}
			}
			add(id + "\n")
		}
		s.names(id, "file")
	})
}

// list adds jobs to the list that has a URL, and to the configuration.
func (s *soak) list(ctx context.Context) {
	every(ctx, 2*time.Second, func(n int) {
		id := fmt.Sprintf("%s-url-%d", soakKinds[n%8].name, n)
		s.vendor.list(id)
		s.names(id, "url")
		id = fmt.Sprintf("%s-config-%d", soakKinds[n%8].name, n)
		s.mu.Lock()
		s.inConfig = append(s.inConfig, id)
		s.mu.Unlock()
		s.names(id, "config")
	})
}

// remove registers jobs and removes them.
func (s *soak) remove(ctx context.Context) {
	every(ctx, time.Second, func(n int) {
		id := fmt.Sprintf("endless-removed-%d", n)
		s.insist(http.MethodPost, "/api/v1/jobs?account=main", `"`+id+`"`, http.StatusAccepted)
		s.names(id, "http")
		wait(s.Context(), rand.N(500*time.Millisecond))
		s.insist(http.MethodDelete, "/api/v1/jobs/"+id+"?account=main", "", http.StatusNoContent, http.StatusNotFound)
		s.mu.Lock()
		s.removed[id] = true
		s.mu.Unlock()
	})
}

// annoy sends requests that are refused.
func (s *soak) annoy(ctx context.Context) {
	every(ctx, 200*time.Millisecond, func(n int) {
		r := []struct {
			method, path, body string
			code               int
		}{
			{http.MethodPost, "/webhook/a-token-of-some-length", `{"request_id":`, http.StatusBadRequest},
			{http.MethodPost, "/webhook/a-token-of-some-length", strings.Repeat("[", 1e5), http.StatusBadRequest},
			{http.MethodPost, "/webhook/a-token-of-some-length", "\x1f\x8b", http.StatusBadRequest},
			{http.MethodPost, "/webhook/wrong", `{"request_id":"wrong"}`, http.StatusNotFound},
			{http.MethodPut, "/webhook/a-token-of-some-length", `{"request_id":"wrong"}`, http.StatusNotFound},
			{http.MethodPost, "/api/v1/jobs?account=main", `{"request_id":"wrong","audio_secs":1}`, http.StatusBadRequest},
			{http.MethodPost, "/api/v1/jobs?account=main", `["wrong",`, http.StatusBadRequest},
			{http.MethodPost, "/api/v1/jobs?account=nobody", `"wrong"`, http.StatusBadRequest},
			{http.MethodGet, "/api/v1/jobs?account=main&limit=20", "", http.StatusOK},
			{http.MethodGet, "/", "", http.StatusOK},
		}[n%10]
		_, _ = s.send(r.method, r.path, r.body, r.code) // another response was reported
	})
}

// scrape scrapes all the time. No counter goes back.
func (s *soak) scrape(ctx context.Context, counters shown) {
	every(ctx, 200*time.Millisecond, func(int) {
		metrics, err := s.send(http.MethodGet, "/metrics", "", http.StatusOK)
		if err != nil {
			if strings.Contains(err.Error(), "HTTP") {
				s.Error(err)
			}
			return // there is no exporter at the moment
		}
		if err := counters.check(metrics); err != nil {
			s.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.used = append(s.used, usage{
			counter(metrics, "go_goroutines"), counter(metrics, "process_open_fds"),
			counter(metrics, "process_resident_memory_bytes") >> 20,
		})
	})
}

// flat returns what the process used, and fails the test if a process that is never killed uses more and more. A start,
// and what is registered before any job leaves, take memory, too: a short run tells nothing.
func (s *soak) flat(length time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	median := func(of []usage) (m usage) {
		for _, f := range []func(*usage) *int{
			func(u *usage) *int { return &u.goroutines },
			func(u *usage) *int { return &u.files },
			func(u *usage) *int { return &u.megabytes },
		} {
			var values []int
			for _, u := range of {
				values = append(values, *f(&u))
			}
			slices.Sort(values)
			*f(&m) = values[len(values)/2]
		}
		return m
	}
	quarter := len(s.used) / 4
	early, late := median(s.used[quarter:2*quarter]), median(s.used[3*quarter:])
	grown := late.goroutines > early.goroutines+50 || late.files > early.files+20 ||
		late.megabytes > early.megabytes*5/4+20
	if !s.killed && length >= 10*time.Minute && grown {
		s.Errorf("in the second quarter %+v, in the last %+v", early, late)
	}
	return fmt.Sprintf("in the second quarter %+v, in the last %+v", early, late)
}

// exact compares what a scrape shows, and the list of jobs, with the truth.
func (s *soak) exact(metrics string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	value := func(name, labels string) int {
		sum := 0 // over the other labels
		for line := range strings.Lines(metrics) {
			if strings.HasPrefix(line, "deepaffects_"+name+`{account="main"`) && strings.Contains(line, labels) {
				sum += counter("\n"+line, line[:strings.LastIndexByte(line, ' ')])
			}
		}
		return sum
	}
	var errs []error
	want := func(what string, got, least, most int) {
		if got < least || got > most {
			errs = append(errs, fmt.Errorf("%s: %d, want %d to %d", what, got, least, most))
		}
	}
	sources, states, words, open := make(map[string]int), make(map[string]int), 0, 0
	for id, source := range s.registered {
		k := kindOf(id)
		sources[source]++
		states[k.state]++
		words += k.words
		if k.name == "truncated" {
			open++
		}
	}
	for _, source := range []string{"config", "file", "url", "http", "webhook"} {
		halves := 0
		if source == "file" {
			halves = s.halves
		}
		registered := value("jobs_registered_total", `,source="`+source+`"`)
		want("registered by "+source, registered, sources[source], sources[source]+halves)
	}
	finished := value("jobs_finished_total", `,result="completed"`)
	want("completed", finished, states["completed"], states["completed"]+open)
	want("failed", value("jobs_finished_total", `,result="failed"`), states["failed"], states["failed"])
	want("lost", value("jobs_finished_total", `,result="lost"`), 0, 0)
	want("words", value("words_total", ""), words, words)
	want("durations of words", value("word_duration_seconds_count", ""), words, words)
	want("seconds of speech", value("speech_seconds_total", ""), words, words)
	timed := finished - sources["webhook"] // who knows when these began?
	want("durations of jobs", value("job_duration_seconds_count", `,result="completed"`), timed, timed)
	tracked := 0
	for _, state := range []string{"pending", "running", "completed", "failed", "lost"} {
		tracked += value("jobs", `,state="`+state+`"`)
	}
	evicted := value("jobs_evicted_total", `,reason="retention"`)
	left := len(s.registered) - len(s.removed) - evicted
	want("tracked", tracked, left, left+s.halves)
	if !s.killed { // else no job leaves
		return errors.Join(errs...)
	}
	listed, err := listed("http://"+s.address, "main")
	if err != nil {
		return err
	}
	completed := 0
	for id := range s.registered {
		state := listed[id]
		if state == "completed" {
			completed++
		}
		if k := kindOf(id); s.removed[id] != (state == "") || k.state != "" && state != k.state {
			errs = append(errs, fmt.Errorf("%s is %q", id, state))
		}
		delete(listed, id)
	}
	want("jobs that are completed", completed, finished, finished)
	want("jobs that nobody registered", len(listed), 0, s.halves)
	return errors.Join(errs...)
}
