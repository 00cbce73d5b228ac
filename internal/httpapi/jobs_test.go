package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

const (
	completed = `{"status":"Completed","response":{"response":{
		"confidence":0.75,"num_speakers":2,"transcript":"secret","words":[
		{"word":"secret","start":0,"end":0.5,"confidence":1,"speaker_id":"0"},
		{"word":"secret","start":1,"end":1.5,"confidence":0.5,"speaker_id":"1"}]}}}`
	silent = `{"status":"Completed","response":{"response":{"segments":[{"tag":"noise","start":0,"end":2}]}}}`
	failed = `{"status":"Failed","response":{"response":{"fault":{
		"fault_string":"secret","detail":{"error_code":"com.deepaffects.BadRequest"}}}}}`
	running = `{"status":"Running"}`
)

// at returns a time after the start of the bubble, as in a response.
func at(d time.Duration) string {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d).Format("2006-01-02T15:04:05.000Z")
}

// decided matches the decisions of the scheduler, which these tests do not check.
var decided = regexp.MustCompile(
	`"(next_poll|next_poll_why|at|why|price_seconds|forecast|due)":("[^"]+"|[0-9][^,}]*|{[^}]*})`)

// undecided replaces the decisions of the scheduler by question marks.
func undecided(w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	body := decided.ReplaceAllString(w.Body.String(), `"$1":"?"`)
	w.Body = bytes.NewBufferString(body)
	return w
}

