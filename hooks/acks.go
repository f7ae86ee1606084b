package hooks

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// acksPlugin gives the acks of QoS 1 and 2 to the session.
type acksPlugin struct{ mqtt.HookBase }

func (*acksPlugin) ID() string { return "acks" }

func (*acksPlugin) Provides(b byte) bool { return b == mqtt.OnPacketRead }

func (*acksPlugin) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.PacketID == 0 { // our own noop, or a violation that mochi ignores as well
		return pk, nil
	}
	link := of(cl).link
	switch pk.FixedHeader.Type {
	case packets.Puback:
		link.Puback(pk.PacketID, pk.ReasonCode)
	case packets.Pubrec:
		link.Pubrec(pk.PacketID, pk.ReasonCode)
	case packets.Pubrel:
		link.Pubrel(pk.PacketID)
	case packets.Pubcomp:
		link.Pubcomp(pk.PacketID)
	default:
		return pk, nil
	}
	return noop, nil
}
