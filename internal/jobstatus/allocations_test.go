//go:build !race

package jobstatus_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// The number of allocations hardly depends on the number of words, also without buffers that can be used again.
func TestAllocations(t *testing.T) {
	for name, doc := range spellings(t, words) {
		r := bytes.NewReader(nil)
		n := testing.AllocsPerRun(5, func() {
			runtime.GC() // a pool is emptied
			runtime.GC() // at the second
			r.Reset(doc)
			if _, err := jobstatus.DecodeStatus(r); err != nil {
				t.Fatal(err)
			}
		})
		if n > 30 {
			t.Errorf("%s: %g allocations for %d words, want at most 30", name, n, words)
		}
	}
}
