package people

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/e2e/server"
)

// group makes a room with members, who are contacts of its owner.
func group(t *testing.T, owner *Person, in M, members ...*Person) string {
	t.Helper()
	var names []string
	for _, p := range members {
		befriend(t, owner, p)
		names = append(names, p.Name)
	}
	in["title"], in["members"] = "Trip", names
	c, _ := owner.Must("group.create", in)["c"].(string)
	return c
}

// post writes a text to a conversation: by its topic over MQTT, by the method over HTTP.
func (p *Person) post(c, text string) (out M, word string) {
	if p.Way == HTTP {
		return p.Call("send", M{"c": c, "body": M{"text": text}})
	}
	return p.Publish("im/c/"+c+"/send", []byte(text))
}

// messages gives all that somebody may read of a conversation.
func messages(t *testing.T, p *Person, c string) []M {
	t.Helper()
	var all []M
	for after := 0.0; ; {
		page := items(p.Must("history", M{"c": c, "after": after, "limit": 100}), "msgs")
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after, _ = page[len(page)-1]["seq"].(float64)
	}
}

// said says in a few words what a message is: "alice: hi", "alice kick bob".
func said(m M) string {
	body, _ := m["body"].(map[string]any)
	if m["k"] != "sys" {
		return fmt.Sprint(m["from"], ": ", body["text"])
	}
	line := fmt.Sprint(m["from"], " ", body["do"])
	who, _ := body["who"].([]any)
	for _, name := range who {
		line += fmt.Sprint(" ", name)
	}
	return line
}

func allSaid(t *testing.T, p *Person, c string) []string {
	t.Helper()
	var all []string
	for _, m := range messages(t, p, c) {
		all = append(all, said(m))
	}
	return all
}

// ofRoom waits for an event about what somebody is to a room.
func ofRoom(p *Person, c, st string, pairs ...string) Seen {
	p.t.Helper()
	return p.Await(0, st+" of "+c, func(s Seen) bool {
		return s.T() == "conv" && s.Is(append(pairs, "c", c, "st", st)...)
	})
}

func TestRoomsAreEnteredByEveryDoor(t *testing.T) {
	for _, way := range Ways {
		t.Run(string(way), func(t *testing.T) {
			w := meet(t, way)
			c := group(t, w.alice, M{}, w.bob)
			ofRoom(w.bob, c, "joined", "by", "alice", "title", "Trip", "role", "member")
			out := w.alice.Must("group.invite", M{"c": c, "who": []string{"carol", "bob", "zoe"}})
			if got := fmt.Sprint(out["joined"], out["invited"], out["refused"]); got != "[bob] [carol] map[zoe:no_conv]" {
				t.Errorf("invited: %s", got)
			}
			ofRoom(w.carol, c, "invited", "by", "alice", "title", "Trip")
			w.carol.Must("group.answer", M{"c": c, "yes": true})
			dave, erin := w.Join("dave", way), w.Join("erin", way)
			link := w.alice.Must("group.link", M{"c": c, "uses": 1})["link"]
			if got := dave.Must("group.join", M{"link": link}); got["c"] != c || got["st"] != "joined" {
				t.Errorf("joined by the link: %v", got)
			}
			refused(t, erin, "group.join", M{"link": link}, "no_conv")
			refused(t, erin, "group.join", M{"c": c}, "no_right")
			w.alice.Must("group.set", M{"c": c, "join": "approval"})
			if got := erin.Must("group.join", M{"c": c, "text": "let me in"}); got["st"] != "asked" {
				t.Errorf("asked: %v", got)
			}
			ofRoom(w.alice, c, "asked", "who", "erin", "text", "let me in")
			if list := items(w.alice.Must("group.asking", M{"c": c}), "asking"); len(list) != 1 || list[0]["who"] != "erin" {
				t.Errorf("who asks: %v", list)
			}
			w.alice.Must("group.approve", M{"c": c, "who": "erin", "yes": true})
			ofRoom(erin, c, "joined", "by", "alice")
			want := []string{"alice create bob", "carol join carol", "dave join dave", "alice set", "alice join erin"}
			if got := allSaid(t, w.alice, c); !slices.Equal(got, want) {
				t.Errorf("the room says %q, want %q", got, want)
			}
			if got := allSaid(t, erin, c); !slices.Equal(got, want[4:]) {
				t.Errorf("the last one may read %q, want %q", got, want[4:])
			}
			if n := len(items(w.bob.Must("group.members", M{"c": c}), "members")); n != 5 {
				t.Errorf("there are %d members, want 5", n)
			}
			if got := conversations(erin, "conv.list"); !slices.Contains(got, c) {
				t.Errorf("erin's conversations are %v", got)
			}
		})
	}
}

