//go:build e2e

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// opened returns an empty database, which is closed at the end of the test.
func opened(t *testing.T) *postgres.DB {
	t.Helper()
	db, _ := openedAt(t)
	return db
}

func openedAt(t *testing.T) (db *postgres.DB, url string) {
	t.Helper()
	url = server.URL(t)
	db = open(t, url)
	t.Cleanup(func() { _ = db.Close() })
	return db, url
}

// one is a batch with a total of a value.
func one(value string) *store.Batch {
	return &store.Batch{Totals: []store.Total{{Name: "n", Labels: "{}", Value: jsontext.Value(value)}}}
}

// total returns what one has stored.
func total(t *testing.T, a store.Account) string {
	t.Helper()
	c, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Totals) == 0 {
		return ""
	}
	return string(c.Totals[0].Value)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dead(t *testing.T, tenure *postgres.Tenure) {
	t.Helper()
	select {
	case <-tenure.Done():
	default:
		t.Error("the tenure is not done")
	}
	if tenure.Valid() {
		t.Error("the tenure is valid")
	}
	_, loaded := tenure.Load(t.Context())
	_, _, inbox := tenure.Inbox()
	for what, err := range map[string]error{
		"commit": tenure.Commit(one("0")), "load": loaded, "inbox": inbox, "verify": tenure.Verify(),
		"release": tenure.Release(t.Context(), ""),
	} {
		if !errors.Is(err, store.ErrNotOwner) {
			t.Errorf("%s: got %v, want %v", what, err, store.ErrNotOwner)
		}
	}
}

func TestTakeOver(t *testing.T) {
	db := opened(t)
	a := takeOver(t, db, "a", time.Minute)
	must(t, a.Commit(one("1")))
	must(t, a.Commit(one("2")))
	seen := look(t, db, "a")
	want := postgres.Lease{
		Account: "a", Owner: self.ID, OwnerURL: self.URL, Number: 1, Token: seen.Token, Commits: 2, Since: seen.Since,
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("the lease (-want +got):\n%s", diff)
	}
	must(t, a.Commit(one("3")))
	other := postgres.Member{ID: "other", URL: "http://other"}
	for _, old := range []postgres.Lease{seen, {Account: "a"}} {
		if _, err := db.TakeOver(t.Context(), old, other, time.Minute); !errors.Is(err, postgres.ErrSeenChanged) {
			t.Errorf("a takeover of a lease that has changed: %v", err)
		}
	}
	if !a.Valid() {
		t.Error("the owner is not valid")
	}

	b, err := db.TakeOver(t.Context(), look(t, db, "a"), other, time.Minute)
	must(t, err)
	if err := a.Commit(one("4")); !errors.Is(err, store.ErrNotOwner) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("a commit of the former owner: %v", err)
	}
	dead(t, a)
	if got := total(t, b); got != "3" {
		t.Errorf("the successor loads %s, want 3", got)
	}
	must(t, b.Commit(one("5")))
	if got := total(t, db.Account("a")); got != "5" {
		t.Errorf("a reader loads %s, want 5", got)
	}
	if err := db.Account("a").Commit(one("6")); !errors.Is(err, store.ErrNotOwner) {
		t.Errorf("a commit of a reader: %v", err)
	}
	if l := look(t, db, "a"); l.Owner != "other" || l.Number != 2 || l.Token == seen.Token || l.Commits != 1 {
		t.Errorf("the lease is %+v", l)
	}
}

