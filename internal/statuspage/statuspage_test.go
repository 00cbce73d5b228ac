package statuspage_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func TestServesItsPathsAlone(t *testing.T) {
	c := watch(t, nil, config("a"))
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/?x=y", 400}, {"POST", "/", 405}, {"DELETE", "/", 405},
		{"GET", "/index.html", 404}, {"GET", "/x/", 404}, {"POST", "/x", 404},
		{"GET", "/jobs", 200}, {"GET", "/jobs?account=none&after=y&q=z", 404}, {"GET", "/jobs?after=y", 404},
		{"GET", "/jobs?x=y", 400}, {"GET", "/jobs?state=bogus", 400}, {"GET", "/jobs/", 404},
		{"GET", "/runbooks", 200}, {"GET", "/job", 404}, {"GET", "/job?request_id=x", 404},
		{"GET", "/job?request_id=x&account=none", 404},
	} {
		w := get(c, test.method, test.target)
		if w.Code != test.status {
			t.Errorf("%s %s: status %d, want %d", test.method, test.target, w.Code, test.status)
		}
		if allow := w.Header().Get("Allow"); (allow == "GET, HEAD") != (test.status == 405) {
			t.Errorf("%s %s: Allow is %q", test.method, test.target, allow)
		}
	}
}

var (
	styleElement = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	script       = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	active       = regexp.MustCompile(`(?i)<script|<iframe|<img|\sstyle=|\son[a-z]+=|@import|url\(`)
	reference    = regexp.MustCompile(`(?:href|src|srcset|action|data)="([^"]*)"`)
)

func TestNeedsNothingFromElsewhere(t *testing.T) {
	w := get(watch(t, nil, config("a")), "GET", "/")
	page := w.Body.String()
	styles := styleElement.FindAllStringSubmatch(page, -1)
	if len(styles) != 1 {
		t.Fatalf("%d styles", len(styles))
	}
	scripts := script.FindAllStringSubmatch(page, -1)
	if len(scripts) != 1 {
		t.Fatalf("%d scripts", len(scripts))
	}
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-store",
		"Content-Security-Policy": "default-src 'none'; style-src " + hash(styles[0][1]) +
			"; script-src " + hash(scripts[0][1]) +
			"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	page = script.ReplaceAllString(page, "")
	if found := active.FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	var links []string
	for _, match := range reference.FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(match[1], "#icon-") && !strings.HasPrefix(match[1], "data:image/svg&#43;xml,") {
			links = append(links, match[1])
		}
	}
	want := []string{
		"#main", "/", "/jobs", "/metrics", "/runbooks", "/api/v1/status", "/jobs",
		"/jobs?state=pending", "/jobs?state=running", "/jobs?state=completed", "/jobs?state=failed", "/jobs?state=lost",
	}
	if !slices.Equal(links, want) {
		t.Errorf("links are %q, want %q", links, want)
	}
	for _, has := range []string{
		`<meta http-equiv="refresh" content="30">`, `<html lang="en">`, "deepaffects-monitor 1.2.3",
	} {
		if !strings.Contains(page, has) {
			t.Errorf("the page lacks %q", has)
		}
	}
}

// The runbooks are a page that stands still: a section for each alert, with its name as anchor, and links that
// resolve without the project's other files.
func TestRunbooks(t *testing.T) {
	rules, err := os.ReadFile("../../deploy/prometheus/deepaffects-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	page := script.ReplaceAllString(get(watch(t, nil, config("a")), "GET", "/runbooks").Body.String(), "")
	alerts := regexp.MustCompile(`(?m)^\s*- alert: "(\w+)"$`).FindAllStringSubmatch(string(rules), -1)
	if len(alerts) == 0 {
		t.Error("no alerts")
	}
	for _, a := range alerts {
		for _, want := range []string{`<h2 id="` + a[1] + `">` + a[1] + `</h2>`, `<li><a href="#` + a[1] + `">`} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %s", want)
			}
		}
	}
	_, document, _ := strings.Cut(page, `<div class="document">`)
	for _, match := range reference.FindAllStringSubmatch(document, -1) {
		if id, ok := strings.CutPrefix(match[1], "#"); !ok || !strings.Contains(page, `id="`+id+`"`) {
			t.Errorf("a link leads to %s", match[1])
		}
	}
	for _, not := range []string{"http-equiv", `id="as-of"`, "raw HTML omitted"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %s", not)
		}
	}
	if found := active.FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
}

var (
	tag   = regexp.MustCompile(`<[^>]*>`)
	space = regexp.MustCompile(`\s+`)
)

// text returns the visible text of a page; a cell of a table ends with a bar.
func text(page string) string {
	page = strings.ReplaceAll(script.ReplaceAllString(styleElement.ReplaceAllString(page, ""), ""), "<wbr>", "")
	page = regexp.MustCompile(`</t[hd]>`).ReplaceAllString(page, " |")
	return space.ReplaceAllString(html.UnescapeString(tag.ReplaceAllString(page, " ")), " ")
}

// An unfinished job has the time at which it is expected, and a mark once it is late.
func TestShowsLateJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watch(t, vendor{"c": completed, "r": running}, unlimited("default"))
		c.Start()
		defer c.Stop(t.Context())
		track(t, c, "default", submission.Job{RequestID: "c", SubmittedAt: time.Now().Add(-time.Hour)})
		track(t, c, "default", jobs("r")...)
		<-time.After(time.Minute)
		for _, late := range []bool{false, true} {
			job := text(get(c, "GET", "/job?request_id=r").Body.String())
			if !regexp.MustCompile(`Expected \d\d:\d\d:\d\d UTC , late after \d\d:\d\d:\d\d UTC \.`).MatchString(job) ||
				strings.Contains(job, "Late.") != late {
				t.Errorf("late %v: the job's page reads: %s", late, job)
			}
			const link = `<a href="/jobs?state=late">1 unfinished job is late</a>`
			if page := get(c, "GET", "/").Body.String(); strings.Contains(page, link) != late {
				t.Errorf("late %v: the overview reads: %s", late, text(page))
			}
			list := text(get(c, "GET", "/jobs?state=late&sort=duration").Body.String())
			if strings.Contains(list, "running late |") != late || late != strings.Contains(list, "late (1)") ||
				!strings.Contains(list, "Those that began first come first") {
				t.Errorf("late %v: the late jobs are: %s", late, list)
			}
			for _, path := range []string{"/", "/jobs"} {
				if page := text(get(c, "GET", path).Body.String()); strings.Contains(page, "running late |") != late {
					t.Errorf("late %v: the page %s reads: %s", late, path, page)
				}
			}
			<-time.After(20 * time.Hour)
		}
	})
}

