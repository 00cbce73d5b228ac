package deepaffects

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/telegraf/plugins/parsers/influx"
)

// The README has the sample as it is, each field of a full result, and for example
// what a payload of the reference really gives.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	if !strings.Contains(readme, "\n```toml @sample.conf\n"+sampleConfig+"```\n") {
		t.Error("the configuration is not that of sample.conf; make docs writes it")
	}
	_, metrics, _ := strings.Cut(readme, "\n## Metrics\n")
	metrics, example, _ := strings.Cut(metrics, "\n## Example Output\n")
	parser := new(influx.Parser)
	if err := parser.Init(); err != nil {
		t.Fatal(err)
	}
	expected, err := os.ReadFile("testcases/asr/expected.out")
	if err != nil {
		t.Fatal(err)
	}
	want, err := parser.Parse(expected)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range want {
		for _, field := range m.FieldList() {
			if !strings.Contains(metrics, "- "+m.Name()+" (") || !strings.Contains(metrics, field.Key) {
				t.Errorf("the metrics lack %s.%s", m.Name(), field.Key)
			}
		}
	}
	example = strings.Trim(example, "\n")
	example = strings.TrimSuffix(strings.TrimPrefix(example, "```text\n"), "```")
	got, err := parser.Parse([]byte(strings.ReplaceAll(example, ",api=asr,", ",api=unknown,")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lines(t, want), lines(t, got)); diff != "" {
		t.Errorf("the example (-want +got):\n%s", diff)
	}
}
