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

// runExpiry takes away what messages say whose time is over.
func (s *Service) runExpiry(ctx context.Context) {
	ticks := time.NewTicker(expiryEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		for more := true; more && ctx.Err() == nil; {
			more = s.expire(ctx)
		}
	}
}

// expire takes one slice, and says whether there is more.
func (s *Service) expire(ctx context.Context) (more bool) {
	told, more, err := s.store.Expire(ctx, expirySlice)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Debug("messages not expired", "err", err)
		}
		return false
	}
	s.wake.Wake(told...)
	return more
}
