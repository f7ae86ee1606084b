package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	// retireEvery is how often it is looked for what is too old. What the server says it keeps for some days it keeps for up to
	// an hour longer.
	retireEvery = time.Hour
	// retirePage is how many conversations, or streams, are looked at at once.
	retirePage = 128

	// keepMIDs is how long the mid of what is not a message that is there is remembered: likes, changes, and messages that a live
	// room or a board does not keep.
	keepMIDs = 7 * day
	// retireMIDs is how many mids are forgotten at once.
	retireMIDs = 1024

	day = 24 * time.Hour
)

// runRetention removes what is too old, until ctx ends.
func (s *Service) runRetention(ctx context.Context) {
	for wait := time.Minute; pause(ctx, wait); wait = retireEvery {
		if err := s.Retire(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("what is too old is still there", "err", err)
		}
	}
}

// Retire removes messages and entries of streams that are older than they are to be kept. It is safe to stop it, by ctx, and to
// call it again, at any time; Run calls it every hour.
func (s *Service) Retire(ctx context.Context) error {
	now := s.now()
	for after, more := Conversation(""), true; more; {
		page, err := s.store.Written(ctx, after, retirePage)
		if err != nil {
			return fmt.Errorf("look for old messages: %w", err)
		}
		for _, w := range page {
			if err := s.retire(ctx, w, now); err != nil {
				return err
			}
		}
		if more = len(page) == retirePage; more {
			after = page[len(page)-1].Conversation
		}
	}
	for more := true; more; {
		var err error
		if more, err = s.store.RetireMIDs(ctx, now.Add(-keepMIDs).UnixMilli(), retireMIDs); err != nil {
			return fmt.Errorf("forget old mids: %w", err)
		}
	}
	if s.cfg.KeepStreams == 0 {
		return nil
	}
	for after, more := accounts.Name(""), true; more; {
		last, err := s.store.RetireStreams(ctx, now.Add(-s.cfg.KeepStreams).UnixMilli(), after, retirePage)
		if err != nil {
			return fmt.Errorf("look for old entries: %w", err)
		}
		after, more = last, last != ""
	}
	return nil
}

// retire removes what is too old of one conversation.
func (s *Service) retire(ctx context.Context, w Written, now time.Time) error {
	keep := s.cfg.KeepMessages
	if w.Keep > 0 {
		keep = time.Duration(w.Keep) * day
	}
	before := now.Add(-keep).UnixMilli()
	if keep == 0 || w.Oldest >= before {
		return nil
	}
	for more := true; more; {
		var err error
		if more, err = s.store.Retire(ctx, w.Conversation, before); err != nil {
			return fmt.Errorf("remove old messages of %s: %w", w.Conversation, err)
		}
	}
	return nil
}
