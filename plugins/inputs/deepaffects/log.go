package deepaffects

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/influxdata/telegraf"
)

// A logHandler writes the collector's log records to Telegraf's log.
type logHandler struct {
	log   telegraf.Logger
	attrs string // formatted attributes of all records
}

func newLogHandler(log telegraf.Logger) slog.Handler { return &logHandler{log: log} }

// at returns Telegraf's level and function for a level.
func (h *logHandler) at(level slog.Level) (telegraf.LogLevel, func(...any)) {
	switch {
	case level >= slog.LevelError:
		return telegraf.Error, h.log.Error
	case level >= slog.LevelWarn:
		return telegraf.Warn, h.log.Warn
	case level >= slog.LevelInfo:
		return telegraf.Info, h.log.Info
	}
	return telegraf.Debug, h.log.Debug
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	included, _ := h.at(level)
	return h.log.Level().Includes(included)
}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message + h.attrs
	for a := range r.Attrs {
		text += attr(a)
	}
	_, write := h.at(r.Level)
	write(text)
	return nil
}

// attr formats an attribute as slog's text handler does.
func attr(a slog.Attr) string {
	value := oneLine.Replace(a.Value.String())
	if value == "" || !utf8.ValidString(value) || strings.ContainsFunc(value, needsQuotes) {
		value = strconv.Quote(value)
	}
	return " " + a.Key + "=" + value
}

func needsQuotes(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }

var oneLine = strings.NewReplacer("\n", "; ", "\r", "")

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += attr(a)
	}
	return &with
}

// WithGroup has no effect, as the collector uses no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
