//go:build e2e && linux

package postgres_test

import (
	"fmt"
	"net"
	"os"
	command "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

// pooled runs a PgBouncer before the server, and returns the URL of a database through it.
func pooled(t *testing.T, database, mode string) string {
	t.Helper()
	unpacked, err := filepath.Abs("../../../.cache/pgbouncer/usr")
	must(t, err)
	dir, err := os.MkdirTemp("", "pgbouncer") // the directory of a test is root's
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := freeport.Address(t)
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	config := filepath.Join(dir, "pgbouncer.ini")
	must(t, os.WriteFile(filepath.Join(dir, "users"), []byte(`"postgres" ""`), 0o644))
	must(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = trust
auth_file = %s/users
pool_mode = %s
`, server.Port, port, dir, mode), 0o644))
	bouncer := command.Command(filepath.Join(unpacked, "sbin/pgbouncer"), "-u", "nobody", config)
	libraries, _ := filepath.Glob(unpacked + "/lib/*-linux-gnu*")
	bouncer.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	bouncer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	bouncer.Stderr = t.Output()
	must(t, bouncer.Start())
	t.Cleanup(func() {
		_ = bouncer.Process.Kill()
		_ = bouncer.Wait()
	})
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	return strings.Replace(database, server.Address(), address, 1)
}

// A pooler that gives a session to a client for as long as that is connected changes nothing.
func TestSessionPooling(t *testing.T) {
	db := open(t, pooled(t, server.URL(t), "session"))
	defer db.Close()
	heard := make(chan string, 100)
	hear := func(account string) { heard <- account }
	go db.Listen(t.Context(), hear, hear)
	<-heard
	a := takeOver(t, db, "a", time.Minute)
	must(t, a.Commit(one("1")))
	_, err := db.Send("a", []store.Message{message("register", "x")})
	must(t, err)
	for account := range heard {
		if account == "a" {
			break
		}
	}
	if got := total(t, a); got != "1" {
		t.Errorf("loaded %s, want 1", got)
	}
}

// One that gives a session to a client for each transaction would lose the settings of sessions, what is prepared in
// them, and notifications.
func TestTransactionPooling(t *testing.T) {
	db, err := postgres.Open(t.Context(), pooled(t, server.URL(t), "transaction"), quiet)
	if err == nil {
		_ = db.Close()
	}
	if want := "pool_mode = session"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