// A quota that cannot keep up is a problem, with how long the due jobs take and which quota would do.
func TestShowsABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watch(t, vendor{}, config("default"))
		var old []submission.Job
		for i := range 2000 {
			old = append(old, submission.Job{RequestID: fmt.Sprint(i), SubmittedAt: time.Now().Add(-20 * time.Hour)})
		}
		track(t, c, "default", old...)
		const want = "One poll of each of the 2,000 due jobs takes 19 days at this quota; " +
			"requests_per_day = 2000 would do it within a day"
		if page := text(get(c, "GET", "/").Body.String()); !strings.Contains(page, want) {
			t.Errorf("the page reads: %s", page[:min(len(page), 2000)])
		}
	})
}

func TestShowsAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := vendor{"c1": completed, "c2": empty, "f": failed, "r": running}
		c := watch(t, api, config("alpha"), unlimited("beta"))
		track(t, c, "alpha", submission.Job{RequestID: "c1", API: "asr", Labels: map[string]string{"team": "t"}})
		track(t, c, "alpha", jobs("c2", "f", "r", "p")...)
		<-time.After(75 * time.Second)
		if err := c.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(30 * time.Second)
		page := get(c, "GET", "/").Body.String()
		alpha, beta, found := strings.Cut(page, `<h2 id="account-1">`)
		if !found {
			t.Fatal("there is one account")
		}
		for _, want := range []string{
			"Problems alpha : 1 job failed in the last hour . Last: 30 s ago . What to do (DeepAffectsJobFailed)",
			"alpha | Up : the API responds | 2 | 1 | 5 of 100 | beta | Not polled yet | 0 | 0 | no limit |",
			"Account alpha Up : the API responds. Last success: 30 s ago .",
			"pending | 1 | running | 1 | completed | 2 | failed | 1 | lost | 0 | Oldest unfinished job: 1 min 45 s.",
			"Per minute: 5 of 5 used, 0 left; more in 31 s",
			"Per day: 5 of 100 used, 95 left; more in 1 d (2000-01-02 00:02 UTC)",
			"Jobs due now ", "A poll is sent if it saves ",
			"http | 5 | – | 0 |",
			"Failed with com.deepaffects.BadRequest : 1.",
			"f | – | failed | com.deepaffects.BadRequest | 30 s ago 00:01:15 UTC | 1 min 15 s |",
			"Job | API | Time | Reason | p | – | in 31 s | the API did not know it at the last poll | r | – | in ",
			"r | – | running | 1 min 45 s | 30 s ago | in ",
			"p | – | pending | 1 min 45 s | none yet | in 31 s | the API did not know it at the last poll |",
			"c1 team= t | asr | 30 s ago | 1 min 15 s | 75.6 % | 2 | 2 | 1 min 1 s |",
			"c2 | – | 30 s ago | 1 min 15 s | – | – | – | – |",
		} {
			if !strings.Contains(text(alpha), want) {
				t.Errorf("account alpha lacks %q", want)
			}
		}
		for _, want := range []string{
			"beta Not polled yet . Last success: never .",
			"Per minute: 0 used, no limit Per day: 0 used, no limit Jobs due now 0 " +
				"A poll is sent if it saves at least 0.1 s of delay " +
				"Sources of request IDs None yet. ",
			"No jobs yet. List request IDs in the configuration",
		} {
			if !strings.Contains(text(beta), want) {
				t.Errorf("account beta lacks %q", want)
			}
		}
		if t.Failed() {
			t.Logf("the page reads: %s", text(page))
		}
		for _, want := range []string{
			`Forecast: new jobs \d+ Forecast: polls per job \d\.\d A poll`,
			`in \d min( \d+ s)? \| \d+ % likely to have finished; similar jobs take \d+ s \|`,
		} {
			if !regexp.MustCompile(want).MatchString(text(alpha)) {
				t.Errorf("account alpha has nothing like %s", want)
			}
		}
		for _, want := range []string{
			`<meter aria-label="Quota used per minute" min="0" max="5" value="5">5 of 5</meter>`, // as it should be
			`<meter aria-label="Quota used per day" min="0" max="100" low="50" high="90" optimum="0" value="5">5 of 100</meter>`,
			`<time datetime="2000-01-01T00:01:15Z" title="2000-01-01 00:01:15 UTC">30 s ago</time>`,
			`<a class="id" href="/job?account=alpha&amp;request_id=c1" title="c1"><bdi>c1</bdi></a>`,
		} {
			if !strings.Contains(alpha, want) {
				t.Errorf("account alpha lacks %s", want)
			}
		}
		if strings.Contains(beta, "<meter") {
			t.Error("a meter without a limit")
		}
		for _, not := range []string{"the-key", "spoken"} {
			if strings.Contains(page, not) {
				t.Errorf("the page has %q", not)
			}
		}
	})
}

