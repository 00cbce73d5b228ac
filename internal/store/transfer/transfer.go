// Package transfer copies what is stored from one storage engine to another.
package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// rows is how many rows of a kind a batch has.
const rows = 2_000

// A Result is what was copied.
type Result struct {
	Accounts, Jobs int
	Lost           int // rows that the source has lost to damage, as far as known
}

// Copy copies all accounts into an engine that has none, loads them from both again, and compares everything. No one
// else may write to either meanwhile. After an error the target may have a part, and must not be used.
func Copy(ctx context.Context, from, to store.Engine) (Result, error) {
	var done Result
	there, err := to.Accounts(ctx)
	if err != nil {
		return done, fmt.Errorf("looking at the target: %w", err)
	}
	if len(there) > 0 {
		return done, fmt.Errorf("the target is not empty: it has account %q; delete it, or copy to another one", there[0])
	}
	accounts, err := from.Accounts(ctx)
	if err != nil {
		return done, fmt.Errorf("looking at the source: %w", err)
	}
	for _, name := range accounts {
		contents, err := load(ctx, from.Account(name))
		if err != nil {
			return done, fmt.Errorf("reading account %q: %w", name, err)
		}
		done.Accounts, done.Jobs, done.Lost = done.Accounts+1, done.Jobs+len(contents.Jobs), done.Lost+contents.Lost
		for b := range batches(contents) {
			if err := cmp.Or(ctx.Err(), to.Account(name).Commit(b)); err != nil {
				return done, fmt.Errorf("copying account %q: %w", name, err)
			}
		}
		if err := compare(ctx, contents, from.Account(name), to.Account(name)); err != nil {
			return done, fmt.Errorf("comparing account %q: %w", name, err)
		}
	}
	now, err := from.Accounts(ctx)
	if err == nil && !slices.Equal(accounts, now) {
		err = errors.New("an account was added or removed meanwhile")
	}
	if err != nil {
		return done, fmt.Errorf("looking at the source again: %w", err)
	}
	return done, nil
}

// load loads an account, if its inbox is empty.
func load(ctx context.Context, a store.Account) (*store.Contents, error) {
	c, err := a.Load(ctx)
	if err != nil {
		return nil, err
	}
	messages, _, err := a.Inbox()
	if err == nil && len(messages) > 0 {
		err = errors.New("its inbox has messages that no owner has applied: start a replica that has the account in its " +
			"configuration, and stop it when it has; or delete them from the table inbox")
	}
	return c, err
}

// compare loads an account from source and target, and compares it with what was copied.
func compare(ctx context.Context, copied *store.Contents, from, to store.Account) error {
	for _, engine := range []struct {
		name    string
		account store.Account
	}{{"source", from}, {"target", to}} {
		c, err := load(ctx, engine.account)
		if err != nil {
			return fmt.Errorf("reading the %s: %w", engine.name, err)
		}
		if field := difference(copied, c); field != "" {
			return fmt.Errorf("%s of the %s differ from what was copied: does another process write to it?",
				field, engine.name)
		}
	}
	return nil
}

// difference returns the name of a field in which contents differ; empty: there is none.
func difference(a, b *store.Contents) string {
	x, y := reflect.ValueOf(inOrder(a)).Elem(), reflect.ValueOf(inOrder(b)).Elem()
	for i := range x.NumField() {
		u, v := x.Field(i), y.Field(i)
		if u.Kind() == reflect.Slice && u.Len() == 0 && v.Len() == 0 {
			continue // nil is empty
		}
		if !reflect.DeepEqual(u.Interface(), v.Interface()) {
			return x.Type().Field(i).Name
		}
	}
	return ""
}

// inOrder returns contents with all that has no order in that of its keys, and without what is of the engine.
func inOrder(contents *store.Contents) *store.Contents {
	c := *contents
	c.Now, c.Lost = time.Time{}, 0
	c.Totals = slices.SortedFunc(slices.Values(c.Totals), func(a, b store.Total) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Labels, b.Labels))
	})
	c.Requests = slices.SortedFunc(slices.Values(c.Requests), func(a, b store.Requests) int {
		return cmp.Compare(a.Second, b.Second)
	})
	c.Timings = slices.SortedFunc(slices.Values(c.Timings), func(a, b store.Timings) int {
		return cmp.Compare(a.RequestID, b.RequestID)
	})
	return &c
}

// batches returns contents in parts.
func batches(contents *store.Contents) iter.Seq[*store.Batch] {
	return func(yield func(*store.Batch) bool) {
		c := *contents
		b := &store.Batch{Learnt: c.Learnt}
		for {
			b.Jobs, b.Departed, b.Totals = take(&c.Jobs), take(&c.Departed), take(&c.Totals)
			b.Requests, b.Timings, b.StateChanges = take(&c.Requests), take(&c.Timings), take(&c.StateChanges)
			if b.Empty() || !yield(b) {
				return
			}
			b = new(store.Batch)
		}
	}
}

// take removes the first rows of a list, and returns them.
func take[T any](list *[]T) []T {
	n := min(rows, len(*list))
	if n == 0 {
		return nil
	}
	taken := (*list)[:n]
	*list = (*list)[n:]
	return taken
}
