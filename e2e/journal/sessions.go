package journal

// session is what the checker remembers of one session while it follows it.
type session struct {
	user    string
	boot    int // of its connection
	conn    int
	known   bool           // its state was confirmed by a CONNACK before
	last    uint64         // usn
	begun   bool           // last means something
	onConn  int            // the connection on which last came
	arrived map[uint64]int // by usn: the boot in which it came last
	streams bool           // subscribed with QoS 1 or 2
}

// checkSessions follows every session through its connections.
func (c *checker) checkSessions(entries []Entry) {
	all := map[string]*session{}
	for i, e := range entries {
		if e.Session == "" {
			continue
		}
		s := all[e.Session]
		if s == nil {
			s = &session{user: e.User, arrived: map[uint64]int{}}
			all[e.Session] = s
		}
		switch e.Do {
		case Connected:
			c.connected(s, e, i+1)
		case Subscribed:
			s.streams = e.QoS > 0
			if e.Quiet {
				s.last, s.begun = e.USN, true
			}
		case Got:
			if event, ok := c.event(e, i+1); ok {
				c.got(s, e, event.USN, i+1)
			}
		case Drained:
			if head := c.stream(s.user).head; s.streams && s.begun && s.last != head {
				c.fault(Lost, i+1, "session %s has all of its stream, up to %d, whose head is %d", e.Session, s.last, head)
			}
		}
	}
}

func (c *checker) connected(s *session, e Entry, line int) {
	if s.known && !e.Clean && !e.Present {
		c.fault(Forgotten, line, "session %s is not present any more", e.Session)
	}
	if e.Clean || !e.Present {
		*s = session{user: e.User, arrived: map[uint64]int{}}
	}
	s.known = true
	s.boot, s.conn = e.Boot, e.Conn
}

// got checks the place of one delivery of a session.
func (c *checker) got(s *session, e Entry, usn uint64, line int) {
	defer func() {
		s.last, s.begun, s.onConn = usn, true, e.Conn
		s.arrived[usn] = s.boot
	}()
	switch first := e.Conn != s.onConn; {
	case !s.begun:
	case usn == s.last+1:
	case e.QoS == 0 && usn > s.last:
	case e.QoS == 2 && usn <= s.last:
		c.fault(Doubled, line, "session %s got usn %d again with QoS 2, after %d", e.Session, usn, s.last)
	case usn > s.last+1:
		c.fault(Gap, line, "session %s got usn %d after %d", e.Session, usn, s.last)
	case !first:
		c.fault(Reordered, line, "session %s got usn %d after %d on one connection", e.Session, usn, s.last)
	}
	if boot, again := s.arrived[usn]; again && e.QoS == 1 && !e.Dup && boot == s.boot {
		c.fault(Redelivery, line, "session %s got usn %d again without DUP, and no crash between", e.Session, usn)
	}
}
