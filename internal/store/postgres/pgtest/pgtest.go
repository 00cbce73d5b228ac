//go:build linux

// Package pgtest runs a real PostgreSQL for tests.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Server is a PostgreSQL server on loopback, with its files in a temporary directory. It ends with the process of the
// test.
type Server struct {
	Port int

	dir        string // of all that the server has
	bin        string
	credential *syscall.Credential
	process    *exec.Cmd
	exited     chan struct{}
	databases  atomic.Int64
}

// User is the superuser, which has no password.
const User = "postgres"

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// New starts a server, such as one for all tests of a package. Settings are lines of postgresql.conf.
func New(settings ...string) (*Server, error) {
	s, err := prepare()
	if err != nil {
		return nil, err
	}
	lines := fmt.Sprintf("listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = ''\n"+
		"max_connections = 200\nfsync = off\nlog_min_messages = warning\n", s.Port)
	for _, line := range settings {
		lines += line + "\n"
	}
	err = s.run("initdb", "--pgdata", s.data(), "--username", User, "--auth", "trust", "--encoding", "UTF8",
		"--locale", "C", "--no-sync")
	if err == nil {
		err = s.Configure(lines)
	}
	if err == nil {
		err = s.Run()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare makes the directory of a server.
func prepare() (*Server, error) {
	s := new(Server)
	var err error
	if s.bin, err = find(); err == nil {
		s.credential, err = credential()
	}
	if err == nil {
		s.Port, err = freePort()
	}
	if err == nil {
		s.dir, err = os.MkdirTemp("", "pgtest")
	}
	if err == nil && s.credential != nil {
		err = os.Chown(s.dir, int(s.credential.Uid), int(s.credential.Gid))
	}
	return s, err
}

// find returns the directory of the server's programs.
func find() (string, error) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path)
		return filepath.Dir(path), err
	}
	return "", errors.New("no PostgreSQL server is installed: install Debian's package postgresql")
}

// credential returns the user to run the server as, which refuses to run as root; nil: the present one.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Configure appends lines to postgresql.conf, which count from the next start on.
func (s *Server) Configure(lines string) error {
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(lines)
	return errors.Join(err, file.Close())
}

// Authenticate lets a user in only with its password, from the next start on.
func (s *Server) Authenticate(user string) error {
	path := filepath.Join(s.data(), "pg_hba.conf")
	all, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte("host all "+user+" 127.0.0.1/32 scram-sha-256\n"), all...), 0)
}

// Encrypt lets the server take connections with TLS, from the next start on, and others only from its superuser.
func (s *Server) Encrypt(certificate, key []byte) error {
	for name, content := range map[string][]byte{"server.crt": certificate, "server.key": key} {
		path := filepath.Join(s.data(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		if s.credential != nil {
			if err := os.Chown(path, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
				return err
			}
		}
	}
	access := "hostssl all all 127.0.0.1/32 trust\nhost all " + User + " 127.0.0.1/32 trust\n"
	if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(access), 0o600); err != nil {
		return err
	}
	return s.Configure("ssl = on\n")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// command returns a command that runs a program of the server.
func (s *Server) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, program), args...)
	c.Dir = s.dir
	// SIGQUIT ends a server at once, with its children.
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	return c
}

func (s *Server) run(program string, args ...string) error {
	if out, err := s.command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// Run starts the server again after Stop or Kill, and waits until it can be used.
func (s *Server) Run() error {
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = s.command("postgres", "-D", s.data())
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.exited = exited
	go func(c *exec.Cmd) {
		defer close(exited)
		_ = c.Wait()
	}(s.process)
	for {
		err := s.ready()
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			log, _ := os.ReadFile(s.Log())
			return fmt.Errorf("the server ended: %w: %s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// Log returns the path of the server's log.
func (s *Server) Log() string { return filepath.Join(s.dir, "log") }

// Stop stops the server: sessions are ended, and everything is written.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Kill ends the server at once, as a crash does.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

func (s *Server) end(with syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(with)
	<-s.exited
	s.process = nil
}

// Close ends the server and removes its files.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// Exec runs SQL in the database postgres, as the superuser.
func (s *Server) Exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// URL makes an empty database, and returns its URL.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	if err := s.Exec("CREATE DATABASE " + name + " STRATEGY file_copy"); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

// Address returns the host and port of the server.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

func (s *Server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(User), Host: s.Address(), Path: database, RawQuery: "sslmode=disable"}
	return u.String()
}
