//go:build !race

package submission_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A generator is a document of a start and 4 MiB of pieces. It measures what its reader
// holds.
type generator struct {
	rest  []byte
	piece func(i int) string
	i     int
	size  int
	max   uint64 // bytes of live memory
}

func (g *generator) Read(p []byte) (int, error) {
	if len(g.rest) == 0 {
		if g.size >= 4<<20 {
			return 0, io.EOF
		}
		for len(g.rest) < 64<<10 {
			g.rest = append(g.rest, g.piece(g.i)...)
			g.i++
		}
		if (g.size+len(g.rest))>>20 > g.size>>20 {
			g.max = max(g.max, live())
		}
		g.size += len(g.rest)
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Whatever a document is like, what is held of it is bounded.
func TestMemory(t *testing.T) {
	same := func(piece string) func(int) string { return func(int) string { return piece } }
	names := func(i int) string { return fmt.Sprintf(`,"%d":""`, i) }
	for name, g := range map[string]generator{
		"names":           {rest: []byte(`[{"request_id":"a"`), piece: names},
		"names of labels": {rest: []byte(`[{"labels":{"":""`), piece: names},
		"ignored names":   {rest: []byte(`[{"message":{"":""`), piece: names},
		"depth":           {rest: []byte(`[{"message":`), piece: same(`[`)},
		"depth of names":  {rest: []byte(`[`), piece: same(`{"message":`)},
		"string":          {rest: []byte(`["`), piece: same("xxxxxxxx")},
		"name":            {rest: []byte(`[{"`), piece: same("xxxxxxxx")},
		"number":          {rest: []byte(`[`), piece: same("11111111")},
		"exponent":        {rest: []byte(`[1e`), piece: same("11111111")},
		"space":           {rest: []byte(`[`), piece: same("        ")},
		"IDs":             {rest: []byte(`["a"`), piece: func(i int) string { return fmt.Sprintf(`,"%x"`, i) }},
		"labels":          {rest: []byte(`["a"`), piece: same(`,{"request_id":"a","labels":{"a":""}}`)},
		"most labels": {rest: []byte(`["a"`), piece: func(int) string {
			text := `,{"request_id":"a","labels":{"":""`
			for i := range submission.MaxLabels - 1 {
				text += fmt.Sprintf(`,"%d":""`, i)
			}
			return text + "}}"
		}},
	} {
		for _, parser := range []struct {
			name  string
			parse func(io.Reader) error
			most  uint64
		}{
			{"document", func(r io.Reader) error {
				_, err := submission.ParseJSON(r, 100_000)
				return err
			}, submission.ParserMemory + 100_000*submission.EntryMemory},
			{"list", func(r io.Reader) (err error) {
				for _, err = range submission.ParseList(r, 1_000_000, func(job) error { return nil }, func(error) {}) {
				}
				return err
			}, submission.ParserMemory},
		} {
			t.Run(name+" as "+parser.name, func(t *testing.T) {
				g, before := g, live()
				err := parser.parse(&g)
				if held := max(g.max, before) - before; held > parser.most {
					t.Errorf("%d KiB held of %d MiB, the maximum is %d KiB", held>>10, g.size>>20, parser.most>>10)
				}
				if err == nil {
					t.Error("no error")
				}
			})
		}
	}
}
