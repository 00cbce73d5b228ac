package options

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"

	telegraftls "github.com/influxdata/telegraf/plugins/common/tls"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/credential"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
)

// TLSConfig returns the TLS configuration, by default with TLS 1.2 or later. Telegraf's
// loader calls it, too. The error has a line for each mistake with the option.
func (o *Options) TLSConfig() (*tls.Config, error) {
	if o.Enable != nil && !*o.Enable { // as in Telegraf: the other TLS options are ignored
		return &tls.Config{MinVersion: telegraftls.TLSMinVersionDefault}, nil
	}
	_, err := o.certificate()
	mistakes := []error{err}
	mistake := func(err error, text string) { // err may quote the value
		if err != nil {
			mistakes = append(mistakes, errors.New(text))
		}
	}
	if err := checkCA(o.TLSCA); err != nil {
		mistakes = append(mistakes, fmt.Errorf("tls_ca: %w; %s", err, remedy(err, "give a PEM file")))
	}
	renegotiation := telegraftls.ClientConfig{RenegotiationMethod: o.RenegotiationMethod}
	_, err = renegotiation.TLSConfig()
	mistake(err, `tls_renegotiation_method: must be "never", "once" or "freely"`)
	version, err := telegraftls.ParseTLSVersion(cmp.Or(o.TLSMinVersion, "TLS12"))
	mistake(err, `tls_min_version: must be "TLS10", "TLS11", "TLS12" or "TLS13"`)
	ciphers, err := telegraftls.ParseCiphers(o.TLSCipherSuites)
	mistake(err, `tls_cipher_suites: must be "all", "secure", "insecure" or names of suites of Go's crypto/tls`)
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	c, err := o.ClientConfig.TLSConfig()
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	c = cmp.Or(c, new(tls.Config))
	c.MinVersion = version // Telegraf ignores this and cipher suites unless another option is set
	if len(ciphers) > 0 {
		c.CipherSuites = ciphers
	}
	if o.TLSCert != "" {
		c.Certificates = nil
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.certificate() }
	}
	return c, nil
}

// certificate reads the client's certificate, if there is one. A renewed one is used
// from the next handshake on.
func (o *Options) certificate() (*tls.Certificate, error) {
	pair := telegraftls.ClientConfig{TLSCert: o.TLSCert, TLSKey: o.TLSKey, TLSKeyPwd: o.TLSKeyPwd}
	var c *tls.Config
	err := checkFiles(o.TLSCert, o.TLSKey)
	if err == nil {
		c, err = pair.TLSConfig()
	}
	switch {
	case err == nil && (o.TLSCert == "") != (o.TLSKey == ""):
		err = errors.New("one is missing")
	case err == nil && o.TLSCert == "":
		return nil, nil
	}
	if err != nil {
		return nil, outbound.Showable(fmt.Errorf("tls_cert and tls_key: %w; %s", err,
			remedy(err, "give both, as PEM files")))
	}
	return &c.Certificates[0], nil
}

// checkCA returns an error if a file, if there is one, has no certificate. That of Telegraf is garbled.
func checkCA(path string) error {
	if path == "" {
		return nil
	}
	if err := credential.CheckFile(path); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		err = fmt.Errorf("no certificate in %s", path)
	}
	return err
}

// remedy returns what to do about a file: about its rights, or otherwise.
func remedy(err error, otherwise string) string {
	if errors.Is(err, fs.ErrPermission) {
		return "let the user of this process read it"
	}
	return otherwise
}

// checkFiles returns an error for a path that is not that of a regular file, or that cannot be opened.
func checkFiles(paths ...string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if err := credential.CheckFile(path); err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		_ = file.Close() // nothing was written
	}
	return nil
}

// proxy returns what chooses the proxy of a request. http_proxy_url has precedence, as
// use_system_proxy is on by default.
func (o *Options) proxy() (func(*http.Request) (*url.URL, error), error) {
	switch {
	case o.HTTPProxyURL != "":
		u, err := outbound.ParseURL(o.HTTPProxyURL, "http", "https", "socks5", "socks5h")
		if err != nil {
			return nil, errors.New(`not an http, https or socks5 URL; give one such as "http://proxy.example:3128"`)
		}
		return http.ProxyURL(u), nil
	case o.UseSystemProxy:
		return http.ProxyFromEnvironment, nil
	}
	return nil, nil
}
