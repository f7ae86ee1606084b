// Package hooks is where MQTT meets the rooms of the house. mochi-mqtt speaks the protocol on the socket: codec,
// handshake, keep-alive. It calls our plug-ins, one per concern and file, and they hand everything else over:
//
//	limits   slows down a client that publishes too fast
//	auth     CONNECT: who is it, and which options did he choose
//	sessions CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT: his session (broker/sessions)
//	acks     PUBACK, PUBREC, PUBREL, PUBCOMP: the session's as well
//	publish  PUBLISH: topic to command, command to chat or to the table of operations (api); free topics to the sessions
//	fit      CONNACK, DISCONNECT: no larger than the client allows (strict.go)
//
// A panic in any of them ends one connection, not the process (guard.go).
//
// The seam is OnPacketRead: a plug-in that takes a packet gives mochi a PUBACK with id 0 instead, which mochi ignores. So
// mochi's own routing, in-flight maps, retained messages and wills see nothing and stay empty ([Gateway.Residue] says
// so); why they must is told in docs/architecture.md. mochi's Serve is never called: its event loop would publish $SYS
// as retained messages, and its listeners block their writers.
//
// What the rooms decide comes back as values and errors; outcome.go alone turns those into MQTT answers.
package hooks

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/broker/transport"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/provisioning"
)

// maxClientID bounds client ids, which become part of keys, in bytes. MQTT asks for 23 at least (MQTT 5, 3.1.3.1).
const maxClientID = 256

// Config is what the plug-ins need to know. [DefaultConfig] gives the defaults.
type Config struct {
	PacketSize     uint32  // largest packet, in bytes; told to MQTT 5 clients
	TopicSize      int     // longest topic or filter, in bytes
	PublishRate    float64 // PUBLISH packets per second and connection before it is read more slowly; 0: any number
	PublishBurst   int     // how many may come at once
	ReceiveMaximum uint16  // unacknowledged PUBLISH packets a client may have; told to MQTT 5 clients
	TopicAliases   uint16  // topic aliases a client may use
	Readers        int     // requests that only read, at the same time, of one connection

	ACL    *ACL    // who may do what with free topics; nil: nobody may do anything
	Memory *Memory // when new work is refused; nil: never

	AccountConnections  int     // connections of one account at a time; 0: any number
	AccountPublishRate  float64 // as PublishRate, for all connections of an account together; 0: any number
	AccountPublishBurst int
}

// DefaultConfig is what docs/protocol.md promises.
func DefaultConfig() Config {
	return Config{
		PacketSize: 1 << 20, TopicSize: 1024, PublishRate: 100, PublishBurst: 1000, ReceiveMaximum: 1024,
		TopicAliases: 32, Readers: 4,
	}
}

// Validate names the field that cannot be.
func (c Config) Validate() error {
	switch {
	case c.PacketSize < 1024:
		return fmt.Errorf("PacketSize %d: less than 1024 bytes", c.PacketSize)
	case c.TopicSize < 128 || c.TopicSize > 65535:
		return fmt.Errorf("TopicSize %d: not between 128 and 65535 bytes", c.TopicSize)
	case c.PublishRate < 0 || c.PublishRate > 0 && c.PublishBurst < 1:
		return fmt.Errorf("PublishRate %v with PublishBurst %d: nothing could be published", c.PublishRate, c.PublishBurst)
	case c.ReceiveMaximum == 0:
		return fmt.Errorf("ReceiveMaximum 0: nothing could be published")
	case c.AccountConnections < 0 || c.AccountPublishRate < 0 || c.AccountPublishRate > 0 && c.AccountPublishBurst < 1:
		return fmt.Errorf("AccountConnections %d, AccountPublishRate %v, AccountPublishBurst %d: nobody could publish",
			c.AccountConnections, c.AccountPublishRate, c.AccountPublishBurst)
	case c.Readers < 1:
		return fmt.Errorf("Readers %d: less than 1", c.Readers)
	}
	return nil
}

// Rooms are what the plug-ins hand over to.
type Rooms struct {
	Accounts     *accounts.Service
	Chat         *chat.Service
	Table        *api.Table
	Sessions     *sessions.Registry
	Devices      *devices.Service
	Things       *devices.Things
	Claims       *devices.Claims
	Factory      *devices.Factory
	Receipts     *devices.Receipts
	Jobs         *jobs.Service
	Provisioning *provisioning.Desk
	Places       *Places // nil: nobody says where he is
	Bridges      Bridges // nil: nobody listens to them
}

// Bridges listen to what devices say that speak for others in a home.
type Bridges interface {
	// Arrived is that such a device has connected. It waits for nothing.
	Arrived(did accounts.Name, home string)
	// Hear is what such a device has published, in the order of its publishing. It waits, not longer than ctx, if there is much
	// to be heard; what there is room for is heard though ctx is over.
	Hear(ctx context.Context, did accounts.Name, home, topic string, payload []byte)
}

