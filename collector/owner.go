package collector

import (
	"context"
	"fmt"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
)

// An owner does the work of an account that this process owns: it decides which job is polled when, and polls. It is
// started and stopped once. One goroutine at a time calls start, stopping, stop, close and reload.
type owner struct {
	view    // read by everybody
	account *Account
	poller  *poller.Poller
	keeper  housekeeper
	login   login // of the last request; empty: none yet. Only useKey uses it

	cancel  context.CancelFunc // ends the poller and the housekeeping
	abort   context.CancelFunc // ends the requests in flight
	workers sync.WaitGroup
}

// own returns an owner of the account, with these jobs. The jobs must not have been written to.
func (a *Account) own(j *jobs.Jobs) *owner {
	now, s := a.now(), a.settings.Load()
	o := &owner{account: a, view: a.viewOf(j, s, now)}
	o.poller = poller.New(o.schedule, j, o.forPoller(s), a.log, a.now)
	o.keeper = housekeeper{jobs: j, schedule: o.schedule, quotas: a.quotas, log: a.log, now: a.now}
	f := &follower{schedule: o.schedule, poller: o.poller, log: a.log}
	f.restore(j, now)
	j.Subscribe(f.apply)
	return o
}

func (o *owner) start() {
	// These contexts end with stop, not with the caller of start.
	running, cancel := context.WithCancel(context.Background())
	sending, abort := context.WithCancel(context.Background())
	o.cancel, o.abort = cancel, abort
	o.workers.Go(func() { o.poller.Run(running, sending) })
	o.workers.Go(func() { o.keeper.run(running) })
}

// stopping ends polling. Requests in flight go on.
func (o *owner) stopping() { o.cancel() }

// stop ends all work. Requests in flight may end until ctx is done.
func (o *owner) stop(ctx context.Context) {
	o.stopping()
	defer context.AfterFunc(ctx, o.abort)()
	o.workers.Wait()
	o.abort()
	o.keeper.storeLearnt()
}

// close stores what was counted and learnt, and ends all writing.
func (o *owner) close() {
	if err := o.jobs.Close(); err != nil {
		o.account.log.Error("Counts and learned job durations could not be stored", "err", err)
	}
}

// reload takes other settings of its account.
func (o *owner) reload(s *settings) {
	o.jobs.SetOptions(s.forJobs())
	o.schedule.SetLimits(s.limits)
	o.poller.SetSettings(o.forPoller(s))
}

func (o *owner) forPoller(s *settings) poller.Settings {
	key := func() (string, error) { return o.useKey(s) }
	return poller.Settings{Client: s.client, Key: key, Block: s.limits.Block()}
}

// useKey returns the key for the next request, of an account with these settings. If it is another than that of the
// request before, the scheduler counts what was sent with it.
func (o *owner) useKey(s *settings) (string, error) {
	l, err := s.login()
	if err != nil {
		return "", err
	}
	a, now := o.account, o.account.now()
	if s.limited() {
		if err := a.quotas.spend(a.name, l); err != nil {
			return "", err
		}
		if err := o.jobs.UseKey(l.has, l.name, now); err != nil {
			return "", fmt.Errorf("storing which key is used: %w", err)
		}
	}
	if l != o.login {
		o.login = l
		o.schedule.Restore(a.quotas.log(a.name, l, now), s.answeredWithin(), now)
	}
	return l.key, nil
}
