package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
)

// A network has one server, and no buffers: a client that does not read holds the server up
// at the first byte. Its clients must be used within a synctest bubble.
type network struct {
	dials  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.dials:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// dial opens a connection, which the end of the test closes.
func (n *network) dial(t *testing.T) net.Conn {
	client, server := net.Pipe()
	n.dials <- server
	t.Cleanup(func() { client.Close() })
	return client
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// serve serves a handler until the end of the test.
func serve(t *testing.T, l *httpapi.Limits, h http.Handler) *network {
	t.Helper()
	n := &network{dials: make(chan net.Conn), closed: make(chan struct{})}
	server := l.NewServer(h, slog.New(slog.DiscardHandler))
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(n)
	t.Cleanup(func() {
		server.Close()
		pass(time.Hour) // all clients and handlers have ended by then
	})
	return n
}

// client returns a client that opens a connection for each request.
func (n *network) client(t *testing.T) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return n.dial(t), nil },
	}}
}

// post sends a request with a body, and returns its status and how long it took; 0 without
// a response.
func (n *network) post(t *testing.T, path string, body io.Reader) (status int, took time.Duration) {
	begin := time.Now()
	resp, err := n.client(t).Post("http://monitor"+path, "application/json", body)
	if err != nil {
		t.Logf("no response: %v", err)
		return 0, time.Since(begin)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, time.Since(begin)
}

// get requests a path and returns the status, the length of the response, and how long it
// took.
func (n *network) get(t *testing.T, path string) (status, length int, took time.Duration) {
	begin := time.Now()
	resp, err := n.client(t).Get("http://monitor" + path)
	if err != nil {
		t.Logf("no response: %v", err)
		return 0, 0, time.Since(begin)
	}
	defer resp.Body.Close()
	copied, _ := io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, int(copied), time.Since(begin)
}

// send writes a text to a connection. The server may have closed it.
func say(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }

// drip writes a byte a second until the server closes the connection.
func drip(conn net.Conn) {
	for range time.Tick(time.Second) {
		if _, err := io.WriteString(conn, " "); err != nil {
			return
		}
	}
}

// deaf opens an HTTP/2 connection with a flow-control window of 0 and sends n requests. It
// reads what the server sends, and if it resets, it takes each request back at once.
func deaf(t *testing.T, n *network, path string, requests int, resets bool) {
	conn := n.dial(t)
	framer := http2.NewFramer(conn, conn)
	go io.Copy(io.Discard, conn)
	say(conn, http2.ClientPreface)
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize})
	var block bytes.Buffer
	for i := range requests {
		block.Reset()
		encoder := hpack.NewEncoder(&block)
		for _, f := range [][2]string{
			{":method", "GET"}, {":scheme", "http"}, {":authority", "monitor"}, {":path", path},
		} {
			_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
		}
		id := uint32(2*i + 1)
		_ = framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true,
		})
		if resets {
			_ = framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}
	}
}

const pageLength = 1 << 20

// pages is a handler of responses of pageLength bytes.
func pages(l *httpapi.Limits) http.Handler {
	return l.Responses(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, pageLength))
	}))
}

// Clients that do not read their responses keep no one out.
func TestClientsThatDoNotRead(t *testing.T) {
	for name, occupy := range map[string]func(*testing.T, *network){
		"HTTP/1.1": func(t *testing.T, n *network) {
			for range 200 {
				go say(n.dial(t), "GET / HTTP/1.1\r\nHost: monitor\r\n\r\n")
			}
		},
		"HTTP/2 with a window of 0": func(t *testing.T, n *network) {
			for range 5 {
				go deaf(t, n, "/", 40, false)
			}
		},
		"HTTP/2 with rapid resets": func(t *testing.T, n *network) {
			for range 5 {
				go deaf(t, n, "/", 500, true)
			}
		},
		"HTTP/1.1, a byte a second": func(t *testing.T, n *network) {
			for range 200 {
				conn := n.dial(t)
				go func() {
					say(conn, "GET / HTTP/1.1\r\nHost: monitor\r\n\r\n")
					for range time.Tick(time.Second) {
						if _, err := conn.Read(make([]byte, 1)); err != nil {
							return
						}
					}
				}()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := httpapi.NewLimits()
				n := serve(t, l, pages(l))
				occupy(t, n)
				synctest.Wait()
				for range 36 {
					if code, length, took := n.get(t, "/"); code != 200 || length != pageLength || took > 5*time.Second {
						t.Errorf("HTTP %d, %d bytes, after %s", code, length, took)
					}
				}
			})
		})
	}
}

