package accounts

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// What somebody owns and has granted sleeps as long as he is suspended: his devices do not log in, and what he lets others do
// does not hold. That is asked for with each delivery, so that it is in memory.

// maxStandings is of how many users it is in memory whether they are suspended.
const maxStandings = 100_000

// standings remember suspensions of users, each as of a Revision.
type standings struct {
	mu  sync.Mutex
	all *simplelru.LRU[Name, standing]
}

type standing struct {
	revision uint64
	Suspension
}

func newStandings() *standings {
	all, err := simplelru.NewLRU[Name, standing](maxStandings, nil)
	if err != nil {
		panic(err) // of a size that is none
	}
	return &standings{all: all}
}

func (s *standings) get(name Name) standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, _ := s.all.Get(name)
	return known
}

func (s *standings) put(name Name, x standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Add(name, x)
}

// Awake says whether somebody is not suspended now; what is no user is awake. It seldom reads the store.
func (s *Service) Awake(ctx context.Context, name Name) (bool, error) {
	if name == "" {
		return true, nil
	}
	revision := s.Revision(name) + 1 // of what is not known it is 0; before the store is read
	if known := s.standings.get(name); known.revision == revision {
		return !known.Suspended(s.now()), nil
	}
	u, err := s.store.User(ctx, name)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return false, fmt.Errorf("standing of %s: %w", name, err)
	}
	s.standings.put(name, standing{revision, u.Suspension})
	return !u.Suspended(s.now()), nil
}

// SetStood says whom to tell that somebody was suspended, or let in again, after it has become so. It is not told when a
// suspension ends by the time. It is called once, before anything else.
func (s *Service) SetStood(stood func(ctx context.Context, name Name)) { s.stood = stood }

// sleep ends what the devices of somebody have open who was suspended.
func (s *Service) sleep(ctx context.Context, owner Name) error {
	for after := Name(""); ; {
		page, err := s.store.DevicesOf(ctx, owner, after, leavePage)
		if err != nil {
			return fmt.Errorf("devices of %s: %w", owner, err)
		}
		for _, d := range page {
			s.worthless(d.Name) // who is logging in just now looks again
			s.barred(d.Name)
			after = d.Name
		}
		if len(page) < leavePage {
			return nil
		}
	}
}
