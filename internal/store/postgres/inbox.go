package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

const (
	inboxBytes    = 1 << 20  // of bodies that Inbox returns, but for the first
	inboxMessages = 1000     // that Inbox returns
	viewBytes     = 16 << 20 // as inboxBytes, of a reader's Load
	viewMessages  = 100_000  // as inboxMessages, of a reader's Load
)

// Channels of notifications. The payload is the account.
const (
	leaseChannel   = "deepaffects_account" // earlier versions send on it that a message is sent, too
	messageChannel = "deepaffects_message"
)

// Inbox returns the oldest messages to the owner of the account.
func (r reader) Inbox() (oldest []store.Message, more bool, err error) { return r.inbox(sendTimeout) }

func (r reader) inbox(timeout time.Duration) (oldest []store.Message, more bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	oldest, more, err = inbox(ctx, r.db.pool, r.name, inboxMessages, inboxBytes)
	if err != nil {
		return nil, false, fmt.Errorf("reading the inbox of account %q: %w", r.name, r.db.failed(ctx, err))
	}
	return oldest, more, nil
}

// inbox returns the oldest messages of an account, at most so many, and whether there are more. Their bodies are at
// most so many bytes, but for the first.
func inbox(
	ctx context.Context, in interface {
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	}, account string, messages, bytes int,
) (oldest []store.Message, more bool, err error) {
	// The limits come before the bodies are read: a large one is not in the row.
	rows, err := in.Query(ctx, `SELECT number, kind, coalesce(request_id, ''), body, looked FROM (
		SELECT *, sum(octet_length(body)) OVER (ORDER BY number) AS bytes, row_number() OVER (ORDER BY number) AS n,
			count(*) OVER () AS looked
		FROM (SELECT * FROM inbox WHERE account = $1 ORDER BY number LIMIT $2 + 1) AS oldest) AS summed
		WHERE n = 1 OR n <= $2 AND coalesce(bytes, 0) <= $3 ORDER BY number`, account, messages, bytes)
	if err != nil {
		return nil, false, err
	}
	looked := 0
	oldest, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m store.Message, err error) {
		var body *string
		err = row.Scan(&m.Number, &m.Kind, &m.RequestID, &body, &looked)
		if body != nil {
			m.Body = jsontext.Value(*body)
		}
		return m, err
	})
	return oldest, looked > len(oldest), err
}

// Inbox returns the oldest messages to the owner of the account.
func (t *Tenure) Inbox() (oldest []store.Message, more bool, err error) {
	if err := t.alive(); err != nil {
		return nil, false, fmt.Errorf("reading the inbox of account %q: %w", t.name, err)
	}
	return t.inbox(min(t.lease, sendTimeout))
}

