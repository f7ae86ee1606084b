package hooks

import (
	"errors"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// authTimeout bounds how long a CONNECT waits for its password hash and the store.
const authTimeout = 10 * time.Second

// maxKeepalive is the largest keep-alive that mochi can count with: it adds a half in 16 bits.
const maxKeepalive = 43690

// authPlugin says who a CONNECT comes from.
type authPlugin struct {
	mqtt.HookBase
	g *Gateway
}

func (*authPlugin) ID() string { return "auth" }

func (*authPlugin) Provides(b byte) bool {
	return b == mqtt.OnConnect || b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

// OnConnectAuthenticate is reached only after OnConnect has authenticated: mochi closes without a word when OnConnect
// fails, and knows a single reason when this does, so OnConnect does the work and answers itself.
func (*authPlugin) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck is never asked: PUBLISH and SUBSCRIBE do not reach mochi.
func (*authPlugin) OnACLCheck(*mqtt.Client, string, bool) bool { return false }

func (p *authPlugin) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := of(cl)
	c.client, c.id, c.version = cl, cl.ID, cl.Properties.ProtocolVersion

	// Switch off what mochi must not do: its send quota, its aliases, its will.
	cl.Properties.Props.ReceiveMaximum = 0
	cl.State.Inflight.ResetSendQuota(0)
	cl.Properties.Props.TopicAliasMaximum = 0
	cl.Properties.Will = mqtt.Will{}
	if cl.State.Keepalive > maxKeepalive {
		cl.State.Keepalive = maxKeepalive
		cl.State.ServerKeepalive = true
	}

	if pk.Properties.AuthenticationMethod != "" {
		return p.g.refuse(cl, packets.ErrBadAuthenticationMethod)
	}
	if len(c.id) > maxClientID {
		return p.g.refuse(cl, packets.ErrClientIdentifierNotValid)
	}
	if p.g.cfg.Memory.Tight() {
		return p.g.refuse(cl, packets.ErrQuotaExceeded)
	}
	showing, options, err := parseShowing(string(pk.Connect.Username), string(pk.Connect.Password), c.certificateUse())
	if err != nil {
		return p.g.refuse(cl, packets.ErrBadUsernameOrPassword)
	}
	for _, u := range pk.Properties.User {
		setOption(&options, u.Key, u.Val)
	}
	c.showing, c.revision = showing, p.g.revisionOf(showing)
	proof, err := p.g.authenticate(c, showing)
	if err != nil {
		return p.g.refuse(cl, connectCode(err))
	}
	account := proof.Account
	c.proof, c.applicant = proof, showing.form == formApplicant
	if c.applicant {
		c.batch = showing.name
	}
	options.Device = proof.Device
	c.account, c.device, c.options, c.grants = account, proof.Device, options, &Grants{}
	if !c.applicant {
		if c.grants, c.home, err = p.g.grantsOf(c.ctx, account, proof.Device); err != nil {
			return p.g.refuse(cl, connectCode(err))
		}
	}
	if pk.Connect.WillFlag {
		if c.will, err = c.parseWill(pk, p.g.cfg.TopicSize); err != nil {
			return p.g.refuse(cl, packets.ErrNotAuthorized)
		}
	}
	var ok bool
	if c.applicant { // each is an account of its own
		c.place, ok = p.g.applicants.enter(applicantName, string(account))
	} else {
		c.place, ok = p.g.limits.enter(account, c.id)
	}
	if !ok {
		return p.g.refuse(cl, packets.ErrQuotaExceeded)
	}
	c.conn.Authenticated()
	return nil
}

// refuse answers a CONNECT with a reason that the version knows, and gives the error that ends the connection.
func (g *Gateway) refuse(cl *mqtt.Client, code packets.Code) error {
	answer := code
	if cl.Properties.ProtocolVersion < 5 {
		answer = connectCode3(code)
	}
	_ = g.server.SendConnack(cl, answer, false, nil)
	return code
}

// connectCode is the CONNACK for an error of accounts or sessions.
func connectCode(err error) packets.Code {
	switch {
	case errors.Is(err, accounts.ErrCredentials), errors.Is(err, accounts.ErrBadName), errors.Is(err, accounts.ErrUnknown):
		return packets.ErrBadUsernameOrPassword
	case errors.Is(err, accounts.ErrDisabled):
		return packets.ErrNotAuthorized
	case errors.Is(err, accounts.ErrThrottled):
		return packets.ErrConnectionRateExceeded
	case errors.Is(err, sessions.ErrTooMany):
		return packets.ErrQuotaExceeded
	}
	return packets.ErrServerUnavailable
}

// connectCode3 is the same for MQTT 3.1.1 (3.2.2.3), which knows five reasons.
func connectCode3(code packets.Code) packets.Code {
	switch code.Code {
	case packets.ErrBadUsernameOrPassword.Code:
		return packets.ErrMalformedUsernameOrPassword
	case packets.ErrClientIdentifierNotValid.Code:
		return packets.Err3ClientIdentifierNotValid
	case packets.ErrNotAuthorized.Code, packets.ErrBadAuthenticationMethod.Code:
		return packets.Err3NotAuthorized
	}
	return packets.Err3ServerUnavailable
}

// setOption sets one option of docs/protocol.md, section 1, and says whether there is such a one.
func setOption(o *sessions.Options, key, value string) bool {
	switch key + "=" + value {
	case "fmt=text":
		o.Text = true
	case "fmt=json":
		o.Text = false
	case "ack=event":
		o.AckEvents = true
	case "sync=cursor":
		o.SyncCursor = true
	case "batch=1":
		o.Batch = true
	default:
		return false
	}
	return true
}

// parseWill gives the will of a CONNECT, or an error if the account may not publish to its topic, or would have to be there
// for the answer.
func (c *connection) parseWill(pk packets.Packet, longest int) (*sessions.Will, error) {
	if len(pk.Connect.WillTopic) > longest || len(pk.Connect.WillProperties.ResponseTopic) > longest {
		return nil, errNoTopic
	}
	props := pk.Connect.WillProperties
	p := sessions.Publish{
		Topic:            c.canonical(pk.Connect.WillTopic),
		Payload:          pk.Connect.WillPayload,
		QoS:              pk.Connect.WillQos,
		Retain:           pk.Connect.WillRetain,
		ContentType:      props.ContentType,
		ResponseTopic:    c.canonical(props.ResponseTopic),
		Correlation:      props.CorrelationData,
		User:             fromUserProperties(props.User),
		Expiry:           props.MessageExpiryInterval,
		PayloadFormat:    props.PayloadFormat,
		HasPayloadFormat: props.PayloadFormatFlag,
	}
	if c.emptyWill {
		p.Payload = nil
	}
	if !validTopic(p.Topic) || !validText(props.ResponseTopic) || p.ResponseTopic == "" && props.ResponseTopic != "" {
		return nil, errNoTopic
	}
	cmd, ok := parseCommand(p.Topic)
	said, is := parseTold(p.Topic)
	if !is {
		said, is = c.parseThingsBoard(p.Topic)
	}
	if is && said.did == c.account && c.device {
		return &sessions.Will{Publish: p, DelaySeconds: props.WillDelayInterval}, nil
	}
	if !ok && !c.grants.MayPublish(p.Topic) || ok && c.device || cmd.verb == verbRPC || cmd.verb == verbState {
		return nil, errNoTopic
	}
	return &sessions.Will{Publish: p, DelaySeconds: props.WillDelayInterval}, nil
}
