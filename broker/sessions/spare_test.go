package sessions

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A client that asks for its own end, and does not read the answer, must not go on after it.
func TestWhoIsSparedDoesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.HighWater = 10 })
		c := persistent("phone", 5)
		c.Wire = newWire()
		w := c.Wire.(*fakeWire)
		l, err := r.Connect(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		l.Start()
		defer l.End(End{})
		w.mu.Lock()
		w.buffered = 1000 // nothing that was sent is read
		w.mu.Unlock()
		ask := func(_ context.Context, _ *Link, _ Publish, _ any) Outcome {
			end := r.Spare(alice("phone"))
			return Outcome{Done: func(error) { end() }}
		}
		if err := l.Receive(t.Context(), Publish{Topic: "ask", QoS: 1, ID: 1}, ask); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := r.Kick(t.Context(), alice("phone")); err != nil {
			t.Fatal(err)
		}
		err = l.Receive(t.Context(), Publish{Topic: "more", QoS: 0}, func(context.Context, *Link, Publish, any) Outcome {
			t.Error("it published after it was kicked")
			return Outcome{}
		})
		synctest.Wait()
		if !errors.Is(err, ErrClosed) || !w.isGone() {
			t.Errorf("after the kick: %v, connection ended: %v", err, w.isGone())
		}
	})
}
