package conversations

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
)

type M = people.M

// ground is a server that things can be done to.
type ground struct {
	place   *people.Place
	http    func() string
	crash   func(done <-chan struct{}, after time.Duration) // kills it, before done, and starts it again; nil: it cannot be
	restart func()
	step    func(by time.Duration) // of the clock; nil: it has none of its own
	retire  func()                 // removes what is too old
}

// world is people who do things at random, and what is known of it.
type world struct {
	ground
	t       *testing.T
	dice    *rand.Rand
	names   []string
	devices map[string][]*people.Person
	parsed  map[*people.Person]*[]event
	rec     *recording
	number  int
	mids    int
	brief   bool       // some messages are for a second
	ttls    []*request // that have not been waited for
	fresh   int        // the first request after retention
}

const (
	inhabitants = 6
	largeFrom   = 3 // a room with more members is large
)

var ways = [inhabitants][]people.Way{
	{people.V311, people.V5}, {people.V5, people.HTTP}, {people.HTTP, people.V311},
	{people.V5, people.V311, people.HTTP}, {people.V311, people.V311}, {people.V5, people.V5},
}

// newWorld has six people who know each other, with four conversations of two, three small groups, a large one, a channel, and
// notes of one of them.
func newWorld(t *testing.T, g ground, dice *rand.Rand, number int) *world {
	t.Helper()
	w := &world{ground: g, t: t, dice: dice, number: number, devices: map[string][]*people.Person{},
		parsed: map[*people.Person]*[]event{}, rec: &recording{convs: map[string]*conv{}, looks: map[string]*look{},
			lines: map[string][]event{}, deleted: map[string]bool{}}}
	for i := range inhabitants {
		name := fmt.Sprintf("u%d-%d", number, i)
		w.names = append(w.names, name)
		p := g.place.Join(name, ways[i][0])
		w.devices[name] = append(w.devices[name], p)
		for n, way := range ways[i][1:] {
			w.devices[name] = append(w.devices[name], p.Another(fmt.Sprint("other", n), way))
		}
	}
	for _, devices := range w.devices {
		for _, d := range devices {
			w.parsed[d] = &[]event{}
		}
	}
	for i, a := range w.names {
		for _, b := range w.names[i+1:] {
			w.devices[a][0].Must("contact.request", M{"to": b})
			w.devices[b][0].Must("contact.accept", M{"from": a})
		}
	}
	for _, p := range [][2]int{{0, 1}, {2, 3}, {4, 5}, {1, 4}} {
		a, b := w.names[p[0]], w.names[p[1]]
		w.know(&conv{name: people.Direct(a, b), owner: a, members: []string{a, b}})
	}
	w.know(&conv{name: "s." + w.names[0], owner: w.names[0], members: w.names[:1]})
	w.found("group", 0, 1, 2)
	w.found("group", 1, 4, 5)
	w.found("group", 2, 0, 3)
	w.found("group", 3, 1, 4, 5) // is large
	w.found("channel", 3, 4, 5)
	w.watch()
	w.settle()
	return w
}

func (w *world) know(c *conv) { w.rec.convs[c.name] = c }

// found makes a room.
func (w *world) found(kind string, owner int, members ...int) {
	w.t.Helper()
	c := &conv{owner: w.names[owner], members: []string{w.names[owner]}, large: kind == "channel" || len(members) >= largeFrom}
	for _, i := range members {
		c.members = append(c.members, w.names[i])
	}
	out := w.devices[c.owner][0].Must("group.create", M{"kind": kind, "title": "Room", "members": c.members[1:]})
	c.name = out["c"].(string)
	w.know(c)
}

// watch has a device of everybody watch the rooms he is in, as far as he may.
func (w *world) watch() {
	for _, name := range w.convs() {
		c := w.rec.convs[name]
		for _, who := range c.members {
			if c.room() {
				d := w.devices[who][1]
				d.Subscribe("im/c/"+name+"/live", 1)
			}
		}
	}
}

func (w *world) convs() []string { return sortedKeys(w.rec.convs) }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// shape is what happens in a round, besides.
type shape string

const (
	quiet     shape = "quiet"
	crash     shape = "crash"
	restart   shape = "restart"
	reconnect shape = "reconnect"
	step      shape = "step"   // of the clock
	brief     shape = "brief"  // messages expire
	retire    shape = "retire" // all messages are too old
)

// round has everybody do some things on every device, all at once, until all is quiet and judged.
func (w *world) round(s shape, each int) {
	w.t.Helper()
	w.brief = s == brief
	queues := w.queues(each)
	done := make(chan struct{})
	var doing sync.WaitGroup
	for d, queue := range queues {
		doing.Go(func() {
			for _, r := range queue {
				w.perform(d, r)
			}
		})
	}
	go func() {
		doing.Wait()
		close(done)
	}()
	switch s {
	case crash:
		w.crash(done, time.Duration(w.dice.IntN(60_000))*time.Microsecond)
	case step:
		w.step(time.Duration(w.dice.IntN(49)-24) * time.Hour)
	case reconnect:
		for range 3 {
			d := w.devices[w.names[w.dice.IntN(len(w.names))]]
			w.again(d[w.dice.IntN(len(d))])
		}
	}
	<-done
	if s == restart {
		w.restart()
	}
	w.insist(queues)
	if s == retire {
		w.settle() // so that it is known who was where
		w.retire()
		w.fresh = len(w.rec.asked)
		w.insist(nil)
	}
	w.settle()
}

