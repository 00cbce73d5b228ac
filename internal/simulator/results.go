package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// statusBody returns the status body of an ended job.
func (j *job) statusBody() []byte {
	word := "Completed"
	if j.Outcome == Failed {
		word = "Failed"
	}
	return fmt.Appendf(nil, `{"response": {%s}, "status": "%s"}`, j.members(), word)
}

// webhookBody returns the webhook body of an ended job.
func (j *job) webhookBody() []byte { return fmt.Appendf(nil, `{%s}`, j.members()) }

// members returns the request ID and the result, or the fault, of an ended job.
func (j *job) members() []byte {
	e := &encoder{r: chance(j.seed, "result", j.RequestID), length: max(1, hundredths(100*j.AudioSeconds))}
	e.add(`"request_id": "%s", `, escape(j.RequestID))
	switch {
	case j.Outcome != Completed:
		e.add(`"response": %s`, apiFault(j.fault.text, j.fault.code))
	case j.api.result == nil: // is_depressed
		e.add(`"depressed": %t`, e.r.IntN(8) == 0)
	default:
		e.add(`"response": `)
		j.api.result(e)
	}
	return e.b
}

// encoder encodes a result.
type encoder struct {
	b      []byte
	r      *rand.Rand
	length hundredths // of the recording
}

// add appends a part of the result, in the format of package fmt.
func (e *encoder) add(format string, args ...any) { e.b = fmt.Appendf(e.b, format, args...) }

// list appends an array of n elements.
func (e *encoder) list(n int, add func(i int)) {
	e.add("[")
	for i := range n {
		if i > 0 {
			e.add(", ")
		}
		add(i)
	}
	e.add("]")
}

// stretches appends an array of objects with the members start, end and others.
func (e *encoder) stretches(all []stretch, others func(stretch) string) {
	e.list(len(all), func(i int) {
		e.add(`{"start": %v, "end": %v, %s}`, all[i].start(), all[i].end(), others(all[i]))
	})
}

// escape returns the inside of a JSON string, in ASCII as the vendor's.
func escape(s string) string {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) { // invalid UTF-8 becomes U+FFFD
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c >= ' ' && c < 0x7f:
			b = append(b, byte(c))
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return string(b)
}

// text returns words as the text of a transcript.
func text(words []word) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.token.text
	}
	return strings.Join(texts, " ")
}

func (e *encoder) asr() {
	diarized := e.r.IntN(5) > 0
	c := newConversation(e.r, e.length)
	e.add(`{"confidence": %v, `, confidence(c.words))
	if diarized {
		e.add(`"num_speakers": %d, `, c.speakers)
	}
	e.add(`"transcript": "%s", "words": `, text(c.words))
	e.list(len(c.words), func(i int) {
		w := &c.words[i]
		e.add(`{"confidence": %v, "end": %v, `, w.confidence, w.end)
		if diarized {
			e.add(`"speaker_id": "%d", `, w.speaker)
		}
		e.add(`"start": %v, "word": "%s"}`, w.start, w.token.word)
	})
	e.add(`}`)
}

func (e *encoder) diarize() {
	e.add(`{`)
	counted := e.r.IntN(4) > 0
	c := newConversation(e.r, e.length)
	if counted {
		e.add(`"num_speakers": %d, `, c.speakers)
	}
	e.segments(c, "speaker1", "speaker2", "speaker3", "speaker4", "speaker5")
}

func (e *encoder) identify() {
	e.add(`{`)
	agent := "agent-" + strconv.Itoa(1+e.r.IntN(40))
	e.segments(newConversation(e.r, e.length), agent, "unknown", "susan", "supervisor-2", "unknown-2")
}

// segments appends the turns, with these names for the speakers, and ends the result.
func (e *encoder) segments(c *conversation, names ...string) {
	e.add(`"segments": `)
	e.stretches(c.turns, func(t stretch) string { return fmt.Sprintf(`"speaker_id": "%s"`, names[t.speaker()]) })
	e.add(`}`)
}

// pieces appends an array of objects that divide the recording. next draws the duration of
// one and its members beside start and end.
func (e *encoder) pieces(next func() (duration float64, members string)) {
	e.add(`[`)
	for now := hundredths(0); now < e.length; {
		if now > 0 {
			e.add(`, `)
		}
		duration, members := next()
		end := min(e.length, now+max(1, hundredths(duration)))
		e.add(`{"start": %v, "end": %v, %s}`, now, end, members)
		now = end
	}
	e.add(`]`)
}

func (e *encoder) emotion() string {
	return pick(e.r, "neutral", "neutral", "neutral", "happy", "excited", "frustration", "anger", "sad")
}

// percent draws a share of at least low percent.
func (e *encoder) percent(low int) hundredths { return hundredths(low + e.r.IntN(100-low)) }

func (e *encoder) emotions() {
	e.pieces(func() (float64, string) {
		return 50 + lognormal(e.r, 600, 0.6), fmt.Sprintf(`"emotion": "%s"`, e.emotion())
	})
}

func (e *encoder) vad() {
	e.add(`{"segments": `)
	e.pieces(func() (float64, string) {
		if e.r.IntN(11) < 6 {
			return 20 + lognormal(e.r, 900, 0.7), `"tag": "speech"`
		}
		tag := pick(e.r, "noise", "noise", "music", "laughter", "applause")
		return 20 + lognormal(e.r, 150, 0.7), fmt.Sprintf(`"tag": "%s"`, tag)
	})
	e.add(`}`)
}

