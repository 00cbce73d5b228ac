package collector_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// A counter is an API that says of every job that it runs, and counts requests by host and key.
type counter struct {
	state   string // of all jobs; empty: Running
	refused string // key whose quota is used up
	mu      sync.Mutex
	got     map[string][]time.Time // by host and key
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.got == nil {
		c.got = make(map[string][]time.Time)
	}
	login := r.URL.Host + " " + r.URL.Query().Get("apikey")
	c.got[login] = append(c.got[login], time.Now())
	if r.URL.Query().Get("apikey") == c.refused {
		return &http.Response{StatusCode: http.StatusPaymentRequired, Body: http.NoBody}, nil
	}
	body := fmt.Sprintf(`{"status": %q, "response": {}}`, cmp.Or(c.state, "Running"))
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (c *counter) requests() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := make(map[string]int)
	for login, times := range c.got {
		n[login] = len(times)
	}
	return n
}

// perDay is the quota in these tests. There are far more jobs.
const perDay = 5

// hungry is an account with more jobs than its quota can poll.
func hungry(account, key string) collector.Config {
	return config(func(c *collector.Config) {
		c.Account, c.APIKey, c.RequestsPerDay, c.RequestsPerMinute = account, key, perDay, 0
		c.URL, c.MaxJobAge = "http://api.invalid", 1000*time.Hour
		for i := range 50 {
			c.RequestIDs = append(c.RequestIDs, fmt.Sprint("job-", i))
		}
	})
}

// A quota belongs to a URL and a key. What was sent counts, whoever sent it from this store.
func TestQuotaBelongsToTheKey(t *testing.T) {
	const a, b, other = "api.invalid key-a", "api.invalid key-b", "other.invalid key-a"
	type configs = []collector.Config
	xa, xb, ya, yb, zb := hungry("x", "key-a"), hungry("x", "key-b"), hungry("y", "key-a"), hungry("y", "key-b"),
		hungry("z", "key-b")
	elsewhere := hungry("x", "key-a")
	elsewhere.URL = "http://other.invalid"
	sameElsewhere := hungry("x", "key-a")
	sameElsewhere.URL = "HTTP://API.invalid:80/"
	for name, tt := range map[string]struct {
		steps []configs
		want  map[string]int
	}{
		"one account":             {[]configs{{xa}, {xa}}, map[string]int{a: perDay}},
		"renamed":                 {[]configs{{xa}, {ya}}, map[string]int{a: perDay}},
		"renamed and back":        {[]configs{{xa}, {ya}, {xa}}, map[string]int{a: perDay}},
		"renamed beside another":  {[]configs{{xa}, {ya, zb}}, map[string]int{a: perDay, b: perDay}},
		"away for a while":        {[]configs{{xa}, {zb}, {ya}}, map[string]int{a: perDay, b: perDay}},
		"another key":             {[]configs{{xa}, {xb}}, map[string]int{a: perDay, b: perDay}},
		"another key and back":    {[]configs{{xa}, {xb}, {xa}}, map[string]int{a: perDay, b: perDay}},
		"keys change places":      {[]configs{{xa, yb}, {xb, ya}}, map[string]int{a: perDay, b: perDay}},
		"another API":             {[]configs{{xa}, {elsewhere}}, map[string]int{a: perDay, other: perDay}},
		"a URL written otherwise": {[]configs{{xa}, {sameElsewhere}}, map[string]int{a: perDay}},
	} {
		for _, how := range []string{"restart", "reload", "reload in memory", "once"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api := new(counter)
					options := collector.Options{Transport: api, StateDirectory: t.TempDir()}
					if how == "reload in memory" {
						options.StateDirectory = ""
					}
					var c *collector.Collector
					for i, step := range tt.steps {
						var err error
						switch {
						case i == 0 || how == "restart" || how == "once":
							c, err = collector.New(step, options)
						default:
							err = c.Reload(t.Context(), step)
						}
						if err != nil {
							t.Fatal(err)
						}
						if how == "once" {
							_ = c.Once(t.Context()) // fails without quota
							pass(time.Minute)
						} else {
							c.Start()
							pass(20 * time.Minute)
						}
						if how == "restart" || how == "once" || i == len(tt.steps)-1 {
							c.Stop(t.Context())
						}
					}
					got := make(map[string]int)
					for login, n := range api.requests() {
						got[strings.ToLower(strings.Replace(login, ":80", "", 1))] += n
					}
					if fmt.Sprint(got) != fmt.Sprint(tt.want) {
						t.Errorf("%v requests, want %v", got, tt.want)
					}
				})
			})
		}
	}
}

