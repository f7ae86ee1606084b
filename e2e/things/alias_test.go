package things

import (
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// aliases has a client take topic aliases.
func aliases(p *wire.Packet) { p.Props = append(p.Props, wire.Num(wire.TopicAliasMaximum, 5)) }

// What waited for a device that takes topic aliases comes with its topic, or with an alias of this connection: none outlives one.
func TestWhatWaitedComesWithItsTopic(t *testing.T) {
	t.Parallel()
	h := begin(t)
	h.Call("alice", "device.add", m{"did": "hub", "type": "bridge", "home": h.house("lamp")}, nil)
	var secret m
	h.Call("alice", "device.secret", m{"did": "hub"}, &secret)
	h.secrets["hub"] = secret["secret"].(string)

	known := map[string]map[uint32]string{} // topics by alias, by connection
	take := func(l *line, n int) (topics []string) {
		t.Helper()
		if known[l.name] == nil {
			known[l.name] = map[uint32]string{}
		}
		for len(topics) < n {
			p := l.expect(wire.PUBLISH)
			l.ack(p)
			alias, sent := p.Props.Get(wire.TopicAlias)
			switch {
			case sent && p.Topic != "":
				known[l.name][alias.Num] = p.Topic
			case sent:
				p.Topic = known[l.name][alias.Num]
			}
			if p.Topic == "" {
				t.Fatalf("%s: %s comes without a topic, with alias %d, which stands for nothing", l.name, p.Payload, alias.Num)
			}
			topics = append(topics, p.Topic)
		}
		return topics
	}
	app := h.watch(wire.V5)
	lamp := h.device(wire.V5, kept, aliases)
	hub := h.connect(wire.V5, "hub", "hub", kept, aliases)
	hub.must(1, "zigbee2mqtt/#")
	says := h.connect(wire.V5, "hub", "says")
	for i := range 2 { // while they are there, and after an absence
		if i == 1 {
			lamp.leave()
			hub.leave()
		}
		var want []string
		for range 3 {
			want = append(want, "dev/me/cmd/"+app.call(m{"name": "on", "ttl": 3600}))
			says.say("zigbee2mqtt/a b", m{"n": i})
		}
		if i == 1 {
			lamp = h.connect(wire.V5, "lamp", "lamp", kept, aliases)
			hub = h.connect(wire.V5, "hub", "hub", kept, aliases)
			clear(known)
		}
		if got := take(lamp, 3); !slices.Equal(got, want) {
			t.Errorf("commands come on %q, want %q", got, want)
		}
		if got := take(hub, 3); fmt.Sprint(got) != "[zigbee2mqtt/a b zigbee2mqtt/a b zigbee2mqtt/a b]" {
			t.Errorf("what is said in the home comes on %q", got)
		}
	}
}

// An alias has the rights of the topic that it stands for, at the moment at which it is used.
func TestAnAliasIsNoRight(t *testing.T) {
	h := begin(t)
	h.grant("bob", 0, "control")
	bob := h.connect(wire.V5, "bob", "bob")
	alias := wire.Num(wire.TopicAlias, 1)
	if ack := bob.publish("dev/lamp/set", `{"n":1}`, alias); ack.Reason != 0 {
		t.Fatalf("PUBACK %#x", ack.Reason)
	}
	if ack := bob.publish("", `{"n":2}`, alias); ack.Reason != 0 {
		t.Fatalf("PUBACK %#x by alias", ack.Reason)
	}
	var lamp m
	h.Call("alice", "device.get", m{"did": "lamp"}, &lamp)
	for _, g := range lamp["grants"].([]any) {
		h.Call("alice", "device.revoke", m{"did": "lamp", "id": at(g, "id")}, nil)
	}
	if ack := bob.publish("", `{"n":3}`, alias); ack.Reason < 0x80 {
		t.Errorf("PUBACK %#x by alias when the right is over", ack.Reason)
	}
	var shadow m
	h.Call("alice", "device.shadow", m{"did": "lamp"}, &shadow)
	if at(shadow, "desired", "n") != 2.0 {
		t.Errorf("the shadow is %v", shadow)
	}
}
