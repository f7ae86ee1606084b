// Package broker puts one node together and keeps it alive: the services of the rooms, the plug-ins in front of them, the
// listeners, in the order in which they start, and the order in which they stop.
package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/authority"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/broker/transport"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/hooks"
	"github.com/magpie-im/magpie/records"
)

// Store is what a node needs of its store.
type Store interface {
	Accounts() accounts.Store
	Chat() chat.Store
	Sessions() sessions.Store
	Devices() devices.Store
	Telemetry() devices.Telemetry
	Records() records.Store
	// Checkpoint is that of api.Checkpointer.
	Checkpoint(ctx context.Context) (name string, err error)
	// Writable gives nil if a write would be accepted now.
	Writable() error
	// Failed is closed when the store can no longer write and the process has to end; Err then says why.
	Failed() <-chan struct{}
	Err() error
	Collectors() []prometheus.Collector
}

// stopTimeout is how long a stop may take in all: clients are told and their acks written in the first part of it.
const (
	stopTimeout  = 9 * time.Second
	leaveTimeout = 6 * time.Second
)

// Node is one running Magpie. It is made by New and run once.
type Node struct {
	cfg   Config
	store Store
	log   *slog.Logger

	version string // empty: not known

	*domain
	transport *transport.Server
	gateway   *hooks.Gateway
	memory    *hooks.Memory
	metrics   *prometheus.Registry
	web       *web
	sys       *sys
	trusted   *authority.Trust // nil: nobody vouches for devices
	loaded    bool             // by Administer

	ready     chan struct{} // closed when addresses is complete and every listener accepts
	addresses Addresses
}

// Addresses are where a node listens, as bound; empty where it does not.
type Addresses struct {
	MQTT  string `json:"mqtt,omitempty"`
	HTTP  string `json:"http,omitempty"`
	MQTTS string `json:"mqtts,omitempty"`
	HTTPS string `json:"https,omitempty"`
}

// url is where the node answers HTTP, as it knows itself.
func (a Addresses) url() string {
	if a.HTTPS != "" {
		return "https://" + a.HTTPS
	}
	return "http://" + a.HTTP
}

