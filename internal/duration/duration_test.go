package duration_test

import (
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
)

func TestText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Minute: "0 s", 0: "0 s", 300 * time.Millisecond: "<1 s", 59600 * time.Millisecond: "1 min",
		65 * time.Second: "1 min 5 s", time.Hour: "1 h", 51 * time.Hour: "2 d 3 h",
		20*time.Hour + 33*time.Minute + 40*time.Second: "20 h 34 min",
	} {
		if got := duration.Text(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
