package statuspage

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// jobList is the page at /jobs.
type jobList struct {
	Frame   frame
	Columns []column
	Lists   []accountJobs
	Invalid string // what is wrong with the parameters; empty: nothing
	Late    bool   // late jobs are asked for
	Sorted  int    // only so many of the newest jobs of an account are looked at and sorted; 0: all
}

// accountJobs are the matching jobs of one account.
type accountJobs struct {
	Account string
	Jobs    []jobView
	More    string // link to those that follow; empty: none
}

// query is what the parameters of /jobs ask for.
type query struct {
	Text, Account, State, API, ErrorCode string
	Labels                               []string // as name=value
	Sort                                 string   // empty: the newest first
	Choices                              []choice
	Unlisted                             bool // some values are not among the choices
}

// A choice is one of the filters, with the values that jobs have.
type choice struct {
	Label, Name string
	Options     []option
}

type option struct {
	Value, Text string
	Selected    bool
}

// counted returns the text of an option that so many jobs have.
func counted(value string, jobs int) string {
	return fmt.Sprintf("%s (%s)", value, humanize.Comma(int64(jobs)))
}

// A column is one that the list can be sorted by.
type column struct {
	Heading, Class string
	Link           string // sorts by it, or the other way round
	Sorted         string // as aria-sort has it; empty: it is not
}

// An order is one of the values of the parameter sort; with a minus before it, it is reversed.
type order struct {
	Name, Heading, Class string
	By                   jobs.Order
	Ascending            bool   // not reversed, what is in the column ascends
	Text, Reversed       string // for people
}

var orders = []order{
	{"registered", "Registered", "", jobs.ByRegistration, false, "newest first", "oldest first"},
	{"ended", "Ended", "", jobs.ByEnd, false, "latest end first", "earliest end first"},
	{"duration", "Duration", "number", jobs.ByDuration, false, "longest first", "shortest first"},
	{"confidence", "Confidence", "number", jobs.ByConfidence, true, "lowest confidence first", "highest confidence first"},
}

// Orders returns the values of the parameter sort, as options.
func (q *query) Orders() (options []option) {
	for i, o := range orders {
		value := o.Name
		if i == 0 {
			value = ""
		}
		options = append(options, option{value, o.Text, value == q.Sort},
			option{"-" + o.Name, o.Reversed, "-"+o.Name == q.Sort})
	}
	return options
}

func queryOf(v url.Values) *query {
	q := &query{
		Text: strings.TrimSpace(v.Get("q")), Account: v.Get("account"), State: v.Get("state"), API: v.Get("api"),
		ErrorCode: v.Get("error_code"), Sort: v.Get("sort"),
	}
	for _, label := range v["label"] {
		if label != "" {
			q.Labels = append(q.Labels, label)
		}
	}
	return q
}

// knownParameters are those of /jobs.
var knownParameters = slices.Concat([]string{"account"}, jobs.FilterParameters, []string{"sort", "after"})

// parameters are those of a link to the same list, as [links.link] takes them.
func (q *query) parameters(sort string) []string {
	p := []string{"q", q.Text, "state", q.State, "api", q.API, "error_code", q.ErrorCode, "sort", sort}
	for _, label := range q.Labels {
		p = append(p, "label", label)
	}
	return p
}

// Filtered reports whether it selects.
func (q *query) Filtered() bool {
	return q.Account != "" || q.Text != "" || q.refined()
}

// refined reports whether it selects by more than account and text.
func (q *query) refined() bool {
	return q.State != "" || q.API != "" || q.ErrorCode != "" || len(q.Labels) > 0
}

// filterOf returns what the parameters of /jobs select, and how that is sorted.
func filterOf(v url.Values) (f jobs.Filter, by order, reverse bool, err error) {
	if err := jobs.CheckParameters(v, knownParameters...); err != nil {
		return f, by, false, err
	}
	if f, err = jobs.ParseFilter(v); err != nil {
		return f, by, false, err
	}
	name, reverse := strings.CutPrefix(cmp.Or(v.Get("sort"), orders[0].Name), "-")
	i := slices.IndexFunc(orders, func(o order) bool { return o.Name == name })
	if i < 0 {
		var names []string
		for _, o := range orders {
			names = append(names, o.Name)
		}
		return f, by, false, fmt.Errorf("sort: must be one of %s, or that with a minus before it", strings.Join(names, ", "))
	}
	return f, orders[i], reverse, nil
}

// columns returns the columns, with links that sort by them. Late jobs have one order.
func (q *query) columns(to links, late bool, by order, reverse bool) (columns []column) {
	for _, o := range orders {
		if late {
			columns = append(columns, column{Heading: o.Heading, Class: o.Class})
			continue
		}
		c, sort := column{Heading: o.Heading, Class: o.Class}, o.Name
		if o.Name == by.Name {
			c.Sorted = "descending"
			if o.Ascending != reverse {
				c.Sorted = "ascending"
			}
			if !reverse {
				sort = "-" + sort
			}
		}
		if sort == orders[0].Name {
			sort = ""
		}
		c.Link = to.link("/jobs", q.parameters(sort)...)
		columns = append(columns, c)
	}
	return columns
}

