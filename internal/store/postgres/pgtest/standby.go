//go:build linux

package pgtest

import (
	"fmt"
	"testing"
	"time"
)

// StartStandby starts a standby, which ends with the test, while the server runs: it waits for the standby with each
// commit from then on. What was committed before has reached the standby, too.
func (s *Server) StartStandby(t testing.TB) *Server {
	t.Helper()
	standby, err := prepare()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Close)
	err = s.run("pg_basebackup", "--pgdata", standby.data(), "--write-recovery-conf", "--checkpoint", "fast", "--no-sync",
		"--dbname", s.url("postgres")+"&application_name=standby")
	if err == nil {
		// After a restart of its server it connects again at once, not after 5 seconds.
		err = standby.Configure(fmt.Sprintf("port = %d\nwal_retrieve_retry_interval = '100ms'\n", standby.Port))
	}
	if err == nil {
		err = standby.Run()
	}
	if err == nil {
		err = s.await("SELECT 1 / count(*) FROM pg_stat_replication WHERE state = 'streaming'")
	}
	if err == nil {
		err = s.Configure("synchronous_standby_names = 'standby'\n")
	}
	if err == nil {
		err = s.Exec("SELECT pg_reload_conf()")
	}
	if err == nil {
		// A session that begins with the new setting began after all processes were told of it. The checkpointer is the
		// one that lets commits wait, and it takes the setting before it makes a checkpoint.
		err = s.await("SELECT 1 / count(*) FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = 'standby'")
	}
	if err == nil {
		err = s.Exec("CHECKPOINT; CREATE TABLE caught_up (); DROP TABLE caught_up")
	}
	if err != nil {
		t.Fatal(err)
	}
	return standby
}

// await runs SQL until it succeeds.
func (s *Server) await(sql string) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := s.Exec(sql)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// Promote makes a standby a server of its own, which waits for no standby.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.Exec("SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
}
