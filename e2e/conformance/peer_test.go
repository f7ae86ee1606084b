package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// deadline is how long is waited for what has to happen.
const deadline = brokertest.Deadline

// node is a node with the accounts ann and bob, who may publish and subscribe to all free topics.
type node struct {
	*brokertest.Node
	tokens map[string]string
	serial atomic.Int64 // numbers the clients that do not care
}

// start runs a node for one test. The test goes on beside others.
func start(t *testing.T, change ...func(*broker.Config)) *node {
	t.Helper()
	t.Parallel()
	cheap := func(cfg *broker.Config) { cfg.Accounts.HashMemory, cfg.Accounts.HashPasses = 8<<10, 1 }
	n := &node{Node: brokertest.Start(t, append([]func(*broker.Config){cheap, grants}, change...)...),
		tokens: map[string]string{}}
	n.AddUsers("ann", "bob")
	for _, user := range []string{"ann", "bob"} {
		token, _, err := n.Accounts().Issue(t.Context(), accounts.Name(user), "test")
		if err != nil {
			t.Fatal(err)
		}
		n.tokens[user] = token
	}
	return n
}

// peer is a raw client under a test's control. Packets that nobody has asked for yet wait in the order in which they
// came.
type peer struct {
	*wire.Client
	t       testing.TB
	name    string
	ack     wire.Packet // the CONNACK
	waiting []wire.Packet
	ids     uint16
}

// with changes a CONNECT.
type with func(*wire.Packet)

// keep is for a session that goes on, or will.
func keep(p *wire.Packet) {
	p.Connect.Clean = false
	p.Props = append(p.Props, wire.Num(wire.SessionExpiry, 3600))
}

func id(id string) with { return func(p *wire.Packet) { p.Connect.ClientID = id } }

func alive(seconds uint16) with { return func(p *wire.Packet) { p.Connect.KeepAlive = seconds } }

func props(props ...wire.Property) with {
	return func(p *wire.Packet) { p.Props = append(p.Props, props...) }
}

func will(w wire.Will) with { return func(p *wire.Packet) { p.Connect.Will = &w } }

func as(user string, n *node) with {
	return func(p *wire.Packet) { p.Connect.User, p.Connect.Password = user, n.tokens[user] }
}

// dial opens a connection and sends nothing.
func (n *node) dial(t testing.TB, version byte) *peer {
	t.Helper()
	c, err := wire.Dial(n.MQTT(), version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &peer{Client: c, t: t, name: "client"}
}

// hello is the CONNECT of ann with a session that ends with its connection, changed as asked.
func (n *node) hello(changes ...with) wire.Packet {
	p := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{
		ClientID: fmt.Sprint("c", n.serial.Add(1)), Clean: true, User: "ann", Password: n.tokens["ann"]}}
	for _, change := range changes {
		change(&p)
	}
	return p
}

// knock connects and reads the CONNACK, whatever it says.
func (n *node) knock(t testing.TB, version byte, changes ...with) *peer {
	t.Helper()
	p := n.dial(t, version)
	hello := n.hello(changes...)
	p.name = hello.Connect.ClientID
	p.send(hello)
	if p.ack = p.next(); p.ack.Type != wire.CONNACK {
		t.Fatalf("%s: the first packet is %+v, want a CONNACK", p.name, p.ack)
	}
	return p
}

// connect is knock for who is let in.
func (n *node) connect(t testing.TB, version byte, changes ...with) *peer {
	t.Helper()
	p := n.knock(t, version, changes...)
	if p.ack.Reason != 0 {
		t.Fatalf("%s: CONNACK %#x %v, want 0", p.name, p.ack.Reason, p.ack.Props)
	}
	return p
}

// now makes failures of the peer those of a subtest.
func (p *peer) now(t testing.TB) *peer {
	p.t = t
	return p
}

// next gives the next packet, also one that waits.
func (p *peer) next() wire.Packet {
	p.t.Helper()
	if len(p.waiting) > 0 {
		next := p.waiting[0]
		p.waiting = p.waiting[1:]
		return next
	}
	packet, err := p.Read(time.Now().Add(deadline))
	if err != nil {
		p.t.Fatalf("%s waits for a packet: %v", p.name, err)
	}
	return packet
}