// An account that has nothing to poll leaves its quota to another one after a reload. What it has sent counts.
func TestQuotaOfIdleAccount(t *testing.T) {
	for name, change := range map[string]func(*collector.Config){
		"another key":       func(c *collector.Config) { c.APIKey = "key-b" },
		"another API":       func(c *collector.Config) { c.URL = "http://other.invalid" },
		"without its quota": func(c *collector.Config) { c.RequestsPerDay = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &counter{state: "Completed"}
				idle, other := hungry("x", "key-a"), hungry("y", "key-b")
				idle.RequestIDs, other.RequestIDs = idle.RequestIDs[:2], nil
				c, err := collector.New([]collector.Config{idle}, collector.Options{Transport: api})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Stop(t.Context())
				c.Start()
				pass(20 * time.Minute)
				change(&idle)
				if err := c.Reload(t.Context(), []collector.Config{idle, hungry("y", "key-a")}); err != nil {
					t.Fatal(err)
				}
				pass(20 * time.Minute)
				if got := api.requests(); len(got) != 1 || got["api.invalid key-a"] != perDay {
					t.Errorf("%v requests, want %d with the key of both", got, perDay)
				}
				if err := c.Reload(t.Context(), []collector.Config{hungry("x", "key-a")}); err != nil {
					t.Fatal(err)
				}
				pass(20 * time.Minute)
				if got := api.requests(); got["api.invalid key-a"] != perDay {
					t.Errorf("%v requests after it has its quota again, want %d", got, perDay)
				}
			})
		})
	}
}

// What an account has sent that is not configured any more counts for as long as its quota does.
func TestQuotaOfAWeek(t *testing.T) {
	seldom := func(account string) collector.Config { // one in 83 hours
		c := hungry(account, "key-a")
		c.RequestsPerDay, c.RequestsPerMinute = 0, 0.0002
		return c
	}
	synctest.Test(t, func(t *testing.T) {
		api, dir := new(counter), t.TempDir()
		for _, account := range []string{"x", "y", "y"} {
			c, err := collector.New([]collector.Config{seldom(account)}, collector.Options{Transport: api, StateDirectory: dir})
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			pass(27 * time.Hour)
			c.Stop(t.Context())
		}
		if got := api.requests()["api.invalid key-a"]; got != 1 {
			t.Errorf("%d requests in 81 hours, want 1", got)
		}
	})
}

// formerly stores that an account has sent requests with key-a just now, as versions did that had a name for each way
// to write a URL.
func formerly(t *testing.T, stored store.Account, url string, requests int) {
	t.Helper()
	name := func() string {
		salt := []byte("any salt")
		h := hmac.New(sha256.New, salt)
		io.WriteString(h, url+"/transaction/generic/api/v1/async/status\x00key-a")
		return hex.EncodeToString(h.Sum(salt)[:len(salt)+2])
	}
	now := time.Now()
	j, err := jobs.Open(t.Context(), stored, jobs.Options{}, now)
	if err == nil {
		err = errors.Join(j.UseKey(func(string) bool { return false }, name, now), j.Reserve(now, requests), j.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What an earlier version has sent counts after the upgrade, however the URL is written.
func TestQuotaOutlivesAnUpgrade(t *testing.T) {
	for name, tt := range map[string]struct {
		before, now, account string
		want                 int
	}{
		"https":                 {"https://api.invalid", "https://api.invalid", "x", 0},
		"http":                  {"http://api.invalid", "http://api.invalid:80", "x", 0},
		"a dot behind":          {"https://api.invalid.", "https://api.invalid.", "x", 0},
		"a zero in front":       {"https://api.invalid:0443", "https://api.invalid:0443", "x", 0},
		"escapes":               {"https://api.invalid/%76", "https://api.invalid/%76/", "x", 0},
		"another account":       {"http://api.invalid", "http://api.invalid", "y", 0},
		"another API meanwhile": {"http://other.invalid", "http://api.invalid", "x", perDay},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, dir := new(counter), t.TempDir()
				db, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				formerly(t, db.Account("x"), tt.before, perDay)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				for range 2 { // with the name of this version, too
					c := hungry(tt.account, "key-a")
					c.URL = tt.now
					monitor, err := collector.New([]collector.Config{c}, collector.Options{Transport: api, StateDirectory: dir})
					if err != nil {
						t.Fatal(err)
					}
					monitor.Start()
					pass(20 * time.Minute)
					monitor.Stop(t.Context())
				}
				got := 0
				for _, n := range api.requests() {
					got += n
				}
				if got != tt.want {
					t.Errorf("%d requests, want %d", got, tt.want)
				}
			})
		})
	}
}

