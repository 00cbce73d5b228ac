package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A registry takes the jobs of sources.
type registry struct {
	writer // nil: sources only register jobs, and count errors

	mu     sync.Mutex
	calls  []string // what was registered: the source, the IDs, and "?" if their age is unknown
	errors map[submission.Source]int
	fails  error
}

func (r *registry) Register(
	from submission.Source, s []submission.Job, ageUnknown bool, _ time.Time,
) (registered, known int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	call := string(from)
	for _, j := range s {
		call += " " + j.RequestID
	}
	if ageUnknown {
		call += " ?"
	}
	r.calls = append(r.calls, call)
	return len(s), 0, r.fails
}

func (r *registry) CountSourceErrors(from submission.Source, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[from] += n
}

func (r *registry) errorsOf(from submission.Source) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errors[from]
}

// take returns what was registered since it was called last.
func (r *registry) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	slices.Sort(calls)
	return calls
}

func (r *registry) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = err
}

// web answers every URL with its path as a request ID.
type web struct{}

func (web) RoundTrip(r *http.Request) (*http.Response, error) {
	body := io.NopCloser(strings.NewReader(`["` + strings.TrimPrefix(r.URL.Path, "/") + `"]`))
	return &http.Response{StatusCode: http.StatusOK, Body: body, Request: r}, nil
}

func sourceSettings(change func(*Config)) *settings {
	s := &settings{config: DefaultConfig(), web: &http.Client{Transport: web{}}}
	change(&s.config)
	return s
}

// A messageLog can be read while it is written.
type messageLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *messageLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// take returns the messages since it was called last, without their times.
func (l *messageLog) take() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
		lines = append(lines, line)
	}
	l.buf.Reset()
	return lines
}

func newTestSources() (*sources, *registry, *messageLog) {
	r, log := &registry{errors: make(map[submission.Source]int)}, new(messageLog)
	return newSources(r, new(keys), slog.New(slog.NewTextHandler(log, nil)), time.Now), r, log
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// What a source has when it is first read may be old. Later it names new jobs, but the
// configuration names the same ones.
func TestSourcesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, _ := newTestSources()
		path := filepath.Join(t.TempDir(), "ids")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want := func(when string, want ...string) {
			t.Helper()
			if got := r.take(); !slices.Equal(got, want) {
				t.Errorf("%s: registered %q, want %q", when, got, want)
			}
		}
		write("old\n")
		s.start(sourceSettings(func(c *Config) {
			c.RequestIDs, c.RequestIDFiles, c.RequestIDURLs = []string{"a"}, []string{path}, []string{"http://host.invalid/b"}
		}))
		if err := s.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want("at start", "config a ?", "file old ?", "url b ?")
		write("old\nnew\n")
		pass(50 * time.Second)
		want("later", "file new")
		pass(time.Hour)
		calls := r.take()
		if !slices.Contains(calls, "config a ?") || !slices.Contains(calls, "url b") {
			t.Errorf("within an hour: registered %q", calls)
		}
		s.reload(sourceSettings(func(c *Config) {
			c.RequestIDs, c.RequestIDFiles, c.RequestIDURLs = []string{"c"}, []string{path}, []string{"http://host.invalid/d"}
		}))
		synctest.Wait()
		want("after a reload", "config c ?", "url d ?")
		success, problems := s.state()
		if len(success) != 3 || len(problems) != 0 {
			t.Errorf("success %v, problems %v", success, problems)
		}
		s.stop()
		pass(3 * time.Hour)
		want("after stop")
	})
}

// The jobs of a source that a reload adds may be old.
func TestSourceOfReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, _ := newTestSources()
		s.reload(sourceSettings(func(c *Config) { c.RequestIDs = []string{"before-start"} }))
		s.start(sourceSettings(func(*Config) {}))
		synctest.Wait()
		r.take()
		s.reload(sourceSettings(func(c *Config) { c.RequestIDURLs = []string{"http://host.invalid/b"} }))
		synctest.Wait()
		if got := r.take(); !slices.Contains(got, "url b ?") {
			t.Errorf("registered %q", got)
		}
		s.stop()
	})
}

