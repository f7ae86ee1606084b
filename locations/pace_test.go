package locations_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

func (h *town) follow(viewer, who accounts.Name, every time.Duration, dist float64) {
	h.t.Helper()
	f := locations.Follow{Who: who, Pace: locations.Pace{Every: every, Dist: dist}}
	if err := h.Follow(h.t.Context(), viewer, f); err != nil {
		h.t.Fatal(err)
	}
}

// goes has the phone be so many metres further north, after so long.
func (h *town) goes(after time.Duration, metres float64) {
	h.t.Helper()
	h.pass(after)
	h.report(phone, locations.Position{At: h.now().UnixMilli(), Lat: 52.5 + metres/111_195, Lon: 13.4, Acc: 5})
}

// seesIn waits until somebody was shown so many positions, the last of them so many metres north.
func (h *town) seesIn(who accounts.Name, want int, metres float64) {
	h.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		n, last := h.sees(who)
		if at := (last.Lat - 52.5) * 111_195; n == want && math.Abs(at-metres) < 0.5 {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s is shown %d, the last %+v; want %d, the last %v m away", who, n, last, want, metres)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTheNewestIsToldInTime(t *testing.T) {
	h := newTown(t)
	h.share("alice", "bob", locations.LevelExact, 0)
	h.share("alice", "dora", locations.LevelExact, 0)
	h.follow("bob", "", 5*time.Second, 0)
	for i := range 10 {
		h.goes(100*time.Millisecond, float64(i))
	}
	h.seesIn("dora", 10, 9) // she has not asked for less
	h.seesIn("bob", 1, 0)
	h.pass(4900 * time.Millisecond) // the phone says nothing meanwhile
	h.seesIn("bob", 2, 9)
	h.goes(time.Second, 20)
	h.follow("bob", "alice", time.Second, 0) // what waited has waited long enough now
	h.seesIn("bob", 3, 20)
	h.goes(2*time.Second, 30)
	h.seesIn("bob", 4, 30)
	h.restart()
	h.goes(time.Second, 40)
	h.goes(time.Millisecond, 41)
	h.seesIn("bob", 5, 40)
	h.follow("bob", "alice", 0, 0)
	h.follow("bob", "", 0, 0)
	h.seesIn("bob", 6, 41)
	h.goes(time.Millisecond, 42)
	h.seesIn("bob", 7, 42)
}

func TestWhatIsNearIsToldOnceAMinute(t *testing.T) {
	h := newTown(t)
	h.share("alice", "bob", locations.LevelExact, 0)
	h.follow("bob", "alice", 0, 10)
	h.goes(0, 0)
	h.goes(time.Second, 4)
	h.goes(time.Second, 9)
	h.seesIn("bob", 1, 0)
	h.goes(time.Second, 11)
	h.seesIn("bob", 2, 11)
	h.goes(time.Second, 12)
	h.pass(time.Minute)
	h.seesIn("bob", 3, 12)
}

// TestWhatWaitsIsToldByTheRightsOfThen has a position wait while the share is changed.
func TestWhatWaitsIsToldByTheRightsOfThen(t *testing.T) {
	for name, then := range map[string]func(h *town) (shown int){
		"ended":   func(h *town) int { return h.unshare("bob") },
		"strange": func(h *town) int { return h.strange("bob") },
		"over":    func(h *town) int { return 1 }, // by itself, in 4 s
		"rougher": func(h *town) int { h.share("alice", "bob", locations.LevelCity, 0); return 2 },
	} {
		t.Run(name, func(t *testing.T) {
			h := newTown(t)
			until := int64(0)
			if name == "over" {
				until = h.now().Add(4 * time.Second).UnixMilli()
			}
			h.share("alice", "bob", locations.LevelExact, until)
			h.follow("bob", "", 5*time.Second, 0)
			h.goes(0, 0)
			h.goes(time.Second, 100)
			n := then(h)
			h.pass(time.Minute)
			// Who is told after him was not told in vain: all that waited was looked at.
			h.share("alice", "dora", locations.LevelExact, 0)
			h.follow("dora", "", 5*time.Second, 0)
			h.goes(0, 110)
			h.goes(time.Second, 120)
			h.pass(time.Minute)
			h.seesIn("dora", 3, 120)
			got, last := h.sees("bob")
			if got != n && name != "rougher" || last.Rough != (name == "rougher") {
				t.Errorf("bob is shown %d, the last %+v; want %d", got, last, n)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, p := range h.shown["bob"][1:] {
				if !p.Rough {
					t.Errorf("bob is shown %+v", p)
				}
			}
		})
	}
}

func (h *town) unshare(to accounts.Name) int {
	h.t.Helper()
	if err := h.Unshare(h.t.Context(), "alice", to); err != nil {
		h.t.Fatal(err)
	}
	return 1
}

func (h *town) strange(who accounts.Name) int {
	h.mu.Lock()
	h.strangers[who] = true
	h.mu.Unlock()
	h.PairChanged(h.t.Context(), "alice", who)
	return 1
}

// TestAPaceTellsNoMoreOfACell has somebody who is told the city ask for another pace: he is told of cells, and of nothing within.
func TestAPaceTellsNoMoreOfACell(t *testing.T) {
	h := newTown(t)
	h.share("alice", "bob", locations.LevelCity, 0)
	h.follow("bob", "", time.Second, 5)
	for i := range 200 {
		h.goes(time.Minute, float64(i)*5)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := map[string]bool{}
	for _, p := range h.shown["bob"] {
		seen[fmt.Sprint(p.Lat, p.Lon)] = true
		if !p.Rough {
			t.Errorf("bob is shown %+v", p)
		}
	}
	if len(seen) != len(h.shown["bob"]) || len(seen) > 2 {
		t.Errorf("within a kilometre bob is shown %+v", h.shown["bob"])
	}
}

// TestWhoHasNotGoneFarIsInHisCity has somebody who is told the city be told nothing of who goes to the next cell and comes back, and
// of who has not gone as far as he asks for.
func TestWhoHasNotGoneFarIsInHisCity(t *testing.T) {
	for name, tt := range map[string]struct {
		every   time.Duration
		dist    float64
		goes    []float64 // kilometres
		told    int
		farther float64
	}{
		"there and back": {10 * time.Minute, 0, []float64{0, 30, 0}, 1, 60},
		"not far":        {0, 50_000, []float64{0, 30}, 1, 90},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTown(t)
			h.share("alice", "bob", locations.LevelCity, 0)
			h.follow("bob", "", tt.every, tt.dist)
			for i, km := range tt.goes {
				h.goes(time.Duration(i)*time.Minute, km*1000)
			}
			h.pass(time.Hour)
			h.share("alice", "dora", locations.LevelExact, 0) // all that waited was looked at when she is told
			h.follow("dora", "", time.Second, 0)
			h.goes(time.Minute, tt.goes[len(tt.goes)-1]*1000+10)
			h.goes(time.Millisecond, tt.goes[len(tt.goes)-1]*1000+20)
			h.pass(time.Minute)
			h.seesIn("dora", 3, tt.goes[len(tt.goes)-1]*1000+20)
			if n, last := h.sees("bob"); n != tt.told {
				t.Errorf("bob is told %d times, the last %+v", n, last)
			}
			h.goes(time.Hour, tt.farther*1000)
			if n, _ := h.sees("bob"); n != tt.told+1 {
				t.Errorf("of who has gone far bob is told %d times", n)
			}
		})
	}
}

func TestAPaceHoldsNothingUpWhenTheClockIsSetBack(t *testing.T) {
	h := newTown(t)
	h.share("alice", "bob", locations.LevelExact, 0)
	h.follow("bob", "", time.Hour, 0)
	h.goes(0, 0)
	h.pass(-2 * time.Minute)
	h.report(phone, locations.Position{At: h.now().Add(2*time.Minute + time.Second).UnixMilli(), Lat: 52.6, Lon: 13.4})
	if n, _ := h.sees("bob"); n != 2 {
		t.Errorf("bob is told %d times", n)
	}
}

// TestWhatWaitsIsNotForANewOwner has a thing be sold while where it was waits to be told.
func TestWhatWaitsIsNotForANewOwner(t *testing.T) {
	h := newTown(t)
	h.follow("alice", "", 5*time.Second, 0)
	sold, other := locations.Subject{Who: thing(1)}, locations.Subject{Who: thing(2)}
	for i := range 2 {
		h.pass(time.Second)
		at := h.now().UnixMilli()
		h.report(sold, locations.Position{At: at, Lat: 10 + float64(i)/1000, Lon: 1})
		h.pass(time.Millisecond)
		h.report(other, locations.Position{At: at, Lat: 52.5 + float64(i)/1000, Lon: 1})
	}
	h.mu.Lock()
	h.sold[sold.Who]++
	h.mu.Unlock()
	h.pass(time.Minute)
	h.seesIn("alice", 3, 111.195) // the other one waited longer
}

// TestWhoSeesAThingIsAskedOnceForAll has a thing wait for three, and for a watch of each.
func TestWhoSeesAThingIsAskedOnceForAll(t *testing.T) {
	h := newTown(t)
	car := locations.Subject{Who: thing(1)}
	for _, who := range []accounts.Name{"admin", "alice", "mary"} {
		h.follow(who, "", 5*time.Second, 0)
		h.watch(who, locations.Watch{ID: "w", Lat: 52.5, Lon: 13.4, Radius: 500, Pace: locations.Pace{Every: 5 * time.Second}})
	}
	for i := range 2 {
		h.pass(time.Second)
		h.report(car, locations.Position{At: h.now().UnixMilli(), Lat: 52.5 + float64(i)/1000, Lon: 13.4})
	}
	before := h.asked.Load()
	h.pass(time.Minute)
	for _, who := range []accounts.Name{"admin", "alice", "mary"} {
		h.seesIn(who, 2, 111.195)
	}
	if n := h.asked.Load() - before; n > 1 {
		t.Errorf("it is asked %d times who sees it", n)
	}
}

func TestAWatchHasItsPace(t *testing.T) {
	h := newTown(t)
	h.share("alice", "bob", locations.LevelExact, 0)
	h.watch("bob", locations.Watch{ID: "w", Lat: 52.5, Lon: 13.4, Radius: 500, Pace: locations.Pace{Every: 5 * time.Second}})
	for i := range 5 {
		h.goes(100*time.Millisecond, float64(i))
	}
	h.pass(5 * time.Second)
	deadline := time.Now().Add(10 * time.Second)
	for {
		h.mu.Lock()
		moves, at := slices.Clone(h.moves), (h.near[phone].Lat-52.5)*111_195
		h.mu.Unlock()
		if slices.Equal(moves, []string{"bob enter alice/phone", "bob move alice/phone"}) && math.Abs(at-4) < 0.5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("bob is told %v, and that she is %v m away", moves, at)
		}
		time.Sleep(time.Millisecond)
	}
	h.goes(time.Millisecond, 5)
	h.goes(time.Millisecond, 2000) // a leave does not wait, and nothing comes after it
	h.pass(time.Minute)
	if got := h.taken(); !slices.Equal(got[2:], []string{"bob leave alice/phone"}) {
		t.Errorf("bob is told %v", got)
	}
}

