package collector

import (
	"context"
	"fmt"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A Job is what is known of one job.
type Job = jobs.Job

// A Change is a change of a job's state that was observed.
type Change = jobs.StateChange

// MaxSpeakers is how many speakers of a job have figures of their own.
const MaxSpeakers = transcript.MaxSpeakers

// Changes returns the changes of state that were observed and have not been
// delivered yet, the oldest first, at most limit. There are none without
// Options.MaxChanges.
func (a *Account) Changes(limit int) []Change { return a.register.Changes(limit) }

// Delivered notes that the changes with these numbers have been delivered. They
// are not returned again, also after a restart. Numbers that do not wait are passed
// over.
func (a *Account) Delivered(ctx context.Context, numbers ...uint64) error {
	if err := a.stored(a.register.Delivered(ctx, numbers)); err != nil {
		return fmt.Errorf("noting what was delivered: %w", err)
	}
	return nil
}
