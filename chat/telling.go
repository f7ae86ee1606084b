package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	tellSlice  = 64 // contacts that are told of a profile in one step
	tellUsers  = 64 // users of whom is told in turn
	purgeEvery = time.Hour
	purgeBatch = 256
)

// telling wakes the one who tells contacts of changed profiles.
type telling struct{ wanted chan struct{} }

func newTelling() telling { return telling{make(chan struct{}, 1)} }

func (t telling) look() {
	select {
	case t.wanted <- struct{}{}:
	default:
	}
}

// runPeople tells contacts of changed profiles, first of those that a crash left untold, and forgets what has had its
// time, until ctx ends.
func (s *Service) runPeople(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	purged := time.Time{}
	for {
		wait := purgeEvery
		if err := s.tellProfiles(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("changes of profiles are told late", "err", err)
			wait = lookAgain
		}
		if now := s.now(); now.Sub(purged) >= purgeEvery || now.Before(purged) {
			purged = now
			if err := s.purgePeople(ctx, now); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot forget what has had its time", "err", err)
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-s.telling.wanted:
		case <-timer.C:
		}
	}
}

// tellProfiles tells everybody of whom something is left to tell, a slice of each in turn, so that nobody waits for
// those with more contacts.
func (s *Service) tellProfiles(ctx context.Context) error {
	for after := accounts.Name(""); ; {
		users, err := s.store.Tellings(ctx, after, tellUsers)
		if err != nil {
			return fmt.Errorf("look for changed profiles: %w", err)
		}
		if len(users) == 0 && after == "" {
			return nil
		}
		after = ""
		for _, who := range users {
			if err := s.tellProfile(ctx, who); err != nil {
				return err
			}
		}
		if len(users) == tellUsers {
			after = users[tellUsers-1]
		}
	}
}

func (s *Service) tellProfile(ctx context.Context, who accounts.Name) error {
	told, _, err := s.store.TellProfile(ctx, who, tellSlice)
	if err != nil {
		return fmt.Errorf("tell of the profile of %s: %w", who, err)
	}
	s.wake.Wake(told...)
	return nil
}

func (s *Service) purgePeople(ctx context.Context, now time.Time) error {
	for {
		n, err := s.store.PurgePeople(ctx, now, purgeBatch)
		if err != nil {
			return err
		}
		if n < purgeBatch {
			return nil
		}
	}
}
