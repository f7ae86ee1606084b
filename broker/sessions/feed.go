package sessions

import (
	"slices"
	"time"
)

// feed is how far a session has come in one of its sources. Guarded by Link.mu.
//
//	acked      everything up to here is finished
//	flights    what is in flight, or finished behind something that is not
//	ahead      what has been read from the source and not been sent
//	read       the last position that was read
//
// What a crash leaves of it are the stored cursor, which may be behind acked, and rows for the flights of QoS 2: one is
// durable as StageSent before its PUBLISH is first sent, and as StageReleased before its PUBREL. That makes QoS 2 exact
// whenever the crash comes:
//
//   - No row: it was never sent.
//   - StageSent: the PUBLISH goes again with the same id. If the client has had it, it still holds the id, because only a
//     PUBREL frees it, and takes it for a repetition.
//   - StageReleased: the PUBREL goes again. If the client has had it, it answers that it does not know the id, which also
//     finishes it. So nobody has to store that a PUBCOMP came: the row goes with the next Advance.
//   - Two rows with one id: an id is only used again when its flight is finished, so the older one is.
//
// Flights of QoS 1 are only stored at the end of a connection. After a crash, what was there already is sent with DUP.
type feed struct {
	source Source // used by the pump, and by End after it
	joiner Joiner // the source, if several deliveries of it can be sent as one; nil: they cannot
	queued bool   // it is the session's queue; otherwise it is the user's stream
	whole  bool   // nothing of it is stored, so no cursor is kept

	on    bool
	epoch int   // changes when the feed starts or is given up: work that began before is thrown away
	route route // of the stream: how the session subscribes to it

	acked    uint64
	advanced uint64 // what the store knows of acked
	saved    uint64 // acked as of the last Save, which left out the flights before it: no Advance may go back behind it
	read     uint64
	behind   bool // there may be something after read
	ended    bool // the last look at the source found nothing
	ahead    []Delivery
	spare    []Delivery // memory for ahead; empty, and small
	flights  []flight   // sorted by Pos

	loaded   uint64 // position of the last flight that was loaded
	resuming bool   // some of these have not been sent again
	repeated uint64 // QoS 1 up to here may have been sent before a crash

	records []Flight // changes of flights to be stored, in the order in which the client caused them

	lastAdvance time.Time
	rows        int         // stored flights that were finished after it
	timer       *time.Timer // wakes the pump when the next Advance is due; nil: none is
}

// flight is a Flight on this link.
type flight struct {
	Flight
	counted  bool // one of Link.inFlight: sent on this link, or about to be
	fresh    bool // QoS 2, being stored: never sent on any link
	released bool // QoS 2: its PUBREL was sent on this link
}

// maxWindow bounds Config.Window, and with it the time it takes to find a flight.
const maxWindow = 1024

// maxFlights bounds flights: a client that never acks one message gets no more than these after it.
const maxFlights = 2 * maxWindow

// maxRows is how many stored flights may be finished before an Advance forgets them: after a crash, each has to be gone
// through again.
const maxRows = 1024

// load takes over what is stored.
func (s *feed) load(on bool, c Cursor) {
	s.on = on
	s.acked, s.advanced, s.read = c.Acked, c.Acked, c.Acked
	s.behind = true
	for i, f := range c.Flights {
		older := slices.ContainsFunc(c.Flights[i+1:], func(g Flight) bool { return g.ID == f.ID })
		if older { // see "two rows with one id"
			f.Stage = StageDone
		}
		s.flights = append(s.flights, flight{Flight: f})
		s.loaded = max(s.loaded, f.Pos)
	}
	s.resuming = len(s.flights) > 0
	s.slide()
}

// startAt begins, or begins again, after this position.
func (s *feed) startAt(pos uint64) {
	s.on = true
	s.restart()
	s.acked, s.advanced, s.read = pos, pos, pos
	s.behind = true
}

// live says that the feed is sent with QoS 0 and from its head only.
func (s *feed) live() bool { return !s.queued && s.route.qos == 0 }

// qos is what a delivery is sent with.
func (s *feed) qos(d *Delivery) byte {
	if s.queued {
		return d.QoS
	}
	return s.route.qos
}

// restart forgets everything but the cursor.
func (s *feed) restart() {
	s.epoch++
	s.flights, s.ahead, s.records = nil, nil, nil
	s.loaded, s.repeated = 0, 0
	s.resuming, s.ended, s.behind = false, false, false
}

// slide moves acked over what is finished without a gap.
func (s *feed) slide() {
	n := 0
	for n < len(s.flights) && s.flights[n].Stage == StageDone {
		s.acked = s.flights[n].Pos
		if s.flights[n].QoS == 2 {
			s.rows++
		}
		n++
	}
	switch left := len(s.flights) - n; {
	case left == 0 && cap(s.flights) > 16:
		s.flights = nil
	case left <= 64: // moved to the front, so that the memory is used again
		s.flights = s.flights[:copy(s.flights, s.flights[n:])]
	default:
		s.flights = s.flights[n:]
	}
	if s.whole || s.live() { // no cursor is kept
		s.advanced = s.acked
	}
}

// pass finishes the positions from first to pos, which have no flight.
func (s *feed) pass(first, pos uint64) {
	if len(s.flights) > 0 {
		f := Flight{Pos: pos, Stage: StageDone}
		if first < pos {
			f.First = first
		}
		s.insert(flight{Flight: f})
	} else {
		s.acked = pos
	}
	s.slide()
}

// stored gives the flights as they are stored.
func (s *feed) stored() []Flight {
	var out []Flight
	for _, f := range s.flights {
		out = append(out, f.Flight)
	}
	return out
}

