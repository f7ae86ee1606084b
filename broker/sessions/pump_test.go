package sessions

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const streamTopic = "im/u/alice/in"

// streaming is a connection that is subscribed to its stream.
func streaming(t *testing.T, r *Registry, c Connect, qos byte) *conn {
	t.Helper()
	x := open(t, r, c)
	x.subscribe(1, Subscription{Filter: streamTopic, QoS: qos})
	wants(t, x, fmt.Sprintf("suback 1 %02x", qos))
	return x
}

func (f *fakeLog) grow(r *Registry, n uint64) {
	f.head.Add(n)
	r.Wake("alice", "bob", "nobody")
}

func puback(ids ...uint16) func(*Link) {
	return func(l *Link) {
		for _, id := range ids {
			l.Puback(id, 0)
		}
	}
}

func TestLiveMessagesArrive(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, expiry := range []uint32{0, 3600} {
			for qos := range byte(3) {
				synctest.Test(t, func(t *testing.T) {
					log := &fakeLog{}
					r := newRegistry(newFakeStore(emptyDisk()), log)
					log.head.Store(10) // before the subscription
					x := streaming(t, r, Connect{Key: alice("phone"), Version: version, ExpirySeconds: expiry,
						CleanStart: expiry == 0}, qos)
					log.grow(r, 1)
					wants(t, x, fmt.Sprintf("publish 11 q%d", qos))
					log.grow(r, 2)
					wants(t, x, fmt.Sprintf("publish 12 q%d, publish 13 q%d", qos, qos))
				})
			}
		}
	}
}

func TestQoS2HandshakeIsInTheOrderOfThePubrecs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		x := streaming(t, r, persistent("phone", 5), 2)
		store.mu.Lock()
		store.hold = true
		store.mu.Unlock()
		log.grow(r, 3)
		wants(t, x, "") // not before it is stored
		store.release()
		wants(t, x, "publish 1 q2, publish 2 q2, publish 3 q2")
		store.mu.Lock()
		store.hold = true
		store.mu.Unlock()
		x.send(func(l *Link) { l.Pubrec(2, 0); l.Pubrec(1, 0) })
		wants(t, x, "") // not before it is stored
		store.release()
		wants(t, x, "pubrel 2, pubrel 1")
		x.send(func(l *Link) { l.Pubrec(2, 0) })
		wants(t, x, "pubrel 2")
		x.send(func(l *Link) { l.Pubcomp(2); l.Pubrec(99, 0); l.Pubcomp(98); l.Puback(97, 0); l.Puback(3, 0) })
		wants(t, x, "pubrel 99 0x92")
		x.send(func(l *Link) { l.Pubrec(3, 0x97); l.Pubcomp(1) })
		time.Sleep(2 * time.Second)
		wants(t, x, "")
		if st, _ := store.stored(alice("phone")); st.Acked != 3 || len(st.Flights) != 0 {
			t.Errorf("stored: acked %d, flights %v", st.Acked, st.Flights)
		}
	})
}

func TestFlightsAreResentInOrderWithTheirIDs(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newFakeStore(emptyDisk()), &fakeLog{}
			r := newRegistry(store, log)
			x := streaming(t, r, persistent("phone", 5), qos)
			log.grow(r, 5)
			first := wants(t, x, fmt.Sprintf("publish 1 q%[1]d, publish 2 q%[1]d, publish 3 q%[1]d, publish 4 q%[1]d, publish 5 q%[1]d", qos))
			if qos == 1 {
				x.send(puback(2, 4))
				wants(t, x, "")
			} else {
				x.send(func(l *Link) { l.Pubrec(2, 0); l.Pubrec(4, 0) })
				wants(t, x, "pubrel 2, pubrel 4")
				x.send(func(l *Link) { l.Pubcomp(4) })
				wants(t, x, "")
			}
			x.close()
			log.grow(r, 1)

			c := persistent("phone", 5)
			c.ReceiveMaximum = 2 // smaller than what is in flight
			y := open(t, r, c)
			if qos == 1 {
				got := wants(t, y, "publish 1 q1 dup, publish 3 q1 dup")
				if got[0].publish.ID != first[0].publish.ID || got[1].publish.ID != first[2].publish.ID {
					t.Errorf("ids %d and %d, want 1 and 3", got[0].publish.ID, got[1].publish.ID)
				}
				y.send(puback(3))
				wants(t, y, "publish 5 q1 dup")
				y.send(puback(1))
				wants(t, y, "publish 6 q1")
				return
			}
			wants(t, y, "publish 1 q2 dup, pubrel 2")
			y.send(func(l *Link) { l.Pubcomp(2) })
			wants(t, y, "publish 3 q2 dup")
			y.send(func(l *Link) { l.Pubrec(1, 0) })
			wants(t, y, "pubrel 1")
			y.send(func(l *Link) { l.Pubcomp(1) })
			wants(t, y, "publish 5 q2 dup")
		})
	}
}

func TestCursorIsWrittenAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		x := streaming(t, r, persistent("phone", 5), 1)
		began := time.Now()
		for i := range 3000 {
			log.grow(r, 1)
			synctest.Wait()
			x.send(puback(uint16(i + 1)))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		store.mu.Lock()
		defer store.mu.Unlock()
		if n := len(store.advances); n < 3 || n > 5 {
			t.Errorf("%d writes in 3 s, want about 4", n)
		}
		if first := store.advances[0].Sub(began); first > 10*time.Millisecond {
			t.Errorf("first write after %v, want at once", first)
		}
		for i := range len(store.advances) - 1 {
			if d := store.advances[i+1].Sub(store.advances[i]); d < time.Second {
				t.Errorf("%v between two writes", d)
			}
		}
		if got := store.durable.sessions[alice("phone")].Acked; got != 3000 {
			t.Errorf("stored cursor %d, want 3000", got)
		}
	})
}

func TestSkippedExpiredAndOversizedAreFinishedAtOnce(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newFakeStore(emptyDisk()), &fakeLog{}
			log.shape = func(d *Delivery) {
				switch d.Pos % 5 {
				case 2:
					d.Skip = true
				case 3:
					d.Expires = time.Now().Add(-time.Second)
				case 4:
					d.Payload = []byte(strings.Repeat("x", 1000))
				case 0:
					d.Expires = time.Now().Add(90 * time.Second)
				}
			}
			r := newRegistry(store, log)
			c := persistent("phone", 5)
			w := newWire()
			w.packetSize = 100
			c.Wire = w
			x := streaming(t, r, c, qos)
			log.grow(r, 10)
			time.Sleep(10 * syncTime)
			got := wants(t, x, fmt.Sprintf("publish 1 q%[1]d, publish 5 q%[1]d, publish 6 q%[1]d, publish 10 q%[1]d", qos))
			if e := got[1].publish.Expiry; e != 90 {
				t.Errorf("expiry %d, want 90", e)
			}
			for _, p := range got {
				id := p.publish.ID
				if qos == 1 {
					x.send(puback(id))
				} else {
					x.send(func(l *Link) { l.Pubrec(id, 0) })
					time.Sleep(3 * syncTime)
					x.send(func(l *Link) { l.Pubcomp(id) })
				}
			}
			time.Sleep(3 * time.Second)
			if st, _ := store.stored(alice("phone")); st.Acked != 10 || len(st.Flights) != 0 {
				t.Errorf("stored: acked %d, flights %v", st.Acked, st.Flights)
			}
			if log.acked.Load() != 10 {
				t.Errorf("source was told %d", log.acked.Load())
			}
		})
	}
}

func TestNewConnectionThatAllowsLessGetsPastAnOversizedFlight(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newFakeStore(emptyDisk()), &fakeLog{}
			log.shape = func(d *Delivery) {
				if d.Pos == 1 {
					d.Payload = []byte(strings.Repeat("x", 1000))
				}
			}
			r := newRegistry(store, log)
			x := streaming(t, r, persistent("phone", 5), qos)
			log.grow(r, 2)
			time.Sleep(3 * syncTime)
			x.w.take()
			x.close()
			c := persistent("phone", 5)
			w := newWire()
			w.packetSize = 100
			c.Wire = w
			y := open(t, r, c)
			if qos == 1 {
				wants(t, y, "publish 2 q1 dup")
				return
			}
			wants(t, y, "pubrel 1, publish 2 q2 dup")
			y.send(func(l *Link) { l.Pubcomp(1); l.Pubrec(2, 0) })
			wants(t, y, "pubrel 2")
			y.send(func(l *Link) { l.Pubcomp(2) })
			time.Sleep(2 * time.Second)
			if st, _ := store.stored(alice("phone")); st.Acked != 2 {
				t.Errorf("stored: acked %d, flights %v", st.Acked, st.Flights)
			}
		})
	}
}

