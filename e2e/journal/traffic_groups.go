package journal

import (
	"maps"
	"slices"
)

// group is a shared subscription.
type group struct {
	name    string
	filter  string
	members []membership
	hands   map[*publication][]*handed
}

type membership struct {
	party *party
	grant *grant
}

// handed is a message in the hands of a member.
type handed struct {
	party    *party
	link     *link
	grant    *grant
	line     int32
	answered int32 // or 0
	qos      byte
	known    bool
}

func (c *traffic) group(name string) *group {
	if c.groups[name] == nil {
		c.groups[name] = &group{name: name, hands: map[*publication][]*handed{}}
	}
	return c.groups[name]
}

func (g *group) join(p *party, grant *grant) {
	g.filter = grant.filter
	g.members = append(g.members, membership{p, grant})
}

func (g *group) got(p *party, l *link, grant *grant, m *publication, a Act, line int32) {
	g.hands[m] = append(g.hands[m], &handed{party: p, link: l, grant: grant, line: line, qos: a.QoS, known: a.Known})
}

func (c *traffic) answered(p *party, l *link, a Act, line int32) {
	m := c.publications[name{a.From, a.N}]
	for _, g := range c.groups {
		for _, h := range slices.Backward(g.hands[m]) {
			if h.party == p && h.link == l {
				h.answered = line
				break
			}
		}
	}
}

func (c *traffic) checkGroups() {
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		since := g.since()
		for topic, s := range c.subjects {
			if !c.matches(g.filter, topic) {
				continue
			}
			for _, m := range s.publications {
				if m.first > since && m.demanded() {
					c.checkProcessed(g, m)
				}
			}
		}
		for m, hands := range g.hands {
			c.checkHands(g, m, hands)
		}
	}
}

// since gives the line from which on a group has a member that does not go.
func (g *group) since() int32 {
	since := never
	for _, m := range g.members {
		if m.party.life != nil && m.party.life.keeps && m.party.drained != 0 && m.grant.lasts() {
			since = min(since, m.grant.acked)
		}
	}
	return since
}

func (c *traffic) checkProcessed(g *group, m *publication) {
	if slices.ContainsFunc(g.hands[m], func(h *handed) bool { return h.answered != 0 }) {
		return
	}
	c.fault(GroupLost, int(max(m.acked, m.first)), "%s: number %d of %s to %s was acknowledged; %d members got it, none answered",
		g.name, m.N, m.Session, m.Topic, len(g.hands[m]))
}

// checkHands sees that a message went to a second member only when the first had lost it.
func (c *traffic) checkHands(g *group, m *publication, hands []*handed) {
	fresh := 0
	for _, h := range hands {
		if h.qos == 2 && !h.known {
			fresh++
		}
	}
	if fresh > m.copies(never, 2) {
		c.fault(Doubled, int(hands[len(hands)-1].line), "%s: number %d of %s was delivered %d times with QoS 2", g.name, m.N,
			m.Session, fresh)
		return
	}
	if m.copies(never, 1) > 1 {
		return
	}
	for i, h := range hands[1:] {
		if first := hands[i]; first.party != h.party && first.held(h) {
			c.fault(GroupDoubled, int(h.line), "%s: number %d of %s went to %s while %s had it, since line %d", g.name, m.N,
				m.Session, h.party.session, first.party.session, first.line)
		}
	}
}

// held says whether a member still had a message, or had processed it, when another one got it: nothing has happened by
// which the server could have missed the answer of the first, or had to give it up.
func (h *handed) held(next *handed) bool {
	closedByServer := h.link.how == Ended
	return h.link.ended > next.line && !closedByServer && h.link.boot == next.link.boot && h.grant.gone > next.line
}
