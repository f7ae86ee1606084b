package sessions

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

func TestAKickedSessionIsGone(t *testing.T) {
	for name, first := range map[string]Connect{
		"persistent": persistent("phone", 5), "not persistent": {Key: alice("phone"), Version: 5, CleanStart: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore(emptyDisk())
				r := newRegistry(store, &fakeLog{})
				x := open(t, r, first)
				other := open(t, r, persistent("tablet", 5))
				if err := r.Kick(t.Context(), alice("phone")); err != nil {
					t.Fatal(err)
				}
				wants(t, x, "disconnect 0x98")
				synctest.Wait()
				if err := r.Kick(t.Context(), alice("phone")); !errors.Is(err, ErrNoSession) {
					t.Errorf("second kick: %v", err)
				}
				if y := open(t, r, persistent("phone", 5)); y.link.Present() || y.link.Known() {
					t.Error("the session is there again")
				}
				if other.w.isGone() {
					t.Error("another session was ended")
				}
			})
		})
	}
}

func TestASessionWithoutAConnectionIsKicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := open(t, r, persistent("phone", 5))
		x.w.cut()
		<-x.done
		if err := r.Kick(t.Context(), alice("phone")); err != nil {
			t.Fatal(err)
		}
		if y := open(t, r, persistent("phone", 5)); y.link.Present() {
			t.Error("the session is there again")
		}
	})
}

func TestAKickSurvivesACrashOfAConnectionThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		c := persistent("phone", 5)
		c.Wire = newWire()
		link, err := r.Connect(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		link.Start()
		if err := r.Kick(t.Context(), alice("phone")); err != nil { // it waits for no End
			t.Fatal(err)
		}
		disk := store.crash(func(int) int { return 0 })
		again := newRegistry(newFakeStore(disk), &fakeLog{})
		if err := again.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if y := open(t, again, persistent("phone", 5)); y.link.Present() {
			t.Error("the session is there again")
		}
		link.End(End{})
	})
}

func TestARevokedTokenEndsItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		one, two := persistent("one", 5), persistent("two", 5)
		one.Token, two.Token = accounts.Digest{1}, accounts.Digest{2}
		x, y, z := open(t, r, one), open(t, r, two), open(t, r, persistent("password", 5))
		r.Revoked("alice", []accounts.Digest{{1}, {3}, {}})
		r.Revoked("bob", []accounts.Digest{{2}})
		wants(t, x, "disconnect 0x87")
		synctest.Wait()
		if y.w.isGone() || z.w.isGone() {
			t.Error("another connection was ended")
		}
		if w := open(t, r, one); !w.link.Present() {
			t.Error("the session of the token was dropped")
		}
	})
}

func TestWhoAskedForHisOwnEndIsSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		c := persistent("phone", 5)
		c.Token = accounts.Digest{1}
		x := open(t, r, c)
		first, second := r.Spare(alice("phone")), r.Spare(alice("phone"))
		r.Revoked("alice", []accounts.Digest{{1}})
		if err := r.Kick(t.Context(), alice("phone")); err != nil {
			t.Fatal(err)
		}
		r.Disconnect("alice", 0x99)
		first()
		first()
		synctest.Wait()
		if x.w.isGone() {
			t.Fatal("the connection was ended before its last answer")
		}
		second()
		wants(t, x, "disconnect 0x99")
		if y := open(t, r, c); y.link.Present() {
			t.Error("the session is there again")
		}
		r.Spare(alice("phone"))() // nothing was asked for that ends it
		r.Spare(alice("none"))()
		if r.Loaded() != 1 {
			t.Errorf("%d loaded, want 1", r.Loaded())
		}
	})
}

func TestTwoThatKickEachOtherDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		wires := map[string]*fakeWire{"one": newWire(), "two": newWire()}
		links := map[string]*Link{}
		for client, w := range wires {
			c := persistent(client, 5)
			c.Wire = w
			link, err := r.Connect(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			link.Start()
			links[client] = link
		}
		begun := time.Now()
		var wg sync.WaitGroup
		for me, other := range map[string]string{"one": "two", "two": "one"} {
			wg.Go(func() { // the reader of me, which ends its link only when it is done
				if err := r.Kick(context.Background(), alice(other)); err != nil {
					t.Errorf("kick: %v", err)
				}
				links[me].End(End{})
			})
		}
		wg.Wait()
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("they waited %v", waited)
		}
	})
}

func TestSettingsOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		name, yes := "my phone", true
		if err := r.Set(t.Context(), alice("phone"), Settings{Name: &name}); !errors.Is(err, ErrNoSession) {
			t.Errorf("set of none: %v", err)
		}
		x := open(t, r, persistent("phone", 5))
		if err := r.Set(t.Context(), alice("phone"), Settings{Name: &name}); err != nil {
			t.Fatal(err)
		}
		x.w.cut()
		<-x.done
		if err := r.Set(t.Context(), alice("phone"), Settings{Invisible: &yes}); err != nil {
			t.Fatal(err)
		}
		disk := store.crash(func(int) int { return 0 })
		r = newRegistry(newFakeStore(disk), &fakeLog{})
		x = open(t, r, persistent("phone", 4))
		d, err := r.Session(t.Context(), alice("phone"))
		if err != nil || d.Name != name || !d.Invisible || !x.link.Invisible() {
			t.Errorf("got %+v, %v", d.Info, err)
		}
	})
}

// TestNothingComesBackAfterTheLastKick lets connects, ends, settings and kicks meet at random.
func TestNothingComesBackAfterTheLastKick(t *testing.T) {
	for seed := range rounds(t, 30, 300) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(seed), 7))
			store := newFakeStore(emptyDisk())
			r := newRegistry(store, &fakeLog{})
			var wg sync.WaitGroup
			for range 12 {
				pause, what := time.Duration(random.IntN(20))*time.Millisecond, random.IntN(4)
				wg.Go(func() {
					time.Sleep(pause)
					switch what {
					case 0, 1:
						if x, err := tryOpen(r, persistent("phone", 5)); err == nil {
							time.Sleep(pause / 2)
							x.w.cut()
							<-x.done
						}
					case 2:
						name := "x"
						if err := r.Set(context.Background(), alice("phone"), Settings{Name: &name}); err != nil && !errors.Is(err, ErrNoSession) {
							t.Errorf("set: %v", err)
						}
					case 3:
						if err := r.Kick(context.Background(), alice("phone")); err != nil && !errors.Is(err, ErrNoSession) {
							t.Errorf("kick: %v", err)
						}
					}
				})
			}
			wg.Wait()
			if err := r.Kick(t.Context(), alice("phone")); err != nil && !errors.Is(err, ErrNoSession) {
				t.Errorf("last kick: %v", err)
			}
			if _, err := store.Load(t.Context(), alice("phone")); !errors.Is(err, ErrNoSession) {
				t.Errorf("seed %d: the session is stored after the last kick: %v", seed, err)
			}
		})
	}
}

func TestARefusedClientLeavesNoSessionThatWasMadeForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		for _, there := range []bool{false, true} {
			if there {
				x := open(t, r, persistent("phone", 5))
				x.w.cut()
				<-x.done
			}
			c := persistent("phone", 5)
			c.Wire = newWire()
			link, err := r.Connect(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			link.Refuse()
			link.End(End{NoWill: true})
			if _, err := store.Load(t.Context(), alice("phone")); errors.Is(err, ErrNoSession) == there {
				t.Errorf("session there before: %v, after: %v", there, err)
			}
		}
	})
}
