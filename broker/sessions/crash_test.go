package sessions

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// world is a server that crashes, with a client that is cut off, while its stream grows.
type world struct {
	t       *testing.T
	rand    *rand.Rand
	store   *fakeStore
	log     *fakeLog
	r       *Registry
	rec     *receiver
	connect Connect
	x       *conn
	n       uint64 // how far the stream grows
	crashes int
	cuts    int
	few     bool
	batch   bool // with batches, on and off
}

// TestCrashesAndCutsLoseAndRepeatNothing runs a stream through random cuts and crashes. The receiver fails the test at
// once on a loss, a change of order, a repetition of QoS 2 and one of QoS 1 without DUP.
func TestCrashesAndCutsLoseAndRepeatNothing(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("v%d qos %d", version, qos), func(t *testing.T) {
				for seed := range rounds(t, 30, 300) {
					ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { crashRound(t, uint64(seed), version, qos) })
					})
					if !ok {
						return
					}
				}
			})
		}
	}
}

func crashRound(t *testing.T, seed uint64, version, qos byte) {
	random := rand.New(rand.NewPCG(seed, uint64(version)<<8|uint64(qos)))
	w := &world{t: t, rand: random, store: newFakeStore(emptyDisk()), log: &fakeLog{}, connect: persistent("phone", version)}
	w.n = 50 + uint64(random.IntN(400))
	window := 64
	if version == 5 && random.IntN(2) == 0 {
		w.connect.ReceiveMaximum = uint16(1 + random.IntN(20))
		window = int(w.connect.ReceiveMaximum)
	}
	w.rec = newReceiver(t, version, window)
	w.rec.lazy = func() bool { return random.IntN(3) == 0 }
	if random.IntN(2) == 0 {
		w.rec.rand = random
	}
	w.few = random.IntN(2) == 0
	w.batch = random.IntN(2) == 0
	w.log.ackTime = time.Duration(random.IntN(3)) * syncTime
	w.start()

	w.open()
	w.x.subscribe(1, Subscription{Filter: streamTopic, QoS: qos}, Subscription{Filter: rsp, QoS: 1})
	time.Sleep(10 * syncTime)
	w.rec.serve(w.x)
	for w.rec.last < w.n {
		w.step()
	}
	w.x.close()
	time.Sleep(5 * syncTime)
	if w.rec.last != w.n {
		t.Fatalf("got %d of %d", w.rec.last, w.n)
	}
}

func (w *world) open() {
	w.connect.Wire = nil
	w.connect.Options.Batch = w.batch && w.rand.IntN(4) > 0
	if w.connect.Version == 5 && w.connect.ReceiveMaximum > 0 && w.rand.IntN(3) == 0 {
		w.connect.ReceiveMaximum = uint16(1 + w.rand.IntN(20))
		w.rec.window = int(w.connect.ReceiveMaximum)
	}
	w.rec.connected()
	w.x = open(w.t, w.r, w.connect)
	if w.rand.IntN(2) == 0 {
		w.x.w.cutAfter(w.rand.IntN(150))
	}
	w.x.w.setSilent(w.rand.IntN(2) == 0)
}

// step is one thing that happens.
func (w *world) step() {
	switch k := w.rand.IntN(100); {
	case k < 30:
		more := min(w.n-w.log.head.Load(), uint64(w.rand.IntN(20)))
		w.log.head.Add(more)
		w.r.Wake("alice")
	case k < 58:
		w.rec.serve(w.x)
	case k < 60:
		w.x.link.Reply(reply("reply"))
	case k < 80:
		time.Sleep(time.Duration(w.rand.IntN(3000)) * time.Microsecond)
	case k < 92:
		synctest.Wait()
	case k < 94: // saves the session while other writes are on their way
		w.x.subscribe(9, Subscription{Filter: "im/p/bob"})
	case k < 96:
		time.Sleep(time.Second)
	case k < 98:
		w.cut()
	default:
		w.crash()
	}
	select {
	case <-w.x.done:
		w.open()
	default:
	}
}

// cut ends the connection; the client may have read what was on its way.
func (w *world) cut() {
	w.cuts++
	if w.rand.IntN(2) == 0 {
		w.rec.serve(w.x)
	}
	if w.rand.IntN(2) == 0 {
		w.x.close()
	}
	w.open() // or a takeover
}

func (w *world) crash() {
	w.crashes++
	switch w.rand.IntN(3) {
	case 0:
		w.rec.serve(w.x)
	case 1: // an instant later
		time.Sleep(time.Duration(w.rand.IntN(1000)) * time.Microsecond)
		synctest.Wait()
	}
	d := w.store.crash(func(pending int) int { return w.rand.IntN(pending + 1) })
	if w.rand.IntN(2) == 0 {
		w.rec.serve(w.x) // written before the crash, read after it
	}
	w.x.close()
	w.store = newFakeStore(d)
	w.start()
	w.open()
}

func (w *world) start() {
	w.r = newRegistry(w.store, w.log)
	if w.few {
		w.r.lastID = 130 // ids are soon used again
	}
}

// TestChangingSubscriptionsNeverStallOrBreakTheRules subscribes, unsubscribes and changes the QoS at random, through cuts
// and crashes. The receiver watches ids and the window; at the end everything that is new has to arrive in order.
func TestChangingSubscriptionsNeverStallOrBreakTheRules(t *testing.T) {
	for seed := range rounds(t, 50, 500) {
		synctest.Test(t, func(t *testing.T) { changingRound(t, uint64(seed)) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func changingRound(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	version := byte(4 + random.IntN(2))
	w := &world{t: t, rand: random, store: newFakeStore(emptyDisk()), log: &fakeLog{}, connect: persistent("phone", version)}
	w.n, w.few, w.batch = 1<<40, random.IntN(2) == 0, random.IntN(2) == 0
	w.rec = newReceiver(t, version, 64)
	w.rec.loose = true
	w.rec.lazy = func() bool { return random.IntN(3) == 0 }
	w.start()
	w.open()
	for range 300 {
		switch k := random.IntN(100); {
		case k < 6:
			w.x.subscribe(uint16(k+1), Subscription{Filter: streamTopic, QoS: byte(random.IntN(3))})
		case k < 9:
			w.x.subscribe(uint16(k+1), Subscription{Filter: "im/u/alice/+", QoS: byte(random.IntN(3))})
		case k < 12:
			filters := []string{streamTopic, "im/u/alice/+"}[:1+random.IntN(2)]
			w.x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 9, filters) })
		case k < 14:
			w.x.w.stall(true)
			w.log.grow(w.r, 3)
			synctest.Wait()
			w.x.w.stall(false)
		case k < 15:
			w.connect.Options.SyncCursor = random.IntN(3) == 0
		default:
			w.step()
		}
	}

	w.connect.Options.SyncCursor = false
	w.x.close()
	w.open()
	w.x.w.cutAfter(-1)
	for w.x.w.isGone() { // cut before it was told not to be
		w.open()
		w.x.w.cutAfter(-1)
	}
	w.x.subscribe(1, Subscription{Filter: streamTopic, QoS: 1}, Subscription{Filter: "im/u/alice/+", QoS: 1})
	for range 100 { // until it is quiet
		time.Sleep(10 * syncTime)
		synctest.Wait()
		w.rec.waiting = append(w.rec.waiting, pendingAck{0, func(*Link) {}})
		w.rec.lazy = nil
		w.rec.serve(w.x)
	}
	w.rec.last, w.rec.loose = w.log.head.Load(), false
	w.log.grow(w.r, 500)
	w.rec.until(w.x, w.log.head.Load())
}