// statistics is the JSON of a result's statistics.
func statistics(fill func(*transcript.Accumulator)) string {
	var a transcript.Accumulator
	fill(&a)
	text, err := json.Marshal(&a.Result().Statistics)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestShow(t *testing.T) {
	const before = `"account":"a","source":"http","first_seen":"2000-01-01T00:00:00.000Z",
		"last_poll":{"at":"?","outcome":"ok"},`
	const ended = `"last_observed":"2000-01-01T00:00:20.000Z","finished_at":"2000-01-01T00:00:20.000Z",
		"age_seconds":20,"duration_seconds":20,"detection_window_seconds":20,`
	for name, test := range map[string]struct{ entry, answer, want string }{
		"completed": {
			`{"request_id":"x","api":"asr","audio_seconds":1.5,"submitted_at":"1999-12-31T18:59:49.452-05:00",
				"labels":{"team":"t","other":"o"}}`,
			completed,
			`{"request_id":"x",` + before + `"api":"asr","labels":{"team":"t"},"state":"completed",
			"submitted_at":"1999-12-31T23:59:49.452Z","last_observed":"2000-01-01T00:00:20.000Z",
			"finished_at":"2000-01-01T00:00:20.000Z",
			"age_seconds":30.548,"duration_seconds":30.548,"detection_window_seconds":30.548,"audio_seconds":1.5,
			"statistics":` + statistics(func(a *transcript.Accumulator) {
				a.Confidence(.75)
				a.Speakers(2)
				a.WordList()
				a.Word(transcript.Piece{Start: 0, End: .5, Confidence: 1, Speaker: []byte("0")})
				a.Word(transcript.Piece{Start: 1, End: 1.5, Confidence: .5, Speaker: []byte("1")})
			}) + `}`,
		},
		"unknown figures are absent": {`"x"`, silent, `{"request_id":"x",` + before + ended + `"state":"completed",
			"statistics":` + statistics(func(a *transcript.Accumulator) {
			a.SegmentList()
			a.Pause(transcript.Piece{Start: 0, End: 2})
		}) + `}`},
		"failed": {`"x"`, failed,
			`{"request_id":"x",` + before + ended + `"state":"failed","error_code":"com.deepaffects.BadRequest"}`},
		"running": {`"x"`, running, `{"request_id":"x",` + before + `"state":"running","age_seconds":60,
			"last_observed":"2000-01-01T00:00:20.000Z","next_poll":"?"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := watch(t, vendor{"x": test.answer}, "a")
				m.do("POST", "/api/v1/jobs", test.entry)
				<-time.After(20 * time.Second)
				if err := m.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				<-time.After(40 * time.Second)
				explained := strings.Replace(test.want, `"next_poll":"?"`, `"next_poll":"?","next_poll_why":"?"`, 1)
				check(t, undecided(m.do("GET", "/api/v1/jobs/x", "")), 200, explained)
				check(t, undecided(m.do("GET", "/api/v1/jobs", "")), 200, `{"jobs":[`+test.want+`]}`)
			})
		})
	}
}

// An unfinished job has the times by which half, and nine in ten, of such jobs have finished, once one has.
func TestExpectedFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := watch(t, vendor{"c": completed, "r": running}, "a")
		m.Start()
		defer m.Stop(t.Context())
		type times struct {
			State          string    `json:"state"`
			FirstSeen      time.Time `json:"first_seen"`
			ExpectedFinish time.Time `json:"expected_finish"`
			LateAfter      time.Time `json:"late_after"`
			Late           bool      `json:"late"`
		}
		shown := func() (all map[string]times) {
			t.Helper()
			var list struct {
				Jobs []times `json:"jobs"`
			}
			if err := json.Unmarshal(m.do("GET", "/api/v1/jobs", "").Body.Bytes(), &list); err != nil {
				t.Fatal(err)
			}
			all = make(map[string]times)
			for _, listed := range list.Jobs {
				all[listed.State] = listed
			}
			var r times
			if err := json.Unmarshal(m.do("GET", "/api/v1/jobs/r", "").Body.Bytes(), &r); err != nil || r != all["running"] {
				t.Errorf("a job is listed as %+v, and shown as %+v, %v", all["running"], r, err)
			}
			return all
		}
		m.do("POST", "/api/v1/jobs", `["r"]`)
		<-time.After(20 * time.Second)
		if r := shown()["running"]; !r.ExpectedFinish.IsZero() || !r.LateAfter.IsZero() || r.Late {
			t.Errorf("nothing was learnt, and the job is %+v", r)
		}
		m.do("POST", "/api/v1/jobs", `{"request_id":"c","submitted_at":"1999-12-31T23:30:00Z"}`)
		<-time.After(20 * time.Second)
		all := shown()
		if r := all["running"]; !r.ExpectedFinish.After(r.FirstSeen) || !r.LateAfter.After(r.ExpectedFinish) || r.Late {
			t.Errorf("when another has ended, the job is %+v", r)
		}
		if c := all["completed"]; !c.ExpectedFinish.IsZero() || !c.LateAfter.IsZero() || c.Late {
			t.Errorf("the job that has ended is %+v", c)
		}
		<-time.After(12 * time.Hour)
		if r := shown()["running"]; !r.Late {
			t.Errorf("after 12 hours the job is %+v", r)
		}
		if status := m.do("GET", "/api/v1/status", "").Body.String(); !strings.Contains(status, `"late":1,`) {
			t.Errorf("no job is late: %s", status)
		}
	})
}

// The last request about a job is shown, with the state that nobody knows or the reason why it brought nothing.
func TestShowLastPoll(t *testing.T) {
	const malformed = `{"at":"?","outcome":"malformed","error":"`
	for answer, want := range map[string]string{
		`{"status":"Failure","response":null}`:  `{"at":"?","outcome":"ok","state_word":"Failure"}`,
		`{"status":"call 4711"}`:                `{"at":"?","outcome":"ok"}`,
		`{"status":"Completed","response":{"a"`: malformed + `invalid JSON at byte 37"}`,
		`[]`:                                    malformed + `not a JSON object"}`,
		`<html>`: malformed +
			`the answer is HTML or XML, not JSON, as from a proxy or at a wrong url"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			m := watch(t, vendor{"x": answer}, "a")
			m.do("POST", "/api/v1/jobs", `"x"`)
			_ = m.Once(t.Context())
			if page := undecided(m.do("GET", "/api/v1/jobs/x", "")).Body.String(); !strings.Contains(page, `"last_poll":`+want) {
				t.Errorf("%s lacks %s: %s", answer, want, page)
			}
		})
	}
}

// The start of a job that is known only from the webhook about its end is unknown.
func TestShowAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := watch(t, nil, "a")
		body := `{"request_id":"x","status":"Failed","response":null}`
		if _, err := m.Accounts()[0].Webhook(io.NopCloser(strings.NewReader(body)), false); err != nil {
			t.Fatal(err)
		}
		check(t, m.do("GET", "/api/v1/jobs/x", ""), 200, `{
			"request_id":"x","account":"a","source":"webhook","state":"failed","error_code":"unknown",
			"first_seen":"`+at(0)+`","last_observed":"`+at(0)+`","finished_at":"`+at(0)+`","age_seconds":0}`)
	})
}

func TestShowBeforeTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := watch(t, nil, "a")
		m.do("POST", "/api/v1/jobs", `"x"`)
		check(t, undecided(m.do("GET", "/api/v1/jobs/x", "")), 200, `{
			"request_id":"x","account":"a","source":"http","state":"pending","first_seen":"`+at(0)+`",
			"next_poll":"?","next_poll_why":"?","age_seconds":0}`)
	})
}

func TestShowUnknown(t *testing.T) {
	m := watch(t, nil, "a")
	for _, method := range []string{"GET", "DELETE"} {
		for _, id := range []string{"x", "", "x%2Fy"} {
			check(t, m.do(method, "/api/v1/jobs/"+id, ""), 404, `{"error":"no such job"}`)
		}
	}
}

func TestUntrack(t *testing.T) {
	m := watch(t, nil, "a")
	m.do("POST", "/api/v1/jobs", `["x","y"]`)
	check(t, m.do("DELETE", "/api/v1/jobs/x", ""), 204, "")
	check(t, m.do("DELETE", "/api/v1/jobs/x", ""), 404, `{"error":"no such job"}`)
	if ids := m.tracked(t, "a"); !slices.Equal(ids, []string{"y"}) {
		t.Errorf("tracked: %q", ids)
	}
}

// Every request ID can be escaped in a path.
func TestAnyRequestID(t *testing.T) {
	for _, id := range []string{
		"a/b", "a//b", "/a", "a/", "/", "100%", "%2F", "a b", "a?b#c", "a;b&c=d+e", "ä→", "a/../b", "...", `"\'<`,
	} {
		t.Run(id, func(t *testing.T) {
			m := watch(t, nil, "a")
			body, err := json.Marshal([]string{id, "b", "a"})
			if err != nil {
				t.Fatal(err)
			}
			m.do("POST", "/api/v1/jobs", string(body))
			target := "/api/v1/jobs/" + url.PathEscape(id)
			w := m.do("GET", target, "")
			var got struct {
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.RequestID != id {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			check(t, m.do("DELETE", target, ""), 204, "")
			if ids := m.tracked(t, "a"); !slices.Equal(ids, []string{"a", "b"}) {
				t.Errorf("tracked: %q", ids)
			}
		})
	}
}

// A mux would redirect these to another job.
func TestPathThatIsNotClean(t *testing.T) {
	m := watch(t, nil, "a")
	m.do("POST", "/api/v1/jobs", `["a","a/b","b"]`)
	for _, path := range []string{"a//b", "/a", "a/./b", "a/../b", "./a"} {
		for _, method := range []string{"GET", "DELETE"} {
			check(t, m.do(method, "/api/v1/jobs/"+path, ""), 400, `{"error":"the path has two slashes in a row, `+
				`or \".\" or \"..\"; escape the slashes of a request ID as %2F"}`)
		}
	}
	if ids := m.tracked(t, "a"); len(ids) != 3 {
		t.Errorf("tracked: %q", ids)
	}
}

// listed is a page of the list with the fields that these tests check.
type listed struct {
	Jobs []struct {
		RequestID string `json:"request_id"`
		Account   string `json:"account"`
	} `json:"jobs"`
	Next string `json:"next"`
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := watch(t, vendor{"c1": completed, "c2": completed, "f": failed, "r": running}, "a", "b")
		m.do("POST", "/api/v1/jobs?account=a", `["c1","p","r","f","c2"]`)
		m.do("POST", "/api/v1/jobs?account=b", `["other"]`)
		if err := m.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A job that the API does not know stays pending during not_found_grace.
		for query, want := range map[string]struct {
			ids  []string
			next string
		}{
			"":                           {ids: []string{"c2", "f", "r", "p", "c1"}},
			"&limit=5":                   {ids: []string{"c2", "f", "r", "p", "c1"}},
			"&limit=2":                   {ids: []string{"c2", "f"}, next: "f"},
			"&limit=2&after=f":           {ids: []string{"r", "p"}, next: "p"},
			"&limit=2&after=p":           {ids: []string{"c1"}},
			"&after=c1":                  {},
			"&state=completed":           {ids: []string{"c2", "c1"}},
			"&state=completed&limit=1":   {ids: []string{"c2"}, next: "c2"},
			"&state=completed&after=c2":  {ids: []string{"c1"}},
			"&state=failed&after=c2":     {ids: []string{"f"}},
			"&state=running":             {ids: []string{"r"}},
			"&state=pending":             {ids: []string{"p"}},
			"&state=lost":                {},
			"&state=&limit=&after=":      {ids: []string{"c2", "f", "r", "p", "c1"}},
			"&state=completed&limit=999": {ids: []string{"c2", "c1"}},
		} {
			w := m.do("GET", "/api/v1/jobs?account=a"+query, "")
			var page listed
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
				t.Fatalf("%s: status %d: %s", query, w.Code, w.Body)
			}
			var ids []string
			for _, j := range page.Jobs {
				ids = append(ids, j.RequestID)
				if j.Account != "a" {
					t.Errorf("%s: account %q", query, j.Account)
				}
			}
			if !slices.Equal(ids, want.ids) || page.Next != want.next {
				t.Errorf("%s: %q, next %q; want %q, %q", query, ids, page.Next, want.ids, want.next)
			}
		}
	})
}

func TestListEmpty(t *testing.T) {
	check(t, watch(t, nil, "a").do("GET", "/api/v1/jobs", ""), 200, `{"jobs":[]}`)
}

func TestListDefaultLimit(t *testing.T) {
	var ids []string
	for i := range 101 {
		ids = append(ids, fmt.Sprint(i))
	}
	body, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	m := watch(t, nil, "a")
	m.do("POST", "/api/v1/jobs", string(body))
	var page listed
	w := m.do("GET", "/api/v1/jobs", "")
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Jobs) != 100 || page.Next != "1" {
		t.Errorf("%d jobs, next %q, error %v", len(page.Jobs), page.Next, err)
	}
}

// The list has the filters of the page.
func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := watch(t, vendor{"c": completed, "f": failed, "r": running}, "a")
		m.Start()
		defer m.Stop(t.Context())
		m.do("POST", "/api/v1/jobs",
			`{"request_id":"c","api":"asr","labels":{"team":"sales"},"submitted_at":"1999-12-31T23:59:00Z"}`)
		m.do("POST", "/api/v1/jobs", `[{"request_id":"f","labels":{"team":"sales"}},
			{"request_id":"r","api":"asr","labels":{"team":"support"}},{"request_id":"x","api":"asr"}]`)
		<-time.After(12 * time.Hour)
		for query, want := range map[string]string{
			"": "x r f c", "?state=failed": "f", "?api=asr": "x r c", "?api=unknown": "f", "?label=team%3Dsales": "f c",
			"?error_code=com.deepaffects.BadRequest": "f", "?label=team%3Dsales&api=asr": "c",
			"?q=BadRequest": "f", "?q=asr": "x r c", "?q=support": "r", "?q=none": "",
			"?state=late": "r", "?state=late&label=team%3Dsales": "", "?state=&label=&account=": "x r f c",
		} {
			var page listed
			if err := json.Unmarshal(m.do("GET", "/api/v1/jobs"+query, "").Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, j := range page.Jobs {
				ids = append(ids, j.RequestID)
			}
			if got := strings.Join(ids, " "); got != want {
				t.Errorf("%q: %q, want %q", query, got, want)
			}
		}
	})
}

