package configfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	_ "github.com/influxdata/telegraf/plugins/inputs/filestat"
	_ "github.com/influxdata/telegraf/plugins/outputs/discard"
	_ "github.com/influxdata/telegraf/plugins/processors/rename"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/deepaffects"
)

// readers return the account of a file with one table.
var readers = map[string]func(path string) (collector.Config, error){
	"exporter": func(path string) (collector.Config, error) {
		file, err := configfile.Load(path)
		if err != nil {
			return collector.Config{}, err
		}
		return file.Accounts[0], nil
	},
	"execd": func(path string) (collector.Config, error) {
		o := options.Default()
		if _, err := configfile.LoadPlugin(path, &o); err != nil {
			return collector.Config{}, err
		}
		return o.Config()
	},
	"Telegraf": func(path string) (collector.Config, error) {
		config.ResetSecrets()
		c := config.NewConfig()
		if err := c.LoadConfig(path); err != nil {
			return collector.Config{}, err
		}
		if err := c.LinkSecrets(); err != nil {
			return collector.Config{}, err
		}
		for _, input := range c.Inputs {
			if plugin, ok := input.Input.(*deepaffects.DeepAffects); ok {
				return plugin.Config()
			}
		}
		return collector.Config{}, errors.New("no deepaffects input")
	},
}

// forms has values of each type of option, as they stand in a file.
var forms = map[string][]string{
	"string": {
		`"text"`, `'text'`, `"""text"""`, `""`, `" text "`, `"text\n"`, `"caf\u00e9"`, "\"\xff\"", "\"text\" # \xff",
		`"$SET"`, `"${SET}"`, `'${SET}'`, `"a${SET}b$SET"`, `"$$SET"`, `"a$b$"`, `"${UNSET}"`, `"$UNSET"`, `"${NESTED}"`,
		`"${UNSET:-text}"`, `"${UNSET-text}"`, `"${UNSET:-${SET}}"`, `"${UNSET:-${UNSET:-text}}"`, `"${SET:+text}"`,
		`"${EMPTY}"`, `"${EMPTY:-text}"`, `"${EMPTY-text}"`, `"${UNSET:?text}"`, `"${SET:?text}"`,
		`"${"`, `"${}"`, `"${1}"`, `"${SET"`, `7`, `7.5`, `true`, `[]`, `["text"]`,
	},
	"array": {
		`[]`, `["text"]`, `["a", "b"]`, `["$SET", "${UNSET:-${SET}}"]`, `["${UNSET}"]`, `["text",]`, `[""]`,
		"[\n  \"a\", # b\n  \"c\"\n]", `"text"`, `[7]`, `["text", 7]`, `[["text"]]`, `7`,
	},
	"bool": {`true`, `false`, `"true"`, `1`, `[]`},
	"number": {
		`7`, `0`, `-1`, `7.0`, `7.5`, `0.5`, `1_000`, `7e1`, `1e-9`, `9223372036854775808`, `"7"`, `"7.5"`, `"many"`,
		`"${NUMBER}"`, `"$NUMBER"`, `"${UNSET:-8}"`, `"${UNSET}"`, `""`, `"${EMPTY}"`, `true`, `[7]`,
	},
	"duration": {
		`"90s"`, `"7d"`, `"1d12h"`, `"1.5d"`, `"1h30m"`, `10`, `1.5`, `7e1`, `"10"`, `"1.5"`, `"${NUMBER}s"`, `"${NUMBER}"`,
		`0`, `"0s"`, `-3`, `"-3s"`, `""`, `"often"`, `"10 s"`, `true`, `["10s"]`,
	},
	"headers": {
		`{}`, `{ "X-Token" = "text" }`, `{ X-Token = "a", "X-Other" = "b" }`, `{ Authorization = "Bearer ${SET}" }`,
		`{ "X-Token" = "${UNSET}" }`, `{ "X-Token" = "$SET" }`, `{ "X-Token" = "${UNSET:-${SET}}" }`, `{ "X-Token" = "" }`,
		`{ "X-Token" = "caf\u00e9" }`, `{ "X-Token" = "a\nb" }`, `{ "X-Token" = "text\n" }`, `{ "X Token" = "text" }`,
		`{ Host = "text" }`, `{ "Content-Length" = "7" }`, `{ x-token = "a", X-Token = "b" }`,
		`{ "X-Token" = "@{store:key}" }`,
		`"text"`, `["text"]`, `[{ "X-Token" = "text" }]`, `{ "X-Token" = ["text"] }`, `{ "X-Token" = { "a" = "b" } }`,
		`7`, `true`,
	},
	"size": {
		`"64M"`, `"64MB"`, `"64MiB"`, `"64mib"`, `"64 MiB"`, `"1.5GiB"`, `1000000`, `1_000_000`, `"1000000"`,
		`"${NUMBER}KiB"`, `0`, `"0"`, `-1`, `"-1MB"`, `5.5`, `"5.5"`, `5.0`, `1e6`, `""`, `"lots"`, `true`, `["1MB"]`,
		`"99999999999EiB"`,
	},
}

