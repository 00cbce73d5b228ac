package schedule

import (
	"cmp"
	"container/heap"
	"iter"
	"math"
	"slices"
	"sort"
)

// order is a heap of jobs. A job knows its position, so that moving and removing it costs as much as adding it.
type order struct {
	blocks [][]*job // of blockSize
	length int
	slot   int   // of the position in job.at
	sign   int32 // of the position
	less   func(x, y *job) bool
}

// blockSize is the size of the blocks of orders and lines: no operation moves all jobs.
const blockSize = 512

func (o *order) cell(i int) **job { return &o.blocks[i/blockSize][i%blockSize] }

func (o *order) job(i int) *job { return *o.cell(i) }

func (o *order) set(i int, j *job) {
	*o.cell(i) = j
	j.at[o.slot] = o.sign * int32(i+1)
}

// position returns where a job is; below 0: it is not there.
func (o *order) position(j *job) int { return int(o.sign*j.at[o.slot]) - 1 }

func (o *order) Len() int           { return o.length }
func (o *order) Less(i, k int) bool { return o.less(o.job(i), o.job(k)) }

func (o *order) Swap(i, k int) {
	x, y := o.job(i), o.job(k)
	o.set(i, y)
	o.set(k, x)
}

func (o *order) Push(j any) {
	if o.length%blockSize == 0 {
		o.blocks = append(o.blocks, make([]*job, blockSize))
	}
	o.length++
	o.set(o.length-1, j.(*job))
}

func (o *order) Pop() any {
	o.length--
	j := o.job(o.length)
	j.at[o.slot], *o.cell(o.length) = 0, nil
	if o.length%blockSize == 0 {
		o.blocks = slices.Delete(o.blocks, len(o.blocks)-1, len(o.blocks))
	}
	return j
}

func (o *order) has(j *job) bool { return o.position(j) >= 0 }

// put adds a job, or moves it after its key has changed.
func (o *order) put(j *job) {
	if o.has(j) {
		heap.Fix(o, o.position(j))
	} else {
		heap.Push(o, j)
	}
}

func (o *order) drop(j *job) {
	if o.has(j) {
		heap.Remove(o, o.position(j))
	}
}

// first returns the first job; nil: there is none.
func (o *order) first() *job {
	if o.length == 0 {
		return nil
	}
	return o.job(0)
}

// inOrder yields the jobs, the first one first. The order must not change meanwhile.
func (o *order) inOrder() iter.Seq[*job] {
	return func(yield func(*job) bool) {
		next := walk{order: o}
		for i := 0; ; i = heap.Pop(&next).(int) {
			if i < o.length && !yield(o.job(i)) {
				return
			}
			for child := 2*i + 1; child <= 2*i+2 && child < o.length; child++ {
				heap.Push(&next, child)
			}
			if len(next.at) == 0 {
				return
			}
		}
	}
}

// walk is a heap of positions in an order: those below the jobs that were yielded.
type walk struct {
	order *order
	at    []int
}

func (w *walk) Len() int           { return len(w.at) }
func (w *walk) Less(i, k int) bool { return w.order.Less(w.at[i], w.at[k]) }
func (w *walk) Swap(i, k int)      { w.at[i], w.at[k] = w.at[k], w.at[i] }
func (w *walk) Push(i any)         { w.at = append(w.at, i.(int)) }

func (w *walk) Pop() any {
	last := len(w.at) - 1
	i := w.at[last]
	w.at = w.at[:last]
	return i
}

// line is jobs in an order that does not change: all by sequence, or those of an API by start.
type line struct {
	blocks  [][]*job // of at most blockSize; none is empty
	length  int
	compare func(x, y *job) int
}

func bySequence(x, y *job) int { return cmp.Compare(x.sequence, y.sequence) }
func byPlace(x, y *job) int    { return x.place().compare(y.place()) }

// place is where a job is in the line of its API.
type place struct {
	start    float64
	sequence uint64
}

func (j *job) place() place { return place{j.start, j.sequence} }

var front = place{start: math.Inf(-1)} // before all

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.start, q.start), cmp.Compare(p.sequence, q.sequence))
}

// search returns the first job for which is holds: the block and the index in it. It must hold for all after that.
func (l *line) search(is func(*job) bool) (b, i int) {
	b = sort.Search(len(l.blocks), func(b int) bool { return is(l.blocks[b][len(l.blocks[b])-1]) })
	if b < len(l.blocks) {
		i = sort.Search(len(l.blocks[b]), func(i int) bool { return is(l.blocks[b][i]) })
	}
	return b, i
}

func (l *line) find(j *job) (b, i int) {
	return l.search(func(k *job) bool { return l.compare(k, j) >= 0 })
}

// before returns how many jobs are before the first for which is holds.
func (l *line) before(is func(*job) bool) int {
	b, n := l.search(is)
	for _, block := range l.blocks[:b] {
		n += len(block)
	}
	return n
}

func (l *line) add(j *job) {
	b, i := len(l.blocks), 0
	if last := l.last(); last != nil && l.compare(last, j) >= 0 { // most jobs are added in order
		b, i = l.find(j)
	}
	if b == len(l.blocks) { // the last job
		if b == 0 || len(l.blocks[b-1]) == blockSize {
			l.blocks = append(l.blocks, nil)
		}
		b = len(l.blocks) - 1
		i = len(l.blocks[b])
	} else if block := l.blocks[b]; len(block) == blockSize {
		half := blockSize / 2
		l.blocks = slices.Insert(l.blocks, b+1, slices.Clone(block[half:]))
		clear(block[half:])
		l.blocks[b] = block[:half]
		if i > half {
			b, i = b+1, i-half
		}
	}
	l.blocks[b] = slices.Insert(l.blocks[b], i, j)
	l.length++
}

func (l *line) remove(j *job) {
	b, i := l.find(j)
	l.blocks[b] = slices.Delete(l.blocks[b], i, i+1)
	l.length--
	if l.length == 0 {
		l.blocks = nil
	} else if b = max(b, 1); b < len(l.blocks) { // two that are half full at most, or empty, become one
		x, y := l.blocks[b-1], l.blocks[b]
		if len(x)+len(y) <= blockSize/2 || len(x) == 0 || len(y) == 0 {
			l.blocks[b-1] = append(x, y...)
			l.blocks = slices.Delete(l.blocks, b, b+1)
		}
	}
}

// from yields the jobs of an API from a place on.
func (l *line) from(p place) iter.Seq[*job] {
	return func(yield func(*job) bool) {
		b, i := l.search(func(j *job) bool { return j.place().compare(p) >= 0 })
		for ; b < len(l.blocks); b, i = b+1, 0 {
			for _, j := range l.blocks[b][i:] {
				if !yield(j) {
					return
				}
			}
		}
	}
}

// all yields all jobs.
func (l *line) all() iter.Seq[*job] { return l.from(front) }

// sample yields every nth job, so that they are at most so many, and returns n.
func (l *line) sample(most int) (jobs iter.Seq[*job], n int) {
	n = max((l.length+most-1)/most, 1)
	return func(yield func(*job) bool) {
		i := 0
		for _, block := range l.blocks {
			for ; i < len(block); i += n {
				if !yield(block[i]) {
					return
				}
			}
			i -= len(block)
		}
	}, n
}

// last returns the last job; nil: there is none.
func (l *line) last() *job {
	if l.length == 0 {
		return nil
	}
	block := l.blocks[len(l.blocks)-1]
	return block[len(block)-1]
}
