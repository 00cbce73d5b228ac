package deepaffects

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/metric"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

const (
	// maxInFlight is the maximum number of state changes that were emitted and not yet
	// acknowledged. It is less than Telegraf's buffers hold (metric_buffer_limit), which
	// other plugins need, too.
	maxInFlight = 1000
	// maxWords is the maximum number of word points per gather, for the same reason.
	maxWords = 5000
	// A rejected state change is emitted again after a pause that doubles each time.
	// Telegraf rejects what does not fit into a full buffer, where an immediate repeat would
	// displace the points of other plugins. What an output cannot store, such as a field
	// of another type, it rejects each time.
	firstPause, longestPause = time.Minute, time.Hour
	// lateFile has the acknowledgements that come after Stop, when the store is closed:
	// Telegraf flushes its outputs last.
	lateFile = "acknowledged"
)

// A delivery emits each state change until Telegraf's outputs have accepted it, and then
// removes it from the store. A state change whose acknowledgement was lost is emitted
// again as the same points.
type delivery struct {
	plugin  *DeepAffects // only what does not change after Init
	account *collector.Account
	acc     telegraf.Accumulator
	late    string         // path of lateFile; empty without state_directory
	words   map[uint64]int // number of words that were emitted, by number of the state change; owned by offer
	wake    chan struct{}  // acknowledged has entries
	worker  sync.WaitGroup

	// mu guards the fields below. It must not be held while emitting: that can call
	// answered.
	mu           sync.Mutex
	written      map[uint64]time.Time // in flight, by number: when it was written, with DeliveredAfter; zero: not yet
	acknowledged []uint64             // not yet removed from the store
	rejected     map[uint64]rejection // by number
	stopped      bool
}

// A rejection is when a state change may be emitted again, and how often it was rejected.
type rejection struct {
	until time.Time
	times int
}

// newDelivery returns a delivery that emits with the accumulator of Start: the one of
// Gather rounds times.
func newDelivery(plugin *DeepAffects, account *collector.Account, acc telegraf.Accumulator) *delivery {
	d := &delivery{
		plugin: plugin, account: account, acc: acc, words: make(map[uint64]int), wake: make(chan struct{}, 1),
		written: make(map[uint64]time.Time), rejected: make(map[uint64]rejection),
	}
	if plugin.StateDirectory != "" {
		d.late = filepath.Join(plugin.StateDirectory, lateFile)
		if err := d.catchUp(); err != nil {
			plugin.Log.Warnf("Reading acknowledgements of the last shutdown failed; "+
				"their points are emitted again: %v", err)
		}
	}
	d.worker.Go(d.removeDelivered)
	return d
}

// offer emits state changes that are not in flight.
func (d *delivery) offer() {
	now := time.Now()
	d.settle(now)
	d.mu.Lock()
	// Rejected ones must not block others.
	changes, words := d.account.StateChanges(maxInFlight+len(d.rejected)), maxWords
	inFlight, rejected := maps.Clone(d.written), maps.Clone(d.rejected) // from now on they may be acknowledged
	d.mu.Unlock()
	waiting := make(map[uint64]bool, len(changes))
	for _, c := range changes {
		waiting[c.Number] = true
		_, is := inFlight[c.Number]
		if is || len(inFlight) >= maxInFlight || now.Before(rejected[c.Number].until) {
			continue
		}
		// Words come before their job's point, so that an accepted job has its words. They
		// are not tracked: a long conversation has more words than a buffer holds and would
		// be rejected each time.
		before := d.words[c.Number]
		emitted, all := d.plugin.points.timings(d.acc, &c, before, words)
		d.words[c.Number] = emitted
		words -= emitted - before
		if !all {
			continue
		}
		inFlight[c.Number] = time.Time{}
		d.mu.Lock()
		d.written[c.Number] = time.Time{}
		d.mu.Unlock()
		// Like acc.WithTracking, but with a synchronous notification: Telegraf ends the
		// process after its last write.
		group, _ := metric.WithGroupTracking(d.plugin.points.change(&c), func(info telegraf.DeliveryInfo) {
			d.answered(&c, info.Delivered())
		})
		for _, m := range group {
			d.acc.AddMetric(m)
		}
	}
	maps.DeleteFunc(d.words, func(number uint64, _ int) bool { return !waiting[number] })
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.rejected, func(number uint64, _ rejection) bool { return !waiting[number] })
}

// answered records whether the outputs accepted a state change.
func (d *delivery) answered(c *collector.StateChange, accepted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !accepted:
		delete(d.written, c.Number)
		r := d.rejected[c.Number]
		pause := min(firstPause<<min(r.times, 10), longestPause)
		d.rejected[c.Number] = rejection{time.Now().Add(pause), r.times + 1}
		d.plugin.Log.Debugf("A state change was rejected; it is emitted again in %s", pause)
	case d.plugin.DeliveredAfter > 0:
		d.written[c.Number] = time.Now()
	case d.stopped:
		if err := d.noteLate(c); err != nil {
			d.plugin.Log.Warnf("Storing an acknowledgement failed; the point will be emitted again: %v", err)
		}
	default:
		d.acknowledged = append(d.acknowledged, c.Number)
		d.nudge()
	}
}

func (d *delivery) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// settle acknowledges what was written long enough ago if there are no acknowledgements:
// Telegraf, which gathers now, has flushed its outputs since. It also repeats removals
// that failed.
func (d *delivery) settle(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for number, written := range d.written {
		if !written.IsZero() && now.Sub(written) >= d.plugin.DeliveredAfter {
			d.acknowledged = append(d.acknowledged, number)
			d.written[number] = time.Time{}
		}
	}
	if len(d.acknowledged) > 0 {
		d.nudge()
	}
}

// removeDelivered removes acknowledged state changes from the store, many at once.
func (d *delivery) removeDelivered() {
	for range d.wake {
		d.mu.Lock()
		numbers := d.acknowledged
		d.acknowledged = nil
		d.mu.Unlock()
		if len(numbers) == 0 {
			continue
		}
		err := d.account.Delivered(numbers...)
		d.mu.Lock()
		if err != nil { // logged by the collector
			d.acknowledged = append(numbers, d.acknowledged...)
		} else {
			for _, number := range numbers {
				delete(d.written, number)
			}
		}
		d.mu.Unlock()
	}
}

// stop ends the delivery. The store must still be open.
func (d *delivery) stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.nudge()
	close(d.wake)
	d.worker.Wait()
}

// noteLate writes an acknowledgement to lateFile for the next start. It is not synced:
// after a power loss, the point is emitted again.
func (d *delivery) noteLate(c *collector.StateChange) error {
	if d.late == "" {
		return nil
	}
	f, err := os.OpenFile(d.late, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lateLine(c))
	return errors.Join(err, f.Close())
}

// lateLine identifies a state change. Numbers repeat after the store was deleted.
func lateLine(c *collector.StateChange) string {
	return fmt.Sprintf("%d %d\n", c.Number, c.At.UnixNano())
}

// catchUp applies the late acknowledgements of the last shutdown.
func (d *delivery) catchUp() error {
	text, err := os.ReadFile(d.late)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	late := slices.Sorted(strings.Lines(string(text)))
	var numbers []uint64
	for _, c := range d.account.StateChanges(math.MaxInt) {
		if _, found := slices.BinarySearch(late, lateLine(&c)); found {
			numbers = append(numbers, c.Number)
		}
	}
	if err := d.account.Delivered(numbers...); err != nil {
		return err
	}
	return os.Remove(d.late)
}
