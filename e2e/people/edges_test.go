package people

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestWhatPeopleSayHasLimits(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		long := func(n int) string { return strings.Repeat("ä", n) }
		many := func(n int) []string {
			all := make([]string, n)
			for i := range all {
				all[i] = fmt.Sprint("tag ", i)
			}
			return all
		}
		w.alice.Must("contact.request", M{"to": "bob", "greeting": long(300)})
		w.bob.Must("contact.accept", M{"from": "alice"})
		w.bob.Must("contact.set", M{"who": "alice", "remark": long(64), "tags": many(20)})
		for what, try := range map[string]struct {
			method string
			in     M
			word   string
		}{
			"a greeting":            {"contact.request", M{"to": "carol", "greeting": long(301)}, "too_big"},
			"a greeting with NUL":   {"contact.request", M{"to": "carol", "greeting": "a\x00b"}, "bad"},
			"a greeting of 7":       {"contact.request", M{"to": "carol", "greeting": 7}, "bad"},
			"nobody":                {"contact.request", M{}, "bad"},
			"a path":                {"contact.request", M{"to": "../bob"}, "bad"},
			"me":                    {"contact.request", M{"to": "me"}, "bad"},
			"a device":              {"contact.request", M{"to": "dev:lamp"}, "bad"},
			"a remark":              {"contact.set", M{"who": "alice", "remark": long(65)}, "too_big"},
			"a remark on two lines": {"contact.set", M{"who": "alice", "remark": "a\nb"}, "bad"},
			"tags":                  {"contact.set", M{"who": "alice", "tags": many(21)}, "too_big"},
			"a tag":                 {"contact.set", M{"who": "alice", "tags": []string{long(33)}}, "too_big"},
			"no tag":                {"contact.set", M{"who": "alice", "tags": []string{""}}, "bad"},
			"a version":             {"contact.list", M{"ver": -1}, "bad"},
			"a name":                {"profile.set", M{"name": long(65)}, "too_big"},
			"a name on two lines":   {"profile.set", M{"name": "a\nb"}, "bad"},
			"a text":                {"profile.set", M{"text": long(501)}, "too_big"},
			"a phone number":        {"profile.set", M{"phone": "110"}, "bad"},
			"an address":            {"profile.set", M{"email": "bob"}, "bad"},
			"a field":               {"profile.set", M{"fields": M{"a/b": "c"}}, "bad"},
			"somebody to show to":   {"profile.set", M{"phone": "+4917012345678", "show": M{"phone": "friends"}}, "bad"},
			"strangers":             {"settings.set", M{"strangers": "friends"}, "bad"},
			"to be seen":            {"settings.set", M{"seen": "contacts_of_contacts"}, "bad"},
			"a place":               {"settings.set", M{"find": M{"nearby": M{"lat": 100, "lon": 0}}}, "bad"},
			"half a place":          {"settings.set", M{"find": M{"nearby": M{"lat": 1}}}, "bad"},
			"a list":                {"presence.get", M{"who": many(1)}, "bad"},
			"a box":                 {"box.drop", M{"c": "g.x"}, "no_conv"},
		} {
			if out, word := w.bob.Call(try.method, try.in); word != try.word {
				t.Errorf("%s: got %q, want %q: %v", what, word, try.word, out)
			}
		}
		if word := publish(w.bob, "im/u/me/state", "asleep"); word != "bad" {
			t.Errorf("a state: %q", word)
		}
		if word := publish(w.bob, "im/u/alice/state", "fg"); word != "no_right" {
			t.Errorf("somebody else's state: %q", word)
		}
		if word := publish(w.bob, "im/p/alice", `{"on":true}`); word != "no_right" {
			t.Errorf("somebody else's presence: %q", word)
		}
		for _, filter := range []string{"im/p/#", "im/p", "im/+/alice", "im/#", "#", "im/p/alice/x", "$share/g/im/p/alice", "im/p/+/x", "+/p/alice",
			"im/u/alice/eph", "im/u/+/eph", "im/u/alice/state", "im/p/zoe", "im/p/carol", "im/p/Zoe!"} {
			if code := w.bob.Subscribe(filter, 0); code < 0x80 {
				t.Errorf("SUBSCRIBE %s: %#x", filter, code)
			}
		}
		hasState(t, w.bob, "carol", "")
		hasState(t, w.carol, "bob", "")
	})
}