func (e *encoder) chapters() {
	e.add(`{"chapters": `)
	e.pieces(func() (float64, string) {
		members := fmt.Sprintf(`"confidence": %v, "category": "%s"`,
			e.percent(60), pick(e.r, "slide", "demo", "speaker", "video"))
		if e.r.IntN(4) > 0 {
			members += fmt.Sprintf(`, "title": "%s", "title_confidence": %v`,
				pick(e.r, "WELCOME", "AGENDA", "RESULTS", "QUESTIONS", "OUTLOOK"), e.percent(50))
		}
		return 500 + lognormal(e.r, 12_000, 0.7), members
	})
	e.add(`}`)
}

func (e *encoder) interaction() {
	c := newConversation(e.r, e.length)
	talk, total := make([]hundredths, c.speakers), hundredths(0)
	for _, w := range c.words {
		talk[w.speaker] += w.end - w.start
		total += w.end - w.start
	}
	perSpeaker := func(key string, value func(speaker int) string) {
		e.add(`, "%s": `, key)
		e.list(c.speakers, func(i int) { e.add(`{"speaker_id": "%d", "value": %s}`, i, value(i)) })
	}
	e.add(`{"num_speakers": %d, "total_speech_duration": %v`, c.speakers, total)
	perSpeaker("energy", func(int) string { return strconv.Itoa(1 + e.r.IntN(9)) })
	perSpeaker("pace", func(int) string { return pick(e.r, `"slow"`, `"normal"`, `"fast"`) })
	perSpeaker("talk_to_listen", func(i int) string {
		part := 100 * talk[i] / max(1, total)
		return fmt.Sprintf(`"%d:%d"`, part, 100-part)
	})
	perSpeaker("tone", func(int) string { return pick(e.r, `"calm"`, `"happy"`, `"sad"`, `"tense"`) })
	e.add(`, "questions_asked": `)
	e.list(c.speakers, func(i int) {
		asked := filter(c.sentences, func(s stretch) bool { return s.question && s.speaker() == i })
		e.add(`{"speaker_id": "%d", "value": %d, "questions": `, i, len(asked))
		e.stretches(asked, textMember)
		e.add(`}`)
	})
	e.add(`, "interruptions": `)
	overlaps := filter(c.turns, func(t stretch) bool { return t.overlapEnd > 0 })
	e.list(len(overlaps), func(i int) {
		e.add(`{"start": %v, "end": %v}`, overlaps[i].start(), min(overlaps[i].overlapEnd, overlaps[i].end()))
	})
	e.add(`, "segments": `)
	e.stretches(c.turns, func(t stretch) string {
		return fmt.Sprintf(`"speaker_id": "%d", "confidence": %v, "emotion": "%s", "emotion_score": %v, `+
			`"intent": "%s", %s`, t.speaker(), confidence(t.words), e.emotion(), e.percent(50),
			pick(e.r, "inform", "request", "complain", "confirm"), textMember(t))
	})
	e.add(`}`)
}

func filter(all []stretch, keep func(stretch) bool) []stretch {
	return slices.DeleteFunc(slices.Clone(all), func(s stretch) bool { return !keep(s) })
}

func textMember(s stretch) string { return fmt.Sprintf(`"text": "%s"`, text(s.words)) }

func (e *encoder) denoise() {
	e.add(`{"url": "https://files.invalid/one-time/clean.wav?token=%x", "sampleRate": %d, "encoding": "%s", `+
		`"languageCode": "en-US"}`, e.r.Uint64(), pick(e.r, 8000, 16000, 44100), pick(e.r, "FLAC", "WAV"))
}

// featurize has a frame every half second, which makes a large result.
func (e *encoder) featurize() {
	frames := int(max(1, e.length/50))
	numbers := func(n, low, high int) { // thousandths
		e.list(n, func(int) {
			e.b = strconv.AppendFloat(e.b, float64(low+e.r.IntN(high-low))/1000, 'f', -1, 64)
		})
	}
	e.add(`{"mfccs": `)
	e.list(frames, func(int) { numbers(13, -40_000, 40_000) })
	e.add(`, "zcr": `)
	numbers(frames, 0, 400)
	e.add(`, "energy": `)
	numbers(frames, 0, 10_000)
	e.add(`}`)
}

// summary is extractive, abstractive, or both.
func (e *encoder) summary() {
	kind := e.r.IntN(3)
	e.add(`{`)
	if kind != 0 {
		headline := func() string {
			return fmt.Sprintf(`"score": %v, "text": "%s"`, e.percent(40), pick(e.r, "A customer reports a fault.",
				"The agent asks about the device.", "They agree on a date.", "The price of a larger plan is discussed.",
				"Open questions are postponed."))
		}
		e.add(`"abstractive": {"long": `)
		e.pieces(func() (float64, string) { return 30_000, headline() })
		e.add(`, "short": `)
		e.pieces(func() (float64, string) { return float64(e.length), headline() })
		e.add(`}`)
	}
	if kind == 2 {
		e.add(`, `)
	}
	if kind != 1 {
		c := newConversation(e.r, e.length)
		var chosen []stretch
		for group := range slices.Chunk(c.sentences, max(1, len(c.sentences)/10)) {
			chosen = append(chosen, group[0])
		}
		e.add(`"extractive": `)
		e.stretches(chosen, func(s stretch) string {
			return fmt.Sprintf(`"score": %v, %s`, e.percent(40), textMember(s))
		})
	}
	e.add(`}`)
}

func (e *encoder) punctuate() {
	e.add(`{"punctuated_texts": `)
	turns := newConversation(e.r, e.length).turns
	e.list(len(turns), func(i int) { e.add(`"%s"`, text(turns[i].words)) })
	e.add(`}`)
}
