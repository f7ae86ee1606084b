package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Posting is a message on its way to those who subscribe to its topic.
type Posting struct {
	Message *Message
	From    Number // the session that publishes it, which does not get it where it said No Local; 0: none
	Origin  any    // see Step
}

// Publication says what became of a Posting.
type Publication struct {
	Commit  Commit // nil: nothing had to be stored
	Matched bool   // somebody subscribes to it
	// Deliver hands it to those who are connected. It is to be called once, when Commit is durable, and for the messages of
	// one session in the order in which they were published.
	Deliver func()
}

// Publish gives a message its place: in the queue of every session and shared group that is to get it with QoS 1 or 2,
// and as the retained message of its topic if that is what it says. Nobody sees it before Deliver.
//
// ErrQueueFull (where queues are bounded by refusing), ErrRetainedFull, ErrUnavailable, or the error of ctx.
func (r *Registry) Publish(ctx context.Context, p Posting) (Publication, error) {
	d := deliveries.Get().(*delivery)
	version := r.routes.Version()
	d.match(r, p)
	if p.Message.QoS == 0 && !p.Message.Retain && p.Origin == nil {
		r.resolve(d)
		return Publication{Matched: d.matched(), Deliver: d.deliver}, nil
	}
	if err := r.retainable(p.Message); err != nil {
		d.free()
		return Publication{}, err
	}
	if err := r.store.Room(ctx); err != nil {
		d.free()
		return Publication{}, fmt.Errorf("publish: %w", err)
	}
	commit, overflown, err := r.place(d, p, version)
	for _, l := range overflown {
		r.metrics.dropped(dropVolatile, 1)
		l.disconnect(reasonQuotaExceeded)
	}
	if err != nil {
		d.free()
		if errors.Is(err, ErrQueueFull) && p.Message.From == (Key{}) { // the server's own: nobody is there to send it again
			r.metrics.dropped(dropQueueFull, 1)
		}
		return Publication{}, fmt.Errorf("publish: %w", err)
	}
	return Publication{Commit: commit, Matched: d.matched(), Deliver: d.deliver}, nil
}

// place gives the message its position and puts it at the end of the queues. What overflows is given back, to be
// disconnected outside of the lock.
func (r *Registry) place(d *delivery, p Posting, version uint64) (commit Commit, overflown []*Link, err error) {
	r.order.Lock()
	defer r.order.Unlock()
	if r.routes.Version() != version {
		d.match(r, p)
	}
	r.resolve(d)
	if len(d.to) > 0 || p.Message.Retain || p.Origin != nil {
		a, err := r.store.Append(r.cfg.Queue, Step{Message: p.Message, To: d.to, Retain: p.Message.Retain, Origin: p.Origin})
		if err != nil {
			return nil, nil, err
		}
		r.metrics.dropped(dropQueueFull, a.Dropped)
		d.pos, commit = a.First, a.Commit
	}
	if p.Message.Retain {
		r.retaineds.add(d.pos, p.Message.Topic)
	}
	needs := d.pos
	for i := range d.links {
		x := &d.links[i]
		e := tailEntry{pos: d.pos, needs: needs, qos: x.qos, retain: x.retain, ids: x.ids, m: d.m}
		if !x.link.tail.push(e) {
			overflown = append(overflown, x.link)
		}
	}
	for i := range d.groups {
		if x := &d.groups[i]; x.qos > 0 {
			x.group.push(groupEntry{pos: d.pos, qos: x.qos, m: d.m})
		}
	}
	return commit, overflown, nil
}

// ErrRetainedFull means that there are as many retained messages as there may be.
var ErrRetainedFull = errors.New("too many retained messages")

// retainable says whether a message that is to be retained may be.
func (r *Registry) retainable(m *Message) error {
	most := r.cfg.Retained
	if !m.Retain || len(m.Payload) == 0 || most == 0 || r.store.RetainedCount() < int64(most) ||
		r.store.HasRetained(m.Topic) {
		return nil
	}
	return fmt.Errorf("%d are: %w", most, ErrRetainedFull)
}

