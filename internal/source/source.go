// Package source finds request IDs where users keep them: in files, which it
// follows as they grow, and behind URLs, which it asks now and then. What it
// finds it offers to a Handler; it knows nothing of what becomes of a job.
//
// Its errors name a file and a line, or a URL without its query and user. They
// never repeat content: a file that was named by mistake may hold anything.
package source

import (
	"context"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Handler is what a source reports to. All three functions are needed. They
// are called from the goroutine of Run, one at a time.
type Handler struct {
	// Track is offered at most 1,000 jobs, which it may keep. An error says that
	// none of them was taken: the source offers the same again at its next look.
	// The source does not report that error, as Track knows it best.
	Track func(ctx context.Context, from submission.Source, jobs []submission.Job) error
	// Problem reports n problems, at least one, that err stands for. What stays
	// wrong in a file is reported once and not at each look.
	Problem func(from submission.Source, n int, err error)
	// Looked reports that everything was looked at, and whether all of it is
	// sound: nothing wrong, be it new or reported before, and every job taken. It
	// is not called where there is nothing to look at.
	Looked func(from submission.Source, sound bool)
}

const (
	batchSize   = 1_000     // jobs offered at once
	maxEntries  = 1_000_000 // of one JSON array
	maxDocument = 64 << 20  // bytes of one JSON array
	bom         = "\ufeff"  // what some editors write at the start of UTF-8 text
)

// offer hands jobs to Track batch by batch, and returns how many were taken.
func (h *Handler) offer(ctx context.Context, from submission.Source, jobs []submission.Job) (taken int, err error) {
	for batch := range slices.Chunk(jobs, batchSize) {
		if err := h.Track(ctx, from, batch); err != nil {
			return taken, err
		}
		taken += len(batch)
	}
	return taken, nil
}
