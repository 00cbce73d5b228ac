package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// DefaultAskInterval is how often URLs are asked.
const DefaultAskInterval = time.Minute

const (
	// mentionInterval is how long jobs that are still named may go without being
	// offered again. A list that has not changed teaches nothing new, but that it
	// still names a job is why an ended one is remembered: were it forgotten, its
	// next mention would make it a new one.
	mentionInterval = time.Hour
	askTimeout      = 30 * time.Second // to the last byte of the answer
	maxAtOnce       = 4                // requests under way, and bodies held, at most
)

// URLs reads request IDs from URLs that answer with a JSON array.
type URLs struct {
	every     time.Duration
	client    *http.Client
	handler   Handler
	endpoints []*endpoint
}

// endpoint is a URL. It belongs to the goroutine of Run, but for what ask is given.
type endpoint struct {
	url  string // with all its secrets
	name string // what may be shown of it

	due     time.Time
	busy    bool
	asked   bool              // at least once
	healthy bool              // whether all went well when it was last asked
	left    []submission.Job  // that Track did not take
	offered time.Time         // when all jobs were offered; zero: never
	sum     [sha256.Size]byte // of the body that they came from
	version validators        // of that body
}

// NewURLs returns a source for the URLs. Each is asked every `every`, or every
// DefaultAskInterval where that is not positive, and up to a tenth earlier, so
// that many of these do not ask in step. The client's transport is used, and its
// redirect policy is not; nil stands for a client with defaults. The error names
// a URL that cannot be asked, without its query and user.
func NewURLs(urls []string, client *http.Client, every time.Duration, h Handler) (*URLs, error) {
	if every <= 0 {
		every = DefaultAskInterval
	}
	if client == nil {
		client = &http.Client{}
	}
	own := *client
	// A URL may hold a token, which a redirect would send on as Referer.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	u := &URLs{every: every, client: &own, handler: h}
	for _, text := range urls {
		parsed, err := url.Parse(text)
		sound := err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Hostname() != ""
		if sound && parsed.Port() != "" { // of which net/url takes any number
			_, err := strconv.ParseUint(parsed.Port(), 10, 16)
			sound = err == nil
		}
		if !sound {
			return nil, fmt.Errorf("%q is not a URL such as https://example.com/ids.json", redact(text))
		}
		name := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path, RawPath: parsed.RawPath}
		u.endpoints = append(u.endpoints, &endpoint{url: text, name: name.String()})
	}
	return u, nil
}

// redact returns what may be shown of a text that is not a URL, so that it is
// not certain where in it the secrets are.
func redact(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || scheme != "http" && scheme != "https" {
		scheme, rest = "", text
	} else {
		scheme += "://"
	}
	shown, query := rest, ""
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		shown, query = rest[:i], rest[i:]
	}
	if strings.Contains(query, "@") {
		return scheme + "…" // the question mark may be part of a password
	}
	return scheme + shown[strings.LastIndexByte(shown, '@')+1:]
}

// Run asks the URLs, at once and then again and again, until ctx ends and no
// request is under way any more. Run it once.
func (u *URLs) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	answers := make(chan answer, maxAtOnce)
	free := maxAtOnce
	timer := time.NewTimer(u.every)
	defer timer.Stop()
	for ctx.Err() == nil {
		for free > 0 {
			e := u.next()
			if e == nil || time.Until(e.due) > 0 {
				break
			}
			if !u.offer(ctx, e) { // what is left from before comes first
				u.ended(ctx, e)
				continue
			}
			e.busy = true
			free--
			q := question{version: e.version}
			if time.Since(e.offered)+u.every >= mentionInterval {
				q = question{mention: true}
			}
			asking.Go(func() { answers <- u.ask(ctx, e, q) })
		}
		if e := u.next(); e != nil && free > 0 {
			timer.Reset(time.Until(e.due))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case a := <-answers:
			free++
			a.endpoint.busy = false
			u.hear(ctx, a)
			u.ended(ctx, a.endpoint)
		}
	}
}

// next returns the endpoint that is to be asked next; nil where all are being asked.
func (u *URLs) next() *endpoint {
	var next *endpoint
	for _, e := range u.endpoints {
		if !e.busy && (next == nil || e.due.Before(next.due)) {
			next = e
		}
	}
	return next
}

// hear takes in what an endpoint has answered.
func (u *URLs) hear(ctx context.Context, a answer) {
	e := a.endpoint
	e.healthy = false
	sum := sha256.Sum256(a.body)
	switch {
	case ctx.Err() != nil:
		return // which is why the answer is an error, most likely
	case a.err != nil:
		u.problem(e, a.err)
		return
	case a.unchanged:
		e.healthy = true
		return
	case sum == e.sum && !a.question.mention:
		e.healthy, e.version = true, a.version
		return
	}
	body := bytes.TrimPrefix(a.body, []byte(bom))
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		u.problem(e, errors.New("the answer is not a JSON array"))
		return
	}
	jobs, err := submission.ParseJSON(bytes.NewReader(body), maxEntries)
	if err != nil {
		u.problem(e, err)
		return
	}
	e.left, e.offered, e.sum, e.version = jobs, time.Now(), sum, a.version
	e.healthy = u.offer(ctx, e)
}

// offer offers what is left to offer, and tells whether all of it was taken.
// What was not is kept rather than asked for again: a URL may answer with what
// is new only.
func (u *URLs) offer(ctx context.Context, e *endpoint) bool {
	taken, err := u.handler.offer(ctx, submission.URL, e.left)
	if e.left = e.left[taken:]; err != nil {
		e.healthy = false
		return false
	}
	e.left = nil
	return true
}

// ended says when the endpoint is to be asked again, and whether all is well.
func (u *URLs) ended(ctx context.Context, e *endpoint) {
	e.due = time.Now().Add(u.every - rand.N(u.every/10+1))
	e.asked = true
	unasked := slices.ContainsFunc(u.endpoints, func(e *endpoint) bool { return !e.asked })
	sick := slices.ContainsFunc(u.endpoints, func(e *endpoint) bool { return !e.healthy })
	if !unasked && ctx.Err() == nil {
		u.handler.Looked(submission.URL, !sick)
	}
}

func (u *URLs) problem(e *endpoint, err error) {
	u.handler.Problem(submission.URL, 1, fmt.Errorf("%s: %w", e.name, err))
}
