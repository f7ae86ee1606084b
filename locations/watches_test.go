package locations_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang/geo/s2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

func (h *town) watch(who accounts.Name, q locations.Watch) locations.Watch {
	h.t.Helper()
	q, err := h.Watch(h.t.Context(), who, q)
	if err != nil {
		h.t.Fatal(err)
	}
	return q
}

// taken gives what was told of those near since it was asked last.
func (h *town) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.moves
	h.moves = nil
	return all
}

// TestAWatchIsWhatBruteForceFinds has things move at random around places that are hard for maps, and keeps by the book who is
// near.
func TestAWatchIsWhatBruteForceFinds(t *testing.T) {
	for _, centre := range [][2]float64{{52.5, 13.4}, {-17, 179.999}, {89.999, 0}, {-90, 0}} {
		t.Run(fmt.Sprint(centre), func(t *testing.T) {
			h := newTown(t)
			r := rand.New(rand.NewPCG(7, 8))
			q := locations.Watch{Lat: centre[0], Lon: centre[1], Radius: 1000, Kind: "taxi"}
			inside := map[locations.Subject]locations.Position{}
			where := map[locations.Subject][2]float64{} // metres from the centre
			step := func(i int) {
				s := locations.Subject{Who: thing(i)}
				at := where[s]
				at[0], at[1] = at[0]+r.NormFloat64()*150, at[1]+r.NormFloat64()*150
				where[s] = at
				d, angle := math.Hypot(at[0], at[1])/111_195, math.Atan2(at[1], at[0])
				lat, lon := centre[0]+d*math.Cos(angle), centre[1]
				if math.Abs(centre[0]) > 80 { // the angle is the longitude
					lat, lon = math.Copysign(90-d, centre[0]), angle*180/math.Pi
				} else {
					lon = math.Remainder(lon+d*math.Sin(angle)/math.Cos(centre[0]*math.Pi/180), 360)
				}
				h.pass(time.Second)
				p := locations.Position{At: h.now().UnixMilli(), Lat: lat, Lon: lon}
				h.report(s, p)
				away := haversine(q.Lat, q.Lon, lat, lon)
				_, was := inside[s]
				if kindOf(s.Who) == "taxi" && (away <= 1000 || was && away <= 1100) {
					inside[s] = p
				} else {
					delete(inside, s)
				}
			}
			for i := range 100 {
				step(i)
			}
			for s := range inside { // who was there before is there within the radius
				if p := inside[s]; haversine(q.Lat, q.Lon, p.Lat, p.Lon) > 1000 {
					delete(inside, s)
				}
			}
			q = h.watch("alice", q)
			for n := range 1500 {
				step(r.IntN(100))
				h.mu.Lock()
				same := maps.EqualFunc(h.near, inside, func(a, b locations.Position) bool { return a.Lat == b.Lat && a.Lon == b.Lon })
				h.mu.Unlock()
				if !same {
					t.Fatalf("after %d steps there are %v, want %v: %v", n, h.near, inside, h.taken())
				}
			}
			h.taken()
			h.Unwatch("alice", q.ID)
			for range 100 {
				step(r.IntN(100))
			}
			if got := h.taken(); len(got) > 0 {
				t.Errorf("after its end %v", got)
			}
		})
	}
}

func TestAWatchShowsWhatOneMayKnow(t *testing.T) {
	h := newTown(t)
	at := func(metres float64) locations.Position {
		h.pass(time.Minute)
		return locations.Position{At: h.now().UnixMilli(), Lat: 52.5 + metres/111_195, Lon: 13.4}
	}
	h.report(phone, at(0))
	h.watch("bob", locations.Watch{ID: "w", Lat: 52.5, Lon: 13.4, Radius: 20_000})
	h.report(phone, at(1))
	if got := h.taken(); len(got) > 0 {
		t.Errorf("bob is told %v", got)
	}
	h.share("alice", "bob", locations.LevelCity, 0)
	h.report(phone, at(2))
	h.report(phone, at(3))
	if got := h.taken(); !slices.Equal(got, []string{"bob enter alice/phone"}) || !h.near[phone].Rough {
		t.Errorf("roughly: %v, %+v", got, h.near)
	}
	h.share("alice", "bob", locations.LevelExact, 0)
	h.report(phone, at(4))
	if err := h.Unshare(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	h.report(phone, at(5))
	if got := h.taken(); len(got) < 2 || got[len(got)-1] != "bob leave alice/phone" || len(h.near) > 0 {
		t.Errorf("after the end %v", got)
	}
	h.watch("alice", locations.Watch{ID: "w", Lat: 52.5, Lon: 13.4, Radius: 100})
	h.pass(2 * time.Hour)
	h.taken()
	h.report(phone, at(6))
	if got := h.taken(); len(got) > 0 {
		t.Errorf("after its time alice is told %v", got)
	}
	for _, q := range []locations.Watch{
		{Lat: 91, Radius: 10}, {Radius: 0.5}, {Radius: 1e6}, {Radius: 10, Until: 1}, {Radius: 10, ID: "a/b"},
		{Radius: 10, Until: h.now().Add(2 * time.Hour).UnixMilli()},
	} {
		if _, err := h.Watch(t.Context(), "bob", q); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	for i := range 11 {
		_, err := h.Watch(t.Context(), "bob", locations.Watch{Radius: 10})
		if (i == 10) != errors.Is(err, locations.ErrTooMany) {
			t.Errorf("watch %d: %v", i, err)
		}
	}
}

// TestAWatchThatIsAskedForAtOnceIsOne has a client ask again before it was answered.
func TestAWatchThatIsAskedForAtOnceIsOne(t *testing.T) {
	h := newTown(t)
	q := locations.Watch{ID: "w", Lat: 52.5, Lon: 13.4, Radius: 500}
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() {
			if _, err := h.Watch(t.Context(), "bob", q); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	here := s2.LatLngFromDegrees(q.Lat, q.Lon)
	if counted, found := h.Watches(here); counted != 1 || found != 1 {
		t.Errorf("%d are counted, and %d found", counted, found)
	}
	h.Unwatch("bob", "w")
	if counted, found := h.Watches(here); counted != 0 || found != 0 {
		t.Errorf("afterwards %d are counted, and %d found", counted, found)
	}
}

// TestAWatchOfAsManyAsThereMayBeCanBeReplaced has bob ask for one more than he may have, and again for one that he has.
func TestAWatchOfAsManyAsThereMayBeCanBeReplaced(t *testing.T) {
	h := newTown(t)
	for i := range 11 {
		q := locations.Watch{ID: fmt.Sprint("w", i), Lat: 52.5, Lon: 13.4, Radius: 500}
		if _, err := h.Watch(t.Context(), "bob", q); (i == 10) != errors.Is(err, locations.ErrTooMany) {
			t.Errorf("watch %d: %v", i, err)
		}
	}
	h.watch("bob", locations.Watch{ID: "w3", Lat: 52.5, Lon: 13.4, Radius: 700})
}
