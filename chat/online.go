package chat

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// online is who has connections. A connection that has ended counts for a grace longer, unless its session has another
// one before that: reconnects, takeovers and changes of the network show nothing.
//
// Whose presence may have changed is in a queue, once, with the time at which to look: that is what bounds how often
// others are told, and how much there can be to do.
type online struct {
	grace time.Duration
	added chan struct{} // holds one; the first of the queue is another one

	mu     sync.Mutex
	people map[accounts.Name]*person
	queue  duePeople
}

// tellPause is the least time between two changes of one presence that others are told.
const tellPause = time.Second

// Connection is one network connection of a user.
type Connection struct {
	ID        uint64 // no other connection has it
	Session   string // the client id: a session has one connection at a time
	Invisible bool   // others are not to know of it
}

// person is somebody who has connections, or had some a moment ago.
type person struct {
	who    accounts.Name
	places []place
	told   value
	toldAt time.Time // zero: never
	noted  bool      // the store knows that he is there
	last   time.Time // when the last connection that others may know of ended; zero: there was none
	look   look
	due    time.Time
	index  int // in the queue; -1: not there
}

// place is a connection.
type place struct {
	Connection
	state Activity
	ended time.Time // zero: it has not
}

// value is what there is to know of a person.
type value struct {
	on      bool
	state   Activity
	devices int
}

// look is who has to be told of somebody although nothing has changed.
type look int

const (
	lookNone   look = iota
	lookAppear      // contacts may see him from now on
	lookVanish      // contacts may not see him any more
)

func newOnline(grace time.Duration) *online {
	return &online{grace: grace, added: make(chan struct{}, 1), people: map[accounts.Name]*person{}}
}

// arrive adds a connection.
func (o *online) arrive(who accounts.Name, c Connection, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.personLocked(who)
	p.places = slices.DeleteFunc(p.places, func(x place) bool {
		replaced := x.Session == c.Session && !x.ended.IsZero()
		if replaced {
			p.hide(x, x.ended)
		}
		return replaced
	})
	p.places = append(p.places, place{Connection: c, state: Foreground})
	o.lookLocked(p, now)
}

// depart notes that a connection has ended. left says that it was the last one.
func (o *online) depart(who accounts.Name, id uint64, now time.Time) (left bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.people[who]
	if p == nil {
		return false
	}
	left = true
	for i := range p.places {
		x := &p.places[i]
		if x.ID == id && x.ended.IsZero() {
			x.ended = now
			defer o.lookLocked(p, now)
		}
		left = left && !x.ended.IsZero()
	}
	return left
}

// setState says what a connection is used for, if there is such a one.
func (o *online) setState(who accounts.Name, id uint64, state Activity, now time.Time) {
	o.change(who, now, func(_ *person, x *place) bool {
		if x.ID != id {
			return false
		}
		x.state = state
		return true
	})
}

// setInvisible says whether others may know of a session.
func (o *online) setInvisible(who accounts.Name, session string, invisible bool, now time.Time) {
	o.change(who, now, func(p *person, x *place) bool {
		if x.Session != session || x.Invisible == invisible {
			return false
		}
		if invisible {
			p.hide(*x, now)
		}
		x.Invisible = invisible
		return true
	})
}

// change changes connections that have not ended. f says whether it has.
func (o *online) change(who accounts.Name, now time.Time, f func(p *person, x *place) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.people[who]
	if p == nil {
		return
	}
	changed := false
	for i := range p.places {
		if x := &p.places[i]; x.ended.IsZero() {
			changed = f(p, x) || changed
		}
	}
	if changed {
		o.lookLocked(p, now)
	}
}

// refresh has everybody told of who, though nothing has changed but what they may see.
func (o *online) refresh(who accounts.Name, l look, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.personLocked(who)
	p.look = max(p.look, l) // of two that cross, the one that is told in either case
	o.lookLocked(p, now)
}

// of gives what there is to know of who. last is when he was there last, if that is known here.
func (o *online) of(who accounts.Name, now time.Time) (v value, last time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.people[who]
	if p == nil {
		return value{}, time.Time{}
	}
	v, last = p.value(now.Add(-o.grace)), p.last
	for _, x := range p.places {
		if !v.on && !x.Invisible && x.ended.After(last) {
			last = x.ended
		}
	}
	return v, last
}

