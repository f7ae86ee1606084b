package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// A board is the sum of its operations: messages of kind "op" that count for nobody. Its members say now and then what all of
// them come to; what is older is removed a while later, when nobody is still on his way from an older snapshot.

const (
	// MaxSnapshot is the longest body of a snapshot, in bytes of JSON without white space.
	MaxSnapshot = 256 << 10
	// compactEvery is how often operations are looked for that may be removed, or as often as they are kept if that is less.
	compactEvery = time.Minute
	// compactPage is how many boards are looked at at once.
	compactPage = 32
)

// Board is the newest snapshot of a board, and the last seq that there is.
type Board struct {
	Snapshot
	Head uint64
}

// Board gives the newest snapshot of a board that who is a member of; its Seq is 0, and its body empty, if there is none.
// ErrMalformed, ErrNoConversation, ErrNotMember.
func (s *Service) Board(ctx context.Context, who accounts.Name, c Conversation) (Board, error) {
	if err := s.readsBoard(ctx, who, c); err != nil {
		return Board{}, err
	}
	snapshot, err := s.store.Snapshot(ctx, c)
	if err != nil {
		return Board{}, fmt.Errorf("snapshot of %s: %w", c, err)
	}
	page, err := s.store.Messages(ctx, c, 0, 0, 0) // after the snapshot: what comes behind it is not gone
	if err != nil {
		return Board{}, fmt.Errorf("head of %s: %w", c, err)
	}
	if err := s.readsBoard(ctx, who, c); err != nil { // still, when it was read
		return Board{}, err
	}
	return Board{snapshot, page.Head}, nil
}

// SetSnapshot says what all messages of a board up to a seq come to. If there is one of a later seq, that stays. It gives the
// seq of the one that is there then. ErrMalformed, ErrTooLarge, and the errors of Send.
func (s *Service) SetSnapshot(
	ctx context.Context, who accounts.Name, c Conversation, seq uint64, body json.RawMessage, origin any,
) (uint64, Commit, error) {
	if err := c.mayBe(who); err != nil {
		return 0, nil, err
	}
	content := Content{Kind: KindOp, Body: body}
	if len(body) == 0 {
		return 0, nil, fmt.Errorf("snapshot of %s is empty: %w", c, ErrMalformed)
	}
	if _, err := content.checkBody(); err != nil {
		return 0, nil, fmt.Errorf("snapshot of %s: %w", c, err)
	}
	if len(content.Body) > MaxSnapshot {
		return 0, nil, fmt.Errorf("snapshot of %s, %d bytes: %w", c, len(content.Body), ErrTooLarge)
	}
	n, commit, err := s.store.PutSnapshot(ctx, Snapshot{Conversation: c, Seq: seq, By: who, Body: content.Body, Origin: origin})
	if err != nil {
		return 0, nil, fmt.Errorf("snapshot of %s: %w", c, err)
	}
	return n, commit, nil
}

// readsBoard checks that who is a member of a board.
func (s *Service) readsBoard(ctx context.Context, who accounts.Name, c Conversation) error {
	r, err := s.room(ctx, c, who)
	switch {
	case err != nil:
		return err
	case c.Kind() != KindBoard:
		return fmt.Errorf("%s is no board: %w", c, ErrNoConversation)
	case r.Of(who).Role == RoleNone:
		return fmt.Errorf("%s in %s: %w", who, c, ErrNotMember)
	}
	return nil
}

// runBoards removes operations that a snapshot has made worthless, until ctx ends.
func (s *Service) runBoards(ctx context.Context) {
	for pause(ctx, min(compactEvery, s.cfg.BoardKeep)) {
		if err := s.compact(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("boards not compacted", "err", err)
		}
	}
}

// compact removes what may be removed now, some at a time.
func (s *Service) compact(ctx context.Context) error {
	for {
		due, err := s.store.Outdated(ctx, s.now().Add(-s.cfg.BoardKeep).UnixMilli(), compactPage)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, o := range due {
			for more := true; more; {
				if more, err = s.store.Compact(ctx, o); err != nil {
					return fmt.Errorf("compact %s: %w", o.Conversation, err)
				}
			}
		}
	}
}
