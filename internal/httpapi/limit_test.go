package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
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

// slow is a connection that has sent the beginning of a request.
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

// finish sends the rest of the request, and says whether it was answered.
func finish(conn net.Conn) bool {
	_, _ = io.WriteString(conn, "Content-Length: 0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return err == nil && resp.StatusCode == http.StatusOK
}

// Beyond the limit, the slowest connection gives way, and never one that is being
// served.
func TestLimitConnections(t *testing.T) {
	held, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(held)
			<-release
		}
	}))
	httpapi.LimitConnectionsTo(server.Config, 3)
	server.Start()
	defer server.Close()
	address := server.Listener.Addr().String()

	var serving sync.WaitGroup
	serving.Go(func() {
		resp, err := http.Get(server.URL + "/held")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("the request that is served: %v", err)
		}
	})
	<-held
	first, second := slow(t, address), slow(t, address)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(server.URL)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("while others are slow: %v", err)
	}
	if finish(first) {
		t.Error("the slowest connection did not give way")
	}
	if !finish(second) {
		t.Error("a connection gave way although there was room")
	}
	close(release)
	serving.Wait()
}

// A connection that owes the body of a request that was dealt with gives way, too:
// net/http waits for the body before it answers.
func TestLimitConnectionsThatOweABody(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	httpapi.LimitConnectionsTo(server.Config, 3)
	limited, returned := server.Config.Handler, make(chan struct{}, 10)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limited.ServeHTTP(w, r)
		returned <- struct{}{}
	})
	server.Start()
	t.Cleanup(server.Close) // when the connections are closed, which it waits for
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
		t.Errorf("one more: %v", err)
	}
}

// Of very many webhooks at once, those that have no turn in good time are told to
// come again; nothing of them is taken.
func TestWebhooksInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooks(t, nil)
		post := func(id string, body io.Reader) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhook/"+webhookToken, io.MultiReader(strings.NewReader(`{"request_id":"`+id+`",`), body)))
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
		if code := post("late", strings.NewReader(`"response":null}`)); code != http.StatusServiceUnavailable || time.Since(begin) != 10*time.Second {
			t.Errorf("one more: HTTP %d after %s", code, time.Since(begin))
		}
		if n := h.Snapshot().Totals.Webhooks[jobs.WebhookStoreError]; n != 1 || !strings.Contains(h.log.String(), "Too many webhooks at once") {
			t.Errorf("%d are counted as not stored; logged:\n%s", n, h.log.String())
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
		if s := h.Snapshot(); s.Totals.Finished[0] != 33 {
			t.Errorf("%v finished", s.Totals.Finished)
		}
	})
}
