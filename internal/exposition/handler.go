package exposition

import (
	"log/slog"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/common/expfmt"
)

// maxScrapes is the maximum number of scrapes at once.
const maxScrapes = 20

// Handler serves the metrics in the format and with the compression that the client accepts. It logs what could not be
// gathered, but no error of a client that went away.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	compressed, err := gzhttp.NewWrapper(
		gzhttp.ContentTypeFilter(gzhttp.CompressAllContentTypeFilter),
		gzhttp.CompressionLevel(1), // a scrape is short-lived: level 1 costs a third of the default's time
	)
	if err != nil {
		panic(err) // the options are constant
	}
	scrapes := make(chan struct{}, maxScrapes)
	return compressed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case scrapes <- struct{}{}:
			defer func() { <-scrapes }()
		default:
			http.Error(w, "Too many scrapes at once.", http.StatusServiceUnavailable)
			return
		}
		format := expfmt.NegotiateAccept(r.Header, formats...)
		w.Header().Set("Content-Type", string(format))
		if err := m.Write(w, format); err != nil && r.Context().Err() == nil {
			log.Error("Metrics are incomplete", "err", err)
		}
	}))
}
