//go:build unix

// Package cputime adds the CPU time to benchmarks. On a busy machine it repeats better than the time on the clock.
package cputime

import (
	"syscall"
	"testing"
	"time"
)

// Used returns the CPU time that the process has used.
func Used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Report reports the CPU time of the process per iteration, in nanoseconds, from now to the end of the benchmark.
func Report(b *testing.B) {
	b.Helper()
	before := Used(b)
	b.Cleanup(func() { b.ReportMetric(float64(Used(b)-before)/float64(b.N), "cpu-ns/op") })
}
