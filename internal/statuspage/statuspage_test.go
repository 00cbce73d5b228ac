package statuspage_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/registration"
)

func TestServesItsPathsAlone(t *testing.T) {
	c := watch(t, nil, config("a"))
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/?x=y", 200}, {"POST", "/", 405}, {"DELETE", "/", 405},
		{"GET", "/index.html", 404}, {"GET", "/x/", 404}, {"POST", "/x", 404},
		{"GET", "/jobs", 200}, {"GET", "/jobs?account=none&state=x&after=y&q=z", 200}, {"GET", "/jobs/", 404},
		{"GET", "/job", 404}, {"GET", "/job?request_id=x", 404}, {"GET", "/job?request_id=x&account=none", 404},
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
		"Content-Security-Policy": "default-src 'none'; style-src " + hash(styles[0][1]) + "; script-src " + hash(scripts[0][1]) +
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
		links = append(links, match[1])
	}
	states := []string{"/jobs?state=pending", "/jobs?state=running", "/jobs?state=completed", "/jobs?state=failed", "/jobs?state=lost"}
	if want := append([]string{"data:,", "#main", "/", "/jobs", "/metrics", "/api/v1/status", "/jobs"}, states...); !slices.Equal(links, want) {
		t.Errorf("links are %q, want %q", links, want)
	}
	for _, has := range []string{`<meta http-equiv="refresh" content="30">`, `<html lang="en">`, "deepaffects-monitor 1.2.3"} {
		if !strings.Contains(page, has) {
			t.Errorf("the page lacks %q", has)
		}
	}
}

var (
	tag   = regexp.MustCompile(`<[^>]*>`)
	space = regexp.MustCompile(`\s+`)
)

// text is what one reads on a page; a cell of a table ends with a bar.
func text(page string) string {
	page = script.ReplaceAllString(styleElement.ReplaceAllString(page, ""), "")
	page = regexp.MustCompile(`</t[hd]>`).ReplaceAllString(page, " |")
	return space.ReplaceAllString(html.UnescapeString(tag.ReplaceAllString(page, " ")), " ")
}

func TestShowsAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := vendor{"c1": completed, "c2": empty, "f": failed, "r": running}
		c := watch(t, api, config("alpha"), unlimited("beta"))
		track(t, c, "alpha", registration.Job{RequestID: "c1", API: "asr", Labels: map[string]string{"team": "t"}})
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
			"Account alpha Up : the API answers. Last success: 30 seconds ago .",
			"pending | 1 | running | 1 | completed | 2 | failed | 1 | lost | 0 |",
			"Per minute: 5 of 5 used, 0 left; more 31 seconds from now",
			"Per day: 5 of 100 used, 95 left; more 1 day from now",
			"Jobs due now ", "Price of a request ", "s of expected delay Forecast until more ", "Oldest unfinished job 1 min 45 s",
			"config | 30 seconds ago | 0 |",
			"f | – | failed | com.deepaffects.BadRequest | 30 seconds ago | 1 min 15 s |",
			"r | – | running | 1 min 45 s | 30 seconds ago | ",
			"p | – | pending | 1 min 45 s | none yet | ", "likely to have ended",
			"c1 team= t | asr | 30 seconds ago | 1 min 15 s | 75.6 % | 2 | 2 | 1 min 31 s |",
			"c2 | – | 30 seconds ago | 1 min 15 s | – | – | – | – |",
		} {
			if !strings.Contains(text(alpha), want) {
				t.Errorf("account alpha lacks %q", want)
			}
		}
		for _, want := range []string{
			"beta Not asked yet. Last success: never .",
			"Per minute: 0 used, no limit Per day: 0 used, no limit Jobs due now 0 Price of a request 0.1 s of expected delay Oldest unfinished job none",
			"Latest failed and lost jobs None. Unfinished jobs, the oldest first None. Recently completed jobs None.",
		} {
			if !strings.Contains(text(beta), want) {
				t.Errorf("account beta lacks %q", want)
			}
		}
		if t.Failed() {
			t.Logf("the page reads: %s", text(page))
		}
		for _, want := range []string{
			`<meter aria-label="Quota used per minute" min="0" max="5" low="2.5" high="4.5" optimum="0" value="5">5 of 5</meter>`,
			`<time datetime="2000-01-01T00:01:15Z" title="2000-01-01T00:01:15Z">30 seconds ago</time>`,
			`<a href="/job?account=alpha&amp;request_id=c1"><bdi>c1</bdi></a>`,
		} {
			if !strings.Contains(alpha, want) {
				t.Errorf("account alpha lacks %s", want)
			}
		}
		if strings.Contains(beta, "<meter") {
			t.Error("there is a meter without a limit")
		}
		for _, not := range []string{"the-key", "spoken"} {
			if strings.Contains(page, not) {
				t.Errorf("the page has %q", not)
			}
		}
	})
}

func TestShowsThatTheAPIIsDown(t *testing.T) {
	c := watch(t, refusing{}, unlimited("a"))
	track(t, c, "a", jobs("x")...)
	if err := c.Once(t.Context()); err != collector.ErrNothingAsked {
		t.Fatal(err)
	}
	want := "Down : the API did not answer as it should. Last success: never ."
	if page := text(get(c, "GET", "/").Body.String()); !strings.Contains(page, want) {
		t.Errorf("the page lacks %q: %s", want, page)
	}
}

