package people

import (
	"testing"
)

// each runs a test for people who come by each of the ways, at the same time.
func each(t *testing.T, test func(t *testing.T, way Way)) {
	t.Helper()
	for _, way := range Ways {
		t.Run(string(way), func(t *testing.T) {
			t.Parallel()
			test(t, way)
		})
	}
}

func TestAPersonIsTheSameByEveryWay(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		place, _ := Inside(t)
		alice, bob := place.Join("alice", way), place.Join("bob", way)
		laptop := bob.Another("laptop", V311)
		if _, word := alice.Send("bob", "hello"); word != "no_right" {
			t.Errorf("a stranger's message: %q, want no_right", word)
		}
		if out, word := alice.Call("contact.request", M{"to": "bob", "greeting": "it's me"}); word != "" || out["st"] != "pending" {
			t.Errorf("request: %q, %v", word, out)
		}
		for _, device := range []*Person{bob, laptop} {
			device.Await(0, "the request", func(s Seen) bool { return s.T() == "contact" && s.Is("who", "alice", "st", "requested") })
		}
		bob.Must("contact.accept", M{"from": "alice"})
		bob.Cut()
		if out, word := alice.Send("bob", "hello"); word != "" {
			t.Errorf("a contact's message: %q, %v", word, out)
		}
		if err := bob.Connect(); err != nil {
			t.Fatal(err)
		}
		for _, device := range []*Person{bob, laptop} {
			device.Await(0, "the message", func(s Seen) bool { return s.T() == "msg" && s.number("seq") == 2 })
			device.Settled()
		}
		mark := bob.Mark()
		if word := alice.Typing("bob", true); word != "" {
			t.Errorf("typing: %q", word)
		}
		bob.Await(mark, "alice typing", func(s Seen) bool { return s.Topic == "eph" && s.Is("who", "alice") })
		if word := alice.Read("bob", 1); word != "" {
			t.Errorf("read: %q", word)
		}
		if code := alice.Subscribe("im/u/bob/in", 1); code < 0x80 {
			t.Errorf("another's stream was granted: %#x", code)
		}
	})
}
