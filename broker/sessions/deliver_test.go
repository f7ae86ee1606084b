package sessions

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rounds is how often a random test runs.
func rounds(t *testing.T, short, normal int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err == nil {
		return max(n, normal)
	}
	if testing.Short() {
		return short
	}
	return normal
}

// receiver is a client as its application sees it: it survives its connections, and judges what it is sent.
type receiver struct {
	t       *testing.T
	version byte
	window  int

	got     []uint64          // positions handed to the application, in order
	last    uint64            // the newest of them
	held    map[uint16]bool   // ids of QoS 2 that wait for a PUBREL
	content map[uint16]string // of those
	batches int               // packets with more than one position
	largest int               // payload of such a packet
	mute    bool              // acks nothing
	lazy    func() bool       // says whether an ack is put off until more has arrived
	rand    *rand.Rand        // nil: acks in order
	repeats int
	packets int  // that have come
	loose   bool // subscriptions change: positions may be left out, and come again with another QoS

	// of the current connection
	again   uint64 // newest position of the repetitions
	unacked map[uint16]bool
	waiting []pendingAck
	subacks int
}

type pendingAck struct {
	frees uint16 // id that is not in flight any more; 0: none
	send  func(*Link)
}

func newReceiver(t *testing.T, version byte, window int) *receiver {
	return &receiver{t: t, version: version, window: window, held: map[uint16]bool{}, content: map[uint16]string{}}
}

func (r *receiver) connected() {
	r.unacked, r.waiting, r.again = map[uint16]bool{}, nil, 0
}

// serve answers what has arrived on a connection.
func (r *receiver) serve(c *conn) {
	for _, p := range c.w.take() {
		r.packet(c, p)
	}
	if len(r.waiting) > 0 && (r.lazy == nil || !r.lazy()) {
		if r.rand != nil { // QoS 1 in any order; the acks of QoS 2 keep theirs
			r.rand.Shuffle(len(r.waiting), func(i, j int) { r.waiting[i], r.waiting[j] = r.waiting[j], r.waiting[i] })
		}
		for _, a := range r.waiting {
			delete(r.unacked, a.frees)
			c.send(a.send)
		}
		r.waiting = nil
	}
}

func (r *receiver) packet(c *conn, p packet) {
	r.t.Helper()
	r.packets++
	switch {
	case p.kind == "publish":
		r.published(p.publish)
	case p.kind == "ack" && p.ack.Kind == Pubrel:
		id := p.ack.ID
		if !r.held[id] && !r.unacked[id] { // a repetition after a reconnect
			r.ack(0, func(l *Link) { l.Pubcomp(id) })
			return
		}
		delete(r.held, id)
		r.ack(id, func(l *Link) { l.Pubcomp(id) })
	case p.kind == "suback":
		r.subacks++
	}
}

func (r *receiver) ack(frees uint16, f func(*Link)) {
	r.waiting = append(r.waiting, pendingAck{frees, f})
}

func (r *receiver) published(p Publish) {
	r.t.Helper()
	id := p.ID
	if p.QoS > 0 {
		if r.unacked[id] && !r.mute {
			r.t.Fatalf("%q: id %d is in flight already", p.Payload, id)
		}
		r.unacked[id] = true
		if len(r.unacked) > r.window {
			r.t.Fatalf("%q: %d in flight, window is %d", p.Payload, len(r.unacked), r.window)
		}
	}
	if string(p.Payload) == "routed" {
		return
	}
	if p.Topic == rsp {
		r.ack(id, func(l *Link) { l.Puback(id, 0) })
		return
	}
	all := r.positions(p.Payload)
	switch p.QoS {
	case 1:
		for _, pos := range all {
			r.take1(pos, p.Dup)
		}
		if !r.mute {
			r.ack(id, func(l *Link) { l.Puback(id, 0) })
		}
	case 2:
		if r.held[id] {
			if !p.Dup || r.content[id] != string(p.Payload) {
				r.t.Fatalf("%q after %q: id %d is used again before its PUBREL", p.Payload, r.content[id], id)
			}
			r.repeats++
		} else {
			r.takeAll(all)
		}
		r.held[id], r.content[id] = true, string(p.Payload)
		if !r.mute {
			r.ack(0, func(l *Link) { l.Pubrec(id, 0) })
		}
	default:
		r.takeAll(all)
	}
}

