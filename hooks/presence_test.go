package hooks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// startPresence starts a node on which nobody is kept for long after he has gone.
func startPresence(t *testing.T, change ...func(*broker.Config)) *brokertest.Node {
	t.Helper()
	brief := func(c *broker.Config) { c.Presence.Grace = broker.Duration(20 * time.Millisecond) }
	return start(t, append([]func(*broker.Config){brief}, change...)...)
}

// shown reads a presence and checks where it came from. When somebody was seen is replaced by whether that is known.
func (c *client) shown(topic string, retained bool) string {
	c.t.Helper()
	p := c.read(wire.PUBLISH)
	if p.Topic != topic || p.Retain != retained || p.QoS != 0 {
		c.t.Errorf("presence %s on %s, retained %v, with QoS %d, want on %s, retained %v, with 0",
			p.Payload, p.Topic, p.Retain, p.QoS, topic, retained)
	}
	var fields map[string]any
	if err := json.Unmarshal(p.Payload, &fields); err != nil || fields["t"] != "presence" {
		c.t.Fatalf("presence %s, %v", p.Payload, err)
	}
	if seen, ok := fields["seen"].(float64); ok {
		if age := time.Since(time.UnixMilli(int64(seen))); age < 0 || age > brokertest.Deadline {
			c.t.Errorf("seen %v ago, want now", age)
		}
		return fmt.Sprintf("%v %v seen", fields["who"], fields["on"])
	}
	if fields["on"] == true {
		return fmt.Sprintf("%v %v %v", fields["who"], fields["state"], fields["dev"])
	}
	return fmt.Sprintf("%v %v", fields["who"], fields["on"])
}

func (c *client) wantShown(topic string, retained bool, want string) {
	c.t.Helper()
	if got := c.shown(topic, retained); got != want {
		c.t.Errorf("shown %q, want %q", got, want)
	}
}

func TestAContactIsWatched(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := startPresence(t)
			bob := connect(t, n, version, wire.Connect{User: "bob", ClientID: "b", Clean: true})
			if codes := bob.subscribe(wire.Filter{Topic: "im/p/alice", Options: 1}); codes[0] != 1 {
				t.Fatalf("SUBACK %#x, want 1", codes)
			}
			bob.wantShown("im/p/alice", true, "alice false")
			alice := connect(t, n, version, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			bob.wantShown("im/p/alice", false, "alice fg 1")
			alice.publish("im/u/me/state", "bg")
			bob.wantShown("im/p/alice", false, "alice bg 1")
			second := connect(t, n, version, wire.Connect{User: "alice", ClientID: "a2", Clean: true})
			bob.wantShown("im/p/alice", false, "alice fg 2")
			second.send(wire.Packet{Type: wire.DISCONNECT})
			bob.wantShown("im/p/alice", false, "alice bg 1")
			if err := alice.Close(); err != nil {
				t.Fatal(err)
			}
			bob.wantShown("im/p/alice", false, "alice false seen")

			bob.subscribe(wire.Filter{Topic: "im/p/+", Options: 0})
			bob.wantShown("im/p/alice", true, "alice false seen")
			bob.send(wire.Packet{Type: wire.UNSUBSCRIBE, ID: 3, Filters: []wire.Filter{{Topic: "im/p/alice"}, {Topic: "im/p/+"}}})
			bob.read(wire.UNSUBACK)
			connect(t, n, version, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			bob.quiet(n)
		})
	}
}

// quiet fails the test if anything comes before the answer to a request that is made now, and the presence of alice, who
// has come, has been told.
func (c *client) quiet(n *brokertest.Node) {
	c.t.Helper()
	other := connect(c.t, n, wire.V5, wire.Connect{User: "bob", ClientID: "other", Clean: true})
	other.subscribe(wire.Filter{Topic: "im/p/alice"})
	for other.shown("im/p/alice", true) != "alice fg 1" {
		other.subscribe(wire.Filter{Topic: "im/p/alice"})
	}
	c.send(wire.Packet{Type: wire.PINGREQ})
	if p, err := c.Read(time.Now().Add(brokertest.Deadline)); err != nil || p.Type != wire.PINGRESP {
		c.t.Errorf("read %+v, %v, want nothing but the answer to a ping", p, err)
	}
}

func TestATakeoverShowsNothing(t *testing.T) {
	t.Parallel()
	n := start(t) // with the usual grace
	bob := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/p/+"})
	bob.wantShown("im/p/alice", true, "alice false")
	for i := range 20 {
		version := wire.V5
		if i%2 == 0 {
			version = wire.V311
		}
		c := connect(t, n, version, wire.Connect{User: "alice", ClientID: "a"})
		if i%3 == 0 {
			_ = c.Close()
		}
		if i == 0 {
			bob.wantShown("im/p/alice", false, "alice fg 1")
		}
	}
	bob.quiet(n)
}

