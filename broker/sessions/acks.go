package sessions

import "slices"

// Puback finishes an outbound message of QoS 1. One for an id that is not in flight is ignored.
func (l *Link) Puback(id uint16, _ byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f := l.stream.byID(id); {
	case f != nil && f.QoS == 1 && f.Stage == StageSent:
		l.finishLocked(f)
	case l.replies.acked(id), l.orphanLocked(id, 1, StageSent):
		l.countLocked(-1)
	default:
		return
	}
	l.moveLocked()
}

// Pubrec is the client's receipt of an outbound message of QoS 2: the PUBREL follows, once the receipt is durable. A
// reason of 0x80 or more finishes the message (MQTT 5, 4.3.3).
func (l *Link) Pubrec(id uint16, reason byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.stream.byID(id)
	switch {
	case f == nil:
		l.strayPubrecLocked(id, reason)
	case f.QoS != 2 || f.fresh || !f.counted:
		// It answers nothing that was sent on this link.
	case f.Stage == StageReleased:
		if f.released {
			l.ackLocked(Ack{Kind: Pubrel, ID: id})
		}
	case reason >= firstFailure:
		done := f.Flight
		done.Stage = StageDone
		l.recordLocked(done)
		l.finishLocked(f)
		l.registry.metrics.dropped(dropRefused, 1)
	default:
		f.Stage = StageReleased
		if l.persistent {
			l.recordLocked(f.Flight)
		} else {
			l.releaseLocked(f)
		}
	}
	l.moveLocked()
}

// recordLocked has a change of a flight stored.
func (l *Link) recordLocked(f Flight) {
	if l.persistent {
		l.stream.records = append(l.stream.records, f)
	}
}

// releaseLocked sends the PUBREL of a flight.
func (l *Link) releaseLocked(f *flight) {
	f.released = true
	l.ackLocked(Ack{Kind: Pubrel, ID: f.ID})
}

// strayPubrecLocked answers a PUBREC of something that was given up, or that we know nothing of.
func (l *Link) strayPubrecLocked(id uint16, reason byte) {
	i := slices.IndexFunc(l.orphans, func(f Flight) bool { return f.ID == id && f.QoS == 2 })
	switch {
	case i >= 0 && reason >= firstFailure:
		l.orphans = slices.Delete(l.orphans, i, i+1)
		l.countLocked(-1)
	case i >= 0:
		l.orphans[i].Stage = StageReleased
		l.ackLocked(Ack{Kind: Pubrel, ID: id})
	case reason < firstFailure:
		l.ackLocked(Ack{Kind: Pubrel, ID: id, Reason: reasonUnknownID}) // so that the client forgets it
	}
}

// Pubcomp finishes an outbound message of QoS 2.
func (l *Link) Pubcomp(id uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f := l.stream.byID(id); {
	case f != nil && f.released:
		l.finishLocked(f)
	case l.orphanLocked(id, 2, StageReleased):
		l.countLocked(-1)
	default:
		return
	}
	l.moveLocked()
}

// orphanLocked takes an orphan out. It says whether there was one.
func (l *Link) orphanLocked(id uint16, qos byte, stage Stage) bool {
	before := len(l.orphans)
	l.orphans = slices.DeleteFunc(l.orphans, func(f Flight) bool {
		return f.ID == id && f.QoS == qos && f.Stage == stage
	})
	return len(l.orphans) < before
}
