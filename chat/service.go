package chat

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
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
	// untoldRooms are the rooms in which something is untold.
	untoldRooms untold

	onHome func(ctx context.Context, home Conversation)                           // nil: nobody wants to know
	onPair func(ctx context.Context, a, b accounts.Name)                          // nil: nobody wants to know
	sight  func(ctx context.Context, who accounts.Name, m *Message) (bool, error) // nil: everybody sees everything

	listeners []Listener // of what is written in homes

	router  Router
	live    live
	stages  stages
	crowds  crowds
	online  *online
	typists *typists

	decoys         decoys
	telling        telling
	searches       *quota
	profileChanges *quota
	handleChanges  *quota
	newRooms       *quota
	invitations    *quota
	joins          *quota
}

// New makes the messenger out of its parts. cfg has been validated.
func New(cfg Config, store Store, dir Directory, wake Waker, log *slog.Logger) *Service {
	s := &Service{
		cfg:    cfg,
		store:  store,
		dir:    dir,
		wake:   wake,
		log:    log,
		now:    time.Now,
		reach:  reach{known: map[Member]reached{}},
		untold: newUntold(cfg.MaxUntold),

		untoldRooms: newUntold(cfg.MaxUntold),

		router:  nowhere{},
		online:  newOnline(cfg.Grace),
		typists: newTypists(cfg.Typing),

		telling: newTelling(),
	}
	now := func() time.Time { return s.now() }
	s.searches = newQuota(cfg.Searches, time.Minute, now)
	s.profileChanges = newQuota(cfg.ProfileChanges, time.Hour, now)
	s.handleChanges = newQuota(cfg.HandleChanges, 24*time.Hour, now)
	s.newRooms = newQuota(cfg.NewRooms, 24*time.Hour, now)
	s.invitations = newQuota(cfg.Invitations, 24*time.Hour, now)
	s.joins = newQuota(cfg.Joins, 24*time.Hour, now)
	s.decoys.seed = maphash.MakeSeed()
	s.live.init()
	s.stages.init()
	s.crowds.init(runtime.GOMAXPROCS(0) / 2)
	if mends, is := store.(Mending); is {
		mends.OnLate(s.arrived)
	}
	return s
}

// Run does what has its time: it tells others how far members have come where that had to wait, who has come and gone, who
// types no longer, what has changed in a profile, what is written to those who watch and in large conversations; it takes away
// what messages say whose time is over, and removes what is too old. It returns nil when ctx ends. It is called once, after Load.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.runPresence(ctx) })
	running.Go(func() { s.runTyping(ctx) })
	running.Go(func() { s.runPeople(ctx) })
	running.Go(func() { s.runStages(ctx) })
	running.Go(func() { s.runBoards(ctx) })
	running.Go(func() { s.runRetention(ctx) })
	running.Go(func() { s.runExpiry(ctx) })
	running.Go(func() { s.runCrowds(ctx) })
	running.Go(func() { s.runReceipts(ctx, &s.untoldRooms, s.tellRoom) })
	s.tellAll(ctx)
	s.runReceipts(ctx, &s.untold, s.tell)
	return nil
}

// Load makes up for a crash. It is called once, before anybody arrives and before the store is told that the process lives.
func (s *Service) Load(ctx context.Context) error {
	if err := s.store.Settle(ctx); err != nil {
		return fmt.Errorf("settle who was there: %w", err)
	}
	return nil
}

// pause waits, and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
