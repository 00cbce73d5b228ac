//go:build unix

// Package cputime adds the CPU time to benchmarks. On a busy machine it repeats better than the time on the clock.
package cputime

import (
	"syscall"
	"testing"
)

// Report reports the CPU time of the process per iteration, in nanoseconds, from now to the end of the benchmark.
func Report(b *testing.B) {
	b.Helper()
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	b.Cleanup(func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") })
}
