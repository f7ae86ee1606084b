package hooks_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestABridgeSpeaksForItsDevices(t *testing.T) {
	n := startDevices(t)
	secret := n.AddDevice("hub", "alice")
	n.AddDevice("other", "alice")
	kind, bridge := devices.TypeBridge, "hub"
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	if _, err := n.Things().Set(t.Context(), "alice", "hub", devices.ThingPatch{Type: &kind}); err != nil {
		t.Fatal(err)
	}
	hub := connect(t, n.Node, wire.V5, wire.Connect{User: "dev:hub", Password: secret, ClientID: "h", Clean: true})
	for _, topic := range []string{"dev/lamp/state", "dev/lamp/event", "dev/lamp/tele", "dev/other/state"} {
		if reason, _ := hub.acked(topic, `{"type":"x"}`); reason != 0x87 {
			t.Errorf("%s of what is not behind it: %#x", topic, reason)
		}
	}
	if answer := app.call("device.set", `{"did":"lamp","bridge":"other"}`); answer["err"] != "bad" {
		t.Errorf("behind what is no bridge: %v", answer)
	}
	if answer := app.call("device.set", `{"did":"lamp","bridge":"`+bridge+`"}`); answer["ok"] != true {
		t.Fatalf("behind a bridge: %v", answer)
	}
	app.subscribe(wire.Filter{Topic: "dev/lamp/shadow", Options: 1}, wire.Filter{Topic: "dev/lamp/event/out", Options: 1})
	for topic, payload := range map[string]string{"dev/lamp/state": `{"on":true}`, "dev/lamp/tele": `{"t":1}`} {
		if reason, user := hub.acked(topic, payload); reason != 0 {
			t.Errorf("%s: %#x %v", topic, reason, user)
		}
	}
	app.toldOf(`dev/lamp/shadow "reported":{"on":true}`)
	if reason, user := hub.acked("dev/lamp/event", `{"id":"e","type":"door"}`); reason != 0 || !slices.Contains(user, "{id e}") {
		t.Errorf("event: %#x %v", reason, user)
	}
	app.toldOf(`dev/lamp/event/out "id":"e"`)
	if reason, _ := hub.acked("dev/me/about", `{"lamp":false}`); reason != 0 {
		t.Errorf("about: %#x", reason)
	}
	app.subscribe(wire.Filter{Topic: "dev/lamp/presence", Options: 1})
	app.toldOf(`dev/lamp/presence "state":"offline"`)
	hub.acked("dev/me/about", `{"lamp":true}`)
	for !strings.Contains(string(app.read(wire.PUBLISH).Payload), `"state":"online"`) { // that it is not may be told once more
	}
	for payload, want := range map[string]byte{`{"lamp":true,"other":true}`: 0x90, `[]`: 0x99} {
		if reason, _ := hub.acked("dev/me/about", payload); reason != want {
			t.Errorf("about %s: %#x, want %#x", payload, reason, want)
		}
	}
	if reason, _ := hub.acked("dev/lamp/set", `{"on":false}`); reason == 0 {
		t.Error("a bridge says what its device should be")
	}
	app.acked("dev/lamp/set", `{"on":false}`)
	if codes := hub.subscribe(
		wire.Filter{Topic: "dev/+/want", Options: 1}, wire.Filter{Topic: "dev/+/cmd/+", Options: 1},
	); codes[1] != 1 {
		t.Fatalf("SUBACK %#x", codes)
	}
	hub.toldOf(`dev/lamp/want "on":false`)
	command, _, err := n.Devices().Call(t.Context(), "alice", "lamp", devices.Call{Name: "blink"})
	if err != nil {
		t.Fatal(err)
	}
	hub.toldOf("dev/lamp/cmd/" + command.ID + ` "name":"blink"`)
	reason, user := hub.acked("dev/lamp/cmd/"+command.ID+"/ack", `{"s":"succeeded"}`)
	if reason != 0 || !slices.Contains(user, "{s succeeded}") {
		t.Errorf("ack: %#x %v", reason, user)
	}
}

func TestWhatADeviceIsIsToldWhenAGrantBegins(t *testing.T) {
	n := startDevices(t)
	alice := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	alice.acked("dev/lamp/set", `{"on":true}`)
	carol := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	if codes := carol.subscribe(wire.Filter{Topic: "dev/+/shadow", Options: 1}); codes[0] != 1 {
		t.Fatalf("SUBACK %#x", codes)
	}
	if _, err := n.Things().Grant(t.Context(), "alice", "lamp", devices.Grant{
		To: "carol", Verbs: []devices.Verb{devices.VerbSee}, From: time.Now().Add(300 * time.Millisecond).UnixMilli(),
	}); err != nil {
		t.Fatal(err)
	}
	carol.toldOf(`dev/lamp/shadow "desired":{"on":true}`)
}

// What was said of a device, and what it has said, is for who owns it then.
func TestWhatWasBeforeIsNotForANewOwner(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V5, "l")
	alice := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	alice.acked("dev/lamp/set", `{"on":true}`)
	alice.acked("dev/lamp/call", `{"name":"blink","ttl":3600}`)
	lamp.acked("dev/me/state", `{"at":"home"}`)
	lamp.acked("dev/me/event", `{"id":"e","type":"hot","state":"active"}`)
	lamp.acked("dev/me/tele", `{"t":21}`)
	if _, err := n.Claims().Offer(t.Context(), "alice", "lamp", "carol"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Claims().Accept(t.Context(), "carol", "lamp", devices.ThingPatch{}); err != nil {
		t.Fatal(err)
	}
	carol := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	for method, empty := range map[string]string{
		"device.shadow": "reported", "device.events": "events", "device.alarms": "alarms", "device.commands": "commands",
		"device.tele.last": "values",
	} {
		answer := carol.call(method, `{"did":"lamp"}`)
		list, _ := answer[empty].([]any)
		values, _ := answer[empty].(map[string]any)
		if answer["ok"] != true || len(list)+len(values) > 0 {
			t.Errorf("%s: %v", method, answer)
		}
		if answer := alice.call(method, `{"did":"lamp"}`); answer["err"] != "no_device" {
			t.Errorf("%s by who had it: %v", method, answer)
		}
	}
	lamp.acked("dev/me/event", `{"id":"e","type":"hot","state":"active"}`) // the same name is another event
	if answer := carol.call("device.events", `{"did":"lamp"}`); len(answer["events"].([]any)) != 1 {
		t.Errorf("events of her own: %v", answer)
	}
}
