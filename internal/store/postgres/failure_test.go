//go:build e2e

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// again takes over an account as soon as the database can be used.
func again(t *testing.T, db *postgres.DB, account string) *postgres.Tenure {
	t.Helper()
	for {
		leases, _, err := db.Look(t.Context())
		if err == nil {
			seen := postgres.Lease{Account: account}
			for _, l := range leases {
				if l.Account == account {
					seen = l
				}
			}
			tenure, err := db.TakeOver(t.Context(), seen, self, time.Minute)
			if err == nil {
				return tenure
			}
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestRestart(t *testing.T) {
	for name, stop := range map[string]func(*pgtest.Server){
		"stopped": (*pgtest.Server).Stop, "killed": (*pgtest.Server).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			s := pgtest.Start(t)
			db := open(t, s.URL(t))
			defer db.Close()
			ctx, cancel := context.WithCancel(t.Context())
			heard, ended := make(chan string, 100), make(chan struct{})
			hear := func(account string) { heard <- account }
			go func() {
				defer close(ended)
				db.Listen(ctx, hear, hear)
			}()
			if got := <-heard; got != "" {
				t.Errorf("heard %q at first", got)
			}
			a := takeOver(t, db, "a", time.Minute)
			must(t, a.Commit(one("1")))
			_, err := db.Send("b", []store.Message{message("register", "x")})
			must(t, err)
			if first, second := <-heard, <-heard; first != "a" || second != "b" {
				t.Errorf("heard %q and %q", first, second)
			}

			stop(s)
			unknown(t, a, a.Commit(one("2"))) // as far as the owner can know
			_, err = db.Send("b", []store.Message{message("register", "y")})
			if err == nil || errors.Is(err, store.ErrUnknown) {
				t.Errorf("a message to a database that is not there: %v", err)
			}
			if err := db.Renew(t.Context(), self, nil); err == nil {
				t.Error("a renewal without a database")
			}
			must(t, s.Run())
			if got := <-heard; got != "" {
				t.Errorf("heard %q after the restart", got)
			}
			a = again(t, db, "a")
			if got := total(t, a); got != "1" {
				t.Errorf("loaded %s, want 1", got)
			}
			must(t, a.Commit(one("3")))
			before, err := db.Send("b", []store.Message{message("register", "x")})
			if err != nil || before[0] != store.Tracked {
				t.Errorf("%v, %v", before, err)
			}
			for got := range heard { // takeovers, too
				if got == "b" {
					break
				}
			}
			cancel()
			<-ended
		})
	}
}

// waiting waits until a session waits for the standby, and returns the pid.
func waiting(t *testing.T, conn *pgx.Conn) (pid int) {
	t.Helper()
	for {
		err := conn.QueryRow(t.Context(), "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&pid)
		if err == nil {
			return pid
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
	}
}

func TestStandby(t *testing.T) {
	primary := pgtest.Start(t)
	standby := primary.StartStandby(t)
	url := primary.URL(t)
	both := strings.Replace(url, primary.Address(), primary.Address()+","+standby.Address(), 1)
	db := open(t, both+"&client_min_messages=error") // which does not hide a wait that was canceled
	defer db.Close()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())

	a := takeOver(t, db, "a", time.Minute)
	must(t, a.Commit(one("1")))
	standby.Stop()

	// The wait for the standby is canceled: the commit is there, and may be lost.
	outcome := make(chan error)
	go func() { outcome <- a.Commit(one("2")) }()
	pid := waiting(t, conn)
	_, err = conn.Exec(t.Context(), "SELECT pg_cancel_backend($1)", pid)
	must(t, err)
	unknown(t, a, <-outcome)

	// A message, too.
	var sent []store.Whereabouts
	go func() {
		var err error
		sent, err = db.Send("a", []store.Message{message("register", "x")})
		outcome <- err
	}()
	pid = waiting(t, conn)
	_, err = conn.Exec(t.Context(), "SELECT pg_cancel_backend($1)", pid)
	must(t, err)
	if err := <-outcome; !errors.Is(err, store.ErrUnknown) || sent != nil {
		t.Errorf("sending: %v, %v", sent, err)
	}

	// A takeover waits for the standby, and with it for all that was committed before.
	var b *postgres.Tenure
	go func() {
		var err error
		b, err = db.TakeOver(t.Context(), look(t, db, "a"), self, 5*time.Second)
		outcome <- err
	}()
	waiting(t, conn)
	must(t, standby.Run())
	must(t, <-outcome)
	if got := total(t, b); got != "2" {
		t.Errorf("the successor loads %s, want 2", got)
	}
	must(t, b.Commit(one("3")))

	// An owner that waits for the standby gives up with its lease. Nothing cancels the wait: what it wrote stays hidden.
	standby.Stop()
	unknown(t, b, b.Commit(one("4")))
	waiting(t, conn)
	if got := total(t, db.Account("a")); got != "3" {
		t.Errorf("a reader sees %s, want 3", got)
	}
	// A takeover ends that session, and the lease is not as it was seen.
	if _, err := db.TakeOver(t.Context(), look(t, db, "a"), self, time.Minute); !errors.Is(err, postgres.ErrSeenChanged) {
		t.Errorf("a takeover of a lease that has changed: %v", err)
	}
	go func() {
		b, err := db.TakeOver(t.Context(), look(t, db, "a"), self, time.Minute)
		if err == nil {
			err = b.Commit(one("5"))
		}
		outcome <- err
	}()
	waiting(t, conn)
	must(t, standby.Run())
	must(t, <-outcome)

	// A failover loses nothing that was acknowledged.
	primary.Kill()
	standby.Promote(t)
	c := again(t, db, "a")
	if got := total(t, c); got != "5" {
		t.Errorf("after the failover: %s, want 5", got)
	}
	must(t, c.Commit(one("6")))
	if messages, _, err := c.Inbox(); err != nil || len(messages) != 1 {
		t.Errorf("messages: %v, %v", messages, err)
	}
}

// A failover to a standby that lags, or a backup, loses commits. The owner does not go on as if they were there.
func TestLostCommit(t *testing.T) {
	db, url := openedAt(t)
	a := takeOver(t, db, "a", time.Minute)
	must(t, a.Commit(one("1")))
	before := look(t, db, "a").Commits
	must(t, a.Commit(new(store.Batch)))
	must(t, a.Commit(one("2")))
	if got := look(t, db, "a").Commits - before; got != 2 {
		t.Errorf("%d commits, want 2", got)
	}
	idle := takeOver(t, db, "b", time.Minute)
	must(t, idle.Commit(one("1")))
	exec(t, url, "UPDATE leases SET commits = commits - 1")
	must(t, db.Renew(t.Context(), self, []*postgres.Tenure{idle}))
	dead(t, idle)
	if err := a.Commit(new(store.Batch)); !errors.Is(err, store.ErrNotOwner) {
		t.Errorf("making sure of what was lost: %v", err)
	}
	dead(t, a)
}

// Messages for several accounts wait for the standby beside each other.
func TestSendsWaitTogether(t *testing.T) {
	primary := pgtest.Start(t)
	standby := primary.StartStandby(t)
	url := primary.URL(t)
	db := open(t, url)
	defer db.Close()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	standby.Stop()
	sent := make(chan error)
	for _, account := range []string{"a", "b", "c"} {
		go func() {
			_, err := db.Send(account, []store.Message{message("register", "x")})
			sent <- err
		}()
	}
	for {
		var standing, locked int
		must(t, conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE wait_event = 'SyncRep'),
			count(*) FILTER (WHERE wait_event_type = 'Lock') FROM pg_stat_activity`).Scan(&standing, &locked))
		if locked > 0 {
			t.Error("a message waits for another")
		}
		if standing == 3 || locked > 0 {
			break
		}
	}
	must(t, standby.Run())
	for range 3 {
		must(t, <-sent)
	}
}

// While commits wait for a standby that is silent, messages do not take more and more connections: those whose sender
// gives up go on to wait.
func TestSendsBesideSilentStandby(t *testing.T) {
	primary := pgtest.Start(t)
	standby := primary.StartStandby(t)
	url := primary.URL(t)
	db := open(t, url)
	defer db.Close()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	standby.Stop()
	send := func(account string) error {
		_, err := db.Send(account, []store.Message{message("register", "x")})
		return err
	}
	for range 3 {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if err := send(fmt.Sprint("account-", i)); err == nil {
					t.Error("a message was acknowledged")
				}
			})
		}
		all.Wait()
	}
	var wait int
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&wait))
	if wait > 8 {
		t.Errorf("%d messages wait", wait)
	}
	must(t, standby.Run())
	for err = send("a"); err != nil && t.Context().Err() == nil; err = send("a") {
		if errors.Is(err, store.ErrUnknown) {
			t.Fatal(err)
		}
	}
}
