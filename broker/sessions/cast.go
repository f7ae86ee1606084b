package sessions

import "github.com/magpie-im/magpie/accounts"

// Cast sends p with QoS 0, on the topics of their streams, to the sessions of some users that subscribe to these, as if it
// were part of the streams, and says to how many. A client that does not keep up with reading misses it.
func (r *Registry) Cast(users []accounts.Name, p Publish) (sent int) {
	var few [64]*Link
	links := few[:0]
	r.mu.RLock()
	for _, user := range users {
		if a := r.accounts[user]; a != nil {
			links = append(links, a.links...)
		}
	}
	r.mu.RUnlock()
	for _, l := range links {
		if l.cast(p) {
			sent++
		}
	}
	return sent
}

// cast sends p to this link. It says whether it was sent.
func (l *Link) cast(p Publish) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := &l.stream.route
	if !l.started || l.closed || !to.ok {
		return false
	}
	if l.fullLocked() {
		l.registry.metrics.dropped(dropShed, 1)
		return false
	}
	p, ok := p.forText(l.options)
	if !ok {
		return false
	}
	p.Topic, p.SubscriptionIDs, p.QoS = to.topic, to.ids, 0
	return l.writePublishLocked(p) == nil
}

// forText gives p as a session wants it that has chosen o; ok is false if it is not for it.
func (p Publish) forText(o Options) (out Publish, ok bool) {
	if o.Text && p.Text != nil {
		if len(p.Text) == 0 {
			return p, false
		}
		p.Payload, p.ContentType = p.Text, "text/plain"
	}
	return p, true
}
