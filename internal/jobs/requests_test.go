package jobs_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/uptime"
)

func reserve(t testing.TB, j *jobs.Jobs, now time.Time, block int) {
	t.Helper()
	if err := j.Reserve(now, block); err != nil {
		t.Fatal(err)
	}
}

// useKey uses a key whose name is the key and a number.
func useKey(t testing.TB, j *jobs.Jobs, key string, now time.Time) {
	t.Helper()
	is := func(name string) bool { return strings.HasPrefix(name, key+" ") }
	if err := j.UseKey(is, func() string { return fmt.Sprint(key, " ", now.Unix()) }, now); err != nil {
		t.Fatal(err)
	}
}

// ages renders what was sent: name of the key, age to the second, requests.
func ages(sent []jobs.Sent, now time.Time) string {
	var all []string
	for _, s := range sent {
		set := ""
		if s.ClockSet {
			set = " set"
		}
		key, _, _ := strings.Cut(s.Key, " ")
		all = append(all, fmt.Sprint(key, now.Sub(s.Reserved).Round(time.Second), " ", s.Requests, set))
	}
	return strings.Join(all, ", ")
}

// Between two processes only so much time counts as surely passed: not more than since the boot, in which there may
// have been another process, and not more than the wall clock says.
func TestSentAfterARestart(t *testing.T) {
	stored := func(seconds float64) func(*store.Total) {
		return func(row *store.Total) {
			row.Value = jsontext.Value(uptimeSeconds.ReplaceAllString(string(row.Value),
				fmt.Sprintf(`"uptime_seconds":%f`, seconds)))
		}
	}
	up := uptime.Now().Round(time.Second)
	for name, tt := range map[string]struct {
		wall   time.Duration // what the wall clock says since the note
		change func(*store.Total)
		want   time.Duration // since the note
		set    bool          // the wall clock seems to have been set
	}{
		"at once":                                 {0, nil, 0, false},
		"the clock was set forward":               {25 * time.Hour, nil, 0, true},
		"the clock was set back":                  {-25 * time.Hour, nil, 0, true},
		"an hour later":                           {time.Hour, stored((up - time.Hour).Seconds()), time.Hour, false},
		"an hour later, and set forward":          {9 * time.Hour, stored((up - time.Hour).Seconds()), time.Hour, true},
		"an hour later, and set back":             {-9 * time.Hour, stored((up - time.Hour).Seconds()), 0, true},
		"booted since":                            {1e5 * time.Hour, stored(1e9), up, true},
		"booted since, a minute ago by the clock": {time.Minute, stored(1e9), min(up, time.Minute), false},
		"it was not noted": {2 * time.Hour, func(row *store.Total) { row.Name = "other" },
			2 * time.Hour, false},
		"the note is damaged": {2 * time.Hour,
			func(row *store.Total) { row.Value = jsontext.Value(`{"at":5}`) }, 2 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			j := open(t, m, options())
			reserve(t, j, start, 3)
			sweep(t, j, at(20*time.Minute)) // notes the time
			if tt.change != nil {
				key := [2]string{"requests", "{}"}
				row := m.totals[key]
				delete(m.totals, key)
				tt.change(&row)
				m.totals[[2]string{row.Name, row.Labels}] = row
			}
			now := at(20*time.Minute + tt.wall)
			sent := openAt(t, m, options(), now).Sent(now)
			if len(sent) != 1 {
				t.Fatalf("sent %v", sent)
			}
			want := 20*time.Minute + tt.want - time.Second // they were reserved within a second
			got := now.Sub(sent[0].Reserved)
			if got < want-3*time.Second || got > want+3*time.Second || sent[0].ClockSet != tt.set || sent[0].Requests != 3 {
				t.Errorf("%+v, %s ago, want %s, clock set: %v", sent[0], got, want, tt.set)
			}
		})
	}
}

