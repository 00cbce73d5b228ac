// Package source reads request IDs from files, which it follows as they grow, and from
// URLs, which it fetches at an interval. It hands what it finds to a Handler and knows
// nothing about what happens to a job.
//
// Its errors name a file and a line, or a URL without user and query. They never quote
// content: a file that was configured by mistake may hold anything.
package source

import (
	"context"
	"errors"
	"iter"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Handler receives what a source finds. Its functions are required. They are called from
// the goroutine of Run, one at a time.
type Handler struct {
	// Account is the name of the account whose jobs these are. An entry that names another one is bad.
	Account string
	// Track receives at most 1,000 jobs, about 1 MiB, which it may keep. An error means that none of
	// them was accepted: the source offers the same jobs again. It is not a Problem.
	// firstLook says that their file or URL is read for the first time since the start, or since a change
	// of the configuration added it: they may be in it for long.
	Track func(ctx context.Context, from submission.Source, jobs []submission.Job, firstLook bool) error
	// Looked reports that everything was looked at once: what is wrong at present, whether
	// all that was read this time was valid and every job was accepted, and how many bytes
	// of large files are left for the next looks. It is not called when there is nothing to
	// read.
	Looked func(from submission.Source, problems []Problem, ok bool, left int64)
}

// check returns why a job is not for the account.
func (h *Handler) check(j submission.Job) error {
	if j.Account != "" && j.Account != h.Account {
		return errors.New("its account is another one than that of this source; " +
			"list it in a source of that account, or remove account")
	}
	return nil
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
	batchMemory = 1 << 20   // bytes that the jobs of a call take, at most, but for the last of them
	maxEntries  = 1_000_000 // of one JSON array
	maxDocument = 64 << 20  // bytes of one JSON array
	maxPart     = 64 << 20  // bytes of a file that one look reads: a sparse file may have any size
	bom         = "\ufeff"  // some editors write it at the start of UTF-8 text
)

// What a source holds at most of what it reads, in bytes. Readers of foreign data add up to a limit of the process.
const (
	FilesMemory = submission.ParserMemory + batchMemory + 1<<19 // the last is for buffers, and the largest entry
	URLsMemory  = maxInFlight*(smallBody+chunkSize) + maxBody + submission.ParserMemory + batchMemory + 1<<19
)

// A batch is a number of jobs for one call of Track.
type batch struct {
	jobs   []submission.Job
	memory int
}

func (b *batch) add(j submission.Job) {
	b.jobs = append(b.jobs, j)
	b.memory += j.Memory()
}

func (b *batch) full() bool { return len(b.jobs) == batchSize || b.memory >= batchMemory }

// offer hands the jobs of a list to Track in batches, but for the first ones, which were accepted before. It returns
// how many are accepted now. broken is why the list ended too early; refused is the error of Track, at which it stops.
func (h *Handler) offer(
	ctx context.Context, from submission.Source, firstLook bool, list iter.Seq2[submission.Job, error], before int,
) (accepted int, broken, refused error) {
	var b batch
	accepted = before
	track := func() error {
		if len(b.jobs) == 0 {
			return nil
		}
		if err := h.Track(ctx, from, b.jobs, firstLook); err != nil {
			return err
		}
		accepted += len(b.jobs)
		b = batch{}
		return nil
	}
	for job, err := range list {
		if err != nil {
			broken = err
			break
		}
		if before > 0 {
			before--
			continue
		}
		if b.add(job); b.full() {
			if err := track(); err != nil {
				return accepted, nil, err
			}
		}
	}
	return accepted, broken, track()
}