func TestWhatTheSourceHasLostIsLeftOut(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newFakeStore(emptyDisk()), &fakeLog{}
			r := newRegistry(store, log)
			x := streaming(t, r, persistent("phone", 5), qos)
			log.grow(r, 3)
			time.Sleep(3 * syncTime)
			x.w.take()
			x.close()
			log.head.Store(1000)
			log.floor.Store(999)
			y := open(t, r, persistent("phone", 5))
			if qos == 1 {
				wants(t, y, "publish 999 q1, publish 1000 q1")
			} else {
				wants(t, y, "pubrel 1, pubrel 2, pubrel 3, publish 999 q2, publish 1000 q2")
			}
			y.close()

			log.floor.Store(2000) // nothing at all is left
			z := open(t, r, persistent("phone", 5))
			if qos == 1 {
				wants(t, z, "")
			} else {
				wants(t, z, "pubrel 1, pubrel 2, pubrel 3, pubrel 4, pubrel 5")
			}
		})
	}
}

func TestStalledWireHoldsOnlyItsOwnSessionUp(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newFakeStore(emptyDisk()), &fakeLog{}
			log.size.Store(1000)
			r := newRegistry(store, log, func(c *Config) { c.HighWater = 5000 })
			x := streaming(t, r, persistent("phone", 5), qos)
			y := streaming(t, r, persistent("tablet", 5), qos)
			x.w.stall(true)
			rec := newReceiver(t, 5, 64)
			rec.connected()
			log.grow(r, 500)
			rec.until(y, 500)
			if n := len(x.w.take()); n > 7 {
				t.Errorf("%d packets written to a wire that is full", n)
			}
			x.w.stall(false)
			time.Sleep(10 * syncTime)
			if n := len(x.w.take()); n == 0 && qos == 1 {
				t.Error("nothing written after the wire drained")
			}

			// A takeover of a stalled connection is answered at once, and gets everything.
			x.w.stall(true)
			began := time.Now()
			z := open(t, r, persistent("phone", 5))
			if d := time.Since(began); d > 10*syncTime {
				t.Errorf("takeover took %v", d)
			}
			late := newReceiver(t, 5, 64)
			late.connected()
			late.until(z, 500)
		})
	}
}

func TestQoS0StreamSkipsWhatTheWireCannotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		log.size.Store(100)
		r := newRegistry(newFakeStore(emptyDisk()), log, func(c *Config) { c.HighWater = 250 })
		x := streaming(t, r, persistent("phone", 5), 0)
		x.w.stall(true)
		for range 100 {
			log.grow(r, 1)
			synctest.Wait()
		}
		wants(t, x, "publish 1 q0, publish 2 q0, publish 3 q0")
		x.w.stall(false)
		wants(t, x, "")
		log.grow(r, 1)
		wants(t, x, "publish 101 q0")
		x.w.stall(true)
		log.grow(r, 3)
		wants(t, x, "publish 102 q0, publish 103 q0, publish 104 q0")
		x.w.stall(false) // nothing was missed
		log.grow(r, 1)
		wants(t, x, "publish 105 q0")
		if log.acked.Load() != 0 {
			t.Errorf("source was told %d as acknowledged", log.acked.Load())
		}
		x.close()
		log.grow(r, 10)
		y := open(t, r, persistent("phone", 5)) // no cursor is kept
		wants(t, y, "")
		log.grow(r, 1)
		wants(t, y, "publish 116 q0")
	})
}

func TestClientThatNeverAcksOneMessageGetsABoundedNumberAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		x := streaming(t, r, persistent("phone", 5), 1)
		log.grow(r, 10_000)
		got := 0
		for {
			synctest.Wait()
			packets := x.w.take()
			if len(packets) == 0 {
				break
			}
			for _, p := range packets {
				if got++; p.publish.ID != 1 {
					x.send(puback(p.publish.ID))
				}
			}
		}
		if got != maxFlights {
			t.Errorf("got %d, want %d", got, maxFlights)
		}
		x.send(puback(1))
		synctest.Wait()
		if n := len(x.w.take()); n != 64 {
			t.Errorf("%d after the missing ack, want 64", n)
		}
	})
}

func TestIDsInFlightAreNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		x := streaming(t, r, persistent("phone", 5), 1)
		log.grow(r, 1)
		wants(t, x, "publish 1 q1")
		x.link.mu.Lock()
		x.link.nextID = 65534
		x.link.mu.Unlock()
		log.grow(r, 4)
		synctest.Wait()
		var ids []string
		for _, p := range x.w.take() {
			ids = append(ids, strconv.Itoa(int(p.publish.ID)))
		}
		if got := strings.Join(ids, " "); got != "65534 65535 2 3" {
			t.Errorf("ids %s, want 65534 65535 2 3", got)
		}
	})
}

