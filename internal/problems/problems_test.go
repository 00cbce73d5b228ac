package problems_test

import (
	"errors"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/problems"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// unknowable are the alerts whose condition a process cannot know about itself.
var unknowable = map[string]string{
	"DeepAffectsExporterGone":      "no page is served",
	"DeepAffectsReplicaGone":       "another replica does not answer the scrape",
	"DeepAffectsAccountOwnedTwice": "each owner takes itself for the only one",
}

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	errFull = errors.New("no space left")
)

// state is what problems are found in.
type state struct {
	collector.Snapshot
	jobs.Overview
	jobs.Recent
}

func sound() *state {
	s := new(state)
	s.At = now
	s.Minute.Limit, s.Day.Limit = 5, 100
	s.API = collector.APIState{Up: true, Started: now.Add(-24 * time.Hour), LastPoll: now.Add(-time.Minute)}
	s.Counts[jobs.Running] = 10
	s.Recent.Confidence, s.Recent.LongConfidence = math.NaN(), math.NaN()
	return s
}

// Every alert is a problem where its condition is true, and none where it is not quite.
func TestEveryAlert(t *testing.T) {
	trouble := func(o jobstatus.Outcome) func(*state) {
		return func(s *state) {
			s.API.Up, s.API.Trouble = false, &collector.APITrouble{Outcome: o, Err: errFull, Until: now.Add(time.Minute)}
		}
	}
	tests := map[string]struct {
		is, almost func(*state) // almost: one of the conditions is not met
		text       string
	}{
		"DeepAffectsJobFailed": {
			is:   func(s *state) { s.RecentlyFailed = jobs.Ends{Jobs: 4, Last: now} },
			text: "4 jobs failed in the last hour",
		},
		"DeepAffectsJobLost": {
			is:   func(s *state) { s.RecentlyLost = jobs.Ends{Jobs: 1, Last: now} },
			text: "1 job lost in the last hour",
		},
		"DeepAffectsJobStuck": {
			is:     func(s *state) { s.Late.Longest = 4.26 },
			almost: func(s *state) { s.Late.Longest = 3 },
			text:   "A job is unfinished after 4.2 times the time within which nine in ten similar jobs finish",
		},
		"DeepAffectsFailureRatioHigh": {
			is: func(s *state) {
				s.RecentlyFailed, s.RecentlyLost, s.RecentlyCompleted = jobs.Ends{Jobs: 6}, jobs.Ends{}, jobs.Ends{Jobs: 17}
			},
			text: "6 of 23 jobs that ended in the last hour failed",
		},
		"DeepAffectsNothingFinishes": {
			is: func(s *state) { s.Stalled, s.Due, s.Pricing.Price, s.Polls = true, 0, 3601, 3 },
			almost: func(s *state) { // the quota is the reason
				s.Stalled, s.Due, s.Pricing.Price, s.Polls = true, 0, 3601, 2
			},
			text: "No job ended in the last 3 hours, although jobs are unfinished",
		},
		"DeepAffectsJobsSlow": {
			is:     func(s *state) { s.Late.Jobs, s.Recent.Unfinished = 6, 23 },
			almost: func(s *state) { s.Late.Jobs, s.Recent.Unfinished = 6, 24 },
			text:   "6 jobs are late, of 10 that are unfinished",
		},
		"DeepAffectsConfidenceFell": {
			is:     func(s *state) { s.Confidences, s.Confidence, s.LongConfidence = 10, .7, .81 },
			almost: func(s *state) { s.Confidences, s.Confidence, s.LongConfidence = 9, .7, .81 },
			text:   "The mean confidence of results of the last 6 hours, 0.70, is below that of the days before, 0.81",
		},
		"DeepAffectsAPIKeyRefused": {
			is: trouble(jobstatus.Unauthorized),
			almost: func(s *state) { // an old response, and no job for another request
				trouble(jobstatus.Unauthorized)(s)
				clear(s.Counts[:])
			},
			text: "The API rejects the API key: no space left, until 12:01",
		},
		"DeepAffectsAPIDown": {
			is: trouble(jobstatus.Malformed),
			almost: func(s *state) {
				trouble(jobstatus.Malformed)(s)
				clear(s.Counts[:])
			},
			text: "The response is not a valid response of the API: no space left, until 12:01",
		},
		"DeepAffectsUnknownState": {
			is:   func(s *state) { s.UnknownState, s.StateWord = 2, "Odd" },
			text: `The API reports a state that this version does not know, "Odd", about 2 jobs`,
		},
		"DeepAffectsResultsUnreadable": {
			is:   func(s *state) { s.UnreadableResults = 1 },
			text: "1 job ended without statistics in the last hour, because the API's response stayed unreadable",
		},
		"DeepAffectsQuotaRefused": {
			is:     func(s *state) { s.RateLimited = 3 },
			almost: func(s *state) { s.RateLimited = 2 },
			text:   "The API rejected 3 requests in the last hour: too many at once",
		},
		"DeepAffectsDayQuotaRunsOut": {
			is:     func(s *state) { s.Pricing.Price = 21601 },
			almost: func(s *state) { s.Pricing.Price = 21600 },
			text:   "The daily quota is expected to be used up for hours before it resets",
		},
		"DeepAffectsMinuteQuotaTooSmall": {
			is: func(s *state) {
				s.Due, s.Backlog = 301, schedule.Backlog{Jobs: 301, Takes: 2 * time.Hour}
			},
			almost: func(s *state) {
				s.Due, s.Backlog = 300, schedule.Backlog{Jobs: 300, Takes: 2 * time.Hour}
			},
			text: "One poll of each of the 301 due jobs takes 2 hours at this quota",
		},
		"DeepAffectsNothingAsked": {
			is:     func(s *state) { s.Due, s.API.LastPoll = 1, now.Add(-31*time.Minute) },
			almost: func(s *state) { s.Due, s.API.LastPoll, s.API.Started = 1, time.Time{}, now.Add(-29*time.Minute) },
			text:   "No request was sent for more than 30 minutes, although 1 job is due and there is quota",
		},
		"DeepAffectsWebhooksStopped": {
			is:     func(s *state) { s.WebhooksBefore, s.Ended = 10, 10 },
			almost: func(s *state) { s.WebhooksBefore, s.Ended, s.Webhooks = 10, 10, 1 },
			text:   "No webhook arrived in the last 6 hours, and 10 webhooks in the day before",
		},
		"DeepAffectsSourceFailing": {
			is: func(s *state) {
				s.SourceProblems = map[submission.Source]collector.SourceProblem{"file": {At: now.Add(-14 * time.Minute),
					Err: errFull}}
				s.SourceSuccess = map[submission.Source]time.Time{"file": now}
			},
			almost: func(s *state) {
				s.SourceProblems = map[submission.Source]collector.SourceProblem{"file": {At: now.Add(-15 * time.Minute),
					Err: errFull}}
				s.SourceSuccess = map[submission.Source]time.Time{"file": now}
			},
			text: "Source file had errors in the last 15 minutes: no space left",
		},
		"DeepAffectsStoreFailing": {
			is:   func(s *state) { s.StoreError = errFull },
			text: "The store is not writable: registrations and webhooks are rejected, and polling stops, until it is: no space left",
		},
		"DeepAffectsStoreDamaged": {
			is:   func(s *state) { s.CorruptRecords = 3 },
			text: "3 stored records were damaged and left out in the last hour",
		},
		"DeepAffectsAccountUnowned": {
			is:     func(s *state) { s.Absent, s.API = true, collector.APIState{} },
			almost: func(s *state) { s.Absent, s.API, s.Owner.ID = true, collector.APIState{}, "two" },
			text:   "No replica owns the account: it is not polled until one takes it over",
		},
	}
	severities := alerts(t)
	// Without the database, nobody knows whether another replica owns the account.
	unreachable := sound()
	unreachable.Absent, unreachable.API, unreachable.ReadError = true, collector.APIState{}, errFull
	if got := problems.Of(&unreachable.Snapshot, &unreachable.Overview, &unreachable.Recent); len(got) != 1 ||
		got[0].Alert != "DeepAffectsStoreFailing" {
		t.Errorf("without the database: %+v", got)
	}
	// A key is read also while no request is to be sent, and refusals in the last hour were real.
	idle := sound()
	clear(idle.Counts[:])
	for want, change := range map[string]func(){
		"DeepAffectsAPIKeyRefused": func() { idle.API.Trouble = &collector.APITrouble{NoKey: true, Err: errFull} },
		"DeepAffectsQuotaRefused": func() {
			idle.API.Trouble, idle.RateLimited = &collector.APITrouble{Outcome: jobstatus.RateLimited}, 3
		},
	} {
		idle.API.Up, idle.RateLimited = false, 0
		change()
		if got := problems.Of(&idle.Snapshot, &idle.Overview, &idle.Recent); len(got) != 1 || got[0].Alert != want {
			t.Errorf("without unfinished jobs: %+v, want %s", got, want)
		}
	}
	// Where the day's quota is used up, nobody can ask whether the API still fails.
	for name, tt := range map[string]struct {
		lasted, ago time.Duration
		want        []string
	}{
		"a failure used it up":     {0, time.Minute, []string{"DeepAffectsDayQuotaRunsOut"}},
		"an outage of hours":       {time.Hour, time.Minute, []string{"DeepAffectsAPIDown", "DeepAffectsDayQuotaRunsOut"}},
		"an outage some hours ago": {time.Hour, 6 * time.Hour, []string{"DeepAffectsDayQuotaRunsOut"}},
	} {
		used := sound()
		trouble(jobstatus.ServerError)(used)
		used.API.Trouble.Lasted, used.API.LastPoll = tt.lasted, now.Add(-tt.ago)
		used.Day.Used, used.Due = 100, 3
		var got []string
		for _, p := range problems.Of(&used.Snapshot, &used.Overview, &used.Recent) {
			got = append(got, p.Alert)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	none := sound()
	none.API.Unknown = 12
	if got := problems.Of(&none.Snapshot, &none.Overview, &none.Recent); len(got) != 1 ||
		got[0].Alert != "DeepAffectsJobLost" ||
		!strings.HasPrefix(got[0].Text, "The API knew none of the jobs of the last 12 requests: ") {
		t.Errorf("an API that knows no job: %+v", got)
	}
	clear(none.Counts[:])
	if got := problems.Of(&none.Snapshot, &none.Overview, &none.Recent); len(got) > 0 {
		t.Errorf("an API that knows no job, where none is unfinished: %+v", got)
	}
	find := func(change func(*state)) []problems.Problem {
		s := sound()
		if change != nil {
			change(s)
		}
		return problems.Of(&s.Snapshot, &s.Overview, &s.Recent)
	}
	for alert, severity := range severities {
		test, found := tests[alert]
		switch {
		case unknowable[alert] != "":
			continue
		case alert == "DeepAffectsConfigReloadFailed":
			if p := problems.Reload(errFull); p.Alert != alert || p.Severity() != severity || p.Err != errFull {
				t.Errorf("%+v", p)
			}
			continue
		case !found:
			t.Errorf("%s is no problem", alert)
			continue
		}
		got := find(test.is)
		if len(got) != 1 || got[0].Alert != alert || said(got[0]) != test.text || got[0].Severity() != severity {
			t.Errorf("%s (%s) is %+v, want %q", alert, severity, got, test.text)
		}
		if got := find(test.almost); len(got) > 0 {
			t.Errorf("almost %s is %+v", alert, got)
		}
		delete(tests, alert)
	}
	for alert := range tests {
		t.Errorf("there is no alert %s", alert)
	}
}

func said(p problems.Problem) string {
	text := p.Text
	if p.Err != nil {
		text += ": " + p.Err.Error()
	}
	if !p.Until.IsZero() {
		text += p.Until.Format(", until 15:04")
	}
	return text
}

// alerts returns the severities of the alerts.
func alerts(t *testing.T) map[string]string {
	rules, err := os.ReadFile("../../deploy/prometheus/deepaffects-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	severities := make(map[string]string)
	for _, rule := range strings.Split(string(rules), "- alert: ")[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(rule, `"`), `"`)
		severities[name] = regexp.MustCompile(`severity: "(\w+)"`).FindStringSubmatch(rule)[1]
	}
	if len(severities) < 20 {
		t.Fatalf("%d alerts", len(severities))
	}
	return severities
}

// The thresholds are those of the alerts.
func TestThresholds(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	config, code := read("../../deploy/mixin/config.libsonnet"), read("problems.go")
	_, config, _ = strings.Cut(config, "thresholds: {")
	config, _, _ = strings.Cut(config, "}")
	thresholds := regexp.MustCompile(`(?m)^\s+(\w+): ([\d.]+),$`).FindAllStringSubmatch(config, -1)
	if len(thresholds) < 10 {
		t.Fatalf("thresholds %q", thresholds)
	}
	for _, threshold := range thresholds {
		found := regexp.MustCompile(`(?m)^\t` + threshold[1] + ` += ([\d.]+)$`).FindStringSubmatch(code)
		if found == nil {
			t.Errorf("%s is not among the thresholds", threshold[1])
			continue
		}
		want, _ := strconv.ParseFloat(threshold[2], 64)
		if got, err := strconv.ParseFloat(found[1], 64); err != nil || got != want {
			t.Errorf("%s is %s, and %s in the mixin", threshold[1], found[1], threshold[2])
		}
	}
}
