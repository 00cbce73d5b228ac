package jobs

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// blocksPerGeneration is such that a generation has two million departures.
const blocksPerGeneration = 4096

// departures are the jobs that are no longer tracked. They are remembered so that neither a source nor a late
// webhook brings one back. Their number is bounded and not their age: a file may name a job again after years, and
// a clock may jump. There are two generations of them. When the young one is full, the old one is forgotten. So at
// least the last two million are remembered, and at most four million, in 50 MB.
type departures struct {
	young, old *btree.Set[store.Departure]
	last       store.DepartedBlock   // which is not full
	changed    []store.DepartedBlock // in this transaction, beside the last one
	forgotten  []uint64              // numbers of blocks, in this transaction
	added      bool                  // to the last block, in this transaction
}

func newDepartures() departures {
	return departures{young: new(btree.Set[store.Departure]), old: new(btree.Set[store.Departure])}
}

func (d departures) copy() departures {
	return departures{young: d.young.Copy(), old: d.old.Copy(), last: d.last}
}

// find reports whether a job is remembered, and whether a user removed it.
func (d *departures) find(requestID string) (known, removed bool) {
	ended := store.DepartureOf(requestID, false)
	for _, generation := range []*btree.Set[store.Departure]{d.young, d.old} { // a later departure counts
		removed := generation.Contains(ended.Opposite())
		if removed || generation.Contains(ended) {
			return true, removed
		}
	}
	return false, false
}

// remember adds a departure, or renews it if it is of the old generation.
func (d *departures) remember(requestID string, removed bool) {
	departure := store.DepartureOf(requestID, removed)
	if d.young.Contains(departure) {
		return
	}
	d.young.Delete(departure.Opposite())
	d.young.Insert(departure)
	d.last.Departures = append(d.last.Departures, departure)
	d.added = true
	if len(d.last.Departures) == store.DeparturesPerBlock {
		d.changed = append(d.changed, d.last)
		d.begin(d.last.Number + 1)
	}
}

// begin begins a block, and with it maybe a generation.
func (d *departures) begin(number uint64) {
	generation := number / blocksPerGeneration
	switch generation - d.last.Number/blocksPerGeneration {
	case 0:
	case 1:
		d.old, d.young = d.young, new(btree.Set[store.Departure])
	default: // blocks were lost
		d.old, d.young = new(btree.Set[store.Departure]), new(btree.Set[store.Departure])
	}
	if number%blocksPerGeneration == 0 && generation >= 2 {
		for forgotten := number - 2*blocksPerGeneration; forgotten < number-blocksPerGeneration; forgotten++ {
			d.forgotten = append(d.forgotten, forgotten)
		}
	}
	d.last, d.added = store.DepartedBlock{Number: number}, false
}

// load adds what is stored, in the order of the blocks.
func (d *departures) load(blocks []store.DepartedBlock) {
	for _, b := range blocks {
		d.begin(b.Number)
		for _, departure := range b.Departures {
			d.young.Delete(departure.Opposite())
			d.young.Insert(departure)
		}
		d.last.Departures = slices.Clip(b.Departures)
	}
	d.forgotten = nil
	if len(d.last.Departures) >= store.DeparturesPerBlock {
		d.begin(d.last.Number + 1)
	}
}

// addTo adds what is to be stored to a batch.
func (d *departures) addTo(b *store.Batch) {
	b.Departed, b.Forgotten = d.changed, d.forgotten
	if d.added {
		b.Departed = append(b.Departed, d.last)
	}
}
