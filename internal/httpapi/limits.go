package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Limits of a process, for all its servers together. Each request and each connection costs
// memory, and a client that sends or reads slowly makes it cost that for long.
const (
	maxConnections = 2000 // each takes some kilobytes and a file descriptor
	maxRequests    = 500  // in handlers
	maxStreams     = 50   // requests at once on one HTTP/2 connection
	maxResponses   = 16   // scrapes, pages and lists that are rendered or sent
	// Bodies that are parsed at a time: of at most smallBody, which are received first, and
	// larger ones, which are parsed while they are received.
	maxSmallBodies   = 4
	maxRegistrations = 1
	maxWebhooks      = 8
	smallBody        = 16 << 10 // bytes
)

// What the bodies of requests take at most, in bytes. A small one may be a registration of 8,192 short IDs, or a
// webhook with gzip.
const (
	smallMemory        = 2 * jobstatus.ResultMemory
	registrationMemory = submission.ParserMemory + maxEntries*submission.EntryMemory + 2<<20 // the last is a commit's
	// Memory is the sum for all bodies that are parsed at a time, but for the one large result of a process.
	Memory = maxSmallBodies*smallMemory + maxWebhooks*jobstatus.ResultMemory + maxRegistrations*registrationMemory
)

// Limits bound what the clients of a process can occupy. The servers of a process share
// them.
type Limits struct {
	clients                                         *clients
	responses, smallBodies, registrations, webhooks *slots
}

// NewLimits returns the limits of a process.
func NewLimits() *Limits {
	return &Limits{
		// The other half is for files and for requests to the API.
		clients:       newClients(int(min(maxConnections, openFiles()/2)), maxRequests),
		responses:     newSlots(maxResponses, 250*time.Millisecond),
		smallBodies:   newSlots(maxSmallBodies, time.Second),
		registrations: newSlots(maxRegistrations, time.Second),
		webhooks:      newSlots(maxWebhooks, time.Second),
	}
}

// NewServer returns a server that slow, idle or malicious clients cannot occupy. A client
// must send its header within 10 seconds. Body and response have deadlines that follow
// progress. The numbers of connections and of requests are limited: beyond the limit, the
// one that has waited longest for its client is closed.
func (l *Limits) NewServer(handler http.Handler, logger *slog.Logger) *http.Server {
	type key struct{}
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _ := r.Context().Value(key{}).(net.Conn)
			l.clients.serve(w, r, conn, handler)
		}),
		ConnState: l.clients.changed,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, key{}, conn)
		},
		ReadHeaderTimeout: 10 * time.Second,
		// These apply before the first read of a body, and after the handler.
		ReadTimeout:    time.Minute,
		WriteTimeout:   time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			WriteByteTimeout:     5 * time.Second,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          10 * time.Second,
		},
		ErrorLog: log.New(&errorWriter{log: logger}, "", 0),
	}
}

// Responses limits how many responses of a handler are rendered or sent at a time.
func (l *Limits) Responses(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		release, ok := l.responses.acquire(r.Context())
		if !ok {
			tooMany(w, r)
			return
		}
		defer release()
		handler.ServeHTTP(w, r)
	})
}

// receive receives the body of a request, at most limit bytes, and takes a slot of large
// for it. A small body is received as a whole before it takes a slot, one of those for
// small bodies: it never waits for bodies of slow clients. The error is errTooMany, or a
// *submission.ReadError.
func (l *Limits) receive(r *http.Request, large *slots) (body io.ReadCloser, release func(), err error) {
	buffer := bufio.NewReaderSize(r.Body, smallBody)
	switch _, err := buffer.Peek(smallBody); err {
	case nil:
	case io.EOF:
		large = l.smallBodies
	default:
		return nil, nil, &submission.ReadError{Err: err}
	}
	release, ok := large.acquire(r.Context())
	if !ok {
		return nil, nil, errTooMany
	}
	return struct {
		io.Reader
		io.Closer
	}{buffer, r.Body}, release, nil
}

var errTooMany = errors.New("too many requests at once; try again")

func tooMany(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "60")
	fail(w, r, http.StatusServiceUnavailable, errTooMany.Error())
}

// errorWriter logs the errors of a server: panics at error level, connections that cannot be
// accepted too, at most once a minute, and mistakes of clients at debug level, because
// clients could fill the log with them.
type errorWriter struct {
	log      *slog.Logger
	accepted logLimiter
}

func (w *errorWriter) Write(p []byte) (int, error) {
	message := strings.TrimSpace(string(p))
	switch {
	case strings.HasPrefix(message, "http: panic serving"), strings.HasPrefix(message, "http2: panic serving"):
		w.log.Error(message)
	case strings.HasPrefix(message, "http: Accept error"):
		w.accepted.do(func(more int) {
			w.log.Error("Connections cannot be accepted", "err", message, "not_logged", more)
		})
	default:
		w.log.Debug(message)
	}
	return len(p), nil
}
