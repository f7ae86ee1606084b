package people

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// found gives who is found, in the order of their names, and the whole answer.
func found(p *Person, in M) (names []string, raw string) {
	out := p.Must("contact.search", in)
	for _, card := range items(out, "users") {
		name, _ := card["uid"].(string)
		names = append(names, name)
	}
	delete(out, "rid")
	text, _ := json.Marshal(out)
	slices.Sort(names)
	return names, string(text)
}

func TestRow_7_1_1_Exact(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		w.bob.Must("profile.set", M{"name": "Bob", "phone": "+49 170 1234567", "email": "Bob@Example.org"})
		by := map[string]string{"uid": "bob", "phone": "+491701234567", "email": "bob@example.org"}
		missing := map[string]string{"uid": "zoe", "phone": "+491701234568", "email": "zoe@example.org"}
		for handle, q := range by {
			allowed := handle == "uid" // unless he says something else
			for range 2 {
				names, raw := found(w.alice, M{"q": q, "mode": "exact"})
				_, none := found(w.alice, M{"q": missing[handle], "mode": "exact"})
				switch {
				case allowed && !slices.Equal(names, []string{"bob"}):
					t.Errorf("by %s, allowed: %s", handle, raw)
				case !allowed && raw != none:
					t.Errorf("by %s, not allowed: %s, and of somebody who is not there: %s", handle, raw, none)
				}
				allowed = !allowed
				w.bob.Must("settings.set", M{"find": M{handle: allowed}})
			}
		}
		if names, _ := found(w.alice, M{"q": "alice", "mode": "exact"}); len(names) > 0 {
			t.Errorf("she has found herself: %v", names)
		}
		if names, _ := found(w.alice, M{"q": "  BOB "}); !slices.Equal(names, []string{"bob"}) {
			t.Errorf("exact is what is meant if nothing is said: %v", names)
		}
		for _, q := range []string{"", "B b", "+49", "+49x", "@", "a@b@c", "\x00", string(make([]byte, 300)), "bob\n"} {
			if out, word := w.alice.Call("contact.search", M{"q": q, "mode": "exact"}); word != "bad" && word != "too_big" &&
				(word != "" || len(items(out, "users")) > 1) {
				t.Errorf("%.20q: %q %v", q, word, out)
			}
		}
		refused(t, w.alice, "contact.search", M{"q": "bob", "mode": "fuzzy"}, "bad")
		refused(t, w.alice, "contact.search", M{"mode": "nearby"}, "bad")
		refused(t, w.alice, "contact.search", M{"mode": "nearby", "lat": 91, "lon": 0}, "bad")
	})
}

func TestRow_7_1_1_AmongThoseWhoWantToBeFound(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		here, far := M{"lat": 52.52, "lon": 13.405}, M{"lat": -33.86, "lon": 151.2}
		searches := []M{{"mode": "prefix", "q": "bo"}, {"mode": "prefix", "q": "rob"}, {"mode": "random"},
			{"mode": "nearby", "lat": 52.521, "lon": 13.401}}
		w.bob.Must("profile.set", M{"name": "The Robert"})
		hasFound := func(when string, want ...string) {
			t.Helper()
			for _, in := range searches {
				if names, raw := found(w.alice, in); !slices.Equal(names, want) {
					t.Errorf("%s, %v: %s, want %v", when, in, raw, want)
				}
			}
		}
		hasFound("he has not said so")
		w.bob.Must("settings.set", M{"find": M{"listed": true, "nearby": here}})
		hasFound("he wants to be found", "bob")
		w.bob.Must("contact.block", M{"who": "alice"})
		hasFound("he has blocked her")
		w.bob.Must("contact.unblock", M{"who": "alice"})
		w.alice.Must("contact.block", M{"who": "bob"})
		hasFound("she has blocked him")
		w.alice.Must("contact.unblock", M{"who": "bob"})
		w.bob.Must("settings.set", M{"find": M{"uid": false}})
		hasFound("he hides")
		w.bob.Must("settings.set", M{"find": M{"uid": true, "nearby": far}})
		if names, _ := found(w.alice, searches[3]); len(names) > 0 {
			t.Errorf("he is at the other end of the world: %v", names)
		}
		w.bob.Must("settings.set", M{"find": M{"listed": false, "nearby": nil}})
		hasFound("he does not want it any more")
		w.bob.Must("settings.set", M{"find": M{"listed": true, "nearby": here}})
		hasFound("he does", "bob")
		if err := w.node.Disable(t, "bob"); err != nil {
			t.Fatal(err)
		}
		hasFound("he is suspended")
	})
}