// news is what has become of a person.
type news struct {
	who      accounts.Name
	value    value
	left     time.Time // if he is not there: when he was last, if that is known
	sighting *Sighting // to be noted; nil: nothing
	tell     bool      // others have to be told
	look     look
}

// next gives what is due first, or how long nothing is.
func (o *online) next(now time.Time) (n news, wait time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return news{}, time.Hour, false
	}
	p := o.queue[0]
	if wait = p.due.Sub(now); wait > 0 {
		return news{}, wait, false
	}
	heap.Pop(&o.queue)
	before := now.Add(-o.grace)
	p.places = slices.DeleteFunc(p.places, func(x place) bool {
		over := !x.ended.IsZero() && !x.ended.After(before)
		if over {
			p.hide(x, x.ended)
		}
		return over
	})
	n = p.news(before, now)
	if due := p.next(o.grace, now); !due.IsZero() {
		o.lookLocked(p, due)
	} else if len(p.places) == 0 {
		delete(o.people, p.who)
	}
	return n, 0, true
}

// news finds out what has changed, and takes note of it.
func (p *person) news(before, now time.Time) news {
	n := news{who: p.who, value: p.value(before)}
	if !n.value.on {
		n.left = p.last
	}
	switch {
	case n.value.on && !p.noted:
		n.sighting = &Sighting{Who: p.who, At: now, There: true}
	case !n.value.on && p.noted:
		n.sighting = &Sighting{Who: p.who, At: p.last}
	}
	p.noted = n.value.on
	if paused := now.Sub(p.toldAt) < tellPause; !paused {
		n.tell, n.look = n.value != p.told, p.look
		p.look = lookNone
	}
	if n.tell || n.look != lookNone {
		p.told, p.toldAt = n.value, now
	}
	return n
}

// next is when to look at the person again; zero: not before something happens.
func (p *person) next(grace time.Duration, now time.Time) (due time.Time) {
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	rested := p.toldAt.Add(tellPause)
	if p.value(now.Add(-grace)) != p.told || p.look != lookNone {
		sooner(rested)
	}
	for _, x := range p.places {
		if !x.ended.IsZero() {
			sooner(x.ended.Add(grace))
		}
	}
	if len(p.places) == 0 && rested.After(now) { // or it would be forgotten that others have been told
		sooner(rested)
	}
	return due
}

// value is what there is to know of a person; connections that ended up to before do not count.
func (p *person) value(before time.Time) (v value) {
	for _, x := range p.places {
		if x.Invisible || !x.ended.IsZero() && !x.ended.After(before) {
			continue
		}
		v.on = true
		v.devices++
		v.state = v.state.better(x.state)
	}
	return v
}

// hide notes that others do not know of a connection any more.
func (p *person) hide(x place, at time.Time) {
	if !x.Invisible && at.After(p.last) {
		p.last = at
	}
}

// drain takes everybody out, and gives what is to be noted of them: the process ends.
func (o *online) drain(now time.Time) (left []Sighting) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.people {
		for _, x := range p.places {
			if x.ended.IsZero() {
				x.ended = now
			}
			p.hide(x, x.ended)
		}
		if p.noted {
			left = append(left, Sighting{Who: p.who, At: p.last})
		}
	}
	clear(o.people)
	o.queue = nil
	return left
}

func (o *online) personLocked(who accounts.Name) *person {
	p := o.people[who]
	if p == nil {
		p = &person{who: who, index: -1}
		o.people[who] = p
	}
	return p
}

// lookLocked has a person looked at then, or earlier if that is so already.
func (o *online) lookLocked(p *person, at time.Time) {
	switch {
	case p.index < 0:
		p.due = at
		heap.Push(&o.queue, p)
	case at.Before(p.due):
		p.due = at
		heap.Fix(&o.queue, p.index)
	default:
		return
	}
	if p.index == 0 {
		select {
		case o.added <- struct{}{}:
		default:
		}
	}
}

// duePeople is a heap, the first due first.
type duePeople []*person

func (q duePeople) Len() int           { return len(q) }
func (q duePeople) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q duePeople) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *duePeople) Push(x any) {
	p := x.(*person)
	p.index = len(*q)
	*q = append(*q, p)
}

func (q *duePeople) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = nil
	*q, p.index = (*q)[:last], -1
	return p
}
