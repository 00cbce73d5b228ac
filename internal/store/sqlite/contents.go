package sqlite

import (
	"time"
)

// A Job is one row of the table jobs. Times are in UTC; zero where unknown.
type Job struct {
	RequestID       string
	Sequence        uint64 // in order of registration
	API             string
	Source          string
	State           string
	ErrorCode       string
	Labels          []byte // JSON; nil: none
	AudioSeconds    float64
	Priority        float64
	FirstSeen       time.Time
	SubmittedAt     time.Time
	LastObserved    time.Time
	FinishedAt      time.Time
	DetectionWindow time.Duration
	Statistics      []byte // JSON; nil: none
}

// A Departure is one row of the table departed: a job that is no longer tracked,
// and is remembered for a while.
type Departure struct {
	RequestID string
	Until     time.Time
	Removed   bool // by a user
}

// A Change is one row of the table changes: a job's change of state that nobody
// has been told of yet.
type Change struct {
	Number    uint64 // in order of observation
	RequestID string
	State     string
	At        time.Time
	Job       []byte // JSON: what else is known of the job
}

// A Batch is what one transaction changes.
type Batch struct {
	Jobs      []Job             // new or changed
	Gone      []string          // no longer jobs
	Departed  []Departure       // new or changed
	Forgotten []string          // no longer departed
	Totals    map[string][]byte // JSON by name; those that changed
	Requests  map[int64]int     // to the API, by Unix second, where their number changed; 0: forgotten
	Learnt    []byte            // JSON of the scheduler's; nil: unchanged
	Timings   map[string][]byte // marks of conversations, by request ID; nil: gone
	Changes   []Change          // new
	Delivered []uint64          // no longer changes, by number
	Compact   bool              // give the disk back the room of what is gone
}

// Empty says whether there is nothing to commit.
func (b *Batch) Empty() bool {
	return len(b.Jobs)+len(b.Gone)+len(b.Departed)+len(b.Forgotten)+len(b.Totals)+len(b.Requests)+len(b.Timings)+len(b.Changes)+len(b.Delivered) == 0 && b.Learnt == nil && !b.Compact
}

// Contents are all that is stored of an account.
type Contents struct {
	Jobs     []Job // in order of their sequence
	Departed []Departure
	Totals   map[string][]byte
	Requests map[int64]int
	Learnt   []byte // nil: nothing
	Timings  map[string][]byte
	Changes  []Change // in order of their number
	// Lost is how many rows, as far as that can be known, were lost to damage that
	// was found since the last Load: at least one where there was any.
	Lost int
}

func newContents() *Contents {
	return &Contents{Totals: make(map[string][]byte), Requests: make(map[int64]int), Timings: make(map[string][]byte)}
}

// values are the row of a job, in the order of the columns.
func (j *Job) values(account string) []any {
	return []any{
		account, j.RequestID, int64(j.Sequence), j.API, j.Source, j.State, j.ErrorCode, textOrNull(j.Labels), j.AudioSeconds, j.Priority,
		stamp(j.FirstSeen), stamp(j.SubmittedAt), stamp(j.LastObserved), stamp(j.FinishedAt), j.DetectionWindow.Seconds(), textOrNull(j.Statistics),
	}
}

// jobOf is the job of a row that is sound.
func jobOf(row []any) Job {
	return Job{
		RequestID: text(row[1]), Sequence: uint64(integer(row[2])), API: text(row[3]), Source: text(row[4]), State: text(row[5]), ErrorCode: text(row[6]),
		Labels: bytesOrNil(row[7]), AudioSeconds: real(row[8]), Priority: real(row[9]),
		FirstSeen: moment(row[10]), SubmittedAt: moment(row[11]), LastObserved: moment(row[12]), FinishedAt: moment(row[13]),
		DetectionWindow: time.Duration(real(row[14]) * float64(time.Second)), Statistics: bytesOrNil(row[15]),
	}
}

func (d *Departure) values(account string) []any {
	removed := int64(0)
	if d.Removed {
		removed = 1
	}
	return []any{account, d.RequestID, stamp(d.Until), removed}
}

func departureOf(row []any) Departure {
	return Departure{RequestID: text(row[1]), Until: moment(row[2]), Removed: integer(row[3]) != 0}
}

func (c *Change) values(account string) []any {
	return []any{account, int64(c.Number), c.RequestID, c.State, stamp(c.At), string(c.Job)}
}

func changeOf(row []any) Change {
	return Change{
		Number: uint64(integer(row[1])), RequestID: text(row[2]), State: text(row[3]), At: moment(row[4]), Job: bytesOrNil(row[5]),
	}
}

// take adds a row that is sound.
func (c *Contents) take(t *table, row []any) {
	switch t {
	case &jobs:
		c.Jobs = append(c.Jobs, jobOf(row))
	case &departed:
		c.Departed = append(c.Departed, departureOf(row))
	case &totals:
		c.Totals[text(row[1])] = bytesOrNil(row[2])
	case &requests:
		c.Requests[integer(row[1])] = int(integer(row[2]))
	case &learnt:
		c.Learnt = bytesOrNil(row[1])
	case &timings:
		marks, _ := row[2].([]byte)
		c.Timings[text(row[1])] = marks
	case &changes:
		c.Changes = append(c.Changes, changeOf(row))
	}
}

// stamp is a time as the tables have it: NULL where it is zero.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func textOrNull(json []byte) any {
	if json == nil {
		return nil
	}
	return string(json)
}

// What follows reads the values of a row that is sound: it has the types that it
// was written with.

func text(v any) string      { s, _ := v.(string); return s }
func integer(v any) int64    { n, _ := v.(int64); return n }
func real(v any) float64     { f, _ := v.(float64); return f }
func moment(v any) time.Time { t, _ := time.Parse(time.RFC3339Nano, text(v)); return t }

func bytesOrNil(v any) []byte {
	if v == nil {
		return nil
	}
	return []byte(text(v))
}
