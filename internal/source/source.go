// Package source reads request IDs from files, which it follows as they grow, and from
// URLs, which it fetches at an interval. It hands what it finds to a Handler and knows
// nothing about what happens to a job.
//
// Its errors name a file and a line, or a URL without user and query. They never quote
// content: a file that was configured by mistake may hold anything.
package source

import (
	"context"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Handler receives what a source finds. Both functions are required. They are called from
// the goroutine of Run, one at a time.
type Handler struct {
	// Track receives at most 1,000 jobs, which it may keep. An error means that none of
	// them was accepted: the source offers the same jobs again. It is not a Problem.
	// firstLook says that their file or URL is read for the first time since the start, or since a change
	// of the configuration added it: they may be in it for long.
	Track func(ctx context.Context, from submission.Source, jobs []submission.Job, firstLook bool) error
	// Looked reports that everything was read once: what is wrong at present, and whether
	// all that was read this time was valid and every job was accepted. It is not called
	// when there is nothing to read.
	Looked func(from submission.Source, problems []Problem, ok bool)
}

// A Problem is what is wrong at present with one file, pattern or URL. It stays in the
// reports until it has gone.
type Problem struct {
	Key   string // the same in all reports of the problem
	Err   error  // names the place, without secrets
	Count int    // of bad entries; otherwise 1
	New   int    // of them since the last report; for a URL, failed requests
}

const (
	batchSize   = 1_000     // jobs per call of Track
	maxEntries  = 1_000_000 // of one JSON array
	maxDocument = 64 << 20  // bytes of one JSON array
	bom         = "\ufeff"  // some editors write it at the start of UTF-8 text
)

// offer hands jobs to Track in batches and returns how many were accepted.
func (h *Handler) offer(
	ctx context.Context, from submission.Source, jobs []submission.Job, firstLook bool,
) (accepted int, err error) {
	for batch := range slices.Chunk(jobs, batchSize) {
		if err := h.Track(ctx, from, batch, firstLook); err != nil {
			return accepted, err
		}
		accepted += len(batch)
	}
	return accepted, nil
}
