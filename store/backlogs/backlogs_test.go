package backlogs_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

type none struct{}

func newShelf(most int) *backlogs.Shelf[none] {
	return backlogs.NewShelf(most, func(*backlogs.Queue[none]) bool { return true })
}

// loaded gives a queue of which it is known that it is empty.
func loaded(s *backlogs.Shelf[none], n sessions.Number) *backlogs.Queue[none] {
	q, _ := s.Use(n)
	q.Loaded = true
	return q
}

func TestABacklogCountsWhatIsInTheQueue(t *testing.T) {
	q := loaded(newShelf(10), 1)
	there := map[uint64]int64{}
	check := func(pos uint64) {
		t.Helper()
		var want backlogs.Tally
		for _, size := range there {
			want.Add(size)
		}
		if got := q.Total(); got != want {
			t.Fatalf("at %d: got %+v, want %+v", pos, got, want)
		}
	}
	for pos := uint64(1); pos < 4*backlogs.MaxFront; pos++ {
		size := rand.Int64N(100)
		q.Add(pos, size)
		there[pos] = size
		if pos%3 == 0 { // one that is there, and one that may be gone
			for _, at := range []uint64{pos - 1, 1 + rand.Uint64N(pos)} {
				if size, is := there[at]; is {
					q.Take(at, size)
					delete(there, at)
				}
			}
		}
		check(pos)
	}
	for _, e := range q.Advance(100) {
		delete(there, e.Pos)
	}
	check(100)
	q.Take(50, 7) // is counted out already
	check(100)
}

func TestAFullQueueLosesItsOldestEntries(t *testing.T) {
	q := loaded(newShelf(10), 1)
	for pos := uint64(1); pos <= 5; pos++ {
		q.Add(pos, 10)
	}
	for _, tt := range []struct {
		bounds sessions.Bounds
		want   int
	}{
		{sessions.Bounds{}, 0},
		{sessions.Bounds{Count: 6, Bytes: 60}, 0},
		{sessions.Bounds{Count: 5}, 1},
		{sessions.Bounds{Bytes: 35}, 2}, // there are four of 10, and one is to come
	} {
		before := q.Total().Count
		dropped := q.MakeRoom(tt.bounds, 10)
		if len(dropped) != tt.want || q.Total().Count != before-int64(tt.want) {
			t.Errorf("%+v: dropped %v of %d, want %d entries", tt.bounds, dropped, before, tt.want)
		}
		if q.Exceeds(tt.bounds, backlogs.Tally{Count: 1, Bytes: 10}) {
			t.Errorf("%+v: there is no room after all", tt.bounds)
		}
	}
}

func TestWhatIsReadIsCountedWithoutWhatWasTakenOutMeanwhile(t *testing.T) {
	s := newShelf(10)
	q, _ := s.Use(1)
	s.Tend(q)
	if got := s.Next(); got != q {
		t.Fatalf("to look after: got %v, want %v", got, q)
	}
	q.Busy, q.Gone = true, map[uint64]int64{}
	q.Take(2, 5)
	q.Take(2, 5)
	q.Take(9, 1)
	listed := q.List([]backlogs.Entry{{Pos: 1, Size: 3}, {Pos: 2, Size: 5}, {Pos: 3, Size: 4}})
	q.End, q.Rest, q.Loaded = 3, backlogs.Tally{Count: 2, Bytes: 8}, true
	q.TakeGone()
	if want := (backlogs.Tally{Count: 2, Bytes: 7}); listed != want {
		t.Errorf("listed %+v, want %+v", listed, want)
	}
	if got, want := q.Total(), (backlogs.Tally{Count: 3, Bytes: 14}); got != want {
		t.Errorf("in all %+v, want %+v", got, want)
	}
}

func TestTheTenderIsGivenAQueueOnce(t *testing.T) {
	s := newShelf(10)
	q, _ := s.Use(1)
	s.Tend(q)
	s.Tend(q)
	q.Busy = true
	if got := s.Next(); got != q {
		t.Errorf("got %v, want %v", got, q)
	}
	s.Tend(q) // is looked after
	if got := s.Next(); got != nil {
		t.Errorf("got %v, want none", got)
	}
	select {
	case <-s.Wake():
	default:
		t.Error("the tender was not woken")
	}
}

func TestAShelfForgetsTheQueueThatWasUsedLongestAgo(t *testing.T) {
	kept := sessions.Number(1)
	s := backlogs.NewShelf(2, func(q *backlogs.Queue[none]) bool { return q.Number != kept })
	for n := sessions.Number(1); n <= 4; n++ {
		s.Use(n)
		s.Shrink()
	}
	for n, want := range map[sessions.Number]bool{1: true, 2: false, 3: false, 4: true} {
		if got := s.Known(n) != nil; got != want {
			t.Errorf("queue %d is known: got %t, want %t", n, got, want)
		}
	}
}

func TestASweepIsDueWhenAsMuchWasWrittenAsThereWas(t *testing.T) {
	var p backlogs.Pace
	if p.Wrote(backlogs.MinSweep) {
		t.Error("due after little")
	}
	if !p.Wrote(1) {
		t.Error("not due after much")
	}
	began := p.Written()
	p.Wrote(10)
	p.Swept(began, 2*backlogs.MinSweep)
	if p.Wrote(2*backlogs.MinSweep - 10) {
		t.Error("due before as much was written as there is")
	}
	if !p.Wrote(1) {
		t.Error("not due after more was written than there is")
	}
}

func TestWhoAsksForASweepHearsHowItWent(t *testing.T) {
	r := backlogs.NewRequests()
	want, closed := errors.New("went wrong"), errors.New("closed")
	go func() {
		(<-r.Asked()).Done(want)
		r.End()
	}()
	if err := r.Ask(t.Context(), closed); !errors.Is(err, want) && !errors.Is(err, closed) {
		t.Errorf("got %v, want %v", err, want)
	}
	if err := r.Ask(t.Context(), closed); !errors.Is(err, closed) {
		t.Errorf("after the end: got %v, want %v", err, closed)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := backlogs.NewRequests().Ask(over, closed); !errors.Is(err, context.Canceled) {
		t.Errorf("of who does not wait: got %v, want %v", err, context.Canceled)
	}
}
