package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outage"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

const (
	// repeatInterval is how often the request IDs of the configuration are registered
	// again: an ended job is remembered for as long as its ID is named.
	repeatInterval = time.Hour
	// retryInterval is how soon they are registered again if they could not be stored.
	retryInterval = 5 * time.Second
)

// sources read request IDs from the configuration, from files and from URLs.
type sources struct {
	// These do not change.
	jobs writer
	keys *keys
	log  *slog.Logger
	now  func() time.Time

	// These belong to the methods that start, reload and stop, which one goroutine at a time calls.
	files                *source.Files // nil before startFiles
	owned                bool          // between startOwned and stopOwned
	config, follow, urls worker

	mu      sync.Mutex                 // guards what follows
	read    map[submission.Source]bool // as configured; nothing is kept of others
	success map[submission.Source]time.Time
	problem map[submission.Source]SourceProblem
	calm    time.Duration // after so long without a problem, a source is stable again
	logged  map[submission.Source]map[string]loggedProblem
	outages map[submission.Source]sourceOutage // in which they cannot be read as a whole, or not each time
	// keyListed are the sources that have listed an API key, which is logged once.
	keyListed map[submission.Source]bool
	looking   map[submission.Source]chan struct{} // sources at start until they were read once; then it is closed
	large     map[submission.Source]bool          // sources that are read in parts, which was logged
}

// minCalm is longer than files and URLs that fail every other time are well, unless refresh_interval is longer.
const minCalm = 10 * time.Minute

// calmIntervals is in how many intervals a URL that fails every other time has failed again.
const calmIntervals = 3

// maxLogged bounds the problems that are remembered after they have gone.
const maxLogged = 1000

// A loggedProblem is a problem that was logged, and has not been gone for long.
type loggedProblem struct {
	entries int       // when it was logged
	seen    time.Time // last
	shown   bool      // the last line about it says that it is there
}

// A sourceOutage is a time in which a source fails, or fails again and again.
type sourceOutage struct {
	outage.Outage
	failed   time.Time // last
	unstable bool      // it could be read since it was last logged
}

// A SourceProblem is what was wrong with a source of request IDs.
type SourceProblem struct {
	At  time.Time
	Err error
}

func newSources(w writer, k *keys, log *slog.Logger, now func() time.Time) *sources {
	return &sources{
		jobs: w, keys: k, log: log, now: now,
		success: make(map[submission.Source]time.Time), problem: make(map[submission.Source]SourceProblem),
		looking: make(map[submission.Source]chan struct{}), logged: make(map[submission.Source]map[string]loggedProblem),
		keyListed: make(map[submission.Source]bool), outages: make(map[submission.Source]sourceOutage),
		large: make(map[submission.Source]bool),
	}
}

// start starts to read the sources of a configuration. Stop must be called.
func (s *sources) start(with *settings) {
	s.startFiles(with)
	s.startOwned(with)
}

// startFiles starts to read files, which a replica reads where they are.
func (s *sources) startFiles(with *settings) {
	s.mu.Lock()
	if len(with.config.RequestIDFiles) > 0 {
		s.looking[submission.File] = make(chan struct{})
	}
	s.mu.Unlock()
	s.configure(with)
	s.files, _ = source.NewFiles(with.config.RequestIDFiles, s.handler(with.config.Account)) // prepare reports its error
	s.follow.start(s.files.Run)
}

// startOwned starts to read the sources that all replicas have in common: their owner reads them.
func (s *sources) startOwned(with *settings) {
	s.owned = true
	s.mu.Lock()
	s.looking[submission.Config] = make(chan struct{})
	if len(with.config.RequestIDURLs) > 0 {
		s.looking[submission.URL] = make(chan struct{})
	}
	s.mu.Unlock()
	s.configure(with)
	s.startOthers(with)
}

// stopOwned ends what startOwned has started.
func (s *sources) stopOwned() {
	s.owned = false
	s.config.stop()
	s.urls.stop()
}

