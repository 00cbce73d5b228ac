package simulator

import (
	"math/rand/v2"
	"strconv"
	"sync"
)

// desk is where a body is written: memory that is used again and again.
type desk struct {
	b    []byte
	talk conversation
}

var desks = sync.Pool{New: func() any { return new(desk) }}

// statusBody is the status API's body about a job that has ended. It is valid
// until the desk is used again.
func (d *desk) statusBody(j *job) []byte {
	d.b = append(d.b[:0], `{"response": {`...)
	if d.depressed(j) {
		d.add(`, "request_id": `)
		d.string(j.RequestID)
	} else {
		d.add(`"request_id": `)
		d.string(j.RequestID)
		d.add(`, "response": `)
		d.result(j)
	}
	if j.Outcome == Failed {
		d.add(`}, "status": "Failed"}`)
	} else {
		d.add(`}, "status": "Completed"}`)
	}
	return d.b
}

// webhookBody is the body of a webhook about a job that has ended.
func (d *desk) webhookBody(j *job) []byte {
	d.b = append(d.b[:0], `{"request_id": `...)
	d.string(j.RequestID)
	d.add(`, `)
	if !d.depressed(j) {
		d.add(`"response": `)
		d.result(j)
	}
	d.add(`}`)
	return d.b
}

// depressed appends the one field of is_depressed, which stands beside the
// request ID, and reports whether there is one.
func (d *desk) depressed(j *job) bool {
	if j.API != "is_depressed" || j.Outcome != Completed {
		return false
	}
	d.add(`"depressed": `)
	d.b = strconv.AppendBool(d.b, chance(j.seed, j.RequestID, forResult).IntN(8) == 0)
	return true
}

// result appends what the API found, or the fault.
func (d *desk) result(j *job) {
	if j.Outcome != Completed {
		d.b = append(d.b, apiFault(j.fault.text, j.fault.code)...)
		return
	}
	r := chance(j.seed, j.RequestID, forResult)
	length := max(1, int(100*j.AudioSeconds))
	switch j.API {
	case "asr":
		d.asr(r, length)
	case "diarize":
		d.diarize(r, length)
	case "diarization/identify":
		d.identify(r, length)
	case "recognise_emotion":
		d.emotions(r, length)
	case "analytics/interaction":
		d.interaction(r, length)
	case "vad":
		d.vad(r, length)
	case "denoise":
		d.denoise(r)
	case "featurize":
		d.featurize(r, length)
	case "summary":
		d.summary(r, length)
	case "punctuate":
		d.punctuate(r, length)
	case "videochapters":
		d.chapters(r, length)
	}
}

func (d *desk) add(s string)     { d.b = append(d.b, s...) }
func (d *desk) string(s string)  { d.b = appendString(d.b, s) }
func (d *desk) hundredths(n int) { d.b = appendHundredths(d.b, n) }
func (d *desk) int(n int)        { d.b = strconv.AppendInt(d.b, int64(n), 10) }

// span appends the members start and end.
func (d *desk) span(start, end int) {
	d.add(`"start": `)
	d.hundredths(start)
	d.add(`, "end": `)
	d.hundredths(end)
}

// speaker appends the member speaker_id.
func (d *desk) speaker(n int) {
	d.add(`"speaker_id": "`)
	d.int(n)
	d.add(`"`)
}

// score appends one more member of an object, in hundredths.
func (d *desk) score(key string, n int) {
	d.add(`, "`)
	d.add(key)
	d.add(`": `)
	d.hundredths(n)
}

// between separates the i-th element of an array from the one before.
func (d *desk) between(i int) {
	if i > 0 {
		d.add(", ")
	}
}

// text appends what words are in a transcript.
func (d *desk) text(from, to int) {
	d.add(`"`)
	for i, w := range d.talk.words[from:to] {
		if i > 0 {
			d.add(" ")
		}
		d.b = appendEscaped(d.b, w.token.text)
	}
	d.add(`"`)
}

func (d *desk) asr(r *rand.Rand, length int) {
	diarized := r.IntN(5) > 0
	c := &d.talk
	c.hold(r, length)
	d.add(`{"confidence": `)
	d.hundredths(c.confidence(0, len(c.words)))
	if diarized {
		d.add(`, "num_speakers": `)
		d.int(c.speakers)
	}
	d.add(`, "transcript": `)
	d.text(0, len(c.words))
	d.add(`, "words": [`)
	for i, w := range c.words {
		d.between(i)
		d.add(`{"confidence": `)
		d.hundredths(w.confidence)
		d.add(`, "end": `)
		d.hundredths(w.end)
		if diarized {
			d.add(`, `)
			d.speaker(w.speaker)
		}
		d.add(`, "start": `)
		d.hundredths(w.start)
		d.add(`, "word": `)
		d.string(w.token.word)
		d.add(`}`)
	}
	d.add(`]}`)
}

