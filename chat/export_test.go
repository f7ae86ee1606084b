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

// TellCrowd lets tests say when a change of a room that was made is known.
func TellCrowd(ctx context.Context, s *Service, change RoomChange, changed RoomChanged) {
	s.crowdChanged(ctx, change, changed)
}
