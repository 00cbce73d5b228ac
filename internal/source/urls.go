package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

const (
	// offerInterval is the maximum time between two offers of an unchanged list. A list
	// that still names a job is why the job is remembered after its end: if it were
	// forgotten, the next offer would register it again.
	offerInterval = time.Hour
	fetchTimeout  = 30 * time.Second // including the body
	maxInFlight   = 4                // requests in flight, and bodies in memory
	maxBody       = 8 << 20          // bytes of an answer, some 200,000 IDs
	smallBody     = 1 << 20          // bytes; one larger body is in memory at a time
	chunkSize     = 64 << 10         // bytes
)

// URLs reads request IDs from URLs that answer with a JSON array.
type URLs struct {
	interval  time.Duration
	client    *http.Client
	header    func() (http.Header, error) // nil: none
	handler   Handler
	endpoints []*endpoint
	large     chan struct{} // has an element while a large body is in memory
}

// An endpoint is a URL. Only the goroutine of Run uses it, except that fetch reads url.
type endpoint struct {
	url  string // with all its secrets
	name string // what may be shown of it

	due     time.Time // zero before the end of the first fetch
	busy    bool      // a request is in flight
	healthy bool      // the last fetch succeeded and every job was accepted

	pending  body              // with jobs that Track has not accepted yet; nil: there is none
	accepted int               // number of its jobs that Track has accepted
	offered  time.Time         // when the whole list was last offered; zero: never
	known    bool              // a list was accepted
	sum      [sha256.Size]byte // of the body it came from
	version  validators        // of that body
	bad      badEntries        // in that body
	broken   error             // why that body is not a whole list

	failed   error // why the last fetch failed
	failures int   // that are not reported yet
}

// NewURLs returns a source for the URLs. Each is fetched at the interval, which must be
// positive, and up to a tenth earlier so that many processes do not fetch in step. The
// header is asked for before each request; its error must not quote a secret. The error has
// the number of an invalid URL: it may hold a secret anywhere.
func NewURLs(
	urls []string, transport http.RoundTripper, header func() (http.Header, error), interval time.Duration, h Handler,
) (*URLs, error) {
	client := &http.Client{
		Transport: transport,
		// A redirect would send on the header, and a token in the URL as Referer.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	u := &URLs{
		interval: interval, client: client, header: header, handler: h, large: make(chan struct{}, 1),
	}
	for i, text := range urls {
		parsed, err := outbound.ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d is not a URL such as https://example.com/ids.json", i+1)
		}
		name := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path, RawPath: parsed.RawPath}
		u.endpoints = append(u.endpoints, &endpoint{url: text, name: name.String()})
	}
	return u, nil
}

// Run fetches the URLs, at once and then at the interval, until ctx ends and no request is
// in flight. Call it once.
func (u *URLs) Run(ctx context.Context) {
	var fetching sync.WaitGroup
	defer fetching.Wait()
	results := make(chan result, maxInFlight)
	free := maxInFlight // places for a request, or a body that is pending
	timer := time.NewTimer(u.interval)
	defer timer.Stop()
	for ctx.Err() == nil {
		next := u.next(free > 0)
		for ; next != nil && time.Until(next.due) <= 0; next = u.next(free > 0) {
			if next.pending == nil {
				free--
			} else if !u.offer(ctx, next) { // pending jobs come before new ones
				u.reschedule(ctx, next)
				continue
			}
			next.busy = true
			r := result{endpoint: next}
			if !u.mustOffer(next) {
				r.version = next.version
			}
			fetching.Go(func() {
				r.err = u.fetch(ctx, &r)
				results <- r
			})
		}
		if next != nil {
			timer.Reset(time.Until(next.due))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case r := <-results:
			r.endpoint.busy = false
			u.handle(ctx, r)
			if r.endpoint.pending == nil {
				free++
			}
			u.reschedule(ctx, r.endpoint)
		}
	}
}

// next returns the endpoint that is due first; nil if requests to all are in flight. If no place is free, it must have
// one: with a body that is pending.
func (u *URLs) next(free bool) *endpoint {
	var next *endpoint
	for _, e := range u.endpoints {
		if !e.busy && (free || e.pending != nil) && (next == nil || e.due.Before(next.due)) {
			next = e
		}
	}
	return next
}

// mustOffer reports whether the next list of an endpoint is to be offered even if it has
// not changed.
func (u *URLs) mustOffer(e *endpoint) bool {
	return time.Since(e.offered) >= offerInterval-u.interval // no sum, which can overflow
}

// validators are the headers of an answer with which a later request can ask whether it
// has changed.
type validators struct{ etag, lastModified string }

// A result is how a fetch ended.
type result struct {
	endpoint  *endpoint
	version   validators // of the known body, if an unchanged one need not be sent again; then of this one
	unchanged bool       // the server says that the body is the known one, and does not send it
	body      body
	err       error // quotes neither the URL nor the answer
}

// A body is held in chunks: a buffer that grows would be there twice meanwhile.
type body [][]byte

func (b body) isLarge() bool { return len(b) > smallBody/chunkSize }

// drop ends the use of a body.
func (u *URLs) drop(b body) {
	if b.isLarge() {
		<-u.large
	}
}

