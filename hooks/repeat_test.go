package hooks_test

import (
	"encoding/json"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// A command that waited on a connection which had no room for it is sent for the first time on the next one, and one that was
// written comes again.
func TestDupIsWhatADeviceMayHaveSeen(t *testing.T) {
	n := startDevices(t)
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if reason, user := app.acked("dev/lamp/call", `{"name":"`+name+`","ttl":600}`); reason != 0 {
			t.Fatalf("%s: %#x, %v", name, reason, user)
		}
	}
	seen := map[string]bool{}
	next := func(lamp *client) wire.Packet {
		t.Helper()
		p := lamp.read(wire.PUBLISH)
		var command struct {
			Name string `json:"name"`
			Dup  bool   `json:"dup"`
		}
		if err := json.Unmarshal(p.Payload, &command); err != nil {
			t.Fatal(err)
		}
		if again := seen[command.Name]; p.Dup != again || command.Dup != again {
			t.Errorf("%s: dup %v, %v in the payload; want %v", command.Name, p.Dup, command.Dup, again)
		}
		seen[command.Name] = true
		return p
	}
	open := func() *client {
		lamp := n.lamp(t, wire.V5, "l", wire.Num(wire.ReceiveMaximum, 1))
		lamp.subscribe(wire.Filter{Topic: "dev/me/cmd/+", Options: 1})
		return lamp
	}
	for range 3 { // it takes one of them, and does not acknowledge it
		lamp := open()
		next(lamp)
		lamp.Close()
	}
	lamp := open()
	for range 5 {
		lamp.send(wire.Packet{Type: wire.PUBACK, ID: next(lamp).ID})
	}
	if len(seen) != 5 {
		t.Errorf("it was told %v", seen)
	}
}
