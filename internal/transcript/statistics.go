// Package transcript computes the figures of a result from its words or segments: confidence, speakers, durations,
// gaps, talk time. It declares them once, in Figures and WordDistributions, for all that show or store them. It sees
// times, confidences and speaker IDs, never a word's text, and returns no speaker ID.
package transcript

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

// Statistics are the figures of one result. Unknown figures are NaN.
type Statistics struct {
	// Confidence is the result's own, 0 to 1, else the mean of the words' confidences, else of the segments'.
	Confidence float64
	// Speakers is the result's own `num_speakers`, up to maxOwnSpeakers, else the number of distinct speaker IDs.
	Speakers float64
	// Words is the number of words that the result lists, valid or not; unknown if it has no list of words, or an empty
	// one beside segments.
	Words float64
	// SpeechSeconds is the sum of the words' durations, else of the segments' (of those with the tag `speech`, if
	// segments have tags). Simultaneous speakers count each.
	SpeechSeconds float64
	// DurationSeconds is the last end of a word, else of a segment.
	DurationSeconds float64
	// SpeechRate is the number of words with valid times per second of DurationSeconds, pauses included: punctuation
	// may be listed as words without times. Unknown below minSeconds.
	SpeechRate float64
	// DominantSpeakerRatio is the talk time of the speaker who talks most, as a share of all speakers'; 0 to 1.
	DominantSpeakerRatio float64
	// Overlaps is the number of words that start before the end of the word before them, in order of start; unknown if
	// Words is.
	Overlaps float64

	WordConfidence Distribution // 0 to 1
	WordDuration   Distribution // seconds, end - start
	WordGap        Distribution // seconds from a word's end to the next start, in order of start; 0 for an overlap

	// BySpeaker is sorted by falling talk time: at most MaxSpeakers, and one more for all others together. Empty if the
	// result has no speaker IDs.
	BySpeaker []Speaker

	Anomalies [len(Anomalies)]int
}

// Unknown returns statistics without any known figure.
func Unknown() Statistics { return newResult().Statistics }

func newResult() *Result {
	r := new(Result)
	for i := range Figures {
		*Figures[i].of(&r.Statistics) = math.NaN()
	}
	return r
}

// MaxSpeakers is the number of speakers with figures of their own.
const MaxSpeakers = 10

// SpeakerName returns the name of BySpeaker[i], as the label and the tag `speaker` have it: the ordinal by talk time,
// and `other` for the speakers beyond MaxSpeakers.
func SpeakerName(i int) string {
	if i >= MaxSpeakers {
		return "other"
	}
	return strconv.Itoa(i)
}

// A Speaker is the contribution of one speaker.
type Speaker struct {
	TalkSeconds    float64 // sum of the durations of the speaker's words or segments
	Words          int     // 0 if the result has segments only
	Turns          int     // runs of words or segments of this speaker, in order of start
	ConfidenceMean float64 // mean confidence of the words or segments; NaN without any
}

// An Anomaly is the reason why data of a word or segment was left out.
type Anomaly int

// The anomalies. A word that is out of order is counted as an anomaly, and then sorted in by its start.
const (
	NegativeDuration     Anomaly = iota // it ends before it starts
	OutOfOrder                          // it starts before the one listed before it
	MissingTime                         // start or end is missing, no number, or negative
	ConfidenceOutOfRange                // not from 0 to 1, or no number
	ImplausibleTime                     // a word over a minute, a transcript over a day, or a speaker's talk over that
	SpeakersOutOfRange                  // a number of speakers that is no whole number from 0 to maxOwnSpeakers
)

// Anomalies are the names of the anomalies, as in the label `reason`.
var Anomalies = [...]string{
	"negative_duration", "out_of_order", "missing_time", "confidence_out_of_range", "implausible_time",
	"speakers_out_of_range",
}

