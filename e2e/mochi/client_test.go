package mochi

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// versions are both protocols, by the name that subtests get.
var versions = map[string]byte{"3.1.1": wire.V311, "5": wire.V5}

// eachVersion runs a part of a scenario in both protocols.
func (w *world) eachVersion(part func(w *world, version byte)) {
	for name, version := range versions {
		w.Run(name, func(t *testing.T) {
			sub := *w
			sub.T = t
			part(&sub, version)
		})
	}
}

// client is one connection of a scenario.
type client struct {
	*wire.Client
	w       *world
	id      string
	ack     wire.Packet // the CONNACK
	packets uint16      // the last packet id
}

// with changes a CONNECT.
type with func(*wire.Packet)

func clean(p *wire.Packet) { p.Connect.Clean = true }

// ephemeral is for a session that ends with its connection.
func ephemeral(p *wire.Packet) {
	p.Connect.Clean = true
	p.Props = slices.DeleteFunc(p.Props, func(p wire.Property) bool { return p.ID == wire.SessionExpiry })
}

func property(properties ...wire.Property) with {
	return func(p *wire.Packet) {
		for _, add := range properties {
			p.Props = slices.DeleteFunc(p.Props, func(p wire.Property) bool { return p.ID == add.ID })
			p.Props = append(p.Props, add)
		}
	}
}

func receiveMaximum(n uint32) with { return property(wire.Num(wire.ReceiveMaximum, n)) }

func will(w wire.Will) with { return func(p *wire.Packet) { p.Connect.Will = &w } }

// dial sends the CONNECT of a persistent session, changed as asked, and reads no answer.
func (w *world) dial(version byte, id string, changes ...with) (*client, error) {
	conn, err := wire.Dial(w.addr(), version)
	if err != nil {
		return nil, err
	}
	w.Cleanup(func() { _ = conn.Close() })
	p := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: id, User: user, Password: w.password}}
	if version == wire.V5 {
		p.Props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
	}
	for _, change := range changes {
		change(&p)
	}
	return &client{Client: conn, w: w, id: id}, conn.Send(p)
}

// enter is dial, and reads the CONNACK. An answer that does not come, or that refuses, is an error.
func (w *world) enter(version byte, id string, changes ...with) (*client, error) {
	c, err := w.dial(version, id, changes...)
	if err != nil {
		return nil, err
	}
	if c.ack, err = c.read(); err != nil {
		return nil, fmt.Errorf("%s waits for a CONNACK: %w", id, err)
	}
	if c.ack.Type != wire.CONNACK || c.ack.Reason != 0 {
		return nil, fmt.Errorf("%s is answered %s %#x", id, c.ack.Type, c.ack.Reason)
	}
	return c, nil
}

