package httpapi

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Origins are the origins of web pages that may write. It refuses requests that browsers
// send for pages of other sites, and also for pages whose own name has been made to resolve
// to this server (DNS rebinding): there, origin and Host header agree. So the origin must be
// localhost, an IP address or the external URL. Requests without an origin come from no
// web page, and are not restricted.
type Origins struct {
	protection *http.CrossOriginProtection
	external   string // host name of the external URL
}

// NewOrigins returns the origins for an external URL; nil: none is known.
func NewOrigins(external *url.URL) *Origins {
	o := &Origins{protection: http.NewCrossOriginProtection()}
	if external != nil {
		o.external = external.Hostname()
		// A proxy may send another Host header.
		_ = o.protection.AddTrustedOrigin(external.Scheme + "://" + external.Host) // fails for no URL with a host
	}
	return o
}

var (
	errCrossSite = errors.New("cross-site requests of browsers are refused")
	errRebinding = errors.New("browsers may write only at localhost, an IP address or --web.external-url")
)

// Check returns why a request is refused.
func (o *Origins) Check(r *http.Request) error {
	if o.protection.Check(r) != nil {
		return errCrossSite
	}
	origin := r.Header.Get("Origin") // browsers send it with every request that may write
	if origin == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil {
		return errRebinding
	}
	name := strings.ToLower(u.Hostname())
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		o.external != "" && strings.EqualFold(name, o.external) {
		return nil
	}
	return errRebinding
}

// Handler refuses requests before a handler sees them.
func (o *Origins) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := o.Check(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
