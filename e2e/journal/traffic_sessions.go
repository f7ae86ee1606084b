package journal

import "strings"

// killed ends every connection.
func (c *traffic) killed(line int32) {
	c.boot++
	for _, p := range c.parties {
		if p.link != nil {
			p.link.end(Killed, line)
		}
	}
}

// end notes the first reason for which a connection may have ended.
func (l *link) end(how Do, line int32) {
	if l.ended != never {
		return
	}
	l.ended, l.how = line, how
	if p := l.party; !l.connect.Keeps && p.life != nil && p.link == l {
		for _, g := range p.life.grants {
			g.gone = min(g.gone, line)
		}
	}
}

func (c *traffic) connect(p *party, a Act, line int32) {
	if p.link != nil {
		p.link.end(Connect, line)
	}
	l := &link{party: p, connect: a, number: a.Conn, boot: a.Boot, sent: line, ended: never}
	if p.links[a.Conn] != nil {
		c.fault(Malformed, int(line), "connection %d of %s again", a.Conn, a.Session)
	}
	p.links[a.Conn], p.link = l, l
	if a.Clean {
		p.state = unknown
		if p.life != nil {
			for _, g := range p.life.grants {
				g.gone = min(g.gone, line)
			}
		}
	}
	if a.Topic != "" {
		l.will = c.publication(p, a, line)
		l.will.will = l
	}
	if a.Boot < c.boot { // it was killed before this was written
		l.end(Killed, line)
	}
}

func (c *traffic) connected(p *party, l *link, a Act, line int32) {
	l.up = line
	for _, before := range p.links {
		if before.number < l.number && before.back == nil {
			before.back = l
		}
	}
	p.settle(line, l.sent)
	switch {
	case a.Present && (l.connect.Clean || p.state == fleeting || len(p.links) == 1):
		c.fault(Protocol, int(line), "%s: session present, and there should be none", p.session)
	case !a.Present && !l.connect.Clean && p.state == kept:
		c.fault(Forgotten, int(line), "%s: the session is not present any more", p.session)
	}
	if !a.Present || p.life == nil {
		p.begin(l, line)
	}
	p.state = fleeting
	if l.connect.Keeps {
		p.state = kept
	}
	if l.ended != never && !l.connect.Keeps { // the server is gone already
		for _, g := range p.life.grants {
			g.gone = min(g.gone, line)
		}
	}
}

// begin starts a life in which nothing is subscribed.
func (p *party) begin(l *link, line int32) {
	if p.life != nil {
		for _, g := range p.life.grants {
			g.gone, g.over = min(g.gone, line), min(g.over, line)
		}
	}
	p.life = &life{first: l.number, keeps: l.connect.Keeps, got: map[*publication]*sighting{}, last: map[lane]*publication{},
		open: map[uint16]*publication{}, topics: map[string]int32{}}
	p.lives = append(p.lives, p.life)
}

// settle notes that the server has dealt with everything that was sent before a line.
func (p *party) settle(now, before int32) {
	kept := p.pending[:0]
	for _, m := range p.pending {
		switch {
		case m.done != never:
		case m.sent[len(m.sent)-1] < before:
			m.done = now
		default:
			kept = append(kept, m)
		}
	}
	p.pending = kept
}

func (c *traffic) ended(l *link, a Act, line int32) {
	if a.Do == Ended && a.Reason >= 0x80 && a.Reason != 0x8E && a.Reason != 0x8B {
		c.fault(Protocol, int(line), "%s was disconnected: %#x", a.Session, a.Reason)
	}
	if l.ended == never && a.Do == Left {
		l.reason = a.Reason
	}
	l.end(a.Do, line)
}

func (c *traffic) subscribe(p *party, a Act, line int32) {
	g := &grant{filter: a.Topic, asked: a.QoS, options: a.Options, fresh: true, sent: line, acked: never, quit: never,
		gone: never, over: never}
	if rest, shared := strings.CutPrefix(a.Topic, "$share/"); shared {
		_, g.filter, _ = strings.Cut(rest, "/")
		g.group = a.Topic
		p.member = true
		c.group(a.Topic).join(p, g)
	}
	for _, before := range p.life.grants {
		if before.filter == g.filter && before.group == g.group && before.over == never {
			g.fresh = false
			if before.gone == never {
				before.gone, before.next = line, g
			}
		}
	}
	p.life.grants = append(p.life.grants, g)
}

