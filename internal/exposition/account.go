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
}

// A job is a job with series of its own.
type job struct {
	*jobs.Job
	account *account
	index   int // in the snapshot
}

// nextPoll returns when the job is polled next; zero: unknown, or not again.
func (j *job) nextPoll() (at time.Time) {
	if j.index < len(j.account.NextPolls) && !j.State.Ended() {
		at = j.account.NextPolls[j.index]
	}
	return at
}

// finish returns when the job is expected to have finished; zero times: unknown, or it has.
func (j *job) finish() (f collector.Finish) {
	if j.index < len(j.account.Finishes) && !j.State.Ended() {
		f = j.account.Finishes[j.index]
	}
	return f
}

// shows reports whether jobs have the series of a family.
func (a *account) shows(f *family) bool {
	return a.JobMetrics != collector.JobMetricsOff && (f.basic || a.JobMetrics != collector.JobMetricsBasic)
}

// uniqueAccounts prepares snapshots. It drops an account with the same name as another: a duplicate series would fail
// the whole scrape.
func uniqueAccounts(snapshots []collector.Snapshot) []account {
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
		accounts = append(accounts, a)
	}
	return accounts
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
