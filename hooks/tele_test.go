package hooks_test

import (
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// The payloads are those of ThingsBoard's documentation.
func TestADeviceMadeForThingsBoardMeasures(t *testing.T) {
	n := startDevices(t)
	lamp := n.lamp(t, wire.V311, "l")
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	measure := func(payload string) {
		t.Helper()
		lamp.send(wire.Packet{
			Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "v1/devices/me/telemetry", Payload: []byte(payload),
		})
		lamp.read(wire.PUBACK)
	}
	measure(`{"temperature":42}`)
	app.subscribe(wire.Filter{Topic: "dev/+/tele/last", Options: 1})
	app.toldOf(`dev/lamp/tele/last "v":42}`)
	measure(`{"ts":1451649600512,"values":{"key1":"value1","key2":"value2"}}`) // it is too old, and there is nothing to tell
	measure(`[{"key1":"value1"},{"key2":true}]`)
	app.toldOf(`dev/lamp/tele/last "v":"value1"}`)
	if _, err := n.Things().Remove(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(brokertest.Deadline); ; {
		last, err := n.Telemeter().Last(t.Context(), "lamp")
		if err == nil && len(last) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("of a device that is gone there is %+v, %v", last, err)
		}
	}
}
