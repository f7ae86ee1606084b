package accounts

import (
	"context"
	"fmt"
	"time"
)

const (
	leavePage  = 100
	leaveRetry = time.Minute
)

// Leaver has something of accounts besides what is kept here.
type Leaver interface {
	// Leave forgets what there is of an account, a user's or a device's, that was deleted. It is called until it gives nil, in
	// this process or, after a crash, in the next one, and perhaps once more after that.
	Leave(ctx context.Context, name Name) error
}

// SetLeavers says who has something of accounts. It is called once, before Run.
func (s *Service) SetLeavers(leavers ...Leaver) { s.leavers = leavers }

// Delete ends an account: from now on nobody logs in to it, and its name is never given to another. What the others have
// of it is forgotten in the background, by Run. Whoever is connected stays so until somebody disconnects him. ErrUnknown.
func (s *Service) Delete(ctx context.Context, name Name) error {
	if err := s.store.DeleteUser(ctx, name, s.now()); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	s.worthless(name)
	s.goes()
	return nil
}

// goes says that there is something to leave.
func (s *Service) goes() {
	select {
	case s.left <- struct{}{}:
	default: // it will look anyway
	}
}

// runLeave lets go of what is left of deleted accounts, at once, whenever there is a new one, and again after a while if
// something could not be done.
func (s *Service) runLeave(ctx context.Context) {
	retry := time.NewTicker(leaveRetry)
	defer retry.Stop()
	for due := true; ; {
		if due {
			err := s.leave(ctx)
			if due = err != nil; due && ctx.Err() == nil {
				s.log.Warn("something is left of a deleted account", "err", err)
			}
		}
		select {
		case <-retry.C:
		case <-s.left:
			due = true
		case <-ctx.Done():
			return
		}
	}
}

// leave goes through the deleted accounts once, and gives the first error.
func (s *Service) leave(ctx context.Context) (first error) {
	for after := Name(""); ; {
		page, err := s.store.Leaving(ctx, after, leavePage)
		if err != nil {
			return err
		}
		for _, name := range page {
			after = name
			if err := s.leaveOne(ctx, name); err != nil && first == nil {
				first = fmt.Errorf("leave %s: %w", name, err)
			}
		}
		if len(page) < leavePage || ctx.Err() != nil {
			return first
		}
	}
}

func (s *Service) leaveOne(ctx context.Context, name Name) error {
	if err := s.RevokeAll(ctx, name, Digest{}); err != nil {
		return err
	}
	for _, l := range s.leavers {
		if err := l.Leave(ctx, name); err != nil {
			return err
		}
	}
	// Who has things may have given them to somebody else.
	if err := s.orphans(ctx, name); err != nil {
		return err
	}
	return s.store.Left(ctx, name)
}
