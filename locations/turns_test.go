package locations_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

// TestPacesAreStoredAsTheyAreKnown has somebody say several things at once of the same people.
func TestPacesAreStoredAsTheyAreKnown(t *testing.T) {
	h := newTown(t)
	h.store.slow.Store(true)
	var running sync.WaitGroup
	for i := range 160 {
		f := locations.Follow{Who: thing(i / 8), Pace: locations.Pace{Every: time.Duration(i%8/2) * time.Second}} // or none, for some
		running.Go(func() {
			if err := h.Follow(t.Context(), "bob", f); err != nil {
				t.Errorf("%+v: %v", f, err)
			}
		})
	}
	running.Wait()
	known := h.Follows("bob")
	h.restart()
	if stored := h.Follows("bob"); !slices.Equal(stored, known) {
		t.Errorf("known are %v, and stored %v", known, stored)
	}
}

// TestBoundsHoldForWhoAsksAtOnce asks for more than there may be, all at the same moment.
func TestBoundsHoldForWhoAsksAtOnce(t *testing.T) {
	h := newTown(t, func(c *locations.Config) { c.Shares, c.Fences = 10, 10 })
	now := h.now().UnixMilli()
	for name, tt := range map[string]struct {
		most int
		ask  func(i int) error
	}{
		"paces": {200, func(i int) error {
			return h.Follow(t.Context(), "bob", locations.Follow{Who: thing(i), Pace: locations.Pace{Dist: 5}})
		}},
		"tours": {20, func(i int) error {
			_, err := h.AddTour(t.Context(), locations.Tour{Subject: phone, From: now + int64(i), To: now + 1000})
			return err
		}},
		"shares": {10, func(i int) error {
			_, err := h.Share(t.Context(), "alice", locations.Share{To: accounts.Name(fmt.Sprint("b", i)), Level: locations.LevelCity})
			return err
		}},
		"fences": {10, func(i int) error {
			shape := locations.Shape{Points: []locations.Point{{Lat: 1, Lon: float64(i) / 10}}, Radius: 100}
			_, err := h.PutFence(t.Context(), "alice", locations.Fence{Name: "x", Shape: shape})
			return err
		}},
	} {
		var running sync.WaitGroup
		errs := make([]error, tt.most+40)
		for i := range errs {
			running.Go(func() { errs[i] = tt.ask(i) })
		}
		running.Wait()
		taken := 0
		for _, err := range errs {
			if err == nil {
				taken++
			} else if !errors.Is(err, locations.ErrTooMany) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if taken != tt.most {
			t.Errorf("%d %s are taken, want %d", taken, name, tt.most)
		}
	}
}

func TestATourThatIsAskedForTwiceAtOnceIsOne(t *testing.T) {
	h := newTown(t)
	now := h.now().UnixMilli()
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			if _, err := h.AddTour(t.Context(), locations.Tour{Subject: phone, From: now, To: now + 1000}); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if n := h.storedTours(); n != 1 {
		t.Errorf("there are %d", n)
	}
}