func TestRow_7_1_1_TwentyAtMostAndAHundredAMinute(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		place, _ := Inside(t)
		alice := place.Join("alice", way)
		for i := range 25 {
			token := place.Register(fmt.Sprint("friend", i))
			place.Post(t.Context(), token, "", "settings.set", M{"find": M{"listed": true, "nearby": M{"lat": 1, "lon": 1}}})
		}
		asked := 0
		for _, in := range []M{{"mode": "prefix", "q": "f"}, {"mode": "random"}, {"mode": "nearby", "lat": 1, "lon": 1}} {
			in["limit"] = 1000
			if names, _ := found(alice, in); len(names) != 20 || len(slices.Compact(names)) != 20 {
				t.Errorf("%v: %d: %v", in, len(names), names)
			}
			asked++
		}
		for ; asked < 200; asked++ {
			out, word := alice.Call("contact.search", M{"q": "friend1"})
			if word == "" {
				continue
			}
			if retry, _ := out["retry_ms"].(float64); word != "quota" && word != "throttled" || retry <= 0 {
				t.Errorf("search %d: %q %v", asked, word, out)
			}
			break
		}
		if asked < 100 || asked > 150 { // those that the time has given back meanwhile are granted, too
			t.Errorf("search %d was refused, want the 101st or one soon after it", asked)
		}
	})
}

func TestRow_7_1_2_Profile(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		dave := w.Join("dave", way)
		befriend(t, w.alice, w.bob)
		befriend(t, w.alice, dave)
		befriend(t, dave, w.carol)
		w.alice.Must("contact.block", M{"who": "dave"})
		mark := w.bob.Mark()
		w.alice.Must("profile.set", M{"name": "Alice", "avatar": "m.1", "text": "hello", "phone": "+4917055555555",
			"email": "alice@example.org", "fields": M{"city": "Berlin", "work": "baker", "diary": "dear diary"},
			"show": M{"phone": "contacts", "email": "nobody", "city": "everyone", "work": "contacts", "diary": "nobody"}})
		w.alice.Must("profile.set", M{"text": "hello, world"}) // and what is not said stays
		sees := func(p *Person) (fields []string, out M) {
			out = p.Must("profile.get", M{"uid": "alice"})
			for _, name := range sortedKeys(out) {
				if !slices.Contains([]string{"t", "ok", "rid", "fields", "mutual"}, name) {
					fields = append(fields, name)
				}
			}
			more, _ := out["fields"].(map[string]any)
			return append(fields, sortedKeys(more)...), out
		}
		self, _ := sees(w.alice)
		equal(t, "herself", self, []string{"avatar", "email", "name", "phone", "show", "text", "uid", "ver", "city", "diary", "work"})
		contact, out := sees(w.bob)
		equal(t, "a contact", contact, []string{"avatar", "name", "phone", "st", "text", "uid", "ver", "city", "work"})
		if out["name"] != "Alice" || out["text"] != "hello, world" || out["st"] != "accepted" || out["phone"] != "+4917055555555" {
			t.Errorf("a contact sees %v", out)
		}
		stranger, out := sees(w.carol)
		equal(t, "a stranger", stranger, []string{"avatar", "name", "st", "text", "uid", "ver", "city"})
		if out["st"] != "none" {
			t.Errorf("a stranger sees %v", out)
		}
		blocked, _ := sees(dave)
		if slices.ContainsFunc(blocked, func(f string) bool { return !slices.Contains([]string{"uid", "name", "st"}, f) }) {
			t.Errorf("who is blocked sees %v", blocked)
		}
		w.bob.Await(mark, "her profile", func(s Seen) bool {
			return s.T() == "profile" && s.text("who") == "alice" && s.number("ver") > 0
		})
		for _, p := range []*Person{dave, w.carol} {
			for _, s := range p.Settled() {
				if s.T() == "profile" {
					t.Errorf("%s was told: %s", p.Name, s.Raw)
				}
			}
		}
		// Contacts of both are counted for a stranger.
		befriend(t, w.bob, w.carol)
		if _, out := sees(w.carol); out["mutual"] != 1.0 && out["mutual"] != 2.0 {
			t.Errorf("carol knows bob and dave, who know alice: %v", out)
		}
		refused(t, w.alice, "profile.set", M{"verified": "yes", "fields": M{"phone": "1"}}, "bad")
		w.alice.Must("profile.set", M{"verified": true, "bot": true})
		if out := w.bob.Must("profile.get", M{"uid": "alice"}); out["verified"] != nil || out["bot"] != nil {
			t.Errorf("she has marked herself: %v", out)
		}
		w.alice.Must("profile.set", M{"phone": "", "fields": M{"work": nil}})
		contact, _ = sees(w.bob)
		equal(t, "a contact", contact, []string{"avatar", "name", "st", "text", "uid", "ver", "city"})
	})
}

