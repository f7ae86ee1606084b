package hooks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

func grant(topic, who string, allow ...string) func(*broker.Config) {
	return func(c *broker.Config) {
		c.ACL = append(c.ACL, broker.ACLConfig{Topic: topic, Who: who, Allow: allow})
	}
}

func mount(who, at string) func(*broker.Config) {
	return func(c *broker.Config) { c.Mounts = append(c.Mounts, broker.MountConfig{Who: who, At: at}) }
}

// publish sends a PUBLISH of QoS 1 and gives its PUBACK.
func (c *client) publish(topic, payload string, props ...wire.Property) wire.Packet {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 7, Topic: topic, Payload: []byte(payload), Props: props})
	return c.read(wire.PUBACK)
}

// gets reads a PUBLISH, acknowledges it, and fails unless it is this one.
func (c *client) gets(topic, payload string) wire.Packet {
	c.t.Helper()
	p := c.read(wire.PUBLISH)
	if p.Topic != topic || string(p.Payload) != payload {
		c.t.Fatalf("got %q on %s, want %q on %s", p.Payload, p.Topic, payload, topic)
	}
	if p.QoS == 1 {
		c.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
	}
	return p
}

func TestAnACLSaysWhoMayDoWhat(t *testing.T) {
	n := start(t, grant("open/#", "users", "pub", "sub"), grant("news/+", "alice", "pub"), grant("news/#", "all", "sub"),
		grant("own/%u/x", "all", "pub", "sub"))
	tests := []struct {
		user, topic string
		pub, sub    bool
	}{
		{"alice", "open/a/b", true, true},
		{"alice", "news/today", true, true},
		{"bob", "news/today", false, true},
		{"alice", "own/alice/x", true, true},
		{"alice", "own/bob/x", false, false},
		{"alice", "elsewhere", false, false},
		{"alice", "im/u/bob/in", false, false},
		{"alice", "$SYS/broker/uptime", false, false},
		{"alice", "$delayed/5/elsewhere", false, false},
		{"alice", "$delayed/0/open/a", false, false},
		{"alice", "$delayed/x/open/a", false, false},
		{"alice", "$delayed/5/im/to/bob/send", false, false},
	}
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			for _, tt := range tests {
				c := connect(t, n, version, wire.Connect{User: tt.user, ClientID: "acl", Clean: true})
				refused := byte(0x80)
				if version == wire.V5 {
					refused = 0x87
				}
				code := c.subscribe(wire.Filter{Topic: tt.topic, Options: 1})[0]
				if granted := code == 1; granted != tt.sub || !granted && code != refused {
					t.Errorf("%s subscribes to %s: %#x, want granted: %v", tt.user, tt.topic, code, tt.sub)
				}
				c.send(wire.Packet{Type: wire.UNSUBSCRIBE, ID: 2, Filters: []wire.Filter{{Topic: tt.topic}}})
				c.read(wire.UNSUBACK)
				ack := c.publish(tt.topic, "x")
				if version == wire.V5 {
					if allowed := ack.Reason < 0x80; allowed != tt.pub || !allowed && ack.Reason != 0x87 {
						t.Errorf("%s publishes to %s: %#x, want allowed: %v", tt.user, tt.topic, ack.Reason, tt.pub)
					}
				}
			}
		})
	}
}

func TestA311PublisherIsToldThatItMayNot(t *testing.T) {
	n := start(t)
	c := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "c", Clean: true})
	c.subscribe(wire.Filter{Topic: "im/u/me/rsp", Options: 1})
	c.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 9, Topic: "nowhere", Payload: []byte("x")})
	if _, e := c.event(); e["t"] != "ack" || e["ok"] != false || e["err"] != "no_right" {
		t.Errorf("event %v, want a refusal with no_right", e)
	}
	c.read(wire.PUBACK)
}

func TestAMountedAccountLivesInItsPlace(t *testing.T) {
	n := start(t, mount("carol", "m/home1"), grant("m/#", "alice", "pub", "sub"))
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			bridge := connect(t, n, version, wire.Connect{User: "carol", ClientID: "bridge", Clean: true,
				Will: &wire.Will{Topic: "bridge/state", Payload: []byte("offline"), QoS: 1}})
			outside := connect(t, n, version, wire.Connect{User: "alice", ClientID: "outside", Clean: true})
			if code := bridge.subscribe(wire.Filter{Topic: "lamp/+", Options: 1})[0]; code != 1 {
				t.Fatalf("SUBACK %#x", code)
			}
			outside.subscribe(wire.Filter{Topic: "m/home1/#", Options: 1})

			other := connect(t, n, version, wire.Connect{User: "alice", ClientID: "other", Clean: true})
			other.publish("m/home1/lamp/set", "on")
			outside.gets("m/home1/lamp/set", "on")
			bridge.gets("lamp/set", "on")

			var props []wire.Property
			if version == wire.V5 {
				props = append(props, wire.Str(wire.ResponseTopic, "answers/1"))
			}
			again := connect(t, n, version, wire.Connect{User: "carol", ClientID: "again", Clean: true})
			again.publish("lamp/state", "is on", props...)
			bridge.gets("lamp/state", "is on")
			p := outside.gets("m/home1/lamp/state", "is on")
			if to, _ := p.Props.Get(wire.ResponseTopic); version == wire.V5 && to.Str != "m/home1/answers/1" {
				t.Errorf("response topic %q, want it where the bridge listens", to.Str)
			}

			_ = bridge.Close()
			outside.gets("m/home1/bridge/state", "offline")
		})
	}
}

