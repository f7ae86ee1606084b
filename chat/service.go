package chat

import (
	"log/slog"
	"time"
)

// Service is the messenger of one node. Make one with [New], and keep [Service.Run] running. Safe for concurrent use.
//
// Errors wrap one of those in errors.go. What a method writes has its place in the order when it returns, and may be
// acknowledged once the commit is durable; a nil commit means that everything in the answer is durable already. The
// sessions of those concerned are woken by the method: what they read waits for the commit by itself.
//
// An origin is opaque here: what the store must make durable together with the change.
type Service struct {
	cfg   Config
	store Store
	dir   Directory
	wake  Waker
	log   *slog.Logger
	now   func() time.Time

	reach  reach
	untold untold
}

// New makes the messenger out of its parts. cfg has been validated.
func New(cfg Config, store Store, dir Directory, wake Waker, log *slog.Logger) *Service {
	return &Service{
		cfg:    cfg,
		store:  store,
		dir:    dir,
		wake:   wake,
		log:    log,
		now:    time.Now,
		reach:  reach{known: map[Member]reached{}},
		untold: newUntold(cfg.MaxUntold),
	}
}
