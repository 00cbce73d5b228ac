//go:build !unix

package httpapi

// openFiles returns how many files the process may have open at most. There is no limit
// that matters.
func openFiles() uint64 { return 1 << 20 }
