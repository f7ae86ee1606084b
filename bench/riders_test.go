package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/locations"
)

// The city is a square of 20 km, with streets each 200 m. Cars drive 30 to 60 km/h, and at each crossing one in three turns. Each
// says where it is once a second, on a connection of its own, with QoS 0. Riders watch one car each, on connections of their own.
// A fleet owns a thousand cars, asks ten times a second which ten of them are within 3 km of somewhere, and has fences of 150 m
// radius.
const (
	cityLat, cityLon = 52.4, 13.2
	citySide         = 20_000.0
	cityBlock        = 200.0
)

// car is one that drives through the city; x and y are metres east and north of its corner.
type car struct {
	x, y, speed float64
	heading     int // 0: north, and on clockwise
	r           *rand.Rand
}

func newCar(seed int) *car {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	street := func() float64 { return float64(r.IntN(int(citySide/cityBlock))) * cityBlock }
	return &car{street(), street(), (30 + 30*r.Float64()) / 3.6, r.IntN(4), r}
}

// drive moves the car for a second.
func (c *car) drive() {
	dx, dy := math.Sin(float64(c.heading)*math.Pi/2), math.Cos(float64(c.heading)*math.Pi/2)
	before := math.Floor((c.x*math.Abs(dx) + c.y*math.Abs(dy)) / cityBlock)
	c.x, c.y = c.x+dx*c.speed, c.y+dy*c.speed
	if c.x < 0 || c.x > citySide || c.y < 0 || c.y > citySide {
		c.x, c.y, c.heading = max(0, min(citySide, c.x)), max(0, min(citySide, c.y)), (c.heading+2)%4
		return
	}
	if math.Floor((c.x*math.Abs(dx)+c.y*math.Abs(dy))/cityBlock) != before && c.r.IntN(3) == 0 {
		c.x, c.y = math.Round(c.x/cityBlock)*cityBlock, math.Round(c.y/cityBlock)*cityBlock
		c.heading = (c.heading + 1 + 2*c.r.IntN(2)) % 4
	}
}

func (c *car) place() (lat, lon float64) {
	return cityLat + c.y/111_195, cityLon + c.x/111_195/math.Cos(cityLat*math.Pi/180)
}

// fleets run so many cars for so long.
type fleets struct {
	b       *testing.B
	n       *brokertest.Node
	cars    int
	seconds int
	sent    [][]atomic.Int64 // when, by car and second, in Unix nanoseconds
	mu      sync.Mutex       // guards what follows
	late    []time.Duration
	asked   []time.Duration
}

func fromEnviron(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usual
}

func (f *fleets) must(err error) {
	if err != nil {
		f.b.Fatal(err)
	}
}

func carName(i int) string { return fmt.Sprintf("car%05d", i) }

func fleetOf(i int) accounts.Name { return accounts.Name(fmt.Sprint("fleet", i/1000)) }

func (f *fleets) open(user, password, client string) *wire.Client {
	c, ack, err := wire.Open(f.n.MQTT(), wire.V311, wire.Connect{User: user, Password: password, ClientID: client, Clean: true, KeepAlive: 600})
	if err != nil || ack.Reason != 0 {
		f.b.Fatalf("connect %s: %v, %#x", user, err, ack.Reason)
	}
	f.b.Cleanup(func() { _ = c.Close() })
	return c
}

// person makes an account, and gives a token for it.
func (f *fleets) person(name accounts.Name) string {
	f.n.AddUsers(string(name))
	token, _, err := f.n.Accounts().Issue(f.b.Context(), name, "bench")
	f.must(err)
	return token
}

// BenchmarkRiders prints how long a position takes to whoever watches, and what it costs. MAGPIE_CARS, MAGPIE_RIDERS and
// MAGPIE_SECONDS say how much of it.
func BenchmarkRiders(b *testing.B) {
	cars, riders, seconds := fromEnviron("MAGPIE_CARS", 1000), fromEnviron("MAGPIE_RIDERS", 200), fromEnviron("MAGPIE_SECONDS", 15)
	for b.Loop() {
		f := &fleets{b: b, cars: cars, seconds: seconds, sent: make([][]atomic.Int64, cars)}
		f.n = brokertest.Start(b, func(c *broker.Config) {
			c.Accounts.HashMemory, c.Accounts.HashPasses = 8<<10, 1
			c.Limits.Connections, c.Limits.ConnectionsPerAddress, c.Limits.Handshakes, c.Limits.HandshakesPerAddress = 0, 0, 0, 0
			c.Limits.ConnectRate = 0
		})
		f.run(riders)
	}
}

