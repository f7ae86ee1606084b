package sessions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSimultaneousConnectsLeaveOneLink(t *testing.T) {
	for name, expiry := range map[string]uint32{"persistent": 3600, "not persistent": 0} {
		t.Run(name, func(t *testing.T) {
			store := newFakeStore(emptyDisk())
			store.instant = true
			r := newRegistry(store, &fakeLog{})
			n := 1000
			if testing.Short() {
				n = 200
			}
			for round := range n {
				if live := storm(t, r, expiry); live != 1 || r.Loaded() != 1 {
					t.Fatalf("round %d: %d live connections, %d loaded, want 1 and 1", round, live, r.Loaded())
				}
			}
			if err := r.Close(context.Background()); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// storm connects six times at once, and counts the connections that are alive when all have been answered.
func storm(t *testing.T, r *Registry, expiry uint32) int {
	const connects = 6
	var wg sync.WaitGroup
	conns := make([]*conn, connects)
	for i := range conns {
		wg.Go(func() {
			x, err := tryOpen(r, Connect{Key: alice("phone"), ExpirySeconds: expiry})
			if err != nil {
				t.Errorf("connect: %v", err)
				return
			}
			conns[i] = x
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	live := 0
	for _, x := range conns {
		select {
		case <-x.w.goneCh:
			<-x.done
		default:
			live++
		}
	}
	return live
}

func TestTakeoverTellsTheOldConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := open(t, r, persistent("phone", 5))
		open(t, r, persistent("tablet", 5))
		y := open(t, r, persistent("phone", 5))
		wants(t, x, "disconnect 0x8e")
		if !y.link.Present() {
			t.Error("session is not present")
		}
		if r.Loaded() != 2 {
			t.Errorf("%d loaded, want 2", r.Loaded())
		}
	})
}

func TestTakeoverOfAConnectionThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		w := newWire()
		link, err := r.Connect(t.Context(), Connect{Key: alice("phone"), Version: 5, Wire: w})
		if err != nil {
			t.Fatal(err)
		}
		link.Start()
		if _, err := tryOpen(r, Connect{Key: alice("phone")}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Connect: %v, want ErrUnavailable", err)
		}
		link.End(End{})
		open(t, r, Connect{Key: alice("phone")})
	})
}

func TestKeyIsLockedUntilStartOrEnd(t *testing.T) {
	for _, how := range []string{"start", "end"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
			first, err := r.Connect(t.Context(), Connect{Key: alice("phone"), Version: 5, Wire: newWire()})
			if err != nil {
				t.Fatal(err)
			}
			second := make(chan *conn)
			go func() {
				x, err := tryOpen(r, Connect{Key: alice("phone")})
				if err != nil {
					t.Errorf("second Connect: %v", err)
				}
				second <- x
			}()
			synctest.Wait()
			select {
			case <-second:
				t.Error("second Connect did not wait")
			default:
			}
			if how == "start" {
				first.Start()
				synctest.Wait()
			}
			first.End(End{})
			(<-second).close()
		})
	}
}

func TestConnectWaitsForThePendingAnswersOfTheOldLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := open(t, r, persistent("phone", 5))
		store.hold = true
		x.publish(message(1, 1, "a"), storing(store))
		synctest.Wait()
		connected := make(chan *conn)
		go func() {
			y, err := tryOpen(r, persistent("phone", 5))
			if err != nil {
				t.Errorf("Connect: %v", err)
			}
			connected <- y
		}()
		time.Sleep(time.Second)
		select {
		case <-connected:
			t.Error("Connect did not wait for the commit")
		default:
		}
		store.release()
		y := <-connected
		y.publish(again(message(1, 1, "a")), storing(store))
		wants(t, y, "puback 1")
		if n := len(store.messages()); n != 1 {
			t.Errorf("%d messages stored, want 1", n)
		}
		y.close()
	})
}