// receive reads a body, which must be dropped later. A large one waits until no other is in memory. The error is that
// of the reader, or that the body is too long.
func (u *URLs) receive(ctx context.Context, r io.Reader) (b body, err error) {
	defer func() {
		if err != nil {
			u.drop(b)
			b = nil
		}
	}()
	for size := 0; size <= maxBody; {
		chunk, n := make([]byte, chunkSize), 0
		for n < chunkSize && err == nil { // not io.ReadFull, for which a body that is cut off is complete
			var read int
			read, err = r.Read(chunk[n:])
			n += read
		}
		if err != nil && err != io.EOF {
			return b, outbound.Cause(err)
		}
		grown := append(b, chunk[:n])
		if grown.isLarge() && !b.isLarge() {
			select {
			case u.large <- struct{}{}:
			case <-ctx.Done():
				return b, outbound.Cause(ctx.Err())
			}
		}
		b, size = grown, size+n
		if err == io.EOF && size <= maxBody {
			return b, nil
		}
	}
	return b, fmt.Errorf("the answer is longer than %d bytes", maxBody)
}

func (b body) reader() io.Reader {
	readers := make([]io.Reader, len(b))
	for i, chunk := range b {
		readers[i] = bytes.NewReader(chunk)
	}
	return io.MultiReader(readers...)
}

func (b body) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, chunk := range b {
		h.Write(chunk) // never fails
	}
	h.Sum(sum[:0])
	return sum
}

// fetch requests the URL of an endpoint, and uses nothing else of it.
func (u *URLs) fetch(ctx context.Context, r *result) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.endpoint.url, nil)
	if err != nil {
		return outbound.Cause(err)
	}
	req.Header.Set("Accept", "application/json")
	if u.header != nil {
		header, err := u.header()
		if err != nil {
			return err
		}
		maps.Copy(req.Header, header)
	}
	if r.version.etag != "" {
		req.Header.Set("If-None-Match", r.version.etag)
	}
	if r.version.lastModified != "" {
		req.Header.Set("If-Modified-Since", r.version.lastModified)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return outbound.Cause(err)
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusNotModified && r.version != validators{}:
		r.unchanged = true
		return nil
	case code >= 300 && code < 400 && code != http.StatusNotModified:
		return fmt.Errorf("answered %d %s; redirects are not followed, since the URL may hold a token: "+
			"configure the URL that it leads to", code, http.StatusText(code))
	case code != http.StatusOK:
		return fmt.Errorf("answered %d %s instead of 200 OK", code, http.StatusText(code))
	}
	r.version = validators{resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")}
	r.body, err = u.receive(ctx, resp.Body)
	return err
}

// handle processes the result of a fetch.
func (u *URLs) handle(ctx context.Context, r result) {
	e := r.endpoint
	e.healthy = false
	if ctx.Err() != nil {
		return // most likely the reason for an error
	}
	if e.failed = r.err; r.err != nil {
		e.failures++
		return
	}
	sum := r.body.sum()
	if r.unchanged || sum == e.sum && !u.mustOffer(e) {
		e.version = r.version
		u.drop(r.body)
		e.end(e.broken)
		return
	}
	e.pending, e.accepted, e.offered, e.sum, e.version = r.body, 0, time.Now(), sum, r.version
	u.offer(ctx, e)
}

// offer offers the pending jobs and reports whether all were accepted. The others stay
// pending: the URL may name only new jobs the next time.
func (u *URLs) offer(ctx context.Context, e *endpoint) bool {
	var bad badEntries
	skip := func(err error) { bad.add(1, fmt.Errorf("%s: %w", e.name, err)) }
	list := submission.ParseList(e.pending.reader(), maxEntries, u.handler.check, skip)
	accepted, broken, refused := u.handler.offer(ctx, submission.URL, !e.known, list, e.accepted)
	e.accepted = accepted
	if refused != nil {
		e.healthy = false
		return false
	}
	u.drop(e.pending)
	e.pending, e.known = nil, true
	e.bad.replace(bad)
	e.end(broken)
	return true
}

// end notes that all jobs of a body were accepted, and why it is not a whole list.
func (e *endpoint) end(broken error) {
	e.broken, e.failed = broken, broken
	if broken != nil {
		e.failures++
	}
	e.healthy = broken == nil && e.bad.fresh == 0
}

// reschedule sets when an endpoint is due again, and reports how all endpoints are.
func (u *URLs) reschedule(ctx context.Context, e *endpoint) {
	e.due = time.Now().Add(u.interval - rand.N(u.interval/10+1))
	unfetched := slices.ContainsFunc(u.endpoints, func(e *endpoint) bool { return e.due.IsZero() })
	unhealthy := slices.ContainsFunc(u.endpoints, func(e *endpoint) bool { return !e.healthy })
	if !unfetched && ctx.Err() == nil {
		u.handler.Looked(submission.URL, u.problems(), !unhealthy, 0)
	}
}

// problems returns what is wrong with the endpoints at present.
func (u *URLs) problems() (problems []Problem) {
	for i, e := range u.endpoints {
		var p Problem
		switch {
		case e.failed != nil:
			err := fmt.Errorf("%s: %w", e.name, e.failed)
			p = Problem{Key: err.Error(), Err: err, Count: 1, New: e.failures}
			e.failures = 0
		case e.bad.count > 0:
			p = e.bad.report()
		default:
			continue
		}
		p.Key = fmt.Sprint(i, " ", p.Key) // two URLs may differ in what is not shown
		problems = append(problems, p)
	}
	return problems
}