// configure notes which sources are read.
func (s *sources) configure(with *settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = map[submission.Source]bool{
		submission.Config: s.owned,
		submission.File:   len(with.config.RequestIDFiles) > 0,
		submission.URL:    s.owned && len(with.config.RequestIDURLs) > 0,
	}
	s.calm = max(minCalm, calmIntervals*with.config.RefreshInterval)
	maps.DeleteFunc(s.success, func(from submission.Source, _ time.Time) bool { return !s.read[from] })
	maps.DeleteFunc(s.problem, func(from submission.Source, _ SourceProblem) bool { return !s.read[from] })
	maps.DeleteFunc(s.logged, func(from submission.Source, _ map[string]loggedProblem) bool { return !s.read[from] })
	maps.DeleteFunc(s.outages, func(from submission.Source, _ sourceOutage) bool { return !s.read[from] })
}

func (s *sources) startOthers(with *settings) {
	var configured []submission.Job
	for _, id := range with.config.RequestIDs {
		configured = append(configured, submission.Job{RequestID: id})
	}
	s.config.start(func(ctx context.Context) { s.repeat(ctx, configured) })
	urls, _ := source.NewURLs(with.config.RequestIDURLs, with.web.Transport, with.urlHeader, with.config.RefreshInterval,
		s.handler(with.config.Account))
	s.urls.start(urls.Run)
}

// reload uses another configuration. Files are read on from where they were; the other sources are read again. A
// source that is not configured any more leaves no problem and no success behind, which would look as if it failed.
func (s *sources) reload(with *settings) {
	if s.files == nil {
		return
	}
	s.configure(with)
	_ = s.files.SetPatterns(with.config.RequestIDFiles) // prepare reports its error
	if s.owned {
		s.config.stop()
		s.urls.stop()
		s.startOthers(with)
	}
}

func (s *sources) stop() {
	s.stopOwned()
	s.follow.stop()
}

