package accounts

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// Authority vouches for devices by the certificates that it has signed.
type Authority interface {
	// Vouches says whether a certificate, the first of a chain, is one that this authority has signed for a client; then err
	// says why it is not good now, if it is not. Safe for concurrent use.
	Vouches(chain []*x509.Certificate, now time.Time) (signed bool, err error)
}

// nobody is an Authority that has signed nothing.
type nobody struct{}

func (nobody) Vouches([]*x509.Certificate, time.Time) (bool, error) { return false, nil }

// SetAuthority says who vouches for devices; nobody does before. It is called once, before anything else.
func (s *Service) SetAuthority(a Authority) { s.authority = a }

// AuthenticateDevice says which device shows a name and a secret. It costs one read of the store, one more if it is not in memory
// whether its owner is suspended, and no password hash.
// ErrCredentials, ErrDisabled, ErrThrottled.
func (s *Service) AuthenticateDevice(ctx context.Context, did, secret string, addr netip.Addr) (Proof, error) {
	p, err := s.authenticateDevice(ctx, did, secret, addr)
	s.metrics.login(byDevice, err)
	if err != nil {
		return Proof{}, fmt.Errorf("authenticate device %.80q: %w", did, err)
	}
	return p, nil
}

func (s *Service) authenticateDevice(ctx context.Context, did, secret string, addr netip.Addr) (Proof, error) {
	name, err := ParseDevice(did)
	if err != nil || !isDeviceSecret(secret) {
		return Proof{}, s.mistaken(ctx, name, addr)
	}
	d, err := s.store.Device(ctx, name)
	if err != nil {
		return Proof{}, unlessUnknown(err)
	}
	return s.proven(ctx, d, DigestOf(secret))
}

// mistaken counts an attempt with what can be no secret.
func (s *Service) mistaken(ctx context.Context, name Name, addr netip.Addr) error {
	try, err := s.attempts.admit(ctx, name, addr)
	if err != nil {
		return err
	}
	s.attempts.failed(try)
	return ErrCredentials
}

// unlessUnknown makes ErrCredentials of ErrUnknown.
func unlessUnknown(err error) error {
	if errors.Is(err, ErrUnknown) {
		return ErrCredentials
	}
	return err
}

// proven says what a device has proven that shows a secret.
func (s *Service) proven(ctx context.Context, d Device, secret Digest) (Proof, error) {
	if !d.Has(secret) {
		return Proof{}, ErrCredentials
	}
	return s.letIn(ctx, d, secret)
}

func (s *Service) letIn(ctx context.Context, d Device, shown Digest) (Proof, error) {
	switch d.Status(s.now()) {
	case Deleted:
		return Proof{}, ErrCredentials
	case Suspended:
		return Proof{}, ErrDisabled
	}
	switch awake, err := s.Awake(ctx, d.Owner); {
	case err != nil:
		return Proof{}, err
	case !awake:
		return Proof{}, ErrDisabled
	}
	return Proof{Account: d.Name, Device: true, Token: shown}, nil
}

// IsDeviceSecret says whether s has the form of what AuthenticateToken takes.
func IsDeviceSecret(s string) bool { return isDeviceSecret(s) }

// AuthenticateToken says which device shows its secret, and nothing else. ErrCredentials, ErrDisabled, ErrThrottled.
func (s *Service) AuthenticateToken(ctx context.Context, secret string, addr netip.Addr) (Proof, error) {
	p, err := s.authenticateToken(ctx, secret, addr)
	s.metrics.login(byDevice, err)
	if err != nil {
		return Proof{}, fmt.Errorf("authenticate device: %w", err)
	}
	return p, nil
}

func (s *Service) authenticateToken(ctx context.Context, secret string, addr netip.Addr) (Proof, error) {
	if !isDeviceSecret(secret) {
		return Proof{}, s.mistaken(ctx, "", addr)
	}
	d, err := s.store.DeviceBySecret(ctx, DigestOf(secret))
	if err != nil {
		return Proof{}, unlessUnknown(err)
	}
	return s.proven(ctx, d, DigestOf(secret))
}

// AuthenticateCertificate says which device shows the certificate of a TLS connection, which has proven that it has the key. The
// certificate is good from its beginning to its end, and if the authority has signed it, or it is pinned. It costs one read of
// the store. ErrCredentials, ErrDisabled.
func (s *Service) AuthenticateCertificate(ctx context.Context, state *tls.ConnectionState) (Proof, error) {
	p, err := s.authenticateCertificate(ctx, state)
	s.metrics.login(byCertificate, err)
	if err != nil {
		return Proof{}, fmt.Errorf("authenticate device by certificate: %w", err)
	}
	return p, nil
}

func (s *Service) authenticateCertificate(ctx context.Context, state *tls.ConnectionState) (Proof, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return Proof{}, ErrCredentials
	}
	leaf, now := state.PeerCertificates[0], s.now()
	shown := Digest(sha256.Sum256(leaf.Raw))
	signed, err := s.authority.Vouches(state.PeerCertificates, now)
	if err != nil {
		return Proof{}, fmt.Errorf("%w: %w", ErrCredentials, err) // also if it is pinned
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return Proof{}, ErrCredentials
	}
	d, err := s.certified(ctx, leaf, signed)
	if err != nil {
		return Proof{}, unlessUnknown(err)
	}
	return s.letIn(ctx, d, shown)
}

// certified gives the device whose certificate it is: the one that it is for, if the authority has signed it and there is such a
// device, or else the one that it is pinned to.
func (s *Service) certified(ctx context.Context, leaf *x509.Certificate, signed bool) (Device, error) {
	if name, err := deviceOf(leaf); signed && err == nil {
		d, err := s.store.Device(ctx, name)
		if !errors.Is(err, ErrUnknown) {
			return d, err
		}
	}
	return s.store.DeviceByPin(ctx, sha256.Sum256(leaf.Raw))
}

// deviceOf says which device a certificate is for: its URI did:NAME, and if it has none, its common name.
func deviceOf(c *x509.Certificate) (Name, error) {
	name := c.Subject.CommonName
	if i := slices.IndexFunc(c.URIs, isDID); i >= 0 {
		name = c.URIs[i].Opaque
		if slices.ContainsFunc(c.URIs[i+1:], isDID) {
			return "", ErrCredentials // which of them would it be?
		}
	}
	did, err := ParseDevice(name)
	if err != nil {
		return "", ErrCredentials
	}
	return did, nil
}

func isDID(u *url.URL) bool { return u.Scheme == "did" }
