package sessions

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func batching(c Connect) Connect {
	c.Options.Batch = true
	return c
}

// span gives "3,4,5".
func span(first, last uint64) string {
	var all []string
	for ; first <= last; first++ {
		all = append(all, fmt.Sprint(first))
	}
	return strings.Join(all, ",")
}

// published gives what has been published, each with its id, QoS and a sign if it is a repetition.
func published(x *conn) (out []string) {
	time.Sleep(20 * syncTime)
	synctest.Wait()
	for _, p := range x.w.take() {
		if p.kind != "publish" {
			continue
		}
		dup := ""
		if p.publish.Dup {
			dup = " dup"
		}
		out = append(out, fmt.Sprintf("%d q%d%s: %s", p.publish.ID, p.publish.QoS, dup, p.publish.Payload))
	}
	return out
}

// away is a session that was away while its stream grew to n.
func away(t *testing.T, r *Registry, log *fakeLog, c Connect, qos byte, n uint64) *conn {
	t.Helper()
	streaming(t, r, c, qos).close()
	log.grow(r, n)
	return open(t, r, c)
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestWhatWaitsIsSentInBatches(t *testing.T) {
	for qos := range byte(3) {
		synctest.Test(t, func(t *testing.T) {
			log := &fakeLog{}
			r := newRegistry(newFakeStore(emptyDisk()), log)
			c := batching(persistent("phone", 5))
			if qos == 0 {
				x := streaming(t, r, c, 0)
				log.grow(r, 150)
				same(t, "QoS 0", published(x), "0 q0: "+span(1, 64), "0 q0: "+span(65, 128), "0 q0: "+span(129, 150))
				return
			}
			x := away(t, r, log, c, qos, 150)
			same(t, "what waits", published(x), fmt.Sprintf("1 q%d: %s", qos, span(1, 64)),
				fmt.Sprintf("2 q%d: %s", qos, span(65, 128)), fmt.Sprintf("3 q%d: %s", qos, span(129, 150)))
			log.grow(r, 1)
			same(t, "what comes", published(x), fmt.Sprintf("4 q%d: 151", qos))
			x.close()
			same(t, "without a batch, again", published(open(t, r, persistent("phone", 5))),
				fmt.Sprintf("1 q%d dup: %s", qos, span(1, 64)), fmt.Sprintf("2 q%d dup: %s", qos, span(65, 128)),
				fmt.Sprintf("3 q%d dup: %s", qos, span(129, 150)), fmt.Sprintf("4 q%d dup: 151", qos))
		})
	}
}

func TestABatchIsOneInTheWindowAndMovesTheCursorToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		c := batching(persistent("phone", 5))
		c.ReceiveMaximum = 2
		x := away(t, r, log, c, 1, 200)
		same(t, "a window", published(x), "1 q1: "+span(1, 64), "2 q1: "+span(65, 128))
		x.send(puback(2))
		same(t, "after the second ack", published(x), "3 q1: "+span(129, 192))
		x.send(puback(1))
		same(t, "after the first ack", published(x), "4 q1: "+span(193, 200))
		x.close()
		time.Sleep(5 * syncTime)
		if st, _ := store.stored(c.Key); st.Acked != 128 || len(st.Flights) != 2 || st.Flights[0].First != 129 {
			t.Errorf("stored: acked %d, flights %+v", st.Acked, st.Flights)
		}
		c.ReceiveMaximum = 0
		same(t, "again", published(open(t, r, c)), "3 q1 dup: "+span(129, 192), "4 q1 dup: "+span(193, 200))
	})
}

// What was sent of QoS 2 before a crash has to have the same content under the same id, whatever was read with it then.
func TestABatchOfQoS2IsTheSameAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		c := batching(persistent("phone", 5))
		x := streaming(t, r, c, 2)
		var want []string
		id, pos := 0, uint64(0)
		for _, n := range []uint64{3, 1, 50, 40} {
			x.w.stall(true)
			x.w.mu.Lock()
			x.w.buffered = 1 << 30 // nothing is sent
			x.w.mu.Unlock()
			log.grow(r, n)
			synctest.Wait()
			x.w.stall(false)
			got := published(x)
			if n == 1 {
				same(t, "one", got, fmt.Sprintf("2 q2: %d", pos+1))
			}
			id++
			want = append(want, fmt.Sprintf("%d q2 dup: %s", id, span(pos+1, pos+n)))
			pos += n
		}
		d := store.crash(func(int) int { return 0 })
		x.close()
		log.head.Add(10)
		r = newRegistry(newFakeStore(d), log)
		c.Options.Batch = false
		want = append(want, "5 q2: 95", "6 q2: 96", "7 q2: 97", "8 q2: 98", "9 q2: 99", "10 q2: 100", "11 q2: 101", "12 q2: 102",
			"13 q2: 103", "14 q2: 104")
		same(t, "after the crash", published(open(t, r, c)), want...)
	})
}

