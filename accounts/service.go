package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	purgeEvery = time.Hour
	purgeBatch = 1000
)

// Service is who is who. Safe for concurrent use.
type Service struct {
	cfg   Config
	store Store
	log   *slog.Logger
	now   func() time.Time

	metrics   metrics
	hasher    *hasher
	attempts  *attempts
	registers *registrations
	// changing holds a value while a stored password is compared and replaced, so that hashing a password anew, at a
	// login, never brings back one that was changed meanwhile. A channel, because its holder waits for the store.
	changing chan struct{}
	revision atomic.Uint64 // see Revision
}

// New makes a service; cfg has passed Validate.
func New(cfg Config, store Store, log *slog.Logger) *Service {
	s := &Service{
		cfg:      cfg,
		store:    store,
		log:      log,
		now:      time.Now,
		metrics:  newMetrics(),
		changing: make(chan struct{}, 1),
	}
	now := func() time.Time { return s.now() }
	s.hasher = newHasher(cfg, s.metrics.hashes)
	s.attempts = newAttempts(cfg, now)
	s.registers = newRegistrations(cfg, now)
	return s
}

// Run forgets tokens and invitations that have ended, at once and then every hour, until ctx ends. It gives nil then.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		if err := s.purge(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot purge tokens", "err", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) purge(ctx context.Context) error {
	for {
		n, err := s.store.PurgeTokens(ctx, s.now(), purgeBatch)
		if err != nil {
			return fmt.Errorf("purge tokens: %w", err)
		}
		if n < purgeBatch {
			return nil
		}
	}
}

// Add makes an account in an administrator's name. ErrBadName, ErrWeakPassword, ErrTaken.
func (s *Service) Add(ctx context.Context, name, password string) (User, error) {
	who, err := s.checkAdd(ctx, name, password)
	if err != nil {
		return User{}, fmt.Errorf("add user %.80q: %w", name, err)
	}
	u, err := s.create(ctx, who, password, nil)
	if err != nil {
		return User{}, fmt.Errorf("add user %s: %w", who, err)
	}
	return u, nil
}

// checkAdd finds what is wrong with a new account before a hash is spent on it.
func (s *Service) checkAdd(ctx context.Context, name, password string) (Name, error) {
	who, err := ParseUser(name)
	if err != nil {
		return "", err
	}
	if err := s.cfg.checkNew(password); err != nil {
		return "", err
	}
	taken, err := s.Exists(ctx, who)
	if err != nil {
		return "", err
	}
	if taken {
		return "", ErrTaken
	}
	return who, nil
}

// create stores a new account; before, if any, has to succeed between hashing and storing.
func (s *Service) create(ctx context.Context, who Name, password string, before func() error) (User, error) {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	if before != nil {
		if err := before(); err != nil {
			return User{}, err
		}
	}
	u := User{Name: who, Password: hash, Created: s.now()}
	if err := s.store.CreateUser(ctx, u); err != nil {
		return User{}, err
	}
	return u, nil
}

// SetPassword replaces the password and revokes every token of the account; whoever is connected stays so until
// somebody disconnects him. ErrWeakPassword, ErrUnknown.
func (s *Service) SetPassword(ctx context.Context, name Name, password string) error {
	if err := s.cfg.checkNew(password); err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	if err := s.replacePassword(ctx, name, "", hash); err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	s.revision.Add(1)
	// After the password: a login that is under way looks at it once more when its token is stored.
	if _, err := s.store.DeleteTokens(ctx, name); err != nil {
		return fmt.Errorf("revoke tokens of %s: %w", name, err)
	}
	return nil
}

// replacePassword stores a hash; unless old is empty, only in the place of old, and otherwise does nothing.
func (s *Service) replacePassword(ctx context.Context, name Name, old, hash string) error {
	select {
	case s.changing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.changing }()
	if old != "" {
		u, err := s.store.User(ctx, name)
		if err != nil || u.Password != old {
			return err
		}
	}
	return s.store.SetPassword(ctx, name, hash)
}

// SetDisabled says whether the account may log in. Its tokens are kept, and good again when it is enabled; whoever is
// connected stays so until somebody disconnects him. ErrUnknown.
func (s *Service) SetDisabled(ctx context.Context, name Name, disabled bool) error {
	if err := s.store.SetDisabled(ctx, name, disabled); err != nil {
		return fmt.Errorf("set disabled of %s: %w", name, err)
	}
	s.revision.Add(1)
	return nil
}

// Revision changes whenever a password is changed or an account is disabled. Who authenticated under another revision,
// and could not be found by those who end connections for that, has to authenticate again.
func (s *Service) Revision() uint64 { return s.revision.Load() }

// Users gives up to limit accounts in the order of their names, those after after.
func (s *Service) Users(ctx context.Context, after Name, limit int) ([]User, error) {
	users, err := s.store.Users(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return users, nil
}

// Active says whether name is a user that is not disabled.
func (s *Service) Active(ctx context.Context, name Name) (bool, error) {
	u, err := s.store.User(ctx, name)
	switch {
	case err == nil:
		return !u.Disabled, nil
	case errors.Is(err, ErrUnknown):
		return false, nil
	}
	return false, fmt.Errorf("look up %s: %w", name, err)
}

// Status says what there is of an account.
func (s *Service) Status(ctx context.Context, name Name) (Status, error) {
	u, err := s.store.User(ctx, name)
	switch {
	case err == nil:
		return u.Status(), nil
	case errors.Is(err, ErrUnknown):
		return Absent, nil
	}
	return Absent, fmt.Errorf("look up %s: %w", name, err)
}

// Exists says whether name is a user, disabled or not.
func (s *Service) Exists(ctx context.Context, name Name) (bool, error) {
	_, err := s.store.User(ctx, name)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrUnknown):
		return false, nil
	}
	return false, fmt.Errorf("look up %s: %w", name, err)
}
