package people

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
)

// world is people who do things at random, and the oracle who watches.
type world struct {
	*oracle
	t       *testing.T
	place   *Place
	server  *server.Server
	dice    *rand.Rand
	people  map[string]*Person // who have an account
	names   []string           // of them
	streams map[string][]Seen
	born    int
	trace   []string
}

const inhabitants = 5

// requestsADay is how many people one may ask for contact, and tired is when somebody has asked nearly as many.
const requestsADay, tired = 20, 17

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dice: dice(t), people: map[string]*Person{}, streams: map[string][]Seen{}, oracle: newOracle(requestsADay)}
	w.place, w.server = Outside(t, server.Env("MAGPIE_PRESENCE_GRACE=50ms", "MAGPIE_PRESENCE_TYPING=1s"))
	for range inhabitants {
		w.bear()
	}
	return w
}

// bear makes somebody new.
func (w *world) bear() {
	w.born++
	name := fmt.Sprint("u", w.born)
	p := w.place.Join(name, Ways[w.born%len(Ways)])
	w.people[name] = p
	w.names = append(w.names, name)
	w.join(name)
	p.Subscribe("im/p/+", 0)
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-60):], "\n"))
}

// some gives two people.
func (w *world) some() (a, b string) {
	i, j := w.dice.IntN(len(w.names)), w.dice.IntN(len(w.names)-1)
	if j >= i {
		j++
	}
	return w.names[i], w.names[j]
}

// deeds are what people do, the more often the more often it is here.
var deeds = strings.Fields(`request request request request accept accept accept accept reject ignore withdraw remove
	block unblock unblock set send send send send send read read drop strangers`)

func (w *world) someAct() act {
	a := act{do: deeds[w.dice.IntN(len(deeds))], tell: w.dice.IntN(2) == 0, text: fmt.Sprint("text ", w.dice.IntN(3))}
	a.who, a.other = w.some()
	p := w.pair(a.who, a.other)
	switch me := p.sides[a.who]; {
	case a.do == "read" && !p.exists:
		a.do = "send"
	case me.st == "requested" && a.do == "withdraw": // what means something is done more often than not
		a.do = "accept"
	case me.st == "pending" && a.do == "accept":
		a.who, a.other = a.other, a.who
	}
	if a.do == "request" && w.dice.IntN(4) == 0 {
		a.text = ""
	}
	return a
}

// perform has somebody do something.
func (w *world) perform(a act) (word, st string) {
	p := w.people[a.who]
	var out M
	switch a.do {
	case "request":
		out, word = p.Call("contact.request", M{"to": a.other, "greeting": a.text})
	case "accept", "ignore":
		out, word = p.Call("contact."+a.do, M{"from": a.other})
	case "reject":
		out, word = p.Call("contact.reject", M{"from": a.other, "tell": a.tell})
	case "withdraw":
		out, word = p.Call("contact.withdraw", M{"to": a.other})
	case "set":
		out, word = p.Call("contact.set", M{"who": a.other, "remark": a.text})
	case "send":
		_, word = p.Send(a.other, a.text)
	case "read":
		word = p.Read(a.other, uint64(len(w.pair(a.who, a.other).said)))
	case "drop":
		_, word = p.Call("box.drop", M{"c": Direct(a.who, a.other)})
	case "strangers":
		setting := map[bool]string{true: "everyone", false: "nobody"}[a.tell]
		_, word = p.Call("settings.set", M{"strangers": setting})
	default:
		out, word = p.Call("contact."+a.do, M{"who": a.other})
	}
	st, _ = out["st"].(string)
	return word, st
}

// step does something, and sees that the answer is the one that it has to be.
func (w *world) step(a act) {
	w.t.Helper()
	if a.do == "unblock" {
		w.lift(a)
	}
	was := w.pair(a.who, a.other).sides[a.who].blocked
	word, st := w.perform(a)
	wantWord, wantST := w.do(a)
	w.note("%s (%s): %s %s %q %t: %q %s", a.who, w.people[a.who].Way, a.do, a.other, a.text, a.tell, word, st)
	if a.do == "drop" && word == "not_member" { // who has no conversation with somebody is in none
		word = "no_conv"
	}
	if word != wantWord || wantST != "" && st != wantST {
		w.failf("got %q %s, want %q %s", word, st, wantWord, wantST)
	}
	if a.do == "block" && !was {
		w.raise(a, w.ackOf(a.who))
	}
}

// ackOf gives how much had been shown to somebody's device when the ack of what it did last came.
func (w *world) ackOf(who string) int {
	record := w.people[who].Record()
	if w.people[who].Way == HTTP {
		return len(record)
	}
	for i := len(record) - 1; i > 0; i-- {
		if record[i].Topic == "ack" {
			return i
		}
	}
	return len(record)
}