// A Distribution summarises the values of one kind in a transcript.
type Distribution struct {
	Count    int
	Sum      float64
	Min, Max float64 // 0 without values
	// Percentiles are exact, by the nearest-rank method. P1 and P10 are NaN in what earlier versions stored.
	P1, P10, P50, P90, P99 float64
}

// Classic bucket bounds, for the histograms of a result and the totals that they are merged into.
var (
	RatioBounds        = []float64{.1, .2, .3, .4, .5, .6, .7, .8, .85, .9, .95, .99, 1}
	WordDurationBounds = []float64{.02, .05, .1, .15, .2, .25, .3, .4, .5, .75, 1, 2} // seconds
	WordGapBounds      = []float64{0, .05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 30}      // seconds
)

// A Result is a result with its statistics and the data that totals, word points and the timeline need.
type Result struct {
	Statistics
	// The values behind the distributions of the same names; nil without values.
	WordConfidences, WordDurations, WordGaps *histogram.Histogram
	// Timings are those of the words with valid times, in order of start; without words, of the segments. nil unless
	// the accumulator keeps them.
	Timings []Timing
}

// A Piece is one word or segment. Start and end are in seconds. A missing time or confidence is NaN, and one that is no
// number is NotANumber.
type Piece struct {
	Start, End, Confidence float64
	// Speaker is the speaker's ID; empty if missing. The caller may reuse its memory.
	Speaker []byte
}

// NotANumber stands for a value that was given and is no number. It is out of every range.
var NotANumber = math.Inf(-1)

// Times beyond these are not plausible: they may be in milliseconds, and would spoil the totals. A word that is too
// long is left out. Of a transcript that is too long, or in which most words are, all times are.
const (
	maxSeconds     = 24 * 60 * 60 // of a transcript
	maxWordSeconds = 60
)

// maxTalkRatio is the part of a transcript that one speaker can talk for, and maxWordSeconds more: words overlap a
// little. Beyond it the same speech is listed several times, and all times are left out.
const maxTalkRatio = 1.1

// Limits of what an accumulator holds. They are beyond what people say in a day.
const (
	maxPieces       = 1 << 18 // a transcript with more words or segments counts as too long
	fewPieces       = 1 << 12 // for which room is made at once: half an hour of speech
	maxSpeakers     = 4096    // further speakers count as missing
	fewSpeakers     = 64      // whose memory is kept for another result
	maxSpeakerBytes = 256     // a longer ID counts as missing
)

// The result's own number of speakers. The API names no bound. It is made for calls, meetings and press conferences,
// and one absurd number would spoil the mean of all results.
const (
	maxOwnSpeakers  = 1000
	unknownSpeakers = -1 // as in a request to the API: to be detected
)

// minSeconds is the duration of the shortest transcript that has a speech rate: near zero the rate would be absurd, up
// to infinite, and spoil the sums that contain it.
const minSeconds = 1e-3

// An Accumulator takes the pieces of one result in the order of the document, whose keys may be in any order. The zero
// value is ready to use. It is not safe for concurrent use.
type Accumulator struct {
	KeepTimings bool // the result has the timings of its words

	words, segments      pieces
	confidence, speakers given
	sorter               sorter
}

// given is a figure of the result's own, if it has it.
type given struct {
	value float64
	is    bool
}

// pieces are the words, or the segments, of one result.
type pieces struct {
	listed      bool // the document has the list, even if empty
	count       int
	timed       []timed
	pausesEnd   float64 // the last end of a pause; 0 without one
	confidences []float64
	speakerIDs  map[string]int
	idBytes     int // the size of all speakerIDs
	speakers    []tally
	last        int // the speaker who was found last
	anomalies   [len(Anomalies)]int
	tooLong     bool // a piece or a pause of plausible length ends after maxSeconds, or there are more than maxPieces
}

// A tally is the contribution of one speaker so far.
type tally struct {
	id           string
	first        int // index in order of appearance
	talkSeconds  float64
	words, turns int
	confidence   float64 // sum
	rated        int     // number of confidences in the sum
}

