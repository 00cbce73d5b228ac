package postgres

import (
	"slices"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// departedJobs are the departures of an account, of which another replica is the owner. In the database they are blocks
// in order of departure: looking one up there would read up to 32 MB. Only the last block changes.
type departedJobs struct {
	mu       sync.Mutex
	first    int64   // number of the oldest block: older ones are forgotten
	next     int64   // number behind the last full block that was read
	last     []int64 // that block; nil: none was read
	sorted   []store.Departure
	unsorted map[store.Departure]bool // departed later than those in sorted; whether a user removed it
}

// maxUnsorted is large: each sort goes through all that is sorted.
const maxUnsorted = maxBlocks / 2 * store.DeparturesPerBlock

// read adds the first unread blocks, and reports whether there may be more.
func (d *departedJobs) read(blocks []unread) (more bool) {
	if from := blocks[0]; from.First != d.first || from.Next != d.next {
		d.first, d.next, d.last, d.sorted, d.unsorted = from.First, from.Next, nil, nil, nil
	}
	for i, b := range blocks {
		if b.Block != nil && (i < len(blocks)-1 || isFull(b.Departures)) {
			d.add(*b.Block, b.Departures)
		}
	}
	return len(blocks) == maxBlocks
}

func isFull(block []int64) bool { return len(block) >= store.DeparturesPerBlock }

// add adds the next block, which does not change any more: it is full, or there is a later one.
func (d *departedJobs) add(number int64, block []int64) {
	if d.unsorted == nil {
		d.unsorted = make(map[store.Departure]bool)
	}
	departuresOf(block, d.unsorted)
	d.next, d.last = number+1, block
	if len(d.unsorted) > maxUnsorted {
		d.sort()
	}
}

// departuresOf adds the departures of a block to others, with whether a user removed the job.
func departuresOf(block []int64, to map[store.Departure]bool) {
	for _, departure := range block {
		to[store.Departure(departure)&^1] = departure&1 == 1
	}
}

// find returns what is known of the departure of a job, which may be among others that are later.
func (d *departedJobs) find(requestID string, later map[store.Departure]bool) store.Whereabouts {
	departure := store.DepartureOf(requestID, false)
	removed, found := later[departure]
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

// sort moves all that is unsorted into sorted, in the place of earlier departures of the same jobs.
func (d *departedJobs) sort() {
	later := make([]store.Departure, 0, len(d.unsorted))
	for departure, removed := range d.unsorted {
		if removed {
			departure |= 1
		}
		later = append(later, departure)
	}
	slices.Sort(later)
	earlier := len(d.sorted) // those before this are not merged yet
	all := slices.Grow(d.sorted, len(later))[:earlier+len(later)]
	merged := len(all) // those from this on are
	for _, departure := range slices.Backward(later) {
		for ; earlier > 0 && all[earlier-1]&^1 >= departure&^1; earlier-- {
			if all[earlier-1]&^1 > departure&^1 {
				merged--
				all[merged] = all[earlier-1]
			}
		}
		merged--
		all[merged] = departure
	}
	d.sorted, d.unsorted = slices.Delete(all, earlier, merged), nil
}