func TestAdminsRuleARoomUntilItEnds(t *testing.T) {
	for _, way := range Ways {
		t.Run(string(way), func(t *testing.T) {
			w := meet(t, way)
			dave := w.Join("dave", way)
			c := group(t, w.alice, M{}, w.bob, w.carol, dave)
			w.alice.Must("group.role", M{"c": c, "who": "bob", "role": "admin"})
			ofRoom(w.laptop, c, "role", "by", "alice", "role", "admin")
			w.bob.Must("group.mute", M{"c": c, "who": "carol", "for": 3600})
			ofRoom(w.carol, c, "muted", "by", "bob")
			out, word := w.carol.post(c, "hello?")
			if ms := fmt.Sprint(out["retry_ms"]); word != "muted" || ms == "<nil>" || ms == "0" {
				t.Errorf("muted: %q, %v", word, out)
			}
			w.bob.Must("group.unmute", M{"c": c, "who": "carol"})
			ofRoom(w.carol, c, "unmuted")
			if _, word := w.carol.post(c, "hello"); word != "" {
				t.Errorf("unmuted: %q", word)
			}
			refused(t, w.bob, "group.kick", M{"c": c, "who": []string{"alice"}}, "no_right")
			w.bob.Must("group.kick", M{"c": c, "who": []string{"carol"}})
			w.bob.Must("group.ban", M{"c": c, "who": "dave"})
			ofRoom(w.carol, c, "kicked", "by", "bob")
			ofRoom(dave, c, "banned", "by", "bob")
			refused(t, dave, "history", M{"c": c}, "not_member")
			refused(t, dave, "group.join", M{"c": c}, "banned")
			if got := fmt.Sprint(w.alice.Must("group.invite", M{"c": c, "who": []string{"dave"}})["refused"]); got != "map[dave:banned]" {
				t.Errorf("a banned one is invited: %s", got)
			}
			refused(t, w.alice, "group.leave", M{"c": c}, "last_owner")
			w.alice.Must("group.transfer", M{"c": c, "to": "bob"})
			w.alice.Must("group.transfer", M{"c": c, "to": "bob"})
			ofRoom(w.bob, c, "role", "role", "owner")
			w.alice.Must("group.leave", M{"c": c})
			ofRoom(w.alice, c, "left")
			w.bob.Must("group.dissolve", M{"c": c})
			ofRoom(w.laptop, c, "dissolved")
			if _, word := w.bob.post(c, "anybody?"); word != "gone" {
				t.Errorf("written to a dissolved room: %q", word)
			}
			want := []string{"alice create bob carol dave", "alice role bob", "bob mute carol", "bob unmute carol", "carol: hello",
				"bob kick carol", "bob ban dave", "alice transfer bob", "alice leave alice", "bob dissolve"}
			if got := allSaid(t, w.bob, c); !slices.Equal(got, want) {
				t.Errorf("the room says %q, want %q", got, want)
			}
			if got := allSaid(t, w.carol, c); !slices.Equal(got, want[:5]) {
				t.Errorf("who was kicked may read %q, want %q", got, want[:5])
			}
			if got := allSaid(t, w.alice, c); !slices.Equal(got, want[:8]) {
				t.Errorf("who has left may read %q, want %q", got, want[:8])
			}
		})
	}
}

