package chat

import (
	"context"
	"time"
)

const (
	// expiryEvery is how often messages are looked for whose time is over. They read as gone before they are found.
	expiryEvery = time.Second
	expirySlice = 256 // messages at once
)

// runExpiry takes away what messages say whose time is over, until ctx ends.
func (s *Service) runExpiry(ctx context.Context) {
	for pause(ctx, expiryEvery) {
		for more := true; more && ctx.Err() == nil; {
			more = s.expire(ctx)
		}
	}
}

// expire takes one slice, and says whether there is more.
func (s *Service) expire(ctx context.Context) (more bool) {
	expired, err := s.store.Expire(ctx, expirySlice)
	s.wake.Wake(expired.Told...)
	for _, r := range expired.Changes {
		s.showChange(r, expired.Commit)
		s.crowds.changedMessage(r.Conversation, r.Rev) // of large ones
	}
	if err != nil && ctx.Err() == nil {
		s.log.Debug("messages not expired", "err", err)
	}
	return err == nil && expired.More
}
