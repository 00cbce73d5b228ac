package time

import (
	"internal/runtime/atomic" // Now is also called where the race detector does not work
	"syscall"
)

// TestSoak adds this file to package time of the program that it builds, and lets Now call ahead: so the wall clock of
// that process can be set, as the system's clock can. The monotonic clock is not changed.

var clockAhead atomic.Int64

// ahead returns by how many seconds the wall clock is ahead.
//
//go:norace
func ahead() int64 { return clockAhead.Load() }

func init() {
	file, ok := syscall.Getenv("TEST_CLOCK_FILE")
	if !ok {
		return
	}
	readAhead(file)
	go func() {
		for {
			Sleep(50 * Millisecond)
			readAhead(file)
		}
	}()
}

// readAhead reads the number in a file, which has a sign.
func readAhead(file string) {
	fd, err := open(file)
	if err != nil {
		return
	}
	defer closefd(fd)
	text := make([]byte, 20)
	n, err := read(fd, text)
	if err != nil || n < 2 {
		return
	}
	var seconds int64
	for _, digit := range text[1:n] {
		seconds = 10*seconds + int64(digit-'0')
	}
	if text[0] == '-' {
		seconds = -seconds
	}
	clockAhead.Store(seconds)
}
