package deepaffects

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/metric"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
)

// points converts jobs and accounts to measurements. The type of a field never changes;
// unknown fields are omitted.
type points struct {
	*options.Options
	source string // a tag of every point, as the account
}

// overview emits the numbers of an account, unless this process does not own it any more.
func (p *points) overview(acc telegraf.Accumulator, s *collector.Snapshot) {
	ok, failed := s.Requests()
	up := int64(0)
	if s.API.Up {
		up = 1
	}
	gauges := map[string]any{
		"oldest_unfinished_age_seconds": s.OldestUnfinished.Seconds(),
		"poll_queue":                    int64(s.Due),
		"late":                          int64(s.Late.Jobs),
		"quota_minute_used":             s.Minute.Used,
		"quota_day_used":                s.Day.Used,
		"up":                            up,
	}
	setFloat(gauges, "quota_minute_limit", s.Minute.Limit)
	setFloat(gauges, "quota_day_limit", s.Day.Limit)
	counters := map[string]any{
		"registered": int64(s.Totals.Counter(collector.JobsRegistered)),
		"words":      int64(s.Totals.Counter(collector.Words)),
		"api_ok":     int64(ok),
		"api_errors": int64(failed),
		"webhooks":   int64(s.Totals.Counter(collector.WebhookRequests)),
	}
	for i, n := range s.Counts {
		state := collector.JobState(i)
		gauges[state.String()] = int64(n)
		if state.Ended() {
			counters["finished_"+state.String()] = int64(s.Totals.Counter(collector.JobsFinished, state.String()))
		}
	}
	// At one time, so that outputs that ignore types write one point.
	tags := map[string]string{"account": p.Account, "source": p.source}
	if !s.Valid() {
		return
	}
	acc.AddGauge("deepaffects", gauges, tags, s.At)
	acc.AddCounter("deepaffects", counters, tags, s.At)
}

// setFloat sets a field if its value is known and finite.
func setFloat(fields map[string]any, name string, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		fields[name] = v
	}
}

// point returns a point about a job. Its fields are in order, so that a point that is
// emitted again is the same bytes.
func (p *points) point(
	name string, tags map[string]string, fields map[string]any, requestID string, at time.Time,
) telegraf.Metric {
	tags["account"], tags["source"] = p.Account, p.source
	if p.RequestIDAs == "tag" {
		tags["request_id"] = requestID
	} else {
		fields["request_id"] = requestID
	}
	m := metric.New(name, tags, nil, at)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		m.AddField(name, fields[name])
	}
	return m
}

// change returns the points of a state change: the job's, and at its end its speakers'.
func (p *points) change(c *collector.StateChange) []telegraf.Metric {
	j := &c.Job
	tags := map[string]string{"api": cmp.Or(j.API, "unknown"), "state": j.State.String()}
	for _, name := range p.JobLabels {
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
	if s == nil || p.JobMetrics != collector.JobMetricsFull {
		return []telegraf.Metric{p.point("deepaffects_job", tags, fields, j.RequestID, c.At)}
	}
	figures(fields, s)
	all := []telegraf.Metric{p.point("deepaffects_job", tags, fields, j.RequestID, c.At)}
	for i, speaker := range s.BySpeaker {
		tags := map[string]string{"speaker": collector.SpeakerName(i)}
		fields := map[string]any{"talk_seconds": speaker.TalkSeconds, "turns": int64(speaker.Turns)}
		if !math.IsNaN(s.Words) {
			fields["words"] = int64(speaker.Words)
		}
		setFloat(fields, "confidence_mean", speaker.ConfidenceMean)
		all = append(all, p.point("deepaffects_speaker", tags, fields, j.RequestID, c.At))
	}
	return all
}

// figures sets the fields of the figures of a result.
func figures(fields map[string]any, s *collector.Statistics) {
	for i := range collector.Figures {
		f := &collector.Figures[i]
		switch v := f.Value(s); {
		case !f.IsCount():
			setFloat(fields, f.Field, v)
		case !math.IsNaN(v):
			fields[f.Field] = int64(v)
		}
	}
	for i := range collector.WordDistributions {
		d := &collector.WordDistributions[i]
		for _, m := range d.Fields {
			setFloat(fields, d.Name+"_"+m.Name, m.Of(d.Value(s)))
		}
	}
}

// timings emits at most limit points of the words of a state change, starting at the word
// from. It returns the number of words emitted so far, and whether those are all. The times
// of words are a nanosecond apart at least: points with the same tags and time would be one.
func (p *points) timings(acc telegraf.Accumulator, c *collector.StateChange, from, limit int) (emitted int, all bool) {
	if !p.WordPoints || p.JobMetrics != collector.JobMetricsFull {
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
			tags["speaker"] = collector.SpeakerName(w.Speaker)
		}
		fields := map[string]any{
			"index": int64(w.Index), "start": w.Start, "end": w.End, "duration": w.Length(),
		}
		setFloat(fields, "gap", w.Gap)
		setFloat(fields, "confidence", w.Confidence)
		acc.AddMetric(p.point("deepaffects_word", tags, fields, c.Job.RequestID, at))
	}
	return to, to == len(c.Timings)
}