func TestRow_7_1_2_DeletedProfile(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		befriend(t, w.alice, w.bob)
		w.bob.Must("profile.set", M{"name": "Bob", "phone": "+4917055555556"})
		w.bob.Must("settings.set", M{"find": M{"phone": true}})
		if _, word := w.Post(t.Context(), w.bob.Token, "", "account.delete", M{"password": Password}); word != "" {
			t.Fatalf("delete: %s", word)
		}
		for _, device := range []*Person{w.bob, w.laptop} {
			if !becomes(func() bool { return !device.Connected() }) {
				t.Errorf("%s is still connected", device.client)
			}
		}
		if _, word := w.Post(t.Context(), w.bob.Token, "", "unread.get", M{}); word != Unauthenticated {
			t.Errorf("his token: %q", word)
		}
		if err := w.bob.Connect(); !errors.Is(err, ErrCredentials) {
			t.Errorf("he connects: %v", err)
		}
		for _, p := range []*Person{w.alice, w.carol} {
			out := p.Must("profile.get", M{"uid": "bob"})
			for _, name := range []string{"t", "ok", "rid"} {
				delete(out, name)
			}
			if text, _ := json.Marshal(out); string(text) != `{"deleted":true,"uid":"bob"}` {
				t.Errorf("%s sees %s", p.Name, text)
			}
			for _, q := range []string{"bob", "+4917055555556"} {
				if names, _ := found(p, M{"q": q}); len(names) > 0 {
					t.Errorf("%s finds him by %s", p.Name, q)
				}
			}
			if _, word := p.Send("bob", "are you there?"); word != "gone" {
				t.Errorf("%s writes: %q", p.Name, word)
			}
			refused(t, p, "contact.request", M{"to": "bob"}, "gone")
		}
		w.alice.Await(0, "that he is no more", func(s Seen) bool { return s.T() == "contact" && s.Is("who", "bob", "st", "deleted") })
		equal(t, "his contact was told", contactEvents(w.alice.Settled(), "bob"), []string{"pending", "accepted", "deleted"})
		if _, word := w.Post(t.Context(), "", "", "login", M{"uid": "bob", "password": Password}); word != "credentials" {
			t.Errorf("log in: %q", word)
		}
		if _, word := w.Post(t.Context(), "", "", "register", M{"uid": "bob", "password": Password}); word != "taken" {
			t.Errorf("register: %q", word)
		}
		refused(t, w.carol, "profile.set", M{"phone": "+4917055555556"}, "taken") // for a while
	})
}
