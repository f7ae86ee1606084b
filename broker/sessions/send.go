package sessions

import (
	"errors"
	"time"
)

// Whose turn it is to send, so that no source of a session starves another.
const (
	turnReplies = iota
	turnLines
	turnStream
	turnQueue
	turnShared
	turns
)

// flushLocked sends, without the store, everything that the window and the wire let out: posts, replies and, if all is set,
// what has come from the sources.
func (l *Link) flushLocked(all bool) {
	for l.started && !l.closed && !l.idleLocked() && !l.fullLocked() && l.sendNextLocked(all) {
	}
}

// sendNextLocked sends the next thing: posts first, all others in turn. It says whether there was one that needs no pump.
func (l *Link) sendNextLocked(all bool) bool {
	if l.sendPostLocked() {
		return true
	}
	for range turns {
		sent := false
		switch {
		case l.turn == turnReplies:
			sent = l.sendReplyLocked()
		case l.turn == turnLines:
			sent = l.sendLineLocked()
		case !all: // the pump has the sources
		case l.turn == turnShared:
			sent = l.sendSharedLocked()
		default:
			s := l.feeds()[l.turn-turnStream]
			if sent = l.sendFrontLocked(s); !sent && (l.mustStoreLocked(s) || l.mustReadLocked(s)) {
				return false // it is still its turn, and that of the pump to look
			}
		}
		l.turn = (l.turn + 1) % turns
		if sent || l.closed {
			return sent
		}
	}
	return false
}

// idleLocked says that nothing waits to be sent, or that only the pump can tell.
func (l *Link) idleLocked() bool {
	return len(l.posts.waiting) == 0 && len(l.replies.waiting) == 0 && l.lines == 0 &&
		len(l.stream.ahead) == 0 && !l.stream.resuming &&
		len(l.queue.ahead) == 0 && !l.queue.resuming && !l.queue.behind && len(l.groups) == 0
}

// unwanted says whether a delivery is finished without being sent.
func (d *Delivery) unwanted() bool {
	return d.Skip || !d.Expires.IsZero() && !d.Expires.After(time.Now())
}

// sendFrontLocked does the next thing for a feed that needs no storing. It says whether it could.
func (l *Link) sendFrontLocked(s *feed) bool {
	l.pullLocked(s)
	if !s.on || len(s.ahead) == 0 && !s.resuming || l.waitsLocked(s) {
		return false
	}
	again, d := s.front()
	switch {
	case again != nil:
		return l.resendLocked(s, again, d)
	case d == nil:
		return false
	case d.unwanted():
		reason := dropExpired
		if d.Skip {
			reason = dropSkipped
		}
		l.registry.metrics.dropped(reason, 1)
		s.pass(d.Pos, d.Pos)
		s.pop()
		return true
	}
	qos := s.qos(d)
	if qos == 0 {
		l.sendOnceLocked(s)
		return true
	}
	if !l.roomLocked(s) || qos == 2 && l.persistent {
		return false
	}
	f, joined, n := l.nextFlightLocked(s, qos)
	s.insert(flight{Flight: f, counted: true})
	l.countLocked(1)
	l.sendLocked(s, f.Pos, &joined, qos == 1 && d.Pos <= s.repeated)
	s.popAll(n)
	return true
}

// sendOnceLocked sends what is next with QoS 0.
func (l *Link) sendOnceLocked(s *feed) {
	n := l.batchLocked(s)
	d := s.joined(n)
	_ = l.publishLocked(s, &d, Publish{}) // too large counts as sent
	s.pass(s.ahead[0].Pos, d.Pos)
	s.popAll(n)
}

