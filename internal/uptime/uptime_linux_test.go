package uptime_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/uptime"
)

// The system tells the uptime to other programs, too: with the time that it was suspended, so that ours is not above
// it.
func TestNow(t *testing.T) {
	now := uptime.Now()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	if now <= 0 || now.Seconds() > system+0.01 { // the system's has two decimals
		t.Errorf("up for %s, and the system says %v s", now, system)
	}
}
