package accounts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Login gives a token to somebody who knows the password. A token is no password: nobody gets a new token for an old
// one. label is what the client calls itself. ErrCredentials, ErrDisabled, ErrThrottled.
func (s *Service) Login(ctx context.Context, name, password, label string, addr netip.Addr) (string, Token, error) {
	secret, t, err := s.login(ctx, name, password, label, addr)
	s.metrics.login(byPassword, err)
	if err != nil {
		return "", Token{}, fmt.Errorf("log in as %.80q: %w", name, err)
	}
	return secret, t, nil
}

func (s *Service) login(ctx context.Context, name, password, label string, addr netip.Addr) (string, Token, error) {
	u, err := s.checkPassword(ctx, name, password, addr)
	if err != nil {
		return "", Token{}, err
	}
	secret, t, err := s.issue(ctx, u.Name, label)
	if err != nil {
		return "", Token{}, err
	}
	// The password may have been changed since it was compared, and that revoked the tokens of that moment, without this.
	if err := s.recheck(ctx, u, password); err != nil {
		return "", Token{}, errors.Join(err, s.store.DeleteToken(ctx, t.Digest))
	}
	return secret, t, nil
}

func (s *Service) recheck(ctx context.Context, u User, password string) error {
	now, err := s.store.User(ctx, u.Name)
	switch {
	case errors.Is(err, ErrUnknown):
		return ErrCredentials
	case err != nil:
		return err
	}
	if now.Password != u.Password { // changed, or only hashed anew by another login
		ok, _, err := s.hasher.verify(ctx, now.Password, password)
		switch {
		case err != nil:
			return err
		case !ok:
			return ErrCredentials
		}
	}
	if now.Disabled {
		return ErrDisabled
	}
	return nil
}

// Issue gives a token to an account without asking for anything: for who has just registered. ErrUnknown, ErrDisabled.
func (s *Service) Issue(ctx context.Context, name Name, label string) (string, Token, error) {
	u, err := s.store.User(ctx, name)
	if err == nil && u.Disabled {
		err = ErrDisabled
	}
	if err != nil {
		return "", Token{}, fmt.Errorf("issue token to %s: %w", name, err)
	}
	secret, t, err := s.issue(ctx, name, label)
	if err != nil {
		return "", Token{}, fmt.Errorf("issue token to %s: %w", name, err)
	}
	return secret, t, nil
}

func (s *Service) issue(ctx context.Context, owner Name, label string) (string, Token, error) {
	secret, d := newSecret(tokenPrefix)
	now := s.now()
	t := Token{Digest: d, Owner: owner, Label: cleanLabel(label), Created: now, Expires: now.Add(s.cfg.TokenLife)}
	if err := s.store.PutToken(ctx, t); err != nil {
		return "", Token{}, err
	}
	if err := s.trim(ctx, t); err != nil {
		s.log.Warn("cannot revoke the oldest tokens", "user", owner, "err", err) // the next login will
	}
	return secret, t, nil
}

// trim revokes the oldest tokens of newest's owner beyond Config.MaxTokens.
func (s *Service) trim(ctx context.Context, newest Token) error {
	tokens, err := s.store.Tokens(ctx, newest.Owner)
	if err != nil || len(tokens) <= s.cfg.MaxTokens {
		return err
	}
	tokens = slices.DeleteFunc(tokens, func(t Token) bool { return t.Digest == newest.Digest })
	slices.SortFunc(tokens, func(a, b Token) int { return a.Created.Compare(b.Created) })
	for _, t := range tokens[:len(tokens)-s.cfg.MaxTokens+1] {
		if err := s.store.DeleteToken(ctx, t.Digest); err != nil {
			return err
		}
	}
	return nil
}

// Authenticate says who somebody is that shows a name and a secret, the account's password or one of its tokens. A
// token costs two reads of the store (the token, and whether its owner is disabled) and no password hash.
// ErrCredentials, ErrDisabled, ErrThrottled.
func (s *Service) Authenticate(ctx context.Context, name, secret string, addr netip.Addr) (Name, error) {
	if isToken(secret) {
		t, err := s.checkToken(ctx, secret, addr, func(t Token) bool { return string(t.Owner) == name })
		s.metrics.login(byToken, err)
		if err != nil {
			return "", fmt.Errorf("authenticate %.80q: %w", name, err)
		}
		return t.Owner, nil
	}
	u, err := s.checkPassword(ctx, name, secret, addr)
	s.metrics.login(byPassword, err)
	if err != nil {
		return "", fmt.Errorf("authenticate %.80q: %w", name, err)
	}
	return u.Name, nil
}

