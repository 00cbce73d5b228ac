package postgres_test

import (
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

// What is shown of a URL is where it leads, as pgx reads it: that ends user and password at the first @.
func TestShown(t *testing.T) {
	for _, test := range []struct{ url, want string }{
		{"postgres://monitor:secret@db/jobs?sslmode=verify-full", "postgres://db:5432/jobs"},
		{"postgresql://monitor:secret@db:6543/jobs?sslmode=disable&application_name=secret", "postgres://db:6543/jobs"},
		{"postgres://monitor:2024#secret@db/jobs", "postgres://db:5432/jobs"},
		{"postgres://monitor:2024?secret@db/jobs", "postgres://db:5432/jobs"},
		{"postgres://secret@db/jobs?password=secret&sslpassword=secret", "postgres://db:5432/jobs"},
		{"postgres://monitor:se%2Fcret%40@a:1,[::1],b:3/jobs?sslmode=prefer", "postgres://a:1,[::1]:5432,b:3/jobs"},
		{"postgres://monitor:secret@%2Frun%2Fpostgresql/jobs", "postgres:///run/postgresql:5432/jobs"},
		{"postgres:///jobs?host=db&port=6543&user=secret&password=sec@ret", "postgres://db:6543/jobs"},
		{"postgres://monitor:sec@ret@db/jobs", "not shown"},
		{"postgres://monitor:2024/secret@db/jobs", "not shown"},
		{"postgres://monitor:2024@secret/x@db/jobs", "not shown"},
		{"postgres://monitor:2024@secret?x=y@db/jobs", "not shown"},
		{"postgres://monitor:2024@a,secret@db/jobs", "not shown"},
	} {
		if valid := postgres.CheckURL(test.url) == nil; valid != (test.want != "not shown") {
			t.Errorf("%s is valid: %t", test.url, valid)
		}
		if got := postgres.Shown(test.url); got != test.want {
			t.Errorf("%s is shown as %q, want %q", test.url, got, test.want)
		}
	}
}
