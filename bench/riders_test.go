package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/locations"
)

// fleets is how many owners share the cars. Each has a hundred fences, which is the most, so that there are 5,000; a fence is for
// the cars of its owner.
const (
	fleets        = 50
	fencesOfFleet = 100
	fenceRadius   = 300.0
)

// traffic is a city in which cars say where they are once a second, on a connection each, with QoS 0. Riders watch one car each, on
// connections of their own. Owners ask in turn which ten of their cars are the nearest to somewhere, and are told when one comes
// into a fence, or leaves it.
type traffic struct {
	*installation
	*streets
	cars, riders, seconds, near int

	owners, people []string // tokens
	secrets        []string // of cars
	fences         [fleets][]locations.Point
	drivers        []net.Conn
	began          int64               // in Unix seconds: a position's tst less this is its number
	sent           [][]atomic.Int64    // when, by car and number, in Unix nanoseconds
	places         [][]locations.Point // where, by car and number

	mu    sync.Mutex // guards what follows
	late  []time.Duration
	asked []time.Duration
	told  map[crossing]int // how often
}

// crossing is that a car has entered or left a fence, at the position with a number.
type crossing struct {
	car, fence, at int
	leaves         bool
}

func carName(i int) string { return fmt.Sprintf("car%05d", i) }

func fleetName(i int) accounts.Name { return accounts.Name(fmt.Sprint("fleet", i)) }

// BenchmarkRiders prints how long a position takes to whoever watches, and what it costs the server. It fails if a crossing of a
// fence is told that was none, or not told. MAGPIE_CARS, MAGPIE_RIDERS, MAGPIE_SECONDS, and MAGPIE_NEAR, which is how often it is
// asked in a second who is near, say how much of it.
func BenchmarkRiders(b *testing.B) {
	city, err := openStreets()
	must(b, err)
	for b.Loop() {
		f := &traffic{
			installation: newInstallation(b), streets: city, told: map[crossing]int{},
			cars: fromEnviron("MAGPIE_CARS", 10_000), riders: fromEnviron("MAGPIE_RIDERS", 2000),
			seconds: fromEnviron("MAGPIE_SECONDS", 30), near: fromEnviron("MAGPIE_NEAR", 500),
		}
		f.prepare()
		f.serve()
		f.arrive()
		f.run()
	}
}

// prepare fills the installation.
func (f *traffic) prepare() {
	ctx := f.b.Context()
	f.owners, f.people, f.secrets = make([]string, fleets), make([]string, f.riders), make([]string, f.cars)
	must(f.b, inParallel(fleets, func(i int) (err error) {
		f.owners[i], err = f.person(fleetName(i))
		r := rand.New(rand.NewPCG(uint64(i), 9))
		for n := range fencesOfFleet {
			p := f.at[f.start[r.IntN(len(f.start))]]
			f.fences[i] = append(f.fences[i], p)
			if err == nil {
				_, err = f.n.Places().PutFence(ctx, fleetName(i), locations.Fence{
					Name: fmt.Sprint("F", n), Shape: locations.Shape{Points: []locations.Point{p}, Radius: fenceRadius}})
			}
		}
		return err
	}))
	must(f.b, inParallel(f.cars, func(i int) (err error) {
		did, owner := accounts.Name(carName(i)), fleetName(i%fleets)
		if f.secrets[i], err = f.n.Accounts().AddDevice(ctx, string(did), owner); err == nil {
			_, err = f.n.Things().Add(ctx, devices.Added{ID: did, Owner: owner})
		}
		return err
	}))
	must(f.b, inParallel(f.riders, func(i int) (err error) {
		name := accounts.Name(fmt.Sprint("rider", i))
		if f.people[i], err = f.person(name); err == nil {
			_, err = f.n.Things().Grant(ctx, fleetName(i%f.cars%fleets), accounts.Name(carName(i%f.cars)),
				devices.Grant{To: name, Verbs: []devices.Verb{devices.VerbSee}})
		}
		return err
	}))
}

