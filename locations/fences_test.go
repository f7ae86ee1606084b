package locations_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/store/pebble"
)

func (h *town) fence(who accounts.Name, f locations.Fence) locations.Fence {
	h.t.Helper()
	f, err := h.PutFence(h.t.Context(), who, f)
	if err != nil {
		h.t.Fatal(err)
	}
	return f
}

func circle(name string, lat, lon, radius float64) locations.Fence {
	return locations.Fence{Name: name, Shape: locations.Shape{Points: []locations.Point{{Lat: lat, Lon: lon}}, Radius: radius}}
}

// wait waits for so many crossings in all, and gives them as "subject what name".
func (h *town) wait(n int) []string {
	h.t.Helper()
	deadline := time.After(10 * time.Second)
	for range n {
		select {
		case <-h.crossed:
		case <-deadline:
			h.t.Errorf("no %d crossings", n)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, c := range h.crossings {
		all = append(all, fmt.Sprintf("%s %s %s", c.Subject, c.What, c.Fence.Name))
	}
	h.crossings = nil
	return all
}

// plane gives places as metres east and north of an origin, by the book. It is right within some kilometres.
func plane(lat, lon float64) func(locations.Point) (x, y float64) {
	return func(p locations.Point) (float64, float64) {
		degree := math.Pi / 180 * 6_371_008.8
		return math.Remainder(p.Lon-lon, 360) * degree * math.Cos(lat*math.Pi/180), (p.Lat - lat) * degree
	}
}

// signed is how far a place is outside of a shape, in metres, and less than 0 within it.
func signed(s locations.Shape, p locations.Point) float64 {
	if len(s.Points) == 1 {
		return haversine(s.Points[0].Lat, s.Points[0].Lon, p.Lat, p.Lon) - s.Radius
	}
	to := plane(p.Lat, p.Lon)
	n := len(s.Points)
	inside, nearest := false, math.Inf(1)
	for i, a := range s.Points {
		if i == n-1 && s.Width > 0 {
			break
		}
		ax, ay := to(a)
		bx, by := to(s.Points[(i+1)%n])
		if (ay > 0) != (by > 0) && (bx-ax)*(0-ay)/(by-ay)+ax > 0 {
			inside = !inside
		}
		k := -(ax*(bx-ax) + ay*(by-ay)) / ((bx-ax)*(bx-ax) + (by-ay)*(by-ay))
		k = max(0, min(1, k))
		nearest = min(nearest, math.Hypot(ax+k*(bx-ax), ay+k*(by-ay)))
	}
	switch {
	case s.Width > 0:
		return nearest - s.Width/2
	case inside:
		return -nearest
	}
	return nearest
}

// randomShape gives a circle, a polygon or a corridor around a place.
func randomShape(r *rand.Rand, lat, lon float64) locations.Shape {
	round := math.Cos(lat * math.Pi / 180)
	around := func(metres, angle float64) locations.Point {
		d := metres / 111_195
		p := locations.Point{Lat: lat + d*math.Cos(angle), Lon: lon + d*math.Sin(angle)/round}
		p.Lon = math.Remainder(p.Lon, 360)
		return p
	}
	kind := r.IntN(3)
	if kind == 0 || math.Abs(lat) > 80 {
		return locations.Shape{Points: []locations.Point{{Lat: lat, Lon: lon}}, Radius: 10 + r.Float64()*500}
	}
	var s locations.Shape
	n := 3 + r.IntN(8)
	for i := range n {
		s.Points = append(s.Points, around(100+r.Float64()*400, 2*math.Pi*float64(i)/float64(n)))
	}
	if kind == 2 {
		s.Width = 20 + r.Float64()*100
	}
	return s
}

func TestFencesAreExact(t *testing.T) {
	h := newTown(t, func(c *locations.Config) { c.Fences = 1000 })
	r := rand.New(rand.NewPCG(5, 6))
	centres := [][2]float64{{52.5, 13.4}, {-17, 179.999}, {64, -180}, {89.999, 0}, {-89.998, 120}, {0, 0}}
	var fences []locations.Fence
	for i := range 240 {
		c := centres[i%len(centres)]
		shape := randomShape(r, c[0]+r.Float64()*0.004-0.002, math.Remainder(c[1]+r.Float64()*0.004-0.002, 360))
		if math.Abs(shape.Points[0].Lat) > 90 {
			continue
		}
		fences = append(fences, h.fence("alice", locations.Fence{Name: fmt.Sprint("f", i), Shape: shape}))
	}
	got, want := map[string]bool{}, map[string]bool{}
	collect := func(n int) {
		for _, c := range h.wait(n) {
			got[c] = true
		}
	}
	for i := range 1500 {
		c := centres[i%len(centres)]
		p := locations.Point{
			Lat: max(-90, min(90, c[0]+r.Float64()*0.02-0.01)), Lon: math.Remainder(c[1]+r.Float64()*0.02-0.01, 360)}
		if math.Abs(p.Lat) > 80 {
			p.Lon = r.Float64()*360 - 180
		}
		doubtful, n := false, 0
		var in []string
		for _, f := range fences {
			d := signed(f.Shape, p)
			doubtful = doubtful || math.Abs(d) < 0.5
			if d <= 0 {
				in = append(in, fmt.Sprintf("%s enter %s", thing(i), f.Name))
				n++
			}
		}
		if doubtful {
			continue
		}
		for _, x := range in {
			want[x] = true
		}
		h.report(locations.Subject{Who: thing(i)}, locations.Position{Lat: p.Lat, Lon: p.Lon, Acc: 5})
		collect(n)
	}
	if len(want) < 500 {
		t.Fatalf("%d times something is in a fence: that shows nothing", len(want))
	}
	for x := range want {
		if !got[x] {
			t.Errorf("%s is missing", x)
		}
	}
	for x := range got {
		if !want[x] {
			t.Errorf("%s should not be", x)
		}
	}
	if len(h.crossed) > 0 {
		t.Errorf("%d crossings that should not be", len(h.crossed))
	}
}

// TestNoiseIsNotACrossing has phones go through a fence, and stand at its border, with noise as receivers have it.
func TestNoiseIsNotACrossing(t *testing.T) {
	h := newTown(t)
	h.fence("alice", circle("Home", 52.5, 13.4, 100))
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 9))
		who := locations.Subject{Who: thing(int(seed))}
		walk := func(north, steps float64) {
			h.pass(time.Minute)
			for i := range 300 {
				y := north + steps*float64(i) + r.NormFloat64()*4
				h.report(who, locations.Position{
					At: h.now().UnixMilli() + int64(i), Lat: 52.5 + y/111_195, Lon: 13.4 + r.NormFloat64()*4/67_700, Acc: 12})
			}
		}
		walk(-500, 500./300) // into the middle
		walk(0, 100./300)    // to the border
		walk(100, 0)         // it stands there
		walk(100, 400./300)  // and goes
		want := []string{string(who.Who) + " enter Home", string(who.Who) + " leave Home"}
		if got := h.wait(2); !slices.Equal(got, want) || len(h.crossed) > 0 {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func TestWhomAFenceIsForAndWhoIsTold(t *testing.T) {
	h := newTown(t)
	h.share("bob", "alice", locations.LevelExact, 0)
	h.share("carol", "alice", locations.LevelCity, 0)
	h.share("alice", "dave", locations.LevelExact, 0)
	h.fence("alice", circle("A", 52.5, 13.4, 100))
	h.fence("bob", circle("B", 52.5, 13.4, 100))
	only := circle("W", 52.5, 13.4, 100)
	only.Who = "bob"
	h.fence("alice", only)
	home := circle("H", 52.5, 13.4, 100)
	home.Home = "h.home"
	h.fence("admin", home)
	if _, err := h.PutFence(t.Context(), "mary", home); !errors.Is(err, locations.ErrNone) {
		t.Errorf("a member makes a fence of the home: %v", err)
	}
	if all, err := h.Fences(t.Context(), "mary", "h.home"); err != nil || len(all) != 1 {
		t.Errorf("a member sees %v, %v", all, err)
	}
	if _, err := h.Fences(t.Context(), "gus", "h.home"); !errors.Is(err, locations.ErrNone) {
		t.Errorf("a guest sees them: %v", err)
	}
	here := locations.Position{Lat: 52.5, Lon: 13.4}
	var got []string
	for who, n := range map[locations.Subject]int{
		phone: 1, {Who: "bob", Label: "p"}: 3, {Who: "carol", Label: "p"}: 0, {Who: "t00001"}: 2, {Who: "dave", Label: "p"}: 0,
	} {
		h.report(who, here)
		got = append(got, h.wait(n)...)
	}
	h.mu.Lock()
	told := fmt.Sprint(h.told)
	h.mu.Unlock()
	slices.Sort(got)
	want := []string{
		"alice/phone enter A", "bob/p enter A", "bob/p enter B", "bob/p enter W", "t00001 enter A", "t00001 enter H",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, to := range []string{"[alice dave]", "[alice bob]", "[alice]", "[admin alice mary t00001]"} {
		if !strings.Contains(told, to) {
			t.Errorf("told %s, want %s among them", told, to)
		}
	}
}

func TestAHomeLearnsOfPeopleWhoSaySo(t *testing.T) {
	h := newTown(t)
	home := circle("H", 52.5, 13.4, 100)
	home.Home = "h.home"
	h.fence("admin", home)
	mary := locations.Subject{Who: "mary", Label: "p"}
	in, out := locations.Position{Lat: 52.5002, Lon: 13.4001}, locations.Position{Lat: 52.51, Lon: 13.4}
	visit := func() {
		for _, p := range []locations.Position{out, in, out} {
			h.pass(10 * time.Minute)
			h.report(mary, p)
		}
	}
	visit()
	if len(h.crossed) > 0 {
		t.Error("the home is told of somebody who has not said so")
	}
	for _, share := range []locations.Share{
		{To: "h.home", Level: locations.LevelCity}, {To: "h.home", Level: locations.LevelExact, History: true},
	} {
		if _, err := h.Share(t.Context(), "mary", share); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("%+v: %v", share, err)
		}
	}
	if _, err := h.Share(t.Context(), "bob", locations.Share{To: "h.home", Level: locations.LevelExact}); !errors.Is(err, locations.ErrNotContact) {
		t.Errorf("somebody who does not live there: %v", err)
	}
	h.share("mary", "h.home", locations.LevelExact, 0)
	visit()
	if got := h.wait(2); !slices.Equal(got, []string{"mary/p enter H", "mary/p leave H"}) {
		t.Errorf("%v", got)
	}
	h.mu.Lock()
	if told := fmt.Sprint(h.told); told != "[[admin mary] [admin mary]]" {
		t.Errorf("told %s", told)
	}
	h.strangers["mary"] = true
	h.mu.Unlock()
	if n, _ := h.sees("admin"); n > 0 {
		t.Error("who lives there is shown where she is")
	}
	h.HomeChanged("h.home")
	visit()
	if len(h.crossed) > 0 {
		t.Error("the home is told of somebody who has left it")
	}
}

func TestStaysAndRestarts(t *testing.T) {
	h := newTown(t, func(c *locations.Config) { c.Flush = 100 * time.Millisecond })
	f := circle("Home", 52.5, 13.4, 100)
	f.Dwell = 600
	f = h.fence("alice", f)
	at := func(metres float64) locations.Position {
		return locations.Position{Lat: 52.5 + metres/111_195, Lon: 13.4, At: h.now().UnixMilli()}
	}
	h.report(phone, at(0))
	h.pass(9 * time.Minute)
	h.report(phone, at(50))
	if got := h.wait(1); len(got) != 1 || len(h.crossed) > 0 {
		t.Errorf("%v, want that it has entered", got)
	}
	h.restart()
	h.pass(2 * time.Minute) // it says nothing, and is still there
	if got := h.wait(1); !slices.Equal(got, []string{"alice/phone dwell Home"}) {
		t.Errorf("%v, want that it has stayed", got)
	}
	old := at(5000)
	h.pass(time.Minute)
	h.report(phone, at(10))
	h.report(phone, old)                                                                                // comes late
	h.report(phone, locations.Position{Lat: 52.6, Lon: 13.4, Acc: 3000, At: h.now().UnixMilli() + 500}) // is not exact
	h.report(phone, at(119))
	h.pass(time.Hour)
	h.report(phone, at(119))
	if len(h.crossed) > 0 {
		t.Errorf("%v, want nothing", h.wait(len(h.crossed)))
	}
	h.pass(time.Minute)
	h.report(phone, at(121))
	if got := h.wait(1); !slices.Equal(got, []string{"alice/phone leave Home"}) {
		t.Errorf("%v, want that it has left", got)
	}
	h.pass(time.Minute)
	h.report(phone, at(0))
	h.wait(1)
	f.Points[0].Lat = 10 // it is somewhere else now
	if _, err := h.PutFence(t.Context(), "alice", f); err != nil {
		t.Fatal(err)
	}
	h.pass(time.Minute)
	h.report(phone, at(0))
	if got := h.wait(1); !slices.Equal(got, []string{"alice/phone leave Home"}) {
		t.Errorf("%v, want that it has left", got)
	}
	if err := h.RemoveFence(t.Context(), "alice", "", f.ID); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if all, err := h.Fences(t.Context(), "alice", ""); err != nil || len(all) != 0 {
		t.Errorf("fences %v, %v", all, err)
	}
}

func TestFencesThatCannotBe(t *testing.T) {
	h := newTown(t, func(c *locations.Config) { c.Fences = 3 })
	p := func(lat, lon float64) locations.Point { return locations.Point{Lat: lat, Lon: lon} }
	for name, s := range map[string]locations.Shape{
		"nothing":                 {},
		"a circle without radius": {Points: []locations.Point{p(1, 1)}},
		"a circle too small":      {Points: []locations.Point{p(1, 1)}, Radius: 1},
		"a circle too large":      {Points: []locations.Point{p(1, 1)}, Radius: 1e7},
		"a circle with a width":   {Points: []locations.Point{p(1, 1)}, Radius: 100, Width: 100},
		"a polygon with a radius": {Points: []locations.Point{p(1, 1), p(1, 2), p(2, 2)}, Radius: 100},
		"a line":                  {Points: []locations.Point{p(1, 1), p(1, 2)}},
		"twice the same":          {Points: []locations.Point{p(1, 1), p(1, 1), p(2, 2)}, Width: 100},
		"a point twice":           {Points: []locations.Point{p(1, 1), p(1, 2), p(2, 2), p(1, 1.5), p(1, 2), p(0, 0)}},
		"a bow tie":               {Points: []locations.Point{p(0, 0), p(1, 1), p(1, 0), p(0, 1)}},
		"nowhere":                 {Points: []locations.Point{p(91, 0)}, Radius: 100},
		"not a number":            {Points: []locations.Point{p(math.NaN(), 0)}, Radius: 100},
		"too many corners":        {Points: make([]locations.Point, 501)},
		"the same pole":           {Points: []locations.Point{p(90, 0), p(90, 10), p(90, 20)}},
		"opposite":                {Points: []locations.Point{p(0, 0), p(0, 180)}, Width: 100},
	} {
		if _, err := h.PutFence(t.Context(), "alice", locations.Fence{Name: "x", Shape: s}); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	square := locations.Shape{Points: []locations.Point{p(0, 0), p(0, 1), p(1, 1), p(1, 0), p(0, 0)}} // closed, as GeoJSON has it
	for i := range 4 {
		_, err := h.PutFence(t.Context(), "alice", locations.Fence{Name: "x", Shape: square})
		if (i == 3) != errors.Is(err, locations.ErrTooMany) {
			t.Errorf("fence %d: %v", i, err)
		}
	}
	if _, err := h.PutFence(t.Context(), "alice", locations.Fence{ID: "none", Name: "x", Shape: square}); !errors.Is(err, locations.ErrNone) {
		t.Errorf("one that is not there: %v", err)
	}
}

// BenchmarkFences reports positions in a city of 100,000 fences of as many people.
func BenchmarkFences(b *testing.B) {
	store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	h := &town{clock: time.Now(), strangers: map[accounts.Name]bool{}, shown: map[accounts.Name][]locations.Position{}}
	s := locations.New(locations.DefaultConfig(), store.Records(), h, h, time.Now, slog.New(slog.DiscardHandler))
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 100_000 {
		f := circle("f", 52.4+r.Float64()*0.2, 13.2+r.Float64()*0.4, 50+r.Float64()*200)
		if _, err := s.PutFence(b.Context(), accounts.Name(fmt.Sprint("u", i/90)), f); err != nil {
			b.Fatal(err)
		}
	}
	at := time.Now().Add(-time.Hour).UnixMilli()
	for i := 0; b.Loop(); i++ {
		at++
		p := locations.Position{At: at, Lat: 52.4 + r.Float64()*0.2, Lon: 13.2 + r.Float64()*0.4}
		if _, err := s.Report(b.Context(), locations.Subject{Who: accounts.Name(fmt.Sprint("u", i%1000)), Label: "p"}, p); err != nil {
			b.Fatal(err)
		}
	}
}

func TestACrossingThatHasWaitedIsToldToNobodyWhoMayKnowNothingNow(t *testing.T) {
	h := newTown(t)
	h.ends()
	h.Service = locations.New(h.cfg, h.store, h, h, h.now, slog.New(slog.DiscardHandler)) // tells nothing before it runs
	h.SetRouter(h)
	h.OnCross(func(locations.Crossing, []accounts.Name) { h.crossed <- struct{}{} })
	h.share("alice", "bob", locations.LevelExact, 0)
	h.share("mary", "h.home", locations.LevelExact, 0)
	h.fence("alice", circle("A", 52.5, 13.4, 100))
	h.fence("bob", circle("B", 52.5, 13.4, 100))
	home := circle("H", 52.5, 13.4, 100)
	home.Home = "h.home"
	h.fence("admin", home)
	here := locations.Position{Lat: 52.5, Lon: 13.4}
	h.report(phone, here)
	h.report(locations.Subject{Who: "mary", Label: "p"}, here)
	for owner, to := range map[accounts.Name]accounts.Name{"alice": "bob", "mary": "h.home"} {
		if err := h.Unshare(t.Context(), owner, to); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.ends = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		<-h.crossed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, to := range h.told {
		if slices.ContainsFunc(to, func(who accounts.Name) bool { return who != "alice" }) {
			t.Errorf("%v are told that %s is in %s", to, h.crossings[i].Subject, h.crossings[i].Fence.Name)
		}
	}
}

func TestAHomeThatHasEndedHasNoFences(t *testing.T) {
	h := newTown(t)
	home := circle("H", 52.5, 13.4, 100)
	home.Home = "h.home"
	h.fence("admin", home)
	h.fence("admin", circle("A", 52.5, 13.4, 100))
	h.share("mary", "h.home", locations.LevelExact, 0)
	if err := h.HomeEnded(t.Context(), "h.home"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if all, err := h.Fences(t.Context(), "admin", "h.home"); err != nil || len(all) > 0 {
			t.Errorf("there are fences %v, %v", all, err)
		}
		if all, err := h.Fences(t.Context(), "admin", ""); err != nil || len(all) != 1 {
			t.Errorf("admin has fences %v, %v", all, err)
		}
		if given := h.Given("mary"); len(given) > 0 {
			t.Errorf("mary shares with %v", given)
		}
		h.restart()
	}
}