func TestWhatCanBeAPace(t *testing.T) {
	h := newTown(t)
	for _, p := range []locations.Pace{{Every: -1}, {Every: 2 * time.Hour}, {Dist: -1}, {Dist: math.NaN()}, {Dist: 1e6}} {
		if err := h.Follow(t.Context(), "bob", locations.Follow{Pace: p}); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("%+v: %v", p, err)
		}
		q := locations.Watch{Lat: 1, Lon: 1, Radius: 10, Pace: p}
		if _, err := h.Watch(t.Context(), "bob", q); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("watch %+v: %v", p, err)
		}
	}
	for i := range 201 {
		f := locations.Follow{Who: thing(i), Pace: locations.Pace{Dist: 5}}
		if err := h.Follow(t.Context(), "bob", f); (i == 200) != errors.Is(err, locations.ErrTooMany) {
			t.Errorf("pace %d: %v", i, err)
		}
	}
	if err := h.Leave(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if all := h.Follows("bob"); len(all) > 0 {
		t.Errorf("of bob, who is gone, there are %d", len(all))
	}
}

// TestNothingWaitsForWhatIsGone has a position wait for bob, and for a watch of his, when there is no more to be told.
func TestNothingWaitsForWhatIsGone(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(h *town) error
		left int
	}{
		"the phone":     {func(h *town) error { return h.Forget(h.t.Context(), phone) }, 0},
		"the share":     {func(h *town) error { return h.Unshare(h.t.Context(), "alice", "bob") }, 0},
		"the friend":    {func(h *town) error { h.strange("bob"); return nil }, 0},
		"the watch":     {func(h *town) error { h.Unwatch("bob", "w"); return nil }, 1},
		"the watcher":   {func(h *town) error { return h.Leave(h.t.Context(), "bob") }, 0},
		"shown again":   {func(h *town) error { h.share("alice", "bob", locations.LevelExact, 0); return nil }, 1},
		"the other one": {func(h *town) error { return h.Leave(h.t.Context(), "alice") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTown(t)
			h.share("alice", "bob", locations.LevelExact, 0)
			h.follow("bob", "alice", time.Hour, 0)
			h.watch("bob", locations.Watch{ID: "w", Lat: 52.5, Lon: 13.4, Radius: 500, Pace: locations.Pace{Every: time.Hour}})
			h.goes(0, 0)
			h.goes(time.Second, 5)
			if all, at, of := h.Waiting(); all != 2 || at != 2 || of != 2 {
				t.Fatalf("%d, %d and %d wait", all, at, of)
			}
			if err := tt.end(h); err != nil {
				t.Fatal(err)
			}
			if all, at, of := h.Waiting(); all != tt.left || at != tt.left || of != tt.left {
				t.Errorf("%d, %d and %d wait, want %d", all, at, of, tt.left)
			}
		})
	}
}