// positions gives what is in a packet.
func (r *receiver) positions(payload []byte) (all []uint64) {
	r.t.Helper()
	for word := range strings.SplitSeq(string(payload), ",") {
		pos, err := strconv.ParseUint(strings.TrimSpace(word), 10, 64)
		if err != nil {
			r.t.Fatalf("payload %q: %v", payload, err)
		}
		all = append(all, pos)
	}
	if len(all) > 1 {
		r.batches++
		r.largest = max(r.largest, len(payload))
	}
	if len(all) > maxBatch {
		r.t.Fatalf("%d in one packet", len(all))
	}
	return all
}

func (r *receiver) takeAll(all []uint64) {
	r.t.Helper()
	for _, pos := range all {
		r.take(pos)
	}
}

// take1 judges a delivery of QoS 1: new ones in order, repetitions with DUP and in order among themselves.
func (r *receiver) take1(pos uint64, dup bool) {
	r.t.Helper()
	if pos > r.last {
		r.take(pos)
		return
	}
	if !dup {
		r.t.Fatalf("position %d again without DUP, after %d", pos, r.last)
	}
	if pos <= r.again {
		r.t.Fatalf("position %d again after %d in one connection", pos, r.again)
	}
	r.again = pos
	r.repeats++
}

func (r *receiver) take(pos uint64) {
	r.t.Helper()
	if pos != r.last+1 && !r.loose {
		r.t.Fatalf("position %d after %d", pos, r.last)
	}
	r.last = pos
	r.got = append(r.got, pos)
}

// until serves until the receiver has everything up to pos and nothing is in flight.
func (r *receiver) until(c *conn, pos uint64) {
	r.t.Helper()
	for r.last < pos || len(r.unacked) > 0 || len(r.waiting) > 0 {
		synctest.Wait()
		before := r.last
		r.serve(c)
		if r.last == before && len(r.waiting) == 0 && len(c.in) == 0 {
			time.Sleep(syncTime) // of the bubble: for the store
		}
		select {
		case <-c.done:
			r.t.Fatalf("connection ended at position %d", r.last)
		default:
		}
	}
	synctest.Wait() // the last acks are read
}

func TestOfflineSessionGetsEverythingInOrder(t *testing.T) {
	n := uint64(20_000)
	if testing.Short() {
		n = 3000
	}
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			for _, receiveMaximum := range []uint16{0, 1, 20} {
				if version == 4 && receiveMaximum != 0 {
					continue
				}
				t.Run(fmt.Sprintf("v%d qos %d window %d", version, qos, receiveMaximum), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { offline(t, n, version, qos, receiveMaximum) })
				})
			}
		}
	}
}

func offline(t *testing.T, n uint64, version, qos byte, receiveMaximum uint16) {
	store, log := newFakeStore(emptyDisk()), &fakeLog{}
	r := newRegistry(store, log)
	c := persistent("phone", version)
	c.ReceiveMaximum = receiveMaximum
	window := 64
	if receiveMaximum > 0 {
		window = int(receiveMaximum)
	}

	x := open(t, r, c)
	x.subscribe(1, Subscription{Filter: "im/u/alice/in", QoS: qos})
	time.Sleep(10 * syncTime)
	x.close()
	log.head.Store(n)

	rec := newReceiver(t, version, window)
	rec.connected()
	rec.mute = true // acks nothing, and cuts
	x = open(t, r, c)
	synctest.Wait()
	time.Sleep(10 * syncTime)
	rec.serve(x)
	if len(rec.got) != window {
		t.Errorf("a client that acks nothing got %d, want its window %d", len(rec.got), window)
	}
	x.close()

	rec.mute = false
	rec.connected()
	x = open(t, r, c)
	if !x.link.Present() {
		t.Error("session is not present")
	}
	rec.until(x, n)
	if rec.repeats != window {
		t.Errorf("%d repetitions, want %d", rec.repeats, window)
	}
	x.close()
	time.Sleep(2 * syncTime)
	st, _ := store.stored(alice("phone"))
	if st.Acked != n || len(st.Flights) != 0 || st.Open {
		t.Errorf("stored: acked %d, %d flights, open %v; want %d, 0, false", st.Acked, len(st.Flights), st.Open, n)
	}
	if log.acked.Load() != n {
		t.Errorf("source was told %d, want %d", log.acked.Load(), n)
	}
}
