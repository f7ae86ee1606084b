package sessions

import (
	"slices"
	"sync/atomic"

	"github.com/magpie-im/magpie/accounts"
)

// Some topics of the server's own have an audience: many sessions that are told the same, like a live room. Each that
// subscribes has a Seat, in which what it has not taken yet waits, within bounds. Whoever tells knows the seats; no index is
// asked, no lock is held for more than one session, and what is told is encoded once.

// Audiences are told who comes and goes. They are called under a lock of the session, and must neither wait nor use the seat
// before they return. Safe for concurrent use.
type Audiences interface {
	// Has says whether a filter is a topic that has an audience. It has no wildcards.
	Has(filter string) bool
	// Join gives a seat to the topic's audience. With current the session wants to know what has been up to now. It is told
	// nothing before its SUBACK.
	Join(topic string, s *Seat, current bool)
	// Leave takes it back. What is offered to it from now on is lost.
	Leave(topic string, s *Seat)
}

// SetAudiences says which topics have an audience. It is called once, before the first Connect.
func (r *Registry) SetAudiences(a Audiences) { r.audiences = a }

func (r *Registry) hasAudience(filter string) bool {
	return reserved(filter) && r.audiences != nil && r.audiences.Has(filter)
}

// Class says what becomes of a Line for a session that does not keep up.
type Class byte

// Classes of lines.
const (
	LineChat  Class = iota // the oldest is left out
	LineSure               // none is left out: if too many wait, the connection is ended
	LineState              // only the newest of its Key waits
	lineClasses
)

// Line is something that an audience is told. It is not changed any more once it was offered.
type Line struct {
	Publish // its topic is that of the seats; QoS is the highest with which it is sent
	Class   Class
	Key     string // of LineState
}

// NewLine makes a line of what is the same for everybody.
func NewLine(p Publish, class Class, key string) *Line {
	p.Once = new(Once)
	return &Line{Publish: p, Class: class, Key: key}
}

// Once has the packets that were made of a Publish for one session, for the others: the same for all of a version and QoS,
// but for the packet id. The zero value has none. Safe for concurrent use.
type Once struct{ packets [2][2]atomic.Pointer[[]byte] }

// Packet gives the packet for a version and a QoS of 0 or 1, and makes it if there is none yet. It is not to be changed.
func (o *Once) Packet(version, qos byte, encode func() []byte) []byte {
	place := &o.packets[version&1][qos&1]
	if made := place.Load(); made != nil {
		return *made
	}
	made := encode()
	place.Store(&made)
	return made
}

// Bounds of what waits in one seat, and in all those of a session.
const (
	seatLines  = 256 // of LineChat, and of LineState
	seatSure   = 1024
	seatBytes  = 1 << 20 // of LineChat
	sureBytes  = 4 << 20
	linkBytes  = 16 << 20
	lineStored = 64 // what a line counts for besides its payload
)

// Seat is a session in the audience of a topic. Safe for concurrent use, after Join has returned.
type Seat struct {
	link  *Link
	topic string

	// Guarded by link.mu.
	sub   Subscription
	open  bool // the SUBACK has been written
	left  bool // nothing is sent any more
	next  uint64
	lines [lineClasses]seatQueue
}

// Account is whose session it is.
func (s *Seat) Account() accounts.Name { return s.link.key.Account }

// Options are what the client chose in its CONNECT.
func (s *Seat) Options() Options { return s.link.options }

// Offer gives the session what comes next, in order. It does not wait.
func (s *Seat) Offer(lines ...*Line) {
	l := s.link
	l.mu.Lock()
	ok := true
	if !l.closed && !s.left {
		for _, line := range lines {
			if ok = s.pushLocked(line); !ok {
				break
			}
		}
		l.flushLocked(!l.pumping)
	}
	l.mu.Unlock()
	if !ok {
		l.registry.metrics.dropped(dropVolatile, 1)
		l.disconnect(reasonQuotaExceeded)
	}
}

// End takes the subscription from the session. Nothing that is offered after it was called is sent, and what waits is not
// either.
func (s *Seat) End() {
	l := s.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.left {
		return
	}
	l.standUpLocked(s)
	l.lost = append(l.lost, s.topic)
}

