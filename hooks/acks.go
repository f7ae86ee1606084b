package hooks

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/devices"
)

// acksPlugin gives the acks of QoS 1 and 2 to the session.
type acksPlugin struct {
	mqtt.HookBase
	g *Gateway
}

func (*acksPlugin) ID() string { return "acks" }

func (*acksPlugin) Provides(b byte) bool { return b == mqtt.OnPacketRead }

func (p *acksPlugin) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.PacketID == 0 { // our own noop, or a violation that mochi ignores as well
		return pk, nil
	}
	c := of(cl)
	link := c.link
	switch pk.FixedHeader.Type {
	case packets.Puback:
		link.Puback(pk.PacketID, pk.ReasonCode)
	case packets.Pubrec:
		link.Pubrec(pk.PacketID, pk.ReasonCode)
	case packets.Pubrel:
		// Its id is free with the PUBCOMP: then it is that of another one.
		sent := devices.Sending{Account: c.account, Client: c.id, ID: pk.PacketID}
		if err := p.g.rooms.Receipts.Over(c.ctx, sent); err != nil {
			disconnect(p.g.server, cl, packets.ErrServerBusy)
			return noop, packets.ErrRejectPacket
		}
		link.Pubrel(pk.PacketID)
	case packets.Pubcomp:
		link.Pubcomp(pk.PacketID)
	default:
		return pk, nil
	}
	return noop, nil
}
