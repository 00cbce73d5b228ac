// Package statuspage has the pages that a person looks at: how the accounts do,
// which jobs need a look, and what is known of each. They are rendered by the
// server, need nothing from elsewhere, and work without their little script.
package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

//go:embed *.html
var pages embed.FS

//go:embed style.css
var style string

//go:embed script.js
var script string

var templates = template.Must(template.New("pages").Funcs(functions).ParseFS(pages, "*.html"))

// policy lets the pages have their own style and script, ask this server, and have
// an empty icon, and nothing else.
var policy = "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) +
	"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// site is the pages of a collector.
type site struct {
	collector     *collector.Collector
	telemetryPath string
	version       string
}

// Paths are where a ServeMux is to serve the pages.
var Paths = []string{"/{$}", "/jobs", "/job"}

// New returns a handler of the pages. The path of the metrics and the version are
// shown on them.
func New(c *collector.Collector, telemetryPath string, version string) http.Handler {
	s := &site{c, telemetryPath, version}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", serve("overview.html", s.overview))
	mux.Handle("GET /jobs", serve("jobs.html", s.jobs))
	mux.Handle("GET /job", serve("job.html", s.job))
	return mux
}

// errNotFound says that what a page is about is not there.
var errNotFound = errors.New("not found")

// redirect is another page, instead of one's content.
type redirect string

// serve serves one page.
func serve(name string, content func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		data, err := content(r)
		if to, elsewhere := data.(redirect); elsewhere {
			http.Redirect(w, r, string(to), http.StatusSeeOther)
			return
		}
		if errors.Is(err, errNotFound) {
			status = http.StatusNotFound
		}
		var text bytes.Buffer
		if err := templates.ExecuteTemplate(&text, name, data); err != nil {
			http.Error(w, "The page cannot be written: "+err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write(text.Bytes()) // the reader may have gone
	})
}

func (s *site) frame(title string, q query) frame {
	for _, a := range s.collector.Accounts() {
		q.Accounts = append(q.Accounts, a.Name())
	}
	q.States = jobs.States[:]
	return frame{
		Title: title, Style: template.CSS(style), Script: template.JS(script), At: time.Now(),
		TelemetryPath: s.telemetryPath, Version: s.version, Query: q,
	}
}
