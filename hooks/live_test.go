package hooks_test

import (
	"fmt"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

const liveOfTwo = "im/c/d.alice.bob/live"

// watched reads an event of a conversation that is watched.
func (c *client) watched(topic string) map[string]any {
	c.t.Helper()
	got, fields := c.event()
	if got != topic {
		c.t.Errorf("event %v on %s, want on %s", fields, got, topic)
	}
	return fields
}

func TestAConversationIsWatchedLive(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			alice := connect(t, n, version, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			bob := connect(t, n, version, wire.Connect{User: "bob", ClientID: "b", Clean: true})
			if codes := alice.subscribe(wire.Filter{Topic: liveOfTwo, Options: 1}); codes[0] != 1 {
				t.Fatalf("SUBACK %#x, want 1", codes)
			}
			for i := range 100 {
				bob.publish("im/c/d.alice.bob/send", fmt.Sprint("hi ", i))
				e := alice.watched(liveOfTwo)
				if e["t"] != "msg" || e["usn"] != 0.0 || e["seq"] != float64(i+1) || e["from"] != "bob" || e["unread"] != nil {
					t.Errorf("message %v", e)
				}
			}
			bob.publish("im/c/d.alice.bob/loc", `{"lat": 48.1, "lon": 11.5, "v": 3}`)
			e := alice.watched(liveOfTwo)
			if e["t"] != "loc" || e["who"] != "bob" || fmt.Sprint(e["loc"]) != "map[lat:48.1 lon:11.5 v:3]" {
				t.Errorf("position %v", e)
			}
			late := connect(t, n, version, wire.Connect{User: "alice", ClientID: "late", Clean: true})
			late.subscribe(wire.Filter{Topic: liveOfTwo, Options: 0})
			if e := late.watched(liveOfTwo); e["t"] != "loc" || e["who"] != "bob" {
				t.Errorf("who comes late gets %v", e)
			}
			late.send(wire.Packet{Type: wire.UNSUBSCRIBE, ID: 3, Filters: []wire.Filter{{Topic: liveOfTwo}}})
			late.read(wire.UNSUBACK)
			bob.publish("im/c/d.alice.bob/send", "last")
			alice.watched(liveOfTwo)
			late.send(wire.Packet{Type: wire.PINGREQ})
			late.read(wire.PINGRESP)
		})
	}
}

func TestOnlyThoseInAConversationWatchIt(t *testing.T) {
	n := start(t)
	for name, version := range versions {
		refused := map[string]byte{
			liveOfTwo: 0x87, "im/c/+/live": 0x87, "im/c/#": 0x87, "im/c/d.carol.bob/live": 0x87, "im/c/d.bob.carol/live": 0x87,
			"$share/g/" + liveOfTwo: 0x9E, "im/c/g.none/live": 0x87, "im/c//live": 0x87, "im/c/l.none/live": 0x87,
			"im/c/d.alice.bob/x/live": 0x87, "im/c/nonsense/live": 0x87,
		}
		carol := connect(t, n, version, wire.Connect{User: "carol", ClientID: name, Clean: true})
		for filter, code := range refused {
			if version == wire.V311 {
				code = 0x80
			}
			if codes := carol.subscribe(wire.Filter{Topic: filter}); codes[0] != code {
				t.Errorf("%s: %s: SUBACK %#x, want %#x", name, filter, codes, code)
			}
		}
	}
}
