package collector

import (
	"crypto/tls"
	"net/http"
	"reflect"
	"slices"
)

// Changes are the names of the accounts in which two configurations differ, in the order of these.
type Changes struct{ Added, Removed, Changed []string }

// Compare returns what changes between two configurations. It does not see a renewed client certificate, which has an
// effect without a reload, and not what a key file contains.
func Compare(before, after []Config) (c Changes) {
	find := func(in []Config, name string) *Config {
		if i := slices.IndexFunc(in, func(c Config) bool { return c.Account == name }); i >= 0 {
			return &in[i]
		}
		return nil
	}
	for i := range after {
		switch was := find(before, after[i].Account); {
		case was == nil:
			c.Added = append(c.Added, after[i].Account)
		case !was.equals(&after[i]):
			c.Changed = append(c.Changed, after[i].Account)
		}
	}
	for _, was := range before {
		if find(after, was.Account) == nil {
			c.Removed = append(c.Removed, was.Account)
		}
	}
	return c
}

// equals reports whether two configurations of an account are the same, as far as Compare sees it.
func (c *Config) equals(other *Config) bool {
	plain := func(c Config) Config {
		c.Key, c.TLS, c.Proxy = nil, nil, nil
		return c
	}
	return reflect.DeepEqual(plain(*c), plain(*other)) && sameTLS(c.TLS, other.TLS) && c.proxyURL() == other.proxyURL()
}

func sameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.InsecureSkipVerify == b.InsecureSkipVerify && a.ServerName == b.ServerName && a.MinVersion == b.MinVersion &&
		a.Renegotiation == b.Renegotiation && slices.Equal(a.CipherSuites, b.CipherSuites) &&
		a.RootCAs.Equal(b.RootCAs) && (a.GetClientCertificate == nil) == (b.GetClientCertificate == nil)
}

// proxyURL returns the proxy of requests to the API; empty: none.
func (c *Config) proxyURL() string {
	r, err := http.NewRequest(http.MethodGet, c.URL, nil)
	if err != nil || c.Proxy == nil {
		return ""
	}
	u, err := c.Proxy(r)
	if err != nil || u == nil {
		return ""
	}
	return u.String()
}
