// Package postgres is the storage engine on PostgreSQL, for several replicas: an account has one owner at a time, and
// what other replicas want of it goes into its inbox. docs/storage.md describes the tables, and the rights that a role
// needs.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

const (
	connectTimeout = 5 * time.Second  // unless the URL has connect_timeout
	sendTimeout    = 10 * time.Second // for what has no context and no lease
	poolSize       = 8                // connections, unless the URL has pool_max_conns
	maxLoads       = 3                // at once, so that commits find a connection
)

// A DB is a database that several replicas use, an engine. It is safe for use by several goroutines.
type DB struct {
	log *slog.Logger
	// pool is for all but control: leases must be renewed although all connections of pool wait.
	pool, control *pgxpool.Pool
	lease         string        // for which AgreeOnLease was called; empty: it was not
	loads         chan struct{} // holds a value for each load that is under way
	size          atomic.Int64  // of the database in bytes, when it was measured last
	measured      atomic.Pointer[time.Time]
	sendTimedOut  atomic.Bool
	departed      sync.Map // departedJobs by account, of accounts to which messages were sent
}

// Open connects to a database, and makes or migrates its tables. The URL is one of libpq, with all of its options. The
// error contains the remedy, and never the password.
func Open(ctx context.Context, database string, log *slog.Logger) (*DB, error) {
	return connect(ctx, database, log, (*DB).migrate)
}

// OpenToRead connects to a database as Open does, and changes nothing in it: tables that are missing or of an older
// version are an error.
func OpenToRead(ctx context.Context, database string, log *slog.Logger) (*DB, error) {
	return connect(ctx, database, log, (*DB).refuseOlder)
}

// connect connects to a database, and prepares it.
func connect(
	ctx context.Context, database string, log *slog.Logger, prepare func(*DB, context.Context) error,
) (*DB, error) {
	config, err := parse(database)
	if err != nil {
		return nil, err
	}
	db := &DB{log: log, loads: make(chan struct{}, min(maxLoads, (config.MaxConns+1)/2))}
	if db.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, explain(config, err)
	}
	control := config.Copy()
	control.MinConns, control.MinIdleConns, control.MaxConns = 0, 0, 6 // for some that hang beside others
	if db.control, err = pgxpool.NewWithConfig(ctx, control); err != nil {
		db.pool.Close()
		return nil, explain(config, err)
	}
	err = db.refusePooler(ctx)
	if err == nil {
		err = prepare(db, ctx)
	}
	if err != nil {
		_ = db.Close()
		return nil, explain(config, err)
	}
	return db, nil
}

// refusePooler returns an error if two connections share a session: there is a pooler that gives one to a client for a
// transaction. Settings of a session, prepared statements and notifications would be another client's.
func (db *DB) refusePooler(ctx context.Context) error {
	var sessions [2]uint32
	for i, pool := range []*pgxpool.Pool{db.pool, db.control} {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		query := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol)
		if err := query.Scan(&sessions[i]); err != nil {
			return fmt.Errorf("looking for a pooler: %w", err)
		}
	}
	if sessions[0] == sessions[1] {
		return errors.New("the database URL leads to a pooler that gives a session to a client for one transaction only; " +
			"set pool_mode = session in PgBouncer, or use the URL of the server")
	}
	return nil
}

// CheckURL returns an error if a text is not the URL of a database. It uses no network, and quotes nothing of the text.
func CheckURL(text string) error {
	if !IsURL(text) {
		return errors.New(`must begin with postgres:// or postgresql://; ` +
			`write a URL such as "postgres://user@host/database?sslmode=verify-full"`)
	}
	_, err := parse(text)
	return err
}

// IsURL reports whether a text has the scheme of the URL of a database.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// Shown returns where the URL of a database leads, to be shown. It is what pgx reads: net/url takes another @ for the
// end of the password.
func Shown(text string) string {
	config, err := parse(text)
	if err != nil {
		return "not shown"
	}
	c := config.ConnConfig
	hosts := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks {
		hosts = append(hosts, net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))))
	}
	return "postgres://" + strings.Join(slices.Compact(hosts), ",") + "/" + c.Database
}

