package sessions

// Puback finishes an outbound message of QoS 1. One for an id that is not in flight is ignored.
func (l *Link) Puback(id uint16, reason byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, f := l.feedOfLocked(id)
	o := l.orphanLocked(id)
	switch {
	case f != nil && f.QoS == 1:
		if reason >= firstFailure {
			l.registry.metrics.dropped(dropRefused, 1)
		}
		l.finishLocked(s, f)
	case l.shared[id] != nil && l.shared[id].QoS == 1:
		l.finishSharedLocked(id)
	case o != nil && o.qos == 1:
		l.endOrphanLocked(id)
	case l.replies.acked(id):
		l.countLocked(-1)
		l.postAckedLocked(id, reason)
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
	s, f := l.feedOfLocked(id)
	switch {
	case f == nil && l.shared[id] != nil:
		l.sharedPubrecLocked(id, reason)
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
		l.recordLocked(s, done)
		l.finishLocked(s, f)
		l.registry.metrics.dropped(dropRefused, 1)
	default:
		f.Stage = StageReleased
		if l.persistent {
			l.recordLocked(s, f.Flight)
		} else {
			l.releaseLocked(f)
		}
	}
	l.moveLocked()
}

// recordLocked has a change of a flight stored.
func (l *Link) recordLocked(s *feed, f Flight) {
	if l.persistent {
		s.records = append(s.records, f)
	}
}

// releaseLocked sends the PUBREL of a flight.
func (l *Link) releaseLocked(f *flight) {
	f.released = true
	l.ackLocked(Ack{Kind: Pubrel, ID: f.ID})
}

// strayPubrecLocked answers a PUBREC of something that was given up, or that we know nothing of.
func (l *Link) strayPubrecLocked(id uint16, reason byte) {
	o := l.orphanLocked(id)
	switch {
	case o == nil && reason < firstFailure:
		l.ackLocked(Ack{Kind: Pubrel, ID: id, Reason: reasonUnknownID}) // so that the client forgets it
	case o == nil || o.qos != 2 || !o.counted:
	case reason >= firstFailure:
		l.endOrphanLocked(id)
	default:
		o.waits, o.released = false, false
		l.releaseOrphansLocked()
	}
}

// Pubcomp finishes an outbound message of QoS 2.
func (l *Link) Pubcomp(id uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, f := l.feedOfLocked(id)
	o := l.orphanLocked(id)
	switch {
	case f != nil && f.released:
		l.finishLocked(s, f)
	case l.shared[id] != nil && l.shared[id].released:
		l.finishSharedLocked(id)
	case o != nil && o.released:
		l.endOrphanLocked(id)
	default:
		return
	}
	l.moveLocked()
}
