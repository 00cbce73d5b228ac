package jobs

import (
	"cmp"
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// registerBatch is the maximum number of jobs that one commit registers. Others wait for a commit: polls, webhooks and
// other registrations; and its rows are in memory.
const registerBatch = 2_000

// Register starts tracking the jobs that are not known, and returns how many those were. It is idempotent: many jobs
// take several commits, and an error may come after some of them. A departed job is not registered again, but for one
// that a user removed, over HTTP. ageUnknown says that the jobs may have begun long before now.
func (j *Jobs) Register(
	from submission.Source, submissions []submission.Job, ageUnknown bool, now time.Time,
) (registered, known int, err error) {
	for batch := range slices.Chunk(submissions, registerBatch) {
		err := j.apply(func(t *transaction) {
			t.answers = true
			for _, s := range batch {
				if job := t.track(from, s, now); job != nil {
					t.events = append(t.events, Event{Kind: Registered, Job: job, At: now, AgeUnknown: ageUnknown})
					registered++
				}
			}
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return registered, len(submissions) - registered, nil
}

// track starts tracking a job, unless it is known: then it returns nil.
func (t *transaction) track(from submission.Source, s submission.Job, now time.Time) *Job {
	if _, tracked := t.jobs.Get(s.RequestID); tracked {
		return nil
	}
	if departed, removed := t.departed.find(s.RequestID); departed && (!removed || from != submission.HTTP) {
		t.departed.remember(s.RequestID, removed) // for as long as a source names it
		return nil
	}
	return t.register(from, s, now)
}

// Remove stops tracking a job, and reports whether it was tracked.
func (j *Jobs) Remove(requestID string) (was bool, err error) {
	err = j.apply(func(t *transaction) {
		t.answers = true
		was = t.removeJob(requestID)
	})
	return was && err == nil, err
}

// removeJob stops tracking a job for a user, and reports whether it was tracked.
func (t *transaction) removeJob(requestID string) bool {
	job, tracked := t.jobs.Get(requestID)
	if tracked {
		t.depart(job, true)
	}
	return tracked
}

// An Observation is what a poll or a webhook reports about a job.
type Observation struct {
	RequestID string
	At        time.Time
	By        Observer
	State     State              // Running, Completed, Failed, Unchanged, Missing, Unanswered or Unreadable
	ErrorCode string             // with Failed
	Result    *transcript.Result // with Completed; nil without anything to measure
	Adopt     bool               // with an end: track the job if it is not registered
	Request   *Request           // of a poll: is counted in the same commit
	// Readable, of Unreadable, is the end that could be read: Completed or Failed; else Lost.
	Readable State
	// HealthyAt, of Unreadable, is when the API last answered as it should, or At if the answer was certainly about the
	// job. A poll counts against the job if that is later than the poll before: else the API may be at fault.
	HealthyAt time.Time

	packed []byte // the timings of the result, if it has only packed ones
}

// packedTimings returns the timings of the result as they are kept; nil without any.
func (o *Observation) packedTimings() []byte {
	if o.Result == nil || len(o.Result.Timings) == 0 {
		return o.packed
	}
	return transcript.PackTimings(transcript.Compact(o.Result.Timings))
}

// A Request is one request to the API.
type Request struct {
	Outcome      jobstatus.Outcome
	Duration     time.Duration
	UnknownState bool   // the response has a state word that is not known
	StateWord    string // that word, if it looks like one
	Detail       string // why the outcome is not ok; contains neither the key nor the response
}

func (r *Request) addTo(c increments) {
	c.add(APIRequests, 1, r.Outcome.String())
	c.histogram(APIRequestDuration).Observe(r.Duration.Seconds())
	if r.UnknownState {
		c.add(APIUnknownStates, 1)
	}
}

// An Effect is what an observation changed.
type Effect struct {
	Known      bool          // the job is tracked, or was
	Changed    bool          // its state is another than before
	Adopted    bool          // it was not tracked before
	Job        *Job          // after the observation; nil: it is not tracked
	MissingFor time.Duration // of Missing: for how long without interruption
	Unreadable bool          // it ended because what the API answers about it stayed unreadable
}

// Webhook returns the outcome of the webhook that brought the observation.
func (e Effect) Webhook() WebhookOutcome {
	switch {
	case !e.Known:
		return WebhookUnknownJob
	case !e.Changed:
		return WebhookDuplicate
	case e.Adopted:
		return WebhookAdopted
	}
	return WebhookAccepted
}

// Observe applies an observation. It is idempotent: the first end of an unfinished job counts, and a repeat
// changes nothing. A lost job that turns out to have ended takes that state and its result; its end was counted
// before. That a job still runs is stored only where its state changes by that.
func (j *Jobs) Observe(o Observation) (effect Effect, err error) {
	if o.Request != nil {
		j.count(o.Request.addTo) // it was sent, whether the observation can be stored or not
	}
	err = j.run(&operation{webhook: o.By == ByWebhook, do: func(t *transaction) { effect = t.observe(o) }})
	if err != nil {
		return Effect{}, err
	}
	return effect, nil
}

func (t *transaction) observe(o Observation) Effect {
	e := t.take(o)
	if o.By == ByWebhook {
		if o.At.After(t.webhook) {
			t.webhook = o.At
		}
		t.counts.add(WebhookRequests, 1, e.Webhook().String())
	}
	return e
}

func (t *transaction) take(o Observation) Effect {
	before, tracked := t.jobs.Get(o.RequestID)
	if !tracked {
		departed, _ := t.departed.find(o.RequestID)
		if departed || !o.Adopt {
			return Effect{Known: departed}
		}
		before = t.register(submission.Webhook, submission.Job{RequestID: o.RequestID}, o.At)
	}
	after := before
	if before.State != Completed && before.State != Failed && (before.State != Lost || o.State.Ended()) {
		after = t.advance(before, o)
	}
	e := Effect{Known: true, Changed: after.State != before.State, Adopted: !tracked, Job: after}
	if e.Changed {
		t.changed(after, o)
	}
	e.Unreadable = e.Changed && o.State == Unreadable
	if o.State == Missing && !after.missingSince.IsZero() {
		e.MissingFor = o.At.Sub(after.missingSince)
	}
	return e
}

// advance applies an observation to a job that can still change, and returns its next version.
func (t *transaction) advance(before *Job, o Observation) *Job {
	next := before.next()
	if r := o.Request; r != nil {
		next.LastPoll = &Poll{o.At, *r}
	}
	switch o.State {
	case Missing:
		next.unreadable = nil
		if next.missingSince.IsZero() {
			next.missingSince = o.At
		}
		if o.At.Sub(next.missingSince) > t.options.NotFoundGrace {
			return t.end(before, next, Observation{At: o.At, State: Lost, ErrorCode: CodeNotFound})
		}
		t.put(next, false)
		return next
	case Unreadable:
		if next.unreadable = next.unreadable.add(o); next.unreadable.suffice() {
			t.counts.add(UnreadableResults, 1)
			return t.endUnreadable(before, next, o)
		}
		fallthrough
	case Unanswered:
		t.put(next, false)
		return next
	}
	next.LastObserved, next.missingSince, next.unreadable = o.At, time.Time{}, nil
	if o.State.Ended() {
		return t.end(before, next, o)
	}
	if o.State != Unchanged {
		next.State = o.State
	}
	t.put(next, next.State != before.State)
	t.emit(StillRunning, next, o.At, o.By)
	return next
}

// An answer that stays unreadable at so many polls over so long a time ends its job.
const (
	minUnreadable = 3
	unreadableFor = 10 * time.Minute
)

// add returns the polls with one more, if it counts. It changes nothing.
func (u *unreadablePolls) add(o Observation) *unreadablePolls {
	switch {
	case u == nil:
		return &unreadablePolls{1, o.At, o.At}
	case !o.HealthyAt.After(u.last):
		return u
	}
	return &unreadablePolls{u.n + 1, u.first, o.At}
}

func (u *unreadablePolls) suffice() bool {
	return u.n >= minUnreadable && u.last.Sub(u.first) >= unreadableFor
}

// endUnreadable ends a job by what could be read.
func (t *transaction) endUnreadable(before, next *Job, o Observation) *Job {
	end := Observation{At: o.At, By: o.By, State: o.Readable, ErrorCode: o.ErrorCode}
	if end.State == Lost {
		end.ErrorCode = CodeUnreadable
	} else {
		next.LastObserved = o.At
	}
	return t.end(before, next, end)
}

// giveUp makes an unfinished job lost: nothing was observed.
func (t *transaction) giveUp(j *Job, code string, now time.Time) {
	next, o := j.next(), Observation{At: now, State: Lost, ErrorCode: code}
	t.end(j, next, o)
	t.changed(next, o)
}

// end ends a job, and counts its first end.
func (t *transaction) end(before, next *Job, o Observation) *Job {
	lastPoll := cmp.Or(before.LastObserved, before.Start())
	next.State, next.FinishedAt, next.ErrorCode = o.State, o.At, o.ErrorCode
	next.DetectionWindow = max(o.At.Sub(lastPoll), 0)
	if !before.State.Ended() {
		t.counts.end(next)
	}
	if o.Result != nil {
		statistics := o.Result.Statistics // a pointer into the result would keep all of it
		next.Statistics = &statistics
		t.counts.result(next, o.Result)
	}
	t.put(next, true)
	if t.options.KeepTimings {
		if packed := o.packedTimings(); packed != nil {
			t.timings.put(next.RequestID, packed)
			t.timed.Set(next)
		}
	}
	if next.State == Lost {
		t.emit(Removed, next, o.At, o.By)
	} else {
		t.emit(Ended, next, o.At, o.By)
	}
	return next
}