// delivery is who gets a message, and how.
type delivery struct {
	registry *Registry
	m        *Message
	pos      uint64 // 0: not stored

	subs []Subscriber
	all  []recipient // each session and group once

	to     []Target
	links  []recipient // connected, QoS 1 or 2
	zero   []recipient // connected, QoS 0
	groups []recipient
}

// recipient is a session or a shared group that gets a message.
type recipient struct {
	number Number
	qos    byte
	retain bool
	ids    []int
	link   *Link
	group  *group
}

var deliveries = sync.Pool{New: func() any { return new(delivery) }}

func (d *delivery) free() {
	if len(d.all) > 4096 {
		return // so much is not kept
	}
	clear(d.all)
	clear(d.to)
	clear(d.links)
	clear(d.zero)
	clear(d.groups)
	*d = delivery{subs: d.subs[:0], all: d.all[:0], to: d.to[:0], links: d.links[:0], zero: d.zero[:0], groups: d.groups[:0]}
	deliveries.Put(d)
}

func (d *delivery) matched() bool { return len(d.all) > 0 }

// match finds who subscribes: each session once, with the highest QoS and all identifiers of its subscriptions (MQTT 5,
// 3.3.4).
func (d *delivery) match(r *Registry, p Posting) {
	d.registry, d.m, d.all = r, p.Message, d.all[:0]
	var filters int
	d.subs, filters = r.routes.Match(p.Message.Topic, d.subs[:0])
	if filters > 1 {
		slices.SortFunc(d.subs, func(a, b Subscriber) int { return int(int64(a.Number()) - int64(b.Number())) })
	}
	for _, s := range d.subs {
		if s.NoLocal() && s.Number() == p.From {
			continue
		}
		n := len(d.all)
		if n == 0 || d.all[n-1].number != s.Number() {
			d.all = append(d.all, recipient{number: s.Number()})
			n++
		}
		x := &d.all[n-1]
		x.qos = max(x.qos, min(s.QoS(), p.Message.QoS))
		x.retain = x.retain || s.RetainAsPublished() && p.Message.Retain
		if s.ID() != 0 {
			x.ids = append(x.ids, s.ID())
		}
	}
}

// resolve finds those who are connected, and the queues.
func (r *Registry) resolve(d *delivery) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, x := range d.all {
		switch {
		case x.number >= FirstGroup:
			if x.group = r.groups[x.number]; x.group == nil {
				continue
			}
			if x.qos > 0 {
				d.to = append(d.to, Target{Number: x.number, QoS: x.qos})
			}
			d.groups = append(d.groups, x)
			continue
		case x.qos > 0 && x.number < FirstVolatile:
			d.to = append(d.to, Target{Number: x.number, QoS: x.qos, Retain: x.retain, IDs: x.ids})
		}
		if x.link = r.connected[x.number]; x.link == nil {
			continue
		}
		if x.qos > 0 {
			d.links = append(d.links, x)
		} else {
			d.zero = append(d.zero, x)
		}
	}
}

// deliver hands the message to those who are connected. It is durable.
func (d *delivery) deliver() {
	d.registry.durableTo(d.pos)
	for i := range d.zero {
		d.zero[i].link.sendZero(d.m, d.zero[i].retain, d.zero[i].ids)
	}
	for i := range d.links {
		d.links[i].link.kick()
	}
	for i := range d.groups {
		if x := &d.groups[i]; x.qos > 0 {
			x.group.kick()
		} else {
			x.group.sendZero(d.m)
		}
	}
	d.free()
}

// durableTo notes that everything up to a position is durable.
func (r *Registry) durableTo(pos uint64) {
	for {
		known := r.durable.Load()
		if known >= pos || r.durable.CompareAndSwap(known, pos) {
			return
		}
	}
}

// kick makes the link look at the end of its queue.
func (l *Link) kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue.behind = true
	l.moveLocked()
}

// sendZero sends a message with QoS 0. A client that does not keep up with reading misses it.
func (l *Link) sendZero(m *Message, retain bool, ids []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.started || l.closed:
	case l.fullLocked():
		l.registry.metrics.dropped(dropShed, 1)
	default:
		var p Publish
		l.contentLocked(&p, m, retain, ids)
		_ = l.writePublishLocked(p)
	}
}
