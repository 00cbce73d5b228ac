package deepaffects

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/metric"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

const (
	// maxOffered is how many changes of state are on their way through Telegraf at
	// once: fewer than its buffers hold (metric_buffer_limit), as they carry the
	// points of other plugins, too.
	maxOffered = 1000
	// maxWords is how many points of words are emitted at once, for the same reason.
	maxWords = 5000
	// A change that was rejected is offered again after a pause that doubles each
	// time. Telegraf rejects what does not fit into a full buffer, and offering it again
	// at once would push out what other plugins have there; and what an output cannot
	// take (a database has the field with another type) it never will.
	firstPause, longestPause = time.Minute, time.Hour
	// lateFile has the acknowledgements that came after Stop. Telegraf writes its
	// buffers out only then, when the register is closed.
	lateFile = "acknowledged"
)

// A delivery emits each change of state until Telegraf's outputs have accepted
// it, and then takes it out of the register. What may have been accepted without
// that being known is emitted again, as the same points.
type delivery struct {
	account *collector.Account
	acc     telegraf.Accumulator
	points  points
	after   time.Duration // as DeepAffects.DeliveredAfter
	late    string        // path of lateFile; empty: nothing outlives the process
	log     telegraf.Logger

	words map[uint64]int // how many words of a change offer has emitted, by number

	wake   chan struct{} // something was acknowledged
	worker sync.WaitGroup

	// Emitting can make an acknowledgement come, also of other points, so this is
	// never held then.
	mu           sync.Mutex
	written      map[uint64]time.Time // what is on its way, by number; when it was written: zero, not yet
	acknowledged []uint64             // and not taken out of the register yet
	rejected     map[uint64]rejection // by number
	stopped      bool
}

// A rejection says when a change may be offered again, and how often it was rejected.
type rejection struct {
	until time.Time
	times int
}

// newDelivery returns a delivery that emits with an accumulator as Start is given
// one: that of Gather rounds times.
func newDelivery(account *collector.Account, acc telegraf.Accumulator, p points, after time.Duration, stateDirectory string, log telegraf.Logger) *delivery {
	d := &delivery{
		account: account, acc: acc, points: p, after: after, log: log,
		words: make(map[uint64]int), wake: make(chan struct{}, 1),
		written: make(map[uint64]time.Time), rejected: make(map[uint64]rejection),
	}
	if stateDirectory != "" {
		d.late = filepath.Join(stateDirectory, lateFile)
		if err := d.catchUp(); err != nil {
			log.Warnf("Acknowledgements that came after the last stop cannot be read; those points are emitted again: %v", err)
		}
	}
	d.worker.Go(d.note)
	return d
}

// offer emits what is not on its way yet.
func (d *delivery) offer() {
	now := time.Now()
	d.settle(now)
	d.mu.Lock()
	// What was rejected must not keep others from their turn.
	changes, words := d.account.Changes(maxOffered+len(d.rejected)), maxWords
	// Those of them that are on their way may be accepted, and taken out, from now on.
	onTheirWay := maps.Clone(d.written)
	d.mu.Unlock()
	waiting := make(map[uint64]bool, len(changes))
	for _, c := range changes {
		waiting[c.Number] = true
		if _, is := onTheirWay[c.Number]; is || !d.mayEmit(c.Number, now) {
			continue
		}
		// Words come before their job: whoever has the job's point was given them. They
		// are not tracked: a long conversation has more than a buffer holds, and would be
		// rejected for ever.
		before := d.words[c.Number]
		emitted, all := d.points.timings(d.acc, &c, before, words)
		d.words[c.Number] = emitted
		words -= emitted - before
		if !all {
			continue
		}
		d.mu.Lock()
		d.written[c.Number] = time.Time{}
		d.mu.Unlock()
		// As acc.WithTracking does it, but that what has been accepted is known before
		// Telegraf goes on: after its last write, it ends the process.
		group, _ := metric.WithGroupTracking(d.points.change(&c), func(info telegraf.DeliveryInfo) {
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

// mayEmit says whether a change that is not on its way is to be emitted now.
func (d *delivery) mayEmit(number uint64, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.written) < maxOffered && !now.Before(d.rejected[number].until)
}

// answered learns what became of a change.
func (d *delivery) answered(c *collector.Change, accepted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !accepted:
		delete(d.written, c.Number)
		r := d.rejected[c.Number]
		pause := min(firstPause<<min(r.times, 10), longestPause)
		d.rejected[c.Number] = rejection{time.Now().Add(pause), r.times + 1}
		d.log.Debugf("A change of state was rejected, and is emitted again in %s", pause)
	case d.after > 0:
		d.written[c.Number] = time.Now()
	case d.stopped:
		if err := d.noteLate(c); err != nil {
			d.log.Warnf("An acknowledgement cannot be kept; the point will be emitted again: %v", err)
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

// settle takes for delivered what was written long enough ago, where there are no
// acknowledgements: Telegraf, which has come to gather, has flushed its outputs
// since. It also tries again what could not be noted.
func (d *delivery) settle(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.after > 0 {
		for number, written := range d.written {
			if !written.IsZero() && now.Sub(written) >= d.after {
				d.acknowledged = append(d.acknowledged, number)
				d.written[number] = time.Time{}
			}
		}
	}
	if len(d.acknowledged) > 0 {
		d.nudge()
	}
}

// note takes what was acknowledged out of the register, many at once.
func (d *delivery) note() {
	for range d.wake {
		d.mu.Lock()
		numbers := d.acknowledged
		d.acknowledged = nil
		d.mu.Unlock()
		if len(numbers) == 0 {
			continue
		}
		err := d.account.Delivered(context.Background(), numbers...)
		d.mu.Lock()
		if err != nil { // which has been logged
			d.acknowledged = append(numbers, d.acknowledged...)
		} else {
			for _, number := range numbers {
				delete(d.written, number)
			}
		}
		d.mu.Unlock()
	}
}

// stop ends the delivery before the register is closed.
func (d *delivery) stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.nudge()
	close(d.wake)
	d.worker.Wait()
}

// noteLate keeps an acknowledgement for the next start. It need not be synced:
// after a power loss at this very moment, the point is emitted again.
func (d *delivery) noteLate(c *collector.Change) error {
	if d.late == "" {
		return nil
	}
	f, err := os.OpenFile(d.late, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d %d\n", c.Number, c.At.UnixNano())
	return errors.Join(err, f.Close())
}

// catchUp takes the late acknowledgements of the time before.
func (d *delivery) catchUp() error {
	f, err := os.Open(d.late)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	late := make(map[uint64]int64)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var number uint64
		var at int64
		if _, err := fmt.Sscanf(lines.Text(), "%d %d", &number, &at); err == nil {
			late[number] = at
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	var numbers []uint64
	for _, c := range d.account.Changes(math.MaxInt) {
		// The number alone would do, were it not for a register that began anew.
		if at, found := late[c.Number]; found && at == c.At.UnixNano() {
			numbers = append(numbers, c.Number)
		}
	}
	if err := d.account.Delivered(context.Background(), numbers...); err != nil {
		return err
	}
	return os.Remove(d.late)
}
