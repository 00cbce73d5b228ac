package simulator

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Outcome is how a job ends.
type Outcome string

// The outcomes of a job.
const (
	// Drawn means that the outcome is drawn.
	Drawn Outcome = ""
	// Completed ends with a result.
	Completed Outcome = "completed"
	// CompletedWithFault ends as Completed with a fault in place of a result.
	CompletedWithFault Outcome = "completed with fault"
	// Failed ends with a fault.
	Failed Outcome = "failed"
	// Stuck never ends.
	Stuck Outcome = "stuck"
	// Unknown is not known to the API: polling it returns 404.
	Unknown Outcome = "unknown"
)

// ends reports whether a job with this outcome ever ends.
func (o Outcome) ends() bool { return o != Stuck && o != Unknown }

// Job is a job to submit. Fields that are zero are drawn.
type Job struct {
	RequestID    string
	API          string        // one of [APIs]; empty is asr
	AudioSeconds float64       // length of the recording, at most a day
	Duration     time.Duration // from submission to end, regardless of Speed; negative: ended at once
	Outcome      Outcome
	Webhook      string // URL of its webhook; empty: none
}

// JobRecord is the true state of a job, for comparison in tests. Nothing in it is Drawn.
type JobRecord struct {
	Job
	SubmittedAt time.Time
	EndsAt      time.Time // zero: never
	ErrorCode   string    // of the fault it ends with
}

// job is a JobRecord with internal state. It does not change after its submission.
type job struct {
	JobRecord
	number   int // in order of submission
	seed     uint64
	api      api
	fault    jobFault
	progress bool // its status is In Progress instead of Running
}

// ended reports whether the job has ended by now.
func (j *job) ended(now time.Time) bool { return j.Outcome.ends() && !now.Before(j.EndsAt) }

// api is one of the vendor's async calls.
type api struct {
	name   string
	factor float64        // seconds of work for each second of audio
	result func(*encoder) // encodes the result; nil: it is not a JSON value of its own
}

var apis = []api{
	{"asr", 0.25, (*encoder).asr},
	{"diarize", 0.35, (*encoder).diarize},
	{"diarization/identify", 0.4, (*encoder).identify},
	{"recognise_emotion", 0.2, (*encoder).emotions},
	{"analytics/interaction", 0.5, (*encoder).interaction},
	{"vad", 0.05, (*encoder).vad},
	{"denoise", 0.3, (*encoder).denoise},
	{"featurize", 0.1, (*encoder).featurize},
	{"summary", 0.3, (*encoder).summary},
	{"punctuate", 0.02, (*encoder).punctuate},
	{"videochapters", 0.6, (*encoder).chapters},
	{"is_depressed", 0.3, nil},
}

// APIs returns the names of the async APIs, as they end a submission's path.
func APIs() []string {
	names := make([]string, len(apis))
	for i, a := range apis {
		names[i] = a.name
	}
	return names
}

// jobFault is the fault of a failed job.
type jobFault struct {
	text, code string
	early      bool // detected before the work starts
}

var jobFaults = []jobFault{
	{"Unable to decode the audio file", "com.deepaffects.BadRequest", true},
	{"Insufficient speech content in audio", "com.deepaffects.BadRequest", false},
	{"Audio is longer than allowed", "com.deepaffects.AudioTooLong", true},
	{"Language is not supported", "com.deepaffects.UnsupportedLanguage", true},
	{"Something went wrong", "com.deepaffects.InternalError", false},
}

// longestAudio limits the size of a result. In seconds.
const longestAudio = 24 * 60 * 60

// newJob draws what the submission leaves open.
func newJob(sub Job, o Options, now time.Time) *job {
	if sub.API == "" {
		sub.API = "asr"
	}
	i := slices.IndexFunc(apis, func(a api) bool { return a.name == sub.API })
	if i < 0 {
		panic("simulator: no such API: " + sub.API)
	}
	r := chance(o.Seed, "life", sub.RequestID)
	// Everything is always drawn, so that fixing one property does not change the others.
	audio := drawAudio(r)
	wait := lognormal(r, 3, 0.6)
	pace := lognormal(r, 1, 0.2)
	drawn := weighted(r, 0.06, 0.01, o.StuckShare, 0.93-o.StuckShare)
	outcome := []Outcome{Failed, CompletedWithFault, Stuck, Completed}[drawn]
	fault := pick(r, jobFaults...)

	j := &job{JobRecord: JobRecord{Job: sub, SubmittedAt: now}, seed: o.Seed, api: apis[i], progress: r.IntN(8) == 0}
	if j.AudioSeconds <= 0 {
		j.AudioSeconds = audio
	}
	j.AudioSeconds = min(j.AudioSeconds, longestAudio)
	if j.Outcome == Drawn {
		j.Outcome = outcome
	}
	if j.Outcome == Failed || j.Outcome == CompletedWithFault {
		j.fault, j.ErrorCode = fault, fault.code
	}
	work := j.AudioSeconds * j.api.factor * pace
	if j.fault.early {
		work = 1
	}
	if j.Duration == 0 {
		j.Duration = seconds((wait + work) / o.Speed)
	}
	if j.Outcome.ends() {
		j.EndsAt = now.Add(max(j.Duration, 0))
	}
	return j
}

// drawAudio draws the length of a recording in seconds.
func drawAudio(r *rand.Rand) float64 { return min(max(lognormal(r, 420, 0.9), 20), 5400) }

// requestID returns a UUID (version 4) for the number of a job.
func requestID(seed uint64, number int) string {
	b := sha256.Sum256(fmt.Appendf(nil, "%d ID %d", seed, number))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
