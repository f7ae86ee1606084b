package chat

import (
	"cmp"
	"context"
	"hash/maphash"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// What is told at once and worth nothing later (who types, who is there) is in no stream: whoever is not connected misses
// it, and nothing is stored. Whether the one may know of the other is asked for every single delivery, in the moment in
// which it is made.

// Router hands such things to those who are connected. No method blocks on a peer, and what a session cannot take now is
// lost for it. Safe for concurrent use.
type Router interface {
	// Tell gives e to the sessions of a user that want what is told at once.
	Tell(user accounts.Name, e Event)
	// Show gives what viewer sees of somebody to those sessions of viewer that watch him.
	Show(viewer accounts.Name, p Presence)
	// Watches says whether there is such a session.
	Watches(viewer, who accounts.Name) bool
	// Cast gives e to the sessions of some users that want their streams, as if it were part of these. It may keep in e.Made
	// what it makes of it.
	Cast(users []accounts.Name, e *Event)
}

// nowhere is where things go as long as nobody has said where.
type nowhere struct{}

func (nowhere) Tell(accounts.Name, Event)                 {}
func (nowhere) Show(accounts.Name, Presence)              {}
func (nowhere) Watches(accounts.Name, accounts.Name) bool { return false }
func (nowhere) Cast([]accounts.Name, *Event)              {}

// SetRouter says where what is told at once goes. It is called once, before Run; without it, nowhere.
func (s *Service) SetRouter(r Router) { s.router = r }

// live keeps what is told between two people, or in a room, in step with what they are to each other, or to it. A lock is
// shared by many. It is held from the question whether the one may know of the other until the answer is with the router, so
// that whoever has changed something (a block) and then had the lock knows that nothing follows that was decided before.
//
// At most one of them is held at a time, and online.mu and typists.mu come after it. The question may read from the disk
// under the lock; that it is asked and answered as one is the point.
type live struct {
	seed  maphash.Seed
	pairs [512]sync.Mutex
}

func (l *live) init() { l.seed = maphash.MakeSeed() }

// lock locks the pair, and gives what unlocks it.
func (l *live) lock(a, b accounts.Name) (unlock func()) {
	if cmp.Less(b, a) {
		a, b = b, a
	}
	sum := maphash.Comparable(l.seed, [2]accounts.Name{a, b})
	m := &l.pairs[sum%uint64(len(l.pairs))]
	m.Lock()
	return m.Unlock
}

// settle returns when nothing is on its way any more that was decided before it was called, between any two.
func (l *live) settle() {
	for i := range l.pairs {
		l.pairs[i].Lock()
		l.pairs[i].Unlock() //nolint:staticcheck // to have had it is enough
	}
}

// tellLive has deliver, which must not wait, hand something of from to to, if the two hear each other now. Otherwise the
// error is that of writing to him.
func (s *Service) tellLive(ctx context.Context, from, to accounts.Name, deliver func()) error {
	defer s.live.lock(from, to)()
	if err := s.mayTalk(ctx, from, to); err != nil {
		return err
	}
	deliver()
	return nil
}

// relate carries out a change of what two people are to each other (contacts, blocked, or no longer so). When it returns,
// nothing is told at once any more that was allowed before and is not now, each has been told what the other one's typing
// and presence are for him from now on, and the change may be acknowledged.
func (s *Service) relate(ctx context.Context, a, b accounts.Name, change func() error) error {
	views := [2]watching{{viewer: a, who: b}, {viewer: b, who: a}}
	for i := range views {
		if err := s.look(ctx, &views[i]); err != nil {
			return err
		}
	}
	if err := change(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // the change is made, and may be acknowledged to somebody who does not wait for it
	defer s.live.lock(a, b)()
	for _, v := range views {
		if err := s.showChangeLocked(ctx, v); err != nil {
			s.log.Warn("presence not shown", "user", v.who, "err", err)
		}
	}
	return nil
}
