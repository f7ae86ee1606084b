package pebble

import (
	"context"
	"maps"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Large(ctx context.Context, user accounts.Name) ([]chat.Attending, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	st, err := s.streams.pin(ctx, user)
	if err != nil {
		return nil, err
	}
	defer s.streams.unpin(st)
	s.seq.mu.Lock()
	names := slices.Sorted(maps.Keys(st.value.large))
	s.seq.mu.Unlock()
	out := make([]chat.Attending, len(names))
	for i, name := range names {
		conv, err := s.conversations.pin(ctx, name)
		if err != nil {
			return nil, err
		}
		s.seq.mu.Lock()
		out[i] = chat.Attending{
			Conversation: name, Head: conv.value.head, Mute: st.value.sides.all[name].Mute,
		}
		s.conversations.unpinLocked(conv)
		s.seq.mu.Unlock()
	}
	return out, nil
}

func (c chatStore) Crew(ctx context.Context, name chat.Conversation) ([]accounts.Name, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	conv, err := s.conversations.pin(ctx, name)
	if err != nil {
		return nil, err
	}
	defer s.conversations.unpin(conv)
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	return slices.Sorted(maps.Keys(conv.value.pinned)), nil
}

// largeTallies calls of, under the lock, with tallies of those of a user's conversations that are not in his stream and have
// something unread, and gives what covers them; nil: nothing. What is in memory is not pinned: all of it is looked at under one
// lock, however many there are.
func (s *Store) largeTallies(ctx context.Context, st *stream, of func([]chat.Tally)) (last *commit, err error) {
	var pinned []parties
	var out []chat.Tally
	defer func() {
		for i := range pinned {
			pinned[i].release()
		}
	}()
	for {
		var missing []chat.Conversation
		out, last = out[:0], nil
		s.seq.mu.Lock()
		for name := range st.large {
			conv, m, ok := s.peekMemberLocked(name, st.user)
			if !ok || conv.behindLocked(m) {
				missing = append(missing, name)
				continue
			}
			if t := conv.tallyLocked(m); t.Unread() != 0 {
				out = append(out, t)
				if last == nil || last.number < conv.last.number {
					last = conv.last
				}
			}
		}
		if len(missing) == 0 {
			of(out)
			s.seq.mu.Unlock()
			return last, nil
		}
		s.seq.mu.Unlock()
		for _, name := range missing {
			p, err := s.parties(ctx, name, false, st.user)
			if err != nil {
				return nil, err
			}
			pinned = append(pinned, p)
		}
	}
}

// peekMemberLocked gives a room and somebody who has to do with it, if both are in memory.
func (s *Store) peekMemberLocked(name chat.Conversation, who accounts.Name) (*conversation, *member, bool) {
	conv, ok := s.conversations.peekLocked(name)
	if !ok {
		return nil, nil, false
	}
	m, ok := s.members.peekLocked(chat.Member{Conversation: name, Who: who})
	return conv, m, ok
}
