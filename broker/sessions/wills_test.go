package sessions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheEndOfAnOldWillLeavesTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		handed, goOn := make(chan struct{}), make(chan struct{})
		r.SetWillHandler(func(ctx context.Context, w Will, from Number, origin any) Outcome {
			if string(w.Publish.Payload) == "old" {
				close(handed)
				<-goOn
			}
			out, err := r.Publish(ctx, Posting{Message: said(w.Publish, w.Key), From: from, Origin: origin})
			if err != nil {
				t.Error(err)
			}
			return Outcome{Commit: out.Commit, Deliver: out.Deliver}
		})
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- r.Run(ctx) }()
		c := persistent("phone", 5)
		c.Will = &Will{Publish: to("will", 1, "old"), DelaySeconds: 1}
		open(t, r, c).close()
		<-handed
		c.Will = &Will{Publish: to("will", 1, "new")}
		opened := make(chan *conn)
		go func() {
			x, err := tryOpen(r, c)
			if err != nil {
				t.Error(err)
			}
			opened <- x
		}()
		time.Sleep(5 * syncTime)
		close(goOn)
		x := <-opened
		time.Sleep(10 * syncTime)
		synctest.Wait()
		store.mu.Lock()
		w, found := store.durable.wills[c.Key]
		store.mu.Unlock()
		if !found || string(w.Publish.Payload) != "new" {
			t.Errorf("stored will: %q, want the new one", w.Publish.Payload)
		}
		x.close()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// willing is a registry that publishes wills, whose clock runs until the end of the test.
func willing(t *testing.T, store *fakeStore) (r *Registry, halt func()) {
	t.Helper()
	r = newRegistry(store, &fakeLog{})
	r.SetWillHandler(func(ctx context.Context, w Will, from Number, origin any) Outcome {
		out, err := r.Publish(ctx, Posting{Message: said(w.Publish, w.Key), From: from, Origin: origin})
		if err != nil {
			return Outcome{Fatal: reasonBusy}
		}
		return Outcome{Commit: out.Commit, Deliver: out.Deliver}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}
}

func TestWhenAWillIsPublished(t *testing.T) {
	leaving := persistent("lamp", 5)
	leaving.Will = &Will{Publish: to("t", 1, "gone"), DelaySeconds: 10}
	back := persistent("lamp", 5)
	tests := map[string]struct {
		expiry uint32
		then   func(t *testing.T, r *Registry)
		want   string
	}{
		"not before its delay":        {3600, func(*testing.T, *Registry) { time.Sleep(9 * time.Second) }, ""},
		"after its delay, once":       {3600, func(*testing.T, *Registry) { time.Sleep(30 * time.Second) }, "publish gone q1"},
		"with the end of the session": {5, func(*testing.T, *Registry) { time.Sleep(6 * time.Second) }, "publish gone q1"},
		"not when it goes on": {3600, func(t *testing.T, r *Registry) {
			open(t, r, back)
			time.Sleep(30 * time.Second)
		}, ""},
		"when it begins anew": {3600, func(t *testing.T, r *Registry) {
			c := back
			c.CleanStart = true
			open(t, r, c)
		}, "publish gone q1"},
		"when it is dropped": {3600, func(t *testing.T, r *Registry) {
			if err := r.Drop(context.Background(), leaving.Key); err != nil {
				t.Error(err)
			}
		}, "publish gone q1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, halt := willing(t, newFakeStore(emptyDisk()))
				x := subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 1})
				c := leaving
				c.ExpirySeconds = tt.expiry
				open(t, r, c).close()
				tt.then(t, r)
				wants(t, x, tt.want)
				halt()
			})
		})
	}
}

