package exposition

import (
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// An account is a snapshot, prepared for the families.
type account struct {
	*collector.Snapshot
	scope   []*dto.LabelPair       // the labels of all its series
	created *timestamppb.Timestamp // of its totals; nil: unknown
	jobs    []job                  // those that have series
}

// A job is a job with series of its own.
type job struct {
	*jobs.Job
	nextPoll time.Time        // zero: unknown, or none
	scope    []*dto.LabelPair // the labels of all its series
}

// accountsOf prepares snapshots. It drops accounts, and jobs of an account, with the same labels as another: a
// duplicate series would fail the whole scrape.
func accountsOf(snapshots []collector.Snapshot) []account {
	accounts := make([]account, 0, len(snapshots))
	for i := range snapshots {
		s := &snapshots[i]
		name := pair(accountLabel, s.Account)
		if slices.ContainsFunc(accounts, func(a account) bool { return a.scope[0].GetValue() == name.GetValue() }) {
			continue
		}
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
	for i, of := range s.Jobs {
		id := pair(requestIDLabel, of.RequestID)
		if ids[id.GetValue()] {
			continue
		}
		ids[id.GetValue()] = true
		j := job{Job: of, scope: []*dto.LabelPair{account, id}}
		if i < len(s.NextPolls) && !of.State.Ended() {
			j.nextPoll = s.NextPolls[i]
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// unionOfJobLabels returns the sorted names of the job labels of all accounts: all series of a metric must have the
// same labels.
func unionOfJobLabels(accounts []account) (names []string) {
	for i := range accounts {
		if accounts[i].JobMetrics != collector.JobMetricsOff {
			names = append(names, accounts[i].JobLabels...)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return slices.Contains(collector.ReservedLabels, name)
	})
}

// jobLabelPairs returns a job's labels, empty for those that it or its account lacks.
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
