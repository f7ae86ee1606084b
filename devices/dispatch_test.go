package devices

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// states gives what was told of a command.
func (b *bench) states(t *testing.T, cid string) (all []string) {
	t.Helper()
	for _, x := range b.ear.heard("status/" + cid) {
		var said struct{ S, Code string }
		if err := json.Unmarshal([]byte(x.Payload), &said); err != nil || !x.Kept {
			t.Fatalf("%s: %v, published: %v", x.Payload, err, x.Kept)
		}
		all = append(all, strings.TrimSpace(said.S+" "+said.Code))
	}
	return all
}

func (b *bench) call(t *testing.T, call Call) Command {
	t.Helper()
	c, _, err := b.Call(t.Context(), "olga", "lamp", call)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bench) wantStates(t *testing.T, c Command, want ...string) {
	t.Helper()
	if got := b.states(t, c.ID); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestACommandGoesItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		b.ear.connect(b.Service, "lamp", true)
		c := b.call(t, Call{Name: "on", Args: []byte(`{"level":3}`), MID: "m1"})
		synctest.Wait()
		posts := b.ear.took()
		if len(posts) != 1 || posts[0].Again || posts[0].Path != "cmd/"+c.ID || !posts[0].Expires.Equal(time.Now().Add(30*time.Second)) {
			t.Fatalf("posted %+v", posts)
		}
		var told map[string]any
		if err := json.Unmarshal(posts[0].Payload, &told); err != nil || told["cid"] != c.ID || told["by"] != "olga" || told["dup"] != nil {
			t.Errorf("the device is told %s", posts[0].Payload)
		}
		b.wantStates(t, c, "queued", "sent")
		posts[0].Acked()
		synctest.Wait()
		b.wantStates(t, c, "delivered")
		for _, a := range []CommandAck{{State: CommandAccepted}, {State: CommandProgress, Percent: 40}, {State: CommandSucceeded}} {
			if _, err := b.AckCommand(t.Context(), "lamp", c.ID, a); err != nil {
				t.Error(err)
			}
		}
		b.wantStates(t, c, "accepted", "progress", "succeeded")
		time.Sleep(time.Hour)
		b.wantStates(t, c)
		if again, is, err := b.Call(t.Context(), "olga", "lamp", Call{Name: "on", Args: []byte(`{"level":3}`), MID: "m1"}); err != nil ||
			!is || again.ID != c.ID || again.State != CommandSucceeded {
			t.Errorf("the same call again: %+v %v %v", again, is, err)
		}
		if _, _, err := b.Call(t.Context(), "olga", "lamp", Call{Name: "off", MID: "m1"}); !errors.Is(err, ErrMIDConflict) {
			t.Errorf("another call with this mid: %v", err)
		}
		if other, is, err := b.Call(t.Context(), "mia", "lamp", Call{Name: "off", MID: "m1"}); err != nil || is || other.ID == c.ID {
			t.Errorf("a call of somebody else with this mid: %+v %v %v", other, is, err)
		}
	})
}

func TestACommandEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.stop() }()
		c := b.call(t, Call{Name: "on", TTL: 10 * time.Second})
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		b.wantStates(t, c, "queued")
		b.stop() // it lasts over a restart
		b = startBench(t, b.store)
		synctest.Wait()
		b.wantStates(t, c)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		b.wantStates(t, c, "expired")
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		if posts := b.ear.took(); len(posts) != 0 {
			t.Errorf("posted %+v", posts)
		}

		c = b.call(t, Call{Name: "on", Timeout: 5 * time.Second})
		synctest.Wait()
		time.Sleep(30*time.Second - time.Millisecond)
		b.ear.took()[0].Acked() // a moment before it would be over
		time.Sleep(5*time.Second - time.Millisecond)
		synctest.Wait()
		b.wantStates(t, c, "queued", "sent", "delivered")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		b.wantStates(t, c, "timed_out")
		if _, err := b.AckCommand(t.Context(), "lamp", c.ID, CommandAck{State: CommandSucceeded}); err != nil {
			t.Error(err)
		}
		heard := b.ear.heard("status/" + c.ID)
		if len(heard) != 1 || !strings.Contains(heard[0].Payload, `"s":"timed_out"`) || !strings.Contains(heard[0].Payload, `"late":{"s":"succeeded"}`) {
			t.Errorf("told %+v", heard)
		}
	})
}

func TestWhatWasLostGoesAgainAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.stop() }()
		b.ear.connect(b.Service, "lamp", true)
		c := b.call(t, Call{Name: "on", TTL: time.Hour})
		synctest.Wait()
		first := b.ear.took()[0]
		b.ear.connect(b.Service, "lamp", false)
		synctest.Wait()
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		posts := b.ear.took()
		if len(posts) != 1 || !posts[0].Again || !strings.Contains(string(posts[0].Payload), `"dup":true`) {
			t.Fatalf("posted %+v", posts)
		}
		first.Acked() // of a link that is gone
		synctest.Wait()
		b.wantStates(t, c, "queued", "sent")
		b.stop()
		b = startBench(t, b.store)
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		if posts = b.ear.took(); len(posts) != 1 || !posts[0].Again {
			t.Fatalf("posted %+v", posts)
		}
		posts[0].Acked()
		if _, err := b.AckCommand(t.Context(), "lamp", c.ID, CommandAck{State: CommandFailed, Code: "hot"}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		b.wantStates(t, c, "delivered", "failed hot")
	})
}

func TestOneThingAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		old := b.call(t, Call{Name: "dim", Key: "power"})
		free := b.call(t, Call{Name: "blink"})
		first := b.call(t, Call{Name: "on", Key: "power"})
		synctest.Wait()
		b.wantStates(t, old, "queued", "superseded")
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		second := b.call(t, Call{Name: "off", Key: "power"})
		synctest.Wait()
		if posts := b.ear.took(); len(posts) != 2 || posts[0].Path != "cmd/"+free.ID || posts[1].Path != "cmd/"+first.ID {
			t.Fatalf("posted %+v", posts)
		}
		b.wantStates(t, second, "queued")
		if _, err := b.AckCommand(t.Context(), "lamp", first.ID, CommandAck{State: CommandSucceeded}); err != nil { // before its PUBACK
			t.Error(err)
		}
		synctest.Wait()
		b.wantStates(t, first, "queued", "sent", "delivered", "succeeded")
		b.wantStates(t, second, "sent")
		if _, err := b.Cancel(t.Context(), "olga", "lamp", second.ID); err != nil {
			t.Error(err)
		}
		b.wantStates(t, second, "canceled")
	})
}

func TestWhoMayTellADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		tests := []struct {
			who, did accounts.Name
			name     string
			want     error
		}{
			{"olga", "lamp", "off", nil},
			{"mia", "lamp", "off", nil},
			{"gus", "lamp", "on", nil},
			{"gus", "lamp", "off", ErrNoRight},
			{"lamp", "lamp", "on", ErrNoRight},
			{"eve", "lamp", "on", ErrUnknown},
			{"olga", "none", "on", ErrUnknown},
			{"olga", "lamp", "a b", ErrMalformed},
			{"olga", "lamp", "", ErrMalformed},
		}
		for _, tt := range tests {
			if _, _, err := b.Call(t.Context(), tt.who, tt.did, Call{Name: tt.name}); !errors.Is(err, tt.want) {
				t.Errorf("%s tells %s %q: %v, want %v", tt.who, tt.did, tt.name, err, tt.want)
			}
		}
	})
}

func TestWhoHasNoRightAnyLongerIsNotObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		c, _, err := b.Call(t.Context(), "gus", "lamp", Call{Name: "on"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.things.Revoke(t.Context(), "olga", "lamp", "1"); err != nil {
			t.Fatal(err)
		}
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		if posts := b.ear.took(); len(posts) != 0 {
			t.Errorf("posted %+v", posts)
		}
		b.wantStates(t, c, "queued", "canceled no_right")
	})
}

func TestADeviceHasOnlySoMuchToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		for range b.cfg.OpenCommands {
			b.call(t, Call{Name: "on", Key: "k"})
		}
		synctest.Wait()
		for range b.cfg.OpenCommands - 1 {
			b.call(t, Call{Name: "on"})
		}
		if _, _, err := b.Call(t.Context(), "olga", "lamp", Call{Name: "on"}); !errors.Is(err, ErrTooMany) {
			t.Errorf("one more: %v", err)
		}
		b.call(t, Call{Name: "on", Key: "k"}) // the one before makes room
		synctest.Wait()
		time.Sleep(b.cfg.TTL)
		synctest.Wait()
		b.call(t, Call{Name: "on"})
	})
}

func TestWhatTheStoreCannotDoIsDoneLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		c := b.call(t, Call{Name: "on"})
		b.store.mu.Lock()
		b.store.failing = ErrUnavailable
		b.store.mu.Unlock()
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		if posts := b.ear.took(); len(posts) != 0 {
			t.Errorf("what is not stored as sent was posted: %+v", posts)
		}
		b.store.mu.Lock()
		b.store.failing = nil
		b.store.mu.Unlock()
		time.Sleep(retry)
		synctest.Wait()
		if posts := b.ear.took(); len(posts) != 1 {
			t.Errorf("posted %+v", posts)
		}
		b.wantStates(t, c, "queued", "sent")
	})
}

// A command whose time ends on its way to the device says nothing of whether the device takes commands.
func TestWhatEndsOnItsWayHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		b.ear.connect(b.Service, "lamp", true)
		b.ear.slow = 50 * time.Millisecond
		short := b.call(t, Call{Name: "on", TTL: 10 * time.Millisecond})
		long := b.call(t, Call{Name: "on", TTL: time.Hour})
		time.Sleep(time.Second)
		synctest.Wait()
		b.wantStates(t, short, "queued", "sent", "expired")
		b.wantStates(t, long, "queued", "sent")
		if posts := b.ear.took(); len(posts) != 1 {
			t.Errorf("posted %+v", posts)
		}
	})
}