func TestAfterACrashWhatMayHaveBeenSentIsSentWithDUP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		x := streaming(t, r, persistent("phone", 5), 1)
		log.grow(r, 2)
		wants(t, x, "publish 1 q1, publish 2 q1")
		d := store.crash(func(n int) int { return n })
		x.close()
		log.head.Add(1)
		r = newRegistry(newFakeStore(d), log)
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		x = open(t, r, c)
		wants(t, x, "publish 1 q1 dup")
		x.close()
		x = open(t, r, c) // the rest of it, after an end that was none
		wants(t, x, "publish 1 q1 dup")
		x.send(puback(x.link.stream.flights[0].ID))
		wants(t, x, "publish 2 q1 dup")
		x.close()
		log.head.Add(1)
		x = open(t, r, persistent("phone", 5))
		wants(t, x, "publish 2 q1 dup, publish 3 q1 dup, publish 4 q1 dup")
		x.send(puback(2, 3, 4))
		x.close()
		log.head.Add(1)
		x = open(t, r, persistent("phone", 5))
		wants(t, x, "publish 5 q1")
	})
}

func TestSyncCursorReplaysNothing(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newFakeStore(emptyDisk()), &fakeLog{}
			r := newRegistry(store, log)
			c := persistent("phone", 5)
			x := streaming(t, r, c, qos)
			log.grow(r, 2)
			time.Sleep(3 * syncTime)
			x.w.take()
			x.close()
			log.grow(r, 5)
			c.Options.SyncCursor = true
			x = open(t, r, c)
			if qos == 1 {
				wants(t, x, "")
			} else {
				wants(t, x, "pubrel 1, pubrel 2") // the client holds these ids
			}
			log.grow(r, 1)
			wants(t, x, fmt.Sprintf("publish 8 q%d", qos))
		})
	}
}

func TestManyFlightsAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * maxFlights
		st := State{Key: alice("phone"), ExpirySeconds: 60, Open: true, Streaming: true,
			Subscriptions: []Subscription{{Filter: streamTopic, Spelling: streamTopic, QoS: 2}, {Filter: rsp, QoS: 1}}}
		rec := newReceiver(t, 5, 64)
		for pos := range uint64(n) {
			f := Flight{ID: uint16(pos + 1), Pos: pos + 1, QoS: 2, Stage: StageReleased}
			if pos >= n-64 {
				f.Stage = StageSent
			}
			st.Flights = append(st.Flights, f)
		}
		rec.last = n - 64
		d := emptyDisk()
		d.sessions[st.Key] = st
		store, log := newFakeStore(d), &fakeLog{}
		log.head.Store(n)
		r := newRegistry(store, log)
		x := open(t, r, persistent("phone", 5))
		x.link.Reply(reply("reply"))
		rec.connected()
		rec.until(x, n)
		log.grow(r, 10)
		rec.until(x, n+10)
		time.Sleep(2 * time.Second)
		if st, _ := store.stored(st.Key); st.Acked != n+10 || len(st.Flights) != 0 {
			t.Errorf("stored: acked %d, %d flights", st.Acked, len(st.Flights))
		}
	})
}

func TestStoredFlightsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		store.instant = true
		r := newRegistry(store, log)
		x := streaming(t, r, persistent("phone", 5), 2)
		log.grow(r, 10*maxRows)
		rec := newReceiver(t, 5, 64)
		rec.connected()
		began := time.Now()
		for rec.last < 10*maxRows {
			synctest.Wait()
			rec.serve(x)
			if st, _ := store.stored(alice("phone")); len(st.Flights) > 2*maxRows {
				t.Fatalf("%d flights stored", len(st.Flights))
			}
		}
		if d := time.Since(began); d > time.Second/2 {
			t.Fatalf("took %v of the bubble's time: nothing was tested", d)
		}
	})
}

func TestFlightThatIsAckedBeforeItIsResentIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		x := streaming(t, r, persistent("phone", 4), 1)
		log.grow(r, 3)
		wants(t, x, "publish 1 q1, publish 2 q1, publish 3 q1")
		x.close()
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		x = open(t, r, c)
		wants(t, x, "publish 1 q1 dup")
		x.send(puback(2, 1)) // the client had read 2 before the cut
		wants(t, x, "publish 3 q1 dup")
	})
}
