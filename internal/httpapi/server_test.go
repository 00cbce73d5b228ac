package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// slow returns a connection on which the header of a request is incomplete.
func slow(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "POST /webhook/x HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// finish sends the rest of the request and reports whether it got a response.
func finish(conn net.Conn) bool {
	_, _ = io.WriteString(conn, "Content-Length: 0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return err == nil && resp.StatusCode == http.StatusOK
}

// Beyond the limit, the slowest connection is closed, and never one that is being served.
func TestLimitConnections(t *testing.T) {
	held, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(held)
			<-release
		}
	}))
	httpapi.LimitConnections(server.Config, 3)
	server.Start()
	defer server.Close()
	address := server.Listener.Addr().String()

	var serving sync.WaitGroup
	serving.Go(func() {
		resp, err := http.Get(server.URL + "/held")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("request that is being served: %v", err)
		}
	})
	<-held
	first, second := slow(t, address), slow(t, address)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(server.URL)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("request while others are slow: %v", err)
	}
	if finish(first) {
		t.Error("the slowest connection was not closed")
	}
	if !finish(second) {
		t.Error("a connection below the limit was closed")
	}
	close(release)
	serving.Wait()
}

// A connection whose request was handled and whose body never arrives can be closed, too:
// net/http waits for the body before it responds.
func TestLimitConnectionsWithoutBody(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	httpapi.LimitConnections(server.Config, 3)
	limited, returned := server.Config.Handler, make(chan struct{}, 10)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limited.ServeHTTP(w, r)
		returned <- struct{}{}
	})
	server.Start()
	t.Cleanup(server.Close) // after the connections, for which it waits
	for range 3 {
		conn := slow(t, server.Listener.Addr().String())
		if _, err := io.WriteString(conn, "Content-Length: 10\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-returned
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(server.URL)
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("one more request: %v", err)
	}
}

// Webhooks that get no slot in time are refused with 503, and nothing of them is read.
func TestWebhooksWaitForSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooks(t, nil)
		post := func(id string, body io.Reader) int {
			w := httptest.NewRecorder()
			body = io.MultiReader(strings.NewReader(`{"request_id":"`+id+`",`), body)
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhook/"+webhookToken, body))
			return w.Code
		}
		var slow sync.WaitGroup
		var ends []*io.PipeWriter
		for i := range 32 {
			body, end := io.Pipe()
			ends = append(ends, end)
			slow.Go(func() {
				if code := post(fmt.Sprint(i), body); code != http.StatusOK {
					t.Errorf("webhook %d: HTTP %d", i, code)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		code := post("late", strings.NewReader(`"response":null}`))
		if took := time.Since(begin); code != http.StatusServiceUnavailable || took != 10*time.Second {
			t.Errorf("one more: HTTP %d after %s", code, took)
		}
		n := webhooks(h.Snapshot(), jobs.WebhookStoreError)
		if n != 1 || !strings.Contains(h.log.String(), "Too many webhooks at once") {
			t.Errorf("%v counted as not stored; logged:\n%s", n, h.log.String())
		}
		for _, end := range ends {
			if _, err := io.WriteString(end, `"response":null}`); err != nil {
				t.Error(err)
			}
			end.Close()
		}
		slow.Wait()
		if code := post("late", strings.NewReader(`"response":null}`)); code != http.StatusOK {
			t.Errorf("afterwards: HTTP %d", code)
		}
		if n := h.Snapshot().Totals.Counter(jobs.JobsFinished, "completed"); n != 33 {
			t.Errorf("%v finished", n)
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
		httpapi.NewServer(http.NotFoundHandler(), log).ErrorLog.Print(message)
		first, _, _ := strings.Cut(message, "\n")
		if got := out.String(); !strings.Contains(got, "level="+level) || !strings.Contains(got, first) {
			t.Errorf("%q is logged as %q", message, got)
		}
	}
}