// The key does not reach the disk, and neither does anything that tells it.
func TestKeyIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c, err := collector.New([]collector.Config{hungry("x", "canary-of-a-key")},
			collector.Options{Transport: new(counter), StateDirectory: dir})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		pass(time.Hour)
		c.Stop(t.Context())
		text, err := os.ReadFile(filepath.Join(dir, "register.db"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("canary")) || !bytes.Contains(text, []byte(`"keys":[{"key":"`)) {
			t.Error("the store has the key, or no name for it")
		}
	})
}

// Two accounts with one key and URL are refused, at the start and at a reload.
func TestTwoAccountsWithOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("key-a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := hungry("y", "")
	file.APIKeyFile = path
	slash := hungry("y", "key-a")
	slash.URL += "/"
	unlimited := hungry("y", "key-a")
	unlimited.RequestsPerDay = 0
	for name, tt := range map[string]struct {
		second  collector.Config
		refused bool
	}{
		"the same":          {hungry("y", "key-a"), true},
		"from a file":       {file, true},
		"a slash more":      {slash, true},
		"another key":       {hungry("y", "key-b"), false},
		"without its quota": {unlimited, false},
	} {
		t.Run(name, func(t *testing.T) {
			first := hungry("x", "key-a")
			both := []collector.Config{first, tt.second}
			if c, err := collector.New([]collector.Config{first}, collector.Options{}); err != nil {
				t.Fatal(err)
			} else {
				defer c.Stop(t.Context())
				checkRefused(t, c.Reload(t.Context(), both), tt.refused)
			}
			checkRefused(t, collector.Check(both), tt.refused)
			c, err := collector.New(both, collector.Options{})
			checkRefused(t, err, tt.refused)
			if err == nil {
				c.Stop(t.Context())
			}
		})
	}
}

func checkRefused(t *testing.T, err error, want bool) {
	t.Helper()
	if (err != nil) != want {
		t.Errorf("%v, refused: want %v", err, want)
	}
	if err == nil {
		return
	}
	if s := err.Error(); !strings.Contains(s, `"x"`) || !strings.Contains(s, `"y"`) || strings.Contains(s, "\n") ||
		strings.Contains(s, "key-a") {
		t.Errorf("not one line that names both accounts, without the key: %s", s)
	}
}

