package promises

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// whole puts a packet together again.
func whole(first byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

// peer is a client that does nothing by itself. Packets that nobody has asked for yet wait in the order in which they came.
type peer struct {
	*wire.Client
	t       *testing.T
	name    string
	present bool
	waiting []wire.Packet
	ids     uint16
	told    map[uint16]said // by packet id: what ack events said
}

// said is what the server says of a PUBLISH.
type said struct {
	OK   bool   `json:"ok"`
	C    string `json:"c"`
	Seq  uint64 `json:"seq"`
	ID   string `json:"id"`
	TS   int64  `json:"ts"`
	Dup  bool   `json:"dup"`
	Err  string `json:"err"`
	T    string `json:"t"`
	PID  uint16 `json:"pid"`
	Code byte   `json:"-"`
}

// same leaves out what may differ between the answers to one message.
func (s said) same() string { return fmt.Sprint(s.OK, s.C, s.Seq, s.ID, s.TS) }

// with changes a CONNECT.
type with func(*wire.Packet)

func keepAlive(seconds uint16) with { return func(p *wire.Packet) { p.Connect.KeepAlive = seconds } }

func will(w wire.Will) with { return func(p *wire.Packet) { p.Connect.Will = &w } }

// brief is for a session that ends with its connection.
func brief(p *wire.Packet) { p.Connect.Clean, p.Props = true, nil }

// dial connects a session of somebody.
func dial(t *testing.T, addr string, version byte, who *people.Person, id string, changes ...with) *peer {
	t.Helper()
	c, err := wire.Dial(addr, version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	connect := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: id, User: who.Name, Password: who.Token}}
	if version == wire.V5 {
		connect.Props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
	}
	for _, change := range changes {
		change(&connect)
	}
	p := &peer{Client: c, t: t, name: who.Name + "/" + id, told: map[uint16]said{}}
	p.send(connect)
	ack := p.await("CONNACK", func(p wire.Packet) bool { return p.Type == wire.CONNACK })
	if p.present = ack.Present; ack.Reason != 0 {
		t.Fatalf("%s: CONNACK %#x", p.name, ack.Reason)
	}
	return p
}

// listen is dial with subscriptions to the stream, with a QoS, and to replies.
func listen(t *testing.T, addr string, version, qos byte, who *people.Person, id string, changes ...with) *peer {
	t.Helper()
	p := dial(t, addr, version, who, id, changes...)
	p.subscribe(qos, "im/u/me/in")
	p.subscribe(1, "im/u/me/rsp")
	return p
}

func (p *peer) send(packets ...wire.Packet) {
	p.t.Helper()
	if err := p.Send(packets...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// await gives the first packet for which ok holds; those before it go on waiting. Replies are noted and acknowledged.
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
			p.t.Fatalf("%s waits for %s: %v; %d packets wait", p.name, what, err, len(p.waiting))
		}
		if packet.Type == wire.PUBLISH && strings.HasSuffix(packet.Topic, "/rsp") {
			p.note(packet)
			continue
		}
		if ok(packet) {
			return packet
		}
		p.waiting = append(p.waiting, packet)
	}
}

func (p *peer) note(packet wire.Packet) {
	var s said
	if err := json.Unmarshal(packet.Payload, &s); err == nil && s.T == "ack" {
		p.told[s.PID] = s
	}
	if packet.QoS == 1 {
		_ = p.Send(wire.Packet{Type: wire.PUBACK, ID: packet.ID}) // an error is noticed by reading
	}
}

func (p *peer) answer(typ wire.Type, id uint16) wire.Packet {
	p.t.Helper()
	return p.await(fmt.Sprint(typ, " ", id), func(packet wire.Packet) bool { return packet.Type == typ && packet.ID == id })
}

func (p *peer) subscribe(qos byte, filter string) {
	p.t.Helper()
	p.ids++
	p.send(wire.Packet{Type: wire.SUBSCRIBE, ID: p.ids, Filters: []wire.Filter{{Topic: filter, Options: qos}}})
	if ack := p.answer(wire.SUBACK, p.ids); ack.Codes[0] != qos {
		p.t.Fatalf("%s: SUBACK %#x for %s, want %d", p.name, ack.Codes[0], filter, qos)
	}
}

