package hooks

import (
	"context"
	"errors"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// im/c/{c}/live is a conversation as a stream, for those who watch it. It is granted by its name only.

// liveTopic is where those who watch a conversation are told what happens there.
func liveTopic(c chat.Conversation) string { return "im/c/" + string(c) + "/live" }

// parseLive takes such a topic apart.
func parseLive(filter string) (c chat.Conversation, ok bool) {
	rest, ok := strings.CutPrefix(filter, "im/c/")
	if !ok {
		return "", false
	}
	name, ok := strings.CutSuffix(rest, "/live")
	return chat.Conversation(name), ok && name != "" && !strings.ContainsAny(name, "/+#")
}

// mayWatchLive is mayWatch for a conversation. Whether there is one is told to nobody else.
func (g *Gateway) mayWatchLive(ctx context.Context, who accounts.Name, c chat.Conversation) byte {
	switch err := g.rooms.Chat.MayWatchLive(ctx, who, c); {
	case err == nil:
		return 0
	case errors.Is(err, accounts.ErrUnavailable) || ctx.Err() != nil:
		return packets.ErrImplementationSpecificError.Code // nothing was decided
	}
	return packets.ErrNotAuthorized.Code
}

// locate tells where a member of a conversation is.
func (g *Gateway) locate(ctx context.Context, c *connection, cmd command, p sessions.Publish) sessions.Outcome {
	if err := g.rooms.Chat.Locate(ctx, c.account, cmd.target.Conversation, p.Payload); err != nil {
		return g.refused(c, p, "", err)
	}
	return g.accepted(c, p, nil, ackEvent{Conversation: cmd.target.Conversation})
}

// stage brings those who subscribe together with what they watch: it is the sessions.Audiences of conversations, and the
// chat.Announcer to them.
type stage struct{ chat *chat.Service }

// Has implements sessions.Audiences.
func (stage) Has(filter string) bool { _, ok := parseLive(filter); return ok }

// Join implements sessions.Audiences.
func (s stage) Join(topic string, seat *sessions.Seat, current bool) {
	if c, ok := parseLive(topic); ok {
		s.chat.WatchLive(c, seat, current)
	}
}

// Leave implements sessions.Audiences.
func (s stage) Leave(topic string, seat *sessions.Seat) {
	if c, ok := parseLive(topic); ok {
		s.chat.UnwatchLive(c, seat)
	}
}

// made is what was made of a line, for all viewers.
type made struct {
	json *sessions.Line
	text *sessions.Line // nil: there is none
}

var classes = [...]sessions.Class{
	chat.LineChat: sessions.LineChat, chat.LineGift: sessions.LineSure, chat.LineState: sessions.LineState}

func makeLine(l *chat.Line) made {
	p := sessions.Publish{
		Topic: liveTopic(l.Event.Conversation), Payload: l.Event.AppendJSON(nil), ContentType: "application/json"}
	if l.Class == chat.LineGift {
		p.QoS = 1
	}
	m := made{json: sessions.NewLine(p, classes[l.Class], l.Key)}
	if text, ok := l.Event.Text(); ok {
		p.Payload, p.ContentType = []byte(text), "text/plain"
		m.text = sessions.NewLine(p, classes[l.Class], l.Key)
	}
	return m
}

// Announce implements chat.Announcer.
func (s stage) Announce(to []chat.Viewer, lines []*chat.Line) {
	all, texts := make([]*sessions.Line, 0, len(lines)), make([]*sessions.Line, 0, len(lines))
	for _, l := range lines {
		m, ok := l.Made.(made)
		if !ok {
			m = makeLine(l)
			l.Made = m
		}
		all = append(all, m.json)
		if m.text != nil {
			texts = append(texts, m.text)
		}
	}
	for _, v := range to {
		seat := v.(*sessions.Seat)
		if seat.Options().Text {
			seat.Offer(texts...)
		} else {
			seat.Offer(all...)
		}
	}
}

var (
	_ chat.Announcer     = stage{}
	_ sessions.Audiences = stage{}
)