func TestBatchesHaveABound(t *testing.T) {
	tests := map[string]struct {
		size   int64
		packet uint32
		counts []int // deliveries in each packet
	}{
		"many":           {10, 0, []int{64, 36}},
		"large":          {3000, 0, []int{21, 21, 21, 1, 21, 15}},
		"very large":     {40 << 10, 0, slices.Repeat([]int{1}, 64)},
		"larger":         {80 << 10, 0, slices.Repeat([]int{1}, 64)},
		"a small client": {100, 1024, slices.Repeat([]int{8}, 12)},
		"a tiny client":  {100, 130, slices.Repeat([]int{1}, 64)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &fakeLog{}
				log.size.Store(tt.size)
				r := newRegistry(newFakeStore(emptyDisk()), log, func(c *Config) { c.HighWater = 1 << 30 })
				c := batching(persistent("phone", 5))
				c.MaximumPacket = tt.packet
				x := away(t, r, log, c, 1, 100)
				var counts []int
				for i, p := range published(x) {
					_, payload, _ := strings.Cut(p, ": ")
					if n := strings.Count(payload, ",") + 1; i < len(tt.counts) {
						counts = append(counts, n)
						if n > 1 && len(payload) > batchBytes {
							t.Errorf("a batch of %d bytes", len(payload))
						}
					}
				}
				if !slices.Equal(counts, tt.counts) {
					t.Errorf("got packets of %v, want %v", counts, tt.counts)
				}
			})
		})
	}
}

// A client that comes back with less room than it had gets what does not fit any more in smaller pieces.
func TestABatchThatDoesNotFitAnyMoreIsSentInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		c := batching(persistent("phone", 5))
		c.ReceiveMaximum = 2
		x := away(t, r, log, c, 1, 70)
		same(t, "at first", published(x), "1 q1: "+span(1, 64), "2 q1: "+span(65, 70))
		x.close()
		c.MaximumPacket = packetRoom + uint32(len(streamTopic)) + joinRoom + 40
		c.Wire = newWire()
		x = open(t, r, c)
		x.w.mu.Lock()
		x.w.packetSize = int(c.MaximumPacket)
		x.w.mu.Unlock()
		rec := newReceiver(t, 5, 2)
		rec.connected()
		rec.until(x, 70)
	})
}

// What retention took away from the middle of a batch is not waited for.
func TestABatchOfWhichTheSourceHasLostAPart(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		synctest.Test(t, func(t *testing.T) {
			log := &fakeLog{}
			r := newRegistry(newFakeStore(emptyDisk()), log)
			c := batching(persistent("phone", 5))
			x := away(t, r, log, c, qos, 80)
			if got := published(x); len(got) != 2 {
				t.Fatalf("got %q", got)
			}
			x.close()
			log.floor.Store(30)
			log.grow(r, 1)
			same(t, "what is left", published(open(t, r, c)), fmt.Sprintf("1 q%d dup: %s", qos, span(30, 64)),
				fmt.Sprintf("2 q%d dup: %s", qos, span(65, 80)), fmt.Sprintf("3 q%d: 81", qos))
		})
	}
}

// What was acknowledged behind a batch that is sent in parts now does not stand for the parts.
func TestABatchInPartsIsNotFinishedByWhatCameAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		c := batching(persistent("phone", 5))
		c.ReceiveMaximum = 2
		x := away(t, r, log, c, 1, 70)
		same(t, "at first", published(x), "1 q1: "+span(1, 64), "2 q1: "+span(65, 70))
		x.send(puback(2))
		synctest.Wait()
		x.close()
		c.ReceiveMaximum = 1
		c.MaximumPacket = 130
		c.Wire = newWire()
		x = open(t, r, c)
		x.w.mu.Lock()
		x.w.packetSize = int(c.MaximumPacket)
		x.w.mu.Unlock()
		for want := uint64(1); want <= 64; want++ {
			got := published(x)
			if len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf(": %d", want)) {
				t.Fatalf("got %q, want %d", got, want)
			}
			id, _, _ := strings.Cut(got[0], " ")
			n, _ := strconv.Atoi(id)
			x.send(puback(uint16(n)))
		}
	})
}
