package traffic

import (
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/wire"
)

// Publish publishes a message, now or when the client is connected again, and returns without waiting for the answer. It
// waits for a place in the window. With QoS 0 it does nothing while there is no connection, and after Close at all.
func (c *Client) Publish(m Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.unacked) >= c.cfg.Window && !c.ended() {
		c.changed.Wait()
	}
	if c.ended() || m.QoS == 0 && !c.readyLocked() {
		return
	}
	c.nextN++
	p := wire.Packet{Type: wire.PUBLISH, Topic: m.Topic, QoS: m.QoS, Retain: m.Retain}
	a := journal.Act{Do: journal.Sent, Topic: m.Topic, N: c.nextN, QoS: m.QoS, Retain: m.Retain, Empty: m.Empty, Delay: m.Delay}
	if m.Delay > 0 {
		p.Topic = fmt.Sprintf("$delayed/%d/%s", m.Delay, m.Topic)
	}
	if !m.Empty {
		p.Payload, a.Sum = payload(c.session, c.nextN, m.Topic, m.Size)
	}
	o := &outgoing{packet: p, act: a}
	if m.QoS > 0 {
		o.packet.ID = c.freeIDLocked()
		c.unacked = append(c.unacked, o)
	}
	if c.readyLocked() {
		c.sendLocked(o, false)
	}
}

// Unacked gives how many of its messages have no final answer.
func (c *Client) Unacked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unacked)
}

func (c *Client) sendLocked(o *outgoing, again bool) {
	o.packet.Dup, o.act.Dup, o.sent = again, again, true
	c.writeLocked(o.act)
	_ = c.conn.Send(o.packet) // an error ends the connection, and the reader sees that
}

// lastID is the last packet id for PUBLISH; those after it are for SUBSCRIBE and UNSUBSCRIBE.
const lastID = 60000

func (c *Client) freeIDLocked() uint16 {
	for {
		c.nextID = c.nextID%lastID + 1
		if !slices.ContainsFunc(c.unacked, func(o *outgoing) bool { return o.packet.ID == c.nextID }) {
			return c.nextID
		}
	}
}

// resendLocked sends again what has no answer, in the order in which it was sent.
func (c *Client) resendLocked() {
	for _, o := range c.unacked {
		if o.released {
			_ = c.conn.Send(wire.Packet{Type: wire.PUBREL, ID: o.packet.ID})
		} else {
			c.sendLocked(o, o.sent)
		}
	}
}

// answerLocked moves a message on by PUBACK, PUBREC or PUBCOMP.
func (c *Client) answerLocked(p wire.Packet) {
	i := slices.IndexFunc(c.unacked, func(o *outgoing) bool { return o.packet.ID == p.ID })
	if i < 0 || (c.unacked[i].packet.QoS == 1) != (p.Type == wire.PUBACK) {
		c.oddLocked("%s %d, which answers nothing", p.Type, p.ID)
		return
	}
	o := c.unacked[i]
	refused := p.Reason >= 0x80
	if p.Type == wire.PUBCOMP && !o.released {
		c.oddLocked("PUBCOMP %d before PUBREC", p.ID)
		return
	}
	if p.Type != wire.PUBCOMP && !o.released {
		a := journal.Act{Do: journal.Acked, N: o.act.N, PID: p.ID, Reason: p.Reason}
		if refused {
			a.Do = journal.Refused
		}
		c.writeLocked(a)
	}
	if p.Type == wire.PUBREC && !refused {
		o.released = true
		_ = c.conn.Send(wire.Packet{Type: wire.PUBREL, ID: p.ID})
		return
	}
	c.unacked = slices.Delete(c.unacked, i, i+1)
}
