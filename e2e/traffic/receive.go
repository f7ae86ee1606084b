package traffic

import (
	"slices"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/wire"
)

// Hurry makes the client answer everything at once from now on, and first what it owes. A silent one connects again.
func (c *Client) Hurry() {
	c.mu.Lock()
	c.prompt = true
	silent := c.readyLocked() && c.conn.silent
	if c.readyLocked() && !silent {
		c.payLocked(0)
	}
	c.mu.Unlock()
	if silent {
		c.Cut(false)
	}
}

// incomingLocked takes a PUBLISH.
func (c *Client) incomingLocked(p wire.Packet) {
	a := journal.Act{Do: journal.Got, Topic: p.Topic, PID: p.ID, QoS: p.QoS, Dup: p.Dup, Retain: p.Retain,
		Empty: len(p.Payload) == 0, Known: p.QoS == 2 && c.received[p.ID]}
	if !a.Empty {
		var err error
		if a.From, a.N, a.Sum, err = parse(p.Payload); err != nil {
			a.Err = err.Error()
		}
	}
	c.writeLocked(a)
	if c.cfg.OnMessage != nil {
		c.cfg.OnMessage()
	}
	if p.QoS == 0 {
		return
	}
	answer := owed{packet: wire.Packet{Type: wire.PUBACK, ID: p.ID}, act: journal.Act{From: a.From, N: a.N}}
	if p.QoS == 2 {
		answer.packet.Type = wire.PUBREC
		c.received[p.ID] = true
	}
	c.conn.inFlight[p.ID] = true
	if most := int(c.cfg.ReceiveMaximum); most > 0 && len(c.conn.inFlight) > most {
		c.oddLocked("%d messages on their way, and %d is the Receive Maximum", len(c.conn.inFlight), most)
	}
	c.conn.owed = append(c.conn.owed, answer)
	switch {
	case c.conn.silent:
	case c.cfg.Answers == Slowly && !c.prompt:
		c.payLocked(behind)
	default:
		c.payLocked(0)
	}
}

// payLocked gives answers until only so many are owed.
func (c *Client) payLocked(left int) {
	for len(c.conn.owed) > left {
		o := c.conn.owed[0]
		c.conn.owed = c.conn.owed[1:]
		if c.member {
			o.act.Do = journal.Answered
			c.writeLocked(o.act)
		}
		if o.packet.Type == wire.PUBACK {
			delete(c.conn.inFlight, o.packet.ID)
		}
		_ = c.conn.Send(o.packet)
	}
}

// releaseLocked takes a PUBREL.
func (c *Client) releaseLocked(p wire.Packet) {
	if slices.ContainsFunc(c.conn.owed, func(o owed) bool { return o.packet.ID == p.ID }) {
		c.oddLocked("PUBREL %d before PUBREC", p.ID)
	}
	delete(c.received, p.ID)
	delete(c.conn.inFlight, p.ID)
	_ = c.conn.Send(wire.Packet{Type: wire.PUBCOMP, ID: p.ID})
}

// Subscribe subscribes to the i-th of the client's filters, for the first time or again.
func (c *Client) Subscribe(i int) { c.want(i, true) }

// Unsubscribe gives the i-th of the client's filters up.
func (c *Client) Unsubscribe(i int) { c.want(i, false) }

// want changes nothing while an earlier wish is on its way.
func (c *Client) want(i int, wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := &c.filters[i]; c.readyLocked() && s.settled && !s.pending {
		s.wanted, s.settled = wanted, false
		c.askLocked(i)
	}
}

// askLocked tells the server what the client wants with a filter.
func (c *Client) askLocked(i int) {
	s := &c.filters[i]
	s.pending = true
	p := wire.Packet{Type: wire.UNSUBSCRIBE, ID: uint16(lastID + 1 + i), Filters: []wire.Filter{{Topic: s.Topic}}}
	a := journal.Act{Do: journal.Unsubscribe, Topic: s.Topic}
	if s.wanted {
		p.Type, p.Filters[0].Options = wire.SUBSCRIBE, s.Options
		a.Do, a.QoS, a.Options = journal.Subscribe, s.Options&3, s.Options
	}
	c.writeLocked(a)
	_ = c.conn.Send(p)
}

// askAllLocked asks for everything that the server is not known to have.
func (c *Client) askAllLocked() {
	for i := range c.filters {
		s := &c.filters[i]
		s.pending = false
		if !c.present {
			s.settled = !s.wanted
		}
		if !s.settled {
			c.askLocked(i)
		}
	}
}

// settledLocked takes a SUBACK or an UNSUBACK.
func (c *Client) settledLocked(p wire.Packet) {
	i := int(p.ID) - lastID - 1
	if i < 0 || i >= len(c.filters) || !c.filters[i].pending || c.filters[i].wanted != (p.Type == wire.SUBACK) ||
		p.Type == wire.SUBACK && len(p.Codes) != 1 {
		c.oddLocked("%s %d (% x), which answers nothing", p.Type, p.ID, p.Codes)
		return
	}
	s := &c.filters[i]
	s.settled, s.pending = true, false
	a := journal.Act{Do: journal.Unsubscribed, Topic: s.Topic}
	if s.wanted {
		a.Do, a.QoS = journal.Subscribed, p.Codes[0]
	}
	c.writeLocked(a)
}
