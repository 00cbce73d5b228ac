package uptime_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/uptime"
)

func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		earlier := uptime.Now()
		time.Sleep(25 * time.Hour)
		if got := uptime.Since(earlier); got != 25*time.Hour {
			t.Errorf("25 hours later: %s", got)
		}
		now := uptime.Now()
		if got := uptime.Since(now + time.Hour); got != now {
			t.Errorf("after a boot: %s, want %s", got, now)
		}
	})
}
