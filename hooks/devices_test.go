package hooks_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

// home is a node with a lamp of alice's, which bob may see and turn on, and carol may not see.
type home struct {
	*brokertest.Node
	secret string
}

// lamp connects the lamp.
func (h *home) lamp(t *testing.T, version byte, id string, props ...wire.Property) *client {
	t.Helper()
	c := wire.Connect{User: "dev:lamp", Password: h.secret, ClientID: id, Clean: true}
	return connect(t, h.Node, version, c, props...)
}

func startDevices(t *testing.T, change ...func(*broker.Config)) *home {
	t.Helper()
	n := start(t, change...)
	h := &home{n, n.AddDevice("lamp", "alice")}
	grant := devices.Grant{To: "bob", Verbs: []devices.Verb{devices.VerbSee, "cmd:on"}}
	if _, err := n.Things().Grant(t.Context(), "alice", "lamp", grant); err != nil {
		t.Fatal(err)
	}
	return h
}

// toldOf reads what comes until it has seen as many PUBLISH as there are wants, acknowledges them, and checks their topics and what
// is in them. Acks are left out.
func (c *client) toldOf(wants ...string) {
	c.t.Helper()
	for _, want := range wants {
		topic, part, _ := strings.Cut(want, " ")
		p, err := c.Read(time.Now().Add(brokertest.Deadline))
		for err == nil && p.Type != wire.PUBLISH {
			p, err = c.Read(time.Now().Add(brokertest.Deadline))
		}
		if err != nil {
			c.t.Fatalf("%v, want %s", err, want)
		}
		if p.QoS == 1 {
			c.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
		}
		if p.Topic != topic || !strings.Contains(string(p.Payload), part) {
			c.t.Errorf("%s %s, want %s", p.Topic, p.Payload, want)
		}
	}
}

// acked publishes with QoS 1 and gives the reason, and the user properties of the ack. What comes before is dropped.
func (c *client) acked(topic, payload string) (reason byte, user []string) {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.PUBLISH, ID: 7, QoS: 1, Topic: topic, Payload: []byte(payload)})
	for {
		p, err := c.Read(time.Now().Add(brokertest.Deadline))
		switch {
		case err != nil:
			c.t.Fatalf("read: %v", err)
		case p.Type == wire.PUBACK:
			return p.Reason, users(p)
		}
	}
}

// users gives the user properties of a packet, as {name value}.
func users(p wire.Packet) (all []string) {
	for _, x := range p.Props {
		if x.ID == wire.UserProperty {
			all = append(all, fmt.Sprintf("{%s %s}", x.Name, x.Str))
		}
	}
	return all
}

