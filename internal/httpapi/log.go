package httpapi

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// ErrorLog returns what an [http.Server] is to log to: what clients do wrong at
// level debug, as anybody could fill the log with it, and a panic as the error that
// it is.
func ErrorLog(to *slog.Logger) *log.Logger { return log.New(errorLog{to}, "", 0) }

type errorLog struct{ to *slog.Logger }

func (l errorLog) Write(p []byte) (int, error) {
	message, level := strings.TrimSpace(string(p)), slog.LevelDebug
	if strings.HasPrefix(message, "http: panic serving") || strings.HasPrefix(message, "http2: panic serving") {
		level = slog.LevelError
	}
	l.to.Log(context.Background(), level, message)
	return len(p), nil
}