// New puts a node together on an open store, which stays the caller's to close after Run. The configuration has been
// validated.
func New(cfg Config, store Store, log *slog.Logger, options ...Option) (*Node, error) {
	parts := []interface{ Validate() error }{
		cfg.accounts(), cfg.sessions(), cfg.chat(), cfg.devices(), cfg.telemetry(), cfg.automations(), cfg.locations(),
		cfg.transport(), cfg.rest(), cfg.hooks(),
	}
	for _, part := range parts {
		if err := part.Validate(); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	rooms := newDomain(cfg, store, log)
	table := rooms.table()
	plugins := cfg.hooks()
	plugins.Memory = hooks.NewMemory(cfg.MemoryCeiling(), log)
	listeners := cfg.transport()
	listeners.Tight = plugins.Memory.Tight
	acl, err := cfg.acl()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	plugins.ACL = acl
	desk, err := cfg.provisioner(rooms.factory, rooms.accounts)
	if err != nil {
		return nil, err
	}
	gateway, err := hooks.New(plugins, hooks.Rooms{
		Accounts: rooms.accounts, Chat: rooms.chat, Table: table, Sessions: rooms.sessions, Devices: rooms.devices,
		Things: rooms.things, Claims: rooms.claims, Factory: rooms.factory, Jobs: rooms.jobs, Bridges: rooms.bridges,
		Receipts: rooms.receipts, Provisioning: desk, Places: rooms.phones,
	}, log)
	if err != nil {
		return nil, fmt.Errorf("set up plug-ins: %w", err)
	}
	n := &Node{
		cfg: cfg, store: store, log: log,
		domain: rooms, gateway: gateway, memory: plugins.Memory,
		transport: transport.New(listeners, gateway.Serve, log),
		ready:     make(chan struct{}),
	}
	if err := n.trust(rooms.accounts); err != nil {
		return nil, err
	}
	if n.metrics, err = n.collect(); err != nil {
		return nil, fmt.Errorf("set up metrics: %w", err)
	}
	n.web = newWeb(n, table)
	for _, option := range options {
		option(n)
	}
	if n.sys, err = newSys(n); err != nil {
		return nil, fmt.Errorf("set up $SYS: %w", err)
	}
	return n, nil
}

// Option says more about a node than its configuration does.
type Option func(*Node)

// WithVersion says what the node calls itself in $SYS/broker/version.
func WithVersion(version string) Option { return func(n *Node) { n.version = version } }

// Ready is closed when the node accepts connections.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Addresses gives where the node listens; valid once Ready is closed.
func (n *Node) Addresses() Addresses { return n.addresses }

// Residue counts what has collected in the parts of mochi that must stay empty; anything but 0 is a bug.
func (n *Node) Residue() int { return n.gateway.Residue() }

// Connections is how many clients are connected.
func (n *Node) Connections() int { return n.gateway.Connections() }

// Run listens and serves until ctx ends, the store fails or a listener dies. When it returns, every connection has been
// told and closed, every answer that could be given has been written, and nothing of the node runs any more. The error is
// nil after a clean stop that ctx asked for.
func (n *Node) Run(ctx context.Context) error {
	if err := n.load(ctx); err != nil {
		return errors.Join(err, n.stop())
	}
	if err := n.listen(); err != nil {
		return errors.Join(err, n.stop())
	}
	n.shelf.SetURL(n.addresses.url())
	n.phones.SetURL(cmp.Or(n.cfg.Devices.FilesURL, n.addresses.url()))
	background, cancel := context.WithCancel(context.Background())
	var services sync.WaitGroup
	running := n.services()
	running["sys"], running["trust"] = n.sys.run, n.watchTrust
	for name, run := range running {
		services.Go(func() {
			if err := run(background); err != nil && background.Err() == nil {
				n.log.Error("service ended", "service", name, "err", err)
			}
		})
	}
	close(n.ready)

	var cause error
	select {
	case <-ctx.Done():
	case <-n.store.Failed():
		cause = fmt.Errorf("store failed: %w", n.store.Err())
	case cause = <-n.web.failed:
	}
	err := n.stop()
	cancel()
	services.Wait()
	return errors.Join(cause, err)
}

// listen binds every address that is configured.
func (n *Node) listen() error {
	secure, err := n.secure()
	if err != nil {
		return err
	}
	if n.cfg.MQTT != "" {
		if n.addresses.MQTT, err = n.listenMQTT("tcp", n.cfg.MQTT, nil); err != nil {
			return err
		}
	}
	if n.cfg.TLS.MQTT != "" {
		if n.addresses.MQTTS, err = n.listenMQTT("tls", n.cfg.TLS.MQTT, n.forMQTT(secure)); err != nil {
			return err
		}
	}
	if n.cfg.HTTP != "" {
		if n.addresses.HTTP, err = n.web.listen("tcp", n.cfg.HTTP, nil); err != nil {
			return fmt.Errorf("listen for HTTP: %w", err)
		}
	}
	if n.cfg.TLS.HTTPS != "" {
		if n.addresses.HTTPS, err = n.web.listen("tcp", n.cfg.TLS.HTTPS, secure); err != nil {
			return fmt.Errorf("listen for HTTPS: %w", err)
		}
	}
	if err := n.web.listenAdmin(filepath.Clean(n.cfg.Data)); err != nil {
		return fmt.Errorf("listen on the admin socket: %w", err)
	}
	return nil
}

func (n *Node) listenMQTT(name, addr string, secure *tls.Config) (string, error) {
	bound, err := n.transport.Listen(name, addr, secure)
	if err != nil {
		return "", fmt.Errorf("listen for MQTT: %w", err)
	}
	return bound.String(), nil
}

// stop ends the node from the outside in: no new connections, then every session with its last acks and a word to the
// client, then what is left of the connections.
func (n *Node) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	n.web.stopAccepting()
	errs := []error{n.transport.StopAccepting()}

	leave, done := context.WithTimeout(ctx, leaveTimeout)
	errs = append(errs, n.sessions.Close(leave))
	done()
	errs = append(errs, n.transport.Close(ctx), n.web.close(ctx))
	return errors.Join(errs...)
}

// collect gathers the metrics of all rooms.
func (n *Node) collect() (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	all := slices.Concat(processCollectors(), n.memory.Collectors(), n.store.Collectors(), n.transport.Collectors(),
		n.gateway.Collectors(), n.domain.collectors())
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return registry, nil
}
