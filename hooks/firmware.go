package hooks

import (
	"context"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/jobs"
)

// parsePiece takes a topic apart on which a device asks for a piece of its firmware.
func (c *connection) parsePiece(topic string) (p dialects.Piece, ok bool) {
	if !c.device {
		return p, false
	}
	return dialects.ParsePiece(topic)
}

// piece gives a device that has no HTTP a part of the file of its job.
func (g *Gateway) piece(ctx context.Context, c *connection, asked dialects.Piece, p sessions.Publish) sessions.Outcome {
	give := func(ctx context.Context) sessions.Outcome {
		size, err := jobs.ParseChunkSize(p.Payload)
		var part []byte
		if err == nil {
			part, err = g.rooms.Jobs.Chunk(ctx, c.account, asked.Number, size)
		}
		if err == nil {
			g.rooms.Sessions.Route(sessions.Publish{
				Topic: ownTopic(c.account, asked.Topic()), Payload: part, ContentType: "application/octet-stream"})
			return g.done(c, p, deviceAck{})
		}
		if f, ok := faultOf(err); ok {
			g.rooms.Sessions.Route(sessions.Publish{
				Topic: ownTopic(c.account, dialects.FirmwareError), Payload: []byte(f.Text), ContentType: "text/plain"})
		}
		return g.refused(c, p, "", err)
	}
	if p.QoS == 2 {
		return give(ctx)
	}
	ctx = context.WithoutCancel(ctx)
	return g.later(c, "piece of firmware", func() sessions.Outcome { return give(ctx) })
}