// parse returns the configuration of the connections to a database.
func parse(database string) (*pgxpool.Config, error) {
	given, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, invalid(database, err)
	}
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, invalid(database, err)
	}
	if misread(given) {
		return nil, invalid(database, nil)
	}
	if given.RuntimeParams["pool_max_conns"] == "" {
		config.MaxConns = poolSize
	}
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "deepaffects-monitor"
	}
	c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite // a standby is of no use, whatever is configured
	if c.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		c.DefaultQueryExecMode = pgx.QueryExecModeExec // rows are read in binary
	}
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return uncancelable{conn}, nil
	}
	c.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		// The text is in the language of the server. Other warnings, such as one with each commit of a database that needs
		// VACUUM badly, say nothing about what was committed.
		if n.Routine == "SyncRepWaitForLSN" {
			conn.CustomData()[warned] = n.Message
		}
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// What is acknowledged must be durable, and what has waited for a row must go on. A plan that was made while a
		// table was small must not read all of it later: our statements find rows by key, but for those that read
		// everything of an account. None is worth compiling.
		ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout) // that of the pool does not end
		defer cancel()
		_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
			WHERE current_setting('synchronous_commit') IN ('off', 'local')
			UNION ALL SELECT set_config('default_transaction_isolation', 'read committed', false)
			UNION ALL SELECT set_config('plan_cache_mode', 'force_generic_plan', false)
			UNION ALL SELECT set_config('enable_seqscan', 'off', false)
			UNION ALL SELECT set_config('enable_hashjoin', 'off', false)
			UNION ALL SELECT set_config('enable_mergejoin', 'off', false)
			UNION ALL SELECT set_config('jit', 'off', false)
			UNION ALL SELECT set_config('client_min_messages', 'warning', false)`) // see OnNotice
		return err
	}
	return config, nil
}

// misread reports whether a part other than user and password has an @: one of these has a special character that is
// not encoded, and an error about the rest would quote a part of the password.
func misread(c *pgx.ConnConfig) bool {
	hasAt := func(s string) bool { return strings.Contains(s, "@") }
	for name, value := range c.RuntimeParams {
		if hasAt(name) || hasAt(value) && name != "application_name" && name != "options" {
			return true
		}
	}
	return hasAt(c.Host) || hasAt(c.Database) ||
		slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return hasAt(f.Host) })
}

// invalid returns the error about an invalid URL. That of pgx, if there is one, may quote a part of it, such as one of
// a password with a special character that is not encoded: only that about an option of a URL that is one is told.
func invalid(database string, err error) error {
	reason := "it is like postgres://user:password@host:5432/database, " +
		"with special characters of user and password percent-encoded"
	parsed, notURL := url.Parse(database)
	detail := ""
	if err != nil {
		_, detail, _ = strings.Cut(err.Error(), "`: ")
	}
	certain := notURL == nil && parsed.Host != "" && strings.Count(database, "@") <= 1 &&
		!strings.Contains(parsed.Path+parsed.RawQuery+parsed.Fragment, "@")
	if certain && detail != "" {
		password, _ := parsed.User.Password()
		secrets := []string{password, parsed.Query().Get("password"), parsed.Query().Get("sslpassword")}
		if !slices.ContainsFunc(secrets, func(s string) bool { return s != "" && strings.Contains(detail, s) }) {
			reason = detail
		}
	}
	return fmt.Errorf("the database URL is not valid: %s", reason)
}

// uncancelable is a connection whose statement cannot be canceled. pgx sends a cancel request when a connection breaks.
// If the transaction waits for a standby then, it would become visible although the standby does not have it.
type uncancelable struct{ net.Conn }

func (uncancelable) RemoteAddr() net.Addr { return nowhere{} }

type nowhere struct{}

func (nowhere) Network() string { return "none" }
func (nowhere) String() string  { return "" }

// warned is the key of the last warning in the custom data of a connection.
const warned = "warned"

// warning returns an error if the server warned, with the last statement of a connection, that the transaction is
// committed and the wait for the standby was canceled.
func warning(conn *pgx.Conn) error {
	data := conn.PgConn().CustomData()
	message, is := data[warned]
	delete(data, warned)
	if !is {
		return nil
	}
	return fmt.Errorf("the database warns: %s", message)
}

// failed looks at an error of a connection, and returns it. If one broke, others are broken, too, or lead to a server
// that is a standby now: none that is idle is used again. One whose caller did not wait for it, or that could not be
// made, says nothing about others.
func (db *DB) failed(ctx context.Context, err error) error {
	e, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil, errors.Is(err, store.ErrNotOwner), ctx.Err() != nil, errors.As(err, new(*pgconn.ConnectError)):
	case answered && e.SeverityUnlocalized == "ERROR" && e.Code != readOnly:
	default:
		db.reset()
	}
	return err
}

