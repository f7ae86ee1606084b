package sessions

import "slices"

// orphan is what is in flight from a stream that was given up: by an UNSUBSCRIBE, with sync=cursor, or because the
// subscription has become one of QoS 0. Its content is not sent again. An id of QoS 2 is kept until the PUBCOMP, over
// connections and crashes, because the client keeps it too: until it is sent a PUBREL, it takes the next message with
// this id for a repetition.
type orphan struct {
	id       uint16
	qos      byte
	waits    bool // for the PUBACK or PUBREC of what was sent on this link; otherwise the PUBREL is due
	released bool // the PUBREL was sent on this link
	counted  bool // one of Link.inFlight
}

// orphanPos is the position under which the first orphan is stored, where no Advance comes to.
const orphanPos = 1 << 63

// adoptLocked keeps what is left of a flight whose stream is given up.
func (l *Link) adoptLocked(f flight) {
	switch {
	case f.Stage == StageDone, f.QoS == 1 && !f.counted:
	case f.fresh:
		l.countLocked(-1)
	default:
		l.orphans = append(l.orphans, orphan{id: f.ID, qos: f.QoS, counted: f.counted, released: f.released,
			waits: f.counted && f.Stage == StageSent})
	}
}

// loadOrphans takes the orphans out of what is stored. One whose id is in flight again was finished before.
func (l *Link) loadOrphans(flights []Flight) []Flight {
	first := len(flights)
	for first > 0 && flights[first-1].Pos >= orphanPos {
		first--
	}
	flights, stored := flights[:first], flights[first:]
	for _, o := range stored {
		if !slices.ContainsFunc(flights, func(f Flight) bool { return f.ID == o.ID }) {
			l.orphans = append(l.orphans, orphan{id: o.ID, qos: o.QoS})
		}
	}
	return flights
}

// appendOrphans adds the orphans to what is to be stored.
func (l *Link) appendOrphans(flights []Flight) []Flight {
	pos := uint64(orphanPos)
	for _, o := range l.orphans {
		if o.qos == 2 {
			flights = append(flights, Flight{ID: o.id, Pos: pos, QoS: 2, Stage: StageReleased})
			pos++
		}
	}
	return flights
}

// releaseOrphansLocked sends the PUBRELs that are due.
func (l *Link) releaseOrphansLocked() {
	for i := range l.orphans {
		o := &l.orphans[i]
		if o.qos != 2 || o.waits || o.released {
			continue
		}
		if !o.counted {
			o.counted = true
			l.countLocked(1)
		}
		o.released = true
		l.ackLocked(Ack{Kind: Pubrel, ID: o.id})
	}
}

func (l *Link) orphanLocked(id uint16) *orphan {
	for i := range l.orphans {
		if l.orphans[i].id == id {
			return &l.orphans[i]
		}
	}
	return nil
}

// endOrphanLocked forgets an orphan.
func (l *Link) endOrphanLocked(id uint16) {
	l.orphans = slices.DeleteFunc(l.orphans, func(o orphan) bool { return o.id == id })
	l.countLocked(-1)
}
