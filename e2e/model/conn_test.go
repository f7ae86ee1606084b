package model

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// conn is one connection, of a session or of a publisher. A goroutine reads from it.
type conn struct {
	*wire.Client
	m    *model
	name string
	addr string     // of the node; another one after a restart
	s    *session   // nil: of a publisher
	p    *publisher // nil: of a session

	// guarded by model.mu
	dead     bool // the client has forgotten it
	holding  bool // acks are put off
	held     []wire.Packet
	unacked  map[uint16]bool // ids of what was got on this connection and not answered
	window   int
	answers  map[uint16]wire.Packet // by id: SUBACK, UNSUBACK, and acks of what the session publishes itself
	pings    int
	finished bool // nothing will be read any more
}

func (m *model) newConn(c *wire.Client, name, addr string, s *session, p *publisher, window int) *conn {
	x := &conn{Client: c, m: m, name: name, addr: addr, s: s, p: p, window: window,
		unacked: map[uint16]bool{}, answers: map[uint16]wire.Packet{}}
	m.readers.Go(x.read)
	return x
}

func (c *conn) read() {
	for {
		p, err := c.Read(time.Now().Add(time.Hour))
		c.m.mu.Lock()
		if c.m.restarting || c.addr != c.m.addr {
			c.dead = true
		}
		switch {
		case err != nil:
			if !c.dead {
				c.m.failLocked("%s: connection ended: %v", c.name, err)
			}
			c.finished = true
		case c.dead: // what comes now is as good as lost
		case p.Type == wire.DISCONNECT:
			c.m.failLocked("%s: DISCONNECT %#x", c.name, p.Reason)
		case c.p != nil:
			err = c.p.acked(p)
		default:
			err = c.got(p)
		}
		if err != nil && !c.dead {
			c.m.failLocked("%s: %v", c.name, err)
			if c.s != nil {
				c.m.read = c.s.read
			}
		}
		over := err != nil
		c.m.changedLocked()
		c.m.mu.Unlock()
		if over {
			_ = c.Close()
			return
		}
	}
}

// got is called with model.mu.
func (c *conn) got(p wire.Packet) error {
	switch p.Type {
	case wire.PUBLISH:
		return c.published(p)
	case wire.PUBREL:
		delete(c.s.held, p.ID)
		return c.ack(wire.Packet{Type: wire.PUBCOMP, ID: p.ID})
	case wire.PINGRESP:
		c.pings++
	default:
		c.answers[p.ID] = p
	}
	return nil
}

func (c *conn) published(p wire.Packet) error {
	d := delivery{topic: p.Topic, qos: p.QoS, retain: p.Retain, dup: p.Dup}
	if len(p.Payload) == 0 {
		d.n = c.m.empties[p.Topic]
	} else if n, err := strconv.Atoi(string(p.Payload)); err == nil {
		d.n = n
	}
	for _, prop := range p.Props {
		if prop.ID == wire.SubscriptionID {
			d.ids = append(d.ids, int(prop.Num))
		}
	}
	slices.Sort(d.ids)
	c.m.deliveries++
	c.s.read = append(c.s.read[max(0, len(c.s.read)-100):], fmt.Sprintf("%d id %d %+v", len(c.m.trace), p.ID, d))
	if p.QoS == 0 {
		return c.m.oracle.got(c.s, d)
	}
	if c.unacked[p.ID] {
		return fmt.Errorf("got %+v with id %d, which is in use", d, p.ID)
	}
	if c.unacked[p.ID] = true; len(c.unacked) > c.window {
		return fmt.Errorf("got %+v: %d are unacknowledged, Receive Maximum is %d", d, len(c.unacked), c.window)
	}
	if p.QoS == 1 {
		n, known := c.s.seen[p.ID]
		if again := p.Dup && known && n == d.n; !again {
			if err := c.m.oracle.got(c.s, d); err != nil {
				return err
			}
		}
		c.s.seen[p.ID] = d.n
		return c.ack(wire.Packet{Type: wire.PUBACK, ID: p.ID})
	}
	if n, goesOn := c.s.held[p.ID]; !goesOn {
		if err := c.m.oracle.got(c.s, d); err != nil {
			return err
		}
		c.s.held[p.ID] = d.n
	} else if n != d.n || !p.Dup {
		return fmt.Errorf("got %+v with id %d, which message %d has", d, p.ID, n)
	}
	return c.ack(wire.Packet{Type: wire.PUBREC, ID: p.ID})
}

// ack answers, now or later.
func (c *conn) ack(p wire.Packet) error {
	if c.holding {
		c.held = append(c.held, p)
		return nil
	}
	if p.Type != wire.PUBREC {
		delete(c.unacked, p.ID)
	}
	return c.Send(p)
}

// hold puts acks off, or sends what was put off.
func (c *conn) hold(on bool) error {
	c.holding = on
	if on {
		return nil
	}
	held := c.held
	c.held = nil
	for _, p := range held {
		if err := c.ack(p); err != nil {
			return err
		}
	}
	return nil
}

