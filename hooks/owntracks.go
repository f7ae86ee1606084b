package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/locations"
)

// OwnTracks is spoken literally: a phone publishes to owntracks/{user}/{device} and below it, and subscribes to owntracks/+/+ and
// the like. What bob subscribes to as owntracks/alice/phone is owntracks/bob/alice/phone inside, as with things: each is told by
// himself what he may know.

// ownTracks begins the topics of OwnTracks.
const ownTracks = "owntracks/"

// Topics below that of a phone.
const (
	ownEvent = "event"
	ownCard  = "info"
	ownAsks  = "request"
	ownTold  = "cmd"
)

// Paths of things.
const (
	pathLast     = "loc/last"
	pathCrossing = "loc/event"
)

// ofPlaces says whether a filter or topic is one of where people are.
func ofPlaces(filter string) bool { return strings.HasPrefix(filter, ownTracks) }

// placesOf gives who is told what a filter covers, which seenBy has seen; empty: it is none of these.
func placesOf(filter string) accounts.Name {
	rest, ok := strings.CutPrefix(filter, ownTracks)
	name, below, more := strings.Cut(rest, "/")
	viewer, err := accounts.ParseUser(name)
	if !ok || !more || below == "" || err != nil {
		return ""
	}
	return viewer
}

// phoneTopic is the topic of a phone, as clients write it.
func phoneTopic(s locations.Subject, below string) string {
	topic := ownTracks + string(s.Who) + "/" + s.Label
	if below != "" {
		topic += "/" + below
	}
	return topic
}

// parseOwn takes such a topic apart.
func parseOwn(topic string) (s locations.Subject, below string, ok bool) {
	levels := strings.Split(topic, "/")
	if len(levels) < 3 || len(levels) > 4 || levels[0]+"/" != ownTracks {
		return s, "", false
	}
	s = locations.Subject{Who: accounts.Name(levels[1]), Label: levels[2]}
	if len(levels) == 4 {
		if below = levels[3]; below == "" {
			return s, "", false
		}
	}
	return s, below, locations.CheckLabel(s.Label) == nil
}

// ownPassed is what is passed on as it is, and whether it must not be missed: an event to those who may know exactly where the
// phone is, the rest to its user alone.
var ownPassed = map[string]bool{
	ownEvent: true, ownTold: true, "waypoint": false, "waypoints": false, "status": false, ownAsks: false, "beacon": false,
	"step": false, "dump": false,
}

// place decides about a PUBLISH below owntracks/.
func (g *Gateway) place(ctx context.Context, c *connection, p sessions.Publish) sessions.Outcome {
	s, below, ok := parseOwn(p.Topic)
	if !ok || g.rooms.Places == nil || c.device || s.Who != c.account {
		return g.refused(c, p, "", errNoTopic)
	}
	say := func(ctx context.Context) sessions.Outcome {
		if err := g.own(ctx, s, below, p.Payload); err != nil {
			return g.refused(c, p, "", err)
		}
		return g.done(c, p, deviceAck{})
	}
	if p.QoS == 2 || c.will != nil && c.link == nil { // the outcome has to be known, or nobody waits for it
		return say(ctx)
	}
	ctx = context.WithoutCancel(ctx)
	return g.later(c, "publication of a phone", func() sessions.Outcome { return say(ctx) })
}

// own takes what a phone says.
func (g *Gateway) own(ctx context.Context, s locations.Subject, below string, payload []byte) error {
	if len(payload) == 0 { // what was retained is taken away
		switch below {
		case "":
			return g.rooms.Places.locations.Forget(ctx, s)
		case ownCard:
			return g.rooms.Places.setCard(ctx, s, nil)
		}
		return nil
	}
	kind, err := dialects.OwnTracksType(payload)
	if err != nil {
		return errors.Join(err, locations.ErrMalformed)
	}
	switch sure, passed := ownPassed[below]; {
	case below == "" && kind == dialects.OwnTracksLocation:
		return report(ctx, g.rooms.Places.locations, s, payload)
	case below == "": // that the phone has gone, or what only phones can read
		return g.rooms.Places.pass(ctx, s, below, payload)
	case below == ownCard && kind == dialects.OwnTracksCard:
		return g.rooms.Places.setCard(ctx, s, payload)
	case below == ownEvent:
		return g.rooms.Places.pass(ctx, s, below, payload)
	case below == ownAsks && kind == dialects.OwnTracksRequest:
		return g.rooms.Places.answer(ctx, s, payload)
	case passed && sure:
		return publishTo(ctx, g.rooms.Places.registry, []accounts.Name{s.Who}, phoneTopic(s, below), payload)
	case passed:
		g.rooms.Places.route([]accounts.Name{s.Who}, phoneTopic(s, below), payload)
		return nil
	}
	return errNoTopic
}

