package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// outcome is what protocol.md section 3 says of a PUBLISH.
type outcome struct {
	name    string
	topic   string
	payload string
	reason  byte   // MQTT 5
	err     string // "" is accepted
	seq     string // of what is accepted
	dup     bool
}

// outcomes are in an order that matters: the first two are a message and its repetition.
func outcomes(mid string) []outcome {
	message := full(map[string]any{"k": "text", "body": map[string]string{"text": "hello"}, "mid": mid})
	const to = "im/to/bob/send"
	return []outcome{
		{name: "stored", topic: to, payload: message, seq: "1"},
		{name: "stored before", topic: to, payload: message, seq: "1", dup: true},
		{name: "same mid, other content", topic: to, payload: strings.Replace(message, "hello", "goodbye", 1), reason: 0x83,
			err: "mid_conflict"},
		{name: "not a contact", topic: "im/to/carol/send", payload: "hello", reason: 0x87, err: "no_right"},
		{name: "not a member", topic: "im/c/d.bob.carol/send", payload: "hello", reason: 0x87, err: "not_member"},
		{name: "no such account", topic: "im/to/nobody/send", payload: "hello", reason: 0x90, err: "no_conv"},
		{name: "no such conversation", topic: "im/c/d.alice.nobody/send", payload: "hello", reason: 0x90, err: "no_conv"},
		{name: "a conversation that cannot be", topic: "im/c/x/send", payload: "hello", reason: 0x99, err: "bad"},
		{name: "malformed body", topic: to, payload: `{"k":"text","body":{"text":7}}`, reason: 0x99, err: "bad"},
		{name: "malformed mid", topic: to, payload: `{"k":"text","body":{"text":"x"},"mid":7}`, reason: 0x99, err: "bad"},
		{name: "mid too long", topic: to, payload: full(map[string]any{"k": "text", "body": map[string]string{"text": "x"},
			"mid": strings.Repeat("x", 65)}), reason: 0x99, err: "too_big"},
		{name: "text too long", topic: to, payload: strings.Repeat("x", 10_001), reason: 0x99, err: "too_big"},
		{name: "body too big", topic: to, payload: full(map[string]any{"k": "x.y", "body": strings.Repeat("x", 66_000)}),
			reason: 0x99, err: "too_big"},
		{name: "not UTF-8", topic: to, payload: "\xff\xfe", reason: 0x99, err: "bad"},
		{name: "malformed mark", topic: "im/c/d.alice.bob/read", payload: "one", reason: 0x99, err: "bad"},
		{name: "mark of a stranger", topic: "im/c/d.bob.carol/read", payload: "1", reason: 0x87, err: "not_member"},
		{name: "a topic that is the server's", topic: "im/u/bob/in", payload: "hello", reason: 0x87, err: "no_right"},
		{name: "a topic that nobody has", topic: "im/c/d.alice.bob/whatever", payload: "hello", reason: 0x87, err: "no_right"},
		{name: "a free topic", topic: "home/lamp", payload: "on", reason: 0x87, err: "no_right"},
	}
}

func TestWhatBecomesOfAPublishIsSaidAsTheProtocolSays(t *testing.T) {
	long(t)
	for version, v := range versions {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("%s QoS %d", version, qos), func(t *testing.T) {
				s := twoFriends(t)
				s.Befriend("bob", "carol")
				alice := listen(t, s, "alice", "laptop", v, 1)
				for _, o := range outcomes("m1") {
					t.Run(o.name, func(t *testing.T) {
						alice.t = t
						id := alice.id()
						alice.send(publish(o.topic, o.payload, qos, id))
						if qos == 0 {
							checkSilence(t, alice)
						} else {
							checkAnswer(t, alice, o, qos, id)
						}
					})
				}
				alice.t = t
				if got := texts(t, s, "alice", "d.alice.bob"); !slices.Equal(got, []string{"hello"}) {
					t.Errorf("in the conversation stands %q, want only what was accepted", got)
				}
			})
		}
	}
}

// checkSilence sees that nothing at all is said, and that the connection is still there.
func checkSilence(t *testing.T, p *peer) {
	t.Helper()
	p.ping()
	for _, packet := range p.waiting {
		if packet.Type != wire.PUBLISH || !strings.HasSuffix(packet.Topic, "/in") {
			t.Errorf("the answer to QoS 0 is %s %s", packet.Type, packet.Payload)
		}
	}
}

