package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	revoked   func(owner Name, tokens []Digest) // see SetRevoked
	barred    func(did Name)                    // see SetBarred
	stood     func(context.Context, Name)       // see SetStood
	standings *standings
	authority Authority // see SetAuthority
	leavers   []Leaver
	left      chan struct{} // has room for one: there is something to leave
	lastAct   atomic.Int64  // Unix nanoseconds
	revisions *revisions    // see Revision
}

// New makes a service; cfg has passed Validate.
func New(cfg Config, store Store, log *slog.Logger) *Service {
	s := &Service{
		cfg:       cfg,
		store:     store,
		log:       log,
		now:       time.Now,
		metrics:   newMetrics(),
		revoked:   func(Name, []Digest) {},
		barred:    func(Name) {},
		stood:     func(context.Context, Name) {},
		standings: newStandings(),
		authority: nobody{},
		revisions: newRevisions(),
		left:      make(chan struct{}, 1),
	}
	now := func() time.Time { return s.now() }
	s.hasher = newHasher(cfg, s.metrics.hashes)
	s.attempts = newAttempts(cfg, now)
	s.registers = newRegistrations(cfg, now)
	return s
}

// Run forgets tokens and invitations that have ended and acts that are old, at once and then every hour, and what is left of
// deleted accounts, until ctx ends. It gives nil then.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.runLeave(ctx) })
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		if err := errors.Join(s.purge(ctx), s.purgeActs(ctx)); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot purge what has ended", "err", err)
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

// Users gives up to limit accounts in the order of their names, those after after.
func (s *Service) Users(ctx context.Context, after Name, limit int) ([]User, error) {
	users, err := s.store.Users(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return users, nil
}

// User gives an account, also one that was deleted. ErrUnknown.
func (s *Service) User(ctx context.Context, name Name) (User, error) {
	u, err := s.store.User(ctx, name)
	if err != nil {
		return User{}, fmt.Errorf("look up %.80q: %w", name, err)
	}
	return u, nil
}

// Active says whether name is a user that is neither disabled nor deleted.
func (s *Service) Active(ctx context.Context, name Name) (bool, error) {
	u, err := s.store.User(ctx, name)
	switch {
	case err == nil:
		return u.Status(s.now()) == Active, nil
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
		return u.Status(s.now()), nil
	case errors.Is(err, ErrUnknown):
		return Absent, nil
	}
	return Absent, fmt.Errorf("look up %s: %w", name, err)
}

// Standing says what there is of a name, whether it is a user's or a device's.
func (s *Service) Standing(ctx context.Context, name Name) (status Status, device bool, err error) {
	status, err = s.Status(ctx, name)
	if status != Absent || err != nil {
		return status, false, err
	}
	d, err := s.store.Device(ctx, name)
	switch {
	case err == nil:
		awake, err := s.Awake(ctx, d.Owner)
		if status = d.Status(s.now()); status == Active && !awake {
			status = Suspended
		}
		return status, true, err
	case errors.Is(err, ErrUnknown):
		return Absent, false, nil
	}
	return Absent, false, fmt.Errorf("look up %s: %w", name, err)
}

// Exists says whether name belongs, or belonged, to a user, disabled or not.
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
