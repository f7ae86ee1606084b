package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tidings are what was told of posts, in order.
type tidings struct {
	mu  sync.Mutex
	all []string
}

func (n *tidings) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

// of gives options that note what becomes of a post.
func (n *tidings) of(name string) PostOptions {
	return PostOptions{
		Written: func() { n.note("%s written", name) },
		Acked:   func() { n.note("%s acked", name) },
		Lost:    func() { n.note("%s lost", name) },
	}
}

func (n *tidings) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := strings.Join(n.all, ", "); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	n.all = nil
}

const commands = "dev/alice/alice/cmd/+"

func command(name string) Publish {
	return Publish{Topic: "dev/alice/alice/cmd/" + name, Payload: []byte(name), QoS: 1}
}

// obey subscribes to what is posted.
func obey(t *testing.T, x *conn, qos byte) {
	t.Helper()
	x.subscribe(1, Subscription{Filter: commands, Spelling: "dev/me/cmd/+", QoS: qos, ID: 5})
	wants(t, x, fmt.Sprintf("suback 1 %02x", qos))
}

// takes posts what is taken.
func takes(t *testing.T, r *Registry, p Publish, o PostOptions) {
	t.Helper()
	if err := r.Post("alice", p, o); err != nil {
		t.Errorf("posted %.20s: %v", p.Payload, err)
	}
}

func window(client string, n uint16) Connect {
	c := persistent(client, 5)
	c.ReceiveMaximum = n
	return c
}

func TestAPostIsTakenWithItsPuback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		var n tidings
		post := func(p Publish, want error) {
			t.Helper()
			if got := r.Post("alice", p, n.of(string(p.Payload))); !errors.Is(got, want) {
				t.Errorf("posted %s: %v, want %v", p.Payload, got, want)
			}
		}
		post(command("a"), ErrUnheard)
		x := open(t, r, persistent("lamp", 5))
		post(command("a"), ErrUnheard)
		obey(t, x, 2)
		post(Publish{Topic: "dev/alice/alice/want", Payload: []byte("other")}, ErrUnheard)
		again := command("a")
		again.Dup, again.Retain, again.Expiry = true, true, 9
		post(again, nil)
		post(command("b"), nil)
		got := wants(t, x, "publish a q1 dup, publish b q1")
		p := got[0].publish
		if p.Topic != "dev/me/cmd/a" || p.Retain || p.Expiry != 0 || !slices.Equal(p.SubscriptionIDs, []int{5}) || p.ID == 0 {
			t.Errorf("published %+v", p)
		}
		n.want(t, "a written, b written")
		x.send(puback(got[1].publish.ID, got[1].publish.ID, 777))
		n.want(t, "b acked")
		x.close()
		n.want(t, "a lost")
		post(command("c"), ErrUnheard)
		n.want(t, "")
		if x.link.inFlight != 1 {
			t.Errorf("%d in flight, want the one that is lost", x.link.inFlight)
		}
		wants(t, open(t, r, persistent("lamp", 5)), "") // posts die with their link
	})
}

func TestAPostThatIsTooLargeIsNotTakenAndOneThatIsRefusedIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		c := persistent("lamp", 5)
		w := newWire()
		w.packetSize = 100
		c.Wire, c.MaximumPacket = w, 200
		x := open(t, r, c)
		obey(t, x, 1)
		var n tidings
		takes(t, r, command("a"), n.of("a"))
		if err := r.Post("alice", command(strings.Repeat("b", 200)), n.of("too large")); !errors.Is(err, ErrUnfit) {
			t.Errorf("what is larger than the client takes: %v", err)
		}
		takes(t, r, command(strings.Repeat("b", 50)), n.of("b")) // fits as far as it is known, and not on the wire
		takes(t, r, command("c"), PostOptions{})
		wants(t, x, "publish a q1, publish c q1")
		x.send(func(l *Link) { l.Puback(1, 0x97); l.Puback(2, 0) })
		n.want(t, "a written, b lost, a acked")
		x.close()
	})
}

func TestPostsComeInOrderBeforeAllElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		x := streaming(t, r, window("lamp", 1), 1)
		x.subscribe(2, Subscription{Filter: "free/#", QoS: 1})
		x.subscribe(3, Subscription{Filter: commands, QoS: 1})
		wants(t, x, "suback 2 01, suback 3 01")
		log.grow(r, 9)
		wants(t, x, "publish 1 q1")
		say(t, r, to("free/x", 1, "queued"))
		var n tidings
		for i := range maxPosts + 2 {
			name := fmt.Sprint("c", i)
			var want error
			if i >= maxPosts {
				want = ErrPostsFull
			}
			if err := r.Post("alice", command(name), n.of(name)); !errors.Is(err, want) {
				t.Errorf("post %d: %v, want %v", i, err, want)
			}
		}
		n.want(t, "")
		ack := uint16(1)
		for i := range maxPosts {
			x.send(puback(ack))
			ack = wants(t, x, fmt.Sprintf("publish c%d q1", i))[0].publish.ID
		}
		x.send(puback(ack))
		got := told(t, x)
		if len(got) != 1 || strings.HasPrefix(got[0], "dev/") {
			t.Errorf("after the posts: %q", got)
		}
		x.close()
		var want []string
		for i := range maxPosts {
			want = append(want, fmt.Sprintf("c%[1]d written, c%[1]d acked", i))
		}
		n.want(t, strings.Join(want, ", "))
	})
}

func TestAPostIsNotWrittenAfterItsTime(t *testing.T) {
	for _, version := range []byte{4, 5} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.HighWater = 10 })
			c := persistent("lamp", version)
			x := open(t, r, c)
			x.subscribe(1, Subscription{Filter: commands, QoS: 1})
			wants(t, x, "suback 1 01")
			var n tidings
			post := func(name string, left time.Duration) {
				o := n.of(name)
				o.Expires = time.Now().Add(left)
				takes(t, r, command(name), o)
			}
			if err := r.Post("alice", command("late"), PostOptions{Expires: time.Now()}); !errors.Is(err, ErrUnfit) {
				t.Errorf("what has expired: %v", err)
			}
			post("a", time.Millisecond)
			post("b", 2500*time.Millisecond)
			got := wants(t, x, "publish a q1, publish b q1")
			n.want(t, "a written, b written")
			if a, b := got[0].publish.Expiry, got[1].publish.Expiry; a != 1 || b != 3 {
				t.Errorf("%d and %d seconds are left, want 1 and 3", a, b)
			}
			fill := func() {
				x.w.stall(true)
				takes(t, r, command("fills the wire"), PostOptions{})
				synctest.Wait()
				x.w.take()
			}
			fill()
			post("c", 10*time.Second)
			post("d", 10*time.Second+1)
			time.Sleep(10 * time.Second)
			x.w.stall(false)
			wants(t, x, "publish d q1")
			n.want(t, "c lost, d written")
			fill()
			post("e", 10*time.Second)
			time.Sleep(10 * time.Second)
			n.want(t, "")
			post("f", time.Second)
			n.want(t, "e lost")
			x.w.stall(false)
			wants(t, x, "publish f q1")
			x.close()
			n.want(t, "f written, a lost, b lost, d lost, f lost")
		})
	}
}

func TestAPostToWhoGrantedQoS0IsLostWithItsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := open(t, r, window("lamp", 1))
		obey(t, x, 0)
		var n tidings
		again := command("a")
		again.Dup = true
		takes(t, r, again, n.of("a"))
		takes(t, r, command("b"), n.of("b"))
		wants(t, x, "publish a q0, publish b q0")
		n.want(t, "a written, b written")
		for range maxUnsure - 1 {
			takes(t, r, command("c"), PostOptions{Lost: func() {}})
		}
		n.want(t, "a lost")
		x.close()
		n.want(t, "b lost")
	})
}

func TestTheNewestLinkIsPostedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		var n tidings
		asked := func(filter string) { n.note("asked for %s", filter) }
		r.SetCurrent(asking(asked))
		x := open(t, r, window("one", 1))
		obey(t, x, 1)
		n.want(t, "asked for "+commands)
		for _, name := range []string{"a", "b", "c"} {
			takes(t, r, command(name), n.of(name))
		}
		if err := r.Post("alice", Publish{Topic: "dev/alice/alice/cmd/x/y"}, n.of("never")); !errors.Is(err, ErrUnheard) {
			t.Errorf("what nobody has asked for: %v", err)
		}
		wants(t, x, "publish a q1")
		n.want(t, "a written")
		y := open(t, r, persistent("two", 5))
		takes(t, r, command("d"), n.of("d")) // it does not subscribe yet
		n.want(t, "")
		obey(t, y, 1)
		n.want(t, "b lost, c lost, d lost, asked for "+commands)
		takes(t, r, command("e"), n.of("e"))
		wants(t, y, "publish e q1")
		wants(t, x, "")
		x.send(puback(1)) // its own is still acknowledged there
		n.want(t, "e written, a acked")
		y.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{commands}) })
		wants(t, y, "unsuback 2 00")
		takes(t, r, command("f"), n.of("f"))
		wants(t, x, "publish f q1")
		n.want(t, "f written")

		y.close() // it comes back as the newest, and takes nothing that is on the wire
		x2 := open(t, r, window("one", 1))
		n.want(t, "e lost, f lost, asked for "+commands) // in this order: the old links have ended
		takes(t, r, command("g"), n.of("g"))
		wants(t, x2, "publish g q1")
		x2.close()
		n.want(t, "g written, g lost")
	})
}

