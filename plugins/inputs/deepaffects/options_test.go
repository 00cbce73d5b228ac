package deepaffects

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/selfstat"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// mistake returns the error of Telegraf's loader or of Init.
func mistake(t *testing.T, text string) error {
	t.Helper()
	input, err := load(t, text)
	if err == nil {
		err = input.Init()
	}
	return err
}

// Each mistake is one line with the option and the remedy, and without the value.
func TestMistakes(t *testing.T) {
	key := func(options string) string { return "[[inputs.deepaffects]]\napi_key = \"canary\"\n" + options + "\n" }
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, option, remedy string }{
		{"[[inputs.deepaffects]]", "api_key", "set it to the key"},
		{"[[inputs.deepaffects]]\napi_key = \"\"\n", "api_key", "set it to the key"},
		{"[[inputs.deepaffects]]\napi_key = \" canary\"", "api_key", "remove it"},
		{"[[inputs.deepaffects]]\napi_key = \"${CANARY_UNSET}\"", "api_key",
			"the environment variable CANARY_UNSET is not set; set it where this program is started"},
		{"[[inputs.deepaffects]]\napi_key = \"@{store:canary}\"", "store:canary", "unknown secret store"},
		{key(`api_key_file = "/x"`), "api_key", "remove one of the two"},
		{"[[inputs.deepaffects]]\napi_key_file = \"" + empty + "\"", "api_key_file", "put the key or token into the file"},
		{key(`api_key_fil = "x"`), "api_key_fil", "typo"},
		{key(`account = ""`), "account", "name the account"},
		{key(`account = "${CANARY_UNSET}"`), "account", "CANARY_UNSET is not set"},
		{key(`url = "ftp://canary"`), "url", "give the API's base URL"},
		{key(`url = "https://host/?apikey=canary"`), "url", "give the base URL alone"},
		{key(`request_ids = [""]`), "request_ids", "entry 1"},
		{key(`request_ids = ["a", "${CANARY_UNSET}"]`), "request_ids", "CANARY_UNSET is not set"},
		{key(`request_id_files = ["[a"]`), "request_id_files", ""},
		{key(`request_id_urls = ["file:///x"]`), "request_id_urls", ""},
		{key(`refresh_interval = "0s"`), "refresh_interval", "write a duration such as"},
		{key(`job_labels = ["state"]`), "job_labels", "rename it"},
		{key(`requests_per_minute = -1`), "requests_per_minute", "0 means unlimited"},
		{key(`requests_per_minute = "x"`), "RequestsPerMinute", "must be a number"},
		{key(`requests_per_day = -1`), "requests_per_day", "0 means unlimited"},
		{key(`requests_per_day = "many"`), "RequestsPerDay", "must be a whole number"},
		{key(`day_resets_at = "noon"`), "day_resets_at", `write "00:00"`},
		{key(`timeout = "-3s"`), "timeout", "write a duration such as"},
		{key(`timeout = "often"`), "Timeout", "invalid duration"},
		{key(`max_response_size = "0MiB"`), "max_response_size", `such as "64MiB"`},
		{key(`concurrency = 0`), "concurrency", "from 1 to 1000"},
		{key(`not_found_grace = "0s"`), "not_found_grace", "write a duration such as"},
		{key(`max_job_age = "0s"`), "max_job_age", "write a duration such as"},
		{key(`retention = "0s"`), "retention", "write a duration such as"},
		{key(`job_metrics = "some"`), "job_metrics", `"full", "basic" or "off"`},
		{key(`max_job_series = -1`), "max_job_series", "from 0"},
		{key(`state_directory = "${CANARY_UNSET}/x"`), "state_directory", "CANARY_UNSET is not set"},
		{key(`max_undelivered_changes = 0`), "max_undelivered_changes", "from 1 to 100000"},
		{key(`max_undelivered_changes = 100001`), "max_undelivered_changes", "from 1 to 100000"},
		{key(`request_id_as = "label"`), "request_id_as", `"field" or "tag"`},
		{key(`word_points = "yes"`), "WordPoints", "cannot unmarshal TOML string into bool"},
		{key(`service_address = "8095"`), "service_address", "such as \":8095\""},
		{key("service_address = \":1\"\njobs_token = \"${CANARY_UNSET}\""), "jobs_token", "CANARY_UNSET is not set"},
		{key(`webhook_token = "canary/token"`), "webhook_token", "make one with"},
		{key("service_address = \":1\"\njobs_token = \"canary\"\nwebhook_token = \"canary\""), "token", "give each its own"},
		{key(`tls_ca = "/nonexistent"`), "tls_ca", ""},
		{key(`tls_cert = "/nonexistent"`), "tls_cert", "give both"},
		{key(`tls_key = "/nonexistent"`), "tls_key", "give both"},
		{key(`insecure_skip_verify = "yes"`), "InsecureSkipVerify", "cannot unmarshal TOML string into bool"},
		{key(`adopt_unknown_webhooks = 1`), "AdoptUnknownWebhooks", "cannot unmarshal TOML integer into bool"},
		{key(`http_proxy_url = "canary"`), "http_proxy_url", "give one such as"},
		{key("concurrency = 0\nmax_job_series = -1"), "concurrency", "; .*max_job_series"},
	} {
		t.Run(tt.option, func(t *testing.T) {
			err := mistake(t, tt.text)
			if err == nil {
				t.Fatal("is accepted")
			}
			pattern := regexp.QuoteMeta(tt.option) + ".*" + tt.remedy + "|" + tt.remedy + ".*" + regexp.QuoteMeta(tt.option)
			if line := err.Error(); !regexp.MustCompile(pattern).MatchString(line) || strings.Contains(line, "\n") {
				t.Errorf("%q does not match %q", line, pattern)
			}
			hidden := strings.NewReplacer("store:canary", "", "api_key = \"canary\"", "").Replace(err.Error())
			if strings.Contains(hidden, "canary") {
				t.Errorf("the value shows: %q", err)
			}
		})
	}
}

