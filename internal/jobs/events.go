package jobs

import "time"

// An EventKind is what happened to a job.
type EventKind int

// The kinds of events.
const (
	Registered   EventKind = iota // it is tracked now, and unfinished
	StillRunning                  // the API answered about it, and it has not ended
	Ended                         // its end was observed; it may be adopted, or have been given up before
	Removed                       // it was given up, and its state is Lost, or a user removed it, and it is unfinished
)

// An Observer is who reports an observation.
type Observer int

// The observers.
const (
	ByPoll Observer = iota
	ByWebhook
)

// An Event is one thing that happened to a job, in the order of the commits.
type Event struct {
	Kind EventKind
	Job  *Job      // after the event; for Removed by a user, before it
	At   time.Time // zero for Removed by a user
	By   Observer  // of StillRunning and Ended
	// AgeUnknown, of Registered, says that the job may have begun long before it was registered.
	AgeUnknown bool
}
