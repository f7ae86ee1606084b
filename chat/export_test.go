package chat

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// SetSeen lets tests say who may see whether users are there: nobody, contacts or everyone.
func (s *Service) SetSeen(seen func(accounts.Name) string) {
	s.audience = func(_ context.Context, who accounts.Name) (audience, error) {
		return map[string]audience{"nobody": audienceNobody, "everyone": audienceEveryone}[seen(who)], nil
	}
}

// SeenChanged is what a change of that setting calls.
func (s *Service) SeenChanged(who accounts.Name, visible bool) { s.seenChanged(who, visible) }
