package transport

import (
	"crypto/tls"
	"os"
	"sync"
	"sync/atomic"
)

// Certificates gives a TLS configuration with a certificate chain and its key from two PEM files. The files are looked
// at with every handshake and read again when they have changed, so that a renewal needs no restart. If they cannot be
// used then, the last certificate that could goes on, and each of the functions in failed is told why, once for each
// change.
func Certificates(certFile, keyFile string, failed ...func(error)) (*tls.Config, error) {
	c := &certificates{files: [2]string{certFile, keyFile}, failed: failed}
	seen, err := c.look()
	if err != nil {
		return nil, err
	}
	if err := c.load(seen); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

type certificates struct {
	files   [2]string
	failed  []func(error)
	loading sync.Mutex // held by the one that loads; the others do not wait for it
	current atomic.Pointer[tls.Certificate]
	seen    atomic.Pointer[look] // the files when they were last loaded, or failed to
}

// look is what the files are like from outside.
type look [2]os.FileInfo

func (l look) same(m look) bool {
	for i := range l {
		if !os.SameFile(l[i], m[i]) || !l[i].ModTime().Equal(m[i].ModTime()) || l[i].Size() != m[i].Size() {
			return false
		}
	}
	return true
}

func (c *certificates) look() (l look, err error) {
	for i, file := range c.files {
		if l[i], err = os.Stat(file); err != nil {
			return look{}, err
		}
	}
	return l, nil
}

// load reads the files, which looked like l just before: a change while they are read will show next time.
func (c *certificates) load(l look) error {
	c.seen.Store(&l)
	certificate, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if err != nil {
		return err
	}
	c.current.Store(&certificate)
	return nil
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	// A file that is not there is about to be: renewals replace them.
	if l, err := c.look(); err == nil && !l.same(*c.seen.Load()) && c.loading.TryLock() {
		err := c.load(l)
		c.loading.Unlock()
		if err != nil {
			for _, tell := range c.failed {
				tell(err)
			}
		}
	}
	return c.current.Load(), nil
}
