package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// settings are a configuration and what was made from it. They do not change; a
// reload puts others in their place.
type settings struct {
	config Config
	key    func() (string, error)
	client *jobstatus.Client
	web    *http.Client // for request_id_urls
	limits schedule.Limits
	// maxChanges is how many changes of state wait to be delivered.
	maxChanges int
}

// prepare does everything about one account's configuration that can fail, and
// that Validate has not told of.
func prepare(config Config, options Options) (s *settings, mistakes []error) {
	s = &settings{config: config, key: config.Key, maxChanges: options.MaxChanges}
	mistake := func(err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("account %q: %w", config.Account, err))
		}
	}
	switch {
	case s.key != nil:
	case config.APIKeyFile != "" && config.APIKey == "":
		file, err := jobstatus.NewKeyFile(config.APIKeyFile)
		if err != nil {
			mistake(fmt.Errorf("api_key_file: %w; put the key into the file", err))
			break
		}
		s.key = file.Key
	default:
		s.key = func() (string, error) { return config.APIKey, nil }
	}
	transport, err := jobstatus.NewTransport(jobstatus.TransportConfig{
		Timeout:     config.Timeout,
		Connections: config.Concurrency,
		TLSCA:       config.TLSCA, TLSCert: config.TLSCert, TLSKey: config.TLSKey,
		InsecureSkipVerify: config.InsecureSkipVerify,
		HTTPProxyURL:       config.HTTPProxyURL,
	})
	mistake(err)
	s.web = &http.Client{Transport: transport}
	api := options.Transport
	if api == nil {
		api = transport
	}
	s.client, err = jobstatus.New(jobstatus.Config{
		URL: config.URL, Timeout: config.Timeout, MaxResponseSize: config.MaxResponseSize, Transport: api,
		Timings: config.timings(),
	})
	mistake(err)
	resets, _ := schedule.ParseDayReset(config.DayResetsAt) // Validate tells of its error
	s.limits = schedule.Limits{
		PerMinute: config.RequestsPerMinute, PerDay: config.RequestsPerDay,
		DayResets: resets, Concurrent: config.Concurrency,
	}
	// Only to see whether they would do.
	if _, err := source.NewFiles(config.RequestIDFiles, 0, source.Handler{}); err != nil {
		mistake(fmt.Errorf("request_id_files: %w", err))
	}
	if _, err := source.NewURLs(config.RequestIDURLs, s.web, config.RefreshInterval, source.Handler{}); err != nil {
		mistake(fmt.Errorf("request_id_urls: %w", err))
	}
	return s, mistakes
}

func (s *settings) close() {
	s.client.Close()
	s.web.CloseIdleConnections()
}

func (s *settings) registerOptions() jobs.Options {
	return jobs.Options{
		Retention: s.config.Retention, MaxJobAge: s.config.MaxJobAge,
		MaxJobSeries: s.config.MaxJobSeries, JobLabels: s.config.JobLabels, KeepTimings: s.config.KeepTimings,
		MaxChanges: s.maxChanges, WordPoints: s.config.WordPoints,
	}
}

// An Account is the unit of ownership: a key with its quota, its jobs and their
// totals. It may be used by several goroutines at once.
type Account struct {
	name     string
	log      *slog.Logger
	now      func() time.Time
	settings atomic.Pointer[settings]

	register *jobs.Register
	schedule *schedule.Scheduler
	ledger   *schedule.Ledger // its quota
	api      condition
	sources  sources
	wake     chan struct{} // something changed that the poller waits for
	moved    atomic.Int64  // when the poller last moved, nanoseconds of elapsed time
	begun    time.Time

	unwritable  atomic.Pointer[error] // why the register could not be written, as was said; nil: it can
	learntKept  time.Time             // when the register was last given what was learnt
	tidied      time.Time             // when the poller last tidied
	webhookSeen atomic.Int64          // when the last webhook came, Unix nanoseconds; 0: none yet

	trials atomic.Int64 // how many new jobs are still asked about at once, as the first ones are

	cancel   context.CancelFunc // ends the poller and the sources
	abandon  context.CancelFunc // ends the requests under way
	requests sync.WaitGroup
	workers  sync.WaitGroup
}

func newAccount(s *settings, options Options, r *jobs.Register) *Account {
	now := options.Now()
	a := &Account{
		name:     s.config.Account,
		log:      options.Logger.With("account", s.config.Account),
		now:      options.Now,
		register: r,
		schedule: schedule.New(s.limits, now, schedule.Parts{}),
		wake:     make(chan struct{}, 1),
		begun:    time.Now(),
	}
	a.ledger = a.schedule.Ledger()
	a.settings.Store(s)
	a.learntKept = now
	if state := r.Learnt(); state != nil {
		if err := a.schedule.Recall(state); err != nil {
			a.log.Warn("What was learnt of how long jobs take is of no use any more; it is learnt anew", "err", err)
		}
	}
	a.ledger.Restore(r.Requests(), s.config.Timeout, now)
	if _, day := a.ledger.Usage(now); !math.IsInf(day.Limit, 1) {
		a.trials.Store(int64(trial*day.Limit - day.Used))
	}
	for j := range r.Unfinished() {
		job := scheduled(&j)
		job.AtOnce = j.LastObserved.IsZero() && a.trials.Add(-1) >= 0
		a.schedule.Add(job, now)
	}
	return a
}

// scheduled is a job as the scheduler sees it.
func scheduled(j *jobs.Job) schedule.Job {
	return schedule.Job{
		RequestID: j.RequestID, API: j.API, AudioSeconds: j.AudioSeconds, Weight: j.Priority, Start: j.Start(), Seen: j.LastObserved,
	}
}

