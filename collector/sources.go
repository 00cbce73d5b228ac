package collector

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// announceEvery is how often the IDs of the configuration are named again: a
// job that has ended stays known for as long as its ID is named.
const announceEvery = time.Hour

// sources are where an account's request IDs come from, beside HTTP.
type sources struct {
	running context.Context
	files   *source.Files
	configs worker
	follow  worker
	urls    worker

	mu          sync.Mutex
	lastSuccess map[submission.Source]time.Time
	lastProblem map[submission.Source]SourceProblem
	looked      map[submission.Source]chan struct{} // those that start began with: closed after the first look
}

// A worker is a goroutine that can be ended.
type worker struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (w *worker) start(ctx context.Context, run func(context.Context)) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.done.Go(func() { run(ctx) })
}

func (w *worker) stop() {
	if w.cancel != nil {
		w.cancel()
		w.done.Wait()
	}
}

func (s *sources) start(ctx context.Context, a *Account) {
	s.running = ctx
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSuccess = make(map[submission.Source]time.Time)
	s.lastProblem = make(map[submission.Source]SourceProblem)
	s.looked = make(map[submission.Source]chan struct{})
	config := a.settings.Load().config
	s.looked[submission.Config] = make(chan struct{})
	if len(config.RequestIDFiles) > 0 {
		s.looked[submission.File] = make(chan struct{})
	}
	if len(config.RequestIDURLs) > 0 {
		s.looked[submission.URL] = make(chan struct{})
	}
	s.configs.start(ctx, a.announce)
	// The patterns were tried when the settings were prepared.
	s.files, _ = source.NewFiles(config.RequestIDFiles, 0, s.handler(a))
	s.follow.start(ctx, s.files.Run)
	s.startURLs(a)
}

func (s *sources) startURLs(a *Account) {
	settings := a.settings.Load()
	urls, _ := source.NewURLs(settings.config.RequestIDURLs, settings.web, settings.config.RefreshInterval, s.handler(a))
	s.urls.start(s.running, urls.Run)
}

// reload takes other settings. Files are read on from where they were; the rest is
// named, and asked, anew.
func (s *sources) reload(a *Account, config Config) {
	if s.files == nil { // not started yet
		return
	}
	s.configs.stop()
	s.configs.start(s.running, a.announce)
	_ = s.files.SetPatterns(config.RequestIDFiles)
	s.urls.stop()
	s.startURLs(a)
}

func (s *sources) stop() {
	s.configs.stop()
	s.follow.stop()
	s.urls.stop()
}

// announce names the IDs of the configuration, at once and then now and again.
func (a *Account) announce(ctx context.Context) {
	var jobs []submission.Job
	for _, id := range a.settings.Load().config.RequestIDs {
		jobs = append(jobs, submission.Job{RequestID: id})
	}
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		_, _, err := a.Track(ctx, submission.Config, jobs)
		if err != nil {
			a.noteProblem(submission.Config, 1, err)
		}
		a.sources.lookedAt(submission.Config, err == nil, a.now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *sources) handler(a *Account) source.Handler {
	return source.Handler{
		Track: func(ctx context.Context, from submission.Source, jobs []submission.Job) error {
			_, _, err := a.Track(ctx, from, jobs)
			if err != nil { // which has been logged
				a.noteProblem(from, 1, err)
			}
			return err
		},
		Problem: a.sourceProblem,
		Looked:  func(from submission.Source, sound bool) { s.lookedAt(from, sound, a.now()) },
	}
}

// noteProblem counts and keeps what is wrong with a source.
func (a *Account) noteProblem(from submission.Source, n int, err error) {
	a.sources.mu.Lock()
	a.sources.lastProblem[from] = SourceProblem{a.now(), err}
	a.sources.mu.Unlock()
	a.register.Count(func(c *jobs.Counts) { c.SourceErrors[from] += uint64(n) })
}

// sourceProblem counts, keeps and logs what is wrong with a source.
func (a *Account) sourceProblem(from submission.Source, n int, err error) {
	a.noteProblem(from, n, err)
	a.log.Warn("A source of request IDs has a problem", "source", string(from), "err", err)
}

func (s *sources) lookedAt(from submission.Source, sound bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sound {
		s.lastSuccess[from] = now
	}
	looked, waiting := s.looked[from]
	if !waiting { // a reload has brought it
		return
	}
	select {
	case <-looked:
	default:
		close(looked)
	}
}

// firstLook says whether what a source names now may be older than this process:
// IDs of the configuration, and what it has when it is first looked at.
func (s *sources) firstLook(from submission.Source) bool {
	if from == submission.Config {
		return true
	}
	s.mu.Lock()
	looked, waiting := s.looked[from]
	s.mu.Unlock()
	if !waiting {
		return false
	}
	select {
	case <-looked:
		return false
	default:
		return true
	}
}

// wait waits until every source that start began with was looked at once.
func (s *sources) wait(ctx context.Context) error {
	for _, looked := range s.looked {
		select {
		case <-looked:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// state returns when each source was last looked at without a problem, and its last
// problem.
func (s *sources) state() (map[submission.Source]time.Time, map[submission.Source]SourceProblem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.lastSuccess), maps.Clone(s.lastProblem)
}