func TestSessionExpiry(t *testing.T) {
	hour := Connect{Key: alice("phone"), Version: 5, ExpirySeconds: 3600}
	clean := hour
	clean.CleanStart = true
	ends := Connect{Key: alice("phone"), Version: 5}
	old, oldClean := Connect{Key: alice("phone"), Version: 4}, Connect{Key: alice("phone"), Version: 4, CleanStart: true}
	zero, day := uint32(0), uint32(86400)
	tests := map[string]struct {
		first   Connect
		end     End
		away    time.Duration
		second  Connect
		granted uint32
		present bool
		stored  bool
	}{
		"kept":                           {hour, End{}, 59 * time.Minute, hour, 3600, true, true},
		"expired":                        {hour, End{}, 61 * time.Minute, hour, 3600, false, true},
		"clean start":                    {hour, End{}, time.Minute, clean, 3600, false, true},
		"ends with the connection":       {ends, End{}, time.Minute, hour, 0, false, false},
		"resumed by one that ends":       {hour, End{}, time.Minute, ends, 3600, true, true},
		"3.1.1 kept":                     {old, End{}, 24 * time.Hour, old, 7 * 86400, true, true},
		"3.1.1 expired":                  {old, End{}, 8 * 24 * time.Hour, old, 7 * 86400, false, true},
		"3.1.1 clean":                    {oldClean, End{}, time.Minute, old, 0, false, false},
		"3.1.1 then 5":                   {old, End{}, time.Minute, hour, 7 * 86400, true, true},
		"ended by the DISCONNECT":        {hour, End{ExpirySeconds: &zero}, time.Minute, hour, 3600, false, false},
		"prolonged by the DISCONNECT":    {hour, End{ExpirySeconds: &day}, 20 * time.Hour, hour, 3600, true, true},
		"not prolonged if it was 0":      {ends, End{ExpirySeconds: &day}, time.Minute, hour, 0, false, false},
		"more than the server's longest": {Connect{Key: alice("phone"), Version: 5, ExpirySeconds: forever}, End{}, 8 * 24 * time.Hour, hour, 7 * 86400, false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore(emptyDisk())
				r := newRegistry(store, &fakeLog{}, func(c *Config) { c.MaxExpiry = 7 * 24 * time.Hour })
				x := open(t, r, tt.first)
				x.subscribe(1, Subscription{Filter: "im/p/bob"})
				synctest.Wait()
				time.Sleep(2 * syncTime)
				if got := x.link.ExpirySeconds(); got != tt.granted {
					t.Errorf("granted %d, want %d", got, tt.granted)
				}
				x.end = tt.end
				x.close()
				time.Sleep(tt.away)
				if _, ok := store.stored(alice("phone")); ok != tt.stored {
					t.Errorf("stored: %v, want %v", ok, tt.stored)
				}
				y := open(t, r, tt.second)
				if y.link.Present() != tt.present {
					t.Errorf("present: %v, want %v", y.link.Present(), tt.present)
				}
				if n := y.link.info().Subscriptions; (n == 1) != tt.present {
					t.Errorf("%d subscriptions", n)
				}
			})
		})
	}
}

func TestSweepForgetsExpiredSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		store.durable.sessions[alice("crashed")] = State{Key: alice("crashed"), ExpirySeconds: 600, Open: true}
		store.applied = store.durable.clone()
		r := newRegistry(store, &fakeLog{})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- r.Run(ctx) }()
		for _, name := range []string{"left", "connected"} {
			x := open(t, r, persistent(name, 5))
			if name == "left" {
				x.close()
			}
		}
		time.Sleep(5 * time.Minute)
		if n, _ := store.Count(ctx, "alice"); n != 3 {
			t.Errorf("%d sessions after 5 minutes, want 3", n)
		}
		time.Sleep(10 * time.Minute)
		if _, ok := store.stored(alice("crashed")); ok {
			t.Error("session left open by a crash is still there")
		}
		time.Sleep(time.Hour)
		if n, _ := store.Count(ctx, "alice"); n != 1 {
			t.Errorf("%d sessions after the expiry, want the connected one", n)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestAccountHasABoundedNumberOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{}, func(c *Config) { c.PerAccount = 3 })
		open(t, r, persistent("offline", 5)).close()
		open(t, r, persistent("online", 5))
		open(t, r, Connect{Key: alice("clean")})
		for _, c := range []Connect{persistent("one more", 5), {Key: alice("another")}} {
			if _, err := tryOpen(r, c); !errors.Is(err, ErrTooMany) {
				t.Errorf("%s: %v, want ErrTooMany", c.Key.Client, err)
			}
		}
		open(t, r, persistent("offline", 5))
		open(t, r, persistent("online", 5))
		open(t, r, Connect{Key: alice("clean")})
		open(t, r, Connect{Key: Key{Account: "bob", Client: "phone"}})
		if n := len(r.accounts); n != 2 {
			t.Errorf("%d accounts in memory, want 2", n)
		}
	})
}

func TestFailedConnectLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		store.broken = ErrUnavailable
		if _, err := tryOpen(r, persistent("phone", 5)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Connect: %v, want ErrUnavailable", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		store.broken, store.hold = nil, true
		if _, err := r.Connect(ctx, persistent("phone", 5)); !errors.Is(err, context.Canceled) {
			t.Errorf("Connect: %v, want that of the context", err)
		}
		if r.Loaded() != 0 || len(r.accounts) != 0 || len(r.locks.locks) != 0 {
			t.Errorf("left: %d links, %d accounts, %d locks", r.Loaded(), len(r.accounts), len(r.locks.locks))
		}
	})
}

func TestCloseWritesPendingAnswersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		var conns []*conn
		for i := range 3 {
			conns = append(conns, open(t, r, persistent(fmt.Sprint(i), 5)))
		}
		store.hold = true
		conns[0].publish(message(1, 1, "a"), storing(store))
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- r.Close(t.Context()) }()
		synctest.Wait()
		conns[0].publish(message(2, 1, "b"), storing(store)) // too late
		if _, err := tryOpen(r, persistent("late", 5)); !errors.Is(err, ErrClosed) {
			t.Errorf("Connect: %v, want ErrClosed", err)
		}
		wants(t, conns[0], "")
		wants(t, conns[1], "disconnect 0x8b")
		store.release()
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		wants(t, conns[0], "puback 1, disconnect 0x8b")
		if n := len(store.messages()); n != 1 {
			t.Errorf("%d messages stored, want 1", n)
		}
	})
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := open(t, r, persistent("phone", 5))
		store.hold = true
		x.publish(message(1, 1, "a"), storing(store))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v, want that of the context", err)
		}
		wants(t, x, "disconnect 0x8b")
		store.release()
	})
}

func TestDisconnectEndsTheConnectionsOfAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x, y := open(t, r, persistent("phone", 5)), open(t, r, persistent("tablet", 5))
		z := open(t, r, Connect{Key: Key{Account: "bob", Client: "phone"}})
		if n := r.Disconnect("alice", 0x98); n != 2 {
			t.Errorf("Disconnect: %d, want 2", n)
		}
		wants(t, x, "disconnect 0x98")
		wants(t, y, "disconnect 0x98")
		wants(t, z, "")
		infos, _, err := r.Sessions(t.Context(), "alice", Key{}, 10)
		if err != nil || len(infos) != 2 || infos[0].Connected {
			t.Errorf("Sessions: %+v, %v", infos, err)
		}
		if infos, _, _ = r.Sessions(t.Context(), "bob", Key{}, 10); len(infos) != 1 || !infos[0].Connected || infos[0].Persistent {
			t.Errorf("Sessions: %+v", infos)
		}
	})
}

func TestStoredSessionIsOpenWhileConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		x := open(t, r, persistent("phone", 5))
		if st, ok := store.stored(alice("phone")); !ok || !st.Open || !st.Left.IsZero() {
			t.Errorf("connected: %+v, %v", st, ok)
		}
		x.close()
		time.Sleep(2 * syncTime)
		if st, _ := store.stored(alice("phone")); st.Open || st.Left.IsZero() {
			t.Errorf("disconnected: %+v", st)
		}
	})
}