// Whoever hides is there for those with whom he has to do.
func TestAHiddenAccountIsThereForThoseItHasToDoWith(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		w.bob.Must("settings.set", M{"find": M{"uid": false}})
		refused(t, w.alice, "profile.get", M{"uid": "bob"}, "no_conv")
		w.bob.Must("contact.request", M{"to": "alice", "greeting": "it's me"})
		w.alice.Must("profile.get", M{"uid": "bob"}) // who asks?
		w.alice.Must("contact.accept", M{"from": "bob"})
		w.alice.Must("profile.get", M{"uid": "bob"})
		if _, word := w.alice.Send("bob", "hello"); word != "" {
			t.Errorf("a contact writes: %q", word)
		}
		w.carol.Must("settings.set", M{"strangers": "everyone"})
		if _, word := w.bob.Send("carol", "hello"); word != "" {
			t.Errorf("he writes to somebody who hears strangers: %q", word)
		}
		w.carol.Must("profile.get", M{"uid": "bob"}) // who writes?
		if _, word := w.carol.Send("bob", "who are you?"); word != "" {
			t.Errorf("the answer: %q", word)
		}
		w.carol.Must("contact.block", M{"who": "bob"})
		w.carol.Must("contact.unblock", M{"who": "bob"})
		w.alice.Must("contact.remove", M{"who": "bob"})
		refused(t, w.alice, "contact.request", M{"to": "bob"}, "no_conv", "") // there is a conversation that names him
	})
}

// Who has sent something before the block may send it again, as MQTT asks him to: that is no new message.
func TestARepetitionIsAnsweredOverABlock(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		befriend(t, w.alice, w.bob)
		in := M{"to": "bob", "body": M{"text": "hello"}, "mid": "m1"}
		first := w.alice.Must("send", in)
		w.bob.Must("contact.block", M{"who": "alice"})
		again := w.alice.Must("send", in)
		if again["dup"] != true || again["seq"] != first["seq"] || again["id"] != first["id"] {
			t.Errorf("sent %v, and again %v", first, again)
		}
		in["mid"] = "m2"
		refused(t, w.alice, "send", in, "blocked")
		w.bob.Must("contact.unblock", M{"who": "alice"})
		w.alice.Must("send", in)
		equal(t, "what is there", texts(w.bob, "alice"), []string{"alice: hello", "alice: hello"})
	})
}

// A will is a message like others, and the last one.
func TestAWillDoesNotPassABlock(t *testing.T) {
	place, _ := Inside(t)
	alice, bob, carol := place.Join("alice", V5), place.Join("bob", V5), place.Join("carol", V5)
	befriend(t, alice, bob)
	befriend(t, carol, bob)
	addr, _, err := place.addresses()
	if err != nil {
		t.Fatal(err)
	}
	// die has somebody connect with a will, lose that connection after do, and waits until its session is gone.
	die := func(p *Person, do func()) {
		c, ack, err := wire.Open(addr, wire.V5, wire.Connect{User: p.Name, Password: p.Token, ClientID: "w", Clean: true,
			Will: &wire.Will{Topic: "im/to/bob/send", Payload: []byte("my last words"), QoS: 1}})
		if err != nil || ack.Reason != 0 {
			t.Fatalf("connect: %v %#x", err, ack.Reason)
		}
		do()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if !becomes(func() bool {
			return !slices.ContainsFunc(items(p.Must("session.list", M{}), "sessions"), func(s M) bool { return s["client"] == "w" })
		}) {
			t.Fatalf("%s is still there", p.Name)
		}
	}
	die(alice, func() { bob.Must("contact.block", M{"who": "alice"}) })
	die(carol, func() {})
	bob.Await(0, "carol's will", func(s Seen) bool { return s.T() == "msg" && s.Is("from", "carol") })
	for _, text := range texts(bob, "alice") {
		t.Errorf("bob was shown %s", text)
	}
}

