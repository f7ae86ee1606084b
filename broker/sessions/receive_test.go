package sessions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// storing is a Handler that stores what it gets and answers with it.
func storing(store *fakeStore) Handler {
	return func(_ context.Context, _ *Link, p Publish, origin any) Outcome {
		commit, err := store.publish(string(p.Payload), origin)
		if err != nil {
			return Outcome{Fatal: reasonBusy}
		}
		return Outcome{Commit: commit, Reply: Reply{User: []UserProperty{{"text", string(p.Payload)}}}}
	}
}

func message(id uint16, qos byte, text string) Publish {
	return Publish{Topic: "im/to/bob/send", ID: id, QoS: qos, Payload: []byte(text)}
}

func again(p Publish) Publish { p.Dup = true; return p }

// describe gives packets in one line, e.g. "puback 1, pubrec 2 0x87".
func describe(packets []packet) string {
	var out []string
	for _, p := range packets {
		switch p.kind {
		case "publish":
			text := fmt.Sprintf("publish %s q%d", strings.TrimSpace(string(p.publish.Payload)), p.publish.QoS)
			if p.publish.Dup {
				text += " dup"
			}
			out = append(out, text)
		case "ack":
			kind := map[AckKind]string{Puback: "puback", Pubrec: "pubrec", Pubrel: "pubrel", Pubcomp: "pubcomp"}[p.ack.Kind]
			text := fmt.Sprintf("%s %d", kind, p.ack.ID)
			if p.ack.Reason != 0 {
				text += fmt.Sprintf(" %#x", p.ack.Reason)
			}
			out = append(out, text)
		case "disconnect":
			out = append(out, fmt.Sprintf("disconnect %#x", p.reason))
		default:
			out = append(out, fmt.Sprintf("%s %d %x", p.kind, p.id, p.codes))
		}
	}
	return strings.Join(out, ", ")
}

// wants compares what arrived with a description of it.
func wants(t *testing.T, c *conn, want string) []packet {
	t.Helper()
	time.Sleep(3 * syncTime)
	synctest.Wait()
	got := c.w.take()
	if text := describe(got); text != want {
		t.Errorf("packets: got %q, want %q", text, want)
	}
	return got
}

func TestAcksComeInTheOrderOfArrivalAndNotBeforeTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 5))
		store.hold = true
		x.publish(message(1, 1, "a"), storing(store))
		x.publish(message(2, 2, "b"), storing(store))
		refuse := func(context.Context, *Link, Publish, any) Outcome { return Outcome{Reply: Reply{Reason: 0x87}} }
		x.publish(message(3, 1, "refused, with nothing to wait for"), refuse)
		x.publish(message(4, 2, "refused"), refuse)
		x.subscribe(5, Subscription{Filter: "im/u/alice/in", QoS: 1})
		x.publish(message(6, 1, "c"), storing(store))
		wants(t, x, "")
		store.release()
		wants(t, x, "puback 1, pubrec 2, puback 3 0x87, pubrec 4 0x87, suback 5 01, puback 6")
	})
}

func TestIdleLinkHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		x := open(t, newRegistry(store, log), persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "im/u/alice/in", QoS: 2})
		x.publish(message(1, 1, "a"), storing(store))
		wants(t, x, "suback 1 02, puback 1")
		log.head.Store(1)
		x.link.registry.Wake("alice")
		wants(t, x, "publish 1 q2")
		if x.link.pumping || x.link.answers.writing || x.link.stream.ahead != nil {
			t.Errorf("pump runs: %v, answers run: %v", x.link.pumping, x.link.answers.writing)
		}
	})
}

