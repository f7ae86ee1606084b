package locations_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/pebble"
)

// town is a Service of which a test says who is what to whom; it is the People, the Sight and the Router as well. Everybody is a
// contact of everybody who is not a stranger, alice owns all things, and admin and mary live in h.home, where the things are.
type town struct {
	*locations.Service
	t     *testing.T
	cfg   locations.Config
	store *shelf
	ends  func()
	asked atomic.Int64 // who sees something

	mu        sync.Mutex // guards what follows
	clock     time.Time
	strangers map[accounts.Name]bool
	sold      map[accounts.Name]uint64               // how often things have been
	shown     map[accounts.Name][]locations.Position // by who is shown
	hidden    map[accounts.Name]int
	crossings []locations.Crossing
	told      [][]accounts.Name
	moves     []string                                 // of those near
	near      map[locations.Subject]locations.Position // as the moves say
	crossed   chan struct{}                            // gets one for each crossing
	hold      chan struct{}                            // if it is there, crossings are told when it is closed
}

func newTown(t *testing.T, change ...func(*locations.Config)) *town {
	t.Helper()
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &town{
		t: t, cfg: locations.DefaultConfig(), store: &shelf{Store: store.Records()}, clock: time.UnixMilli(1_793_000_000_000),
		strangers: map[accounts.Name]bool{}, sold: map[accounts.Name]uint64{},
		shown: map[accounts.Name][]locations.Position{}, hidden: map[accounts.Name]int{}, near: map[locations.Subject]locations.Position{},
		crossed: make(chan struct{}, 10_000),
	}
	for _, f := range change {
		f(&h.cfg)
	}
	if err := h.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	h.start()
	t.Cleanup(func() { h.ends() })
	return h
}

// shelf is a store that fails when it is told to.
type shelf struct {
	records.Store
	fails atomic.Bool // what removes
	slow  atomic.Bool // answers come in another order than what was written
}

func (s *shelf) PutAll(ctx context.Context, all []records.Record) error {
	err := s.Store.PutAll(ctx, all)
	if s.slow.Load() {
		for range rand.IntN(2000) {
			runtime.Gosched()
		}
	}
	return err
}

func (s *shelf) Remove(ctx context.Context, k records.Key, rev uint64) error {
	if s.fails.Load() {
		return accounts.ErrUnavailable
	}
	return s.Store.Remove(ctx, k, rev)
}

func (s *shelf) RemoveScope(ctx context.Context, kind, scope string) error {
	if s.fails.Load() {
		return accounts.ErrUnavailable
	}
	return s.Store.RemoveScope(ctx, kind, scope)
}

func (h *town) start() {
	h.t.Helper()
	h.Service = locations.New(h.cfg, h.store, h, h, h.now, slog.New(slog.DiscardHandler))
	h.SetRouter(h)
	h.OnCross(func(locations.Crossing, []accounts.Name) { h.crossed <- struct{}{} })
	if err := h.Load(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.ends = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		h.ends = func() {}
	}
}

// restart ends the service cleanly and starts it anew.
func (h *town) restart() {
	h.t.Helper()
	h.ends()
	h.start()
}

func (h *town) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clock
}

func (h *town) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = h.clock.Add(d)
}

func (h *town) Close(_ context.Context, a, b accounts.Name) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.strangers[a] && !h.strangers[b], nil
}

func (h *town) Manages(_ context.Context, who accounts.Name, home string) (bool, error) {
	return who == "admin" && home == "h.home", nil
}

func (h *town) Lives(_ context.Context, who accounts.Name, home string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return (who == "admin" || who == "mary" && !h.strangers[who]) && home == "h.home", nil
}

func (h *town) Members(context.Context, string) ([]accounts.Name, error) {
	return []accounts.Name{"admin", "mary"}, nil
}

func (h *town) Viewers(_ context.Context, did accounts.Name) (locations.Onlookers, error) {
	h.asked.Add(1)
	return locations.Onlookers{People: []accounts.Name{"admin", "alice", "mary"}, Home: "h.home", Kind: kindOf(did), Epoch: h.epoch(did)}, nil
}