// What changed while a session had no connection was not sent; how it is now is sent when it comes back.
func TestASessionThatGoesOnIsShownWhoIsThere(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := startPresence(t)
			props := wire.Properties(nil)
			if version == wire.V5 {
				props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
			}
			bob := connect(t, n, version, wire.Connect{User: "bob", ClientID: "b"}, props...)
			bob.subscribe(wire.Filter{Topic: "im/p/alice"})
			bob.wantShown("im/p/alice", true, "alice false")
			_ = bob.Close()
			connect(t, n, version, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			bob = connect(t, n, version, wire.Connect{User: "bob", ClientID: "b"}, props...)
			bob.wantShown("im/p/alice", false, "alice fg 1")
			n.Restart()
			bob = connect(t, n, version, wire.Connect{User: "bob", ClientID: "b"}, props...)
			bob.wantShown("im/p/alice", false, "alice false seen")
		})
	}
}

func TestOnlyContactsAreWatched(t *testing.T) {
	t.Parallel()
	n := startPresence(t)
	three := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "3", Clean: true})
	five := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "5", Clean: true})
	for filter, want := range map[string]byte{
		"im/p/carol": 0x87, "im/p/nobody": 0x87, "im/p/bob": 0x87, "im/p/me": 0x87, "im/p/#": 0x87, "im/p": 0x87, "im/p/": 0x87,
		"im/p/alice/bob": 0x87, "im/p/+/+": 0x87, "im/+/alice": 0x87, "im/p/alice/#": 0x87,
		"$share/g/im/p/alice": 0x9E, "$share/g/im/p/+": 0x9E,
	} {
		if codes := five.subscribe(wire.Filter{Topic: filter}); codes[0] != want {
			t.Errorf("5: SUBACK %#x for %s, want %#x", codes, filter, want)
		}
		if codes := three.subscribe(wire.Filter{Topic: filter}); codes[0] != 0x80 {
			t.Errorf("3.1.1: SUBACK %#x for %s, want 0x80", codes, filter)
		}
	}
	for topic, want := range map[string]byte{
		"im/p/alice": 0x87, "im/p/bob": 0x87, "im/p/alice/bob": 0x87, "im/p/bob/alice": 0x87, "im/u/alice/state": 0x87,
		"im/u/me/state": 0x99, "im/u/bob/state": 0x99,
	} {
		if got := five.publish(topic, "busy").Reason; got != want {
			t.Errorf("PUBACK %#x for %s, want %#x", got, topic, want)
		}
	}
	if got := five.publish("im/u/me/state", "away").Reason; got != 0 {
		t.Errorf("PUBACK %#x for a state, want 0", got)
	}
	_, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: "alice", Password: brokertest.Password,
		ClientID: "w", Clean: true, Will: &wire.Will{Topic: "im/u/me/state", Payload: []byte("away")}})
	if err != nil || ack.Reason != 0x87 {
		t.Errorf("CONNACK %#x, %v for a will that says a state, want 0x87", ack.Reason, err)
	}
}

func TestPresenceIsAskedFor(t *testing.T) {
	n := startPresence(t)
	connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/u/me/rsp"})
	bob.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/rpc/presence.get",
		Payload: []byte(`{"who":["nobody","alice","carol","bob"]}`)})
	var answer struct {
		Presence json.RawMessage `json:"presence"`
	}
	if err := json.Unmarshal(bob.readBoth(wire.PUBACK, wire.PUBLISH).Payload, &answer); err != nil {
		t.Fatal(err)
	}
	want := `[{"who":"nobody"},{"who":"alice","on":true,"state":"fg","dev":1},{"who":"carol"},` +
		`{"who":"bob","on":true,"state":"fg","dev":1}]`
	if string(answer.Presence) != want {
		t.Errorf("presence %s, want %s", answer.Presence, want)
	}
}

func TestTypingEnds(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *broker.Config) { c.Presence.Typing = broker.Duration(time.Second) })
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/u/me/eph"})
	alice := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	for what, end := range map[string]func(){
		"by itself":           func() {},
		"with a 0":            func() { alice.publish("im/c/d.alice.bob/typing", "0") },
		"with a message":      func() { alice.publish("im/to/bob/send", "hi") },
		"with the connection": func() { _ = alice.Close() },
	} {
		if _, err := alice.Read(time.Now()); !errors.Is(err, wire.ErrTimeout) {
			alice = connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
		}
		alice.publish("im/c/d.alice.bob/typing", "1")
		if _, e := bob.event(); e["on"] != true {
			t.Errorf("%s: event %v, want alice typing", what, e)
		}
		end()
		if _, e := bob.event(); e["on"] != false || e["who"] != "alice" || e["c"] != "d.alice.bob" {
			t.Errorf("%s: event %v, want the end of alice's typing", what, e)
		}
	}
}