func TestAShadowIsServed(t *testing.T) {
	n := startDevices(t)
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	lamp := n.lamp(t, wire.V311, "l")
	other := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	if _, user := app.acked("dev/lamp/set", `{"on":true}`); !slices.Contains(user, "{version 1}") {
		t.Errorf("set: %v", user)
	}
	if codes := app.subscribe(wire.Filter{Topic: "dev/+/shadow", Options: 1}); codes[0] != 1 {
		t.Errorf("SUBACK %v", codes)
	}
	app.toldOf(`dev/lamp/shadow "desired":{"on":true}`)
	if codes := other.subscribe(
		wire.Filter{Topic: "dev/lamp/shadow"}, wire.Filter{Topic: "dev/none/shadow"}, wire.Filter{Topic: "dev/+/shadow"},
		wire.Filter{Topic: "$share/g/dev/+/shadow"}, wire.Filter{Topic: "dev/alice/lamp/shadow"},
	); !slices.Equal(codes, []byte{0x87, 0x87, 0, 0x9E, 0x87}) {
		t.Errorf("SUBACK %#x", codes)
	}
	lamp.subscribe(wire.Filter{Topic: "dev/me/want", Options: 1})
	lamp.toldOf(`dev/me/want {"state":{"on":true},"version":1}`)
	lamp.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/state", Payload: []byte(`{"on":true,"lux":3}`)})
	app.toldOf(`dev/lamp/shadow "reported":{"lux":3,"on":true}`)
	late := connect(t, n.Node, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	late.subscribe(wire.Filter{Topic: "dev/#", Options: 1})
	late.toldOf(`dev/lamp/presence "state":"online"`, `dev/lamp/shadow "version":2`)
	for topic, want := range map[string]string{
		"dev/lamp/set":                            "no_device",
		"dev/lamp/state":                          "no_right",
		"dev/lamp/call":                           "no_device",
		"dev/lamp/cmd/c/ack":                      "no_right",
		"dev/lamp/want":                           "no_right",
		"dev/lamp/shadow":                         "no_right",
		"dev/lamp":                                "no_right",
		"$aws/things/lamp/shadow/update":          "no_device",
		"$aws/things/lamp/shadow/update/accepted": "no_right",
		"$aws/rules/x":                            "no_right",
	} {
		if _, user := other.acked(topic, `{"state":{"desired":{"on":false}},"name":"on"}`); !slices.Contains(user, "{err "+want+"}") {
			t.Errorf("%s: %v, want %s", topic, user, want)
		}
	}
	if _, user := app.acked("dev/lamp/set", `{"desired":{"on":false},"version":1}`); !slices.Contains(user, "{err version_conflict}") {
		t.Errorf("old version: %v", user)
	}
	if _, user := app.acked("dev/lamp/set", `{"desired":{"on":false},"version":2}`); !slices.Contains(user, "{version 3}") {
		t.Errorf("right version: %v", user)
	}
}

func TestAWSShadowTopicsAreServedLiterally(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V311, "l")
	const base = "$aws/things/lamp/shadow/"
	if codes := lamp.subscribe(
		wire.Filter{Topic: base + "update/accepted", Options: 1}, wire.Filter{Topic: base + "update/delta", Options: 1},
		wire.Filter{Topic: base + "update/documents"}, wire.Filter{Topic: base + "get/+"}, wire.Filter{Topic: base + "name/n/#"},
	); !slices.Equal(codes, []byte{1, 1, 0, 0, 0}) {
		t.Errorf("SUBACK %v", codes)
	}
	say := func(topic, payload string) {
		lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 9, QoS: 1, Topic: base + topic, Payload: []byte(payload)})
	}
	say("get", `{"clientToken":"t1"}`)
	lamp.toldOf(base + `get/rejected {"code":404,"message":"No shadow exists"`)
	say("update", `{"state":{"desired":{"on":true}},"clientToken":"t2"}`)
	lamp.toldOf(base+`update/accepted {"state":{"desired":{"on":true}}`, base+`update/delta {"state":{"on":true}`,
		base+`update/documents {"previous":`)
	say("name/n/update", `{"state":{"reported":{"x":1}}}`)
	lamp.toldOf(base+`name/n/update/accepted "version":1`, base+`name/n/update/documents {`)
	say("get", ``)
	lamp.toldOf(base + `get/accepted "delta":{"on":true}`)

	again := n.lamp(t, wire.V5, "m")
	again.subscribe(wire.Filter{Topic: base + "update/delta", Options: 1})
	again.toldOf(base + `update/delta {"state":{"on":true}`)
}

func TestACommandIsGivenToADevice(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := startDevices(t)
			app := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
			app.subscribe(wire.Filter{Topic: "dev/lamp/status/+", Options: 1})
			app.send(wire.Packet{Type: wire.PUBLISH, ID: 7, QoS: 1, Topic: "dev/lamp/call", Payload: []byte(`{"name":"on","mid":"m1"}`)})
			var cid string
			for cid == "" {
				p, err := app.Read(time.Now().Add(brokertest.Deadline))
				if err != nil {
					t.Fatal(err)
				}
				if p.Type != wire.PUBLISH {
					continue
				}
				app.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
				var said struct{ CID, S string }
				if err := json.Unmarshal(p.Payload, &said); err != nil || said.S != "queued" {
					t.Fatalf("%s %v", p.Payload, err)
				}
				cid = said.CID
			}
			lamp := n.lamp(t, version, "l")
			lamp.subscribe(wire.Filter{Topic: "dev/me/cmd/+", Options: 1})
			status := "dev/lamp/status/" + cid
			p := lamp.read(wire.PUBLISH)
			if p.Topic != "dev/me/cmd/"+cid || p.QoS != 1 || p.Dup || !strings.Contains(string(p.Payload), `"by":"bob"`) {
				t.Fatalf("%+v %s", p, p.Payload)
			}
			app.toldOf(status + ` "s":"sent"`)
			_ = lamp.Close() // without an ack
			lamp = n.lamp(t, version, "l")
			lamp.subscribe(wire.Filter{Topic: "dev/lamp/#", Options: 1})
			p = lamp.read(wire.PUBLISH)
			for p.Topic != "dev/lamp/cmd/"+cid {
				p = lamp.read(wire.PUBLISH)
			}
			if !p.Dup || !strings.Contains(string(p.Payload), `"dup":true`) {
				t.Errorf("again: %+v %s", p, p.Payload)
			}
			lamp.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
			app.toldOf(status + ` "s":"delivered"`)
			lamp.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/cmd/" + cid + "/ack", Payload: []byte(`{"s":"succeeded","result":[1]}`)})
			app.toldOf(status + ` "s":"succeeded"`)
			app.send(wire.Packet{Type: wire.PUBLISH, ID: 8, QoS: 1, Topic: "dev/lamp/call", Payload: []byte(`{"name":"on","mid":"m1"}`)})
			ack := app.read(wire.PUBACK)
			if got := fmt.Sprint(users(ack)); !strings.Contains(got, "{cid "+cid+"} {s succeeded} {dup 1}") {
				t.Errorf("the same call: %s", got)
			}
			app.send(wire.Packet{Type: wire.PUBLISH, ID: 9, QoS: 1, Retain: true, Topic: "dev/lamp/call", Payload: []byte(`{"name":"on"}`)})
			if ack := app.read(wire.PUBACK); ack.Reason != 0x99 {
				t.Errorf("a retained call: %#x", ack.Reason)
			}
		})
	}
}