// kind returns the key of forms for an option.
func kind(field any) string {
	switch field.(type) {
	case *string, *config.Secret:
		return "string"
	case *[]string:
		return "array"
	case *bool, **bool:
		return "bool"
	case *options.Number, *options.Integer:
		return "number"
	case *config.Duration:
		return "duration"
	case *options.Size:
		return "size"
	case *map[string]*config.Secret:
		return "headers"
	}
	return ""
}

// meaning is a configuration as text.
func meaning(c collector.Config) string {
	tls, proxied := c.TLS, c.Proxy != nil
	c.TLS, c.Proxy = nil, nil
	c.WordPoints = false // the exporter has none
	return fmt.Sprintf("%+v %v %v %v %v %d %v", c,
		tls.MinVersion, tls.ServerName, tls.InsecureSkipVerify, tls.Renegotiation, len(tls.CipherSuites), proxied)
}

// lint checks that promtool accepts what an account exports.
func lint(t *testing.T, text string, c collector.Config) {
	t.Helper()
	monitor, err := collector.New([]collector.Config{c}, collector.Options{})
	if err != nil {
		t.Errorf("%q: %v", text, err)
		return
	}
	defer monitor.Stop(t.Context())
	job := submission.Job{RequestID: "a", API: "asr", Labels: make(map[string]string)}
	for _, name := range c.JobLabels {
		job.Labels[name] = "text"
	}
	if _, _, err := monitor.Accounts()[0].Register(submission.HTTP, []submission.Job{job}); err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	if err := exposition.New(monitor, prometheus.NewRegistry()).Write(&page, format); err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(&page).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%q: promtool refuses the metrics: %v, %v", text, problems, err)
	}
}

// Each option in each form means the same to the exporter, the execd plugin and
// Telegraf's own loader, or all of them refuse it.
func TestOneMeaning(t *testing.T) {
	logger.RedirectLogging(io.Discard)
	config.DisableSecretProtection()
	t.Setenv("SET", "value")
	t.Setenv("EMPTY", "")
	t.Setenv("NUMBER", "7")
	t.Setenv("NESTED", "${SET}")
	path := filepath.Join(t.TempDir(), "telegraf.conf")
	linted := make(map[string]bool)
	// accepted compares the results of all readers, and reports whether they accept the file.
	accepted := func(text string) bool {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for who, read := range readers {
			c, err := read(path)
			if err == nil {
				got[who] = meaning(c)
			}
			if err == nil && who == "exporter" && !linted[got[who]] {
				linted[got[who]] = true
				lint(t, text, c)
			}
		}
		if got["exporter"] != got["Telegraf"] || got["execd"] != got["Telegraf"] {
			t.Errorf("%q means %q", text, got)
		}
		return got["Telegraf"] != ""
	}
	neverValid := []string{"api_key_file", "url", "job_metrics", "request_id_as"} // none of the forms is valid
	for option, field := range new(options.Options).Fields() {
		n := make(map[bool]int)
		for _, form := range forms[kind(field)] {
			text := "[[inputs.deepaffects]]\n" + option + " = " + form + "\n"
			if !strings.HasPrefix(option, "api_key") {
				text += "api_key = \"key\"\n"
			}
			n[accepted(text)]++
		}
		if n[false] == 0 || (n[true] > 0) == slices.Contains(neverValid, option) {
			t.Errorf("%s: %d forms accepted, %d refused", option, n[true], n[false])
		}
	}
	for text, want := range map[string]bool{
		"[inputs.deepaffects.labels]\nregion = \"eu\"":                                                 true,
		"[inputs.deepaffects.tags]\nx = \"y\"\n[inputs.deepaffects.tagpass]\nx = [\"y\"]":              true,
		"interval = \"10s\"\nalias = \"x\"\nstartup_error_behavior = \"retry\"\nlog_level = \"debug\"": true,
		"request_ids = [\"a\"] # caf\xe9":                                                              true,
		"[agent]\nhostname = \"caf\xe9\"":                                                              true,
		`job_labels = ["team", "call_center", "_x", "Team", "LE", "a1"]`:                               true,
		`job_labels = ["le"]`:                                             false,
		`job_labels = ["quantile"]`:                                       false,
		`job_labels = ["le", "quantile"]`:                                 false,
		`job_labels = ["team", "account"]`:                                false,
		`job_labels = ["request_id"]`:                                     false,
		`job_labels = ["state"]`:                                          false,
		`job_labels = ["api"]`:                                            false,
		`job_labels = ["source"]`:                                         false,
		`job_labels = ["error_code"]`:                                     false,
		`job_labels = ["instance"]`:                                       false,
		`job_labels = ["job"]`:                                            false,
		`job_labels = ["exported_job"]`:                                   false,
		`job_labels = ["exported_instance"]`:                              false,
		`job_labels = ["exported_x"]`:                                     false,
		`job_labels = ["__name__"]`:                                       false,
		`job_labels = ["__x"]`:                                            false,
		`job_labels = ["time"]`:                                           false,
		`job_labels = ["callCenter"]`:                                     false,
		`job_labels = ["call-center"]`:                                    false,
		`job_labels = ["call center"]`:                                    false,
		`job_labels = ["call.center"]`:                                    false,
		`job_labels = ["call:center"]`:                                    false,
		`job_labels = ["1a"]`:                                             false,
		`job_labels = ["\u00e4"]`:                                         false,
		`job_labels = ["a", "b", "a"]`:                                    false,
		`job_labels = ["team\n"]`:                                         false,
		`webhook_token = "a"`:                                             false,
		`webhook_token = "abcdefgh-12345678"`:                             true,
		"[inputs.deepaffects.request_id_url_headers]\nX-Token = \"text\"": true,
		"[inputs.deepaffects.request_id_url_headers]\nX-Token = \"text\" # caf\xe9": true,
		"[[inputs.deepaffects.request_id_url_headers]]\nX-Token = \"text\"":         false,
		"nonsense = 1":                         false,
		"Account = \"x\"":                      false,
		"apikey = \"x\"":                       false,
		"transport = 1":                        false,
		"[inputs.deepaffects.nonsense]\nx = 1": false,
	} {
		text = "api_key = \"key\"\n" + text
		for _, text := range []string{
			"[[inputs.deepaffects]]\n" + text + "\n",
			"[inputs.deepaffects]\n" + text + "\n",
			"\ufeff[[inputs.deepaffects]]\r\n" + strings.ReplaceAll(text, "\n", "\r\n"),
		} {
			if got := accepted(text); got != want {
				t.Errorf("%q is accepted: %v, want %v", text, got, want)
			}
		}
	}
}