// A reload leaves nothing behind of a source that it removes: it would look as if it failed.
func TestSourceRemovedByReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newTestSources()
		missing := filepath.Join(t.TempDir(), "missing")
		s.start(sourceSettings(func(c *Config) {
			c.RequestIDFiles, c.RequestIDURLs = []string{missing}, []string{"http://host.invalid/b"}
		}))
		pass(10 * time.Second)
		if success, problems := s.state(); len(success) != 2 || len(problems) != 1 {
			t.Fatalf("before: success %v, problems %v", success, problems)
		}
		s.reload(sourceSettings(func(*Config) {}))
		pass(10 * time.Second)
		success, problems := s.state()
		if _, read := success[submission.Config]; !read || len(success) != 1 || len(problems) != 0 {
			t.Errorf("after: success %v, problems %v", success, problems)
		}
		s.stop()
	})
}

// What cannot be registered is counted and shown, tried again, and not logged.
func TestSourcesWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, log := newTestSources()
		path := filepath.Join(t.TempDir(), "ids")
		if err := os.WriteFile(path, []byte("a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		full := errors.New("disk full")
		r.fail(full)
		s.start(sourceSettings(func(c *Config) { c.RequestIDs, c.RequestIDFiles = []string{"b"}, []string{path} }))
		pass(time.Minute)
		success, problems := s.state()
		for _, from := range []submission.Source{submission.Config, submission.File} {
			if !success[from].IsZero() || !errors.Is(problems[from].Err, full) || r.errorsOf(from) == 0 {
				t.Errorf("%s: success %v, problem %v, %d errors", from, success[from], problems[from], r.errorsOf(from))
			}
		}
		if lines := log.take(); len(lines) > 0 {
			t.Errorf("logged %q", lines)
		}
		r.fail(nil)
		r.take()
		pass(time.Minute)
		if got := fmt.Sprint(r.take()); got != "[config b ? file a ?]" {
			t.Errorf("registered %q when it works again", got)
		}
		s.stop()
	})
}

// A problem of a source itself is counted, shown and logged.
func TestSourceProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, log := newTestSources()
		missing := filepath.Join(t.TempDir(), "missing")
		s.start(sourceSettings(func(c *Config) { c.RequestIDFiles = []string{missing} }))
		pass(time.Minute)
		s.stop()
		_, problems := s.state()
		lines := log.take()
		if r.errorsOf(submission.File) != 1 || problems[submission.File].Err == nil ||
			len(lines) != 1 || !strings.Contains(lines[0], "Request ID source has errors") {
			t.Errorf("%d errors, problems %v, logged %q", r.errorsOf(submission.File), problems, lines)
		}
	})
}

// A URL that fails is logged when it begins to, when the reason changes, now and then while it lasts, and when it works
// again, and counted each time.
func TestURLThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, log := newTestSources()
		var code atomic.Int64
		code.Store(503)
		with := sourceSettings(func(c *Config) { c.RequestIDURLs = []string{"http://a.invalid/", "http://b.invalid/"} })
		with.web.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			answer := &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`["x"]`)), Request: r}
			if r.URL.Host == "b.invalid" {
				answer.StatusCode = int(code.Load())
			}
			return answer, nil
		})
		want := func(lines ...string) {
			t.Helper()
			got := log.take()
			for i := range got { // up to a tenth of each interval is random
				got[i] = regexp.MustCompile(`after=(\d*)\dm\S*`).ReplaceAllString(got[i], "after=${1}?m")
				got[i] = regexp.MustCompile(`after=(\dh)\S*`).ReplaceAllString(got[i], "after=$1")
			}
			if !slices.Equal(got, lines) {
				t.Errorf("logged %q, want %q", got, lines)
			}
		}
		s.start(with)
		pass(35 * time.Minute)
		const failed = `level=WARN msg="Request ID source %s errors" source=url%s problems=1 entries=1 ` +
			`err="http://b.invalid/: answered %s instead of 200 OK"`
		want(fmt.Sprintf(failed, "has", "", "503 Service Unavailable"),
			fmt.Sprintf(failed, "still has", " after=1?m", "503 Service Unavailable"))
		if n := r.errorsOf(submission.URL); n < 30 {
			t.Errorf("%d errors counted", n)
		}
		code.Store(404)
		pass(15 * time.Minute)
		const gone = `level=INFO msg="Request ID source has fewer errors" source=url after=%s gone=1 left=%d`
		want(fmt.Sprintf(failed, "has", " after=3?m", "404 Not Found"), fmt.Sprintf(gone, "3?m", 1))
		pass(2 * time.Hour)
		want(fmt.Sprintf(failed, "still has", " after=1h", "404 Not Found"))
		code.Store(200)
		pass(30 * time.Minute)
		want(fmt.Sprintf(gone, "2h", 0))
		code.Store(404)
		pass(5 * time.Minute)
		want(fmt.Sprintf(failed, "has", "", "404 Not Found"))
		s.stop()
	})
}

