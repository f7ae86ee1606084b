package sessions

import (
	"maps"
	"slices"
)

// maxMissed is how many topics a connection remembers one by one of those that it has missed something of.
const maxMissed = 64

// missed are topics of which something was not sent and which say something now, or filters that cover them.
type missed map[string]bool

// add notes that a topic has something to say. If that are many, a filter of the session stands for those it covers: there are
// never more than the session has filters, and maxMissed.
func (m *missed) add(topic string, s *subscriptions) {
	if *m == nil {
		*m = make(missed)
	}
	all := *m
	for _, sub := range s.wild {
		if all[sub.Filter] && matches(sub.Filter, topic) {
			return
		}
	}
	if all[topic] || len(all) < maxMissed {
		all[topic] = true
		return
	}
	for _, sub := range s.wild {
		if matches(sub.Filter, topic) {
			maps.DeleteFunc(all, func(t string, _ bool) bool { return matches(sub.Filter, t) })
			topic = sub.Filter
			break
		}
	}
	all[topic] = true
}

// forget takes a topic or filter out.
func (m missed) forget(filter string) { delete(m, filter) }

// catchUpLocked has what is in m told, as it is by then.
func (l *Link) catchUpLocked(m *missed) {
	for _, topic := range slices.Sorted(maps.Keys(*m)) {
		l.startReplayLocked(Subscription{Filter: topic}, 0, false)
	}
	*m = nil
}

// says says whether a topic of the server's own says something now.
func (r *Registry) says(topic string) bool { return r.currents != nil && r.currents.Has(topic) }

// shedLocked notes that the client did not keep up with reading and misses what a topic says. It gets the newest when it reads
// again.
func (l *Link) shedLocked(topic string) {
	l.registry.metrics.dropped(dropShed, 1)
	if l.registry.says(topic) {
		l.shed.add(topic, &l.subs)
	}
}

// restoreLocked has told what the client did not keep up with, once it reads again and has been told what it missed before
// that: so no more waits than is bounded.
func (l *Link) restoreLocked() {
	if len(l.shed) == 0 || l.fullLocked() {
		return
	}
	if !slices.ContainsFunc(l.replays, func(p Replay) bool { return reserved(p.Filter) && !p.Asked }) {
		l.catchUpLocked(&l.shed)
	}
}
