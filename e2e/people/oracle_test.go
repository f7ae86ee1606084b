package people

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

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
	changes map[string]*changes
	born    int
	trace   []string
}

const inhabitants = 5

// requestsADay is how many people one may ask for contact or write to as a stranger, and tired is when it is nearly as many.
const requestsADay, tired = 20, 17

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dice: dice(t), people: map[string]*Person{}, streams: map[string][]Seen{},
		changes: map[string]*changes{}, oracle: newOracle(requestsADay)}
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
	if w.people[who].Way == HTTP {
		return w.shown(who)
	}
	record := w.people[who].Record()
	for i := len(record) - 1; i > 0; i-- {
		if record[i].Topic == "ack" {
			return i
		}
	}
	return len(record)
}

// shown gives how much somebody's device was shown of what had been sent to it before: that is read before this ack.
func (w *world) shown(who string) int {
	p := w.people[who]
	if word := publish(p, "im/u/me/state", "fg"); word != "" {
		w.failf("%s is there: %s", who, word)
	}
	return p.Mark()
}

// raise marks, right after the ack of a block, how far both streams had come, and what the device of the one who did it had
// been shown.
func (w *world) raise(a act, shown int) {
	for reader, by := range map[string]string{a.who: a.other, a.other: a.who} {
		f := &fence{reader: reader, by: by, shown: shown, from: uint64(len(w.stream(reader)))}
		if reader != a.who {
			f.shown = w.shown(reader)
		}
		w.fences = append(w.fences, f)
	}
}

// lift marks, right before somebody takes a block back, how far both streams have come.
func (w *world) lift(a act) {
	if p := w.pair(a.who, a.other); p.sides[a.who].blocked && !p.sides[a.other].blocked { // or one block remains
		w.open(a)
	}
}

// open ends the fences between two people.
func (w *world) open(a act) {
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

// changes is a list of contacts that is kept up to date by its changes.
type changes struct {
	version float64
	list    map[string]M
}

// changed asks what has changed in somebody's list since he asked last, and gives the list.
func (w *world) changed(who string) map[string]M {
	w.t.Helper()
	if w.changes[who] == nil {
		w.changes[who] = &changes{list: map[string]M{}}
	}
	c := w.changes[who]
	for {
		out := w.people[who].Must("contact.list", M{"ver": c.version, "limit": 1 + w.dice.IntN(5)})
		for _, line := range items(out, "contacts") {
			other, _ := line["who"].(string)
			if c.list[other] = line; line["st"] == "none" && line["blocked"] != true {
				delete(c.list, other)
			}
		}
		version, _ := out["ver"].(float64)
		more, _ := out["more"].(bool)
		if more && version <= c.version {
			w.failf("%s asked for changes after version %v: %v", who, c.version, out)
		}
		if c.version = version; !more {
			return maps.Clone(c.list)
		}
	}
}

// portraits asks the server about everybody.
func (w *world) portraits() map[string]*portrait {
	w.t.Helper()
	all := map[string]*portrait{}
	for _, who := range w.names {
		p := w.people[who]
		total, box, requests := numbers(p)
		all[who] = &portrait{list: contacts(w.t, p), changes: w.changed(who), total: int(total), box: int(box), requests: int(requests),
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
			if i := w.dice.IntN(len(w.names)); w.dice.IntN(2) == 0 {
				w.die(i)
			} else {
				w.dieInACrash(i)
			}
			w.settle()
		}
		w.renew()
	}
	w.settle()
	t.Logf("%d steps", len(w.trace))
}