// report takes positions as OwnTracks has them.
func report(ctx context.Context, places *locations.Service, s locations.Subject, payload []byte) error {
	points, err := dialects.ParseOwnTracksLocations(payload)
	if err != nil {
		return errors.Join(err, locations.ErrMalformed)
	}
	_, err = places.Report(ctx, s, points...)
	return err
}

// thingIs takes where a thing is, as itself says.
func (g *Gateway) thingIs(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	err := locations.ErrNone
	if g.rooms.Places != nil {
		if _, err = g.rooms.Things.May(ctx, t.did, t.did, devices.VerbSee); err == nil { // an account alone is no thing
			err = report(ctx, g.rooms.Places.locations, locations.Subject{Who: t.did}, p.Payload)
		}
	}
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did})
}

// Places brings to clients where people and things are: it is a locations.Router.
type Places struct {
	registry  *sessions.Registry
	locations *locations.Service
	url       atomic.Pointer[string]
}

// NewPlaces puts the two together.
func NewPlaces(registry *sessions.Registry, service *locations.Service) *Places {
	p := &Places{registry: registry, locations: service}
	p.SetURL("")
	service.SetRouter(p)
	return p
}

// SetURL says where people reach the server over HTTP who follow the link of a tour.
func (p *Places) SetURL(base string) { p.url.Store(&base) }

// URL gives that.
func (p *Places) URL() string { return *p.url.Load() }

// answer does what a phone asks for, and tells its user, who is not to miss it.
func (p *Places) answer(ctx context.Context, s locations.Subject, payload []byte) error {
	p.route([]accounts.Name{s.Who}, phoneTopic(s, ownAsks), payload)
	answer, err := dialects.AnswerOwnTracks(ctx, p.locations, s, payload, p.URL())
	switch {
	case errors.Is(err, dialects.ErrOwnTracks):
		return errors.Join(err, locations.ErrMalformed)
	case err != nil || answer == nil:
		return err
	}
	return publishTo(ctx, p.registry, []accounts.Name{s.Who}, phoneTopic(s, ownTold), answer)
}

// route tells some what is so now, on the topic that they know.
func (p *Places) route(to []accounts.Name, written string, payload []byte) {
	for _, viewer := range to {
		p.registry.Route(sessions.Publish{
			Topic: seenBy(written, viewer), Payload: payload, ContentType: "application/json", Ambient: true})
	}
}

// placeTopic is where it is told where a subject is.
func placeTopic(s locations.Subject) string {
	if s.IsThing() {
		return spelled(devices.Topic{Device: s.Who, Path: pathLast})
	}
	return phoneTopic(s, "")
}

// Show implements locations.Router.
func (p *Places) Show(to []accounts.Name, s locations.Subject, where locations.Position) {
	p.route(to, placeTopic(s), dialects.OwnTracksLocationOf(s, where, ""))
}

// Hide implements locations.Router: nothing at all is how OwnTracks says that somebody is gone.
func (p *Places) Hide(to []accounts.Name, s locations.Subject) { p.route(to, placeTopic(s), nil) }

// Moved implements locations.Router.
func (p *Places) Moved(to accounts.Name, id string, m locations.Moved) {
	said := nearEvent{Type: "near", ID: id, What: m.What, Kind: m.Kind}
	if said.DID = m.Who; !m.IsThing() {
		said.DID, said.Who, said.Device = "", m.Who, m.Label
	}
	if m.What != locations.Leave {
		said.Lat, said.Lon, said.Distance = &m.Where.Lat, &m.Where.Lon, &m.Distance
		said.TS, said.Acc, said.Vel, said.Rough = m.Where.At, m.Where.Acc, m.Where.Vel, m.Where.Rough
	}
	payload, err := json.Marshal(said)
	if err != nil {
		return // cannot be: numbers of positions are finite
	}
	p.registry.Route(sessions.Publish{
		Topic: "im/u/" + string(to) + "/near/" + id, Payload: payload, ContentType: "application/json", Ambient: true})
}

