package locations_test

import (
	"errors"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

var bus = locations.Subject{Who: "bus1"}

// sells has a thing become somebody else's, without a word to the service: it may have died at that moment.
func (h *town) sells(did accounts.Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sold[did]++
}

// track gives of how many places it is told that a thing was there.
func (h *town) track(s locations.Subject) int {
	h.t.Helper()
	track, err := h.History(h.t.Context(), "alice", s, 0, 0, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(track.Points)
}

func (h *town) nowhere(what string) {
	h.t.Helper()
	if n := h.track(bus); n > 0 {
		h.t.Errorf("%s: it was at %d places", what, n)
	}
	if p, err := h.Last(h.t.Context(), "alice", bus); !errors.Is(err, locations.ErrNone) {
		h.t.Errorf("%s: it is at %+v, %v", what, p, err)
	}
	near, err := h.Near(h.t.Context(), "alice", locations.Around{Lat: 52.5, Lon: 13.4, Radius: 100_000, Most: 10})
	if err != nil || len(near) > 0 {
		h.t.Errorf("%s: near is %+v, %v", what, near, err)
	}
	if n, p := h.sees("alice"); n > 0 {
		h.t.Errorf("%s: alice is shown %+v", what, p)
	}
}

// drives has the bus say three times where it is, and forgets what alice was shown of that.
func (h *town) drives() {
	h.t.Helper()
	for range 3 {
		h.pass(time.Second)
		h.report(bus, locations.Position{At: h.now().UnixMilli(), Lat: 52.5, Lon: 13.4})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.shown, "alice")
}

func TestWhereAThingWasIsNotForANewOwnerThoughTheServerDied(t *testing.T) {
	h := newTown(t)
	h.drives()
	h.sells("bus1") // and before it is forgotten
	h.watch("alice", locations.Watch{ID: "w", Lat: 52.5, Lon: 13.4, Radius: 500})
	if err := h.ShowAgain(t.Context(), bus); err != nil {
		t.Fatal(err)
	}
	h.nowhere("at once")
	if moves := h.taken(); len(moves) > 0 {
		t.Errorf("alice watches %v", moves)
	}
	h.restart()
	h.nowhere("after a restart")
	if all := append(h.stored("loc.last"), h.stored("loc.track")...); len(all) > 0 {
		t.Errorf("stored are %v", all)
	}
	h.drives()
	if n := h.track(bus); n != 3 {
		t.Errorf("of the new owner's time it was at %d places", n)
	}
	h.sells("bus1")
	h.drives() // it says so before anybody looks
	if n := h.track(bus); n != 3 {
		t.Errorf("of the third owner's time it was at %d places", n)
	}
	h.restart()
	if n := h.track(bus); n != 3 {
		t.Errorf("of the third owner's time, after a restart, it was at %d places", n)
	}
}

func TestWhatCouldNotBeForgottenOfAThingIsForNobody(t *testing.T) {
	h := newTown(t)
	h.drives()
	h.restart() // it is stored
	h.store.fails.Store(true)
	h.sells("bus1")
	if err := h.Forget(t.Context(), bus); !errors.Is(err, accounts.ErrUnavailable) {
		t.Fatalf("it is forgotten: %v", err)
	}
	if _, err := h.History(t.Context(), "alice", bus, 0, 0, 100); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("where it was: %v", err)
	}
	if _, err := h.Report(t.Context(), bus, locations.Position{Lat: 1, Lon: 1}); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("it says where it is: %v", err)
	}
	h.store.fails.Store(false)
	h.nowhere("when it can be")
	h.drives()
	if n := h.track(bus); n != 3 {
		t.Errorf("it was at %d places", n)
	}
	h.restart()
	if n := h.track(bus); n != 3 {
		t.Errorf("after a restart it was at %d places", n)
	}
}
