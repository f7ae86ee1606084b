package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// ErrRequest means that a request for a certificate is none, or is not signed with its own key, or has a key that is too weak.
var ErrRequest = errors.New("no request for a certificate")

// Signer makes certificates, and keeps nothing of them: the server that has one notes itself whose they are. Safe for concurrent
// use.
type Signer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// OpenSigner reads the certificate of an authority and its key, PEM, as Make writes them.
func OpenSigner(certificateFile, keyFile string) (*Signer, error) {
	certificates, err := readCertificates(certificateFile)
	if err != nil {
		return nil, err
	}
	keys, err := readPEM(keyFile, "PRIVATE KEY", x509.ParsePKCS8PrivateKey)
	if err != nil {
		return nil, err
	}
	key, ok := keys[0].(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: %w: the key cannot sign", keyFile, ErrFile)
	}
	own, ok := certificates[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !own.Equal(key.Public()) || !certificates[0].IsCA {
		return nil, fmt.Errorf("%s: %w: it is not the key of an authority in %s", keyFile, ErrFile, certificateFile)
	}
	return &Signer{certificates[0], key}, nil
}

// Issue makes a certificate for a name, and its key, both in PEM.
func (s *Signer) Issue(name string, life time.Duration) (certificate, key []byte, err error) {
	own, pkcs8, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	certificate, _, err = s.sign(name, own.Public(), life)
	return certificate, encode("PRIVATE KEY", pkcs8), err
}

// Sign makes a certificate for a name, of the key of a request (PKCS #10, in PEM). Nothing else of the request counts.
// ErrRequest.
func (s *Signer) Sign(request []byte, name string, life time.Duration) (certificate []byte, err error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, ErrRequest
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if !strong(r.PublicKey) {
		return nil, fmt.Errorf("%w: its key", ErrRequest)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	certificate, _, err = s.sign(name, r.PublicKey, life)
	return certificate, err
}

// strong says whether a key is one that a device may have.
func strong(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return 2048 <= key.N.BitLen() && key.N.BitLen() <= 4096
	case *ecdsa.PublicKey:
		return key.Curve != elliptic.P224()
	case ed25519.PublicKey:
		return true
	}
	return false
}

// Secret is one for a purpose, that only who has the key knows.
func (s *Signer) Secret(purpose string) ([]byte, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, pkcs8, nil, purpose, sha256.Size)
}

func newKey() (key *ecdsa.PrivateKey, pkcs8 []byte, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
		pkcs8, err = x509.MarshalPKCS8PrivateKey(key)
	}
	return key, pkcs8, err
}

// sign makes a certificate, in PEM.
func (s *Signer) sign(name string, key crypto.PublicKey, life time.Duration) ([]byte, *x509.Certificate, error) {
	now := time.Now()
	end := now.Add(life)
	if end.After(s.certificate.NotAfter) {
		end = s.certificate.NotAfter // it would be good for nothing then
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: end, // clocks of devices are wrong
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, s.certificate, key, s.key)
	if err != nil {
		return nil, nil, err
	}
	return encode("CERTIFICATE", raw), template, nil
}