func TestMeStandsForTheNameWhereARuleSaysSo(t *testing.T) {
	n := start(t, grant("cars/me/#", "all", "pub", "sub"), grant("cars/#", "bob", "sub"))
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "cars/#", Options: 1})
	alice := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	alice.subscribe(wire.Filter{Topic: "cars/me/+", Options: 1})
	car := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "car", Clean: true})
	car.publish("cars/me/place", "here")
	alice.gets("cars/me/place", "here")
	bob.gets("cars/alice/place", "here")
}

func TestADelayedMessageComesLaterAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	n := start(t, grant("t/#", "all", "pub", "sub"))
	keep := wire.Connect{User: "bob", ClientID: "b"}
	bob := connect(t, n, wire.V311, keep)
	bob.subscribe(wire.Filter{Topic: "t/#", Options: 1})
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	alice.publish("$delayed/2/t/late", "late")
	alice.publish("t/now", "now")
	bob.gets("t/now", "now")
	n.Restart()
	bob = connect(t, n, wire.V311, keep)
	p := bob.read(wire.PUBLISH)
	if p.Topic == "t/now" { // its PUBACK came too late
		p = bob.read(wire.PUBLISH)
	}
	if p.Topic != "t/late" || string(p.Payload) != "late" {
		t.Errorf("got %q on %s", p.Payload, p.Topic)
	}
}

func TestADelayedMessageOfADisabledAccountIsNotPublished(t *testing.T) {
	t.Parallel()
	n := start(t, grant("t/#", "all", "pub", "sub"))
	bob := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "t/#", Options: 1})
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	carol := connect(t, n, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	alice.publish("$delayed/1/t/alice", "no")
	carol.publish("$delayed/2/t/carol", "yes")
	if err := n.Disable(t, "alice"); err != nil {
		t.Fatal(err)
	}
	bob.gets("t/carol", "yes")
}

