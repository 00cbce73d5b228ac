//go:build e2e

// Package browser tests the pages in a real Chromium.
package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	binary       = "../../bin/deepaffects_exporter"
	axe          = "../../.cache/npm/node_modules/axe-core/axe.min.js"
	screenshots  = "../../.cache/screenshots"
	usualTimeout = 90 * time.Second // of await
)

// demo starts the exporter on its simulator, and returns its URL and a function that kills it.
func demo(t *testing.T) (base string, kill func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var output bytes.Buffer
	p := exec.Command(binary, "--demo", "--web.listen-address="+address, "--log.level=error")
	p.Stdout, p.Stderr = &output, &output
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	t.Cleanup(func() {
		kill()
		if t.Failed() {
			t.Logf("the exporter wrote:\n%s", &output)
		}
	})
	base = "http://" + address
	await(t, "the exporter", func() bool {
		resp, err := http.Get(base + "/-/ready")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return base, kill
}

// A browser is a tab with the problems that occurred in it.
type browser struct {
	context.Context
	mu       sync.Mutex // guards problems
	problems []string
}

func (b *browser) problem(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

func open(t *testing.T) *browser {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, // a test may run as root
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	tab, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{Context: tab}
	if err := chromedp.Do(tab); err != nil { // the browser lives as long as this context
		t.Fatalf("starting Chromium: %v", err)
	}
	console := chromedp.Console(tab)
	go func() {
		for m, err := range console {
			if err == nil && m.Type != chromedp.ConsoleLog &&
				m.Type != chromedp.ConsoleDebug && m.Type != chromedp.ConsoleInfo {
				b.problem("%s: %s %s", m.Type, m.Text, m.URL)
			}
		}
	}()
	dialogs := chromedp.Events(tab, page.JavascriptDialogOpening)
	go func() {
		for e, err := range dialogs {
			if err == nil {
				b.problem("a dialog opened: %s", e.Message)
			}
		}
	}()
	return b
}

func (b *browser) do(t *testing.T, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b, usualTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// run returns the value of an action.
func run[T any](t *testing.T, b *browser, what string, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b, usualTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return value
}

// eval returns the value of an expression in the page.
func eval[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	return run(t, b, expression, chromedp.Evaluate[T](expression))
}

// await waits until an expression is true in the page, even if another page loads meanwhile.
func (b *browser) await(t *testing.T, expression string) {
	t.Helper()
	await(t, expression, func() bool {
		holds, err := chromedp.Run(b, chromedp.Evaluate[bool](expression))
		return err == nil && holds
	})
}

// shoot saves a screenshot of the page at a width and colour scheme, and checks its width.
func (b *browser) shoot(t *testing.T, name string, width int64, scheme string) {
	t.Helper()
	if _, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		t.Fatal(err)
	}
	b.do(t, "sizing", chromedp.EmulateViewport(width, 800))
	png := run(t, b, "a screenshot of "+name, chromedp.FullScreenshot(100))
	b.fits(t, fmt.Sprintf("%s at width %d", name, width))
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// fits checks that the page does not scroll horizontally.
func (b *browser) fits(t *testing.T, name string) {
	t.Helper()
	if over := eval[int](t, b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
		t.Errorf("%s is %d pixels too wide", name, over)
	}
}

// views saves screenshots of the page: as it is by default, dark, and narrow in a colour scheme, which stays. It checks
// each with axe, and that at usual widths no region scrolls horizontally, and no job takes more than a few lines.
func (b *browser) views(t *testing.T, name, narrowScheme string) {
	t.Helper()
	for _, view := range []struct {
		suffix string
		width  int64
		scheme string
	}{{"", 1280, "light"}, {"-dark", 1280, "dark"}, {"-narrow", 360, narrowScheme}} {
		b.shoot(t, name+view.suffix, view.width, view.scheme)
		b.accessible(t, name+view.suffix)
	}
	for _, width := range []int64{360, 800, 1200, 1272, 1280} {
		b.do(t, "sizing", chromedp.EmulateViewport(width, 800))
		for _, problem := range eval[[]string](t, b, `[...document.querySelectorAll(".scroll")].
				filter(e => e.scrollWidth > e.clientWidth).map(e => e.getAttribute("aria-labelledby") + " is too wide").
				concat([...document.querySelectorAll(".list tbody tr")].filter(e => e.clientHeight > 200).
				map(e => "too high: " + e.textContent))`) {
			t.Errorf("%s at %d: %s", name, width, problem)
		}
	}
}

// widen ends what views began.
func (b *browser) widen(t *testing.T) {
	t.Helper()
	b.do(t, "widening", chromedp.EmulateViewport(1280, 800))
}

// awaitUpdate waits until the page updates itself.
func (b *browser) awaitUpdate(t *testing.T) {
	t.Helper()
	eval[string](t, b, `window.asOf = document.querySelector("#as-of").textContent`)
	b.await(t, `document.querySelector("#as-of").textContent !== window.asOf`)
}

// isTable checks that the accessibility tree contains a table, whatever its layout, with
// these columns, and a cell for each column in every row below the header.
func (b *browser) isTable(t *testing.T, name string, columns ...string) {
	t.Helper()
	tree, err := chromedp.Call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		t.Fatal(err)
	}
	text := func(v *accessibility.Value) (text string) {
		if v != nil {
			_ = json.Unmarshal(v.Value, &text)
		}
		return text
	}
	nodes := make(map[accessibility.NodeID]*accessibility.Node)
	for _, n := range tree.Nodes {
		nodes[n.NodeID] = n
	}
	var found []string
	rows, headers, cells := 0, 0, 0
	var walk func(*accessibility.Node)
	walk = func(n *accessibility.Node) {
		switch text(n.Role) {
		case "columnheader":
			found = append(found, text(n.Name))
		case "row":
			rows++
		case "rowheader":
			headers++
		case "cell":
			cells++
		}
		for _, id := range n.ChildIDs {
			if child := nodes[id]; child != nil {
				walk(child)
			}
		}
	}
	for _, n := range tree.Nodes {
		if text(n.Role) == "table" && text(n.Name) == name {
			walk(n)
		}
	}
	if !slices.Equal(found, columns) || rows < 2 || headers != rows-1 || cells != headers*(len(columns)-1) {
		t.Errorf("%q is a table with columns %q, %d rows, %d row headers, %d cells", name, found, rows, headers, cells)
	}
}

// accessible checks the page with axe against WCAG 2.2 AA.
func (b *browser) accessible(t *testing.T, name string) {
	t.Helper()
	library, err := os.ReadFile(axe)
	if err != nil {
		t.Fatal(err)
	}
	run(t, b, "loading axe", chromedp.Evaluate[any](string(library), chromedp.EvalIgnoreExceptions))
	found := run(t, b, "axe", chromedp.Evaluate[[]string](`
		axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).then(r =>
			r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html).slice(0, 3).join(" ")))`,
		chromedp.EvalAwaitPromise))
	for _, violation := range found {
		t.Errorf("%s: %s", name, violation)
	}
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), usualTimeout)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, usualTimeout)
		case <-ticker.C:
		}
	}
}

