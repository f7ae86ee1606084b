package things

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// Commands in random schedules of absence, crashes, and answers that are late or come twice. What device and app see is held
// against what they have done:
//   - a command moves forward only, and what is said of its device it has done: delivered is its PUBACK or its answer;
//   - what a device may have been given before comes with DUP, and what is over, or has been acknowledged, does not come;
//   - nothing is given in a new connection after its deadline;
//   - of a key only the newest comes, if the others were not given before;
//   - in the end each has an end, and it is that which the device has said.

// schedules is how many are tried.
func schedules() int {
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err == nil {
		return n
	}
	return 12
}

func TestCommandsInAnySchedule(t *testing.T) {
	t.Parallel()
	h := begin(t)
	if err := flag.Set("rapid.checks", fmt.Sprint(schedules())); err != nil {
		t.Fatal(err)
	}
	if err := flag.Set("rapid.shrinktime", "20s"); err != nil {
		t.Fatal(err)
	}
	lamps := 0
	rapid.Check(t, func(t *rapid.T) {
		lamps++
		w := newWorld(h, t, fmt.Sprint("lamp-", lamps))
		t.Cleanup(w.leave)
		ops := rapid.SliceOfN(rapid.SampledFrom(w.ops()), 5, 40).Draw(t, "schedule")
		for _, op := range ops {
			w.do(op)
			w.look(10 * time.Millisecond)
		}
		w.settle()
	})
}

// order is a command as it should be.
type order struct {
	cid, mid, key string
	expires       int64
	given         int      // how often the device was given it
	acked         bool     // it has sent a PUBACK
	here          bool     // on the connection that it has
	said          []string // what it has said of it
	told          []string // states that the app was told
	revs          map[string]bool
	sent          bool // the app was told that it has been sent
}

func (o *order) final() string {
	if len(o.told) > 0 && rank(o.told[len(o.told)-1]) == final {
		return o.told[len(o.told)-1]
	}
	return ""
}

// moving are the states of a command that is not over.
var moving = []string{"queued", "sent", "delivered", "accepted", "progress"}

var final = len(moving)

// rank is how far a state is.
func rank(state string) int {
	if i := slices.Index(moving, state); i >= 0 {
		return i
	}
	return final
}

// world is one schedule: a lamp, its app, and what they know.
type world struct {
	h       *home
	t       *rapid.T
	did     string
	version byte
	serial  bool

	app, lamp *wire.Client // nil: away
	since     int64        // when the lamp has connected
	over      []string     // what the app had been told of as delivered or over by then
	unacked   []wire.Packet
	orders    map[string]*order
	calls     int
	ids       uint16
}

func newWorld(h *home, t *rapid.T, did string) *world {
	w := &world{h: h, t: t, did: did, orders: map[string]*order{}}
	w.version = rapid.SampledFrom([]byte{wire.V311, wire.V5}).Draw(t, "version")
	w.serial = rapid.Bool().Draw(t, "serial")
	h.addDevice(did, m{"serial": w.serial})
	w.open()
	return w
}

type op struct {
	name string
	do   func(*world)
}

func (o op) String() string { return o.name }

func (w *world) do(o op) { o.do(w) }

// ops are what may happen, some of it more often.
func (*world) ops() (all []op) {
	add := func(times int, name string, do func(*world)) {
		for range times {
			all = append(all, op{name, do})
		}
	}
	add(4, "call", func(w *world) { w.call(3600, "") })
	add(2, "call for a moment", func(w *world) { w.call(0.05, "") })
	add(2, "call with a key", func(w *world) { w.call(3600, "key") })
	add(1, "call again", func(w *world) { w.again() })
	add(4, "connect", func(w *world) { w.connect(true) })
	add(3, "connect a session that is kept", func(w *world) { w.connect(false) })
	add(2, "cut", func(w *world) { w.cut() })
	add(5, "puback", func(w *world) { w.puback(0) })
	add(2, "puback of the last", func(w *world) { w.puback(len(w.unacked) - 1) })
	for _, state := range []string{"accepted", "progress", "succeeded", "failed", "rejected"} {
		add(1, state, func(w *world) { w.say(state, true) })
	}
	add(2, "succeeded, of the first", func(w *world) { w.say("succeeded", false) })
	add(1, "kill", func(w *world) { w.restart(w.h.Kill) })
	add(1, "stop", func(w *world) { w.restart(func() { w.h.Stop() }) })
	return all
}

