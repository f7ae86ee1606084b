package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Files of an Authority in its directory.
const (
	CertificateFile = "ca.pem"      // what servers trust
	KeyFile         = "ca.key"      // what nobody else may have
	RevokedFile     = "revoked.pem" // the list of what is revoked
	issuedDir       = "issued"      // every certificate that was made, by its number
)

// listLife is how long a list says that it is good. Servers go on with one that is older: the file is all that there is.
const listLife = 10 * 365 * 24 * time.Hour

// Authority makes certificates for devices. One process at a time may use its directory.
type Authority struct {
	*Signer
	dir string
}

// Make makes an authority in a directory, which is made too; a file that is there already is an error.
func Make(dir, name string, life time.Duration) (*Authority, error) {
	key, pkcs8, err := newKey()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), // clocks of devices are wrong
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, issuedDir), 0o700); err != nil {
		return nil, err
	}
	if err := create(filepath.Join(dir, KeyFile), encode("PRIVATE KEY", pkcs8), 0o600); err != nil {
		return nil, err
	}
	if err := create(filepath.Join(dir, CertificateFile), encode("CERTIFICATE", raw), 0o644); err != nil {
		return nil, err
	}
	a, err := Open(dir)
	if err == nil {
		err = a.writeList(&x509.RevocationList{Number: big.NewInt(0)})
	}
	return a, err
}

// Open opens what Make has made.
func Open(dir string) (*Authority, error) {
	signer, err := OpenSigner(filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile))
	if err != nil {
		return nil, err
	}
	return &Authority{Signer: signer, dir: dir}, nil
}

// Issue makes a certificate for a device, and its key, both in PEM. The key is kept nowhere.
func (a *Authority) Issue(did string, life time.Duration) (certificate, key []byte, err error) {
	own, pkcs8, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if certificate, err = a.keep(did, own.Public(), life); err != nil {
		return nil, nil, err
	}
	return certificate, encode("PRIVATE KEY", pkcs8), nil
}

// Sign makes a certificate for a device that has made its key itself, and a request (PKCS #10, in PEM) for it. Nothing
// else of the request counts.
func (a *Authority) Sign(did, requestFile string, life time.Duration) (certificate []byte, err error) {
	requests, err := readPEM(requestFile, "CERTIFICATE REQUEST", x509.ParseCertificateRequest)
	if err == nil {
		err = requests[0].CheckSignature()
	}
	if err != nil {
		return nil, err
	}
	return a.keep(did, requests[0].PublicKey, life)
}

// keep makes a certificate, and notes it.
func (a *Authority) keep(did string, key crypto.PublicKey, life time.Duration) ([]byte, error) {
	certificate, made, err := a.sign(did, key, life)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(a.dir, issuedDir, fmt.Sprintf("%x.pem", made.SerialNumber))
	return certificate, create(name, certificate, 0o644)
}

// Issued gives every certificate that was made.
func (a *Authority) Issued() (all []*x509.Certificate, err error) {
	files, err := filepath.Glob(filepath.Join(a.dir, issuedDir, "*.pem"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		some, err := readCertificates(file)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// Revoked gives the numbers of what is revoked, in hexadecimal.
func (a *Authority) Revoked() (map[string]bool, error) {
	list, err := a.list()
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, r := range list.RevokedCertificateEntries {
		all[fmt.Sprintf("%x", r.SerialNumber)] = true
	}
	return all, nil
}

// Revoke puts every certificate of a device on the list, and those that have one of the names as number. It says which they are;
// those that are on it already are not among them.
func (a *Authority) Revoke(names ...string) (gone []*x509.Certificate, err error) {
	issued, err := a.Issued()
	if err != nil {
		return nil, err
	}
	list, err := a.list()
	if err != nil {
		return nil, err
	}
	old, err := a.Revoked()
	if err != nil {
		return nil, err
	}
	meant := map[string]bool{}
	for _, name := range names {
		meant[name] = true
	}
	for _, c := range issued {
		number := fmt.Sprintf("%x", c.SerialNumber)
		if old[number] || !meant[number] && !meant[c.Subject.CommonName] {
			continue
		}
		gone = append(gone, c)
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return gone, a.writeList(list)
}

func (a *Authority) list() (*x509.RevocationList, error) {
	lists, err := readLists(filepath.Join(a.dir, RevokedFile))
	if err != nil {
		return nil, err
	}
	return lists[0], nil
}

// writeList replaces the list, so that whoever reads it finds the old one or the new one.
func (a *Authority) writeList(list *x509.RevocationList) error {
	now := time.Now()
	next := &x509.RevocationList{
		RevokedCertificateEntries: list.RevokedCertificateEntries, Number: new(big.Int).Add(list.Number, big.NewInt(1)),
		ThisUpdate: now, NextUpdate: now.Add(listLife),
	}
	raw, err := x509.CreateRevocationList(rand.Reader, next, a.certificate, a.key)
	if err != nil {
		return err
	}
	file := filepath.Join(a.dir, RevokedFile)
	if err := os.WriteFile(file+".new", encode("X509 CRL", raw), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func newSerial() *big.Int {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	raw[0] = raw[0]&0x7F | 0x40
	return new(big.Int).SetBytes(raw)
}

func encode(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

// create writes a file that is not there yet.
func create(file string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
