package trips

import "context"

// Expire does what is due.
func (s *Service) Expire(ctx context.Context) error { return s.expire(ctx) }

// Part ends the trips of those who may not log in.
func (s *Service) Part(ctx context.Context) error { return s.part(ctx) }