// refusing is an API that refuses the key.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusUnauthorized, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// rows returns the IDs in each table of jobs.
func rows(page string) (failed, unfinished, completed []string) {
	var tables [3][]string
	for i, heading := range []string{`<h3 id="failed-0">`, `<h3 id="unfinished-0">`, `<h3 id="completed-0">`} {
		_, table, _ := strings.Cut(page, heading)
		table, _, _ = strings.Cut(table[1:], "<h3")
		for _, match := range regexp.MustCompile(`<th scope="row"><a [^>]*><bdi>([^<]*)</bdi></a>`).FindAllStringSubmatch(table, -1) {
			tables[i] = append(tables[i], html.UnescapeString(match[1]))
		}
	}
	return tables[0], tables[1], tables[2]
}

func TestShowsTheJobsThatMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := vendor{}
		c := watch(t, api, unlimited("a"))
		runs, ends := numbered("runs", 25), numbered("ends", 50)
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
		for range 17 {
			once()
		}
		wantFailed = slices.Insert(wantFailed, 0, "unknown")

		page := get(c, "GET", "/").Body.String()
		gotFailed, gotUnfinished, gotCompleted := rows(page)
		for name, table := range map[string]struct{ got, want []string }{
			"failed":     {gotFailed, wantFailed[:20]},
			"unfinished": {gotUnfinished, runs[:20]},
			"completed":  {gotCompleted, wantCompleted[:20]},
		} {
			if diff := cmp.Diff(table.want, table.got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if !strings.Contains(text(page), "20 of 25.") {
			t.Error("the page does not say that there are more")
		}
	})
}

// What users and the API write comes out as text, and links lead to the job.
func TestHostileJobs(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	ids := []string{evil, "javascript:alert(1)", "a/../b?c#d%2F&account=a", "{{.}}", "//evil.example", "ä b", "\u202eabc", strings.Repeat("x", 128)}
	c := watch(t, nil, config("a"), config(evil))
	for _, account := range []string{"a", evil} {
		for _, id := range ids {
			track(t, c, account, registration.Job{RequestID: id, Labels: map[string]string{"team": evil}})
		}
	}
	page := get(c, "GET", "/").Body.String()
	_, shown, _ := rows(page)
	if diff := cmp.Diff(ids, shown); diff != "" {
		t.Errorf("IDs (-want +got):\n%s", diff)
	}
	pages := map[string]string{"the overview": page, "the list": get(c, "GET", "/jobs?q="+url.QueryEscape(evil)+"&state="+url.QueryEscape(evil)).Body.String()}
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
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<h1>Job <bdi>"+html.EscapeString(id)) && !strings.ContainsAny(id, `"'`) {
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

// The list finds jobs by a part of their ID, by state and by account, and goes on
// to older ones.
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
			for _, match := range regexp.MustCompile(`<th scope="row"><a [^>]*><bdi>([^<]*)</bdi></a>`).FindAllStringSubmatch(page, -1) {
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
		first, more := found("/jobs?q=many&account=alpha")
		second, end := found(more)
		if len(first) != 100 || first[0] != "many-149" || len(second) != 50 || second[49] != "many-00" || end != "" {
			t.Errorf("pages of %d and %d jobs, more %q and %q", len(first), len(second), more, end)
		}
	})
}

// The page of a job tells its life and its result, with a picture of who speaks when.
func TestJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := vendor{"c": running, "f": failed, "r": running}
		c := watch(t, api, unlimited("a"))
		track(t, c, "a", registration.Job{RequestID: "c", API: "asr", AudioSeconds: 90, SubmittedAt: time.Now().Add(-time.Hour), Labels: map[string]string{"team": "x"}})
		track(t, c, "a", jobs("f", "r")...)
		for range 2 {
			<-time.After(time.Minute)
			if err := c.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			api["c"] = completed
		}
		for id, wants := range map[string][]string{
			"c": {
				"Job c completed", "API asr Registered by http Length given 1 min 30 s team x",
				"Submitted 1999-12-31 23:00:00 UTC 1 hour ago", "Registered 2000-01-01 00:00:00 UTC 2 minutes ago",
				"Last known to be unfinished 2000-01-01 00:01:00 UTC", "Found completed 2000-01-01 00:02:00 UTC now",
				"Confidence 75.6 % Speakers 2 Words 2 Recording 1 min 31 s Speech 1 min 30 s Words a second 0.02 Overlapping words 0",
				"2 speakers over 1 min 31 s. No pause of a second or more.",
				"Speaker 0 | 1 min 30 s | 1 | 1 | 50.0 % |", "Confidence | 0.5 | 0.5 | 1 | 1 | 1 | 0.75 |",
			},
			"f": {"Job f failed : com.deepaffects.BadRequest", "Found failed"},
			"r": {"Job r running", "Last answer 2000-01-01 00:02:00 UTC now", "Next request", "% likely to have ended"},
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
			`<path class="c2" d="M11.0 3h989.0v18H11.0z"/>`, // speaker 0, who talks most: 1 to 90.5 s
			`<path class="c5" d="M0.0 27h5.5v18H0.0z"/>`,    // speaker 1: 0 to 0.5 s
		} {
			if !strings.Contains(svg, want) {
				t.Errorf("the picture lacks %s: %s", want, svg)
			}
		}
		if page := get(c, "GET", "/job?request_id=f").Body.String(); strings.Contains(page, `role="img"`) {
			t.Error("a failed job has a picture")
		}
	})
}

// Every element is closed, every ID is there once, and what refers to one finds it.
func TestIsWellFormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watch(t, vendor{"c": completed, "f": failed, "r": running}, config("a"), unlimited("b"))
		track(t, c, "a", jobs("c", "f", "r", "<&>")...)
		if err := c.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		for target, most := range map[string]int{"/": 8, "/jobs": 2, "/job?account=a&request_id=c": 3} {
			wellFormed(t, get(c, "GET", target).Body.String(), most)
		}
	})
}

// wellFormed checks a page, which has so many labels at least.
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