// A URL that fails every other time is logged when it begins to, and then now and then. Each failure is counted.
func TestUnstableURL(t *testing.T) {
	for _, interval := range []time.Duration{time.Minute, time.Hour} {
		t.Run(interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, r, log := newTestSources()
				n := 0
				with := sourceSettings(func(c *Config) {
					c.RequestIDURLs, c.RefreshInterval = []string{"http://b.invalid/"}, interval
				})
				with.web.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
					answer := &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`["x"]`)), Request: r}
					if n++; n%2 == 1 {
						answer.StatusCode = 503
					}
					return answer, nil
				})
				s.start(with)
				pass(5 * interval)
				const gone = "has fewer errors"
				lines := log.take()
				if !logs(lines, "has errors", gone) && !logs(lines, "has errors", gone, "has errors again", gone) {
					t.Errorf("at first: logged %q", lines)
				}
				pass(2*24*time.Hour - 5*interval)
				reminders := 0
				for _, line := range log.take() {
					if strings.Contains(line, "has errors again") && strings.Contains(line, "503") {
						reminders++
					} else if !strings.Contains(line, gone) {
						t.Errorf("logged %q", line)
					}
				}
				if failures := r.errorsOf(submission.URL); reminders > 12 || reminders < 5 || failures < n/2 {
					t.Errorf("%d reminders of %d failures, of which %d are counted", reminders, n/2, failures)
				}
				s.stop()
			})
		})
	}
}

// logs reports whether lines contain texts, one each.
func logs(lines []string, texts ...string) bool {
	return slices.EqualFunc(lines, texts, func(line, text string) bool { return strings.Contains(line, text+`"`) })
}

