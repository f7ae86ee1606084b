package accounts

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
)

// SetRevoked says whom to tell of tokens that have become worthless, after they have: who ends what they opened. It is
// called once, before anything else, and must not wait for a client.
func (s *Service) SetRevoked(revoked func(owner Name, tokens []Digest)) { s.revoked = revoked }

// SetBarred says whom to tell of a device that may not log in any more, after that has become so: who ends what it has
// open. It is called once, before anything else, and must not wait for a client.
func (s *Service) SetBarred(barred func(did Name)) { s.barred = barred }

// Revision changes whenever something that the account has shown may have become worthless, or be worth less: a password is
// changed, a token revoked, a role given or taken, the account disabled or deleted. Who authenticated under another
// revision, and could not be found by those who end connections for that, has to authenticate again.
func (s *Service) Revision(name Name) uint64 { return s.revisions.of(name).Load() }

// Revisions changes whenever the Revision of any account does, for who does not know yet whose is meant.
func (s *Service) Revisions() uint64 { return s.revisions.all.Load() }

// revisions are kept by the hash of names: that two accounts share one costs a login now and then.
type revisions struct {
	seed  maphash.Seed
	count [1024]atomic.Uint64
	all   atomic.Uint64
}

func newRevisions() *revisions { return &revisions{seed: maphash.MakeSeed()} }

func (r *revisions) of(name Name) *atomic.Uint64 {
	return &r.count[maphash.String(r.seed, string(name))%uint64(len(r.count))]
}

// Revoke makes tokens of owner worthless from now on, and ends what they opened; one that is none already is no error.
func (s *Service) Revoke(ctx context.Context, owner Name, tokens ...Digest) error {
	for _, d := range tokens {
		if err := s.store.DeleteToken(ctx, d); err != nil {
			return fmt.Errorf("revoke token of %s: %w", owner, err)
		}
		s.worthless(owner, d)
	}
	return nil
}

// RevokeAll does so with every token of owner but keep; zero: with all.
func (s *Service) RevokeAll(ctx context.Context, owner Name, keep Digest) error {
	gone, err := s.store.DeleteTokens(ctx, owner, keep)
	if err != nil {
		return fmt.Errorf("revoke tokens of %s: %w", owner, err)
	}
	s.worthless(owner, gone...)
	return nil
}

// worthless tells that what was stored of owner's secrets has changed.
func (s *Service) worthless(owner Name, tokens ...Digest) {
	s.revisions.of(owner).Add(1) // before: who is not found yet looks at it when he can be
	s.revisions.all.Add(1)
	if len(tokens) > 0 {
		s.revoked(owner, tokens)
	}
}

// Good says whether a token of owner is one that he could show now. ErrCredentials, ErrDisabled.
func (s *Service) Good(ctx context.Context, owner Name, d Digest) error {
	t, err := s.store.Token(ctx, d)
	if err == nil && (t.Owner != owner || !s.now().Before(t.Expires)) {
		err = ErrUnknown
	}
	var u User
	if err == nil {
		u, err = s.store.User(ctx, owner)
	}
	if err == nil {
		err = s.mayLogIn(u)
	}
	if errors.Is(err, ErrUnknown) {
		err = ErrCredentials
	}
	if err != nil {
		return fmt.Errorf("token of %s: %w", owner, err)
	}
	return nil
}

// Tokens gives the tokens of owner that have not ended, in any order.
func (s *Service) Tokens(ctx context.Context, owner Name) ([]Token, error) {
	all, err := s.store.Tokens(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("tokens of %s: %w", owner, err)
	}
	good := all[:0]
	for _, t := range all {
		if s.now().Before(t.Expires) {
			good = append(good, t)
		}
	}
	return good, nil
}

// Label calls a token something else. ErrUnknown.
func (s *Service) Label(ctx context.Context, d Digest, label string) error {
	if err := s.store.SetLabel(ctx, d, CleanLabel(label)); err != nil {
		return fmt.Errorf("label token: %w", err)
	}
	return nil
}
