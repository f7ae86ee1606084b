package chat

import (
	"context"
	"time"
)

// SetClock lets tests tell a service the time.
func SetClock(s *Service, now func() time.Time) { s.now = now }

// ChangeRoom lets tests take any step.
func (s *Service) ChangeRoom(ctx context.Context, change RoomChange) (RoomChanged, Commit, error) {
	return s.changeRoom(ctx, change)
}