func TestUnresolvableSecret(t *testing.T) {
	for _, option := range []string{"api_key", "jobs_token", "webhook_token"} {
		input, err := load(t, table+"service_address = \"127.0.0.1:0\"\n")
		if err != nil {
			t.Fatal(err)
		}
		plugin := input.Input.(*DeepAffects)
		broken := config.NewSecret([]byte("@{store:key}"))
		works := true
		if err := broken.Link(map[string]telegraf.ResolveFunc{"@{store:key}": func() ([]byte, bool, error) {
			if works {
				return []byte("canary"), true, nil
			}
			return nil, true, errors.New("vault is sealed")
		}}); err != nil {
			t.Fatal(err)
		}
		works = false
		switch option {
		case "api_key":
			plugin.APIKey = broken
		case "jobs_token":
			plugin.JobsToken = broken
		case "webhook_token":
			plugin.WebhookToken = broken
		}
		err = input.Init()
		want := regexp.MustCompile(option + ": the secret cannot be resolved: .*vault is sealed")
		if err == nil || !want.MatchString(err.Error()) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The sample has all options that have an effect in Telegraf, with their defaults, in a
// form that Telegraf reads.
func TestSample(t *testing.T) {
	t.Setenv("DEEPAFFECTS_API_KEY", "key")
	commented := regexp.MustCompile(`(?m)^  # (\w+ = )`).ReplaceAllString(sampleConfig, "  $1")
	commented = strings.Replace(commented, "  api_key_file", "  # api_key_file", 1) // one of the two
	input, err := load(t, commented)
	if err != nil {
		t.Fatal(err)
	}
	if err := input.Init(); err != nil {
		t.Fatal(err)
	}
	defaults := options.Default()
	got, want := input.Input.(*DeepAffects).Fields(), defaults.Fields()
	for option, value := range got {
		if diff := cmp.Diff(want[option], value, cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(config.Secret{})); diff != "" {
			t.Errorf("%s is another in the sample (-default +sample):\n%s", option, diff)
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[options.Options]()) {
		_, ineffective := field.Tag.Lookup("telegraf")
		option := field.Tag.Get("toml")
		if sampled := strings.Contains(sampleConfig, option+" = "); option != "" && sampled == ineffective {
			t.Errorf("the sample has %s: %t", option, sampled)
		}
	}
	for _, match := range regexp.MustCompile(`(?m)^  (?:# )?(\w+) = `).FindAllStringSubmatch(sampleConfig, -1) {
		if got[match[1]] == nil {
			t.Errorf("the sample has %s, which is no option", match[1])
		}
	}
	if plugin := new(DeepAffects); plugin.SampleConfig() != sampleConfig {
		t.Error("SampleConfig returns another")
	}
}

// The ID depends on the account and the API only.
func TestID(t *testing.T) {
	id := func(options string) string {
		input, err := load(t, table+options)
		if err != nil {
			t.Fatal(err)
		}
		if err := input.Init(); err != nil {
			t.Fatal(err)
		}
		return input.ID()
	}
	one := id("")
	for _, same := range []string{"timeout = \"3s\"", "word_points = true", "webhook_token = \"token\"", "alias = \"x\""} {
		if id(same) != one {
			t.Errorf("%s changes the ID", same)
		}
	}
	for _, other := range []string{"account = \"b\"", "url = \"https://elsewhere.invalid\""} {
		if id(other) == one {
			t.Errorf("%s does not change the ID", other)
		}
	}
}

// Each error of the start is one line with the account, the option and the remedy.
func TestStartErrors(t *testing.T) {
	taken := freeport.Listen(t)
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ options, want string }{
		"the store is a file": {fmt.Sprintf("state_directory = %q", file),
			`account "default": state_directory: opening ` + file + `: not a directory; choose a directory`},
		"no database": {`database_url = "postgres://u:secret@127.0.0.1:1/x"`,
			"account \"default\": database_url: cannot reach the database: failed to connect to `user=u database=x`: " +
				"127.0.0.1:1 (127.0.0.1): dial error: dial tcp 127.0.0.1:1: connect: connection refused; " +
				"check host and port of the URL, and whether the server runs"},
		"the address is taken": {fmt.Sprintf("service_address = %q\nwebhook_token = \"token\"", taken.Addr()),
			`account "default": service_address: listen tcp ` + taken.Addr().String() +
				`: bind: address already in use; choose another`},
	} {
		input, err := load(t, table+tt.options+"\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := input.Init(); err != nil {
			t.Fatal(err)
		}
		if err := input.Start(nil); fmt.Sprint(err) != tt.want {
			t.Errorf("%s: %v, want\n%s", name, err, tt.want)
		}
		input.Stop()
	}
}

// A failed start names the option, leaves nothing behind, and can be repeated.
func TestFailedStart(t *testing.T) {
	taken := freeport.Listen(t)
	defer taken.Close()
	state := filepath.Join(t.TempDir(), "state")
	options := fmt.Sprintf("service_address = %q\nwebhook_token = \"token\"\nstate_directory = %q\n", taken.Addr(), state)
	first, err := load(t, table+options)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Init(); err != nil {
		t.Fatal(err)
	}
	fails := func(want string) {
		t.Helper()
		if err := first.Start(nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		first.Stop()
	}
	fails("service_address: ")
	other, err := load(t, table+fmt.Sprintf("account = \"other\"\nstate_directory = %q\n", state))
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, other, ends{}, true)
	fails("state_directory: another process uses " + state)
	p.stop()
	taken.Close()
	p = start(t, first, ends{}, true)
	p.gather(t)
	p.stop()
}

// Telegraf starts with a plugin that cannot start yet if startup_error_behavior says so,
// and tries again at each gather.
func TestStartupErrorBehavior(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	options := fmt.Sprintf("service_address = %q\njobs_token = \"token\"\n", taken.Addr())
	const inUse = "address already in use"
	for _, tt := range []struct{ behavior, want string }{{"error", inUse}, {"ignore", inUse}, {"retry", "<nil>"}} {
		behavior := tt.behavior
		input, err := load(t, table+options+fmt.Sprintf("startup_error_behavior = %q\n", behavior))
		if err != nil {
			t.Fatal(err)
		}
		if err := input.Init(); err != nil {
			t.Fatal(err)
		}
		metrics := make(chan telegraf.Metric, 100)
		acc := agent.NewAccumulator(input, metrics)
		err = input.Start(acc)
		if got := fmt.Sprint(err); !strings.Contains(got, tt.want) {
			t.Errorf("%s: error %s, want %q", behavior, got, tt.want)
		}
		// In Telegraf's own words: the plugin is removed.
		if removed := fmt.Sprintf("%T", err) == "*internal.FatalError"; removed != (behavior == "ignore") {
			t.Errorf("%s: error %T", behavior, err)
		}
		if behavior != "retry" {
			continue
		}
		if err := input.Gather(acc); err == nil || len(metrics) > 0 {
			t.Errorf("while the address is in use: error %v, %d metrics", err, len(metrics))
		}
		taken.Close()
		if err := input.Gather(acc); err != nil || len(metrics) == 0 {
			t.Errorf("when the address is free: error %v, %d metrics", err, len(metrics))
		}
		input.Stop()
	}
}

// Records of the collector are lines of Telegraf's log at their level.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	logger.RedirectLogging(&out)
	defer logger.RedirectLogging(io.Discard)
	log := slog.New(newLogHandler(logger.New("inputs", "deepaffects", ""))).With("account", "a")
	log.Debug("one", "n", 1)
	log.Info("two")
	log.Warn("three", "err", errors.Join(errors.New("x"), errors.New("y")))
	log.Error("four", "path", "/a\x1bb", "empty", "", "plain", "/x")
	var got []string
	for line := range strings.Lines(out.String()) {
		_, line, _ = strings.Cut(line, " ")
		got = append(got, regexp.MustCompile(`\[.*\] *\(.*?\) ?`).ReplaceAllString(strings.TrimSpace(line), ""))
	}
	want := []string{"D! one account=a n=1", "I! two account=a", `W! three account=a err="x; y"`,
		`E! four account=a path="/a\x1bb" empty="" plain=/x`}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Options select the kinds of points about jobs.
func TestKindsOfPoints(t *testing.T) {
	names := func(metrics []telegraf.Metric) map[string]int {
		n := make(map[string]int)
		for _, m := range metrics {
			n[m.Name()]++
		}
		return n
	}
	jobAndSpeakers := map[string]int{"deepaffects_job": 1, "deepaffects_speaker": 2}
	allKinds := map[string]int{"deepaffects_job": 1, "deepaffects_speaker": 2, "deepaffects_word": 3}
	for _, tt := range []struct {
		options string
		want    map[string]int
		check   func(*testing.T, []telegraf.Metric)
	}{
		{"", jobAndSpeakers, func(t *testing.T, all []telegraf.Metric) {
			for _, m := range all {
				if m.HasTag("request_id") || !m.HasField("request_id") {
					t.Errorf("%v", m)
				}
			}
		}},
		{`request_id_as = "tag"`, jobAndSpeakers, func(t *testing.T, all []telegraf.Metric) {
			for _, m := range all {
				if m.Tags()["request_id"] != "a" || m.HasField("request_id") {
					t.Errorf("%v", m)
				}
			}
		}},
		{`job_metrics = "basic"`, map[string]int{"deepaffects_job": 1}, func(t *testing.T, all []telegraf.Metric) {
			if all[0].HasField("words") || !all[0].HasField("duration_seconds") {
				t.Errorf("%v", all[0])
			}
		}},
		{`job_metrics = "off"`, map[string]int{}, func(*testing.T, []telegraf.Metric) {}},
		{"word_points = true", allKinds, func(t *testing.T, all []telegraf.Metric) {
			at := named(all, "deepaffects_job")[0].Time()
			var got []string
			for _, m := range named(all, "deepaffects_word") {
				m.RemoveTag("account")
				m.RemoveTag("source")
				got = append(got, fmt.Sprintf("%s %v %v", m.Time().Sub(at), m.Tags(), m.Fields()))
			}
			want := []string{
				"500ms map[speaker:1] map[confidence:0.5 duration:0.5 end:1 index:0 request_id:a start:0.5]",
				"500.000001ms map[speaker:0] map[duration:1.5 end:2 gap:0 index:1 request_id:a start:0.5]",
				"3s map[speaker:0] map[confidence:1 duration:0.25 end:3.25 gap:1 index:2 request_id:a start:3]",
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}},
	} {
		t.Run(tt.options, func(t *testing.T) {
			input, err := load(t, table+"request_ids = [\"a\"]\n"+tt.options)
			if err != nil {
				t.Fatal(err)
			}
			var got []telegraf.Metric
			bubble(t, func() {
				p := start(t, input, ends{}, true)
				defer p.stop()
				p.polled()
				got = p.gathered(t)
			})
			if n := names(got); !reflect.DeepEqual(n, tt.want) {
				t.Fatalf("%v, want %v", n, tt.want)
			}
			tt.check(t, got)
		})
	}
}

// Instances share nothing: each has its jobs, its store and its points.
func TestInstances(t *testing.T) {
	var all []*pipeline
	dir := t.TempDir()
	for _, account := range []string{"one", "two"} {
		options := fmt.Sprintf("account = %q\nstate_directory = %q\nrequest_ids = [\"job-of-%s\"]\njob_labels = [\"team\"]\n",
			account, filepath.Join(dir, account), account)
		input, err := load(t, table+options)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &pipeline{input: input})
	}
	bubble(t, func() {
		for i, p := range all {
			all[i] = start(t, p.input, ends{}, true)
		}
		for i, account := range []string{"one", "two"} {
			all[i].polled()
			for _, m := range all[i].gathered(t) {
				if id, _ := m.GetField("request_id"); id != "job-of-"+account || m.Tags()["account"] != account {
					t.Errorf("%s has %v", account, m)
				}
			}
		}
		all[0].stop()
		all[1].gather(t)
		all[1].stop()
	})
}

// Two tables cannot have the same account: their points would have the same tags. A table
// that has stopped, as at a reload, gives its account back, and so does a failed start.
func TestSameAccount(t *testing.T) {
	one, err := load(t, table)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, one, ends{}, true)
	for options, refused := range map[string]bool{
		"":                        true,
		"account = \"default\"\n": true,
		"url = \"https://proxy.api.deepaffects.com:443/\"\nstartup_error_behavior = \"retry\"\n": true,
		"account = \"other\"\n":                 false,
		"url = \"https://elsewhere.invalid\"\n": false,
	} {
		two, err := load(t, table+options)
		if err != nil {
			t.Fatal(err)
		}
		two.Input.(*DeepAffects).Transport = ends{}
		if err := two.Init(); err != nil {
			t.Fatal(err)
		}
		err = two.Start(p.acc)
		const want = `account "default": another [[inputs.deepaffects]] table has this account ` +
			`at proxy.api.deepaffects.com; give each table its own account`
		if refused && (err == nil || err.Error() != want) || !refused && err != nil {
			t.Errorf("%q: %v", options, err)
		}
		two.Stop()
	}
	p.stop()
	again, err := load(t, table+"service_address = \"192.0.2.1:1\"\njobs_token = \"token\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Init(); err != nil {
		t.Fatal(err)
	}
	if err := again.Start(nil); err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("with a strange address: %v", err)
	}
	again.Stop()
	start(t, one, ends{}, true).stop()
}