func (f *fleets) run(riders int) {
	drivers := make([]*wire.Client, f.cars)
	for i := range f.cars {
		f.sent[i] = make([]atomic.Int64, f.seconds+1)
		if i%1000 == 0 {
			f.person(fleetOf(i))
		}
		drivers[i] = f.open("dev:"+carName(i), f.n.AddDevice(carName(i), string(fleetOf(i))), "d")
	}
	for i := range riders {
		name := accounts.Name(fmt.Sprint("rider", i))
		token := f.person(name)
		did := accounts.Name(carName(i % f.cars))
		_, err := f.n.Things().Grant(f.b.Context(), fleetOf(i%f.cars), did, devices.Grant{To: name, Verbs: []devices.Verb{devices.VerbSee}})
		f.must(err)
		c := f.open(string(name), token, "r")
		f.must(c.Send(wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "dev/" + string(did) + "/loc/last"}}}))
		go f.watch(c, i%f.cars)
	}
	r := rand.New(rand.NewPCG(9, 9))
	fences := 0
	for fleet := 0; fleet <= (f.cars-1)/1000; fleet++ {
		for range 100 {
			c := newCar(r.IntN(1 << 30))
			lat, lon := c.place()
			_, err := f.n.Places().PutFence(f.b.Context(), fleetOf(fleet*1000), locations.Fence{
				Name: "F", Shape: locations.Shape{Points: []locations.Point{{Lat: lat, Lon: lon}}, Radius: 150}})
			f.must(err)
			fences++
		}
	}
	cpu, start := spentCPU(), time.Now()
	var running sync.WaitGroup
	for i, c := range drivers {
		running.Go(func() { f.drive(c, i, start) })
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { f.ask(stop) })
	running.Wait()
	close(stop)
	asking.Wait()
	took := time.Since(start)
	cpu = spentCPU() - cpu
	f.n.Stop() // which writes what is left
	metrics := f.metrics()
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.late)
	slices.Sort(f.asked)
	if len(f.late) == 0 || len(f.asked) == 0 {
		f.b.Fatal("nobody has seen anything")
	}
	taken := metrics["magpie_positions_taken_total"]
	f.b.ReportMetric(taken/took.Seconds(), "positions/s")
	f.b.ReportMetric(float64(f.late[len(f.late)/2].Microseconds())/1000, "ms-p50-to-watcher")
	f.b.ReportMetric(float64(f.late[len(f.late)*99/100].Microseconds())/1000, "ms-p99-to-watcher")
	f.b.ReportMetric(float64(f.asked[len(f.asked)*99/100].Microseconds())/1000, "ms-p99-near")
	f.b.ReportMetric(float64(cpu.Microseconds())/taken, "cpu-us/position-both-ends")
	f.b.ReportMetric(metrics["magpie_positions_written_bytes_total"]/taken, "bytes-written/position")
	f.b.Logf("%d cars, %d riders, %d fences, %.0f crossings, %v: %.0f positions, %d seen by watchers, %d questions", f.cars, riders, fences,
		metrics["magpie_positions_crossed_total"], took.Round(time.Second), taken, len(f.late), len(f.asked))
}

// drive drives a car, and says each second where it is. Cars begin at different times of a second.
func (f *fleets) drive(c *wire.Client, i int, start time.Time) {
	car := newCar(i)
	next := start.Add(time.Duration(i) * time.Second / time.Duration(f.cars))
	for n := range f.seconds {
		<-time.After(time.Until(next))
		next = next.Add(time.Second)
		car.drive()
		lat, lon := car.place()
		// The number of the second goes along as what the battery has.
		p := fmt.Appendf(nil, `{"_type":"location","lat":%.6f,"lon":%.6f,"acc":8,"vel":%.0f,"batt":%d}`, lat, lon, car.speed*3.6, n)
		f.sent[i][n].Store(time.Now().UnixNano())
		if err := c.Send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/loc", Payload: p}); err != nil {
			f.b.Error(err)
			return
		}
	}
}

// watch notes how long positions of a car took.
func (f *fleets) watch(c *wire.Client, i int) {
	for {
		p, err := c.Read(time.Now().Add(time.Minute))
		if err != nil {
			return
		}
		var where struct {
			Batt *int `json:"batt"`
		}
		if p.Type != wire.PUBLISH || json.Unmarshal(p.Payload, &where) != nil || where.Batt == nil {
			continue
		}
		late := time.Duration(time.Now().UnixNano() - f.sent[i][*where.Batt].Load())
		f.mu.Lock()
		f.late = append(f.late, late)
		f.mu.Unlock()
	}
}

// ask asks who is near, until it is stopped.
func (f *fleets) ask(stop chan struct{}) {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-ticks.C:
		}
		lat, lon := newCar(i).place()
		start := time.Now()
		_, err := f.n.Places().Near(f.b.Context(), fleetOf(0), locations.Around{Lat: lat, Lon: lon, Radius: 3000, Most: 10})
		f.must(err)
		f.asked = append(f.asked, time.Since(start))
	}
}

// metrics gives those of positions.
func (f *fleets) metrics() map[string]float64 {
	registry := prometheus.NewRegistry()
	for _, c := range f.n.Places().Collectors() {
		f.must(registry.Register(c))
	}
	families, err := registry.Gather()
	f.must(err)
	all := map[string]float64{}
	for _, family := range families {
		all[family.GetName()] = family.GetMetric()[0].GetCounter().GetValue()
	}
	return all
}

// spentCPU is the CPU time of this process.
func spentCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
