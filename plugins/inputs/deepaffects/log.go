package deepaffects

import (
	"context"
	"log/slog"
	"strings"

	"github.com/influxdata/telegraf"
)

// A logHandler writes what the collector logs to Telegraf's log.
type logHandler struct {
	log   telegraf.Logger
	attrs string // of all records, as they are written
}

func newLogHandler(log telegraf.Logger) slog.Handler { return &logHandler{log: log} }

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	switch {
	case level >= slog.LevelError:
		return h.log.Level().Includes(telegraf.Error)
	case level >= slog.LevelWarn:
		return h.log.Level().Includes(telegraf.Warn)
	case level >= slog.LevelInfo:
		return h.log.Level().Includes(telegraf.Info)
	}
	return h.log.Level().Includes(telegraf.Debug)
}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	text.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		text.WriteString(attr(a))
		return true
	})
	switch {
	case r.Level >= slog.LevelError:
		h.log.Error(text.String())
	case r.Level >= slog.LevelWarn:
		h.log.Warn(text.String())
	case r.Level >= slog.LevelInfo:
		h.log.Info(text.String())
	default:
		h.log.Debug(text.String())
	}
	return nil
}

// attr is an attribute on a line of its record.
func attr(a slog.Attr) string {
	return " " + a.Key + "=" + oneLine.Replace(a.Value.String())
}

var oneLine = strings.NewReplacer("\n", "; ", "\r", "")

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += attr(a)
	}
	return &with
}

// WithGroup is of no effect: the collector has no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
