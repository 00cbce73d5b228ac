package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/transfer"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// directory returns an empty database on SQLite.
func directory(t *testing.T) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

const odd = "話 '\"; --"

// fill stores accounts of which one takes several batches, and returns what they have.
func fill(t *testing.T, e store.Engine) map[string]*store.Contents {
	t.Helper()
	large := new(store.Batch)
	for i := range 2_500 {
		large.Jobs = append(large.Jobs, store.Job{RequestID: fmt.Sprint(i), Sequence: uint64(i), FirstSeen: storetest.Start})
		large.Requests = append(large.Requests, store.Requests{Second: int64(i), Count: i + 1})
		large.StateChanges = append(large.StateChanges, store.StateChange{Number: uint64(i), RequestID: fmt.Sprint(i)})
	}
	contents := make(map[string]*store.Contents)
	for name, b := range map[string]*store.Batch{
		"full": storetest.Full(), odd: storetest.Full(), "large": large,
		"one": {Totals: []store.Total{{Name: "created", Labels: "{}", Value: jsontext.Value("1")}}},
	} {
		must(t, e.Account(name).Commit(b))
		c, err := e.Account(name).Load(t.Context())
		must(t, err)
		contents[name] = c
	}
	return contents
}

// check compares what an engine has.
func check(t *testing.T, e store.Engine, want map[string]*store.Contents) {
	t.Helper()
	names, err := e.Accounts(t.Context())
	must(t, err)
	if len(names) != len(want) {
		t.Errorf("there are accounts %q", names)
	}
	for name, c := range want {
		got, err := e.Account(name).Load(t.Context())
		must(t, err)
		got.Now, c.Now = time.Time{}, time.Time{}
		if diff := storetest.Diff(c, got); diff != "" {
			t.Errorf("account %s (-want +got):\n%s", name, diff)
		}
	}
}

var copied = transfer.Result{Accounts: 4, Jobs: 2_504}

func TestCopy(t *testing.T) {
	from, to := directory(t), directory(t)
	want := fill(t, from)
	got, err := transfer.Copy(t.Context(), from, to)
	if err != nil || got != copied {
		t.Errorf("got %+v, %v, want %+v", got, err, copied)
	}
	check(t, to, want)
	check(t, from, want)

	if _, err := transfer.Copy(t.Context(), from, to); err == nil ||
		!strings.Contains(err.Error(), `the target is not empty: it has account "full"; delete it`) {
		t.Errorf("a copy to what is not empty: %v", err)
	}
	check(t, to, want)
}

func TestCopyOfNothing(t *testing.T) {
	if got, err := transfer.Copy(t.Context(), directory(t), directory(t)); err != nil || got != (transfer.Result{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestCanceledCopy(t *testing.T) {
	from, to := directory(t), directory(t)
	fill(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := transfer.Copy(ctx, from, to); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled copy: %v", err)
	}
}

// changing is an engine whose accounts are changed.
type changing struct {
	*sqlite.DB
	load   func(name string, times int, c *store.Contents)
	commit func(*store.Batch)
	loads  map[string]int
}

func (e changing) Account(name string) store.Account {
	return changingAccount{e.DB.Account(name), e, name}
}

type changingAccount struct {
	store.Account
	engine changing
	name   string
}

func (a changingAccount) Load(ctx context.Context) (*store.Contents, error) {
	c, err := a.Account.Load(ctx)
	if a.engine.loads[a.name]++; err == nil && a.engine.load != nil {
		a.engine.load(a.name, a.engine.loads[a.name], c)
	}
	return c, err
}

func (a changingAccount) Commit(b *store.Batch) error {
	if a.engine.commit != nil {
		a.engine.commit(b)
	}
	return a.Account.Commit(b)
}

func TestCopyFindsDifference(t *testing.T) {
	for name, test := range map[string]struct {
		from, to changing
		want     string
	}{
		"source changes": {from: changing{load: func(name string, times int, c *store.Contents) {
			if name == "full" && times == 2 {
				c.Jobs[1].State = "other"
			}
		}}, want: `comparing account "full": Jobs of the source differ`},
		"source grows": {from: changing{load: func(name string, times int, c *store.Contents) {
			if name == odd && times == 2 {
				c.Timings = append(c.Timings, store.Timings{RequestID: "new"})
			}
		}}, want: `Timings of the source differ`},
		"a row is lost": {to: changing{commit: func(b *store.Batch) {
			b.Jobs = slices.DeleteFunc(slices.Clone(b.Jobs), func(j store.Job) bool { return j.RequestID == "2400" })
		}}, want: `comparing account "large": Jobs of the target differ`},
		"a value is lost": {to: changing{commit: func(b *store.Batch) {
			if len(b.Totals) > 1 {
				b.Totals = slices.Clone(b.Totals)
				b.Totals[1].Value = jsontext.Value("0")
			}
		}}, want: `comparing account "full": Totals of the target differ`},
	} {
		t.Run(name, func(t *testing.T) {
			test.from.DB, test.from.loads = directory(t), make(map[string]int)
			test.to.DB, test.to.loads = directory(t), make(map[string]int)
			fill(t, test.from.DB)
			_, err := transfer.Copy(t.Context(), test.from, test.to)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
		})
	}
}