// die has the last one delete his account, and sees that he is gone: from what others see, too, as they are judged again.
func (w *world) die() {
	w.t.Helper()
	who := w.names[len(w.names)-1]
	d := w.devices[who][0]
	if _, word := w.place.Post(w.t.Context(), d.Token, "", "account.delete", M{"password": people.Password}); word != "" {
		w.failf("%s deletes his account: %s", who, word)
	}
	login := M{"uid": who, "password": people.Password}
	if _, word := w.place.Post(w.t.Context(), "", "", "login", login); word != "credentials" {
		w.failf("I10: %s is no more, and logs in: %q", who, word)
	}
	for _, other := range w.names[:len(w.names)-1] {
		if _, word := w.devices[other][0].Send(who, "are you there?"); word != "gone" && word != "blocked" {
			w.failf("I10: %s writes to %s, who is no more: %q", other, who, word)
		}
	}
	for _, d := range w.devices[who] {
		d.Cut()
	}
	w.names = w.names[:len(w.names)-1]
	delete(w.devices, who)
	delete(w.rec.looks, who)
	w.rec.deleted[who] = true
	for _, name := range w.convs() { // it goes in the background
		c := w.rec.convs[name]
		if !c.room() {
			continue
		}
		server.Eventually(w.t, "who is no more is no member", func() bool {
			members := w.membersOf(w.devices[c.owner][0], name)
			return !slices.ContainsFunc(members, func(m event) bool { return m.Who == who })
		})
	}
	w.settle()
}

// again connects a device again.
func (w *world) again(d *people.Person) {
	d.Cut()
	if err := d.Connect(); err != nil {
		w.t.Error(err)
	}
}

// insist connects who is not connected, and has everybody ask again for what was not answered.
func (w *world) insist(queues map[*people.Person][]*request) {
	w.t.Helper()
	var doing sync.WaitGroup
	for _, name := range w.names {
		for _, d := range w.devices[name] {
			doing.Go(func() {
				if !d.Connected() {
					w.again(d)
				}
				for _, r := range queues[d] {
					for len(r.answers) == 0 || r.answers[len(r.answers)-1].word == people.Lost {
						if !d.Connected() {
							w.again(d)
						}
						w.perform(d, r)
						if w.t.Failed() {
							return
						}
					}
				}
			})
		}
	}
	doing.Wait()
	w.watch()
}

// settle waits until everybody has been shown everything, looks at all of it, and has it judged.
func (w *world) settle() {
	w.t.Helper()
	w.expire()
	var looking sync.WaitGroup
	looks := make([]*look, len(w.names))
	turns := make(chan struct{}, brokertest.Scale(len(w.names), 2))
	for i, who := range w.names {
		turns <- struct{}{}
		looking.Go(func() {
			looks[i] = w.look(who)
			<-turns
		})
	}
	looking.Wait()
	w.remember(looks)
	heads, usns := map[string]uint64{}, map[string]uint64{}
	for i, who := range w.names {
		w.rec.looks[who] = looks[i]
		usns[who] = uint64(len(looks[i].stream))
		for c, l := range looks[i].list {
			heads[c] = max(heads[c], l.Head)
		}
	}
	w.rec.heads, w.rec.usns = append(w.rec.heads, heads), append(w.rec.usns, usns)
	faults := judge(w.rec)
	if len(faults) > 0 {
		w.failf("%d faults:\n%s", len(faults), summary(faults))
	}
	if w.t.Failed() {
		w.failf("see above")
	}
}

// remember keeps who came and went.
func (w *world) remember(looks []*look) {
	for name, c := range w.rec.convs {
		lines := w.rec.lines[name]
		for _, m := range looks[slices.Index(w.names, c.owner)].history[name] {
			if m.silent() && (len(lines) == 0 || m.Seq > lines[len(lines)-1].Seq) {
				lines = append(lines, m)
			}
		}
		w.rec.lines[name] = lines
	}
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	var asked []string
	for _, r := range w.rec.asked {
		asked = append(asked, r.String())
	}
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(asked[max(0, len(asked)-120):], "\n"))
}

// expire waits until what was sent for a second is gone.
func (w *world) expire() {
	for _, r := range w.ttls {
		if !r.granted() {
			continue
		}
		owner := w.devices[w.rec.convs[r.c].owner][0]
		server.Eventually(w.t, "a message expires", func() bool {
			return slices.ContainsFunc(w.changesOf(owner, r.c), func(e event) bool {
				return e.T == "recall" && e.Seq == r.answers[len(r.answers)-1].seq
			})
		})
	}
	w.ttls = nil
}

// queues has every device do some things.
func (w *world) queues(each int) map[*people.Person][]*request {
	all := map[*people.Person][]*request{}
	once := map[string]bool{}
	know := learn(w.rec)
	for _, name := range w.names {
		for i := range w.devices[name] {
			for range each {
				r := w.some(know, name, once)
				if r == nil {
					continue
				}
				devices := w.devices[r.who] // who rules a room may be another one
				d := devices[i%len(devices)]
				r.round, r.device = len(w.rec.heads), fmt.Sprint(i%len(devices))
				all[d] = append(all[d], r)
				w.rec.asked = append(w.rec.asked, r)
			}
		}
	}
	return all
}
