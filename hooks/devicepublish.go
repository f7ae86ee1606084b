package hooks

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
)

// told is a topic of a device that somebody publishes to, taken apart.
type told struct {
	did    accounts.Name
	what   string // the last level: "state", "ack", "update"
	cid    string // of "ack"
	shadow string // of AWS's: its name
	jobs   string // of AWS's jobs: what follows; empty: it is none of these
	aws    bool
	name   string               // under which it is done, so that it is not done twice; empty: that is not known
	at     time.Time            // of which it is, if it comes again the same; zero: it is of when it is done
	board  dialects.ThingsBoard // its Saying is 0: it is not ThingsBoard's
}

// What is published to a device's topics, by the device itself and by others (docs/devices.md).
const (
	sayState = "state"
	sayEvent = "event"
	sayAck   = "ack"
	sayTele  = "tele"
	sayLoc   = "loc"
	sayAbout = "about"
	saySet   = "set"
	sayCall  = "call"
	sayClaim = "claim"
	sayReset = "reset"
)

// parseTold takes such a topic apart; ok is false if nobody may publish to it.
func parseTold(topic string) (t told, ok bool) {
	if rest, is := strings.CutPrefix(topic, "$aws/things/"); is {
		return parseToldAWS(rest)
	}
	levels := strings.Split(topic, "/")
	if len(levels) < 3 || levels[0] != "dev" || levels[1] == "" {
		return told{}, false
	}
	t = told{did: accounts.Name(levels[1]), what: levels[2]}
	switch rest := levels[3:]; t.what {
	case sayState, sayEvent, sayTele, sayLoc, saySet, sayCall, sayClaim, sayReset, sayAbout:
		return t, len(rest) == 0
	case "cmd":
		if len(rest) != 2 || rest[0] == "" || rest[1] != sayAck {
			return told{}, false
		}
		t.what, t.cid = sayAck, rest[0]
		return t, true
	}
	return told{}, false
}

// parseToldAWS is the same for {did}/shadow/update and {did}/shadow/name/{name}/update.
func parseToldAWS(rest string) (t told, ok bool) {
	levels := strings.Split(rest, "/")
	if len(levels) < 3 || levels[0] == "" {
		return told{}, false
	}
	if levels[1] == "jobs" {
		return parseToldJobs(accounts.Name(levels[0]), levels[2:])
	}
	if levels[1] != "shadow" {
		return told{}, false
	}
	t = told{did: accounts.Name(levels[0]), what: levels[len(levels)-1], aws: true}
	switch {
	case len(levels) == 5 && levels[2] == "name" && levels[3] != "":
		t.shadow = levels[3]
	case len(levels) != 3:
		return told{}, false
	}
	return t, t.what == "get" || t.what == "update" || t.what == "delete"
}

// parseToldJobs is the same for what follows {did}/jobs: a request, also one that is none, which is told so. What is said
// there to devices nobody else says.
func parseToldJobs(did accounts.Name, levels []string) (t told, ok bool) {
	switch levels[len(levels)-1] {
	case "accepted", "rejected", "notify", "notify-next":
		return told{}, false
	}
	return told{did: did, jobs: strings.Join(levels, "/"), aws: true}, true
}

// device decides about a PUBLISH to a topic of a device. The connection's reader does not wait for the store, and what was read
// is done even if the connection ends meanwhile.
func (g *Gateway) device(ctx context.Context, c *connection, p sessions.Publish, origin any) sessions.Outcome {
	t, ok := parseTold(p.Topic)
	if !ok {
		t, ok = c.parseThingsBoard(p.Topic)
	}
	if !ok {
		return g.refused(c, p, "", errNoTopic)
	}
	if from, ok := origin.(sessions.Origin); ok {
		return g.once(ctx, c, t, p, devices.Sending{Account: from.Key.Account, Client: from.Key.Client, ID: from.ID})
	}
	if p.QoS == 2 || c.will != nil && c.link == nil { // the outcome has to be known, or nobody waits for it
		return g.tell(ctx, c, t, p)
	}
	ctx = context.WithoutCancel(ctx)
	return g.later(c, "publication of a device", func() sessions.Outcome { return g.tell(ctx, c, t, p) })
}

// once does what is published with QoS 2 in a session that lasts: what comes again though it was done, because the server died
// before its PUBREC, is not done again. Events and commands are done under a name, which is stored before, and so is the time of
// what is measured; of everything else, and of that, it is stored afterwards that it was done.
func (g *Gateway) once(ctx context.Context, c *connection, t told, p sessions.Publish, s devices.Sending) sessions.Outcome {
	receipts, sum := g.rooms.Receipts, sessions.Fingerprint(p)
	print := sum[:]
	if receipts.Seen(s, print, p.Dup) {
		return g.done(c, p, deviceAck{Device: t.did, Dup: true})
	}
	named := t.what == sayEvent || t.what == sayCall
	if named || t.what == sayTele || t.board.Saying == dialects.SayTelemetry {
		var err error
		if t.name, t.at, err = receipts.Name(ctx, s, print, p.Dup); err != nil {
			return g.undecided(c, err)
		}
	}
	out := g.tell(ctx, c, t, p)
	var err error
	switch {
	case out.Fatal != 0: // it comes again
		return out
	case out.Reply.Reason >= refusedFrom: // and this does not
		err = receipts.Over(ctx, s)
	case !named:
		err = receipts.Done(ctx, s, print)
	}
	if err != nil {
		return g.undecided(c, err)
	}
	return out
}

// refusedFrom is the first reason that refuses.
const refusedFrom = 0x80

