package logqueue_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/logqueue"
)

func notes(dropped int) string { return fmt.Sprintf("%d dropped\n", dropped) }

// Lines are written in their order.
func TestOrder(t *testing.T) {
	var out bytes.Buffer
	q := logqueue.New(&out, notes)
	var want strings.Builder
	line := make([]byte, 0, 10)
	for i := range 1000 {
		line = fmt.Appendf(line[:0], "%d\n", i) // as loggers do, which use their buffers again
		want.Write(line)
		if n, err := q.Write(line); n != len(line) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	q.Flush(time.Minute)
	if out.String() != want.String() {
		t.Errorf("wrote %q", out.String())
	}
	logqueue.New(&out, notes).Flush(time.Hour) // nothing was written
}

// A reader that stands still holds up nobody. When it reads again, it gets the newest lines, and how many are missing.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		q := logqueue.New(writer, notes)
		fmt.Fprintln(q, "first")
		synctest.Wait() // it is on its way
		const n = 3 * logqueue.Size / 100
		for i := range n {
			fmt.Fprintf(q, "%099d\n", i)
		}
		fmt.Fprintln(q, "fatal")
		began := time.Now()
		q.Flush(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("waited for %s", took)
		}
		read := make(chan string)
		go func() {
			all, _ := io.ReadAll(reader)
			read <- string(all)
		}()
		q.Flush(time.Second)
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(<-read), "\n")
		kept := (logqueue.Size - len("fatal\n")) / 100
		if len(lines) != 1+1+kept+1 {
			t.Fatalf("%d lines, want %d", len(lines), 3+kept)
		}
		if want := strings.TrimSpace(notes(n - kept)); lines[0] != "first" || lines[1] != want ||
			lines[2] != fmt.Sprintf("%099d", n-kept) || lines[len(lines)-1] != "fatal" {
			t.Errorf("%q, %q, %q … %q; want first, %q …", lines[0], lines[1], lines[2], lines[len(lines)-1], want)
		}
		fmt.Fprintln(q, strings.Repeat("x", 2*logqueue.Size)) // a writer that fails ends nothing
		q.Flush(time.Second)
	})
}
