package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := server.Cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// versions are both protocols, by the name that subtests get.
var versions = map[string]byte{"3.1.1": wire.V311, "5": wire.V5}

// long skips a test that starts servers when only quick ones are wanted.
func long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real servers")
	}
}

// twoFriends starts a server on which alice and bob are contacts, and carol knows nobody.
func twoFriends(t testing.TB, options ...server.Option) *server.Server {
	t.Helper()
	s := server.Start(t, options...)
	s.AddUsers("alice", "bob", "carol")
	s.Befriend("alice", "bob")
	return s
}

// peer is a raw client under a test's control. Packets that nobody has asked for yet wait in the order in which they
// came.
type peer struct {
	*wire.Client
	t       testing.TB
	name    string
	present bool // the CONNACK's session present
	ack     wire.Packet
	waiting []wire.Packet
	ids     uint16
}

// with changes a CONNECT.
type with func(*wire.Packet)

func clean(p *wire.Packet) { p.Connect.Clean = true }

// short is for a session that ends with its connection.
func short(p *wire.Packet) {
	p.Connect.Clean = true
	p.Props = slices.DeleteFunc(p.Props, func(p wire.Property) bool { return p.ID == wire.SessionExpiry })
}

func receiveMaximum(n uint16) with {
	return func(p *wire.Packet) { p.Props = append(p.Props, wire.Num(wire.ReceiveMaximum, uint32(n))) }
}

func options(query string) with { return func(p *wire.Packet) { p.Connect.User += "?" + query } }

func password(secret string) with { return func(p *wire.Packet) { p.Connect.Password = secret } }

func will(w wire.Will) with { return func(p *wire.Packet) { p.Connect.Will = &w } }

// dial opens a connection and sends the CONNECT of a persistent session, changed as asked.
func dial(t testing.TB, s *server.Server, user, id string, version byte, changes ...with) *peer {
	t.Helper()
	c, err := wire.Dial(s.MQTT(), version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: id, User: user, Password: s.Token(user)}}
	if version == wire.V5 {
		p.Props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
	}
	for _, change := range changes {
		change(&p)
	}
	if err := c.Send(p); err != nil {
		t.Fatal(err)
	}
	return &peer{Client: c, t: t, name: user + "/" + id}
}

// connect is dial for those who are let in.
func connect(t testing.TB, s *server.Server, user, id string, version byte, changes ...with) *peer {
	t.Helper()
	p := dial(t, s, user, id, version, changes...)
	p.ack = p.expect(wire.CONNACK)
	if p.present = p.ack.Present; p.ack.Reason != 0 {
		t.Fatalf("%s: CONNACK %#x", p.name, p.ack.Reason)
	}
	return p
}

// listen is connect with a subscription to the stream and to replies.
func listen(t testing.TB, s *server.Server, user, id string, version, qos byte, changes ...with) *peer {
	t.Helper()
	p := connect(t, s, user, id, version, changes...)
	if codes := p.subscribe(qos, "im/u/me/in", "im/u/me/rsp"); !slices.Equal(codes, []byte{qos, qos}) {
		t.Fatalf("%s: SUBACK % x, want % x twice", p.name, codes, qos)
	}
	return p
}

// receive gives the next packet, also one that waits.
func (p *peer) receive() (wire.Packet, error) {
	if len(p.waiting) > 0 {
		next := p.waiting[0]
		p.waiting = p.waiting[1:]
		return next, nil
	}
	return p.Read(time.Now().Add(server.Deadline))
}

// next is receive for those who know that there is one.
func (p *peer) next() wire.Packet {
	p.t.Helper()
	packet, err := p.receive()
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return packet
}

// await gives the first packet for which ok holds; those before it go on waiting.
func (p *peer) await(what string, ok func(wire.Packet) bool) wire.Packet {
	p.t.Helper()
	for i, packet := range p.waiting {
		if ok(packet) {
			p.waiting = slices.Delete(p.waiting, i, i+1)
			return packet
		}
	}
	for {
		packet, err := p.Read(time.Now().Add(server.Deadline))
		if err != nil {
			p.t.Fatalf("%s waits for %s: %v; got before: %+v", p.name, what, err, p.waiting)
		}
		if ok(packet) {
			return packet
		}
		p.waiting = append(p.waiting, packet)
	}
}

