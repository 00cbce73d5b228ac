package jobs_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// reopened is a register in a directory, which can be closed and opened again.
type reopened struct {
	*jobs.Register
	db *sqlite.DB
}

func open(t *testing.T, dir string, now time.Time) *reopened {
	t.Helper()
	db, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	options := jobs.Options{Retention: time.Hour, MaxJobAge: 24 * time.Hour, MaxJobSeries: 20, JobLabels: []string{"team"}}
	r, err := jobs.Open(context.Background(), options, db.Account("a"), now)
	if err != nil {
		t.Fatal(err)
	}
	return &reopened{r, db}
}

// result is a result with words, and without some of what it could say.
func result(r *rand.Rand) *transcript.Result {
	gaps := histogram.New(transcript.WordGapBounds)
	for range 1 + r.IntN(50) {
		gaps.Observe(r.ExpFloat64())
	}
	return &transcript.Result{
		Statistics: transcript.Statistics{
			Confidence: r.Float64(), Speakers: -1, Words: 5, SpeechSeconds: math.NaN(), DurationSeconds: 3, SpeechRate: math.NaN(),
			DominantSpeakerRatio: math.NaN(), Overlaps: 1, WordGap: transcript.Distribution{Count: 4, Sum: 1.5, Max: 1},
			BySpeaker: []transcript.Speaker{{TalkSeconds: 1, ConfidenceMean: math.NaN()}}, Anomalies: [4]int{0, 1, 0, 2},
		},
		WordGaps: gaps,
	}
}

// same compares two snapshots in all that they show.
func same(t *testing.T, when string, before, after jobs.Snapshot) {
	t.Helper()
	options := cmp.Options{
		cmp.AllowUnexported(histogram.Histogram{}), cmpopts.EquateNaNs(), cmpopts.EquateEmpty(),
		cmpopts.IgnoreUnexported(jobs.Job{}), cmpopts.IgnoreFields(jobs.Snapshot{}, "StoreSize"),
		// A clock's monotonic reading is not stored, nor are exemplars without a job.
		cmp.Comparer(func(x, y time.Time) bool { return x.Round(0).Equal(y.Round(0)) }),
		cmp.Comparer(func(x, y histogram.Exemplar) bool {
			return x.RequestID == y.RequestID && (x.RequestID == "" || x.Value == y.Value && x.At.Equal(y.At))
		}),
		// That a running job still runs is not worth a write.
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".LastObserved" }, cmp.Ignore()),
	}
	if diff := cmp.Diff(before, after, options); diff != "" {
		t.Fatalf("%s (-before +after):\n%s", when, diff)
	}
}