// Gateway runs MQTT connections.
type Gateway struct {
	cfg    Config
	rooms  Rooms
	log    *slog.Logger
	server *mqtt.Server
	limits *accountLimits
	// applicants are all those who have no account, together.
	applicants *accountLimits
	serial     atomic.Uint64 // numbers connections

	// wills counts connections that were made with a will that mochi knows of. It is counted by each connection itself: mochi
	// writes to the will without a lock when the connection ends.
	wills atomic.Int64

	panics  prometheus.Counter
	answers *prometheus.CounterVec // by outcome: "ok", or the err of protocol.md section 3
	okay    prometheus.Counter     // that of "ok"
	residue *prometheus.Desc
}

// New puts the plug-ins in front of the rooms. cfg has been validated.
func New(cfg Config, rooms Rooms, log *slog.Logger) (*Gateway, error) {
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MaximumClients = 1 << 40 // broker/transport has the limits
	capabilities.MaximumClientWritesPending = 1
	capabilities.MaximumMessageExpiryInterval = 0 // would be deleted after 24 h otherwise
	capabilities.MaximumPacketSize = cfg.PacketSize
	capabilities.ReceiveMaximum = cfg.ReceiveMaximum
	capabilities.TopicAliasMaximum = cfg.TopicAliases
	capabilities.Compatibilities.NoInheritedPropertiesOnAck = true

	if cfg.ACL == nil {
		cfg.ACL = &ACL{}
	}
	g := &Gateway{
		cfg: cfg, rooms: rooms, log: log,
		limits:     newAccountLimits(cfg.AccountConnections, cfg.AccountPublishRate, cfg.AccountPublishBurst),
		applicants: newAccountLimits(maxApplicants, 0, 0),
		server: mqtt.New(&mqtt.Options{
			Capabilities:            capabilities,
			ClientNetReadBufferSize: 1024,
			// mochi logs whole packets, with payloads and passwords.
			Logger: slog.New(slog.DiscardHandler),
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_panics_total", Help: "Panics that ended one connection."}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_publish_outcomes_total", Help: "What became of PUBLISH packets."}, []string{"outcome"}),
		residue: prometheus.NewDesc("magpie_mochi_residue",
			"What has collected in mochi's own in-flight maps, topic index and retained messages; anything but 0 is a bug.",
			nil, nil),
	}
	for _, plugin := range []mqtt.Hook{
		&limitsPlugin{}, &authPlugin{g: g}, &sessionsPlugin{g: g}, &acksPlugin{g: g}, &publishPlugin{g: g}, &fitPlugin{},
	} {
		if err := g.server.AddHook(plugin, nil); err != nil {
			return nil, fmt.Errorf("add plug-in %s: %w", plugin.ID(), err)
		}
	}
	g.okay = g.answers.WithLabelValues("ok")
	rooms.Sessions.SetWillHandler(g.publishWill)
	rooms.Sessions.SetLater(g.mayStill)
	rooms.Accounts.SetRevoked(rooms.Sessions.Revoked)
	rooms.Accounts.SetBarred(func(did accounts.Name) {
		rooms.Sessions.Disconnect(did, packets.ErrNotAuthorized.Code)
	})
	rooms.Sessions.SetGrants(func(who accounts.Name, device bool, filter string) bool {
		grants, _, err := g.grantsOf(context.Background(), who, device)
		if err != nil { // rather than that it gets what it may not
			log.Warn("filter taken back, because it is not known whether it is granted", "account", who, "filter", filter,
				"err", err)
			return false
		}
		c := &connection{account: who, device: device, grants: grants}
		return c.grantFilter(filter, longestTopic) == 0
	})
	rooms.Sessions.SetStray(g.isStray)
	return g, nil
}

// isStray says whether a stored session of a device has a part in another place than the device has now: in a home that is not
// its own any more, or, of one that is mounted in a home, in what is nobody's. The latter is how homes were before they lay
// below $home, too: a bridge that went on with its session would think that it still subscribes to something.
func (g *Gateway) isStray(ctx context.Context, st sessions.State) (bool, error) {
	either := func(s sessions.Subscription) bool { return ofHome(s) || ofNobody(s) }
	if !st.Options.Device || !slices.ContainsFunc(st.Subscriptions, either) {
		return false, nil
	}
	grants, home, err := g.grantsOf(ctx, st.Key.Account, true)
	return err == nil && slices.ContainsFunc(st.Subscriptions, func(s sessions.Subscription) bool {
		return (ofHome(s) || home != "" && ofNobody(s)) && !grants.MaySubscribe(unshared(s.Filter))
	}), err
}

// ofHome says whether a subscription is one to what a home has mounted.
func ofHome(s sessions.Subscription) bool { return firstLevel(unshared(s.Filter)) == homes }

// ofNobody says whether a subscription is one to free topics.
func ofNobody(s sessions.Subscription) bool { return free(unshared(s.Filter)) }

