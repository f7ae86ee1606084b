package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// library counts how often it is asked whose things are.
type library struct {
	*memory
	asked   atomic.Int64
	between func() // called before each answer, if it is set
}

func (l *library) ThingsOf(ctx context.Context, who, after accounts.Name, limit int) ([]Thing, error) {
	l.asked.Add(1)
	if l.between != nil {
		l.between()
	}
	return l.memory.ThingsOf(ctx, who, after, limit)
}

func newLibrary(limit int) (*library, *Things) {
	l := &library{memory: newMemory()}
	return l, l.open(limit)
}

// open is a start of the server.
func (l *library) open(limit int) *Things {
	things := NewThings(l, time.Now, slog.New(slog.DiscardHandler))
	things.LimitOwned(limit)
	return things
}

func addMany(t *testing.T, s *Things, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := s.Add(t.Context(), Added{ID: accounts.Name(fmt.Sprint("d", i)), Owner: "olga"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatAnOwnerHasIsReadOnce(t *testing.T) {
	l, s := newLibrary(0)
	addMany(t, s, 0, 250) // three pages
	s = l.open(400)
	before := l.asked.Load()
	addMany(t, s, 250, 400)
	if asked := l.asked.Load() - before; asked != 3 {
		t.Errorf("the store was asked %d times for 150 things, want 3", asked)
	}
	if _, err := s.Add(t.Context(), Added{ID: "more", Owner: "olga"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more than he may have: %v, want %v", err, ErrTooMany)
	}
}

func TestManyAtOnceDoNotPassTheLimit(t *testing.T) {
	const limit, many = 20, 60
	l, s := newLibrary(limit)
	addMany(t, s, 0, 5)
	s = l.open(limit)
	var added, refused atomic.Int64
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			did := accounts.Name(fmt.Sprint("x", i))
			_, err := s.Make(t.Context(), Added{ID: did})
			if i%2 == 0 && err == nil {
				_, err = s.Claim(t.Context(), "olga", did)
			} else if err == nil {
				_, err = s.Add(t.Context(), Added{ID: did + "y", Owner: "olga"})
			}
			switch {
			case err == nil:
				added.Add(1)
			case errors.Is(err, ErrTooMany):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if added.Load() != limit-5 || refused.Load() != many-limit+5 {
		t.Errorf("%d became hers and %d were refused, want %d and %d", added.Load(), refused.Load(), limit-5, many-limit+5)
	}
}

func TestWhatLeavesMakesRoom(t *testing.T) {
	for name, leave := range map[string]func(s *Things) error{
		"removed":  func(s *Things) error { _, err := s.Remove(t.Context(), "olga", "d0"); return err },
		"released": func(s *Things) error { _, err := s.Release(t.Context(), "olga", "d0"); return err },
		"accepted": func(s *Things) error {
			return s.accept(t.Context(), Offer{Device: "d0", From: "olga", To: "mary"})
		},
		"its account was deleted": func(s *Things) error { return s.Forget(t.Context(), "d0") },
	} {
		t.Run(name, func(t *testing.T) {
			_, s := newLibrary(3)
			addMany(t, s, 0, 3)
			if err := s.MayAdd(t.Context(), Added{ID: "d3", Owner: "olga"}); !errors.Is(err, ErrTooMany) {
				t.Fatalf("a fourth one: %v, want %v", err, ErrTooMany)
			}
			if err := leave(s); err != nil {
				t.Fatal(err)
			}
			addMany(t, s, 3, 4)
			if _, err := s.Add(t.Context(), Added{ID: "d4", Owner: "olga"}); !errors.Is(err, ErrTooMany) {
				t.Errorf("again a fourth one: %v, want %v", err, ErrTooMany)
			}
		})
	}
}

// What is changed between two pages is read, or heard of, or both.
func TestWhatChangesWhileItIsReadCounts(t *testing.T) {
	l, s := newLibrary(0)
	addMany(t, s, 0, 250)
	s = l.open(251)
	once := sync.OnceFunc(func() {
		for _, did := range []accounts.Name{"d0", "d1", "d99"} { // of the first and the last page
			if _, err := s.Remove(t.Context(), "olga", did); err != nil {
				t.Error(err)
			}
		}
	})
	pages := 0
	l.between = func() {
		if pages++; pages == 2 {
			once()
		}
	}
	addMany(t, s, 250, 254)
	if _, err := s.Add(t.Context(), Added{ID: "more", Owner: "olga"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more than she may have: %v, want %v", err, ErrTooMany)
	}
}

func TestWhatIsDoubtfulIsReadAgain(t *testing.T) {
	l, s := newLibrary(3)
	addMany(t, s, 0, 2)
	broken := errors.New("the cable is out")
	l.failing = broken
	if _, err := s.Add(t.Context(), Added{ID: "lost", Owner: "olga"}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	l.failing = nil
	if err := l.PutThing(t.Context(), Thing{ID: "lost", Owner: "olga", Rev: 1}); err != nil { // it was stored for all that
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), Added{ID: "d2", Owner: "olga"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("a fourth one: %v, want %v", err, ErrTooMany)
	}
	if _, err := s.Add(t.Context(), Added{ID: "d0", Owner: "mary"}); !errors.Is(err, accounts.ErrTaken) { // it is known not to be hers
		t.Fatal(err)
	}
}

func TestWhatSomebodyHadIsNotRememberedForEver(t *testing.T) {
	_, s := newLibrary(3)
	for i := range 3 * maxLeft {
		did := accounts.Name(fmt.Sprint("d", i))
		addMany(t, s, i, i+1)
		if _, err := s.Remove(t.Context(), "olga", did); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.estates.of["olga"].things); n > maxLeft+3 {
		t.Errorf("%d things are remembered, and none is hers", n)
	}
	addMany(t, s, 3*maxLeft, 3*maxLeft+3)
	if err := s.MayAdd(t.Context(), Added{ID: "more", Owner: "olga"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("a fourth one: %v, want %v", err, ErrTooMany)
	}
}

// What has become doubtful after it was read, and before a place in it was taken, is not empty.
func TestWhatBecomesDoubtfulHasNoRoom(t *testing.T) {
	_, s := newLibrary(3)
	addMany(t, s, 0, 3)
	mine, err := s.estate(t.Context(), "olga")
	if err != nil {
		t.Fatal(err)
	}
	s.estates.doubt(Thing{ID: "d0", Owner: "olga"}, Thing{ID: "d0"})
	r := room{things: s, owner: "olga", did: "d3"}
	if known, err := r.takeIn(mine, 3); known || err != nil || r.taken != nil {
		t.Errorf("known: %v, %v", known, err)
	}
	if err := r.take(t.Context()); !errors.Is(err, ErrTooMany) {
		t.Errorf("a fourth one: %v, want %v", err, ErrTooMany)
	}
}
