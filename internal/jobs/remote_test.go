package jobs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// What a replica that is not the owner answers is right, whether the owner has applied what was sent before or not.
func TestRemoteAnswers(t *testing.T) {
	for _, applied := range []bool{false, true} {
		m := newMemory(t)
		j := open(t, m, options())
		remote := jobs.NewRemote("account", m, options())
		register(t, j, start, "tracked", "ended", "removed")
		observe(t, j, polled("ended", jobs.Completed, start))
		remove(t, j, start, "removed")
		sweep(t, j, at(2*time.Hour)) // "ended" departs
		answers := func(from submission.Source, ids ...string) func() string {
			return func() string {
				registered, known, err := remote.Register(from, submissions(ids...), false, start)
				return fmt.Sprint(registered, known, err)
			}
		}
		removes := func(id string) func() string {
			return func() string { was, err := remote.Remove(id); return fmt.Sprint(was, err) }
		}
		hooks := func(id string, adopt bool) func() string {
			return func() string {
				o := hooked(id, jobs.Completed, start)
				o.Adopt = adopt
				effect, err := remote.Observe(o)
				return fmt.Sprint(effect.Webhook(), err)
			}
		}
		for i, step := range []struct {
			do   func() string
			want string
		}{
			{answers(submission.HTTP), "0 0 <nil>"},
			{answers(submission.HTTP, "new", "tracked", "new", "ended"), "1 3 <nil>"},
			{answers(submission.HTTP, "new"), "0 1 <nil>"},
			{answers(submission.File, "removed"), "0 1 <nil>"},
			{removes("new"), "true <nil>"}, {removes("new"), "false <nil>"}, {removes("nobody"), "false <nil>"},
			{removes("ended"), "false <nil>"},
			{answers(submission.HTTP, "new"), "1 0 <nil>"}, {removes("new"), "true <nil>"},
			{answers(submission.File, "new"), "0 1 <nil>"},
			{hooks("tracked", false), "accepted <nil>"}, {hooks("ended", true), "duplicate <nil>"},
			{hooks("other", false), "unknown_job <nil>"}, {hooks("other", true), "adopted <nil>"},
		} {
			if got := step.do(); got != step.want {
				t.Errorf("step %d, applied %v: %s, want %s", i, applied, got, step.want)
			}
			if applied {
				receive(t, j)
			}
		}
		receive(t, j)
		if a, b, c := state(t, j, "tracked"), state(t, j, "new"), state(t, j, "other"); a+b+c != "completedunknowncompleted" {
			t.Errorf("applied %v: the jobs are %s, %s and %s", applied, a, b, c)
		}
		if at := j.Snapshot(start).WebhookReceived; !at.Equal(start) { // whoever received it
			t.Errorf("applied %v: the last webhook came at %s, want %s", applied, at, start)
		}
	}
}

// Callers that come at the same time share a transaction, which is bounded.
func TestRemoteGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		remote := jobs.NewRemote("account", m, options())
		release := make(chan struct{})
		m.onSend = func([]store.Message) (bool, error) { <-release; return true, nil }
		var callers sync.WaitGroup
		call := func(do func() error) {
			callers.Go(func() {
				if err := do(); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for i := range 5000 {
			call(func() error {
				_, err := remote.Remove(strconv.Itoa(i))
				return err
			})
		}
		large := []submission.Job{{RequestID: "large", Labels: make(map[string]string)}}
		for i := range submission.MaxLabels {
			large[0].Labels[strconv.Itoa(i)] = strings.Repeat("x", submission.MaxLabelLength)
		}
		for range 300 {
			call(func() error {
				_, _, err := remote.Register(submission.HTTP, large, false, start)
				return err
			})
		}
		close(release)
		callers.Wait()
		next := 0
		for i, messages := range m.sends {
			bytes := 0
			for _, message := range messages {
				if bytes += len(message.Body); message.Kind == "remove" && message.RequestID != strconv.Itoa(next) {
					t.Fatalf("%s is at the place of %d", message.RequestID, next)
				}
				next++
			}
			if len(messages) > 2000 || bytes > 1<<20 {
				t.Errorf("%d messages with %d bytes are sent at once", len(messages), bytes)
			}
			if i == 0 && len(messages) != 1 {
				t.Errorf("%d messages are sent first", len(messages))
			}
		}
		if n := len(m.sends); next != 5300 || n < 6 || n > 8 {
			t.Errorf("%d messages are sent %d times", next, n)
		}
	})
}

// A forgetful sender keeps nothing.
type forgetful struct{ body weak.Pointer[byte] }

