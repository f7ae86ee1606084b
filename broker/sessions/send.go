package sessions

import (
	"errors"
	"time"
)

// flushLocked sends, without the store, everything that the window and the wire let out: replies and, if stream is set,
// what has been read from the source; in turn, so that neither starves the other.
func (l *Link) flushLocked(stream bool) {
	for l.started && !l.closed && !l.idleLocked() && !l.fullLocked() {
		switch {
		case l.replies.turn && l.sendReplyLocked():
		case stream && l.sendFrontLocked():
		case stream && (l.mustStoreLocked() || l.mustReadLocked()):
			return // it is the pump's turn
		case l.sendReplyLocked():
		default:
			return
		}
	}
}

// idleLocked says that nothing waits to be sent.
func (l *Link) idleLocked() bool {
	return len(l.replies.waiting) == 0 && len(l.stream.ahead) == 0 && !l.stream.resuming
}

// unwanted says whether a delivery is finished without being sent.
func (d *Delivery) unwanted() bool {
	return d.Skip || !d.Expires.IsZero() && !d.Expires.After(time.Now())
}

// sendFrontLocked does the next thing for the stream that needs no storing. It says whether it could.
func (l *Link) sendFrontLocked() bool {
	s := &l.stream
	again, d := s.front()
	switch {
	case again != nil:
		return l.resendLocked(again, d)
	case d == nil:
		return false
	case d.unwanted():
		reason := dropExpired
		if d.Skip {
			reason = dropSkipped
		}
		l.registry.metrics.dropped(reason, 1)
		s.pass(d.Pos)
		s.pop()
		return true
	}
	qos := s.route.qos
	if qos == 0 {
		l.sendOnceLocked(d)
		return true
	}
	if !l.roomLocked() || qos == 2 && l.persistent {
		return false
	}
	f := flight{Flight: Flight{ID: l.newIDLocked(), Pos: d.Pos, QoS: qos, Stage: StageSent}, counted: true}
	s.insert(f)
	l.countLocked(1)
	l.sendLocked(f.Pos, d, qos == 1 && d.Pos <= s.repeated)
	s.pop()
	return true
}

// sendOnceLocked sends a delivery with QoS 0.
func (l *Link) sendOnceLocked(d *Delivery) {
	s := &l.stream
	_ = l.publishLocked(d, Publish{}) // too large counts as sent
	s.pass(d.Pos)
	s.pop()
}

// resendLocked sends a flight of an earlier link again. d is nil if the source has lost its content.
func (l *Link) resendLocked(f *flight, d *Delivery) bool {
	if !l.roomLocked() {
		return false
	}
	s := &l.stream
	f.counted = true
	l.countLocked(1)
	switch {
	case f.Stage == StageReleased:
		l.releaseLocked(f)
	case d == nil || d.Skip:
		l.abandonLocked(f)
	default:
		l.sendLocked(f.Pos, d, true)
	}
	if d != nil {
		s.pop()
	}
	return true
}

// abandonLocked ends a flight that cannot be sent again. The client may hold an id of QoS 2, which a PUBREL frees.
func (l *Link) abandonLocked(f *flight) {
	if f.QoS == 2 {
		f.Stage = StageReleased
		l.releaseLocked(f)
		return
	}
	l.finishLocked(f)
}

// sendLocked sends the delivery of the flight at pos.
func (l *Link) sendLocked(pos uint64, d *Delivery, dup bool) {
	s := &l.stream
	f := s.at(pos)
	err := l.publishLocked(d, Publish{ID: f.ID, QoS: f.QoS, Dup: dup})
	f.fresh = false
	if !errors.Is(err, ErrPacketSize) {
		return
	}
	if dup && f.QoS == 2 {
		l.abandonLocked(f) // an earlier connection may have allowed it
		return
	}
	done := f.Flight
	done.Stage = StageDone
	if f.QoS == 2 {
		l.recordLocked(done)
	}
	l.finishLocked(f)
}

// publishLocked writes a PUBLISH with the content of d. An error was dealt with, but for that of ErrPacketSize.
func (l *Link) publishLocked(d *Delivery, p Publish) error {
	p.Topic, p.SubscriptionIDs = l.stream.route.topic, l.stream.route.ids
	p.Payload, p.ContentType = d.Payload, d.ContentType
	if !d.Expires.IsZero() {
		p.Expiry = uint32(max(1, (time.Until(d.Expires)+time.Second-1)/time.Second))
	}
	l.replies.turn = true
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