// checkAnswer reads the answer to a PUBLISH off the wire.
func checkAnswer(t *testing.T, p *peer, o outcome, qos byte, id uint16) {
	t.Helper()
	typ := wire.PUBACK
	if qos == 2 {
		typ = wire.PUBREC
	}
	ack := p.answer(typ, id)
	event := ackEvent(t, p, id)
	if p.Version() == wire.V5 {
		checkProperties(t, ack, o)
		if event != nil {
			t.Errorf("an ack event came that nobody asked for: %v", event)
		}
	} else {
		checkEvent(t, event, o)
	}
	if qos == 2 && (p.Version() == wire.V311 || o.reason == 0) {
		p.send(wire.Packet{Type: wire.PUBREL, ID: id})
		if done := p.answer(wire.PUBCOMP, id); done.Reason != 0 {
			t.Errorf("PUBCOMP %#x", done.Reason)
		}
	}
	p.ping() // it is still connected
}

// ackEvent gives the ack event for a packet id, which has to have come before the ack; nil if there is none.
func ackEvent(t *testing.T, p *peer, id uint16) map[string]any {
	t.Helper()
	for i, packet := range p.waiting {
		if packet.Type != wire.PUBLISH || !strings.HasSuffix(packet.Topic, "/rsp") {
			continue
		}
		var event map[string]any
		if err := json.Unmarshal(packet.Payload, &event); err != nil {
			t.Fatal(err)
		}
		if event["t"] == "ack" && event["pid"] == float64(id) {
			p.waiting = slices.Delete(p.waiting, i, i+1)
			if packet.QoS == 1 {
				p.send(wire.Packet{Type: wire.PUBACK, ID: packet.ID})
			}
			return event
		}
	}
	return nil
}

func checkProperties(t *testing.T, ack wire.Packet, o outcome) {
	t.Helper()
	err, _ := ack.Props.User("err")
	if ack.Reason != o.reason || err != o.err {
		t.Errorf("%s: reason %#x, err %q, want %#x, %q", ack.Type, ack.Reason, err, o.reason, o.err)
	}
	if o.err != "" {
		return
	}
	c, _ := ack.Props.User("c")
	seq, _ := ack.Props.User("seq")
	id, _ := ack.Props.User("id")
	ts, _ := ack.Props.User("ts")
	dup, _ := ack.Props.User("dup")
	if c != "d.alice.bob" || seq != o.seq || id == "" || ts == "" || (dup == "1") != o.dup {
		t.Errorf("%s: %v, want c, seq %s, id, ts, and dup %t", ack.Type, ack.Props, o.seq, o.dup)
	}
}

func checkEvent(t *testing.T, event map[string]any, o outcome) {
	t.Helper()
	if event == nil {
		t.Fatal("no ack event came before the ack")
	}
	if event["ok"] != (o.err == "") {
		t.Errorf("ack event %v, want ok %t", event, o.err == "")
	}
	if o.err != "" {
		if event["err"] != o.err {
			t.Errorf("ack event %v, want err %q", event, o.err)
		}
		return
	}
	dup, _ := event["dup"].(bool)
	if event["c"] != "d.alice.bob" || fmt.Sprint(event["seq"]) != o.seq || event["mid"] != "m1" || event["id"] == nil ||
		event["ts"] == nil || dup != o.dup {
		t.Errorf("ack event %v, want c, seq %s, mid m1, id, ts, and dup %t", event, o.seq, o.dup)
	}
}

func TestAnMQTT5ClientThatAsksForAckEventsGetsThemToo(t *testing.T) {
	long(t)
	s := twoFriends(t)
	for name, change := range map[string]with{
		"behind the user name": options("ack=event"),
		"as a user property":   func(p *wire.Packet) { p.Props = append(p.Props, wire.User("ack", "event")) },
	} {
		t.Run(name, func(t *testing.T) {
			alice := listen(t, s, "alice", name, wire.V5, 1, change)
			alice.send(publish("im/to/nobody/send", "hello", 1, 100))
			ack := alice.answer(wire.PUBACK, 100)
			if event := ackEvent(t, alice, 100); event["err"] != "no_conv" || ack.Reason != 0x90 {
				t.Errorf("PUBACK %#x, ack event %v, want 0x90 and no_conv", ack.Reason, event)
			}
		})
	}
}