func (f *forgetful) Send(_ string, messages []store.Message) ([]store.Whereabouts, error) {
	f.body = weak.Make(&messages[0].Body[0])
	return make([]store.Whereabouts, len(messages)), nil
}

// What was sent does not stay in memory until the next message comes.
func TestRemoteReleasesMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := new(forgetful)
		remote := jobs.NewRemote("account", sender, options())
		if _, err := remote.Observe(hooked("a", jobs.Completed, start)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the goroutine that sent it has ended
		runtime.GC()
		if sender.body.Value() != nil {
			t.Error("the message is still in memory")
		}
		runtime.KeepAlive(remote)
	})
}

// A large registration takes several transactions, so that others need not wait until its end.
func TestRemoteLargeRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		remote := jobs.NewRemote("account", m, options())
		other := 0 // number of the transaction of the other caller
		m.onSend = func(messages []store.Message) (bool, error) {
			if len(m.sends) == 0 {
				go func() {
					if _, err := remote.Remove("other"); err != nil {
						t.Error(err)
					}
				}()
				synctest.Wait() // until it waits
			}
			if messages[0].RequestID == "other" {
				other = len(m.sends)
			}
			return true, nil
		}
		const many = 10_000
		given := make([]submission.Job, many+1)
		for i := range given {
			given[i].RequestID = strconv.Itoa(i % many)
		}
		registered, known, err := remote.Register(submission.File, given, true, time.Now())
		if registered != many || known != 1 || err != nil {
			t.Errorf("%d registered, %d known, %v", registered, known, err)
		}
		for _, messages := range m.sends {
			if len(messages) > 2000 {
				t.Errorf("%d messages are sent at once", len(messages))
			}
		}
		if other == 0 || other > 2 || len(m.inbox) != many+1 {
			t.Errorf("the other caller is in transaction %d; %d messages", other+1, len(m.inbox))
		}
	})
}

// Of a job that is named many times, only the first registration is sent.
func TestRemoteRepeats(t *testing.T) {
	m := newMemory(t)
	remote := jobs.NewRemote("account", m, options())
	given := slices.Repeat(submissions("a", "b"), 5000)
	given[0].API, given[2].API = "first", "second"
	registered, known, err := remote.Register(submission.HTTP, given, false, start)
	if registered != 2 || known != 9998 || err != nil {
		t.Errorf("%d registered, %d known, %v", registered, known, err)
	}
	if len(m.inbox) != 2 || !strings.Contains(string(m.inbox[0].Body), "first") {
		t.Errorf("%d messages are sent, the first is %s", len(m.inbox), m.inbox[0].Body)
	}
}

// What fails was not done, is counted, and can be repeated.
func TestRemoteFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := openAt(t, m, options(), time.Now())
		remote := jobs.NewRemote("account", m, options())
		var full atomic.Bool
		full.Store(true)
		failures := 0.
		m.onSend = func([]store.Message) (bool, error) {
			if full.Load() {
				failures++
				return false, errFull
			}
			return true, nil
		}
		for name, do := range map[string]func() error{
			"register": func() error {
				_, _, err := remote.Register(submission.HTTP, submissions("a"), false, start)
				return err
			},
			"remove":    func() error { _, err := remote.Remove("a"); return err },
			"webhook":   func() error { _, err := remote.Observe(hooked("a", jobs.Completed, start)); return err },
			"delivered": func() error { return remote.Delivered([]uint64{1}) },
		} {
			if err := do(); !errors.Is(err, errFull) || !errors.Is(remote.Writable(), errFull) {
				t.Errorf("%s: %v, %v", name, err, remote.Writable())
			}
		}
		time.Sleep(time.Minute) // it tries each second to send the counts, and counts that this failed
		full.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		receive(t, j)
		totals := j.Snapshot(time.Now()).Totals
		want := map[string]float64{"store_errors_total": failures, "webhook_requests_total": 1}
		if failures < 60 || failures > 65 {
			t.Errorf("it tried %v times", failures)
		}
		if diff := cmp.Diff(want, counters(totals)); diff != "" || totals.Counter(jobs.WebhookRequests, "store_error") != 1 {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
		if err := remote.Writable(); err != nil {
			t.Errorf("when it can be written again: %v", err)
		}
	})
}