// Files as operators write them mean the same to all readers.
func TestRealFiles(t *testing.T) {
	logger.RedirectLogging(io.Discard)
	config.DisableSecretProtection()
	for name, value := range map[string]string{
		"KEY": "real", "USER": "telegraf", "BATCH_SIZE": "500", "ADOPT": "false", "RPD": "7", "UNSET": "",
	} {
		t.Setenv(name, value)
	}
	paths, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(paths) < 4 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			config.NonStrictEnvVarHandling = filepath.Base(path) == "unquoted.conf"
			defer func() { config.NonStrictEnvVarHandling = false }()
			var want string
			for _, who := range []string{"Telegraf", "exporter", "execd"} {
				c, err := readers[who](path)
				if err != nil {
					t.Errorf("%s: %v", who, err)
					continue
				}
				if c.APIKey != "real" {
					t.Errorf("%s: key %q", who, c.APIKey)
				}
				if want == "" {
					want = meaning(c)
				}
				if got := meaning(c); got != want {
					t.Errorf("%s: %s, want %s", who, got, want)
				}
			}
		})
	}
}

// A variable that is not set matters only in a table of ours.
func TestUnsetVariableWithoutQuotes(t *testing.T) {
	const account = "[[inputs.deepaffects]]\napi_key = \"key\"\n"
	const other = "[[outputs.influxdb]]\nport = ${CANARY_PORT}\nudp_payload = $CANARY_SIZE # bytes\n"
	if _, err := configfile.Load(write(t, other+account)); err != nil {
		t.Error(err)
	}
	_, err := configfile.Load(write(t, other+account+"requests_per_day = ${CANARY_RPD}\n"))
	if err == nil || !strings.Contains(err.Error(), "requests_per_day") {
		t.Errorf("%v", err)
	}
}

// The options that are accepted in each table are those of Telegraf.
func TestAgentOptions(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f={{.Dir}}", "github.com/influxdata/telegraf").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(dir)), "config", "config.go")
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "missingTomlField" {
			ast.Inspect(f, func(n ast.Node) bool {
				if c, ok := n.(*ast.CaseClause); ok {
					for _, name := range c.List {
						text, err := strconv.Unquote(name.(*ast.BasicLit).Value)
						if err != nil {
							t.Fatal(err)
						}
						want = append(want, text)
					}
				}
				return true
			})
		}
	}
	slices.Sort(want)
	o := options.Default()
	var lines strings.Builder
	for _, name := range want {
		fmt.Fprintf(&lines, "%s = \"x\"\n", name)
	}
	warnings, err := configfile.LoadPlugin(write(t, table(lines.String())), &o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		name, _, _ := strings.Cut(w, " has no effect here; set it in [[inputs.execd]]")
		got = append(got, name)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 40 {
		t.Errorf("(-Telegraf +LoadPlugin):\n%s", diff)
	}
}
