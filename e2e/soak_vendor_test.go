//go:build e2e && soak && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A soakKind is what becomes of a job. Its name is the first part of the request ID.
type soakKind struct {
	name  string
	state string // at the end; empty: any
	words int    // in its result
	polls int    // that the API answers before with first
	first string
	last  string
	hook  string // its webhook; empty: none
}

const (
	running  = `{"status":"Running"}`
	fault    = `{"status":"Failed","response":{"response":{"fault":{"detail":{"error_code":"com.deepaffects.BadRequest"}}}}}`
	hookBody = `{"request_id":"ID","response":{"words":[{"start":0,"end":1},{"start":1,"end":2},{"start":2,"end":3}]}}`
)

// completed is a result of three words with this confidence.
func completed(confidence string) string {
	words := strings.Repeat(`{"word":"x","start":0,"end":1,"confidence":`+confidence+`},`, 3)
	return `{"status":"Completed","response":{"response":{"words":[` + strings.TrimSuffix(words, ",") + `]}}}`
}

// soakKinds are all kinds. The first eight have no webhook.
var soakKinds = []soakKind{
	{name: "completed", state: "completed", words: 3, polls: 2, first: running, last: completed(`0.9`)},
	{name: "failed", state: "failed", polls: 1, first: running, last: fault},
	{name: "nan", state: "completed", words: 3, last: "\ufeff" + completed(`NaN`)},
	{name: "latin", state: "completed", words: 3, last: strings.ReplaceAll(completed(`"0.9"`), "x", "\xe9\\ud800")},
	{name: "novel", state: "completed", words: 3, polls: 2, first: `{"status":"Queued"}`, last: completed(`0.9`)},
	{name: "missing", state: "completed", words: 3, polls: 2, last: completed(`0.9`)}, // at first not found
	{name: "truncated", last: completed(`0.9`)[:80]},
	{name: "endless", last: running},
	{name: "hook", state: "completed", words: 3, last: running, hook: hookBody},
	{name: "both", state: "completed", words: 3, polls: 2, first: running, last: completed(`0.9`), hook: hookBody},
	// The webhook contradicts the API, when the job has ended.
	{name: "late", state: "completed", words: 3, last: completed(`0.9`),
		hook: `{"request_id":"ID","fault":{"detail":{"error_code":"com.deepaffects.BadRequest"}}}`},
}

func kindOf(id string) soakKind {
	name, _, _ := strings.Cut(id, "-")
	for _, k := range soakKinds {
		if k.name == name {
			return k
		}
	}
	return soakKind{last: running}
}

// soakQuotas are the quotas of the keys.
var soakQuotas = map[string]struct{ minute, day int }{
	"key-main": {minute: 1200}, "key-minute": {minute: 20}, "key-day": {day: 40}, "key-reset": {day: 40},
}

// A vendor is the API, and knows what it was asked.
type vendor struct {
	url    string
	strict bool // it also says that the day's quota is used up

	mu      sync.Mutex // guards what follows
	asked   map[string]int
	over    map[string]time.Time // when a webhook about the job was acknowledged
	sent    map[string][]time.Time
	names   []string // in the list of request IDs
	weather string   // how the API fails; empty: it does not
	errs    []error
	begun   time.Time
	events  []string // what may explain too many requests, and when
}

func newVendor(t *testing.T, strict bool) *vendor {
	v := &vendor{
		strict: strict,
		asked:  make(map[string]int), over: make(map[string]time.Time), sent: make(map[string][]time.Time),
		begun: time.Now(),
	}
	v.url = serve(t, v.answer)
	return v
}

