package conformance

import (
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

func TestADisconnectOfTheServerSaysWhyAndIsTheLastPacket(t *testing.T) {
	n := start(t)
	tests := map[string]struct {
		bytes  []byte
		reason byte
	}{
		"malformed":             {packet(0x36, text("t/a"), number(1), "\x00"), 0x81},
		"a second CONNECT":      {connect("MQTT", wire.V5, cleanFlag, text("x")), 0x82},
		"a topic alias of 0":    {packet(0x30, text("t/a"), "\x03\x23\x00\x00"), 0x94},
		"a packet too large":    {[]byte("\x30\xff\xff\xff\x7f"), 0x95},
		"SUBSCRIBE with no one": {packet(0x82, number(1), "\x00"), 0x82},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			shows(t, wire.V5, "3.14.2-1", "3.14.2-2", "3.14.4-1", "3.14.4-2", "4.13.1-1", "4.13.2-1")
			p := n.connect(t, wire.V5, keep)
			p.listen(1, "t/#")
			p.raw(tt.bytes)
			p.told(tt.reason)
		})
	}
}

func TestWhatComesAfterADisconnectIsNotLookedAt(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.14.4-2", "3.14.4-1"}, func(t *testing.T, version byte) {
		watcher := n.connect(t, version)
		watcher.listen(1, "t/#")
		p := n.connect(t, version)
		p.send(wire.Packet{Type: wire.DISCONNECT}, publish("t/a", "late", 1, 1))
		if last := p.gone(); last.Type != 0 {
			t.Errorf("got %+v", last)
		}
		watcher.only(n.connect(t, version), "t/end")
	})
}

func TestTheServerSaysNothingToADisconnect(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.14.4-1", "3.14.4-2"}, func(t *testing.T, version byte) {
		p := n.connect(t, version)
		p.send(wire.Packet{Type: wire.DISCONNECT})
		if last := p.gone(); last.Type != 0 {
			t.Errorf("the answer is %+v", last)
		}
	})
}

func TestASessionExpiryMayNotBeginWithDisconnect(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "4.13.1-1", "3.1.2-23")
	for name, change := range map[string]with{"none": func(*wire.Packet) {}, "0": props(wire.Num(wire.SessionExpiry,
		0))} {
		p := n.connect(t, wire.V5, id("expiry "+name), change)
		p.send(wire.Packet{Type: wire.DISCONNECT, Props: wire.Properties{wire.Num(wire.SessionExpiry, 60)}})
		p.told(0x82)
		if again := n.connect(t, wire.V5, id("expiry "+name), keep); again.ack.Present {
			t.Errorf("%s: the session was kept", name)
		}
	}
}