// A start says which accounts of the store are not configured any more, such as after a change of a name, and a reload
// what becomes of their jobs.
func TestAccountsThatAreNotConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for i, start := range []struct {
			accounts []string
			want     string
		}{{[]string{"x", "y"}, ""}, {[]string{"y"}, `accounts="[other x]"`}, {[]string{"z"}, `accounts="[other x y]"`}} {
			var configs []collector.Config
			for _, name := range start.accounts {
				configs = append(configs, hungry(name, "key-"+name))
			}
			logged := new(logs)
			c, err := collector.New(configs, collector.Options{
				Transport: new(counter), StateDirectory: dir, Logger: slog.New(slog.NewTextHandler(logged, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			pass(time.Minute)
			_, line, found := strings.Cut(logged.String(), "not configured; ")
			if found != (start.want != "") || !strings.Contains(line, start.want) {
				t.Errorf("start %d: log lacks %q:\n%s", i, start.want, logged)
			}
			if err := c.Reload(t.Context(), []collector.Config{hungry("other", "key-other")}); err != nil {
				t.Fatal(err)
			}
			c.Stop(t.Context())
			for _, name := range start.accounts {
				gone := `msg="Account is no longer configured; its jobs are kept, but not polled, until it is configured again" ` +
					"account=" + name + " unfinished_jobs="
				if strings.Count(logged.String(), gone) != 1 {
					t.Errorf("the log lacks %s:\n%s", gone, logged)
				}
			}
		}
	})
}

// A key file that changes to the key of another account stops its account until it changes again.
func TestKeyFileWithTheKeyOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key")
		write := func(key string) {
			if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("key-b")
		file := hungry("y", "")
		file.APIKeyFile = path
		api, logged := new(counter), new(logs)
		c, err := collector.New([]collector.Config{hungry("x", "key-a"), file},
			collector.Options{Transport: api, Logger: slog.New(slog.NewTextHandler(logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer func() { c.Stop(t.Context()) }()
		pass(time.Minute)
		before := api.requests()["api.invalid key-b"]
		write("key-a")
		pass(26 * time.Hour)
		y, _ := c.Account("y")
		trouble := y.API().Trouble
		if trouble == nil || !errors.Is(trouble.Err, collector.ErrKeyInUse) ||
			strings.Count(logged.String(), "API key is used by another account") != 7 {
			t.Errorf("trouble %+v, log:\n%s", trouble, logged)
		}
		if n := api.requests(); n["api.invalid key-a"] > 2*perDay || n["api.invalid key-b"] != before {
			t.Errorf("%v requests in 26 hours, %d with the key before", n, before)
		}
		write("key-c")
		pass(time.Hour)
		if n := api.requests(); n["api.invalid key-c"] != perDay || y.API().Trouble != nil {
			t.Errorf("%v requests with another key, %+v", n, y.API().Trouble)
		}
	})
}

// A new key in a key file does not wait until the quota of the one before recovers, and has all of its own.
func TestKeyFileAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key")
		write := func(key string) {
			if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("key-a")
		file := hungry("x", "")
		file.APIKeyFile = path
		api := &counter{refused: "key-a"}
		c, err := collector.New([]collector.Config{file}, collector.Options{Transport: api})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer func() { c.Stop(t.Context()) }()
		pass(5 * time.Minute)
		write("key-b")
		pass(time.Minute)
		if n := api.requests(); n["api.invalid key-a"] != 1 || n["api.invalid key-b"] != perDay {
			t.Errorf("%v requests, want one that is refused, and %d", n, perDay)
		}
	})
}

// A slowDisk stores what was sent for the account x when it is told to, the first time.
type slowDisk struct {
	*sqlite.DB
	stores, goOn chan struct{} // it stores requests of x for the first time; it may
}

func (d slowDisk) Account(name string) store.Account {
	if name != "x" {
		return d.DB.Account(name)
	}
	return &slowAccount{d.DB.Account(name), sync.OnceFunc(func() { close(d.stores); <-d.goOn })}
}

type slowAccount struct {
	store.Account
	wait func()
}

func (a *slowAccount) Commit(b *store.Batch) error {
	if len(b.Requests) > 0 {
		a.wait()
	}
	return a.Account.Commit(b)
}

// A request that is about to be stored when its key moves to another account counts there.
func TestKeyMovesDuringRequest(t *testing.T) {
	for name, change := range map[string]func(x *collector.Config, key func(string)){
		"another key":       func(_ *collector.Config, key func(string)) { key("key-c") },
		"without its quota": func(x *collector.Config, _ func(string)) { x.RequestsPerDay = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, err := sqlite.Open(t.TempDir(), slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				disk := slowDisk{db, make(chan struct{}), make(chan struct{})}
				var keys [2]atomic.Value
				configs := []collector.Config{hungry("x", ""), hungry("y", "")}
				for i, key := range []string{"key-a", "key-b"} {
					keys[i].Store(key)
					configs[i].Key = func() (string, error) { return keys[i].Load().(string), nil }
				}
				all := configs[0].RequestIDs
				configs[0].RequestIDs, configs[1].RequestIDs = all[:1], nil
				api := new(counter)
				c, err := collector.New(configs, collector.Options{Transport: api, Engine: disk})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Stop(t.Context())
				c.Start()
				<-disk.stores
				change(&configs[0], func(key string) { keys[0].Store(key) })
				keys[1].Store("key-a")
				configs[1].RequestIDs = all
				if err := c.Reload(t.Context(), configs); err != nil {
					t.Fatal(err)
				}
				pass(8 * time.Second) // y looks whether it may be polled every 5 seconds
				close(disk.goOn)
				keys[0].Store("key-c")
				pass(time.Hour)
				if n := api.requests()["api.invalid key-a"]; n != perDay {
					t.Errorf("%d requests, want %d", n, perDay)
				}
			})
		})
	}
}

// A brokenDisk cannot load the account x while it is broken, but for what was sent. It counts what is stored of x.
type brokenDisk struct {
	*sqlite.DB
	broken  *atomic.Bool
	commits *atomic.Int64
}

func (d brokenDisk) Account(name string) store.Account {
	if name == "x" && d.broken.Load() {
		return unloadable{d.DB.Account(name)}
	}
	return d.DB.Account(name)
}

func (d brokenDisk) Sender(name string) store.Account { return counting{d.DB.Sender(name), d.commits} }

type unloadable struct{ store.Account }

func (unloadable) Load(context.Context) (*store.Contents, error) { return nil, errors.New("broken") }

