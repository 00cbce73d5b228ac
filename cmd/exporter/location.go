package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
)

// A location is where the endpoints are. Its paths have no slash at their end.
type location struct {
	external *url.URL // nil: not known
	base     string   // path as browsers see it
	prefix   string   // path as the exporter sees it
}

// location returns what --web.external-url and --web.route-prefix mean.
func (f *flags) location() (location, error) {
	var l location
	if f.externalURL != "" {
		u, err := outbound.ParseURL(f.externalURL)
		if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return l, errors.New("--web.external-url: not a URL such as https://example.com/deepaffects")
		}
		l.external, l.base = u, strings.TrimRight(u.Path, "/")
	}
	l.prefix = l.base
	if f.routePrefix != "" {
		l.prefix = strings.TrimRight("/"+strings.Trim(f.routePrefix, "/"), "/")
	}
	for _, option := range []struct{ name, path string }{
		{"--web.external-url", l.base}, {"--web.route-prefix", l.prefix},
	} {
		p := option.path
		if p != "" && path.Clean(p) != p || strings.ContainsAny(p, "{} \t?#%") {
			return l, errors.New(option.name + ": the path must be plain, such as /deepaffects")
		}
	}
	if f.externalURL == "" {
		l.base = l.prefix
	}
	return l, nil
}

// checkLinks checks the URLs that the pages link to. They may have a query and a fragment, as those of dashboards do.
func (f *flags) checkLinks() error {
	for _, option := range []struct{ name, url, example string }{
		{"--web.grafana-url", f.grafanaURL, "https://grafana.example.com/d/deepaffects"},
		{"--web.alertmanager-url", f.alertmanagerURL, "https://alertmanager.example.com"},
	} {
		if u, err := outbound.ParseURL(option.url); option.url != "" && (err != nil || u.User != nil) {
			return fmt.Errorf("%s: not a URL such as %s", option.name, option.example)
		}
	}
	return nil
}

// replicaURL returns where browsers find the pages of this process, as far as it knows: with --web.config.file there
// may be TLS, and systemd knows where its sockets listen.
func (f *flags) replicaURL() string {
	l, err := f.location()
	switch {
	case err != nil:
		return "" // validate reports it
	case l.external != nil:
		return strings.TrimRight(l.external.String(), "/") + "/"
	}
	host, err := os.Hostname()
	if err != nil || *f.web.WebConfigFile != "" || *f.web.WebSystemdSocket {
		return ""
	}
	for _, address := range *f.web.WebListenAddresses {
		at, port, err := net.SplitHostPort(address)
		if err == nil && at != "localhost" && !net.ParseIP(at).IsLoopback() {
			return "http://" + net.JoinHostPort(host, port) + l.base + "/"
		}
	}
	return ""
}

// mount returns a handler that serves h, whose paths have no prefix, at the location.
func (l location) mount(h http.Handler) http.Handler {
	if l.prefix == "" {
		return h
	}
	below := http.StripPrefix(l.prefix, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/" || r.URL.Path == l.prefix:
			http.Redirect(w, r, l.base+"/", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, l.prefix+"/"):
			below.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}
