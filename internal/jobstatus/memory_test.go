//go:build !race

package jobstatus_test

import (
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// heap returns the bytes of the heap that are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A repeated is a document of a size, made while it is read: a head, units with a number in the place of each #, and a
// tail. It looks at the heap on its way.
type repeated struct {
	head, unit, tail string
	size             int

	n, written, looked int
	rest               []byte
	most               uint64 // bytes of the heap in use, at most
	allocated          uint64 // at the end of the document
}

// allocated returns the bytes that were allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func (r *repeated) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.rest = r.next(r.rest[:0]); len(r.rest) == 0 {
			r.most, r.allocated = max(r.most, heap()), allocated()
			return 0, io.EOF
		}
		if r.written += len(r.rest); r.written >= r.looked {
			r.most, r.looked = max(r.most, heap()), r.looked+8<<20
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next makes the next part of the document, of some 64 KiB.
func (r *repeated) next(b []byte) []byte {
	if r.n == 0 {
		b = append(b, r.head...)
	}
	for len(b) < 64<<10 && r.written < r.size {
		r.n++
		before, after, numbered := strings.Cut(r.unit, "#")
		b = append(b, before...)
		if numbered {
			b = append(strconv.AppendInt(b, int64(r.n), 10), after...)
		}
	}
	if len(b) == 0 {
		b, r.tail = append(b, r.tail...), ""
	}
	return b
}

// No body of the maximum size makes the decoder hold much of it.
func TestMemory(t *testing.T) {
	const result = `{"status":"Completed","request_id":"r","response":{"request_id":"r","response":{`
	const words, segments = result + `"words":[{}`, result + `"segments":[{}`
	const long = "xxxxxxxxxxxxxxxx"
	for name, test := range map[string]struct {
		document repeated
		large    bool
	}{
		"names":               {repeated{head: `{"status":"Completed"`, unit: `,"name #":0`, tail: "}"}, false},
		"names of a result":   {repeated{head: result + `"a":0`, unit: `,"#":0`, tail: "}}}"}, false},
		"names of a word":     {repeated{head: result + `"words":[{"a":0`, unit: `,"#":0`, tail: "}]}}}"}, false},
		"depth":               {repeated{head: result + `"a":`, unit: `[`, tail: "}}}"}, false},
		"depth of objects":    {repeated{head: result + `"a":`, unit: `{"a":`, tail: "}}}"}, false},
		"a string":            {repeated{head: result + `"transcript":"`, unit: long, tail: `"}}}`}, false},
		"escapes":             {repeated{head: result + `"transcript":"`, unit: `\u0041\n\"`, tail: `"}}}`}, false},
		"a name":              {repeated{head: `{"`, unit: long, tail: `":0}`}, false},
		"a number":            {repeated{head: result + `"confidence":0.`, unit: "1111111111111111", tail: `}}}`}, false},
		"a request ID":        {repeated{head: `{"request_id":"`, unit: long, tail: `"}`}, false},
		"a status":            {repeated{head: `{"status":"`, unit: long, tail: `"}`}, false},
		"a speaker":           {repeated{head: result + `"words":[{"speaker_id":"`, unit: long, tail: `"}]}}}`}, false},
		"white space":         {repeated{head: `{`, unit: "                ", tail: `}`}, false},
		"empty words":         {repeated{head: words, unit: `,{}`, tail: "]}}}"}, false},
		"words":               {repeated{head: words, unit: `,{"start":1,"end":2,"confidence":1}`, tail: "]}}}"}, true},
		"words with speakers": {repeated{head: words, unit: `,{"start":1,"end":2,"speaker_id":#}`, tail: "]}}}"}, true},
		"segments":            {repeated{head: segments, unit: `,{"start":1,"end":2,"speaker_id":"#"}`, tail: "]}}}"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, webhook := range []bool{false, true} {
				for _, size := range []int{8 << 20, 200 << 10} {
					doc, most := test.document, uint64(jobstatus.ResultMemory)
					if doc.size = size; test.large && (size > 1<<20 || strings.Contains(doc.unit, "#")) {
						most = jobstatus.LargeResultMemory
					}
					before := heap()
					if webhook {
						doc.head = strings.Replace(doc.head, `"response":{"request_id":"r",`, "", 1)
						_, _ = jobstatus.ReadWebhook(&doc, func() {}, jobstatus.CompactTimings)
					} else {
						_, _ = jobstatus.DecodeStatus(&doc)
					}
					// What a result takes is allocated after the end.
					held := max(doc.most, before) - before
					if doc.allocated > 0 {
						held += allocated() - doc.allocated
					}
					if held > most {
						t.Errorf("webhook %v: %d KiB are held of %d KiB, the maximum is %d KiB", webhook, held>>10, size>>10, most>>10)
					}
					if after := heap(); after > before+1<<20 {
						t.Errorf("webhook %v: %d KiB are retained", webhook, (after-before)>>10)
					}
				}
			}
		})
	}
}
