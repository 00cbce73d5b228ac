package deepaffects

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/plugins/parsers/influx"
	serializer "github.com/influxdata/telegraf/plugins/serializers/influx"
)

var update = flag.Bool("update", false, "write expected.out again")

// whenAsked are fields that depend on when the job was asked about, as times do:
// they must be there, and are not compared.
var whenAsked = []string{"age_seconds", "duration_seconds", "detection_window_seconds", "oldest_unfinished_age_seconds"}

// lines returns points as sorted lines, with what depends on when the job was
// asked about at 0.
func lines(t *testing.T, metrics []telegraf.Metric) []string {
	t.Helper()
	s := &serializer.Serializer{SortFields: true}
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range metrics {
		m = m.Copy()
		m.SetTime(time.Unix(0, 0))
		for _, field := range whenAsked {
			if m.HasField(field) {
				m.AddField(field, 0.0)
			}
		}
		line, err := s.Serialize(m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(line)))
	}
	slices.Sort(all)
	return all
}

// Every payload of the vendor's reference, through Telegraf's own loader and
// accumulator: what the API answers, or a webhook brings, to points.
func TestCases(t *testing.T) {
	cases, err := filepath.Glob("testcases/*/telegraf.conf")
	if err != nil || len(cases) < 21 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, err := load(t, string(text))
			if err != nil {
				t.Fatal(err)
			}
			webhooks, err := filepath.Glob(filepath.Join(dir, "webhooks/*.json"))
			if err != nil {
				t.Fatal(err)
			}
			var got []telegraf.Metric
			synctest.Test(t, func(t *testing.T) {
				p := start(t, input, answers(filepath.Join(dir, "responses")), true)
				defer p.stop()
				if len(p.plugin.RequestIDs) > 0 {
					p.polled()
				}
				for _, file := range webhooks {
					body, err := os.Open(file)
					if err != nil {
						t.Fatal(err)
					}
					defer body.Close()
					if _, err := p.plugin.account.Webhook(body, false); err != nil {
						t.Fatal(err)
					}
				}
				p.gather(t)
				synctest.Wait()
				got = p.take()
			})
			expected := filepath.Join(dir, "expected.out")
			if *update {
				if err := os.WriteFile(expected, []byte(strings.Join(lines(t, got), "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err = os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			parser := new(influx.Parser)
			if err := parser.Init(); err != nil {
				t.Fatal(err)
			}
			want, err := parser.Parse(text)
			if err != nil || len(want) == 0 {
				t.Fatalf("%d points, %v", len(want), err)
			}
			if diff := cmp.Diff(lines(t, want), lines(t, got)); diff != "" {
				t.Errorf("points (-want +got):\n%s", diff)
			}
		})
	}
}