// raise marks, right after the ack of a block, how far both streams had come, and what the device of the one who did it had
// been shown.
func (w *world) raise(a act, shown int) {
	for reader, by := range map[string]string{a.who: a.other, a.other: a.who} {
		f := &fence{reader: reader, by: by, shown: w.people[reader].Mark(), from: uint64(len(w.stream(reader)))}
		if reader == a.who {
			f.shown = shown
		}
		w.fences = append(w.fences, f)
	}
}

// lift marks, right before somebody takes a block back, how far both streams have come.
func (w *world) lift(a act) {
	if !w.pair(a.who, a.other).sides[a.who].blocked || w.pair(a.who, a.other).sides[a.other].blocked {
		return // two blocks are one fence after the other, and the later one holds for both
	}
	for _, f := range w.fences {
		if f.to == 0 && (f.reader == a.who && f.by == a.other || f.reader == a.other && f.by == a.who) {
			f.until = w.people[f.reader].Mark()
			f.to = max(uint64(len(w.stream(f.reader))), 1)
		}
	}
}

// stream gives all of somebody's stream.
func (w *world) stream(who string) []Seen {
	w.streams[who] = append(w.streams[who], w.people[who].StreamAfter(uint64(len(w.streams[who])))...)
	return w.streams[who]
}

// portraits asks the server about everybody.
func (w *world) portraits() map[string]*portrait {
	w.t.Helper()
	all := map[string]*portrait{}
	for _, who := range w.names {
		p := w.people[who]
		total, box, requests := numbers(p)
		all[who] = &portrait{list: contacts(w.t, p), total: int(total), box: int(box), requests: int(requests),
			convs: conversations(p, "conv.list"), boxed: conversations(p, "box.list"), heads: map[string]int{},
			stream: w.stream(who), record: p.Record()}
		for _, c := range append(all[who].convs, all[who].boxed...) {
			head, _ := p.Must("history", M{"c": c, "limit": 1})["head"].(float64)
			all[who].heads[c] = int(head)
		}
	}
	return all
}

// settle sees that everything is as the oracle says.
func (w *world) settle() {
	w.t.Helper()
	if faults := judge(w.oracle, w.portraits()); len(faults) > 0 {
		w.failf("%d faults:\n%s", len(faults), summary(faults))
	}
}

// crash kills the server while somebody does something, which may have been done then or not.
func (w *world) crash() {
	a := w.someAct()
	if a.do == "unblock" {
		w.lift(a)
	}
	after := w.clone()
	wantWord, _ := after.do(a)
	var word string
	var doing sync.WaitGroup
	acted := make(chan struct{})
	doing.Go(func() {
		defer close(acted)
		word, _ = w.perform(a)
	})
	select { // anywhere within it
	case <-time.After(time.Duration(w.dice.IntN(3000)) * time.Microsecond):
	case <-acted:
	}
	w.server.Kill()
	doing.Wait()
	w.note("killed while %s: %s %s %q %t: %q", a.who, a.do, a.other, a.text, a.tell, word)
	w.server.Start()
	for _, p := range w.people {
		p.Cut()
		if err := p.Connect(); err != nil {
			w.failf("%v", err)
		}
		p.Subscribe("im/p/+", 0)
	}
	if word != Lost && word != wantWord && (a.do != "drop" || wantWord != "no_conv") {
		w.failf("got %q, want %q", word, wantWord)
	}
	all := w.portraits()
	done, undone := judge(after, all), judge(w.oracle, all)
	switch {
	case len(done) == 0:
		w.oracle = after
	case word != Lost:
		w.failf("%q is lost:\n%s", word, summary(done))
	case len(undone) > 0:
		w.failf("if it was done:\n%s\nif it was not:\n%s", summary(done), summary(undone))
	}
	if w.pair(a.who, a.other).sides[a.who].blocked {
		w.raise(a, w.people[a.who].Mark())
	}
}

// clash has two people do something to each other at the same time: it has to be as if one had been first.
func (w *world) clash() {
	var acts [2]act
	for acts[0].do == "" || acts[0].do == "strangers" || acts[0].do == "read" {
		acts[0] = w.someAct()
	}
	acts[1] = w.someAct()
	acts[1].who, acts[1].other = acts[0].other, acts[0].who
	if w.dice.IntN(4) == 0 { // by one of them, on two devices, so to speak
		acts[1].who, acts[1].other = acts[0].who, acts[0].other
	}
	if acts[1].do == "strangers" || acts[1].do == "read" {
		acts[1].do = "block"
	}
	p := w.pair(acts[0].who, acts[0].other)
	for _, a := range acts {
		if a.do == "unblock" && p.sides[a.who].blocked {
			w.lift(a)
		}
	}
	var words, states [2]string
	var both sync.WaitGroup
	for i, a := range acts {
		both.Go(func() { words[i], states[i] = w.perform(a) })
	}
	both.Wait()
	w.note("at once: %s (%s) %s %s %q %t: %q %s, and %s (%s) %s %q %t: %q %s", acts[0].who, w.people[acts[0].who].Way, acts[0].do,
		acts[0].other, acts[0].text, acts[0].tell, words[0], states[0], acts[1].who, w.people[acts[1].who].Way, acts[1].do,
		acts[1].text, acts[1].tell, words[1], states[1])
	all := w.portraits()
	var wrong []string
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		o := w.clone()
		bad := ""
		for _, i := range order {
			word, st := o.do(acts[i])
			if got := words[i]; got != word && (acts[i].do != "drop" || got != "not_member") || st != "" && st != states[i] {
				bad += fmt.Sprintf("%s: got %q %s, want %q %s\n", acts[i].do, got, states[i], word, st)
			}
		}
		bad += summary(judge(o, all))
		if bad == "" {
			w.oracle = o
			break
		}
		wrong = append(wrong, bad)
	}
	if len(wrong) == 2 {
		w.failf("if the first was first:\n%s\nif the second was:\n%s", wrong[0], wrong[1])
	}
	for _, a := range acts {
		if w.pair(a.who, a.other).sides[a.who].blocked {
			w.raise(a, w.people[a.who].Mark())
		}
	}
}