func TestRenew(t *testing.T) {
	db := opened(t)
	a, b := takeOver(t, db, "a", time.Minute), takeOver(t, db, "b", time.Minute)
	member := postgres.Member{ID: "self", URL: "http://self", Accounts: []string{"a", "b\x00"}}
	must(t, db.Renew(t.Context(), member, []*postgres.Tenure{a, b}))
	must(t, db.Renew(t.Context(), member, []*postgres.Tenure{a}))
	leases, members, err := db.Look(t.Context())
	must(t, err)
	var renewals []int64
	for _, l := range leases {
		renewals = append(renewals, l.Renewals)
	}
	if diff := cmp.Diff([]int64{2, 1}, renewals); diff != "" {
		t.Errorf("renewals (-want +got):\n%s", diff)
	}
	member.Beats, member.Accounts[1] = 2, "b\uFFFD"
	if diff := cmp.Diff([]postgres.Member{member}, members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if db.Account("a").Size() < 1<<20 {
		t.Errorf("the size is %d", db.Account("a").Size())
	}

	stolen := takeOver(t, db, "a", time.Minute)
	must(t, db.Renew(t.Context(), member, []*postgres.Tenure{a, b}))
	dead(t, a)
	if !b.Valid() || !stolen.Valid() {
		t.Error("a tenure that is not lost is not valid")
	}

	must(t, db.Leave(t.Context(), postgres.Member{ID: "self", Beats: 1})) // not as it was seen
	if _, members, err := db.Look(t.Context()); err != nil || len(members) != 1 {
		t.Errorf("members: %v, %v", members, err)
	}
	must(t, db.Leave(t.Context(), postgres.Member{ID: "self"}))
	if _, members, err := db.Look(t.Context()); err != nil || len(members) != 0 {
		t.Errorf("members: %v, %v", members, err)
	}
}

// To measure the database costs more than a renewal, which holds all leases.
func TestRenewMeasuresSometimes(t *testing.T) {
	db, url := openedAt(t)
	must(t, db.Renew(t.Context(), self, nil))
	before := db.Account("a").Size()
	exec(t, url, "CREATE TABLE large AS SELECT generate_series(1, 100000)")
	must(t, db.Renew(t.Context(), self, nil))
	if after := db.Account("a").Size(); after != before || before == 0 {
		t.Errorf("the size is %d, and then %d", before, after)
	}
}

func TestRelease(t *testing.T) {
	db := opened(t)
	a := takeOver(t, db, "a", time.Minute)
	must(t, a.Release(t.Context(), "other"))
	dead(t, a)
	if l := look(t, db, "a"); !l.Released || l.Successor != "other" {
		t.Errorf("the lease is %+v", l)
	}
	takeOver(t, db, "a", time.Minute)
	if l := look(t, db, "a"); l.Released || l.Successor != "" || l.Number != 2 {
		t.Errorf("the lease is %+v", l)
	}
}

func TestExpired(t *testing.T) {
	db := opened(t)
	a := takeOver(t, db, "a", 0)
	if a.Valid() {
		t.Error("a tenure is valid after its lease")
	}
	must(t, db.Renew(t.Context(), self, []*postgres.Tenure{a}))
	dead(t, a)
	if l := look(t, db, "a"); l.Renewals != 0 {
		t.Errorf("the lease is %+v", l)
	}
}

func message(kind, id string) store.Message {
	return store.Message{Kind: kind, RequestID: id, Body: jsontext.Value(`{"of":"` + id + `"}`)}
}

func TestSend(t *testing.T) {
	db := opened(t)
	a := takeOver(t, db, "a", time.Minute)
	must(t, a.Commit(&store.Batch{
		Jobs: []store.Job{{RequestID: "tracked"}, {RequestID: "leaving"}},
		Departed: []store.DepartedBlock{
			{Number: 3, Departures: []store.Departure{
				store.DepartureOf("again", false), store.DepartureOf("gone", true), store.DepartureOf("gone", false),
			}},
			{Number: 4, Departures: []store.Departure{store.DepartureOf("removed", true), store.DepartureOf("again", true)}},
		},
	}))
	for _, step := range []struct {
		kind, id string
		want     store.Whereabouts
	}{
		{"register", "new", store.Nowhere}, {"register", "new", store.Tracked}, {"remove", "new", store.Tracked},
		{"webhook", "new", store.Removed}, {"register", "new", store.Removed}, {"remove", "new", store.Tracked},
		{"register", "tracked", store.Tracked}, {"remove", "leaving", store.Tracked}, {"remove", "leaving", store.Removed},
		{"register", "gone", store.Departed}, {"register", "gone", store.Departed}, {"remove", "gone", store.Departed},
		{"register", "removed", store.Removed}, {"register", "removed", store.Tracked},
		{"remove", "again", store.Removed}, {"counts", "", store.Nowhere},
		{"remove", "other\x00", store.Nowhere}, {"register", "other\xff", store.Nowhere},
		{"remove", "other\uFFFD", store.Tracked},
	} {
		got, err := db.Send("a", []store.Message{message(step.kind, step.id)})
		if err != nil || len(got) != 1 || got[0] != step.want {
			t.Errorf("%s %q: %v, %v, want %v", step.kind, step.id, got, err, step.want)
		}
	}
	got, err := db.Send("b", []store.Message{
		message("register", "x"), message("register", "tracked"), message("remove", "x"), message("register", "x"),
		message("register", "x"), {Kind: "counts"},
	})
	want := []store.Whereabouts{store.Nowhere, store.Nowhere, store.Tracked, store.Removed, store.Tracked, store.Nowhere}
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	b := takeOver(t, db, "b", time.Minute)
	messages, more, err := b.Inbox()
	must(t, err)
	wantMessages := []store.Message{
		message("register", "x"), message("register", "tracked"), message("remove", "x"), message("register", "x"),
		message("register", "x"), {Kind: "counts"},
	}
	if diff := cmp.Diff(wantMessages, messages, cmpopts.IgnoreFields(store.Message{}, "Number")); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	must(t, b.Commit(&store.Batch{Received: []store.Message{messages[0], messages[2]}}))
	again, moreAgain, err := b.Inbox()
	if err != nil || len(again) != 4 || again[0].Number != messages[1].Number || more || moreAgain {
		t.Errorf("messages: %v, %v; more: %v and %v", again, err, more, moreAgain)
	}
	// A reader loads it with all else, the owner does not.
	if c, err := db.Account("b").Load(t.Context()); err != nil || !cmp.Equal(again, c.Inbox) {
		t.Errorf("a reader loads %v, %v", c, err)
	}
	if c, err := b.Load(t.Context()); err != nil || c.Inbox != nil {
		t.Errorf("the owner loads %v, %v", c, err)
	}
}

// What Send reads does not grow with the messages about a job that wait.
func TestSendBesideMany(t *testing.T) {
	db := opened(t)
	repeats := slices.Repeat([]store.Message{message("webhook", "x")}, 2000)
	send := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := db.Send("a", repeats)
		runtime.ReadMemStats(&after)
		must(t, err)
		if want := slices.Repeat([]store.Whereabouts{store.Nowhere}, len(repeats)); !cmp.Equal(want, got) {
			t.Error("the job is known")
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	first := send()
	send()
	if last := send(); last > 2*first {
		t.Errorf("the first call allocates %d bytes, the last one %d", first, last)
	}
}

// The inbox is read in parts.
func TestInboxIsReadInParts(t *testing.T) {
	db := opened(t)
	body := func(size int) jsontext.Value { return jsontext.Value(`"` + strings.Repeat("x", size) + `"`) }
	large := []store.Message{
		{Kind: "webhook", Body: body(2 << 20)}, {Kind: "webhook", Body: body(700 << 10)},
		{Kind: "webhook", Body: body(700 << 10)}, {Kind: "remove"},
	}
	for range 2001 {
		large = append(large, store.Message{Kind: "remove", RequestID: "x"})
	}
	_, err := db.Send("a", large)
	must(t, err)
	a := takeOver(t, db, "a", time.Minute)
	for i, want := range []int{1, 1, 1000, 1000, 3, 0} {
		messages, more, err := a.Inbox()
		if err != nil || len(messages) != want || more != (i < 4) {
			t.Fatalf("part %d has %d messages, want %d; more: %v, %v", i, len(messages), want, more, err)
		}
		if len(messages) > 0 {
			must(t, a.Commit(&store.Batch{Received: messages}))
		}
	}
}

// After a failover to a server that lacks the latest messages, it gives their numbers to others. An owner that has read
// those that are lost deletes none of the others.
func TestNumberOfAMessageComesTwice(t *testing.T) {
	db, url := openedAt(t)
	send := func(messages ...store.Message) {
		t.Helper()
		_, err := db.Send("a", messages)
		must(t, err)
	}
	send(message("register", "both"), message("register", "lost"),
		store.Message{Kind: "counts", Body: jsontext.Value("1")})
	a := takeOver(t, db, "a", time.Minute)
	read, _, err := a.Inbox()
	must(t, err)
	exec(t, url, fmt.Sprintf("DELETE FROM inbox WHERE number > %d; ALTER TABLE inbox ALTER COLUMN number RESTART WITH %d",
		read[0].Number, read[1].Number))
	send(message("register", "new"), store.Message{Kind: "counts", Body: jsontext.Value("2")})
	must(t, a.Commit(&store.Batch{Received: read}))
	left, _, err := a.Inbox()
	want := []store.Message{
		{Number: read[1].Number, Kind: "register", RequestID: "new"},
		{Number: read[2].Number, Kind: "counts", Body: jsontext.Value("2")},
	}
	want[0].Body = message("register", "new").Body
	if diff := cmp.Diff(want, left); err != nil || diff != "" {
		t.Errorf("%v; messages (-want +got):\n%s", err, diff)
	}
}

// What Send knows of departed jobs is what the blocks say, in their order, whatever it has read before.
func TestSendDeparted(t *testing.T) {
	db := opened(t)
	a := takeOver(t, db, "a", time.Minute)
	blocks := make(map[uint64]store.DepartedBlock)
	random := rand.New(rand.NewPCG(1, 2))
	job := func() string { return fmt.Sprint(random.IntN(20_000)) }
	number, first := uint64(3), uint64(3)
	for round := range 40 {
		batch := new(store.Batch)
		switch {
		case round == 20: // as a failover that loses blocks, and the takeover after it
			for n := first + 5; n <= number; n++ {
				delete(blocks, n)
				batch.Forgotten = append(batch.Forgotten, n)
			}
			number = first + 5
			must(t, a.Commit(batch))
			batch = new(store.Batch)
			a = takeOver(t, db, "a", time.Minute)
		case round == 30: // the oldest are forgotten
			for ; first < number-4; first++ {
				delete(blocks, first)
				batch.Forgotten = append(batch.Forgotten, first)
			}
		}
		for range random.IntN(1200) {
			b := blocks[number]
			b.Number = number
			b.Departures = append(b.Departures, store.DepartureOf(job(), random.IntN(2) == 0))
			blocks[number] = b
			if len(b.Departures) == store.DeparturesPerBlock {
				batch.Departed = append(batch.Departed, b)
				number++
			}
		}
		if b, growing := blocks[number]; growing {
			batch.Departed = append(batch.Departed, b)
		}
		must(t, a.Commit(batch))

		last := make(map[store.Departure]store.Whereabouts)
		for n := first; n <= number; n++ {
			for _, d := range blocks[n].Departures {
				last[d&^1] = store.Departed + store.Whereabouts(d&1)
			}
		}
		var messages []store.Message
		var want []store.Whereabouts
		asked := make(map[string]bool)
		for range 200 {
			if id := job(); !asked[id] {
				asked[id] = true
				messages = append(messages, store.Message{Kind: "webhook", RequestID: id})
				want = append(want, last[store.DepartureOf(id, false)])
			}
		}
		got, err := db.Send("a", messages)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
	}
}

// What Send must know of departed jobs is read in parts, and once: not for messages that are about no job, nor again
// when the account has another owner.
func TestSendReadsDeparturesInParts(t *testing.T) {
	url := server.URL(t)
	proxy := pgtest.NewProxy(t, server)
	db := open(t, proxy.URL(url))
	defer db.Close()
	a := takeOver(t, db, "a", time.Minute)
	const blocks = 600
	job := func(n int) string { return fmt.Sprint("job-", n) }
	stored := new(store.Batch)
	for n := range blocks*store.DeparturesPerBlock - 1 {
		if n%store.DeparturesPerBlock == 0 {
			stored.Departed = append(stored.Departed, store.DepartedBlock{Number: uint64(7 + len(stored.Departed))})
		}
		block := &stored.Departed[len(stored.Departed)-1]
		block.Departures = append(block.Departures, store.DepartureOf(job(n%200_000), n < 200_000))
	}
	must(t, a.Commit(stored))
	var all, most, statement atomic.Int64 // bytes that the server sends: of one statement at most
	proxy.Hold(func(m pgtest.Message) int {
		switch {
		case !m.FromServer:
		case m.Bytes[0] == 'Z': // it is ready for the next one
			statement.Store(0)
		default:
			all.Add(int64(len(m.Bytes)))
			most.Store(max(most.Load(), statement.Add(int64(len(m.Bytes)))))
		}
		return len(m.Bytes)
	})
	const part = 2 << 20
	for _, step := range []struct {
		what     string
		messages []store.Message
		want     []store.Whereabouts
		bytes    int64 // at most
	}{
		{"no job", []store.Message{{Kind: "counts"}}, []store.Whereabouts{store.Nowhere}, 10_000},
		{"the first about jobs", []store.Message{
			message("register", job(0)), message("register", job(150_000)), message("register", job(199_999)),
			message("register", job(200_000)),
		}, []store.Whereabouts{store.Departed, store.Removed, store.Removed, store.Nowhere}, 5 * part},
		{"the next", []store.Message{message("webhook", job(1))}, []store.Whereabouts{store.Departed}, 10_000},
		{"after a takeover", []store.Message{message("webhook", job(2))}, []store.Whereabouts{store.Departed}, 10_000},
	} {
		if step.what == "after a takeover" {
			takeOver(t, db, "a", time.Minute)
		}
		all.Store(0)
		most.Store(0)
		got, err := db.Send("a", step.messages)
		must(t, err)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
		if all.Load() > step.bytes || most.Load() > part {
			t.Errorf("%s: %d bytes were read, of one statement %d", step.what, all.Load(), most.Load())
		}
	}
}

// A connection that is silently cut is noticed.
func TestListenCut(t *testing.T) {
	defer postgres.SetListenPing(100 * time.Millisecond)()
	url := server.URL(t)
	proxy := pgtest.NewProxy(t, server)
	db := open(t, proxy.URL(url))
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan string), make(chan struct{})
	hear := func(account string) { heard <- account }
	go func() {
		defer close(ended)
		db.Listen(ctx, hear, hear)
	}()
	if got := <-heard; got != "" {
		t.Errorf("heard %q at first", got)
	}
	connections := proxy.Connections()
	proxy.Cut()
	proxy.WaitConnections(connections + 1)
	proxy.Mend()
	if got := <-heard; got != "" {
		t.Errorf("heard %q after the cut", got)
	}
	_, err := db.Send("a", []store.Message{message("register", "x")})
	must(t, err)
	if got := <-heard; got != "a" {
		t.Errorf("heard %q", got)
	}
	cancel()
	<-ended
}

// So is one that is cut before it listens.
func TestListenCutAtOnce(t *testing.T) {
	defer postgres.SetListenPing(100 * time.Millisecond)()
	url := server.URL(t)
	proxy := pgtest.NewProxy(t, server)
	db := open(t, proxy.URL(url))
	defer db.Close()
	proxy.Hold(func(m pgtest.Message) int {
		if strings.Contains(string(m.Bytes), "LISTEN") {
			return 0
		}
		return len(m.Bytes)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		db.Listen(ctx, func(string) {}, func(string) {})
	}()
	proxy.WaitStuck()
	proxy.WaitConnections(proxy.Connections() + 1)
	proxy.Mend()
	cancel()
	<-ended
}

func TestListen(t *testing.T) {
	db, url := openedAt(t)
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan string), make(chan struct{})
	go func() {
		defer close(ended)
		db.Listen(ctx, func(account string) { heard <- "lease " + account },
			func(account string) { heard <- "message " + account })
	}()
	if got := <-heard; got != "lease " {
		t.Errorf("heard %q at first", got)
	}
	_, err := db.Send("a", []store.Message{message("register", "x"), message("register", "y")})
	must(t, err)
	_, err = db.Send("b", []store.Message{message("register", "x")})
	must(t, err)
	if first, second := <-heard, <-heard; first != "message a" || second != "message b" {
		t.Errorf("heard %q and %q", first, second)
	}
	// An earlier version says that a message is sent as a change of the lease is said.
	exec(t, url, "SELECT pg_notify('deepaffects_account', 'c')")
	if got := <-heard; got != "lease c" {
		t.Errorf("heard %q", got)
	}
	cancel()
	<-ended
}

// A replica with another lease does not start while others run, and those that do not run any more are in no way.
func TestAgreeOnLease(t *testing.T) {
	db, url := openedAt(t)
	agree := func(lease time.Duration) error {
		starting := open(t, url)
		defer starting.Close()
		return starting.AgreeOnLease(t.Context(), lease)
	}
	must(t, db.AgreeOnLease(t.Context(), time.Second))
	must(t, agree(time.Second))
	must(t, db.Renew(t.Context(), self, nil))
	ctx, stop := context.WithCancel(t.Context())
	var runs sync.WaitGroup
	runs.Go(func() {
		for ctx.Err() == nil {
			_ = db.Renew(t.Context(), self, nil)
		}
	})
	err := agree(2 * time.Second)
	if err == nil || !strings.Contains(err.Error(), "replicas with a lease of 1s use this database, and this one has 2s") {
		t.Errorf("beside a replica that runs: %v", err)
	}
	must(t, agree(time.Second))
	stop()
	runs.Wait()
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := agree(2 * time.Second); err != nil {
				t.Errorf("beside the row of one that was killed: %v", err)
			}
		})
	}
	both.Wait()
	must(t, agree(2*time.Second))
}

