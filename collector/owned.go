package collector

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/wake"
)

// An ownedAccount does the work of an account that this process owns: it decides which job is polled when, and polls.
// It is started and stopped once. One goroutine at a time calls start, stopping, stop, close and reload.
type ownedAccount struct {
	view    // read by everybody
	account *Account
	poller  *poller.Poller
	keeper  housekeeper
	// Only useKey uses these.
	login   login // of the last request; empty: none yet
	limited bool  // the last request had a quota
	counted bool  // what was sent with the login counts
	// Several replicas only. These do not change.
	valid  func() bool     // this process certainly owns the account; nil: it always does
	lost   <-chan struct{} // closed soon after it does not any more
	notice wake.Signal     // messages may have come; nil: there is no inbox

	cancel  context.CancelFunc // ends the poller and the housekeeping
	abort   context.CancelFunc // ends the requests in flight
	workers sync.WaitGroup
}

// own returns the account as owned, with these jobs. Nobody may write to the jobs meanwhile: the scheduler would not
// be told.
func (a *Account) own(j *jobs.Jobs) *ownedAccount {
	now, s := a.now(), a.settings.Load()
	o := &ownedAccount{account: a, view: a.viewOf(j, s, now), cancel: func() {}, abort: func() {}}
	o.poller = poller.New(o.schedule, j, o.forPoller(s), a.log, a.now)
	o.keeper = housekeeper{jobs: j, schedule: o.schedule, quotas: a.quotas, log: a.log, now: a.now}
	sub := &subscriber{schedule: o.schedule, poller: o.poller, log: a.log}
	sub.restore(j, now)
	j.Subscribe(sub.apply)
	return o
}

func (o *ownedAccount) start() {
	// These contexts end with stop, not with the caller of start.
	running, cancel := context.WithCancel(context.Background())
	sending, abort := context.WithCancel(context.Background())
	o.cancel, o.abort = cancel, abort
	o.workers.Go(func() { o.poller.Run(running, sending) })
	o.workers.Go(func() { o.keeper.run(running) })
	if o.notice != nil {
		o.workers.Go(func() { o.receive(running) })
	}
}

// receiveInterval is how soon an owner finds messages of other replicas of which no notice came.
const receiveInterval = time.Second

// receive applies the messages of other replicas.
func (o *ownedAccount) receive(ctx context.Context) {
	ticker := time.NewTicker(receiveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-o.notice:
		}
		_ = o.jobs.Receive() // the housekeeping logs that the store cannot be written, and the next time tries again
	}
}

// owns reports whether no other process can own the account yet.
func (o *ownedAccount) owns() bool { return o.valid == nil || o.valid() }

// stopping ends polling. Requests in flight go on.
func (o *ownedAccount) stopping() { o.cancel() }

// stop ends all work. Requests in flight may end until ctx is done.
func (o *ownedAccount) stop(ctx context.Context) {
	o.stopping()
	defer context.AfterFunc(ctx, o.abort)()
	o.workers.Wait()
	o.abort()
	o.keeper.storeLearnt()
}

// count returns the number of jobs, and of those that have not ended.
func (o *ownedAccount) count(now time.Time) (all, unfinished int) {
	counts := o.jobs.Snapshot(now).Counts
	for _, n := range counts {
		all += n
	}
	return all, counts[Pending] + counts[Running]
}

// close stores what was counted and learnt, and ends all writing.
func (o *ownedAccount) close() {
	if err := o.jobs.Close(); err != nil {
		o.account.log.Error("Counts and learned job durations could not be stored", "err", err)
	}
}

// reload takes other settings of its account.
func (o *ownedAccount) reload(s *settings) {
	o.jobs.SetOptions(s.forJobs())
	o.schedule.SetLimits(s.limits)
	o.poller.SetSettings(o.forPoller(s))
}

func (o *ownedAccount) forPoller(s *settings) poller.Settings {
	key := func() (string, error) { return o.useKey(s) }
	return poller.Settings{Client: s.client, Key: key, Block: s.limits.Block()}
}

// useKey returns the key for the next request, of an account with these settings. If it is another than that of the
// request before, or another account has spent its quota meanwhile, the scheduler counts what was sent with it.
func (o *ownedAccount) useKey(s *settings) (string, error) {
	l, err := s.login()
	if err != nil {
		return "", err
	}
	a, now, limited := o.account, o.account.now(), s.limited()
	if (l != o.login || limited != o.limited) && o.schedule.InFlight() > 0 {
		// One may not be reserved yet: another account that spends the quota from now on would not count it.
		return "", poller.ErrInFlight
	}
	another := l != o.login && (o.login != (login{}) || !o.jobs.UsesKey(l.has)) // than that of the last request
	if limited {
		rival := ""
		if a.replicas != nil && !o.jobs.UsesKey(l.has) { // the account that uses the key already goes on
			rival = a.replicas.rival(a.name, l)
		}
		taken, err := a.quotas.spend(a.name, l, rival)
		if err != nil {
			return "", err
		}
		if taken || !o.limited && a.replicas != nil { // meanwhile, an account of another replica may have spent it
			o.counted = false
		}
		if err := o.jobs.UseKey(l.has, l.name, now); err != nil {
			return "", fmt.Errorf("%w: storing which key is used: %w", poller.ErrStore, err)
		}
	} else {
		a.quotas.rest(a.name)
	}
	o.limited = limited
	if l != o.login || limited && !o.counted {
		if a.replicas != nil && limited {
			if err := a.replicas.recall(a.quotas, o.login != login{}, a.now); err != nil {
				return "", fmt.Errorf("%w: reading what other accounts have sent: %w", poller.ErrStore, err)
			}
			now = a.now() // else what was sent meanwhile would seem to be sent earlier
		}
		if another {
			o.schedule.ForgetRefusals(now)
		}
		o.login, o.counted = l, true
		o.schedule.Restore(a.quotas.log(a.name, o.jobs, s.sentWith(l), now), s.answeredWithin(), now)
	}
	return l.key, nil
}
