package httpapi

import (
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"
)

// answer serves what a route answers: a status and what becomes the JSON body,
// nil for none, or an error. One that is no refusal means that the register
// could not be written.
func (in *intake) answer(route func(http.ResponseWriter, *http.Request) (status int, body any, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body, err := route(w, r)
		if err == nil {
			in.write(w, status, body)
			return
		}
		refused, ok := errors.AsType[*refusal](err)
		if !ok {
			// The collector has said so, once: it is not said again for each caller.
			in.log.Debug("A request could not be carried out", "method", r.Method, "err", err)
			refused = refuse(http.StatusServiceUnavailable, "the register cannot be written now; try again")
		}
		in.refuse(w, r, refused)
	})
}

func (in *intake) refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	in.log.Debug("A request was refused", "method", r.Method, "status", why.status, "err", why.text)
	in.write(w, why.status, struct {
		Error string `json:"error"`
	}{why.text})
}

func (in *intake) write(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if body == nil {
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		in.log.Error("An answer cannot be written as JSON", "err", err)
		status, text = http.StatusInternalServerError, []byte(`{"error":"internal server error"}`)
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the caller may have gone
}

// errorsAsJSON puts an answer of its own in place of a plain-text error.
type errorsAsJSON struct {
	http.ResponseWriter
	refuse func(status int)
}

func (e *errorsAsJSON) WriteHeader(status int) { e.refuse(status) }

func (e *errorsAsJSON) Write(text []byte) (int, error) { return len(text), nil }
