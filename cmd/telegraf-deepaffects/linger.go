package main

import (
	"os"
	"time"
)

// lingerAtMost is the time that Telegraf has to read the last lines of the log.
const lingerAtMost = time.Second

// linger waits until a log that is a pipe was read, or until end. inputs.execd closes its end when the
// program has ended, and loses what it has not read.
func linger(log *os.File, end time.Time) {
	stat, err := log.Stat()
	if err != nil || stat.Mode()&os.ModeNamedPipe == 0 {
		return
	}
	for unread(log) && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
}
