package devices

import (
	"context"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// What is granted begins and ends by the time. Who may see a device is asked for with each delivery, so that an end needs
// nobody to notice it; at a beginning, who has subscribed to all that he sees is told what the device is.

// looked is when it was looked last who sees a device because of what is granted. Its zero value is empty.
type looked struct {
	mu sync.Mutex
	at map[accounts.Name]int64
}

// swap gives when that was before, or first.
func (l *looked) swap(did accounts.Name, now, first int64, keep bool) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, there := l.at[did]
	if !there {
		before = first
	}
	if l.at == nil {
		l.at = map[accounts.Name]int64{}
	}
	if l.at[did] = now; !keep {
		delete(l.at, did)
	}
	return before
}

// WatchGrants has it be noticed when something that is granted for a device begins.
func (s *Service) WatchGrants(did accounts.Name) { s.borders.set(did, s.now()) }

// border looks for whom something has begun, and when the next look is.
func (s *Service) border(ctx context.Context, did accounts.Name) error {
	t, err := s.thing(ctx, did)
	if err != nil {
		return err
	}
	grants, err := s.things.allGrants(ctx, t)
	if err != nil {
		return err
	}
	if t.Gone {
		grants = nil
	}
	now := s.now().UnixMilli()
	before := s.looked.swap(did, now, s.began, len(grants) > 0)
	var fresh []accounts.Name
	for _, g := range grants {
		if g.Holds(now) && g.allows(VerbSee) && (!g.Holds(before) || g.Made > before) {
			fresh = append(fresh, g.To)
		}
	}
	if len(fresh) > 0 {
		s.newcomers.put(did, fresh)
		s.presences.set(did, s.now())
	}
	if next := Turn(grants, now); next > 0 {
		s.borders.set(did, time.UnixMilli(next))
	}
	return nil
}