// insert adds a flight at its place, nearly always the end.
func (s *feed) insert(f flight) {
	i := len(s.flights)
	for i > 0 && s.flights[i-1].Pos > f.Pos {
		i--
	}
	s.flights = slices.Insert(s.flights, i, f)
}

// byID finds what is in flight under an id.
func (s *feed) byID(id uint16) *flight {
	for i := range s.flights {
		if f := &s.flights[i]; f.ID == id && f.Stage != StageDone {
			return f
		}
	}
	return nil
}

// unsent finds the first flight that was loaded and not yet sent again.
func (s *feed) unsent() *flight {
	if !s.resuming {
		return nil
	}
	for i := range s.flights {
		if f := &s.flights[i]; !f.counted && f.Stage != StageDone {
			return f
		}
	}
	s.resuming = false
	return nil
}

// at finds the flight of a position, nearly always the last.
func (s *feed) at(pos uint64) *flight {
	for i := len(s.flights) - 1; i >= 0; i-- {
		if s.flights[i].Pos == pos {
			return &s.flights[i]
		}
	}
	return nil
}

// uncertain says whether something that may have been sent before a crash has not been sent since.
func (s *feed) uncertain() bool {
	last := s.acked
	if n := len(s.flights); n > 0 {
		last = s.flights[n-1].Pos
	}
	return s.on && s.repeated > last
}

// front is the next thing to do for the stream: the flight to be sent again, the delivery to be sent, or both. Neither:
// the source has to be read.
func (s *feed) front() (again *flight, d *Delivery) {
	for len(s.ahead) > 0 && s.finished(s.ahead[0].Pos) {
		s.pop()
	}
	if len(s.ahead) > 0 {
		d = &s.ahead[0]
	}
	f := s.unsent()
	switch {
	case f == nil:
		return nil, d
	case d == nil && s.ended, d != nil && f.Pos < d.Pos: // the source has lost it
		return f, nil
	case s.torn():
		return nil, nil
	case d != nil && f.first() <= d.Pos:
		return f, d
	}
	return nil, d
}

// torn says whether only a part has been read of what is to be sent again next.
func (s *feed) torn() bool {
	f := s.unsent()
	return f != nil && len(s.ahead) > 0 && !s.ended && f.first() <= s.ahead[0].Pos && s.ahead[len(s.ahead)-1].Pos < f.Pos
}

// finished says whether a position that was read again was finished before.
func (s *feed) finished(pos uint64) bool {
	if pos > s.loaded {
		return pos <= s.acked
	}
	return pos <= s.acked || slices.ContainsFunc(s.flights, func(f flight) bool {
		return f.first() <= pos && pos <= f.Pos && f.Stage == StageDone
	})
}

func (s *feed) pop() {
	s.ahead[0] = Delivery{}
	if s.ahead = s.ahead[1:]; len(s.ahead) == 0 {
		s.ahead = s.spare
	}
}

// newIDLocked gives a packet id that is not in flight. There has to be one.
func (l *Link) newIDLocked() uint16 {
	for {
		id := max(l.nextID, 1)
		if l.nextID = id + 1; id >= l.registry.lastID {
			l.nextID = 1
		}
		_, f := l.feedOfLocked(id)
		if f == nil && l.shared[id] == nil && !slices.Contains(l.replies.inFlight, id) && l.orphanLocked(id) == nil {
			return id
		}
	}
}

// feedOfLocked gives the feed that has a flight with this id, and the flight; or nil.
func (l *Link) feedOfLocked(id uint16) (*feed, *flight) {
	for _, s := range l.feeds() {
		if f := s.byID(id); f != nil {
			return s, f
		}
	}
	return nil, nil
}

// feeds are the link's feeds. What is guarded in them needs the lock.
func (l *Link) feeds() [2]*feed { return [2]*feed{&l.stream, &l.queue} }

// count adds n to what the client has to answer.
func (l *Link) countLocked(n int) {
	l.inFlight += n
	l.registry.metrics.inFlight.Add(int64(n))
}

// roomLocked says whether the window lets one more packet of the feed out.
func (l *Link) roomLocked(s *feed) bool {
	return l.inFlight < l.window && (s.resuming || len(s.flights) < maxFlights && l.idFreeLocked())
}

// idFreeLocked says whether newIDLocked has something to give.
func (l *Link) idFreeLocked() bool {
	used := len(l.stream.flights) + len(l.queue.flights) + len(l.orphans) + len(l.replies.inFlight) + len(l.shared)
	return used < int(l.registry.lastID)
}

// waitsLocked says whether something has to be sent again before anything of s goes out: what was in flight at the end of
// the last connection comes first, in the order in which it was sent then (MQTT 5, 4.4 and 4.6). Packet ids tell that
// order: they are given in turn.
func (l *Link) waitsLocked(s *feed) bool {
	other := &l.stream
	if other == s {
		other = &l.queue
	}
	theirs := other.unsent()
	if theirs == nil {
		return false
	}
	ours := s.unsent()
	return ours == nil || theirs.ID-l.firstID < ours.ID-l.firstID
}

// finishLocked ends a flight. It may move the others: pointers to them are void.
func (l *Link) finishLocked(s *feed, f *flight) {
	if f.counted {
		f.counted = false
		l.countLocked(-1)
	}
	f.Stage, f.ID = StageDone, 0 // the id is free
	s.slide()
}

// giveUpLocked ends the stream. What was sent of it may still be acknowledged.
func (l *Link) giveUpLocked() {
	l.forgetLocked()
	l.stream.on = false
	l.stream.restart()
	if l.started {
		l.releaseOrphansLocked()
	}
}

// forgetLocked gives up what is in flight of the stream.
func (l *Link) forgetLocked() {
	for _, f := range l.stream.flights {
		l.adoptLocked(f)
	}
	l.stream.flights = nil
}
