package source_test

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/plugins/inputs"
	"github.com/influxdata/telegraf/plugins/inputs/filestat"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
)

// tree makes files whose only line is their path without "/" and ".ids".
func (d *fixture) tree(paths ...string) {
	d.t.Helper()
	for _, path := range paths {
		d.must(os.MkdirAll(filepath.Dir(d.path(path)), 0o700))
		d.write(path, `"`+idOf(path)+"\"\n")
	}
}

func idOf(path string) string {
	return strings.NewReplacer("/", "_", ".ids", "").Replace(path)
}

// found collects the files that Telegraf's filestat input finds.
type found struct {
	telegraf.Accumulator
	paths []string
}

func (f *found) AddFields(_ string, fields map[string]any, tags map[string]string, _ ...time.Time) {
	if fields["exists"] == int64(1) {
		f.paths = append(f.paths, tags["file"])
	}
}

// inTelegraf returns the regular files that Telegraf's own inputs find for a pattern.
func inTelegraf(t *testing.T, dir, pattern string) (paths []string) {
	t.Helper()
	input := inputs.Inputs["filestat"]().(*filestat.FileStat)
	input.Log = logger.New("inputs", "filestat", "")
	input.Files = []string{dir + "/" + pattern}
	var acc found
	if err := input.Gather(&acc); err != nil {
		t.Fatal(err)
	}
	for _, path := range acc.paths {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, rel)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// A pattern matches what it matches in Telegraf's own inputs.
func TestPatterns(t *testing.T) {
	files := []string{
		"a/top.ids", "a/x/one.ids", "a/x/y/two.ids", "a/x/y/other.txt", "n/apple.ids", "n/bob.ids", "n/Zoe.ids", "n/1.ids",
		"b/a.ids", "b/b.ids", "b/c.ids", "b/ab.ids", "b/.hidden.ids", "b/{a}.ids", "b/[a].ids", "b/a-b.ids",
	}
	for pattern, want := range map[string][]string{
		"a/*.ids":             {"a/top.ids"},
		"a/**.ids":            {"a/top.ids", "a/x/one.ids", "a/x/y/two.ids"},
		"a/**/*.ids":          {"a/x/one.ids", "a/x/y/two.ids"}, // Telegraf makes two ** of one
		"a/**":                {"a/top.ids", "a/x/one.ids", "a/x/y/other.txt", "a/x/y/two.ids"},
		"a/**/**":             {"a/top.ids", "a/x/one.ids", "a/x/y/other.txt", "a/x/y/two.ids"},
		"a/**/y/*.ids":        {"a/x/y/two.ids"},
		"a/*/*.ids":           {"a/x/one.ids"},
		"a/x/**/two.ids":      {"a/x/y/two.ids"},
		"**/one.ids":          {"a/x/one.ids"},
		"*/*.ids":             nil, // computed below
		"n/[!a]*.ids":         {"n/1.ids", "n/Zoe.ids", "n/bob.ids"},
		"n/[^a]*.ids":         {"n/1.ids", "n/Zoe.ids", "n/bob.ids"},
		"n/[!a-z]*.ids":       {"n/1.ids", "n/Zoe.ids"},
		"n/[a-b]*.ids":        {"n/apple.ids", "n/bob.ids"},
		"n/[!0-9A-Z]*.ids":    {"n/apple.ids", "n/bob.ids"},
		"n/?.ids":             {"n/1.ids"},
		"b/{a,b}.ids":         {"b/a.ids", "b/b.ids"},
		"b/{a,ab}.ids":        {"b/a.ids", "b/ab.ids"},
		"b/{a,{b,c}}.ids":     {"b/a.ids", "b/b.ids", "b/c.ids"},
		"{a/top,b/a}.ids":     {"a/top.ids", "b/a.ids"},
		"{a,n}/*.ids":         {"a/top.ids", "n/1.ids", "n/Zoe.ids", "n/apple.ids", "n/bob.ids"},
		"a/**/{one,two}.ids":  {"a/x/one.ids", "a/x/y/two.ids"},
		`b/\{a\}.ids`:         {"b/{a}.ids"},
		`b/\[a\].ids`:         {"b/[a].ids"},
		"b/[[]a].ids":         {"b/[a].ids"},
		"b/a[-]b.ids":         nil, // malformed for the library
		"b/*.{txt,ids}":       nil,
		"b/{a,b}*":            nil,
		"b/.*":                {"b/.hidden.ids"},
		"n/[!a]*.{ids,txt}":   {"n/1.ids", "n/Zoe.ids", "n/bob.ids"},
		"nowhere/**/*.ids":    {},
		"a/**/nothing/*.ids":  {},
		"b/a.ids":             {"b/a.ids"},
		"b/../b/a.ids":        {"b/a.ids"},
		"a/x/../../b/[a].ids": {"b/a.ids"},
	} {
		t.Run(url.QueryEscape(pattern), func(t *testing.T) {
			dir := t.TempDir()
			if _, err := source.NewFiles([]string{filepath.Join(dir, "x") + pattern}, source.Handler{}); err != nil {
				if found := inTelegraf(t, dir, pattern); len(found) > 0 {
					t.Errorf("%v, and Telegraf finds %q", err, found)
				}
				return
			}
			follow(t, func(d *fixture) { d.tree(files...) }, func(d *fixture) {
				found := inTelegraf(t, d.dir, pattern)
				if want != nil && !slices.Equal(found, want) {
					t.Errorf("Telegraf finds %q, want %q", found, want)
				}
				var wanted []string
				for _, path := range found {
					wanted = append(wanted, idOf(path))
				}
				slices.Sort(wanted)
				slices.Sort(d.ids)
				if !slices.Equal(d.ids, wanted) {
					t.Errorf("tracked %q, Telegraf finds %q", d.ids, wanted)
				}
			}, pattern)
		})
	}
}

func TestMalformedPatterns(t *testing.T) {
	for _, pattern := range []string{
		"/ids/[a", "/ids/a[", "/ids/[]", "/ids/[a-]", "/ids/[-a]", "/ids/{a,b", "/ids/{a,{b}", "/ids/a\\",
	} {
		if _, err := source.NewFiles([]string{pattern}, source.Handler{}); err == nil {
			t.Errorf("%s: no error", pattern)
		}
	}
}

// ** follows links, but not in a circle.
func TestPatternsWithLinks(t *testing.T) {
	follow(t, func(d *fixture) {
		d.tree("a/x/one.ids", "b/two.ids")
		for link, target := range map[string]string{
			"a/up": "..", "a/x/self": ".", "a/x/again": "../x", "a/x/b": "../../b", "b/a": "../a",
		} {
			d.must(os.Symlink(target, d.path(link)))
		}
	}, func(d *fixture) {
		slices.Sort(d.ids)
		if got := slices.Compact(d.ids); !slices.Equal(got, ids("a_x_one", "b_two")) {
			t.Errorf("tracked %q", got)
		}
	}, "a/**/*.ids")
}

// A pattern that matches nothing is told once: it may be a mistake.
func TestUnmatchedPatterns(t *testing.T) {
	follow(t, func(d *fixture) { d.must(os.Mkdir(d.path("empty"), 0o700)) }, func(d *fixture) {
		nothing := d.path("empty/*.ids") + ": matches nothing now; files are read as soon as they appear"
		nowhere := d.path("nowhere/{a,b}/**.ids") + ": there is no directory " + d.path("nowhere") +
			"; create it, or correct the pattern"
		d.expect(nil, ids(nowhere), false)
		d.lasting(nothing, nowhere)
		errs := source.Unmatched(d.patterns("empty/*.ids", "nowhere/{a,b}/**.ids"))
		if len(errs) != 2 || errs[0].Error() != nothing || errs[1].Error() != nowhere {
			t.Errorf("Unmatched: %q", errs)
		}
		d.must(d.files.SetPatterns(d.patterns("empty/*.ids")))
		d.pass(every)
		d.expect(nil, nil, true)
		d.lasting(nothing)
		d.write("empty/a.ids", "a\n")
		d.pass(every)
		d.expect(ids("a"), nil, true)
		d.lasting()
		if errs := source.Unmatched(d.patterns("empty/*.ids", "empty/a.ids")); len(errs) > 0 {
			t.Errorf("Unmatched: %q", errs)
		}
		d.remove("empty/a.ids")
		d.pass(every)
		d.lasting() // it is empty after its files were read
		d.forget()
		d.remove("empty")
		d.pass(every)
		d.expect(nil, ids(d.path("empty/*.ids")+": there is no directory "+d.path("empty")+
			"; create it, or correct the pattern"), false)
	}, "empty/*.ids", "nowhere/{a,b}/**.ids")
}
