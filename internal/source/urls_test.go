package source_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// server serves requests in memory, because a bubble has no network.
type server func(*http.Request) (*http.Response, error)

func (s server) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

// reply returns a response. Headers are pairs of name and value.
func reply(code int, body string, headers ...string) *http.Response {
	header := make(http.Header)
	for pair := range slices.Chunk(headers, 2) {
		header.Set(pair[0], pair[1])
	}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

// fetch fetches URLs from a server every minute in a bubble, and calls test after the first
// responses.
func fetch(t *testing.T, answer server, test func(*recorder), urls ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		j := &recorder{t: t, from: submission.URL}
		s := server(func(r *http.Request) (*http.Response, error) {
			j.sync()
			return answer(r)
		})
		u, err := source.NewURLs(urls, s, nil, time.Minute, j.handler())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			u.Run(ctx)
			close(done)
		}()
		synctest.Wait()
		test(j)
		cancel()
		<-done
	})
}

const address = "https://user:secret@example.com/ids?token=secret#secret"

func TestURLsFetch(t *testing.T) {
	fetched := 0
	body := `["a", {"request_id": "b"}]`
	fetch(t, func(r *http.Request) (*http.Response, error) {
		fetched++
		if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" {
			t.Errorf("basic auth %q, %q", user, password)
		}
		if r.Method != http.MethodGet || r.URL.RawQuery != "token=secret" {
			t.Errorf("%s with query %q", r.Method, r.URL.RawQuery)
		}
		return reply(200, body), nil
	}, func(j *recorder) {
		j.expect(ids("a", "b"), nil, true)
		if fetched != 1 {
			t.Errorf("fetched %d times at once", fetched)
		}
		j.pass(time.Minute)
		if fetched != 2 {
			t.Errorf("fetched %d times in a minute", fetched)
		}
		j.expect(nil, nil, true) // nothing new
		body = "\ufeff\n[\"c\"]"
		j.pass(time.Minute)
		j.expect(ids("c"), nil, true)
		j.pass(8 * time.Minute)
		if fetched < 11 || fetched > 13 {
			t.Errorf("fetched %d times in ten minutes", fetched)
		}
	}, address)
}

// An unchanged list is offered about once an hour, with and without validators.
func TestURLsOfferHourly(t *testing.T) {
	for name, headers := range map[string][]string{
		"plain":         nil,
		"ETag":          {"ETag", `"v1"`},
		"Last-Modified": {"Last-Modified", "Mon, 23 Nov 2026 18:00:00 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			full, unchanged := 0, 0
			fetch(t, func(r *http.Request) (*http.Response, error) {
				etag, since := r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since")
				if etag+since == "" {
					full++
					return reply(200, `["a"]`, headers...), nil
				}
				if etag+since != headers[1] {
					t.Errorf("If-None-Match %q, If-Modified-Since %q", etag, since)
				}
				unchanged++
				return reply(304, ""), nil
			}, func(j *recorder) {
				j.expect(ids("a"), nil, true)
				j.pass(58 * time.Minute)
				j.expect(nil, nil, true)
				j.pass(2 * time.Minute)
				j.expect(ids("a"), nil, true)
				j.pass(time.Hour)
				j.expect(ids("a"), nil, true)
				if headers != nil && (full != 3 || unchanged < 100) {
					t.Errorf("%d full answers, %d short ones", full, unchanged)
				}
			}, address)
		})
	}
}

// What a broken list has before the break is tracked once; a list that is as broken as
// before is an error again.
func TestURLsBrokenList(t *testing.T) {
	var sent []string
	bodies := []string{`["a"]`, `["a"`, `["a"`, `["a"]`, `["b"]`}
	problem := "https://example.com/ids: entry 2: invalid JSON at byte 4"
	fetch(t, func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Header.Get("If-None-Match"))
		n := min(len(sent), len(bodies))
		return reply(200, bodies[n-1], "ETag", fmt.Sprint(n)), nil
	}, func(j *recorder) {
		j.expect(ids("a"), nil, true)
		j.pass(time.Minute)
		j.expect(ids("a"), ids(problem), false)
		j.pass(time.Minute)
		j.expect(nil, ids(problem), false)
		j.pass(time.Minute)
		j.expect(ids("a"), nil, true)
		j.pass(time.Minute)
		j.expect(ids("b"), nil, true)
		if want := ids("", "1", "2", "3", "4"); !slices.Equal(sent[:5], want) {
			t.Errorf("If-None-Match %q, want %q", sent, want)
		}
	}, address)
}

// endless is a body without end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }
func (endless) Close() error               { return nil }