// ping is a round trip: what the server had written before has come then.
func (p *peer) ping() {
	p.t.Helper()
	p.send(wire.Packet{Type: wire.PINGREQ})
	p.await("PINGRESP", func(packet wire.Packet) bool { return packet.Type == wire.PINGRESP })
}

// outcome waits for the ack of a PUBLISH with QoS 1, and gives what is said of it.
func (p *peer) outcome(id uint16) said {
	p.t.Helper()
	return p.outcomeOf(p.answer(wire.PUBACK, id))
}

// outcomeOf reads an ack, and the event that came before it.
func (p *peer) outcomeOf(ack wire.Packet) said {
	s, told := p.told[ack.ID]
	delete(p.told, ack.ID)
	if !told {
		s.OK = ack.Reason < 0x80
		s.C, _ = ack.Props.User("c")
		s.ID, _ = ack.Props.User("id")
		s.Err, _ = ack.Props.User("err")
		seq, _ := ack.Props.User("seq")
		s.Seq, _ = strconv.ParseUint(seq, 10, 64)
		ts, _ := ack.Props.User("ts")
		s.TS, _ = strconv.ParseInt(ts, 10, 64)
		_, s.Dup = ack.Props.User("dup")
	}
	s.Code = ack.Reason
	return s
}

// text is a message with a mid.
func text(to, words, mid string, qos byte, id uint16) wire.Packet {
	body, _ := json.Marshal(people.M{"k": "text", "body": people.M{"text": words}, "mid": mid}) // of strings
	return wire.Packet{Type: wire.PUBLISH, Topic: toward(to), QoS: qos, ID: id, Payload: body}
}

// plain is a message as somebody types it.
func plain(to, words string, qos byte, id uint16) wire.Packet {
	return wire.Packet{Type: wire.PUBLISH, Topic: toward(to), QoS: qos, ID: id, Payload: []byte(words)}
}

// toward is where what is for somebody, or for a conversation, is published.
func toward(to string) string {
	if strings.Contains(to, ".") {
		return "im/c/" + to + "/send"
	}
	return "im/to/" + to + "/send"
}

// arrival is an event as it came.
type arrival struct {
	packet wire.Packet
	event
}

// event is what tests look at in an event or a message.
type event struct {
	T      string  `json:"t"`
	USN    uint64  `json:"usn"`
	C      string  `json:"c"`
	Seq    uint64  `json:"seq"`
	ID     string  `json:"id"`
	MID    string  `json:"mid"`
	From   string  `json:"from"`
	TS     int64   `json:"ts"`
	K      string  `json:"k"`
	Why    string  `json:"why"`
	Who    string  `json:"who"`
	Recv   uint64  `json:"recv"`
	Read   uint64  `json:"read"`
	St     string  `json:"st"`
	Mute   *int64  `json:"mute"` // of conv: what it is now
	Total  *int    `json:"total"`
	Events []event `json:"events"` // of a batch
	// Unread is that of C.
	Unread *int   `json:"unread"`
	AsOf   uint64 `json:"asof"`
	Body   struct {
		Text string `json:"text"`
	} `json:"body"`
}

// core is what an event is, however often it comes: all but the numbers of the moment.
func (e event) core() string {
	return fmt.Sprint(e.T, e.USN, e.C, e.Seq, e.ID, e.MID, e.From, e.TS, e.Who, e.Recv, e.Read, e.Body.Text)
}

func parse(t testing.TB, payload []byte) event {
	t.Helper()
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		t.Fatalf("event %s: %v", payload, err)
	}
	return e
}

// next gives the next event of the stream, not acknowledged.
func (p *peer) next() arrival {
	p.t.Helper()
	packet := p.await("an event", func(packet wire.Packet) bool {
		return packet.Type == wire.PUBLISH && strings.HasSuffix(packet.Topic, "/in")
	})
	return arrival{packet, parse(p.t, packet.Payload)}
}

// take is next, acknowledged.
func (p *peer) take() arrival {
	p.t.Helper()
	a := p.next()
	if a.packet.QoS == 1 {
		p.send(wire.Packet{Type: wire.PUBACK, ID: a.packet.ID})
	}
	return a
}

// message is take for messages; all else is passed over.
func (p *peer) message() arrival {
	p.t.Helper()
	for {
		if a := p.take(); a.T == "msg" {
			return a
		}
	}
}
