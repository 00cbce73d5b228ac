package configfile_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "deepaffects.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func table(options string) string {
	return "[[inputs.deepaffects]]\napi_key = \"canary-key\"\n" + options + "\n"
}

// second is the table of another account.
func second(options string) string {
	return "[[inputs.deepaffects]]\naccount = \"second\"\napi_key = \"canary-key-2\"\n" + options + "\n"
}

var withoutFunctions = cmpopts.IgnoreFields(collector.Config{}, "Key", "TLS", "Proxy")

func TestLoad(t *testing.T) {
	t.Setenv("CANARY", "canary-key")
	defaults := collector.DefaultConfig()
	defaults.APIKey = "canary-key"
	with := func(change func(*collector.Config)) []collector.Config {
		c := defaults
		change(&c)
		return []collector.Config{c}
	}
	for _, tt := range []struct {
		name, text string
		want       []collector.Config
		warnings   int
	}{
		{"defaults", table(""), []collector.Config{defaults}, 0},
		{"the key from the environment", "[[inputs.deepaffects]]\napi_key = \"${CANARY}\"", []collector.Config{defaults}, 0},
		{"a default", "[[inputs.deepaffects]]\napi_key = \"${UNSET:-canary}-key\"", []collector.Config{defaults}, 0},
		{"a variable without braces, and a dollar", table(`request_ids = ["$CANARY$$HOME$"]`), with(func(c *collector.Config) {
			c.RequestIDs = []string{"canary-key$HOME$"}
		}), 0},
		{"every form", table(`
request_ids = ["a", "${CANARY}"]
requests_per_minute = 2
requests_per_day = 0
timeout = "1m30s"
max_response_size = "2MB"
word_points = false`), with(func(c *collector.Config) {
			c.RequestIDs = []string{"a", "canary-key"}
			c.RequestsPerMinute, c.RequestsPerDay = 2, 0
			c.Timeout, c.MaxResponseSize = 90*time.Second, 2_000_000
		}), 0},
		{"a fraction", table("requests_per_minute = 0.5"), with(func(c *collector.Config) { c.RequestsPerMinute = 0.5 }), 0},
		{"a whole telegraf.conf", `
[agent]
  interval = "10s"
[[outputs.file]]
  files = ["stdout"]
[[inputs.cpu]]
  percpu = true
` + table(`
  interval = "30s"
  name_prefix = "x_"
  [inputs.deepaffects.tags]
    dc = "eu"`), []collector.Config{defaults}, 0},
		{"several accounts", table("") + second(""), append([]collector.Config{defaults}, with(func(c *collector.Config) {
			c.Account, c.APIKey = "second", "canary-key-2"
		})...), 0},
		{"options of Telegraf", table("word_points = true\nrequest_id_as = \"tag\"\nstate_directory = \"canary\""),
			[]collector.Config{defaults}, 3},
		{"a listener", table("service_address = \":8095\"\njobs_token = \"canary-token-123\""),
			with(func(c *collector.Config) {
				c.ServiceAddress, c.JobsToken = ":8095", "canary-token-123"
			}), 0},
		{"webhooks", table("webhook_token = \"canary-token-123\"\nadopt_unknown_webhooks = false"),
			with(func(c *collector.Config) { c.WebhookToken, c.AdoptUnknownWebhooks = "canary-token-123", false }), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := configfile.Load(write(t, tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, file.Accounts, withoutFunctions); diff != "" {
				t.Errorf("accounts (-want +got):\n%s", diff)
			}
			if len(file.Warnings) != tt.warnings || strings.Contains(strings.Join(file.Warnings, ""), "canary") {
				t.Errorf("warnings %q, want %d", file.Warnings, tt.warnings)
			}
		})
	}
}

