package httpapi

import (
	"cmp"
	"math"
	"net/http"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/problems"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// shownPolls is the number of next polls in the status.
const shownPolls = 20

// monitorStatus is the JSON of the monitor as a whole.
type monitorStatus struct {
	Version  string          `json:"version,omitzero"`
	Problems []problem       `json:"problems,omitempty"` // with no account: the configuration cannot be reloaded
	Accounts []accountStatus `json:"accounts"`
}

type accountStatus struct {
	Account     string           `json:"account"`
	Up          *bool            `json:"up,omitzero"` // the last request got a valid response; only the owner knows it
	LastSuccess moment           `json:"last_success,omitzero"`
	Trouble     *trouble         `json:"trouble,omitzero"`     // why it is not up
	StoreError  string           `json:"store_error,omitzero"` // why the store cannot be written, or read
	Problems    []problem        `json:"problems,omitempty"`   // as the page shows them
	Owner       *owner           `json:"owner,omitzero"`       // the replica that polls it, if there are several
	Jobs        map[string]int   `json:"jobs"`                 // by state
	Oldest      float64          `json:"oldest_unfinished_age_seconds"`
	Late        int              `json:"late"` // unfinished jobs after their late_after
	Due         int              `json:"due"`  // jobs that would be polled now if the quota allowed
	Backlog     *backlog         `json:"backlog,omitzero"`
	Quota       map[string]quota `json:"quota"`         // by window
	Price       float64          `json:"price_seconds"` // minimum score of a poll, in seconds of expected delay
	Forecast    forecast         `json:"forecast"`
	NextPolls   []poll           `json:"next_polls"`
	Sources     []sourceStatus   `json:"sources"`
}

// owner is the replica that owns an account.
type owner struct {
	ID    string `json:"id"`
	URL   string `json:"url,omitzero"` // of its pages
	Since moment `json:"since"`
	Self  bool   `json:"self"` // it answers this request
}

// trouble is why the API is not polled, or what is wrong with its responses.
type trouble struct {
	Outcome   string `json:"outcome,omitzero"`    // of the last request; absent where the key cannot be read
	ErrorCode string `json:"error_code,omitzero"` // with which the API refused the last request
	Error     string `json:"error"`
	Until     moment `json:"until,omitzero"` // when polling resumes
}

// problem is the condition of an alert.
type problem struct {
	Text      string `json:"text"`
	Error     string `json:"error,omitzero"`
	ErrorCode string `json:"error_code,omitzero"`
	Last      moment `json:"last,omitzero"`
	Until     moment `json:"until,omitzero"` // when the next attempt is made
	Alert     string `json:"alert"`
	Severity  string `json:"severity"` // of the alert
}

func problemOf(p problems.Problem) problem {
	shown := problem{
		Text: p.Text, ErrorCode: p.Code, Last: momentOf(p.Last), Until: momentOf(p.Until),
		Alert: p.Alert, Severity: p.Severity(),
	}
	if p.Err != nil {
		shown.Error = p.Err.Error()
	}
	return shown
}

// quota is one window of the quota. Limit and Left are null if it is unlimited.
type quota struct {
	Limit    *float64 `json:"limit"`
	Used     float64  `json:"used"`
	Left     *float64 `json:"left"`
	ResetsAt moment   `json:"resets_at,omitzero"`
}

// forecast is what the scheduler expects to spend of the day's quota.
type forecast struct {
	Jobs           float64 `json:"jobs"` // until the quota resets, or in 24 hours
	RequestsPerJob float64 `json:"requests_per_job"`
}

// backlog is what the quota cannot poll at once. It is absent where no job is due, or there is no quota.
type backlog struct {
	Jobs         int      `json:"jobs"`                   // due, as in due
	TakesSeconds float64  `json:"takes_seconds,omitzero"` // to poll each of them once; absent: for ever
	Sufficient   *suffice `json:"sufficient,omitzero"`    // absent: it takes less than a day
	Text         string   `json:"text"`
}

// suffice is the quota that would poll the backlog within a day. What is absent suffices as it is.
type suffice struct {
	PerMinute float64 `json:"requests_per_minute,omitzero"`
	PerDay    float64 `json:"requests_per_day,omitzero"`
}

type poll struct {
	RequestID string `json:"request_id"`
	At        moment `json:"at"`
	Why       string `json:"why"`
}

type sourceStatus struct {
	Source      submission.Source `json:"source"`
	LastSuccess moment            `json:"last_success,omitzero"`
	Errors      uint64            `json:"errors"`
	LastError   *sourceError      `json:"last_error,omitzero"` // since the start
}

type sourceError struct {
	At    moment `json:"at"`
	Error string `json:"error"`
}

// status serves the state of all accounts.
func (a *api) status(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	s := monitorStatus{Version: a.Version}
	if a.ReloadError != nil {
		if err := a.ReloadError(); err != nil {
			s.Problems = append(s.Problems, problemOf(problems.Reload(err)))
		}
	}
	for _, account := range a.accounts(r) {
		_ = account.Refresh(r.Context()) // accountOf tells the error
		s.Accounts = append(s.Accounts, accountOf(account))
	}
	return http.StatusOK, s, nil
}

func accountOf(account *collector.Account) accountStatus {
	snapshot := account.Read()
	s := accountStatus{
		Account:     snapshot.Account,
		LastSuccess: momentOf(snapshot.API.LastSuccess),
		Jobs:        make(map[string]int),
		Oldest:      seconds(snapshot.OldestUnfinished),
		Late:        snapshot.Late.Jobs,
		Due:         snapshot.Due,
		Backlog:     backlogOf(snapshot.Backlog),
		Quota:       map[string]quota{"minute": quotaOf(snapshot.Minute), "day": quotaOf(snapshot.Day)},
		Price:       rounded(snapshot.Pricing.Price),
		Forecast:    forecast{rounded(snapshot.Pricing.Coming), rounded(snapshot.Pricing.PerJob)},
		NextPolls:   []poll{},
	}
	if !snapshot.Absent {
		s.Up = &snapshot.API.Up
	}
	if t := snapshot.API.Trouble; t != nil {
		s.Trouble = &trouble{ErrorCode: t.ErrorCode, Error: t.Err.Error(), Until: momentOf(t.Until)}
		if !t.NoKey {
			s.Trouble.Outcome = t.Outcome.String()
		}
	}
	if o := snapshot.Owner; o.ID != "" {
		s.Owner = &owner{o.ID, o.URL, momentOf(o.Since), o.Self}
	}
	if err := cmp.Or(snapshot.StoreError, snapshot.ReadError); err != nil {
		s.StoreError = err.Error()
	}
	overview, recent := account.Overview(snapshot.At.Add(-problems.Window), 0), account.Recent()
	for _, p := range problems.Of(&snapshot, &overview, &recent) {
		s.Problems = append(s.Problems, problemOf(p))
	}
	for i, state := range jobs.States {
		s.Jobs[state] = snapshot.Counts[i]
	}
	for _, p := range account.NextPolls(shownPolls) {
		s.NextPolls = append(s.NextPolls, poll{p.RequestID, momentOf(p.At), p.Reason.String()})
	}
	// The other sources are pushed by clients and cannot fail.
	for _, from := range []submission.Source{submission.Config, submission.File, submission.URL} {
		shown := sourceStatus{
			Source:      from,
			LastSuccess: momentOf(snapshot.SourceSuccess[from]),
			Errors:      uint64(snapshot.Totals.Counter(jobs.SourceErrors, string(from))),
		}
		if problem, had := snapshot.SourceProblems[from]; had {
			shown.LastError = &sourceError{momentOf(problem.At), problem.Err.Error()}
		}
		s.Sources = append(s.Sources, shown)
	}
	return s
}

// rounded returns an estimate without digits that are noise.
func rounded(n float64) float64 { return math.Round(n*1000) / 1000 }

func backlogOf(b schedule.Backlog) *backlog {
	if b.Takes == 0 && !b.Never {
		return nil
	}
	shown := &backlog{Jobs: b.Jobs, TakesSeconds: math.Ceil(b.Takes.Seconds()), Text: b.String()}
	if b.Slow() {
		shown.Sufficient = &suffice{b.PerMinute, b.PerDay}
	}
	return shown
}

func quotaOf(u schedule.Usage) quota {
	q := quota{Used: u.Used, ResetsAt: momentOf(u.Resets)}
	if !math.IsInf(u.Limit, 1) {
		left := max(u.Limit-u.Used, 0)
		q.Limit, q.Left = &u.Limit, &left
	}
	return q
}
