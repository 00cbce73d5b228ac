//go:build e2e

package postgres_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
)

// The questions of docs/storage.md are answered.
func TestDocumentedQueries(t *testing.T) {
	text, err := os.ReadFile("../../../docs/storage.md")
	must(t, err)
	_, section, found := strings.Cut(string(text), "\n## PostgreSQL\n")
	_, inside, foundToo := strings.Cut(section, "\n### Looking inside\n")
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(inside, -1)
	if !found || !foundToo || len(queries) < 6 {
		t.Fatalf("found %d queries", len(queries))
	}
	db, url := openedAt(t)
	b := storetest.Full()
	b.Jobs = append(b.Jobs,
		store.Job{RequestID: "running", State: "running", FirstSeen: storetest.Start},
		store.Job{RequestID: "done", State: "completed", Statistics: statistics})
	b.Requests = []store.Requests{{Second: time.Now().Unix(), Count: 1}}
	must(t, takeOver(t, db, "a", time.Minute).Commit(b))
	_, err = db.Send("a", []store.Message{message("register", "x")})
	must(t, err)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	for _, q := range queries {
		rows, err := conn.Query(t.Context(), q[1])
		must(t, err)
		answer, err := pgx.CollectRows(rows, pgx.RowToMap)
		if err != nil || len(answer) == 0 {
			t.Errorf("%s\ngot %v, %v", q[1], answer, err)
		}
	}
}

// The statements of docs/operations.md delete an account, also its lease and its inbox, and nothing else.
func TestRemovedAccount(t *testing.T) {
	text, err := os.ReadFile("../../../docs/operations.md")
	must(t, err)
	_, script, _ := strings.Cut(string(text), "psql --single-transaction")
	_, script, _ = strings.Cut(script, "\n")
	script, _, found := strings.Cut(script, "EOF\n")
	if !found {
		t.Fatal("docs/operations.md has no statements")
	}
	db, url := openedAt(t)
	for _, account := range []string{"old", "other"} {
		must(t, takeOver(t, db, account, time.Minute).Commit(storetest.Full()))
		_, err := db.Send(account, []store.Message{message("register", "x")})
		must(t, err)
	}
	exec(t, url, script)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT table_name FROM information_schema.columns
		WHERE table_schema = 'public' AND column_name = 'account'`)
	must(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	for _, table := range tables {
		var old, other bool
		must(t, conn.QueryRow(t.Context(), `SELECT coalesce(bool_or(account = 'old'), false),
			coalesce(bool_or(account = 'other'), false) FROM `+table).Scan(&old, &other))
		if old || !other {
			t.Errorf("%s has rows of the account: %t, and of the other one: %t", table, old, other)
		}
	}
}