// pushLocked adds a line, or leaves it out if it may be. It says whether there was room for one that may not.
func (s *Seat) pushLocked(line *Line) bool {
	l, q := s.link, &s.lines[line.Class]
	s.next++
	tight := func() bool { return l.lineBytes+line.size() > linkBytes }
	switch line.Class {
	case LineState:
		if grown, ok := q.replace(line); ok {
			l.lineBytes += grown
			return true
		}
		for q.len() > 0 && (q.len() >= seatLines || tight()) {
			s.dropLocked(q)
		}
	case LineSure:
		if q.len() > 0 && (q.len() >= seatSure || q.bytes+line.size() > sureBytes) || tight() {
			return false
		}
	default:
		for q.len() > 0 && (q.len() >= seatLines || q.bytes+line.size() > seatBytes || tight()) {
			s.dropLocked(q)
		}
	}
	if tight() { // other seats have it all
		l.registry.metrics.dropped(dropShed, 1)
		return true
	}
	q.push(s.next, line)
	l.lines++
	l.lineBytes += line.size()
	return true
}

// popLocked takes the oldest line out.
func (s *Seat) popLocked(q *seatQueue) {
	s.link.lines--
	s.link.lineBytes -= q.front().line.size()
	q.pop()
}

// dropLocked leaves the oldest line out.
func (s *Seat) dropLocked(q *seatQueue) {
	s.popLocked(q)
	s.link.registry.metrics.dropped(dropShed, 1)
}

// firstLocked gives the queue with the line that comes next, or nil.
func (s *Seat) firstLocked() *seatQueue {
	var first *seatQueue
	for i := range s.lines {
		q := &s.lines[i]
		if q.len() > 0 && (first == nil || q.front().order < first.front().order) {
			first = q
		}
	}
	return first
}

// sitDownLocked gives the session a seat for a subscription. If it has one and asks for nothing anew, that stays.
func (l *Link) sitDownLocked(sub Subscription, current, open bool) {
	l.lost = slices.DeleteFunc(l.lost, func(topic string) bool { return topic == sub.Filter })
	if s := l.seatLocked(sub.Filter); s != nil {
		if s.sub = sub; !current {
			return
		}
		l.standUpLocked(s)
	}
	s := &Seat{link: l, topic: sub.Filter, sub: sub, open: open}
	l.seats = append(l.seats, s)
	l.registry.audiences.Join(s.topic, s, current)
}

// standUpLocked gives a seat back.
func (l *Link) standUpLocked(s *Seat) {
	if s.left {
		return
	}
	s.left = true
	for i := range s.lines {
		l.lines -= s.lines[i].len()
		l.lineBytes -= s.lines[i].bytes
		s.lines[i] = seatQueue{}
	}
	l.seats = slices.DeleteFunc(l.seats, func(x *Seat) bool { return x == s })
	l.registry.audiences.Leave(s.topic, s)
}

// leaveSeats gives all seats back.
func (l *Link) leaveSeats() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.seats) > 0 {
		l.standUpLocked(l.seats[0])
	}
}

func (l *Link) seatLocked(topic string) *Seat {
	for _, s := range l.seats {
		if s.topic == topic {
			return s
		}
	}
	return nil
}

// openSeatsLocked lets out what waits for a SUBACK.
func (l *Link) openSeatsLocked() {
	for _, s := range l.seats {
		s.open = true
	}
}

// sendLineLocked sends the next line of a seat, in turn. It says whether there was one that could be sent.
func (l *Link) sendLineLocked() bool {
	if l.lines == 0 {
		return false
	}
	for i := range l.seats {
		turn := (l.seatTurn + i) % len(l.seats)
		s := l.seats[turn]
		q := s.firstLocked()
		if !s.open || q == nil {
			continue
		}
		p := q.front().line.Publish
		if p.QoS = min(p.QoS, s.sub.QoS, 1); p.QoS > 0 && !l.replyRoomLocked() {
			continue // what is behind it waits too, within its bounds
		}
		s.popLocked(q)
		l.seatTurn = turn + 1
		if s.sub.ID != 0 {
			p.SubscriptionIDs = []int{s.sub.ID}
		}
		l.writeLineLocked(p)
		return true
	}
	return false
}

// writeLineLocked writes a PUBLISH that nobody keeps: it dies with the link if that ends before the PUBACK.
func (l *Link) writeLineLocked(p Publish) {
	if p.QoS > 0 {
		p.ID = l.newIDLocked()
	}
	if l.writePublishLocked(p) == nil && p.QoS > 0 {
		l.replies.inFlight = append(l.replies.inFlight, p.ID)
		l.countLocked(1)
	}
}

// keptLocked gives the subscriptions without those that were taken away.
func (l *Link) keptLocked() []Subscription {
	all := l.subs.all()
	if len(l.lost) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(s Subscription) bool { return slices.Contains(l.lost, s.Filter) })
}