// A job that is due is shown as due although time passes while the page is made.
func TestDueWhileTimePasses(t *testing.T) {
	var now atomic.Int64
	clock := func() time.Time { return time.UnixMilli(now.Add(1)) }
	c, err := collector.New([]collector.Config{config("a")}, collector.Options{Transport: vendor{}, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	track(t, c, "a", jobs("p")...)
	page := text(get(c, "GET", "/").Body.String())
	for _, want := range []string{"Job | API | Time | Reason | p | – | due |", "none yet | due | not polled yet |"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q: %s", want, page)
		}
	}
}

// The icon of the tab, and that of the overview, show how the accounts do, and a paused account says so.
func TestCondition(t *testing.T) {
	for name, tt := range map[string]struct {
		api    http.RoundTripper
		change func(*collector.Config)
		once   bool
		passes time.Duration
		level  string
		want   string // pattern of the account's text
	}{
		"not polled yet": {level: "idle", want: `Not polled yet \. Last success: never`},
		"up": {api: responds(200, running), once: true, level: "good",
			want: `Up : the API responds\. Last success: now`},
		"paused": {
			api: responds(503, running), once: true, level: "bad",
			want: `Paused : the API reports an internal error\. Next attempt: in 40 s \. Last success: never`,
		},
		"the end of a pause": {
			api: responds(503, running), once: true, passes: time.Minute, level: "bad",
			want: `Down : the API reports an internal error\. Last`,
		},
		"a used quota": {
			api: responds(200, running), change: func(c *collector.Config) { c.RequestsPerDay = 1 }, once: true,
			passes: 2 * time.Hour,
			level:  "warn", want: `Paused : the daily quota is used up\. Next attempt: in 22 h 1 min \.`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := unlimited("a")
				if tt.change != nil {
					tt.change(&c)
				}
				m := watch(t, tt.api, c)
				track(t, m, "a", jobs("x")...)
				if tt.once {
					_ = m.Once(t.Context())
					<-time.After(tt.passes)
				}
				if tt.level == "warn" {
					_ = m.Once(t.Context()) // looks at the quota again
				}
				page := get(m, "GET", "/").Body.String()
				if !strings.Contains(page, `<h1><svg class="icon `+tt.level+`"`) {
					t.Errorf("the overview does not have the icon of %s", tt.level)
				}
				drawing := regexp.MustCompile(`<symbol id="icon-` + tt.level + `"[^>]*>.*? d="([^"]*)"`).FindStringSubmatch(page)
				icon, err := url.PathUnescape(html.UnescapeString(
					regexp.MustCompile(`rel="icon" href="([^"]*)"`).FindStringSubmatch(page)[1]))
				if err != nil || drawing != nil && !strings.Contains(icon, drawing[1]) {
					t.Errorf("the icon is %s (%v), and not that of %s", icon, err, tt.level)
				}
				_, account, _ := strings.Cut(page, `<h2 id="account-0">`)
				if !regexp.MustCompile(tt.want).MatchString(text(account)) {
					t.Errorf("the account lacks %s: %s", tt.want, text(account))
				}
			})
		})
	}
}

// After a restart, the page does not say that an account was never polled.
func TestConditionAfterARestart(t *testing.T) {
	for name, tt := range map[string]struct {
		config collector.Config
		want   string // pattern of the account's text
	}{
		"with a quota": {
			config("a"),
			`Not polled since the start \. Last success: none since the start \. Last request before it: 2 h( 1 min)? ago \.`,
		},
		// Its requests are not stored, but counted.
		"without a quota": {unlimited("a"), `Not polled since the start \. Last success: none since the start \. Jobs`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				m := watchIn(t, dir, vendor{"x": running}, tt.config)
				track(t, m, "a", jobs("x")...)
				if err := m.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				m.Stop(t.Context())
				<-time.After(2 * time.Hour)
				m = watchIn(t, dir, vendor{"x": running}, tt.config)
				defer m.Stop(t.Context())
				_, account, _ := strings.Cut(get(m, "GET", "/").Body.String(), `<h2 id="account-0">`)
				if !regexp.MustCompile(tt.want).MatchString(text(account)) {
					t.Errorf("the account lacks %s: %s", tt.want, text(account))
				}
			})
		})
	}
}

// Problems are at the top, and lead to their runbooks.
func TestProblems(t *testing.T) {
	unreachable := roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}
	})
	for name, tt := range map[string]struct {
		api    http.RoundTripper
		change func(*collector.Config)
		passes time.Duration // between two rounds
		want   string        // pattern of the section's text
		alert  string        // whose runbook it links to
	}{
		"none": {api: vendor{"x": running}, want: `None\.`},
		"a rejected key": {
			api: responds(401, ""), alert: "DeepAffectsAPIKeyRefused",
			want: `The API rejects the API key : .*HTTP 401 \. Next attempt: in 5 min`,
		},
		"an unreadable key": {
			api: vendor{}, change: func(c *collector.Config) {
				c.Key = func() (string, error) { return "", errors.New("the secret store is sealed") }
			},
			want: `The API key cannot be read : api_key: the secret store is sealed \.`, alert: "DeepAffectsAPIKeyRefused",
		},
		"too many requests": {
			api: responds(429, ""), alert: "DeepAffectsQuotaRefused",
			want: `The API rejects requests: too many at once : .*HTTP 429 \. Next attempt: in `,
		},
		"a used quota": {
			api:   responds(429, `{"fault": {"detail": {"errorcode": "policies.ratelimit.QuotaViolation"}}}`),
			alert: "DeepAffectsQuotaRefused",
			want:  `The API reports that the quota is used up : .*HTTP 429 , error code policies\.ratelimit\.QuotaViolation \.`,
		},
		"an error of the API": {
			api: responds(503, ""), alert: "DeepAffectsAPIDown",
			want: `The API reports an internal error : .*HTTP 503 \. Next attempt: in 40 s`,
		},
		"no network": {
			api: unreachable, alert: "DeepAffectsAPIDown",
			want: `The API is unreachable : .*dial tcp: no route to host \. Next attempt: in 40 s`,
		},
		"another server": {
			api: responds(200, "<html>"), alert: "DeepAffectsAPIDown",
			want: `The response is not a valid response of the API : `,
		},
		"a used daily quota": {
			api: vendor{"x": running}, change: func(c *collector.Config) { c.RequestsPerDay = 1 }, passes: 2 * time.Hour,
			want:  `The daily quota is used up, and 1 job is due \. Next attempt: in 22 h 1 min`,
			alert: "DeepAffectsDayQuotaRunsOut",
		},
		"a failing source": {
			api: vendor{"x": running}, alert: "DeepAffectsSourceFailing",
			change: func(c *collector.Config) { c.RequestIDURLs = []string{"http://127.0.0.1:1/ids"} },
			want:   `Request IDs cannot be read from source url : http://127\.0\.0\.1:1/ids: `,
		},
		"a failed job": {
			api: vendor{"x": failed}, want: `1 job failed in the last hour \. Last: now`, alert: "DeepAffectsJobFailed",
		},
		"a lost job": {
			api: vendor{}, passes: 20 * time.Minute, alert: "DeepAffectsJobLost",
			want: `1 job lost in the last hour \. Last: 44 s ago`,
		},
		"states that nobody knows": {
			api: vendor{"x": `{"status":"Failure"}`}, alert: "DeepAffectsUnknownState",
			want: `The API reports a state that this version does not know, "Failure", about 1 job`,
		},
		"a job that failed long ago": {api: vendor{"x": failed}, passes: 2 * time.Hour, want: `None\.`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := unlimited("a")
				if tt.change != nil {
					tt.change(&c)
				}
				m := watch(t, tt.api, c)
				track(t, m, "a", jobs("x")...)
				if tt.alert == "DeepAffectsJobLost" {
					m.Start()
					<-time.After(tt.passes)
					m.Stop(t.Context())
				} else {
					_ = m.Once(t.Context()) // polling may be impossible
					<-time.After(tt.passes)
					_ = m.Once(t.Context()) // looks at the quota again
				}
				page := get(m, "GET", "/").Body.String()
				_, section, _ := strings.Cut(page, `<h2 id="problems">`)
				section, _, _ = strings.Cut(section, "<section")
				if got := text(section); !regexp.MustCompile(tt.want).MatchString(got) {
					t.Errorf("the section reads %q, want %s", got, tt.want)
				}
				checkRunbook(t, page, section, tt.alert)
			})
		})
	}
}