func TestAnEventIsKeptForWhoIsAway(t *testing.T) {
	n := startDevices(t)
	app := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "a"})
	app.subscribe(wire.Filter{Topic: "dev/+/event/out", Options: 1})
	_ = app.Close()
	lamp := n.lamp(t, wire.V5, "l")
	for range 2 {
		if reason, user := lamp.acked("dev/me/event", `{"id":"e1","type":"smoke","sev":"crit","msg":"!"}`); reason != 0 ||
			!slices.Contains(user, "{id e1}") {
			t.Errorf("event: %#x %v", reason, user)
		}
	}
	app = connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "a"})
	app.toldOf(`dev/lamp/event/out "alarm":{"state":"active"`)
	if _, err := n.Devices().AckAlarm(t.Context(), "alice", accounts.Name("lamp"), "smoke"); err != nil {
		t.Fatal(err)
	}
	app.toldOf(`dev/lamp/event/out {"t":"alarm","did":"lamp"`)
}

// presence reads what is told of the lamp's presence until it is in a state, and gives the reason.
func (c *client) presence(state string) (reason string) {
	c.t.Helper()
	for {
		topic, fields := c.event()
		if topic != "dev/lamp/presence" {
			c.t.Errorf("told on %s", topic)
		}
		if fields["state"] == state {
			return fmt.Sprint(fields["reason"])
		}
	}
}

func TestItIsToldWhetherADeviceIsThere(t *testing.T) {
	t.Parallel()
	n := startDevices(t, func(c *broker.Config) { c.Devices.Grace = broker.Duration(20 * time.Millisecond) })
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/+/presence", Options: 1})
	ends := map[string]func(c *client){
		"disconnect": func(c *client) { c.send(wire.Packet{Type: wire.DISCONNECT}) },
		"will":       func(c *client) { c.send(wire.Packet{Type: wire.DISCONNECT, Reason: 4}) },
		"error":      func(c *client) { _ = c.Close() },
		"keepalive":  func(*client) {},
	}
	for want, end := range ends {
		keepAlive := uint16(0)
		if want == "keepalive" {
			keepAlive = 1
		}
		lamp := connect(t, n.Node, wire.V5, wire.Connect{
			User: "dev:lamp", Password: n.secret, ClientID: "l", Clean: true, KeepAlive: keepAlive})
		if reason := app.presence("online"); reason != "connect" {
			t.Errorf("%s: online for %s", want, reason)
		}
		end(lamp)
		if reason := app.presence("offline"); reason != want {
			t.Errorf("offline for %s, want %s", reason, want)
		}
	}
}

func TestADeviceIsUnknownAfterARestart(t *testing.T) {
	t.Parallel()
	n := startDevices(t, func(c *broker.Config) { c.Devices.Return = broker.Duration(time.Second) })
	lamp := n.lamp(t, wire.V311, "l")
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/lamp/presence", Options: 1})
	app.presence("online")
	lamp.subscribe(wire.Filter{Topic: "dev/me/want"})
	n.Restart()
	app = connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/lamp/presence", Options: 1})
	if reason := app.presence("unknown"); reason != "server_restart" {
		t.Errorf("unknown for %s", reason)
	}
	if reason := app.presence("offline"); reason != "server_restart" {
		t.Errorf("offline for %s", reason)
	}
}

