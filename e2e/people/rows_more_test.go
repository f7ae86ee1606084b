package people

import (
	"slices"
	"testing"
)

func TestRow_7_1_4_Block(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		t.Run("a request vanishes", func(t *testing.T) {
			w := meet(t, way)
			w.alice.Must("contact.request", M{"to": "bob"})
			w.bob.Must("contact.block", M{"who": "alice"})
			hasNumbers(t, w.bob, 0, 0, 0)
			if line := contacts(t, w.bob)["alice"]; line["st"] == "requested" || line["blocked"] != true {
				t.Errorf("bob has %v", line)
			}
			hasState(t, w.alice, "bob", "pending") // she is not told
			equal(t, "alice was told", contactEvents(w.alice.Settled(), "bob"), []string{"pending"})
			refused(t, w.bob, "contact.accept", M{"from": "alice"}, "blocked", "no_request")
			w.bob.Must("contact.unblock", M{"who": "alice"})
			hasState(t, w.bob, "alice", "")
		})
		t.Run("nothing passes", func(t *testing.T) {
			w := meet(t, way)
			befriend(t, w.alice, w.bob)
			if _, word := w.alice.Send("bob", "before"); word != "" {
				t.Fatal(word)
			}
			w.bob.Must("contact.block", M{"who": "alice"})
			w.bob.Must("contact.block", M{"who": "alice"})
			bobs, alices := len(w.bob.Stream()), len(w.alice.Stream())
			mark, aliceMark := w.bob.Mark(), w.alice.Mark()
			for _, p := range []*Person{w.alice, w.bob} {
				other := map[*Person]string{w.alice: "bob", w.bob: "alice"}[p]
				if _, word := p.Send(other, "after"); word != "blocked" {
					t.Errorf("%s sends: %q", p.Name, word)
				}
				if word := p.Typing(other, true); word != "blocked" {
					t.Errorf("%s types: %q", p.Name, word)
				}
				if word := p.Read(other, 1); word != "" {
					t.Errorf("%s reads: %q", p.Name, word)
				}
				refused(t, p, "contact.request", M{"to": other}, "blocked")
			}
			for _, s := range w.bob.Settled()[bobs:] {
				if s.T() != "read" {
					t.Errorf("after the block bob was shown %s", s.Raw)
				}
			}
			for _, s := range w.alice.Settled()[alices:] {
				if s.T() != "read" {
					t.Errorf("after the block alice was shown %s", s.Raw)
				}
			}
			for p, from := range map[*Person]int{w.bob: mark, w.alice: aliceMark} {
				for _, s := range p.Record()[from:] {
					if s.Topic == "eph" {
						t.Errorf("after the block %s was shown %s", p.Name, s.Raw)
					}
				}
			}
			w.bob.Must("contact.unblock", M{"who": "alice"})
			if _, word := w.alice.Send("bob", "again"); word != "" {
				t.Errorf("after the block: %q", word)
			}
			equal(t, "what was said", texts(w.bob, "alice"), []string{"alice: before", "alice: again"})
		})
	})
}

func TestRow_7_1_4_Remove(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		w.alice.Must("contact.request", M{"to": "bob", "greeting": "it's me"})
		w.bob.Must("contact.accept", M{"from": "alice"})
		w.bob.Must("contact.set", M{"who": "alice", "remark": "Alice from work", "tags": []string{"work", "chess"}})
		line := hasState(t, w.bob, "alice", "accepted")
		tags, _ := line["tags"].([]any)
		if line["remark"] != "Alice from work" || !slices.Equal(tags, []any{"work", "chess"}) {
			t.Errorf("noted: %v", line)
		}
		if line := contacts(t, w.alice)["bob"]; line["remark"] != nil || line["tags"] != nil {
			t.Errorf("alice sees bob's notes: %v", line)
		}
		equal(t, "alice was told", contactEvents(w.alice.Settled(), "bob"), []string{"pending", "accepted"})
		equal(t, "bob was told", contactEvents(w.laptop.Settled(), "alice"), []string{"requested", "accepted", "accepted"})

		w.alice.Must("contact.remove", M{"who": "bob"})
		hasState(t, w.alice, "bob", "")
		hasState(t, w.bob, "alice", "")
		equal(t, "bob was told", contactEvents(w.bob.Settled(), "alice"), []string{"requested", "accepted", "accepted", "none"})
		for _, p := range []*Person{w.alice, w.bob} {
			other := map[*Person]string{w.alice: "bob", w.bob: "alice"}[p]
			if _, word := p.Send(other, "hello"); word != "no_right" {
				t.Errorf("%s writes: %q", p.Name, word)
			}
			equal(t, "what is left to read", texts(p, other), []string{"alice: it's me"})
		}
		refused(t, w.bob, "contact.set", M{"who": "alice", "remark": "x"}, "no_right")
		befriend(t, w.bob, w.alice)
		if line := contacts(t, w.bob)["alice"]; line["remark"] != nil || line["tags"] != nil {
			t.Errorf("the notes have come back: %v", line)
		}
		if _, word := w.alice.Send("bob", "hello"); word != "" {
			t.Errorf("contacts again: %q", word)
		}
	})
}

