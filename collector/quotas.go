package collector

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A login is what a quota of the API belongs to: not the name of an account.
type login struct{ service, key string }

// The name of a login is 8 random bytes, and 2 bytes of a hash over these and the login, in hexadecimal. It tells
// logins of one store from each other, but it does not help to guess a key: one key in 65,536 has the same.
const (
	saltSize = 8
	hashSize = 2
)

func (l login) name() string {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return l.nameWith(salt)
}

func (l login) nameWith(salt []byte) string {
	h := hmac.New(sha256.New, salt)
	fmt.Fprintf(h, "%s\x00%s", l.service, l.key)
	return hex.EncodeToString(h.Sum(salt)[:saltSize+hashSize])
}

// has reports whether a name is that of the login.
func (l login) has(name string) bool {
	salt, err := hex.DecodeString(name[:min(len(name), 2*saltSize)])
	return err == nil && len(salt) == saltSize && l.nameWith(salt) == name
}

// quotas knows which account spends which quota, and what was sent with each login. One account at a time spends a
// quota, and it counts what the others of this store have sent with its login.
type quotas struct {
	mu      sync.Mutex                                 // guards what follows
	spender map[login]string                           // account
	resting map[string]bool                            // accounts that have no quota at present
	sent    map[string]func(now time.Time) []jobs.Sent // by account
	former  map[string]*jobs.Jobs                      // of sent: those that are not configured any more
	others  map[string][]jobs.Sent                     // by account that is not in sent: another replica owns it
	past    []jobs.Sent                                // of accounts that were kept in memory
}

// pastKept is longer than any window of a quota: the longest is that of one request in a week.
const pastKept = 8 * 24 * time.Hour

func newQuotas() *quotas {
	return &quotas{
		spender: make(map[login]string), resting: make(map[string]bool), sent: make(map[string]func(time.Time) []jobs.Sent),
		former: make(map[string]*jobs.Jobs), others: make(map[string][]jobs.Sent),
	}
}

// reopen ends the housekeeping of a former account, before it is opened because it is configured again, and reports
// whether it was one. What it has sent goes on to count. If it cannot be opened, leave makes it a former account again.
func (q *quotas) reopen(account string) (former bool) {
	q.mu.Lock()
	j := q.former[account]
	delete(q.former, account)
	q.mu.Unlock()
	if j != nil {
		_ = j.Close() // what it could not write, the next one does
	}
	return j != nil
}

// enter says where to read what a configured account has sent.
func (q *quotas) enter(account string, j *jobs.Jobs) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent[account] = j.Sent
	delete(q.others, account)
}

// entered reports whether it is known where to read what an account has sent. An account that this process owns is not
// entered before it is loaded.
func (q *quotas) entered(account string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sent[account] != nil
}

// handOver ends the spending of an account that another replica owns from now on. Its jobs are not needed any more.
func (q *quotas) handOver(account string, j *jobs.Jobs, now time.Time) {
	sent := j.Sent(now)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(account)
	delete(q.sent, account)
	q.others[account] = sent
}

// recall notes what an account has sent that another replica owns.
func (q *quotas) recall(account string, sent []jobs.Sent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sent[account] == nil {
		q.others[account] = sent
	}
}

