//go:build !windows

package source

import (
	"os"
	"syscall"
)

// open opens a file for reading. Unlike os.Open it does not block if path is a pipe by now.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
