package mongo

import (
	"bytes"
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Like is an entry of its own: likes have mids, and the sum is the state of the room. Those that wait for their turn together are
// written together.
func (c chatStore) Like(ctx context.Context, l chat.Likes) (dup bool, _ chat.Commit, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return false, nil, err
	}
	defer s.leave()
	k := liking{store: s, likes: l}
	if k.origin, err = s.originOf(l.Origin); err != nil {
		return false, nil, err
	}
	if !l.Conversation.Kind().Room() {
		return false, nil, fmt.Errorf("likes for %s: %w", l.Conversation, chat.ErrNoConversation)
	}
	if err := s.take(ctx, l.Conversation, &step{who: []accounts.Name{l.From}, take: k.take, again: k.again}); err != nil {
		return false, nil, err
	}
	return k.dup, durable{}, nil
}

// liking is likes on their way into the sum.
type liking struct {
	store  *Store
	likes  chat.Likes
	origin *originDoc
	dup    bool
}

func (k *liking) take(ctx context.Context, t *turn) error {
	k.dup = false
	r := t.room([]accounts.Name{k.likes.From}, t.now)
	if err := r.Act(k.likes.From); err != nil {
		return k.unlessRepeated(ctx, err)
	}
	t.begin(entryIsLikes)
	t.named(k.likes.From, k.likes.MID, k.likes.Fingerprint)
	t.origin = k.origin
	t.Likes += int64(k.likes.N)
	return nil
}

// unlessRepeated gives a refusal, unless the likes were taken before.
func (k *liking) unlessRepeated(ctx context.Context, refusal error) error {
	if k.likes.MID == "" {
		return refusal
	}
	e, err := k.store.named(ctx, k.likes.Conversation, k.likes.From, k.likes.MID)
	if err != nil {
		return err
	}
	if e == nil {
		return refusal
	}
	return k.again(e)
}

// again answers by the entry that has the mid of the likes.
func (k *liking) again(e *logDoc) error {
	if e.Kind == entryIsChange || !bytes.Equal(e.Fingerprint, k.likes.Fingerprint[:]) {
		return fmt.Errorf("mid %.80q in %s: %w", k.likes.MID, k.likes.Conversation, chat.ErrConflict)
	}
	k.dup = true
	return nil
}

func (c chatStore) Liked(ctx context.Context, name chat.Conversation) (likes uint64, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	err = s.look(ctx, name, nil, func(t *turn) error {
		likes = uint64(t.Likes)
		return nil
	})
	return likes, err
}