// asking is told what is asked for, and says nothing.
type asking func(filter string)

func (f asking) Has(filter string) bool { return perViewer(filter) }

func (f asking) Give(_ context.Context, filter, _ string, _ func(Publish) bool) (string, error) {
	f(filter)
	return "", nil
}

// Whoever subscribes and wants nothing retained (MQTT 5, 3.8.3.1) is ready for commands all the same.
func TestCurrentIsAskedOfThingsThoughNothingIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		r.SetCurrent(&lamps{n: 3})
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "dev/alice/+/shadow", Spelling: "dev/+/shadow", RetainHandling: 2})
		wants(t, x, "suback 1 00")
		if n := len(x.link.replays); n != 0 {
			t.Errorf("%d are still to be asked for", n)
		}
		var n tidings
		r.SetCurrent(asking(func(filter string) { n.note("asked for %s", filter) }))
		for id, handling := range []byte{0: 2, 1: 1, 2: 0} {
			x.subscribe(uint16(id+2), Subscription{Filter: commands, RetainHandling: handling})
			wants(t, x, fmt.Sprintf("suback %d 00", id+2))
			n.want(t, "asked for "+commands)
		}
		x.close()
	})
}

func TestAPostWhoseSubscriptionGoesIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := open(t, r, window("lamp", 1))
		obey(t, x, 1)
		var n tidings
		takes(t, r, command("a"), n.of("a"))
		takes(t, r, command("b"), n.of("b"))
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{commands}) })
		wants(t, x, "publish a q1, unsuback 2 00")
		x.send(puback(1))
		n.want(t, "a written, a acked, b lost")
		wants(t, x, "")
		x.close()
	})
}

// Whoever hears of a post may post, also when the link has ended.
func TestWhoIsToldMayPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := open(t, r, window("lamp", 1))
		obey(t, x, 1)
		var n tidings
		o := n.of("a")
		o.Acked = func() { takes(t, r, command("b"), n.of("b")) }
		o.Written = func() { n.note("another: %v", r.Post("alice", command("c"), n.of("c"))) }
		takes(t, r, command("a"), o)
		wants(t, x, "publish a q1")
		x.send(puback(1))
		wants(t, x, "publish c q1")
		last := n.of("d")
		last.Lost = func() { n.note("d: %v", r.Post("alice", command("d"), PostOptions{})) }
		takes(t, r, command("d"), last)
		x.close()
		n.want(t, "another: <nil>, c written, c lost, b lost, d: nobody listens")
	})
}

// Whatever happens at the same time, each post has one end, and what was acknowledged was written before.
func TestEachPostHasOneEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		r.SetCurrent(asking(func(string) {}))
		var n tidings
		taken := map[string]bool{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for who := range 4 {
			wg.Go(func() {
				for i := range rounds(t, 100, 500) {
					name := fmt.Sprintf("p%d-%d", who, i)
					if r.Post("alice", command(name), n.of(name)) == nil {
						mu.Lock()
						taken[name] = true
						mu.Unlock()
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		for who := range 2 {
			wg.Go(func() {
				for range rounds(t, 10, 50) {
					x := open(t, r, window(fmt.Sprint("lamp", who), 3))
					x.subscribe(1, Subscription{Filter: commands, QoS: 1})
					for range 8 {
						time.Sleep(time.Millisecond)
						for _, p := range x.w.take() {
							if p.kind == "publish" && p.publish.ID%4 != 0 {
								x.send(puback(p.publish.ID))
							}
						}
					}
					x.close()
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		ends := map[string]string{}
		for _, line := range n.all {
			name, what, _ := strings.Cut(line, " ")
			ends[name] += what + " "
		}
		for name := range taken {
			switch ends[name] {
			case "written acked ", "written lost ", "lost ":
			default:
				t.Errorf("%s was told: %q", name, ends[name])
			}
		}
		if len(ends) != len(taken) || len(taken) == 0 {
			t.Errorf("%d were taken, and %d were told of", len(taken), len(ends))
		}
	})
}
