package devices

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// presences gives what was told of a device's presence, as "state reason".
func (b *bench) presencesTold(t *testing.T, did accounts.Name) (all []string) {
	t.Helper()
	synctest.Wait()
	for _, x := range b.ear.heard(pathPresence) {
		if x.Topic.Device == did {
			all = append(all, field(x.Payload, "state")+" "+field(x.Payload, "reason"))
		}
	}
	return all
}

func field(document, name string) string {
	_, rest, _ := strings.Cut(document, `"`+name+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func TestPresenceIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		want := func(want ...string) {
			t.Helper()
			if got := b.presencesTold(t, "lamp"); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		b.Arrive("lamp", 1)
		want("online connect")
		b.Depart("lamp", 1, ReasonKeepAlive)
		time.Sleep(2 * time.Second)
		b.Arrive("lamp", 2) // in time
		time.Sleep(time.Minute)
		want()
		b.Arrive("lamp", 3)
		b.Depart("lamp", 2, ReasonTakeover)
		time.Sleep(time.Minute)
		b.Depart("lamp", 3, ReasonError)
		time.Sleep(2 * time.Second)
		b.Arrive("lamp", 4)
		b.Depart("lamp", 4, ReasonDisconnect)
		time.Sleep(3*time.Second - time.Millisecond)
		want()
		time.Sleep(time.Millisecond)
		want("offline disconnect")
		time.Sleep(2 * time.Second)
		b.beings.mu.Lock()
		n := len(b.beings.all)
		b.beings.mu.Unlock()
		if n != 0 {
			t.Errorf("%d devices are remembered", n)
		}
		p, err := b.Presence(t.Context(), "gus", "lamp")
		if err != nil || p.State != Offline || p.Since != time.Now().Add(-5*time.Second).UnixMilli() || p.Seen != p.Since {
			t.Errorf("presence: %+v %v", p, err)
		}
	})
}

func TestPresenceIsTrueAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.stop() }()
		for _, did := range []accounts.Name{"here", "gone", "cell"} {
			b.store.things[did] = Thing{ID: did, Owner: "olga", Sleepy: did == "cell", Rev: 1}
			b.Arrive(did, 1)
		}
		time.Sleep(2 * time.Second)
		for range 2 { // the second time nothing was stored in between
			b.stop()
			b = startBench(t, b.store)
			for _, did := range []accounts.Name{"here", "gone", "cell"} {
				if p, err := b.Presence(t.Context(), "olga", did); err != nil || p.State != Unknown || p.Reason != ReasonRestart {
					t.Errorf("%s: %+v %v", did, p, err)
				}
			}
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		b.Arrive("here", 1)
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		for did, want := range map[accounts.Name]PresenceState{"here": Online, "gone": Offline, "cell": Sleeping} {
			if p, err := b.Presence(t.Context(), "olga", did); err != nil || p.State != want {
				t.Errorf("%s: %+v %v, want %s", did, p, err, want)
			}
		}
		if page, _ := b.store.There(t.Context(), "", 10); len(page) != 1 || page[0].Device != "here" {
			t.Errorf("stored as there: %+v", page)
		}
	})
}

func TestDevicesFollowTheirBridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		b.store.things["hub"] = Thing{ID: "hub", Type: TypeBridge, Owner: "olga", Rev: 1}
		b.store.things["bulb"] = Thing{ID: "bulb", Owner: "olga", Bridge: "hub", Rev: 1}
		want := func(want ...string) {
			t.Helper()
			if got := b.presencesTold(t, "bulb"); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		b.Arrive("hub", 1)
		want("online bridge")
		if err := b.Hear(t.Context(), "hub", "bulb", false); err != nil {
			t.Fatal(err)
		}
		want("offline bridge")
		if err := b.Hear(t.Context(), "hub", "bulb", true); err != nil {
			t.Fatal(err)
		}
		want("online bridge")
		b.Depart("hub", 1, ReasonKeepAlive)
		time.Sleep(b.cfg.Grace)
		want("offline bridge")
		if err := b.Hear(t.Context(), "lamp", "bulb", true); err == nil {
			t.Error("another one says what the bridge has to")
		}
	})
}

func TestWhoMaySeeADeviceNowIsToldWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		b.Arrive("lamp", 1)
		b.presencesTold(t, "lamp")
		if _, err := b.things.Grant(t.Context(), "olga", "lamp", Grant{To: "ned", Verbs: []Verb{VerbSee}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if told := b.ear.heard(pathPresence); len(told) != 1 || !slices.Equal(told[0].To, []accounts.Name{"ned"}) {
			t.Errorf("told %+v", told)
		}
		later := Grant{To: "lea", Verbs: []Verb{VerbSee}, From: time.Now().Add(time.Hour).UnixMilli()}
		if _, err := b.things.Grant(t.Context(), "olga", "lamp", later); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if told := b.ear.heard(pathPresence); len(told) != 0 {
			t.Errorf("told %+v who may not see it yet", told)
		}
	})
}

// A connection that ends while the next one is there already takes nothing from that.
func TestTheEndOfAConnectionIsNotThatOfTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		b.Arrive("lamp", 1)
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		first := b.flights.ready("lamp")
		b.flights.end("lamp", first)
		b.ear.connect(b.Service, "lamp", true) // after all of it was forgotten
		b.flights.end("lamp", first)           // who has found out before that it is not ready
		b.call(t, Call{Name: "on"})
		synctest.Wait()
		if posts := b.ear.took(); len(posts) != 1 {
			t.Errorf("posted %+v", posts)
		}
	})
}
