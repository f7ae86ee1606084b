package hooks

import (
	"fmt"
	"math"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// sessionsPlugin connects a client with its session, and keeps its subscriptions.
type sessionsPlugin struct {
	mqtt.HookBase
	g *Gateway
}

func (*sessionsPlugin) ID() string { return "sessions" }

func (*sessionsPlugin) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnSessionEstablished, mqtt.OnPacketRead, mqtt.OnPacketEncode:
		return true
	}
	return false
}

// OnConnect runs after the one of authPlugin, and only if that succeeded.
func (p *sessionsPlugin) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := of(cl)
	// mochi must never find two clients with one id: takeover is the registry's business.
	c.serial = p.g.serial.Add(1)
	cl.ID = fmt.Sprintf("%s/%d", c.account, c.serial)

	expiry := pk.Properties.SessionExpiryInterval
	if pk.ProtocolVersion < 5 && !pk.Connect.Clean {
		expiry = math.MaxUint32
	}
	if c.applicant { // nobody will come back to it
		pk.Connect.Clean, expiry = true, 0
	}
	link, err := p.g.rooms.Sessions.Connect(c.ctx, sessions.Connect{
		Key:            sessions.Key{Account: c.account, Client: c.id},
		Version:        pk.ProtocolVersion,
		CleanStart:     pk.Connect.Clean,
		ExpirySeconds:  expiry,
		ReceiveMaximum: pk.Properties.ReceiveMaximum,
		MaximumPacket:  pk.Properties.MaximumPacketSize,
		Options:        c.options,
		Wire:           &wire{server: p.g.server, client: cl, c: c},
		Will:           c.will,
		Spell:          c.grants.speller(),
		Remote:         c.conn.AddrPort().String(),
		Token:          c.proof.Token,
		ReplyTopic:     c.replyTopic(),
	})
	if err != nil {
		p.g.log.Debug("session refused", "account", c.account, "client", c.id, "err", err)
		return p.g.refuse(cl, connectCode(err))
	}
	c.link, c.number = link, link.Number()
	c.conn.OnDrain(link.Drained)
	err = p.g.recheck(c)
	c.showing.secret = "" // nobody needs it any more
	if err != nil {
		c.said.Store(true) // a connection that is refused has no will
		link.Refuse()
		return p.g.refuse(cl, connectCode(err))
	}
	return nil
}

// OnSessionEstablished runs after the CONNACK was written.
func (p *sessionsPlugin) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if cl.Properties.Will.Flag != 0 { // authPlugin took it away
		p.g.wills.Add(1)
	}
	c := of(cl)
	if c.applicant {
		c.link.Start()
		c.dismissal = time.AfterFunc(applicantTime, func() { p.g.dismissed(c) })
		return
	}
	if c.device {
		p.g.rooms.Devices.Arrive(c.account, c.serial)
		if c.home != "" && p.g.rooms.Bridges != nil {
			p.g.rooms.Bridges.Arrived(c.account, c.home)
		}
		c.link.Start()
		return
	}
	p.g.rooms.Chat.Arrive(c.account, chat.Connection{ID: c.serial, Session: c.id, Invisible: c.link.Invisible()})
	p.g.rooms.Chat.SetInvisible(c.account, c.id, c.link.Invisible()) // it may have been set meanwhile
	c.link.Start()
	p.g.tellLogin(c)
}

// tellLogin tells the other sessions of a login by password: one that is there to stay, or from an address that the account
// was not known to log in from. Not of those that come again, nor of who shows a token, whose login was told.
func (g *Gateway) tellLogin(c *connection) {
	if c.proof.Token != (accounts.Digest{}) || c.link.Known() || !c.link.Persistent() && !c.proof.Elsewhere {
		return
	}
	_, err := g.rooms.Chat.TellSession(c.ctx, c.account, chat.Login{
		State: chat.LoggedIn, ID: c.link.Key().ID(), Label: c.id, Addr: c.conn.AddrPort().Addr().String(),
	})
	if err != nil && c.ctx.Err() == nil {
		g.log.Warn("login not told", "account", c.account, "client", c.id, "err", err)
	}
}