func TestBadQueries(t *testing.T) {
	m := watch(t, nil, "a", "b")
	m.do("POST", "/api/v1/jobs?account=b", `"x"`)
	const (
		limit   = `{"error":"limit: not a number from 1 to 1000"}`
		account = `{"error":"account: several accounts are configured; name one (a, b)"}`
		unknown = `{"error":"account: no such account (a, b)"}`
	)
	for _, test := range []struct{ method, target, want string }{
		{"GET", "/api/v1/jobs", account},
		{"GET", "/api/v1/jobs/x", account},
		{"DELETE", "/api/v1/jobs/x", account},
		{"GET", "/api/v1/jobs?account=c", unknown},
		{"GET", "/api/v1/jobs/x?account=c", unknown},
		{"DELETE", "/api/v1/jobs/x?account=c", unknown},
		{"DELETE", "/api/v1/jobs/x?account=%zz", `{"error":"malformed query"}`},
		{"GET", "/api/v1/jobs?account=a&limit=0", limit},
		{"GET", "/api/v1/jobs?account=a&limit=-1", limit},
		{"GET", "/api/v1/jobs?account=a&limit=1001", limit},
		{"GET", "/api/v1/jobs?account=a&limit=many", limit},
		{
			"GET", "/api/v1/jobs?account=a&state=Failed",
			`{"error":"state: must be pending, running, completed, failed, lost or late"}`,
		},
		{"GET", "/api/v1/jobs?account=a&label=team", `{"error":"label: must be of the form name=value"}`},
		{"GET", "/api/v1/jobs?account=a&label=%3Dteam", `{"error":"label: must be of the form name=value"}`},
		{
			"GET", "/api/v1/jobs?account=a&label=team%3Da&label=team%3Db",
			`{"error":"label: a name is given twice; a job has one value of it"}`,
		},
		{"GET", "/api/v1/jobs?account=a&state=failed&state=lost", `{"error":"state: given 2 times; give it once"}`},
		{
			"GET", "/api/v1/jobs?account=a&labels=team%3Da",
			`{"error":"labels: not known here; known: account, q, state, api, error_code, label, limit, after"}`,
		},
		{
			"GET", "/api/v1/jobs?account=a&State=failed",
			`{"error":"State: not known here; known: account, q, state, api, error_code, label, limit, after"}`,
		},
		{
			"GET", "/api/v1/jobs?account=a&the-key",
			`{"error":"one of the parameters: not known here; known: account, q, state, api, error_code, label, limit, after"}`,
		},
		{"GET", "/api/v1/jobs/x?account=b&state=failed", `{"error":"state: not known here; known: account"}`},
		{"DELETE", "/api/v1/jobs/x?account=b&force=1", `{"error":"force: not known here; known: account"}`},
		{"POST", "/api/v1/jobs?acount=b", `{"error":"acount: not known here; known: account"}`},
		{"GET", "/api/v1/status?account=b", `{"error":"account: not known here; leave it out, there are no parameters"}`},
		{"GET", "/api/v1/status?%zz", `{"error":"malformed query"}`},
		{
			"GET", "/api/v1/jobs?account=a&after=x",
			`{"error":"after: no such job; if its retention has ended, start again without after"}`,
		},
	} {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			check(t, m.do(test.method, test.target, ""), 400, test.want)
		})
	}
	if ids := m.tracked(t, "b"); len(ids) != 1 {
		t.Errorf("tracked: %q", ids)
	}
}