// A replica that agreed on the lease before another one was agreed on, such as one whose machine slept, neither renews
// nor takes over anything, and the others do not see it.
func TestAgreedOnLeaseBefore(t *testing.T) {
	before, url := openedAt(t)
	must(t, before.AgreeOnLease(t.Context(), 100*time.Millisecond))
	must(t, before.Renew(t.Context(), self, nil))
	commits, renews := takeOver(t, before, "a", time.Minute), takeOver(t, before, "b", time.Minute)
	after := open(t, url)
	defer after.Close()
	must(t, after.AgreeOnLease(t.Context(), 200*time.Millisecond))
	if err := commits.Commit(one("1")); !errors.Is(err, store.ErrNotOwner) {
		t.Errorf("a commit: %v", err)
	}
	dead(t, commits)
	leases, members, err := after.Look(t.Context())
	must(t, err)
	err = before.Renew(t.Context(), self, []*postgres.Tenure{renews})
	if err == nil || !strings.Contains(err.Error(), "another lease") {
		t.Errorf("a renewal: %v", err)
	}
	dead(t, renews)
	for _, account := range []string{"a", "new"} {
		_, err := before.TakeOver(t.Context(), look(t, before, account), self, time.Minute)
		if !errors.Is(err, postgres.ErrSeenChanged) {
			t.Errorf("a takeover of %s: %v", account, err)
		}
	}
	leasesNow, membersNow, err := after.Look(t.Context())
	must(t, err)
	if diff := cmp.Diff(leases, leasesNow) + cmp.Diff(members, membersNow); diff != "" {
		t.Errorf("it has changed (-before +after):\n%s", diff)
	}
	must(t, takeOver(t, after, "a", time.Minute).Commit(one("1")))
}

// Whoever was killed before its lease was agreed on leaves the wait to the next one.
func TestWithdrawnLease(t *testing.T) {
	db, url := openedAt(t)
	must(t, db.AgreeOnLease(t.Context(), 300*time.Millisecond))
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error)
	killed := open(t, url)
	defer killed.Close()
	go func() { ended <- killed.AgreeOnLease(ctx, time.Second) }()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	for withdrawn := false; !withdrawn; {
		must(t, conn.QueryRow(t.Context(), "SELECT value <> '300ms' FROM meta WHERE name = 'lease'").Scan(&withdrawn))
	}
	kill()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it was killed: %v", err)
	}
	began := time.Now()
	must(t, db.AgreeOnLease(t.Context(), 300*time.Millisecond))
	if waited := time.Since(began); waited < 300*time.Millisecond {
		t.Errorf("the next one waited for %s", waited)
	}
}