func (h *town) epoch(did accounts.Name) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return 1 + h.sold[did]
}

func (h *town) Sees(_ context.Context, who, did accounts.Name) (locations.Seen, bool, error) {
	sees := who == "alice" || who == "admin" || who == "mary" || who == "dan" && isDans(did) || who == did
	return locations.Seen{Name: did, Kind: kindOf(did), Epoch: h.epoch(did)}, sees, nil
}

// isDans says whether a thing is one of the few that dan sees.
func isDans(did accounts.Name) bool {
	return strings.HasSuffix(string(did), "50") || strings.HasSuffix(string(did), "00")
}

// kindOf says that every third thing is a taxi.
func kindOf(did accounts.Name) string {
	if did[len(did)-1]%3 == 0 {
		return "taxi"
	}
	return "bus"
}

func (h *town) Seen(_ context.Context, who, after accounts.Name, limit int) (all []locations.Seen, err error) {
	for i := 0; (who == "alice" || who == "dan") && i < 10_000 && len(all) < limit; i++ {
		if did := thing(i); did > after && (who == "alice" || isDans(did)) {
			all = append(all, locations.Seen{Name: did, Kind: kindOf(did), Epoch: h.epoch(did)})
		}
	}
	return all, nil
}

func thing(i int) accounts.Name { return accounts.Name(fmt.Sprintf("t%05d", i)) }

func (h *town) Show(to []accounts.Name, _ locations.Subject, p locations.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, who := range to {
		h.shown[who] = append(h.shown[who], p)
	}
}

func (h *town) Hide(to []accounts.Name, _ locations.Subject) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, who := range to {
		h.hidden[who]++
	}
}

func (h *town) Moved(to accounts.Name, _ string, m locations.Moved) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moves = append(h.moves, fmt.Sprint(to, " ", m.What, " ", m.Subject))
	if m.What == locations.Leave {
		delete(h.near, m.Subject)
	} else {
		h.near[m.Subject] = m.Where
	}
}