// Telegraf's internal input has statistics of each account, while it runs.
func TestInternalStatistics(t *testing.T) {
	statistics := func() (all []string) {
		for _, m := range selfstat.Metrics() {
			if m.Name() == "internal_deepaffects" {
				all = append(all, fmt.Sprint(m.Tags(), m.Fields()))
			}
		}
		return all
	}
	bubble(t, func() {
		p := begin(t, "request_ids = [\"a\", \"b\"]\n", nil)
		<-time.After(time.Minute)
		p.gather(t)
		got := statistics()
		want := []string{"map[account:default source:proxy.api.deepaffects.com] map[jobs_pending:0 jobs_running:0 " +
			"request_errors:0 requests:2 state_changes_dropped:0 state_changes_undelivered:2]"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		p.stop()
	})
	if left := statistics(); len(left) > 0 {
		t.Errorf("after Stop: %q", left)
	}
}

func TestOptionsWithoutEffect(t *testing.T) {
	for options, want := range map[string]int{
		"": 0, "webhook_token = \"canary\"\n": 1, "jobs_token = \"canary\"\n": 1,
		"webhook_token = \"canary\"\nservice_address = \"127.0.0.1:0\"\n": 0,
		"keep_timings = false\n": 1, "keep_timings = true\n": 0,
	} {
		var out bytes.Buffer
		logger.RedirectLogging(&out)
		defer logger.RedirectLogging(io.Discard)
		input, err := load(t, table+options)
		if err != nil {
			t.Fatal(err)
		}
		input.Input.(*DeepAffects).Log = logger.New("inputs", "deepaffects", "")
		start(t, input, ends{}, false).stop()
		logged := out.String()
		n := strings.Count(logged, "has no effect")
		if n != want || strings.Contains(logged, "canary") {
			t.Errorf("%q: %d warnings, want %d: %s", options, n, want, logged)
		}
	}
}

// Undelivered state changes are limited. Dropped ones are logged.
func TestDropsAreLogged(t *testing.T) {
	var out bytes.Buffer
	input, err := load(t, table)
	if err != nil {
		t.Fatal(err)
	}
	bubble(t, func() {
		input.Input.(*DeepAffects).limit = 3
		p := start(t, input, ends{}, true)
		defer p.stop()
		logger.RedirectLogging(&out)
		defer logger.RedirectLogging(io.Discard)
		p.plugin.Log = logger.New("inputs", "deepaffects", "")
		for i := range 10 {
			body := io.NopCloser(strings.NewReader(fmt.Sprintf(`{"request_id":"%d","response":null}`, i)))
			if _, err := p.plugin.account.Webhook(body, false); err != nil {
				t.Fatal(err)
			}
		}
		p.gather(t)
		p.gather(t)
	})
	if n := strings.Count(out.String(), "Dropped 7 state changes"); n != 1 || !strings.Contains(out.String(), "E! ") {
		t.Errorf("logged %d times: %s", n, out.String())
	}
}