// repeat registers the jobs of the configuration at once, and from time to time.
func (s *sources) repeat(ctx context.Context, jobs []submission.Job) {
	for {
		wait := repeatInterval
		err := s.register(submission.Config, jobs, true)
		if err != nil {
			wait = retryInterval
		}
		s.markLooked(submission.Config, err == nil, 0)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (s *sources) handler(account string) source.Handler {
	return source.Handler{
		Account: account,
		Track: func(_ context.Context, from submission.Source, jobs []submission.Job, firstLook bool) error {
			return s.register(from, jobs, firstLook)
		},
		Looked: func(from submission.Source, problems []source.Problem, ok bool, left int64) {
			s.report(from, problems, ok)
			s.markLooked(from, ok, left)
		},
	}
}

// report counts, keeps and logs what is wrong with a source: in one line what has begun
// since its last report, and in another what has gone. It reminds of a source that still cannot be read as a whole,
// and of one that fails again and again.
func (s *sources) report(from submission.Source, problems []source.Problem, ok bool) {
	failures := 0
	for _, p := range problems {
		failures += p.New
	}
	if failures > 0 {
		s.jobs.CountSourceErrors(from, failures)
	}
	if i := slices.IndexFunc(problems, func(p source.Problem) bool { return p.New > 0 }); i >= 0 {
		s.note(from, problems[i].Err)
	}
	lasted, remind, unstable := s.outlast(from, len(problems), ok)
	remind = remind && lasted > 0 // else it is logged as it begins
	fresh, gone := s.compare(from, problems, remind)
	log := s.log.With("source", string(from))
	if lasted > 0 {
		log = log.With("after", lasted.String())
	}
	switch {
	case len(fresh) > 0:
		log.Warn("Request ID source has errors", "problems", len(fresh), "entries", entries(fresh), "err", fresh[0].Err)
	case remind:
		message := "Request ID source still has errors"
		if unstable {
			message = "Request ID source has errors again"
		}
		log.Warn(message, "problems", len(problems), "entries", entries(problems), "err", problems[0].Err)
	}
	if gone > 0 {
		log.Info("Request ID source has fewer errors", "gone", gone, "left", len(problems))
	}
}

func entries(of []source.Problem) (n int) {
	for _, p := range of {
		n += p.Count
	}
	return n
}

// outlast notes how many problems a source has, and whether it could be read as a whole. It returns for how long that
// it could not lasts or lasted, whether it is time to log that, and whether all problems were gone meanwhile.
func (s *sources) outlast(from submission.Source, problems int, ok bool) (lasted time.Duration, remind, unstable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.read[from] {
		return 0, false, false
	}
	o, now := s.outages[from], s.now()
	if now.Sub(o.failed) > s.calm {
		o = sourceOutage{}
	}
	lasted, _ = o.Lasts(now)
	switch {
	case problems == 0:
		o.unstable = lasted > 0
	case !ok:
		o.failed = now
		remind, unstable = o.Report(now, ""), o.unstable
		o.unstable = unstable && !remind
	}
	s.outages[from] = o
	return lasted, remind, unstable
}

// compare returns which problems of a source were not logged, and how many of the logged
// ones have gone. Bad entries are logged again when there are ten times as many. A problem that comes back soon is not
// logged, unless all are.
func (s *sources) compare(from submission.Source, problems []source.Problem, all bool) (
	fresh []source.Problem, gone int,
) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.read[from] {
		return nil, 0
	}
	now, logged := s.now(), make(map[string]loggedProblem, len(problems))
	for _, p := range problems {
		l, known := s.logged[from][p.Key]
		if !known || p.Count >= 10*l.entries {
			fresh = append(fresh, p)
			l.entries, l.shown = p.Count, true
		}
		l.seen, l.shown = now, l.shown || all
		logged[p.Key] = l
	}
	for key, l := range s.logged[from] {
		if _, still := logged[key]; still {
			continue
		}
		if l.shown {
			gone++
			l.shown = false
		}
		if now.Sub(l.seen) <= s.calm && len(logged) < maxLogged {
			logged[key] = l
		}
	}
	s.logged[from] = logged
	return fresh, gone
}

// register registers jobs, which may have begun long ago if their age is unknown. It does not log an error: the
// housekeeping logs once that the store cannot be written.
func (s *sources) register(from submission.Source, jobs []submission.Job, ageUnknown bool) error {
	allowed := s.keys.without(jobs)
	if n := len(jobs) - len(allowed); n > 0 {
		s.refuseKeys(from, n)
	}
	jobs = allowed
	_, _, err := s.jobs.Register(from, jobs, ageUnknown, s.now())
	if err != nil {
		s.jobs.CountSourceErrors(from, 1)
		s.note(from, fmt.Errorf("registering jobs: %w", err))
	}
	return err
}

// refuseKeys reports jobs that contain a key or token, most likely since a pattern matches its file.
func (s *sources) refuseKeys(from submission.Source, n int) {
	s.jobs.CountSourceErrors(from, n)
	s.note(from, errors.New("a key or token is listed in the place of a request ID; remove it from the list, "+
		"or exclude its file from the patterns"))
	s.mu.Lock()
	known := s.keyListed[from]
	s.keyListed[from] = true
	s.mu.Unlock()
	if !known {
		s.log.Warn("A key or token is listed in the place of a request ID, and not registered", "source", string(from))
	}
}

// note keeps what was wrong with a source last.
func (s *sources) note(from submission.Source, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read[from] {
		s.problem[from] = SourceProblem{s.now(), err}
	}
}

// markLooked notes that a source was read, but for the bytes that are left of large files. It logs once that some are.
func (s *sources) markLooked(from submission.Source, valid bool, left int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left > 0 && !s.large[from] {
		s.log.Info("Reading large request ID files in parts", "source", string(from), "bytes_left", left)
	}
	s.large[from] = left > 0
	if valid && s.read[from] {
		s.success[from] = s.now()
	}
	if looked := s.looking[from]; looked != nil && left == 0 {
		close(looked)
		delete(s.looking, from)
	}
}

// wait waits until every source of start was read once.
func (s *sources) wait(ctx context.Context) error {
	s.mu.Lock()
	waiting := maps.Clone(s.looking)
	s.mu.Unlock()
	for _, looked := range waiting {
		select {
		case <-looked:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// state returns when each source was last read without a problem, and its last problem.
func (s *sources) state() (map[submission.Source]time.Time, map[submission.Source]SourceProblem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.success), maps.Clone(s.problem)
}

// A worker is a goroutine that can be stopped.
type worker struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (w *worker) start(run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.done.Go(func() { run(ctx) })
}

func (w *worker) stop() {
	if w.cancel != nil {
		w.cancel()
		w.done.Wait()
	}
}
