package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// Listeners serve registration and webhooks at the service addresses of accounts, and
// nothing else, so that such an address can be exposed to the vendor. They may be used by
// several goroutines at once.
type Listeners struct {
	collector *collector.Collector
	limits    *Limits
	log       *slog.Logger

	mu      sync.Mutex // guards servers
	servers map[string]*server
}

// A server serves one address.
type server struct {
	*http.Server
	serving sync.WaitGroup
}

// NewListeners returns listeners for the accounts of a collector. They do not listen yet.
func NewListeners(c *collector.Collector, limits *Limits, log *slog.Logger) *Listeners {
	return &Listeners{collector: c, limits: limits, log: log, servers: make(map[string]*server)}
}

// Prepared is a set of addresses to serve. The new ones are bound, and not served yet. The
// caller must call exactly one of its methods.
type Prepared struct {
	listeners *Listeners
	wanted    map[string]bool
	bound     map[string]net.Listener
}

// Prepare binds the service addresses of a configuration that are not served yet. The error
// names the address that cannot be bound; nothing has changed then.
func (l *Listeners) Prepare(configs []collector.Config) (*Prepared, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &Prepared{listeners: l, wanted: make(map[string]bool), bound: make(map[string]net.Listener)}
	for _, config := range configs {
		address := config.ServiceAddress
		if address == "" || p.wanted[address] {
			continue
		}
		p.wanted[address] = true
		if l.servers[address] != nil {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			p.Discard()
			if own := l.sharesPort(address); own != "" {
				err = fmt.Errorf("%s overlaps with %s, where this process listens until a change succeeds; "+
					"choose another port, or restart: %w", address, own, err)
			} else {
				err = fmt.Errorf("%w; choose another", err)
			}
			return nil, fmt.Errorf("account %q: service_address: %w", config.Account, err)
		}
		p.bound[address] = listener
	}
	return p, nil
}

// sharesPort returns an address that is served at the port of another; empty without one.
func (l *Listeners) sharesPort(address string) string {
	_, port, _ := net.SplitHostPort(address) // Validate reports its error
	for own := range l.servers {
		if _, p, _ := net.SplitHostPort(own); p == port && p != "0" {
			return own
		}
	}
	return ""
}

// Discard releases the new addresses.
func (p *Prepared) Discard() {
	for _, listener := range p.bound {
		_ = listener.Close() // nothing was accepted
	}
}

// Apply serves the new addresses and stops serving those that are not wanted any more.
// Requests in flight there may finish until ctx ends.
func (p *Prepared) Apply(ctx context.Context) {
	l := p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	for address, listener := range p.bound {
		s := &server{Server: l.limits.NewServer(l.handler(address), l.log)}
		l.servers[address] = s
		l.log.Info("Listening for registration and webhooks", "address", listener.Addr().String())
		s.serving.Go(func() {
			if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				l.log.Error("Listener for registration and webhooks failed", "address", address, "err", err)
			}
		})
	}
	for address, s := range l.servers {
		if !p.wanted[address] {
			s.shutDown(ctx)
			delete(l.servers, address)
		}
	}
}

// Stop stops serving. Requests in flight may finish until ctx ends.
func (l *Listeners) Stop(ctx context.Context) {
	(&Prepared{listeners: l}).Apply(ctx)
}

// shutDown stops serving, and returns when the address is free.
func (s *server) shutDown(ctx context.Context) {
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
	s.serving.Wait() // Serve may start after Shutdown, and closes the listener then
}

// handler returns the handler of an address. Paths that it does not serve get the same response as others below
// /api/v1/, or elsewhere.
func (l *Listeners) handler(address string) http.Handler {
	webhooks := NewWebhooks(l.collector, l.limits, l.log, address, "")
	// The token names the account, and the request may use no other.
	type key struct{}
	jobs := newAPI(func(r *http.Request) []*collector.Account {
		return []*collector.Account{r.Context().Value(key{}).(*collector.Account)}
	}, l.limits, NewOrigins(nil), l.log, Options{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if webhooks.Takes(r) {
			webhooks.ServeHTTP(w, r)
			return
		}
		if !isJobs(r.URL.Path) {
			notFound(w, r)
			return
		}
		token := bearer(r)
		account := l.collector.JobsAccount(address, token)
		if account == nil {
			wrongToken(token, "an account at this address").write(w)
			return
		}
		jobs.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, account)))
	})
}
