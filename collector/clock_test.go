package collector_test

import (
	"testing"
	"time"
	"unsafe"
)

// jumped is a reading of the clock after the wall clock was set by d, whole
// seconds: its wall time differs, its monotonic time does not. The operating
// system makes such readings when the clock is set; no function of package time
// does, so the wall seconds (bits 30 to 62 of the first word, beside the
// monotonic flag) are changed in place.
func jumped(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(int64(d/time.Second) << 30)
	return t
}

func TestJumped(t *testing.T) {
	for _, d := range []time.Duration{48 * time.Hour, -5 * time.Hour, 0} {
		before := time.Now()
		after := jumped(before, d)
		if wall := after.Round(0).Sub(before.Round(0)); wall != d || after.Sub(before) != 0 {
			t.Errorf("jumped by %s: wall %s, monotonic %s", d, wall, after.Sub(before))
		}
	}
}