// Bearer says what token somebody shows who shows nothing else; its Owner is who he is. ErrCredentials, ErrDisabled.
func (s *Service) Bearer(ctx context.Context, secret string, addr netip.Addr) (Token, error) {
	t, err := s.checkToken(ctx, secret, addr, func(Token) bool { return true })
	s.metrics.login(byToken, err)
	if err != nil {
		return Token{}, fmt.Errorf("bearer: %w", err)
	}
	return t, nil
}

// checkToken asks the store each time, so that a revoked token is revoked at once. It is not limited: nobody guesses
// 256 bits, and an unknown token costs one read.
func (s *Service) checkToken(
	ctx context.Context, secret string, addr netip.Addr, fits func(Token) bool,
) (Token, error) {
	if !isToken(secret) {
		return Token{}, ErrCredentials
	}
	t, err := s.store.Token(ctx, sha256.Sum256([]byte(secret)))
	switch {
	case errors.Is(err, ErrUnknown):
		return Token{}, ErrCredentials
	case err != nil:
		return Token{}, err
	case !s.now().Before(t.Expires) || !fits(t):
		return Token{}, ErrCredentials
	}
	u, err := s.store.User(ctx, t.Owner)
	switch {
	case errors.Is(err, ErrUnknown):
		return Token{}, ErrCredentials
	case err != nil:
		return Token{}, err
	case u.Disabled:
		return Token{}, ErrDisabled
	}
	s.attempts.succeeded(t.Owner, addr)
	return t, nil
}

// Revoke makes a token worthless from now on; one that is none already is no error.
func (s *Service) Revoke(ctx context.Context, secret string) error {
	if !isToken(secret) {
		return nil
	}
	if err := s.store.DeleteToken(ctx, sha256.Sum256([]byte(secret))); err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return nil
}

// checkPassword compares a password, within the limits on attempts, and gives the account as it is stored now.
func (s *Service) checkPassword(ctx context.Context, name, password string, addr netip.Addr) (User, error) {
	who, err := ParseUser(name)
	if err != nil {
		who = "" // no account has such a name, and everybody may know: an attempt, and no hash
	}
	try, err := s.attempts.admit(ctx, who, addr)
	if err != nil {
		return User{}, err
	}
	u, stale, err := s.compare(ctx, who, password)
	if errors.Is(err, ErrCredentials) {
		s.attempts.failed(try)
	}
	if err != nil {
		return User{}, err
	}
	s.attempts.succeeded(u.Name, addr)
	if stale {
		u = s.upgrade(ctx, u, password)
	}
	return u, nil
}

// compare takes as long for an account that does not exist as for one that does.
func (s *Service) compare(ctx context.Context, who Name, password string) (u User, stale bool, err error) {
	if who == "" || password == "" || len(password) > maxPassword || isToken(password) {
		return User{}, false, ErrCredentials
	}
	u, err = s.store.User(ctx, who)
	exists := err == nil
	switch {
	case errors.Is(err, ErrUnknown):
		u.Password = s.hasher.decoy
	case err != nil:
		return User{}, false, err
	}
	ok, stale, err := s.hasher.verify(ctx, u.Password, password)
	switch {
	case err != nil:
		return User{}, false, err
	case !ok || !exists:
		return User{}, false, ErrCredentials
	case u.Disabled:
		return User{}, false, ErrDisabled
	}
	return u, stale, nil
}

// upgrade hashes a password anew whose hash has other parameters than Config says. The login succeeds even if this
// cannot be done now: the next one tries again.
func (s *Service) upgrade(ctx context.Context, u User, password string) User {
	hash, err := s.hasher.hash(ctx, password)
	if err == nil {
		err = s.replacePassword(ctx, u.Name, u.Password, hash)
	}
	if err != nil {
		s.log.Warn("cannot hash a password anew", "user", u.Name, "err", err)
		return u
	}
	u.Password = hash
	return u
}
