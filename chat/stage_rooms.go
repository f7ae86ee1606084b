package chat

import (
	"context"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// What a stage asks of its conversation.

// Act has somebody among People do what is no message, like one: slow mode is not about it. The errors are those of Write.
func (r *Room) Act(who accounts.Name) error {
	if err := r.Write(who); err != nil && !errors.Is(err, ErrSlow) {
		return err
	}
	return nil
}

// Watch gives the first seq that somebody among People may be shown as it comes; 0: he may not watch.
func (r *Room) Watch(who accounts.Name) (from uint64) {
	m := r.Of(who)
	switch {
	case !r.Exists() || r.Ended != 0 || m.IsBanned(r.Now):
		return 0
	case m.Role != RoleNone:
		return max(m.From, 1)
	case r.Conversation.Kind() == KindLive:
		return 1
	}
	return 0
}

// Parted says whether somebody among People may not watch any more who could before.
func (r *Room) Parted(before *Room) bool {
	if r.Ended != 0 && before.Ended == 0 {
		return true
	}
	for who := range r.People {
		if before.Watch(who) != 0 && r.Watch(who) == 0 {
			return true
		}
	}
	return false
}

// roomChanged has those who watch see the line of a change, and ends it for who may not watch any more.
func (s *Service) roomChanged(c Conversation, line Message) {
	s.stages.at(c, false, func(st *stage) {
		st.posted = max(st.posted, line.Seq)
		st.wakeLocked()
	})
}

// partings is another number whenever somebody may not watch a conversation any more who could before.
func (s *Service) partings(ctx context.Context, c Conversation) (uint64, error) {
	if !c.Kind().Room() {
		return 0, nil
	}
	r, err := s.store.Room(ctx, c)
	return r.Partings, err
}

// hearers gives, for each of some people, the first seq that he may be shown; 0: he may not watch.
func (s *Service) hearers(ctx context.Context, c Conversation, who []accounts.Name) ([]uint64, error) {
	from := make([]uint64, len(who))
	if c.Kind().Room() {
		r, err := s.store.Room(ctx, c, who...)
		if err != nil {
			return nil, fmt.Errorf("room %s: %w", c, err)
		}
		for i, name := range who {
			from[i] = r.Watch(name)
		}
		return from, nil
	}
	for i, name := range who {
		switch _, err := s.member(ctx, name, c); {
		case err == nil:
			from[i] = 1
		case !errors.Is(err, ErrNotMember) && !errors.Is(err, ErrNoConversation):
			return nil, err
		}
	}
	return from, nil
}

// mayLocate says whether somebody may say where he is.
func (s *Service) mayLocate(ctx context.Context, who accounts.Name, c Conversation) error {
	if err := c.mayBe(who); err != nil {
		return err
	}
	switch c.Kind() {
	case KindDirect:
		peer, _ := c.Peer(who)
		return s.mayTalk(ctx, who, peer)
	case KindGroup, KindTrip:
	default:
		return fmt.Errorf("positions in %s: %w", c, ErrNoRight)
	}
	r, err := s.store.Room(ctx, c, who)
	if err == nil {
		err = r.Act(who)
	}
	if err != nil {
		return fmt.Errorf("position of %s in %s: %w", who, c, err)
	}
	return nil
}

// recheckPlaces forgets where those are who are not in the conversation any more.
func (s *Service) recheckPlaces(ctx context.Context, st *stage) error {
	var names []accounts.Name
	st.mu.Lock()
	for who := range st.places.by {
		names = append(names, who)
	}
	st.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	from, err := s.hearers(ctx, st.c, names)
	if err != nil {
		return err
	}
	gone := map[accounts.Name]bool{}
	for i, who := range names {
		gone[who] = from[i] == 0
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.forgetLocked(func(who accounts.Name, _ *position) bool { return gone[who] })
	return nil
}