// checkRunbook checks that a problem, if there is one, is in the title and links to the
// runbook of its alert.
func checkRunbook(t *testing.T, page, section, alert string) {
	t.Helper()
	links := regexp.MustCompile(`href="/runbooks#([^"]*)"`).FindAllStringSubmatch(section, -1)
	if alert == "" {
		if len(links) > 0 || !strings.Contains(page, "<title>DeepAffects jobs<") {
			t.Errorf("runbooks %v, or a problem in the title", links)
		}
		return
	}
	rules, err := os.ReadFile("../../deploy/prometheus/deepaffects-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, _ := strings.Cut(string(rules), `- alert: "`+alert+`"`)
	level := map[string]string{"critical": "bad", "warning": "warn"}[regexp.MustCompile(
		`severity: "(\w+)"`).FindStringSubmatch(rule)[1]]
	if !strings.Contains(section, `<li class="`+level+`"><svg class="icon `+level+`"`) {
		t.Errorf("the problem has another level than %s of its alert", level)
	}
	if len(links) != 1 || links[0][1] != alert {
		t.Errorf("runbooks %v, want one of %s", links, alert)
	}
	if !strings.Contains(page, "<title>(1) DeepAffects jobs<") {
		t.Error("the title does not count the problem")
	}
	if !strings.Contains(get(watch(t, nil, config("a")), "GET", "/runbooks").Body.String(), `<h2 id="`+alert+`">`) {
		t.Errorf("%s has no runbook", alert)
	}
}

// roundTripper is an API with one response to everything.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func responds(status int, body string) roundTripper {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func TestStoreFails(t *testing.T) {
	dir := t.TempDir()
	c, err := collector.New([]collector.Config{config("a")}, collector.Options{Transport: vendor{}, StateDirectory: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	db, err := sql.Open("sqlite", filepath.Join(dir, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a := c.Accounts()[0]
	const problem = "The store is not writable: "
	for i, step := range []struct {
		statement string
		fails     bool
	}{
		{"CREATE TRIGGER broken BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'no more'); END", true},
		{"DROP TRIGGER broken", false},
	} {
		if _, err := db.Exec(step.statement); err != nil {
			t.Fatal(err)
		}
		_, _, err := a.Register(submission.HTTP, jobs(fmt.Sprint(i)))
		page := text(get(c, "GET", "/").Body.String())
		shown := strings.Contains(page, problem)
		if (err != nil) != step.fails || shown != step.fails || strings.Contains(page, "no more") != step.fails {
			t.Errorf("after %s: %v; the page reads: %s", step.statement, err, page)
		}
	}
}

// Failed jobs are counted by error code, the most frequent first, with links to the jobs.
func TestCauses(t *testing.T) {
	api := vendor{}
	c := watch(t, api, unlimited("a"))
	for code := range 7 {
		for n := range 7 - code {
			id := fmt.Sprintf("job-%d-%d", code, n)
			api[id] = strings.Replace(failed, "BadRequest", fmt.Sprint("Code", code), 1)
			track(t, c, "a", jobs(id)...)
		}
	}
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := get(c, "GET", "/").Body.String()
	want := "Failed with com.deepaffects.Code0 : 7, com.deepaffects.Code1 : 6, com.deepaffects.Code2 : 5, " +
		"com.deepaffects.Code3 : 4, com.deepaffects.Code4 : 3, others: 3."
	if !strings.Contains(text(page), want) {
		t.Errorf("the page lacks %q: %s", want, text(page))
	}
	const link = "/jobs?error_code=com.deepaffects.Code1&state=failed"
	if !strings.Contains(page, html.EscapeString(link)) {
		t.Errorf("no link to %s", link)
	}
	list := get(c, "GET", link).Body.String()
	if strings.Count(list, "<bdi>job-1-") != 6 || strings.Count(list, "<bdi>job-") != 6 {
		t.Errorf("not the jobs with that code: %s", text(list))
	}
	job := get(c, "GET", "/job?request_id=job-1-0").Body.String()
	for _, want := range []string{html.EscapeString(link), "/runbooks#DeepAffectsJobFailed"} {
		if !strings.Contains(job, want) {
			t.Errorf("the page of a failed job lacks a link to %s", want)
		}
	}
}

var rowHeader = regexp.MustCompile(`<th scope="row"><a [^>]*><bdi>([^<]*)</bdi></a>`)

// rows returns the IDs in each table of jobs.
func rows(page string) (failed, unfinished, completed []string) {
	var tables [3][]string
	for i, heading := range []string{`<h3 id="failed-0">`, `<h3 id="unfinished-0">`, `<h3 id="completed-0">`} {
		_, table, _ := strings.Cut(page, heading)
		table, _, _ = strings.Cut(table[1:], "<h3")
		for _, match := range rowHeader.FindAllStringSubmatch(table, -1) {
			tables[i] = append(tables[i], html.UnescapeString(match[1]))
		}
	}
	return tables[0], tables[1], tables[2]
}

func TestShowsTheJobsThatMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := vendor{}
		directory := t.TempDir()
		c := watchIn(t, directory, api, unlimited("a"))
		runs, ends := numbered("runs", 25), numbered("ends", 30)
		for _, id := range append(runs, ends...) {
			api[id] = running
			track(t, c, "a", jobs(id)...)
			<-time.After(time.Second)
		}
		once := func() {
			<-time.After(time.Minute)
			if err := c.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			c = watchIn(t, directory, api, unlimited("a"))
		}
		// What was registered last ends first: the tables go by the end.
		var wantFailed, wantCompleted []string
		for i, id := range slices.Backward(ends) {
			if i%2 == 0 {
				api[id] = failed
				wantFailed = slices.Insert(wantFailed, 0, id)
			} else {
				api[id] = completed
				wantCompleted = slices.Insert(wantCompleted, 0, id)
			}
			once()
		}
		// One that the API does not know is lost after a while.
		track(t, c, "a", jobs("unknown")...)
		c.Start()
		<-time.After(40 * time.Minute)
		c.Stop(t.Context())
		wantFailed = slices.Insert(wantFailed, 0, "unknown")

		page := get(c, "GET", "/").Body.String()
		gotFailed, gotUnfinished, gotCompleted := rows(page)
		for name, table := range map[string]struct{ got, want []string }{
			"failed":     {gotFailed, wantFailed[:10]},
			"unfinished": {gotUnfinished, runs[:10]},
			"completed":  {gotCompleted, wantCompleted[:10]},
		} {
			if diff := cmp.Diff(table.want, table.got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		for _, want := range []string{
			"The latest 10 of 16.", "The oldest 10 of 25.", "Failed with com.deepaffects.BadRequest : 15.",
		} {
			if !strings.Contains(text(page), want) {
				t.Errorf("the page lacks %q", want)
			}
		}
	})
}

// Input of users and of the API is shown as text, and links lead to the job.
func TestHostileJobs(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	ids := []string{
		evil, "javascript:alert(1)", "a/../b?c#d%2F&account=a", "{{.}}", "//evil.example", "ä b", "\u202eabc",
		strings.Repeat("x", 128),
	}
	c := watch(t, nil, config("a"), config(evil))
	for _, account := range []string{"a", evil} {
		for _, id := range ids {
			track(t, c, account, submission.Job{RequestID: id, Labels: map[string]string{"team": evil}})
		}
	}
	page := get(c, "GET", "/").Body.String()
	_, shown, _ := rows(page)
	if diff := cmp.Diff(ids, shown); diff != "" {
		t.Errorf("IDs (-want +got):\n%s", diff)
	}
	search := "/jobs?q=" + url.QueryEscape(evil)
	pages := map[string]string{
		"the overview": page, "the list": get(c, "GET", search).Body.String(),
		"a wrong state": get(c, "GET", search+"&state="+url.QueryEscape(evil)).Body.String(),
	}
	var got, want []string
	for _, match := range regexp.MustCompile(`href="(/job\?[^"]*)"`).FindAllStringSubmatch(page, -1) {
		target := html.UnescapeString(match[1])
		link, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		id := link.Query().Get("request_id")
		got = append(got, link.Query().Get("account")+" "+id)
		w := get(c, "GET", target)
		pages[target] = w.Body.String()
		heading := `<h1>Job <bdi class="id whole">` + html.EscapeString(id)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), heading) && !strings.ContainsAny(id, `"'`) {
			t.Errorf("%s: HTTP %d, another job", target, w.Code)
		}
		json := regexp.MustCompile(`href="/api/v1/jobs/([^"?]*)\?account=`).FindStringSubmatch(w.Body.String())
		if json == nil || strings.Contains(json[1], "/") {
			t.Errorf("%s: no link to the JSON, or a slash is not escaped: %q", target, json)
		}
	}
	for _, account := range []string{"a", evil} {
		for _, id := range ids {
			want = append(want, account+" "+id)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	got = slices.Compact(got) // a job may be in two tables
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	for name, page := range pages {
		for _, not := range []string{"<script", "<img"} {
			if strings.Contains(script.ReplaceAllString(page, ""), not) {
				t.Errorf("%s has %s", name, not)
			}
		}
	}
}

// The list finds jobs by a part of their ID, by state and by account, and continues with
// older ones.
func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watch(t, vendor{"done-1": completed, "broken": failed}, unlimited("alpha"), config("beta"))
		track(t, c, "alpha", jobs(numbered("many-", 150)...)...)
		track(t, c, "alpha", jobs("done-1", "broken")...)
		track(t, c, "beta", jobs("done-1")...)
		if err := c.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		found := func(target string) (ids []string, more string) {
			page := get(c, "GET", target).Body.String()
			for _, match := range rowHeader.FindAllStringSubmatch(page, -1) {
				ids = append(ids, match[1])
			}
			if match := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(page); match != nil {
				more = html.UnescapeString(match[1])
			}
			return ids, more
		}
		for target, want := range map[string][]string{
			"/jobs?q=done":                       {"done-1", "done-1"},
			"/jobs?q=+done+&account=beta":        {"done-1"},
			"/jobs?state=failed":                 {"broken"},
			"/jobs?state=completed&account=beta": {"done-1"},
			"/jobs?q=-149":                       {"many-149"},
			"/jobs?q=nothing":                    nil,
			"/jobs?account=gamma":                nil,
		} {
			if ids, more := found(target); !slices.Equal(ids, want) || more != "" {
				t.Errorf("%s: %q, more %q; want %q", target, ids, more, want)
			}
		}
		// A search for a whole ID leads to the job.
		for target, want := range map[string]string{
			"/jobs?q=broken":              "/job?account=alpha&request_id=broken",
			"/jobs?q=done-1&account=beta": "/job?account=beta&request_id=done-1",
			"/jobs?q=done-1":              "",
			"/jobs?q=broken&state=failed": "",
		} {
			if got := get(c, "GET", target).Header().Get("Location"); got != want {
				t.Errorf("%s leads to %q, want %q", target, got, want)
			}
		}
		first, more := found("/jobs?q=many&account=alpha")
		second, end := found(more)
		if len(first) != 100 || first[0] != "many-149" || len(second) != 50 || second[49] != "many-00" || end != "" {
			t.Errorf("pages of %d and %d jobs, more %q and %q", len(first), len(second), more, end)
		}
	})
}