func TestURLsProblems(t *testing.T) {
	failing := func(err error) server {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	answering := func(code int, body string, headers ...string) server {
		return func(*http.Request) (*http.Response, error) { return reply(code, body, headers...), nil }
	}
	tracked := map[string]int{"bad entry": 2}
	const redirects = "; redirects are not followed, since the URL may hold a token: configure the URL that it leads to"
	for name, test := range map[string]struct {
		server server
		want   string
	}{
		"unavailable":    {answering(503, "secret"), "answered 503 Service Unavailable instead of 200 OK"},
		"no content":     {answering(204, ""), "answered 204 No Content instead of 200 OK"},
		"unexpected 304": {answering(304, ""), "answered 304 Not Modified instead of 200 OK"},
		"redirect": {
			answering(302, "", "Location", "https://elsewhere.example/secret"),
			"answered 302 Found" + redirects,
		},
		"malformed redirect": {
			answering(302, "", "Location", "%secret"), "the request failed, or its answer is not HTTP",
		},
		"empty":    {answering(200, ""), "it is not a JSON array"},
		"a page":   {answering(200, "<html>secret"), "it is not a JSON array"},
		"a string": {answering(200, `"secret"`), "it is not a JSON array"},
		"bad entry": {
			answering(200, `["a", {"request_id": true, "secret": 1}, "b"]`),
			"entry 2: request_id has a value of the wrong type",
		},
		"too long": {func(*http.Request) (*http.Response, error) {
			r := reply(200, "")
			r.Body = endless{}
			return r, nil
		}, "the answer is longer than 8388608 bytes"},
		"cut off": {func(*http.Request) (*http.Response, error) {
			r := reply(200, "")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`["secret`), failedReader{io.ErrUnexpectedEOF}))
			return r, nil
		}, "the connection was closed before the answer was complete"},
		"error with secrets": {
			failing(fmt.Errorf("malformed HTTP response to %s", address)),
			"the request failed, or its answer is not HTTP",
		},
		"refused": {
			failing(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}),
			"dial tcp: connection refused",
		},
		"unknown host": {
			failing(&net.DNSError{Name: "example.com", Err: "no such host"}),
			"lookup example.com: no such host",
		},
		"bad certificate": {
			failing(&tls.CertificateVerificationError{Err: errors.New("it has expired")}),
			"tls: failed to verify certificate: it has expired",
		},
		"plain HTTP": {failing(http.ErrSchemeMismatch), "http: server gave HTTP response to HTTPS client"},
	} {
		t.Run(name, func(t *testing.T) {
			fetch(t, test.server, func(j *recorder) {
				if len(j.ids) != tracked[name] {
					t.Errorf("%d jobs, want %d", len(j.ids), tracked[name])
				}
				j.expect(j.ids, ids("https://example.com/ids: "+test.want), false)
			}, address)
		})
	}
}

type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }

// hang fails when the request is canceled.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestURLsTimeout(t *testing.T) {
	fetch(t, hang, func(j *recorder) {
		j.pass(29 * time.Second)
		j.expect(nil, nil, false)
		j.pass(time.Second)
		j.expect(nil, ids("https://example.com/ids: no complete answer within the timeout"), false)
	}, address)
}

// Endpoints that hang do not block others.
func TestURLsDoNotHoldUpEachOther(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		now += n
		most = max(most, now)
	}
	var urls []string
	for _, host := range []string{"hangs-1", "hangs-2", "hangs-3", "a", "b", "c", "hangs-4", "hangs-5"} {
		urls = append(urls, "http://"+host+"/")
	}
	fetch(t, func(r *http.Request) (*http.Response, error) {
		count(1)
		defer count(-1)
		if strings.HasPrefix(r.URL.Host, "hangs") {
			return hang(r)
		}
		return reply(200, `["`+r.URL.Host+`"]`), nil
	}, func(j *recorder) {
		j.expect(ids("a", "b", "c"), nil, false)
		j.pass(time.Minute)
		slices.Sort(j.problems)
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprintf("http://hangs-%d/: no complete answer within the timeout", i+1))
		}
		j.expect(nil, want, false)
		if most != 4 {
			t.Errorf("%d requests at once, want 4", most)
		}
	}, urls...)
}

func TestURLsSuccessNeedsAll(t *testing.T) {
	code := 500
	fetch(t, func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "b" {
			return reply(code, `["b"]`), nil
		}
		return reply(200, `["a"]`), nil
	}, func(j *recorder) {
		j.expect(ids("a"), ids("http://b: answered 500 Internal Server Error instead of 200 OK"), false)
		j.pass(time.Minute)
		j.expect(nil, ids("http://b: answered 500 Internal Server Error instead of 200 OK"), false)
		code = 200
		j.pass(time.Minute)
		j.expect(ids("b"), nil, true)
	}, "http://a", "http://b")
}

