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
	// maxWords is the maximum number of word points per gather. It is less than Telegraf's
	// buffers hold (metric_buffer_limit), which other plugins need, too.
	maxWords = 5000
	// A rejected state change is emitted again after a pause that doubles each time.
	// Telegraf rejects what does not fit into a full buffer, where an immediate repeat would
	// displace the points of other plugins. What an output cannot store, such as a field
	// of another type, it rejects each time.
	firstPause, longestPause = time.Minute, time.Hour
	// Without acknowledgements, 3/10 of max_undelivered_changes are emitted in each
	// portionInterval: with the default, 3,000 state changes a second. An output that is up
	// writes them as they come, so that Telegraf's buffers do not overflow.
	portionInterval = 100 * time.Millisecond
	// overdueAfter is the time after which a missing acknowledgement is logged, in addition
	// to the time that the last one took. That is at most maxLatency: after an outage it is
	// long once.
	overdueAfter, maxLatency = time.Minute, 10 * time.Minute
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
	shared  bool           // by several replicas: what is accepted after Stop goes to the next owner
	room    signal         // others can be emitted now
	wake    signal         // acknowledged has entries
	done    chan struct{}  // closed by stop
	workers sync.WaitGroup // emitMore and removeDelivered

	emitting  sync.Mutex     // held while emitting; guards the fields below
	words     map[uint64]int // number of words that were emitted, by number of the state change
	wordsLeft int            // until the next gather

	// mu guards the fields below. It must not be held while emitting: that can call
	// accepted and answered.
	mu           sync.Mutex
	offers       map[uint64]*offer // by number of the state change
	untouched    int               // offers in this state
	underway     int               // offers that are untouched or partly accepted
	backlog      bool              // there was no room for others
	acknowledged []uint64          // not yet removed from the store
	answeredAt   time.Time         // of the last acknowledgement
	latency      time.Duration     // of the last acknowledgement, at most maxLatency
	overdue      bool              // was logged
	stopped      bool
	unstored     bool // an acknowledgement after Stop could not be stored, which was logged
}

// A signal is the Signal of internal/wake. The plugin uses nothing internal, so that it can live in a fork of
// Telegraf.
type signal chan struct{}

// Send wakes the receiver, now or when it receives next. It never waits.
func (s signal) Send() {
	select {
	case s <- struct{}{}:
	default: // it was sent before
	}
}

// An offer is a state change that was emitted and not yet removed from the store.
type offer struct {
	state      offerState
	first      time.Time // when it was emitted first
	last       time.Time // when it was emitted, rejected or written last
	rejections int
}

type offerState int

const (
	untouched      offerState = iota // no output has accepted it yet
	partlyAccepted                   // an output has accepted it, others have not answered
	rejected                         // by an output
	written                          // without acknowledgements: to standard output
	acknowledged                     // by all outputs
)

// newDelivery returns a delivery that emits with the accumulator of Start: the one of
// Gather rounds times.
func newDelivery(plugin *DeepAffects, account *collector.Account, acc telegraf.Accumulator) *delivery {
	d := &delivery{
		plugin: plugin, account: account, acc: acc, words: make(map[uint64]int),
		room: make(signal, 1), wake: make(signal, 1), done: make(chan struct{}),
		offers: make(map[uint64]*offer), shared: !plugin.DatabaseURL.Empty(),
	}
	if plugin.StateDirectory != "" {
		d.late = filepath.Join(plugin.StateDirectory, lateFile)
		if err := d.catchUp(); err != nil {
			plugin.Log.Warnf("Reading acknowledgements of the last shutdown failed; "+
				"their points are emitted again: %v", err)
		}
	}
	d.workers.Go(d.removeDelivered)
	d.workers.Go(d.emitMore)
	return d
}

// gather emits state changes. Those for which there is no room follow when there is. It
// returns the number of undelivered state changes.
func (d *delivery) gather() int {
	waiting := d.account.StateChanges(math.MaxInt)
	oldest := uint64(math.MaxUint64)
	if len(waiting) > 0 {
		oldest = waiting[0].Number
	}
	now := time.Now()
	d.settle(now)
	d.emitting.Lock()
	defer d.emitting.Unlock()
	d.wordsLeft = maxWords
	// The store drops the oldest beyond its limit.
	maps.DeleteFunc(d.words, func(number uint64, _ int) bool { return number < oldest })
	d.mu.Lock()
	maps.DeleteFunc(d.offers, func(number uint64, o *offer) bool { return o.state == rejected && number < oldest })
	d.reportOverdue(now)
	d.mu.Unlock()
	d.emit()
	return len(waiting)
}

