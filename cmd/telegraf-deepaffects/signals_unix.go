//go:build unix

package main

import (
	"os"
	"syscall"
)

// otherSignals are what inputs.execd can ask with beside standard input.
var otherSignals = []os.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}