// timed is a piece with valid times.
type timed struct {
	start, end float64
	confidence float64 // NaN if unknown
	speaker    int32   // -1: missing
	index      int32   // among all pieces
}

// Reset prepares for another result, and keeps the memory, but for that of many speakers.
func (a *Accumulator) Reset() {
	a.words.reset()
	a.segments.reset()
	a.confidence, a.speakers = given{}, given{}
}

func (p *pieces) reset() {
	if len(p.speakers) > fewSpeakers {
		p.speakerIDs, p.speakers = nil, nil
	}
	clear(p.speakerIDs)
	*p = pieces{timed: p.timed[:0], confidences: p.confidences[:0], speakerIDs: p.speakerIDs, speakers: p.speakers[:0]}
}

// Lists are the memory of an accumulator that grows with the number of words and segments.
type Lists struct{ words, segments lists }

type lists struct {
	timed       []timed
	confidences []float64
}

// Exchange exchanges the lists of an accumulator. What it holds stays.
func (a *Accumulator) Exchange(l *Lists) {
	a.words.exchange(&l.words)
	a.segments.exchange(&l.segments)
}

func (p *pieces) exchange(l *lists) {
	p.timed, l.timed = append(l.timed[:0], p.timed...), p.timed
	p.confidences, l.confidences = append(l.confidences[:0], p.confidences...), p.confidences
}

// Size returns how many bytes the lists take.
func (l *Lists) Size() int {
	return ofTimed*(cap(l.words.timed)+cap(l.segments.timed)) +
		ofConfidence*(cap(l.words.confidences)+cap(l.segments.confidences))
}

// Confidence takes the result's own confidence.
func (a *Accumulator) Confidence(c float64) { a.confidence = given{c, true} }

// Speakers takes the result's own number of speakers.
func (a *Accumulator) Speakers(n float64) { a.speakers = given{n, n != unknownSpeakers} }

// WordList begins the result's list of words. It drops the words of a list before it.
func (a *Accumulator) WordList() {
	a.words.reset()
	a.words.listed = true
}

// SegmentList begins the result's list of segments. It drops the segments of a list before it.
func (a *Accumulator) SegmentList() {
	a.segments.reset()
	a.segments.listed = true
}

// Word takes one word.
func (a *Accumulator) Word(w Piece) { a.words.add(w, maxWordSeconds) }

// Segment takes one stretch of speech.
func (a *Accumulator) Segment(s Piece) { a.segments.add(s, maxSeconds) }

// Pause takes a segment without speech (music, noise): it only extends the recording.
func (a *Accumulator) Pause(s Piece) {
	p := &a.segments
	switch {
	case s.End > maxSeconds:
		p.anomalies[ImplausibleTime]++
		p.tooLong = p.tooLong || !(s.End-s.Start > maxSeconds)
	case s.End >= 0:
		p.pausesEnd = max(p.pausesEnd, s.End)
	}
}

// Memory returns how many bytes the accumulator uses of what it holds. Its result takes up to twice as much again.
func (a *Accumulator) Memory() int { return a.words.memory() + a.segments.memory() }

// Bytes of one element.
const (
	ofTimed      = 32
	ofConfidence = 8
	ofSpeaker    = 256
)

func (p *pieces) memory() int {
	return ofTimed*len(p.timed) + ofConfidence*len(p.confidences) + ofSpeaker*len(p.speakers) + p.idBytes
}

// between is the time from one time to another, to the microsecond. Times are decimal, and the error of a
// floating-point difference would put values on bucket bounds into the wrong bucket: 1.6 - 1.5 is above 0.1.
func between(from, to float64) float64 { return math.Round((to-from)*1e6) / 1e6 }

// total is a sum to the ninth digit behind the point. What was added up has fewer, and the error of floating-point
// additions would show: 1.75 + 2.2 is not always 3.95.
func total(sum float64) float64 { return math.Round(sum*1e9) / 1e9 }

