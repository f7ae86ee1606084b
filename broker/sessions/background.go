package sessions

import (
	"maps"
	"slices"
)

// maxMissed is how many topics a connection in the background remembers one by one.
const maxMissed = 64

// background is what a connection has that nobody looks at.
type background struct {
	on bool
	// missed are topics of which something was held back and which say something now, or filters that cover them.
	missed map[string]bool
}

// SetBackground says whether nobody looks at what the client shows. What is Ambient is not sent until that is over; then what
// the topics of it say that have changed comes, once, as it is by then. A new connection is not in the background. Safe for
// concurrent use.
func (l *Link) SetBackground(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.background.on = on; on || l.closed {
		return
	}
	for _, topic := range slices.Sorted(maps.Keys(l.background.missed)) {
		l.startReplayLocked(Subscription{Filter: topic}, 0, false)
	}
	l.background.missed = nil
	l.moveLocked()
}

// notNowLocked says that p is not for this connection now. That something was missed is noted if it can be told later.
func (l *Link) notNowLocked(p Publish) bool {
	if !p.Ambient || !l.background.on {
		return false
	}
	if r := l.registry; r.currents != nil && r.currents.Has(p.Topic) {
		l.missLocked(p.Topic)
	}
	return true
}

// missLocked notes that a topic has something to say. If that are many, a filter stands for those it covers: there are never
// more than the session has filters, and maxMissed.
func (l *Link) missLocked(topic string) {
	b := &l.background
	if b.missed == nil {
		b.missed = make(map[string]bool)
	}
	for _, s := range l.subs.wild {
		if b.missed[s.Filter] && matches(s.Filter, topic) {
			return
		}
	}
	if b.missed[topic] || len(b.missed) < maxMissed {
		b.missed[topic] = true
		return
	}
	for _, s := range l.subs.wild {
		if matches(s.Filter, topic) {
			maps.DeleteFunc(b.missed, func(t string, _ bool) bool { return matches(s.Filter, t) })
			topic = s.Filter
			break
		}
	}
	b.missed[topic] = true
}