// reset lets no connection be used again that is idle now.
func (db *DB) reset() {
	db.pool.Reset()
	db.control.Reset()
}

// change runs a statement that changes something, and returns its rows. An error wraps store.ErrUnknown unless it is
// certain that nothing was changed.
func change[T any](
	ctx context.Context, db *DB, pool *pgxpool.Pool, to pgx.RowToFunc[T], sql string, args ...any,
) (result []T, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	_ = warning(conn.Conn()) // of an earlier statement
	rows, err := conn.Query(ctx, sql, args...)
	if err == nil {
		result, err = pgx.CollectRows(rows, to)
	}
	if err == nil {
		err = warning(conn.Conn())
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		db.reset() // it should take milliseconds: the way to the server is cut
	}
	_ = db.failed(ctx, err)
	e, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return result, nil
	case answered && e.SeverityUnlocalized == "ERROR", pgconn.SafeToRetry(err):
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

// Codes of errors, see PostgreSQL's appendix A.
const (
	readOnly             = "25006"
	invalidAuthorization = "28000"
	wrongPassword        = "28P01"
	noDatabase           = "3D000"
	noSchema             = "3F000"
	noRight              = "42501"
	rowLocked            = "55P03"
)

// A line is an error on one line: pgx has a line for each address that it tried, the same twice if it may try without
// TLS.
type line struct{ error }

func (l line) Error() string {
	var parts []string
	for part := range strings.Lines(l.error.Error()) {
		if part = strings.TrimSpace(part); !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Replace(strings.Join(parts, "; "), ":; ", ": ", 1)
}

func (l line) Unwrap() error { return l.error }

// explain makes an error of Open one line, and adds the remedy.
func explain(config *pgxpool.Config, err error) error {
	err = line{err}
	c := config.ConnConfig
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case wrongPassword, invalidAuthorization:
			return fmt.Errorf("the database refuses user %q: check user and password: %w", c.User, err)
		case noDatabase:
			return fmt.Errorf("there is no database %q: make it with CREATE DATABASE: %w", c.Database, err)
		case noRight, noSchema:
			return fmt.Errorf("user %q has no right to make or use the tables; make it the owner of database %q, "+
				"or GRANT CREATE, USAGE ON SCHEMA to it: %w", c.User, c.Database, err)
		}
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return fmt.Errorf("the certificate of the database is not valid: %w; check sslrootcert, and that the host of the URL "+
			"is a name in the certificate", err)
	}
	if errors.As(err, new(*pgconn.ConnectError)) {
		return fmt.Errorf("cannot reach the database: %w; check host and port of the URL, and whether the server runs", err)
	}
	return err
}

// Close closes all connections. What waits for them ends first.
func (db *DB) Close() error {
	db.pool.Close()
	db.control.Close()
	return nil
}

// Account returns an account to read, by a replica that does not own it.
func (db *DB) Account(name string) store.Account { return reader{db, store.Clean(name)} }

// Accounts returns the names of the accounts of which anything is stored, in order.
func (db *DB) Accounts(ctx context.Context) ([]string, error) {
	var selects []string
	for _, t := range tables {
		selects = append(selects, "SELECT account FROM "+t.name)
	}
	return db.names(ctx, strings.Join(selects, " UNION ")+" UNION SELECT account FROM inbox ORDER BY account")
}

// Senders returns the names of the accounts that have requests stored, in order.
func (db *DB) Senders(ctx context.Context) ([]string, error) {
	// DISTINCT would read all requests of all accounts: this looks one up for each account.
	return db.names(ctx, `WITH RECURSIVE senders AS (
		(SELECT account FROM requests ORDER BY account LIMIT 1)
		UNION ALL SELECT (SELECT account FROM requests WHERE account > senders.account ORDER BY account LIMIT 1)
			FROM senders WHERE account IS NOT NULL)
		SELECT account FROM senders WHERE account IS NOT NULL ORDER BY account`)
}

// Sender returns an account to load its totals and requests only.
func (db *DB) Sender(name string) store.Account { return sender{reader{db, store.Clean(name)}} }

func (db *DB) names(ctx context.Context, query string) ([]string, error) {
	rows, err := db.pool.Query(ctx, query)
	var names []string
	if err == nil {
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return nil, fmt.Errorf("reading the names of accounts: %w", db.failed(ctx, err))
	}
	return names, nil
}
