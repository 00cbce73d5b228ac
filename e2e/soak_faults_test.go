//go:build e2e && soak && linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spoil lets one fault after another happen, all of them in turn, until ctx ends. Then none of them goes on.
func (s *soak) spoil(ctx context.Context) {
	type fault struct {
		name string
		do   func()
	}
	faults := []fault{
		{"pauses", s.pause}, {"reloads", func() { s.configure(""); s.reload(true) }},
		{"invalid reloads", s.misconfigure}, {"stores taken away", s.takeStore},
		{"full disks", s.fillDisk}, {"clocks set", s.setClock}, {"slow readers", s.readSlowly},
	}
	if s.killed {
		for range 3 {
			faults = append(faults, fault{"kills", func() { s.kill(); s.meanwhile(); s.start() }})
		}
		faults = append(faults,
			fault{"stops", func() { s.terminate(); s.meanwhile(); s.start() }},
			fault{"stops without a store", func() { s.loseStore(); s.terminate(); s.start() }},
		)
	}
	for turn := rand.IntN(len(faults)); ctx.Err() == nil && !s.Failed(); turn++ {
		f := faults[turn%len(faults)]
		s.vendor.note(f.name)
		f.do()
		s.happened[f.name]++
		wait(s.Context(), rand.N(time.Second))
	}
}

// configure writes the configuration. The accounts with small quotas change their names, and keep their keys.
func (s *soak) configure(more string) {
	s.renamed++
	s.mu.Lock()
	var ids []string
	for _, id := range s.inConfig {
		ids = append(ids, fmt.Sprintf("%q", id))
	}
	s.mu.Unlock()
	var endless []string
	for i := range 50 {
		endless = append(endless, fmt.Sprintf("%q", fmt.Sprint("endless-", i)))
	}
	retention := "10000h"
	if !s.killed {
		retention = "20s"
	}
	text := fmt.Sprintf(`
[[inputs.deepaffects]]
  account = "main"
  url = %q
  api_key = "key-main"
  requests_per_minute = %d
  requests_per_day = 0
  timeout = "2s"
  webhook_token = "a-token-of-some-length"
  request_ids = [%s]
  request_id_files = [%q]
  request_id_urls = [%q]
  refresh_interval = "1s"
  max_job_series = 20
  job_labels = ["team"]
  retention = %q
  max_job_age = "10000h"
  not_found_grace = "10000h"
  %s
`, s.vendor.url, soakQuotas["key-main"].minute, strings.Join(ids, ", "), filepath.Join(s.files, "*.ids"),
		s.vendor.url+"/ids.json", retention, more)
	// It resets in twelve hours, which is not before the end.
	reset := s.begun.UTC().Add(12 * time.Hour).Format("15:04")
	for key, more := range map[string]string{
		"key-minute": "", "key-day": "", "key-reset": fmt.Sprintf("day_resets_at = %q", reset),
	} {
		text += fmt.Sprintf(`
[[inputs.deepaffects]]
  account = "%s-%d"
  url = %q
  api_key = %q
  timeout = "2s"
  requests_per_minute = %d
  requests_per_day = %d
  max_job_age = "10000h"
  request_ids = [%s]
  %s
`, strings.TrimPrefix(key, "key-"), s.renamed%3, s.vendor.url, key, soakQuotas[key].minute, soakQuotas[key].day, strings.Join(endless, ", "), more)
	}
	writeFile(s.T, s.config, text)
}

func (s *soak) reload(valid bool) {
	want := http.StatusOK
	if !valid {
		want = http.StatusInternalServerError
	}
	if _, err := s.send(http.MethodPost, "/-/reload", "", want); err != nil {
		s.Errorf("reload: %v", err)
	}
}

func (s *soak) misconfigure() {
	s.configure([]string{`timeout = "-1s"`, `nonsense = 1`, `= = =`, `tls_ca = "/nonexistent"`}[rand.IntN(4)])
	s.reload(false)
	s.configure("") // for the next start
}

// pause stops the process for a time, as a suspended machine does.
func (s *soak) pause() {
	s.signal(syscall.SIGSTOP)
	wait(s.Context(), rand.N(2500*time.Millisecond))
	s.signal(syscall.SIGCONT)
}