// nearEvent is what somebody is told who watches who is near.
type nearEvent struct {
	Type     string            `json:"t"`
	ID       string            `json:"id"`
	What     locations.Crossed `json:"what"`
	Who      accounts.Name     `json:"who,omitempty"`
	Device   string            `json:"device,omitempty"`
	DID      accounts.Name     `json:"did,omitempty"`
	Kind     string            `json:"kind,omitempty"`
	Lat      *float64          `json:"lat,omitempty"`
	Lon      *float64          `json:"lon,omitempty"`
	TS       int64             `json:"ts,omitempty"`
	Acc      float64           `json:"acc,omitempty"`
	Vel      float64           `json:"vel,omitempty"`
	Rough    bool              `json:"rough,omitempty"`
	Distance *float64          `json:"dist,omitempty"`
}

// Crossed implements locations.Router.
func (p *Places) Crossed(ctx context.Context, to []accounts.Name, c locations.Crossing) error {
	topic := spelled(devices.Topic{Device: c.Who, Path: pathCrossing})
	if !c.IsThing() {
		topic = phoneTopic(c.Subject, ownEvent)
	}
	return publishTo(ctx, p.registry, to, topic, dialects.OwnTracksTransitionOf(c))
}

// pass passes on what a phone says to those who may know exactly where it is; events so that nobody misses them.
func (p *Places) pass(ctx context.Context, s locations.Subject, below string, payload []byte) error {
	exact, _, err := p.locations.Viewers(ctx, s)
	switch {
	case err != nil:
		return err
	case below == ownEvent:
		return publishTo(ctx, p.registry, exact, phoneTopic(s, below), payload)
	}
	p.route(exact, phoneTopic(s, below), payload)
	return nil
}

// setCard keeps the card of a phone, and tells all who may know where it is.
func (p *Places) setCard(ctx context.Context, s locations.Subject, card []byte) error {
	if err := p.locations.SetCard(ctx, s, card); err != nil {
		return err
	}
	exact, rough, err := p.locations.Viewers(ctx, s)
	if err == nil {
		p.route(append(exact[:len(exact):len(exact)], rough...), phoneTopic(s, ownCard), card)
	}
	return err
}

// now gives where a thing is, to who may see it.
func (p *Places) now(ctx context.Context, viewer, did accounts.Name, give func([]byte) bool) error {
	s := locations.Subject{Who: did}
	_, err := p.locations.Now(ctx, viewer, s, func(where locations.Position) bool {
		return give(dialects.OwnTracksLocationOf(s, where, ""))
	})
	return err
}

// Give is that of sessions.Current. It goes on after a topic, as clients write it.
func (p *Places) Give(
	ctx context.Context, filter, after string, send func(sessions.Publish) (more bool),
) (next string, err error) {
	viewer := placesOf(filter)
	if viewer == "" {
		return "", nil
	}
	last := after
	give := func(topic string, payload []byte) bool {
		last = topic
		return send(sessions.Publish{
			Topic: seenBy(topic, viewer), Payload: payload, ContentType: "application/json", Retain: true, Ambient: true})
	}
	// Subjects are in the order of users and devices, which is not that of their topics.
	from, below, _ := parseOwn(after)
	for _, s := range p.locations.Visible(viewer) {
		at := s.Compare(from)
		if topic := phoneTopic(s, ""); (after == "" || at > 0) && covers(filter, seenBy(topic, viewer)) {
			more, err := p.locations.Now(ctx, viewer, s, func(where locations.Position) bool {
				return give(topic, dialects.OwnTracksLocationOf(s, where, ""))
			})
			if err != nil || !more {
				return last, err
			}
		}
		left := after == "" || at > 0 || at == 0 && below == ""
		if topic := phoneTopic(s, ownCard); left && covers(filter, seenBy(topic, viewer)) {
			more, err := p.giveCard(ctx, viewer, s, func(card []byte) bool { return give(topic, card) })
			if err != nil || !more {
				return last, err
			}
		}
	}
	return "", nil
}

func (p *Places) giveCard(ctx context.Context, viewer accounts.Name, s locations.Subject, give func([]byte) bool) (bool, error) {
	level, err := p.locations.Level(ctx, viewer, s)
	if err != nil || level == locations.LevelNone {
		return true, err
	}
	card, err := p.locations.Card(ctx, s)
	if err != nil || len(card) == 0 {
		return true, err
	}
	return give(card), nil
}

var _ locations.Router = (*Places)(nil)