// Where the store has a clock, another machine may have noted the time, and the uptime says nothing: only so much time
// counts as surely passed as both the clock of the store and the wall clock say.
func TestSentByTheClockOfTheStore(t *testing.T) {
	for name, tt := range map[string]struct {
		wall, store time.Duration // since the note
		had, has    bool          // the store had a clock when the note was made, and has one now
		want        time.Duration // since the note
		set         bool          // the wall clock seems to have been set
	}{
		"at once":                        {0, 0, true, true, 0, false},
		"an hour later":                  {time.Hour, time.Hour, true, true, time.Hour, false},
		"the wall clock is ahead":        {9 * time.Hour, time.Hour, true, true, time.Hour, true},
		"the wall clock is behind":       {-9 * time.Hour, time.Hour, true, true, 0, true},
		"the store's clock is ahead":     {time.Hour, 25 * time.Hour, true, true, time.Hour, false},
		"the store's clock is behind":    {time.Hour, -time.Hour, true, true, 0, true},
		"both are ahead":                 {26 * time.Hour, 25 * time.Hour, true, true, 25 * time.Hour, true},
		"copied to a store with a clock": {time.Hour, time.Hour, false, true, 0, true},
		"copied from one":                {time.Hour, time.Hour, true, false, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			shows := func(since time.Duration) func() time.Time {
				return func() time.Time { return start.AddDate(1, 0, 0).Add(since) }
			}
			if tt.had {
				m.now = shows(0)
			}
			j := open(t, m, options())
			reserve(t, j, start, 3)
			sweep(t, j, at(20*time.Minute)) // notes the time
			m.now = nil
			if tt.has {
				m.now = shows(20*time.Minute + tt.store)
			}
			now := at(20*time.Minute + tt.wall)
			sent := openAt(t, m, options(), now).Sent(now)
			if len(sent) != 1 {
				t.Fatalf("sent %v", sent)
			}
			want := 20*time.Minute + tt.want - time.Second // they were reserved within a second
			got := now.Sub(sent[0].Reserved)
			if got < want-5*time.Second || got > want || sent[0].ClockSet != tt.set || sent[0].Requests != 3 {
				t.Errorf("%+v, %s ago, want %s, clock set: %v", sent[0], got, want, tt.set)
			}
		})
	}
}

// After the clock was set, the log goes on under the new time, and the age of what is in it stays, also after more
// restarts.
func TestLogFollowsTheClock(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	useKey(t, j, "a", start)
	reserve(t, j, start, 2)
	for i, jump := range []time.Duration{100 * time.Hour, -50 * time.Hour} {
		now := start.Add(jump)
		j = openAt(t, m, options(), now)
		reserve(t, j, now.Add(time.Minute), 1)
		useKey(t, j, "b", now.Add(2*time.Minute))
		reserve(t, j, now.Add(3*time.Minute), 1)
		useKey(t, j, "a", now.Add(4*time.Minute))
		end := now.Add(5 * time.Minute)
		want := []string{
			"a4m59s 2 set, a3m59s 1 set, b1m59s 1",
			"a8m59s 2 set, a7m59s 1 set, b5m59s 1 set, a3m59s 1 set, b1m59s 1",
		}[i]
		if got := ages(j.Sent(end), end); got != want {
			t.Errorf("after a jump of %s: sent %s, want %s", jump, got, want)
		}
		seconds := slices.Sorted(maps.Keys(j.Requests()))
		if first := now.Add(-time.Duration(i) * 4 * time.Minute).Unix(); seconds[0] < first-2 || seconds[0] > first+1 {
			t.Errorf("after a jump of %s: the seconds are %v, want from %d on", jump, seconds, first)
		}
	}
}

// What is reserved is known to be for the key in use, although the clock was set when there were no requests.
func TestKeyNotedBeforeTheClockWasSet(t *testing.T) {
	for _, jump := range []time.Duration{0, 100 * time.Hour, -100 * time.Hour} {
		m := newMemory(t)
		j := open(t, m, options())
		useKey(t, j, "a", start)
		useKey(t, j, "b", start)
		now := start.Add(jump)
		j = openAt(t, m, options(), now)
		useKey(t, j, "b", now)
		reserve(t, j, now.Add(time.Minute), 2)
		end := now.Add(2 * time.Minute)
		if got := ages(j.Sent(end), end); got != "b59s 2" && got != "b1m0s 2" {
			t.Errorf("after a jump of %s: sent %s", jump, got)
		}
	}
}

// What was reserved while the key changed counts for both keys, and what was reserved before any key was known for none
// by name.
func TestUseKey(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	reserve(t, j, start, 1)
	useKey(t, j, "a", at(time.Minute))
	reserve(t, j, at(2*time.Minute), 2)
	before := m.commits()
	useKey(t, j, "a", at(3*time.Minute))
	if m.commits() != before {
		t.Error("the same key is stored again")
	}
	reserve(t, j, at(10*time.Minute-time.Second), 3)
	useKey(t, j, "b", at(10*time.Minute))
	reserve(t, j, at(12*time.Minute), 4)
	useKey(t, j, "a", at(20*time.Minute))
	reserve(t, j, at(22*time.Minute), 5)
	now := at(30 * time.Minute)
	want := "29m59s 1, a27m59s 2, a20m0s 3, b20m0s 3, b17m59s 4, a7m59s 5"
	if got := ages(j.Sent(now), now); got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	names := make(map[string]bool)
	for _, s := range openAt(t, m, options(), now).Sent(now) {
		names[s.Key] = true
	}
	if len(names) != 3 { // with the unknown one
		t.Errorf("after a restart the names are %v", names)
	}
	// The names are forgotten with their requests, but for the last.
	sweep(t, j, at(100*time.Hour))
	row := m.totals[[2]string{"requests", "{}"}]
	if n := strings.Count(string(row.Value), `"key"`); n != 1 || len(m.requests) != 0 {
		t.Errorf("%d names and %d rows are kept: %s", n, len(m.requests), row.Value)
	}
}