// What is due is published as if it were published then: a rule of the ACL may be gone, and a device in another home.
func TestADelayedMessageOfWhoMayNotAnyMoreIsNotPublished(t *testing.T) {
	t.Parallel()
	rule := grant("t/#", "all", "pub", "sub")
	n := start(t, func(c *broker.Config) { rule(c) })
	keep := wire.Connect{User: "bob", ClientID: "b"}
	bob := connect(t, n, wire.V311, keep)
	bob.subscribe(wire.Filter{Topic: "t/#", Options: 1})
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	carol := connect(t, n, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	alice.publish("$delayed/3/t/alice", "no")
	carol.publish("$delayed/4/t/carol", "yes")
	rule = func(c *broker.Config) {
		grant("t/#", "all", "sub")(c)
		grant("t/#", "carol", "pub")(c)
	}
	n.Restart()
	bob = connect(t, n, wire.V311, keep)
	bob.gets("t/carol", "yes")
}

func TestADelayedMessageOfADeviceThatHasLeftAHomeIsNotPublishedThere(t *testing.T) {
	t.Parallel()
	h := startHouses(t)
	for _, did := range []string{"hub", "other"} {
		h.device(did, devices.TypeHomeAssistant, "alice")
	}
	other := h.connect("other", wire.V5)
	other.subscribe(wire.Filter{Topic: "x/#", Options: 1})
	hub := h.connect("hub", wire.V5)
	hub.tells("$delayed/2/x/hub", "no", false)
	home := ""
	if _, err := h.Things().Set(t.Context(), "alice", "hub", devices.ThingPatch{Home: &home}); err != nil {
		t.Fatal(err)
	}
	other.tells("$delayed/3/x/other", "yes", false)
	other.gets("x/other", "yes")
}

func TestAFullQueueRefusesOrDropsAsItIsTold(t *testing.T) {
	for _, policy := range []string{"drop", "refuse"} {
		t.Run(policy, func(t *testing.T) {
			n := start(t, grant("t/#", "all", "pub", "sub"), func(c *broker.Config) {
				c.Sessions.QueueCount, c.Sessions.QueueFull = 3, policy
			})
			keep := wire.Connect{User: "bob", ClientID: "b"}
			bob := connect(t, n, wire.V311, keep)
			bob.subscribe(wire.Filter{Topic: "t/#", Options: 1})
			bob.send(wire.Packet{Type: wire.DISCONNECT})
			bob.ended()
			alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			// The bound is exact once what is in the queue has been counted, in the background (docs/storage.md).
			const all, late = 100, 20
			var kept []int
			for i := range all {
				ack := alice.publish("t/x", fmt.Sprint(i))
				if refused := ack.Reason == 0x97; !refused {
					kept = append(kept, i)
				} else if policy == "drop" {
					t.Fatalf("message %d was refused", i)
				}
			}
			if policy == "drop" {
				kept = kept[all-3:] // at least
			} else if len(kept) < 3 || len(kept) > late || kept[len(kept)-1] != len(kept)-1 {
				t.Fatalf("accepted %v, want the first three, and few more", kept)
			}
			bob = connect(t, n, wire.V311, keep)
			for extra := 0; ; extra++ {
				p := bob.read(wire.PUBLISH)
				bob.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
				if string(p.Payload) == fmt.Sprint(kept[0]) {
					break
				}
				if policy != "drop" || extra > late {
					t.Fatalf("got %s, want %d", p.Payload, kept[0])
				}
			}
			for _, i := range kept[1:] {
				bob.gets("t/x", fmt.Sprint(i))
			}
		})
	}
}

func TestThereIsABoundToWhatIsRetained(t *testing.T) {
	n := start(t, grant("t/#", "all", "pub"), func(c *broker.Config) { c.Limits.Retained = 2 })
	c := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	for _, tt := range []struct {
		topic, payload string
		refused        bool
	}{
		{"t/1", "a", false}, {"t/2", "a", false}, {"t/3", "a", true}, {"t/2", "b", false}, {"t/1", "", false}, {"t/3", "a", false},
	} {
		c.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 3, Retain: true, Topic: tt.topic, Payload: []byte(tt.payload)})
		if ack := c.read(wire.PUBACK); (ack.Reason == 0x97) != tt.refused {
			t.Errorf("retain %q on %s: %#x, want refused: %v", tt.payload, tt.topic, ack.Reason, tt.refused)
		}
	}
}

func TestWhoDoesNotTakeWhatWaitsIsDisconnected(t *testing.T) {
	n := start(t, grant("t/#", "all", "pub", "sub"), func(c *broker.Config) { c.Sessions.VolatileCount = 100 })
	slow := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	slow.subscribe(wire.Filter{Topic: "t/#", Options: 1})
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	for range 300 { // of which 64 are in flight, some are on the way, and nothing is acknowledged
		alice.publish("t/x", "x")
	}
	if reason, _ := slow.ended(); reason != 0x97 {
		t.Errorf("DISCONNECT %#x, want 0x97", reason)
	}
}

func TestTheConnectionsOfAnAccountAreBounded(t *testing.T) {
	n := start(t, func(c *broker.Config) { c.Limits.AccountConnections = 1 })
	connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "one", Clean: true})
	connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "one", Clean: true})
	for version, want := range map[byte]byte{wire.V5: 0x97, wire.V311: 3} {
		_, ack, err := wire.Open(n.MQTT(), version, wire.Connect{User: "alice", Password: brokertest.Password, ClientID: "two", Clean: true})
		if err != nil || ack.Reason != want {
			t.Errorf("second connection: %v, CONNACK %#x, want %#x", err, ack.Reason, want)
		}
	}
	connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "one", Clean: true}) // takes over
}

func TestWhatIsNotGrantedAnyMoreIsNotDelivered(t *testing.T) {
	t.Parallel()
	granted := true
	n := start(t, grant("t/#", "alice", "pub", "sub"), func(c *broker.Config) {
		if granted {
			grant("t/#", "bob", "sub")(c)
		}
	})
	keep := wire.Connect{User: "bob", ClientID: "b"}
	bob := connect(t, n, wire.V311, keep)
	bob.subscribe(wire.Filter{Topic: "t/#", Options: 1})
	granted = false
	n.Restart()
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	if ack := alice.publish("t/x", "secret"); ack.Reason != 0x10 {
		t.Errorf("PUBACK %#x, want that nobody subscribes", ack.Reason)
	}
	bob = connect(t, n, wire.V311, keep)
	bob.send(wire.Packet{Type: wire.PINGREQ})
	if p, err := bob.Read(time.Now().Add(brokertest.Deadline)); err != nil || p.Type != wire.PINGRESP {
		t.Errorf("got %v, %v, want nothing but PINGRESP", p, err)
	}
}
