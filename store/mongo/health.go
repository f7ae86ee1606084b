package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"

	"github.com/magpie-im/magpie/accounts"
)

// health knows whether the database answers. When an operation fails because it may not, or when nothing was heard of it for a
// while, it is asked, by one ping at a time. If that fails, the database is away: calls fail at once, and the database is asked
// again, with growing pauses, until it answers. So nobody waits for long, and a database that comes back is not met by
// everything that has collected.
type health struct {
	log     *slog.Logger
	ping    func(context.Context) error
	timeout time.Duration // of a ping

	doubt chan struct{} // has a value when something failed
	heard atomic.Bool   // since the last look
	gone  atomic.Pointer[error]

	once   sync.Once
	cause  atomic.Pointer[error]
	failed chan struct{} // closed when cause is set
}

const (
	quiet     = 5 * time.Second        // for so long nothing has to be heard of the database
	rest      = 200 * time.Millisecond // between two looks
	firstLook = 100 * time.Millisecond // pauses while the database is away
	lastLook  = 2 * time.Second
)

func newHealth(log *slog.Logger, ping func(context.Context) error, timeout time.Duration) *health {
	return &health{log: log, ping: ping, timeout: timeout, doubt: make(chan struct{}, 1), failed: make(chan struct{})}
}

// suspect has the database looked at.
func (h *health) suspect() {
	select {
	case h.doubt <- struct{}{}:
	default:
	}
}

// watch looks at the database when that is due, until ctx ends.
func (h *health) watch(ctx context.Context) {
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.doubt:
			h.look(ctx)
		case <-tick.C:
			if !h.heard.Swap(false) {
				h.look(ctx)
			}
		}
		idle(ctx, rest)
	}
}

// look asks the database until it answers.
func (h *health) look(ctx context.Context) {
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		err := h.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if h.gone.Swap(nil) != nil {
				h.log.Warn("the database answers again")
			}
			return
		}
		gone := fmt.Errorf("the database does not answer: %w: %s", accounts.ErrUnavailable, reason(err))
		if h.gone.Swap(&gone) == nil {
			h.log.Error("the database does not answer, and nothing is accepted until it does", "err", reason(err))
		}
		idle(ctx, wait)
	}
}

func (h *health) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	return h.ping(ctx)
}

// away gives why the database does not answer, or nil.
func (h *health) away() error {
	if p := h.gone.Load(); p != nil {
		return *p
	}
	return nil
}

// fail says that the store is of no use any more.
func (h *health) fail(cause error) {
	h.once.Do(func() {
		h.log.Error("the store has failed", "err", cause)
		h.cause.Store(&cause)
		close(h.failed)
	})
}

// idle waits, or until ctx ends.
func idle(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Failed is closed when somebody else has taken the database: the process has to end. A database that is away does not close it,
// since it can come back.
func (s *Store) Failed() <-chan struct{} { return s.health.failed }

// Err says why Failed is closed; nil as long as it is not.
func (s *Store) Err() error {
	if p := s.health.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// Writable gives nil, or why a write would not be accepted now.
func (s *Store) Writable() error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("%w: %w", accounts.ErrUnavailable, err)
	}
	if err := s.health.away(); err != nil {
		return err
	}
	if s.lease == nil {
		return nil
	}
	return s.lease.holds()
}

// Checkpoint fails: there is nothing that could be copied.
func (s *Store) Checkpoint(context.Context) (string, error) {
	return "", errors.New("a database is not copied; MongoDB is backed up with its own tools, or by magpie export")
}

// doubtful says whether an operation failed in a way in which they do when the database is away.
func doubtful(err error) bool {
	return mongo.IsNetworkError(err) || mongo.IsTimeout(err) || refused(err)
}

// commands hears of every operation.
func (s *Store) commands() *event.CommandMonitor {
	return &event.CommandMonitor{
		Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if s.cfg.Watch != nil {
				s.cfg.Watch(e.Command)
			}
		},
		Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) {
			s.health.heard.Store(true)
			s.counts.command(e.CommandName, "ok", e.Duration)
		},
		Failed: func(_ context.Context, e *event.CommandFailedEvent) {
			s.counts.command(e.CommandName, "error", e.Duration)
			if doubtful(e.Failure) {
				s.health.suspect()
			}
		},
	}
}

// topology hears of servers that come and go: when there is none left that can be written to, somebody has to look.
func (s *Store) topology() *event.ServerMonitor {
	return &event.ServerMonitor{TopologyDescriptionChanged: func(e *event.TopologyDescriptionChangedEvent) {
		for _, server := range e.NewDescription.Servers {
			switch server.Kind {
			case description.ServerKindRSPrimary.String(), description.ServerKindMongos.String(),
				description.ServerKindStandalone.String(), description.ServerKindLoadBalancer.String():
				return
			}
		}
		s.health.suspect()
	}}
}