func TestADeviceIsToldWhatBecameOfWhatItSays(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V311, "l")
	if codes := lamp.subscribe(
		wire.Filter{Topic: "dev/me/rsp", Options: 1}, wire.Filter{Topic: "im/u/me/rsp"}, wire.Filter{Topic: "im/u/lamp/in"},
	); !slices.Equal(codes, []byte{1, 0x80, 0x80}) {
		t.Errorf("SUBACK %#x", codes)
	}
	lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 5, QoS: 1, Topic: "dev/me/state", Payload: []byte(`{"a":[null]}`)})
	lamp.toldOf(`dev/me/rsp "err":"bad"`)
	lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 6, QoS: 2, Topic: "dev/lamp/state", Payload: []byte(`{"a":1}`)})
	lamp.toldOf(`dev/me/rsp {"t":"ack","pid":6,"ok":true,"did":"lamp","version":1}`)
	lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 7, QoS: 1, Topic: "dev/lamp/call", Payload: []byte(`{"name":"on"}`)})
	lamp.toldOf(`dev/me/rsp "err":"no_right"`)
}

func TestTheWillOfADeviceIsItsOwn(t *testing.T) {
	t.Parallel()
	n := startDevices(t)
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/lamp/shadow"})
	will := func(topic string) wire.Connect {
		return wire.Connect{User: "dev:lamp", Password: n.secret, ClientID: "l", Clean: true,
			Will: &wire.Will{Topic: topic, Payload: []byte(`{"power":"lost"}`)}}
	}
	if _, ack, err := wire.Open(n.MQTT(), wire.V5, will("dev/stove/state")); err != nil || ack.Reason != 0x87 {
		t.Errorf("a will on another one's topic: %v %#x", err, ack.Reason)
	}
	_ = connect(t, n.Node, wire.V5, will("dev/me/state")).Close()
	app.toldOf(`dev/lamp/shadow "reported":{"power":"lost"}`)
}

func TestWhatADeviceMeasuresIsTold(t *testing.T) {
	n := startDevices(t)
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/+/tele/last"})
	lamp := n.lamp(t, wire.V5, "l")
	if reason, user := lamp.acked("dev/me/tele", `{"t":21.5}`); reason != 0 {
		t.Errorf("telemetry: %#x %v", reason, user)
	}
	app.toldOf(`dev/lamp/tele/last 21.5`)
	if _, user := lamp.acked("dev/me/tele", `{"t":`); !slices.Contains(user, "{err bad}") {
		t.Errorf("no JSON: %v", user)
	}
	if _, user := app.acked("dev/lamp/tele", `{"t":1}`); !slices.Contains(user, "{err no_right}") {
		t.Errorf("of somebody else: %v", user)
	}
	late := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	late.subscribe(wire.Filter{Topic: "dev/lamp/tele/#"})
	late.toldOf(`dev/lamp/tele/last 21.5`)
}

// A suspended account takes its devices with it, and what it has granted.
func TestTheDevicesOfADisabledAccountAreDisabled(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V5, "l")
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	if codes := bob.subscribe(wire.Filter{Topic: "dev/lamp/shadow", Options: 1}); codes[0] != 1 {
		t.Fatalf("SUBACK %v", codes)
	}
	if err := n.Disable(t, "alice"); err != nil {
		t.Fatal(err)
	}
	lamp.wantEnd(wire.V5, 0x87)
	dial := func() byte {
		c := wire.Connect{User: "dev:lamp", Password: n.secret, ClientID: "l", Clean: true}
		again, ack, err := wire.Open(n.MQTT(), wire.V5, c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = again.Close() })
		return ack.Reason
	}
	if code := dial(); code != 0x87 {
		t.Errorf("it comes back: %#x", code)
	}
	if _, user := bob.acked("dev/lamp/call", `{"name":"on"}`); !slices.Contains(user, "{err no_device}") {
		t.Errorf("what alice has granted to bob: %v", user)
	}
	if status, answer := n.Admin(t, "user.enable", `{"name":"alice"}`); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	if code := dial(); code != 0 {
		t.Errorf("when she is let in again: %#x", code)
	}
	if _, user := bob.acked("dev/lamp/call", `{"name":"on"}`); !slices.Contains(user, "{s queued}") {
		t.Errorf("what alice has granted to bob, after that: %v", user)
	}
}
