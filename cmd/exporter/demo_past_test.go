package main

import (
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// A demo begins with a day of results, whose requests leave a part of the day's quota.
func TestPast(t *testing.T) {
	now := time.Now()
	before, err := newPast(now, simulator.DemoJobsPerHour)
	if err != nil {
		t.Fatal(err)
	}
	config := collector.DefaultConfig()
	config.APIKey, config.RequestsPerDay = "key", 32_000
	config.Retention, config.JobLabels = 24*time.Hour, []string{"team", "language"}
	c, err := collector.New([]collector.Config{config}, collector.Options{Engine: before})
	if err != nil {
		t.Fatal(err)
	}
	a := c.Accounts()[0]
	s := a.Read()
	if ratio := s.Day.Used / s.Day.Limit; ratio < 0.4 || ratio > 0.8 {
		t.Errorf("%.0f of %.0f requests are used", s.Day.Used, s.Day.Limit)
	}
	completed, failed := s.Counts[jobs.Completed], s.Counts[jobs.Failed]
	if completed < 5000 || failed < completed/50 || s.Counts[jobs.Lost] == 0 || s.Counts[jobs.Pending] > 0 {
		t.Errorf("jobs by state: %v", s.Counts)
	}
	h := a.History(50)
	for _, hour := range h.Hours[1:23] {
		if hour.Ended.All() < 50 || hour.Requests < 50 {
			t.Errorf("%d ends and %d requests in the hour from %s", hour.Ended.All(), hour.Requests, hour.Start)
		}
	}
	if len(h.Latest) != 50 || now.Sub(h.Latest[49].FinishedAt) > 10*time.Minute {
		t.Errorf("the last of %d results ended at %s", len(h.Latest), h.Latest[len(h.Latest)-1].FinishedAt)
	}
	for _, j := range h.Latest {
		if j.State == jobs.Completed && (j.Statistics == nil || j.Statistics.Confidence < 0.5) {
			t.Errorf("statistics %+v", j.Statistics)
		}
	}
	if groups := a.Groups(collector.JobFilter{}); len(groups.APIs) < 5 || len(groups.Labels["team"]) != 3 {
		t.Errorf("groups %+v", groups)
	}
}
