package options_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/influxdata/telegraf/config"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
)

func TestMain(m *testing.M) {
	config.DisableSecretProtection()
	m.Run()
}

// valid returns options with a key and one more.
func valid(set func(*options.Options)) *options.Options {
	o := options.Default()
	o.APIKey = config.NewSecret([]byte("key"))
	if set != nil {
		set(&o)
	}
	return &o
}

func TestDefault(t *testing.T) {
	c, err := valid(nil).Config()
	if err != nil {
		t.Fatal(err)
	}
	want := collector.DefaultConfig()
	want.APIKey = "key"
	if diff := cmp.Diff(want, c, cmpopts.IgnoreFields(collector.Config{}, "Key", "TLS", "Proxy")); diff != "" {
		t.Errorf("(-collector +options):\n%s", diff)
	}
	if c.TLS.MinVersion != tls.VersionTLS12 || c.Proxy == nil {
		t.Errorf("TLS %v, proxy %v", c.TLS, c.Proxy != nil)
	}
}

// Each field of the configuration is set by an option.
func TestConfigIsComplete(t *testing.T) {
	o := valid(func(o *options.Options) {
		o.JobsToken, o.WebhookToken = config.NewSecret([]byte("jobs")), config.NewSecret([]byte("webhooks"))
		o.DatabaseURL = config.NewSecret([]byte("postgres://database.invalid/monitor"))
		o.ServiceAddress, o.DayResetsAt, o.WordPoints = ":1", "00:00", true
		o.RequestIDs, o.RequestIDFiles, o.RequestIDURLs = []string{"a"}, []string{"/a"}, []string{"http://a/"}
		o.JobLabels = []string{"team"}
		token := config.NewSecret([]byte("x"))
		o.RequestIDURLHeaders = map[string]*config.Secret{"X-Token": &token}
		o.RequestIDURLTokenFile = write(t, []byte("token"))
	})
	c, err := o.Config()
	if err != nil {
		t.Fatal(err)
	}
	for field, value := range reflect.ValueOf(c).Fields() {
		// Key is set by a face, and APIKeyFile excludes APIKey.
		if value.IsZero() && field.Name != "Key" && field.Name != "APIKeyFile" {
			t.Errorf("no option sets %s", field.Name)
		}
	}
}

func TestWithoutEffect(t *testing.T) {
	o := valid(nil)
	for _, face := range []string{"exporter", "telegraf"} {
		if warnings := o.WithoutEffect(face); len(warnings) > 0 {
			t.Errorf("by default: %q", warnings)
		}
	}
	o.StateDirectory, o.WordPoints, o.RequestIDAs, o.KeepTimings = "/canary", true, "tag", false
	o.MaxUndeliveredChanges, o.MaxJobSeries = 7, 7
	for face, want := range map[string][]string{
		"exporter": {
			"state_directory has no effect: ", "max_undelivered_changes has no effect: ",
			"word_points has no effect: ", "request_id_as has no effect: ",
		},
		"telegraf": {"max_job_series has no effect: ", "keep_timings has no effect: "},
	} {
		warnings := o.WithoutEffect(face)
		if len(warnings) != len(want) {
			t.Fatalf("%s: %q", face, warnings)
		}
		for i := range want {
			if !strings.HasPrefix(warnings[i], want[i]) || strings.Contains(warnings[i], "canary") {
				t.Errorf("%s: %q, want %q", face, warnings[i], want[i])
			}
		}
	}
}

// What is valid and surely unwanted is a warning.
func TestWarnings(t *testing.T) {
	ids := func(o *options.Options) { o.RequestIDURLs = []string{"https://ids.invalid/"} }
	for _, tt := range []struct {
		set  func(*options.Options)
		want string // empty: none
	}{
		{nil, ""},
		{ids, ""},
		{func(o *options.Options) { o.RefreshInterval = config.Duration(time.Millisecond) }, ""}, // it is not used
		{func(o *options.Options) { ids(o); o.RefreshInterval = config.Duration(time.Millisecond) },
			"refresh_interval: shorter than 1s"},
		{func(o *options.Options) { o.ServiceAddress = ":8095" }, "service_address: nothing is served there"},
		{func(o *options.Options) { o.MaxJobAge = o.NotFoundGrace }, ""},
		{func(o *options.Options) { o.MaxJobAge = o.NotFoundGrace - 1 }, "max_job_age: shorter than not_found_grace"},
		{func(o *options.Options) { o.InsecureSkipVerify = true }, "insecure_skip_verify: "},
		{func(o *options.Options) { o.InsecureSkipVerify, *o.Enable = true, false }, ""},
		{func(o *options.Options) { o.JobsToken = config.NewSecret([]byte("short")) }, "jobs_token: shorter than 16"},
		{func(o *options.Options) { o.WebhookToken = config.NewSecret([]byte("0123456789abcdef")) }, ""},
		{func(o *options.Options) { o.WebhookToken = config.NewSecret([]byte("aaaaaaaaaaaaaaaa")) },
			"webhook_token: not random"},
		{func(o *options.Options) { o.WebhookToken = config.NewSecret([]byte("YOUR_TOKEN_GOES_HERE")) },
			"webhook_token: not random"},
	} {
		c, err := valid(tt.set).Config()
		if err != nil {
			t.Fatal(err)
		}
		warnings := c.Warnings()
		if len(warnings) > 1 || (len(warnings) == 1) != (tt.want != "") ||
			!strings.HasPrefix(strings.Join(warnings, ""), tt.want) {
			t.Errorf("%q, want %q", warnings, tt.want)
		}
	}
}