// Send stores messages for the owner of an account, in their order, in one transaction. It returns for each what was
// known of its job before it. It takes no context: nothing ends it half way. Its error wraps store.ErrUnknown if the
// messages may or may not be stored.
func (db *DB) Send(account string, messages []store.Message) ([]store.Whereabouts, error) {
	account = store.Clean(account)
	var kinds, ids, bodies []string
	for _, m := range messages {
		kinds, ids = append(kinds, store.Clean(m.Kind)), append(ids, store.Clean(m.RequestID))
		bodies = append(bodies, store.Clean(string(m.Body)))
	}
	cached, _ := db.departed.LoadOrStore(account, new(departedJobs))
	departed := cached.(*departedJobs)
	departed.mu.Lock()
	defer departed.mu.Unlock()
	reading, cancel := context.WithTimeout(context.Background(), sendTimeout) // others wait; the next message goes on with it
	defer cancel()
	rows, err := db.send(account, departed, kinds, ids, bodies)
	for tries := 0; err == nil && len(rows) == 0 && len(messages) > 0; tries++ {
		if tries == 3 {
			err = errors.New("the departed jobs change while they are read")
		} else if err = db.catchUp(reading, account, departed); err == nil {
			rows, err = db.send(account, departed, kinds, ids, bodies)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sending to the owner of account %q: %w", account, err)
	}
	return whereabouts(departed, rows, kinds, ids), nil
}

// send stores messages, and returns what was stored before them. If more departures must be read first, it stores and
// returns nothing.
func (db *DB) send(account string, departed *departedJobs, kinds, ids, bodies []string) ([]before, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	if err := db.refuseSilentStandby(ctx); err != nil {
		return nil, err
	}
	var first, next *int64 // nil: no message is about a job
	if slices.ContainsFunc(ids, func(id string) bool { return id != "" }) {
		first, next = &departed.first, &departed.next
	}
	rows, err := change(ctx, db, db.pool, pgx.RowToStructByPos[before], sendStatement,
		account, first, next, departed.last, maxBlocks, kinds, ids, bodies)
	db.sendTimedOut.Store(ctx.Err() != nil)
	if err == nil && len(rows) > 0 {
		db.notify(ctx, db.pool, messageChannel, account)
	}
	return rows, err
}

// catchUp reads the blocks of departures that were not read yet, in parts. After an error, those parts stay that were
// read.
func (db *DB) catchUp(ctx context.Context, account string, departed *departedJobs) error {
	part := func() (more bool, err error) {
		rows, err := db.pool.Query(ctx, catchUpStatement, account, departed.first, departed.next, departed.last, maxBlocks)
		var blocks []unread
		if err == nil {
			blocks, err = pgx.CollectRows(rows, pgx.RowToStructByPos[unread])
		}
		if err != nil {
			return false, fmt.Errorf("reading the departed jobs: %w", db.failed(ctx, err))
		}
		return departed.read(blocks), nil
	}
	more, err := true, error(nil)
	for more && err == nil {
		more, err = part()
	}
	return err
}

// refuseSilentStandby returns an error if the last message was given up, and commits wait for a standby for as long:
// that message goes on to wait in its session, and each further one would, until the server takes no connection any
// more.
func (db *DB) refuseSilentStandby(ctx context.Context) error {
	if !db.sendTimedOut.Load() {
		return nil
	}
	var silent bool
	err := db.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'
		AND query_start < clock_timestamp() - $1::interval)`, sendTimeout).Scan(&silent)
	if silent {
		return errors.New("the standby of the database does not answer")
	}
	return db.failed(ctx, err)
}

// notifyTimeout is how long a notification may take: what it is about is done.
const notifyTimeout = time.Second

// notify lets those hear that listen that something has changed about an account. It comes after the commit: PostgreSQL
// holds a lock from a notification to the end of its transaction, which waits for the standby, and so would all
// accounts. Without a notification, replicas find the change when they look the next time.
func (db *DB) notify(ctx context.Context, pool *pgxpool.Pool, channel, account string) {
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	_, err := pool.Exec(ctx, "SELECT pg_notify($1, $2)", channel, account)
	_ = db.failed(ctx, err)
}

// before is a row of what was stored before a message was: of its job; or, in the order of their numbers, a block of
// the departures that this process has not read yet.
type before struct {
	Message    int64 // the first one about its job, from 1 on; 0: none
	Tracked    bool  // the job of the message is
	Registered int64 // number of its last registration in the inbox; 0: there is none
	Removed    int64 // as Registered, of its last removal
	Block      int64 // of departures
	Departures []int64
}

// unread is a row of blocks of departures, in the order of their numbers, that this process has not read yet.
type unread struct {
	First      int64  // number of the oldest block
	Next       int64  // from which on they are unread
	Block      *int64 // nil: there is none
	Departures []int64
}

const (
	// maxBlocks is how many blocks of departures are read at once: 1 MB of the 32 MB that they may be.
	maxBlocks  = 256
	firstBlock = `coalesce((SELECT number FROM departed WHERE account = $1 ORDER BY number LIMIT 1), 0)`
	// areRead is true if the blocks from $2 to before $3, of which the last one is $4, are those that the database has. It
	// has others when it has forgotten the oldest, and may have after a failover to an asynchronous standby.
	areRead = firstBlock + ` = $2 AND ($4::bigint[] IS NULL
		OR EXISTS (SELECT FROM departed WHERE account = $1 AND number = $3 - 1 AND departures = $4::bigint[]))`
	catchUpStatement = `
WITH known AS (SELECT ` + areRead + ` AS are_read, ` + firstBlock + ` AS first),
unread AS (SELECT first, CASE WHEN are_read THEN $3::bigint ELSE first END AS next FROM known)
SELECT first, next, number, departures FROM unread LEFT JOIN LATERAL (SELECT number, departures FROM departed
	WHERE account = $1 AND number >= next ORDER BY number LIMIT $5) AS part ON true ORDER BY number`
	// sendStatement stores messages and looks for their jobs, in one snapshot. It does nothing if they are about jobs, and
	// too many blocks of departures are unread. Its subqueries are such that a plan of small tables does not read all.
	sendStatement = `
WITH ready AS (SELECT WHERE $2::bigint IS NULL OR ` + areRead + `
	AND coalesce((SELECT number FROM departed WHERE account = $1 ORDER BY number DESC LIMIT 1), 0) - $3::bigint < $5),
messages AS (SELECT m.* FROM ready, unnest($6::text[], $7::text[], $8::text[])
	WITH ORDINALITY AS m (kind, request_id, body, n)),
sent AS (INSERT INTO inbox (account, kind, request_id, body)
	SELECT $1, kind, nullif(request_id, ''), nullif(body, '') FROM messages ORDER BY n)
SELECT m.n, (SELECT count(*) > 0 FROM jobs WHERE account = $1 AND jobs.request_id = m.request_id), registered, removed,
	0, NULL::bigint[] FROM (SELECT min(n) AS n, request_id FROM messages GROUP BY request_id) AS m, LATERAL (
		SELECT coalesce(max(number) FILTER (WHERE kind = '` + store.RegisterMessage + `'), 0) AS registered,
			coalesce(max(number) FILTER (WHERE kind = '` + store.RemoveMessage + `'), 0) AS removed
		FROM inbox WHERE account = $1 AND inbox.request_id = m.request_id) AS waiting
UNION ALL (SELECT 0, false, 0, 0, number, departures FROM ready, departed
	WHERE account = $1 AND number >= $3::bigint ORDER BY number)`
)

// whereabouts returns where the jobs of messages were before each.
func whereabouts(departed *departedJobs, rows []before, kinds, ids []string) []store.Whereabouts {
	stored := make([]before, len(ids)) // of the first message about each job
	growing := make(map[store.Departure]bool)
	for _, r := range rows {
		switch {
		case r.Message > 0:
			stored[r.Message-1] = r
		case isFull(r.Departures) && len(growing) == 0:
			departed.add(r.Block, r.Departures)
		default:
			departuresOf(r.Departures, growing)
		}
	}
	now := make(map[string]store.Whereabouts)
	was := make([]store.Whereabouts, len(ids))
	for i, id := range ids {
		is, again := now[id]
		if !again {
			is = store.Tracked
			if !stored[i].Tracked {
				is = departed.find(id, growing)
			}
			// Of what waits, the last message says where the job is, and a removal does so only if the job was known.
			if stored[i].Registered > 0 {
				is = is.After(store.RegisterMessage)
			}
			if stored[i].Removed > stored[i].Registered {
				is = is.After(store.RemoveMessage)
			}
		}
		was[i] = is
		now[id] = is.After(kinds[i])
	}
	return was
}

// Listen calls changed with the name of each account that is taken over or released, and sent with that of each to which
// a message is sent, until the context ends. After it could not listen for some time, it calls changed with "": any
// account may have changed, and have messages.
func (db *DB) Listen(ctx context.Context, changed, sent func(account string)) {
	for ctx.Err() == nil {
		if err := db.listen(ctx, changed, sent); err != nil && ctx.Err() == nil {
			db.log.Debug("Listening to other replicas failed; they are looked at from time to time", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// listenPing is how long a silent connection counts as alive.
var listenPing = 10 * time.Second

func (db *DB) listen(ctx context.Context, changed, sent func(account string)) error {
	config := db.pool.Config().ConnConfig
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	beginning, cancel := context.WithTimeout(ctx, listenPing)
	defer cancel()
	if _, err := conn.Exec(beginning, "LISTEN "+leaseChannel+"; LISTEN "+messageChannel); err != nil {
		return err
	}
	changed("")
	for {
		silent, cancel := context.WithTimeout(ctx, listenPing)
		n, err := conn.WaitForNotification(silent)
		cancel()
		switch {
		case err == nil && n.Channel == messageChannel:
			sent(n.Payload)
		case err == nil:
			changed(n.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case silent.Err() == nil:
			return err
		default:
			pinging, cancel := context.WithTimeout(ctx, listenPing)
			err := conn.Ping(pinging)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}
