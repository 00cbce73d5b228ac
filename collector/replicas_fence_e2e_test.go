//go:build e2e && linux

package collector_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// An owner whose way to the database is cut inside its commit acknowledges nothing, and another replica goes on with
// what is stored: the end of a job counts once, however often it is reported.
func TestReplicasCutInsideCommit(t *testing.T) {
	t.Parallel()
	const job = "needle"
	server := pgtest.Start(t)
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	for name, place := range map[string]struct {
		message byte // of which the bytes do not arrive that come last; 0: the answer of the server
		missing int
		stored  bool
	}{
		"in the middle":     {'B', 10, false},
		"before its end":    {'S', 1, false},
		"before its answer": {0, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.URL(t)
			proxy := pgtest.NewProxy(t, server)
			cut := join(t, api.Transport(), shared(proxy.URL(url), "a"))
			until(t, "it owns the account", func() bool { return cut.owned() == 1 })
			a := cut.Accounts()[0]
			if _, _, err := a.Register(submission.HTTP, []submission.Job{{RequestID: job}}); err != nil {
				t.Fatal(err)
			}
			next := join(t, api.Transport(), shared(url, "a"))
			b := next.Accounts()[0]
			end := func(a *collector.Account) error {
				body := fmt.Sprintf(`{"request_id": %q, "response": {"error": "no speech"}}`, job)
				_, err := a.Webhook(io.NopCloser(strings.NewReader(body)), false)
				return err
			}
			found := false
			proxy.Hold(func(m pgtest.Message) int {
				found = found || !m.FromServer && m.Bytes[0] == 'B' && bytes.Contains(m.Bytes, []byte(job))
				if found && (m.FromServer && place.message == 0 || !m.FromServer && m.Bytes[0] == place.message) {
					return len(m.Bytes) - place.missing
				}
				return len(m.Bytes)
			})
			outcome := make(chan error)
			go func() { outcome <- end(a) }()
			proxy.WaitStuck()
			until(t, "another one owns it", func() bool { return next.owned() == 1 })
			if known, _, _ := b.Job(job); known == nil || known.State.Ended() != place.stored {
				t.Errorf("the next owner has %+v, want it stored: %v", known, place.stored)
			}
			if err := <-outcome; err == nil {
				t.Error("it was acknowledged")
			}
			proxy.Mend()
			if err := end(b); err != nil {
				t.Error(err)
			}
			until(t, "the other one knows it", func() bool {
				known, _, _ := a.Job(job)
				return a.Refresh(t.Context()) == nil && known != nil && known.State.Ended()
			})
			if n := b.Snapshot().Totals.Sum(jobs.JobsFinished); n != 1 || cut.owned() != 0 {
				t.Errorf("%v ends; the one that was cut off owns %d accounts", n, cut.owned())
			}
		})
	}
}

// A request whose reservation was stored does not leave when another replica owns the account, although this one has
// not noticed that yet: it stands still in between, and then nothing but the look at the lease keeps the request.
func TestReplicaStopsBeforeItsRequest(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	proxy := pgtest.NewProxy(t, server)
	// Each replica has an API of its own, so that it is known whose a request is.
	ended := make(chan string, 10) // how the connections of the first end, or that a request came
	first := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ended <- "a request"
		io.WriteString(w, `{"status": "Running"}`)
	}))
	first.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			ended <- "nothing"
		}
	}
	first.Start()
	defer first.Close()
	polled := make(chan struct{}, 10)
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		polled <- struct{}{}
		io.WriteString(w, `{"status": "Running"}`)
	}))
	defer second.Close()

	database := server.URL(t)
	before, after := shared(proxy.URL(database), "a"), shared(database, "a")
	reserved, goOn := make(chan struct{}), make(chan struct{})
	before[0].URL, before[0].RequestsPerMinute, before[0].Timeout = first.URL, 60, time.Minute
	stop := sync.OnceFunc(func() { close(reserved) })
	before[0].Proxy = func(*http.Request) (*url.URL, error) {
		stop()
		<-goOn
		return nil, nil
	}
	after[0].URL, after[0].RequestsPerMinute = second.URL, 60
	stopped := join(t, nil, before)
	until(t, "it owns the account", func() bool { return stopped.owned() == 1 })
	a := stopped.Accounts()[0]
	if _, _, err := a.Register(submission.HTTP, []submission.Job{{RequestID: "job"}}); err != nil {
		t.Fatal(err)
	}
	<-reserved
	notice := a.HoldOwnership()
	defer notice()
	proxy.Cut()
	defer proxy.Mend()
	join(t, nil, after)
	<-polled
	close(goOn)
	if came := <-ended; came != "nothing" {
		t.Errorf("%s came from the replica that stood still", came)
	}
}

// A job that is registered at one replica and removed at another at once is there or not, for all of them. It is not if
// the removal found it.
func TestReplicasRegisterAndRemoveAtOnce(t *testing.T) {
	t.Parallel()
	const ids = 100
	server := pgtest.Start(t)
	configs := shared(server.URL(t), "a")
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	owner := join(t, api.Transport(), configs)
	until(t, "the first owns the account", func() bool { return owner.owned() == 1 })
	all := []*collector.Account{owner.Accounts()[0]}
	for range 2 {
		all = append(all, join(t, api.Transport(), configs).Accounts()[0])
	}
	id := func(i int) string { return fmt.Sprint("job-", i) }
	var was [ids]bool
	var both sync.WaitGroup
	for i := range ids {
		both.Go(func() {
			n, _, err := all[i%3].Register(submission.HTTP, []submission.Job{{RequestID: id(i)}})
			if n != 1 || err != nil {
				t.Errorf("%s: %d were registered, %v", id(i), n, err)
			}
		})
		both.Go(func() {
			err := all[(i+1+i/3%2)%3].Remove(id(i))
			if was[i] = err == nil; err != nil && !errors.Is(err, collector.ErrUnknownJob) {
				t.Errorf("%s: %v", id(i), err)
			}
		})
	}
	both.Wait()
	until(t, "all replicas know the same", func() bool {
		for _, a := range all {
			if err := a.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for i := range ids {
			_, _, there := all[0].Job(id(i))
			for _, a := range all[1:] {
				if _, _, known := a.Job(id(i)); known != there {
					return false
				}
			}
			if was[i] && there {
				t.Fatalf("the removal found %s, and it is still there", id(i))
			}
		}
		return true
	})
	if n := all[0].Snapshot().Totals.Sum(jobs.JobsRegistered); n != ids {
		t.Errorf("%v registrations count, want %d", n, ids)
	}
}
