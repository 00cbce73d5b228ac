package collector

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A hangingDisk answers no commit until it is mended.
type hangingDisk struct{ mended chan struct{} }

func (d hangingDisk) Account(string) store.Account               { return d }
func (d hangingDisk) Accounts(context.Context) ([]string, error) { return nil, nil }
func (d hangingDisk) Senders(context.Context) ([]string, error)  { return nil, nil }
func (d hangingDisk) Close() error                               { <-d.mended; return nil }
func (d hangingDisk) Load(context.Context) (c *store.Contents, err error) {
	return new(store.Contents), nil
}
func (d hangingDisk) Commit(*store.Batch) error             { <-d.mended; return nil }
func (d hangingDisk) Sender(string) store.Account           { return d }
func (d hangingDisk) Verify() error                         { return nil }
func (d hangingDisk) Inbox() ([]store.Message, bool, error) { return nil, false, nil }
func (d hangingDisk) Size() int64                           { return 0 }

// unreachable is an API without a network.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no network")
}

// A stop does not wait for ever for a disk that hangs: not for a source that registers jobs, nor for the last commit.
func TestStopWithHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		options := Options{
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, Transport: unreachable{},
		}
		registers, counts := DefaultConfig(), DefaultConfig()
		registers.Account, registers.APIKey, registers.RequestIDs = "registers", "key-a", []string{"x"}
		counts.Account, counts.APIKey = "counts", "key-b"
		settings, err := prepareAll([]Config{registers, counts}, options)
		if err != nil {
			t.Fatal(err)
		}
		disk := hangingDisk{make(chan struct{})}
		c := &Collector{options: options, quotas: newQuotas(), engine: disk}
		c.keys.set(settings)
		if c.accounts, err = c.open(settings); err != nil {
			t.Fatal(err)
		}
		c.Start()
		c.accounts[1].RefuseWebhook(jobs.WebhookMalformed)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		begin := time.Now()
		c.Stop(ctx)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("the stop took %s", took)
		}
		if text := log.String(); strings.Count(text, "Store does not answer") != 1 ||
			!strings.Contains(text, `accounts="[registers counts]"`) {
			t.Errorf("logged %s", text)
		}
		close(disk.mended)
	})
}
