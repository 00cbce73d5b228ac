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

func TestServesTheRootAlone(t *testing.T) {
	c := watch(t, nil, config("a"))
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/?x=y", 200}, {"POST", "/", 405}, {"DELETE", "/", 405},
		{"GET", "/index.html", 404}, {"GET", "/x/", 404}, {"GET", "//", 404}, {"POST", "/x", 404},
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
	active       = regexp.MustCompile(`(?i)<script|<iframe|\sstyle=|\son[a-z]+=|@import|url\(`)
	reference    = regexp.MustCompile(`(?:href|src|srcset|action|data)="([^"]*)"`)
)

func TestNeedsNothingFromElsewhere(t *testing.T) {
	w := get(watch(t, nil, config("a")), "GET", "/")
	page := w.Body.String()
	styles := styleElement.FindAllStringSubmatch(page, -1)
	if len(styles) != 1 {
		t.Fatalf("%d styles", len(styles))
	}
	sum := sha256.Sum256([]byte(styles[0][1]))
	for name, want := range map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-store",
		"Content-Security-Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if found := active.FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	var links []string
	for _, match := range reference.FindAllStringSubmatch(page, -1) {
		links = append(links, match[1])
	}
	if want := []string{"data:,", "/metrics", "/api/v1/status"}; !slices.Equal(links, want) {
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
	page = styleElement.ReplaceAllString(page, "")
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
			"Jobs due now 2 Oldest unfinished job 1 min 45 s",
			"config | 30 seconds ago | 0 |",
			"f | – | failed | com.deepaffects.BadRequest | 30 seconds ago | 1 min 15 s |",
			"r | – | running | 1 min 45 s | 30 seconds ago | due |",
			"p | – | pending | 1 min 45 s | none yet | due |",
			"c1 team=t | asr | 30 seconds ago | 1 min 15 s | 75.6 % | 2 | 2 | 1 min 31 s |",
			"c2 | – | 30 seconds ago | 1 min 15 s | – | – | – | – |",
		} {
			if !strings.Contains(text(alpha), want) {
				t.Errorf("account alpha lacks %q", want)
			}
		}
		for _, want := range []string{
			"beta Not asked yet. Last success: never .",
			"Per minute: 0 used, no limit Per day: 0 used, no limit Jobs due now 0 Oldest unfinished job none",
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
			`<a href="/api/v1/jobs/c1?account=alpha">c1</a>`,
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
		for _, match := range regexp.MustCompile(`<th scope="row"><a [^>]*>([^<]*)</a>`).FindAllStringSubmatch(table, -1) {
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
	ids := []string{evil, "javascript:alert(1)", "a/../b?c#d%2F", "{{.}}", "//evil.example", "ä b"}
	c := watch(t, nil, config("a"), config(evil))
	for _, account := range []string{"a", evil} {
		for _, id := range ids {
			track(t, c, account, registration.Job{RequestID: id, Labels: map[string]string{"team": evil}})
		}
	}
	page := get(c, "GET", "/").Body.String()
	for _, not := range []string{"<script", "<img"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %s", not)
		}
	}
	_, shown, _ := rows(page)
	if diff := cmp.Diff(ids, shown); diff != "" {
		t.Errorf("IDs (-want +got):\n%s", diff)
	}
	var got, want []string
	for _, match := range reference.FindAllStringSubmatch(page, -1) {
		link, err := url.Parse(html.UnescapeString(match[1]))
		if err != nil {
			t.Fatal(err)
		}
		if id, found := strings.CutPrefix(link.Path, "/api/v1/jobs/"); found {
			got = append(got, link.Scheme+link.Host+link.Query().Get("account")+" "+id)
			if strings.Contains(strings.TrimPrefix(link.EscapedPath(), "/api/v1/jobs/"), "/") {
				t.Errorf("a slash is not escaped in %s", match[1])
			}
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
}

// Every element is closed, every ID is there once, and what refers to one finds it.
func TestIsWellFormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watch(t, vendor{"c": completed, "f": failed, "r": running}, config("a"), unlimited("b"))
		track(t, c, "a", jobs("c", "f", "r", "<&>")...)
		if err := c.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		void := regexp.MustCompile(`<(meta|link)([^>]*)>`) // has no end in HTML
		d := xml.NewDecoder(strings.NewReader(void.ReplaceAllString(get(c, "GET", "/").Body.String(), "<$1$2/>")))
		d.Entity = xml.HTMLEntity
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
				case "aria-labelledby":
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
		if headings != 1 || len(labels) < 8 {
			t.Errorf("%d h1, %d labels", headings, len(labels))
		}
	})
}
