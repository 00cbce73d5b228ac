// Package transcript turns the words or segments of a result into figures:
// confidence, speakers, durations, gaps, talk time. It sees times, confidences
// and speakers, never a word's text, and what it returns names no speaker.
package transcript

import (
	"cmp"
	"math"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

// Statistics are the figures of one result. What the result does not say is NaN
// where it is a measure and -1 where it is a count.
type Statistics struct {
	// Confidence is the result's own `confidence`, else the plain mean of the
	// words' confidences, else of the segments'; 0 to 1.
	Confidence float64
	// Speakers is the result's own `num_speakers`, else the number of distinct
	// speaker IDs.
	Speakers int
	// Words is how many words the result lists, sound or not; -1 for a result
	// without a list of words, or with an empty one beside segments.
	Words int
	// SpeechSeconds is the sum of the words' durations, else of the segments'
	// (of those with the tag `speech`, where segments have tags). People who
	// talk at once count each.
	SpeechSeconds float64
	// DurationSeconds is the last end of a word, else of a segment.
	DurationSeconds float64
	// SpeechRate is Words / DurationSeconds, in words per second: pauses
	// included, as phonetics has it (without them it would be an articulation
	// rate); NaN for a transcript of less than a millisecond.
	SpeechRate float64
	// DominantSpeakerRatio is the talk time of the speaker who talks most, as a
	// share of all speakers' talk time; 0 to 1.
	DominantSpeakerRatio float64
	// Overlaps is how many words start before the word before them, in order of
	// start, has ended; -1 where Words is.
	Overlaps int

	WordConfidence Distribution // 0 to 1
	WordDuration   Distribution // seconds, end - start
	WordGap        Distribution // seconds from a word's end to the next start, in order of start; an overlap is 0

	// BySpeaker is in falling order of talk time: at most MaxSpeakers, and one
	// more for all others together. Empty where the result names no speaker.
	BySpeaker []Speaker

	Anomalies [len(Anomalies)]int
}

// MaxSpeakers is how many speakers have figures of their own.
const MaxSpeakers = 10

// A Speaker has what one speaker contributed.
type Speaker struct {
	TalkSeconds    float64 // sum of the durations of the speaker's words or segments
	Words          int     // 0 where the result has segments only
	Turns          int     // runs of words or segments of this speaker, in order of start
	ConfidenceMean float64 // mean confidence of the words or segments; NaN without any
}

// An Anomaly is a reason why a figure of a word or segment was left out.
type Anomaly int

// The anomalies. A word that is out of order is counted, and then takes part in
// its order of start.
const (
	NegativeDuration     Anomaly = iota // it ends before it starts
	OutOfOrder                          // it starts before the one listed before it
	MissingTime                         // no start or end, or one that is no time
	ConfidenceOutOfRange                // not from 0 to 1
)

// Anomalies are the names of the anomalies, as the label `reason` has them.
var Anomalies = [...]string{"negative_duration", "out_of_order", "missing_time", "confidence_out_of_range"}

// A Distribution sums up the values of one figure over a transcript.
type Distribution struct {
	Count         int
	Sum           float64
	Min, Max      float64 // 0 without values
	P50, P90, P99 float64 // exact: the smallest value that at least that share of the values do not exceed (nearest rank)
}

// Mean is Sum / Count; NaN without values.
func (d Distribution) Mean() float64 { return d.Sum / float64(d.Count) }

// distribution sums up values, and sorts them on the way.
func distribution(values []float64) Distribution {
	d := Distribution{Count: len(values)}
	if d.Count == 0 {
		return d
	}
	slices.Sort(values)
	for _, v := range values {
		d.Sum += v
	}
	// The rank is taken in whole numbers: 0.9*10 in floating point is above 9.
	rank := func(percent int) float64 { return values[(percent*len(values)+99)/100-1] }
	d.Min, d.Max = values[0], values[len(values)-1]
	d.P50, d.P90, d.P99 = rank(50), rank(90), rank(99)
	return d
}

// Classic bucket bounds, shared by a result's histograms and the totals that
// they are merged into.
var (
	RatioBounds        = []float64{.1, .2, .3, .4, .5, .6, .7, .8, .85, .9, .95, .99, 1}
	WordDurationBounds = []float64{.02, .05, .1, .15, .2, .25, .3, .4, .5, .75, 1, 2} // seconds
	WordGapBounds      = []float64{0, .05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 30}      // seconds
)

// A Result is what a sound result was turned into.
type Result struct {
	Statistics
	// The values behind the distributions of the same names, to be merged into
	// totals; nil where there are none.
	WordConfidences, WordDurations, WordGaps *histogram.Histogram
	// Timings are those of the words with sound times, in order of start; where
	// there are no words, of the segments. nil unless the accumulator keeps them.
	Timings []Timing
}

// A Timing is when one word is spoken, without the word, or one segment.
type Timing struct {
	Index      int     // in the result, from 0
	Start, End float64 // seconds
	// Gap is the silence since the end of the one before, in seconds; 0 where they
	// overlap, NaN for the first.
	Gap        float64
	Confidence float64 // 0 to 1; NaN where it is not given or not sound
	Speaker    int     // index into BySpeaker; -1 where it is not given
}

// A Piece is one word or segment. Start and end are in seconds; a time or
// confidence that is not given is NaN.
type Piece struct {
	Start, End, Confidence float64
	// Speaker is the ID of who speaks, empty where it is not given. It is only
	// compared and may be reused by the caller.
	Speaker []byte
}

// maxSeconds bounds what is taken for a time (115 days), so that no sum of
// times can overflow.
const maxSeconds = 1e7

// minSeconds is the shortest transcript that has a speech rate: over next to no
// time it would be absurd, up to infinite, and spoil the sums that it goes into.
const minSeconds = 1e-3

// An Accumulator takes the pieces of one result in the order of the document,
// which may have its keys in any order. The zero value is ready, and Reset makes
// it so again, keeping its memory. It is not safe for use by several goroutines.
type Accumulator struct {
	// KeepTimings keeps the timings of the words for the result.
	KeepTimings bool

	words, segments pieces
	confidence      float64
	speakers        int
	hasConfidence   bool
	hasSpeakers     bool
	values          []float64 // scratch
}

// pieces are the words, or the segments, of one result.
type pieces struct {
	listed      bool // the document has the list, be it empty
	count       int
	timed       []timed
	inOrder     bool
	lastStart   float64
	pausesEnd   float64 // the last end of a pause; 0: there is none
	confidences []float64
	rated       []float64 // the confidence of each piece, where timings are kept; NaN: not known
	speakerIDs  map[string]int
	speakers    []tally
	anomalies   [len(Anomalies)]int
}

// A tally is what one speaker has contributed so far.
type tally struct {
	first        int // its place in order of appearance
	talkSeconds  float64
	words, turns int
	confidence   float64 // sum
	rated        int     // how many confidences it is the sum of
}

func (t *tally) add(o tally) {
	t.talkSeconds += o.talkSeconds
	t.words += o.words
	t.turns += o.turns
	t.confidence += o.confidence
	t.rated += o.rated
}

type timed struct {
	start, end float64
	speaker    int32 // -1: not given
	index      int32 // among all pieces
}

// Reset forgets everything but the memory.
func (a *Accumulator) Reset() {
	a.words.reset()
	a.segments.reset()
	a.hasConfidence, a.hasSpeakers = false, false
}

func (p *pieces) reset() {
	clear(p.speakerIDs)
	*p = pieces{
		timed: p.timed[:0], confidences: p.confidences[:0], rated: p.rated[:0], speakerIDs: p.speakerIDs,
		speakers: p.speakers[:0],
	}
}

// Confidence takes the result's own confidence.
func (a *Accumulator) Confidence(c float64) { a.confidence, a.hasConfidence = c, true }

// Speakers takes the result's own number of speakers; a number that cannot be
// one is ignored.
func (a *Accumulator) Speakers(n float64) {
	if n >= 0 && n <= 1e6 && n == math.Trunc(n) {
		a.speakers, a.hasSpeakers = int(n), true
	}
}

// WordList says that the result has a list of words, be it empty.
func (a *Accumulator) WordList() { a.words.begin() }

// SegmentList says that the result has a list of segments, be it empty.
func (a *Accumulator) SegmentList() { a.segments.begin() }

// Word takes one word.
func (a *Accumulator) Word(w Piece) { a.add(&a.words, w) }

// Segment takes one stretch of speech.
func (a *Accumulator) Segment(s Piece) { a.add(&a.segments, s) }

func (a *Accumulator) add(to *pieces, p Piece) {
	to.add(p)
	if a.KeepTimings {
		if !(p.Confidence >= 0 && p.Confidence <= 1) {
			p.Confidence = math.NaN()
		}
		to.rated = append(to.rated, p.Confidence)
	}
}

// Pause takes a segment in which nobody speaks (music, noise): it only makes
// the recording longer.
func (a *Accumulator) Pause(s Piece) {
	if isTime(s.End) {
		a.segments.pausesEnd = max(a.segments.pausesEnd, s.End)
	}
}

func (p *pieces) begin() { p.listed, p.inOrder, p.lastStart = true, true, 0 }

// between is the time from one time to another, to the microsecond. Times are
// decimal, and what subtracting them in floating point leaves behind would decide
// on which side of a bucket's bound a value falls: 1.6 - 1.5 is above 0.1.
func between(from, to float64) float64 { return math.Round((to-from)*1e6) / 1e6 }

func isTime(t float64) bool { return t >= 0 && t <= maxSeconds }

func (p *pieces) add(w Piece) {
	p.count++
	speaker := -1
	if len(w.Speaker) > 0 {
		speaker = p.speaker(w.Speaker)
		p.speakers[speaker].words++
	}
	switch {
	case math.IsNaN(w.Confidence):
	case w.Confidence < 0 || w.Confidence > 1:
		p.anomalies[ConfidenceOutOfRange]++
	default:
		p.confidences = append(p.confidences, w.Confidence)
		if speaker >= 0 {
			p.speakers[speaker].confidence += w.Confidence
			p.speakers[speaker].rated++
		}
	}
	switch {
	case !isTime(w.Start) || !isTime(w.End):
		p.anomalies[MissingTime]++
	case w.End < w.Start:
		p.anomalies[NegativeDuration]++
	default:
		if w.Start < p.lastStart {
			p.anomalies[OutOfOrder]++
			p.inOrder = false
		}
		p.lastStart = w.Start
		p.timed = append(p.timed, timed{w.Start, w.End, int32(speaker), int32(p.count - 1)})
	}
}

func (p *pieces) speaker(id []byte) int {
	if i, known := p.speakerIDs[string(id)]; known {
		return i
	}
	if p.speakerIDs == nil {
		p.speakerIDs = make(map[string]int)
	}
	i := len(p.speakers)
	p.speakerIDs[string(id)] = i
	p.speakers = append(p.speakers, tally{first: i})
	return i
}

// Result works out the figures. It returns nil where the result says nothing
// that could be measured. The accumulator must be Reset before its next use.
func (a *Accumulator) Result() *Result {
	p := &a.words
	if !p.listed || (p.count == 0 && a.segments.count > 0) {
		p = &a.segments
	}
	if !p.listed && !a.hasConfidence && !a.hasSpeakers {
		return nil
	}
	r := &Result{Statistics: Statistics{
		Confidence: math.NaN(), Speakers: -1, Words: -1, Overlaps: -1,
		SpeechSeconds: math.NaN(), DurationSeconds: math.NaN(), SpeechRate: math.NaN(), DominantSpeakerRatio: math.NaN(),
		Anomalies: p.anomalies,
	}}
	if p.listed && (p.count == 0 || len(p.timed) > 0) { // else there is speech, of unknown length
		r.SpeechSeconds = 0
	}
	if !p.inOrder {
		slices.SortStableFunc(p.timed, func(x, y timed) int { return cmp.Compare(x.start, y.start) })
	}
	if p.pausesEnd > 0 {
		r.DurationSeconds = p.pausesEnd
	}
	last := int32(-1)
	for _, t := range p.timed {
		length := between(t.start, t.end)
		r.SpeechSeconds += length
		if !(r.DurationSeconds >= t.end) {
			r.DurationSeconds = t.end
		}
		if t.speaker >= 0 {
			p.speakers[t.speaker].talkSeconds += length
			if t.speaker != last {
				p.speakers[t.speaker].turns++
				last = t.speaker
			}
		}
	}
	a.overall(r, p)
	a.bySpeaker(r, p)
	if p == &a.words {
		a.ofWords(r)
	}
	if a.KeepTimings {
		r.Timings = p.timings()
	}
	return r
}

// timings returns when each word or segment is spoken, once the speakers are in
// order of talk time.
func (p *pieces) timings() []Timing {
	rank := make([]int, len(p.speakers))
	for i, s := range p.speakers {
		rank[s.first] = min(i, MaxSpeakers)
	}
	timings := make([]Timing, 0, len(p.timed))
	for i, t := range p.timed {
		w := Timing{Index: int(t.index), Start: t.start, End: t.end, Gap: math.NaN(), Confidence: p.rated[t.index], Speaker: -1}
		if t.speaker >= 0 {
			w.Speaker = rank[t.speaker]
		}
		if i > 0 {
			w.Gap = max(between(p.timed[i-1].end, t.start), 0)
		}
		timings = append(timings, w)
	}
	return timings
}

// overall sets the figures of the result as a whole.
func (a *Accumulator) overall(r *Result, p *pieces) {
	switch {
	case a.hasConfidence && a.confidence >= 0 && a.confidence <= 1:
		r.Confidence = a.confidence
	default:
		if a.hasConfidence {
			r.Anomalies[ConfidenceOutOfRange]++
		}
		if len(p.confidences) > 0 {
			var sum float64
			for _, c := range p.confidences {
				sum += c
			}
			r.Confidence = sum / float64(len(p.confidences))
		}
	}
	switch {
	case a.hasSpeakers:
		r.Speakers = a.speakers
	case len(p.speakers) > 0:
		r.Speakers = len(p.speakers)
	}
}

// bySpeaker sets the speakers' figures and the dominant one's share.
func (a *Accumulator) bySpeaker(r *Result, p *pieces) {
	if len(p.speakers) == 0 {
		return
	}
	slices.SortStableFunc(p.speakers, func(x, y tally) int { return cmp.Compare(y.talkSeconds, x.talkSeconds) })
	shown := p.speakers
	if len(shown) > MaxSpeakers {
		others := &shown[MaxSpeakers]
		for _, s := range shown[MaxSpeakers+1:] {
			others.add(s)
		}
		shown = shown[:MaxSpeakers+1]
	}
	var talk float64
	r.BySpeaker = make([]Speaker, len(shown))
	for i, s := range shown {
		talk += s.talkSeconds
		r.BySpeaker[i] = Speaker{s.talkSeconds, s.words, s.turns, s.confidence / float64(s.rated)}
		if p == &a.segments {
			r.BySpeaker[i].Words = 0
		}
	}
	if talk > 0 {
		r.DominantSpeakerRatio = shown[0].talkSeconds / talk
	}
}

// ofWords sets the figures that only words have.
func (a *Accumulator) ofWords(r *Result) {
	p := &a.words
	r.Words, r.Overlaps = p.count, 0
	if r.DurationSeconds >= minSeconds {
		r.SpeechRate = float64(r.Words) / r.DurationSeconds
	}
	if len(p.confidences) > 0 {
		r.WordConfidence = distribution(p.confidences)
		r.WordConfidences = observeAll(p.confidences, RatioBounds)
	}
	if len(p.timed) == 0 {
		return
	}
	a.values = a.values[:0]
	for _, t := range p.timed {
		a.values = append(a.values, between(t.start, t.end))
	}
	r.WordDuration = distribution(a.values)
	r.WordDurations = observeAll(a.values, WordDurationBounds)
	a.values = a.values[:0]
	for i, t := range p.timed[1:] {
		gap := between(p.timed[i].end, t.start)
		if gap < 0 {
			r.Overlaps++
		}
		a.values = append(a.values, max(gap, 0))
	}
	if len(a.values) > 0 {
		r.WordGap = distribution(a.values)
		r.WordGaps = observeAll(a.values, WordGapBounds)
	}
}

// observeAll counts values. Sorted ones are counted faster: the search for a
// bucket takes the same way again and again.
func observeAll(values, bounds []float64) *histogram.Histogram {
	h := histogram.New(bounds)
	for _, v := range values {
		h.Observe(v)
	}
	return h
}
