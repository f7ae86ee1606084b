package hooks

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/jobs"
)

// Things brings what devices have to say to clients, and commands to devices. It is a devices.Router, and what Live asks for what
// the topics of devices say now.
type Things struct {
	registry *sessions.Registry
	devices  *devices.Service
	things   *devices.Things
	jobs     *jobs.Service
	places   *Places // nil: nobody says where things are
}

// NewThings puts the four together.
func NewThings(registry *sessions.Registry, service *devices.Service, things *devices.Things, work *jobs.Service) *Things {
	t := &Things{registry: registry, devices: service, things: things, jobs: work}
	service.SetRouter(t)
	work.SetTeller(t)
	return t
}

// SetPlaces says who knows where things are. It is called once, before anything else is.
func (t *Things) SetPlaces(p *Places) { t.places = p }

// spelled is a topic of a device as a client writes it.
func spelled(t devices.Topic) string {
	if t.AWS {
		return "$aws/things/" + string(t.Device) + "/" + t.Path
	}
	return "dev/" + string(t.Device) + "/" + t.Path
}

// Tell implements devices.Router.
func (t *Things) Tell(to []accounts.Name, topic devices.Topic, payload []byte) {
	written := spelled(topic)
	for _, viewer := range to {
		t.registry.Route(sessions.Publish{
			Topic: seenBy(written, viewer), Payload: payload, ContentType: "application/json", Ambient: isAmbient(topic)})
		if viewer == topic.Device && topic.AWS && topic.Path == "shadow/update/documents" {
			t.shared(viewer, payload)
		}
	}
}

// isAmbient says whether what a topic says is worth nothing to a client that nobody looks at.
func isAmbient(t devices.Topic) bool { return !t.AWS && t.Path != "want" }

// Publish implements devices.Router.
func (t *Things) Publish(ctx context.Context, to []accounts.Name, topic devices.Topic, payload []byte) error {
	return publishTo(ctx, t.registry, to, spelled(topic), payload)
}

// publishTo says something to each of some viewers, which they must not miss, on the topic that they know.
func publishTo(ctx context.Context, r *sessions.Registry, to []accounts.Name, written string, payload []byte) error {
	publications := make([]sessions.Publication, 0, len(to))
	var failed error
	for _, viewer := range to {
		m := serverMessage(seenBy(written, viewer), payload)
		published, err := r.Publish(ctx, sessions.Posting{Message: m})
		switch {
		case errors.Is(err, sessions.ErrQueueFull): // which is nobody else's trouble
			continue
		case err != nil:
			failed = err
			continue
		}
		publications = append(publications, published)
	}
	for _, p := range publications {
		if p.Commit != nil {
			if err := p.Commit.Wait(ctx); err != nil {
				failed = err
				continue
			}
		}
		p.Deliver()
	}
	return failed
}

// Post implements devices.Router.
func (t *Things) Post(p devices.Post) error {
	err := t.post(p.Device, p)
	if errors.Is(err, sessions.ErrUnheard) { // it may have been made for ThingsBoard
		err = t.registry.Post(p.Device, sessions.Publish{
			Topic: ownTopic(p.Device, dialects.CommandTopic(p.Command)), Payload: dialects.CommandPayload(p.Command),
			QoS: 1, Dup: p.Again, ContentType: "application/json",
		}, sessions.PostOptions{Expires: p.Expires, Written: p.Written, Acked: p.Acked, Lost: p.Lost})
	}
	if errors.Is(err, sessions.ErrUnheard) && p.Bridge != "" {
		err = t.post(p.Bridge, p)
	}
	switch {
	case errors.Is(err, sessions.ErrUnheard):
		return devices.ErrAway
	case errors.Is(err, sessions.ErrUnfit):
		return devices.ErrUnfit
	}
	return err
}

// post writes a command to a device, or to the one that it is connected through.
func (t *Things) post(to accounts.Name, p devices.Post) error {
	written := spelled(devices.Topic{Device: p.Device, Path: p.Path})
	return t.registry.Post(to, sessions.Publish{
		Topic: seenBy(written, to), Payload: p.Payload, QoS: 1, Dup: p.Again, ContentType: "application/json",
		ResponseTopic: written + "/ack",
	}, sessions.PostOptions{Expires: p.Expires, Written: p.Written, Acked: p.Acked, Lost: p.Lost})
}

// Has says whether topics of a filter may say something: sessions.Current.
func (t *Things) Has(filter string) bool { return ofThings(filter) }

// ofThings says whether a filter or topic is one of devices.
func ofThings(filter string) bool {
	return strings.HasPrefix(filter, "dev/") || strings.HasPrefix(filter, "$aws/") || strings.HasPrefix(filter, ownArea)
}

// seenPage is how many devices are looked at at once.
const seenPage = 50

