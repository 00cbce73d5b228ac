package statuspage

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/problems"
)

// A problem as the page shows it.
type problem struct{ problems.Problem }

// Level is how much attention the problem needs.
func (p problem) Level() level {
	if p.Critical() {
		return bad
	}
	return warn
}

func problemsOf(s *collector.Snapshot, o *jobs.Overview, r *jobs.Recent) (shown []problem) {
	for _, p := range problems.Of(s, o, r) {
		shown = append(shown, problem{p})
	}
	return shown
}