// The header and the current token go with each request. While the token cannot be read,
// nothing is sent, and one line says so, without a secret.
func TestURLHeaders(t *testing.T) {
	var mu sync.Mutex // guards sent
	var sent []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, r.Header.Get("X-Canary")+" "+r.Header.Get("Authorization"))
		io.WriteString(w, `["a"]`)
	}))
	defer server.Close()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed with %v", r.Header)
	}))
	defer elsewhere.Close()
	redirecting := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirecting.Close()

	token := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("canary-1\n")
	config := DefaultConfig()
	config.APIKey, config.RequestIDURLTokenFile = "key", token
	config.RequestIDURLHeaders = map[string]string{"x-canary": "canary-0"}
	config.RequestIDURLs = []string{server.URL, redirecting.URL}
	with, err := prepare(config, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer with.close()
	fetch := func(want string) {
		t.Helper()
		s, r, log := newTestSources()
		s.start(with)
		if err := s.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.stop()
		if lines := log.take(); strings.Contains(fmt.Sprint(lines), "canary") || r.errorsOf(submission.URL) == 0 {
			t.Errorf("%d errors, logged %q", r.errorsOf(submission.URL), lines)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(sent, ", "); got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
		sent = nil
	}
	fetch("canary-0 Bearer canary-1")
	put("canary-2")
	fetch("canary-0 Bearer canary-2")
	put("canary\ncanary")
	fetch("")
	_, err = prepare(config, Options{})
	if err == nil || !strings.Contains(err.Error(), "request_id_url_token_file: "+token) {
		t.Errorf("%v", err)
	}
	put("canary-3")
	fetch("canary-0 Bearer canary-3")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A directory of bad files is logged in one line, and bad lines that keep coming seldom.
func TestBadFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, log := newTestSources()
		dir := t.TempDir()
		add := func(name, text string) {
			file, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(text); err != nil {
				t.Fatal(err)
			}
			file.Close()
		}
		for i := range 50 {
			add(fmt.Sprintf("%02d", i), strings.Repeat("no ID\n", 20))
		}
		s.start(sourceSettings(func(c *Config) { c.RequestIDFiles = []string{dir + "/*"} }))
		pass(time.Minute)
		lines := log.take()
		if len(lines) != 1 || !strings.Contains(lines[0], "problems=50 entries=1000 err=\""+dir+"/00:1: not a request ID") {
			t.Errorf("logged %q", lines)
		}
		for range 1_000 {
			add("00", "no ID\n")
			pass(5 * time.Second)
		}
		lines = log.take()
		for i, want := range []string{
			"still has errors\" source=file after=10m0s problems=50 ", "problems=1 entries=200",
			"still has errors\" source=file after=1h0m0s problems=50 ",
		} {
			if len(lines) != 3 || !strings.Contains(lines[i], want) {
				t.Errorf("logged %q, without %q", lines, want)
			}
		}
		if n := r.errorsOf(submission.File); n != 2_000 {
			t.Errorf("%d errors counted, want 2000", n)
		}
		s.stop()
	})
}

// A pattern that matches nothing is logged once; only a directory that does not exist is an
// error.
func TestUnmatchedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, log := newTestSources()
		dir := t.TempDir()
		s.start(sourceSettings(func(c *Config) { c.RequestIDFiles = []string{dir + "/*.ids", dir + "/calls/*.ids"} }))
		pass(time.Minute)
		lines := log.take()
		if len(lines) != 1 || !strings.Contains(lines[0], "problems=2") || r.errorsOf(submission.File) != 1 {
			t.Errorf("%d errors, logged %q", r.errorsOf(submission.File), lines)
		}
		if success, problems := s.state(); !success[submission.File].IsZero() || problems[submission.File].Err == nil {
			t.Errorf("success %v, problems %v", success, problems)
		}
		if err := os.Mkdir(filepath.Join(dir, "calls"), 0o700); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if success, _ := s.state(); success[submission.File].IsZero() {
			t.Error("no success with an empty directory")
		}
		s.stop()
	})
}

// wait ends with its context, also if a source hangs.
func TestWaitForSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newTestSources()
		with := sourceSettings(func(c *Config) { c.RequestIDURLs = []string{"http://host.invalid/hangs"} })
		with.web.Transport = hanging{}
		s.start(with)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		s.stop()
	})
}

type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A large file is no error. It counts as read at its end.
func TestLargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ids")
	if err := os.WriteFile(path, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 150<<20); err != nil { // the hole is skipped
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = file.WriteString("\nlast\n"); err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, r, log := newTestSources()
		s.start(sourceSettings(func(c *Config) { c.RequestIDFiles = []string{path} }))
		if err := s.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.take(); !slices.Contains(got, "file last ?") {
			t.Errorf("waited until %q was registered", got)
		}
		pass(time.Minute)
		if _, problems := s.state(); len(problems) != 0 || r.errorsOf(submission.File) != 0 {
			t.Errorf("%d errors, problems %v", r.errorsOf(submission.File), problems)
		}
		lines := log.take()
		if len(lines) != 1 || !strings.HasPrefix(lines[0], `level=INFO msg="Reading large request ID files in parts"`) {
			t.Errorf("logged %q", lines)
		}
		s.stop()
	})
}
