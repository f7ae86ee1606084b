package sessions

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// free publishes as the hooks do: what a client says on a free topic.
func free(r *Registry) Handler {
	return func(ctx context.Context, l *Link, p Publish, origin any) Outcome {
		out, err := r.Publish(ctx, Posting{Message: said(p, l.Key()), From: l.Number(), Origin: origin})
		if err != nil {
			return Outcome{Reply: Reply{Reason: reasonQuotaExceeded}}
		}
		return Outcome{Commit: out.Commit, Deliver: out.Deliver}
	}
}

func said(p Publish, from Key) *Message {
	m := &Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, From: from, Time: time.Now()}
	if p.Expiry > 0 {
		m.Expires = m.Time.Add(time.Duration(p.Expiry) * time.Second)
	}
	return m
}

// say publishes as the server, and waits until it is delivered.
func say(t testing.TB, r *Registry, p Publish) {
	t.Helper()
	if err := trySay(r, p); err != nil {
		t.Fatalf("publish %s to %s: %v", p.Payload, p.Topic, err)
	}
}

func trySay(r *Registry, p Publish) error {
	out, err := r.Publish(context.Background(), Posting{Message: said(p, Key{})})
	if err != nil {
		return err
	}
	if err := wait(context.Background(), out.Commit); err != nil {
		return err
	}
	if out.Deliver != nil {
		out.Deliver()
	}
	return nil
}

func to(topic string, qos byte, text string) Publish {
	return Publish{Topic: topic, QoS: qos, Payload: []byte(text)}
}

func retain(topic string, qos byte, text string) Publish {
	p := to(topic, qos, text)
	p.Retain = true
	return p
}

func (f *fakeStore) setHold(on bool) {
	if !on {
		f.release()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold = true
}

// restart is a crash after which everything that was written is there.
func restart(f *fakeStore) *fakeStore {
	return newFakeStore(f.crash(func(pending int) int { return pending }))
}

// subscribed is a connection with these subscriptions.
func subscribed(t *testing.T, r *Registry, c Connect, subs ...Subscription) *conn {
	t.Helper()
	x := open(t, r, c)
	x.subscribe(1, subs...)
	time.Sleep(3 * syncTime)
	synctest.Wait()
	if got := x.w.take(); len(got) == 0 || got[0].kind != "suback" {
		t.Fatalf("packets: got %q, want a SUBACK", describe(got))
	}
	return x
}

func volatile(client string) Connect {
	c := persistent(client, 5)
	c.ExpirySeconds, c.CleanStart = 0, true
	return c
}

func TestQoS0IsInOrderAlsoWhereSomeOfItIsRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := subscribed(t, r, volatile("phone"), Subscription{Filter: "t", QoS: 0})
		y := open(t, r, volatile("lamp"))
		y.publish(retain("t", 0, "first"), free(r))
		y.publish(to("t", 0, "second"), free(r))
		wants(t, x, "publish first q0, publish second q0")
	})
}

// The final copies of messages of QoS 1 come in the order in which they were published (MQTT 5, 4.6).
func TestWhatIsSentAgainKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := subscribed(t, r, volatile("phone"), Subscription{Filter: "t", QoS: 1})
		y := open(t, r, persistent("lamp", 5))
		first, second := to("t", 1, "first"), to("t", 1, "second")
		first.ID, second.ID = 1, 2
		y.w.cutAfter(1) // the first PUBACK reaches the wire, and may not reach the client
		y.publish(first, free(r))
		y.publish(second, free(r))
		<-y.done
		wants(t, x, "publish first q1, publish second q1")
		y = open(t, r, persistent("lamp", 5))
		y.publish(again(first), free(r))
		y.publish(again(second), free(r))
		wants(t, y, "puback 1, puback 2")
		wants(t, x, "publish first q1, publish second q1")
	})
}

func TestAQueueGoesOnFromTheStoreWhereItsEndInMemoryBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		store.instant = true
		r := newRegistry(store, &fakeLog{})
		x := subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 1})
		rec := newReceiver(t, 5, 64)
		rec.connected()
		total := uint64(3 * tailCount)
		for n := range total {
			say(t, r, to("t", 1, strconv.FormatUint(n+1, 10)))
			if n%100 == 0 && n < tailCount { // then the client stalls
				rec.serve(x)
			}
		}
		if n := x.link.tail.entries.len(); n > tailCount {
			t.Errorf("%d entries are in memory, want %d at most", n, tailCount)
		}
		rec.until(x, total)
	})
}

