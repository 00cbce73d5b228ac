//go:build e2e

package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// certify returns a certificate of a server at an address, which is its own root, and its key, as PEM.
func certify(t *testing.T, address net.IP) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "database"}, IPAddresses: []net.IP{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestTLS(t *testing.T) {
	certificate, key := certify(t, net.IPv4(127, 0, 0, 1))
	other, _ := certify(t, net.IPv4(127, 0, 0, 1))
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		return url.QueryEscape(path)
	}
	root, wrong := file("root.pem", certificate), file("wrong.pem", other)
	s := pgtest.Start(t)
	must(t, s.Encrypt(certificate, key))
	s.Stop()
	must(t, s.Run())
	database := s.URL(t)
	with := func(mode, root string) string {
		u := strings.Replace(database, "sslmode=disable", "sslmode="+mode, 1)
		if root != "" {
			u += "&sslrootcert=" + root
		}
		return u
	}

	db := open(t, with("verify-full", root))
	defer db.Close()
	must(t, takeOver(t, db, "a", time.Minute).Commit(one("1")))
	conn, err := pgx.Connect(t.Context(), database)
	must(t, err)
	defer conn.Close(t.Context())
	var all, encrypted int
	must(t, conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity
		JOIN pg_stat_ssl USING (pid) WHERE application_name = 'deepaffects-monitor'`).Scan(&all, &encrypted))
	if all == 0 || encrypted != all {
		t.Errorf("%d of %d connections are encrypted", encrypted, all)
	}

	for name, test := range map[string]struct{ url, want string }{
		"wrong root":     {with("verify-full", wrong), "the certificate of the database is not valid: "},
		"root of nobody": {with("verify-full", ""), "check sslrootcert, and that the host of the URL is a name"},
		"wrong name":     {strings.Replace(with("verify-full", root), "127.0.0.1", "localhost", 1), "match localhost; check"},
		"not encrypted":  {as(t, database, "stranger", ""), "no encryption"},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := postgres.Open(t.Context(), test.url, quiet)
			if err == nil {
				_ = db.Close()
				t.Fatal("it was opened")
			}
			if text := err.Error(); !strings.Contains(text, test.want) || strings.Contains(text, "\n") {
				t.Errorf("got %q, want a line with %q", text, test.want)
			}
		})
	}
}
