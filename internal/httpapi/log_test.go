package httpapi_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
)

// What clients do wrong is for who looks for it; a mistake of ours is for all.
func TestErrorLog(t *testing.T) {
	for message, level := range map[string]string{
		"http: panic serving 192.0.2.1:1: oh\ngoroutine 1 [running]:": "ERROR",
		"http: TLS handshake error from 192.0.2.1:1: EOF":             "DEBUG",
	} {
		var out bytes.Buffer
		httpapi.ErrorLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).Print(message)
		first, _, _ := strings.Cut(message, "\n")
		if got := out.String(); !strings.Contains(got, "level="+level) || !strings.Contains(got, first) {
			t.Errorf("%q is logged as %q", message, got)
		}
	}
}