func (s *soak) signal(signal syscall.Signal) {
	if err := s.process.Signal(signal); err != nil {
		s.Fatal(err)
	}
}

// meanwhile is what happens while no process runs.
func (s *soak) meanwhile() {
	switch rand.IntN(4) {
	case 0:
		s.setClock()
	case 1:
		s.configure("")
	case 2: // what --once spends is remembered, also if it is killed
		ctx, cancel := context.WithTimeout(s.Context(), time.Second+rand.N(2*time.Second))
		defer cancel()
		once := exec.CommandContext(ctx, s.program, "--once", "--config.file="+s.config, "--storage.path="+s.storage)
		once.Env = append(os.Environ(), "TEST_CLOCK_FILE="+s.clock)
		once.Stderr = s.log
		_ = once.Run()
		s.happened["--once"]++
	}
}

// setClock sets the clock by up to a month.
func (s *soak) setClock() {
	scale := []int{60, 3600, 86400, 30 * 86400}[rand.IntN(4)]
	s.set(rand.IntN(2*scale) - scale)
}

// set sets the clock of the process so many seconds ahead.
func (s *soak) set(ahead int) {
	next := s.clock + ".new"
	err := os.WriteFile(next, fmt.Appendf(nil, "%+d", ahead), 0o600)
	if err = errors.Join(err, os.Rename(next, s.clock)); err != nil {
		s.Fatal(err)
	}
}

// loseStore removes, moves or replaces the files of the store. The process still has them open.
func (s *soak) loseStore() {
	register := filepath.Join(s.storage, "register.db")
	var err error
	switch rand.IntN(4) {
	case 0:
		err = os.Remove(register)
	case 1:
		err = errors.Join(os.Remove(register), os.Remove(register+"-wal"), os.Remove(register+"-shm"))
	case 2:
		moved := s.storage + ".moved"
		err = errors.Join(os.RemoveAll(moved), os.Rename(s.storage, moved))
	case 3:
		err = os.WriteFile(register+".other", []byte("another file"), 0o600)
		err = errors.Join(err, os.Rename(register+".other", register))
	}
	if err != nil {
		s.Fatal(err)
	}
}

// takeStore loses the store, and waits until all is stored again.
func (s *soak) takeStore() {
	s.loseStore()
	eventually(s.T, "a new store", func() (string, bool) {
		head := make([]byte, 16)
		f, err := os.Open(filepath.Join(s.storage, "register.db"))
		if err != nil {
			return outcome(err)
		}
		defer f.Close()
		if _, err = io.ReadFull(f, head); err == nil && !bytes.HasPrefix(head, []byte("SQLite format 3")) {
			err = errors.New("no database")
		}
		return outcome(err)
	})
	eventually(s.T, "a writable store", func() (string, bool) {
		_, err := s.send(http.MethodPost, "/api/v1/jobs?account=main", `"endless-known"`, http.StatusAccepted)
		return outcome(err)
	})
	aside, _ := filepath.Glob(filepath.Join(s.storage, "*.replaced-*"))
	for _, name := range append(aside, s.storage+".moved") {
		if err := os.RemoveAll(name); err != nil {
			s.Error(err)
		}
	}
}

// fillDisk fills the disk of the store for a time.
func (s *soak) fillDisk() {
	name := filepath.Join(filepath.Dir(s.storage), "ballast")
	ballast, err := os.Create(name)
	for block := make([]byte, 4096); err == nil; {
		_, err = ballast.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.Fatal(err)
	}
	wait(s.Context(), rand.N(2*time.Second))
	if err := errors.Join(ballast.Close(), os.Remove(name)); err != nil {
		s.Fatal(err)
	}
}

// readSlowly lets clients ask for pages that they do not read, or not to the end.
func (s *soak) readSlowly() {
	var clients sync.WaitGroup
	for i := range 40 {
		clients.Go(func() {
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				return
			}
			defer conn.Close()
			_ = conn.(*net.TCPConn).SetReadBuffer(1024)
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", []string{"/metrics", "/", "/jobs"}[i%3])
			if i%4 > 0 {
				wait(s.Context(), time.Second+rand.N(time.Second))
			}
		})
	}
	clients.Wait()
}
