// Package statuspage serves the pages for people: the state of the accounts, the jobs that need attention, the details
// of each job, and the runbooks. They are rendered by the server, load nothing from elsewhere, and work without their
// script.
package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

//go:embed *.html
var pages embed.FS

//go:embed style.css
var style string

//go:embed script.js
var script string

var templates = template.Must(template.New("pages").Funcs(functions).ParseFS(pages, "*.html"))

// policy allows the pages their own style and script, requests to this server and an icon in the page, and nothing
// else.
var policy = "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) +
	"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Options are what the pages show beside a collector.
type Options struct {
	// Base is the path of the pages as browsers see it, without a slash at its end.
	Base          string
	TelemetryPath string // of the metrics
	Version       string
	// Grafana and Alertmanager are URLs to link to; empty: none.
	Grafana, Alertmanager string
	ReloadError           func() error // of the last reload of the configuration; nil: there is none
}

// site serves the pages of a collector.
type site struct {
	collector *collector.Collector
	Options
}

// Paths are the patterns of the pages for a ServeMux.
var Paths = []string{"/{$}", "/jobs", "/job", "/runbooks"}

// New returns a handler of the pages.
func New(c *collector.Collector, options Options) http.Handler {
	s := &site{c, options}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", serve("overview.html", s.overview))
	mux.Handle("GET /jobs", serve("jobs.html", s.jobs))
	mux.Handle("GET /job", serve("job.html", s.job))
	mux.Handle("GET /runbooks", serve("runbooks.html", s.runbooks))
	return mux
}

// serve serves one page: content returns its data and status, or the address of another page and StatusSeeOther.
func serve(name string, content func(*http.Request) (data any, status int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, status := content(r)
		if status == http.StatusSeeOther {
			http.Redirect(w, r, data.(string), status)
			return
		}
		var text bytes.Buffer
		if err := templates.ExecuteTemplate(&text, name, data); err != nil {
			http.Error(w, "The page cannot be rendered: "+err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write(text.Bytes()) // the client may have disconnected
	})
}

func (s *site) frame(title string) frame {
	return frame{site: s, Title: title, At: time.Now(), Icon: string(idle)}
}
