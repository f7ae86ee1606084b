package journal

import (
	"cmp"
	"maps"
	"slices"
)

// sorted gives the sessions in the order of their names.
func (c *traffic) sorted() []*party {
	var all []*party
	for _, session := range slices.Sorted(maps.Keys(c.parties)) {
		all = append(all, c.parties[session])
	}
	return all
}

// checkWills decides which wills had to be published, which must not be, and which may or may not.
func (c *traffic) checkWills() {
	for _, p := range c.sorted() {
		for _, l := range p.links {
			if l.will == nil || l.up == 0 {
				continue
			}
			l.will.must = l.will.QoS > 0 && !l.will.denied && c.willDue(l)
			if why := c.willForbidden(l); why != "" && l.will.seen != 0 {
				c.fault(WillWrong, int(l.will.seen), "the will of connection %d of %s, which %s, was published", l.number,
					p.session, why)
			}
			if l.alive > l.will.seen && l.will.seen != 0 {
				c.fault(WillWrong, int(l.will.seen), "the will of connection %d of %s, which was there still, was published",
					l.number, p.session)
			}
		}
	}
}

// broke says whether a connection ended in a way for which wills are made.
func (l *link) broke() bool { return l.ended != never && (l.how != Left || l.reason != 0) }

func (c *traffic) willDue(l *link) bool {
	switch {
	case !l.broke():
		return false
	case l.connect.Delay == 0 || !l.connect.Keeps: // the session ends with the connection, and the delay with it
		return true
	case l.back != nil:
		return l.back.connect.Clean
	default:
		return l.connect.Delay < LongDelay && !l.party.tried(l)
	}
}

// tried says whether the session may have come back after a connection without knowing it.
func (p *party) tried(l *link) bool { return p.link != l }

// willForbidden says why a will must not be published; "" if it may.
func (c *traffic) willForbidden(l *link) string {
	switch {
	case l.ended == never:
		return "has not ended"
	case l.how == Left && l.reason == 0 && (l.boot == c.boot || l.back != nil && l.back.boot == l.boot):
		return "ended with DISCONNECT"
	case l.broke() && l.connect.Keeps && l.connect.Delay >= LongDelay && (l.back == nil || !l.back.connect.Clean):
		return "may still come back"
	}
	return ""
}

// demanded says whether a message has to reach those who are subscribed.
func (m *publication) demanded() bool {
	return m.must || m.acked != 0 && m.QoS > 0 && !m.denied && !m.Empty
}

// checkLost sees that every session that is drained has got everything that it was subscribed to when it was sent.
func (c *traffic) checkLost() {
	for _, p := range c.sorted() {
		if p.drained == 0 || p.life == nil {
			continue
		}
		for _, topic := range slices.Sorted(maps.Keys(c.subjects)) {
			since := c.since(p, topic)
			for _, m := range c.subjects[topic].publications {
				if m.first > since && m.demanded() && p.life.got[m] == nil && !c.own(p, m) {
					c.lost(p, m)
				}
			}
		}
	}
}

func (c *traffic) lost(p *party, m *publication) {
	if m.will != nil {
		c.fault(WillLost, int(m.first), "%s did not get the will of connection %d of %s, to %s", p.session, m.will.number,
			m.will.party.session, m.Topic)
		return
	}
	c.fault(Lost, int(m.acked), "%s did not get number %d of %s to %s, QoS %d, which was acknowledged", p.session, m.N,
		m.Session, m.Topic, m.QoS)
}

// since gives the line from which on a session is subscribed to a topic until the end; never if it is not.
func (c *traffic) since(p *party, topic string) int32 {
	since := never
	for _, g := range p.life.grants {
		if g.group == "" && c.matches(g.filter, topic) && g.lasts() {
			since = min(since, g.acked)
		}
	}
	return since
}

// own says whether a session does not get a message because it is its own.
func (c *traffic) own(p *party, m *publication) bool {
	if m.will != nil || m.Session != p.session {
		return false
	}
	for _, g := range p.life.grants {
		if g.options&optionNoLocal != 0 && c.matches(g.filter, m.Topic) {
			return true
		}
	}
	return false
}

// checkGaps sees that a life that has ended got everything up to the last message that it got: what comes in order cannot
// have left something out.
func (c *traffic) checkGaps() {
	lanes := map[lane][]*publication{}
	for _, m := range c.ordered {
		if m.will == nil && m.Delay == 0 && m.QoS > 0 {
			k := lane{m.Session, m.Topic, m.QoS}
			lanes[k] = append(lanes[k], m)
		}
	}
	for _, p := range c.sorted() {
		for _, life := range p.lives {
			if p.member || life == p.life && life.keeps && p.drained != 0 {
				continue // checkLost does it
			}
			for k, last := range life.last {
				c.checkGap(p, life, last, lanes[k])
			}
		}
	}
}

