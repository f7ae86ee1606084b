package trips_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/trips"
)

// waits has somebody be so many metres north of where trips begin, and let alice know.
func (h *street) waits(t *testing.T, who accounts.Name, metres float64, level locations.Level) {
	t.Helper()
	p := locations.Position{Lat: 52.5 + metres/111_195, Lon: 13.4}
	if _, err := h.places.Report(t.Context(), locations.Subject{Who: who, Label: "phone"}, p); err != nil {
		t.Fatal(err)
	}
	if level == locations.LevelNone {
		return
	}
	if _, err := h.places.Share(t.Context(), who, locations.Share{To: "alice", Level: level}); err != nil {
		t.Fatal(err)
	}
}

func (h *street) askNear(t *testing.T, near trips.Near) trips.Trip {
	t.Helper()
	asked, err := h.Request(t.Context(), "alice", trips.Request{Near: &near, From: trips.Place{Lat: 52.5, Lon: 13.4}})
	if err != nil {
		t.Fatal(err)
	}
	return asked
}

func (h *street) is(t *testing.T, id string) trips.Trip {
	t.Helper()
	got, err := h.Get(t.Context(), "alice", id)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func names(all ...accounts.Name) []accounts.Name { return all }

func TestWhoDeclinesIsAskedNoMore(t *testing.T) {
	h := newStreet(t)
	id := h.ask(t, "bob", "carol").ID
	h.hears()
	got, err := h.Decline(t.Context(), "bob", id)
	if err != nil || got.State != trips.Requested || got.For("bob").State != trips.Declined {
		t.Errorf("bob declines: %+v, %v", got, err)
	}
	if said := h.hears(); !slices.Equal(said, []string{"alice requested", "bob declined", "carol requested"}) {
		t.Errorf("told is %v", said)
	}
	if _, err := h.Decline(t.Context(), "bob", id); err != nil || len(h.hears()) > 0 {
		t.Errorf("a repeat: %v", err)
	}
	if _, err := h.Accept(t.Context(), "bob", id); !errors.Is(err, trips.ErrLate) {
		t.Errorf("he accepts after that: %v", err)
	}
	if all := h.Open("bob"); len(all) > 0 {
		t.Errorf("bob is asked for %+v", all)
	}
	for _, who := range names("alice", "dave") {
		if _, err := h.Decline(t.Context(), who, id); !errors.Is(err, trips.ErrNone) {
			t.Errorf("%s declines: %v", who, err)
		}
	}
	if seen := h.is(t, id).For("carol"); seen.Declined != nil || seen.Drivers != nil {
		t.Errorf("carol is told %+v", seen)
	}
	h.start(t)
	if _, err := h.Decline(t.Context(), "carol", id); err != nil {
		t.Fatal(err)
	}
	if got := h.is(t, id); got.State != trips.Declined || got.Over == 0 {
		t.Errorf("all have declined: %+v", got)
	}
	if said := h.hears(); !slices.Equal(said, []string{"alice declined", "carol declined"}) {
		t.Errorf("told is %v", said)
	}
	if all := h.Open("alice"); len(all) > 0 {
		t.Errorf("alice waits for %+v", all)
	}
}

func TestWhoDeclinesAndWhoAcceptsAtOnce(t *testing.T) {
	h := newStreet(t)
	drivers := names("bob", "carol", "dave", "eve")
	id := h.ask(t, drivers...).ID
	var running sync.WaitGroup
	errs := make([]error, len(drivers))
	for i, who := range drivers {
		running.Go(func() {
			if i == 3 {
				_, errs[i] = h.Accept(t.Context(), who, id)
			} else if _, err := h.Decline(t.Context(), who, id); !errors.Is(err, trips.ErrLate) { // eve was faster
				errs[i] = err
			}
		})
	}
	running.Wait()
	if got := h.is(t, id); errors.Join(errs...) != nil || got.Driver != "eve" {
		t.Errorf("%+v, %v", got, errs)
	}
}

func TestTheNearestAreAskedFirst(t *testing.T) {
	h := newStreet(t)
	for i, who := range names("ben", "cid", "dan", "eli", "fay") {
		h.waits(t, who, float64(100*(5-i)), locations.LevelExact) // fay is the nearest
	}
	h.waits(t, "far", 30_000, locations.LevelExact)
	h.waits(t, "hid", 1, locations.LevelNone) // of whom alice does not know
	h.waits(t, "out", 2, locations.LevelExact)
	h.barred["out"] = true
	h.waits(t, "alice", 0, locations.LevelNone)
	asked := h.askNear(t, trips.Near{Wave: 2})
	id := asked.ID
	if got := h.is(t, id); !slices.Equal(got.Drivers, names("fay", "eli")) || got.Passed != nil {
		t.Fatalf("first are asked %+v", got)
	}
	if said := h.hears(); !slices.Equal(said, []string{"alice requested", "eli requested", "fay requested"}) {
		t.Errorf("told is %v", said)
	}
	h.pass(14 * time.Second)
	h.expire(t)
	if _, err := h.Decline(t.Context(), "eli", id); err != nil {
		t.Fatal(err)
	}
	h.hears()
	h.pass(time.Second)
	h.start(t) // it goes on after a restart
	h.expire(t)
	got := h.is(t, id)
	if !slices.Equal(got.Drivers, names("dan", "cid")) || !slices.Equal(got.Passed, names("fay", "eli")) ||
		got.Deadline != h.now().Add(15*time.Second).UnixMilli() {
		t.Fatalf("then are asked %+v", got)
	}
	if said := h.hears(); !slices.Equal(said, []string{"alice requested", "cid requested", "dan requested", "fay expired"}) {
		t.Errorf("told is %v", said)
	}
	if _, err := h.Accept(t.Context(), "fay", id); !errors.Is(err, trips.ErrLate) {
		t.Errorf("whose time was over accepts: %v", err)
	}
	for _, who := range names("dan", "cid") { // the next are asked at once
		if _, err := h.Decline(t.Context(), who, id); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.is(t, id); !slices.Equal(got.Drivers, names("ben")) {
		t.Fatalf("at last are asked %+v", got)
	}
	if _, err := h.Accept(t.Context(), "ben", id); err != nil {
		t.Fatal(err)
	}
	if got := h.is(t, id); got.State != trips.Accepted || got.Driver != "ben" {
		t.Errorf("it is %+v", got)
	}
	for _, who := range names("fay", "eli", "dan") { // also not that others were asked after them, and until when
		if seen, first := h.is(t, id).For(who), asked.Deadline; seen.Deadline != first {
			t.Errorf("%s is told of a deadline %d, the first was %d", who, seen.Deadline, first)
		}
	}
	if seen := h.is(t, id).For("fay"); seen.State != trips.Expired || seen.Driver != "" || seen.Begun != 0 || seen.Near != nil {
		t.Errorf("fay is told %+v", seen)
	}
}

func TestWhoCannotBeAsked(t *testing.T) {
	h := newStreet(t)
	if got := h.askNear(t, trips.Near{}); got.State != trips.Expired || got.Over == 0 {
		t.Errorf("nobody is near: %+v", got)
	}
	h.waits(t, "bob", 100, locations.LevelExact)
	h.waits(t, "carol", 200, locations.LevelExact)
	first := h.askNear(t, trips.Near{Wave: 1})
	second := h.askNear(t, trips.Near{})
	if !slices.Equal(first.Drivers, names("bob")) || !slices.Equal(second.Drivers, names("carol")) {
		t.Errorf("asked are %v, and then, who thinks of nothing else, %v", first.Drivers, second.Drivers)
	}
	if _, err := h.Decline(t.Context(), "carol", second.ID); err != nil {
		t.Fatal(err)
	}
	if got := h.is(t, second.ID); got.State != trips.Declined {
		t.Errorf("after the only one has declined: %+v", got)
	}
	h.accept(t, first.ID)
	h.pass(10 * time.Minute)
	h.waits(t, "carol", 200, locations.LevelCity) // roughly: it is kilometres from here that she is shown
	third := h.askNear(t, trips.Near{Radius: 50})
	if third.State != trips.Expired {
		t.Errorf("of whom alice knows the city only, and who is on his way, are asked: %+v", third)
	}
	if got := h.askNear(t, trips.Near{Radius: 20_000}); !slices.Equal(got.Drivers, names("carol")) {
		t.Errorf("within 20 km are asked %+v", got)
	}
	h.pass(time.Hour)
	h.expire(t)
	if got := h.askNear(t, trips.Near{Radius: 20_000}); got.State != trips.Expired {
		t.Errorf("an hour later are asked %+v", got)
	}
}

// TestWhoAsksAtOnceAsksOthers has alice and ben ask for those near at the same moment, and for more than they may.
func TestWhoAsksAtOnceAsksOthers(t *testing.T) {
	h := newStreet(t)
	for i := range 6 {
		who := accounts.Name(fmt.Sprint("d", i))
		h.waits(t, who, float64(100+i), locations.LevelExact)
		if _, err := h.places.Share(t.Context(), who, locations.Share{To: "ben", Level: locations.LevelExact}); err != nil {
			t.Fatal(err)
		}
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	asked, refused := map[accounts.Name]int{}, 0
	for i := range 12 {
		rider := names("alice", "ben")[i%2]
		running.Go(func() {
			got, err := h.Request(t.Context(), rider, trips.Request{Near: &trips.Near{Wave: 1}, From: trips.Place{Lat: 52.5, Lon: 13.4}})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
			}
			for _, who := range got.Drivers {
				asked[who]++
			}
		})
	}
	running.Wait()
	for who, n := range asked {
		if n > 1 {
			t.Errorf("%s is asked for %d trips", who, n)
		}
	}
	if len(asked) != 6 || refused != 6 {
		t.Errorf("asked are %v, and %d were refused", asked, refused)
	}
}

func TestADriverHasThreeTripsAtMostAtOnce(t *testing.T) {
	h := newStreet(t)
	var ids []string
	for _, rider := range names("alice", "ann", "abe") {
		for range 3 {
			asked, err := h.Request(t.Context(), rider, trips.Request{Drivers: names("bob")})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, asked.ID)
		}
	}
	var running sync.WaitGroup
	var taken, refused atomic.Int64
	for _, id := range ids {
		running.Go(func() {
			if _, err := h.Accept(t.Context(), "bob", id); err == nil {
				taken.Add(1)
			} else if errors.Is(err, trips.ErrTooMany) {
				refused.Add(1)
			}
		})
	}
	running.Wait()
	if taken.Load() != 3 || refused.Load() != 6 {
		t.Errorf("bob has %d, and %d were refused", taken.Load(), refused.Load())
	}
}

func TestAFleetIsAsked(t *testing.T) {
	h := newStreet(t)
	h.fleet = names("carol", "dave")
	h.waits(t, "bob", 100, locations.LevelExact)
	h.waits(t, "carol", 200, locations.LevelExact)
	h.waits(t, "dave", 300, locations.LevelExact)
	asked := h.askNear(t, trips.Near{Wave: 1, Group: "g.fleet"})
	if !slices.Equal(asked.Drivers, names("carol")) {
		t.Errorf("asked are %v", asked.Drivers)
	}
	for i := range 210 { // who are nearer, and not in it
		h.waits(t, accounts.Name(fmt.Sprint("p", i)), float64(i)/10, locations.LevelExact)
	}
	if got := h.askNear(t, trips.Near{Wave: 1, Group: "g.fleet"}); !slices.Equal(got.Drivers, names("dave")) {
		t.Errorf("of 210 who are nearer, and the fleet, asked are %v", got.Drivers)
	}
	q := trips.Request{Near: &trips.Near{Group: "g.other"}}
	if _, err := h.Request(t.Context(), "bob", q); !errors.Is(err, errNoFleet) {
		t.Errorf("of another fleet: %v", err)
	}
	h.mu.Lock()
	h.fleet = nil // alice is in it no more
	h.mu.Unlock()
	h.pass(time.Minute)
	h.expire(t)
	if got := h.is(t, asked.ID); got.State != trips.Expired {
		t.Errorf("it is %+v", got)
	}
}

func TestNoMoreThanTwentyAreAsked(t *testing.T) {
	h := newStreet(t)
	for i := range 25 {
		h.waits(t, accounts.Name(fmt.Sprintf("d%02d", i)), float64(100+i), locations.LevelExact)
	}
	id := h.askNear(t, trips.Near{Wave: 8}).ID
	for range 3 {
		h.pass(15 * time.Second)
		h.expire(t)
	}
	if got := h.is(t, id); got.State != trips.Expired || len(got.Drivers) != 4 || len(got.Passed) != 16 {
		t.Errorf("it is %s, and %d and %d were asked", got.State, len(got.Drivers), len(got.Passed))
	}
	for _, q := range []trips.Near{{Radius: -1}, {Radius: 1e6}, {Wave: 21}, {Wave: -1}} {
		if _, err := h.Request(t.Context(), "alice", trips.Request{Near: &q}); !errors.Is(err, trips.ErrMalformed) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	q := trips.Request{Near: &trips.Near{}, Drivers: names("bob")}
	if _, err := h.Request(t.Context(), "alice", q); !errors.Is(err, trips.ErrMalformed) {
		t.Errorf("named and near: %v", err)
	}
}

func TestNobodyRidesWithWhoIsGone(t *testing.T) {
	for _, gone := range names("alice", "bob") {
		for _, how := range []string{"leaves", "was suspended while nothing ran"} {
			t.Run(fmt.Sprint(gone, " ", how), func(t *testing.T) {
				h := newStreet(t)
				under := h.ask(t).ID
				h.accept(t, under)
				open := h.ask(t, "bob", "carol").ID
				h.drive(t, "bob", 1)
				h.drive(t, "alice", 1)
				if how == "leaves" {
					if err := h.Leave(t.Context(), gone); err != nil {
						t.Fatal(err)
					}
				} else {
					h.mu.Lock()
					h.barred[gone] = true
					h.mu.Unlock()
					h.start(t)
					if err := h.Part(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if got := h.is(t, under); got.State != trips.Canceled {
					t.Errorf("what was under way is %+v", got)
				}
				for _, pair := range [][2]accounts.Name{{"alice", "bob"}, {"bob", "alice"}} {
					s := locations.Subject{Who: pair[1], Label: "phone"}
					if p, err := h.places.Last(t.Context(), pair[0], s); !errors.Is(err, locations.ErrNone) {
						t.Errorf("%s sees %s at %+v, %v", pair[0], pair[1], p, err)
					}
				}
				want := trips.Requested // carol may yet accept
				if gone == "alice" {
					want = trips.Canceled
				}
				if got := h.is(t, open); got.State != want {
					t.Errorf("what was asked for is %+v", got)
				}
			})
		}
	}
}

// TestASummaryIsWrittenThoughTheServerDies has the server die after a trip has ended by itself, before its summary was written.
func TestASummaryIsWrittenThoughTheServerDies(t *testing.T) {
	for _, byItself := range []bool{true, false} {
		h := newStreet(t)
		id := h.ask(t).ID
		h.accept(t, id)
		h.drive(t, "bob", 3)
		h.mu.Lock()
		h.fails = true
		h.mu.Unlock()
		if byItself {
			h.pass(12 * time.Hour)
			if err := h.Expire(t.Context()); err == nil {
				t.Fatal("the summary was written")
			}
		} else if _, err := h.End(t.Context(), "bob", id); err == nil {
			t.Fatal("the summary was written")
		}
		h.mu.Lock()
		h.fails = false
		h.mu.Unlock()
		h.start(t)
		h.expire(t)
		if got := h.is(t, id); got.State != trips.Ended || got.Unsaid || !slices.Equal(h.written, []string{id}) {
			t.Errorf("by itself %t: it is %+v, and written is %v", byItself, got, h.written)
		}
		h.expire(t)
		h.start(t)
		h.expire(t)
		if len(h.written) != 1 {
			t.Errorf("by itself %t: written are %v", byItself, h.written)
		}
		h.pass(31 * 24 * time.Hour)
		h.expire(t)
		if _, err := h.Get(t.Context(), "alice", id); !errors.Is(err, trips.ErrNone) {
			t.Errorf("after a month: %v", err)
		}
	}
}

// TestTheStoreIsAskedWhenSomethingIsDue counts who asks it.
func TestTheStoreIsAskedWhenSomethingIsDue(t *testing.T) {
	h := newStreet(t)
	idle := func(when string) {
		t.Helper()
		before := h.kept.asked.Load()
		for range 100 {
			h.expire(t)
		}
		if n := h.kept.asked.Load() - before; n > 0 {
			t.Errorf("%s: the store is asked %d times what is due", when, n)
		}
	}
	idle("at first")
	id := h.ask(t).ID
	idle("asked")
	h.pass(20 * time.Second)
	h.expire(t)
	if got := h.is(t, id); got.State != trips.Expired {
		t.Errorf("it is %+v", got)
	}
	idle("expired")
	h.start(t)
	idle("after a start")
	id = h.ask(t).ID
	h.kept.fails = func(records.Record) bool { return true }
	h.pass(20 * time.Second)
	if err := h.Expire(t.Context()); err == nil {
		t.Error("nothing failed")
	}
	h.kept.fails = nil
	h.expire(t) // it is tried again
	if got := h.is(t, id); got.State != trips.Expired {
		t.Errorf("after a failure it is %+v", got)
	}
	h.pass(31 * 24 * time.Hour)
	h.expire(t)
	if _, err := h.Get(t.Context(), "alice", id); !errors.Is(err, trips.ErrNone) {
		t.Errorf("after a month: %v", err)
	}
}
