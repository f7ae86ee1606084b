package hooks_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestAttributesOfThingsBoardAreTheShadow(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V311, "l")
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/lamp/shadow"})
	if codes := lamp.subscribe(
		wire.Filter{Topic: "v1/devices/me/attributes", Options: 1}, wire.Filter{Topic: "v1/devices/me/attributes/response/+", Options: 1},
		wire.Filter{Topic: "v1/devices/lamp/attributes"},
	); !slices.Equal(codes, []byte{1, 1, 0x80}) {
		t.Errorf("SUBACK %#x", codes)
	}
	say := func(topic, payload string) {
		lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 9, QoS: 1, Topic: topic, Payload: []byte(payload)})
	}
	say("v1/devices/me/attributes", `{"attribute1":"value1","attribute2":true}`)
	app.toldOf(`dev/lamp/shadow "reported":{"attribute1":"value1","attribute2":true}`)
	if _, user := app.acked("dev/lamp/set", `{"shared1":5}`); !slices.Contains(user, "{version 2}") {
		t.Errorf("set: %v", user)
	}
	lamp.toldOf(`v1/devices/me/attributes {"shared1":5}`)
	say("v1/devices/me/attributes/request/1", `{"clientKeys":"attribute1,attribute2", "sharedKeys":"shared1,shared2"}`)
	lamp.toldOf(`v1/devices/me/attributes/response/1 {"client":{"attribute1":"value1","attribute2":true},"shared":{"shared1":5}}`)
	app.acked("dev/lamp/set", `{"shared1":null}`)
	lamp.toldOf(`v1/devices/me/attributes {"deleted":["shared1"]}`)
	app.acked("dev/lamp/set", `{"net":{"ssid":"x","dhcp":true}}`)
	lamp.toldOf(`v1/devices/me/attributes {"net":{"dhcp":true,"ssid":"x"}}`)
	app.acked("dev/lamp/set", `{"net":{"ssid":"y"}}`)
	lamp.toldOf(`v1/devices/me/attributes {"net":{"dhcp":true,"ssid":"y"}}`) // a part of an attribute is none
	app.acked("dev/lamp/set", `{"desired":null}`)
	lamp.toldOf(`v1/devices/me/attributes {"deleted":["net"]}`)

	// To people the topics are free ones, of which they have none, and nobody says something in the server's name.
	if codes := app.subscribe(wire.Filter{Topic: "v1/devices/me/attributes"}, wire.Filter{Topic: "$own/lamp/v1/devices/me/attributes"}); !slices.Equal(codes, []byte{0x87, 0x87}) {
		t.Errorf("SUBACK of a user %#x", codes)
	}
	for _, topic := range []string{"$own/lamp/v1/devices/me/attributes", "v1/devices/me/attributes", "v1/devices/me/claim"} {
		if reason, _ := app.acked(topic, `{}`); reason != 0x87 {
			t.Errorf("a user publishes to %s: %#x", topic, reason)
		}
	}
}

func TestACommandIsGivenAsAnRPC(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V311, "l")
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/lamp/status/+", Options: 1})
	lamp.subscribe(wire.Filter{Topic: "v1/devices/me/rpc/request/+", Options: 1}, wire.Filter{Topic: "v1/devices/me/rpc/response/+"})
	app.send(wire.Packet{Type: wire.PUBLISH, ID: 7, QoS: 1, Topic: "dev/lamp/call", Payload: []byte(`{"name":"setGpio","args":{"pin":1}}`)})
	p := lamp.read(wire.PUBLISH)
	if p.Topic != "v1/devices/me/rpc/request/1" || string(p.Payload) != `{"method":"setGpio","params":{"pin":1}}` || p.QoS != 1 {
		t.Fatalf("%s %s", p.Topic, p.Payload)
	}
	lamp.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
	lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 3, QoS: 1, Topic: "v1/devices/me/rpc/response/1", Payload: []byte(`{"pin":1}`)})
	lamp.read(wire.PUBACK)
	if got, err := n.Devices().Commands(t.Context(), "alice", "lamp", 0, 1); err != nil || got[0].State != devices.CommandSucceeded ||
		string(got[0].Outcome.Result) != `{"pin":1}` {
		t.Errorf("%+v, %v", got, err)
	}
	v5 := n.lamp(t, wire.V5, "m")
	for _, id := range []string{"2", "0", "18446744073709551615"} {
		if _, user := v5.acked("v1/devices/me/rpc/response/"+id, `{}`); !slices.Contains(user, "{err no_device}") {
			t.Errorf("an answer to %s: %v", id, user)
		}
	}
	lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 4, QoS: 1, Topic: "v1/devices/me/rpc/request/5", Payload: []byte(`{"method":"getTerminals","params":{}}`)})
	lamp.toldOf(`v1/devices/me/rpc/response/5 {"error":"method not supported"}`)
}