// await gives the first packet for which ok holds; those before it go on waiting.
func (p *peer) await(what string, ok func(wire.Packet) bool) wire.Packet {
	p.t.Helper()
	if i := slices.IndexFunc(p.waiting, ok); i >= 0 {
		packet := p.waiting[i]
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return packet
	}
	for {
		packet, err := p.Read(time.Now().Add(deadline))
		if err != nil {
			p.t.Fatalf("%s waits for %s: %v; got before: %+v", p.name, what, err, p.waiting)
		}
		if ok(packet) {
			return packet
		}
		p.waiting = append(p.waiting, packet)
	}
}

// answer gives the packet of a type that has this id.
func (p *peer) answer(typ wire.Type, id uint16) wire.Packet {
	p.t.Helper()
	return p.await(fmt.Sprint(typ, " ", id),
		func(packet wire.Packet) bool { return packet.Type == typ && packet.ID == id })
}

// message gives the next PUBLISH and does not acknowledge it.
func (p *peer) message() wire.Packet {
	p.t.Helper()
	return p.await("a PUBLISH", func(packet wire.Packet) bool { return packet.Type == wire.PUBLISH })
}

// take is message, acknowledged to the end.
func (p *peer) take() wire.Packet {
	p.t.Helper()
	m := p.message()
	switch m.QoS {
	case 1:
		p.send(wire.Packet{Type: wire.PUBACK, ID: m.ID})
	case 2:
		p.send(wire.Packet{Type: wire.PUBREC, ID: m.ID})
		p.answer(wire.PUBREL, m.ID)
		p.send(wire.Packet{Type: wire.PUBCOMP, ID: m.ID})
	}
	return m
}

// payloads takes n messages.
func (p *peer) payloads(n int) []string {
	p.t.Helper()
	var got []string
	for range n {
		got = append(got, string(p.take().Payload))
	}
	return got
}

// only checks that the next messages are these and no others come before a last one on the topic end, which the
// publisher sends for it.
func (p *peer) only(from *peer, end string, want ...string) {
	p.t.Helper()
	from.publish(end, "end", 1)
	var got []string
	for {
		m := p.take()
		if m.Topic == end && string(m.Payload) == "end" {
			break
		}
		got = append(got, string(m.Payload))
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("%s got %q, want %q", p.name, got, want)
	}
}