func isRatio(r float64) bool { return r >= 0 && r <= 1 }

// add takes a piece, which is not plausible if it lasts longer than maxLength in seconds.
func (p *pieces) add(w Piece, maxLength float64) {
	p.count++
	if p.count > maxPieces {
		p.anomalies[ImplausibleTime]++
		p.tooLong = true
		return
	}
	speaker := p.speaker(w.Speaker)
	if speaker >= 0 {
		p.speakers[speaker].words++
	}
	switch {
	case math.IsNaN(w.Confidence):
	case !isRatio(w.Confidence):
		p.anomalies[ConfidenceOutOfRange]++
		w.Confidence = math.NaN()
	default:
		p.confidences = append(makeRoom(p.confidences, fewPieces), w.Confidence)
		if speaker >= 0 {
			p.speakers[speaker].confidence += w.Confidence
			p.speakers[speaker].rated++
		}
	}
	switch {
	case !(w.Start >= 0) || !(w.End >= 0):
		p.anomalies[MissingTime]++
	case w.End < w.Start:
		p.anomalies[NegativeDuration]++
	case w.End-w.Start > maxLength:
		p.anomalies[ImplausibleTime]++
	case w.End > maxSeconds:
		p.anomalies[ImplausibleTime]++
		p.tooLong = true
	default:
		n := len(p.timed)
		if n > 0 && w.Start < p.timed[n-1].start {
			p.anomalies[OutOfOrder]++
		}
		p.timed = makeRoom(p.timed, fewPieces)[:n+1]
		t := &p.timed[n] // a literal would be copied
		t.start, t.end, t.confidence, t.speaker, t.index = w.Start, w.End, w.Confidence, int32(speaker), int32(p.count-1)
	}
}

// makeRoom makes room for another element. The capacity doubles, from the least on: append alone would allocate many
// times more often.
func makeRoom[E any](list []E, least int) []E {
	if len(list) == cap(list) {
		list = slices.Grow(list, max(len(list), least))
	}
	return list
}

// speaker returns a speaker's index in order of appearance; -1 if it is missing.
func (p *pieces) speaker(id []byte) int {
	if len(id) == 0 || len(id) > maxSpeakerBytes {
		return -1
	}
	if p.last < len(p.speakers) && p.speakers[p.last].id == string(id) {
		return p.last
	}
	i, known := p.speakerIDs[string(id)]
	if !known && len(p.speakers) == maxSpeakers {
		return -1
	}
	if !known {
		if p.speakerIDs == nil {
			p.speakerIDs = make(map[string]int)
		}
		i = len(p.speakers)
		p.speakers = append(makeRoom(p.speakers, 8), tally{id: string(id), first: i})
		p.speakerIDs[p.speakers[i].id] = i
		p.idBytes += len(id)
	}
	p.last = i
	return i
}

// Result computes the figures. It returns nil if the result has nothing to measure. The accumulator must be Reset
// before its next use.
func (a *Accumulator) Result() *Result {
	p := &a.words
	if !p.listed || (p.count == 0 && a.segments.count > 0) {
		p = &a.segments
	}
	if !p.listed && !a.confidence.is && !a.speakers.is {
		return nil
	}
	p.dropImplausible()
	r := newResult()
	r.Anomalies = p.anomalies
	if p.anomalies[OutOfOrder] > 0 {
		slices.SortStableFunc(p.timed, func(x, y timed) int { return cmp.Compare(x.start, y.start) })
	}
	a.overall(r, p)
	if p == &a.words {
		r.WordConfidence, r.WordConfidences = a.summarise(p.confidences, RatioBounds)
	}
	lengths := p.talk(r)
	a.bySpeaker(r, p)
	if p == &a.words {
		a.ofWords(r, lengths)
	}
	if a.KeepTimings {
		r.Timings = p.timings()
	}
	return r
}

