//go:build e2e && linux

package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
)

// A store goes from a directory to a database and from there to another directory.
func TestCopyTo(t *testing.T) {
	server := pgtest.Start(t)
	log := slog.New(slog.DiscardHandler)
	from, back, url := t.TempDir(), filepath.Join(t.TempDir(), "new"), server.URL(t)
	first, err := sqlite.Open(from, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Account("a").Commit(storetest.Full()); err != nil {
		t.Fatal(err)
	}
	want, err := first.Account("a").Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ source, to, says, err string }{
		{source: from, to: url, says: "copied 1 account with 2 jobs; the copy is equal to the original\n"},
		{source: from, to: url, err: `the target is not empty: it has account "a"`},
		{source: url, to: back, says: "copied 1 account with 2 jobs; the copy is equal to the original\n"},
		{source: url, to: from, err: `the target is not empty: it has account "a"`},
		{source: t.TempDir(), to: url, err: "register.db: no such file or directory; set --storage.path to its directory"},
		{source: filepath.Join(from, "none"), to: url, err: "set --storage.path to its directory"},
	} {
		var out bytes.Buffer
		err := copyStore(&flags{copyTo: tt.to}, tt.source, &out, log)
		if out.String() != tt.says || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("from %s to %s: %q, %v, want %q, %q", tt.source, tt.to, out.String(), err, tt.says, tt.err)
		}
	}
	last, err := sqlite.Open(back, log)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	var copied store.Account = last.Account("a")
	got, err := copied.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := storetest.Diff(want, got); diff != "" {
		t.Errorf("after the way there and back (-want +got):\n%s", diff)
	}
}