func (w *world) leave() {
	for _, c := range []*wire.Client{w.app, w.lamp} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// dial connects somebody.
func (w *world) dial(version byte, who, client string, clean bool, filters ...string) *wire.Client {
	s := w.h.as(who, client)
	var props wire.Properties
	if !clean && version == wire.V5 {
		props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
	}
	connect := wire.Connect{ClientID: client, User: s.User, Password: s.Password, Clean: clean}
	c, ack, err := wire.Open(s.Addr, version, connect, props...)
	if err != nil || ack.Reason != 0 {
		w.t.Fatalf("CONNECT of %s: %#x, %v", who, ack.Reason, err)
	}
	for i, f := range filters {
		sub := wire.Packet{Type: wire.SUBSCRIBE, ID: uint16(60000 + i), Filters: []wire.Filter{{Topic: f, Options: 1}}}
		if err := c.Send(sub); err != nil {
			w.t.Fatal(err)
		}
	}
	return c
}

// open connects the app.
func (w *world) open() {
	w.app = w.dial(wire.V5, "alice", "app-"+w.did, false, "dev/"+w.did+"/status/+")
}

func (w *world) connect(clean bool) {
	w.cut()
	w.look(0)
	w.since, w.over = time.Now().UnixMilli(), nil
	for cid, o := range w.orders {
		o.here = false
		if slices.ContainsFunc(o.told, func(state string) bool { return rank(state) >= rank("delivered") }) {
			w.over = append(w.over, cid)
		}
	}
	w.lamp = w.dial(w.version, w.did, w.did, clean, "dev/me/cmd/+")
}

func (w *world) cut() {
	if w.lamp != nil {
		_ = w.lamp.Close()
	}
	w.lamp, w.unacked = nil, nil
}

func (w *world) restart(end func()) {
	end()
	w.cut()
	_ = w.app.Close()
	w.h.Start()
	w.open()
}

// publish publishes, and waits for the PUBACK. What comes before it is dealt with.
func (w *world) publish(c *wire.Client, topic string, payload any) wire.Packet {
	w.ids++
	id := w.ids
	err := c.Send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: id, Topic: topic, Payload: []byte(text(payload))})
	if err != nil {
		w.t.Fatalf("PUBLISH %s: %v", topic, err)
	}
	for deadline := time.Now().Add(server.Deadline); ; {
		p, err := c.Read(deadline)
		switch {
		case err != nil:
			w.t.Fatalf("no answer to PUBLISH %s: %v", topic, err)
		case p.Type == wire.PUBACK && p.ID == id:
			return p
		}
		w.heard(c, p)
	}
}

// look deals with what has come, and waits a little for more.
func (w *world) look(wait time.Duration) {
	for _, c := range []*wire.Client{w.lamp, w.app} {
		for c != nil {
			p, err := c.Read(time.Now().Add(max(wait, time.Millisecond)))
			if errors.Is(err, wire.ErrTimeout) {
				break
			}
			if err != nil {
				w.t.Fatalf("the connection has ended: %v", err)
			}
			w.heard(c, p)
		}
	}
}

