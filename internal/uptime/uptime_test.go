package uptime_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/uptime"
)

// The system tells the uptime to other programs, too: with the time that it was suspended, so that ours is not above it.
func TestNow(t *testing.T) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Skip("no /proc/uptime")
	}
	now := uptime.Now()
	system, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	if now <= 0 || now.Seconds() > system+5 {
		t.Errorf("up for %s, and the system says %v s", now, system)
	}
}

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