// Whoever is kicked is shown nothing that comes after, on no topic, and everything that came before.
func TestWhoIsKickedAmongMessagesGetsNoneAfterIt(t *testing.T) {
	t.Run("small", func(t *testing.T) { kickAmongMessages(t, false) })
	t.Run("large", func(t *testing.T) { kickAmongMessages(t, true) })
}

func kickAmongMessages(t *testing.T, large bool) {
	d := dice(t)
	place, _ := Inside(t, func(c *broker.Config) {
		c.Limits.NewRooms = 0
		if large {
			c.Chat.LargeFrom = 1
		}
	})
	alice, bob := place.Join("alice", V5), place.Join("bob", V311)
	for i := range rounds(t, 5) {
		carol := place.Join(fmt.Sprint("carol", i), Ways[i%3])
		devices := []*Person{carol, carol.Another("laptop", Ways[(i+1)%3])}
		c := group(t, alice, M{}, bob, carol)
		other := group(t, alice, M{}, carol)
		for _, p := range devices {
			for _, room := range []string{c, other} {
				if code := p.Subscribe("im/c/"+room+"/live", byte(i%2)); code >= 0x80 {
					t.Fatalf("watch: %#x", code)
				}
			}
		}
		var noise sync.WaitGroup
		var sent atomic.Int64
		var stop atomic.Bool
		for _, p := range []*Person{alice, bob, carol} {
			noise.Go(func() {
				for n := 0; !stop.Load(); n++ {
					if _, word := p.post(c, fmt.Sprint(n)); word != "" && (p != carol || word != "not_member") {
						t.Errorf("%s: %q", p.Name, word)
						return
					}
					sent.Add(1)
				}
			})
		}
		await := func(more int64) {
			until := sent.Load() + more
			if !becomes(func() bool { return sent.Load() >= until }) {
				t.Fatal("nothing is sent any more")
			}
		}
		await(5 + d.Int64N(40))
		if way := alice.Another("tablet", Ways[i%3]); i%2 == 0 {
			way.Must("group.kick", M{"c": c, "who": []string{carol.Name}})
		} else if large { // who is banned has no history that could say when it was
			way.Must("group.ban", M{"c": c, "who": carol.Name})
			way.Must("group.unban", M{"c": c, "who": carol.Name})
		} else {
			way.Must("group.ban", M{"c": c, "who": carol.Name})
		}
		await(20)
		stop.Store(true)
		noise.Wait()
		checkKicked(t, alice, c, other, large, devices)
	}
}

// checkKicked sees what was shown to the devices of somebody who was kicked from c, and not from another room.
func checkKicked(t *testing.T, alice *Person, c, other string, large bool, devices []*Person) {
	t.Helper()
	kicked := 0.0
	if large { // there is no line, but the history of a former member has an end
		head, _ := devices[0].Must("history", M{"c": c})["head"].(float64)
		kicked = head + 1
	}
	for _, m := range messages(t, alice, c) {
		if s := said(m); strings.HasPrefix(s, "alice kick ") || strings.HasPrefix(s, "alice ban ") {
			kicked, _ = m["seq"].(float64)
		}
	}
	if kicked == 0 {
		t.Fatal("there is no line about it")
	}
	alice.post(other, "the end")
	for _, p := range devices {
		for _, topic := range []string{"in", "im/c/" + other + "/live"} { // all that was shown before has come then
			p.Await(0, "the end", func(s Seen) bool { return s.Topic == topic && strings.Contains(s.Raw, "the end") })
		}
		seqs := map[float64]bool{}
		for _, s := range append(p.Settled(), p.Record()...) {
			if s.text("c") != c {
				continue
			}
			seq, _ := s.Fields["seq"].(float64)
			if seq >= kicked && s.Topic != "rsp" || seq > kicked {
				t.Errorf("%s was kicked at %v and was shown, on %s: %s", p.Name, kicked, s.Topic, s.Raw)
			}
			if s.T() == "msg" && s.Topic == "in" {
				seqs[seq] = true
			}
		}
		for seq := 1.0; seq < kicked; seq++ {
			if !seqs[seq] && !large { // there, what somebody does not keep up with is left out
				t.Errorf("%s was kicked at %v and has not got %v", p.Name, kicked, seq)
			}
		}
	}
}