func (c *traffic) checkGap(p *party, l *life, last *publication, all []*publication) {
	since := never
	for _, g := range l.grants {
		if c.matches(g.filter, last.Topic) && g.covers() {
			since = min(since, g.acked)
		}
	}
	first, _ := slices.BinarySearchFunc(all, since, func(m *publication, line int32) int { return cmp.Compare(m.first, line) })
	for _, m := range all[first:] {
		if m.N >= last.N {
			return
		}
		if m.demanded() && l.got[m] == nil && !c.own(p, m) {
			c.fault(Lost, int(m.acked), "%s did not get number %d of %s to %s, QoS %d, but number %d", p.session, m.N, m.Session,
				m.Topic, m.QoS, last.N)
		}
	}
}

// covers says whether a subscription went on as long as its session got anything.
func (g *grant) covers() bool {
	if g.acked == never || g.refused || g.granted == 0 || g.quit != never || g.group != "" {
		return false
	}
	return g.next == nil || g.next.acked == never && g.next.asked > 0 || g.next.covers()
}

// settlement is a retained message that is known to have been stored.
type settlement struct {
	line   int32        // by which it was
	latest *publication // of those settled by then, the one that was sent last
}

// settle sorts what is known of a topic.
func (s *subject) settle() []settlement {
	if s.sorted {
		return s.settled
	}
	s.sorted = true
	var known []*publication
	for _, m := range s.retained {
		if m.stored() != 0 {
			known = append(known, m)
		}
	}
	slices.SortFunc(known, func(a, b *publication) int { return cmp.Compare(a.stored(), b.stored()) })
	var latest *publication
	for _, m := range known {
		if latest == nil || m.first > latest.first {
			latest = m
		}
		s.settled = append(s.settled, settlement{m.stored(), latest})
	}
	return s.settled
}

// stored is the line by which a retained message is known to have been stored; 0: it is not known. A will is when
// somebody got it.
func (m *publication) stored() int32 {
	if m.will != nil {
		return m.seen
	}
	return m.acked
}

// by gives the retained message that was sent last of those that were stored before a line; nil: there is none.
func (s *subject) by(line int32) *publication {
	known := s.settle()
	i, _ := slices.BinarySearchFunc(known, line, func(k settlement, line int32) int { return cmp.Compare(k.line, line) })
	if i == 0 {
		return nil
	}
	return known[i-1].latest
}

// replacedBy is the line after which a message cannot have been stored any more.
func (m *publication) replacedBy() int32 {
	if m.will == nil {
		return m.done
	}
	if m.seen != 0 {
		return m.seen
	}
	return never
}

func (c *traffic) checkRetained() {
	for _, r := range c.replays {
		m := c.subject(r.publication.Topic).by(r.asked)
		if m != nil && m != r.publication && m.first > r.publication.replacedBy() {
			c.fault(Stale, int(r.line), "%s got the retained number %d of %s on %s; number %d of %s, acknowledged, is newer",
				r.party.session, r.publication.N, r.publication.Session, m.Topic, m.N, m.Session)
		}
	}
	for _, p := range c.sorted() {
		if p.drained == 0 || p.life == nil {
			continue
		}
		for _, g := range p.life.grants {
			if g.acked != never && !g.refused && g.gone == never && g.group == "" && g.asksRetained() {
				c.checkComplete(p, g)
			}
		}
	}
}

func (g *grant) asksRetained() bool {
	handling := g.options & optionHandling >> 4
	return handling == 0 || handling == 1 && g.fresh
}

// checkComplete sees that a subscription got a retained message of every topic that has one.
func (c *traffic) checkComplete(p *party, g *grant) {
	for _, topic := range slices.Sorted(maps.Keys(c.subjects)) {
		if m := c.owed(p, g, topic); m != nil && p.life.topics[topic] < g.sent {
			c.fault(Lost, int(g.acked), "%s subscribed to %s and did not get what is retained on %s, number %d of %s or newer",
				p.session, g.filter, topic, m.N, m.Session)
		}
	}
}

// owed gives the oldest retained message of a topic that a new subscription may have found there; nil: perhaps there was
// none.
func (c *traffic) owed(p *party, g *grant, topic string) *publication {
	s := c.subject(topic)
	m := s.by(g.sent)
	if m == nil || m.Empty || !c.matches(g.filter, topic) {
		return nil
	}
	mayBeDeleted := func(d *publication) bool { return d.Empty && d.replacedBy() > m.first && d.first < p.drained }
	if slices.ContainsFunc(s.retained, mayBeDeleted) {
		return nil
	}
	return m
}
