//go:build unix

package main

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// stalled names the environment variable with the flags of a child process.
const stalled = "DEEPAFFECTS_EXPORTER_TEST_STALLED"

// A reader of the log that stands still holds up neither requests nor a stop.
func TestLogReaderStalls(t *testing.T) {
	if text := os.Getenv(stalled); text != "" {
		os.Args = append([]string{program}, strings.Fields(text)...)
		main()
		os.Exit(0) // without what the test binary writes
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("[[inputs.deepaffects]]\napi_key = \"key\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("after the start", func(t *testing.T) {
		cmd, read, fill := stalling(t, "--demo --web.listen-address=127.0.0.1:0 --log.level=debug")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		address, listening := "", regexp.MustCompile(`msg="Listening on" address=(\S+)`)
		for lines := bufio.NewScanner(read); address == "" && lines.Scan(); {
			if match := listening.FindStringSubmatch(lines.Text()); match != nil {
				address = match[1]
			}
		}
		fill()
		for _, id := range []string{"a", "b", "c"} {
			resp, err := http.Post("http://"+address+"/api/v1/jobs", "", strings.NewReader(`{"request_id":"`+id+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				t.Errorf("HTTP %d", resp.StatusCode)
			}
		}
		http.DefaultClient.CloseIdleConnections()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("before it", func(t *testing.T) {
		cmd, _, fill := stalling(t, "--plan --config.file="+config+" --storage.path="+dir)
		fill()
		if text, err := cmd.Output(); err != nil || !strings.Contains(string(text), "0 requests planned") {
			t.Errorf("%v, %s", err, text)
		}
	})
}

// stalling returns a child process with flags, the log that it will write, and what fills the pipe of that.
func stalling(t *testing.T, flags string) (cmd *exec.Cmd, log *os.File, fill func()) {
	log, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		write.Close()
	})
	cmd = exec.Command(os.Args[0], "-test.run=^TestLogReaderStalls$")
	cmd.Env = append(os.Environ(), stalled+"="+flags)
	cmd.Stderr = write
	return cmd, log, func() {
		fd := int(write.Fd())
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		for filler := make([]byte, 1); err == nil; {
			_, err = syscall.Write(fd, filler)
		}
		if err := syscall.SetNonblock(fd, false); err != nil {
			t.Fatal(err)
		}
	}
}