// A list that cannot be what was asked for says so, and is not empty for another reason.
func TestWrongLists(t *testing.T) {
	c := watch(t, vendor{}, unlimited("alpha"), unlimited("beta"))
	track(t, c, "alpha", jobs("x", "y")...)
	for target, want := range map[string]string{
		"/jobs?account=gamma":                           "No account has this name; choose one in the filter.",
		"/jobs?after=z":                                 "The job after which this page begins is not tracked any more; begin with the first page.",
		"/jobs?after=y&account=beta":                    "The job after which this page begins is not tracked any more;",
		"/jobs?labels=team%3Da":                         "Invalid parameter: labels: not known here; known: account, q, state, api, error_code, label, sort, after.",
		"/jobs?state=failed&state=lost":                 "Invalid parameter: state: given 2 times; give it once.",
		"/jobs?state=done":                              "Invalid parameter: state: must be pending, running, completed, failed, lost or late.",
		"/jobs?sort=name":                               "Invalid parameter: sort: must be one of registered, ended, duration, confidence,",
		"/jobs?account=beta":                            "None.",
		"/job?request_id=x&acount=alpha":                "Invalid parameter: acount: not known here; known: request_id, account.",
		"/job?request_id=x":                             "Parameter account is missing: several accounts are configured; name one.",
		"/job?request_id=x&account=gamma":               "Invalid parameter: account: no such account.",
		"/job?request_id=z&account=alpha":               "It is not tracked: its retention may have ended,",
		"/jobs?after=y":                                 "Account alpha Job",
		"/jobs?after=y&account=alpha&q=x&state=pending": "Account alpha Job",
	} {
		page := text(get(c, "GET", target).Body.String())
		if !strings.Contains(page, want) || strings.Contains(page, "None.") != (want == "None.") {
			t.Errorf("%s: %s, want %s", target, page, want)
		}
	}
}