// A deadline follows progress: a slow client gets the whole response, and one that stops
// reading is closed.
func TestWriteDeadlineFollowsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := httpapi.NewLimits()
		n := serve(t, l, pages(l))
		read := func(pause time.Duration) (int64, time.Duration) {
			conn := n.dial(t)
			say(conn, "GET / HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n\r\n")
			begin, total := time.Now(), int64(0)
			for {
				read, err := io.CopyN(io.Discard, conn, 20<<10)
				total += read
				if err != nil {
					return total, time.Since(begin)
				}
				pass(pause)
			}
		}
		if total, took := read(time.Second); total < pageLength || took < 50*time.Second {
			t.Errorf("20 KiB per second: %d bytes in %s", total, took)
		}
		if total, took := read(time.Hour); total > 100<<10 || took > time.Hour {
			t.Errorf("20 KiB per hour: %d bytes in %s", total, took)
		}
	})
}

const (
	chunked = " HTTP/1.1\r\nHost: monitor\r\nContent-Length: 1000000\r\n\r\n"
	// more is longer than what is received before a body takes a slot.
	more = 20 << 10
)

// Bodies that arrive slowly keep no other request out, whether that is small or large.
func TestSlowBodies(t *testing.T) {
	hook := func(n int) io.Reader {
		return strings.NewReader(`{"request_id":"a","response":null` + strings.Repeat(" ", n) + "}")
	}
	for _, kind := range []struct {
		path, begin string
		body        func(n int) io.Reader // a valid one of at least n bytes
		status      int
	}{
		{"/api/v1/jobs", "[", func(n int) io.Reader { return strings.NewReader("[" + strings.Repeat(" ", n) + "]") }, 202},
		{"/webhook/" + webhookToken, "{", hook, 200},
	} {
		for name, begin := range map[string]string{
			"at the begin": "",
			"at a byte":    kind.begin,
			"later":        kind.begin + strings.Repeat(" ", more),
		} {
			for ending, end := range map[string]func(net.Conn){"stopped": func(net.Conn) {}, "dripping": drip} {
				t.Run(kind.path+", "+name+", "+ending, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l := httpapi.NewLimits()
						n := serve(t, l, receivers(t, l))
						for range 50 {
							conn := n.dial(t)
							go func() {
								say(conn, "POST "+kind.path+chunked+begin)
								end(conn)
							}()
						}
						synctest.Wait()
						if code, took := n.post(t, kind.path, kind.body(0)); code != kind.status || took > time.Millisecond {
							t.Errorf("a small body: HTTP %d after %s", code, took)
						}
						pass(5 * time.Second)
						if code, took := n.post(t, kind.path, kind.body(100_000)); code != kind.status || took > 2*time.Second {
							t.Errorf("a large body: HTTP %d after %s", code, took)
						}
					})
				})
			}
		}
	}
}

// A handler can end a read of a body that waits for its client, who gets the response.
func TestCloseBody(t *testing.T) {
	for name, sent := range map[string]string{"nothing": "", "a part": strings.Repeat(" ", more)} {
		synctest.Test(t, func(t *testing.T) {
			n := serve(t, httpapi.NewLimits(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.AfterFunc(time.Second, func() { _ = r.Body.Close() })
				if got, err := io.Copy(io.Discard, r.Body); int(got) != len(sent) || err == nil {
					t.Errorf("%s: %d bytes, error %v", name, got, err)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
				_ = http.NewResponseController(w).Flush()
			}))
			body, w := io.Pipe()
			go io.WriteString(w, sent)
			if code, took := n.post(t, "/", body); code != http.StatusServiceUnavailable || took > 2*time.Second {
				t.Errorf("%s: HTTP %d after %s", name, code, took)
			}
			w.Close()
		})
	}
}

// receivers returns the handlers that read bodies.
func receivers(t *testing.T, l *httpapi.Limits) http.Handler {
	t.Helper()
	config := collector.DefaultConfig()
	config.APIKey, config.WebhookToken = "key", webhookToken
	c, err := collector.New([]collector.Config{config}, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	mux.Handle("/webhook/", httpapi.NewWebhooks(c, l, log, "", ""))
	mux.Handle("/api/v1/", httpapi.New(c, l, httpapi.NewOrigins(nil), log, httpapi.Options{}))
	return mux
}

// A body that arrives slowly and steadily is received.
func TestReadDeadlineFollowsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := watch(t, nil, "default")
		n := serve(t, m.limits, m)
		body, w := io.Pipe()
		go func() {
			for range 100 {
				io.WriteString(w, strings.Repeat(`"00000000-0000-4000-8000-000000000000" `, 500))
				<-time.After(time.Second)
			}
			w.Close()
		}()
		if code, took := n.post(t, "/api/v1/jobs", body); code != 202 || took < 100*time.Second {
			t.Errorf("HTTP %d after %s", code, took)
		}
		// One that stops gets a response that says so.
		stopped, w := io.Pipe()
		go io.WriteString(w, "[")
		if code, took := n.post(t, "/api/v1/jobs", stopped); code != 408 || took > 20*time.Second {
			t.Errorf("stopped: HTTP %d after %s", code, took)
		}
		w.Close()
	})
}