// subscribed ends the wait for the SUBACK of the last SUBSCRIBE of a filter.
func (c *traffic) subscribed(p *party, a Act, line int32) {
	g := p.life.grant(a.Topic)
	if g == nil || g.acked != never {
		c.fault(Malformed, int(line), "%s: a SUBACK for %s, which was not asked for", p.session, a.Topic)
		return
	}
	g.acked, g.granted, g.refused = line, a.QoS, a.QoS > 2
	switch denied := c.isDenied(p.user, g.filter); {
	case denied && !g.refused:
		c.fault(Stranger, int(line), "%s may not subscribe to %s, and did", p.session, a.Topic)
	case !denied && (g.refused || a.QoS != g.asked):
		c.fault(Protocol, int(line), "%s asked for %s with QoS %d and was granted %#x", p.session, a.Topic, g.asked, a.QoS)
	}
	for _, before := range p.life.grants {
		if before.next == g && !g.refused {
			before.over = line
		}
	}
	if g.refused {
		g.gone, g.over = min(g.gone, line), line
	}
}

// grant gives the last one of a filter.
func (l *life) grant(subscribed string) *grant {
	for i := len(l.grants) - 1; i >= 0; i-- {
		g := l.grants[i]
		if g.group == subscribed || g.group == "" && g.filter == subscribed {
			return g
		}
	}
	return nil
}

func (c *traffic) unsubscribe(p *party, a Act, line int32) {
	for _, g := range p.life.grants {
		if g.group != a.Topic && (g.group != "" || g.filter != a.Topic) {
			continue
		}
		g.quit, g.gone = min(g.quit, line), min(g.gone, line)
		if a.Do == Unsubscribed {
			g.over = min(g.over, line)
		}
	}
}

// lasts says whether a subscription is there from its SUBACK to the end of the journal.
func (g *grant) lasts() bool {
	if g.acked == never || g.refused || g.granted == 0 {
		return false
	}
	return g.gone == never || g.next != nil && g.next.lasts()
}

// publication makes one of a line.
func (c *traffic) publication(p *party, a Act, line int32) *publication {
	m := &publication{Act: a, first: line, done: never, denied: c.isDenied(p.user, a.Topic)}
	k := name{p.session, a.N}
	if c.publications[k] != nil {
		c.fault(Malformed, int(line), "%s has published number %d before", p.session, a.N)
	}
	c.publications[k] = m
	c.ordered = append(c.ordered, m)
	s := c.subject(a.Topic)
	s.publications = append(s.publications, m)
	if a.Retain && !m.denied {
		s.retained = append(s.retained, m)
	}
	return m
}

func (c *traffic) sent(p *party, a Act, line int32) {
	m := c.publications[name{p.session, a.N}]
	if m == nil {
		m = c.publication(p, a, line)
	}
	m.sent = append(m.sent, line)
	m.done = never
	if m.Retain {
		p.pending = append(p.pending, m)
	}
}

// outcome notes what a publisher was told. Acks come in the order of the PUBLISH packets, so that one says that what was
// sent before it, with QoS 0 for example, has been dealt with too.
func (c *traffic) outcome(p *party, l *link, a Act, line int32) {
	m := c.publications[name{p.session, a.N}]
	if m == nil || len(m.sent) == 0 {
		c.fault(Malformed, int(line), "%s was told about number %d, which it had not sent", p.session, a.N)
		return
	}
	last := m.sent[len(m.sent)-1]
	l.alive = max(l.alive, last)
	m.done = line
	if a.Do == Acked {
		m.acked = line
	} else {
		m.refused = line
	}
	p.settle(line, last)
	switch {
	case m.denied && a.Do == Acked && l.connect.Version == 5:
		c.fault(Stranger, int(line), "%s may not publish to %s, and was told that it did", p.session, m.Topic)
	case !m.denied && a.Do == Refused:
		c.fault(Protocol, int(line), "%s: number %d to %s was refused: %#x", p.session, a.N, m.Topic, a.Reason)
	}
}

// copies is how often a message may have been accepted before a line: what was sent with QoS 2, once. What is delivered
// with QoS 0 may have been delivered and then been accepted again.
func (m *publication) copies(before int32, delivered byte) int {
	if m.will != nil || m.QoS == 2 && delivered > 0 {
		return 1
	}
	n := 0
	for _, at := range m.sent {
		if at < before {
			n++
		}
	}
	return n
}