// resendLocked sends a flight of an earlier link again. d is nil if the source has lost its content.
func (l *Link) resendLocked(s *feed, f *flight, d *Delivery) bool {
	if !l.roomLocked(s) {
		return false
	}
	var again Delivery
	n := 0
	if d != nil {
		n = s.upTo(f.Pos)
		again = s.joined(n)
	}
	if f.First != 0 && f.QoS == 1 && !l.fitsLocked(s, &again) { // the client has become smaller
		s.drop(f)
		return true
	}
	f.counted = true
	l.countLocked(1)
	switch {
	case f.Stage == StageReleased:
		l.releaseLocked(f)
	case d == nil || again.Skip:
		l.abandonLocked(s, f)
	default:
		l.sendLocked(s, f.Pos, &again, true)
	}
	s.popAll(n)
	return true
}

// abandonLocked ends a flight that cannot be sent again. The client may hold an id of QoS 2, which a PUBREL frees.
func (l *Link) abandonLocked(s *feed, f *flight) {
	if f.QoS == 2 {
		f.Stage = StageReleased
		l.releaseLocked(f)
		return
	}
	l.finishLocked(s, f)
}

// sendLocked sends the delivery of the flight at pos.
func (l *Link) sendLocked(s *feed, pos uint64, d *Delivery, dup bool) {
	f := s.at(pos)
	err := l.publishLocked(s, d, Publish{ID: f.ID, QoS: f.QoS, Dup: dup})
	f.fresh = false
	if !errors.Is(err, ErrPacketSize) {
		return
	}
	if dup && f.QoS == 2 {
		l.abandonLocked(s, f) // an earlier connection may have allowed it
		return
	}
	done := f.Flight
	done.Stage = StageDone
	if f.QoS == 2 {
		l.recordLocked(s, done)
	}
	l.finishLocked(s, f)
}

// publishLocked writes a PUBLISH with the content of d. An error was dealt with, but for that of ErrPacketSize.
func (l *Link) publishLocked(s *feed, d *Delivery, p Publish) error {
	if s.queued {
		l.contentLocked(&p, d.Message, d.Retain, d.IDs)
		if !p.Dup && !d.Retain {
			l.registry.metrics.queued(d.Message.Time, l.since)
		}
	} else {
		p.Topic, p.SubscriptionIDs = s.route.topic, s.route.ids
		p.Payload, p.ContentType = d.Payload, d.ContentType
		p.Expiry = secondsUntil(d.Expires)
	}
	return l.writePublishLocked(p)
}

// contentLocked fills p with what m says to this session.
func (l *Link) contentLocked(p *Publish, m *Message, retain bool, ids []int) {
	p.Topic, p.Payload, p.Retain, p.SubscriptionIDs = l.spellLocked(m.Topic), m.Payload, retain, ids
	p.PayloadFormat, p.HasPayloadFormat = m.PayloadFormat, m.HasPayloadFormat
	p.ContentType, p.ResponseTopic, p.Correlation, p.User = m.ContentType, m.ResponseTopic, m.Correlation, m.User
	p.EmptyContentType = m.EmptyContentType
	p.Expiry = secondsUntil(m.Expires)
	if l.spell != nil && p.ResponseTopic != "" {
		p.ResponseTopic = l.spell(p.ResponseTopic)
	}
}

// spellLocked gives a topic as the client knows it.
func (l *Link) spellLocked(topic string) string {
	own := perViewer(topic)
	if l.spell != nil && !own {
		return l.spell(topic)
	}
	if l.subs.respelled > 0 {
		if r := l.subs.route(topic); r.ok {
			return r.topic
		}
	}
	if own { // what it was sent for has been taken back
		return anyones(topic)
	}
	return topic
}

// secondsUntil is the message expiry interval that is left; 0: none was set (MQTT 5, 3.3.2.3.3).
func secondsUntil(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(max(1, (time.Until(t)+time.Second-1)/time.Second))
}

// writePublishLocked writes a PUBLISH. An error was dealt with, but for that of ErrPacketSize.
func (l *Link) writePublishLocked(p Publish) error {
	err := l.wire.Publish(p)
	switch {
	case err == nil:
		l.registry.metrics.sent(p.QoS)
	case errors.Is(err, ErrPacketSize):
		l.registry.metrics.dropped(dropOversize, 1)
	default:
		l.closeLocked()
	}
	return err
}