// Whatever happened, a register that is opened again shows what it showed.
func TestReopen(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	now := start
	r := open(t, dir, now)
	for round := range 30 {
		for range 40 {
			now = now.Add(time.Duration(random.IntN(120)) * time.Second)
			id := fmt.Sprint(random.IntN(60))
			var err error
			switch random.IntN(8) {
			case 0, 1, 2:
				_, err = r.Track(ctx, submission.Sources[random.IntN(5)], []submission.Job{{
					RequestID: id, API: "asr", Labels: map[string]string{"team": "x", "other": "y"}, AudioSeconds: 3, SubmittedAt: now.Add(-time.Minute),
				}}, now)
			case 3:
				_, err = r.Untrack(ctx, id, now)
			case 4:
				err = r.Sweep(ctx, now)
			case 5:
				err = r.Request(ctx, now, 1+random.IntN(3))
			case 6:
				r.Count(func(t *jobs.Counts) {
					t.APIRequests[random.IntN(11)]++
					t.APIDuration.Observe(random.Float64())
				})
			default:
				o := jobs.Observation{RequestID: id, At: now, State: jobs.State(1 + random.IntN(4))}
				switch o.State {
				case jobs.Failed:
					o.ErrorCode = "code"
				case jobs.Completed:
					o.Result = result(random)
				}
				_, err = r.Observe(ctx, o)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		// What was counted beside a change is shown before it is stored, or not yet.
		r.Count(func(c *jobs.Counts) { c.APIUnknownStates++ })
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
		before := r.Snapshot(now)
		if err := r.db.Close(); err != nil {
			t.Fatal(err)
		}
		r = open(t, dir, now)
		same(t, fmt.Sprintf("round %d", round), before, r.Snapshot(now))
	}
	s := r.Snapshot(now)
	if s.Totals.Finished[0] < 5 || s.Totals.WordGap.Count() == 0 || s.Totals.Evicted[jobs.ByRetention] == 0 || len(r.Requests()) == 0 || s.StoreSize == 0 {
		t.Errorf("not the mix that this test is about: %+v", s.Totals)
	}
}

// Two accounts in one directory have nothing in common.
func TestAccountsAreApart(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	r := open(t, dir, start)
	track(t, r.Register, start, "mine")
	other, err := jobs.Open(ctx, jobs.Options{MaxJobSeries: 10, Retention: time.Hour, MaxJobAge: time.Hour}, r.db.Account("b"), start)
	if err != nil {
		t.Fatal(err)
	}
	if s := other.Snapshot(start); len(s.Jobs) != 0 || s.Totals.Registered[submission.File] != 0 {
		t.Errorf("the other account has %+v", s)
	}
}

// fullDisk is a store that can be full.
type fullDisk struct {
	jobs.Store
	mu   sync.Mutex
	full bool
}

func (f *fullDisk) set(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}

func (f *fullDisk) Commit(ctx context.Context, b *sqlite.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return syscall.ENOSPC
	}
	return f.Store.Commit(ctx, b)
}

// While nothing can be stored nothing changes, and all is told so; afterwards all
// goes on, and a restart knows the same.
func TestFullDisk(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	disk := &fullDisk{Store: db.Account("a")}
	options := jobs.Options{Retention: time.Hour, MaxJobAge: 24 * time.Hour, MaxJobSeries: 20}
	r, err := jobs.Open(ctx, options, disk, start)
	if err != nil {
		t.Fatal(err)
	}
	track(t, r, start, "running", "ended")
	observe(t, r, jobs.Observation{RequestID: "ended", At: start, State: jobs.Completed, Result: words(3)})
	before := r.Snapshot(start)
	disk.set(true)
	for name, do := range map[string]func() error{
		"track": func() error {
			_, err := r.Track(ctx, submission.HTTP, []submission.Job{{RequestID: "new"}}, start)
			return err
		},
		"observe": func() error {
			_, err := r.Observe(ctx, jobs.Observation{RequestID: "running", At: start, State: jobs.Failed})
			return err
		},
		"untrack": func() error { _, err := r.Untrack(ctx, "running", start); return err },
		"request": func() error { return r.Request(ctx, start, 1) },
		"webhook": func() error {
			_, err := r.Observe(ctx, jobs.Observation{RequestID: "running", At: start, State: jobs.Failed, Webhook: true})
			return err
		},
		"count": func() error {
			r.Count(func(c *jobs.Counts) { c.APIUnknownStates++ })
			return r.Flush()
		},
		"sweep": func() error { return r.Sweep(ctx, at(2*time.Hour)) },
	} {
		if err := do(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s on a full disk: %v", name, err)
		}
	}
	during := r.Snapshot(start)
	if during.Totals.StoreErrors != 7 || during.Totals.Webhooks[jobs.WebhookStoreError] != 1 {
		t.Errorf("%d store errors, want 7; webhooks %v", during.Totals.StoreErrors, during.Totals.Webhooks)
	}
	during.Totals.StoreErrors, during.Totals.Webhooks[jobs.WebhookStoreError] = 0, 0
	same(t, "on a full disk", before, during)

	disk.set(false)
	if effect := observe(t, r, jobs.Observation{RequestID: "running", At: start, State: jobs.Failed}); !effect.Changed {
		t.Errorf("with room again: %+v", effect)
	}
	after := r.Snapshot(start)
	if after.Totals.StoreErrors != 7 || after.Totals.Finished != [3]uint64{1, 1, 0} || after.Totals.APIUnknownStates != 1 {
		t.Errorf("with room again: %d store errors, %v finished, %d unknown states", after.Totals.StoreErrors, after.Totals.Finished, after.Totals.APIUnknownStates)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, "opened again", after, open(t, dir, start).Snapshot(start))
}

// Webhooks that cannot be stored are counted, each of them, while others come.
func TestRefusedWebhooksAreCounted(t *testing.T) {
	disk := &fullDisk{Store: open(t, t.TempDir(), start).db.Account("b"), full: true}
	r, err := jobs.Open(context.Background(), jobs.Options{MaxJobSeries: 20}, disk, start)
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Uint64
	var wg sync.WaitGroup
	for i := range 2000 {
		wg.Go(func() {
			disk.set(i%3 > 0)
			o := jobs.Observation{RequestID: fmt.Sprint(i), At: start, State: jobs.Completed, Webhook: true, Adopt: true}
			if _, err := r.Observe(context.Background(), o); err != nil {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if n := r.Snapshot(start).Totals.Webhooks[jobs.WebhookStoreError]; n != refused.Load() || n == 0 {
		t.Errorf("%d of %d webhooks that could not be stored were counted", n, refused.Load())
	}
}

// Operations from many goroutines are committed in groups, each of them once.
func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, start)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprint(i) // the same for all
				if _, err := r.Track(context.Background(), submission.HTTP, []submission.Job{{RequestID: id}}, start); err != nil {
					t.Error(err)
				}
				if _, err := r.Observe(context.Background(), jobs.Observation{RequestID: id, At: start, State: jobs.Completed, Result: words(2)}); err != nil {
					t.Error(err)
				}
				_ = r.Snapshot(start)
			}
		})
	}
	wg.Wait()
	check := func(when string, s jobs.Snapshot) {
		if s.Totals.Registered[submission.HTTP] != 50 || s.Totals.Finished[0] != 50 || s.Totals.Words != 100 || s.Counts[jobs.Completed] != 50 {
			t.Errorf("%s: registered %v, finished %v, %d words, %v", when, s.Totals.Registered, s.Totals.Finished, s.Totals.Words, s.Counts)
		}
	}
	check("after it", r.Snapshot(start))
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	check("opened again", open(t, dir, start).Snapshot(start))
}

