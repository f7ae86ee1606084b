package hooks_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/records"
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

// once publishes with QoS 2 under an id, and reads the PUBREC.
func (c *client) once(id uint16, topic, payload string, dup bool) {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.PUBLISH, ID: id, QoS: 2, Dup: dup, Topic: topic, Payload: []byte(payload)})
	if p := c.read(wire.PUBREC); p.ID != id || p.Reason >= 0x80 {
		c.t.Errorf("PUBREC %+v", p)
	}
}

// release ends that.
func (c *client) release(id uint16) {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.PUBREL, ID: id})
	if p := c.read(wire.PUBCOMP); p.ID != id {
		c.t.Errorf("PUBCOMP %+v", p)
	}
}

func TestWhatADeviceSaysWithQoS2IsOnceOverARestart(t *testing.T) {
	t.Parallel()
	for _, version := range []byte{wire.V311, wire.V5} {
		n := startDevices(t)
		var lamp, app *client
		open := func() {
			c := wire.Connect{User: "dev:lamp", Password: n.secret, ClientID: "l"}
			lamp = connect(t, n.Node, version, c, keep(version)...)
			app = connect(t, n.Node, version, wire.Connect{User: "alice", ClientID: "a"}, keep(version)...)
		}
		counts := func(events, commands int, epoch uint64) {
			t.Helper()
			e, err := n.Devices().Events(t.Context(), "alice", "lamp", 0, 100)
			c, failed := n.Devices().Commands(t.Context(), "alice", "lamp", 0, 100)
			thing, unknown := n.Things().Known(t.Context(), "lamp")
			if err != nil || failed != nil || unknown != nil || len(e) != events || len(c) != commands || thing.Epoch != epoch {
				t.Errorf("%d events, %d commands, epoch %d, %v %v %v; want %d, %d, %d",
					len(e), len(c), thing.Epoch, err, failed, unknown, events, commands, epoch)
			}
		}
		open()
		lamp.once(1, "dev/me/reset", `{}`, false)
		lamp.once(2, "dev/me/event", `{"type":"door"}`, false)
		app.once(1, "dev/lamp/call", `{"name":"on","ttl":600}`, false)
		counts(1, 1, 1)
		n.Restart()
		open()
		lamp.once(1, "dev/me/reset", `{}`, true) // its PUBREC did not come, as far as we know
		lamp.once(2, "dev/me/event", `{"type":"door"}`, true)
		app.once(1, "dev/lamp/call", `{"name":"on","ttl":600}`, true)
		counts(1, 1, 1)
		n.Restart()
		open()
		for _, id := range []uint16{1, 2} {
			lamp.release(id)
		}
		app.release(1)
		// The same once more is something else, also if it was lost on its way the first time.
		app.once(1, "dev/lamp/call", `{"name":"on","ttl":600}`, true)
		lamp.once(2, "dev/me/event", `{"type":"door"}`, true)
		counts(2, 2, 1)
		lamp.release(2)
		lamp.once(2, "dev/me/event", `{"type":"door"}`, false)
		lamp.once(1, "dev/me/reset", `{}`, true)
		counts(0, 0, 2)
		n.Restart()
		open()
		lamp.once(2, "dev/me/event", `{"type":"window"}`, true) // another one
		counts(1, 0, 2)
	}
}

// undone has the server have died after what was sent with QoS 2 was done, and before that was noted.
func (h *home) undone(t *testing.T) {
	t.Helper()
	h.RestartLate(func() {
		all, err := h.Records().All(t.Context(), "receipt", records.Key{}, 10)
		if err != nil || len(all) != 1 {
			t.Fatalf("receipts %+v, %v", all, err)
		}
		r := all[0]
		r.Rev, r.Body = r.Rev+1, []byte(strings.Replace(string(r.Body), `,"done":true`, "", 1))
		if err := h.Records().Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatADeviceMeasuresWithQoS2IsOnceThoughItIsDoneTwice(t *testing.T) {
	for _, topic := range []string{"dev/me/tele", "v1/devices/me/telemetry"} {
		n := startDevices(t)
		for _, dup := range []bool{false, true} {
			c := wire.Connect{User: "dev:lamp", Password: n.secret, ClientID: "l"}
			lamp := connect(t, n.Node, wire.V5, c, keep(wire.V5)...)
			lamp.once(1, topic, `{"t":21}`, dup)
			if !dup {
				n.undone(t)
			}
		}
		now := time.Now().UnixMilli()
		q := devices.TelemetryQuery{Keys: []string{"t"}, From: now - 3_600_000, To: now + 3_600_000, Limit: 10}
		if a, err := n.Telemeter().Query(t.Context(), "lamp", q); err != nil || len(a.Series) != 1 || len(a.Series[0].Points) != 1 {
			t.Errorf("%s: %+v, %v; want one point", topic, a, err)
		}
	}
}
