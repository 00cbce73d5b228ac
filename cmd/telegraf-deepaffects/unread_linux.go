package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// unread reports whether a pipe has bytes that nobody has read.
func unread(pipe *os.File) bool {
	n, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ)
	return err == nil && n > 0
}