func (d *desk) diarize(r *rand.Rand, length int) {
	counted := r.IntN(4) > 0
	d.talk.hold(r, length)
	d.add(`{`)
	if counted {
		d.add(`"num_speakers": `)
		d.int(d.talk.speakers)
		d.add(`, `)
	}
	d.segments("speaker1", "speaker2", "speaker3", "speaker4", "speaker5")
	d.add(`}`)
}

func (d *desk) identify(r *rand.Rand, length int) {
	d.talk.hold(r, length)
	agent := "agent-" + strconv.Itoa(1+r.IntN(40))
	d.add(`{`)
	d.segments(agent, "unknown", "susan", "supervisor-2", "unknown-2")
	d.add(`}`)
}

// segments appends the turns, with these names for the speakers.
func (d *desk) segments(names ...string) {
	d.add(`"segments": [`)
	for i, t := range d.talk.turns {
		d.between(i)
		d.add(`{"speaker_id": `)
		d.string(names[t.speaker])
		d.add(`, `)
		d.span(d.talk.start(t), d.talk.end(t))
		d.add(`}`)
	}
	d.add(`]`)
}

var emotionWords = []string{"neutral", "neutral", "neutral", "happy", "excited", "frustration", "anger", "sad"}

func (d *desk) emotions(r *rand.Rand, length int) {
	d.add(`[`)
	for i, now := 0, 0; now < length; i++ {
		end := min(length, now+int(lognormal(r, 600, 0.6))+50)
		d.between(i)
		d.add(`{"emotion": `)
		d.string(pick(r, emotionWords))
		d.add(`, `)
		d.span(now, end)
		d.add(`}`)
		now = end
	}
	d.add(`]`)
}

var (
	paces   = []string{"slow", "normal", "fast"}
	tones   = []string{"calm", "happy", "sad", "tense"}
	intents = []string{"inform", "request", "complain", "confirm"}
)

func (d *desk) interaction(r *rand.Rand, length int) {
	c := &d.talk
	c.hold(r, length)
	talk, total := c.talk()
	d.add(`{"num_speakers": `)
	d.int(c.speakers)
	d.add(`, "total_speech_duration": `)
	d.hundredths(total)
	d.perSpeaker("energy", func(int) { d.int(1 + r.IntN(9)) })
	d.interruptions()
	d.perSpeaker("pace", func(int) { d.string(pick(r, paces)) })
	d.questionsAsked()
	d.add(`, "segments": [`)
	for i, t := range c.turns {
		d.between(i)
		d.add(`{`)
		d.speaker(t.speaker)
		d.add(`, `)
		d.span(c.start(t), c.end(t))
		d.add(`, "text": `)
		d.text(t.from, t.to)
		d.score("confidence", c.confidence(t.from, t.to))
		d.add(`, "emotion": `)
		d.string(pick(r, emotionWords))
		d.score("emotion_score", 50+r.IntN(50))
		d.add(`, "intent": `)
		d.string(pick(r, intents))
		d.add(`}`)
	}
	d.add(`]`)
	d.perSpeaker("talk_to_listen", func(i int) {
		part := 100 * talk[i] / max(1, total)
		d.string(strconv.Itoa(part) + ":" + strconv.Itoa(100-part))
	})
	d.perSpeaker("tone", func(int) { d.string(pick(r, tones)) })
	d.add(`}`)
}

// perSpeaker appends an array with a value for each speaker.
func (d *desk) perSpeaker(key string, value func(speaker int)) {
	d.add(`, "`)
	d.add(key)
	d.add(`": [`)
	for i := range d.talk.speakers {
		d.between(i)
		d.add(`{`)
		d.speaker(i)
		d.add(`, "value": `)
		value(i)
		d.add(`}`)
	}
	d.add(`]`)
}

func (d *desk) interruptions() {
	d.add(`, "interruptions": [`)
	n := 0
	for _, t := range d.talk.turns {
		if t.overlaps {
			d.between(n)
			d.add(`{`)
			d.span(d.talk.start(t), min(t.overlapTo, d.talk.end(t)))
			d.add(`}`)
			n++
		}
	}
	d.add(`]`)
}

func (d *desk) questionsAsked() {
	c := &d.talk
	d.add(`, "questions_asked": [`)
	for i := range c.speakers {
		d.between(i)
		d.add(`{`)
		d.speaker(i)
		d.add(`, "questions": [`)
		n := 0
		for _, s := range c.spoken {
			if s.speaker == i && s.sentence.question {
				d.between(n)
				d.add(`{`)
				d.span(c.start(s), c.end(s))
				d.add(`, "text": `)
				d.text(s.from, s.to)
				d.add(`}`)
				n++
			}
		}
		d.add(`], "value": `)
		d.int(n)
		d.add(`}`)
	}
	d.add(`]`)
}

