//go:build unix

package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// A signal to stop is not lost behind signals to reload, and does not wait for a reload that hangs.
func TestStopDuringReload(t *testing.T) {
	dir := t.TempDir()
	config, regular := filepath.Join(dir, "config.toml"), filepath.Join(dir, "regular.toml")
	const text = "[[inputs.deepaffects]]\napi_key = \"key\"\n"
	if err := os.WriteFile(regular, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(config, 0o600); err != nil {
		t.Fatal(err)
	}
	account := collector.DefaultConfig()
	account.APIKey, account.ServiceAddress = "key", "127.0.0.1:0"
	configs := []collector.Config{account}
	c, err := collector.New(configs, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hangups := onHangup()
	defer signal.Stop(hangups)
	logged := make(lines, 100)
	stopped := make(chan error)
	f := parse(t, "--config.file="+config, "--web.listen-address=127.0.0.1:0")
	go func() { stopped <- serve(f, configs, c, hangups, slog.New(logged)) }()
	for line := range logged {
		if line == "Listening for registration and webhooks" { // the exporter has started
			break
		}
	}

	delivered := make(chan os.Signal, 10)
	signal.Notify(delivered, syscall.SIGHUP, syscall.SIGTERM)
	defer signal.Stop(delivered)
	send := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		<-delivered
	}
	send(syscall.SIGHUP)
	w, err := os.OpenFile(config, os.O_WRONLY, 0) // blocks until the reload opens it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(regular, config); err != nil {
		t.Fatal(err)
	}
	send(syscall.SIGHUP)
	send(syscall.SIGTERM)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil { // the reload ends
		t.Fatal(err)
	}
	for line := range logged {
		if strings.HasPrefix(line, "Reloading the configuration failed") {
			break
		}
	}
}

// lines receives the messages of a log.
type lines chan string

func (l lines) Enabled(context.Context, slog.Level) bool      { return true }
func (l lines) Handle(_ context.Context, r slog.Record) error { l <- r.Message; return nil }
func (l lines) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l lines) WithGroup(string) slog.Handler                 { return l }
