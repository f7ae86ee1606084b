package journal

import "slices"

// got judges one delivery by what was known when it came.
func (c *traffic) got(p *party, l *link, a Act, line int32) {
	switch {
	case a.Err != "":
		c.fault(Invented, int(line), "%s got on %s what nobody sent: %s", p.session, a.Topic, a.Err)
		return
	case a.Empty:
		c.gotEmpty(p, a, line)
		return
	}
	m := c.publications[name{a.From, a.N}]
	if m == nil {
		c.fault(Invented, int(line), "%s got number %d of %s, which was not sent", p.session, a.N, a.From)
		return
	}
	if m.Topic != a.Topic || m.Sum != a.Sum {
		c.fault(Changed, int(line), "%s got number %d of %s on %s, sum %x, and it was sent to %s, sum %x", p.session, a.N, a.From,
			a.Topic, a.Sum, m.Topic, m.Sum)
		return
	}
	if m.denied || m.refused != 0 && m.refused < line && m.acked == 0 {
		c.fault(Stranger, int(line), "%s got number %d of %s, who may not publish to %s", p.session, a.N, a.From, a.Topic)
	}
	c.gotOpen(p, a, m, line)
	again := p.life.replays(c, m, a)
	grants := c.grants(p, m, a, again, line)
	if len(grants) == 0 || c.isDenied(p.user, a.Topic) {
		c.fault(Stranger, int(line), "%s got number %d of %s on %s, and is not subscribed", p.session, a.N, a.From, a.Topic)
		return
	}
	c.checkQoS(p, a, m, again, grants, line)
	c.checkRetain(p, a, m, again, grants, line)
	c.count(p, l, a, m, again, grants, line)
	if again {
		c.replays = append(c.replays, replay{line, grants[0].sent, p, m})
	} else if m.seen == 0 {
		m.seen = line
	}
	for _, g := range grants {
		if g.group != "" {
			c.groups[g.group].got(p, l, g, m, a, line)
		}
	}
}

// gotOpen keeps the QoS 2 exchanges of a client. One that is open stands for one message until it is released, over
// connections and crashes.
func (c *traffic) gotOpen(p *party, a Act, m *publication, line int32) {
	if a.QoS != 2 {
		return
	}
	if open := p.life.open[a.PID]; a.Known && open != nil && open != m {
		c.fault(Changed, int(line), "%s got number %d of %s with packet id %d, which stands for number %d of %s", p.session, m.N,
			a.From, a.PID, open.N, open.From)
	}
	p.life.open[a.PID] = m
}

// gotEmpty judges a message that takes a retained one back.
func (c *traffic) gotEmpty(p *party, a Act, line int32) {
	sent := func(m *publication) bool { return m.Empty && !m.denied && m.first < line }
	if !slices.ContainsFunc(c.subject(a.Topic).publications, sent) {
		c.fault(Invented, int(line), "%s got an empty message on %s, which nobody sent", p.session, a.Topic)
	}
	for _, g := range p.life.grants {
		if !g.refused && c.matches(g.filter, a.Topic) && !c.isDenied(p.user, a.Topic) {
			return
		}
	}
	c.fault(Stranger, int(line), "%s got an empty message on %s, and is not subscribed", p.session, a.Topic)
}

// replays says whether a delivery can be that of a retained message to a new subscription.
func (l *life) replays(c *traffic, m *publication, a Act) bool {
	if !a.Retain || !m.Retain {
		return false
	}
	return slices.ContainsFunc(l.grants, func(g *grant) bool {
		return g.group == "" && g.acked > m.first && c.matches(g.filter, m.Topic)
	})
}

// grants gives the subscriptions that a delivery can be of, in the order in which they were made.
func (c *traffic) grants(p *party, m *publication, a Act, again bool, line int32) []*grant {
	var can []*grant
	for _, g := range p.life.grants {
		late := !again && m.acked != 0 && m.acked < g.sent && m.Delay == 0 && g.group == ""
		own := g.options&optionNoLocal != 0 && m.will == nil && a.From == p.session
		if !g.refused && g.over > m.first && g.sent < line && !late && !own && c.matches(g.filter, m.Topic) {
			can = append(can, g)
		}
	}
	return can
}

// stable says whether a subscription was there all the time from before a message was published to its delivery.
func (g *grant) stable(m *publication) bool { return g.acked < m.first && g.gone == never }

