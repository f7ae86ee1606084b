package hooks

import (
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// limitsPlugin reads a connection more slowly when it publishes or subscribes too fast. Nothing is refused, and the pauses are short
// against the keep-alive, whose deadline mochi moves on before each packet.
type limitsPlugin struct{ mqtt.HookBase }

func (*limitsPlugin) ID() string { return "limits" }

func (*limitsPlugin) Provides(b byte) bool { return b == mqtt.OnPacketRead }

func (*limitsPlugin) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c := of(cl)
	switch pk.FixedHeader.Type {
	case packets.Publish, packets.Subscribe, packets.Unsubscribe:
	default:
		return pk, nil
	}
	if c.limiter == nil {
		return pk, nil
	}
	pause := c.limiter.Reserve().Delay()
	if keepalive := time.Duration(cl.State.Keepalive) * time.Second; keepalive > 0 {
		pause = min(pause, keepalive/4)
	}
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
		}
	}
	return pk, nil
}
