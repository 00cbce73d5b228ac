//go:build unix

package sqlite

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// writable returns an error if this process may not write a file, or make files in a directory.
func writable(path string) error {
	mode := uint32(unix.R_OK | unix.W_OK)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		mode |= unix.X_OK
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "writing", Path: path, Err: err}
	}
	return nil
}
