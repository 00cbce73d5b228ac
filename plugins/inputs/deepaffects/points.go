package deepaffects

import (
	"cmp"
	"math"
	"strconv"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/metric"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// points turns what is known into measurements. The type of a field never
// changes; one that is not known is left out.
type points struct {
	account, source string // tags of every point
	jobLabels       []string
	requestIDTag    bool // the request ID is a tag, not a field
	jobMetrics      string
	words           bool
}

func (p *points) tags() map[string]string {
	return map[string]string{"account": p.account, "source": p.source}
}

// overview emits what an account adds up to.
func (p *points) overview(acc telegraf.Accumulator, s *collector.Snapshot) {
	ok, failed := s.Requests()
	var registered, webhooks uint64
	for _, n := range s.Totals.Registered {
		registered += n
	}
	for _, n := range s.Totals.Webhooks {
		webhooks += n
	}
	up := int64(0)
	if s.Up {
		up = 1
	}
	gauges := map[string]any{
		"pending": int64(s.Counts[0]), "running": int64(s.Counts[1]),
		"completed": int64(s.Counts[2]), "failed": int64(s.Counts[3]), "lost": int64(s.Counts[4]),
		"oldest_unfinished_age_seconds": s.OldestUnfinished.Seconds(),
		"poll_queue":                    int64(s.Due),
		"quota_minute_used":             s.Minute.Used,
		"quota_day_used":                s.Day.Used,
		"up":                            up,
	}
	setFloat(gauges, "quota_minute_limit", s.Minute.Limit)
	setFloat(gauges, "quota_day_limit", s.Day.Limit)
	counters := map[string]any{
		"finished_completed": int64(s.Totals.Finished[0]),
		"finished_failed":    int64(s.Totals.Finished[1]),
		"finished_lost":      int64(s.Totals.Finished[2]),
		"registered":         int64(registered),
		"words":              int64(s.Totals.Words),
		"api_ok":             int64(ok),
		"api_errors":         int64(failed),
		"webhooks":           int64(webhooks),
	}
	// One time, so that both make one point where types do not matter.
	acc.AddGauge("deepaffects", gauges, p.tags(), s.At)
	acc.AddCounter("deepaffects", counters, p.tags(), s.At)
}

// setFloat sets a field where its value is known and can be written.
func setFloat(fields map[string]any, name string, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		fields[name] = v
	}
}

// setInt sets a field where its value is known.
func setInt(fields map[string]any, name string, n int) {
	if n >= 0 {
		fields[name] = int64(n)
	}
}

// point returns a point about a job.
func (p *points) point(name string, tags map[string]string, fields map[string]any, requestID string, at time.Time) telegraf.Metric {
	tags["account"], tags["source"] = p.account, p.source
	if p.requestIDTag {
		tags["request_id"] = requestID
	} else {
		fields["request_id"] = requestID
	}
	return metric.New(name, tags, fields, at)
}

// change returns the points of a change of state: of the job, and at its end of
// its speakers.
func (p *points) change(c *collector.Change) []telegraf.Metric {
	j := &c.Job
	tags := map[string]string{"api": cmp.Or(j.API, "unknown"), "state": j.State.String()}
	for _, name := range p.jobLabels {
		if value := j.Labels[name]; value != "" {
			tags[name] = value
		}
	}
	fields := map[string]any{
		"state_code": int64(j.State), "age_seconds": j.Age(c.At).Seconds(), "error_code": j.ErrorCode,
	}
	if j.State.Ended() && j.Started() {
		fields["duration_seconds"] = j.Age(j.FinishedAt).Seconds()
		fields["detection_window_seconds"] = j.DetectionWindow.Seconds()
	}
	s := j.Statistics
	if s == nil || p.jobMetrics != collector.JobMetricsFull {
		return []telegraf.Metric{p.point("deepaffects_job", tags, fields, j.RequestID, c.At)}
	}
	setFloat(fields, "confidence", s.Confidence)
	setInt(fields, "num_speakers", s.Speakers)
	setInt(fields, "words", s.Words)
	setFloat(fields, "speech_seconds", s.SpeechSeconds)
	setFloat(fields, "transcript_seconds", s.DurationSeconds)
	setFloat(fields, "speech_rate", s.SpeechRate)
	if d := s.WordConfidence; d.Count > 0 {
		fields["word_confidence_mean"], fields["word_confidence_min"] = d.Mean(), d.Min
	}
	if d := s.WordDuration; d.Count > 0 {
		fields["word_duration_mean"], fields["word_duration_p90"] = d.Mean(), d.P90
	}
	if d := s.WordGap; d.Count > 0 {
		fields["word_gap_mean"], fields["word_gap_p90"], fields["word_gap_max"] = d.Mean(), d.P90, d.Max
	}
	setInt(fields, "overlaps", s.Overlaps)
	setFloat(fields, "dominant_speaker_ratio", s.DominantSpeakerRatio)
	all := []telegraf.Metric{p.point("deepaffects_job", tags, fields, j.RequestID, c.At)}
	for i, speaker := range s.BySpeaker {
		fields := map[string]any{"talk_seconds": speaker.TalkSeconds, "turns": int64(speaker.Turns)}
		if s.Words >= 0 {
			fields["words"] = int64(speaker.Words)
		}
		setFloat(fields, "confidence_mean", speaker.ConfidenceMean)
		all = append(all, p.point("deepaffects_speaker", map[string]string{"speaker": speakerName(i)}, fields, j.RequestID, c.At))
	}
	return all
}

// speakerName is a speaker's ordinal by talk time; those without figures of their
// own are one.
func speakerName(i int) string {
	if i >= collector.MaxSpeakers {
		return "other"
	}
	return strconv.Itoa(i)
}

// timings emits points for words of a change, at most limit of them, from a place
// in their order on, and returns how many it has emitted by then and whether those
// are all. Words of one speaker that start together are a nanosecond apart: equal
// tags and times would be one point.
func (p *points) timings(acc telegraf.Accumulator, c *collector.Change, from, limit int) (emitted int, all bool) {
	if !p.words || p.jobMetrics != collector.JobMetricsFull {
		return 0, true
	}
	to := min(from+limit, len(c.Timings))
	var last time.Time
	for i, w := range c.Timings[:to] {
		at := c.At.Add(time.Duration(w.Start * float64(time.Second)))
		if !at.After(last) {
			at = last.Add(1)
		}
		last = at
		if i < from {
			continue
		}
		tags := make(map[string]string)
		if w.Speaker >= 0 {
			tags["speaker"] = speakerName(w.Speaker)
		}
		fields := map[string]any{
			"index": int64(w.Index), "start": w.Start, "end": w.End, "duration": w.End - w.Start,
		}
		setFloat(fields, "gap", w.Gap)
		setFloat(fields, "confidence", w.Confidence)
		acc.AddMetric(p.point("deepaffects_word", tags, fields, c.Job.RequestID, at))
	}
	return to, to == len(c.Timings)
}
