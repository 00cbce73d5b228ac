package postgres

import (
	"slices"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// departedJobs are the departures of an account, of which another replica is the owner. In the database they are blocks
// in order of departure: looking one up there would read up to 32 MB. A block that is full does not change.
type departedJobs struct {
	mu       sync.Mutex
	token    string // of the lease when the full blocks were read: a failover may have lost some since
	first    int64  // number of the oldest block: older ones are forgotten
	next     int64  // number behind the last full block that was read
	sorted   []store.Departure
	unsorted map[store.Departure]bool // departed later than those in sorted; whether a user removed it
}

// A find is what is known of a departure.
type find func(requestID string) store.Whereabouts

// add adds the blocks from next on, and returns what finds a job in all of them. The function is valid until the next
// call.
func (d *departedJobs) add(token string, first int64, blocks []store.DepartedBlock) find {
	if token != d.token || first != d.first {
		d.token, d.first, d.next, d.sorted, d.unsorted = token, first, 0, nil, nil
	}
	growing := make(map[store.Departure]bool)
	for _, b := range blocks {
		into := growing
		if len(b.Departures) >= store.DeparturesPerBlock && len(growing) == 0 {
			if d.unsorted == nil {
				d.unsorted = make(map[store.Departure]bool)
			}
			into, d.next = d.unsorted, int64(b.Number)+1
		}
		for _, departure := range b.Departures {
			into[departure&^1] = departure&1 == 1
		}
	}
	if len(d.unsorted) > max(len(d.sorted)/4, 8*store.DeparturesPerBlock) {
		d.sort()
	}
	return func(requestID string) store.Whereabouts {
		departure := store.DepartureOf(requestID, false)
		removed, found := growing[departure]
		if !found {
			removed, found = d.unsorted[departure]
		}
		if !found {
			i, _ := slices.BinarySearch(d.sorted, departure)
			found = i < len(d.sorted) && d.sorted[i]&^1 == departure
			removed = found && d.sorted[i]&1 == 1
		}
		switch {
		case !found:
			return store.Nowhere
		case removed:
			return store.Removed
		default:
			return store.Departed
		}
	}
}

// sort moves all that is unsorted into sorted, in the place of earlier departures of the same jobs.
func (d *departedJobs) sort() {
	kept := slices.DeleteFunc(d.sorted, func(departure store.Departure) bool {
		_, again := d.unsorted[departure&^1]
		return again
	})
	kept = slices.Grow(kept, len(d.unsorted))
	for departure, removed := range d.unsorted {
		if removed {
			departure |= 1
		}
		kept = append(kept, departure)
	}
	slices.Sort(kept)
	d.sorted, d.unsorted = kept, nil
}
