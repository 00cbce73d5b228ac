// Package statuspage is the page that a person looks at: how the accounts do,
// and which jobs need a look. It is rendered by the server, and needs no script
// and nothing from elsewhere.
package statuspage

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"html/template"
	"net/http"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

//go:embed page.html
var html string

//go:embed style.css
var style string

var page = template.Must(template.New("page").Funcs(functions).Parse(html))

// policy lets the page have its own style and an empty icon, and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// New returns a handler of the page, which is at / alone. The path of the
// metrics and the version are shown on it.
func New(c *collector.Collector, telemetryPath string, version string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/":
			http.NotFound(w, r)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		var text bytes.Buffer
		if err := page.Execute(&text, view(c, telemetryPath, version)); err != nil {
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(text.Bytes()) // the reader may have gone
	})
}
