//go:build !race

package source_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// live returns the bytes of live memory.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// worstEntries are entries of which as many as fit make a list that takes much memory.
func worstEntries() map[string]string {
	labels := `{"request_id":"a","labels":{"":""`
	for i := range submission.MaxLabels - 1 {
		labels += fmt.Sprintf(`,"%0*d":"%s"`, submission.MaxLabelLength, i, strings.Repeat("x", submission.MaxLabelLength))
	}
	return map[string]string{"IDs": `"a"`, "labels": `{"request_id":"a","labels":{"a":""}}`, "most labels": labels + "}}"}
}

// A meter is a handler that measures what its source holds. It accepts some batches, and refuses all others.
type meter struct {
	before  uint64
	max     uint64
	accepts int
	batches atomic.Int64
}

func (m *meter) handler() source.Handler {
	m.before = live()
	return source.Handler{
		Track: func(context.Context, submission.Source, []submission.Job, bool) error {
			if n := m.batches.Add(1); n%100 == 1 {
				m.max = max(m.max, live())
			}
			if m.accepts--; m.accepts < 0 {
				return errors.New("the disk is full")
			}
			return nil
		},
		Looked: func(submission.Source, []source.Problem, bool, int64) { m.max = max(m.max, live()) },
	}
}

func (m *meter) check(t *testing.T, most uint64) {
	t.Helper()
	if held := max(m.max, m.before) - m.before; held > most || m.batches.Load() == 0 {
		t.Errorf("%d KiB held after %d batches, the maximum is %d KiB", held>>10, m.batches.Load(), most>>10)
	}
}

// list returns a JSON array of at least so many bytes.
func list(entry string, size int) string {
	return "[" + strings.Repeat(entry+",", size/(len(entry)+1)) + `"b"]`
}

// What the files hold is bounded, however large they are, and whether their jobs are accepted or not.
func TestFilesMemory(t *testing.T) {
	for name, entry := range worstEntries() {
		for format, file := range map[string]string{
			"array": list(entry, 4<<20),
			"lines": strings.Repeat(entry+"\n", (1<<20)/(len(entry)+1)),
		} {
			t.Run(name+" as "+format, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "ids")
				if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
					t.Fatal(err)
				}
				m := &meter{accepts: 1 << 30}
				h := m.handler()
				ctx, cancel := context.WithCancel(t.Context())
				looked := h.Looked
				h.Looked = func(from submission.Source, problems []source.Problem, ok bool, left int64) {
					looked(from, problems, ok, left)
					cancel()
				}
				files, err := source.NewFiles([]string{path}, h)
				if err != nil {
					t.Fatal(err)
				}
				files.Run(ctx)
				m.check(t, source.FilesMemory)
			})
		}
	}
}

// The same is so for URLs, also for lists that were received and cannot be stored.
func TestURLsMemory(t *testing.T) {
	var addresses []string
	for i := range 8 {
		addresses = append(addresses, fmt.Sprint("http://", i))
	}
	for name, entry := range worstEntries() {
		t.Run(name, func(t *testing.T) {
			bodies := []string{list(entry, 1_000<<10), list(entry, 4<<20)}
			synctest.Test(t, func(t *testing.T) {
				m := &meter{accepts: 2}
				var fetched atomic.Int64
				urls, err := source.NewURLs(addresses, server(func(*http.Request) (*http.Response, error) {
					return reply(200, bodies[fetched.Add(1)%2]), nil
				}), nil, time.Minute, m.handler())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				urls.Run(ctx)
				m.check(t, source.URLsMemory)
			})
		})
	}
}

// A list ends at its millionth entry.
func TestURLsMemoryOfTooManyEntries(t *testing.T) {
	long := server(func(*http.Request) (*http.Response, error) {
		return reply(200, "["+strings.Repeat(`"a",`, 1_000_000)+`"a"]`), nil
	})
	fetch(t, long, func(j *recorder) {
		if len(j.ids) != 1_000_000 {
			t.Errorf("%d jobs, want 1000000", len(j.ids))
		}
		j.expect(j.ids, ids("https://example.com/ids: too many entries: more than 1000000"), false)
	}, address)
}
