package hooks

import (
	"context"
	"encoding/json"
	"runtime/debug"
	"strconv"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
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
	c.publishes++
	blank := c.conn.Blank(c.publishes)
	if code := pk.PublishValidate(g.cfg.TopicAliases); code != packets.CodeSuccess {
		return g.violation(cl, code)
	}
	if !validText(pk.TopicName) || strings.ContainsAny(pk.TopicName, "+#") { // MQTT 5, 3.3.2.1
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
	received := fromPacket(pk)
	received.ExpiresAtOnce, received.EmptyContentType = blank.Expiry, blank.ContentType
	received.Topic, received.ResponseTopic = c.canonical(received.Topic), c.canonical(received.ResponseTopic)
	if len(pk.Properties.ResponseTopic) > g.cfg.TopicSize {
		received.Topic = "" // nobody publishes there
	}
	return taken(c.link.Receive(c.ctx, received, handle))
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

		HasPayloadFormat: pk.Properties.PayloadFormatFlag,
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
	_, board := c.parseThingsBoard(p.Topic)
	asked, piece := c.parsePiece(p.Topic)
	switch {
	case c.applicant:
		return g.provision(ctx, c, p)
	case piece && c.link != nil:
		return g.piece(ctx, c, asked, p)
	case ofThings(p.Topic) || board:
		return g.device(ctx, c, p, origin)
	case ofPlaces(p.Topic):
		return g.place(ctx, c, p)
	case ok && c.device: // people write to each other
		return g.refused(c, p, "", errNoTopic)
	case !ok:
		return g.free(ctx, c, p, origin)
	case cmd.verb == verbSend:
		return g.send(ctx, c, cmd, p, origin)
	}
	if err := c.sends.Wait(); err != nil { // it comes after them
		return g.undecided(c, err)
	}
	switch cmd.verb {
	case verbRead, verbRecv:
		return g.mark(ctx, c, cmd, p, origin)
	case verbOp:
		return g.op(ctx, c, cmd, p, origin)
	case verbTyping:
		return g.typing(ctx, c, cmd, p)
	case verbLoc:
		return g.locate(ctx, c, cmd, p)
	case verbState:
		return g.state(c, cmd, p)
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
	outcome := func(sent chat.Sent, commit chat.Commit, err error) sessions.Outcome {
		if err != nil {
			return g.refused(c, p, content.MID, err)
		}
		return g.accepted(c, p, commit, ackEvent{
			MID: content.MID, Conversation: sent.Conversation, Seq: sent.Seq, ID: sent.ID, TS: sent.TS, Dup: sent.Dup,
		})
	}
	if p.QoS < 2 && origin == nil {
		if finish := g.rooms.Chat.Begin(ctx, c.account, cmd.target, content, &c.sends); finish != nil {
			return g.later(c, "message", func() sessions.Outcome { return outcome(finish()) })
		}
	}
	if err := c.sends.Wait(); err != nil {
		return g.undecided(c, err)
	}
	return outcome(g.rooms.Chat.Send(ctx, c.account, cmd.target, content, origin))
}

// op changes a message.
func (g *Gateway) op(ctx context.Context, c *connection, cmd command, p sessions.Publish, origin any) sessions.Outcome {
	request, err := chat.ParseOp(p.Payload)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	for _, u := range p.User {
		if u.Name == "mid" && request.MID == "" {
			request.MID = u.Value
		}
	}
	done, commit, err := g.rooms.Chat.Apply(ctx, c.account, cmd.target.Conversation, request, origin)
	if err != nil {
		return g.refused(c, p, request.MID, err)
	}
	return g.accepted(c, p, commit, ackEvent{
		MID: request.MID, Conversation: done.Conversation, Rev: &done.Rev, Seq: done.Seq, TS: done.TS, Dup: done.Dup,
	})
}

// mark moves a read or received mark. The payload is a decimal seq, or that and more as JSON.
func (g *Gateway) mark(ctx context.Context, c *connection, cmd command, p sessions.Publish, origin any) sessions.Outcome {
	said, err := parseMark(p.Payload)
	if err != nil {
		return g.refused(c, p, "", chat.ErrMalformed)
	}
	move := g.rooms.Chat.MarkRead
	switch {
	case cmd.verb == verbRecv:
		move = g.rooms.Chat.MarkReceived
	case said.Private:
		move = g.rooms.Chat.MarkReadPrivately
	}
	_, commit, err := move(ctx, c.account, cmd.target.Conversation, said.Seq, origin)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.accepted(c, p, commit, ackEvent{Conversation: cmd.target.Conversation})
}

// markPayload is {"seq":42,"private":true}.
type markPayload struct {
	Seq     uint64 `json:"seq"`
	Private bool   `json:"private"`
}

func parseMark(payload []byte) (m markPayload, err error) {
	if len(payload) > 0 && payload[0] == '{' {
		return m, json.Unmarshal(payload, &m)
	}
	m.Seq, err = strconv.ParseUint(string(payload), 10, 64)
	return m, err
}

// typing is told to the others, if they are connected right now, and never stored.
func (g *Gateway) typing(ctx context.Context, c *connection, cmd command, p sessions.Publish) sessions.Outcome {
	on := string(p.Payload) == "1"
	if !on && string(p.Payload) != "0" {
		return g.refused(c, p, "", chat.ErrMalformed)
	}
	if err := g.rooms.Chat.Typing(ctx, c.account, cmd.target.Conversation, on); err != nil {
		return g.refused(c, p, "", err)
	}
	return g.accepted(c, p, nil, ackEvent{Conversation: cmd.target.Conversation})
}

// publishWill is the sessions.WillHandler: it publishes a will with the rights of its account (MQTT 5, 3.1.2.5). Nobody is
// left to be told what became of it.
func (g *Gateway) publishWill(ctx context.Context, w sessions.Will, from sessions.Number, origin any) (out sessions.Outcome) {
	c := &connection{account: w.Key.Account, id: w.Key.Client, version: w.Version, will: &w, number: from, ctx: ctx}
	defer func() {
		if what := recover(); what != nil {
			g.panics.Inc()
			g.log.Error("panic", "where", "will", "account", c.account, "client", c.id, "panic", what,
				"stack", string(debug.Stack()))
			out = sessions.Outcome{}
		}
	}()
	status, device, err := g.rooms.Accounts.Standing(ctx, c.account)
	switch {
	case err != nil:
		return sessions.Outcome{Fatal: packets.ErrServerBusy.Code}
	case status != accounts.Active: // it was disabled, and its connection ended for that
		return sessions.Outcome{}
	}
	c.device = device
	if c.grants, c.home, err = g.grantsOf(ctx, c.account, device); err != nil {
		return sessions.Outcome{Fatal: packets.ErrServerBusy.Code}
	}
	return g.handle(ctx, c, w.Publish, origin)
}
