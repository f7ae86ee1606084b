package hooks_test

import (
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// What comes of changes of messages is said in the ack, in MQTT 5 by its properties and otherwise before it.
func TestChangesAreAcknowledged(t *testing.T) {
	n := start(t)
	const topic = "im/c/d.alice.bob/op"
	five := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "five", Clean: true})
	old := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "old", Clean: true})
	old.subscribe(wire.Filter{Topic: "im/u/me/rsp", Options: 1})
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	five.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/to/bob/send", Payload: []byte("one")})
	five.read(wire.PUBACK)
	bob.subscribe(wire.Filter{Topic: "im/u/me/in", Options: 1})
	said := func(p wire.Packet) string {
		var words []string
		for _, u := range p.Props {
			if u.ID == wire.UserProperty && u.Name != "ts" {
				words = append(words, u.Name+"="+u.Str)
			}
		}
		return strings.Join(words, " ")
	}
	for i, tt := range []struct{ payload, mid, want string }{
		{`{"op":"edit","seq":1,"body":{"text":"two"}}`, "e1", "c=d.alice.bob seq=1 rev=1"},
		{`{"op":"edit","seq":1,"body":{"text":"two"}}`, "e1", "c=d.alice.bob seq=1 rev=1 dup=1"},
		{`{"op":"react","seq":1,"emoji":"+"}`, "e1", "err=mid_conflict"},
		{`{"op":"unreact","seq":1,"emoji":"+"}`, "", "c=d.alice.bob seq=1 rev=0"},
		{`{"op":"pin","seq":9}`, "", "err=no_msg"},
		{`{"op":"pin"}`, "", "err=bad"},
		{`hello`, "", "err=bad"},
	} {
		var props wire.Properties
		if tt.mid != "" {
			props = wire.Properties{wire.User("mid", tt.mid)}
		}
		five.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: uint16(10 + i), Topic: topic, Payload: []byte(tt.payload), Props: props})
		if got := said(five.read(wire.PUBACK)); got != tt.want {
			t.Errorf("%s: the ack says %q, want %q", tt.payload, got, tt.want)
		}
	}
	old.send(wire.Packet{Type: wire.PUBLISH, QoS: 2, ID: 3, Topic: topic, Payload: []byte(`{"op":"recall","seq":1,"mid":"r1"}`)})
	if _, event := old.event(); event["t"] != "ack" || event["ok"] != true || event["rev"] != 2.0 || event["seq"] != 1.0 ||
		event["mid"] != "r1" || event["c"] != "d.alice.bob" {
		t.Errorf("ack event: got %v", event)
	}
	old.read(wire.PUBREC)
	for _, want := range []string{"edit", "recall"} {
		if _, event := bob.event(); event["t"] != want || event["seq"] != 1.0 || event["by"] != "alice" {
			t.Errorf("bob was told %v, want a %s by alice", event, want)
		}
	}
}