// reconnect has somebody lose his connection.
func (w *world) reconnect() {
	who := w.names[w.dice.IntN(len(w.names))]
	w.note("%s reconnects", who)
	w.people[who].Cut()
	if err := w.people[who].Connect(); err != nil {
		w.failf("%v", err)
	}
	w.people[who].Subscribe("im/p/+", 0)
}

// renew has those go who may not ask for contact any more.
func (w *world) renew() {
	for i := 0; i < len(w.names); i++ {
		if w.users[w.names[i]].asked >= tired {
			w.die(i)
			i = -1
		}
	}
}

// die deletes somebody's account, while others have to do with him, and somebody new comes. Each of them was first or too
// late.
func (w *world) die(i int) {
	who := w.names[i]
	w.names = append(w.names[:i], w.names[i+1:]...)
	w.note("%s deletes his account", who)
	var acts []act
	for _, name := range w.names[:2] {
		do := []string{"send", "request", "accept", "block", "send"}[w.dice.IntN(5)]
		acts = append(acts, act{who: name, other: who, do: do, text: "are you there?"})
	}
	words := make([]string, len(acts)+1)
	var all sync.WaitGroup
	for i, a := range acts {
		all.Go(func() { words[i], _ = w.perform(a) })
	}
	all.Go(func() {
		_, words[len(acts)] = w.place.Post(w.t.Context(), w.people[who].Token, "", "account.delete", M{"password": Password})
	})
	all.Wait()
	w.note("at the same time: %+v: %q", acts, words)
	if words[len(acts)] != "" {
		w.failf("delete %s: %s", who, words[len(acts)])
	}
	// From the ack on he is gone, though what others have of him goes in the background.
	late := act{who: w.names[0], other: who, do: "send", text: "are you there?"}
	if word, _ := w.perform(late); word != "gone" && !w.pair(late.who, who).blocked() {
		w.failf("a message of %s to %s, who is no more: %q, want gone", late.who, who, word)
	}
	if _, word := w.place.Post(w.t.Context(), "", "", "login", M{"uid": who, "password": Password}); word != "credentials" {
		w.failf("%s, who is no more, logs in: %q", who, word)
	}
	w.people[who].Cut()
	delete(w.people, who)
	var wrong []string
	if !becomes(func() bool { wrong = w.orders(who, acts, words); return wrong == nil }) {
		w.failf("%s", strings.Join(wrong, "\nor\n"))
	}
	w.bear()
}

// orders tries which of the acts came before the end of an account. It takes the order in which everything fits, or says what
// is wrong with each.
func (w *world) orders(who string, acts []act, words []string) (wrong []string) {
	all := w.portraits()
	for early := range 1 << len(acts) {
		o, bad := w.clone(), ""
		try := func(before bool) {
			for i, a := range acts {
				if (early>>i&1 == 1) != before {
					continue
				}
				if word, _ := o.do(a); word != words[i] && (words[i] != "blocked" || word != "gone") {
					bad += fmt.Sprintf("%+v: got %q, want %q\n", a, words[i], word)
				}
			}
		}
		try(true)
		o.gone(who)
		try(false)
		if bad += summary(judge(o, all)); bad == "" {
			w.oracle = o
			return nil
		}
		wrong = append(wrong, bad)
	}
	return wrong
}

func TestPeopleAreToEachOtherWhatTheOracleSays(t *testing.T) {
	n := rounds(t, 12)
	w := newWorld(t)
	for i := range n {
		for range 25 {
			w.step(w.someAct())
		}
		w.settle()
		for range 3 {
			w.clash()
		}
		switch i % 4 {
		case 0:
			w.race()
			w.settle()
		case 1:
			w.reconnect()
		case 2:
			w.crash()
		case 3:
			w.die(w.dice.IntN(len(w.names)))
			w.settle()
		}
		w.renew()
	}
	w.settle()
	t.Logf("%d steps", len(w.trace))
}
