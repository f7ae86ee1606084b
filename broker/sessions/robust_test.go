package sessions

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// tryCut connects and cuts the connection while the CONNECT waits for the disk.
func tryCut(t *testing.T, r *Registry, store *fakeStore, c Connect) {
	t.Helper()
	store.setHold(true)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error)
	c.Wire, c.Version = newWire(), 5
	go func() {
		_, err := r.Connect(ctx, c)
		got <- err
	}()
	synctest.Wait()
	cancel()
	if err := <-got; err == nil {
		t.Fatal("Connect did not wait for the disk")
	}
	store.setHold(false)
	time.Sleep(10 * syncTime)
}

func TestAConnectThatIsCutKeepsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		time.Sleep(2 * time.Hour) // the process is older than the session's expiry
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "t", QoS: 1})
		synctest.Wait()
		x.close()
		time.Sleep(10 * syncTime)
		say(t, r, to("t", 1, "waits"))
		tryCut(t, r, store, persistent("phone", 5))
		if _, err := r.sweep(context.Background(), Key{}); err != nil {
			t.Fatal(err)
		}
		y := open(t, r, persistent("phone", 5))
		if !y.link.Present() {
			t.Error("the session is gone a moment after it was left, and its queue with it")
		}
		wants(t, y, "publish waits q1 dup") // as after a crash
	})
}

func TestAConnectThatIsCutDoesNotCancelTheWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		fired := make(chan string, 10)
		r.SetWillHandler(func(_ context.Context, w Will, _ Number, _ any) Outcome {
			fired <- string(w.Publish.Payload)
			return Outcome{}
		})
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- r.Run(ctx) }()
		c := persistent("phone", 5)
		c.Will = &Will{Publish: to("will", 1, "offline"), DelaySeconds: 60}
		open(t, r, c).close()
		time.Sleep(10 * time.Second)
		tryCut(t, r, store, c)
		time.Sleep(2 * time.Minute)
		select {
		case <-fired:
		default:
			t.Error("nobody has connected for two minutes, and the will of a delay of one is not published")
		}
		store.mu.Lock()
		left := len(store.durable.wills)
		store.mu.Unlock()
		if left != 0 {
			t.Errorf("%d wills are still stored", left)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

func restartWith(t *testing.T, store *fakeStore, may func(accounts.Name, bool, string) bool) (*fakeStore, *Registry) {
	t.Helper()
	store = restart(store)
	r := New(DefaultConfig(), store, &fakeLog{}, quiet())
	r.SetGrants(may)
	if err := r.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * syncTime)
	return store, r
}

func all(accounts.Name, bool, string) bool  { return true }
func none(accounts.Name, bool, string) bool { return false }

func TestASharedFilterThatIsGrantedAgainIsThereAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "$share/g/t", QoS: 1})
		synctest.Wait()
		time.Sleep(10 * syncTime)
		x.close()
		time.Sleep(10 * syncTime)
		store, _ = restartWith(t, store, none) // a mistake in the configuration
		_, r = restartWith(t, store, all)      // is mended
		y := open(t, r, persistent("phone", 5))
		y.subscribe(2, Subscription{Filter: "$share/g/t", QoS: 1}) // as clients do
		synctest.Wait()
		time.Sleep(10 * syncTime)
		y.w.take()
		say(t, r, to("t", 1, "shared"))
		wants(t, y, "publish shared q1")
	})
}

func TestWhatIsNotGrantedAnyMoreIsNotReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		for i := range 3 * replayChunk {
			say(t, r, retain(fmt.Sprintf("t/%03d", i), 1, fmt.Sprint(i)))
		}
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		x := open(t, r, c)
		x.subscribe(1, Subscription{Filter: "t/+", QoS: 1})
		time.Sleep(10 * syncTime)
		synctest.Wait()
		x.close()
		time.Sleep(10 * syncTime)
		st, _ := store.stored(c.Key)
		if len(st.Replays) == 0 {
			t.Fatal("the replay is over")
		}
		after := st.Replays[0].After
		_, r = restartWith(t, store, none)
		y := open(t, r, persistent("phone", 5))
		acks(y)
		time.Sleep(time.Second)
		synctest.Wait()
		got := y.w.take()
		y.close()
		n := 0
		for _, p := range got {
			if p.kind == "publish" && p.publish.Topic > after {
				n++
			}
		}
		if n > 0 {
			t.Errorf("%d retained messages were looked up and sent that nobody has granted since the start", n)
		}
	})
}

func acks(c *conn) {
	c.send(func(l *Link) {
		for range 200 {
			for id := uint16(1); id < 200; id++ {
				l.Puback(id, 0)
			}
			time.Sleep(syncTime)
		}
	})
}

func TestAReplayComesToItsEndWhileMuchIsRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		say(t, r, retain("t/1", 1, "one"))
		reads := 0
		store.onRetained = func() {
			if reads++; reads > 20 {
				return
			}
			for i := range 600 { // of other topics, while the disk is waited for
				p := retain(fmt.Sprintf("other/%d", i), 1, "x")
				if _, err := r.Publish(context.Background(), Posting{Message: said(p, Key{})}); err != nil {
					t.Error(err)
				}
			}
		}
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "t/+", QoS: 1})
		time.Sleep(time.Second)
		synctest.Wait()
		if reads > 5 {
			t.Errorf("one retained message was read %d times", reads)
		}
	})
}

func breaks(f *fakeStore, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func TestACleanStartThatFailsLeavesTheSessionAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := subscribed(t, r, persistent("phone", 5), Subscription{Filter: "t", QoS: 1})
		x.close()
		time.Sleep(10 * syncTime)
		breaks(store, ErrUnavailable)
		c := persistent("phone", 5)
		c.CleanStart = true
		if _, err := tryOpen(r, c); err == nil {
			t.Fatal("connected")
		}
		breaks(store, nil)
		y := open(t, r, persistent("phone", 5))
		if !y.link.Present() {
			t.Skip("the session is gone, which is as well")
		}
		say(t, r, to("t", 1, "x"))
		wants(t, y, "publish x q1")
	})
}

func TestASubscribeThatFailsCountsInNoGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		keep := subscribed(t, r, Connect{Key: Key{Account: "bob", Client: "b"}, ExpirySeconds: 3600},
			Subscription{Filter: "$share/g/t", QoS: 1})
		x := open(t, r, persistent("phone", 5))
		breaks(store, ErrUnavailable)
		x.subscribe(1, Subscription{Filter: "$share/g/t", QoS: 1}, Subscription{Filter: "$share/new/t", QoS: 1})
		synctest.Wait()
		breaks(store, nil)
		x.close()
		keep.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{"$share/g/t"}) })
		time.Sleep(10 * syncTime)
		synctest.Wait()
		if g := r.groupOf("$share/g/t"); g != nil {
			t.Errorf("the group still counts %d sessions, nobody subscribes to it", g.sessions)
		}
	})
}

func TestAGroupThatNobodyTakesFromKeepsNothingInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		store.instant = true
		r := newRegistry(store, &fakeLog{})
		subscribed(t, r, persistent("phone", 5), Subscription{Filter: "$share/g/t", QoS: 1}).close()
		for range 100 {
			say(t, r, Publish{Topic: "t", QoS: 1, Payload: make([]byte, 10_000)})
		}
		if n, bytes, _ := r.groupOf("$share/g/t").tail.waiting(); n > 0 {
			t.Errorf("%d messages, %d bytes are in memory for a group without a connection", n, bytes)
		}
	})
}
