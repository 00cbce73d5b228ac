// Package store declares what is kept of an account and what a storage engine does.
// The engines are in packages of their own; docs/storage.md describes the format.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrUnknown is wrapped by an error of Commit when the batch may or may not be
// stored. The account must Load again before it goes on. Any other error means that
// nothing of the batch was stored, none that all of it is durable.
var ErrUnknown = errors.New("it is unknown whether this was stored")

// ErrNotOwner is wrapped by an error of Commit and Load if another replica may own the
// account now. Nothing of the batch was stored, and this Account will store nothing any more.
var ErrNotOwner = errors.New("another replica may own this account")

// An Engine is an open database of several accounts.
type Engine interface {
	Account(name string) Account
	// Accounts returns the names of the accounts of which anything is stored, in order.
	Accounts(context.Context) ([]string, error)
	// Senders returns the names of the accounts that have requests stored, in order.
	Senders(context.Context) ([]string, error)
	// Sender returns an account to load its totals and requests only. Without the rest it
	// has no inbox.
	Sender(name string) Account
	Close() error
}

// An Account is one account's part of a database. An account has one writer.
type Account interface {
	// Load returns everything that is stored of the account. It must be called before
	// the first Commit, and again after an unknown outcome.
	Load(context.Context) (*Contents, error)
	// Commit stores a batch in one transaction. It takes no context: nothing ends it
	// half way. A key appears at most once in a list of a batch, and not in both the
	// list that stores and the list that removes such rows. Text is stored as Clean
	// returns it, and NaN as unknown: a bad value does not fail the others of its batch.
	// Where other processes may own the account, an empty batch makes sure that what was
	// committed is still there, and that none does: that may be said then. Elsewhere it does
	// nothing.
	Commit(*Batch) error
	// Verify returns an error if what was committed would not be found after a restart,
	// for example because a file was removed. If the engine could restore it, the next call
	// succeeds.
	Verify() error
	// Inbox returns the oldest messages of other replicas, in their order, that no batch
	// has Received, and whether there are more: a bounded number of messages and of bytes,
	// at least one message if there is any. It returns none where one process owns all
	// accounts.
	Inbox() (oldest []Message, more bool, err error)
	// Size returns the bytes on disk of the whole database.
	Size() int64
}

// A Job is a tracked job. A zero time, an empty string, a zero AudioSeconds or
// Priority and nil JSON or labels are unknown. Times are in UTC.
type Job struct {
	RequestID       string
	Sequence        uint64 // in order of registration
	API             string
	Source          string
	State           string
	ErrorCode       string
	Labels          map[string]string
	AudioSeconds    float64
	Priority        float64
	FirstSeen       time.Time
	SubmittedAt     time.Time
	LastObserved    time.Time
	FinishedAt      time.Time
	DetectionWindow time.Duration // not stored while FinishedAt is zero
	Statistics      jsontext.Value
}

// A Departure is what is remembered of a job that is no longer tracked: the first 8
// bytes of the SHA-256 of its request ID, with the lowest bit set if a user removed it.
type Departure uint64

// DepartureOf returns the departure of a job.
func DepartureOf(requestID string, removed bool) Departure {
	sum := sha256.Sum256([]byte(requestID))
	d := Departure(binary.BigEndian.Uint64(sum[:])) &^ 1
	if removed {
		d |= 1
	}
	return d
}

// Opposite returns the departure of the same job that differs in whether a user removed it.
func (d Departure) Opposite() Departure { return d ^ 1 }

// DeparturesPerBlock is how many departures a full block has.
const DeparturesPerBlock = 512

// A DepartedBlock is some departures, oldest first. A later one of the same job counts.
type DepartedBlock struct {
	Number     uint64 // in order of departure
	Departures []Departure
}

// A Total is one series of a counter or histogram over all jobs of the account.
type Total struct {
	Name   string
	Labels string // canonical JSON object of the series' labels; {} without
	Value  jsontext.Value
}

// Requests is the number of requests to the API that were reserved in a second.
type Requests struct {
	Second int64 // Unix time
	Count  int   // 0 in a Batch: delete
}

// Timings are the packed timings of a job's words.
type Timings struct {
	RequestID string
	Packed    []byte // nil in a Batch: delete
}

// A StateChange is a job's change of state that Telegraf has not accepted yet.
type StateChange struct {
	Number    uint64 // in order of observation
	RequestID string
	State     string
	At        time.Time
	Job       jsontext.Value // what else was known of the job
}

// A Message is what a replica wants of the owner of an account. docs/storage.md
// describes its kinds.
type Message struct {
	Number    uint64 // in the order in which they are received
	Kind      string
	RequestID string         // the job that it is about; empty: none
	Body      jsontext.Value // nil: nothing more to say
}

// Whereabouts is where a replica that does not own an account finds a job, in what is
// stored and in the inbox.
type Whereabouts int

// The whereabouts.
const (
	Nowhere  Whereabouts = iota // nothing is known of it
	Tracked                     // it is tracked, or its registration is in the inbox
	Departed                    // it is no longer tracked
	Removed                     // it is no longer tracked since a user removed it, or the removal is in the inbox
)

// Kinds of messages that change where a job is.
const (
	RegisterMessage = "register"
	RemoveMessage   = "remove"
)

// After returns where a job is when its owner has applied a message of a kind.
func (w Whereabouts) After(kind string) Whereabouts {
	switch {
	case kind == RegisterMessage && w != Departed:
		return Tracked
	case kind == RemoveMessage && w == Tracked:
		return Removed
	}
	return w
}

// A Batch is what one transaction changes.
type Batch struct {
	Jobs         []Job // new or changed
	RemovedJobs  []string
	Departed     []DepartedBlock // new or changed
	Forgotten    []uint64        // blocks of departures to delete, by number
	Totals       []Total         // new or changed
	Requests     []Requests
	Learnt       jsontext.Value // nil: unchanged
	Timings      []Timings
	StateChanges []StateChange // new
	Delivered    []uint64      // state changes to delete, by number
	Received     []Message     // messages to delete, as Inbox returned them
	Compact      bool          // give free pages back to the disk
}

// Empty reports whether there is nothing to commit.
func (b *Batch) Empty() bool { return reflect.ValueOf(b).Elem().IsZero() }

// Contents is everything that is stored of one account.
type Contents struct {
	Jobs         []Job           // by request ID
	Departed     []DepartedBlock // by number
	Totals       []Total
	Requests     []Requests
	Learnt       jsontext.Value // nil: nothing
	Timings      []Timings
	StateChanges []StateChange // by number
	// Inbox has the oldest messages that no batch has Received, as of the same moment as
	// the rest: a bounded number of bytes. It is there for a reader only: an Account that
	// is not the owner's.
	Inbox []Message
	// Now is what the clock of the engine showed when this was loaded, in UTC; zero: the
	// engine has no clock but that of the machine.
	Now time.Time
	// Lost is the number of rows that were lost to damage, as far as known: at least
	// one if there was any. It is reported once.
	Lost int
}

// Clean returns text that every engine can store: U+FFFD takes the place of a NUL
// and of bytes that are not UTF-8.
func Clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
