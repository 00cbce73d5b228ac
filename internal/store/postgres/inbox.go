package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

const (
	inboxChannel  = "deepaffects_inbox" // its payload is the account
	inboxBytes    = 1 << 20             // of bodies that Inbox returns, but for the first
	inboxMessages = 1000                // that Inbox returns
	viewBytes     = 16 << 20            // as inboxBytes, of a reader's Load
	viewMessages  = 100_000             // as inboxMessages, of a reader's Load
)

// Inbox returns the oldest messages to the owner of the account.
func (r reader) Inbox() (oldest []store.Message, more bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	oldest, more, err = inbox(ctx, r.db.pool, r.name, inboxMessages, inboxBytes)
	if err != nil {
		return nil, false, fmt.Errorf("reading the inbox of account %q: %w", r.name, err)
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
	return t.reader.Inbox()
}

// Send stores messages for the owner of an account, in their order, in one transaction. It returns for each what was
// known of its job before it. It takes no context: nothing ends it half way. Its error wraps store.ErrUnknown if the
// messages may or may not be stored.
func (db *DB) Send(account string, messages []store.Message) ([]store.Whereabouts, error) {
	account = store.Clean(account)
	var kinds, ids, bodies []string
	var departures, removed []int64
	for _, m := range messages {
		id := store.Clean(m.RequestID)
		kinds, ids = append(kinds, store.Clean(m.Kind)), append(ids, id)
		bodies = append(bodies, store.Clean(string(m.Body)))
		departures = append(departures, int64(store.DepartureOf(id, false)))
		removed = append(removed, int64(store.DepartureOf(id, true)))
	}
	type found struct {
		Tracked  bool
		Departed *bool    // the last departure: whether a user did not remove it; nil: none
		Sent     []string // kinds of messages that are in the inbox
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	before, err := change(ctx, db.pool, pgx.RowToStructByPos[found], `
		WITH messages AS (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
			WITH ORDINALITY AS m (kind, request_id, body, departure, removal, n)),
		sent AS (INSERT INTO inbox (account, kind, request_id, body)
			SELECT $1, kind, nullif(request_id, ''), nullif(body, '') FROM messages ORDER BY n),
		notified AS MATERIALIZED (SELECT count(pg_notify($7, $1)) AS n)
		SELECT EXISTS (SELECT FROM jobs WHERE account = $1 AND jobs.request_id = m.request_id),
			(SELECT (d.departure & 1) = 0 FROM departed, unnest(departed.departures) WITH ORDINALITY AS d (departure, n)
				WHERE account = $1 AND departures && ARRAY[m.departure, m.removal] AND d.departure IN (m.departure, m.removal)
				ORDER BY departed.number DESC, d.n DESC LIMIT 1),
			ARRAY(SELECT kind FROM inbox WHERE account = $1 AND inbox.request_id = m.request_id ORDER BY number)
		FROM messages AS m, notified WHERE notified.n > 0 ORDER BY m.n`,
		account, kinds, ids, bodies, departures, removed, inboxChannel)
	if err != nil {
		return nil, fmt.Errorf("sending to the owner of account %q: %w", account, err)
	}
	whereabouts := make([]store.Whereabouts, len(messages))
	now := make(map[string]store.Whereabouts)
	for i, f := range before {
		is, again := now[ids[i]]
		if !again {
			switch {
			case f.Tracked:
				is = store.Tracked
			case f.Departed != nil && *f.Departed:
				is = store.Departed
			case f.Departed != nil:
				is = store.Removed
			}
			for _, kind := range f.Sent {
				is = is.After(kind)
			}
		}
		whereabouts[i] = is
		now[ids[i]] = is.After(kinds[i])
	}
	return whereabouts, nil
}

// Listen calls heard with the name of each account to which a message is sent, until the context ends. After it could
// not listen for some time, it calls heard with "": there may be messages for any account.
func (db *DB) Listen(ctx context.Context, heard func(account string)) {
	for ctx.Err() == nil {
		if err := db.listen(ctx, heard); err != nil && ctx.Err() == nil {
			db.log.Debug("Listening for messages of other replicas failed; they are looked for every second", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// listenPing is how long a silent connection counts as alive.
const listenPing = 10 * time.Second

func (db *DB) listen(ctx context.Context, heard func(account string)) error {
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
	if _, err := conn.Exec(ctx, "LISTEN "+inboxChannel); err != nil {
		return err
	}
	heard("")
	for {
		silent, cancel := context.WithTimeout(ctx, listenPing)
		n, err := conn.WaitForNotification(silent)
		cancel()
		switch {
		case err == nil:
			heard(n.Payload)
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
