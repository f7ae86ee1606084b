package sessions

import "slices"

// Route sends p with QoS 0 to every connected session that subscribes to p.Topic, one of the server's own, once to each,
// and says to how many. A client that does not keep up with reading misses it, and is told what the topic says by then, if it
// is one that says something (Current), when it reads again; of one in the background see SetBackground.
func (r *Registry) Route(p Publish) int {
	found, filters := r.lives.Match(p.Topic, nil)
	links := make([]*Link, 0, len(found))
	r.mu.RLock()
	for i, s := range found {
		again := func(o Subscriber) bool { return o.Number() == s.Number() }
		l := r.connected[s.Number()]
		if l == nil || filters > 1 && slices.ContainsFunc(found[:i], again) {
			continue
		}
		links = append(links, l)
	}
	r.mu.RUnlock()
	sent := 0
	for _, l := range links {
		if l.route(p) {
			sent++
		}
	}
	return sent
}

// route sends p to this link. It says whether it was sent.
func (l *Link) route(p Publish) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started || l.closed {
		return false
	}
	route := l.subs.route(p.Topic)
	if !route.ok || l.notNowLocked(p) {
		return false
	}
	if l.fullLocked() {
		l.shedLocked(p.Topic)
		return false
	}
	return l.writePublishLocked(route.publish(p, 0)) == nil
}
