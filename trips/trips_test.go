package trips_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/trips"
)

// street is where alice rides with bob: it is the People and the Router of trips. All are contacts until they part.
type street struct {
	*trips.Service
	places *locations.Service
	kept   *keeper

	mu      sync.Mutex // guards what follows
	clock   time.Time
	parted  bool
	barred  map[accounts.Name]bool
	fleet   []accounts.Name // of h.fleet
	told    []string
	written []string // the trips of summaries
	fails   bool     // to write one
}

func newStreet(t *testing.T) *street {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &street{
		clock: time.UnixMilli(1_793_000_000_000), kept: &keeper{Store: store.Records()}, barred: map[accounts.Name]bool{}}
	h.places = locations.New(locations.DefaultConfig(), store.Records(), h, nil, h.now, log)
	h.start(t)
	return h
}

// start makes the service anew, of what is stored.
func (h *street) start(t *testing.T) {
	t.Helper()
	h.Service = trips.New(h.kept, h, h.places, h, h.now, slog.New(slog.DiscardHandler))
	if err := h.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// expire does what is due.
func (h *street) expire(t *testing.T) {
	t.Helper()
	if err := h.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// keeper is a store that calls then after something was put, or fails, and counts who asks what is due.
type keeper struct {
	records.Store
	then  func()
	fails func(records.Record) bool
	asked atomic.Int64
}

func (k *keeper) DueBy(ctx context.Context, kind string, by int64, limit int) ([]records.Record, error) {
	k.asked.Add(1)
	return k.Store.DueBy(ctx, kind, by, limit)
}

func (k *keeper) Put(ctx context.Context, r records.Record) error {
	if k.fails != nil && k.fails(r) {
		return accounts.ErrUnavailable
	}
	err := k.Store.Put(ctx, r)
	if then := k.then; then != nil {
		k.then = nil
		then()
	}
	return err
}

func (h *street) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clock
}

func (h *street) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = h.clock.Add(d)
}

func (h *street) part() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parted = true
}

func (h *street) Close(context.Context, accounts.Name, accounts.Name) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.parted, nil
}

func (h *street) Manages(context.Context, accounts.Name, string) (bool, error) { return false, nil }
func (h *street) Lives(context.Context, accounts.Name, string) (bool, error)   { return false, nil }
func (h *street) Members(context.Context, string) ([]accounts.Name, error)     { return nil, nil }

func (h *street) Tell(to []accounts.Name, t trips.Trip) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, who := range to {
		h.told = append(h.told, string(who)+" "+string(t.For(who).State))
	}
}

// hears gives what was told since it was asked last.
func (h *street) hears() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.told
	h.told = nil
	return all
}

func (h *street) Summarize(_ context.Context, t trips.Trip) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fails {
		return accounts.ErrUnavailable
	}
	h.written = append(h.written, t.ID)
	return nil
}

func (h *street) Fleet(_ context.Context, who accounts.Name, group string) ([]accounts.Name, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if group != "g.fleet" || h.fleet == nil {
		return nil, errNoFleet
	}
	return h.fleet, nil
}

var errNoFleet = errors.New("no such fleet")

func (h *street) Active(_ context.Context, who accounts.Name) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.barred[who], nil
}

func (h *street) ask(t *testing.T, drivers ...accounts.Name) trips.Trip {
	t.Helper()
	if drivers == nil {
		drivers = []accounts.Name{"bob"}
	}
	asked, err := h.Request(t.Context(), "alice", trips.Request{Drivers: drivers})
	if err != nil {
		t.Fatal(err)
	}
	return asked
}

func (h *street) accept(t *testing.T, id string) {
	t.Helper()
	if _, err := h.Accept(t.Context(), "bob", id); err != nil {
		t.Fatal(err)
	}
}

// drive has somebody go so many hundredths of a degree to the north, one in a second.
func (h *street) drive(t *testing.T, who accounts.Name, n int) {
	t.Helper()
	for range n {
		h.pass(time.Second)
		p := locations.Position{Lat: float64(h.now().Unix()%8000) / 100, Lon: 13.4}
		if _, err := h.places.Report(t.Context(), locations.Subject{Who: who, Label: "phone"}, p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoIsNoContactAnyMoreIsToldNoWay(t *testing.T) {
	for _, parts := range []bool{false, true} {
		h := newStreet(t)
		id := h.ask(t).ID
		h.accept(t, id)
		h.drive(t, "alice", 3)
		if parts {
			h.part()
		}
		if _, err := h.End(t.Context(), "bob", id); err != nil {
			t.Fatal(err)
		}
		got, err := h.Get(t.Context(), "bob", id)
		if told := len(got.Waypoint) > 0 || got.Metres > 0; err != nil || told == parts {
			t.Errorf("they part: %t, and bob is told of alice's way %v, %v m, %v", parts, got.Waypoint, got.Metres, err)
		}
	}
}

func TestATripThatIsOverBeforeItIsNotedShowsNothing(t *testing.T) {
	h := newStreet(t)
	id := h.ask(t).ID
	h.kept.then = func() { // it is stored that bob has it, and alice is faster than all that follows
		if _, err := h.Cancel(t.Context(), "alice", id); err != nil {
			t.Error(err)
		}
	}
	h.accept(t, id)
	h.drive(t, "alice", 1)
	if all := h.places.Visible("bob"); len(all) > 0 {
		t.Errorf("bob knows of %v after the trip", all)
	}
	if all := h.Open("bob"); len(all) > 0 {
		t.Errorf("bob has %+v after that", all)
	}
}

func TestALongWayIsMeasuredToItsEnd(t *testing.T) {
	h := newStreet(t)
	id := h.ask(t).ID
	h.accept(t, id)
	const n = 12_000
	points := make([]locations.Position, 0, 1000)
	for i := range n {
		h.pass(time.Second)
		points = append(points, locations.Position{At: h.now().UnixMilli(), Lat: 40 + float64(i)/1000, Lon: 13.4})
		if len(points) == cap(points) {
			if _, err := h.places.Report(t.Context(), locations.Subject{Who: "bob", Label: "phone"}, points...); err != nil {
				t.Fatal(err)
			}
			points = points[:0]
			h.write(t)
		}
	}
	got, err := h.End(t.Context(), "bob", id)
	if err != nil || len(got.Waypoint) != 100 || got.Waypoint[99].Lat != 40+float64(n-1)/1000 {
		t.Errorf("of the way there are %d points, %.0f m, %v; want its end among them", len(got.Waypoint), got.Metres, err)
	}
}

// write has all be written that is in memory: it is what places do at their end.
func (h *street) write(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.places.Run(ctx); err != nil {
		t.Fatal(err)
	}
}
