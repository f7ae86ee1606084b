package chat

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	// typingRepeat is how long a repeated "types" is not passed on: it only says that the typing goes on.
	typingRepeat = 2 * time.Second
	// maxTyping is in how many conversations one user can type at the same time, as far as others are told.
	maxTyping = 16
)

// Typing says that who has started or stopped typing, or goes on. The other one is told, if he is connected. Nothing is
// stored, and it has an end of its own: if who does not say so again in Config.Typing, sends a message to the conversation, or
// has no connection any more, the other one is told that he has stopped. In rooms of up to Config.TypingTo members all others are
// told, in larger ones nobody. The errors are those of Send, but for slow mode.
func (s *Service) Typing(ctx context.Context, who accounts.Name, c Conversation, on bool) error {
	if c.Kind().Room() {
		return s.typingInRoom(ctx, who, c, on)
	}
	peer, err := c.peer(who)
	if err != nil {
		return err
	}
	return s.tellLive(ctx, who, peer, func() {
		if s.typists.set(who, c, on, s.now()) {
			s.router.Tell(peer, typingEvent(who, c, on))
		}
	})
}

// typingInRoom is Typing in a room. Whoever leaves it is told nothing after that was acknowledged: see [live].
func (s *Service) typingInRoom(ctx context.Context, who accounts.Name, c Conversation, on bool) error {
	defer s.live.lock(accounts.Name(c), "")()
	r, err := s.room(ctx, c, who)
	if err != nil {
		return err
	}
	if err := r.Act(who); err != nil {
		return fmt.Errorf("typing in %s: %w", c, err)
	}
	if s.hearsTyping(&r) && s.typists.set(who, c, on, s.now()) {
		return s.tellTypingLocked(ctx, who, c, on)
	}
	return nil
}

// hearsTyping says whether it is told in a room who types.
func (s *Service) hearsTyping(r *Room) bool {
	return !r.Large && r.Members <= s.cfg.TypingTo
}

// tellTypingLocked tells all members of a room but one of him.
func (s *Service) tellTypingLocked(ctx context.Context, who accounts.Name, c Conversation, on bool) error {
	crew, err := s.store.Crew(ctx, c)
	if err != nil {
		return fmt.Errorf("members of %s: %w", c, err)
	}
	e := typingEvent(who, c, on)
	for _, name := range crew {
		if name != who {
			s.router.Tell(name, e)
		}
	}
	return nil
}

// partRoom returns when nothing is told any more that was allowed to somebody who has left a room before it was called.
func (s *Service) partRoom(c Conversation) { s.live.lock(accounts.Name(c), "")() }

func typingEvent(who accounts.Name, c Conversation, on bool) Event {
	return Event{Entry: Entry{Type: EventTyping, Conversation: c, Who: who}, Typing: on}
}

// stopTyping ends who's typing in a conversation, unless it has been said again after a time; zero: whenever it was said.
func (s *Service) stopTyping(ctx context.Context, who accounts.Name, c Conversation, after time.Time) {
	if c.Kind().Room() {
		defer s.live.lock(accounts.Name(c), "")()
		if s.typists.stop(who, c, after) {
			_ = s.tellTypingLocked(ctx, who, c, false) // whoever does not hear of it stops showing it by himself
		}
		return
	}
	peer, ok := c.Peer(who)
	if !ok {
		return
	}
	defer s.live.lock(who, peer)()
	if s.typists.stop(who, c, after) && s.mayTalk(ctx, who, peer) == nil {
		s.router.Tell(peer, typingEvent(who, c, false))
	}
}

// sentTyping ends the typing of a message that was sent.
func (s *Service) sentTyping(ctx context.Context, from accounts.Name, c Conversation) {
	if s.typists.any() {
		s.stopTyping(ctx, from, c, time.Time{})
	}
}

// leaveTyping ends all typing of somebody who has no connection any more.
func (s *Service) leaveTyping(ctx context.Context, who accounts.Name) {
	for _, c := range s.typists.of(who) {
		s.stopTyping(ctx, who, c, time.Time{})
	}
}

// runTyping ends the typing of which nothing was heard, until ctx ends.
func (s *Service) runTyping(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := s.now()
		t, wait := s.typists.next(now)
		switch {
		case t != nil && wait <= 0:
			s.stopTyping(ctx, t.who, t.in, now)
			continue
		case t != nil:
			timer.Reset(wait)
		default:
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-s.typists.added:
		case <-timer.C:
		}
	}
}

// typists are those of whom others have been told that they type.
type typists struct {
	life  time.Duration
	added chan struct{} // holds one; there is a first one
	count atomic.Int64

	mu    sync.Mutex
	queue list.List // of *typing, in the order in which they end: all live as long
	by    map[accounts.Name][]*typing
}

type typing struct {
	who   accounts.Name
	in    Conversation
	until time.Time
	told  time.Time
	place *list.Element
}

func newTypists(life time.Duration) *typists {
	return &typists{life: life, added: make(chan struct{}, 1), by: map[accounts.Name][]*typing{}}
}

func (t *typists) any() bool { return t.count.Load() > 0 }

// set is start or stop.
func (t *typists) set(who accounts.Name, c Conversation, on bool, now time.Time) (tell bool) {
	if on {
		return t.start(who, c, now)
	}
	return t.stop(who, c, time.Time{})
}

// start says that who types, and whether others have to be told.
func (t *typists) start(who accounts.Name, c Conversation, now time.Time) (tell bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.findLocked(who, c)
	if x == nil {
		if len(t.by[who]) >= maxTyping {
			return false
		}
		x = &typing{who: who, in: c}
		x.place = t.queue.PushBack(x)
		t.by[who] = append(t.by[who], x)
		if t.count.Add(1) == 1 {
			select {
			case t.added <- struct{}{}:
			default:
			}
		}
	}
	x.until = now.Add(t.life)
	t.queue.MoveToBack(x.place)
	if tell = x.told.IsZero() || now.Sub(x.told) >= typingRepeat; tell {
		x.told = now
	}
	return tell
}

// stop says that who types no longer, and whether he did. With a time, only if nothing was heard of it up to then.
func (t *typists) stop(who accounts.Name, c Conversation, now time.Time) (did bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.findLocked(who, c)
	if x == nil || !now.IsZero() && x.until.After(now) {
		return false
	}
	t.queue.Remove(x.place)
	rest := slices.DeleteFunc(t.by[who], func(y *typing) bool { return x == y })
	if len(rest) == 0 {
		delete(t.by, who)
	} else {
		t.by[who] = rest
	}
	t.count.Add(-1)
	return true
}

func (t *typists) findLocked(who accounts.Name, c Conversation) *typing {
	for _, x := range t.by[who] {
		if x.in == c {
			return x
		}
	}
	return nil
}

// of gives the conversations in which who types.
func (t *typists) of(who accounts.Name) []Conversation {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Conversation
	for _, x := range t.by[who] {
		all = append(all, x.in)
	}
	return all
}

// next gives the one that ends first, and how long that is from now; nil: nobody types.
func (t *typists) next(now time.Time) (*typing, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.queue.Front()
	if first == nil {
		return nil, 0
	}
	x := first.Value.(*typing)
	return &typing{who: x.who, in: x.in}, x.until.Sub(now)
}