type counting struct {
	store.Account
	commits *atomic.Int64
}

func (c counting) Commit(b *store.Batch) error { c.commits.Add(1); return c.Account.Commit(b) }

// A reload that fails to open an account which is configured again leaves its housekeeping as it was.
func TestHousekeepingAfterFailedReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := sqlite.Open(t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		disk := brokenDisk{db, new(atomic.Bool), new(atomic.Int64)}
		x, y := hungry("x", "key-a"), hungry("y", "key-b")
		c, err := collector.New([]collector.Config{x, y}, collector.Options{Transport: new(counter), Engine: disk})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Stop(t.Context())
		c.Start()
		pass(time.Hour)
		if err := c.Reload(t.Context(), []collector.Config{y}); err != nil {
			t.Fatal(err)
		}
		disk.broken.Store(true)
		if err := c.Reload(t.Context(), []collector.Config{x, y}); err == nil {
			t.Fatal("an account was opened that cannot be loaded")
		}
		before := disk.commits.Load()
		pass(time.Hour)
		if disk.commits.Load() == before {
			t.Error("nobody notes any more how long ago x has sent its requests")
		}
	})
}

// The wall clock is set, between restarts and while the process runs: no window sees more requests than the quota, and
// the quota is used. What really passed while no process ran counts.
func TestQuotaWithClockJumpsAndRestarts(t *testing.T) {
	t.Parallel()
	type step struct {
		jump   time.Duration // of the wall clock
		stop   time.Duration // for how long no process runs; 0: it goes on
		passes time.Duration
	}
	const h, sec, short = time.Hour, time.Second, 15 * time.Minute
	for name, tt := range map[string]struct {
		resets string
		steps  []step
		want   int // requests; with resets: at most
	}{
		"forward":                 {"", []step{{0, 0, short}, {25 * h, sec, short}, {400 * h, sec, short}}, perDay},
		"backward":                {"", []step{{0, 0, short}, {-25 * h, sec, short}, {-400 * h, sec, short}}, perDay},
		"forward, then a restart": {"", []step{{0, 0, short}, {25 * h, 0, short}, {0, sec, short}}, perDay},
		"forward and back":        {"", []step{{0, 0, short}, {25 * h, sec, short}, {-25 * h, sec, short}}, perDay},
		"stopped for a day":       {"", []step{{0, 0, short}, {0, 25 * h, short}}, 2 * perDay},
		"stopped, and set back":   {"", []step{{0, 0, short}, {-12 * h, 40 * h, short}}, 2 * perDay},
		"a day in pieces": {"",
			[]step{{0, 0, short}, {50 * h, 5 * h, short}, {-70 * h, sec, 8 * h}, {3 * h, sec, 16 * h}}, 2 * perDay},
		"a day that resets": {"00:00", []step{{0, 0, short}, {25 * h, sec, short}, {24 * h, sec, short}}, perDay},
		"just past the reset": {"00:00",
			[]step{{20 * h, 0, short}, {4 * h, 0, short}, {0, sec, short}, {0, sec, short}}, perDay},
		"restarts at the same clock": {"", []step{{0, 0, short}, {0, sec, short}, {0, sec, short}}, perDay},
	} {
		t.Run(name, func(t *testing.T) {
			real := time.Now()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var jump atomic.Int64
				// It begins at ten past midnight.
				jump.Store(int64(real.Truncate(24 * h).Add(24*h + 10*time.Minute).Sub(real).Truncate(time.Second)))
				now := func() time.Time { return jumped(real.Add(time.Since(begin)), time.Duration(jump.Load())) }
				api := new(counter)
				account := hungry("x", "key")
				account.DayResetsAt = tt.resets
				dir := t.TempDir()
				open := func() *collector.Collector {
					c, err := collector.New([]collector.Config{account},
						collector.Options{Transport: api, StateDirectory: dir, Now: now})
					if err != nil {
						t.Fatal(err)
					}
					c.Start()
					return c
				}
				c := open()
				for _, s := range tt.steps {
					if s.stop > 0 {
						c.Stop(t.Context())
						pass(s.stop)
					}
					jump.Add(int64(s.jump))
					if s.stop > 0 {
						c = open()
					}
					pass(s.passes)
				}
				c.Stop(t.Context())
				if n := api.requests()["api.invalid key"]; n != tt.want && (tt.resets == "" || n > tt.want) {
					t.Errorf("%d requests, want %d", n, tt.want)
				}
			})
		})
	}
}