func TestOldestGoOrThePublisherIsRefusedAtTheBoundOfAQueue(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			bound := func(c *Config) { c.Queue.Count, c.Queue.Refuse = 2, refuse }
			r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, bound)
			subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 1}).close()
			say(t, r, to("t", 1, "1"))
			say(t, r, to("t", 1, "2"))
			want := "publish 2 q1, publish 3 q1"
			if err := trySay(r, to("t", 1, "3")); refuse {
				want = "publish 1 q1, publish 2 q1"
				if !errors.Is(err, ErrQueueFull) {
					t.Errorf("got %v, want %v", err, ErrQueueFull)
				}
			} else if err != nil {
				t.Error(err)
			}
			wants(t, open(t, r, persistent("phone", 5)), want)
			if n := counted(t, r.metrics.drops[dropQueueFull]); n != 1 { // there was nobody to send it again
				t.Errorf("%v dropped, want the one", n)
			}
		})
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestASessionThatEndsWithItsConnectionIsEndedAtTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.VolatileCount, c.Window = 3, 1 })
		x := subscribed(t, r, volatile("phone"), Subscription{Filter: "t", QoS: 1})
		for _, text := range []string{"1", "2", "3", "4", "5", "6"} {
			say(t, r, to("t", 1, text))
			synctest.Wait()
		}
		got := x.w.take()
		if last := got[len(got)-1]; last.kind != "disconnect" || last.reason != reasonQuotaExceeded {
			t.Errorf("packets: got %q, want a disconnect with 0x97 in the end", describe(got))
		}
	})
}

func TestASessionMayEndWithItsNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 2}).close()
		say(t, r, to("t", 2, "1"))
		c := persistent("phone", 5)
		c.ExpirySeconds = 0
		x := open(t, r, c)
		wants(t, x, "publish 1 q2")
		say(t, r, to("t", 2, "2"))
		wants(t, x, "publish 2 q2")
		x.close()
		say(t, r, to("t", 2, "3"))
		x = open(t, r, c)
		wants(t, x, "")
		if x.link.Present() || r.routes.Len() != 0 {
			t.Errorf("present: %v, %d filters are left", x.link.Present(), r.routes.Len())
		}
	})
}

func TestWhatHasExpiredIsNotSentForTheFirstTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 1}).close()
		p := to("t", 1, "short")
		p.Expiry = 10
		say(t, r, p)
		p.Payload, p.Expiry = []byte("long"), 100
		say(t, r, p)
		time.Sleep(20 * time.Second)
		got := wants(t, open(t, r, persistent("phone", 5)), "publish long q1")
		if left := got[0].publish.Expiry; left < 79 || left > 81 {
			t.Errorf("expiry: %d s are left of 100, 20 s later", left)
		}
	})
}

func TestStreamAndQueueAreResentInTheOrderInWhichTheyWereSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		x := subscribed(t, r, persistent("phone", 5), Subscription{Filter: streamTopic, QoS: 1}, Subscription{Filter: "t", QoS: 1})
		log.grow(r, 1)
		wants(t, x, "publish 1 q1")
		say(t, r, to("t", 1, "a"))
		wants(t, x, "publish a q1")
		log.grow(r, 1)
		wants(t, x, "publish 2 q1")
		say(t, r, to("t", 1, "b"))
		wants(t, x, "publish b q1")
		x.close()
		wants(t, open(t, r, persistent("phone", 5)), "publish 1 q1 dup, publish a q1 dup, publish 2 q1 dup, publish b q1 dup")
	})
}

func TestASessionGetsAMessageOnceHoweverManyFiltersMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t/#", QoS: 1, ID: 1},
			Subscription{Filter: "t/+", QoS: 2, ID: 2}, Subscription{Filter: "t/a", QoS: 0, ID: 3, NoLocal: true})
		x.publish(Publish{Topic: "t/a", QoS: 2, ID: 9, Payload: []byte("own")}, free(r))
		got := wants(t, x, "pubrec 9, publish own q2")
		ids := got[1].publish.SubscriptionIDs
		if slices.Sort(ids); !slices.Equal(ids, []int{1, 2}) {
			t.Errorf("identifiers: got %v, want 1 and 2", ids)
		}
	})
}
