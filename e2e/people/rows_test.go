package people

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
)

// trio is alice, bob and carol, who come by one way and know nobody, and a second device of bob.
type trio struct {
	*Place
	node              *brokertest.Node
	alice, bob, carol *Person
	laptop            *Person // bob's, by another way than his phone
}

func meet(t *testing.T, way Way) trio {
	t.Helper()
	place, node := Inside(t)
	other := Ways[(slices.Index(Ways, way)+1)%len(Ways)]
	w := trio{Place: place, node: node}
	w.alice, w.bob, w.carol = place.Join("alice", way), place.Join("bob", way), place.Join("carol", way)
	w.laptop = w.bob.Another("laptop", other)
	return w
}

func befriend(t *testing.T, a, b *Person) {
	t.Helper()
	a.Must("contact.request", M{"to": b.Name})
	b.Must("contact.accept", M{"from": a.Name})
}

// refused fails the test unless a request is refused with one of these words.
func refused(t *testing.T, p *Person, method string, in M, words ...string) M {
	t.Helper()
	out, word := p.Call(method, in)
	if !slices.Contains(words, word) {
		t.Errorf("%s: %s %v: got %q, want %q: %v", p.Name, method, in, word, words, out)
	}
	return out
}

// items gives a list of objects in an answer.
func items(out M, field string) []M {
	list, _ := out[field].([]any)
	all := make([]M, 0, len(list))
	for _, e := range list {
		m, _ := e.(map[string]any)
		all = append(all, m)
	}
	return all
}

// contacts gives the whole list of somebody, by name, page by page.
func contacts(t *testing.T, p *Person) map[string]M {
	t.Helper()
	all := map[string]M{}
	for in := (M{"limit": 3}); ; {
		out := p.Must("contact.list", in)
		for _, line := range items(out, "contacts") {
			who, _ := line["who"].(string)
			if all[who] != nil {
				t.Errorf("%s is in the list of %s twice", who, p.Name)
			}
			all[who] = line
		}
		cursor, _ := out["cursor"].(string)
		if cursor == "" {
			return all
		}
		in = M{"limit": 3, "cursor": cursor}
	}
}

// hasState fails the test unless other stands in p's list as st; "" is not at all.
func hasState(t *testing.T, p *Person, other, st string) M {
	t.Helper()
	line := contacts(t, p)[other]
	if got, _ := line["st"].(string); got != st {
		t.Errorf("%s has %s as %q, want %q: %v", p.Name, other, got, st, line)
	}
	return line
}

// conversations gives the names of somebody's conversations.
func conversations(p *Person, method string) []string {
	var all []string
	for _, c := range items(p.Must(method, M{"limit": 100}), "convs") {
		name, _ := c["c"].(string)
		all = append(all, name)
	}
	return all
}

// texts gives what a conversation says, as somebody reads it: "alice: hello".
func texts(p *Person, with string) []string {
	var all []string
	for _, m := range items(p.Must("history", M{"c": Direct(p.Name, with), "after": 0, "limit": 100}), "msgs") {
		body, _ := m["body"].(map[string]any)
		all = append(all, fmt.Sprint(m["from"], ": ", body["text"]))
	}
	return all
}

// contactEvents gives the states that the events about other said, in order.
func contactEvents(stream []Seen, other string) []string {
	var all []string
	for _, s := range stream {
		if s.T() == "contact" && s.text("who") == other {
			all = append(all, s.text("st"))
		}
	}
	return all
}

func numbers(p *Person) (total, box, requests float64) {
	out := p.Must("unread.get", M{})
	total, _ = out["total"].(float64)
	box, _ = out["box"].(float64)
	requests, _ = out["requests"].(float64)
	return total, box, requests
}

