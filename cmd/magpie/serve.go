package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/store/mongo"
)

// addressesFile is where a running server says, in its data directory, what it listens on.
const addressesFile = "addresses.json"

// stopTimeout is how long a clean stop may take; then the process ends as it is. Nothing that was acknowledged is lost
// by that.
const stopTimeout = 10 * time.Second

type serveFlags struct {
	configFlags
	MQTT *string `name:"mqtt" help:"Address for MQTT (default: 127.0.0.1:1883)." placeholder:"ADDR"`
	HTTP *string `name:"http" help:"Address for HTTP (default: 127.0.0.1:8080)." placeholder:"ADDR"`
}

// load also looks whether there is a certificate where one is configured: better now than at the first handshake. The same goes
// for the address of a database.
func (f serveFlags) load(environ []string, more ...func(*broker.Config)) (broker.Config, error) {
	flags := func(cfg *broker.Config) {
		override(&cfg.MQTT, f.MQTT)
		override(&cfg.HTTP, f.HTTP)
	}
	cfg, err := f.configFlags.load(environ, append([]func(*broker.Config){flags}, more...)...)
	if err == nil && cfg.TLS.Cert != "" {
		if _, err = tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key); err != nil {
			err = fmt.Errorf("%w: tls: %w", errConfig, err)
		}
	}
	if err == nil && inMongo(cfg) {
		if err = mongoConfig(cfg).Validate(); errors.Is(err, mongo.ErrConfig) {
			err = fmt.Errorf("%w: %s: %w", errConfig, storeURIKey, err)
		}
	}
	return cfg, err
}

type serveCommand struct {
	serveFlags
	Demo bool `help:"Add the users alice, bob and carol, let anybody register, and say what to try."`
}

// Run serves until a signal or a failure.
func (f serveCommand) Run(c *console) (err error) {
	var more []func(*broker.Config)
	if f.Demo {
		more = append(more, demoConfig)
	}
	cfg, err := f.load(c.environ, more...)
	if err != nil {
		return err
	}
	if f.Demo && cfg.MQTT == "" {
		return fmt.Errorf("%w: the demo needs an MQTT address", errUsage)
	}
	log := newLog(cfg.Log, c.err)
	ctx, stop := stopOnSignal(c.ctx, log)
	defer stop()

	store, err := openStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		if store.Err() == nil { // a store that failed may never close; what it promised is on the disk
			err = errors.Join(err, closeStore(store))
		}
	}()
	if err := forgetAddresses(cfg.Data); err != nil {
		return err
	}
	if ceiling := cfg.MemoryCeiling(); ceiling > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(ceiling)) // garbage is collected before it passes the ceiling
	}
	node, err := broker.New(cfg, store, log, broker.WithVersion(built()))
	if err != nil {
		return err
	}
	if f.Demo {
		if err := seedDemo(ctx, node); err != nil {
			return fmt.Errorf("set up the demo: %w", err)
		}
	}
	err = serve(ctx, node, func() error {
		a := node.Addresses()
		log.Info("ready", "mqtt", a.MQTT, "http", a.HTTP, "mqtts", a.MQTTS, "https", a.HTTPS, "data", cfg.Data,
			"store", cfg.Store.URI.String())
		if f.Demo {
			if err := printDemo(c.out, c.args, a); err != nil {
				return err
			}
		}
		return writeAddresses(cfg.Data, a) // last: who waits for the file finds everything said
	})
	if failed := store.Err(); failed != nil {
		return fmt.Errorf("%w failed, and the server ends rather than acknowledge what it cannot keep: %w", errStore, failed)
	}
	return errors.Join(err, forgetAddresses(cfg.Data))
}

// serve runs the node and calls ready once it accepts connections.
func serve(ctx context.Context, node *broker.Node, ready func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-node.Ready():
	}
	err := ready()
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-ended)
}

// stopOnSignal gives a context that ends with the first SIGTERM or SIGINT. The second one ends the process, as does a
// stop that takes too long.
func stopOnSignal(parent context.Context, log *slog.Logger) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			log.Info("stopping", "signal", s.String())
			cancel()
		case <-done:
			return
		}
		select {
		case <-signals:
			log.Warn("stopped at once by a second signal")
		case <-time.After(stopTimeout):
			log.Error("stop took too long", "timeout", stopTimeout)
		case <-done:
			return
		}
		os.Exit(exitError)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// listening is what the file says. PID tells a crash's leftover from the file of the process that was just started.
type listening struct {
	PID int `json:"pid"`
	broker.Addresses
}

// writeAddresses writes the file in one step: who sees it can connect to what it says.
func writeAddresses(dir string, a broker.Addresses) error {
	text, err := json.Marshal(listening{os.Getpid(), a})
	if err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	path := filepath.Join(dir, addressesFile)
	if err := os.WriteFile(path+".tmp", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return nil
}

// forgetAddresses removes the file, also the one that a crash left.
func forgetAddresses(dir string) error {
	if err := os.Remove(filepath.Join(dir, addressesFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget addresses: %w", err)
	}
	return nil
}

func newLog(cfg broker.LogConfig, to io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // validated
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}