// server returns a server that wants a client certificate, its certificate in a file, and
// its key.
func server(t *testing.T) (s *httptest.Server, certificate string, key []byte) {
	t.Helper()
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].Subject.String())
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pair := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s, write(t, pair), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// get sends a request with the TLS configuration of the options.
func get(t *testing.T, o *options.Options, url string) error {
	t.Helper()
	c, err := o.Config()
	if err != nil {
		t.Fatal(err)
	}
	transport := outbound.NewTransport(time.Minute, 1, c.TLS, nil)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(url)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// A client certificate is read again at each handshake. An error then names the file.
func TestClientCertificate(t *testing.T) {
	s, certificate, key := server(t)
	keyFile := write(t, key) // the server's own: it is only shown
	trusting := func(o *options.Options) { o.TLSCA = certificate }
	if err := get(t, valid(trusting), s.URL); err == nil {
		t.Error("the server accepts a client without a certificate")
	}
	o := valid(func(o *options.Options) { o.TLSCA, o.TLSCert, o.TLSKey = certificate, certificate, keyFile })
	if err := get(t, o, s.URL); err != nil {
		t.Fatal(err)
	}
	c, err := o.Config()
	if err != nil {
		t.Fatal(err)
	}
	transport := outbound.NewTransport(time.Minute, 1, c.TLS, nil)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	_, err = (&http.Client{Transport: transport}).Get(s.URL)
	if err == nil || !strings.Contains(outbound.Cause(err).Error(), keyFile) {
		t.Errorf("without the key's file: %v, want an error that names it", err)
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	transport.CloseIdleConnections()
}

func TestTLS(t *testing.T) {
	suite := tls.CipherSuites()[0]
	for _, tt := range []struct {
		name  string
		set   func(*options.Options)
		valid func(*tls.Config) bool
	}{
		{"version alone", func(o *options.Options) { o.TLSMinVersion = "TLS13" },
			func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }},
		{"suites alone", func(o *options.Options) { o.TLSCipherSuites = []string{suite.Name} },
			func(c *tls.Config) bool { return len(c.CipherSuites) == 1 && c.CipherSuites[0] == suite.ID }},
		{"server name", func(o *options.Options) { o.ServerName = "api.example" },
			func(c *tls.Config) bool { return c.ServerName == "api.example" && c.MinVersion == tls.VersionTLS12 }},
		{"no verification", func(o *options.Options) { o.InsecureSkipVerify = true },
			func(c *tls.Config) bool { return c.InsecureSkipVerify }},
		{"renegotiation", func(o *options.Options) { o.RenegotiationMethod = "once" },
			func(c *tls.Config) bool { return c.Renegotiation == tls.RenegotiateOnceAsClient }},
		{"off", func(o *options.Options) { *o.Enable, o.InsecureSkipVerify, o.TLSCA = false, true, "/nonexistent" },
			func(c *tls.Config) bool { return !c.InsecureSkipVerify && c.MinVersion == tls.VersionTLS12 }},
	} {
		c, err := valid(tt.set).TLSConfig()
		if err != nil || !tt.valid(c) {
			t.Errorf("%s: %+v, %v", tt.name, c, err)
		}
	}
}

// The key in testdata is encrypted with "password".
func TestKeyPassword(t *testing.T) {
	for _, password := range []string{"", "wrong", "password"} {
		c, err := valid(func(o *options.Options) {
			o.TLSCert, o.TLSKey, o.TLSKeyPwd = "testdata/client.pem", "testdata/client.key", password
		}).TLSConfig()
		if password != "password" {
			if err == nil || !strings.HasPrefix(err.Error(), "tls_cert and tls_key: ") {
				t.Errorf("with password %q: %v", password, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		pair, err := c.GetClientCertificate(nil)
		if err != nil || pair.Leaf.Subject.CommonName != "client" {
			t.Errorf("%+v, %v", pair, err)
		}
	}
}

// pipe returns the path of a pipe that nobody writes to.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// header returns a function that sets a header for request_id_urls.
func header(name, value string) func(*options.Options) {
	return func(o *options.Options) {
		secret := config.NewSecret([]byte(value))
		o.RequestIDURLHeaders = map[string]*config.Secret{name: &secret}
	}
}

// Each mistake names its option, and no secret.
func TestMistakes(t *testing.T) {
	_, certificate, key := server(t)
	keyFile, text := write(t, key), write(t, []byte("not PEM"))
	for _, tt := range []struct {
		want string
		set  func(*options.Options)
	}{
		{"tls_ca: ", func(o *options.Options) { o.TLSCA = "/nonexistent" }},
		{"tls_ca: ", func(o *options.Options) { o.TLSCA = text }},
		{"tls_cert and tls_key: ", func(o *options.Options) { o.TLSCert, o.TLSKey = "/nonexistent", "/nonexistent" }},
		{"tls_ca: ", func(o *options.Options) { o.TLSCA = "/dev/zero" }},
		{"tls_ca: ", func(o *options.Options) { o.TLSCA = pipe(t) }},
		{"tls_cert and tls_key: ", func(o *options.Options) { o.TLSCert, o.TLSKey = pipe(t), keyFile }},
		{"tls_cert and tls_key: ", func(o *options.Options) { o.TLSCert, o.TLSKey = certificate, pipe(t) }},
		{"tls_cert and tls_key: ", func(o *options.Options) { o.TLSCert = certificate }},
		{"tls_cert and tls_key: ", func(o *options.Options) { o.TLSKey = keyFile }},
		{"tls_cert and tls_key: ", func(o *options.Options) { o.TLSCert, o.TLSKey = certificate, text }},
		{"tls_min_version: ", func(o *options.Options) { o.TLSMinVersion = "canary" }},
		{"tls_cipher_suites: ", func(o *options.Options) { o.TLSCipherSuites = []string{"canary"} }},
		{"tls_renegotiation_method: ", func(o *options.Options) { o.RenegotiationMethod = "canary" }},
		{"http_proxy_url: ", func(o *options.Options) { o.HTTPProxyURL = "://user:canary@" }},
		{"http_proxy_url: ", func(o *options.Options) { o.HTTPProxyURL = "canary:3128" }},
		{"http_proxy_url: ", func(o *options.Options) { o.HTTPProxyURL = "ftp://user:canary@proxy:21" }},
		{"http_proxy_url: ", func(o *options.Options) { o.HTTPProxyURL = "http://canary:99999" }},
		{"job_labels: ", func(o *options.Options) { o.JobLabels = []string{"confidence"} }},
		{"job_labels: ", func(o *options.Options) { o.JobLabels = []string{"word_gap_max"} }},
		{"job_labels: ", func(o *options.Options) { o.JobLabels = []string{"state_code"} }},
		{"request_id_as: ", func(o *options.Options) { o.RequestIDAs = "canary" }},
		{"timeout: ", func(o *options.Options) { o.Timeout = 0 }},
		{"timeout: must be from 10ms to 1 h", func(o *options.Options) { o.Timeout = 1 }},
		{"timeout: must be from 10ms to 1 h", func(o *options.Options) {
			_ = o.Timeout.UnmarshalText([]byte("99999999999999")) // it overflows
		}},
		{"refresh_interval: must be from", func(o *options.Options) { o.RefreshInterval = 1 }},
		{"not_found_grace: must be from 1s", func(o *options.Options) {
			o.NotFoundGrace = config.Duration(10 * time.Millisecond)
		}},
		{"max_job_age: must be from 1s", func(o *options.Options) { o.MaxJobAge = 1 }},
		{"retention: must be from 1s", func(o *options.Options) { o.Retention = 1 }},
		{"max_response_size: must be at least 1000", func(o *options.Options) { o.MaxResponseSize = 1 }},
		{"api_key_file: ", func(o *options.Options) { o.APIKey, o.APIKeyFile = config.Secret{}, pipe(t) }},
		{"api_key_file: ", func(o *options.Options) {
			o.APIKey, o.APIKeyFile = config.Secret{}, write(t, []byte("canary\ncanary"))
		}},
		{"api_key: has more than one line", func(o *options.Options) { o.APIKey = config.NewSecret([]byte("canary\nx")) }},
		{"api_key: begins with a name", func(o *options.Options) { o.APIKey = config.NewSecret([]byte("KEY=canary")) }},
		{"webhook_token: shorter than 3", func(o *options.Options) { o.WebhookToken = config.NewSecret([]byte("a")) }},
		{"jobs_token: shorter than 3", func(o *options.Options) {
			o.JobsToken, o.ServiceAddress = config.NewSecret([]byte("ab")), ":1"
		}},
		{"jobs_token: has a space", func(o *options.Options) {
			o.JobsToken, o.ServiceAddress = config.NewSecret([]byte("can ary")), ":1"
		}},
		{"request_id_url_token_file: ", func(o *options.Options) { o.RequestIDURLTokenFile = pipe(t) }},
		{"request_id_url_token_file: ", func(o *options.Options) { o.RequestIDURLTokenFile = "/nonexistent" }},
		{"request_id_url_token_file: ", func(o *options.Options) { o.RequestIDURLTokenFile = write(t, []byte("\n")) }},
		{"request_id_url_headers: ", header("Host", "canary")},
		{"request_id_url_headers: ", header("content-length", "1")},
		{"request_id_url_headers: ", header("X Y", "canary")},
		{"request_id_url_headers: ", header("", "canary")},
		{"request_id_url_headers: ", header("X-Token", "can\nary")},
		{"request_id_url_headers: the environment variable TOKEN is not set", header("X-Token", "canary${TOKEN}")},
		{"request_id_url_headers: Authorization is set together", func(o *options.Options) {
			header("authorization", "canary")(o)
			o.RequestIDURLTokenFile = write(t, []byte("canary"))
		}},
		{"api_key: the environment variable KEY is not set", func(o *options.Options) {
			o.APIKey = config.NewSecret([]byte("canary${KEY}"))
		}},
		{"url: ", func(o *options.Options) { o.URL += "/ " }},
		{"url: not valid UTF-8", func(o *options.Options) { o.URL = "https://canary\uFFFD" }},
		{"webhook_token: holds ${PATH} after", func(o *options.Options) {
			o.WebhookToken = config.NewSecret([]byte("canary${PATH}"))
		}},
		{"request_ids: the environment variable ID is not set", func(o *options.Options) {
			o.RequestIDs = []string{"canary", "${ID}"}
		}},
	} {
		_, err := valid(tt.set).Config()
		want := `account "default": ` + tt.want
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %q", err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("several lines: %v", err)
		}
	}
	_, err := valid(func(o *options.Options) { o.TLSCA, o.TLSMinVersion, o.Timeout = "/nonexistent", "x", 0 }).Config()
	if n := strings.Count(err.Error(), `account "default": `); n != 3 {
		t.Errorf("%d lines, want 3: %v", n, err)
	}
}

func TestProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://environment.example:3128") // read once per process, by the first request
	for _, tt := range []struct {
		url    string
		system bool
		want   string
	}{
		{"", true, "http://environment.example:3128"},
		{"", false, ""},
		{"http://user:password@proxy.example:3128", true, "http://user:password@proxy.example:3128"},
		{"socks5://proxy.example:1080", false, "socks5://proxy.example:1080"},
	} {
		c, err := valid(func(o *options.Options) { o.HTTPProxyURL, o.UseSystemProxy = tt.url, tt.system }).Config()
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if c.Proxy != nil {
			u, err := c.Proxy(httptest.NewRequest(http.MethodGet, "http://api.example/", nil))
			if err != nil {
				t.Fatal(err)
			}
			got = u.String()
		}
		if got != tt.want {
			t.Errorf("%+v: proxy %q", tt, got)
		}
	}
}

// A name that contains the key or a token is the only mistake that is reported, since others quote the account.
func TestNamesWithSecrets(t *testing.T) {
	for _, tt := range []struct {
		want string
		set  func(*options.Options)
	}{
		{"account: contains", func(o *options.Options) {
			o.Account, o.APIKey = "canary-12", config.NewSecret([]byte("canary-12"))
		}},
		{"account: contains", func(o *options.Options) {
			o.Account, o.APIKey, o.Timeout = "Of-Canary-12", config.NewSecret([]byte("canary-12")), 0
		}},
		{"account: contains", func(o *options.Options) {
			o.Account, o.APIKey, o.APIKeyFile = "canary-12", config.Secret{}, write(t, []byte("canary-12\n"))
		}},
		{"account: contains", func(o *options.Options) { o.Account, o.APIKey = "canary", config.NewSecret([]byte("canary")) }},
		{"job_labels: contains", func(o *options.Options) {
			o.JobLabels, o.APIKey = []string{"canary12"}, config.NewSecret([]byte("canary12"))
		}},
		{"account: contains", func(o *options.Options) {
			o.Account, o.WebhookToken = "canary-0123456789", config.NewSecret([]byte("canary-0123456789"))
		}},
	} {
		_, err := valid(tt.set).Config()
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(strings.ToLower(err.Error()), "canary") {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	for _, name := range []string{"canary", "prod"} { // a short key is no part of a name
		o := valid(func(o *options.Options) { o.Account, o.APIKey = name, config.NewSecret([]byte("can")) })
		if _, err := o.Config(); err != nil {
			t.Errorf("account %s: %v", name, err)
		}
	}
}