func (h *town) Crossed(_ context.Context, to []accounts.Name, c locations.Crossing) error {
	h.mu.Lock()
	hold := h.hold
	h.mu.Unlock()
	if hold != nil {
		<-hold
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.crossings, h.told = append(h.crossings, c), append(h.told, to)
	return nil
}

// report has a subject be somewhere, and fails the test if that is refused.
func (h *town) report(s locations.Subject, points ...locations.Position) locations.Reported {
	h.t.Helper()
	r, err := h.Report(h.t.Context(), s, points...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *town) share(owner, to accounts.Name, level locations.Level, until int64) {
	h.t.Helper()
	if _, err := h.Share(h.t.Context(), owner, locations.Share{To: to, Level: level, Until: until}); err != nil {
		h.t.Fatal(err)
	}
}

// sees gives how often somebody was shown something, and the last of it.
func (h *town) sees(who accounts.Name) (int, locations.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.shown[who]
	if len(all) == 0 {
		return 0, locations.Position{}
	}
	return len(all), all[len(all)-1]
}

var phone = locations.Subject{Who: "alice", Label: "phone"}

func TestTheNewestCountsAndTheRestIsHistory(t *testing.T) {
	h := newTown(t)
	now := h.now().UnixMilli()
	day := int64(24 * 3600 * 1000)
	at := func(ms int64, lat float64) locations.Position {
		return locations.Position{At: ms, Lat: lat, Lon: 13, Acc: 5}
	}
	tests := []struct {
		name   string
		points []locations.Position
		want   locations.Reported
		last   float64
	}{
		{"first", []locations.Position{at(now-60_000, 1)}, locations.Reported{Points: 1}, 1},
		{"late", []locations.Position{at(now-70_000, 2)}, locations.Reported{Points: 1, Late: 1}, 1},
		{"again", []locations.Position{at(now-60_000, 1)}, locations.Reported{Points: 1, Late: 1}, 1},
		{"in any order", []locations.Position{at(now-1000, 1.0002), at(now-2000, 1.0001)}, locations.Reported{Points: 2}, 1.0002},
		{"too old", []locations.Position{at(now-31*day, 4)}, locations.Reported{Old: 1}, 1.0002},
		{"to come", []locations.Position{at(now+day, 1.0003)}, locations.Reported{Points: 1, Moved: 1}, 1.0003},
		{"without a time", []locations.Position{at(0, 1.0004)}, locations.Reported{Points: 1, Late: 1}, 1.0003},
		{"too far", []locations.Position{at(now+1000, 2)}, locations.Reported{Points: 1, Odd: 1}, 2},
	}
	for _, tt := range tests {
		got := h.report(phone, tt.points...)
		last, err := h.Last(t.Context(), "alice", phone)
		if got != tt.want || err != nil || last.Lat != tt.last {
			t.Errorf("%s: %+v, last %v, %v; want %+v, last %v", tt.name, got, last.Lat, err, tt.want, tt.last)
		}
	}
	track, err := h.History(t.Context(), "alice", phone, 0, 0, 100)
	var lats []float64
	for _, p := range track.Points {
		lats = append(lats, p.Lat)
	}
	if want := []float64{2, 1, 1.0001, 1.0002, 1.0003, 2}; err != nil || !slices.Equal(lats, want) {
		t.Errorf("history %v, %v, want %v", lats, err, want)
	}
	for _, p := range []locations.Position{
		{Lat: 91}, {Lat: math.NaN()}, {Lon: -181}, {Lat: 1, Acc: -1}, {Vel: math.Inf(1)}, {At: -1}, {Note: make([]byte, 2000)},
	} {
		if _, err := h.Report(t.Context(), phone, p); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, label := range []string{"a b", "a/b", "+", "ü", string(make([]byte, 65))} {
		if _, err := h.Report(t.Context(), locations.Subject{Who: "alice", Label: label}, at(0, 1)); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("a device %q: %v", label, err)
		}
	}
	for i := range 17 {
		_, err := h.Report(t.Context(), locations.Subject{Who: "bob", Label: fmt.Sprint(i)}, at(0, 1))
		if (i == 16) != errors.Is(err, locations.ErrTooMany) {
			t.Errorf("device %d: %v", i, err)
		}
	}
}

func TestHistoryIsTheSameBeforeAndAfterItIsWritten(t *testing.T) {
	h := newTown(t)
	r := rand.New(rand.NewPCG(1, 2))
	start := h.now().Add(-3 * time.Hour).UnixMilli()
	want := map[int64]locations.Position{}
	lat, lon := 52.0, 13.0
	for i := range 5000 {
		lat, lon = lat+r.Float64()/5000-1e-4, lon+r.Float64()/5000-1e-4
		p := locations.Position{
			At: start + int64(i)*2000 + r.Int64N(500), Lat: math.Round(lat*1e6) / 1e6, Lon: math.Round(lon*1e6) / 1e6,
			Acc: float64(r.IntN(30)), Vel: float64(r.IntN(60)),
		}
		want[p.At] = p
		h.report(phone, p)
		if i%1500 == 700 {
			h.restart()
		}
	}
	ask := func() (all []locations.Position) {
		for from := int64(0); ; {
			track, err := h.History(t.Context(), "alice", phone, from, 0, 777)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, track.Points...)
			if track.Next == 0 {
				return all
			}
			from = track.Next
		}
	}
	for _, when := range []string{"before", "after"} {
		got := ask()
		if len(got) != len(want) {
			t.Fatalf("%s: %d points, want %d", when, len(got), len(want))
		}
		for i, p := range got {
			if w := want[p.At]; p.Lat != w.Lat || p.Lon != w.Lon || p.Acc != w.Acc || p.Vel != w.Vel || i > 0 && got[i-1].At >= p.At {
				t.Fatalf("%s: point %d is %+v, want %+v", when, i, p, w)
			}
		}
		h.restart()
	}
	part, err := h.History(t.Context(), "alice", phone, start+600_000, start+900_000, 10_000)
	if err != nil || len(part.Points) != 150 {
		t.Errorf("five minutes have %d points, %v, want 150", len(part.Points), err)
	}
	if err := h.Forget(t.Context(), phone); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if left := ask(); len(left) != 0 || len(h.Visible("alice")) != 0 {
		t.Errorf("of what was forgotten there are %d points, and %v", len(left), h.Visible("alice"))
	}
}

func TestNobodyIsSeenWhoDoesNotSayso(t *testing.T) {
	h := newTown(t)
	h.report(phone, locations.Position{Lat: 48.853, Lon: 2.293, Note: []byte(`{"batt":1}`)})
	if _, err := h.Last(t.Context(), "bob", phone); !errors.Is(err, locations.ErrNone) {
		t.Errorf("bob sees alice, who shares nothing: %v", err)
	}
	for _, share := range []locations.Share{
		{To: "alice", Level: locations.LevelExact}, {To: "bob"}, {To: "bob", Level: "street"},
		{To: "bob", Level: locations.LevelExact, Until: h.now().UnixMilli()},
	} {
		if _, err := h.Share(t.Context(), "alice", share); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("%+v: %v", share, err)
		}
	}
	h.share("alice", "bob", locations.LevelExact, 0)
	if n, p := h.sees("bob"); n != 1 || p.Lat != 48.853 || string(p.Note) != `{"batt":1}` {
		t.Errorf("bob is shown %d positions, %+v", n, p)
	}
	h.share("alice", "bob", locations.LevelCity, h.now().Add(time.Hour).UnixMilli())
	if n, p := h.sees("bob"); n != 2 || !p.Rough || p.Lat == 48.853 || p.Note != nil {
		t.Errorf("bob is shown %d positions, %+v", n, p)
	}
	h.restart()
	h.report(phone, locations.Position{Lat: 49.853, Lon: 2.293, At: h.now().UnixMilli() + 200_000})
	if n, p := h.sees("bob"); n != 3 || !p.Rough {
		t.Errorf("bob is shown %d positions, %+v", n, p)
	}
	h.pass(time.Hour)
	h.report(phone, locations.Position{Lat: 50.853, Lon: 2.293})
	if n, _ := h.sees("bob"); n != 3 {
		t.Error("bob is told after the share has ended")
	}
	h.share("alice", "bob", locations.LevelExact, 0)
	h.mu.Lock()
	h.strangers["bob"] = true
	h.mu.Unlock()
	h.PairChanged(t.Context(), "bob", "alice")
	if h.hidden["bob"] == 0 || len(h.Given("alice")) > 0 || len(h.Got("bob")) > 0 {
		t.Errorf("after they are no contacts: hidden %d, %v", h.hidden["bob"], h.Given("alice"))
	}
	if _, err := h.Share(t.Context(), "alice", locations.Share{To: "bob", Level: locations.LevelExact}); !errors.Is(err, locations.ErrNotContact) {
		t.Errorf("with a stranger: %v", err)
	}
	h.restart()
	if len(h.Given("alice")) > 0 {
		t.Errorf("after a restart there is %v", h.Given("alice"))
	}
}

