package simulator

import "math/rand/v2"

// conversation is what was said on a recording. Times and confidences are in
// hundredths.
type conversation struct {
	speakers int
	words    []word
	spoken   []stretch // sentence by sentence
	turns    []stretch // turn by turn
}

// word is one word. Where people talk over each other, the order of the words
// is not the order of their starts.
type word struct {
	token      *token
	start, end int
	confidence int
	speaker    int
}

// stretch is a run of words of one speaker.
type stretch struct {
	sentence  *sentence // of a spoken one
	speaker   int
	from, to  int // words[from:to]
	overlaps  bool
	overlapTo int // when the other speaker stopped, if it overlaps
}

// voice is how a speaker talks.
type voice struct {
	pace   float64 // of word durations; 1 is average
	doubt  float64 // mean of 1 - confidence
	weight float64 // to be the next to talk
	quiet  int     // hundredths: when they said their last word
}

const maxSpeakers = 5

// hold lets the people on a recording of this length talk. It reuses the
// memory of an earlier conversation.
func (c *conversation) hold(r *rand.Rand, length int) {
	*c = conversation{words: c.words[:0], spoken: c.spoken[:0], turns: c.turns[:0]}
	var voices [maxSpeakers]voice
	c.speakers = speakers(r)
	doubt := between(r, 0.03, 0.08)
	if r.IntN(7) == 0 { // a bad line
		doubt = between(r, 0.15, 0.4)
	}
	for i := range c.speakers {
		voices[i] = voice{
			pace:   lognormal(r, 1, 0.12),
			doubt:  doubt * between(r, 0.8, 1.3),
			weight: between(r, 0.3, 1.5),
		}
	}

	now, who, overlapTo := r.IntN(min(300, length)), 0, 0
	for now < length {
		v := &voices[who]
		turn := stretch{speaker: who, from: len(c.words), overlaps: now < overlapTo, overlapTo: overlapTo}
		for more := true; more && now < length; more = r.Float64() < 0.6 {
			now = c.say(r, pick(r, sentences), who, v, now, length)
			now += int(lognormal(r, 45, 0.6)) // a breath
		}
		turn.to = len(c.words)
		if turn.to == turn.from {
			break // no room for another word
		}
		c.turns = append(c.turns, turn)
		v.quiet = c.words[turn.to-1].end

		next := c.next(r, &voices, who)
		now = v.quiet + pauseBetween(r)
		if next != who {
			// Overlaps reach neither into the same speaker's own words
			// nor before the turn that is talked over.
			now = max(now, voices[next].quiet, c.words[turn.from].start+10)
		} else {
			now = max(now, v.quiet+20)
		}
		who, overlapTo = next, v.quiet
	}
}

// say appends a sentence, or its beginning if the recording ends, and returns
// when it ends. The first word of all is said however little room there is.
func (c *conversation) say(r *rand.Rand, s *sentence, who int, v *voice, now, length int) int {
	from := len(c.words)
	for i := range s.tokens {
		t := &s.tokens[i]
		took := max(4, int(lognormal(r, (7+4.6*float64(len(t.word)))*v.pace, 0.25)))
		if now+took > length {
			if len(c.words) > 0 {
				break
			}
			took = length - now
		}
		c.words = append(c.words, word{
			token: t, start: now, end: now + took, speaker: who,
			confidence: min(100, max(5, int(100*(1-v.doubt*r.ExpFloat64())))),
		})
		now += took
		switch {
		case t.text[len(t.text)-1] == ',':
			now += int(lognormal(r, 25, 0.5))
		case r.IntN(6) == 0:
			now += int(lognormal(r, 8, 0.8))
		}
	}
	if to := len(c.words); to > from {
		c.spoken = append(c.spoken, stretch{sentence: s, speaker: who, from: from, to: to})
		return c.words[to-1].end
	}
	return length
}

// next is who talks next.
func (c *conversation) next(r *rand.Rand, voices *[maxSpeakers]voice, who int) int {
	if c.speakers == 1 {
		return who
	}
	total := 0.0
	for i := range c.speakers {
		if i != who {
			total += voices[i].weight
		}
	}
	x := r.Float64() * total
	last := who
	for i := range c.speakers {
		if i == who {
			continue
		}
		last = i
		if x -= voices[i].weight; x < 0 {
			break
		}
	}
	return last
}

// speakers is how many people talk: two, mostly.
func speakers(r *rand.Rand) int {
	switch x := r.Float64(); {
	case x < 0.08:
		return 1
	case x < 0.80:
		return 2
	case x < 0.92:
		return 3
	case x < 0.97:
		return 4
	default:
		return maxSpeakers
	}
}

// pauseBetween is the time between two turns; negative when the next speaker
// does not wait.
func pauseBetween(r *rand.Rand) int {
	if r.IntN(80) == 0 { // on hold, or thinking
		return int(lognormal(r, 900, 0.6))
	}
	return int(min(max(35+45*r.NormFloat64(), -120), 300))
}

// confidence is the mean of the words' confidences, from word to word.
func (c *conversation) confidence(from, to int) int {
	if from == to {
		return 0
	}
	sum := 0
	for _, w := range c.words[from:to] {
		sum += w.confidence
	}
	return sum / (to - from)
}

// talk is how long each speaker talks.
func (c *conversation) talk() (by [maxSpeakers]int, total int) {
	for _, w := range c.words {
		by[w.speaker] += w.end - w.start
		total += w.end - w.start
	}
	return by, total
}

// start and end of a stretch.
func (c *conversation) start(s stretch) int { return c.words[s.from].start }
func (c *conversation) end(s stretch) int   { return c.words[s.to-1].end }