// The changes after any version, put onto the list of that version, make the list of today.
func TestRow_7_1_4_ListOfChanges(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		type snapshot struct {
			ver  float64
			list map[string]M
		}
		var all []snapshot
		take := func() {
			ver, _ := w.bob.Must("contact.list", M{})["ver"].(float64)
			all = append(all, snapshot{ver, contacts(t, w.bob)})
		}
		for _, step := range []func(){
			func() {}, func() { w.alice.Must("contact.request", M{"to": "bob", "greeting": "hi"}) },
			func() { w.bob.Must("contact.accept", M{"from": "alice"}) },
			func() { w.bob.Must("contact.request", M{"to": "carol"}) },
			func() { w.bob.Must("contact.set", M{"who": "alice", "remark": "A."}) },
			func() { w.bob.Must("contact.withdraw", M{"to": "carol"}) },
			func() { w.bob.Must("contact.block", M{"who": "carol"}) },
			func() { w.alice.Must("contact.remove", M{"who": "bob"}) },
			func() { w.bob.Must("contact.unblock", M{"who": "carol"}) },
		} {
			step()
			take()
		}
		now := all[len(all)-1]
		for i, was := range all {
			list, ver := was.list, was.ver
			for {
				out := w.bob.Must("contact.list", M{"ver": ver, "limit": 1})
				changed := items(out, "contacts")
				for _, line := range changed {
					who, _ := line["who"].(string)
					if list[who] = line; line["st"] == "none" && line["blocked"] != true {
						delete(list, who)
					}
				}
				next, _ := out["ver"].(float64)
				more, _ := out["more"].(bool)
				if more && next <= ver {
					t.Fatalf("after version %v: %v", ver, out)
				}
				if ver = next; !more {
					break
				}
			}
			if ver != now.ver || len(list) != len(now.list) {
				t.Errorf("from version %v (step %d): %v at %v, want %v at %v", was.ver, i, list, ver, now.list, now.ver)
			}
		}
		out := w.bob.Must("contact.list", M{"ver": now.ver})
		if changed := items(out, "contacts"); len(changed) > 0 {
			t.Errorf("nothing has changed, but %v", changed)
		}
	})
}