func TestHistoryIsSharedFromWhenItIsShared(t *testing.T) {
	h := newTown(t)
	step := func(lat float64) {
		h.report(phone, locations.Position{Lat: lat, Lon: 2})
		h.pass(time.Minute)
	}
	step(48)
	h.share("alice", "carol", locations.LevelExact, 0)
	for _, level := range []locations.Level{locations.LevelExact, locations.LevelCity} {
		to := accounts.Name("bob-" + level)
		if _, err := h.Share(t.Context(), "alice", locations.Share{To: to, Level: level, History: true}); err != nil {
			t.Fatal(err)
		}
	}
	step(48.001)
	step(48.002)
	exact, err := h.History(t.Context(), "bob-exact", phone, 0, 0, 100)
	if err != nil || len(exact.Points) != 2 || exact.Points[0].Lat != 48.001 {
		t.Errorf("exactly: %+v, %v", exact, err)
	}
	rough, err := h.History(t.Context(), "bob-city", phone, 0, 0, 100)
	if err != nil || len(rough.Points) != 1 || !rough.Points[0].Rough {
		t.Errorf("roughly: %+v, %v", rough, err)
	}
	for _, who := range []accounts.Name{"carol", "dave"} {
		if _, err := h.History(t.Context(), who, phone, 0, 0, 100); !errors.Is(err, locations.ErrNone) {
			t.Errorf("%s: %v", who, err)
		}
	}
}