func (p *peer) send(packets ...wire.Packet) {
	p.t.Helper()
	if err := p.Send(packets...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// raw sends bytes as they are. That the server has closed already is not said here.
func (p *peer) raw(b []byte) { _ = p.SendRaw(b) }

// id gives a packet id that was not used before.
func (p *peer) id() uint16 {
	p.ids++
	return p.ids
}

// subscribe gives the codes of the SUBACK.
func (p *peer) subscribe(options byte, filters ...string) []byte {
	p.t.Helper()
	sub := wire.Packet{Type: wire.SUBSCRIBE, ID: p.id()}
	for _, f := range filters {
		sub.Filters = append(sub.Filters, wire.Filter{Topic: f, Options: options})
	}
	p.send(sub)
	return p.answer(wire.SUBACK, sub.ID).Codes
}

// listen is subscribe for what is granted.
func (p *peer) listen(options byte, filters ...string) {
	p.t.Helper()
	want := slices.Repeat([]byte{options & 3}, len(filters))
	if got := p.subscribe(options, filters...); !slices.Equal(got, want) {
		p.t.Fatalf("%s subscribes to %q: SUBACK % x, want % x", p.name, filters, got, want)
	}
}

func (p *peer) unsubscribe(filters ...string) wire.Packet {
	p.t.Helper()
	unsub := wire.Packet{Type: wire.UNSUBSCRIBE, ID: p.id()}
	for _, f := range filters {
		unsub.Filters = append(unsub.Filters, wire.Filter{Topic: f})
	}
	p.send(unsub)
	return p.answer(wire.UNSUBACK, unsub.ID)
}

func publish(topic, payload string, qos byte, id uint16, props ...wire.Property) wire.Packet {
	return wire.Packet{Type: wire.PUBLISH, Topic: topic, Payload: []byte(payload), QoS: qos, ID: id, Props: props}
}

func retained(p wire.Packet) wire.Packet {
	p.Retain = true
	return p
}

// publish publishes and waits until it is acknowledged; with QoS 0, for a round trip.
func (p *peer) publish(topic, payload string, qos byte, props ...wire.Property) {
	p.t.Helper()
	p.deliver(publish(topic, payload, qos, 0, props...))
}

// deliver is publish for any PUBLISH; its id is set here.
func (p *peer) deliver(m wire.Packet) {
	p.t.Helper()
	if m.QoS > 0 {
		m.ID = p.id()
	}
	p.send(m)
	var ack wire.Packet
	switch m.QoS {
	case 0:
		p.ping()
	case 1:
		ack = p.answer(wire.PUBACK, m.ID)
	case 2:
		if ack = p.answer(wire.PUBREC, m.ID); ack.Reason < 0x80 {
			p.send(wire.Packet{Type: wire.PUBREL, ID: m.ID})
			p.answer(wire.PUBCOMP, m.ID)
		}
	}
	if ack.Reason >= 0x80 {
		p.t.Fatalf("%s publishes to %q: %s %#x %v", p.name, m.Topic, ack.Type, ack.Reason, ack.Props)
	}
}

// ping is a round trip: what the server had written before has come then.
func (p *peer) ping() {
	p.t.Helper()
	p.send(wire.Packet{Type: wire.PINGREQ})
	p.await("PINGRESP", func(packet wire.Packet) bool { return packet.Type == wire.PINGRESP })
}

// leave says goodbye, and waits until the server has closed.
func (p *peer) leave(props ...wire.Property) {
	p.t.Helper()
	p.send(wire.Packet{Type: wire.DISCONNECT, Props: props})
	p.gone()
}

// cut closes the socket without a word.
func (p *peer) cut() { _ = p.Close() }

// patience is after how long of silence a client that should be gone is asked whether it is.
const patience = time.Second

// gone reads until the server closes the connection, and gives the last packet that came before, a DISCONNECT for example.
func (p *peer) gone() (last wire.Packet) {
	p.t.Helper()
	end, wait := time.Now().Add(deadline), patience
	for {
		packet, err := p.Read(time.Now().Add(wait))
		switch {
		case errors.Is(err, wire.ErrTimeout) && time.Now().After(end):
			p.t.Fatalf("%s is still connected", p.name)
		case errors.Is(err, wire.ErrTimeout):
			p.raw([]byte{byte(wire.PINGREQ) << 4, 0})
			wait = deadline
		case err != nil:
			return last
		case packet.Type == wire.PINGRESP:
			p.t.Fatalf("%s is still connected, and its ping answered", p.name)
		case last.Type == wire.DISCONNECT:
			p.t.Errorf("%s got after DISCONNECT: %+v", p.name, packet)
		default:
			last = packet
		}
	}
}

// refused checks that the connection ends, and that an MQTT 5 client is told one of these reasons if it is told any: in a
// CONNACK if it was not let in yet, in a DISCONNECT afterwards.
func (p *peer) refused(reasons ...byte) {
	p.t.Helper()
	last := p.gone()
	want := wire.DISCONNECT
	if p.ack.Type == 0 {
		want = wire.CONNACK
	}
	switch {
	case last.Type == 0:
	case p.Version() == wire.V311:
		p.t.Errorf("the answer is %s %#x, want none", last.Type, last.Reason)
	case last.Type != want || !slices.Contains(reasons, last.Reason):
		p.t.Errorf("the answer is %s %#x %v, want %s with one of % x", last.Type, last.Reason, last.Props, want,
			reasons)
	}
}

// told is refused for who has to be told: exactly this, in MQTT 5.
func (p *peer) told(reason byte) {
	p.t.Helper()
	if last := p.gone(); p.Version() == wire.V5 && (last.Type != wire.DISCONNECT || last.Reason != reason) {
		p.t.Errorf("the last packet is %s %#x, want DISCONNECT %#x", last.Type, last.Reason, reason)
	}
}

// packet is a packet of these parts, whatever they are.
func packet(first byte, parts ...string) []byte {
	var body []byte
	for _, part := range parts {
		body = append(body, part...)
	}
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

// text is a string with its length.
func text(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

// number is a two byte integer.
func number(n uint16) string { return string(binary.BigEndian.AppendUint16(nil, n)) }

// none is the length of no properties, where there are any.
func none(version byte) string {
	if version == wire.V5 {
		return "\x00"
	}
	return ""
}

// until waits for a moment of the clock.
func until(moment time.Time) {
	for time.Now().Before(moment) {
		time.Sleep(10 * time.Millisecond)
	}
}

// farAway is the deadline of what a goroutine beside the test waits for.
func farAway() time.Time { return time.Now().Add(deadline) }