// The number of requests is limited, and those that wait for their clients do not keep
// others out.
func TestRequestsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l := httpapi.NewLimits()
		n := serve(t, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/work" {
				<-release
			}
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		for range 700 {
			conn := n.dial(t)
			go func() {
				say(conn, "POST /"+chunked)
				drip(conn)
			}()
		}
		pass(time.Second / 2)
		if code, took := n.post(t, "/", nil); code != 200 || took > 0 {
			t.Errorf("HTTP %d after %s", code, took)
		}
		for range 700 {
			go say(n.dial(t), "GET /work HTTP/1.1\r\nHost: monitor\r\n\r\n")
		}
		synctest.Wait()
		if code, took := n.post(t, "/", nil); code != 503 || took > 0 {
			t.Errorf("while all others work: HTTP %d after %s", code, took)
		}
		close(release)
		synctest.Wait()
		if code, _ := n.post(t, "/", nil); code != 200 {
			t.Errorf("afterwards: HTTP %d", code)
		}
	})
}

// Beyond the limit, the connection is closed that has waited longest for its client, and
// never one whose request is in work.
func TestConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held, release := make(chan struct{}), make(chan struct{})
		l := httpapi.SmallLimits(3)
		n := serve(t, l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/held" {
				close(held)
				<-release
			}
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		working := make(chan int)
		go func() {
			code, _, _ := n.get(t, "/held")
			working <- code
		}()
		<-held
		// One is in its header, the other in its body.
		const header = "POST / HTTP/1.1\r\nHost: monitor\r\nContent-Length: 2\r\n"
		first := n.dial(t)
		say(first, header+"\r\n ")
		pass(time.Second)
		second := n.dial(t)
		say(second, header)
		synctest.Wait()
		if code, _ := n.post(t, "/", nil); code != 200 {
			t.Errorf("one more: HTTP %d", code)
		}
		finish := func(conn net.Conn, rest string) bool {
			say(conn, rest)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			return err == nil && resp.StatusCode == http.StatusOK
		}
		if finish(first, " ") {
			t.Error("the connection that waited longest was not closed")
		}
		if !finish(second, "\r\n  ") {
			t.Error("a connection below the limit was closed")
		}
		close(release)
		if code := <-working; code != 200 {
			t.Errorf("the request in work: HTTP %d", code)
		}
	})
}

// A connection whose request was handled and whose body never arrives is closed, too:
// net/http waits for the body before it responds.
func TestConnectionsWithoutBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := serve(t, httpapi.SmallLimits(3), http.NotFoundHandler())
		for range 3 {
			go say(n.dial(t), "POST /"+chunked)
		}
		pass(time.Second)
		if code, took := n.post(t, "/", nil); code != 404 || took > 0 {
			t.Errorf("one more request: HTTP %d after %s", code, took)
		}
	})
}

func TestServerErrorLog(t *testing.T) {
	for message, level := range map[string]string{
		"http: panic serving 192.0.2.1:1: oh\ngoroutine 1 [running]:": "ERROR",
		"http: TLS handshake error from 192.0.2.1:1: EOF":             "DEBUG",
	} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		httpapi.NewLimits().NewServer(http.NotFoundHandler(), log).ErrorLog.Print(message)
		first, _, _ := strings.Cut(message, "\n")
		if got := out.String(); !strings.Contains(got, "level="+level) || !strings.Contains(got, first) {
			t.Errorf("%q is logged as %q", message, got)
		}
	}
}

// That connections cannot be accepted is logged at once, and then with a limit.
func TestAcceptErrorLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		server := httpapi.NewLimits().NewServer(http.NotFoundHandler(), slog.New(slog.NewTextHandler(&out, nil)))
		for range 90 {
			server.ErrorLog.Print("http: Accept error: accept tcp [::]:9891: accept4: too many open files; retrying in 1s")
			pass(time.Second)
		}
		log := out.String()
		if strings.Count(log, "level=ERROR") != 2 || strings.Count(log, "too many open files") != 2 ||
			!strings.Contains(log, "not_logged=59") {
			t.Errorf("logged:\n%s", log)
		}
	})
}
