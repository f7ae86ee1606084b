package hooks

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/provisioning"
)

// Topics that are the same for each who subscribes to them, and say something else to each, have his name in front inside: what
// the lamp writes as v1/devices/me/attributes is $own/lamp/v1/devices/me/attributes.
const ownArea = "$own/"

func ownTopic(self accounts.Name, topic string) string { return ownArea + string(self) + "/" + topic }

// isOwn says whether what the client wrote is one of its own topics.
func (c *connection) isOwn(written string) bool {
	if c.applicant {
		return c.batch == "" && written == dialects.ProvisionResponse || c.batch != "" && provisioning.IsAnswer(written)
	}
	return c.device && c.grants.mount == "" &&
		(strings.HasPrefix(written, dialects.ThingsBoardPrefix) || dialects.IsFirmware(written))
}

// parseThingsBoard takes a topic apart that a device made for ThingsBoard publishes to.
func (c *connection) parseThingsBoard(topic string) (t told, ok bool) {
	if !c.device {
		return told{}, false
	}
	said, ok := dialects.ParseThingsBoard(topic)
	return told{did: c.account, board: said}, ok
}

// board does what a device says to ThingsBoard.
func (g *Gateway) board(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	switch t.board.Saying {
	case dialects.SayTelemetry:
		t.what = sayTele
	case dialects.SayAttributes:
		t.what = sayState
	case dialects.SayClaim:
		t.what = sayClaim
	case dialects.AskAttributes:
		return g.attributes(ctx, c, t, p)
	case dialects.SayResult:
		return g.result(ctx, c, t, p)
	case dialects.AskServer:
		answer, err := dialects.Serve(p.Payload, time.Now().UnixMilli())
		if err != nil {
			return g.refused(c, p, "", err)
		}
		g.answerBoard(c, dialects.ThingsBoardServed, t.board.ID, answer)
		return g.done(c, p, deviceAck{Device: t.did})
	}
	t.board = dialects.ThingsBoard{}
	return g.tell(ctx, c, t, p)
}

func (g *Gateway) answerBoard(c *connection, below string, id uint64, payload []byte) {
	g.rooms.Sessions.Route(sessions.Publish{
		Topic: ownTopic(c.account, below+strconv.FormatUint(id, 10)), Payload: payload, ContentType: "application/json",
	})
}

// attributes answers what a device is and should be.
func (g *Gateway) attributes(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	asked, err := dialects.ParseAsked(p.Payload)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	shadow, err := g.rooms.Devices.Shadow(ctx, t.did, t.did, "")
	if err != nil {
		return g.refused(c, p, "", err)
	}
	g.answerBoard(c, dialects.ThingsBoardAnswer, t.board.ID, asked.Answer(shadow))
	return g.done(c, p, deviceAck{Device: t.did})
}

// result is what a device answers to a command, of which it knows the number only.
func (g *Gateway) result(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	a, err := dialects.ParseResult(p.Payload)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	command, err := g.rooms.Devices.AckNumbered(ctx, t.did, t.board.ID, a)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did, CID: command.ID, State: string(command.State)})
}

// claimable is that a device says that it may be claimed.
func (g *Gateway) claimable(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	key, d, err := devices.ParseWindow(p.Payload)
	if err == nil {
		err = g.rooms.Claims.OpenWindow(ctx, t.did, key, d)
	}
	if err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did})
}

// reset is that a device says that it is again as it was made.
func (g *Gateway) reset(ctx context.Context, c *connection, t told, p sessions.Publish) sessions.Outcome {
	if _, err := g.rooms.Things.Reset(ctx, t.did, t.did); err != nil {
		return g.refused(c, p, "", err)
	}
	return g.done(c, p, deviceAck{Device: t.did})
}

// shared tells a device that was made for ThingsBoard what it should be.
func (t *Things) shared(device accounts.Name, documents []byte) {
	if update := dialects.SharedUpdate(documents); update != nil {
		t.registry.Route(sessions.Publish{
			Topic: ownTopic(device, dialects.ThingsBoardAttributes), Payload: update, ContentType: "application/json",
		})
	}
}

// Who connects to ask for the account of a device has none, and may do nothing else.
const (
	applicantName = "provision"     // its user name, as ThingsBoard has it
	applicantTime = 2 * time.Minute // how long it may be connected
	maxApplicants = 200             // how many are connected at a time: nobody knows who they are
)

// batchMark begins the user name of who shows the key and secret of a batch when he connects.
const batchMark = "batch:"

// admitApplicant gives an account that is nobody's to who asks for one, if he may: none is another's.
func (g *Gateway) admitApplicant(ctx context.Context, s showing) (accounts.Proof, error) {
	err := g.mayApply(ctx, s)
	return accounts.Proof{Account: accounts.Name("$" + applicantName + "-" + strings.ToLower(rand.Text()))}, err
}

// mayApply says whether somebody may ask for an account: who shows a batch, if that makes devices; otherwise everybody, if any
// does.
func (g *Gateway) mayApply(ctx context.Context, s showing) error {
	if s.name != "" {
		_, err := g.rooms.Factory.Batch(ctx, s.name, s.secret)
		if errors.Is(err, devices.ErrUnknown) {
			err = accounts.ErrCredentials
		}
		return err
	}
	open, err := g.rooms.Factory.AnyOpen(ctx)
	if err == nil && !open {
		err = accounts.ErrCredentials
	}
	return err
}

// provision makes the account that somebody asks for.
func (g *Gateway) provision(ctx context.Context, c *connection, p sessions.Publish) sessions.Outcome {
	if c.batch != "" {
		return g.certify(ctx, c, p)
	}
	if p.Topic != dialects.ProvisionRequest && p.Topic != dialects.ProvisionAsk || p.Retain {
		return g.refused(c, p, "", errNoTopic)
	}
	answered := func(ctx context.Context) sessions.Outcome {
		answer, err := g.enrol(ctx, p.Payload)
		if err != nil {
			if answer = dialects.Failed(err); answer == nil {
				return g.undecided(c, err)
			}
		}
		g.rooms.Sessions.Route(sessions.Publish{
			Topic: ownTopic(c.account, dialects.ProvisionResponse), Payload: answer, ContentType: "application/json",
		})
		return g.done(c, p, deviceAck{})
	}
	if p.QoS == 2 {
		return answered(ctx)
	}
	ctx = context.WithoutCancel(ctx)
	return g.later(c, "provisioning", func() sessions.Outcome { return answered(ctx) })
}

func (g *Gateway) enrol(ctx context.Context, payload []byte) (answer []byte, err error) {
	request, err := dialects.ParseProvision(payload)
	if err != nil {
		return nil, err
	}
	batch, err := g.rooms.Factory.Batch(ctx, request.Key, request.Secret)
	if err != nil {
		return nil, err
	}
	did, err := request.DID(strings.ToLower(rand.Text()[:12]))
	if err != nil {
		return nil, err
	}
	_, secret, err := g.rooms.Factory.Provision(ctx, batch, did, request.Name)
	if errors.Is(err, accounts.ErrUnknown) { // the batch's owner is no more
		err = devices.ErrUnknown
	}
	return dialects.Provisioned(secret), err
}

// dismissed ends the connection of an applicant whose time is over.
func (g *Gateway) dismissed(c *connection) {
	g.rooms.Sessions.Disconnect(c.account, packets.ErrMaxConnectTime.Code)
}
