package locations_test

import (
	"errors"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/records"
)

// meet has somebody be a contact again, or none any more, without a word to the service: it may have died at that moment.
func (h *town) meet(who accounts.Name, contact bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.strangers[who] = !contact
}

func (h *town) stored(kind string) []records.Record {
	h.t.Helper()
	all, err := h.store.All(h.t.Context(), kind, records.Key{}, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// until waits until something is so.
func (h *town) until(what string, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatal(what, " does not become so")
		}
	}
}

func TestAShareDoesNotOutliveACrash(t *testing.T) {
	h := newTown(t)
	h.goes(0, 0)
	h.share("alice", "bob", locations.LevelExact, 0)
	h.share("alice", "dora", locations.LevelExact, 0)
	h.share("mary", "h.home", locations.LevelExact, 0)
	h.meet("bob", false)
	h.meet("mary", false) // she lives there no more
	h.restart()
	h.meet("bob", true)
	h.meet("mary", true)
	before, _ := h.sees("bob")
	h.goes(time.Minute, 10)
	if n, p := h.sees("bob"); n > before {
		t.Errorf("bob is shown %+v by what was before", p)
	}
	if given := h.Given("alice"); len(given) != 1 || given[0].To != "dora" || len(h.Given("mary")) > 0 {
		t.Errorf("alice shares %+v, mary %+v", given, h.Given("mary"))
	}
	if all := h.stored("loc.share"); len(all) != 1 {
		t.Errorf("stored are %v", all)
	}
}

func TestAShareThatCouldNotBeRemovedIsRemovedLater(t *testing.T) {
	h := newTown(t, func(c *locations.Config) { c.Flush = 100 * time.Millisecond })
	h.goes(0, 0)
	h.share("alice", "bob", locations.LevelExact, 0)
	h.store.fails.Store(true)
	h.meet("bob", false)
	h.PairChanged(t.Context(), "alice", "bob")
	h.meet("bob", true)
	h.PairChanged(t.Context(), "alice", "bob")
	before, _ := h.sees("bob")
	h.goes(time.Minute, 10)
	if n, p := h.sees("bob"); n > before || len(h.Given("alice")) > 0 || len(h.Got("bob")) > 0 {
		t.Errorf("bob is shown %+v by %+v", p, h.Given("alice"))
	}
	h.store.fails.Store(false)
	h.until("the share is removed", func() bool { return len(h.stored("loc.share")) == 0 })

	h.share("alice", "bob", locations.LevelExact, 0)
	h.store.fails.Store(true)
	if err := h.Unshare(t.Context(), "alice", "bob"); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("unshare: %v", err)
	}
	h.share("alice", "bob", locations.LevelCity, 0) // anew, before it was removed
	h.store.fails.Store(false)
	h.goes(time.Minute, 20_000)
	if _, p := h.sees("bob"); !p.Rough {
		t.Errorf("bob is shown %+v", p)
	}
	h.restart()
	if given := h.Given("alice"); len(given) != 1 || given[0].Level != locations.LevelCity {
		t.Errorf("alice shares %+v", given)
	}
}

func TestAShareThatWasRenewedDoesNotEnd(t *testing.T) {
	h := newTown(t)
	h.share("alice", "bob", locations.LevelExact, h.now().Add(time.Minute).UnixMilli())
	seen := h.Given("alice")[0]
	h.share("alice", "bob", locations.LevelExact, h.now().Add(time.Hour).UnixMilli())
	if ended, err := h.UnshareAs(t.Context(), "alice", seen); ended || err != nil {
		t.Errorf("it ends: %t, %v", ended, err)
	}
	h.pass(2 * time.Minute)
	if given := h.Given("alice"); len(given) != 1 || len(h.stored("loc.share")) != 1 {
		t.Errorf("alice shares %+v", given)
	}
}

func TestAShareThatIsOverIsRemoved(t *testing.T) {
	h := newTown(t, func(c *locations.Config) { c.Flush = 100 * time.Millisecond })
	h.share("alice", "bob", locations.LevelExact, h.now().Add(time.Minute).UnixMilli())
	h.share("alice", "dora", locations.LevelExact, h.now().Add(time.Hour).UnixMilli())
	h.restart()
	h.pass(2 * time.Minute)
	h.until("one share is left", func() bool { return len(h.stored("loc.share")) == 1 })
	h.pass(time.Hour)
	h.until("no share is left", func() bool { return len(h.stored("loc.share")) == 0 })
}

func TestWhoHasMovedOutSharesNothingWithTheHome(t *testing.T) {
	h := newTown(t, func(c *locations.Config) { c.Flush = 100 * time.Millisecond })
	h.share("mary", "h.home", locations.LevelExact, 0)
	h.share("admin", "h.home", locations.LevelExact, 0)
	h.meet("mary", false)
	h.HomeChanged("h.home")
	h.until("her share is removed", func() bool { return len(h.stored("loc.share")) == 1 })
	h.meet("mary", true)
	h.HomeChanged("h.home")
	if len(h.Given("mary")) > 0 || len(h.Given("admin")) != 1 {
		t.Errorf("mary shares %+v, admin %+v", h.Given("mary"), h.Given("admin"))
	}
}
