package chat

import (
	"context"
	"errors"

	"github.com/magpie-im/magpie/accounts"
)

// What a stage asks of its conversation.

// partings is another number whenever somebody may not read the conversation any more who could before.
func (s *Service) partings(context.Context, Conversation) (uint64, error) { return 0, nil }

// hearers gives, for each of some people, the first seq that he may be shown; 0: he may not watch.
func (s *Service) hearers(ctx context.Context, c Conversation, who []accounts.Name) ([]uint64, error) {
	from := make([]uint64, len(who))
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

// mayLocate says whether somebody may share where he is.
func (s *Service) mayLocate(ctx context.Context, who accounts.Name, c Conversation) error {
	peer, err := c.peer(who)
	if err != nil {
		return err
	}
	return s.mayTalk(ctx, who, peer)
}

// recheckPlaces forgets where those are who are not in the conversation any more.
func (s *Service) recheckPlaces(context.Context, *stage) error { return nil }

// beat tells viewers of a live room how many they are.
func (s *Service) beat(context.Context, *stage) error { return nil }

// trim removes what a live room does not keep.
func (s *Service) trim(context.Context, *stage) error { return nil }