func TestRow_S4_2_Strangers(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		if _, word := w.alice.Send("bob", "hello"); word != "no_right" {
			t.Errorf("nobody may, by default: %q", word)
		}
		w.bob.Must("settings.set", M{"strangers": "everyone"})
		out, word := w.alice.Send("bob", "are you the one who sells a bicycle?")
		if word != "" || out["c"] != "d.alice.bob" {
			t.Fatalf("the first message: %q, %v", word, out)
		}
		if _, word := w.alice.Send("bob", "hello?"); word != "await_reply" {
			t.Errorf("the second one: %q", word)
		}
		shown := w.laptop.Await(0, "the message", func(s Seen) bool { return s.T() == "msg" })
		if shown.Fields["box"] != true || shown.number("total") != 0 {
			t.Errorf("shown as %s", shown.Raw)
		}
		hasNumbers(t, w.bob, 0, 1, 0)
		equal(t, "conversations", conversations(w.bob, "conv.list"), nil)
		equal(t, "the box", conversations(w.bob, "box.list"), []string{"d.alice.bob"})
		equal(t, "hers", conversations(w.alice, "conv.list"), []string{"d.alice.bob"})
		if word := w.alice.Typing("bob", true); word == "" {
			t.Error("a stranger who waits for an answer was shown typing")
		}
		if word := w.bob.Read("alice", 1); word != "" {
			t.Errorf("reading: %q", word)
		}
		hasNumbers(t, w.bob, 0, 0, 0)
		equal(t, "it stays in the box", conversations(w.bob, "box.list"), []string{"d.alice.bob"})
		if _, word := w.alice.Send("bob", "you have seen it!"); word != "await_reply" {
			t.Errorf("read is not answered: %q", word)
		}
		for _, s := range w.alice.Settled() {
			if s.T() == "rcpt" {
				t.Errorf("a stranger hears how far his message was read: %s", s.Raw)
			}
		}
		if _, word := w.bob.Send("alice", "yes"); word != "" {
			t.Fatalf("the answer: %q", word)
		}
		for range 2 {
			if _, word := w.alice.Send("bob", "how much?"); word != "" {
				t.Errorf("free after the answer: %q", word)
			}
			if _, word := w.bob.Send("alice", "100"); word != "" {
				t.Errorf("bob is free, too: %q", word)
			}
		}
		equal(t, "the box", conversations(w.bob, "box.list"), nil)
		equal(t, "conversations", conversations(w.bob, "conv.list"), []string{"d.alice.bob"})
		hasNumbers(t, w.bob, 2, 0, 0)
		hasState(t, w.bob, "alice", "")
	})
}

func TestRow_S4_2_StrangersWhoAreNotWanted(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		w.bob.Must("settings.set", M{"strangers": "everyone"})
		w.alice.Send("bob", "hello")
		w.carol.Send("bob", "hello")
		hasNumbers(t, w.bob, 0, 2, 0)
		// told sees that the last event says that nothing is unread of a stranger any more.
		told := func(who, c string) {
			t.Helper()
			all := w.laptop.Settled()
			s := all[len(all)-1]
			if n, there := s.Fields["unread"].(float64); !s.Is("t", "contact", "st", "none", "who", who, "c", c) || n != 0 || !there {
				t.Errorf("the laptop was told last %s, want that nothing is unread of %s", s.Raw, who)
			}
		}
		w.bob.Must("box.drop", M{"c": "d.alice.bob"})
		told("alice", "d.alice.bob")
		equal(t, "the box", conversations(w.bob, "box.list"), []string{"d.bob.carol"})
		hasNumbers(t, w.bob, 0, 1, 0)
		if _, word := w.alice.Send("bob", "hello?"); word != "await_reply" {
			t.Errorf("who was put away is not told: %q", word)
		}
		w.bob.Must("contact.block", M{"who": "carol"})
		equal(t, "the box", conversations(w.bob, "box.list"), nil)
		told("carol", "d.bob.carol")
		hasNumbers(t, w.bob, 0, 0, 0)
		refused(t, w.bob, "box.drop", M{"c": "d.bob.zoe"}, "no_conv")
		refused(t, w.carol, "box.drop", M{"c": "d.alice.bob"}, "not_member")
	})
}

func TestRow_S4_2_ContactsOfContacts(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		w.bob.Must("settings.set", M{"strangers": "contacts_of_contacts"})
		if _, word := w.alice.Send("bob", "hello"); word != "no_right" {
			t.Errorf("without a common contact: %q", word)
		}
		befriend(t, w.bob, w.carol)
		befriend(t, w.alice, w.carol)
		if _, word := w.alice.Send("bob", "hello"); word != "" {
			t.Errorf("with a common contact: %q", word)
		}
		equal(t, "the box", conversations(w.bob, "box.list"), []string{"d.alice.bob"})
		w.bob.Must("settings.set", M{"strangers": "nobody"})
		if _, word := w.bob.Send("alice", "hello"); word != "" {
			t.Errorf("who was written to may answer: %q", word)
		}
		if _, word := w.alice.Send("bob", "hello"); word != "" {
			t.Errorf("and then both are free: %q", word)
		}
	})
}