// hasNumbers fails the test unless somebody's unread numbers are these.
func hasNumbers(t *testing.T, p *Person, total, box, requests float64) {
	t.Helper()
	if gotTotal, gotBox, gotRequests := numbers(p); gotTotal != total || gotBox != box || gotRequests != requests {
		t.Errorf("%s has %v unread, %v in the box and %v requests, want %v, %v, %v",
			p.Name, gotTotal, gotBox, gotRequests, total, box, requests)
	}
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

const week = 7 * 24 * 3600 * 1000 // in milliseconds

func TestRow_7_1_3_Request(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		for _, greeting := range []string{"it's me", "it's me", "it's alice"} {
			if out := w.alice.Must("contact.request", M{"to": "bob", "greeting": greeting}); out["st"] != "pending" {
				t.Errorf("request: %v", out)
			}
		}
		equal(t, "one event per change for bob", contactEvents(w.bob.Settled(), "alice"), []string{"requested", "requested"})
		equal(t, "and for alice", contactEvents(w.alice.Settled(), "bob"), []string{"pending", "pending"})
		line := hasState(t, w.bob, "alice", "requested")
		if line["greeting"] != "it's alice" {
			t.Errorf("the greeting is %v", line["greeting"])
		}
		since, _ := line["since"].(float64)
		if until, _ := line["until"].(float64); until-since < week-60_000 || until-since > week+60_000 {
			t.Errorf("asked at %v and good until %v: %v days", since, until, (until-since)/(week/7))
		}
		hasState(t, w.alice, "bob", "pending")
		hasNumbers(t, w.bob, 0, 0, 1)
		if c := conversations(w.bob, "conv.list"); len(c) > 0 {
			t.Errorf("a request has made conversations: %v", c)
		}
		refused(t, w.alice, "contact.request", M{"to": "alice"}, "bad")
		refused(t, w.alice, "contact.request", M{"to": "nobody"}, "no_conv")
		refused(t, w.alice, "contact.request", M{"to": "Bob!"}, "bad")
	})
	t.Run("crossing", func(t *testing.T) { each(t, crossing) })
	t.Run("20 a day", func(t *testing.T) { each(t, twentyADay) })
}

func crossing(t *testing.T, way Way) {
	w := meet(t, way)
	const rounds = 10
	for i := range rounds {
		var both sync.WaitGroup
		for _, pair := range [][2]*Person{{w.alice, w.bob}, {w.bob, w.alice}} {
			both.Go(func() {
				in := M{"to": pair[1].Name, "greeting": fmt.Sprint(pair[0].Name, " ", i)}
				if _, word := pair[0].Call("contact.request", in); word != "" {
					t.Errorf("%s: %s", pair[0].Name, word)
				}
			})
		}
		both.Wait()
		hasState(t, w.alice, "bob", "accepted")
		hasState(t, w.bob, "alice", "accepted")
		for _, p := range []*Person{w.alice, w.bob} {
			equal(t, "conversations of "+p.Name, conversations(p, "conv.list"), []string{"d.alice.bob"})
		}
		said := texts(w.bob, "alice")
		if first := said[len(said)-1]; len(said) != i+1 ||
			first != fmt.Sprint("alice: alice ", i) && first != fmt.Sprint("bob: bob ", i) {
			t.Errorf("round %d: the conversation says %q", i, said)
		}
		w.alice.Must("contact.remove", M{"who": "bob"})
	}
}

func twentyADay(t *testing.T, way Way) {
	place, _ := Inside(t)
	alice := place.Join("alice", way)
	for i := range 20 {
		name := fmt.Sprint("friend", i)
		place.Register(name)
		alice.Must("contact.request", M{"to": name})
		if i%5 == 0 { // neither a greeting nor taking it back makes a difference
			alice.Must("contact.request", M{"to": name, "greeting": "again"})
			alice.Must("contact.withdraw", M{"to": name})
		}
	}
	last := place.Join("last", way)
	out := refused(t, alice, "contact.request", M{"to": "last"}, "quota")
	if retry, _ := out["retry_ms"].(float64); retry <= 0 || retry > week/7 {
		t.Errorf("to be tried again in %v ms", retry)
	}
	hasState(t, last, "alice", "")
	last.Must("contact.request", M{"to": "alice"}) // being asked and accepting is free
	alice.Must("contact.accept", M{"from": "last"})
	alice.Must("contact.request", M{"to": "friend1", "greeting": "still the same request"})
}

func TestRow_7_1_4_Accept(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		tablet := w.Device("bob", w.bob.Token, "tablet", V5)
		tablet.Cut()
		w.alice.Must("contact.request", M{"to": "bob", "greeting": "it's me"})
		w.alice.Cut() // both learn of it, also who is away
		for i := range 10 {
			out := w.bob.Must("contact.accept", M{"from": "alice"})
			if out["who"] != "alice" || out["st"] != "accepted" || out["c"] != "d.alice.bob" {
				t.Errorf("acceptance %d: %v", i, out)
			}
		}
		if err := w.alice.Connect(); err != nil {
			t.Fatal(err)
		}
		if err := tablet.Connect(); err != nil {
			t.Fatal(err)
		}
		for _, device := range []*Person{w.bob, w.laptop, tablet} {
			equal(t, device.client+" was told", contactEvents(device.Settled(), "alice"), []string{"requested", "accepted"})
		}
		equal(t, "alice was told", contactEvents(w.alice.Settled(), "bob"), []string{"pending", "accepted"})
		for p, other := range map[*Person]string{w.alice: "bob", w.bob: "alice"} {
			if line := hasState(t, p, other, "accepted"); line["c"] != "d.alice.bob" {
				t.Errorf("%s: %v", p.Name, line)
			}
			equal(t, "conversations of "+p.Name, conversations(p, "conv.list"), []string{"d.alice.bob"})
			equal(t, "what it says", texts(p, other), []string{"alice: it's me"})
		}
		hasNumbers(t, w.bob, 1, 0, 0)
		refused(t, w.carol, "contact.accept", M{"from": "alice"}, "no_request")
		refused(t, w.alice, "contact.withdraw", M{"to": "bob"}, "no_request")
	})
}

