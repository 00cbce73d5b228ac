package simulator

import (
	"math/rand/v2"
	"time"
)

// Outcome is how a job ends.
type Outcome int

// The outcomes of a job.
const (
	// Drawn leaves the outcome to chance, by the shares in [Options].
	Drawn Outcome = iota
	// Completed ends with a result.
	Completed
	// CompletedWithFault ends as Completed with a fault for a result.
	CompletedWithFault
	// Failed ends with a fault.
	Failed
	// Stuck runs for ever.
	Stuck
	// Unknown is not known to the API: asking about it gives 404.
	Unknown
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Drawn:
		return "drawn"
	case Completed:
		return "completed"
	case CompletedWithFault:
		return "completed with fault"
	case Failed:
		return "failed"
	case Stuck:
		return "stuck"
	default:
		return "unknown"
	}
}

// ends reports whether a job with this outcome ever ends.
func (o Outcome) ends() bool { return o != Stuck && o != Unknown }

// Job is what [Simulator.Submit] takes. What is left zero is drawn.
type Job struct {
	RequestID    string
	API          string        // one of [APIs]; empty is asr
	AudioSeconds float64       // length of the recording, at most a day
	Duration     time.Duration // from submission to end, whatever the speed; negative has ended at once
	Outcome      Outcome
	Webhook      string // URL to tell the end; empty is none
}

// JobRecord is the truth about a job, for tests to compare with.
type JobRecord struct {
	RequestID        string
	API              string
	AudioSeconds     float64
	SubmittedAt      time.Time
	EndsAt           time.Time // zero: never
	Outcome          Outcome   // never Drawn
	ErrorCode        string    // of the fault it ends with
	Webhook          string
	WebhookTries     int
	WebhookTakenAt   time.Time // when a try was first answered with 200; zero: not yet
	WebhookAbandoned bool      // every try failed, or it was lost on purpose
}

// job is a JobRecord and what only the simulator needs to know. All but the
// webhook's part is fixed at submission; that part is guarded by Simulator.mu.
type job struct {
	JobRecord
	seed     uint64
	fault    jobFault
	progress bool // says In Progress instead of Running
	again    bool // its webhook is to be sent a second time
}

// ended reports whether the job has ended by now.
func (j *job) ended(now time.Time) bool {
	return j.Outcome.ends() && !now.Before(j.EndsAt)
}

// forgotten reports whether the job ended more than retention ago.
func (j *job) forgotten(now time.Time, retention time.Duration) bool {
	if retention <= 0 {
		return false
	}
	if !j.Outcome.ends() {
		return now.Sub(j.SubmittedAt) > 24*time.Hour+retention
	}
	return now.Sub(j.EndsAt) > retention
}

// api is one of the vendor's async calls.
type api struct {
	name   string
	factor float64 // seconds of work for each second of audio
}

var apis = []api{
	{"asr", 0.25},
	{"diarize", 0.35},
	{"diarization/identify", 0.4},
	{"recognise_emotion", 0.2},
	{"analytics/interaction", 0.5},
	{"vad", 0.05},
	{"denoise", 0.3},
	{"featurize", 0.1},
	{"summary", 0.3},
	{"punctuate", 0.02},
	{"videochapters", 0.6},
	{"is_depressed", 0.3},
}

// APIs returns the names of the async APIs, as they end a submission's path.
func APIs() []string {
	names := make([]string, len(apis))
	for i, a := range apis {
		names[i] = a.name
	}
	return names
}

func known(name string) bool { return factor(name) > 0 }

// factor is the real-time factor of an API, 0 for one that does not exist.
func factor(name string) float64 {
	for _, a := range apis {
		if a.name == name {
			return a.factor
		}
	}
	return 0
}

// jobFault is why a job failed.
type jobFault struct {
	text, code string
	early      bool // found out before the work begins
}

var jobFaults = []jobFault{
	{"Unable to decode the audio file", "com.deepaffects.BadRequest", true},
	{"Insufficient speech content in audio", "com.deepaffects.BadRequest", false},
	{"Audio is longer than allowed", "com.deepaffects.AudioTooLong", true},
	{"Language is not supported", "com.deepaffects.UnsupportedLanguage", true},
	{"Something went wrong", "com.deepaffects.InternalError", false},
}

// longestAudio bounds the size of a result.
const longestAudio = 24 * 60 * 60

// life makes the job: what the submission leaves open is drawn.
func (s *Simulator) life(sub Job, now time.Time) *job {
	r := chance(s.opt.Seed, sub.RequestID, forLife)
	// Everything is drawn whether it is needed or not, so that a fixed
	// property does not change the others.
	audio := min(max(lognormal(r, 420, 0.9), 20), 5400)
	wait := lognormal(r, 3, 0.6)
	pace := lognormal(r, 1, 0.2)
	outcome := s.outcome(r)
	fault := pick(r, jobFaults)
	progress := r.IntN(8) == 0

	j := &job{seed: s.opt.Seed, progress: progress}
	j.RequestID, j.API, j.Webhook = sub.RequestID, sub.API, sub.Webhook
	j.SubmittedAt = now
	j.AudioSeconds = audio
	if sub.AudioSeconds > 0 {
		j.AudioSeconds = min(sub.AudioSeconds, longestAudio)
	}
	j.Outcome = outcome
	if sub.Outcome != Drawn {
		j.Outcome = sub.Outcome
	}
	if j.Outcome == Failed || j.Outcome == CompletedWithFault {
		j.fault = fault
		j.ErrorCode = fault.code
	}
	if !j.Outcome.ends() {
		return j
	}
	work := j.AudioSeconds * factor(j.API) * pace
	if j.fault.early {
		work = 1
	}
	duration := seconds((wait + work) / s.opt.Speed)
	if sub.Duration != 0 {
		duration = max(sub.Duration, 0)
	}
	j.EndsAt = now.Add(duration)
	return j
}

func (s *Simulator) outcome(r *rand.Rand) Outcome {
	x := r.Float64()
	if x -= s.opt.FailedShare; x < 0 {
		return Failed
	}
	if x -= s.opt.CompletedWithFaultShare; x < 0 {
		return CompletedWithFault
	}
	if x -= s.opt.StuckShare; x < 0 {
		return Stuck
	}
	return Completed
}
