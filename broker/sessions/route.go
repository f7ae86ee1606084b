package sessions

import "errors"

// Route sends p with QoS 0 to every connected session that subscribes to p.Topic, once to each, and says to how many. A
// client that does not keep up with reading misses it.
func (r *Registry) Route(p Publish) int {
	found := r.index.Match(p.Topic, nil)
	sent := 0
	var seen map[*Link]struct{}
	for i, m := range found {
		if len(found) > 1 {
			if seen == nil {
				seen = make(map[*Link]struct{}, len(found)-i)
			}
			if _, again := seen[m.Who]; again {
				continue
			}
			seen[m.Who] = struct{}{}
		}
		if m.Who.route(p) {
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
	if !route.ok {
		return false
	}
	if l.fullLocked() {
		l.registry.metrics.dropped(dropShed, 1)
		return false
	}
	err := l.wire.Publish(route.publish(p, 0))
	switch {
	case errors.Is(err, ErrPacketSize):
		l.registry.metrics.dropped(dropOversize, 1)
	case err != nil:
		l.closeLocked()
	default:
		l.registry.metrics.sent(0)
	}
	return err == nil
}