func TestRow_7_1_4_AcceptAfterWithdraw(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		w.alice.Must("contact.request", M{"to": "bob"})
		w.alice.Must("contact.withdraw", M{"to": "bob"})
		refused(t, w.bob, "contact.accept", M{"from": "alice"}, "no_request")
		refused(t, w.alice, "contact.withdraw", M{"to": "bob"}, "no_request")
		equal(t, "bob was told", contactEvents(w.bob.Settled(), "alice"), []string{"requested", "none"})
		hasState(t, w.alice, "bob", "")
		hasState(t, w.bob, "alice", "")
		hasNumbers(t, w.bob, 0, 0, 0)
	})
}

func TestRow_7_1_4_Reject(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		for name, tell := range map[string]bool{"told": true, "silent": false} {
			t.Run(name, func(t *testing.T) {
				w := meet(t, way)
				w.alice.Must("contact.request", M{"to": "bob", "greeting": "it's me"})
				w.bob.Must("contact.reject", M{"from": "alice", "tell": tell})
				equal(t, "bob was told", contactEvents(w.laptop.Settled(), "alice"), []string{"requested", "none"})
				hasState(t, w.bob, "alice", "")
				hasNumbers(t, w.bob, 0, 0, 0)
				refused(t, w.bob, "contact.accept", M{"from": "alice"}, "no_request")
				refused(t, w.bob, "contact.reject", M{"from": "alice"}, "no_request")
				if tell {
					equal(t, "alice was told", contactEvents(w.alice.Settled(), "bob"), []string{"pending", "rejected"})
					hasState(t, w.alice, "bob", "")
					refused(t, w.alice, "contact.request", M{"to": "bob"}, "quota") // for a day
				} else {
					equal(t, "alice was told", contactEvents(w.alice.Settled(), "bob"), []string{"pending"})
					hasState(t, w.alice, "bob", "pending")
					w.alice.Must("contact.request", M{"to": "bob", "greeting": "please"})
				}
				equal(t, "bob hears no more", contactEvents(w.bob.Settled(), "alice"), []string{"requested", "none"})
				if out := w.bob.Must("contact.request", M{"to": "alice"}); tell && out["st"] != "pending" || !tell && out["st"] != "accepted" {
					t.Errorf("bob has thought better of it: %v", out)
				}
			})
		}
	})
}

// Who was refused without a word must not find out by taking his request back and asking again.
func TestRow_7_1_4_SilentRejectionStaysSilent(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		for _, p := range []*Person{w.bob, w.carol} {
			w.alice.Must("contact.request", M{"to": p.Name})
		}
		w.bob.Must("contact.reject", M{"from": "alice"}) // and carol does nothing
		var saw [2]string
		for i, name := range []string{"bob", "carol"} {
			_, again := w.alice.Call("contact.request", M{"to": name, "greeting": "again"})
			_, back := w.alice.Call("contact.withdraw", M{"to": name})
			_, anew := w.alice.Call("contact.request", M{"to": name, "greeting": "anew"})
			st := contacts(t, w.alice)[name]["st"]
			saw[i] = fmt.Sprintf("%q %q %q %q %v", again, back, anew, st, contactEvents(w.alice.Settled(), name))
		}
		if saw[0] != saw[1] {
			t.Errorf("who rejected her: %s\nwho did nothing: %s", saw[0], saw[1])
		}
		hasState(t, w.bob, "alice", "")
	})
}

func TestRow_7_1_4_Ignore(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		w := meet(t, way)
		w.alice.Must("contact.request", M{"to": "bob"})
		w.bob.Must("contact.ignore", M{"from": "alice"})
		hasNumbers(t, w.bob, 0, 0, 0)
		if line := hasState(t, w.bob, "alice", "requested"); line["ignored"] != true {
			t.Errorf("ignored: %v", line)
		}
		hasState(t, w.alice, "bob", "pending")
		w.alice.Must("contact.request", M{"to": "bob", "greeting": "please"})
		equal(t, "alice was told", contactEvents(w.alice.Settled(), "bob"), []string{"pending", "pending"})
		equal(t, "bob was told", contactEvents(w.bob.Settled(), "alice"), []string{"requested", "requested"})
		hasNumbers(t, w.bob, 0, 0, 0)
		w.bob.Must("contact.accept", M{"from": "alice"})
		hasState(t, w.alice, "bob", "accepted")
		refused(t, w.carol, "contact.ignore", M{"from": "alice"}, "no_request")
	})
}
