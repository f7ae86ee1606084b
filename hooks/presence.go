package hooks

import (
	"context"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// What bob subscribes to as im/p/alice is im/p/alice/bob inside: a presence is told to each viewer by himself, because each
// may see another one, and none.

// presenceTopic is where a viewer is told of somebody.
func presenceTopic(who, viewer accounts.Name) string {
	return "im/p/" + string(who) + "/" + string(viewer)
}

// viewed gives the filter that the server knows for what self wrote; other filters than those of presence stay as they are.
func viewed(filter string, self accounts.Name) string {
	if strings.HasPrefix(filter, "im/p/") && !strings.Contains(filter, "#") { // with a # it is none, and stays so
		return filter + "/" + string(self)
	}
	return filter
}

// parseViewed takes a filter of presence apart, which viewed has seen: whom it is about, all contacts if that is empty, and
// who wants to know.
func parseViewed(filter string) (who, viewer accounts.Name, ok bool) {
	rest, ok := strings.CutPrefix(filter, "im/p/")
	if !ok {
		return "", "", false
	}
	first, second, _ := strings.Cut(rest, "/")
	viewer, err := accounts.ParseUser(second)
	if err != nil {
		return "", "", false
	}
	if first == "+" {
		return "", viewer, true
	}
	who, err = accounts.ParseUser(first)
	return who, viewer, err == nil
}

// mayWatch says whether the account may subscribe to a filter that has the form of one of its own: 0, or the reason code of
// the SUBACK. Contacts may be watched; a stranger cannot be told from an account that does not exist.
func (g *Gateway) mayWatch(ctx context.Context, self accounts.Name, filter string) byte {
	if conversation, ok := parseLive(filter); ok {
		return g.mayWatchLive(ctx, self, conversation)
	}
	if ofThings(filter) {
		return g.maySee(ctx, self, filter)
	}
	if ofPlaces(filter) { // whom he may know of is decided when there is something to tell
		return 0
	}
	who, viewer, ok := parseViewed(filter)
	if !ok || who == "" {
		return 0
	}
	may, err := g.rooms.Chat.MayWatch(ctx, viewer, who)
	switch {
	case err != nil:
		return packets.ErrImplementationSpecificError.Code // nothing was decided
	case !may:
		return packets.ErrNotAuthorized.Code
	}
	return 0
}

// state notes what the connection is used for.
func (g *Gateway) state(c *connection, cmd command, p sessions.Publish) sessions.Outcome {
	if cmd.target.User != c.account {
		return g.refused(c, p, "", errNoTopic)
	}
	state := chat.Activity(p.Payload)
	if err := g.rooms.Chat.SetState(c.account, c.serial, state); err != nil {
		return g.refused(c, p, "", err)
	}
	c.link.SetBackground(state == chat.Background)
	return g.accepted(c, p, nil, ackEvent{})
}

// Live brings what chat tells at once to those who are connected. It is a chat.Router, and the sessions.Current of what is
// known of who is there.
type Live struct {
	registry *sessions.Registry
	chat     *chat.Service
	things   *Things // nil: there are none
	places   *Places // nil: nobody says where he is
}

// NewLive puts the two together.
func NewLive(registry *sessions.Registry, messenger *chat.Service) *Live {
	l := &Live{registry: registry, chat: messenger}
	messenger.SetRouter(l)
	registry.SetCurrent(l)
	messenger.SetAnnouncer(stage{messenger})
	registry.SetAudiences(stage{messenger})
	return l
}

// SetThings says who knows what the topics of devices say. It is called once, before the first Connect.
func (l *Live) SetThings(t *Things) { l.things = t }

// SetPlaces says who knows where people are. It is called once, before the first Connect.
func (l *Live) SetPlaces(p *Places) { l.places = p }

// Tell implements chat.Router.
func (l *Live) Tell(user accounts.Name, e chat.Event) {
	l.registry.Route(sessions.Publish{
		Topic: ephTopic(user), Payload: e.AppendJSON(nil), ContentType: "application/json", Ambient: true})
}

// Show implements chat.Router.
func (l *Live) Show(viewer accounts.Name, p chat.Presence) {
	l.registry.Route(publishPresence(viewer, p))
}

// Watches implements chat.Router.
func (l *Live) Watches(viewer, who accounts.Name) bool {
	return l.registry.Listens(presenceTopic(who, viewer))
}

// Cast implements chat.Router.
func (l *Live) Cast(users []accounts.Name, e *chat.Event) {
	made, ok := e.Made.(sessions.Publish)
	if !ok {
		made = publishEvent(*e)
		e.Made = made
	}
	l.registry.Cast(users, made)
}

// publishEvent makes an event, which is in no stream, ready for streams.
func publishEvent(e chat.Event) sessions.Publish {
	line, _ := e.Text()
	return sessions.Publish{Payload: e.AppendJSON(nil), ContentType: "application/json", Text: []byte(line)}
}

// Has implements sessions.Current: of presence, of a user's stream, where large conversations stand, of devices, and of where
// people are.
func (l *Live) Has(filter string) bool {
	_, ok := streamOf(filter)
	return ok || strings.HasPrefix(filter, "im/p/") || l.things != nil && l.things.Has(filter) ||
		l.places != nil && ofPlaces(filter)
}

// streamOf gives whose stream a filter covers.
func streamOf(filter string) (who accounts.Name, ok bool) {
	rest, ok := strings.CutPrefix(filter, "im/u/")
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(rest, "/")
	who, err := accounts.ParseUser(name)
	return who, err == nil && covers(filter, streamTopic(who))
}

// Give implements sessions.Current.
func (l *Live) Give(
	ctx context.Context, filter, after string, send func(sessions.Publish) (more bool),
) (next string, err error) {
	if who, ok := streamOf(filter); ok {
		c, err := l.chat.Heads(ctx, who, chat.Conversation(after), func(e chat.Event) bool {
			p := publishEvent(e)
			p.Topic = streamTopic(who)
			return send(p)
		})
		return string(c), err
	}
	if l.things != nil && l.things.Has(filter) {
		return l.things.Give(ctx, filter, after, send)
	}
	if l.places != nil && ofPlaces(filter) {
		return l.places.Give(ctx, filter, after, send)
	}
	who, viewer, ok := parseViewed(filter)
	if !ok {
		return "", nil
	}
	name, err := l.chat.Watch(ctx, viewer, who, accounts.Name(after), func(p chat.Presence) bool {
		out := publishPresence(viewer, p)
		out.Retain = true
		return send(out)
	})
	return string(name), err
}

// publishPresence makes a presence ready for the viewer. What is not for him to know any more, he is told at once.
func publishPresence(viewer accounts.Name, p chat.Presence) sessions.Publish {
	return sessions.Publish{
		Topic: presenceTopic(p.Who, viewer), Payload: p.AppendJSON(nil), ContentType: "application/json", Ambient: p.Known}
}

var (
	_ chat.Router      = (*Live)(nil)
	_ sessions.Current = (*Live)(nil)
)