// The list can be filtered by what jobs have in common, with their numbers, and sorted.
func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := vendor{"s": completed, "m": completed, "b": failed, "r": running}
		c := watch(t, api, unlimited("alpha"), unlimited("beta"))
		team := func(id, api, team string) submission.Job {
			return submission.Job{RequestID: id, API: submission.APIName(api), Labels: map[string]string{"team": team}}
		}
		track(t, c, "alpha", team("s", "asr", "sales"))
		<-time.After(time.Minute)
		track(t, c, "alpha", team("m", "asr", "support"), team("b", "vad", "sales"))
		track(t, c, "beta", team("r", "", "other sales"))
		if err := c.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		for target, want := range map[string][]string{
			"/jobs?api=asr":                                    {"m", "s"},
			"/jobs?api=unknown":                                {"r"},
			"/jobs?label=team%3Dsales":                         {"b", "s"},
			"/jobs?label=team%3Dsales&api=asr&label=":          {"s"},
			"/jobs?q=sales":                                    {"b", "s", "r"},
			"/jobs?q=sales&account=beta&state=running":         {"r"},
			"/jobs?error_code=com.deepaffects.BadRequest&q=b":  {"b"},
			"/jobs?sort=-registered&account=alpha":             {"s", "m", "b"},
			"/jobs?sort=duration&account=alpha&state=":         {"s", "b", "m"},
			"/jobs?sort=-duration&account=alpha&state=complet": nil,
			"/jobs?q=BadReq":                                   {"b"},
			"/jobs?q=asr&state=completed":                      {"m", "s"},
			"/jobs?label=team":                                 nil,
			"/jobs?label=team%3Da&label=team%3Db":              nil,
			"/jobs?state=failed&state=lost":                    nil,
			"/jobs?labels=team%3Dsales":                        nil,
			"/jobs?sort=bogus":                                 nil,
		} {
			w := get(c, "GET", target)
			var ids []string
			for _, match := range rowHeader.FindAllStringSubmatch(w.Body.String(), -1) {
				ids = append(ids, match[1])
			}
			if !slices.Equal(ids, want) || (w.Code == http.StatusBadRequest) != (want == nil) {
				t.Errorf("%s: HTTP %d, %q, want %q", target, w.Code, ids, want)
			}
		}
		page := get(c, "GET", "/jobs?label=team%3Dsales&sort=-duration").Body.String()
		for _, want := range []string{
			`<label>Account <select name="account"><option value="">any</option><option value="alpha">alpha (3)</option>` +
				`<option value="beta">beta (1)</option></select>`,
			`<option value="completed">completed (2)</option>`, `<option value="asr">asr (2)</option>`,
			`<option value="com.deepaffects.BadRequest">com.deepaffects.BadRequest (1)</option>`,
			`<label>team <select name="label"><option value="">any</option>` +
				`<option value="team=sales" selected>sales (2)</option>` +
				`<option value="team=other sales">other sales (1)</option><option value="team=support">support (1)</option>`,
			`<option value="-duration" selected>shortest first</option>`,
			`<th scope="col" class="number" aria-sort="ascending"><a href="/jobs?label=team%3Dsales&amp;sort=duration">`,
			`<th scope="col"><a href="/jobs?label=team%3Dsales">Registered</a>`,
			`<a href="/jobs">Clear</a>`,
		} {
			if !strings.Contains(strings.ReplaceAll(page, "\n", ""), want) {
				t.Errorf("the page lacks %s", want)
			}
		}
		// The numbers are of the chosen state and account.
		page = strings.ReplaceAll(get(c, "GET", "/jobs?state=failed&account=alpha").Body.String(), "\n", "")
		if !strings.Contains(page, `<option value="vad">vad (1)</option></select>`) || strings.Contains(page, "asr (") {
			t.Errorf("other numbers: %s", text(page))
		}
	})
}

