package jobs

import (
	"maps"
	"time"
)

// Declared returns all totals.
func Declared() []*Total { return declared }

// CountRequest counts a request, to be shown with the next commit.
func (j *Jobs) CountRequest(r Request) { j.countNow(r.addTo) }

// List returns selected jobs, the newest first, as Sorted does.
func (j *Jobs) List(f Filter, after string, limit int) (jobs []*Job, next string, ok bool) {
	jobs, next, _, ok = j.Sorted(f, ByRegistration, false, after, limit, time.Time{})
	return jobs, next, ok
}

// CountStoreErrors counts failures of the store beside those of this Remote.
func (r *Remote) CountStoreErrors(n int) { r.count(counts{StoreErrors: uint64(n)}) }

// Requests returns the reserved requests to the API by Unix second.
func (j *Jobs) Requests() map[int64]int { return maps.Collect(j.committed.Load().requests.Scan) }