// dropImplausible drops all times if the transcript is too long, or most of its words are.
func (p *pieces) dropImplausible() {
	if p.tooLong || p.anomalies[ImplausibleTime] > len(p.timed) {
		p.anomalies[ImplausibleTime] += len(p.timed)
		p.timed, p.pausesEnd = p.timed[:0], 0
	}
}

// talk sets how long the speech and the recording are, and adds up the speakers' talk. It returns the lengths of the
// pieces in place of the confidences, which are not needed any more.
func (p *pieces) talk(r *Result) (lengths []float64) {
	if p.listed && (p.count == 0 || len(p.timed) > 0) { // else there is speech of unknown length
		r.SpeechSeconds = 0
	}
	if p.pausesEnd > 0 {
		r.DurationSeconds = p.pausesEnd
	}
	last := int32(-1)
	lengths = slices.Grow(p.confidences[:0], len(p.timed))
	for i := range p.timed {
		t := &p.timed[i]
		length := between(t.start, t.end)
		lengths = append(lengths, length)
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
	p.confidences = lengths[:0]
	r.SpeechSeconds = total(r.SpeechSeconds)
	missing, most := r.SpeechSeconds, 0.0 // talk time without a speaker, and of the one who talks most
	for i := range p.speakers {
		p.speakers[i].talkSeconds = total(p.speakers[i].talkSeconds)
		missing -= p.speakers[i].talkSeconds
		most = max(most, p.speakers[i].talkSeconds)
	}
	if max(most, missing) > maxTalkRatio*r.DurationSeconds+maxWordSeconds {
		p.dropTalk(r)
	}
	return lengths[:len(p.timed)]
}

// dropTalk drops all times after talk.
func (p *pieces) dropTalk(r *Result) {
	r.Anomalies[ImplausibleTime] += len(p.timed)
	r.SpeechSeconds, r.DurationSeconds = math.NaN(), math.NaN()
	for i := range p.speakers {
		p.speakers[i].talkSeconds, p.speakers[i].turns = 0, 0
	}
	p.timed = p.timed[:0]
}

// timings returns the timings once the speakers are in order of talk time.
func (p *pieces) timings() []Timing {
	rank := make([]int, len(p.speakers))
	for i, s := range p.speakers {
		rank[s.first] = min(i, MaxSpeakers)
	}
	timings := make([]Timing, 0, len(p.timed))
	for i, t := range p.timed {
		w := Timing{Index: int(t.index), Start: t.start, End: t.end, Gap: math.NaN(), Confidence: t.confidence}
		if w.Speaker = int(t.speaker); t.speaker >= 0 {
			w.Speaker = rank[t.speaker]
		}
		if i > 0 {
			w.Gap = max(between(p.timed[i-1].end, t.start), 0)
		}
		timings = append(timings, w)
	}
	return timings
}

// overall sets confidence and number of speakers.
func (a *Accumulator) overall(r *Result, p *pieces) {
	if a.confidence.is && isRatio(a.confidence.value) {
		r.Confidence = a.confidence.value
	} else {
		if a.confidence.is {
			r.Anomalies[ConfidenceOutOfRange]++
		}
		var sum float64
		for _, c := range p.confidences {
			sum += c
		}
		r.Confidence = total(sum) / float64(len(p.confidences)) // NaN without any
	}
	if n := a.speakers.value; a.speakers.is && n >= 0 && n <= maxOwnSpeakers && n == math.Trunc(n) {
		r.Speakers = n
		return
	}
	if a.speakers.is {
		r.Anomalies[SpeakersOutOfRange]++
	}
	if n := len(p.speakers); n > 0 {
		r.Speakers = float64(n)
	}
}

// bySpeaker sets the speakers' figures and the dominant speaker's share.
func (a *Accumulator) bySpeaker(r *Result, p *pieces) {
	slices.SortStableFunc(p.speakers, func(x, y tally) int { return cmp.Compare(y.talkSeconds, x.talkSeconds) })
	var rated [MaxSpeakers + 1]int
	r.BySpeaker = append(r.BySpeaker, make([]Speaker, min(len(p.speakers), MaxSpeakers+1))...) // nil without any
	for i, t := range p.speakers {
		i = min(i, MaxSpeakers) // the last one has all others
		s := &r.BySpeaker[i]
		s.TalkSeconds += t.talkSeconds
		s.Turns += t.turns
		s.ConfidenceMean += t.confidence // the sum, to be divided
		rated[i] += t.rated
		if p == &a.words {
			s.Words += t.words
		}
	}
	var talk float64
	for i := range r.BySpeaker {
		s := &r.BySpeaker[i]
		s.TalkSeconds = total(s.TalkSeconds)
		s.ConfidenceMean = total(s.ConfidenceMean) / float64(rated[i]) // NaN without any
		talk += s.TalkSeconds
	}
	if talk > 0 {
		r.DominantSpeakerRatio = r.BySpeaker[0].TalkSeconds / total(talk)
	}
}

// ofWords sets the figures that only words have, but for those of their confidences.
func (a *Accumulator) ofWords(r *Result, lengths []float64) {
	p := &a.words
	r.Words, r.Overlaps = float64(p.count), 0
	if r.DurationSeconds >= minSeconds {
		r.SpeechRate = float64(len(p.timed)) / r.DurationSeconds
	}
	r.WordDuration, r.WordDurations = a.summarise(lengths, WordDurationBounds)
	gaps := lengths[:0]
	for i := 1; i < len(p.timed); i++ {
		gap := between(p.timed[i-1].end, p.timed[i].start)
		if gap < 0 {
			r.Overlaps++
		}
		gaps = append(gaps, max(gap, 0))
	}
	r.WordGap, r.WordGaps = a.summarise(gaps, WordGapBounds)
}

// summarise sorts values in place and counts them. The histogram is nil without values.
func (a *Accumulator) summarise(values, bounds []float64) (Distribution, *histogram.Histogram) {
	d := Distribution{Count: len(values)}
	if d.Count == 0 {
		return d, nil
	}
	a.sorter.sort(values)
	h := histogram.New(bounds)
	h.ObserveSorted(values)
	d.Sum = total(h.Sum())
	// Integer arithmetic: 0.9*10 in floating point is above 9.
	rank := func(percent int) float64 { return values[(percent*len(values)+99)/100-1] }
	d.Min, d.Max = values[0], values[len(values)-1]
	d.P1, d.P10, d.P50, d.P90, d.P99 = rank(1), rank(10), rank(50), rank(90), rank(99)
	return d, h
}

// perUnit is the resolution of the values that are sorted by counting: a millisecond, or a tenth of a percent.
const perUnit = 1000

// A sorter sorts non-negative values. Those of words have few digits, and counting how often each occurs is faster than
// comparing them. Values of a higher resolution, and large ones, are compared.
type sorter struct{ counts [1 << 14]uint32 } // of i/perUnit

func (s *sorter) sort(values []float64) {
	n, top := 0, 0 // the other values, which are kept in front, and the largest index
	for _, v := range values {
		if i := int(v*perUnit + .5); i < len(s.counts) && float64(i)/perUnit == v {
			s.counts[i]++
			top = max(top, i)
			continue
		}
		values[n] = v
		n++
	}
	slices.Sort(values[:n])
	end := len(values) // what is behind it is final
	for i := top; i >= 0; i-- {
		if s.counts[i] == 0 {
			continue
		}
		v := float64(i) / perUnit
		for ; n > 0 && values[n-1] > v; n-- {
			end--
			values[end] = values[n-1]
		}
		for range s.counts[i] {
			end--
			values[end] = v
		}
		s.counts[i] = 0
	}
}