func TestAWillOutlivesACrash(t *testing.T) {
	for _, connected := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore(emptyDisk())
			r, halt := willing(t, store)
			subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 1}).close()
			c := persistent("lamp", 5)
			c.Will = &Will{Publish: to("t", 1, "gone"), DelaySeconds: 5}
			x := open(t, r, c)
			if !connected {
				x.close()
				time.Sleep(10 * syncTime)
			}
			store = restart(store)
			halt()
			x.close()
			r, halt = willing(t, store)
			time.Sleep(2 * beatEvery)
			wants(t, open(t, r, persistent("phone", 5)), "publish gone q1")
			store.mu.Lock()
			if n := len(store.durable.wills); n != 0 {
				t.Errorf("%d wills are left", n)
			}
			store.mu.Unlock()
			halt()
		})
	}
}

func TestAWillWhoseSessionIsBusyHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, halt := willing(t, newFakeStore(emptyDisk()))
		x := subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 1})
		for _, client := range []string{"busy", "lamp"} {
			c := persistent(client, 5)
			c.Will = &Will{Publish: to("t", 1, client), DelaySeconds: 1}
			open(t, r, c).close()
		}
		unlock, ok := r.locks.tryLock(alice("busy"))
		if !ok {
			t.Fatal("somebody has the key")
		}
		time.Sleep(2 * time.Second)
		wants(t, x, "publish lamp q1")
		unlock()
		time.Sleep(time.Second)
		wants(t, x, "publish busy q1")
		halt()
	})
}

func TestAWillIsPublishedOnceThoughTheConnectThatEndsItsSessionIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		r.SetWillHandler(func(ctx context.Context, w Will, from Number, origin any) Outcome {
			out, err := r.Publish(ctx, Posting{Message: said(w.Publish, w.Key), From: from, Origin: origin})
			if err != nil {
				t.Error(err)
			}
			return Outcome{Commit: out.Commit, Deliver: out.Deliver}
		})
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- r.Run(ctx) }()
		bob := Connect{Key: Key{Account: "bob", Client: "b"}, ExpirySeconds: 3600}
		x := subscribed(t, r, bob, Subscription{Filter: "will", QoS: 2})
		c := persistent("phone", 5)
		c.Will = &Will{Publish: to("will", 2, "offline"), DelaySeconds: 60}
		open(t, r, c).close()
		time.Sleep(10 * time.Second)
		again := persistent("phone", 5)
		again.CleanStart = true

		// The session is dropped, the will gets its place in bob's queue, and the socket dies before that is durable.
		store.setHold(true)
		cut, die := context.WithCancel(context.Background())
		got := make(chan error)
		again.Wire, again.Version = newWire(), 5
		go func() {
			_, err := r.Connect(cut, again)
			got <- err
		}()
		for range 100 {
			synctest.Wait()
			store.mu.Lock()
			n := len(store.applied.queues[x.link.Number()])
			if n == 0 && len(store.pending) > 0 {
				store.keepLocked(1)
			}
			store.mu.Unlock()
			if n > 0 {
				break
			}
		}
		die()
		synctest.Wait()
		store.setHold(false)
		t.Logf("Connect: %v", <-got) // cut, or not
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		store.mu.Lock()
		n := len(store.durable.queues[x.link.Number()])
		store.mu.Unlock()
		if n != 1 {
			t.Errorf("the will is %d times in the queue", n)
		}
		x.close()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

func TestAWillThatIsDueIsPublishedThoughItsClientComesBackAtThatMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, halt := willing(t, newFakeStore(emptyDisk()))
		x := subscribed(t, r, persistent("watcher", 5), Subscription{Filter: "will", QoS: 1})
		c := persistent("phone", 5)
		c.Will = &Will{Publish: to("will", 1, "gone"), DelaySeconds: 1}
		open(t, r, c).close()
		unlock, ok := r.locks.tryLock(c.Key) // as a CONNECT has it that takes its time
		if !ok {
			t.Fatal("somebody has the key")
		}
		time.Sleep(2 * time.Second)
		back := make(chan *conn)
		go func() { back <- open(t, r, persistent("phone", 5)) }()
		synctest.Wait()
		unlock()
		<-back
		wants(t, x, "publish gone q1")
		halt()
	})
}