// Neither does one that is larger than the device takes, nor that too much is on its way for a moment.
func TestWhatDoesNotFitHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		b.ear.connect(b.Service, "lamp", true)
		b.ear.largest = 300
		large := b.call(t, Call{Name: "on", Args: json.RawMessage(`"` + strings.Repeat("x", 300) + `"`), TTL: 5 * time.Second})
		small := b.call(t, Call{Name: "on"})
		synctest.Wait()
		b.wantStates(t, small, "queued", "sent")
		if posts := b.ear.took(); len(posts) != 1 || posts[0].Path != "cmd/"+small.ID {
			t.Errorf("posted %+v", posts)
		}
		b.ear.fill(true)
		later := b.call(t, Call{Name: "on"})
		synctest.Wait()
		b.ear.fill(false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		b.wantStates(t, large, "queued", "sent", "expired")
		b.wantStates(t, later, "queued", "sent")
		if posts := b.ear.took(); len(posts) != 2 || posts[1].Path != "cmd/"+later.ID {
			t.Errorf("posted in the end %+v", posts)
		}
	})
}

func TestWhatWasGivenBeforeAResetNeverReachesTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := map[string]func(b *bench) error{
			"reset":   func(b *bench) error { _, err := b.things.Reset(t.Context(), "lamp", "lamp"); return err },
			"release": func(b *bench) error { _, err := b.things.Release(t.Context(), "olga", "lamp"); return err },
			"removed": func(b *bench) error { return b.things.Forget(t.Context(), "lamp") },
		}
		for name, anew := range begin {
			b := newBench(t)
			c := b.call(t, Call{Name: "on", TTL: time.Hour})
			synctest.Wait()
			b.stop()
			if err := anew(b); err != nil { // and the process ends, before anybody does anything about it
				t.Fatal(err)
			}
			b = startBench(t, b.store)
			b.ear.connect(b.Service, "lamp", true)
			synctest.Wait()
			if posts := b.ear.took(); len(posts) != 0 {
				t.Errorf("%s: posted %+v", name, posts)
			}
			b.wantStates(t, c, "canceled gone")
			if _, err := b.store.Command(t.Context(), "lamp", c.ID); !errors.Is(err, ErrUnknown) {
				t.Errorf("%s: the command is there: %v", name, err)
			}
			b.stop()
		}
	})
}

func TestWhatWaitsWhileADeviceIsResetDoesNotReachIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		b.ear.slow = time.Second
		first, second := b.call(t, Call{Name: "on", TTL: time.Hour}), b.call(t, Call{Name: "off", TTL: time.Hour})
		b.ear.connect(b.Service, "lamp", true)
		time.Sleep(time.Millisecond) // the first one is being written
		called := make(chan error, 1)
		go func() {
			_, _, err := b.Call(t.Context(), "mia", "lamp", Call{Name: "dim"}) // it waits
			called <- err
		}()
		set := make(chan error, 1)
		go func() {
			u, err := ParseDesired([]byte(`{"power":"on"}`))
			if err == nil {
				_, err = b.UpdateShadow(t.Context(), "mia", "lamp", "", u)
			}
			set <- err
		}()
		synctest.Wait()
		if _, err := b.things.Reset(t.Context(), "olga", "lamp"); err != nil {
			t.Fatal(err)
		}
		if err := <-called; !errors.Is(err, ErrUnknown) {
			t.Errorf("mia, who was granted it before, tells it something: %v", err)
		}
		if err := <-set; !errors.Is(err, ErrUnknown) {
			t.Errorf("mia says what it should be: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if posts := b.ear.took(); len(posts) != 1 || posts[0].Path != "cmd/"+first.ID {
			t.Errorf("posted %+v", posts)
		}
		b.wantStates(t, second, "queued", "canceled gone")
	})
}

// What a device cannot have seen is no repetition, however often it was on its way.
func TestWhatWasNeverWrittenIsSentForTheFirstTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.stop() }()
		b.ear.connect(b.Service, "lamp", true)
		b.ear.fill(true)
		c := b.call(t, Call{Name: "on", TTL: time.Hour})
		synctest.Wait()
		b.wantStates(t, c, "queued", "sent")
		b.ear.fill(false)
		b.ear.keepBack(true) // taken, and not written before the connection ends
		time.Sleep(retry)
		synctest.Wait()
		goes := func(when string, again bool) {
			t.Helper()
			posts := b.ear.took()
			if len(posts) != 1 || posts[0].Again != again || strings.Contains(string(posts[0].Payload), `"dup":true`) != again {
				t.Errorf("%s: posted %+v; want one, again %v", when, posts, again)
			}
			b.ear.connect(b.Service, "lamp", false)
			synctest.Wait()
			b.ear.connect(b.Service, "lamp", true)
			synctest.Wait()
		}
		goes("after it was refused", false)
		b.ear.keepBack(false)
		b.ear.connect(b.Service, "lamp", false)
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		goes("after it was not written", false)
		goes("after it was written", true)
		b.stop()
		b = startBench(t, b.store) // nothing is known of what was written
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		goes("after a restart", true)
	})
}
