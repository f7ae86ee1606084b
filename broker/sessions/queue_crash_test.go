package sessions

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// queueWorld is a world whose client gets what others publish on free topics. They number their messages.
type queueWorld struct {
	world
	said       uint64 // number of the last message
	publishing sync.WaitGroup

	mu    sync.Mutex
	acked map[uint64]bool // what a publisher was told is safe
}

// TestAQueueLosesAndRepeatsNothingOverCrashesAndCuts runs a session's queue through random cuts and crashes, and through
// more than fits into memory. Everything that was acknowledged has to arrive, in order; the receiver fails the test at
// once on a repetition of QoS 2 and on one of QoS 1 without DUP.
func TestAQueueLosesAndRepeatsNothingOverCrashesAndCuts(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("v%d qos %d", version, qos), func(t *testing.T) {
				for seed := range rounds(t, 4, 15) {
					ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { queueRound(t, uint64(seed), version, qos) })
					})
					if !ok {
						return
					}
				}
			})
		}
	}
}

func queueRound(t *testing.T, seed uint64, version, qos byte) {
	random := rand.New(rand.NewPCG(seed, uint64(version)<<8|uint64(qos)<<16))
	w := &queueWorld{acked: map[uint64]bool{}}
	w.world = world{t: t, rand: random, store: newFakeStore(emptyDisk()), log: &fakeLog{}, connect: persistent("phone", version)}
	window := 64
	if version == 5 && random.IntN(2) == 0 {
		w.connect.ReceiveMaximum = uint16(1 + random.IntN(20))
		window = int(w.connect.ReceiveMaximum)
	}
	w.rec = newReceiver(t, version, window)
	w.rec.loose = true
	w.rec.lazy = func() bool { return random.IntN(3) == 0 }
	if random.IntN(2) == 0 {
		w.rec.rand = random
	}
	w.few = random.IntN(2) == 0
	w.start()
	w.open()
	w.x.subscribe(1, Subscription{Filter: "t/+", QoS: qos, ID: 7}, Subscription{Filter: "t/1", QoS: qos, ID: 8})
	time.Sleep(10 * syncTime)
	w.rec.serve(w.x)
	for range 150 + random.IntN(300) {
		w.step(qos)
		w.check()
	}
	w.finish()
}

func (w *queueWorld) step(qos byte) {
	switch k := w.rand.IntN(100); {
	case k < 30:
		w.say(w.rand.IntN(20), qos)
	case k < 31 && w.said < 1500:
		w.say(tailCount+w.rand.IntN(300), qos)
	case k < 60:
		w.rec.serve(w.x)
	case k < 80:
		time.Sleep(time.Duration(w.rand.IntN(3000)) * time.Microsecond)
	case k < 92:
		synctest.Wait()
	case k < 94: // saves the session while other writes are on their way
		w.x.subscribe(9, Subscription{Filter: "u/+"})
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

// say publishes n messages in a row, and notes later which of them are safe.
func (w *queueWorld) say(n int, qos byte) {
	r := w.r
	type saying struct {
		Publication
		n uint64
	}
	var all []saying
	for range n {
		w.said++
		m := &Message{Topic: fmt.Sprint("t/", w.rand.IntN(3)), Payload: []byte(strconv.FormatUint(w.said, 10)),
			QoS: 1 + byte(w.rand.IntN(int(qos))), Time: time.Now()}
		out, err := r.Publish(context.Background(), Posting{Message: m})
		if err == nil {
			all = append(all, saying{out, w.said})
		}
	}
	w.publishing.Go(func() {
		for _, s := range all {
			if wait(context.Background(), s.Commit) != nil {
				return
			}
			w.mu.Lock()
			w.acked[s.n] = true
			w.mu.Unlock()
			s.Deliver()
		}
	})
}

// check fails the test when something came again, or out of order.
func (w *queueWorld) check() {
	w.t.Helper()
	got := w.rec.got
	for i := max(1, len(got)-100); i < len(got); i++ {
		if got[i] <= got[i-1] {
			w.t.Fatalf("message %d came after %d", got[i], got[i-1])
		}
	}
}

// finish reads until it is quiet, and compares.
func (w *queueWorld) finish() {
	w.publishing.Wait()
	w.x.close()
	w.open()
	w.x.w.cutAfter(-1)
	for w.x.w.isGone() { // cut before it was told not to be
		w.open()
		w.x.w.cutAfter(-1)
	}
	w.rec.lazy = nil
	for quiet, turns := 0, 0; quiet < 10; turns++ {
		if turns > 100 {
			w.t.Fatalf("not quiet: %d in flight to the client, %d got of %d; queue: %+v", len(w.rec.unacked), len(w.rec.got), w.said, w.x.link.queue)
		}
		before, packets := len(w.rec.got), w.rec.packets
		time.Sleep(10 * syncTime)
		synctest.Wait()
		w.rec.serve(w.x)
		w.check()
		if quiet++; w.rec.packets > packets || len(w.rec.unacked) > 0 { // a small window may be full of repetitions for long
			quiet = 0
		}
		if len(w.rec.got) > before {
			turns = 0
		}
	}
	got := w.rec.got
	slices.Sort(got)
	for n := range w.acked {
		if _, found := slices.BinarySearch(got, n); !found {
			w.t.Errorf("message %d of %d was acknowledged, and never came", n, w.said)
		}
	}
	w.x.close()
}