// Give is that of sessions.Current. It goes on after a device, or after one of its topics: "lamp", or "lamp presence".
func (t *Things) Give(
	ctx context.Context, filter, after string, send func(sessions.Publish) (more bool),
) (next string, err error) {
	viewer, did, ok := parseSeen(filter)
	if !ok {
		return "", nil
	}
	if takesCommands(filter, viewer, viewer) {
		t.devices.Ready(viewer)
	}
	last, topic, _ := strings.Cut(after, " ")
	if did != "" {
		next, err := t.give(ctx, filter, viewer, did, topic, send)
		if next == string(did) {
			next = ""
		}
		return next, err
	}
	if topic != "" { // the device was not finished
		next, err := t.give(ctx, filter, viewer, accounts.Name(last), topic, send)
		if err != nil || next != last {
			return next, err
		}
	}
	seen, err := t.things.Seen(ctx, viewer, accounts.Name(last), seenPage)
	if err != nil {
		return "", err
	}
	for _, thing := range seen {
		next, err := t.give(ctx, filter, viewer, thing.ID, "", send)
		if err != nil || next != string(thing.ID) {
			return next, err
		}
	}
	if len(seen) < seenPage {
		return "", nil
	}
	return string(seen[len(seen)-1].ID), nil
}

// give gives what a device's topics say now that a filter covers, those after a topic. It gives the name of the device, or where
// to go on.
func (t *Things) give(
	ctx context.Context, filter string, viewer, did accounts.Name, after string, send func(sessions.Publish) (more bool),
) (next string, err error) {
	next = string(did)
	wanted := func(topic devices.Topic) bool {
		written := spelled(topic)
		if after != "" {
			if after == written {
				after = ""
			}
			return false
		}
		return covers(filter, seenBy(written, viewer))
	}
	if viewer != did && after == "" && takesCommands(filter, viewer, did) {
		switch speaks, err := t.things.Speaks(ctx, viewer, did); {
		case err != nil:
			return "", err
		case speaks:
			t.devices.Ready(did)
		}
	}
	say := func(topic devices.Topic, payload []byte) bool {
		written := spelled(topic)
		more := send(sessions.Publish{
			Topic: seenBy(written, viewer), Payload: payload, ContentType: "application/json",
			Retain: true, Ambient: isAmbient(topic)})
		if !more {
			next = string(did) + " " + written
		}
		return more
	}
	err = t.devices.Now(ctx, viewer, did, wanted, say)
	if err == nil && viewer == did && next == string(did) {
		err = t.jobs.Now(ctx, did, wanted, say)
	}
	where := devices.Topic{Device: did, Path: pathLast}
	if err == nil && next == string(did) && t.places != nil && wanted(where) {
		err = t.places.now(ctx, viewer, did, func(payload []byte) bool { return say(where, payload) })
	}
	return next, err
}

// parseSeen takes a filter of devices apart, which seenBy has seen: whose it is, and which device it is about; all that he sees
// if that is empty.
func parseSeen(filter string) (viewer, did accounts.Name, ok bool) {
	area, rest, _ := strings.Cut(filter, "/")
	who, rest, more := strings.Cut(rest, "/")
	if !ofThings(filter) || !more {
		return "", "", false
	}
	if area+"/" == ownArea {
		viewer, err := accounts.ParseDevice(who)
		return viewer, viewer, err == nil
	}
	if area == "$aws" {
		things, below, more := strings.Cut(rest, "/")
		if things != "things" || !more {
			return "", "", false
		}
		rest = below
	}
	viewer, err := accounts.ParseDevice(who) // which users are as well, by their form
	if err != nil {
		return "", "", false
	}
	first, below, more := strings.Cut(rest, "/")
	switch {
	case first == "#" && !more:
		return viewer, "", true
	case first == "+":
		return viewer, "", more && below != ""
	}
	did, err = accounts.ParseDevice(first)
	return viewer, did, err == nil && more && below != ""
}

// maySee says whether the account may subscribe to a filter of devices, whose form grantFilter has seen: 0, or the reason code of
// the SUBACK. One that is about a certain device is refused to who may not see it; what is told of others is decided when there
// is something to tell.
func (g *Gateway) maySee(ctx context.Context, self accounts.Name, filter string) byte {
	_, did, _ := parseSeen(filter)
	if did == "" || did == self {
		return 0
	}
	switch _, err := g.rooms.Things.May(ctx, self, did, devices.VerbSee); {
	case err == nil:
		return 0
	case errors.Is(err, devices.ErrUnknown), errors.Is(err, devices.ErrNoRight):
		return packets.ErrNotAuthorized.Code
	}
	return packets.ErrImplementationSpecificError.Code // nothing was decided
}

// whyEnded says why the connection of a device has ended, when it has.
func (c *connection) whyEnded() string {
	cause := c.client.StopCause()
	var code packets.Code
	_ = errors.As(cause, &code)
	switch reason, said := c.conn.LastDisconnect(); {
	case said && reason == packets.CodeDisconnectWillMessage.Code:
		return devices.ReasonWill
	case said:
		return devices.ReasonDisconnect
	case code.Code == packets.ErrSessionTakenOver.Code:
		return devices.ReasonTakeover
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return devices.ReasonKeepAlive
	}
	return devices.ReasonError
}

// serverMessage is what the server publishes with QoS 1.
func serverMessage(topic string, payload []byte) *sessions.Message {
	return &sessions.Message{
		Topic: topic, Payload: payload, QoS: 1, ContentType: "application/json", Time: time.Now().Truncate(time.Millisecond)}
}

// takesCommands says whether a filter of somebody covers the commands that a device is given.
func takesCommands(filter string, viewer, device accounts.Name) bool {
	return covers(filter, seenBy("dev/"+string(device)+"/cmd/+", viewer)) ||
		viewer == device && covers(filter, ownTopic(device, dialects.ThingsBoardCommand+"+"))
}

var _ devices.Router = (*Things)(nil)