// Each mistake is one line with the file, the option and the remedy, and without the value.
func TestMistakes(t *testing.T) {
	empty := write(t, "\n")
	withoutCertificate := "tls_ca = \"" + empty + "\""
	for _, tt := range []struct{ text, option, remedy string }{
		{"", "no account", `add an \[\[inputs.deepaffects\]\] table`},
		{"inputs.deepaffects = \"canary\"", "inputs.deepaffects", "begin each account"},
		{"inputs = 3", "inputs", "begin each account"},
		{"[[inputs.deepaffects]]\napi_key = canary", "line 2", "write text in quotes"},
		{"[[inputs.deepaffects]]\naccount = \"a", "line 2", "account"},
		{"[[outputs.influxdb]]\npassword = canary", "outputs.influxdb.password", "write text in quotes"},
		{"[[outputs.http]]\npassword = \"\"\ntimeout = 12_canary", "outputs.http.timeout", "write text in quotes"},
		{"[[outputs.http]]\npassword = \"ca\\u12nary\"", "outputs.http.password", "write text in quotes"},
		{table(`webhook_token = "canary"` + "\n" + `webhook_token = "canary"`), "webhook_token", "already been defined"},
		{"[[inputs.deepaffects]]\napi_key = \"\xff\"", "api_key", "UTF-8"},
		{"[[inputs.deepaffects]]\napi_key: canary", "line 2", "expected '.' or '='"},
		{"[[inputs.deepaffects]]", "api_key", "set it to the key"},
		{"[[inputs.deepaffects]]\napi_key = \"\"", "api_key", "set it to the key"},
		{"[[inputs.deepaffects]]\napi_key = \"${UNSET}\"", "api_key", "set it where this program is started"},
		{"[[inputs.deepaffects]]\napi_key = \"${\"", "api_key", `write \$\{VAR\}`},
		{"[[inputs.deepaffects]]\napi_key = \"${UNSET:?canary}\"", "api_key", "set it where this program is started"},
		{"[[inputs.deepaffects]]\napi_key = \"@{store:canary}\"", "api_key", `use \$\{VAR\} or api_key_file`},
		{"[[inputs.deepaffects]]\napi_key = \" canary\"", "api_key", "remove it"},
		{"[[inputs.deepaffects]]\napi_key = [42]", "api_key", "write it in quotes"},
		{table(`api_key_file = "/x"`), "api_key", "remove one of the two"},
		{"[[inputs.deepaffects]]\napi_key_file = \"/nonexistent/canary\"", "api_key_file",
			"put the key or token into the file"},
		{"[[inputs.deepaffects]]\napi_key_file = \"" + empty + "\"", "api_key_file", "put the key or token into the file"},
		{table(`requests_per_minut = 5`), "requests_per_minut", "see sample.conf"},
		{table(`account = ""`), "account", "name the account"},
		{table("") + table(""), "account", "give each account its own"},
		{table(`url = "ftp://canary"`), "url", "give the API's base URL"},
		{table(`url = "https://host/?apikey=canary"`), "url", "give the base URL alone"},
		{table(`url = "http://host:99999"`), "url", "give the API's base URL"},
		{table(`http_proxy_url = "http://host:99999"`), "http_proxy_url", "give one such as"},
		{table(`request_id_urls = ["http://host:99999/"]`), "request_id_urls", "is not a URL such as"},
		{table(`request_ids = "a"`), "request_ids", `write it as \["…", "…"\]`},
		{table(`request_ids = ["ok", ""]`), "request_ids", "entry 2"},
		{table(`request_id_files = ["[a"]`), "request_id_files", ""},
		{table(`request_id_urls = ["file:///x?canary"]`), "request_id_urls", ""},
		{table(`job_labels = ["a-b"]`), "job_labels", "use letters, digits"},
		{table(`job_labels = ["state"]`), "job_labels", "rename it"},
		{table(`job_labels = ["a", "a"]`), "job_labels", "remove one"},
		{table(`requests_per_minute = -1`), "requests_per_minute", "0 means unlimited"},
		{table(`requests_per_minute = nan`), "requests_per_minute", "must be a number"},
		{table(`requests_per_day = -1`), "requests_per_day", "0 means unlimited"},
		{table(`requests_per_day = "many"`), "requests_per_day", "whole number"},
		{table(`requests_per_day = 100.0`), "requests_per_day", "whole number"},
		{table(`requests_per_day = 1.5`), "requests_per_day", "whole number"},
		{table(`day_resets_at = "noon"`), "day_resets_at", `write "00:00"`},
		{table(`timeout = true`), "timeout", "such as \"90s\""},
		{table(`timeout = "-3s"`), "timeout", "write a duration such as"},
		{table(`timeout = "0s"`), "timeout", "write a duration such as"},
		{table(`refresh_interval = "often"`), "refresh_interval", "such as"},
		{table(`max_response_size = 5.5`), "max_response_size", `such as "64MiB"`},
		{table(`max_response_size = "5.5"`), "max_response_size", `such as "64MiB"`},
		{table(`max_response_size = "0MiB"`), "max_response_size", `such as "64MiB"`},
		{table(`concurrency = 0`), "concurrency", "from 1 to 1000"},
		{table(`job_metrics = "some"`), "job_metrics", `"full", "basic" or "off"`},
		{table(`max_job_series = -1`), "max_job_series", "from 0"},
		{table(`insecure_skip_verify = "yes"`), "insecure_skip_verify", "true or false"},
		{table(`tls_ca = "/nonexistent"`), "tls_ca", "give a PEM file"},
		{table(withoutCertificate), "tls_ca", "no certificate in .*; give a PEM file"},
		{table("tls_cert = \"/nonexistent\""), "tls_cert", "give both"},
		{table(`service_address = "8095"`), "service_address", "such as \":8095\""},
		{table(`service_address = ":canary"`), "service_address", "such as \":8095\""},
		{table(`service_address = ":99999"`), "service_address", "such as \":8095\""},
		{table(`service_address = ":"`), "service_address", "such as \":8095\""},
		{table("service_address = \":1\"\njobs_token = \"canary \""), "jobs_token", "remove it"},
		{table("service_address = \":1\"\njobs_token = \"canary\"\nwebhook_token = \"canary\""),
			"jobs_token", "give each its own"},
		{table(`webhook_token = "canary/token"`), "webhook_token", "make one with"},
		{table(`webhook_token = "canary"`) + second(`webhook_token = "canary"`), "webhook_token", "give each its own"},
		{table("") + table(`account = "b"`), "API key", "give it its own key"},
		{table(`http_proxy_url = "canary"`), "http_proxy_url", "give one such as"},
	} {
		t.Run(tt.option, func(t *testing.T) {
			path := write(t, tt.text)
			_, err := configfile.Load(path)
			if err == nil {
				t.Fatal("is accepted")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != 1 {
				t.Fatalf("%d lines: %q", len(lines), lines)
			}
			pattern := "^" + regexp.QuoteMeta(path) + ": .*" + regexp.QuoteMeta(tt.option) + ".*" + tt.remedy
			if !regexp.MustCompile(pattern).MatchString(lines[0]) {
				t.Errorf("%q does not match %q", lines[0], pattern)
			}
			if hidden := strings.ReplaceAll(lines[0], "/nonexistent/canary", ""); strings.Contains(hidden, "canary") {
				t.Errorf("the value shows: %q", lines[0])
			}
		})
	}
}

// A file that cannot be read is one line with the flag that names it.
func TestUnreadableFile(t *testing.T) {
	dir := t.TempDir()
	for path, reason := range map[string]string{
		filepath.Join(dir, "missing.toml"):    "no such file or directory",
		dir:                                   "is a directory",
		filepath.Join(write(t, ""), "x.toml"): "not a directory",
	} {
		_, err := configfile.Load(path)
		want := ": " + path + ": " + reason + "; give the path of a TOML file"
		if err == nil || err.Error() != "--config.file"+want {
			t.Errorf("the exporter: %v", err)
		}
		_, err = configfile.LoadPlugin(path, new(options.Options))
		if err == nil || err.Error() != "-config"+want {
			t.Errorf("the plugin: %v", err)
		}
	}
}

// With several accounts, each mistake names its account.
func TestMistakesOfAccounts(t *testing.T) {
	first, second := table("account = \"a\"\nconcurrency = 0"), table("timeout = true\naccount = \"b\"\nnonsense = 1")
	_, err := configfile.Load(write(t, first+second))
	if err == nil {
		t.Fatal("is accepted")
	}
	for _, want := range []string{`account "a": concurrency: `, `account "b": nonsense: `, `account "b": timeout: `} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

// All mistakes of a file are reported at once.
func TestSeveralMistakes(t *testing.T) {
	for _, text := range []string{
		table("timeout = true\nconcurrency = \"x\"\nnonsense = 1"),
		table("timeout = \"0s\"\nconcurrency = 0\nmax_job_series = -1"),
		table("nonsense = 1\ntimeout = \"0s\"\ntls_ca = \"/nonexistent\""),
		table("timeout = true") + table("account = \"b\"\nconcurrency = 0\nurl = \"x\""),
		table("tls_ca = \"/nonexistent\"\nrequest_id_urls = [\"x\"]\nday_resets_at = \"noon\""),
	} {
		_, err := configfile.Load(write(t, text))
		if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 {
			t.Errorf("%d lines, want 3: %q", len(lines), lines)
		}
	}
}

// sample.conf has all options with their defaults.
func TestSampleConf(t *testing.T) {
	text, err := os.ReadFile("../../sample.conf")
	if err != nil {
		t.Fatal(err)
	}
	assignment := regexp.MustCompile(`(?m)^  (?:# )?([a-z_]+) = .*$`)
	var uncommented []string
	var names []string
	for _, m := range assignment.FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
		if m[1] != "api_key" && m[1] != "api_key_file" {
			uncommented = append(uncommented, strings.TrimPrefix(strings.TrimSpace(m[0]), "# "))
		}
	}
	file, err := configfile.Load(write(t, table(strings.Join(uncommented, "\n"))))
	if err != nil {
		t.Fatal(err)
	}
	want := collector.DefaultConfig()
	want.APIKey = "canary-key"
	if diff := cmp.Diff([]collector.Config{want}, file.Accounts, cmpopts.EquateEmpty(), withoutFunctions); diff != "" {
		t.Errorf("the values of sample.conf are not the defaults (-default +sample):\n%s", diff)
	}
	slices.Sort(names)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(new(options.Options).Fields())), names); diff != "" {
		t.Errorf("the options of sample.conf are not all (-options +sample):\n%s", diff)
	}
}

func FuzzLoad(f *testing.F) {
	sample, err := os.ReadFile("../../sample.conf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(sample))
	f.Add(table("timeout = \"1s\"") + table("account = \"b\""))
	f.Add("[inputs]\ndeepaffects = [{api_key = \"${A:-b}\"}]")
	f.Fuzz(func(t *testing.T, text string) {
		// Do not open files.
		for _, option := range []string{"_file", "tls_"} {
			if strings.Contains(text, option) {
				return
			}
		}
		path := write(t, text)
		file, err := configfile.Load(path)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, path+": ") {
					t.Errorf("a line without the file: %q", line)
				}
			}
			return
		}
		if err := collector.ValidateAll(file.Accounts); err != nil {
			t.Errorf("accepted and invalid: %v", err)
		}
	})
}