func TestAPassIsForNow(t *testing.T) {
	h := newTown(t)
	at := func(lat float64) {
		h.pass(time.Minute)
		h.report(phone, locations.Position{Lat: lat, Lon: 2})
	}
	at(48)
	h.Pass(t.Context(), "alice", "bob", "p")
	if n, p := h.sees("bob"); n != 1 || p.Lat != 48 || len(h.Visible("bob")) != 1 || len(h.Given("alice")) != 0 {
		t.Errorf("with a pass bob is shown %d positions, %+v", n, p)
	}
	if _, err := h.History(t.Context(), "bob", phone, 0, 0, 100); !errors.Is(err, locations.ErrNone) {
		t.Errorf("with a pass there is a history: %v", err)
	}
	h.pass(time.Second)
	_, err := h.Share(t.Context(), "alice", locations.Share{
		To: "bob", Level: locations.LevelCity, History: true, Until: h.now().Add(time.Hour).UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	at(48.1)
	if _, p := h.sees("bob"); p.Lat != 48.1 {
		t.Errorf("with a pass and a share bob is shown %+v", p)
	}
	track, err := h.History(t.Context(), "bob", phone, 0, 0, 100)
	if err != nil || len(track.Points) != 1 || !track.Points[0].Rough {
		t.Errorf("the history is %+v, %v", track, err)
	}
	h.EndPass(t.Context(), "alice", "bob", "p")
	if _, p := h.sees("bob"); !p.Rough {
		t.Errorf("after the pass bob is shown %+v", p)
	}
	h.Pass(t.Context(), "alice", "bob", "p")
	h.pass(2 * time.Hour)
	if _, err := h.History(t.Context(), "bob", phone, 0, 0, 100); !errors.Is(err, locations.ErrNone) {
		t.Errorf("after the share there is a history: %v", err)
	}
	h.EndPass(t.Context(), "alice", "bob", "p")
	if h.hidden["bob"] == 0 {
		t.Error("after all bob is not told that he is told no more")
	}
}

// TestAnEndedShareShowsNothing has shares come and go while positions do: nothing is shown after Unshare has returned.
func TestAnEndedShareShowsNothing(t *testing.T) {
	h := newTown(t)
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for i := int64(1); ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = h.Report(context.Background(), phone, locations.Position{
					At: h.now().UnixMilli() - 200_000 + i, Lat: 48 + float64(i%100)/1e4, Lon: 2})
			}
		}
	})
	for range 60 {
		h.share("alice", "bob", locations.LevelExact, 0)
		if err := h.Unshare(t.Context(), "alice", "bob"); err != nil {
			t.Fatal(err)
		}
		before, _ := h.sees("bob")
		_, _ = h.Report(t.Context(), phone, locations.Position{Lat: 48, Lon: 2}) // which is refused if too many wait
		if after, _ := h.sees("bob"); after != before {
			t.Fatalf("bob is shown %d positions after the end", after-before)
		}
	}
	close(stop)
	running.Wait()
}

// haversine is how far two places are from each other, by the book.
func haversine(aLat, aLon, bLat, bLon float64) float64 {
	rad := math.Pi / 180
	sin := func(d float64) float64 { s := math.Sin(d * rad / 2); return s * s }
	x := sin(bLat-aLat) + math.Cos(aLat*rad)*math.Cos(bLat*rad)*sin(bLon-aLon)
	return 2 * 6_371_008.8 * math.Asin(math.Min(1, math.Sqrt(x)))
}

