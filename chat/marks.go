package chat

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// MarkRead says that who has read a conversation up to seq, on whatever device. Marks only move forward, and never past
// the last message; the result is where they are now. Reading implies receiving. ErrNotMember, ErrNoConversation,
// ErrMalformed.
func (s *Service) MarkRead(ctx context.Context, who accounts.Name, c Conversation, seq uint64, origin any) (
	Marks, Commit, error,
) {
	return s.mark(ctx, who, c, Marks{Recv: seq, Read: seq}, origin)
}

// MarkReadPrivately is MarkRead of which nobody else learns that it was read, only that it was received.
func (s *Service) MarkReadPrivately(ctx context.Context, who accounts.Name, c Conversation, seq uint64, origin any) (
	Marks, Commit, error,
) {
	return s.mark(ctx, who, c, Marks{Recv: seq, Read: seq, Private: true}, origin)
}

// MarkReceived says that who has received a conversation up to seq. Otherwise it is as MarkRead.
func (s *Service) MarkReceived(ctx context.Context, who accounts.Name, c Conversation, seq uint64, origin any) (
	Marks, Commit, error,
) {
	return s.mark(ctx, who, c, Marks{Recv: seq}, origin)
}

func (s *Service) mark(ctx context.Context, who accounts.Name, c Conversation, m Marks, origin any) (
	Marks, Commit, error,
) {
	if err := c.mayBe(who); err != nil {
		return Marks{}, nil, err
	}
	m.ReceiptsTo = s.cfg.ReceiptsTo
	marked, commit, err := s.store.Mark(ctx, c, who, m, origin)
	if err != nil {
		return Marks{}, nil, fmt.Errorf("mark %s of %s: %w", c, who, err)
	}
	s.reach.advance(Member{c, who}, marked.Recv)
	if marked.Moved && m.Read > 0 || marked.Unflagged {
		s.wake.Wake(who) // an EntryRead for the other devices, or one of the flag
	}
	if peer, ok := c.Peer(who); ok {
		s.tellLater(Member{c, who}, peer, marked)
	} else if marked.Untold {
		s.untoldRooms.add(Member{Conversation: c}, s.now().Add(roomReceiptPause))
	}
	return marked.Marks, commit, nil
}

// tellLater sees to it that peer learns what Mark did.
func (s *Service) tellLater(m Member, peer accounts.Name, marked Marked) {
	switch {
	case marked.Untold:
		s.untold.add(m, s.now().Add(ReceiptInterval))
	case marked.Moved:
		s.wake.Wake(peer)
	}
}

// Place is where a message stands in its conversation, for somebody whose stream it is in.
type Place struct {
	Conversation Conversation
	Seq          uint64
	Own          bool // his own message: that he was given it is no news to anyone
}

// Delivered says that a session of who has acknowledged messages of its stream, in the order of the stream. In each
// conversation the received mark moves to the last of them, if the session was given everything from the mark on; one's
// own messages count as received. When it returns, the marks have their place in the order. Until a client says how far
// it has come, by MarkReceived or MarkRead, a session that started after something it was not given moves nothing.
func (s *Service) Delivered(ctx context.Context, who accounts.Name, places []Place) error {
	var order []Conversation
	of := map[Conversation][]Place{}
	for _, p := range places {
		if _, found := of[p.Conversation]; !found {
			order = append(order, p.Conversation)
		}
		of[p.Conversation] = append(of[p.Conversation], p)
	}
	for _, c := range order {
		err := s.delivered(ctx, Member{c, who}, of[c])
		if err != nil && !errors.Is(err, ErrNotMember) && !errors.Is(err, ErrNoConversation) { // he is in it no more
			return err
		}
	}
	return nil
}

// delivered is Delivered for one conversation.
func (s *Service) delivered(ctx context.Context, m Member, places []Place) error {
	at, err := s.reached(ctx, m)
	if err != nil {
		return err
	}
	mark := uint64(0)
	for _, p := range places {
		if p.Seq > at.upTo+1 {
			if at.gap != 0 && p.Seq >= at.gap {
				break
			}
			whole, err := s.whole(ctx, m, at.upTo+1, p.Seq-1)
			if err != nil {
				return err
			}
			if !whole {
				at.gap = p.Seq
				break
			}
		}
		if p.Seq > at.upTo {
			at = reached{upTo: p.Seq}
			if !p.Own {
				mark = p.Seq
			}
		}
	}
	if mark > 0 {
		if _, _, err := s.mark(ctx, m.Who, m.Conversation, Marks{Recv: mark}, nil); err != nil {
			return err
		}
	}
	s.reach.set(m, at)
	return nil
}

// reached gives what is known of how far m's member was given everything.
func (s *Service) reached(ctx context.Context, m Member) (reached, error) {
	if at, ok := s.reach.get(m); ok {
		return at, nil
	}
	marks, err := s.member(ctx, m.Who, m.Conversation)
	return reached{upTo: marks.Recv}, err
}

// whole says whether m's member needs none of the messages from seq first to seq last: they are from before he joined, or not
// there any more, or his own, which the ordinals of the first and the last one tell.
func (s *Service) whole(ctx context.Context, m Member, first, last uint64) (bool, error) {
	marks, err := s.member(ctx, m.Who, m.Conversation)
	if err != nil {
		return false, err
	}
	first = max(first, marks.Recv+1)
	var own [2]uint64
	for i, seq := range [2]*uint64{&last, &first} {
		page, err := s.store.Messages(ctx, m.Conversation, *seq-1, 0, 1)
		if err != nil {
			return false, fmt.Errorf("message %d of %s: %w", *seq, m.Conversation, err)
		}
		if first = max(first, page.Floor); first > last {
			return true, nil
		}
		if len(page.Messages) == 0 || page.Messages[0].Seq != *seq || page.Messages[0].From != m.Who {
			return false, nil
		}
		own[i] = page.Messages[0].Own
	}
	return own[0]-own[1] == last-first, nil
}

// maxReach bounds reach: about 8 MiB when all are in use. What falls out costs one read of the store.
const maxReach = 1 << 16

// reach remembers of members how far they were given everything without a gap, their own messages included. It spares
// Delivered a read for every ack, and a write for those that say nothing new. As marks only move forward, it is true for
// ever, also if other nodes move them too; an entry may be forgotten at any time.
type reach struct {
	mu    sync.Mutex // guards known
	known map[Member]reached
}

// reached says that a member was given everything up to a seq.
type reached struct {
	upTo uint64
	gap  uint64 // if not 0: between upTo and this seq is a message of somebody else
}

func (r *reach) get(m Member) (reached, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.known[m]
	return at, ok
}

func (r *reach) set(m Member, at reached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.known[m]
	if ok && (old.upTo > at.upTo || old == at) {
		return
	}
	if !ok && len(r.known) >= maxReach {
		for victim := range r.known {
			delete(r.known, victim)
			break
		}
	}
	r.known[m] = at
}

// advance is for one who has said himself how far he has come.
func (r *reach) advance(m Member, upTo uint64) {
	if old, ok := r.get(m); !ok || old.upTo < upTo {
		r.set(m, reached{upTo: upTo})
	}
}
