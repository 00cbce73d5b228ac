package schedule_test

import (
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// Times are in units for people, however long they are.
func TestReasonFormatsTimes(t *testing.T) {
	got := schedule.Reason{Score: 0.5, Price: 1060}.String()
	const want = "unlikely to have finished; similar jobs take 0s; " +
		"a poll now would save 0.5 s of expected delay, the current minimum is 17m40s"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