func TestNearIsWhatBruteForceFinds(t *testing.T) {
	h := newTown(t)
	r := rand.New(rand.NewPCG(3, 4))
	h.share("bob", "alice", locations.LevelCity, 0)
	where, dans := map[locations.Subject]locations.Position{}, map[locations.Subject]locations.Position{}
	put := func(s locations.Subject, lat, lon float64) {
		p := locations.Position{Lat: lat, Lon: lon}
		if lon > 180 {
			p.Lon -= 360
		}
		h.report(s, p)
		where[s] = p
		if s.IsThing() && isDans(s.Who) {
			dans[s] = p
		}
	}
	// Around Berlin, the antimeridian, both poles, and anywhere.
	centres := [][2]float64{{52.5, 13.4}, {-17, 179.99}, {89.99, 0}, {-90, 50}}
	for round := range 2 {
		for i := range 3000 {
			lat, lon := r.Float64()*180-90, r.Float64()*360-180
			if c := i % 5; c < len(centres) {
				lat = max(-90, min(90, centres[c][0]+r.NormFloat64()*0.1))
				lon = centres[c][1] + r.NormFloat64()*0.1
				if c >= 2 {
					lon = r.Float64()*360 - 180
				}
			}
			put(locations.Subject{Who: thing(i)}, lat, lon)
		}
		put(phone, 52.5, 13.4)
		h.report(locations.Subject{Who: "bob", Label: "phone"}, locations.Position{Lat: 52.51, Lon: 13.41})
		bob, err := h.Last(t.Context(), "alice", locations.Subject{Who: "bob", Label: "phone"})
		if err != nil || !bob.Rough {
			t.Fatalf("bob is at %+v, %v", bob, err)
		}
		where[locations.Subject{Who: "bob", Label: "phone"}] = bob
		h.pass(time.Hour)
		for i := range 300 {
			c := centres[i%len(centres)]
			q := locations.Around{
				Lat: max(-90, min(90, c[0]+r.NormFloat64()*0.1)), Lon: max(-180, min(180, c[1]+r.NormFloat64()*0.1)),
				Radius: math.Pow(10, 2+r.Float64()*5.3), Most: 1 + r.IntN(200), Kind: []string{"", "", "taxi", "person"}[r.IntN(4)],
			}
			got, err := h.Near(t.Context(), "alice", q)
			if err != nil {
				t.Fatal(err)
			}
			checkNear(t, round, q, got, where)
			if got, err = h.Near(t.Context(), "dan", q); err != nil {
				t.Fatal(err)
			}
			checkNear(t, round, q, got, dans)
		}
	}
	for who, want := range map[accounts.Name]int{"bob": 1, "carol": 0} {
		got, err := h.Near(t.Context(), who, locations.Around{Radius: 20_100_000, Most: 200})
		if err != nil || len(got) != want {
			t.Errorf("%s sees %d, %v, want %d", who, len(got), err, want)
		}
	}
}

func checkNear(
	t *testing.T, round int, q locations.Around, got []locations.Near, where map[locations.Subject]locations.Position,
) {
	t.Helper()
	var want []float64
	for s, p := range where {
		kind := "person"
		if s.IsThing() {
			kind = kindOf(s.Who)
		}
		if d := haversine(q.Lat, q.Lon, p.Lat, p.Lon); d <= q.Radius && (q.Kind == "" || q.Kind == kind) {
			want = append(want, d)
		}
	}
	slices.Sort(want)
	want = want[:min(len(want), q.Most)]
	if len(got) != len(want) {
		t.Fatalf("round %d, %+v: %d, want %d", round, q, len(got), len(want))
	}
	for i, n := range got {
		if d := haversine(q.Lat, q.Lon, n.Where.Lat, n.Where.Lon); math.Abs(d-want[i]) > 0.5+want[i]*1e-6 || math.Abs(n.Distance-d) > 0.5+d*1e-6 {
			t.Fatalf("round %d, %+v: the %d. is %v, %v m, by the book %v m, want %v m", round, q, i, n.Subject, n.Distance, d, want[i])
		}
	}
}

