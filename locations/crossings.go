package locations

import (
	"context"
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// How many crossings wait to be told: of one account, and of all that one teller tells of. Of more the oldest are lost, and
// counted: first those of the account with the most, so that nobody is in the way of others.
const (
	maxCrossedOf = maxStays
	maxCrossed   = 1024
)

// crossers is how many tell of crossings, each those of some accounts.
const crossers = 8

// told is a crossing, and who is to be told of it.
type told struct {
	crossing Crossing
	to       []accounts.Name
	home     bool // a person lets the home know whose fence it is
}

// crossings are those that wait to be told: in the order of each account, and one account after the other.
type crossings struct {
	mu    sync.Mutex // guards what follows; may be taken while a track is locked
	of    map[accounts.Name][]told
	turns []accounts.Name // those of whom something waits, the next one first
	n     int
	wake  chan struct{} // gets something when there is one
}

func newCrossings() *crossings {
	return &crossings{of: map[accounts.Name][]told{}, wake: make(chan struct{}, 1)}
}

// put adds one, and says how many were lost for it.
func (x *crossings) put(c told) (lost int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	who := c.crossing.Who
	if len(x.of[who]) == 0 {
		x.turns = append(x.turns, who)
	}
	x.of[who] = append(x.of[who], c)
	x.n++
	switch {
	case len(x.of[who]) > maxCrossedOf:
		x.loseLocked(who)
		lost = 1
	case x.n > maxCrossed:
		x.loseLocked(slices.MaxFunc(x.turns, func(a, b accounts.Name) int { return len(x.of[a]) - len(x.of[b]) }))
		lost = 1
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
	return lost
}

// loseLocked takes away the oldest one of an account.
func (x *crossings) loseLocked(who accounts.Name) {
	x.n--
	if x.of[who] = slices.Delete(x.of[who], 0, 1); len(x.of[who]) == 0 {
		delete(x.of, who)
		x.turns = slices.DeleteFunc(x.turns, func(other accounts.Name) bool { return other == who })
	}
}

// take gives the next one; false: there is none.
func (x *crossings) take() (told, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.turns) == 0 {
		return told{}, false
	}
	who := x.turns[0]
	c := x.of[who][0]
	x.n--
	x.turns = slices.Delete(x.turns, 0, 1)
	if x.of[who] = slices.Delete(x.of[who], 0, 1); len(x.of[who]) > 0 {
		x.turns = append(x.turns, who)
	} else {
		delete(x.of, who)
	}
	return c, true
}

// runCrossings tells of crossings until ctx ends.
func (s *Service) runCrossings(ctx context.Context, x *crossings) {
	for ctx.Err() == nil {
		c, ok := x.take()
		if !ok {
			select {
			case <-ctx.Done():
			case <-x.wake:
			}
			continue
		}
		if err := s.tellCrossing(ctx, &c); err != nil && ctx.Err() == nil {
			s.log.Warn("crossing of a fence not told", "subject", c.crossing.Subject.String(), "err", err)
		}
		for _, f := range s.listeners {
			f(c.crossing, c.to)
		}
	}
}