// A store that does not answer counts as unwritable.
func TestRemoteHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		remote := jobs.NewRemote("account", m, options())
		release := make(chan struct{})
		m.onSend = func([]store.Message) (bool, error) { <-release; return true, nil }
		remote.CountWebhook(jobs.WebhookMalformed)
		time.Sleep(25 * time.Second)
		soon := remote.Writable()
		time.Sleep(25 * time.Second)
		late := remote.Writable()
		close(release)
		synctest.Wait()
		if soon != nil || late == nil || remote.Writable() != nil {
			t.Errorf("writable: %v, %v, %v", soon, late, remote.Writable())
		}
	})
}

// Counts are sent at most once a second, and none is lost while nothing can be stored.
func TestRemoteCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := openAt(t, m, options(), time.Now())
		remote := jobs.NewRemote("account", m, options())
		begin := time.Now()
		const seconds = 20
		var failures atomic.Int64
		m.onSend = func([]store.Message) (bool, error) {
			if second := time.Since(begin) / time.Second; second >= 5 && second < 15 {
				failures.Add(1)
				return false, errFull
			}
			return true, nil
		}
		for range 10 * seconds {
			remote.CountWebhook(jobs.WebhookMalformed)
			remote.CountWebhook(jobs.WebhookTooLarge)
			remote.CountSourceErrors(submission.File, 3)
			remote.CountStoreErrors(1)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		sends := len(m.sends)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(m.sends) != sends || sends > seconds+1 || sends < 5 {
			t.Errorf("counts are sent %d times in %d seconds, and then %d times", sends, seconds, len(m.sends)-sends)
		}
		remote.CountSourceErrors(submission.URL, 1)
		if err := remote.Close(); err != nil {
			t.Error(err)
		}
		receive(t, j)
		totals := j.Snapshot(time.Now()).Totals
		for name, pair := range map[string][2]float64{
			"malformed": {totals.Counter(jobs.WebhookRequests, "malformed"), 10 * seconds},
			"too large": {totals.Counter(jobs.WebhookRequests, "too_large"), 10 * seconds},
			"files":     {totals.Counter(jobs.SourceErrors, "file"), 30 * seconds},
			"URLs":      {totals.Counter(jobs.SourceErrors, "url"), 1},
			"store":     {totals.Counter(jobs.StoreErrors), float64(10*seconds + failures.Load())},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %v are counted, want %v", name, pair[0], pair[1])
			}
		}
		if failures.Load() < 5 {
			t.Errorf("%d failures: this test is about more", failures.Load())
		}
	})
}

// Close waits for what is being sent. Nothing is sent after it.
func TestRemoteClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		remote := jobs.NewRemote("account", m, options())
		release := make(chan struct{})
		m.onSend = func([]store.Message) (bool, error) { <-release; return true, nil }
		for _, id := range []string{"a", "b"} {
			go func() {
				if _, err := remote.Remove(id); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		remote.CountWebhook(jobs.WebhookMalformed)
		var closed atomic.Bool
		go func() {
			if err := remote.Close(); err != nil {
				t.Error(err)
			}
			closed.Store(true)
		}()
		synctest.Wait()
		if closed.Load() {
			t.Error("closed while messages are being sent")
		}
		close(release)
		synctest.Wait()
		if !closed.Load() || len(m.inbox) != 3 {
			t.Errorf("closed: %v, with %d messages sent", closed.Load(), len(m.inbox))
		}
		if _, err := remote.Remove("c"); !errors.Is(err, jobs.ErrClosed) {
			t.Errorf("removed after the end: %v", err)
		}
		remote.CountWebhook(jobs.WebhookMalformed)
		time.Sleep(time.Minute)
		if err := remote.Close(); err != nil || len(m.inbox) != 3 {
			t.Errorf("closed again: %v, %d messages", err, len(m.inbox))
		}
	})
}

// Several replicas write about the same jobs at the same time, the owner changes, and what they store fails: each
// registration, webhook and removal that was acknowledged is in the state of the last owner, and each end counts once.
func TestReplicas(t *testing.T) {
	for seed := range uint64(longtest.Size(3, 200)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { replicas(t, seed) })
		})
	}
}

