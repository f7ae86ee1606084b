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

// noRequestLimit lets people ask for contact as often as they like.
var noRequestLimit []string

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dice: dice(t), people: map[string]*Person{}, streams: map[string][]Seen{}, oracle: newOracle(0)}
	w.place, w.server = Outside(t, server.Env(noRequestLimit...))
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
		w.raise(a)
	}
}

// raise marks, right after the ack of a block, how far both streams had come.
func (w *world) raise(a act) {
	for reader, by := range map[string]string{a.who: a.other, a.other: a.who} {
		p := w.people[reader]
		f := &fence{reader: reader, by: by, shown: p.Mark()}
		if reader == a.who && p.Way != HTTP { // what came after the ack itself counts
			record := p.Record()
			for f.shown--; record[f.shown].Topic != "ack"; f.shown-- {
			}
		}
		f.from = uint64(len(w.stream(reader)))
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
		for c, pair := range w.pairs {
			if pair.sides[who] != nil && pair.exists {
				head, _ := p.Must("history", M{"c": c, "limit": 1})["head"].(float64)
				all[who].heads[c] = int(head)
			}
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
	if a.do == "block" || a.do == "unblock" {
		a.do = "send" // of these it has to be known when
	}
	after := w.clone()
	wantWord, _ := after.do(a)
	var word string
	var doing sync.WaitGroup
	doing.Go(func() { word, _ = w.perform(a) })
	time.Sleep(time.Duration(w.dice.IntN(3000)) * time.Microsecond) // anywhere within it
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

// die deletes somebody's account, and somebody new comes.
func (w *world) die() {
	i := w.dice.IntN(len(w.names))
	who := w.names[i]
	w.note("%s deletes his account", who)
	if out, word := w.place.Post(w.t.Context(), w.people[who].Token, "", "account.delete", M{"password": Password}); word != "" {
		w.failf("delete %s: %s %v", who, word, out)
	}
	w.people[who].Cut()
	delete(w.people, who)
	w.names = append(w.names[:i], w.names[i+1:]...)
	w.gone(who)
	if other := w.names[0]; true {
		a := act{who: other, other: who, do: "send", text: "are you there?"}
		word, _ := w.perform(a)
		if want, _ := w.do(a); word != want {
			w.failf("a message to %s, who is no more: %q, want %q", who, word, want)
		}
	}
	w.bear()
}

func TestPeopleAreToEachOtherWhatTheOracleSays(t *testing.T) {
	n := rounds(t, 12)
	w := newWorld(t)
	for i := range n {
		for range 25 {
			w.step(w.someAct())
		}
		w.settle()
		switch i % 4 {
		case 0:
			w.race()
			w.settle()
		case 1:
			w.reconnect()
		case 2:
			w.crash()
		case 3:
			w.die()
			w.settle()
		}
	}
	w.settle()
	t.Logf("%d steps", len(w.trace))
}