// connect is enter for those who are let in by every broker.
func (w *world) connect(version byte, id string, changes ...with) *client {
	w.Helper()
	c, err := w.enter(version, id, changes...)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// read gives the next packet, if it comes while the patience lasts.
func (c *client) read() (wire.Packet, error) { return c.Read(time.Now().Add(c.w.patience)) }

func (c *client) send(packets ...wire.Packet) {
	c.w.Helper()
	if err := c.Send(packets...); err != nil {
		c.w.Fatalf("%s: %v", c.id, err)
	}
}

// packetID gives one that this connection has not used.
func (c *client) packetID() uint16 {
	c.packets++
	return c.packets
}

// await reads until a packet of this type, and gives up all others.
func (c *client) await(typ wire.Type) (wire.Packet, error) {
	for {
		p, err := c.read()
		if err != nil {
			return p, fmt.Errorf("%s waits for %s: %w", c.id, typ, err)
		}
		if p.Type == typ {
			return p, nil
		}
	}
}

func (c *client) expect(typ wire.Type) wire.Packet {
	c.w.Helper()
	p, err := c.await(typ)
	if err != nil {
		c.w.Fatal(err)
	}
	return p
}

// subscribe subscribes, each with these options.
func (c *client) subscribe(options byte, filters ...string) *client {
	c.w.Helper()
	p := wire.Packet{Type: wire.SUBSCRIBE, ID: c.packetID()}
	for _, f := range filters {
		p.Filters = append(p.Filters, wire.Filter{Topic: f, Options: options})
	}
	c.send(p)
	for _, code := range c.expect(wire.SUBACK).Codes {
		if code != options&3 {
			c.w.Fatalf("%s subscribes to %q: %#x", c.id, filters, code)
		}
	}
	return c
}

// cut closes the connection without a word.
func (c *client) cut() { _ = c.Close() }

// leave ends the connection as MQTT wants it.
func (c *client) leave() {
	c.w.Helper()
	c.send(wire.Packet{Type: wire.DISCONNECT})
	for {
		if _, err := c.read(); err != nil {
			if errors.Is(err, wire.ErrTimeout) {
				c.w.Fatalf("%s: DISCONNECT did not end the connection", c.id)
			}
			return
		}
	}
}

func (c *client) ping() {
	c.w.Helper()
	c.send(wire.Packet{Type: wire.PINGREQ})
	c.expect(wire.PINGRESP)
}

func message(topic, payload string, qos byte, properties ...wire.Property) wire.Packet {
	return wire.Packet{Type: wire.PUBLISH, Topic: topic, Payload: []byte(payload), QoS: qos, Props: properties}
}

// publish sends one message with QoS 1, or 2 to the end of its exchange.
func (c *client) publish(p wire.Packet) {
	c.w.Helper()
	p.ID = c.packetID()
	c.send(p)
	ack := c.expect(map[byte]wire.Type{1: wire.PUBACK, 2: wire.PUBREC}[p.QoS])
	if ack.Reason >= 0x80 {
		c.w.Fatalf("%s publishes to %s: %#x", c.id, p.Topic, ack.Reason)
	}
	if p.QoS == 2 {
		c.send(wire.Packet{Type: wire.PUBREL, ID: p.ID})
		c.expect(wire.PUBCOMP)
	}
}

// flood publishes n messages with QoS 1, many at a time. All of them are acknowledged if there is no error.
func (c *client) flood(n int, each func(i int) wire.Packet) error {
	const batch = 250
	for first := 0; first < n; first += batch {
		var packets []wire.Packet
		for i := first; i < min(n, first+batch); i++ {
			p := each(i)
			p.QoS, p.ID = 1, c.packetID()%60_000+1
			packets = append(packets, p)
		}
		if err := c.Send(packets...); err != nil {
			return fmt.Errorf("after %d acks: %w", first, err)
		}
		for i := range packets {
			if _, err := c.await(wire.PUBACK); err != nil {
				return fmt.Errorf("after %d acks: %w", first+i, err)
			}
		}
	}
	return nil
}

// numbered are messages of one topic that tell their number.
func numbered(topic string) func(i int) wire.Packet {
	return func(i int) wire.Packet { return message(topic, fmt.Sprint(i), 1) }
}

// take reads up to n messages, and gives those that come while the patience lasts. It acknowledges them if it should.
func (c *client) take(n int, acknowledge bool) (got []wire.Packet) {
	for len(got) < n {
		p, err := c.read()
		if err != nil {
			return got
		}
		if p.Type == wire.PUBLISH {
			got = append(got, p)
		}
		if acknowledge {
			c.answer(p)
		}
	}
	return got
}

// answer does what a receiver has to when this packet comes.
func (c *client) answer(p wire.Packet) {
	switch {
	case p.Type == wire.PUBLISH && p.QoS == 1:
		_ = c.Send(wire.Packet{Type: wire.PUBACK, ID: p.ID}) // the next read tells if the connection is gone
	case p.Type == wire.PUBLISH && p.QoS == 2:
		_ = c.Send(wire.Packet{Type: wire.PUBREC, ID: p.ID})
	case p.Type == wire.PUBREL:
		_ = c.Send(wire.Packet{Type: wire.PUBCOMP, ID: p.ID})
	}
}

// payloads gives what messages say.
func payloads(messages []wire.Packet) []string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Payload))
	}
	return all
}

// distinct counts the messages without repetitions.
func distinct(messages []wire.Packet) int {
	seen := map[string]bool{}
	for _, m := range messages {
		seen[m.Topic+" "+string(m.Payload)] = true
	}
	return len(seen)
}