func (p *peer) expect(typ wire.Type) wire.Packet {
	p.t.Helper()
	return p.await(typ.String(), func(packet wire.Packet) bool { return packet.Type == typ })
}

// answer is expect for the packet that answers the one with this id.
func (p *peer) answer(typ wire.Type, id uint16) wire.Packet {
	p.t.Helper()
	return p.await(fmt.Sprint(typ, " ", id), func(packet wire.Packet) bool { return packet.Type == typ && packet.ID == id })
}

func (p *peer) send(packets ...wire.Packet) {
	p.t.Helper()
	if err := p.Send(packets...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// id gives a packet id that was not used before.
func (p *peer) id() uint16 {
	p.ids++
	return p.ids
}

// subscribe gives the codes of the SUBACK.
func (p *peer) subscribe(qos byte, filters ...string) []byte {
	p.t.Helper()
	sub := wire.Packet{Type: wire.SUBSCRIBE, ID: p.id()}
	for _, f := range filters {
		sub.Filters = append(sub.Filters, wire.Filter{Topic: f, Options: qos})
	}
	p.send(sub)
	return p.answer(wire.SUBACK, sub.ID).Codes
}

func publish(topic, payload string, qos byte, id uint16, props ...wire.Property) wire.Packet {
	return wire.Packet{Type: wire.PUBLISH, Topic: topic, Payload: []byte(payload), QoS: qos, ID: id, Props: props}
}

// say publishes a text with QoS 1 and waits for the ack.
func (p *peer) say(to, text string) wire.Packet {
	p.t.Helper()
	id := p.id()
	p.send(publish("im/to/"+to+"/send", text, 1, id))
	ack := p.answer(wire.PUBACK, id)
	if ack.Reason != 0 {
		p.t.Fatalf("%s says %q to %s: PUBACK %#x %v", p.name, text, to, ack.Reason, ack.Props)
	}
	return ack
}

// ping is a round trip: what the server had written before has come then.
func (p *peer) ping() {
	p.t.Helper()
	p.send(wire.Packet{Type: wire.PINGREQ})
	p.expect(wire.PINGRESP)
}

// event waits for the next event of the stream, and acknowledges it with QoS 1.
func (p *peer) event() journal.Event {
	p.t.Helper()
	packet := p.await("an event", func(packet wire.Packet) bool {
		return packet.Type == wire.PUBLISH && strings.HasSuffix(packet.Topic, "/in")
	})
	if packet.QoS == 1 {
		p.send(wire.Packet{Type: wire.PUBACK, ID: packet.ID})
	}
	return parse(p.t, packet)
}

// message is event for messages; receipts and the like are passed over.
func (p *peer) message() journal.Event {
	p.t.Helper()
	for {
		if e := p.event(); e.T == "msg" {
			return e
		}
	}
}

func parse(t testing.TB, packet wire.Packet) journal.Event {
	t.Helper()
	e, err := journal.ParseEvent(packet.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// gone reads until the server closes the connection, and gives the reason of its DISCONNECT, if there was one.
func (p *peer) gone() (reason byte, said bool) {
	p.t.Helper()
	for {
		packet, err := p.receive()
		if errors.Is(err, wire.ErrTimeout) {
			p.t.Fatalf("%s is still connected", p.name)
		}
		if err != nil {
			return reason, said
		}
		if packet.Type == wire.DISCONNECT {
			reason, said = packet.Reason, true
		}
	}
}

// cut closes the connection without a word.
func (p *peer) cut() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Error(err)
	}
}

// texts gives the texts of a conversation's messages, in order.
func texts(t testing.TB, s *server.Server, user, conversation string) []string {
	t.Helper()
	messages, _ := s.History(user, conversation)
	var all []string
	for _, m := range messages {
		all = append(all, parse(t, wire.Packet{Payload: m}).Text())
	}
	return all
}

// full is a message in its full form.
func full(fields map[string]any) string {
	b, err := json.Marshal(fields)
	if err != nil { // what tests write
		panic(err)
	}
	return string(b)
}
