package locations_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

func TestWhereWhoIsSuspendedIsIsToldToNobody(t *testing.T) {
	h := newTown(t)
	var suspended atomic.Bool
	h.SetAwake(func(_ context.Context, who accounts.Name) (bool, error) {
		return who != "alice" || !suspended.Load(), nil
	})
	h.share("alice", "bob", locations.LevelExact, 0)
	h.report(phone, locations.Position{At: h.now().UnixMilli(), Lat: 48, Lon: 2})
	knows := func(want bool) {
		t.Helper()
		got := false
		if _, err := h.Now(t.Context(), "bob", phone, func(locations.Position) bool { got = true; return true }); err != nil || got != want {
			t.Errorf("bob knows: %v, %v; want %v", got, err, want)
		}
	}
	knows(true)
	suspended.Store(true)
	h.StandingChanged(t.Context(), "alice")
	h.mu.Lock()
	if h.hidden["bob"] != 1 {
		t.Errorf("hidden from %v, want bob", h.hidden)
	}
	h.mu.Unlock()
	knows(false)
	suspended.Store(false) // by the time: nobody says so
	h.pass(2 * time.Minute)
	knows(true)
	if given := h.Given("alice"); len(given) != 1 {
		t.Errorf("alice shares %v", given)
	}
}
