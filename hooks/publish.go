package hooks

import (
	"context"
	"strconv"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// publishPlugin turns a PUBLISH into a command and hands it over.
type publishPlugin struct {
	mqtt.HookBase
	g *Gateway
}

func (*publishPlugin) ID() string { return "publish" }

func (*publishPlugin) Provides(b byte) bool { return b == mqtt.OnPacketRead }

func (p *publishPlugin) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type != packets.Publish {
		return pk, nil
	}
	g, c := p.g, of(cl)
	if code := pk.PublishValidate(g.cfg.TopicAliases); code != packets.CodeSuccess {
		return g.violation(cl, code)
	}
	if c.link.Version() == 5 && pk.FixedHeader.Retain {
		return g.violation(cl, packets.ErrRetainNotSupported) // MQTT 5, 3.2.2.3.5
	}
	if !validText(pk.TopicName) {
		return g.violation(cl, packets.ErrTopicNameInvalid)
	}
	switch tooLong := len(pk.TopicName) > g.cfg.TopicSize; {
	case tooLong && pk.Properties.TopicAliasFlag: // later packets would go to what the alias stood for before
		return g.violation(cl, packets.ErrTopicNameInvalid)
	case tooLong:
		pk.TopicName = "" // nobody publishes there
	case pk.Properties.TopicAliasFlag:
		pk.TopicName = cl.State.TopicAliases.Inbound.Set(pk.Properties.TopicAlias, pk.TopicName)
		if pk.TopicName == "" { // an alias that was never set (MQTT 5, 3.3.2.3.4)
			return g.violation(cl, packets.ErrProtocolViolationNoTopic)
		}
	}
	handle := func(ctx context.Context, _ *sessions.Link, p sessions.Publish, origin any) sessions.Outcome {
		return g.handle(ctx, c, p, origin)
	}
	return taken(c.link.Receive(c.ctx, fromPacket(pk), handle))
}

// fromPacket translates mochi's PUBLISH into ours.
func fromPacket(pk packets.Packet) sessions.Publish {
	return sessions.Publish{
		Topic:         pk.TopicName,
		Payload:       pk.Payload,
		QoS:           pk.FixedHeader.Qos,
		Retain:        pk.FixedHeader.Retain,
		Dup:           pk.FixedHeader.Dup,
		ID:            pk.PacketID,
		ContentType:   pk.Properties.ContentType,
		ResponseTopic: pk.Properties.ResponseTopic,
		Correlation:   pk.Properties.CorrelationData,
		User:          fromUserProperties(pk.Properties.User),
		Expiry:        pk.Properties.MessageExpiryInterval,
		PayloadFormat: pk.Properties.PayloadFormat,
	}
}

func fromUserProperties(user []packets.UserProperty) []sessions.UserProperty {
	if len(user) == 0 {
		return nil
	}
	out := make([]sessions.UserProperty, len(user))
	for i, u := range user {
		out[i] = sessions.UserProperty{Name: u.Key, Value: u.Val}
	}
	return out
}

// handle decides about one PUBLISH of a connection.
func (g *Gateway) handle(ctx context.Context, c *connection, p sessions.Publish, origin any) sessions.Outcome {
	cmd, ok := parseCommand(p.Topic)
	if !ok {
		return g.refused(c, p, "", errNoTopic)
	}
	switch cmd.verb {
	case verbSend:
		return g.send(ctx, c, cmd, p, origin)
	case verbRead, verbRecv:
		return g.mark(ctx, c, cmd, p, origin)
	case verbTyping:
		return g.typing(ctx, c, cmd, p)
	default:
		return g.call(ctx, c, cmd.method, p, origin)
	}
}

func (g *Gateway) send(ctx context.Context, c *connection, cmd command, p sessions.Publish, origin any) sessions.Outcome {
	content, err := chat.ParseContent(p.Payload, p.ContentType)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	for _, u := range p.User {
		if u.Name == "mid" && content.MID == "" {
			content.MID = u.Value
		}
	}
	sent, commit, err := g.rooms.Chat.Send(ctx, c.account, cmd.target, content, origin)
	if err != nil {
		return g.refused(c, p, content.MID, err)
	}
	return g.accepted(c, p, commit, ackEvent{
		MID: content.MID, Conversation: sent.Conversation, Seq: sent.Seq, ID: sent.ID, TS: sent.TS, Dup: sent.Dup,
	})
}

// mark moves a read or received mark; the payload is a decimal seq.
func (g *Gateway) mark(ctx context.Context, c *connection, cmd command, p sessions.Publish, origin any) sessions.Outcome {
	seq, err := strconv.ParseUint(string(p.Payload), 10, 64)
	if err != nil {
		return g.refused(c, p, "", chat.ErrMalformed)
	}
	move := g.rooms.Chat.MarkRead
	if cmd.verb == verbRecv {
		move = g.rooms.Chat.MarkReceived
	}
	_, commit, err := move(ctx, c.account, cmd.target.Conversation, seq, origin)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.accepted(c, p, commit, ackEvent{Conversation: cmd.target.Conversation})
}

// typing goes to the others that are connected right now, and is never stored.
func (g *Gateway) typing(ctx context.Context, c *connection, cmd command, p sessions.Publish) sessions.Outcome {
	on := string(p.Payload) == "1"
	if !on && string(p.Payload) != "0" {
		return g.refused(c, p, "", chat.ErrMalformed)
	}
	to, event, err := g.rooms.Chat.Typing(ctx, c.account, cmd.target.Conversation, on)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	payload := event.AppendJSON(nil)
	for _, user := range to {
		g.rooms.Sessions.Route(sessions.Publish{
			Topic: ephTopic(user), Payload: payload, ContentType: "application/json"})
	}
	return g.accepted(c, p, nil, ackEvent{Conversation: cmd.target.Conversation})
}

// publishWill publishes the will of a connection that ended without a DISCONNECT, with the rights of its account
// (MQTT 5, 3.1.2.5). Nobody is left to be told what became of it.
func (g *Gateway) publishWill(c *connection) {
	ctx, cancel := context.WithTimeout(context.Background(), willTimeout)
	defer cancel()
	if active, err := g.rooms.Accounts.Active(ctx, c.account); err != nil || !active {
		return // it was disabled, and its connection ended for that
	}
	out := g.handle(ctx, c, *c.will, nil)
	if out.Commit == nil {
		return
	}
	if err := out.Commit.Wait(ctx); err != nil {
		g.log.Warn("will not stored", "account", c.account, "client", c.id, "err", err)
	}
}

// willTimeout bounds how long a will holds up the end of its connection, and so the next one of the session.
const willTimeout = 5 * time.Second
