package people

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

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
	w.kill(acted)
	doing.Wait()
	w.note("killed while %s: %s %s %q %t: %q", a.who, a.do, a.other, a.text, a.tell, word)
	w.server.Start()
	w.reconnectAll()
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
		w.raise(a, w.shown(a.who))
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
		if a.do == "unblock" {
			w.open(a)
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
	for _, who := range p.names {
		if w.pair(p.names[0], p.names[1]).sides[who].blocked {
			w.raise(act{who: who, other: p.other(who)}, w.shown(who))
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

// dieInACrash kills the server while somebody deletes his account: it is gone, with all that others had of it, or as it was.
func (w *world) dieInACrash(i int) {
	who := w.names[i]
	var word string
	var doing sync.WaitGroup
	done := make(chan struct{})
	doing.Go(func() {
		defer close(done)
		_, word = w.place.Post(w.t.Context(), w.people[who].Token, "", "account.delete", M{"password": Password})
	})
	w.kill(done)
	doing.Wait()
	w.note("killed while %s deletes his account: %q", who, word)
	w.server.Start()
	_, login := w.place.Post(w.t.Context(), "", "", "login", M{"uid": who, "password": Password})
	if word == "" && login == "" {
		w.failf("%s is still there", who)
	}
	if gone := login != ""; gone {
		w.people[who].Cut()
		w.names = append(w.names[:i], w.names[i+1:]...)
		delete(w.people, who)
		w.gone(who)
	}
	w.reconnectAll()
	var faults []fault
	if !becomes(func() bool { faults = judge(w.oracle, w.portraits()); return len(faults) == 0 }) {
		w.failf("%s is gone: %q\n%s", who, login, summary(faults))
	}
	for len(w.names) < inhabitants {
		w.bear()
	}
}

// kill kills the server at some moment before done or soon after it.
func (w *world) kill(done <-chan struct{}) {
	w.t.Helper()
	select {
	case <-time.After(time.Duration(w.dice.IntN(3000)) * time.Microsecond):
	case <-done:
	}
	w.server.Kill()
}

func (w *world) reconnectAll() {
	w.t.Helper()
	for _, p := range w.people {
		p.Cut()
		if err := p.Connect(); err != nil {
			w.failf("%v", err)
		}
		p.Subscribe("im/p/+", 0)
	}
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