func TestADeviceSaysThatItMayBeClaimedOrIsReset(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V5, "l")
	claim := func() error {
		_, err := n.Claims().Claim(t.Context(), "carol", "lamp", "value", devices.ThingPatch{})
		return err
	}
	for _, topic := range []string{"dev/me/claim", "v1/devices/me/claim"} {
		if reason, user := lamp.acked(topic, `{"secretKey":"value","durationMs":60000}`); reason != 0 {
			t.Errorf("%s: %#x %v", topic, reason, user)
		}
	}
	if _, user := lamp.acked("dev/me/claim", `{}`); !slices.Contains(user, "{err bad}") {
		t.Errorf("without a key: %v", user)
	}
	if err := claim(); err == nil {
		t.Error("what is alice's was claimed")
	}
	before, err := n.Things().Get(t.Context(), "alice", "lamp")
	if err != nil {
		t.Fatal(err)
	}
	if reason, _ := lamp.acked("dev/me/reset", ``); reason != 0 {
		t.Errorf("reset: %#x", reason)
	}
	after, err := n.Things().Get(t.Context(), "alice", "lamp")
	if err != nil || after.Epoch != before.Epoch+1 || len(after.Grants) != 0 {
		t.Errorf("%+v, %v", after, err)
	}
	if _, err := n.Things().Release(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	if err := claim(); err != nil {
		t.Errorf("claim: %v", err)
	}
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	for _, topic := range []string{"dev/lamp/claim", "dev/lamp/reset"} {
		if _, user := app.acked(topic, `{"secretKey":"x"}`); !slices.Contains(user, "{err no_right}") {
			t.Errorf("%s by its owner: %v", topic, user)
		}
	}
}

func TestADeviceAsksForAnAccount(t *testing.T) {
	n := start(t)
	ask := func(c *client, topic, payload string) (answer map[string]string) {
		t.Helper()
		c.send(wire.Packet{Type: wire.PUBLISH, Topic: topic, Payload: []byte(payload)})
		p := c.read(wire.PUBLISH)
		if err := json.Unmarshal(p.Payload, &answer); err != nil || p.Topic != "/provision/response" {
			t.Fatalf("%s %s: %v", p.Topic, p.Payload, err)
		}
		return answer
	}
	open := func(version byte, user, id string) (*client, byte) {
		cl, ack, err := wire.Open(n.MQTT(), version, wire.Connect{User: user, ClientID: id})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cl.Close() })
		return &client{cl, t}, ack.Reason
	}
	if _, code := open(wire.V5, "provision", "p"); code != 0x86 {
		t.Errorf("where there is no batch: %#x", code)
	}
	b, secret, err := n.Factory().AddBatch(t.Context(), devices.Batch{Type: "plug", Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	request := func(name, secret string) string {
		return fmt.Sprintf(`{"deviceName":%q,"provisionDeviceKey":%q,"provisionDeviceSecret":%q}`, name, b.Key, secret)
	}
	applicant := func() *client {
		c, code := open(wire.V5, "provision", "p")
		if code != 0 {
			t.Fatalf("CONNACK %#x", code)
		}
		if codes := c.subscribe(wire.Filter{Topic: "/provision/response", Options: 1}, wire.Filter{Topic: "#"},
			wire.Filter{Topic: "dev/#"}, wire.Filter{Topic: "im/u/me/in"}); !slices.Equal(codes, []byte{1, 0x87, 0x87, 0x87}) {
			t.Errorf("SUBACK %#x", codes)
		}
		return c
	}
	c, other := applicant(), applicant() // with the same client id
	if got := ask(c, "/provision/request", request("DEVICE_NAME", "no")); got["status"] != "NOT_FOUND" {
		t.Errorf("with a wrong secret: %v", got)
	}
	got := ask(c, "/provision/request", request("DEVICE_NAME", secret))
	if got["status"] != "SUCCESS" || got["credentialsType"] != "ACCESS_TOKEN" || !accounts.IsDeviceSecret(got["credentialsValue"]) {
		t.Fatalf("%v", got)
	}
	if again := ask(other, "/provision", request("other", secret)); again["status"] != "SUCCESS" {
		t.Errorf("another one: %v", again) // and not the answer to the first
	}
	if got := ask(c, "/provision/request", request("third", secret)); got["status"] != "FAILURE" {
		t.Errorf("one too many: %v", got)
	}
	for _, topic := range []string{"dev/device_name/state", "dev/me/state", "v1/devices/me/telemetry", "x", "im/to/alice/send", "$aws/things/other/shadow/get"} {
		if reason, _ := c.acked(topic, `{}`); reason != 0x87 {
			t.Errorf("an applicant publishes to %s: %#x", topic, reason)
		}
	}
	device, _ := open(wire.V311, got["credentialsValue"], "d")
	device.send(wire.Packet{Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "v1/devices/me/telemetry", Payload: []byte(`{"t":1}`)})
	device.read(wire.PUBACK)
	if v, err := n.Things().Get(t.Context(), "device_name", "device_name"); err != nil || v.Type != "plug" || v.Title != "DEVICE_NAME" || v.Owner != "" {
		t.Errorf("%+v, %v", v, err)
	}
	if got := ask(c, "/provision/request", request("DEVICE_NAME", secret)); got["status"] != "FAILURE" || !strings.Contains(got["errorMsg"], "name") {
		t.Errorf("when it has been there: %v", got)
	}
}

func TestStrangersWhoAskForAccountsAreFew(t *testing.T) {
	n := start(t)
	if _, _, err := n.Factory().AddBatch(t.Context(), devices.Batch{}); err != nil {
		t.Fatal(err)
	}
	connect := func(user, password string) (*wire.Client, byte) {
		cl, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: user, Password: password, ClientID: user})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cl.Close() })
		return cl, ack.Reason
	}
	var last *wire.Client
	for i := range 200 {
		cl, code := connect("provision", "")
		if code != 0 {
			t.Fatalf("number %d: CONNACK %#x", i, code)
		}
		last = cl
	}
	if _, code := connect("provision", ""); code != 0x97 {
		t.Errorf("one too many: CONNACK %#x", code)
	}
	if _, code := connect("alice", brokertest.Password); code != 0 {
		t.Errorf("who has an account: CONNACK %#x", code)
	}
	_ = last.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, code := connect("provision", ""); code == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody may come in the place of one who has gone")
		}
	}
}
