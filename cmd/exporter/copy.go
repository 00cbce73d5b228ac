package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/transfer"
)

// copyLease is how long an account of the database must have been without a sign of life from its owner.
const copyLease = time.Minute

// copyStore copies the store to another engine, and compares the two.
func copyStore(f *flags, storage string, stdout io.Writer, log *slog.Logger) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	source := storage
	if f.configFile != "" {
		accounts, err := loadConfig(f.configFile, configfile.LoadForPlan, log)
		if err != nil {
			return err
		}
		if source, err = storageOf(f, accounts); err != nil {
			return err
		}
		if url := accounts[0].DatabaseURL; url != "" {
			source = url
		}
	}
	if !postgres.IsURL(source) {
		// Opening another directory would make an empty store in it.
		if _, err := os.Stat(filepath.Join(source, sqlite.FileName)); err != nil {
			return fmt.Errorf("--storage.copy-to: no store to copy: %w; set --storage.path to its directory", err)
		}
	}
	from, err := openEngine(ctx, source, log)
	if err != nil {
		return fmt.Errorf("--storage.copy-to: opening the store: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openEngine(ctx, f.copyTo, log)
	if err != nil {
		return fmt.Errorf("--storage.copy-to: opening the copy: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	done, err := transfer.Copy(ctx, from, to)
	if err != nil {
		return fmt.Errorf("--storage.copy-to: %w", err)
	}
	original := "the original"
	if done.Lost > 0 {
		original = "what can be read of the original"
	}
	fmt.Fprintf(stdout, "copied %s with %s; the copy is equal to %s\n",
		english.Plural(done.Accounts, "account", ""), english.Plural(done.Jobs, "job", ""), original)
	if done.Lost > 0 {
		fmt.Fprintf(stdout, "damaged in the original, and not copied: at least %s\n", english.Plural(done.Lost, "row", ""))
	}
	return nil
}

// otherStore matches what is most likely meant as a database, and would be taken for a directory: another URL, or
// keywords and values as libpq has them.
var otherStore = regexp.MustCompile(`^\s*\w+\s*=|://`)

// checkStore returns an error if a text is neither the URL of a database nor a directory. It quotes nothing of the
// text, which may have a password.
func checkStore(text string) error {
	if !postgres.IsURL(text) && otherStore.MatchString(text) {
		return errors.New(`is neither a directory nor a URL that begins with postgres://; ` +
			`write "postgres://user@host/database", or "./" before the name of a directory`)
	}
	return nil
}

// openEngine opens a store by the URL of its database or by its directory.
func openEngine(ctx context.Context, source string, log *slog.Logger) (store.Engine, error) {
	if !postgres.IsURL(source) {
		return sqlite.Open(source, log)
	}
	db, err := postgres.Open(ctx, source, log)
	if err != nil {
		return nil, err
	}
	self := postgres.Member{ID: fmt.Sprintf("copy-%d-%d", os.Getpid(), time.Now().UnixNano())}
	sole, err := db.Sole(ctx, self, copyLease)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return sole, nil
}