func (w *world) heard(c *wire.Client, p wire.Packet) {
	switch {
	case p.Type == wire.SUBACK && p.Codes[0] > 2:
		w.t.Fatalf("SUBACK %#x", p.Codes[0])
	case p.Type != wire.PUBLISH:
	case c == w.lamp:
		w.given(p)
	default:
		w.told(p)
		if err := c.Send(wire.Packet{Type: wire.PUBACK, ID: p.ID}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// given holds a command that the lamp is given against what is known.
func (w *world) given(p wire.Packet) {
	var doc m
	if doc = w.parse(p.Payload); p.QoS != 1 || p.Retain || p.Topic != fmt.Sprint("dev/me/cmd/", doc["cid"]) {
		w.t.Errorf("a command on %s, QoS %d, retain %v", p.Topic, p.QoS, p.Retain)
	}
	cid := fmt.Sprint(doc["cid"])
	o := w.orders[cid]
	if o == nil {
		w.t.Fatalf("the lamp was given %s, which nobody has asked for", p.Payload)
	}
	if again := doc["dup"] == true; o.given > 0 && (!again || !p.Dup) || again != p.Dup {
		w.t.Errorf("%s came for the %d. time, dup %v", p.Payload, o.given+1, p.Dup)
	}
	if o.here {
		w.t.Errorf("%s came again on the connection that has acknowledged it", p.Payload)
	}
	if slices.Contains(w.over, cid) {
		w.t.Errorf("%s came, and was over or delivered before: %q", p.Payload, o.told)
	}
	if o.expires < w.since {
		w.t.Errorf("%s came %d ms after its deadline at least", p.Payload, w.since-o.expires)
	}
	if o.given == 0 && slices.Contains(o.told, "superseded") {
		w.t.Errorf("%s came after it was superseded", p.Payload)
	}
	o.given++
	w.unacked = append(w.unacked, p)
}

// told holds a step that the app is told against what the lamp has done.
func (w *world) told(p wire.Packet) {
	doc := w.parse(p.Payload)
	cid, state := fmt.Sprint(doc["cid"]), fmt.Sprint(doc["s"])
	o := w.orders[cid]
	if o == nil {
		o = &order{cid: cid, mid: fmt.Sprint(doc["mid"]), revs: map[string]bool{}}
		o.key, _ = doc["key"].(string)
		w.orders[cid] = o
	}
	if expires, ok := doc["exp"].(float64); ok {
		o.expires = int64(expires)
	}
	step := fmt.Sprint(doc["rev"], state)
	if o.revs[step] { // it may come twice
		return
	}
	o.revs[step] = true
	late := at(doc, "late", "s") != nil
	if n := len(o.told); n > 0 && !late && (rank(state) < rank(o.told[n-1]) || rank(state) == final && o.final() != "") {
		w.t.Errorf("%s went from %q to %s", cid, o.told, state)
	}
	o.told = append(o.told, state)
	o.sent = o.sent || doc["sent"] != nil
	answered := len(o.said) > 0
	switch state {
	case "delivered", "timed_out":
		if !o.acked && !answered {
			w.t.Errorf("%s is %s, and the lamp has said nothing: %s", cid, state, p.Payload)
		}
	case "accepted", "progress", "succeeded", "failed", "rejected":
		if !slices.Contains(o.said, state) {
			w.t.Errorf("%s is %s, and the lamp has said %q", cid, state, o.said)
		}
	case "expired":
		if time.Now().UnixMilli() < o.expires {
			w.t.Errorf("%s expired %d ms too soon", cid, o.expires-time.Now().UnixMilli())
		}
		if o.given > 0 && doc["sent"] == nil {
			w.t.Errorf("%s expired without having been sent, and the lamp has it", cid)
		}
	}
}

func (w *world) parse(payload []byte) m { return parse(w.h.t, payload) }

func (w *world) call(ttl float64, key string) {
	w.calls++
	w.callAs(fmt.Sprint(w.did, " ", w.calls), ttl, key)
}

// callAs gives the state that is answered.
func (w *world) callAs(mid string, ttl float64, key string) (state string) {
	call := m{"name": "do", "mid": mid, "ttl": ttl}
	if key != "" {
		call["key"] = key
	}
	ack := w.publish(w.app, "dev/"+w.did+"/call", call)
	if ack.Reason >= 0x80 {
		w.t.Fatalf("call: %#x %v", ack.Reason, ack.Props)
	}
	cid, _ := ack.Props.User("cid")
	if o := w.orders[cid]; o == nil {
		expires := time.Now().UnixMilli() + int64(ttl*1000)
		w.orders[cid] = &order{cid: cid, mid: mid, key: key, expires: expires, revs: map[string]bool{}}
	}
	state, _ = ack.Props.User("s")
	return state
}

// again makes the last call once more.
func (w *world) again() {
	for _, o := range w.orders {
		if o.mid == fmt.Sprint(w.did, " ", w.calls) {
			n := len(w.orders)
			w.callAs(o.mid, w.ttl(o), o.key)
			if len(w.orders) > n {
				w.t.Errorf("the same call has become another command")
			}
			return
		}
	}
}

func (w *world) ttl(o *order) float64 {
	if o.expires-time.Now().UnixMilli() < 60_000 {
		return 0.05
	}
	return 3600
}

func (w *world) puback(i int) {
	if w.lamp == nil || i < 0 || i >= len(w.unacked) {
		return
	}
	p := w.unacked[i]
	w.unacked = slices.Delete(w.unacked, i, i+1)
	o := w.orders[strings.TrimPrefix(p.Topic, "dev/me/cmd/")]
	o.acked, o.here = true, true
	if err := w.lamp.Send(wire.Packet{Type: wire.PUBACK, ID: p.ID}); err != nil {
		w.t.Fatal(err)
	}
}

// say has the lamp say something of a command that it was given, of the last one or of the first.
func (w *world) say(state string, last bool) {
	all := slices.SortedFunc(maps.Values(w.orders), func(a, b *order) int { return strings.Compare(a.mid, b.mid) })
	all = slices.DeleteFunc(all, func(o *order) bool { return o.given == 0 })
	if w.lamp == nil || len(all) == 0 {
		return
	}
	o := all[0]
	if last {
		o = all[len(all)-1]
	}
	w.answer(o, state)
}

func (w *world) answer(o *order, state string) {
	o.said = append(o.said, state)
	w.publish(w.lamp, "dev/me/cmd/"+o.cid+"/ack", m{"s": state})
}

// settle lets the lamp do all that it is given, and sees that each command comes to its end.
func (w *world) settle() {
	w.connect(true)
	open := func() (all []*order) {
		for _, o := range w.orders {
			if o.final() == "" {
				all = append(all, o)
			}
		}
		return all
	}
	for deadline := time.Now().Add(server.Deadline); len(open()) > 0; {
		w.look(20 * time.Millisecond)
		for len(w.unacked) > 0 {
			w.puback(0)
		}
		for _, o := range open() {
			if o.given > 0 {
				w.answer(o, "succeeded")
			}
			if state := w.callAs(o.mid, w.ttl(o), o.key); rank(state) == final && o.final() == "" {
				w.look(50 * time.Millisecond)
				o.told = append(o.told, state) // the step was stored, and a crash came before it was told
			}
		}
		if time.Now().After(deadline) {
			for _, o := range open() {
				w.t.Errorf("%s has no end: told %q, given %d times, said %q", o.cid, o.told, o.given, o.said)
			}
			w.t.FailNow()
		}
	}
	for _, o := range w.orders {
		end := o.final()
		if said := slices.IndexFunc(o.said, func(s string) bool { return rank(s) == final }); said >= 0 && end != o.said[said] &&
			end != "expired" && end != "superseded" && end != "timed_out" {
			w.t.Errorf("%s is %s, and the lamp has said %q first", o.cid, end, o.said)
		}
	}
}
