package backlogs

import (
	"container/list"
	"iter"
	"maps"

	"github.com/magpie-im/magpie/broker/sessions"
)

const (
	// MaxFront is how many entries of one queue are known one by one; with a quarter of that left more are read.
	MaxFront = 1024
	// maxFronts is how many there are in all queues before the fronts of further ones stay short.
	maxFronts  = 1 << 20
	shortFront = 32
)

// Shelf has the backlogs of the queues that were used last.
type Shelf[X any] struct {
	most     int
	spare    func(*Queue[X]) bool
	byNumber map[sessions.Number]*Queue[X]
	recent   *list.List  // of *Queue[X], the one used last in front
	fronts   int         // entries of all fronts
	waiting  []*Queue[X] // for the tender
	wake     chan struct{}
}

// NewShelf gives a shelf for some queues, or for more if spare says of too many that forgetting them would lose something that is
// not in the store yet.
func NewShelf[X any](most int, spare func(*Queue[X]) bool) *Shelf[X] {
	return &Shelf[X]{
		most: most, spare: spare, byNumber: map[sessions.Number]*Queue[X]{}, recent: list.New(), wake: make(chan struct{}, 1),
	}
}

// Known gives the backlog of a queue; nil: there is none.
func (s *Shelf[X]) Known(n sessions.Number) *Queue[X] { return s.byNumber[n] }

// All gives all backlogs.
func (s *Shelf[X]) All() iter.Seq[*Queue[X]] { return maps.Values(s.byNumber) }

// Use gives the backlog of a queue. If there is none it makes one, which is not loaded.
func (s *Shelf[X]) Use(n sessions.Number) (q *Queue[X], made bool) {
	if q := s.byNumber[n]; q != nil {
		s.recent.MoveToFront(q.place)
		return q, false
	}
	q = &Queue[X]{Number: n, shelf: s}
	q.place = s.recent.PushFront(q)
	s.byNumber[n] = q
	return q, true
}

// Shrink forgets backlogs that are too many.
func (s *Shelf[X]) Shrink() {
	const most = 8 // at once
	e := s.recent.Back()
	for tries := 0; len(s.byNumber) > s.most && e != nil && tries < most; tries++ {
		q, ok := e.Value.(*Queue[X])
		if !ok {
			panic("recent backlog of another type")
		}
		e = e.Prev()
		if !q.queued && !q.Busy && s.spare(q) {
			s.forget(q)
		}
	}
}

func (s *Shelf[X]) forget(q *Queue[X]) {
	s.recent.Remove(q.place)
	delete(s.byNumber, q.Number)
	q.Unlist() // whoever has it still does not count in fronts
}

// Drop forgets the backlog of a queue that is no more.
func (s *Shelf[X]) Drop(n sessions.Number) {
	if q := s.byNumber[n]; q != nil {
		s.forget(q)
	}
}

// Has says whether a backlog is still that of its queue.
func (s *Shelf[X]) Has(q *Queue[X]) bool { return s.byNumber[q.Number] == q }

// Tend has the tender look after a queue, unless it does.
func (s *Shelf[X]) Tend(q *Queue[X]) {
	if q.queued || q.Busy {
		return
	}
	q.queued = true
	s.waiting = append(s.waiting, q)
	s.WakeTender()
}

// Next gives the tender the next queue to look after; nil: there is none.
func (s *Shelf[X]) Next() *Queue[X] {
	if len(s.waiting) == 0 {
		return nil
	}
	q := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	q.queued = false
	return q
}

// Wake is what the tender waits for. It may be used without the lock.
func (s *Shelf[X]) Wake() <-chan struct{} { return s.wake }

// WakeTender has the tender see what there is to do.
func (s *Shelf[X]) WakeTender() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// FrontLimit is how many entries of a queue may be known one by one now.
func (s *Shelf[X]) FrontLimit() int {
	if s.fronts > maxFronts {
		return shortFront
	}
	return MaxFront
}

// Additions are what steps would add to queues.
type Additions map[sessions.Number]Tally

// Add counts an entry more for a queue, and gives all that is to be added to it.
func (a Additions) Add(n sessions.Number, size int64) Tally {
	t := a[n]
	t.Add(size)
	a[n] = t
	return t
}
