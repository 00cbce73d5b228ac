//go:build !race

package main

import (
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
)

// Each variant holds, or breaks the invariant for which the part that it lacks is there.
func TestVariants(t *testing.T) {
	for _, v := range variants() {
		if v.long && longtest.Size(0, 1) == 0 {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			if r := v.explore(); !v.right(r) {
				t.Errorf("violation %q, want %q\n%s", r.violation, v.breaks, strings.Join(r.trace, "\n"))
			}
		})
	}
}
