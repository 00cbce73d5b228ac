//go:build !unix

package main

import (
	"os"
	"syscall"
)

// otherSignals are the signals that inputs.execd can send in place of using STDIN.
var otherSignals = []os.Signal{syscall.SIGHUP}
