package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// Listeners serve registration and webhooks at the service addresses of the
// accounts that have one, apart from what else a face serves: such an address can
// be shown to the vendor. They may be used by several goroutines at once.
type Listeners struct {
	collector *collector.Collector
	log       *slog.Logger

	mu      sync.Mutex // guards what follows
	servers map[string]*served
}

// A served is a server that listens.
type served struct {
	*http.Server
	listening sync.WaitGroup
}

// NewListeners returns listeners that serve a collector's accounts, and listens
// nowhere yet.
func NewListeners(c *collector.Collector, log *slog.Logger) *Listeners {
	return &Listeners{collector: c, log: log, servers: make(map[string]*served)}
}

// A Change is a new set of addresses, those of which that are new are listened
// at already. Exactly one of its methods is to be called.
type Change struct {
	listeners *Listeners
	wanted    map[string]bool
	opened    map[string]net.Listener
}

// Prepare listens at the service addresses of a configuration that are not served
// yet. The error names the address that cannot be had; nothing has changed then.
func (l *Listeners) Prepare(configs []collector.Config) (*Change, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change := &Change{listeners: l, wanted: make(map[string]bool), opened: make(map[string]net.Listener)}
	for _, config := range configs {
		address := config.ServiceAddress
		if address == "" || change.wanted[address] {
			continue
		}
		change.wanted[address] = true
		if l.servers[address] != nil {
			continue
		}
		opened, err := net.Listen("tcp", address)
		if err != nil {
			change.Discard()
			return nil, fmt.Errorf("account %q: service_address: %w; choose another", config.Account, err)
		}
		change.opened[address] = opened
	}
	return change, nil
}

// Discard closes what was opened.
func (c *Change) Discard() {
	for _, opened := range c.opened {
		_ = opened.Close() // nobody has connected
	}
}

// Apply serves what is new, and stops serving what is gone; requests under way
// there may still end until ctx does.
func (c *Change) Apply(ctx context.Context) {
	l := c.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	for address, opened := range c.opened {
		server := &served{Server: &http.Server{
			Handler:           l.handler(address),
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       time.Minute,
			WriteTimeout:      time.Minute,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          ErrorLog(l.log),
		}}
		LimitConnections(server.Server)
		l.servers[address] = server
		l.log.Info("Listening for registration and webhooks", "address", opened.Addr().String())
		server.listening.Go(func() {
			if err := server.Serve(opened); !errors.Is(err, http.ErrServerClosed) {
				l.log.Error("A listener for registration and webhooks ended", "address", address, "err", err)
			}
		})
	}
	for address, server := range l.servers {
		if !c.wanted[address] {
			server.shutDown(ctx)
			delete(l.servers, address)
		}
	}
}

// Stop stops serving; requests under way may still end until ctx does.
func (l *Listeners) Stop(ctx context.Context) {
	(&Change{listeners: l}).Apply(ctx)
}

// shutDown stops serving. The address is free then: a server that had not begun
// to listen yet when it was shut down has let go of it, too.
func (s *served) shutDown(ctx context.Context) {
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
	s.listening.Wait()
}

// handler serves one address. What it does not serve looks the same for all.
func (l *Listeners) handler(address string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(WebhookPattern, NewWebhooks(l.collector, l.log, address))
	posts := make(turns, postsAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/jobs" && !strings.HasPrefix(r.URL.Path, "/api/v1/jobs/") {
			mux.ServeHTTP(w, r)
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			token = ""
		}
		account := l.collector.JobsAccount(address, token)
		if account == nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="jobs"`)
			http.Error(w, "The jobs_token of an account is needed.", http.StatusUnauthorized)
			return
		}
		// The token says which account it is, and there is no other.
		own := newIntake(func() []*collector.Account { return []*collector.Account{account} }, l.log, posts)
		own.ServeHTTP(w, r)
	})
}
