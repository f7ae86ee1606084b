package things

import (
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// What a device says with QoS 2, and the server is killed after it was done and before the device knows, is done once.
func TestAnEventWithQoS2IsOnceThroughACrash(t *testing.T) {
	each(t, func(h *home, version byte) {
		var lamp *line
		says := func(dup bool) {
			h.t.Helper()
			lamp.send(wire.Packet{
				Type: wire.PUBLISH, ID: 9, QoS: 2, Dup: dup, Topic: "dev/me/event", Payload: []byte(`{"type":"door"}`)})
			lamp.answer(wire.PUBREC, 9)
		}
		crash := func() {
			h.Kill()
			h.Start()
			lamp = h.device(version, kept)
		}
		events := func(want int) {
			h.t.Helper()
			var out struct {
				Events []m `json:"events"`
			}
			h.Call("alice", "device.events", m{"did": h.lamp}, &out)
			if len(out.Events) != want {
				h.t.Errorf("%d events, want %d: %v", len(out.Events), want, out.Events)
			}
		}
		lamp = h.device(version, kept)
		says(false)
		crash()
		says(true) // it has not heard of the PUBREC
		events(1)
		crash()
		lamp.send(wire.Packet{Type: wire.PUBREL, ID: 9})
		lamp.answer(wire.PUBCOMP, 9)
		crash()
		says(true) // another one, that was lost on its way with the crash
		events(2)
	})
}