// leave ends the spending of an account with these jobs (nil: it had none). What it has sent stays counted: stored is a
// sender of the engine, or nil.
func (q *quotas) leave(account string, j *jobs.Jobs, stored store.Account, now time.Time) error {
	var former *jobs.Jobs
	var err error
	if stored != nil {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		defer cancel()
		if former, err = jobs.Open(ctx, stored, jobs.Options{RequestsKept: pastKept}, now); err != nil {
			err = fmt.Errorf("account %q is not configured any more: reading its requests: %w", account, err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(account)
	switch {
	case former != nil:
		q.sent[account], q.former[account] = former.Sent, former
	case j != nil:
		delete(q.sent, account)
		q.past = append(slices.DeleteFunc(q.past, func(s jobs.Sent) bool { return now.Sub(s.Reserved) > pastKept }),
			j.Sent(now)...)
	}
	return err
}

// keep is the housekeeping of what accounts have sent that are not configured any more.
func (q *quotas) keep(now time.Time) {
	q.mu.Lock()
	former := maps.Clone(q.former)
	q.mu.Unlock()
	for _, j := range former {
		_ = j.KeepRequests(now) // the next time tries again
	}
}

// close ends all writing.
func (q *quotas) close() {
	q.mu.Lock()
	former := maps.Clone(q.former)
	q.mu.Unlock()
	for _, j := range former {
		_ = j.Close() // it keeps requests only, for longer than they count
	}
}

// rest notes that an account has no quota at present: another one may spend that of its login.
func (q *quotas) rest(account string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resting[account] = true
}

// release needs the lock.
func (q *quotas) release(account string) {
	for l, spender := range q.spender {
		if spender == account {
			delete(q.spender, l)
		}
	}
	delete(q.resting, account)
}

// spend makes an account the one that spends the quota of a login, instead of that of another. It reports whether it was
// not the last one. It is an error if another account spends it: in this process, or a rival of another replica (empty:
// there is none).
func (q *quotas) spend(account string, l login, rival string) (taken bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch other := cmp.Or(rival, q.spender[l]); {
	case other == account:
		delete(q.resting, account)
		return false, nil
	case other == "" || q.resting[other]:
		q.release(account)
		q.spender[l] = account
		return true, nil
	default:
		q.release(account)
		return false, sharedQuota(other)
	}
}

func sharedQuota(other string) error {
	return fmt.Errorf("account %q polls the same API, by http or https, with the same key; %w; "+
		"remove one of the two, or give it its own key", other, poller.ErrKeyInUse)
}

// log returns what was sent with a login, whose names has knows: by an account with these jobs, and by the others that
// this process knows of. What an account sent with an unknown key counts for that account.
func (q *quotas) log(
	account string, own *jobs.Jobs, has func(name string) bool, now time.Time,
) (log []schedule.Sent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	is := make(map[string]bool) // by name
	add := func(sent []jobs.Sent) {
		for _, s := range sent {
			if _, known := is[s.Key]; !known {
				is[s.Key] = has(s.Key)
			}
			if is[s.Key] {
				log = append(log, schedule.Sent{Reserved: s.Reserved, Requests: s.Requests, ClockSet: s.ClockSet})
			}
		}
	}
	is[""] = true
	add(own.Sent(now))
	is[""] = false
	add(q.past)
	for of, sent := range q.others {
		if of != account {
			add(sent)
		}
	}
	for of, sent := range q.sent {
		if of != account {
			add(sent(now))
		}
	}
	return log
}

// checkQuotas returns the mistakes that two accounts spend one quota. A key that cannot be read now is checked when it
// is used.
func checkQuotas(configs []Config) (mistakes []error) {
	spender := make(map[login]string)
	for _, c := range configs {
		l, err := c.login()
		if err != nil || l.key == "" || c.RequestsPerMinute == 0 && c.RequestsPerDay == 0 {
			continue
		}
		if other, spent := spender[l]; spent && other != c.Account {
			mistakes = append(mistakes, fmt.Errorf("account %q: %w", c.Account, sharedQuota(other)))
			continue
		}
		spender[l] = c.Account
	}
	return mistakes
}

// login returns the login of the account at present.
func (c *Config) login() (login, error) {
	client, err := jobstatus.New(jobstatus.Config{URL: c.URL})
	if err != nil {
		return login{}, err
	}
	read, err := c.key()
	if err != nil {
		return login{}, err
	}
	key, err := read()
	return login{client.Service(), key}, err
}

// limited reports whether the account has a quota.
func (s *settings) limited() bool { return s.limits.Block() > 0 }

// login returns the login for the next request.
func (s *settings) login() (login, error) {
	key, err := s.key()
	return login{s.client.Service(), key}, err
}

// sentWith returns a function that reports whether what was sent under a name was sent with a login. Earlier versions
// made the name of the URL as it is written.
func (s *settings) sentWith(l login) func(name string) bool {
	former := login{s.client.FormerService(), l.key}
	return func(name string) bool { return l.has(name) || former.has(name) }
}

// answeredWithin is how long after its reservation a request is answered or given up at the latest. Of several
// replicas, one that stood still may send it while it still owns the account.
func (s *settings) answeredWithin() time.Duration {
	within := jobs.ReserveWithin
	if s.config.DatabaseURL != "" {
		within = max(within, s.config.Lease)
	}
	return within + s.config.Timeout
}