// jobs lists the jobs that the parameters select; of the account of the job with the ID after, those that follow it.
func (s *site) jobs(r *http.Request) (any, int) {
	values := r.URL.Query()
	page := jobList{Frame: s.frame("Jobs – DeepAffects jobs")}
	q := queryOf(values)
	filter, by, reverse, err := filterOf(values)
	if err != nil {
		page.Frame.Query, page.Invalid = &query{}, sentence(err)
		return page, http.StatusBadRequest
	}
	page.Frame.Query, page.Late = q, filter.Late
	page.Columns = q.columns(links{s.Base, q.Account}, filter.Late, by, reverse)
	accounts := s.collector.Accounts()
	after := values.Get("after")
	begun := after == "" // the job after is found
	var exact []string   // links to the jobs with this ID
	var read []*collector.Account
	for _, a := range accounts {
		if q.Account != "" && a.Name() != q.Account {
			continue
		}
		_ = a.Refresh(r.Context()) // the overview tells the error
		read = append(read, a)
		to := s.linksOf(accounts, a)
		found, all, known := a.SortedJobs(filter, by.By, reverse, after, listed)
		if begun = begun || known; !known {
			continue // it is of another account, or of none
		}
		if !all {
			page.Sorted = jobs.MaxLooked
		}
		more := ""
		if found.Next != "" {
			more = to.link("/jobs", append(q.parameters(q.Sort), "after", found.Next)...)
		}
		if len(found.Jobs) > 0 || more != "" {
			page.Lists = append(page.Lists, accountJobs{a.Name(), to.rows(a, page.Frame.At, found.Jobs...), more})
		}
		if _, _, known := a.Job(q.Text); known {
			exact = append(exact, to.link("/job", "request_id", q.Text))
		}
	}
	q.setChoices(accounts, read, filter)
	switch {
	case len(read) == 0:
		page.Invalid = "No account has this name; choose one in the filter."
		return page, http.StatusNotFound
	case !begun:
		page.Invalid = "The job after which this page begins is not tracked any more; begin with the first page."
		return page, http.StatusNotFound
	case len(exact) == 1 && !q.refined():
		return exact[0], http.StatusSeeOther
	}
	return page, http.StatusOK
}

// sentence returns an error about parameters as a sentence.
func sentence(err error) string { return "Invalid parameter: " + err.Error() + "." }

// setChoices sets the filters that make a difference, with the jobs that each value has: of the chosen state and
// account. Of the accounts, some were read.
func (q *query) setChoices(accounts, read []*collector.Account, filter jobs.Filter) {
	apis, codes, labels := make(tally), make(tally), make(map[string]tally)
	for name := range filter.Labels {
		labels[name] = make(tally)
	}
	var counts [len(jobs.States)]int
	late := 0
	for _, a := range read {
		late += a.LateJobs()
		for i, n := range a.Counts() {
			counts[i] += n
		}
		groups := a.Groups(filter)
		q.Unlisted = q.Unlisted || groups.Incomplete
		apis.add(groups.APIs)
		codes.add(groups.ErrorCodes)
		for name, values := range groups.Labels {
			if labels[name] == nil {
				labels[name] = make(tally)
			}
			labels[name].add(values)
		}
	}
	if len(accounts) > 1 {
		q.Choices = append(q.Choices, q.accountChoice(accounts, read))
	}
	states := choice{Label: "State", Name: "state"}
	for i, name := range jobs.States {
		states.Options = append(states.Options, option{name, counted(name, counts[i]), name == q.State})
	}
	states.Options = append(states.Options, option{"late", counted("late", late), filter.Late})
	q.Choices = append(q.Choices, states)
	q.choose("API", "api", "", apis, q.API)
	if len(codes) > 0 || q.ErrorCode != "" {
		q.choose("Error", "error_code", "", codes, q.ErrorCode)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		chosen := ""
		if value, found := filter.Labels[name]; found {
			chosen = name + "=" + value
		}
		q.choose(name, "label", name+"=", labels[name], chosen)
	}
}

// accountChoice is the choice of an account. What this process does not own, and has not read now, may have any number
// of jobs.
func (q *query) accountChoice(accounts, read []*collector.Account) choice {
	c := choice{Label: "Account", Name: "account"}
	known := q.Account == ""
	for _, a := range accounts {
		text := a.Name()
		if a.Owned() || slices.Contains(read, a) {
			sum := 0
			for _, n := range a.Counts() {
				sum += n
			}
			text = counted(text, sum)
		}
		known = known || a.Name() == q.Account
		c.Options = append(c.Options, option{a.Name(), text, a.Name() == q.Account})
	}
	if !known {
		c.Options = append(c.Options, option{q.Account, q.Account, true})
	}
	return c
}

// choose adds a choice of the most frequent values, and of the one that is chosen (empty: any). They are sent with a
// prefix.
func (q *query) choose(label, name, prefix string, values tally, chosen string) {
	c := choice{Label: label, Name: name}
	if chosen != "" {
		values[strings.TrimPrefix(chosen, prefix)] += 0 // it may have no job
	}
	for i, value := range values.mostFrequent() {
		sent := prefix + value
		switch {
		case sent == "": // would be any
		case i >= maxOptions && sent != chosen:
			q.Unlisted = true
		default:
			c.Options = append(c.Options, option{sent, counted(cmp.Or(value, "none"), values[value]), sent == chosen})
		}
	}
	q.Choices = append(q.Choices, c)
}
