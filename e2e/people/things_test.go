package people

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// shadow waits until somebody is shown that the lamp should be so.
func shadow(p *Person, mark int, n int) {
	p.t.Helper()
	p.Await(mark, fmt.Sprintf("that n should be %d", n), func(s Seen) bool {
		return s.Topic == "dev/lamp/shadow" && strings.Contains(s.Raw, fmt.Sprintf(`"desired":{"n":%d}`, n))
	})
}

// shadows gives which values of n somebody was shown.
func shadows(p *Person, mark int) (all []string) {
	for _, s := range p.Record()[mark:] {
		if desired, ok := s.Fields["desired"].(map[string]any); ok && s.Topic == "dev/lamp/shadow" {
			all = append(all, fmt.Sprint(desired["n"]))
		}
	}
	return all
}

func setLamp(p *Person, n int) {
	p.t.Helper()
	p.Must("device.desire", M{"did": "lamp", "desired": M{"n": n}})
}

// A subscription is made once; what it brings follows what its owner may see at that moment.
func TestWhatAThingShowsFollowsTheRightsOfTheMoment(t *testing.T) {
	for _, way := range Ways {
		t.Run(string(way), func(t *testing.T) {
			w := meet(t, way)
			befriend(t, w.alice, w.bob)
			home, _ := w.alice.Must("home.create", M{"title": "Home", "members": []string{"bob"}})["c"].(string)
			w.alice.Must("device.add", M{"did": "lamp", "home": home})
			if code := w.alice.Subscribe("dev/lamp/shadow", 0); code >= 0x80 {
				t.Fatalf("the owner's subscription: %#x", code)
			}
			if code := w.bob.Subscribe("dev/lamp/shadow", 0); code < 0x80 {
				t.Errorf("a guest's subscription to what he may not see: %#x", code)
			}
			if code := w.bob.Subscribe("dev/+/shadow", 0); code >= 0x80 {
				t.Fatalf("a guest's subscription to what he may see: %#x", code)
			}
			mark := w.bob.Mark()
			n := 0
			step := func(sees bool, what string, f func()) {
				t.Helper()
				f()
				n++
				from := w.alice.Mark()
				setLamp(w.alice, n)
				shadow(w.alice, from, n)
				if sees {
					shadow(w.bob, mark, n)
				}
				if got := slices.Contains(shadows(w.bob, mark), fmt.Sprint(n)); got != sees {
					t.Errorf("%s: bob is shown it: %t", what, got)
				}
			}
			var grant string
			give := func(until int64) {
				t.Helper()
				in := M{"did": "lamp", "to": "bob", "verbs": []string{"see"}, "until": until}
				grant, _ = w.alice.Must("device.grant", in)["id"].(string)
			}
			role := func(role string) func() {
				return func() { w.alice.Must("group.role", M{"c": home, "who": "bob", "role": role}) }
			}
			step(false, "a guest", func() {})
			step(true, "with a grant", func() { give(0) })
			step(false, "revoked", func() { w.alice.Must("device.revoke", M{"did": "lamp", "id": grant}) })
			step(false, "when its time is over", func() {
				give(time.Now().Add(time.Second).UnixMilli())
				becomes(func() bool { _, word := w.bob.Call("device.get", M{"did": "lamp"}); return word == "no_device" })
			})
			step(true, "a member", role("member"))
			step(false, "a guest again", role("guest"))
			step(true, "an admin", role("admin"))
			step(false, "kicked", func() { w.alice.Must("group.kick", M{"c": home, "who": []string{"bob"}}) })
			step(true, "with a grant again", func() { give(0) })
			// Who may see it from now on is told what it is, so that he may have been shown what was before.
			got, want := slices.Compact(shadows(w.bob, mark)), []string{"2", "5", "7", "9"}
			lacks := slices.ContainsFunc(want, func(n string) bool { return !slices.Contains(got, n) })
			if lacks || !slices.IsSorted(got) {
				t.Errorf("bob was shown %v, want %v in order", got, want)
			}
			refused(t, w.bob, "device.desire", M{"did": "lamp", "desired": M{"n": 0}}, "no_right")
			refused(t, w.carol, "device.desire", M{"did": "lamp", "desired": M{"n": 0}}, "no_device")
		})
	}
}