// Between two people of whom one has blocked the other nothing is seen of either, on any topic, whatever they do.
func TestTrap_10_NothingIsSeenOverABlock(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		place, _ := Inside(t, func(c *broker.Config) { c.Presence.Grace = 0 })
		alice, bob, carol := place.Join("alice", way), place.Join("bob", way), place.Join("carol", way)
		befriend(t, alice, bob)
		befriend(t, alice, carol)
		befriend(t, bob, carol)
		alice.Send("bob", "one")
		bob.Send("alice", "two")
		both := map[*Person]*Person{alice: bob, bob: alice}
		marks, heads := map[*Person]int{}, map[*Person]int{}
		for p, other := range both {
			p.Must("settings.set", M{"seen": "everyone", "strangers": "everyone"})
			if code := p.Subscribe("im/p/+", 0); code >= 0x80 {
				t.Fatalf("SUBACK %#x", code)
			}
			p.Await(0, other.Name, func(s Seen) bool { return s.Topic == "im/p/"+other.Name && s.Fields["on"] == true })
		}
		bob.Must("contact.block", M{"who": "alice"})
		for p, other := range both {
			p.Await(0, "no more", func(s Seen) bool { return s.Topic == "im/p/"+other.Name && s.Fields["on"] == nil })
			marks[p], heads[p] = p.Mark(), len(p.Stream())
		}
		for p, other := range both {
			for _, state := range []string{"bg", "away", "fg"} {
				publish(p, "im/u/me/state", state)
			}
			p.Send(other.Name, "hello")
			p.Typing(other.Name, true)
			p.Typing(other.Name, false)
			p.Read(other.Name, 2)
			p.Call("profile.set", M{"name": "New Name"})
			p.Call("settings.set", M{"seen": "contacts"})
			p.Call("settings.set", M{"seen": "everyone"})
			p.Call("contact.request", M{"to": other.Name, "greeting": "hello"})
			p.Call("contact.set", M{"who": other.Name, "remark": "R."})
			p.Another("tablet", V5).Cut()
			out := p.Must("presence.get", M{"who": []string{other.Name, "zoe"}})
			list, _ := json.Marshal(out["presence"])
			if want := fmt.Sprintf(`[{"who":%q},{"who":"zoe"}]`, other.Name); string(list) != want {
				t.Errorf("%s asks: %s, want %s", p.Name, list, want)
			}
			p.Subscribe("im/p/"+other.Name, 0)
			p.Subscribe("im/p/+", 0)
		}
		// What carol does comes after all that, and after what waits for its second.
		for _, state := range []string{"bg", "away"} {
			afore := map[*Person]int{alice: alice.Mark(), bob: bob.Mark()}
			publish(carol, "im/u/me/state", state)
			for p, mark := range afore {
				p.Await(mark, "carol", func(s Seen) bool { return s.Topic == "im/p/carol" && s.text("state") == state })
			}
		}
		for p, other := range both {
			for _, s := range p.Record()[marks[p]:] {
				if s.Topic == "eph" && s.text("who") == other.Name || s.Topic == "im/p/"+other.Name && len(s.Fields) > 2 {
					t.Errorf("%s was shown %s on %s", p.Name, s.Raw, s.Topic)
				}
			}
			for _, s := range p.Settled()[heads[p]:] {
				if s.text("from") == other.Name || s.text("who") == other.Name && s.T() != "contact" {
					t.Errorf("%s was shown %s", p.Name, s.Raw)
				}
			}
		}
	})
}