func TestQoS2PublishIsHandledOnce(t *testing.T) {
	for _, version := range []byte{4, 5} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore(emptyDisk())
			r := newRegistry(store, &fakeLog{})
			x := open(t, r, persistent("phone", version))
			store.hold = true
			x.publish(message(7, 2, "a"), storing(store))
			x.publish(again(message(7, 2, "a")), storing(store)) // waits for the original
			wants(t, x, "")
			store.release()
			wants(t, x, "pubrec 7, pubrec 7")
			x.close()

			x = open(t, r, persistent("phone", version)) // another link
			x.publish(again(message(7, 2, "a")), storing(store))
			wants(t, x, "pubrec 7")

			time.Sleep(10 * syncTime) // a crash
			store = newFakeStore(store.crash(func(n int) int { return n }))
			x.close()
			r = newRegistry(store, &fakeLog{})
			x = open(t, r, persistent("phone", version))
			x.publish(again(message(7, 2, "a")), storing(store))
			x.send(func(l *Link) { l.Pubrel(7) })
			x.send(func(l *Link) { l.Pubrel(7) })
			wants(t, x, "pubrec 7, pubcomp 7, pubcomp 7") // it may have been ended just before the crash
			y := open(t, r, persistent("tablet", version))
			y.send(func(l *Link) { l.Pubrel(7) })
			wants(t, y, "pubcomp 7 0x92")
			if st, _ := store.stored(alice("phone")); len(st.Received) != 0 {
				t.Errorf("received: %v after PUBREL", st.Received)
			}
			x.publish(message(7, 2, "b"), storing(store)) // the id is free
			wants(t, x, "pubrec 7")
			if got := store.messages(); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("stored %q", got)
			}
		})
	}
}

func TestPubcompWaitsForTheRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 5))
		x.publish(message(7, 2, "a"), storing(store))
		wants(t, x, "pubrec 7")
		store.mu.Lock()
		store.hold = true
		store.mu.Unlock()
		x.send(func(l *Link) { l.Pubrel(7) })
		wants(t, x, "")
		store.release()
		wants(t, x, "pubcomp 7")
	})
}

func TestRefusedQoS2IdIsFreeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 5))
		calls := 0
		refuse := func(context.Context, *Link, Publish, any) Outcome {
			calls++
			return Outcome{Reply: Reply{Reason: 0x97}}
		}
		x.publish(message(7, 2, "a"), refuse)
		x.publish(message(7, 2, "b"), refuse)
		wants(t, x, "pubrec 7 0x97, pubrec 7 0x97")
		x.send(func(l *Link) { l.Pubrel(7) })
		wants(t, x, "pubcomp 7 0x92")
		if calls != 2 {
			t.Errorf("handled %d times, want 2", calls)
		}
	})
}

func TestRefusedQoS2OfMQTT3KeepsItsIdUntilPubrel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 4))
		calls := 0
		refuse := func(context.Context, *Link, Publish, any) Outcome {
			calls++
			return Outcome{Reply: Reply{Reason: 0x97}}
		}
		x.publish(message(7, 2, "a"), refuse)
		x.publish(again(message(7, 2, "a")), refuse)
		x.send(func(l *Link) { l.Pubrel(7) })
		wants(t, x, "pubrec 7 0x97, pubrec 7, pubcomp 7")
		if calls != 1 {
			t.Errorf("handled %d times, want 1", calls)
		}
	})
}

func TestRetransmissionGetsTheAnswerThatWasNeverWritten(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore(emptyDisk())
			r := newRegistry(store, &fakeLog{})
			cut := func() {
				x := open(t, r, persistent("phone", 5))
				store.hold = true
				for id, text := range []string{1: "a", 2: "b", 3: "c", 4: "d"} {
					if id > 0 {
						x.publish(message(uint16(id), qos, text), storing(store))
					}
				}
				synctest.Wait()
				x.w.cut()
				store.release()
				<-x.done
			}
			cut()
			x := open(t, r, persistent("phone", 5))
			x.publish(again(message(1, qos, "a")), storing(store))
			x.publish(again(message(2, qos, "b")), storing(store))
			ack := map[byte]string{1: "puback", 2: "pubrec"}[qos]
			got := wants(t, x, ack+" 1, "+ack+" 2")
			for i, want := range []string{"a", "b"} {
				if u := got[i].ack.User; len(u) != 1 || u[0].Value != want {
					t.Errorf("answer %d: %v, want that of %q", i, u, want)
				}
			}
			if got := store.messages(); len(got) != 4 {
				t.Errorf("stored %q", got)
			}
			if qos == 2 {
				return
			}
			x.publish(message(3, qos, "c"), storing(store))        // not a retransmission
			x.publish(again(message(4, qos, "x")), storing(store)) // other content
			wants(t, x, ack+" 3, "+ack+" 4")
			if got := store.messages(); len(got) != 6 {
				t.Errorf("stored %q", got)
			}
			x.close()

			// Written answers are forgotten, and so are those that the next connection did not ask for.
			cut()
			open(t, r, persistent("phone", 5)).close()
			x = open(t, r, persistent("phone", 5))
			x.publish(again(message(1, qos, "a")), storing(store))
			wants(t, x, "puback 1")
			if got := store.messages(); len(got) != 11 {
				t.Errorf("stored %q", got)
			}
		})
	}
}