// OnPacketEncode completes the CONNACK, of which mochi knows the smaller part.
func (p *sessionsPlugin) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type != packets.Connack || pk.ReasonCode != 0 {
		return pk
	}
	link := of(cl).link
	if link == nil { // a refusal of 3.1.1 has a reason other than 0 as well
		return pk
	}
	pk.SessionPresent = link.Present()
	if link.Version() < 5 {
		return pk
	}
	if granted := link.ExpirySeconds(); granted != cl.Properties.Props.SessionExpiryInterval {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = granted, true
		cl.Properties.Props.SessionExpiryInterval = granted
	}
	pk.Properties.MaximumPacketSize = p.g.cfg.PacketSize
	pk.Properties.TopicAliasMaximum = p.g.cfg.TopicAliases
	pk.Properties.RetainAvailable, pk.Properties.RetainAvailableFlag = 1, true
	pk.Properties.WildcardSubAvailable, pk.Properties.WildcardSubAvailableFlag = 1, true
	pk.Properties.SubIDAvailable, pk.Properties.SubIDAvailableFlag = 1, true
	pk.Properties.SharedSubAvailable, pk.Properties.SharedSubAvailableFlag = 1, true
	return pk
}

func (p *sessionsPlugin) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Subscribe:
		return p.subscribe(cl, pk)
	case packets.Unsubscribe:
		return p.unsubscribe(cl, pk)
	case packets.Auth: // there is no authentication to go on with (MQTT 5, 4.12)
		return p.g.violation(cl, packets.ErrProtocolViolation)
	case packets.Disconnect:
		p.disconnect(cl, pk)
	}
	return pk, nil
}

func (p *sessionsPlugin) subscribe(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
		return p.g.violation(cl, code)
	}
	if pk.PacketID == 0 {
		return p.g.violation(cl, packets.ErrProtocolViolationNoPacketID)
	}
	c := of(cl)
	grants := make([]sessions.Grant, len(pk.Filters))
	for i, f := range pk.Filters {
		filter := c.filter(f.Filter)
		code := c.grantFilter(filter, p.g.cfg.TopicSize)
		if code == 0 {
			code = p.g.mayWatch(c.ctx, c.account, filter)
		}
		if isShared(filter) && f.NoLocal { // MQTT 5, 3.8.3.1
			return p.g.violation(cl, packets.ErrProtocolViolation)
		}
		if code == 0 && p.g.cfg.Memory.Tight() {
			code = packets.ErrQuotaExceeded.Code
		}
		switch {
		case code == 0:
			code = f.Qos
		case c.version < 5:
			code = packets.ErrUnspecifiedError.Code // MQTT 3.1.1, 3.9.3: 0x80 is the only failure
		}
		grants[i] = sessions.Grant{
			Subscription: sessions.Subscription{
				Filter: filter, Spelling: f.Filter, QoS: f.Qos, ID: f.Identifier,
				NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
			},
			Code: code,
		}
	}
	return taken(c.link.Subscribe(c.ctx, pk.PacketID, grants))
}

func (p *sessionsPlugin) unsubscribe(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
		return p.g.violation(cl, code)
	}
	if pk.PacketID == 0 {
		return p.g.violation(cl, packets.ErrProtocolViolationNoPacketID)
	}
	c := of(cl)
	filters := make([]string, len(pk.Filters))
	for i, f := range pk.Filters {
		filters[i] = c.filter(f.Filter)
	}
	return taken(c.link.Unsubscribe(c.ctx, pk.PacketID, filters))
}

// filter gives the filter that the server knows for what the client wrote.
func (c *connection) filter(written string) string {
	if c.isOwn(written) {
		return ownTopic(c.account, written)
	}
	return seenBy(viewed(c.canonical(written), c.account), c.account)
}

// disconnect notes what a DISCONNECT says; mochi then closes the connection.
func (p *sessionsPlugin) disconnect(cl *mqtt.Client, pk packets.Packet) {
	c := of(cl)
	// mochi does not decode the reason of a packet without properties, the connection's framer does. Any other than a
	// normal end has the will published (MQTT 5, 3.14.4).
	if reason, ok := c.conn.LastDisconnect(); !ok || reason == packets.CodeDisconnect.Code || c.version < 5 {
		c.said.Store(true)
	}
	if c.version == 5 && pk.Properties.SessionExpiryIntervalFlag && c.link.ExpirySeconds() > 0 {
		c.mu.Lock()
		expiry := pk.Properties.SessionExpiryInterval
		c.expiry = &expiry
		c.mu.Unlock()
	}
}
