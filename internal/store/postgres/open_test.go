//go:build e2e

package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// exec runs SQL in a database.
func exec(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	must(t, err)
}

// as returns the URL of a database for another user.
func as(t *testing.T, database, user, password string) string {
	t.Helper()
	u, err := url.Parse(database)
	must(t, err)
	u.User = url.UserPassword(user, password)
	return u.String()
}

func TestOpenErrors(t *testing.T) {
	const password = "Secret/9:@?"
	s := pgtest.Start(t)
	must(t, s.Exec("CREATE ROLE monitor LOGIN PASSWORD '"+password+"'"))
	must(t, s.Authenticate("monitor"))
	s.Stop()
	must(t, s.Run())
	database := s.URL(t)
	newer := s.URL(t)
	_ = open(t, newer).Close()
	exec(t, newer, "UPDATE meta SET value = '99'")
	garbled := s.URL(t)
	_ = open(t, garbled).Close()
	exec(t, garbled, "DELETE FROM meta WHERE name = 'compatible'")
	foreign := s.URL(t)
	exec(t, foreign, "CREATE TABLE meta (name text, value text)")
	at := func(database, change string, by string) string {
		return strings.Replace(as(t, database, "monitor", password), change, by, 1)
	}
	encoded := url.UserPassword("", password).String()[1:]
	free := pgtest.Start(t)
	free.Stop()
	for name, test := range map[string]struct{ url, want string }{
		"wrong password":  {as(t, database, "monitor", password+"x"), `the database refuses user "monitor": check user and`},
		"no such user":    {as(t, database, "nobody", password), `the database refuses user "nobody": check user and`},
		"no database":     {at(database, "/test_", "/none_"), `there is no database "none_1": make it with CREATE`},
		"no right":        {as(t, database, "monitor", password), `user "monitor" has no right to make or use the tables;`},
		"newer":           {newer, "made by a newer version (they need schema 99, this one knows 1); use that version, or"},
		"garbled":         {garbled, "the table meta is of another program; use another database or schema"},
		"foreign":         {foreign, "the table meta is of another program; use another database or schema"},
		"unreachable":     {at(database, s.Address(), free.Address()), "cannot reach the database: "},
		"no host":         {at(database, s.Address(), "host.invalid"), "cannot reach the database: "},
		"slash":           {at(database, encoded, password), "the database URL is not valid: it is like postgres://user"},
		"digits":          {"postgres://u:123/" + password + "@127.0.0.1/d", "the database URL is not valid: it is like"},
		"question mark":   {"postgres://u:123?" + password + "@127.0.0.1/d", "the database URL is not valid: it is like"},
		"at":              {"postgres://u:x@" + password + "@127.0.0.1/d", "the database URL is not valid: it is like"},
		"at, slash":       {"postgres://u:x@Secret/y@127.0.0.1/d", "the database URL is not valid: it is like"},
		"at, question":    {"postgres://u:x@Secret?y=z@127.0.0.1/d", "the database URL is not valid: it is like"},
		"at, comma":       {"postgres://u:x@127.0.0.1,Secret@127.0.0.1/d", "the database URL is not valid: it is like"},
		"at, port":        {"postgres://u:x@h:Secret@127.0.0.1/d", "the database URL is not valid: it is like"},
		"hash, at":        {"postgres://u:x#y@Secret@127.0.0.1:x/d", "the database URL is not valid: it is like"},
		"hash, port":      {"postgres://u:x#Secret@127.0.0.1:x/d", "the database URL is not valid: "},
		"port":            {at(database, encoded+"@127.0.0.1:", encoded+"@127.0.0.1:x"), "the database URL is not valid: "},
		"option":          {at(database, "sslmode=disable", "sslmode=yes"), "sslmode is invalid"},
		"pool":            {as(t, database, "monitor", password) + "&pool_max_conns=x", "cannot parse pool_max_conns"},
		"keywords":        {"host=x password='" + password, "the database URL is not valid: it is like postgres://user"},
		"another scheme":  {"mysql://monitor:" + password + "@host/database", "the database URL is not valid: it is like"},
		"secret in query": {"postgres://host/d?sslmode=no&password=" + encoded, "sslmode is invalid"},
		"file": {as(t, database, "monitor", password) + "&sslrootcert=/nonexistent.pem&sslmode=verify-full",
			"/nonexistent.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			db, err := postgres.Open(t.Context(), test.url, slog.New(slog.NewTextHandler(&log, nil)))
			if err == nil {
				_ = db.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want …%q…", err, test.want)
			}
			for _, secret := range []string{password, encoded, "Secret"} {
				if text := err.Error() + fmt.Sprintf("%+v", err) + log.String(); strings.Contains(text, secret) {
					t.Errorf("the password is in %q", text)
				}
			}
		})
	}
}

