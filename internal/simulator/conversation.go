package simulator

import (
	"math/rand/v2"
	"strconv"
)

// hundredths is a time in hundredths of a second or a share in percent.
type hundredths int

// String returns the number as JSON.
func (h hundredths) String() string { return strconv.FormatFloat(float64(h)/100, 'f', -1, 64) }

// conversation is the content of a recording.
type conversation struct {
	speakers  int // who talk
	words     []word
	sentences []stretch
	turns     []stretch
}

// word is one word. Where speakers overlap, words are not in order of their starts.
type word struct {
	token      *token
	start, end hundredths
	confidence hundredths
	speaker    int
}

// stretch is a run of words of one speaker.
type stretch struct {
	words      []word
	question   bool       // of a sentence
	overlapEnd hundredths // end of the words of another speaker that a turn interrupts; 0: none
}

func (s stretch) speaker() int      { return s.words[0].speaker }
func (s stretch) start() hundredths { return s.words[0].start }
func (s stretch) end() hundredths   { return s.words[len(s.words)-1].end }

// voice is the way a speaker talks.
type voice struct {
	pace    float64    // factor of word durations
	doubt   float64    // mean of 1 - confidence
	weight  float64    // of being the next speaker
	speaker int        // number, in the order of first words
	quiet   hundredths // end of the last word; 0: before the first
}

// newConversation draws a conversation of this length.
func newConversation(r *rand.Rand, length hundredths) *conversation {
	c := new(conversation)
	voices := make([]voice, 1+weighted(r, 8, 72, 12, 5, 3))
	doubt := between(r, 0.03, 0.08)
	if r.IntN(7) == 0 { // a bad connection
		doubt = between(r, 0.15, 0.4)
	}
	for i := range voices {
		voices[i] = voice{
			pace: lognormal(r, 1, 0.12), doubt: doubt * between(r, 0.8, 1.3), weight: between(r, 0.3, 1.5),
		}
	}

	now, who, overlapEnd := hundredths(r.IntN(min(300, int(length)))), 0, hundredths(0)
	for now < length {
		v := &voices[who]
		begins := v.quiet == 0
		if begins {
			v.speaker = c.speakers
		}
		from := len(c.words)
		turn := stretch{}
		if now < overlapEnd {
			turn.overlapEnd = overlapEnd
		}
		for more := true; more && now < length; more = r.Float64() < 0.6 {
			now = c.say(r, pick(r, sentences...), v, now, length)
			now += hundredths(lognormal(r, 45, 0.6)) // a breath
		}
		turn.words = c.words[from:]
		if len(turn.words) == 0 {
			break // the next word does not fit
		}
		if begins {
			c.speakers++
		}
		c.turns = append(c.turns, turn)
		v.quiet = turn.end()

		next := nextSpeaker(r, voices, who)
		now = v.quiet + pauseBetween(r)
		if next != who {
			// An overlap starts neither in words of the same speaker nor before the turn
			// that it interrupts.
			now = max(now, voices[next].quiet, turn.start()+10)
		} else {
			now = max(now, v.quiet+20)
		}
		who, overlapEnd = next, v.quiet
	}
	return c
}

// say appends a sentence, cut off at the end of the recording, and returns its end. A
// conversation always has a first word.
func (c *conversation) say(r *rand.Rand, s *sentence, v *voice, now, length hundredths) hundredths {
	from := len(c.words)
	for i := range s.tokens {
		t := &s.tokens[i]
		took := max(4, hundredths(lognormal(r, (7+4.6*float64(len(t.word)))*v.pace, 0.25)))
		if now+took > length {
			if len(c.words) > 0 {
				break
			}
			took = length - now
		}
		c.words = append(c.words, word{
			token: t, start: now, end: now + took, speaker: v.speaker,
			confidence: min(100, max(5, hundredths(100*(1-v.doubt*r.ExpFloat64())))),
		})
		now += took
		switch {
		case t.text[len(t.text)-1] == ',':
			now += hundredths(lognormal(r, 25, 0.5))
		case r.IntN(6) == 0:
			now += hundredths(lognormal(r, 8, 0.8))
		}
	}
	if len(c.words) == from {
		return length
	}
	said := stretch{words: c.words[from:], question: s.question}
	c.sentences = append(c.sentences, said)
	return said.end()
}

// nextSpeaker draws the next speaker, another one if there are several.
func nextSpeaker(r *rand.Rand, voices []voice, who int) int {
	weights := make([]float64, len(voices))
	for i, v := range voices {
		if i != who {
			weights[i] = v.weight
		}
	}
	return weighted(r, weights...)
}

// pauseBetween draws the time between two turns; it is negative if they overlap.
func pauseBetween(r *rand.Rand) hundredths {
	if r.IntN(80) == 0 { // on hold, or thinking
		return hundredths(lognormal(r, 900, 0.6))
	}
	return hundredths(min(max(35+45*r.NormFloat64(), -120), 300))
}

// confidence returns the mean confidence of words.
func confidence(words []word) hundredths {
	sum := hundredths(0)
	for _, w := range words {
		sum += w.confidence
	}
	return sum / hundredths(max(1, len(words)))
}