// Of very many values of a label, the filter has the most frequent of all accounts, and the one that is chosen, with
// its number of jobs. The page says that there are others.
func TestManyValues(t *testing.T) {
	c := watch(t, vendor{}, unlimited("alpha"), unlimited("beta"))
	const values = 1500
	var all []submission.Job
	for i := range values {
		id := fmt.Sprintf("%04d", i)
		all = append(all, submission.Job{RequestID: id, Labels: map[string]string{"team": "t" + id}})
	}
	track(t, c, "alpha", all...)
	track(t, c, "beta", all[700:702]...)
	for _, chosen := range []string{"", "t0300", "t1400", "none"} {
		target := "/jobs"
		if chosen != "" {
			target += "?label=team%3D" + chosen
		}
		page := get(c, "GET", target).Body.String()
		_, choice, _ := strings.Cut(page, `<select name="label">`)
		choice, _, _ = strings.Cut(choice, "</select>")
		want := " any t0700 (2) t0701 (2) t0000 (1) "
		if got := text(choice); !strings.HasPrefix(got, want) || strings.Count(got, "(") > 101 {
			t.Errorf("%s: the choice is %s", target, got)
		}
		number := map[string]string{"t0300": "1", "t1400": "1", "none": "0"}[chosen]
		selected := fmt.Sprintf(`<option value="team=%s" selected>%s (%s)</option>`, chosen, chosen, number)
		if strings.Contains(choice, selected) != (chosen != "") || !strings.Contains(page, "Some values are not listed") {
			t.Errorf("%s lacks %s, or that values are not listed: %s", target, selected, text(page))
		}
	}
	c = watch(t, vendor{}, unlimited("alpha"))
	track(t, c, "alpha", all[:50]...)
	if page := get(c, "GET", "/jobs").Body.String(); strings.Contains(page, "not listed") {
		t.Errorf("values are not listed: %s", text(page))
	}
}

// Where there are too many jobs to sort, the page says that it is partial.
func TestPartial(t *testing.T) {
	c := watch(t, vendor{}, unlimited("a"))
	const n = 50_001
	var all []submission.Job
	for i := range n {
		all = append(all, submission.Job{RequestID: fmt.Sprint(i), API: submission.APIName([]string{"asr", "vad"}[i%2])})
	}
	track(t, c, "a", all...)
	for target, partial := range map[string]bool{
		"/jobs": false, "/jobs?sort=-registered": false, "/jobs?sort=ended": false, "/jobs?sort=duration": true,
		"/jobs?sort=-confidence&state=pending": true, "/jobs?sort=duration&q=00": true,
		"/jobs?sort=duration&account=none": false, "/jobs?sort=duration&state=failed": false,
	} {
		page := text(get(c, "GET", target).Body.String())
		const want = "Partial: only the newest 50,000 jobs of an account are looked at, and older ones are not listed."
		if strings.Contains(page, want) != partial {
			t.Errorf("%s: partial should be %v: %s", target, partial, page[:min(len(page), 1000)])
		}
	}
	for _, target := range []string{"/jobs?state=late", "/jobs?q=none"} { // the first begins with the oldest jobs
		page := text(get(c, "GET", target).Body.String())
		if !strings.Contains(page, "None among the jobs looked at so far; others may match.") {
			t.Errorf("%s: %s", target, page[:min(len(page), 1000)])
		}
	}
}

// The page of a job shows its timeline, its result and its conversation.
func TestJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := vendor{"c": running, "f": failed, "r": running}
		directory := t.TempDir()
		c := watchIn(t, directory, api, unlimited("a"))
		track(t, c, "a", submission.Job{
			RequestID: "c", API: "asr", AudioSeconds: 90, SubmittedAt: time.Now().Add(-time.Hour),
			Labels: map[string]string{"team": "x"},
		})
		track(t, c, "a", jobs("f", "r")...)
		for {
			<-time.After(time.Minute)
			if err := c.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			if api["c"] == completed {
				break
			}
			api["c"] = completed
			c = watchIn(t, directory, api, unlimited("a"))
		}
		for id, wants := range map[string][]string{
			"c": {
				"Job c completed", "API asr Registered by http Audio length 1 min 30 s team x",
				"Submitted 1999-12-31 23:00:00 UTC 1 h 2 min ago", "Registered 2000-01-01 00:00:00 UTC 2 min ago, 1 h later",
				"Last seen unfinished 2000-01-01 00:01:00 UTC", "Completion observed 2000-01-01 00:02:00 UTC now",
				"Result Confidence 75.6 % Speakers 2 Words 2 Speech 1 min Recording 1 min 1 s",
				"Words per second 0.03 Dominant speaker 99.2 % Overlapping words 0",
				"2 speakers over 1 min 1 s. No pause of a second or more.",
				"Speaker 0 | 1 min | 1 | 1 | 50.0 % |", "Duration: 1 h 2 min, or up to 1 min less.",
				"Confidence, and its share of the speech: 50 to 70 %: 99.2 % 95 % and more: 0.8 %",
				"Of the words | Min | 1st percentile | 10th percentile | Median | 90th percentile | 99th percentile | Max | Mean |",
				"Confidence | 50.0 % | 50.0 % | 50.0 % | 50.0 % | 100.0 % | 100.0 % | 100.0 % | 75.0 % |",
				"Length | 0.5 s | 0.5 s | 0.5 s | 0.5 s | 59.5 s | 59.5 s | 59.5 s | 30 s |",
			},
			"f": {
				"Job f failed : com.deepaffects.BadRequest – jobs with the same error – what to do", "Failure observed",
				"Duration: 1 min, or up to 1 min less.",
			},
			"r": {
				"Job r running", "Last response 2000-01-01 00:02:00 UTC now", "Next poll", "Age: 2 min. ",
				"Unlikely to have finished; similar jobs take 42 s; a poll now would save 0 s of expected delay, " +
					"the current minimum is 0.1 s.",
			},
		} {
			page := text(get(c, "GET", "/job?request_id="+id).Body.String())
			for _, want := range wants {
				if !strings.Contains(page, want) {
					t.Errorf("job %s lacks %q: %s", id, want, page)
				}
			}
			if strings.Contains(page, "spoken") {
				t.Errorf("job %s shows what was said", id)
			}
		}
		svg := regexp.MustCompile(`(?s)<svg role="img".*?</svg>`).FindString(get(c, "GET", "/job?request_id=c").Body.String())
		for _, want := range []string{
			`viewBox="0 0 1000 60"`,
			// Speaker 0, who talks most: 1 to 60.5 s.
			`<path class="c2" d="M16.5 10.5h983.5v10.5H16.5z"><title>Speaker 0, confidence 50 to 70 %: 1 min</title></path>`,
			// Speaker 1: 0 to 0.5 s.
			`<path class="c5" d="M0.0 27h8.3v18H0.0z"><title>Speaker 1, confidence 95 % and more: 0.5 s</title></path>`,
		} {
			if !strings.Contains(svg, want) {
				t.Errorf("the drawing lacks %s: %s", want, svg)
			}
		}
		if page := get(c, "GET", "/job?request_id=f").Body.String(); strings.Contains(page, `role="img"`) {
			t.Error("a failed job has a drawing")
		}
	})
}