// A server that takes writes is used, whatever the URL says.
func TestOpenForStandby(t *testing.T) {
	_ = open(t, server.URL(t)+"&target_session_attrs=standby").Close()
}

// Several replicas that start at once make the tables once.
func TestOpenAtOnce(t *testing.T) {
	database := server.URL(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			db, err := postgres.Open(t.Context(), database, quiet)
			if err != nil {
				t.Error(err)
				return
			}
			_ = db.Close()
		})
	}
	all.Wait()
	_ = open(t, database).Close()
}

// A start that stands still while it makes the tables, or looks whether it must, is in the way of no other one once
// they are there.
func TestOpenBesideStalledStart(t *testing.T) {
	_, url := openedAt(t)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "BEGIN; SELECT pg_advisory_xact_lock(x'6465657061666665'::bigint)")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	db, err := postgres.Open(ctx, url, quiet)
	must(t, err)
	_ = db.Close()
}

// Another isolation level than ours, as a default of the role or the database, would let statements fail that wait for
// a row.
func TestIsolationByDefault(t *testing.T) {
	url := server.URL(t)
	exec(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable',
		current_database()); END $$`)
	db := open(t, url)
	defer db.Close()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	a := takeOver(t, db, "a", time.Minute)
	tx := lock(t, url, "a")
	committed := make(chan error)
	go func() { committed <- a.Commit(one("1")) }()
	waitLocked(t, conn)
	must(t, tx.Commit(t.Context()))
	must(t, <-committed)
}

// Tables to which a newer version has only added are used; others are left at once.
func TestNewerTables(t *testing.T) {
	db, url := openedAt(t)
	a := takeOver(t, db, "a", time.Minute)
	exec(t, url, "UPDATE meta SET value = '2' WHERE name = 'schema'")
	_ = open(t, url).Close()
	must(t, db.Renew(t.Context(), self, []*postgres.Tenure{a}))
	must(t, a.Commit(one("1")))
	exec(t, url, "UPDATE meta SET value = '2' WHERE name = 'compatible'")
	lock(t, url, "a")
	err := db.Renew(t.Context(), self, []*postgres.Tenure{a})
	if err == nil || !strings.Contains(err.Error(), "made by a newer version") {
		t.Errorf("a renewal in tables that are too new: %v", err)
	}
	dead(t, a)
}

// A role that only uses the tables needs the rights in docs/storage.md.
func TestRights(t *testing.T) {
	database := server.URL(t)
	_ = open(t, database).Close()
	must(t, server.Exec("CREATE ROLE writer LOGIN"))
	exec(t, database, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer")
	writer := as(t, database, "writer", "")
	db := open(t, writer)
	defer db.Close()
	_, err := db.Send("a", []store.Message{message("register", "x")})
	must(t, err)
	a := takeOver(t, db, "a", time.Minute)
	messages, _, err := a.Inbox()
	must(t, err)
	must(t, a.Commit(&store.Batch{Received: messages, Totals: one("1").Totals}))
	tx := lock(t, writer, "a")
	a = takeOver(t, db, "a", time.Minute)
	if tx.Commit(t.Context()) == nil {
		t.Error("the session that locked the row goes on")
	}
	must(t, db.Renew(t.Context(), self, []*postgres.Tenure{a}))
	must(t, a.Release(t.Context(), ""))
	must(t, db.Leave(t.Context(), self))
}

// Text of a replica is cleaned as text of jobs is.
func TestOddReplica(t *testing.T) {
	db := opened(t)
	odd := postgres.Member{ID: "id\x00\xff", URL: "http://\x00", Accounts: []string{"a\x00\xff"}}
	a, err := db.TakeOver(t.Context(), postgres.Lease{Account: "a\x00\xff"}, odd, time.Minute)
	must(t, err)
	must(t, db.Renew(t.Context(), odd, []*postgres.Tenure{a}))
	if l := look(t, db, "a\uFFFD\uFFFD"); l.Owner != "id\uFFFD\uFFFD" || l.OwnerURL != "http://\uFFFD" || l.Renewals != 1 {
		t.Errorf("the lease is %+v", l)
	}
	must(t, a.Release(t.Context(), odd.ID))
	seen := look(t, db, "a\uFFFD\uFFFD")
	if seen.Successor != "id\uFFFD\uFFFD" {
		t.Errorf("the lease is %+v", seen)
	}
	must(t, db.Leave(t.Context(), odd))
}
