//go:build e2e && linux

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// A plan changes nothing in the database that replicas share: it makes no tables, and agrees on no lease.
func TestPlanOnlyReads(t *testing.T) {
	server := pgtest.Start(t)
	database := server.URL(t)
	plan := func() (string, error) {
		var out bytes.Buffer
		err := run(parse(t, "--plan", "--config.file="+writeFile(t, "config.toml",
			"[[inputs.deepaffects]]\napi_key = \"key\"\nlease = \"2s\"\ndatabase_url = \""+database+"\"\n")), &out, discard)
		return out.String(), err
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	count := func(query string) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	const want = "database_url: the tables of this version are not there; "
	if out, err := plan(); err == nil || !strings.Contains(err.Error(), want) || out != "" {
		t.Errorf("without tables: %q, %v; want an error with %q", out, err, want)
	}
	if n := count("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); n != 0 {
		t.Errorf("%d tables were made", n)
	}

	db, err := postgres.Open(t.Context(), database, discard)
	if err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	if out, err := plan(); err != nil || !strings.Contains(out, "0 requests planned") {
		t.Errorf("%q, %v", out, err)
	}
	if n := count("SELECT count(*) FROM meta WHERE name = 'lease'"); n != 0 {
		t.Error("the plan agreed on a lease")
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO meta VALUES ('lease', '1s')"); err != nil {
		t.Fatal(err)
	}
	if _, err := plan(); err != nil {
		t.Error(err)
	}
	if n := count("SELECT count(*) FROM meta WHERE name = 'lease' AND value = '1s'"); n != 1 {
		t.Error("the plan changed the lease")
	}
	if _, err := conn.Exec(t.Context(), "UPDATE meta SET value = '0' WHERE name = 'schema'"); err != nil {
		t.Fatal(err)
	}
	if _, err := plan(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("older tables: %v", err)
	}
}
