package sessions

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/magpie-im/magpie/accounts"
)

func TestCastReachesThoseWhoSubscribeToTheirStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.HighWater = 100 })
		phone := open(t, r, persistent("phone", 5))
		phone.subscribe(1, Subscription{Filter: streamTopic, Spelling: "im/u/me/in", QoS: 1, ID: 7})
		wants(t, phone, "suback 1 01")
		terminal := persistent("terminal", 4)
		terminal.Options.Text = true
		text := open(t, r, terminal)
		text.subscribe(1, Subscription{Filter: "im/u/alice/#", QoS: 2})
		wants(t, text, "suback 1 02")
		deaf := open(t, r, persistent("deaf", 5))
		deaf.subscribe(1, Subscription{Filter: "im/u/alice/eph"})
		wants(t, deaf, "suback 1 00")

		users := []accounts.Name{"bob", "alice"}
		if n := r.Cast(users, Publish{Payload: []byte("x"), Text: []byte("line")}); n != 2 {
			t.Errorf("cast to %d, want 2", n)
		}
		p := wants(t, phone, "publish x q0")[0].publish
		if p.Topic != "im/u/me/in" || !slices.Equal(p.SubscriptionIDs, []int{7}) || p.Retain {
			t.Errorf("published %+v, want on im/u/me/in with identifier 7", p)
		}
		if p := wants(t, text, "publish line q0")[0].publish; p.Topic != streamTopic || p.ContentType != "text/plain" {
			t.Errorf("published %+v, want text on %s", p, streamTopic)
		}
		if n := r.Cast(users, Publish{Payload: []byte("y"), Text: []byte{}}); n != 1 {
			t.Errorf("what has no text was cast to %d, want 1", n)
		}
		wants(t, phone, "publish y q0")
		phone.w.stall(true)
		for range 40 {
			r.Cast(users, Publish{Payload: []byte("123456789"), Text: []byte{}})
		}
		if n := len(phone.w.take()); n == 0 || n >= 40 {
			t.Errorf("%d of 40 came to who does not read, want some", n)
		}
		for _, x := range []*conn{phone, text, deaf} {
			x.close()
		}
	})
}
