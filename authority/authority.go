// Package authority vouches for devices by certificates. It is both sides of that: a [Trust] looks, for a server, whether
// somebody that the server trusts has signed a certificate and has not revoked it; an [Authority] is such a somebody, in a
// directory of files, who makes certificates for devices and revokes them.
//
// Nothing here is our own: certificates and keys are PEM (PKCS #8), what is revoked is a list (CRL) as RFC 5280 has it.
// Both sides need each other's files only, so that any other authority does as well, and any other server.
//
// A certificate is for the device that its subject's common name says, and is one of a client. The server looks at nothing
// else of it, and asks no one: a list is read again when its file has changed.
package authority

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrRevoked means that a certificate is on the list of those that its authority has revoked.
	ErrRevoked = errors.New("the certificate is revoked")
	// ErrFile means that a file does not hold what it should.
	ErrFile = errors.New("not what the file should hold")
)

// Trust knows whom a server trusts. Safe for concurrent use.
type Trust struct {
	files   []string // certificates of the authorities; lists of what they have revoked, if there are any
	failed  []func(error)
	loading sync.Mutex // held by the one that loads; the others do not wait for it
	seen    atomic.Pointer[[]os.FileInfo]
	current atomic.Pointer[trusted]
	version atomic.Uint64
}

// trusted is what the files said when they were last read.
type trusted struct {
	roots   *x509.CertPool
	revoked map[serial]bool
}

// serial names a certificate: no authority gives a number twice.
type serial struct{ issuer, number string }

// OpenTrust reads the certificates of authorities, and lists of what they have revoked (revokedFile may be empty: nothing is),
// from PEM files. They are looked at with every certificate, and read again when they have changed. If they cannot be used
// then, what they said before goes on, and each of the functions in failed is told why, once for each change.
func OpenTrust(authoritiesFile, revokedFile string, failed ...func(error)) (*Trust, error) {
	t := &Trust{files: []string{authoritiesFile}, failed: failed}
	if revokedFile != "" {
		t.files = append(t.files, revokedFile)
	}
	seen, err := t.look()
	if err == nil {
		err = t.load(seen)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Vouches says whether one of the authorities has signed the first certificate of a chain for a client; err says why it is not
// good now, if it is not.
func (t *Trust) Vouches(chain []*x509.Certificate, now time.Time) (signed bool, err error) {
	t.refresh()
	has := t.current.Load()
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	found, err := chain[0].Verify(x509.VerifyOptions{
		Roots: has.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if stranger := (x509.UnknownAuthorityError{}); errors.As(err, &stranger) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("certificate %x: %w", chain[0].SerialNumber, err)
	}
	for _, way := range found {
		for _, c := range way {
			if has.revoked[serialOf(c)] {
				return true, fmt.Errorf("certificate %x: %w", c.SerialNumber, ErrRevoked)
			}
		}
	}
	return true, nil
}

func serialOf(c *x509.Certificate) serial {
	return serial{string(c.RawIssuer), string(c.SerialNumber.Bytes())}
}

// Version changes when what the files say does: who was let in before has to be looked at again.
func (t *Trust) Version() uint64 {
	t.refresh()
	return t.version.Load()
}

// refresh reads the files again if they have changed.
func (t *Trust) refresh() {
	seen, err := t.look()
	if err != nil || same(seen, *t.seen.Load()) || !t.loading.TryLock() {
		return // a file that is not there is about to be: it is being replaced
	}
	err = t.load(seen)
	t.loading.Unlock()
	if err != nil {
		for _, tell := range t.failed {
			tell(err)
		}
	}
}

func (t *Trust) look() (seen []os.FileInfo, err error) {
	for _, file := range t.files {
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		seen = append(seen, info)
	}
	return seen, nil
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}

// load reads the files, which looked like this just before: a change while they are read will show next time.
func (t *Trust) load(seen []os.FileInfo) error {
	t.seen.Store(&seen)
	certificates, err := readCertificates(t.files[0])
	if err != nil {
		return err
	}
	is := &trusted{roots: x509.NewCertPool(), revoked: map[serial]bool{}}
	for _, c := range certificates {
		is.roots.AddCert(c)
	}
	for _, file := range t.files[1:] {
		if err := is.revoke(file, certificates); err != nil {
			return err
		}
	}
	t.current.Store(is)
	t.version.Add(1)
	return nil
}

// revoke adds what lists of some authorities have. A list that none of them has signed is an error: it would do nothing.
func (t *trusted) revoke(file string, of []*x509.Certificate) error {
	lists, err := readLists(file)
	if err != nil {
		return err
	}
	for _, list := range lists {
		if !signedByOne(list, of) {
			return fmt.Errorf("%s: %w: none of the authorities has signed the list of %s", file, ErrFile, list.Issuer)
		}
		for _, r := range list.RevokedCertificateEntries {
			t.revoked[serial{string(list.RawIssuer), string(r.SerialNumber.Bytes())}] = true
		}
	}
	return nil
}

func signedByOne(list *x509.RevocationList, of []*x509.Certificate) bool {
	for _, c := range of {
		if list.CheckSignatureFrom(c) == nil {
			return true
		}
	}
	return false
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	return readPEM(file, "CERTIFICATE", x509.ParseCertificate)
}

func readLists(file string) ([]*x509.RevocationList, error) {
	return readPEM(file, "X509 CRL", x509.ParseRevocationList)
}

// readPEM reads all blocks of a kind; none is an error.
func readPEM[T any](file, kind string, parse func([]byte) (T, error)) (all []T, err error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			continue
		}
		one, err := parse(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", file, ErrFile, err)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w: no %s in PEM", file, ErrFile, kind)
	}
	return all, nil
}