// answer answers one request.
func (v *vendor) answer(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	if r.URL.Path == "/ids.json" {
		v.answerList(w)
		return
	}
	id, key := r.URL.Query().Get("request_id"), r.URL.Query().Get("apikey")
	v.mu.Lock()
	v.sent[key] = append(v.sent[key], at)
	weather := v.weather
	if over, known := v.over[id]; known && at.Sub(over) > 10*time.Second {
		v.errs = append(v.errs, fmt.Errorf("%s was polled %s after its end", id, at.Sub(over)))
	}
	if weather == "" {
		v.asked[id]++
	}
	n := v.asked[id]
	v.mu.Unlock()
	k := kindOf(id)
	code, body := http.StatusOK, k.last
	if n <= k.polls {
		body = k.first
		if k.first == "" {
			code = http.StatusNotFound
		}
	}
	switch weather {
	case "":
	case "slow":
		<-time.After(time.Second) // a slow answer
	case "silent":
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
		return
	case "reset":
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
		return
	case "HTML":
		body = "<html>"
	case "half":
		w.Header().Set("Content-Length", "1000")
		body = `{"status":"Completed","respo`
	default:
		code, body = map[string]int{"402": 402, "429": 429, "401": 401, "500": 500, "503": 503}[weather], ""
	}
	w.WriteHeader(code)
	fmt.Fprint(w, body)
}

func (v *vendor) answerList(w http.ResponseWriter) {
	v.mu.Lock()
	text, err := json.Marshal(append([]string{}, v.names...))
	v.mu.Unlock()
	switch rand.IntN(6) {
	case 0:
		err = errors.New("broken")
	case 1:
		text = text[:len(text)/2]
	case 2:
		<-time.After(time.Second) // a slow answer
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(text)
}

// list adds a request ID to the list.
func (v *vendor) list(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.names = append(v.names, id)
}

// ended notes that a webhook about the end of a job was acknowledged.
func (v *vendor) ended(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.over[id]; !known {
		v.over[id] = time.Now()
	}
}

// change changes how the API fails.
func (v *vendor) change(ctx context.Context) {
	set := func(weather string) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.weather = weather
	}
	defer set("")
	every(ctx, 8*time.Second, func(int) {
		weathers := []string{"slow", "silent", "reset", "HTML", "half", "500", "503", "401", "429", "402"}
		if !v.strict { // a refusal for the day's quota is believed for an hour, and there is no restart
			weathers = weathers[:len(weathers)-1]
		}
		set(weathers[rand.IntN(len(weathers))])
		wait(ctx, rand.N(2*time.Second))
		set("")
	})
}

func (v *vendor) requests() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, sent := range v.sent {
		n += len(sent)
	}
	return n
}

// note notes an event for the errors of check.
func (v *vendor) note(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, fmt.Sprintf("%s: %s", time.Since(v.begun).Round(time.Millisecond), what))
}

// watchItself notes when the vendor had no time to run: it notes the requests of then too late.
func (v *vendor) watchItself(ctx context.Context) {
	const pause = 50 * time.Millisecond
	for last := time.Now(); ctx.Err() == nil; last = time.Now() {
		wait(ctx, pause)
		if late := time.Since(last) - pause; late > time.Second/2 {
			v.note(fmt.Sprintf("the vendor had no time to run for %s", late))
		}
	}
}

// check returns an error if the API was asked too often.
func (v *vendor) check() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	errs := v.errs
	for key, sent := range v.sent {
		q := soakQuotas[key]
		for i := range sent {
			if q.minute == 0 || i < q.minute || sent[i].Sub(sent[i-q.minute]) >= time.Minute {
				continue
			}
			within := 0 // requests of the minute that begins with the first
			for _, at := range sent[i-q.minute:] {
				if at.Sub(sent[i-q.minute]) < time.Minute {
					within++
				}
			}
			errs = append(errs,
				fmt.Errorf("%s: %d requests within %s, and %d within the minute; the first of them at %s; events:\n%s",
					key, q.minute+1, sent[i].Sub(sent[i-q.minute]), within, sent[i-q.minute].Sub(v.begun),
					strings.Join(v.events, "\n")))
			break
		}
		if q.day > 0 && len(sent) > q.day {
			errs = append(errs, fmt.Errorf("%s: %d requests in a day", key, len(sent)))
		}
	}
	return errors.Join(errs...)
}