func (g *Gateway) tell(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	itself := t.did == c.account
	if !itself && !t.aws && t.what != saySet && t.what != sayCall && t.what != sayAbout { // for whom a bridge speaks
		var err error
		if itself, err = g.rooms.Things.Speaks(ctx, c.account, t.did); err != nil {
			return g.refused(c, p, "", err)
		}
	}
	switch {
	case t.jobs != "":
		return g.serveJobs(ctx, c, t, p)
	case t.aws:
		if err := g.rooms.Devices.ServeShadow(ctx, c.account, t.did, t.shadow, t.what, p.Payload); err != nil {
			return g.refused(c, p, "", err)
		}
		return g.done(c, p, deviceAck{})
	case t.board.Saying != 0:
		return g.board(ctx, c, t, p)
	case t.what == saySet:
		return g.setShadow(ctx, c, t, p, devices.ParseDesired)
	case t.what == sayCall:
		return g.callDevice(ctx, c, t, p)
	case !itself:
		return g.refused(c, p, "", errNoTopic)
	case t.what == sayState:
		return g.setShadow(ctx, c, t, p, devices.ParseReported)
	case t.what == sayTele:
		return g.measured(ctx, c, t, p)
	case t.what == sayLoc:
		return g.thingIs(ctx, c, t, p)
	case t.what == sayEvent:
		return g.happened(ctx, c, t, p)
	case t.what == sayAbout:
		if err := g.rooms.Devices.HearAll(ctx, c.account, p.Payload); err != nil {
			return g.refused(c, p, "", err)
		}
		return g.done(c, p, deviceAck{Device: t.did})
	case t.what == sayAck:
		return g.ackCommand(ctx, c, t, p)
	case t.what == sayClaim:
		return g.claimable(ctx, c, t, p)
	case t.what == sayReset:
		return g.reset(ctx, c, t, p)
	}
	return g.refused(c, p, "", errNoTopic)
}

// serveJobs answers a request of a device about its jobs. How it went is in the answer; what is not decided comes again.
func (g *Gateway) serveJobs(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	if !c.device || t.did != c.account {
		return g.refused(c, p, "", errNoTopic)
	}
	if err := g.rooms.Jobs.Serve(ctx, t.did, t.jobs, p.Payload); err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{})
}

func (g *Gateway) setShadow(
	ctx context.Context, c *connection, t told, p sessions.Publish, parse func([]byte) (devices.ShadowUpdate, error),
) sessions.Outcome {
	u, err := parse(p.Payload)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	who := c.account
	if t.what == sayState { // it is the device, or speaks for it
		who = t.did
	}
	shadow, err := g.rooms.Devices.UpdateShadow(ctx, who, t.did, "", u)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did, Version: shadow.Version})
}

func (g *Gateway) callDevice(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	call, err := devices.ParseCall(p.Payload)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	for _, u := range p.User {
		if u.Name == "mid" && call.MID == "" {
			call.MID = u.Value
		}
	}
	mid := call.MID
	if mid == "" {
		call.MID = t.name
	}
	if p.Retain { // whoever subscribes later would be given it again
		return g.refused(c, p, mid, devices.ErrMalformed)
	}
	command, again, err := g.rooms.Devices.Call(ctx, c.account, t.did, call)
	if err != nil {
		return g.refused(c, p, mid, err)
	}
	return g.done(c, p, deviceAck{Device: t.did, MID: mid, CID: command.ID, State: string(command.State), Dup: again})
}

func (g *Gateway) happened(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	h, err := devices.ParseHappening(p.Payload)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	if h.ID == "" {
		h.ID = t.name
	}
	event, again, err := g.rooms.Devices.Happen(ctx, t.did, h)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did, ID: event.ID, Dup: again})
}

func (g *Gateway) measured(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	at := t.at
	if at.IsZero() {
		at = time.Now()
	}
	if _, err := g.rooms.Devices.MeasureAt(ctx, t.did, p.Payload, at); err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did})
}

func (g *Gateway) ackCommand(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	a, err := devices.ParseCommandAck(p.Payload)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	command, err := g.rooms.Devices.AckCommand(ctx, t.did, t.cid, a)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did, CID: command.ID, State: string(command.State)})
}

// deviceAck is what a client learns of a PUBLISH to a device's topic that was carried out, beside that it was.
type deviceAck struct {
	Type     string        `json:"t"`
	PacketID uint16        `json:"pid"`
	OK       bool          `json:"ok"`
	MID      string        `json:"mid,omitempty"`
	Device   accounts.Name `json:"did,omitempty"`
	Version  uint64        `json:"version,omitempty"`
	CID      string        `json:"cid,omitempty"`
	State    string        `json:"s,omitempty"`
	ID       string        `json:"id,omitempty"`
	Dup      bool          `json:"dup,omitempty"`
}

// done is the outcome of a PUBLISH that was carried out.
func (g *Gateway) done(c *connection, p sessions.Publish, a deviceAck) sessions.Outcome {
	g.okay.Inc()
	a.Type, a.PacketID, a.OK = "ack", p.ID, true
	out := sessions.Outcome{Reply: sessions.Reply{Event: g.ackPayload(c, p, a)}}
	if c.version < 5 {
		return out
	}
	user := func(name, value string) {
		if value != "" {
			out.Reply.User = append(out.Reply.User, sessions.UserProperty{Name: name, Value: value})
		}
	}
	if a.Version > 0 {
		user("version", strconv.FormatUint(a.Version, 10))
	}
	user("cid", a.CID)
	user("s", a.State)
	user("id", a.ID)
	if a.Dup {
		user("dup", "1")
	}
	return out
}
