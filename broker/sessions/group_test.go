package sessions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

func TestASessionThatMayNotShareAnyMoreTakesNothingFromTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		bob := persistent("lamp", 5)
		bob.Key.Account = "bob"
		subscribed(t, r, persistent("phone", 5), Subscription{Filter: shared, QoS: 1}).close()
		subscribed(t, r, bob, Subscription{Filter: shared, QoS: 1}).close()
		time.Sleep(10 * syncTime)
		store = restart(store)
		r = New(DefaultConfig(), store, &fakeLog{}, quiet())
		r.SetGrants(func(who accounts.Name, _ bool, _ string) bool { return who == "bob" })
		if err := r.Load(context.Background()); err != nil {
			t.Fatal(err)
		}
		say(t, r, to("t", 1, "waits"))
		if err := r.Drop(context.Background(), alice("phone")); err != nil {
			t.Fatal(err)
		}
		wants(t, open(t, r, bob), "publish waits q1")
	})
}

const shared = "$share/g/t"

func sharing(t *testing.T, r *Registry, c Connect, qos byte) *conn {
	t.Helper()
	return subscribed(t, r, c, Subscription{Filter: shared, QoS: qos})
}

func TestAGroupTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x, y := sharing(t, r, volatile("a"), 1), sharing(t, r, persistent("b", 5), 1)
		for _, text := range []string{"1", "2", "3", "4"} {
			say(t, r, to("t", 1, text))
		}
		synctest.Wait()
		a, b := x.w.take(), y.w.take()
		if len(a) != 2 || len(b) != 2 {
			t.Errorf("packets: got %q and %q, want two each", describe(a), describe(b))
		}
	})
}

func TestAMemberWithAFullWindowIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		c := persistent("a", 5)
		c.ReceiveMaximum = 1
		x := sharing(t, r, c, 1)
		say(t, r, to("t", 1, "1"))
		say(t, r, to("t", 1, "2")) // waits
		wants(t, x, "publish 1 q1")
		y := open(t, r, persistent("b", 5))
		y.subscribe(1, Subscription{Filter: shared, QoS: 1})
		wants(t, y, "suback 1 01, publish 2 q1")
		say(t, r, to("t", 1, "3"))
		wants(t, y, "publish 3 q1")
		wants(t, x, "")
	})
}

func TestWhatAMemberDidNotAcknowledgeGoesToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := sharing(t, r, persistent("a", 5), 1)
		for _, text := range []string{"1", "2", "3"} {
			say(t, r, to("t", 1, text))
		}
		got := wants(t, x, "publish 1 q1, publish 2 q1, publish 3 q1")
		y := sharing(t, r, persistent("b", 5), 1)
		x.send(puback(got[1].publish.ID))
		wants(t, x, "")
		x.close()
		wants(t, y, "publish 1 q1, publish 3 q1")
	})
}

func TestAGroupKeepsWhatWaitsOverACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := sharing(t, r, persistent("a", 5), 1)
		say(t, r, to("t", 1, "1"))
		got := wants(t, x, "publish 1 q1")
		x.send(puback(got[0].publish.ID))
		wants(t, x, "")
		x.close()
		time.Sleep(2 * advanceEvery) // what is done is removed
		say(t, r, to("t", 1, "2"))
		store = restart(store)
		r = newRegistry(store, &fakeLog{})
		say(t, r, to("t", 1, "3"))
		wants(t, open(t, r, persistent("a", 5)), "publish 2 q1, publish 3 q1")
	})
}

// What a session has taken of QoS 2 is completed there, and nowhere else (MQTT 5, 4.8.2).
func TestQoS2OfAGroupStaysWithItsSession(t *testing.T) {
	for _, crash := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore(emptyDisk())
			r := newRegistry(store, &fakeLog{})
			x := sharing(t, r, persistent("a", 5), 2)
			say(t, r, to("t", 2, "1"))
			wants(t, x, "publish 1 q2")
			y := sharing(t, r, persistent("b", 5), 2)
			if crash {
				store = restart(store)
				x.close()
				y.close()
				r = newRegistry(store, &fakeLog{})
				y = open(t, r, persistent("b", 5))
			} else {
				x.close()
			}
			wants(t, y, "")
			wants(t, open(t, r, persistent("a", 5)), "publish 1 q2 dup")
		})
	}
}

func TestWithItsLastSessionAGroupGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := sharing(t, r, persistent("a", 5), 1)
		x.close()
		say(t, r, to("t", 1, "waits"))
		x = open(t, r, Connect{Key: alice("a"), CleanStart: true, ExpirySeconds: 3600})
		say(t, r, to("t", 1, "for nobody"))
		x.subscribe(1, Subscription{Filter: shared, QoS: 1})
		wants(t, x, "suback 1 01")
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{shared}) })
		wants(t, x, "unsuback 2 00")
		store.mu.Lock()
		defer store.mu.Unlock()
		if n := len(store.durable.groups); n != 0 || r.routes.Len() != 0 {
			t.Errorf("%d groups and %d filters are left", n, r.routes.Len())
		}
	})
}
