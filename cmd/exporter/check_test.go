package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// Each error of the start is one line, which names the flag or the file with its option, and what to do. The check of
// the configuration has the same.
func TestStartErrors(t *testing.T) {
	const table = "[[inputs.deepaffects]]\napi_key = \"key\"\n"
	const second = "[[inputs.deepaffects]]\naccount = \"b\"\napi_key = \"key-b\"\n"
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	file := writeFile(t, "file", "")
	newer := filepath.Join(dir, "newer")
	db, err := sqlite.Open(newer, discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	direct, err := sql.Open("sqlite", filepath.Join(newer, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := direct.Exec("PRAGMA user_version = 99; UPDATE meta SET value = '99'"); err != nil {
		t.Fatal(err)
	}
	direct.Close()
	web := writeFile(t, "web.yml", "- a\n- b\n")
	for name, tt := range map[string]struct {
		config string
		args   []string
		want   string // %s is the file of the configuration
		// atStart: the check does not look for it: it uses no network, and a running service may be what has the port.
		atStart bool
	}{
		"no file": {args: []string{"--config.file=/nonexistent"},
			want: "--config.file: /nonexistent: no such file or directory; give the path of a TOML file"},
		"a directory": {args: []string{"--config.file=" + dir},
			want: "--config.file: " + dir + ": is a directory; give the path of a TOML file"},
		"one key twice": {config: table + table + "account = \"b\"\n",
			want: `%s: account "b": account "default" polls the same API, by http or https, with the same key; ` +
				`the quota of an API key is spent by one account only; remove one of the two, or give it its own key`},
		"service_address is the port": {config: table + fmt.Sprintf("service_address = \":%d\"\n", port),
			want: fmt.Sprintf(`%%s: account "default": service_address: :%d overlaps with --web.listen-address=%s, where jobs `+
				`are registered and webhooks received, too; remove service_address, or choose another port`, port, taken.Addr())},
		"service_address is the port by another name": {
			config: table + fmt.Sprintf("service_address = \"localhost:%d\"\n", port),
			want: fmt.Sprintf(`%%s: account "default": service_address: localhost:%d overlaps with --web.listen-address=%s, `+
				`where jobs are registered and webhooks received, too; remove service_address, or choose another port`,
				port, taken.Addr()),
		},
		"service addresses overlap": {
			config: table + "service_address = \":8095\"\n" + second + "service_address = \"127.0.0.1:8095\"\n",
			want: `%s: account "b": service_address: overlaps with that of another account; write the same address, ` +
				`or choose another port`},
		"service_address is of another machine": {config: table + "service_address = \"192.0.2.1:8095\"\n",
			args: []string{"--web.listen-address=127.0.0.1:0"},
			want: `%s: account "default": service_address: listen tcp 192.0.2.1:8095: bind: cannot assign requested address; ` +
				`choose another`},
		"service_address is taken": {config: table + fmt.Sprintf("service_address = %q\n", taken.Addr()),
			args: []string{"--web.listen-address=127.0.0.1:0"}, atStart: true,
			want: `%s: account "default": service_address: listen tcp ` + taken.Addr().String() +
				`: bind: address already in use; choose another`},
		"the port is taken": {config: table, atStart: true,
			want: "--web.listen-address: listen tcp " + taken.Addr().String() + ": bind: address already in use; " +
				"stop what uses the port, or choose another"},
		"no port": {config: table, args: []string{"--web.listen-address=foo"},
			want: "--web.listen-address: listen tcp: address foo: missing port in address; " +
				"choose an address of this machine, such as :9891"},
		"ports overlap": {config: table, args: []string{"--web.listen-address=:0", "--web.listen-address=:1",
			"--web.listen-address=[::1]:1"},
			want: "--web.listen-address: [::1]:1 overlaps with :1; remove one of the two"},
		"no file for the port": {config: table, args: []string{"--web.config.file=/nonexistent"},
			want: "--web.config.file: /nonexistent: no such file or directory; correct it as described at " +
				"https://prometheus.io/docs/prometheus/latest/configuration/https/"},
		"a wrong file for the port": {config: table, args: []string{"--web.config.file=" + web},
			want: "--web.config.file: " + web + ": yaml: unmarshal errors: line 1: cannot unmarshal !!seq into web.Config; " +
				"correct it as described at https://prometheus.io/docs/prometheus/latest/configuration/https/"},
		"the store is a file": {config: table, args: []string{"--storage.path=" + file},
			want: "--storage.path: opening " + file + ": not a directory; choose a directory"},
		"the store is below a file": {config: table, args: []string{"--storage.path=" + file + "/x"},
			want: "--storage.path: stat " + file + "/x: not a directory; choose a directory"},
		"the store is of a newer version": {config: table, args: []string{"--storage.path=" + newer},
			want: "--storage.path: opening " + newer + "/register.db: it was written by a newer version (schema 99, this one " +
				"knows 4); use that version, or another directory"},
		"two stores": {config: table + "database_url = \"postgres://127.0.0.1:1/x\"\n",
			args: []string{"--storage.path=" + dir},
			want: "--storage.path: set together with database_url; remove one of the two"},
		"no database": {config: table + "database_url = \"postgres://u:secret@127.0.0.1:1/x\"\n", atStart: true,
			want: "%s: database_url: cannot reach the database: failed to connect to `user=u database=x`: 127.0.0.1:1 " +
				"(127.0.0.1): dial error: dial tcp 127.0.0.1:1: connect: connection refused; check host and port of the URL, " +
				"and whether the server runs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir()) // of the default store
			var args []string
			want := tt.want
			if tt.config != "" {
				path := writeFile(t, "deepaffects.toml", tt.config)
				args, want = []string{"--config.file=" + path}, strings.Replace(want, "%s", path, 1)
			}
			args = append(args, tt.args...)
			if !strings.Contains(strings.Join(args, ""), "--web.listen-address") { // else a start that must fail would succeed
				args = append(args, "--web.listen-address="+taken.Addr().String())
			}
			if err := run(parse(t, args...), io.Discard, discard); fmt.Sprint(err) != want {
				t.Errorf("started with\n%v, want\n%s", err, want)
			}
			var log bytes.Buffer
			err := run(parse(t, append(args, "--config.check")...), io.Discard, slog.New(slog.NewTextHandler(&log, nil)))
			switch {
			case tt.atStart && err != nil, !tt.atStart && fmt.Sprint(err) != want:
				t.Errorf("checked with\n%v, want\n%s", err, want)
			case tt.atStart && strings.Contains(want, "in use") && !strings.Contains(log.String(), "Address is in use"):
				t.Errorf("the check does not warn: %q", log.String())
			}
		})
	}
}

// The plan reads a store, and an error names it.
func TestPlanErrors(t *testing.T) {
	const table = "[[inputs.deepaffects]]\napi_key = \"key\"\n"
	file := writeFile(t, "file", "")
	for name, tt := range map[string]struct {
		config string
		args   []string
		want   string
	}{
		"the store is a file": {table, []string{"--storage.path=" + file},
			"--storage.path: copying " + file + "/register.db: "},
		"no database": {table + "database_url = \"postgres://127.0.0.1:1/x\"\n", nil,
			": database_url: cannot reach the database: "},
	} {
		args := append([]string{"--plan", "--config.file=" + writeFile(t, "config.toml", tt.config)}, tt.args...)
		err := run(parse(t, args...), io.Discard, discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A check leaves nothing behind. The default store is that of the service in its working directory only.
func TestCheckLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	config := "--config.file=" + writeFile(t, "config.toml", "[[inputs.deepaffects]]\napi_key = \"key\"\n")
	if err := run(parse(t, config, "--config.check"), io.Discard, discard); err != nil {
		t.Error(err)
	}
	if err := run(parse(t, config, "--config.check", "--storage.path=new/directory"), io.Discard, discard); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	if err := os.WriteFile("data", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	err := run(parse(t, config, "--config.check"), io.Discard, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "The default of --storage.path cannot be used here") {
		t.Errorf("%v, logged %q", err, log.String())
	}
}
