package sessions

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestSubackWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		x := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 5))
		store.hold = true
		x.subscribe(1, Subscription{Filter: streamTopic, QoS: 1})
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{streamTopic, streamTopic, "never"}) })
		wants(t, x, "")
		store.release()
		wants(t, x, "suback 1 01, unsuback 2 001111")
	})
}

func TestRefusedFiltersAreNotSubscribed(t *testing.T) {
	for version, tooMany := range map[byte]string{4: "80", 5: "97"} {
		synctest.Test(t, func(t *testing.T) {
			log := &fakeLog{}
			r := newRegistry(newFakeStore(emptyDisk()), log, func(c *Config) { c.Subscriptions = 2 })
			x := open(t, r, persistent("phone", version))
			grants := []Grant{
				{Subscription{Filter: streamTopic, Spelling: streamTopic, QoS: 1}, 0x87},
				{Subscription{Filter: "im/p/a", Spelling: "im/p/a", QoS: 1}, 1},
				{Subscription{Filter: "im/p/b", Spelling: "im/p/b"}, 0},
				{Subscription{Filter: "im/p/c", Spelling: "im/p/c"}, 0},
			}
			x.send(func(l *Link) { _ = l.Subscribe(context.Background(), 1, grants) })
			x.subscribe(2, Subscription{Filter: "im/p/a", QoS: 2}) // is there already
			wants(t, x, "suback 1 870100"+tooMany+", suback 2 02")
			log.grow(r, 1)
			wants(t, x, "")
			for topic, want := range map[string]int{"im/p/a": 1, "im/p/b": 1, "im/p/c": 0} {
				if n := r.Route(Publish{Topic: topic}); n != want {
					t.Errorf("%s goes to %d, want %d", topic, n, want)
				}
			}
		})
	}
}

func TestOverlappingSubscriptionsGiveOneDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1,
			Subscription{Filter: streamTopic, QoS: 0, ID: 7},
			Subscription{Filter: "im/u/alice/#", QoS: 2, ID: 8},
			Subscription{Filter: "im/u/alice/+", QoS: 1},
			Subscription{Filter: "im/p/bob", QoS: 1, ID: 9})
		wants(t, x, "suback 1 00020101")
		log.grow(r, 1)
		got := wants(t, x, "publish 1 q2")
		if ids := got[0].publish.SubscriptionIDs; !slices.Equal(ids, []int{7, 8}) {
			t.Errorf("subscription ids %v, want 7 and 8", ids)
		}
		if n := r.Route(Publish{Topic: streamTopic, Payload: []byte("x")}); n != 1 {
			t.Errorf("routed to %d, want 1", n)
		}
		got = wants(t, x, "publish x q0")
		if ids := got[0].publish.SubscriptionIDs; !slices.Equal(ids, []int{7, 8}) {
			t.Errorf("subscription ids %v, want 7 and 8", ids)
		}
	})
}

func TestTopicIsSpelledAsTheLastSubscribeSpelledIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		x := open(t, r, persistent("phone", 5))
		check := func(id uint16, sub Subscription, want string) {
			t.Helper()
			x.subscribe(id, sub)
			wants(t, x, fmt.Sprintf("suback %d 01", id))
			log.grow(r, 1)
			time.Sleep(3 * syncTime)
			if got := x.w.take(); len(got) != 1 || got[0].publish.Topic != want {
				t.Errorf("%s: %+v, want topic %s", sub.Spelling, got, want)
			}
		}
		check(1, Subscription{Filter: streamTopic, Spelling: "im/u/me/in", QoS: 1}, "im/u/me/in")
		check(2, Subscription{Filter: streamTopic, Spelling: streamTopic, QoS: 1}, streamTopic)
		check(3, Subscription{Filter: "im/u/alice/#", Spelling: "im/u/me/#", QoS: 1}, "im/u/me/in")
		check(4, Subscription{Filter: "im/+/alice/in", QoS: 1}, streamTopic)
		check(5, Subscription{Filter: streamTopic, Spelling: "im/u/me/in", QoS: 1}, "im/u/me/in")
		x.close()
		x = open(t, r, persistent("phone", 5)) // the order survives
		log.grow(r, 1)
		time.Sleep(3 * syncTime)
		for _, p := range x.w.take() {
			if p.publish.Topic != "im/u/me/in" {
				t.Errorf("after a reconnect: %s", p.publish.Topic)
			}
		}
	})
}

