package sessions

import (
	"slices"
	"time"
)

// stream is how far a session has come in its source. Guarded by Link.mu.
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
type stream struct {
	on    bool
	epoch int // changes when the stream starts or is given up: work that began before is thrown away
	route route

	acked    uint64
	advanced uint64 // what the store knows of acked
	saved    uint64 // acked as of the last Save, which left out the flights before it: no Advance may go back behind it
	read     uint64
	behind   bool // there may be something after read
	ended    bool // the last look at the source found nothing
	ahead    []Delivery
	flights  []flight // sorted by Pos

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
func (s *stream) load(st State) {
	s.on = st.Streaming
	s.acked, s.advanced, s.read = st.Acked, st.Acked, st.Acked
	s.behind = true
	for i, f := range st.Flights {
		older := slices.ContainsFunc(st.Flights[i+1:], func(g Flight) bool { return g.ID == f.ID })
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
func (s *stream) startAt(pos uint64) {
	s.on = true
	s.restart()
	s.acked, s.advanced, s.read = pos, pos, pos
	s.behind = true
}

// restart forgets everything but the cursor.
func (s *stream) restart() {
	s.epoch++
	s.flights, s.ahead, s.records = nil, nil, nil
	s.loaded, s.repeated = 0, 0
	s.resuming, s.ended, s.behind = false, false, false
}

// slide moves acked over what is finished without a gap.
func (s *stream) slide() {
	n := 0
	for n < len(s.flights) && s.flights[n].Stage == StageDone {
		s.acked = s.flights[n].Pos
		if s.flights[n].QoS == 2 {
			s.rows++
		}
		n++
	}
	if s.flights = s.flights[n:]; len(s.flights) == 0 {
		s.flights = nil
	}
	if s.route.qos == 0 { // live only, no cursor is kept
		s.advanced = s.acked
	}
}

// pass finishes a position that has no flight.
func (s *stream) pass(pos uint64) {
	if len(s.flights) > 0 {
		s.insert(flight{Flight: Flight{Pos: pos, Stage: StageDone}})
	} else {
		s.acked = pos
	}
	s.slide()
}

// insert adds a flight at its place, nearly always the end.
func (s *stream) insert(f flight) {
	i := len(s.flights)
	for i > 0 && s.flights[i-1].Pos > f.Pos {
		i--
	}
	s.flights = slices.Insert(s.flights, i, f)
}

// byID finds what is in flight under an id.
func (s *stream) byID(id uint16) *flight {
	for i := range s.flights {
		if f := &s.flights[i]; f.ID == id && f.Stage != StageDone {
			return f
		}
	}
	return nil
}

// unsent finds the first flight that was loaded and not yet sent again.
func (s *stream) unsent() *flight {
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
func (s *stream) at(pos uint64) *flight {
	for i := len(s.flights) - 1; i >= 0; i-- {
		if s.flights[i].Pos == pos {
			return &s.flights[i]
		}
	}
	return nil
}

// uncertain says whether something that may have been sent before a crash has not been sent since.
func (s *stream) uncertain() bool {
	last := s.acked
	if n := len(s.flights); n > 0 {
		last = s.flights[n-1].Pos
	}
	return s.on && s.repeated > last
}

// front is the next thing to do for the stream: the flight to be sent again, the delivery to be sent, or both. Neither:
// the source has to be read.
func (s *stream) front() (again *flight, d *Delivery) {
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
	case d != nil && f.Pos == d.Pos:
		return f, d
	}
	return nil, d
}

// finished says whether a position that was read again was finished before.
func (s *stream) finished(pos uint64) bool {
	if pos > s.loaded {
		return pos <= s.acked
	}
	f := s.at(pos)
	return pos <= s.acked || f != nil && f.Stage == StageDone
}

func (s *stream) pop() {
	s.ahead[0] = Delivery{}
	if s.ahead = s.ahead[1:]; len(s.ahead) == 0 {
		s.ahead = nil
	}
}

// newIDLocked gives a packet id that is not in flight. There has to be one.
func (l *Link) newIDLocked() uint16 {
	for {
		id := max(l.nextID, 1)
		if l.nextID = id + 1; id >= l.registry.lastID {
			l.nextID = 1
		}
		free := l.stream.byID(id) == nil && !slices.Contains(l.replies.inFlight, id) &&
			l.orphanLocked(id) == nil
		if free {
			return id
		}
	}
}

// count adds n to what the client has to answer.
func (l *Link) countLocked(n int) {
	l.inFlight += n
	l.registry.metrics.inFlight.Add(int64(n))
}

// roomLocked says whether the window lets one more packet of the stream out.
func (l *Link) roomLocked() bool {
	s := &l.stream
	return l.inFlight < l.window && (s.resuming || len(s.flights) < maxFlights && l.idFreeLocked())
}

// idFreeLocked says whether newIDLocked has something to give.
func (l *Link) idFreeLocked() bool {
	return len(l.stream.flights)+len(l.orphans)+len(l.replies.inFlight) < int(l.registry.lastID)
}

// finishLocked ends a flight. It may move the others: pointers to them are void.
func (l *Link) finishLocked(f *flight) {
	if f.counted {
		f.counted = false
		l.countLocked(-1)
	}
	f.Stage, f.ID = StageDone, 0 // the id is free
	l.stream.slide()
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

// forgetLocked gives up what is in flight.
func (l *Link) forgetLocked() {
	for _, f := range l.stream.flights {
		l.adoptLocked(f)
	}
	l.stream.flights = nil
}