// connection is one TCP connection that speaks, or is about to speak, MQTT. Fields above mu are written while CONNECT is
// handled and only read afterwards.
type connection struct {
	conn    *transport.Conn
	client  *mqtt.Client // set with the CONNECT
	account accounts.Name
	device  bool // it is that of a device
	// applicant: it has no account, and asks for that of a device.
	applicant bool
	dismissal *time.Timer    // ends the connection of an applicant
	batch     string         // whose secret an applicant has shown; empty: none, and it does with each request
	proof     accounts.Proof // what it has shown
	serial    uint64         // no other connection has it; 0: not known yet
	id        string         // the client id as the client gave it, or as it was assigned
	version   byte           // of MQTT: 4 or 5
	options   sessions.Options
	grants    *Grants        // what the account may do with free topics
	home      string         // that a device is mounted in; empty: none
	place     *place         // among the connections of the account
	link      *sessions.Link // nil until the session is connected
	number    sessions.Number
	will      *sessions.Will
	// emptyWill: the payload of the will is empty, whatever mochi says of it.
	emptyWill bool
	limiter   *rate.Limiter // nil: no limit
	publishes uint64        // PUBLISH packets that were read; of the reader
	sends     chat.Pipeline // messages; of the reader
	showing   showing
	// revision is that of the account, or of all if it was not known yet, when authentication began.
	revision uint64

	ctx     context.Context // ends with the connection
	readers chan struct{}   // one token per request that is being read
	reading sync.WaitGroup

	said atomic.Bool // the client said goodbye with a DISCONNECT that withholds the will

	mu     sync.Mutex
	expiry *uint32 // session expiry that the DISCONNECT changed it to
}

// Serve runs one connection from its first byte to its end.
func (g *Gateway) Serve(conn *transport.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &connection{conn: conn, ctx: ctx, readers: make(chan struct{}, g.cfg.Readers)}
	if g.cfg.PublishRate > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(g.cfg.PublishRate), g.cfg.PublishBurst)
	}
	conn.Attach(c)
	// A reader that waits for room, for the store or for a client that does not take its answers is let go when the socket
	// dies: mochi would not notice before it reads again.
	conn.OnEnd(cancel)
	conn.OnViolation(func(v *transport.Violation) { g.broke(c, v) })
	g.guard(c, "connection", func() {
		c.emptyWill = amendConnect(conn)
		err := g.server.EstablishConnection(conn.Listener(), conn)
		g.log.Debug("connection ended", "account", c.account, "client", c.id, "err", err)
	})

	// Whatever happened inside mochi, this is the one place where a connection ends.
	cancel()
	c.reading.Wait()
	defer c.place.leave()
	if c.link == nil {
		return
	}
	// Before the session is free for another connection: it is to come after this one.
	switch {
	case c.applicant:
		if c.dismissal != nil {
			c.dismissal.Stop()
		}
	case c.device:
		g.rooms.Devices.Depart(c.account, c.serial, c.whyEnded())
	default:
		g.rooms.Chat.Depart(context.Background(), c.account, c.serial)
	}
	g.server.Clients.Delete(c.client.ID)
	c.mu.Lock()
	expiry := c.expiry
	c.mu.Unlock()
	c.link.End(sessions.End{ExpirySeconds: expiry, NoWill: c.said.Load()})
}

// of gives the connection behind a client of mochi.
func of(cl *mqtt.Client) *connection {
	return cl.Net.Conn.(*transport.Conn).Attachment().(*connection)
}

// noop is what mochi sees instead of a packet that a plug-in took: it ignores a PUBACK for id 0.
var noop = packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}}

// taken tells mochi that a plug-in took the packet; err, if any, ends the connection.
func taken(err error) (packets.Packet, error) {
	if err != nil {
		return noop, packets.ErrRejectPacket // any other error would be ignored
	}
	return noop, nil
}

// violation ends a connection that broke the protocol (MQTT 5, 4.13).
func (g *Gateway) violation(cl *mqtt.Client, code packets.Code) (packets.Packet, error) {
	g.log.Debug("protocol violation", "account", of(cl).account, "client", of(cl).id, "reason", code.Reason)
	disconnect(g.server, cl, code)
	return noop, packets.ErrRejectPacket
}

// Residue counts what has collected in the parts of mochi that must stay empty: in-flight messages, subscriptions,
// retained messages, wills.
func (g *Gateway) Residue() int {
	n := int(g.wills.Load()) + g.server.Topics.Retained.Len()
	n += len(g.server.Topics.Messages("#")) + len(g.server.Topics.Messages("$SYS/#"))
	for _, cl := range g.server.Clients.GetAll() {
		n += cl.State.Inflight.Len() + cl.State.Subscriptions.Len()
	}
	return n
}

// Connections is how many connections mochi holds.
func (g *Gateway) Connections() int { return g.server.Clients.Len() }

// Collectors are the metrics of the plug-ins.
func (g *Gateway) Collectors() []prometheus.Collector {
	return []prometheus.Collector{g.panics, g.answers, residueCollector{g}}
}

// residueCollector counts at the time of asking.
type residueCollector struct{ g *Gateway }

func (r residueCollector) Describe(ch chan<- *prometheus.Desc) { ch <- r.g.residue }

func (r residueCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(r.g.residue, prometheus.GaugeValue, float64(r.g.Residue()))
}