// arrive connects everybody.
func (f *traffic) arrive() {
	f.began = time.Now().Unix()
	f.drivers, f.sent, f.places = make([]net.Conn, f.cars), make([][]atomic.Int64, f.cars), make([][]locations.Point, f.cars)
	must(f.b, inParallel(f.cars, func(i int) error {
		f.sent[i], f.places[i] = make([]atomic.Int64, f.seconds), make([]locations.Point, f.seconds)
		c, err := f.connect("dev:"+carName(i), f.secrets[i], "d")
		if err != nil {
			return err
		}
		f.drivers[i] = c.Conn() // without what it takes to read
		return f.drivers[i].SetDeadline(time.Time{})
	}))
	must(f.b, inParallel(f.riders, func(i int) error {
		c, err := f.subscribe(fmt.Sprint("rider", i), f.people[i], "dev/"+carName(i%f.cars)+"/loc/last", 0)
		if err == nil {
			go f.watch(c, i%f.cars)
		}
		return err
	}))
	must(f.b, inParallel(fleets, func(i int) error {
		c, err := f.subscribe(string(fleetName(i)), f.owners[i], "dev/+/loc/event", 1)
		if err == nil {
			go f.guard(c)
		}
		return err
	}))
}

func (f *traffic) run() {
	start, begin := time.Now(), f.begin()
	finish := f.profile(f.seconds - 1)
	var running, asking sync.WaitGroup
	for i := range f.cars {
		running.Go(func() { f.drive(i, start) })
	}
	stop := make(chan struct{})
	if f.near > 0 {
		asking.Go(func() { f.ask(stop) })
	}
	running.Wait()
	use, memory := f.since(begin), f.memory()
	f.mu.Lock()
	answered := len(f.asked)
	f.mu.Unlock()
	finish()
	close(stop)
	asking.Wait()
	took := use.at.Sub(begin.at)
	if f.b.Failed() {
		f.b.FailNow()
	}
	crossed := f.compare()
	taken := f.metric("magpie_positions_taken_total")
	if all := float64(f.cars * f.seconds); taken != all {
		f.b.Errorf("%.0f positions were sent, and %.0f taken", all, taken)
	}
	written := f.end()

	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.b.Failed():
		f.b.FailNow()
	case len(f.late) == 0:
		f.b.Fatal("nobody has seen anything")
	}
	f.report(f.late, "to-watcher")
	if f.near > 0 {
		f.report(f.asked, "near")
		f.b.ReportMetric(float64(answered)/took.Seconds(), "near/s")
	}
	f.b.ReportMetric(taken/took.Seconds(), "positions/s")
	f.b.ReportMetric(float64(use.server.Microseconds())/taken, "server-us/position")
	f.b.ReportMetric(use.server.Seconds()/took.Seconds(), "server-cores")
	f.b.ReportMetric(use.self.Seconds()/took.Seconds(), "generator-cores")
	f.b.ReportMetric(memory, "server-MiB")
	f.b.ReportMetric(float64(written)/taken, "disk-bytes/position")
	f.b.ReportMetric(float64(crossed), "crossings")
	f.b.Logf("%s: %d cars, %d riders, %d fences, %v: %.0f positions, %d seen by watchers, %d questions, %d crossings, all of them told once",
		f.name, f.cars, f.riders, fleets*fencesOfFleet, took.Round(time.Second), taken, len(f.late), answered, crossed)
}

// report reports the middle and the 99th percentile of times.
func (f *installation) report(all []time.Duration, of string) {
	slices.Sort(all)
	f.b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-p50-"+of)
	f.b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "ms-p99-"+of)
}

// drive drives a car, and says each second where it is. Cars begin at different times of a second.
func (f *traffic) drive(i int, start time.Time) {
	car := f.newCar(i)
	next := start.Add(time.Duration(i) * time.Second / time.Duration(f.cars))
	var packet []byte
	for n := range f.seconds {
		<-time.After(time.Until(next))
		next = next.Add(time.Second)
		car.drive()
		p := car.place()
		f.places[i][n] = p
		text := fmt.Appendf(nil, `{"_type":"location","lat":%.6f,"lon":%.6f,"acc":8,"vel":%.0f,"tst":%d}`,
			p.Lat, p.Lon, car.speed*3.6, f.began+int64(n))
		packet = wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/loc", Payload: text}.Append(packet[:0], wire.V311)
		f.sent[i][n].Store(time.Now().UnixNano())
		if _, err := f.drivers[i].Write(packet); err != nil {
			f.b.Errorf("car %d: %v", i, err)
			return
		}
	}
}