func replicas(t *testing.T, seed uint64) {
	m, start := newMemory(t), time.Now()
	var mu sync.Mutex // guards random
	random := rand.New(rand.NewPCG(seed, 8))
	n := func(below int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(below)
	}
	var calm atomic.Bool // nothing fails any more
	fails := func() (stored bool, err error) {
		if calm.Load() {
			return true, nil
		}
		switch n(12) {
		case 0:
			return false, errFull
		case 1:
			return n(2) == 0, errUnknown
		}
		return true, nil
	}
	m.part = 1 + n(20)
	m.onCommit = func(*store.Batch) (bool, error) { return fails() }
	m.onSend = func([]store.Message) (bool, error) { return fails() }
	o := options(maxJobSeries(10_000), func(o *jobs.Options) { o.Retention = 1000 * time.Hour })
	var remotes []*jobs.Remote
	for range 3 {
		remotes = append(remotes, jobs.NewRemote("account", m, o))
	}
	var owner atomic.Pointer[jobs.Jobs]
	owner.Store(openAt(t, m.takeOver(), o, start))

	// any calls a replica until it acknowledges.
	any := func(call func(writer) error) {
		for tries := 0; ; tries++ {
			var w writer = owner.Load()
			if i := n(4); i < len(remotes) {
				w = remotes[i]
			}
			err := call(w)
			switch {
			case err == nil:
				return
			case tries > 1000 || !errors.Is(err, errFull) && !errors.Is(err, errUnknown) && !errors.Is(err, store.ErrNotOwner):
				t.Errorf("after %d tries: %v", tries, err)
				return
			}
		}
	}
	track := func(id string) {
		from := submission.Sources[n(4)]
		any(func(w writer) error { _, _, err := w.Register(from, submissions(id), false, start); return err })
	}
	end := func(id string, adopt bool) {
		o := hooked(id, []jobs.State{jobs.Completed, jobs.Failed}[n(2)], start)
		o.Result, o.Adopt = words(3), adopt
		any(func(w writer) error { _, err := w.Observe(o); return err })
	}
	dismiss := func(id string) (was bool) {
		first := true
		any(func(w writer) (err error) {
			was, err = w.Remove(id)
			was = was || !first // an earlier try may have done it
			first = false
			return err
		})
		return was
	}
	const workers, each = 5, 15
	var work, other sync.WaitGroup
	done := make(chan struct{})
	for worker := range workers {
		work.Go(func() {
			for i := range each {
				own := func(what string) string { return fmt.Sprint(what, " ", worker, " ", i) }
				shared := func(what string) string { return fmt.Sprint(what, " ", i) }
				track(own("tracked"))
				track(shared("all tracked"))
				track(own("ended"))
				end(own("ended"), false)
				end(shared("all adopted"), true)
				end(own("ended"), true)
				track(shared("all adopted"))
				track(own("removed"))
				if !dismiss(own("removed")) {
					t.Errorf("%s was not tracked", own("removed"))
				}
				end(own("removed"), true)
			}
		})
	}
	other.Go(func() { // takeovers
		for {
			select {
			case <-done:
				return
			default:
			}
			if j, err := jobs.Open(t.Context(), m.takeOver(), o, start); err != nil {
				t.Error(err)
			} else {
				owner.Store(j)
			}
			for range n(20) {
				_ = owner.Load().Receive()
			}
		}
	})
	work.Wait()
	close(done)
	other.Wait()
	calm.Store(true)
	time.Sleep(2 * time.Second) // counts are sent
	j := openAt(t, m.takeOver(), o, time.Now())
	before := view(t, m, o, time.Now())
	receive(t, j)
	if diff := cmp.Diff(rounded(shown(t, before)), rounded(shown(t, j))); diff != "" {
		t.Errorf("the last view and the owner differ:\n%s", diff)
	}
	for i := range each {
		for worker := range workers {
			for what, want := range map[string]string{"tracked": "pending", "removed": "unknown"} {
				if got := state(t, j, fmt.Sprint(what, " ", worker, " ", i)); got != want {
					t.Errorf("%s %d %d is %s", what, worker, i, got)
				}
			}
			if got := state(t, j, fmt.Sprint("ended ", worker, " ", i)); got != "completed" && got != "failed" {
				t.Errorf("ended %d %d is %s", worker, i, got)
			}
		}
		if got := state(t, j, fmt.Sprint("all tracked ", i)); got != "pending" {
			t.Errorf("all tracked %d is %s", i, got)
		}
		if got := state(t, j, fmt.Sprint("all adopted ", i)); got != "completed" && got != "failed" {
			t.Errorf("all adopted %d is %s", i, got)
		}
	}
	s := j.Snapshot(start)
	for name, pair := range map[string][2]float64{
		"finished":   {s.Totals.Sum(jobs.JobsFinished), each * (workers + 1)},
		"registered": {s.Totals.Sum(jobs.JobsRegistered), each * (3*workers + 2)},
		"words":      {s.Totals.Sum(jobs.Words), 3 * each * (workers + 1)},
		"corrupt":    {s.Totals.Sum(jobs.CorruptRecords), 0},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, want %v", name, pair[0], pair[1])
		}
	}
	for _, r := range remotes {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