func TestRespell(t *testing.T) {
	tests := []struct{ topic, filter, spelling, want string }{
		{"im/u/alice/in", "im/u/alice/in", "im/u/me/in", "im/u/me/in"},
		{"im/u/alice/in", "im/u/alice/#", "im/u/me/#", "im/u/me/in"},
		{"im/u/alice/in/x", "im/+/alice/+/x", "im/+/me/+/x", "im/u/me/in/x"},
		{"im/u/alice", "im/u/alice/#", "im/u/me/#", "im/u/me"},
		{"alice", "alice", "me", "me"},
		{"im/u/alice/in", "im/u/alice/in", "im/u/alice/in", "im/u/alice/in"},
		{"im/u/alice/in", "#", "#", "im/u/alice/in"},
		{"a/b", "a/b", "$share/g/a/b", "$share/b"}, // not a spelling: nothing sensible comes of it, and no panic
		{"im/p/bob/alice", "im/p/bob/alice", "im/p/bob", "im/p/bob"},
		{"im/p/bob/alice", "im/p/+/alice", "im/p/+", "im/p/bob"},
		{"dev/bob/lamp/shadow", "dev/bob/+/shadow", "dev/+/shadow", "dev/lamp/shadow"},
		{"dev/bob/lamp/shadow", "dev/bob/#", "dev/#", "dev/lamp/shadow"},
		{"dev/bob/lamp/shadow", "dev/bob/lamp/#", "dev/lamp/#", "dev/lamp/shadow"},
		{"dev/lamp/lamp/cmd/c1", "dev/lamp/lamp/cmd/+", "dev/me/cmd/+", "dev/me/cmd/c1"},
		{"dev/lamp/lamp/cmd/c1", "dev/lamp/lamp/cmd/+", "dev/lamp/cmd/+", "dev/lamp/cmd/c1"},
		{"dev/lamp/lamp/want", "dev/lamp/lamp/#", "dev/me/#", "dev/me/want"},
		{"dev/lamp/lamp", "dev/lamp/lamp/#", "dev/me/#", "dev/me"},
		{"dev/bob/me/shadow", "dev/bob/+/shadow", "dev/+/shadow", "dev/me/shadow"},
		{"dev/bob", "dev/bob/#", "dev/#", "dev"},
		{"$aws/lamp/things/lamp/shadow/get/accepted", "$aws/lamp/things/lamp/shadow/get/+",
			"$aws/things/lamp/shadow/get/+", "$aws/things/lamp/shadow/get/accepted"},
		{"$aws/lamp/things/lamp/shadow/name/x/update/delta", "$aws/lamp/things/#", "$aws/things/#",
			"$aws/things/lamp/shadow/name/x/update/delta"},
		{"", "", "me", "me"},
		{"a", "a/b/c", "a/b/d", "a"},
	}
	for _, tt := range tests {
		if got := Respell(tt.topic, tt.filter, tt.spelling); got != tt.want {
			t.Errorf("Respell(%q, %q, %q) = %q, want %q", tt.topic, tt.filter, tt.spelling, got, tt.want)
		}
	}
}

func TestSubscribingAgainKeepsTheCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		r := newRegistry(newFakeStore(emptyDisk()), log)
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		x := streaming(t, r, c, 1)
		log.grow(r, 3)
		wants(t, x, "publish 1 q1")
		x.subscribe(2, Subscription{Filter: streamTopic, QoS: 2})
		wants(t, x, "suback 2 02")
		x.send(puback(1))
		wants(t, x, "publish 2 q2")
		x.subscribe(3, Subscription{Filter: "im/u/alice/+", QoS: 1})
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 4, []string{streamTopic}) })
		wants(t, x, "suback 3 01, unsuback 4 00") // still covered
		x.send(func(l *Link) { l.Pubrec(2, 0) })
		wants(t, x, "pubrel 2")
		x.send(func(l *Link) { l.Pubcomp(2) })
		wants(t, x, "publish 3 q1")
	})
}