// watch notes how long positions of a car took.
func (f *traffic) watch(c *wire.Client, i int) {
	for {
		p, err := c.Read(time.Now().Add(time.Hour))
		if err != nil {
			return
		}
		var where struct {
			Time int64 `json:"tst"`
		}
		n := int64(-1)
		if p.Type == wire.PUBLISH && json.Unmarshal(p.Payload, &where) == nil {
			n = where.Time - f.began
		}
		if n < 0 || n >= int64(f.seconds) {
			continue
		}
		late := time.Duration(time.Now().UnixNano() - f.sent[i][n].Load())
		f.mu.Lock()
		f.late = append(f.late, late)
		f.mu.Unlock()
	}
}

// guard notes what an owner is told of fences.
func (f *traffic) guard(c *wire.Client) {
	for {
		p, err := c.Read(time.Now().Add(time.Hour))
		if err != nil {
			return
		}
		if p.Type != wire.PUBLISH {
			continue
		}
		if p.QoS > 0 && c.Send(wire.Packet{Type: wire.PUBACK, ID: p.ID}) != nil {
			return
		}
		var e struct {
			Event, Desc string
			Time        int64 `json:"tst"`
		}
		x := crossing{}
		_, err = fmt.Sscanf(p.Topic, "dev/car%d/", &x.car)
		if err == nil {
			err = json.Unmarshal(p.Payload, &e)
		}
		if err == nil {
			_, err = fmt.Sscanf(e.Desc, "F%d", &x.fence)
		}
		if err != nil || e.Event != "enter" && e.Event != "leave" {
			f.b.Errorf("told of a fence: %s %s: %v", p.Topic, p.Payload, err)
			return
		}
		x.at, x.leaves = int(e.Time-f.began), e.Event == "leave"
		f.mu.Lock()
		f.told[x]++
		f.mu.Unlock()
	}
}

// expected finds out what crosses which fence by looking at all positions and all fences of their owners.
func (f *traffic) expected() map[crossing]int {
	const further = 20 // metres that it takes to leave: docs/locations.md, section 5
	all := make([][]crossing, f.cars)
	must(f.b, inParallel(f.cars, func(i int) error {
		for n, middle := range f.fences[i%fleets] {
			in := false
			for at, p := range f.places[i] {
				switch d := metres(p, middle) - fenceRadius; {
				case in && d > further:
					in = false
					all[i] = append(all[i], crossing{i, n, at, true})
				case !in && d <= 0:
					in = true
					all[i] = append(all[i], crossing{i, n, at, false})
				}
			}
		}
		return nil
	}))
	want := map[crossing]int{}
	for _, of := range all {
		for _, x := range of {
			want[x]++
		}
	}
	return want
}

// compare waits until as many crossings were told as there were, and fails unless they are the same.
func (f *traffic) compare() int {
	want := f.expected()
	poll(30*time.Second, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.told) >= len(want)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	missing, wrong := 0, 0
	for x := range want {
		if f.told[x] == 0 {
			missing++
		}
	}
	for x, n := range f.told {
		wrong += n - want[x]
	}
	if missing > 0 || wrong > 0 {
		f.b.Errorf("%d crossings: %d were not told, and %d were told that were none", len(want), missing, wrong)
	}
	return len(want)
}

// ask asks who is near, until it is stopped. Times count from when something was to be asked; what was not asked when it is stopped
// counts as if it were answered then.
func (f *traffic) ask(stop chan struct{}) {
	due := make(chan time.Time, 1<<16)
	var asking sync.WaitGroup
	for w := range 64 {
		asking.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			for at := range due {
				select {
				case <-stop:
				default:
					if err := f.askOnce(r); err != nil {
						f.b.Error(err)
						return
					}
				}
				took := time.Since(at)
				f.mu.Lock()
				f.asked = append(f.asked, took)
				f.mu.Unlock()
			}
		})
	}
	next := time.Now()
	for running := true; running; {
		select {
		case <-stop:
			running = false
		case <-time.After(time.Until(next)):
			for ; !next.After(time.Now()); next = next.Add(time.Second / time.Duration(f.near)) {
				select {
				case due <- next:
				case <-stop:
				}
			}
		}
	}
	close(due)
	asking.Wait()
}

func (f *traffic) askOnce(r *rand.Rand) error {
	p := f.at[f.start[r.IntN(len(f.start))]]
	var answer struct{ Places []json.RawMessage }
	in := map[string]any{"lat": p.Lat, "lon": p.Lon, "r": 3000, "n": 10}
	return f.call(f.owners[r.IntN(fleets)], "geo.near", in, &answer)
}
