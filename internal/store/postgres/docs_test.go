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