func (c *traffic) checkQoS(p *party, a Act, m *publication, again bool, grants []*grant, line int32) {
	low, high := byte(0), byte(0)
	if again {
		low = 2
	}
	for _, g := range grants {
		granted := g.granted
		if g.acked == never {
			granted = g.asked
		}
		high = max(high, granted)
		if again {
			low = min(low, granted)
		} else if g.stable(m) {
			low = max(low, granted)
		}
	}
	if low, high = min(low, m.QoS), min(high, m.QoS); a.QoS < low || a.QoS > high {
		c.fault(WrongQoS, int(line), "%s got number %d of %s, published with QoS %d, with QoS %d, want %d to %d", p.session, a.N,
			a.From, m.QoS, a.QoS, low, high)
	}
}

func (c *traffic) checkRetain(p *party, a Act, m *publication, again bool, grants []*grant, line int32) {
	asIs, plain := false, true
	for _, g := range grants {
		asIs = asIs || g.options&optionAsIs != 0
		plain = plain && g.stable(m)
	}
	if a.Retain && !m.Retain || a.Retain && !again && !asIs && plain {
		c.fault(WrongRetain, int(line), "%s got number %d of %s with the retain flag", p.session, a.N, a.From)
	}
	if !a.Retain && m.Retain && len(grants) == 1 && asIs && plain {
		c.fault(WrongRetain, int(line), "%s got number %d of %s without the retain flag", p.session, a.N, a.From)
	}
	if m.Retain {
		p.life.topics[a.Topic] = line
	}
}

// count judges how often a message has come, and its place in the order.
func (c *traffic) count(p *party, l *link, a Act, m *publication, again bool, grants []*grant, line int32) {
	s := p.life.got[m]
	if s == nil {
		s = &sighting{}
		p.life.got[m] = s
	}
	n, allowed := &s.live, m.copies(line, a.QoS)
	if again {
		n = &s.replayed
		asIs := slices.ContainsFunc(grants, func(g *grant) bool { return g.options&optionAsIs != 0 })
		if allowed *= len(grants); asIs {
			allowed += m.copies(line, a.QoS)
		}
	} else if n.total == 0 {
		c.checkPlace(p, a, m, grants, line)
	}
	if n.total == 0 {
		n.first = line
	}
	c.checkAgain(p, l, a, n, allowed, line)
}

// checkPlace sees that first receptions come in the order of publishing. What was first sent before the subscription may
// have been missed then, and be accepted again later; so may what is delivered with QoS 0 and was sent again.
func (c *traffic) checkPlace(p *party, a Act, m *publication, grants []*grant, line int32) {
	if p.member || m.will != nil || m.Delay > 0 {
		return
	}
	k := lane{a.From, m.Topic, m.QoS}
	if last := p.life.last[k]; last != nil && last.N > m.N {
		late := !slices.ContainsFunc(grants, func(g *grant) bool { return g.acked < m.first })
		if late || a.QoS == 0 && m.sentAfter(last.first) {
			return
		}
		c.fault(Reordered, int(line), "%s got number %d of %s to %s after number %d", p.session, m.N, a.From, m.Topic, last.N)
		return
	}
	p.life.last[k] = m
}

// sentAfter says whether a message was sent again after a line.
func (m *publication) sentAfter(line int32) bool {
	return len(m.sent) > 0 && m.sent[len(m.sent)-1] > line
}

func (c *traffic) checkAgain(p *party, l *link, a Act, n *count, allowed int, line int32) {
	if n.conn != l.number {
		n.conn, n.here = l.number, 0
	}
	if n.boot != l.boot {
		n.boot, n.plain, n.ids = l.boot, 0, nil
	}
	n.total++
	n.here++
	if !a.Dup {
		n.plain++
	}
	if a.QoS == 2 && !a.Known {
		n.fresh++
	}
	what := func(rule Rule, how string) {
		c.fault(rule, int(line), "%s got number %d of %s to %s %s (QoS %d, DUP %t, id %d)", p.session, a.N, a.From, a.Topic, how,
			a.QoS, a.Dup, a.PID)
	}
	switch {
	case a.QoS == 0 && a.Dup:
		what(Redelivery, "with QoS 0 and DUP")
	case a.QoS == 0 && n.total > allowed:
		what(Doubled, "again")
	case n.fresh > allowed:
		what(Doubled, "again")
	case n.here > allowed:
		what(Redelivery, "again on one connection")
	case n.plain > allowed && !p.member:
		what(Redelivery, "again without DUP, and no crash between")
	case a.Dup && l.number == p.life.first:
		what(Redelivery, "with DUP for the first time")
	case a.Dup && allowed == 1 && !p.member && len(n.ids) > 0 && !slices.Contains(n.ids, a.PID):
		what(Redelivery, "again with another packet id")
	}
	if a.QoS > 0 {
		n.ids = append(n.ids, a.PID)
	}
}