// emitMore emits the state changes for which there was no room.
func (d *delivery) emitMore() {
	for {
		select {
		case <-d.done:
			return
		case <-d.room:
		}
		if d.plugin.DeliveredAfter > 0 {
			select {
			case <-d.done:
				return
			case <-time.After(portionInterval):
			}
		}
		d.emitting.Lock()
		d.emit()
		d.emitting.Unlock()
	}
}

// emit emits state changes until there is no room or no other. At most
// max_undelivered_changes are on their way to the first output that accepts them: the
// fastest output sets the pace, so that one that is down does not hold up the others.
// emitting must be held.
func (d *delivery) emit() {
	limit := int(d.plugin.MaxUndeliveredChanges)
	portion := limit
	if d.plugin.DeliveredAfter > 0 {
		portion = max(limit*3/10, 1)
	}
	for _, c := range d.dueNow(portion + 1 + len(d.words)) {
		d.mu.Lock()
		stopped, full := d.stopped || !d.account.Owned(), portion == 0 || d.untouched >= limit
		if full {
			d.backlog = true
			d.signalRoom()
		}
		d.mu.Unlock()
		if stopped || full {
			return
		}
		// Words come before their job's point, so that an accepted job has its words. They
		// are not tracked: a long conversation has more words than a buffer holds and would
		// be rejected each time.
		before := d.words[c.Number]
		emitted, all := d.plugin.points.timings(d.acc, c, before, d.wordsLeft)
		d.wordsLeft -= emitted - before
		if !all {
			d.words[c.Number] = emitted
			continue
		}
		delete(d.words, c.Number)
		portion--
		o := d.begin(c.Number)
		// Like acc.WithTracking, but with a synchronous notification: Telegraf ends the
		// process after its last write.
		group, _ := metric.WithGroupTracking(d.plugin.points.change(c), func(info telegraf.DeliveryInfo) {
			d.answered(c, o, info.Delivered())
		})
		for _, m := range group {
			d.acc.AddMetric(&observed{m, m.(telegraf.TrackingMetric), func() { d.accepted(o) }})
		}
	}
}

// dueNow returns at most limit state changes to emit, the oldest first.
func (d *delivery) dueNow(limit int) (due []*collector.StateChange) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog = false
	for _, c := range d.account.StateChanges(len(d.offers) + limit) {
		o := d.offers[c.Number]
		if o == nil && !now.Before(c.HeldUntil) || o != nil && o.due(now, d.underway > 0, d.answeredAt) {
			due = append(due, c)
		}
		if len(due) == limit {
			break
		}
	}
	return due
}

// begin returns the offer of a state change that is emitted now.
func (d *delivery) begin(number uint64) *offer {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.offers[number]
	if o == nil {
		o = &offer{first: time.Now()}
		d.offers[number] = o
		d.account.Emitted(number)
	}
	o.state, o.last = untouched, time.Now()
	d.untouched++
	d.underway++
	return o
}

// due reports whether a state change is to be emitted again. If others are on their way and
// none was accepted after it was rejected, an output takes nothing at present: the repeat
// would displace another point from its buffer, and repeat the point for the other outputs.
func (o *offer) due(now time.Time, underway bool, answeredAt time.Time) bool {
	pause := min(firstPause<<min(max(o.rejections-1, 0), 10), longestPause)
	if underway && answeredAt.Before(o.last) {
		pause = longestPause
	}
	return o.state == rejected && now.Sub(o.last) >= pause
}

// An observed metric is a tracking metric that also tells when an output accepts it. The
// tracking tells when all outputs have.
type observed struct {
	telegraf.Metric
	telegraf.TrackingMetric
	accepted func()
}

// Copy implements telegraf.Metric. Each output has its own copy.
func (m *observed) Copy() telegraf.Metric {
	c := m.Metric.Copy()
	return &observed{c, c.(telegraf.TrackingMetric), m.accepted}
}

// Accept implements telegraf.Metric.
func (m *observed) Accept() {
	m.accepted()
	m.Metric.Accept()
}

