package hooks

import (
	"context"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/provisioning"
)

// certify answers what a device asks for that has shown its batch, as AWS IoT does.
func (g *Gateway) certify(ctx context.Context, c *connection, p sessions.Publish) sessions.Outcome {
	if !provisioning.IsRequest(p.Topic) || p.Retain {
		return g.refused(c, p, "", errNoTopic)
	}
	serve := func(ctx context.Context) sessions.Outcome {
		where, answer, err := g.rooms.Provisioning.Serve(ctx, c.batch, p.Topic, p.Payload)
		if err != nil {
			return g.undecided(c, err)
		}
		g.rooms.Sessions.Route(sessions.Publish{
			Topic: ownTopic(c.account, where), Payload: answer, ContentType: "application/json"})
		return g.done(c, p, deviceAck{})
	}
	if p.QoS == 2 {
		return serve(ctx)
	}
	ctx = context.WithoutCancel(ctx)
	return g.later(c, "provisioning", func() sessions.Outcome { return serve(ctx) })
}
