package sessions

import (
	"context"
	"slices"
)

// Current is what topics of the server's own say now, for those who subscribe or come back. Safe for concurrent use.
type Current interface {
	// Has says whether topics of this filter may say something.
	Has(filter string) bool
	// Give is called when somebody subscribes or comes back, of things (dev/, $aws/) also if he does not want to be told.
	//
	// Give calls send for what the topics of a filter say now, in a fixed order, those that come after after: some of them,
	// or all; what has Retain is sent as if it were retained. send does not wait; when it says that it takes no more, Give
	// ends. It gives where to go on after; empty: there is no more. Nothing that Route sends of the same topic comes between
	// the question what it says and send.
	Give(ctx context.Context, filter, after string, send func(Publish) (more bool)) (next string, err error)
}

// SetCurrent says what topics of the server's own say. It is called once, before the first Connect.
func (r *Registry) SetCurrent(c Current) { r.currents = c }

// Listens says whether Route would find a session that subscribes to a topic of the server's own.
func (r *Registry) Listens(topic string) bool {
	var few [4]Subscriber
	found, _ := r.lives.Match(topic, few[:0])
	return len(found) > 0
}

// replayCurrent sends some of what the topics of one of the session's subscriptions say now.
func (l *Link) replayCurrent(ctx context.Context, p Replay) error {
	l.registry.takePosts(l, p.Filter)
	next, err := l.registry.currents.Give(ctx, p.Filter, p.After, func(out Publish) bool { return l.sendCurrent(p, out) })
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.replays, func(x Replay) bool { return x.ID == p.ID })
	switch {
	case i < 0: // it was taken back meanwhile
	case next == "":
		l.replays = slices.Delete(l.replays, i, i+1)
	default:
		l.replays[i].After = next
	}
	return nil
}

// sendCurrent sends what a topic says now. It says whether there is room for more.
func (l *Link) sendCurrent(p Replay, out Publish) (more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || !slices.ContainsFunc(l.replays, func(x Replay) bool { return x.ID == p.ID }) {
		return false
	}
	route := l.subs.route(out.Topic)
	if !route.ok || p.Mute {
		return p.Mute
	}
	ids := p.ids()
	if !p.Asked { // it is told as if it had changed
		if ids = route.ids; l.notNowLocked(out) {
			return true
		}
	}
	out, wanted := out.forText(l.options)
	if !wanted {
		return true
	}
	l.background.missed.forget(out.Topic)
	l.shed.forget(out.Topic)
	out.Topic, out.SubscriptionIDs, out.Retain = route.topic, ids, out.Retain && p.Asked
	_ = l.writePublishLocked(out)
	return !l.closed && !l.fullLocked()
}
