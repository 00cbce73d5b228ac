//go:build e2e && linux

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// A worst body has a beginning, and then pieces up to a size.
type worst struct {
	start string
	piece func(i int) string
}

// worstBodies are the JSON documents that take most memory for a reader that keeps names,
// depths, strings, numbers or entries. Each begins with start.
func worstBodies(start string) map[string]worst {
	same := func(piece string) func(int) string { return func(int) string { return piece } }
	return map[string]worst{
		"names":   {start + `{"":0`, func(i int) string { return fmt.Sprintf(`,"%d":0`, i) }},
		"depth":   {start, same(`[`)},
		"objects": {start, same(`{"a":`)},
		"string":  {start + `"`, same("xxxxxxxx")},
		"number":  {start, same("11111111")},
		"space":   {start, same("        ")},
		"words":   {start + `{"words":[{}`, same(`,{"start":0,"end":1,"confidence":0.5,"speaker_id":"0"}`)},
		"speakers": {start + `{"words":[{}`, func(i int) string {
			return fmt.Sprintf(`,{"start":%d,"end":%d,"speaker_id":"%d"}`, i, i+1, i)
		}},
	}
}

// write writes size bytes of a body.
func (b worst) write(w io.Writer, size int) error {
	_, err := io.WriteString(w, b.start)
	var pieces bytes.Buffer
	for i := 0; err == nil && size > 0; {
		pieces.Reset()
		for ; pieces.Len() < 64<<10; i++ {
			pieces.WriteString(b.piece(i))
		}
		size -= pieces.Len()
		_, err = w.Write(pieces.Bytes())
	}
	return err
}

// doubled returns a body compressed with gzip twice, which is no JSON.
func (b worst) doubled(t *testing.T, size int) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(b.packed(t, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// packed returns a body compressed with gzip.
func (b worst) packed(t *testing.T, size int) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if err := b.write(w, size); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// confine moves a process into a new cgroup of so many bytes, version 1 or 2, and reports
// whether that is possible on this machine.
func confine(t *testing.T, pid int, limit int64) bool {
	t.Helper()
	// Only files that are there are written: a cgroup has them from the start. Any other
	// directory, as above the groups of version 1, is removed again.
	write := func(file string, n int64) bool {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return false
		}
		_, err = f.Write(strconv.AppendInt(nil, n, 10))
		return f.Close() == nil && err == nil
	}
	for _, version := range [][2]string{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		root := version[0]
		dir := filepath.Join(root, fmt.Sprintf("deepaffects-e2e-%d", pid))
		if os.Mkdir(dir, 0o700) != nil {
			continue
		}
		t.Cleanup(func() {
			write(filepath.Join(root, "cgroup.procs"), int64(pid)) // an occupied cgroup cannot be removed
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		if write(filepath.Join(dir, version[1]), limit) && write(filepath.Join(dir, "cgroup.procs"), int64(pid)) {
			return true
		}
	}
	return false
}

// Under the worst bodies, polled, posted, by webhook, and from files and URLs, all at once
// and for MEMORY seconds, the exporter lives in a cgroup of 256 MiB.
func TestMemoryInCgroup(t *testing.T) {
	const size, limit = 64 << 20, 256 << 20
	seconds := number(t, "MEMORY", 10)
	dir := t.TempDir()
	results, lists := worstBodies(`{"status":"Completed","response":{"response":`), worstBodies(`["a",`)
	var names []string
	for name := range results {
		names = append(names, name)
	}
	var ids []string
	for i := range 64 {
		ids = append(ids, strconv.Quote(names[i%len(names)]+"-"+strconv.Itoa(i)))
	}
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		bodies, name := results, r.URL.Query().Get("request_id")
		if name == "" {
			bodies, name = lists, filepath.Base(r.URL.Path)
		}
		name, _, _ = strings.Cut(name, "-")
		if body, found := bodies[name]; found {
			_ = body.write(w, size) // the exporter breaks it off
		} else {
			http.NotFound(w, r)
		}
	})
	var urls []string
	for name, body := range lists {
		urls = append(urls, strconv.Quote(api+"/"+name))
		file, err := os.Create(filepath.Join(dir, name+".ids"))
		if err != nil {
			t.Fatal(err)
		}
		if err := body.write(file, 60<<20); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`
[[inputs.deepaffects]]
  url = %q
  api_key = "a-long-key"
  webhook_token = "a-token-of-some-length"
  requests_per_minute = 0
  requests_per_day = 0
  refresh_interval = "1s"
  request_ids = [%s]
  request_id_urls = [%s]
  request_id_files = [%q]
`, api, strings.Join(ids, ", "), strings.Join(urls, ", "), filepath.Join(dir, "*.ids"))
	writeFile(t, config, text)
	address := freeport.Address(t)
	p := start(t, binary, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=error")
	confined := confine(t, p.Process.Pid, limit)
	awaitText(t, "http://"+address+"/-/ready", "ready")

	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	post := func(path, encoding string, body io.Reader) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, body)
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Content-Encoding", encoding)
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
		}
	}
	var attackers sync.WaitGroup
	for _, body := range worstBodies(`{"request_id":"a","response":`) {
		packed, doubled := body.packed(t, size-1<<20), body.doubled(t, size-1<<20)
		for range 4 {
			attackers.Go(func() {
				for ctx.Err() == nil {
					post("/webhook/a-token-of-some-length", "gzip", bytes.NewReader(packed))
					post("/webhook/a-token-of-some-length", "gzip", bytes.NewReader(doubled))
				}
			})
		}
	}
	for _, body := range lists {
		for range 2 {
			attackers.Go(func() {
				for ctx.Err() == nil {
					r, w := io.Pipe()
					go func() { w.CloseWithError(body.write(w, 30<<20)) }()
					post("/api/v1/jobs", "", r)
					r.Close()
				}
			})
		}
	}
	attackers.Wait()
	most := memory(t, p.Process.Pid, "VmHWM")
	t.Logf("at most %d MB, in a cgroup: %v", most, confined)
	if most > limit>>20 {
		t.Errorf("at most %d MB, want %d", most, limit>>20)
	}
	awaitText(t, "http://"+address+"/-/healthy", "healthy")
}
