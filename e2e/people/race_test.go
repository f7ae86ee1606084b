package people

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// race has somebody block another one who makes all the noise that there is, and sees where the noise ends.
func (w *world) race() {
	a, b := w.some()
	if !w.contacts(a, b) {
		w.note("%s and %s cannot be contacts", a, b)
		return
	}
	var made atomic.Int64
	var stop atomic.Bool
	var noise sync.WaitGroup
	second := w.people[b].Another(fmt.Sprint("noise", len(w.trace)), V5) // and his phone listens
	sent, after := 0, ""
	noise.Go(func() {
		for i := 0; !stop.Load(); i++ {
			_, word := second.Send(a, fmt.Sprint("noise ", i))
			switch {
			case word == "" && after == "":
				sent++
			case word == "":
				after = "a message was taken after one was refused"
			case word != "blocked":
				after = word
			case after == "":
				after = word
			}
			made.Add(1)
		}
	})
	other := w.people[b].Another(fmt.Sprint("typist", len(w.trace)), V5)
	c := Direct(a, b)
	noise.Go(func() {
		for i := 0; !stop.Load(); i++ {
			other.Typing(a, i%2 == 0)
			other.Publish("im/c/"+c+"/read", fmt.Append(nil, i)) // whatever has that number by then
			other.Publish("im/u/me/state", []byte([]string{"fg", "bg", "away"}[i%3]))
			other.Call("profile.set", M{"name": fmt.Sprint("noise ", i)})
			made.Add(1)
		}
	})
	await := func(more int64) {
		until := made.Load() + more
		if !becomes(func() bool { return made.Load() >= until }) {
			w.failf("there is no noise any more")
		}
	}
	await(10 + w.dice.Int64N(40))
	block := act{who: a, other: b, do: "block"}
	word, _ := w.perform(block)
	w.raise(block, w.ackOf(a))
	// What the blocker does from now on, the other one does not see either.
	for _, what := range []func(){
		func() { w.people[a].Typing(b, true) }, func() { w.people[a].Read(b, 1<<40) },
		func() { w.people[a].Publish("im/u/me/state", []byte("bg")) },
		func() { w.people[a].Call("profile.set", M{"name": "blocker"}) },
		func() { w.people[a].Publish("im/u/me/state", []byte("fg")) },
	} {
		what()
	}
	await(20)
	stop.Store(true)
	noise.Wait()
	second.Leave()
	other.Leave()
	w.note("race: %s sent %d messages until %s blocked him (%q), then: %q", b, sent, a, word, after)
	if word != "" || after != "blocked" {
		w.failf("the block: %q; what was sent after it: %q", word, after)
	}
	p := w.pair(a, b)
	for range sent {
		p.said = append(p.said, b)
	}
	w.do(block)
	p.read[a] = len(p.said)
	w.step(act{who: b, other: a, do: "read"}) // both have read everything, so that it is known how far
	w.bystander(a)
	w.bystander(b)
}

// contacts makes two people contacts if it can.
func (w *world) contacts(a, b string) bool {
	for _, x := range []act{
		{who: a, other: b, do: "unblock"}, {who: b, other: a, do: "unblock"}, {who: a, other: b, do: "request"},
		{who: b, other: a, do: "request"}, {who: a, other: b, do: "request"},
	} {
		if w.pair(a, b).sides[a].st != "accepted" || x.do == "unblock" {
			w.step(x)
		}
	}
	return w.pair(a, b).sides[a].st == "accepted"
}

// bystander sees that everything which was sent to somebody's device before has come: what is without QoS comes in its order.
func (w *world) bystander(who string) {
	for _, name := range w.names {
		if name == who || !w.contacts(who, name) {
			continue
		}
		p := w.people[who]
		mark := p.Mark()
		for _, on := range []bool{true, false} { // who types already is not shown again, but that he has stopped is
			if word := w.people[name].Typing(who, on); word != "" {
				w.failf("%s types to %s: %q", name, who, word)
			}
		}
		p.Await(mark, name+" typing", func(s Seen) bool { return s.Topic == "eph" && s.Is("who", name) })
		return
	}
}
