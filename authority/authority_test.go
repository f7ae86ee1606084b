package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func makeCA(t *testing.T) *Authority {
	t.Helper()
	a, err := Make(filepath.Join(t.TempDir(), "ca"), "Devices", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Authority) path(file string) string { return filepath.Join(a.dir, file) }

func issue(t *testing.T, a *Authority, did string, life time.Duration) []*x509.Certificate {
	t.Helper()
	raw, _, err := a.Issue(did, life)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, raw)
}

func parse(t *testing.T, raw []byte) []*x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(raw)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c}
}

func vouches(t *testing.T, trust *Trust, what string, chain []*x509.Certificate, signed bool, want error) {
	t.Helper()
	got, err := trust.Vouches(chain, time.Now())
	if got != signed || !errors.Is(err, want) {
		t.Errorf("%s: %t, %v, want %t, %v", what, got, err, signed, want)
	}
}

func TestATrustKnowsWhatItsAuthoritiesHaveSignedAndRevoked(t *testing.T) {
	a, b := makeCA(t), makeCA(t)
	lamp, lock, foreign := issue(t, a, "lamp", time.Hour), issue(t, a, "lock", time.Hour), issue(t, b, "lamp", time.Hour)
	var failed []error
	trust, err := OpenTrust(a.path(CertificateFile), a.path(RevokedFile), func(err error) { failed = append(failed, err) })
	if err != nil {
		t.Fatal(err)
	}
	vouches(t, trust, "signed", lamp, true, nil)
	vouches(t, trust, "signed by another of the same name", foreign, false, nil)
	over := x509.CertificateInvalidError{}
	if signed, err := trust.Vouches(issue(t, a, "lamp", -time.Minute), time.Now()); !signed || !errors.As(err, &over) {
		t.Errorf("over: %t, %v", signed, err)
	}
	version := trust.Version()
	if gone, err := a.Revoke("lock"); err != nil || len(gone) != 1 || gone[0].SerialNumber.Cmp(lock[0].SerialNumber) != 0 {
		t.Fatalf("revoked %v, %v", gone, err)
	}
	vouches(t, trust, "revoked", lock, true, ErrRevoked)
	vouches(t, trust, "not revoked", lamp, true, nil)
	if trust.Version() == version {
		t.Error("nobody knows that there is a new list")
	}

	// A list that is none, or another's, changes nothing.
	theirs, err := os.ReadFile(b.path(RevokedFile))
	if err != nil {
		t.Fatal(err)
	}
	for i, content := range [][]byte{[]byte("nonsense"), theirs} {
		if err := os.WriteFile(a.path(RevokedFile), content, 0o600); err != nil {
			t.Fatal(err)
		}
		vouches(t, trust, "revoked before", lock, true, ErrRevoked)
		if len(failed) != i+1 || !errors.Is(failed[i], ErrFile) {
			t.Errorf("told of %v", failed)
		}
	}
	if _, err := OpenTrust(a.path(CertificateFile), a.path(RevokedFile)); !errors.Is(err, ErrFile) {
		t.Errorf("opened with another's list: %v", err)
	}
	if err := os.Remove(a.path(CertificateFile)); err != nil {
		t.Fatal(err)
	}
	vouches(t, trust, "without the file", lamp, true, nil)
}

func TestAnAuthoritySignsForWhoHasMadeItsKey(t *testing.T) {
	a := makeCA(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.path("request.pem"), encode("CERTIFICATE REQUEST", raw), 0o600); err != nil {
		t.Fatal(err)
	}
	signed, err := a.Sign("tv", a.path("request.pem"), 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, signed)[0]
	if c.Subject.CommonName != "tv" || !key.PublicKey.Equal(c.PublicKey) || c.IsCA || !c.NotAfter.Equal(a.certificate.NotAfter) {
		t.Errorf("certificate of %s until %v", c.Subject, c.NotAfter)
	}
	trust, err := OpenTrust(a.path(CertificateFile), "")
	if err != nil {
		t.Fatal(err)
	}
	vouches(t, trust, "signed", []*x509.Certificate{c}, true, nil)
	all, err := a.Issued()
	if err != nil || len(all) != 1 {
		t.Errorf("issued %v, %v", all, err)
	}
}

func TestAnAuthorityIsMadeOnce(t *testing.T) {
	a := makeCA(t)
	before, err := os.ReadFile(a.path(KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Make(a.dir, "Again", time.Hour); !errors.Is(err, os.ErrExist) {
		t.Errorf("made again: %v", err)
	}
	after, err := os.ReadFile(a.path(KeyFile))
	if err != nil || string(after) != string(before) {
		t.Errorf("another key, %v", err)
	}
}