// The questions of docs/reliability.md find an answer in the tables.
func TestQuestions(t *testing.T) {
	page, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := open(t, dir, time.Now())
	track(t, r.Register, time.Now(), "running", "failed", "completed")
	observe(t, r.Register, jobs.Observation{RequestID: "failed", At: time.Now(), State: jobs.Failed, ErrorCode: "code"})
	observe(t, r.Register, jobs.Observation{RequestID: "completed", At: time.Now(), State: jobs.Completed, Result: words(2)})
	if err := r.Request(context.Background(), time.Now(), 1); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "register.db")) // beside the one that is open
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	questions := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(questions) < 5 {
		t.Fatalf("%d questions", len(questions))
	}
	for _, q := range questions {
		rows, err := db.Query(q[1])
		if err != nil {
			t.Errorf("%s: %v", q[1], err)
			continue
		}
		if !rows.Next() {
			t.Errorf("%s: no answer, %v", q[1], rows.Err())
		}
		rows.Close()
	}
}

// The log that a killed process leaves, cut or garbled at every frame, holds a
// state that is consistent: the totals are exactly those of the jobs that it knows.
func TestLogDamagedAtEveryFrame(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	r := open(t, dir, start)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 12 { // a scripted run: registrations, requests, ends by poll and by webhook
		id := fmt.Sprint(i)
		track(t, r.Register, start, id, id+"-b")
		if err := r.Request(ctx, start, 1); err != nil {
			t.Fatal(err)
		}
		r.Count(func(c *jobs.Counts) { c.APIRequests[0]++ })
		observe(t, r.Register, jobs.Observation{RequestID: id, At: start, State: jobs.Completed, Result: result(random)})
		observe(t, r.Register, jobs.Observation{RequestID: id + "-c", At: start, State: jobs.Failed, Webhook: true, Adopt: true})
	}
	read := func(part string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, "register.db"+part))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	main, log := read(""), read("-wal") // as they are when the process is killed now
	const header, frame = 32, 24 + 4096
	frames := (len(log) - header) / frame
	copied := t.TempDir()
	states := make(map[int]bool)
	check := func(what string, log []byte) {
		t.Helper()
		for part, content := range map[string][]byte{"": main, "-wal": log} {
			if err := os.WriteFile(filepath.Join(copied, "register.db"+part), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		db, err := sqlite.Open(copied, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer db.Close()
		r, err := jobs.Open(ctx, jobs.Options{MaxJobSeries: 1000}, db.Account("a"), start)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		s := r.Snapshot(start)
		words, tracked := 0, 0
		for _, j := range s.Jobs {
			if j.Statistics != nil {
				words += j.Statistics.Words
			}
			tracked++
		}
		registered := s.Totals.Registered[submission.File] + s.Totals.Registered[submission.Webhook]
		if int(registered) != tracked || int(s.Totals.Finished[0]) != s.Counts[jobs.Completed] || int(s.Totals.Finished[1]) != s.Counts[jobs.Failed] ||
			s.Totals.Webhooks[jobs.WebhookAdopted] != s.Totals.Registered[submission.Webhook] || int(s.Totals.Words) != words || s.Totals.CorruptRecords != 0 {
			t.Errorf("%s: registered %v, finished %v, %d words in all; jobs %v, %d words in them; %d corrupt", what,
				s.Totals.Registered, s.Totals.Finished, s.Totals.Words, s.Counts, words, s.Totals.CorruptRecords)
		}
		states[tracked*1000+s.Counts[jobs.Completed]*100+s.Counts[jobs.Failed]] = true
	}
	for n := range frames {
		at := header + n*frame
		check(fmt.Sprintf("cut at frame %d", n), log[:at])
		check(fmt.Sprintf("cut in frame %d", n), log[:at+1+random.IntN(frame-1)])
		garbled := bytes.Clone(log)
		garbled[at+random.IntN(frame)] ^= byte(1 + random.IntN(255))
		check(fmt.Sprintf("frame %d garbled", n), garbled)
	}
	t.Logf("%d frames, %d states", frames, len(states))
	if frames < 100 || len(states) < 30 {
		t.Errorf("%d frames, %d states: this test is about more", frames, len(states))
	}
}