// ask calls a method and gives the answer, which has to come before anything else.
func (c *client) ask(method, payload string) map[string]any {
	c.t.Helper()
	c.subscribe(wire.Filter{Topic: "im/u/me/rsp"})
	c.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 66, Topic: "im/rpc/" + method, Payload: []byte(payload)})
	var fields map[string]any
	if err := json.Unmarshal(c.readBoth(wire.PUBACK, wire.PUBLISH).Payload, &fields); err != nil || fields["ok"] != true {
		c.t.Fatalf("%s %s: %v, %v", method, payload, fields, err)
	}
	return fields
}

func TestABlockedContactIsToldNothing(t *testing.T) {
	n := startPresence(t)
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/p/+"})
	bob.wantShown("im/p/alice", true, "alice fg 1")
	alice.ask("contact.block", `{"who":"bob"}`)
	bob.wantShown("im/p/alice", false, "alice <nil>")
	alice.publish("im/u/me/state", "away")
	if codes := bob.subscribe(wire.Filter{Topic: "im/p/alice"}); codes[0] != 0 {
		t.Errorf("SUBACK %#x for who has blocked, want 0", codes)
	}
	bob.wantShown("im/p/alice", true, "alice <nil>")
	alice.ask("contact.unblock", `{"who":"bob"}`)
	bob.wantShown("im/p/alice", false, "alice away 1")
	alice.ask("contact.remove", `{"who":"bob"}`)
	bob.wantShown("im/p/alice", false, "alice <nil>")
	alice.publish("im/u/me/state", "bg")
	if codes := bob.subscribe(wire.Filter{Topic: "im/p/alice"}); codes[0] != 0x87 {
		t.Errorf("SUBACK %#x for who is no contact any more, want 0x87", codes)
	}
	bob.send(wire.Packet{Type: wire.PINGREQ})
	bob.read(wire.PINGRESP)
}

// In the background one hears nothing of who is there, but at once that it is not for him to know any more.
func TestInTheBackgroundPresenceWaits(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := startPresence(t)
			alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			bob := connect(t, n, version, wire.Connect{User: "bob", ClientID: "b", Clean: true})
			bob.subscribe(wire.Filter{Topic: "im/p/+"}, wire.Filter{Topic: "im/u/me/eph"})
			bob.wantShown("im/p/alice", true, "alice fg 1")
			bob.publish("im/u/me/state", "bg")
			alice.publish("im/c/d.alice.bob/typing", "1")
			alice.publish("im/u/me/state", "away")
			desk := connect(t, n, version, wire.Connect{User: "bob", ClientID: "desk", Clean: true})
			for state := ""; state != "alice away 1"; { // a change may wait a second
				desk.subscribe(wire.Filter{Topic: "im/p/alice"})
				state = desk.shown("im/p/alice", true)
			}
			bob.publish("im/u/me/state", "away") // as good as fg
			bob.wantShown("im/p/alice", false, "alice away 1")
			bob.publish("im/u/me/state", "bg")
			alice.ask("contact.remove", `{"who":"bob"}`)
			bob.wantShown("im/p/alice", false, "alice <nil>")
			bob.publish("im/u/me/state", "fg")
			bob.send(wire.Packet{Type: wire.PINGREQ})
			bob.read(wire.PINGRESP)
		})
	}
}

func TestAnInvisibleSessionShowsNothing(t *testing.T) {
	t.Parallel()
	n := startPresence(t)
	bob := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/p/alice"})
	bob.wantShown("im/p/alice", true, "alice false")
	alice := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a"})
	bob.wantShown("im/p/alice", false, "alice fg 1")
	alice.ask("session.set", `{"invisible":true}`)
	bob.wantShown("im/p/alice", false, "alice false seen")
	_ = alice.Close()
	alice = connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a"})
	alice.ask("session.set", `{"invisible":false}`)
	bob.wantShown("im/p/alice", false, "alice fg 1")
}

func TestADeletedContactIsNotThere(t *testing.T) {
	n := startPresence(t)
	bob := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/p/+"})
	bob.wantShown("im/p/alice", true, "alice false")
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	bob.wantShown("im/p/alice", false, "alice fg 1")
	alice.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/rpc/account.delete",
		Payload: []byte(`{"password":"` + brokertest.Password + `"}`)})
	alice.ended()
	bob.wantShown("im/p/alice", false, "alice <nil>")
}