func register(t *testing.T, base string, jobs ...map[string]any) {
	t.Helper()
	body, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(base+"/api/v1/jobs", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("registering: HTTP %d", resp.StatusCode)
	}
}

// quote returns a JavaScript string literal.
func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// The pages load, update themselves, find a job and show it. They never interpret a
// request ID as markup.
func TestPages(t *testing.T) {
	base, _ := demo(t)
	b := open(t)
	b.do(t, "opening", chromedp.EmulateViewport(1200, 800), chromedp.Navigate(base+"/jobs"))

	// The page updates in place.
	eval[bool](t, b, "window.loadedOnce = true")
	register(t, base, map[string]any{"request_id": "has-come-since"})
	b.await(t, `document.querySelector("main").textContent.includes("has-come-since")`)
	if !eval[bool](t, b, "window.loadedOnce === true") {
		t.Error("the page was loaded again")
	}

	// The overview has tables, and charts with a text.
	b.do(t, "the overview", chromedp.Navigate(base))
	b.await(t, `document.querySelectorAll('[aria-labelledby="completed-0"] tbody tr').length > 5 &&
		document.querySelectorAll('[aria-labelledby="failed-0"] tbody tr').length > 2`)
	for selector, fewest := range map[string]int{".strip rect": 50, ".chart rect": 24, ".chart path": 5} {
		if n := eval[int](t, b, fmt.Sprintf("document.querySelectorAll(%s).length", quote(selector))); n < fewest {
			t.Errorf("%d times %s", n, selector)
		}
	}
	b.do(t, "opening the table", chromedp.Click("#by-hour-0 > summary"))
	b.awaitUpdate(t)
	if !eval[bool](t, b, `document.querySelector("#by-hour-0").open`) {
		t.Error("an update closes the table")
	}
	b.isTable(t, "By hour, as a table", "Hour (UTC)", "Completed", "Failed", "Lost", "Reserved requests")
	b.accessible(t, "the overview with the table")
	b.do(t, "closing the table", chromedp.Click("#by-hour-0 > summary"))
	b.views(t, "overview", "light")
	b.isTable(t, "Latest failed and lost jobs", "Job", "API", "State", "Error code", "Ended", "Duration")
	b.widen(t)

	// An update does not move the focus.
	b.do(t, "moving the focus", chromedp.Focus(`main a[href="/jobs?state=failed"]`))
	b.awaitUpdate(t)
	if focus := eval[string](t, b, `document.activeElement.getAttribute("href")`); focus != "/jobs?state=failed" {
		t.Errorf("the focus moved to %q", focus)
	}

	// "/" leads to the search. Times are shown in the local time, too, and IDs can be copied.
	if _, err := chromedp.Call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{
		Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/",
	}); err != nil {
		t.Fatal(err)
	}
	if focus := eval[string](t, b, `document.activeElement.id + document.activeElement.value`); focus != "search" {
		t.Errorf("the key / leads to %q", focus)
	}
	if _, err := chromedp.Call(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{
		TimezoneID: "Asia/Kolkata",
	}); err != nil {
		t.Fatal(err)
	}
	b.do(t, "in another time zone", chromedp.Navigate(base))
	for _, selector := range []string{"#as-of time", "main td time"} {
		const minutes = `((new Date(t.dateTime).getUTCHours() * 60 + new Date(t.dateTime).getUTCMinutes() + 330) % 1440)`
		if !eval[bool](t, b, fmt.Sprintf(`(t => t.dataset.local.match(/(\d\d):(\d\d):\d\d GMT\+5:30$/).slice(1).
			reduce((sum, n) => 60 * sum + +n, 0) === %s)(document.querySelector(%s))`, minutes, quote(selector))) {
			t.Errorf("%s has no local time", selector)
		}
	}
	b.do(t, "copying an ID", chromedp.Click("main tbody .copy"))
	b.await(t, `document.getElementById("note").textContent ===
		"Copied " + document.querySelector("main tbody .copy").previousElementSibling.textContent`)

	// With the keyboard only: open a job with a conversation.
	var jobs struct {
		Jobs []struct {
			RequestID  string `json:"request_id"`
			Statistics struct {
				BySpeaker []any `json:"by_speaker"`
				Words     int   `json:"words"`
			} `json:"statistics"`
		} `json:"jobs"`
	}
	id := ""
	await(t, "a conversation", func() bool {
		resp, err := http.Get(base + "/api/v1/jobs?state=completed&limit=1000")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&jobs); err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs.Jobs {
			// What the demo invents of the day before has no speakers.
			if len(j.Statistics.BySpeaker) > 1 && j.Statistics.Words > 50 {
				id = j.RequestID
			}
		}
		return id != ""
	})
	b.do(t, "searching", chromedp.Focus("#search"), chromedp.KeyEvent(id[:13]+"\r"))
	b.await(t, `location.pathname === "/jobs" && document.querySelectorAll("main tbody tr").length === 1`)
	b.accessible(t, "the list")
	b.do(t, "going to the job", chromedp.Focus("main tbody a"), chromedp.KeyEvent("\r"))
	b.await(t, `location.pathname === "/job" && document.querySelectorAll('svg[role="img"] path').length > 2`)
	if h1 := eval[string](t, b, `document.querySelector("h1").textContent`); h1 != "Job "+id {
		t.Errorf("the page is about %q, not %s", h1, id)
	}
	b.views(t, "job", "dark")
	// A click on the ID selects all of it.
	b.do(t, "clicking the ID", chromedp.Click("h1 bdi"))
	if selected := eval[string](t, b, `getSelection().toString()`); selected != id {
		t.Errorf("a click on the ID selects %q", selected)
	}
	eval[bool](t, b, `getSelection().removeAllRanges() || true`)
	b.widen(t)

	// Filter by state.
	b.do(t, "failed jobs", chromedp.Navigate(base+"/"), chromedp.Click(`main a[href="/jobs?state=failed"]`))
	b.await(t, `location.search === "?state=failed" && document.querySelectorAll("main tbody tr").length > 0 &&
		[...document.querySelectorAll("main tbody tr")].every(row => row.children[2].textContent === "failed")`)

	// Filter by a label, and sort, with a form that the page's updates leave alone.
	b.do(t, "choosing", chromedp.Navigate(base+"/jobs"), chromedp.SetValue(`select[name="label"]`, "language=en-US"),
		chromedp.SetValue(`select[name="sort"]`, "-duration"), chromedp.Click("header form button"))
	b.await(t, `location.search.includes("label=language%3Den-US") && document.querySelector("[aria-sort=ascending]") &&
		document.querySelectorAll("main tbody tr").length > 0 &&
		[...document.querySelectorAll("main tbody th")].every(th => th.textContent.includes("language=en-US"))`)
	b.views(t, "jobs", "dark")
	b.widen(t)

	// Hostile request IDs and labels.
	hostile := []string{
		`<img src=x onerror=alert(1)>`, `"><script>alert(1)</script>`, `' onmouseover='alert(1)`,
		`javascript:alert(1)`, `{{.}}`, `</title><b>`,
		"אבג-1-דהו", "مكالمة 7", "../../etc/passwd", "a?b=c&d#e", strings.Repeat("W", 128),
	}
	for _, id := range hostile {
		register(t, base, map[string]any{
			"request_id": id, "labels": map[string]string{"team": id, "language": `"><svg onload=alert(1)>`},
		})
	}
	b.do(t, "hostile jobs", chromedp.Navigate(base+"/jobs"))
	for _, id := range hostile {
		found := fmt.Sprintf(`[...document.querySelectorAll("main th a")].find(a => a.textContent === %s)`, quote(id))
		if !eval[bool](t, b, "!!"+found) {
			t.Errorf("%q is not in the list", id)
			continue
		}
		eval[bool](t, b, found+".click() || true")
		b.await(t, `location.pathname === "/job" && document.querySelector("h1")?.textContent === `+quote("Job "+id))
		const markup = `document.querySelectorAll("main img, main script, main b, main svg[onload]").length`
		if n := eval[int](t, b, markup); n != 0 {
			t.Errorf("%q was interpreted as markup", id)
		}
		b.fits(t, fmt.Sprintf("the page of %q", id))
		b.do(t, "back", chromedp.Navigate(base+"/jobs"))
		b.await(t, `location.pathname === "/jobs"`)
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		t.Error(problem)
	}
}