func TestWhoCouldNotBeForgottenIsForgottenLater(t *testing.T) {
	h := newTown(t)
	h.report(phone, locations.Position{Lat: 48, Lon: 2})
	h.restart()
	h.store.fails.Store(true)
	if err := h.Leave(t.Context(), "alice"); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("while the store is not available: %v", err)
	}
	h.store.fails.Store(false)
	if err := h.Leave(t.Context(), "alice"); err != nil {
		t.Error(err)
	}
	h.restart()
	if all := h.Visible("alice"); len(all) > 0 {
		t.Errorf("after all there is %v", all)
	}
	track, err := h.History(t.Context(), "alice", phone, 0, 0, 100)
	if err != nil || len(track.Points) > 0 {
		t.Errorf("where alice was: %+v, %v", track, err)
	}
}

// TestARoughHistoryIsRoughInTime asks for each minute by itself, and for page after page.
func TestARoughHistoryIsRoughInTime(t *testing.T) {
	h := newTown(t)
	const ten = 10 * 60_000
	begin := h.now().UnixMilli()
	begin += ten - begin%ten
	if _, err := h.Share(t.Context(), "alice", locations.Share{To: "bob", Level: locations.LevelCity, History: true}); err != nil {
		t.Fatal(err)
	}
	h.pass(time.Hour)
	for i := range int64(30) {
		h.report(phone, locations.Position{At: begin + i*60_000 + 5_000, Lat: 40 + float64(i), Lon: 2})
	}
	ask := func(from, to int64, limit int) locations.Track {
		track, err := h.History(t.Context(), "bob", phone, from, to, limit)
		if err != nil {
			t.Fatal(err)
		}
		return track
	}
	for range 2 { // from memory, and then from what is stored
		for i := range int64(10) {
			at := begin + ten + i*60_000
			if n := len(ask(at, at+1, 100).Points); n != 10 {
				t.Errorf("in a millisecond there are %d points, want those of ten minutes", n)
			}
		}
		n, pages := 0, 0
		for from := begin; pages == 0 || from > 0 && pages < 10; pages++ {
			track := ask(from, 0, 1)
			n += len(track.Points)
			if from = track.Next; from%ten != 0 {
				t.Errorf("it goes on at %d", from)
			}
		}
		if n != 30 || pages != 3 {
			t.Errorf("%d points on %d pages, want 30 on 3", n, pages)
		}
		h.restart()
	}
}

func TestWhoIsToldMoreIsToldItFromThenOn(t *testing.T) {
	h := newTown(t)
	share := func(level locations.Level, history bool) locations.Share {
		return locations.Share{To: "bob", Level: level, History: history}
	}
	for name, tt := range map[string]struct {
		before, after locations.Share
		points        int
	}{
		"as before":      {share(locations.LevelExact, true), share(locations.LevelExact, true), 2},
		"roughly":        {share(locations.LevelExact, true), share(locations.LevelCity, true), 2},
		"exactly":        {share(locations.LevelCity, true), share(locations.LevelExact, true), 1},
		"in the history": {share(locations.LevelExact, false), share(locations.LevelExact, true), 1},
	} {
		who := locations.Subject{Who: accounts.Name("a-" + name[:2]), Label: "phone"}
		for i, share := range []locations.Share{tt.before, tt.after} {
			if _, err := h.Share(t.Context(), who.Who, share); err != nil {
				t.Fatal(err)
			}
			h.report(who, locations.Position{Lat: 40 + float64(i), Lon: 2})
			h.pass(time.Minute)
		}
		track, err := h.History(t.Context(), "bob", who, 0, 0, 100)
		if err != nil || len(track.Points) != tt.points {
			t.Errorf("%s: %+v, %v, want %d points", name, track.Points, err, tt.points)
		}
	}
}
