//go:build unix

package main

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The exporter lives on when the reader of its log goes away.
func TestLogReaderGoesAway(t *testing.T) {
	const child = "DEEPAFFECTS_EXPORTER_TEST_CHILD"
	if os.Getenv(child) != "" {
		os.Args = []string{program, "--demo", "--web.listen-address=127.0.0.1:0", "--log.level=debug"}
		main()
		return
	}
	for name, ignored := range map[string]bool{"as in a shell": false, "ignored at start, as by systemd": true} {
		t.Run(name, func(t *testing.T) {
			args := []string{"-c", `exec "$0" "$@"`, os.Args[0], "-test.run=^TestLogReaderGoesAway$"}
			if ignored {
				args[1] = `trap "" PIPE; ` + args[1]
			}
			cmd := exec.Command("sh", args...)
			cmd.Env = append(os.Environ(), child+"=1")
			log, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			address, listening := "", regexp.MustCompile(`msg="Listening on" address=(\S+)`)
			for lines := bufio.NewScanner(log); address == "" && lines.Scan(); {
				if match := listening.FindStringSubmatch(lines.Text()); match != nil {
					address = match[1]
				}
			}
			log.Close()
			for range 3 { // a request that is refused is logged
				resp, err := http.Post("http://"+address+"/api/v1/jobs", "", strings.NewReader("x"))
				if err != nil {
					t.Fatalf("the exporter has ended: %v, %v", err, cmd.Wait())
				}
				resp.Body.Close()
			}
			http.DefaultClient.CloseIdleConnections()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
