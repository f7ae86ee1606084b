package chat

import "time"

// SetClock lets tests tell a service the time.
func SetClock(s *Service, now func() time.Time) { s.now = now }
