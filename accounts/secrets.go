package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// SetPassword replaces the password in an administrator's name, and revokes every token of the account and what Offer gave;
// who is connected by password stays so until somebody disconnects him. ErrWeakPassword, ErrUnknown.
func (s *Service) SetPassword(ctx context.Context, name Name, password string) error {
	if err := s.setPassword(ctx, name, password); err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	return nil
}

func (s *Service) setPassword(ctx context.Context, name Name, password string) error {
	if err := s.cfg.checkNew(password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	if err := s.store.SetRecovery(ctx, name, Recovery{}); err != nil {
		return err
	}
	if err := s.store.SetPassword(ctx, name, "", hash); err != nil {
		return err
	}
	s.worthless(name)
	// After the password: a login that is under way looks at it once more when its token is stored.
	return s.RevokeAll(ctx, name, Digest{})
}

// ChangePassword replaces the password for who knows the old one; tokens and connections stay, what Offer gave does not.
// Trying is limited as logging in is, and counted with it. ErrCredentials, ErrWeakPassword, ErrDisabled, ErrThrottled.
func (s *Service) ChangePassword(ctx context.Context, name Name, old, password string, addr netip.Addr) error {
	if err := s.changePassword(ctx, name, old, password, addr); err != nil {
		return fmt.Errorf("change password of %s: %w", name, err)
	}
	return nil
}

func (s *Service) changePassword(ctx context.Context, name Name, old, password string, addr netip.Addr) error {
	if err := s.cfg.checkNew(password); err != nil {
		return err
	}
	u, err := s.checkPassword(ctx, string(name), old, addr)
	if err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	for {
		// First: whoever has a code is not to undo a change that was acknowledged, and one that was not can do without.
		err := s.store.SetRecovery(ctx, name, Recovery{})
		if err == nil {
			err = s.store.SetPassword(ctx, name, u.Password, hash)
		}
		switch {
		case err == nil:
			s.worthless(name)
			return nil
		case errors.Is(err, ErrUnknown): // deleted meanwhile
			return ErrCredentials
		case !errors.Is(err, ErrChanged):
			return err
		}
		// By somebody who was first, or only hashed anew by a login: then the old one is still good.
		if err := s.recheck(ctx, u, old); err != nil {
			return err
		}
		if u, err = s.store.User(ctx, name); err != nil {
			return err
		}
	}
}

// CheckPassword says whether somebody knows the password of an account, as ChangePassword does.
func (s *Service) CheckPassword(ctx context.Context, name Name, password string, addr netip.Addr) error {
	if _, err := s.checkPassword(ctx, string(name), password, addr); err != nil {
		return fmt.Errorf("check password of %s: %w", name, err)
	}
	return nil
}

// Suspend says whether the account may log in, and its devices. Its tokens are kept, and good again when it may; whoever is
// connected stays so until somebody disconnects him, and its devices are. ErrUnknown.
func (s *Service) Suspend(ctx context.Context, name Name, how Suspension) error {
	how.Reason = CleanLabel(how.Reason)
	if err := s.store.SetSuspension(ctx, name, how); err != nil {
		return fmt.Errorf("suspend %s: %w", name, err)
	}
	s.worthless(name)
	var err error
	if how.Suspended(s.now()) {
		err = s.sleep(ctx, name)
	}
	s.stood(ctx, name)
	return err
}

// SetDisabled suspends an account without an end, or lets it in again. ErrUnknown.
func (s *Service) SetDisabled(ctx context.Context, name Name, disabled bool) error {
	return s.Suspend(ctx, name, Suspension{Disabled: disabled})
}

// SetRole gives the account a role. ErrUnknown.
func (s *Service) SetRole(ctx context.Context, name Name, role Role) error {
	if err := s.store.SetRole(ctx, name, role); err != nil {
		return fmt.Errorf("set role of %s: %w", name, err)
	}
	s.worthless(name)
	return nil
}

// IsAdmin says whether an account that may log in has the role of an administrator, as it is now.
func (s *Service) IsAdmin(ctx context.Context, name Name) (bool, error) {
	u, err := s.store.User(ctx, name)
	switch {
	case err == nil:
		return u.Status(s.now()) == Active && u.Role == RoleAdmin, nil
	case errors.Is(err, ErrUnknown):
		return false, nil
	}
	return false, fmt.Errorf("role of %s: %w", name, err)
}

// Offer makes the code with which name can set a new password, once, until ttl is over; the one before is worthless. The
// code is not stored: this is the only time that it can be read. ErrUnknown.
func (s *Service) Offer(ctx context.Context, name Name, ttl time.Duration) (code string, expires time.Time, err error) {
	code, d := newSecret(recoveryPrefix)
	expires = s.now().Add(ttl)
	if err := s.store.SetRecovery(ctx, name, Recovery{Digest: d, Expires: expires}); err != nil {
		return "", time.Time{}, fmt.Errorf("offer recovery to %s: %w", name, err)
	}
	return code, expires, nil
}

// Recover sets the password of who has a code, and revokes every token of the account. Trying is limited as logging in is,
// and counted with it; a code that is none, an account that is none and a code that has ended are ErrCredentials, after the
// same work. ErrCredentials, ErrWeakPassword, ErrThrottled.
func (s *Service) Recover(ctx context.Context, name, code, password string, addr netip.Addr) (Name, error) {
	who, err := s.recoverAccount(ctx, name, code, password, addr)
	if err != nil {
		return "", fmt.Errorf("recover %.80q: %w", name, err)
	}
	return who, nil
}

func (s *Service) recoverAccount(ctx context.Context, name, code, password string, addr netip.Addr) (Name, error) {
	if err := s.cfg.checkNew(password); err != nil {
		return "", err
	}
	who, err := ParseUser(name)
	if err != nil {
		who = ""
	}
	try, err := s.attempts.admit(ctx, who, addr)
	if err != nil {
		return "", err
	}
	var gone []Digest
	err = ErrUnknown
	if who != "" && hasForm(code, recoveryPrefix) {
		var hash string
		if hash, err = s.hasher.hash(ctx, password); err == nil {
			gone, err = s.store.Recover(ctx, who, DigestOf(code), s.now(), hash)
		}
	}
	if errors.Is(err, ErrUnknown) {
		s.attempts.failed(try)
		return "", ErrCredentials
	}
	if err != nil {
		return "", err
	}
	s.worthless(who, gone...)
	return who, s.RevokeAll(ctx, who, Digest{}) // those of logins that were under way
}
