package hooks

import (
	"bytes"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/broker/transport"
)

// broke tells a client that it has sent what MQTT forbids. The packet did not get as far as mochi, which closes the
// connection without a word when it cannot read on.
func (g *Gateway) broke(c *connection, v *transport.Violation) {
	if c.client == nil || c.link == nil { // nothing but CONNECT has been read
		return
	}
	_, _ = g.violation(c.client, packets.Code{Code: v.Reason, Reason: v.Text})
}

// fitPlugin makes what mochi sends fit the client's maximum packet size, as far as that can be done by saying less.
type fitPlugin struct{ mqtt.HookBase }

func (*fitPlugin) ID() string { return "fit" }

func (*fitPlugin) Provides(b byte) bool { return b == mqtt.OnPacketEncode }

// OnPacketEncode leaves out what may be left out: user properties first, then the reason (MQTT 5, 3.2.2.3.9 and
// 3.14.2.2.3). mochi measures each of the two as if there were nothing else, and then sends nothing at all.
func (*fitPlugin) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	most := cl.Properties.Props.MaximumPacketSize
	if most == 0 || cl.Properties.ProtocolVersion < 5 {
		return pk
	}
	if len(pk.Properties.User) > 0 && sizeOf(pk) > most {
		pk.Properties.User = nil
	}
	if pk.Properties.ReasonString != "" && sizeOf(pk) > most {
		pk.Properties.ReasonString = ""
	}
	return pk
}

// sizeOf is how large a packet is at most, as mochi encodes it in MQTT 5. PUBLISH and the acks do not come here.
func sizeOf(pk packets.Packet) uint32 {
	const header = 1 + longestVariableByte
	var properties bytes.Buffer
	mods := pk.Mods
	mods.MaxSize = 0
	pk.Properties.Encode(pk.FixedHeader.Type, mods, &properties, 0)
	return uint32(header + 2 + len(pk.ReasonCodes) + properties.Len())
}