// turnstile is a room that somebody joins and is kicked from, again and again, while the server is killed.
type turnstile struct {
	owner, guest *Person
	c            string
	in           bool // as was acknowledged last
	sure         bool // nothing else was asked for since
}

func (x *turnstile) run(step func()) {
	for range 12 {
		x.sure = false
		var word string
		if x.in {
			_, word = x.owner.Call("group.kick", M{"c": x.c, "who": []string{x.guest.Name}})
		} else {
			_, word = x.guest.Call("group.join", M{"c": x.c})
		}
		if word == Lost {
			return
		}
		x.in, x.sure = !x.in, true
		x.owner.post(x.c, "a")
		x.guest.post(x.c, "b")
		step()
	}
}

// check sees that everybody agrees whether the guest is in the room, and that it is no less than what was acknowledged.
func (x *turnstile) check(t *testing.T) {
	t.Helper()
	var members []string
	for _, m := range items(x.owner.Must("group.members", M{"c": x.c}), "members") {
		members = append(members, fmt.Sprint(m["who"]))
	}
	in := slices.Contains(members, x.guest.Name)
	if x.sure && in != x.in {
		t.Errorf("the guest is in the room: %t, and it was acknowledged: %t", in, x.in)
	}
	if n := fmt.Sprint(x.owner.Must("group.get", M{"c": x.c})["members"]); n != fmt.Sprint(len(members)) {
		t.Errorf("the room has %s members, and the list %d", n, len(members))
	}
	lines, inLines := 0, false
	for _, s := range allSaid(t, x.owner, x.c) {
		switch {
		case strings.Contains(s, " join "), strings.Contains(s, " kick "):
			lines++
			if inLines == strings.Contains(s, " join ") {
				t.Errorf("two lines %q", s)
			}
			inLines = !inLines
		case inLines == false && strings.HasPrefix(s, x.guest.Name):
			t.Errorf("%q was said from outside", s)
		}
	}
	events, inEvents := 0, false
	for _, s := range x.guest.Settled() {
		if s.T() == "conv" && s.text("c") == x.c {
			events++
			inEvents = s.text("st") == "joined"
		}
	}
	listed := slices.Contains(conversations(x.guest, "conv.list"), x.c)
	if inLines != in || inEvents != in || listed != in || lines != events {
		t.Errorf("he is in it: %t by the list, %t by %d lines, %t by %d events, %t by his list of conversations",
			in, inLines, lines, inEvents, events, listed)
	}
	_, word := x.guest.post(x.c, "still here")
	if (word == "") != in {
		t.Errorf("he is in it: %t, and writes: %q", in, word)
	}
}

func TestARoomAndItsMembersAgreeWhenTheProcessIsKilled(t *testing.T) {
	n, d := rounds(t, 6), dice(t)
	place, s := Outside(t, server.Env("MAGPIE_LIMITS_NEW_ROOMS=0"))
	for round := range n {
		var all []*turnstile
		for i := range 4 {
			x := &turnstile{
				owner: place.Join(fmt.Sprintf("o%d-%d", round, i), Ways[d.IntN(3)]),
				guest: place.Join(fmt.Sprintf("g%d-%d", round, i), Ways[d.IntN(3)]),
			}
			x.c = group(t, x.owner, M{"join": "open"})
			all = append(all, x)
		}
		var steps atomic.Int64
		until, enough := d.Int64N(int64(len(all)*12)), make(chan struct{})
		var running sync.WaitGroup
		for _, x := range all {
			running.Go(func() {
				x.run(func() {
					if steps.Add(1) == until+1 {
						close(enough)
					}
				})
			})
		}
		<-enough
		s.Kill()
		running.Wait()
		s.Start()
		for _, x := range all {
			for _, p := range []*Person{x.owner, x.guest} {
				p.Cut()
				if err := p.Connect(); err != nil {
					t.Fatal(err)
				}
			}
			if x.check(t); t.Failed() {
				t.Fatalf("round %d, %s", round, x.c)
			}
			x.owner.Leave()
			x.guest.Leave()
		}
	}
}
