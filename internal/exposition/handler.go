package exposition

import (
	"io"
	"log/slog"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/common/expfmt"
)

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
	return compressed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		format := expfmt.NegotiateAccept(r.Header, formats...)
		w.Header().Set("Content-Type", string(format))
		client := &clientWriter{to: w}
		if err := m.Write(client, format); err != nil && !client.gone {
			log.Error("Metrics are incomplete", "err", err)
		}
	}))
}

// A clientWriter tells an error of the client from others.
type clientWriter struct {
	to   io.Writer
	gone bool // or too slow
}

func (w *clientWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.gone = w.gone || err != nil
	return n, err
}