// What Track refuses is offered again even if the URL no longer names it, and nothing else
// is offered twice.
func TestURLsTrackRefuses(t *testing.T) {
	var all []string
	for i := range 1_500 {
		all = append(all, fmt.Sprintf("id-%d", i))
	}
	bodies := []string{`[]`, `["` + strings.Join(all, `","`) + `"]`, `["new"]`}
	fetched := 0
	fetch(t, func(*http.Request) (*http.Response, error) {
		fetched++
		return reply(200, bodies[min(fetched, 3)-1]), nil
	}, func(j *recorder) {
		j.expect(nil, nil, true)
		j.acceptThenRefuse(1)
		j.pass(time.Minute)
		if !slices.Equal(j.refused, all[1_000:]) {
			t.Errorf("refused %q", j.refused)
		}
		j.expect(all[:1_000], nil, false)
		j.refuseNext(1)
		j.pass(time.Minute)
		if !slices.Equal(j.refused, all[1_000:]) {
			t.Errorf("offered %q the second time", j.refused)
		}
		j.expect(nil, nil, false)
		if fetched != 2 {
			t.Errorf("fetched %d times though nothing was taken", fetched)
		}
		j.pass(time.Minute)
		j.expect(append(all[1_000:], "new"), nil, true)
	}, address)
}

// Errors of a real client and network show no secrets.
func TestURLsKeepSecrets(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with Referer %q", r.Referer())
	}))
	defer elsewhere.Close()
	for name, handler := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
		},
		"malformed redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://secret:secret")
			w.WriteHeader(http.StatusFound)
		},
		"no HTTP": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprintf(conn, "secret %s\r\n\r\n", r.URL)
			conn.Close()
		},
		"closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `["secret`)
		},
		"page":   func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "secret %s", r.URL) },
		"error":  func(w http.ResponseWriter, r *http.Request) { http.Error(w, "secret", http.StatusForbidden) },
		"bad ID": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `["secret\n"]`) },
		"nobody": nil,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			if handler == nil {
				server.Close()
			}
			u, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			u.User, u.Path, u.RawQuery = url.UserPassword("secret", "secret"), "/ids", "token=secret"
			problems := make(chan string, 1)
			ctx, cancel := context.WithCancel(t.Context())
			urls, err := source.NewURLs([]string{u.String()}, server.Client().Transport, nil, time.Hour, source.Handler{
				Track: func(context.Context, submission.Source, []submission.Job, bool) error {
					t.Error("jobs were offered")
					return nil
				},
				Looked: func(_ submission.Source, reported []source.Problem, ok bool, _ int64) {
					if ok {
						t.Error("success")
					}
					for _, p := range reported {
						problems <- p.Err.Error()
					}
					cancel()
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			urls.Run(ctx)
			cancel()
			select {
			case problem := <-problems:
				if strings.Contains(problem, "secret") || !strings.HasPrefix(problem, server.URL+"/ids: ") {
					t.Errorf("problem %q", problem)
				}
			default:
				t.Error("no problem was reported")
			}
		})
	}
}

// The errors show nothing of an invalid URL.
func TestNewURLsErrors(t *testing.T) {
	const want = "entry 2 is not a URL such as https://example.com/ids.json"
	for _, text := range []string{
		"", "example.com/ids?token=secret", "ftp://user:secret@example.com/?secret",
		"http://", "https:///ids?secret", "https://user:secret@/ids",
		"https://example.com:x/ids?t=secret", "https://u:secret%zz@example.com/i",
		"https://u:sec/ret@example.com/i", "https://u:secret?secret@example.com/",
		"user:secret@example.com/ids", "https://exa mple.com/ids?secret",
	} {
		_, err := source.NewURLs([]string{"https://fine.example/", text}, nil, nil, time.Minute, source.Handler{})
		if err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

// What a URL has when it is first read may be old, until it was accepted. What it names later is new.
func TestURLsFirstLook(t *testing.T) {
	body := `["a"]`
	fetch(t, func(*http.Request) (*http.Response, error) { return reply(200, body), nil }, func(j *recorder) {
		if !slices.Equal(j.first, ids("a")) {
			t.Errorf("first look at %q", j.first)
		}
		j.forget()
		j.sync()
		body = `["a", "b"]`
		j.pass(time.Minute)
		if len(j.first) > 0 || !slices.Contains(j.ids, "b") {
			t.Errorf("tracked %q, first look at %q", j.ids, j.first)
		}
	}, address)
}
