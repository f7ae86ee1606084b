package sessions

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestACutDuringAReplayRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		say(t, r, retain("t/1", 2, "one"))
		say(t, r, retain("t/2", 2, "two"))
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "t/+", QoS: 2})
		wantsUntil(t, store, func() bool { // the page is in the queue, and not on the disk
			return len(store.applied.queues[x.link.Number()]) == 2
		})
		x.close()
		store.setHold(false)
		y := open(t, r, persistent("phone", 5))
		wants(t, y, "publish one q2, publish two q2")
	})
}

// wantsUntil lets writes become durable one at a time until something is so, and holds the store then.

func wantsUntil(t *testing.T, f *fakeStore, ok func() bool) {
	t.Helper()
	f.setHold(true)
	for range 100 {
		synctest.Wait()
		f.mu.Lock()
		if ok() {
			f.mu.Unlock()
			return
		}
		if len(f.pending) > 0 {
			f.keepLocked(1)
		}
		f.mu.Unlock()
	}
	t.Fatal("it never is so")
}

func TestASubscribeDuringAReplayRepeatsNothingAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		say(t, r, retain("t/1", 2, "one"))
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "t/+", QoS: 2})
		wantsUntil(t, store, func() bool { return len(store.applied.queues[x.link.Number()]) == 1 })
		x.subscribe(2, Subscription{Filter: "u/+", QoS: 2})
		synctest.Wait()
		store = restart(store)
		x.close()
		y := open(t, newRegistry(store, &fakeLog{}), persistent("phone", 5))
		wants(t, y, "publish one q2")
	})
}

func TestAReplayIsNotBroughtBackByTheEndOfItsPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		for i := range 2 * replayChunk {
			say(t, r, retain(fmt.Sprintf("t/%03d", i), 1, fmt.Sprint(i)))
		}
		x := open(t, r, persistent("phone", 5))
		store.onRetained = func() { // a page has been read, and is not in the queue yet
			store.onRetained = nil
			x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{"t/+"}) })
			time.Sleep(5 * syncTime)
		}
		x.subscribe(1, Subscription{Filter: "t/+", QoS: 1})
		time.Sleep(20 * syncTime)
		synctest.Wait()
		if st, _ := store.stored(alice("phone")); len(st.Replays) != 0 {
			t.Errorf("%d replays are stored for filters that are not subscribed", len(st.Replays))
		}
	})
}

func TestAReplayDoesNotPutAnOldMessageBehindANewOne(t *testing.T) {
	for qos := range byte(3) {
		t.Run(fmt.Sprint("qos ", qos), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore(emptyDisk())
				r := newRegistry(store, &fakeLog{})
				say(t, r, retain("t", qos, "old"))
				x := open(t, r, persistent("phone", 5))
				store.onRetained = func() { // it has been read, and is not in the queue yet
					store.onRetained = nil
					say(t, r, retain("t", qos, "new"))
				}
				x.subscribe(1, Subscription{Filter: "t", QoS: qos})
				time.Sleep(20 * syncTime)
				synctest.Wait()
				got := x.w.take()
				if last := got[len(got)-1]; string(last.publish.Payload) != "new" {
					t.Errorf("packets: got %q, want the new one last", describe(got))
				}
			})
		})
	}
}

func TestARetainedMessageMayBeReplacedAtTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.Retained = 1 })
		say(t, r, retain("t", 1, "one"))
		if err := trySay(r, retain("t", 1, "two")); err != nil {
			t.Errorf("replace: %v", err)
		}
		if err := trySay(r, retain("u", 1, "three")); !errors.Is(err, ErrRetainedFull) {
			t.Errorf("one more: got %v, want %v", err, ErrRetainedFull)
		}
	})
}

func TestAReplayFitsIntoASessionThatEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.VolatileCount = 3 })
		for i := range 5 {
			say(t, r, retain(fmt.Sprintf("t/%d", i), 1, fmt.Sprint(i)))
		}
		x := open(t, r, volatile("phone"))
		x.subscribe(1, Subscription{Filter: "t/+", QoS: 1})
		wants(t, x, "suback 1 01, publish 0 q1, publish 1 q1, publish 2 q1, publish 3 q1, publish 4 q1")
	})
}

func TestARetainedMessageThatIsOlderThanQueuesKeepIsReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{}, func(c *Config) { c.Queue.Age = time.Hour })
		say(t, r, retain("t", 1, "old"))
		time.Sleep(2 * time.Hour)
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		x := open(t, r, c)
		x.subscribe(1, Subscription{Filter: "t", QoS: 1})
		wants(t, x, "suback 1 01, publish old q1")
		x.close()
		wants(t, open(t, r, c), "publish old q1 dup") // from the store
	})
}
