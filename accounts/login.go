package accounts

import (
	"context"
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
	if !now.Deleted.IsZero() {
		return ErrCredentials
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
	if now.Suspended(s.now()) {
		return ErrDisabled
	}
	return nil
}

// Issue gives a token to an account without asking for anything: for who has just registered. ErrUnknown, ErrDisabled.
func (s *Service) Issue(ctx context.Context, name Name, label string) (string, Token, error) {
	u, err := s.store.User(ctx, name)
	if err == nil {
		err = s.mayLogIn(u)
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

// mayLogIn gives ErrUnknown or ErrDisabled for who may not.
func (s *Service) mayLogIn(u User) error {
	switch u.Status(s.now()) {
	case Deleted:
		return ErrUnknown
	case Suspended:
		return ErrDisabled
	}
	return nil
}

func (s *Service) issue(ctx context.Context, owner Name, label string) (string, Token, error) {
	secret, d := newSecret(tokenPrefix)
	now := s.now()
	t := Token{Digest: d, Owner: owner, Label: CleanLabel(label), Created: now, Expires: now.Add(s.cfg.TokenLife)}
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
		if err := s.Revoke(ctx, t.Owner, t.Digest); err != nil {
			return err
		}
	}
	return nil
}

// Authenticate says who somebody is that shows a name and a secret, the account's password or one of its tokens. A
// token costs two reads of the store (the token, and whether its owner is disabled) and no password hash.
// ErrCredentials, ErrDisabled, ErrThrottled.
func (s *Service) Authenticate(ctx context.Context, name, secret string, addr netip.Addr) (Proof, error) {
	if isToken(secret) {
		t, err := s.checkToken(ctx, secret, addr, func(t Token) bool { return string(t.Owner) == name })
		s.metrics.login(byToken, err)
		if err != nil {
			return Proof{}, fmt.Errorf("authenticate %.80q: %w", name, err)
		}
		return Proof{Account: t.Owner, Token: t.Digest}, nil
	}
	known := s.attempts.knows(Name(name), addr)
	u, err := s.checkPassword(ctx, name, secret, addr)
	s.metrics.login(byPassword, err)
	if err != nil {
		return Proof{}, fmt.Errorf("authenticate %.80q: %w", name, err)
	}
	return Proof{Account: u.Name, Elsewhere: !known}, nil
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
	t, err := s.store.Token(ctx, DigestOf(secret))
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
	}
	switch u.Status(s.now()) {
	case Deleted:
		return Token{}, ErrCredentials
	case Suspended:
		return Token{}, ErrDisabled
	}
	s.attempts.succeeded(t.Owner, addr)
	return t, nil
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
	switch {
	case errors.Is(err, ErrUnknown):
	case err != nil:
		return User{}, false, err
	}
	exists := err == nil && u.Deleted.IsZero()
	if !exists {
		u.Password = s.hasher.decoy
	}
	ok, stale, err := s.hasher.verify(ctx, u.Password, password)
	switch {
	case err != nil:
		return User{}, false, err
	case !ok || !exists:
		return User{}, false, ErrCredentials
	case u.Suspended(s.now()):
		return User{}, false, ErrDisabled
	}
	return u, stale, nil
}

// upgrade hashes a password anew whose hash has other parameters than Config says. The login succeeds even if this
// cannot be done now: the next one tries again.
func (s *Service) upgrade(ctx context.Context, u User, password string) User {
	hash, err := s.hasher.hash(ctx, password)
	if err == nil {
		err = s.store.SetPassword(ctx, u.Name, u.Password, hash)
	}
	if errors.Is(err, ErrChanged) {
		return u
	}
	if err != nil {
		s.log.Warn("cannot hash a password anew", "user", u.Name, "err", err)
		return u
	}
	u.Password = hash
	return u
}
