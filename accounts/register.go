package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Register makes an account for somebody whom no administrator knows, as Config.Registration allows. An invitation
// loses one of its uses only if there is a new account (or another one took the name in the very moment). Without a
// valid invitation nobody learns which names exist. ErrRegistrationClosed, ErrInvitation, ErrBadName,
// ErrWeakPassword, ErrTaken, ErrThrottled.
func (s *Service) Register(ctx context.Context, name, password, invitation string, addr netip.Addr) (User, error) {
	u, err := s.register(ctx, name, password, invitation, addr)
	if err != nil {
		return User{}, fmt.Errorf("register %.80q: %w", name, err)
	}
	return u, nil
}

func (s *Service) register(ctx context.Context, name, password, invitation string, addr netip.Addr) (User, error) {
	if s.cfg.Registration != RegistrationOpen && s.cfg.Registration != RegistrationInvite {
		return User{}, ErrRegistrationClosed
	}
	if _, err := ParseUser(name); err != nil {
		return User{}, err
	}
	if err := s.cfg.checkNew(password); err != nil {
		return User{}, err
	}
	if err := s.registers.take(addr); err != nil {
		return User{}, err
	}
	var use func() error
	if s.cfg.Registration == RegistrationInvite {
		d := DigestOf(invitation)
		if err := s.checkInvitation(ctx, d); err != nil {
			return User{}, err
		}
		use = func() error { return s.store.TakeInvitation(ctx, d, s.now()) }
	}
	who, err := s.checkAdd(ctx, name, password)
	if err != nil {
		return User{}, err
	}
	return s.create(ctx, who, password, use)
}

func (s *Service) checkInvitation(ctx context.Context, d Digest) error {
	i, err := s.store.Invitation(ctx, d)
	switch {
	case errors.Is(err, ErrUnknown):
		return ErrInvitation
	case err != nil:
		return err
	case i.Uses < 1 || !s.now().Before(i.Expires):
		return ErrInvitation
	}
	return nil
}

// Invite makes an invitation for a number of registrations until ttl is over; Uses, Label and By of i say which. Its code is
// not stored: this is the only time that it can be read. ErrInvitation if it could never be used.
func (s *Service) Invite(ctx context.Context, i Invitation, ttl time.Duration) (code string, made Invitation, err error) {
	if i.Uses < 1 || ttl <= 0 {
		return "", Invitation{}, fmt.Errorf("invite %d for %v: %w", i.Uses, ttl, ErrInvitation)
	}
	code, i.Digest = newSecret(invitationPrefix)
	i.Made, i.Label, i.Created = i.Uses, CleanLabel(i.Label), s.now()
	i.Expires = i.Created.Add(ttl)
	if err := s.store.PutInvitation(ctx, i); err != nil {
		return "", Invitation{}, fmt.Errorf("invite: %w", err)
	}
	return code, i, nil
}

// Invitations gives up to limit invitations in the order of their digests, those after after, used up and ended ones too as
// long as they are stored.
func (s *Service) Invitations(ctx context.Context, after Digest, limit int) ([]Invitation, error) {
	list, err := s.store.Invitations(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	return list, nil
}

// InvitationID gives the ID of an invitation for its ID or its code.
func InvitationID(idOrCode string) string {
	if hasForm(idOrCode, invitationPrefix) {
		return DigestOf(idOrCode).ID()
	}
	return idOrCode
}

// Uninvite takes the invitation with this ID, or code, back. ErrUnknown.
func (s *Service) Uninvite(ctx context.Context, id string) error {
	const page = 1000
	id = InvitationID(id)
	for after := (Digest{}); ; {
		list, err := s.store.Invitations(ctx, after, page)
		if err != nil {
			return fmt.Errorf("take invitation back: %w", err)
		}
		for _, i := range list {
			after = i.Digest
			if i.Digest.ID() != id {
				continue
			}
			if err := s.store.DeleteInvitation(ctx, i.Digest); err != nil {
				return fmt.Errorf("take invitation back: %w", err)
			}
			return nil
		}
		if len(list) < page {
			return fmt.Errorf("take invitation %.80q back: %w", id, ErrUnknown)
		}
	}
}

// registrations counts what strangers register, by address. Safe for concurrent use.
type registrations struct {
	perHour float64 // 0: no limit
	now     func() time.Time

	mu        sync.Mutex // guards addresses
	addresses *simplelru.LRU[netip.Addr, *bucket]
}

func newRegistrations(c Config, now func() time.Time) *registrations {
	return &registrations{
		perHour:   float64(c.RegistrationsPerHour),
		now:       now,
		addresses: newLRU[netip.Addr, *bucket](c.Remembered),
	}
}

// take counts one registration of addr, or fails with ErrThrottled.
func (r *registrations) take(addr netip.Addr) error {
	if r.perHour == 0 {
		return nil
	}
	addr = network(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.addresses.Get(addr)
	if !ok {
		b = new(bucket)
		r.addresses.Add(addr, b)
	}
	b.drain(r.now(), r.perHour/3600)
	if b.level+1 > r.perHour {
		missing := (b.level + 1 - r.perHour) / r.perHour * float64(time.Hour)
		return &ThrottledError{RetryAfter: max(time.Duration(missing), time.Second)}
	}
	b.level++
	return nil
}