// A lost job says why, and what the last request about it brought. It was not seen unfinished if the API never said so.
func TestWhyJobsAreLost(t *testing.T) {
	const seen = "Last seen unfinished"
	for name, tt := range map[string]struct {
		answer, runbook string
		passes          time.Duration
		want            []string
		seen            bool
	}{
		"not found": {
			passes: time.Hour, runbook: "DeepAffectsJobLost",
			want: []string{"lost : not_found", "Given up: the API does not know the request ID",
				": the API answered HTTP 404 ."},
		},
		"unreadable": {
			answer: `{"response":{"request_id":"x","response":{"words":[<`, passes: time.Hour, runbook: "DeepAffectsJobLost",
			want: []string{
				"lost : unreadable", "Given up: the API's response about it cannot be read",
				": invalid JSON at byte 51 .",
			},
		},
		"too old": {
			answer: running, passes: 50 * time.Hour, runbook: "DeepAffectsJobLost", seen: true,
			want: []string{"lost : max_job_age", "Given up: it was unfinished for longer than max_job_age", ": ok."},
		},
		"an unknown state": {
			answer: `{"status":"Failure"}`, passes: time.Hour, runbook: "DeepAffectsUnknownState",
			want: []string{": ok, with a state that this version does not know: Failure ."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := vendor{}
				if tt.answer != "" {
					api["x"] = tt.answer
				}
				o := unlimited("a")
				o.Retention = 100 * time.Hour
				c := watch(t, api, o)
				track(t, c, "a", jobs("x")...)
				c.Start()
				<-time.After(tt.passes)
				c.Stop(t.Context())
				html := get(c, "GET", "/job?request_id=x").Body.String()
				page := text(html)
				for _, want := range tt.want {
					if !strings.Contains(page, want) {
						t.Errorf("the page lacks %q: %s", want, page)
					}
				}
				if strings.Contains(page, seen) != tt.seen || !strings.Contains(html, `href="/runbooks#`+tt.runbook+`"`) {
					t.Errorf("%q, or the runbook: %s", seen, page)
				}
			})
		})
	}
}

// Every element is closed, every ID is unique, and every reference to an ID resolves.
func TestIsWellFormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watch(t, vendor{"c": completed, "f": failed, "r": running}, config("a"), unlimited("b"))
		track(t, c, "a", jobs("c", "f", "r", "<&>")...)
		if err := c.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		for target, fewest := range map[string]int{"/": 8, "/jobs": 1, "/job?account=a&request_id=c": 3, "/runbooks": 0} {
			wellFormed(t, get(c, "GET", target).Body.String(), fewest)
		}
	})
}

// wellFormed checks a page with at least fewest labels.
func wellFormed(t *testing.T, page string, fewest int) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(script.ReplaceAllString(page, "")))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	ids, labels := make(map[string]int), make(map[string]bool)
	headings := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if element.Name.Local == "h1" {
			headings++
		}
		scope := false
		for _, attr := range element.Attr {
			switch attr.Name.Local {
			case "id":
				ids[attr.Value]++
			case "aria-labelledby", "aria-describedby", "for":
				labels[attr.Value] = true
			case "scope":
				scope = true
			}
		}
		if element.Name.Local == "th" && !scope {
			t.Error("a th has no scope")
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("the ID %s is there %d times", id, n)
		}
	}
	for id := range labels {
		if ids[id] == 0 {
			t.Errorf("nothing has the ID %s", id)
		}
	}
	if headings != 1 || len(labels) < fewest {
		t.Errorf("%d h1, %d labels", headings, len(labels))
	}
}

// A figure that is unknown is not a number of speakers or words.
func TestUnknownNumberOfSpeakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watchIn(t, t.TempDir(), vendor{"c": `{"status":"Completed","response":{"response":{"words":[
			{"word":"spoken","start":0,"end":1,"confidence":1}, {"word":"spoken","start":1,"end":60.5,"confidence":1}]}}}`}, unlimited("a"))
		track(t, c, "a", jobs("c")...)
		<-time.After(time.Minute)
		if err := c.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		page := text(get(c, "GET", "/job?account=a&request_id=c").Body.String())
		if !strings.Contains(page, "Speech over 1 min") || strings.Contains(page, "9,223") {
			t.Errorf("the page of a job without speakers:\n%s", page)
		}
	})
}