// If the exporter does not respond, the page shows that it is out of date.
func TestStale(t *testing.T) {
	base, kill := demo(t)
	b := open(t)
	b.do(t, "opening", chromedp.Navigate(base))
	if !eval[bool](t, b, `document.querySelector("#stale").hidden`) {
		t.Error("the page is marked as out of date at the start")
	}
	kill()
	b.await(t, `!document.querySelector("#stale").hidden && document.querySelector("main").textContent.includes("demo")`)
}

// A page that cannot be shown as it was asked for is up to date, too. What another server answers, such as a proxy, is
// not shown.
func TestOtherAnswers(t *testing.T) {
	base, _ := demo(t)
	b := open(t)
	b.do(t, "opening", chromedp.Navigate(base+"/jobs?state=bogus"))
	b.awaitUpdate(t)
	if !eval[bool](t, b, `document.querySelector("#stale").hidden`) {
		t.Error("the page of an error is marked as out of date")
	}
	for _, status := range []int{200, 404} {
		b.do(t, "opening", chromedp.Navigate(base))
		eval[bool](t, b, fmt.Sprintf(
			`!!(window.fetch = async () => new Response("<main>Log in</main>", { status: %d }))`, status))
		b.await(t, `!document.querySelector("#stale").hidden`)
		if !eval[bool](t, b,
			`!!document.querySelector("#as-of") && document.querySelector("main").textContent.includes("demo")`) {
			t.Errorf("a page of another server is shown, of status %d", status)
		}
	}
}
