//go:build linux

package pgtest

import (
	"fmt"
	"testing"
)

// StartStandby starts a standby, which ends with the test, and starts the server again: it waits for the standby with
// each commit from then on. What was committed before has reached the standby, too.
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
		err = standby.Configure(fmt.Sprintf("port = %d\n", standby.Port))
	}
	if err == nil {
		s.Stop()
		err = s.Configure("synchronous_standby_names = 'standby'\n")
	}
	if err == nil {
		err = s.Run()
	}
	if err == nil {
		err = standby.Run()
	}
	if err == nil {
		err = s.Exec("CREATE TABLE caught_up (); DROP TABLE caught_up")
	}
	if err != nil {
		t.Fatal(err)
	}
	return standby
}

// Promote makes a standby a server of its own, which waits for no standby.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.Exec("SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
}