func TestRetransmissionOnTheSameLinkIsNotAckedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 4))
		store.hold = true
		x.publish(message(1, 1, "a"), storing(store))
		x.publish(again(message(1, 1, "a")), storing(store))
		synctest.Wait()
		store.release()
		wants(t, x, "puback 1")
		if got := store.messages(); len(got) != 1 {
			t.Errorf("stored %q", got)
		}
	})
}

func TestCommitFailureDisconnectsWithoutAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 5))
		store.hold = true
		var dones []error
		h := func(ctx context.Context, l *Link, p Publish, origin any) Outcome {
			o := storing(store)(ctx, l, p, origin)
			o.Done = func(err error) { dones = append(dones, err) }
			return o
		}
		x.publish(message(1, 1, "a"), h)
		x.publish(message(2, 2, "b"), h)
		x.publish(Publish{Topic: "x"}, h)
		synctest.Wait()
		store.fail(ErrUnavailable)
		wants(t, x, "disconnect 0x89")
		<-x.done
		if len(dones) != 3 {
			t.Fatalf("Done called %d times, want 3", len(dones))
		}
		for _, err := range dones {
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("Done(%v), want ErrUnavailable", err)
			}
		}
	})
}

func TestFatalDisconnectsAfterTheAnswersBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 5))
		store.hold = true
		var got error
		fatal := func(context.Context, *Link, Publish, any) Outcome {
			return Outcome{Fatal: 0x89, Done: func(err error) { got = err }}
		}
		x.publish(message(1, 1, "a"), storing(store))
		x.publish(message(2, 1, "b"), fatal)
		x.publish(message(3, 1, "c"), storing(store))
		wants(t, x, "")
		store.release()
		wants(t, x, "puback 1, disconnect 0x89")
		if got == nil {
			t.Error("Done was not told of an error")
		}
		if m := store.messages(); len(m) != 1 {
			t.Errorf("stored %q", m)
		}
	})
}

func TestFullFIFOHoldsTheReaderUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}, func(c *Config) { c.Inbound = 4 }), persistent("phone", 4))
		store.hold = true
		calls := 0
		h := func(ctx context.Context, l *Link, p Publish, origin any) Outcome {
			calls++
			return storing(store)(ctx, l, p, origin)
		}
		for id := range uint16(10) {
			x.publish(message(id+1, 1, "a"), h)
		}
		wants(t, x, "")
		if calls != 4 {
			t.Errorf("handled %d, want 4", calls)
		}
		store.release()
		time.Sleep(20 * syncTime)
		wants(t, x, "puback 1, puback 2, puback 3, puback 4, puback 5, puback 6, puback 7, puback 8, puback 9, puback 10")
	})
}

func TestReceiveMaximumOfTheServer(t *testing.T) {
	for name, qos := range map[string]byte{"qos 1": 1, "qos 2": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore(emptyDisk())
				x := open(t, newRegistry(store, &fakeLog{}, func(c *Config) { c.Inbound = 3 }), persistent("phone", 5))
				if qos == 1 {
					store.hold = true // a PUBACK frees, a PUBREC does not
				}
				for id := range uint16(3) {
					x.publish(message(id+1, qos, "a"), storing(store))
				}
				if qos == 2 {
					wants(t, x, "pubrec 1, pubrec 2, pubrec 3")
					x.publish(again(message(3, qos, "a")), storing(store)) // no new one
					x.send(func(l *Link) { l.Pubrel(1) })
					wants(t, x, "pubrec 3, pubcomp 1")
					x.publish(message(1, qos, "b"), storing(store))
					wants(t, x, "pubrec 1")
					x.publish(message(9, qos, "c"), storing(store))
					wants(t, x, "disconnect 0x93")
					return
				}
				store.release()
				wants(t, x, "puback 1, puback 2, puback 3")
				x.publish(message(4, qos, "c"), storing(store))
				wants(t, x, "puback 4")
			})
		})
	}
}

func TestAcksWaitForAClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{}, func(c *Config) { c.Inbound, c.HighWater = 4, 20 })
		x := open(t, r, persistent("phone", 4))
		x.w.stall(true)
		for id := range uint16(100) {
			x.publish(message(id+1, 1, "a"), storing(store))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(store.messages()); n > 20 {
			t.Errorf("%d messages taken from a client that does not read", n)
		}
		for range 100 {
			x.w.stall(false)
			time.Sleep(10 * syncTime)
		}
		if n := len(store.messages()); n != 100 {
			t.Errorf("%d messages, want 100", n)
		}
	})
}

// sender is a client that sends messages and resends what was not acknowledged.
type sender struct {
	qos     byte
	texts   []string
	next    int // the next text to send first
	flights []outgoing
	nextID  uint16
}

type outgoing struct {
	Publish
	released bool
}

func (s *sender) more(x *conn, h Handler, window int) {
	if s.next == len(s.texts) || len(s.flights) >= window {
		return
	}
	s.nextID = s.nextID%200 + 1
	p := message(s.nextID, s.qos, s.texts[s.next])
	s.next++
	s.flights = append(s.flights, outgoing{Publish: p})
	x.publish(p, h)
}

func (s *sender) resend(x *conn, h Handler) {
	for _, f := range s.flights {
		if f.released {
			x.send(func(l *Link) { l.Pubrel(f.ID) })
		} else {
			x.publish(again(f.Publish), h)
		}
	}
}

func (s *sender) read(x *conn) {
	for _, p := range x.w.take() {
		i := slices.IndexFunc(s.flights, func(f outgoing) bool { return f.ID == p.ack.ID })
		if p.kind != "ack" || i < 0 {
			continue
		}
		switch p.ack.Kind {
		case Pubrec:
			s.flights[i].released = true
			x.send(func(l *Link) { l.Pubrel(p.ack.ID) })
		default:
			s.flights = slices.Delete(s.flights, i, i+1)
		}
	}
}

// TestInboundSurvivesCutsAndCrashes sends through random cuts and crashes: everything is stored in order, once with
// QoS 2, at least once with QoS 1.
func TestInboundSurvivesCutsAndCrashes(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("v%d qos %d", version, qos), func(t *testing.T) {
				for seed := range rounds(t, 30, 120) {
					synctest.Test(t, func(t *testing.T) { inboundRound(t, uint64(seed), version, qos) })
					if t.Failed() {
						t.Fatalf("seed %d", seed)
					}
				}
			})
		}
	}
}

func inboundRound(t *testing.T, seed uint64, version, qos byte) {
	random := rand.New(rand.NewPCG(seed, uint64(qos)))
	store := newFakeStore(emptyDisk())
	r := newRegistry(store, &fakeLog{}, func(c *Config) { c.Inbound = 8 })
	s := &sender{qos: qos}
	for i := range 100 {
		s.texts = append(s.texts, fmt.Sprintf("m%03d", i))
	}
	x := open(t, r, persistent("phone", version))
	h := storing(store)
	reconnect := func() {
		x.w.cut()
		h = storing(store)
		x = open(t, r, persistent("phone", version))
		s.resend(x, h)
	}
	for s.next < len(s.texts) || len(s.flights) > 0 {
		switch k := random.IntN(100); {
		case k < 40:
			s.more(x, h, 8)
		case k < 60:
			s.read(x)
		case k < 75:
			time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
		case k < 90:
			synctest.Wait()
		case k < 95:
			reconnect()
		case k < 97:
			d := store.crash(func(pending int) int { return random.IntN(pending + 1) })
			if random.IntN(2) == 0 {
				s.read(x)
			}
			x.close()
			store = newFakeStore(d)
			r = newRegistry(store, &fakeLog{}, func(c *Config) { c.Inbound = 8 })
			reconnect()
		}
	}
	x.close()
	time.Sleep(5 * syncTime)
	got := store.messages()
	if qos == 1 {
		got = firsts(got)
	}
	if !slices.Equal(got, s.texts) {
		t.Errorf("stored %q", got)
	}
}

// firsts leaves out what has come before.
func firsts(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