// trial is the part of a day's quota, less what was used before, that the first new
// jobs are asked about at once with: whoever tries the monitor out sees that it works,
// and that the key is right.
const trial = 1. / 20

// Name is the account's name.
func (a *Account) Name() string { return a.name }

func (a *Account) start() {
	// The contexts end with stop, not with whoever called start.
	running, cancel := context.WithCancel(context.Background())
	asking, abandon := context.WithCancel(context.Background())
	a.cancel, a.abandon = cancel, abandon
	a.moved.Store(int64(time.Since(a.begun)))
	a.workers.Go(func() { a.poll(running, asking) })
	a.sources.start(running, a)
}

func (a *Account) stop(ctx context.Context) {
	a.cancel()
	a.workers.Wait()
	a.sources.stop()
	ended := make(chan struct{})
	go func() {
		a.requests.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	a.abandon()
	<-ended
	a.finish()
}

// finish stores what waits for that, when nothing is under way any more.
func (a *Account) finish() {
	a.keepLearnt()
	_ = a.stored(a.register.Flush())
	a.settings.Load().close()
}

// keepLearnt lets the register keep what the scheduler has learnt.
func (a *Account) keepLearnt() {
	state, err := a.schedule.Learnt(a.now())
	if err != nil {
		a.log.Error("What was learnt of how long jobs take cannot be kept", "err", err)
		return
	}
	a.register.SetLearnt(state)
}

// reload takes other settings; nothing in it can fail.
func (a *Account) reload(s *settings) {
	old := a.settings.Swap(s)
	a.register.SetOptions(s.registerOptions())
	a.schedule.SetLimits(s.limits)
	a.sources.reload(a, s.config)
	old.close()
	a.api.forgive()
	a.nudge()
}

// nudge lets the poller look again.
func (a *Account) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Track starts tracking jobs, and says how many of them are new and how many
// were known. It is idempotent.
func (a *Account) Track(ctx context.Context, from submission.Source, jobs []submission.Job) (tracked, known int, err error) {
	now := a.now()
	fresh, err := a.register.Track(ctx, from, jobs, now)
	if a.stored(err) != nil {
		return 0, 0, fmt.Errorf("registering jobs: %w", err)
	}
	// What a source has when it is first looked at may have been there for long.
	ageUnknown := a.sources.firstLook(from)
	for _, j := range fresh {
		job := scheduled(&j)
		job.AgeUnknown = ageUnknown && j.SubmittedAt.IsZero()
		job.AtOnce = !job.AgeUnknown && a.trials.Add(-1) >= 0
		a.schedule.Add(job, now)
		// A webhook may have come before the scheduler knew of the job.
		if j, known := a.register.Job(job.RequestID); known && j.State.Ended() {
			a.schedule.Remove(job.RequestID)
		}
	}
	if len(fresh) > 0 {
		a.nudge()
	}
	return len(fresh), len(jobs) - len(fresh), nil
}

// ErrUnknownJob says that a job is not tracked.
var ErrUnknownJob = errors.New("no such job")

// Untrack stops tracking a job. It returns ErrUnknownJob where there is none.
func (a *Account) Untrack(ctx context.Context, requestID string) error {
	known, err := a.register.Untrack(ctx, requestID, a.now())
	if a.stored(err) != nil {
		return fmt.Errorf("stopping to track a job: %w", err)
	}
	a.schedule.Remove(requestID)
	// It may have been registered anew before the scheduler let go of it.
	if j, again := a.register.Job(requestID); again && !j.State.Ended() {
		a.schedule.Add(scheduled(&j), a.now())
	}
	if !known {
		return ErrUnknownJob
	}
	return nil
}

// stored logs when the register can no longer be written, and when it can again,
// and returns the error of the attempt.
func (a *Account) stored(err error) error {
	switch {
	case errors.Is(err, jobs.ErrClosed): // we are stopping
	case err != nil && a.unwritable.Swap(&err) == nil:
		a.log.Error("The register cannot be written; what comes in is refused, and nothing is asked, until it can", "err", err)
	case err == nil && a.register.Writable() && a.unwritable.Swap(nil) != nil: // else there was nothing to write
		a.log.Info("The register can be written again")
	}
	return err
}

// observe applies what somebody learnt about a job: every poll and every webhook
// ends here. An error says that it could not be kept.
func (a *Account) observe(ctx context.Context, o jobs.Observation) (jobs.Effect, error) {
	effect, err := a.register.Observe(ctx, o)
	if a.stored(err) != nil {
		return effect, fmt.Errorf("keeping an observation: %w", err)
	}
	switch {
	case effect.Job.RequestID == "": // it is not tracked
		a.schedule.Remove(o.RequestID)
	case effect.Job.State.Ended():
		a.schedule.Ended(o.RequestID, o.At)
	}
	a.tell(ctx, effect)
	return effect, nil
}

// giveUp gives up jobs.
func (a *Account) giveUp(ctx context.Context, now time.Time, requestIDs ...string) {
	effects, err := a.register.GiveUp(ctx, requestIDs, now)
	if a.stored(err) != nil {
		return // it is tried again with the next answer or tidying
	}
	for i, id := range requestIDs {
		a.schedule.Remove(id)
		a.tell(ctx, effects[i])
	}
}

// tell logs a change of a job's state.
func (a *Account) tell(ctx context.Context, effect jobs.Effect) {
	if !effect.Changed {
		return
	}
	j := &effect.Job
	level, attrs := slog.LevelDebug, []any{"request_id", j.RequestID, "state", j.State.String()}
	switch j.State {
	case jobs.Failed:
		level, attrs = slog.LevelInfo, append(attrs, "error_code", j.ErrorCode)
	case jobs.Lost:
		level = slog.LevelWarn
	}
	a.log.Log(ctx, level, "A job changed its state", attrs...)
}