func TestUnsubscribeGivesTheCursorUp(t *testing.T) {
	for _, qos := range []byte{0, 1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newFakeStore(emptyDisk()), &fakeLog{}
			r := newRegistry(store, log)
			c := persistent("phone", 5)
			c.ReceiveMaximum = 2
			x := streaming(t, r, c, qos)
			log.grow(r, 5)
			time.Sleep(3 * syncTime)
			x.w.take()
			x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{streamTopic}) })
			wants(t, x, "unsuback 2 00")
			log.grow(r, 5)
			wants(t, x, "")
			if st, _ := store.stored(alice("phone")); st.Streaming {
				t.Error("stored as streaming")
			}
			x.subscribe(3, Subscription{Filter: streamTopic, QoS: qos})
			wants(t, x, fmt.Sprintf("suback 3 %02x", qos))
			log.grow(r, 2)
			switch qos { // what had been sent still fills the window
			case 0:
				wants(t, x, "publish 11 q0, publish 12 q0")
			case 1:
				wants(t, x, "")
				x.send(puback(1, 2))
				wants(t, x, "publish 11 q1, publish 12 q1")
			case 2:
				wants(t, x, "")
				x.send(func(l *Link) { l.Pubrec(1, 0); l.Pubcomp(1); l.Pubrec(2, 0x80) })
				wants(t, x, "pubrel 1, publish 11 q2, publish 12 q2")
			}
		})
	}
}

func TestUnsubscribeWhileFlightsAreBeingStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		x := streaming(t, r, persistent("phone", 5), 2)
		log.grow(r, 1)
		wants(t, x, "publish 1 q2")
		store.mu.Lock()
		store.hold = true
		store.mu.Unlock()
		x.send(func(l *Link) { l.Pubrec(1, 0) })
		log.grow(r, 3)
		synctest.Wait()
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{streamTopic}) })
		synctest.Wait()
		store.release()
		wants(t, x, "pubrel 1, unsuback 2 00")
		if n := x.link.inFlight; n != 1 {
			t.Errorf("%d in flight, want the one whose PUBCOMP has not come", n)
		}
		if st, _ := store.stored(alice("phone")); len(st.Flights) > 1 {
			t.Errorf("stored flights %v", st.Flights)
		}
	})
}

func TestRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.HighWater = 10 })
		x, y, z := open(t, r, persistent("x", 5)), open(t, r, persistent("y", 4)), open(t, r, persistent("z", 5))
		x.subscribe(1, Subscription{Filter: "im/p/bob", RetainAsPublished: true})
		y.subscribe(1, Subscription{Filter: "im/p/+", QoS: 2}, Subscription{Filter: "im/#"})
		z.subscribe(1, Subscription{Filter: "im/p/carol"})
		for _, c := range []*conn{x, y, z} {
			time.Sleep(3 * syncTime)
			c.w.take()
		}
		p := Publish{Topic: "im/p/bob", Payload: []byte("online"), Retain: true, QoS: 1, ID: 9, Dup: true}
		if n := r.Route(p); n != 2 {
			t.Errorf("routed to %d, want 2", n)
		}
		got := wants(t, x, "publish online q0")[0].publish
		if !got.Retain || got.ID != 0 {
			t.Errorf("%+v", got)
		}
		if got = wants(t, y, "publish online q0")[0].publish; got.Retain {
			t.Errorf("%+v", got)
		}
		y.w.stall(true)
		for range 3 {
			r.Route(p)
		}
		if n := r.Route(p); n != 1 {
			t.Errorf("routed to %d while one is full, want 1", n)
		}
		y.w.stall(false)
		if n := r.Route(p); n != 2 {
			t.Errorf("routed to %d, want 2", n)
		}
		x.close()
		y.close()
		if n := r.Route(p); n != 0 {
			t.Errorf("routed to %d disconnected sessions", n)
		}
		z.close()
		if n := (r.routes.Len() + r.lives.Len()); n != 0 {
			t.Errorf("%d filters left in the index", n)
		}
	})
}
