package exposition

import (
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// An account is a snapshot, prepared to be shown.
type account struct {
	*collector.Snapshot
	scope   []*dto.LabelPair       // the labels of all of its series
	created *timestamppb.Timestamp // when its totals began; nil: not known
	jobs    []job                  // those that have series
}

// A job is a job that has series.
type job struct {
	*jobs.Job
	nextPoll time.Time        // zero: not known
	scope    []*dto.LabelPair // the labels of all of its series
}

// accountsOf prepares snapshots. No two accounts and no two jobs of an account
// come out with the same labels: one such pair would cost the whole scrape.
func accountsOf(snapshots []collector.Snapshot) []account {
	accounts := make([]account, 0, len(snapshots))
	names := make(map[string]bool, len(snapshots))
	for i := range snapshots {
		s := &snapshots[i]
		name := pair(accountLabel, s.Account)
		if names[name.GetValue()] {
			continue
		}
		names[name.GetValue()] = true
		a := account{Snapshot: s, scope: []*dto.LabelPair{name}}
		if !s.Totals.Created.IsZero() {
			a.created = timestamppb.New(s.Totals.Created)
		}
		if s.JobMetrics != collector.JobMetricsOff {
			a.jobs = jobsOf(s, name)
		}
		accounts = append(accounts, a)
	}
	return accounts
}

func jobsOf(s *collector.Snapshot, account *dto.LabelPair) []job {
	jobs := make([]job, 0, len(s.Jobs))
	ids := make(map[string]bool, len(s.Jobs))
	for i := range s.Jobs {
		id := pair(requestIDLabel, s.Jobs[i].RequestID)
		if ids[id.GetValue()] {
			continue
		}
		ids[id.GetValue()] = true
		j := job{Job: &s.Jobs[i], scope: []*dto.LabelPair{account, id}}
		if i < len(s.NextPolls) {
			j.nextPoll = s.NextPolls[i]
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// unionOfJobLabels are the names of the job labels of all accounts, in order: a
// metric has the same labels wherever it comes from.
func unionOfJobLabels(accounts []account) []string {
	var names []string
	for i := range accounts {
		if accounts[i].JobMetrics == collector.JobMetricsOff {
			continue
		}
		for _, name := range accounts[i].JobLabels {
			if !slices.Contains(collector.ReservedLabels, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// jobLabelPairs are the values of a job's labels, empty for those that it or
// its account does not have.
func (a *account) jobLabelPairs(j *job, names []string) []*dto.LabelPair {
	pairs := make([]*dto.LabelPair, len(names))
	for i, name := range names {
		value := ""
		if slices.Contains(a.JobLabels, name) {
			value = j.Labels[name]
		}
		pairs[i] = pair(name, value)
	}
	return pairs
}
