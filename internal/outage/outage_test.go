package outage_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outage"
)

func TestReports(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		change, retry time.Duration // when the cause changes, and when something is done about it; 0: never
		want          []time.Duration
	}{
		"the same": {want: []time.Duration{
			0, 10 * time.Minute, time.Hour, 6 * time.Hour, 12 * time.Hour, 18 * time.Hour, 24 * time.Hour,
		}},
		"another cause, in turn": {change: 2 * time.Hour, want: []time.Duration{
			0, 10 * time.Minute, time.Hour, 2 * time.Hour, 8 * time.Hour, 14 * time.Hour, 20 * time.Hour,
		}},
		"a retry": {retry: 5 * time.Minute, want: []time.Duration{
			0, 5 * time.Minute, 30 * time.Minute, 3 * time.Hour, 9 * time.Hour, 15 * time.Hour, 21 * time.Hour,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var o outage.Outage
			if _, lasts := o.Lasts(begin); lasts {
				t.Error("it lasts before it begins")
			}
			var got []time.Duration
			for d := time.Duration(0); d <= 24*time.Hour; d += time.Minute {
				if tt.retry > 0 && d == tt.retry {
					o.Retried()
				}
				cause := "first"
				if tt.change > 0 && d >= tt.change && d/time.Minute%2 == 0 { // they alternate
					cause = "second"
				}
				if o.Report(begin.Add(d), cause) {
					got = append(got, d)
				}
				if lasted, lasts := o.Lasts(begin.Add(d)); !lasts || lasted != d {
					t.Fatalf("it lasts %s after %s", lasted, d)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("reported after %s, want %s", got, tt.want)
			}
		})
	}
}

func TestCause(t *testing.T) {
	address := &net.TCPAddr{Port: 4711}
	for want, err := range map[string]error{
		"connection refused": fmt.Errorf("polling: %w", &net.OpError{Op: "dial", Addr: address, Err: syscall.ECONNREFUSED}),
		"alone":              errors.New("alone"),
		"both\nof them":      errors.Join(errors.New("both"), errors.New("of them")),
	} {
		if got := outage.Cause(err); got != want {
			t.Errorf("the cause of %v is %s", err, got)
		}
	}
}