// request sends a packet and waits for the one that answers it.
func (c *conn) request(p wire.Packet) wire.Packet {
	c.m.mu.Lock()
	delete(c.answers, p.ID)
	c.m.mu.Unlock()
	if err := c.Send(p); err != nil {
		c.m.fail("%s: %v", c.name, err)
	}
	var answer wire.Packet
	c.m.await("the answer to "+p.Type.String()+" of "+c.name, func() error {
		var found bool
		if answer, found = c.answers[p.ID]; !found {
			return errors.New("it has not come")
		}
		return nil
	})
	return answer
}

// ping waits until the server has taken in everything that was sent before.
func (c *conn) ping() {
	c.m.mu.Lock()
	before := c.pings
	c.m.mu.Unlock()
	if err := c.Send(wire.Packet{Type: wire.PINGREQ}); err != nil {
		c.m.fail("%s: %v", c.name, err)
	}
	c.m.await("PINGRESP for "+c.name, func() error {
		if c.pings == before {
			return errors.New("it has not come")
		}
		return nil
	})
}

// publisher publishes, over cuts and restarts, what the oracle is told of. One goroutine uses it.
type publisher struct {
	m       *model
	name    string
	version byte
	account string
	seq     int
	nextID  uint16

	conn   *conn
	flight []*flight // guarded by model.mu
}

// flight is a message that a publisher waits for the ack of.
type flight struct {
	wire.Packet
	m        *message
	released bool // QoS 2: PUBREC has come
}

const publishWindow = 10

// connect goes on with the session, and sends again what was not acknowledged.
func (p *publisher) connect() {
	var props wire.Properties
	if p.version == wire.V5 {
		props = append(props, wire.Num(wire.SessionExpiry, 3600))
	}
	c, ack, addr := p.m.dial(p.version, wire.Connect{ClientID: p.name, User: p.account, Password: brokertest.Password}, props)
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.m.failed != nil {
		return
	}
	if known := p.conn != nil; ack.Present != known {
		p.m.failLocked("%s: session present %v, want %v", p.name, ack.Present, known)
	}
	p.conn = p.m.newConn(c, p.name, addr, nil, p, 0)
	for _, f := range p.flight {
		again := f.Packet
		if again.Dup = true; f.QoS == 1 {
			f.m.copies++
		}
		if f.released {
			again = wire.Packet{Type: wire.PUBREL, ID: f.ID}
		}
		_ = c.Send(again) // if that fails, the next connection goes on
	}
}

// cut ends the connection, and begins another one.
func (p *publisher) cut() {
	p.m.mu.Lock()
	p.conn.dead = true
	p.m.mu.Unlock()
	_ = p.conn.Close()
	p.connect()
}

// publish sends a message, and waits only for a place in the window.
func (p *publisher) publish(m *message) {
	p.await(publishWindow - 1)
	p.m.mu.Lock()
	p.seq++
	p.m.numberLocked(m)
	m.from, m.seq = p.name, p.seq
	p.m.oracle.published(m)
	packet := wire.Packet{Type: wire.PUBLISH, Topic: m.topic, QoS: m.qos, Retain: m.retain, Payload: m.payload()}
	if m.qos > 0 {
		p.nextID = p.nextID%1000 + 1
		packet.ID = p.nextID
		p.flight = append(p.flight, &flight{Packet: packet, m: m})
	}
	c := p.conn
	p.m.mu.Unlock()
	_ = c.Send(packet) // after a restart it goes again
}

// await waits until no more than n messages are unacknowledged. The connection may end meanwhile, with the node.
func (p *publisher) await(n int) {
	for {
		ended := false
		p.m.await("acks for "+p.name, func() error {
			ended = p.conn.finished
			if len(p.flight) > n && !ended {
				return fmt.Errorf("%d are missing", len(p.flight)-n)
			}
			return nil
		})
		if !ended || p.m.broken() {
			return
		}
		p.connect()
	}
}

// acked is called with model.mu.
func (p *publisher) acked(a wire.Packet) error {
	i := slices.IndexFunc(p.flight, func(f *flight) bool { return f.ID == a.ID })
	if a.Type == wire.PINGRESP {
		return nil
	}
	if i < 0 || a.Reason >= 0x80 && a.Reason != 0x92 {
		return fmt.Errorf("%s for id %d, reason %#x", a.Type, a.ID, a.Reason)
	}
	f := p.flight[i]
	switch {
	case a.Type == wire.PUBREC && f.QoS == 2:
		f.released = true
		return p.conn.Send(wire.Packet{Type: wire.PUBREL, ID: f.ID})
	case a.Type == wire.PUBACK && f.QoS == 1, a.Type == wire.PUBCOMP && f.released:
		p.flight = slices.Delete(p.flight, i, i+1)
		return nil
	}
	return fmt.Errorf("%s for id %d, which has QoS %d", a.Type, a.ID, f.QoS)
}
