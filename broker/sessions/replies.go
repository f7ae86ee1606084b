package sessions

import (
	"errors"
	"time"
)

// replies are what waits for room in the window to be sent to this link only, and what of it is in flight. They die with
// the link: its client asks again.
type replies struct {
	waiting  []waiting
	bytes    int      // of waiting
	inFlight []uint16 // ids; of lines and posts too
}

type waiting struct {
	Publish
	since time.Time
}

func (w waiting) size() int { return len(w.Payload) + len(w.Topic) + len(w.Correlation) }

func (r *replies) pop() waiting {
	w := r.waiting[0]
	r.waiting[0] = waiting{}
	r.bytes -= w.size()
	if r.waiting = r.waiting[1:]; len(r.waiting) == 0 {
		r.waiting = nil
	}
	return w
}

// acked takes an id out of flight. It says whether it was there.
func (r *replies) acked(id uint16) bool {
	for i, x := range r.inFlight {
		if x == id {
			if r.inFlight = append(r.inFlight[:i], r.inFlight[i+1:]...); len(r.inFlight) == 0 {
				r.inFlight = nil
			}
			return true
		}
	}
	return false
}

// Reply sends p to this link, with QoS 1 if that was granted, if a subscription of the session matches its topic. A
// bounded number of replies waits while the window or the wire is full, then the oldest is dropped.
func (l *Link) Reply(p Publish) {
	l.mu.Lock()
	defer l.mu.Unlock()
	route := l.subs.route(p.Topic)
	if !route.ok || l.closed {
		return
	}
	p = route.publish(p, min(route.qos, 1))
	l.replies.waiting = append(l.replies.waiting, waiting{p, time.Now()})
	l.replies.bytes += l.replies.waiting[len(l.replies.waiting)-1].size()
	l.moveLocked()
	l.trimLocked()
}

// publish gives p as the route's session sees it.
func (r route) publish(p Publish, qos byte) Publish {
	p.Topic, p.QoS, p.SubscriptionIDs = r.topic, qos, r.ids
	p.ID, p.Dup, p.Retain = 0, false, p.Retain && r.retain
	return p
}

// trimLocked drops replies that are too many or too old.
func (l *Link) trimLocked() {
	r, cfg := &l.replies, &l.registry.cfg
	for len(r.waiting) > 0 {
		switch {
		case len(r.waiting) > cfg.Replies || r.bytes > cfg.ReplyBytes:
			l.registry.metrics.dropped(dropReplyQueue, 1)
		case time.Since(r.waiting[0].since) > cfg.ReplyWait:
			l.registry.metrics.dropped(dropReplyOld, 1)
		default:
			return
		}
		r.pop()
	}
}

// sendReplyLocked sends the reply that waits longest. It says whether it could.
func (l *Link) sendReplyLocked() bool {
	r := &l.replies
	if len(r.waiting) == 0 || r.waiting[0].QoS > 0 && !l.replyRoomLocked() {
		return false
	}
	w := r.pop()
	if time.Since(w.since) > l.registry.cfg.ReplyWait {
		l.registry.metrics.dropped(dropReplyOld, 1)
		return true
	}
	l.publishReplyLocked(w.Publish)
	return true
}

// replyRoomLocked says whether the window lets one more reply out.
func (l *Link) replyRoomLocked() bool { return l.inFlight < l.window && l.idFreeLocked() }

// publishReplyLocked sends p, which is ready but for its id.
func (l *Link) publishReplyLocked(p Publish) {
	if p.QoS > 0 {
		p.ID = l.newIDLocked()
	}
	switch err := l.wire.Publish(p); {
	case errors.Is(err, ErrPacketSize):
		l.registry.metrics.dropped(dropOversize, 1)
	case err != nil:
		l.closeLocked()
	case p.QoS > 0:
		l.replies.inFlight = append(l.replies.inFlight, p.ID)
		l.countLocked(1)
	}
}

// eventLocked sends the event of a Reply, which has to come before the ack that follows. If the window is full it cannot
// wait for it and goes with QoS 0: it is no less certain than the ack.
func (l *Link) eventLocked(payload []byte) {
	route := l.subs.route(l.replyTopic)
	if !route.ok || l.replyTopic == "" {
		return
	}
	qos := min(route.qos, 1)
	if !l.replyRoomLocked() {
		qos = 0
	}
	l.publishReplyLocked(route.publish(Publish{Payload: payload}, qos))
}
