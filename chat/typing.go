package chat

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// Typing says that who has started or stopped typing. Nothing is stored; it gives whom to show e to, if they are there.
// The errors are those of Send.
func (s *Service) Typing(ctx context.Context, who accounts.Name, c Conversation, on bool) (
	to []accounts.Name, e Event, err error,
) {
	peer, err := c.peer(who)
	if err != nil {
		return nil, Event{}, err
	}
	if err := s.mayTalk(ctx, who, peer); err != nil {
		return nil, Event{}, err
	}
	e = Event{Entry: Entry{Type: EventTyping, Conversation: c, Who: who}, Typing: on}
	return []accounts.Name{peer}, e, nil
}