// accepted records that an output has accepted a state change.
func (d *delivery) accepted(o *offer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.state == untouched {
		o.state = partlyAccepted
		d.untouched--
		d.signalRoom()
	}
}

// answered records whether all outputs have accepted a state change.
func (d *delivery) answered(c *collector.StateChange, o *offer, accepted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.state == untouched {
		d.untouched--
	}
	d.underway--
	now := time.Now()
	if accepted {
		d.answeredAt, d.latency = now, min(now.Sub(o.last), maxLatency)
	}
	o.last = now
	switch {
	case !accepted:
		o.state = rejected
		o.rejections++
	case d.plugin.DeliveredAfter > 0:
		o.state = written
	case d.stopped:
		o.state = acknowledged
		d.noteLate(c)
	default:
		o.state = acknowledged
		d.acknowledged = append(d.acknowledged, c.Number)
		d.wake.Send()
	}
	d.signalRoom()
}

// signalRoom makes emitMore emit others once a quarter of the limit is free. mu must be held.
func (d *delivery) signalRoom() {
	if limit := int(d.plugin.MaxUndeliveredChanges); d.backlog && (limit-d.untouched)*4 >= limit {
		d.room.Send()
	}
}

// reportOverdue logs once that state changes wait, and once that they do not any more.
// Without acknowledgements, none is overdue. mu must be held.
func (d *delivery) reportOverdue(now time.Time) {
	overdue, rejections := 0, 0
	for _, o := range d.offers {
		if o.state < written && now.Sub(o.first) >= overdueAfter+d.latency {
			overdue++
			if o.state == rejected {
				rejections++
			}
		}
	}
	switch {
	case overdue > 0 && !d.overdue:
		d.plugin.Log.Warnf("%d state changes wait for the outputs (%d were rejected), some for more than %.0f s; "+
			"they are kept until all outputs have accepted them; look for errors of outputs in this log",
			overdue, rejections, overdueAfter.Seconds())
	case overdue == 0 && d.overdue:
		d.plugin.Log.Info("All outputs have accepted the state changes that waited")
	}
	d.overdue = overdue > 0
}

// settle acknowledges what was written long enough ago if there are no acknowledgements:
// Telegraf, which gathers now, has flushed its outputs since. It also repeats removals
// that failed.
func (d *delivery) settle(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for number, o := range d.offers {
		if o.state == written && now.Sub(o.last) >= d.plugin.DeliveredAfter {
			o.state = acknowledged
			d.acknowledged = append(d.acknowledged, number)
		}
	}
	if len(d.acknowledged) > 0 {
		d.wake.Send()
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
				delete(d.offers, number)
			}
		}
		d.mu.Unlock()
	}
}

// stop ends the delivery. The store must still be open.
func (d *delivery) stop() {
	d.mu.Lock()
	d.stopped = true
	close(d.done)
	d.wake.Send()
	close(d.wake)
	d.mu.Unlock()
	d.workers.Wait()
}

// noteLate stores an acknowledgement that comes after Stop: for the next owner, or for the
// next start. Telegraf's process may end when it returns. mu must be held.
func (d *delivery) noteLate(c *collector.StateChange) {
	if d.unstored {
		return // each attempt would take its time
	}
	var err error
	switch {
	case d.shared:
		err = d.account.Delivered(c.Number)
	case d.late != "":
		err = d.writeLate(c)
	}
	if err != nil {
		d.unstored = true
		d.plugin.Log.Warnf("Storing an acknowledgement failed; its point, and those that are accepted after it, "+
			"will be emitted again: %v", err)
	}
}

// writeLate writes an acknowledgement to lateFile. It is not synced: after a power loss, the
// point is emitted again.
func (d *delivery) writeLate(c *collector.StateChange) error {
	f, err := os.OpenFile(d.late, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lateLine(c))
	return errors.Join(err, f.Close())
}

// lateLine identifies a state change.
func lateLine(c *collector.StateChange) string { return fmt.Sprintf("%d\n", c.Number) }

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
		if _, found := slices.BinarySearch(late, lateLine(c)); found {
			numbers = append(numbers, c.Number)
		}
	}
	if err := d.account.Delivered(numbers...); err != nil {
		return err
	}
	return os.Remove(d.late)
}