var soundTags = []string{"speech", "speech", "speech", "speech", "speech", "speech", "noise", "noise", "music", "laughter", "applause"}

func (d *desk) vad(r *rand.Rand, length int) {
	d.add(`{"segments": [`)
	for i, now := 0, 0; now < length; i++ {
		tag := pick(r, soundTags)
		median := 150.0
		if tag == "speech" {
			median = 900
		}
		end := min(length, now+int(lognormal(r, median, 0.7))+20)
		d.between(i)
		d.add(`{"tag": "`)
		d.add(tag)
		d.add(`", `)
		d.span(now, end)
		d.add(`}`)
		now = end
	}
	d.add(`]}`)
}

func (d *desk) denoise(r *rand.Rand) {
	d.add(`{"url": "https://files.invalid/one-time/clean.wav?token=`)
	d.b = strconv.AppendUint(d.b, r.Uint64(), 16)
	d.add(`", "sampleRate": `)
	d.int(pick(r, []int{8000, 16000, 44100}))
	d.add(`, "encoding": "`)
	d.add(pick(r, []string{"FLAC", "WAV"}))
	d.add(`", "languageCode": "en-US"}`)
}

// featurize has a frame every half second: large, and not absurdly so.
func (d *desk) featurize(r *rand.Rand, length int) {
	frames := max(1, length/50)
	d.add(`{"mfccs": [`)
	for i := range frames {
		d.between(i)
		d.add(`[`)
		for k := range 13 {
			d.between(k)
			d.b = appendDecimal(d.b, r.IntN(80_000)-40_000)
		}
		d.add(`]`)
	}
	d.add(`], "zcr": [`)
	for i := range frames {
		d.between(i)
		d.b = appendDecimal(d.b, r.IntN(400))
	}
	d.add(`], "energy": [`)
	for i := range frames {
		d.between(i)
		d.b = appendDecimal(d.b, r.IntN(10_000))
	}
	d.add(`]}`)
}

var headlines = []string{
	"A customer reports a fault.",
	"The agent asks about the device.",
	"They agree on a date.",
	"The price of a larger plan is discussed.",
	"Open questions are postponed.",
}

// summary is extractive, abstractive, or both.
func (d *desk) summary(r *rand.Rand, length int) {
	c := &d.talk
	c.hold(r, length)
	kind := r.IntN(3)
	d.add(`{`)
	if kind != 0 {
		d.add(`"abstractive": {"long": [`)
		parts := 1 + length/30_000
		for i := range parts {
			d.between(i)
			d.headline(r, length*i/parts, length*(i+1)/parts)
		}
		d.add(`], "short": [`)
		d.headline(r, 0, length)
		d.add(`]}`)
	}
	if kind != 1 {
		if kind == 2 {
			d.add(`, `)
		}
		d.add(`"extractive": [`)
		step := max(1, len(c.spoken)/10)
		for i := 0; i < len(c.spoken); i += step {
			s := c.spoken[i]
			d.between(i)
			d.add(`{`)
			d.span(c.start(s), c.end(s))
			d.add(`, "text": `)
			d.text(s.from, s.to)
			d.score("score", 40+r.IntN(60))
			d.add(`}`)
		}
		d.add(`]`)
	}
	d.add(`}`)
}

func (d *desk) headline(r *rand.Rand, start, end int) {
	d.add(`{`)
	d.span(start, end)
	d.add(`, "text": `)
	d.string(pick(r, headlines))
	d.score("score", 40+r.IntN(60))
	d.add(`}`)
}

func (d *desk) punctuate(r *rand.Rand, length int) {
	c := &d.talk
	c.hold(r, length)
	d.add(`{"punctuated_texts": [`)
	for i, t := range c.turns {
		d.between(i)
		d.text(t.from, t.to)
	}
	d.add(`]}`)
}

func (d *desk) chapters(r *rand.Rand, length int) {
	titles := []string{"WELCOME", "AGENDA", "RESULTS", "QUESTIONS", "OUTLOOK"}
	categories := []string{"slide", "demo", "speaker", "video"}
	d.add(`{"chapters": [`)
	for i, now := 0, 0; now < length; i++ {
		end := min(length, now+int(lognormal(r, 12_000, 0.7))+500)
		d.between(i)
		d.add(`{`)
		d.span(now, end)
		d.score("confidence", 60+r.IntN(40))
		if r.IntN(4) > 0 {
			d.add(`, "title": "`)
			d.add(pick(r, titles))
			d.add(`"`)
			d.score("title_confidence", 50+r.IntN(50))
		}
		d.add(`, "category": "`)
		d.add(pick(r, categories))
		d.add(`"}`)
		now = end
	}
	d.add(`]}`)
}
