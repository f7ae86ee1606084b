package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// tellTries is how often a receipt is tried: at most three times ReceiptInterval after the last mark, those before it
	// are too old to hold it up, and it can only be waiting for a reader of the one before. Then [Service.given] tries
	// again when there is one.
	tellTries = 3
	// givenLate is the age from which on a receipt may have kept others waiting for longer than tellTries covers.
	givenLate = 2 * ReceiptInterval
	// untoldPage is how many members are looked at at once after a crash.
	untoldPage = 256
	// roomReceiptPause is how long a room waits for others who receive and read the same before anybody is told.
	roomReceiptPause = ReceiptInterval / 4
	// lookAgain is the pause before another look through the store, when there were too many to remember, or after an error.
	lookAgain = 10 * time.Second
)

// runReceipts tells others how far members have come where that had to wait, until ctx ends: those in q, each by tell.
func (s *Service) runReceipts(ctx context.Context, q *untold, tell func(context.Context, waiting) error) {
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := s.now()
		if w, ok := q.pop(now); ok {
			s.late(ctx, tell(ctx, w))
			continue
		}
		if q.lookDue(now) {
			s.tellAll(ctx)
			continue
		}
		timer.Reset(q.wait(now))
		select {
		case <-ctx.Done():
		case <-q.added:
		case <-timer.C:
		}
	}
}

// tellAll looks through the store and tells everything that it knows to be untold.
func (s *Service) tellAll(ctx context.Context) {
	var after Member
	for ctx.Err() == nil {
		page, err := s.store.Untold(ctx, after, untoldPage)
		if err != nil {
			s.late(ctx, fmt.Errorf("look for untold receipts: %w", err))
			return
		}
		for _, m := range page {
			if m.Conversation.Kind().Room() {
				s.untoldRooms.add(Member{Conversation: m.Conversation}, s.now())
				continue
			}
			if err := s.tell(ctx, waiting{Member: m}); err != nil {
				s.late(ctx, err)
				return
			}
		}
		if len(page) < untoldPage {
			return
		}
		after = page[len(page)-1]
	}
}

// tell tries to add a receipt.
func (s *Service) tell(ctx context.Context, w waiting) error {
	untold, commit, err := s.store.Tell(ctx, w.Conversation, w.Who)
	if errors.Is(err, ErrNotMember) || errors.Is(err, ErrNoConversation) {
		return nil // and nobody is left to be told
	}
	if err != nil {
		return fmt.Errorf("tell how far %s is in %s: %w", w.Who, w.Conversation, err)
	}
	if peer, ok := w.Conversation.Peer(w.Who); ok && commit != nil {
		s.wake.Wake(peer)
	}
	if untold && w.tries+1 < tellTries {
		s.untold.put(waiting{w.Member, s.now().Add(ReceiptInterval), w.tries + 1})
	}
	return nil
}

// tellRoom tells the senders of a room what became of their messages.
func (s *Service) tellRoom(ctx context.Context, w waiting) error {
	told, again, _, err := s.store.TellRoom(ctx, w.Conversation)
	if err != nil {
		return fmt.Errorf("tell how far others are in %s: %w", w.Conversation, err)
	}
	s.wake.Wake(told...)
	if again {
		s.untoldRooms.put(waiting{Member: w.Member, due: s.now().Add(RoomReceiptInterval)})
	}
	return nil
}

// late handles an error of the store: everything is looked for again later. A store that cannot serve ends the process or
// comes back; nothing is lost either way.
func (s *Service) late(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	s.log.Warn("receipts are late", "err", err)
	s.untold.startOver(s.now())
}

// given is called for what a reader gets: receipts that are newer than those among it may have waited for that.
func (s *Service) given(entries []Entry) {
	now := s.now()
	for _, e := range entries {
		if e.Type != EntryReceipt {
			continue
		}
		if e.Who == "" { // in a room
			s.untoldRooms.add(Member{Conversation: e.Conversation}, now)
			continue
		}
		age := now.Sub(time.UnixMilli(e.TS))
		if age < 0 || age > givenLate {
			s.untold.add(Member{e.Conversation, e.Who}, now)
		}
	}
}

// waiting is a member of whom something is left to tell.
type waiting struct {
	Member
	due   time.Time
	tries int
}

// untold is the queue of members, or rooms, of whom something is left to tell: each at most once, and at most bound of them.
// When it is full, the store is looked through later.
type untold struct {
	bound int
	added chan struct{} // holds one; wakes Run

	mu    sync.Mutex // guards all below
	queue []*waiting // in the order of due
	known map[Member]*waiting
	look  time.Time // when to look through the store; zero: not at all
}

func newUntold(bound int) untold {
	return untold{bound: bound, added: make(chan struct{}, 1), known: map[Member]*waiting{}}
}

// add puts m into the queue. If it is there already, it is tried as often as a new one from now on.
func (u *untold) add(m Member, due time.Time) { u.put(waiting{Member: m, due: due}) }

func (u *untold) put(w waiting) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if old, ok := u.known[w.Member]; ok {
		old.tries = min(old.tries, w.tries)
		return
	}
	if len(u.queue) >= u.bound {
		u.lookLaterLocked(w.due)
		return
	}
	u.known[w.Member] = &w
	i := len(u.queue) // nearly always where it belongs
	for i > 0 && u.queue[i-1].due.After(w.due) {
		i--
	}
	u.queue = slices.Insert(u.queue, i, &w)
	select {
	case u.added <- struct{}{}:
	default:
	}
}

// pop takes the first one, if it is due.
func (u *untold) pop(now time.Time) (waiting, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.queue) == 0 || u.queue[0].due.After(now) {
		return waiting{}, false
	}
	first := u.queue[0]
	u.queue[0] = nil
	u.queue = u.queue[1:]
	delete(u.known, first.Member)
	return *first, true
}

// lookDue says whether the store has to be looked through now; it says so once.
func (u *untold) lookDue(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.look.IsZero() || u.look.After(now) {
		return false
	}
	u.look = time.Time{}
	return true
}

// wait says how long Run may sleep.
func (u *untold) wait(now time.Time) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	wait := lookAgain
	if len(u.queue) > 0 {
		wait = min(wait, u.queue[0].due.Sub(now))
	}
	if !u.look.IsZero() {
		wait = min(wait, u.look.Sub(now))
	}
	return wait
}

// startOver empties the queue: a look through the store finds everything again.
func (u *untold) startOver(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.queue = nil
	clear(u.known)
	u.lookLaterLocked(now)
}

func (u *untold) lookLaterLocked(now time.Time) {
	if u.look.IsZero() {
		u.look = now.Add(lookAgain)
	}
}