// Requests are kept for as long as the longest window of the quota, which may be a week.
func TestRequestsAreKept(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options(func(o *jobs.Options) { o.RequestsKept = 7 * 24 * time.Hour }))
	reserve(t, j, start, 1)
	for days, want := range map[time.Duration]int{6: 1, 8: 0} {
		now := at(days * 24 * time.Hour)
		if days == 8 {
			sweep(t, j, at(6*24*time.Hour))
		}
		sweep(t, j, now)
		if n := len(j.Sent(now)); n != want && days == 8 {
			t.Errorf("%d requests are kept for %d days", n, days)
		}
	}
}

// A slow disk takes some time for each commit.
type slow struct {
	store.Account
	takes time.Duration
}

func (s slow) Commit(b *store.Batch) error {
	time.Sleep(s.takes)
	return s.Account.Commit(b)
}

// A request is sent when its reservation is stored. If that took so long that a restart would forget it too early, it
// must not be sent.
func TestSlowReservation(t *testing.T) {
	for takes, fails := range map[time.Duration]bool{
		0: false, jobs.ReserveWithin: false, jobs.ReserveWithin + time.Second: true,
	} {
		synctest.Test(t, func(t *testing.T) {
			j, err := jobs.Open(t.Context(), slow{newMemory(t), takes}, options(), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Reserve(time.Now(), 1); (err != nil) != fails || (j.Writable() != nil) != fails {
				t.Errorf("stored within %s: %v, the store: %v", takes, err, j.Writable())
			}
			if sent := j.Sent(time.Now()); len(sent) != 1 || time.Since(sent[0].Reserved) > jobs.ReserveWithin && !fails {
				t.Errorf("stored within %s: sent %v", takes, sent)
			}
		})
	}
}

// Requests that are stored already are taken without a commit, also while another one is busy. Nothing is left of them
// in the next second, for another key, when the store may not have them any more, and after Close.
func TestReservedAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		after func(*testing.T, *jobs.Jobs, *memory)
		wait  time.Duration
		want  string // what is stored then, by second; empty: the request must not be sent
	}{
		"left":            {want: "3"},
		"the next second": {wait: time.Second, want: "3 3"},
		"another key":     {after: func(t *testing.T, j *jobs.Jobs, _ *memory) { useKey(t, j, "b", time.Now()) }, want: "6"},
		"an unknown outcome": {after: func(t *testing.T, j *jobs.Jobs, m *memory) {
			m.onCommit = func(*store.Batch) (bool, error) { return false, errUnknown }
			if _, _, err := j.Register(submission.HTTP, submissions("a"), false, time.Now()); err == nil {
				t.Error("it is known")
			}
			m.onCommit = nil
		}, want: "6"},
		"closed": {after: func(t *testing.T, j *jobs.Jobs, _ *memory) {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t)
				j := open(t, m, options())
				reserve(t, j, time.Now(), 3)
				if tt.after != nil {
					tt.after(t, j, m)
				}
				time.Sleep(tt.wait)
				err := j.Reserve(time.Now(), 3)
				var stored []string
				for _, second := range slices.Sorted(maps.Keys(m.requests)) {
					stored = append(stored, fmt.Sprint(m.requests[second]))
				}
				if got := strings.Join(stored, " "); (err != nil) != (tt.want == "") || err == nil && got != tt.want {
					t.Errorf("stored %s, error %v", got, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := open(t, m, options())
		reserve(t, j, time.Now(), 3)
		release := make(chan struct{})
		m.onCommit = func(*store.Batch) (bool, error) { <-release; return true, nil }
		go j.Register(submission.HTTP, submissions("a"), false, time.Now())
		synctest.Wait()
		reserve(t, j, time.Now(), 3) // else the test is deadlocked
		close(release)
	})
}
