package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/transfer"
)

// store is what commands need of an open store of either kind.
type store interface {
	broker.Store
	Transfer() transfer.Store
	// Check looks whether everything is as it has to be. Nobody else uses the store meanwhile.
	Check(ctx context.Context) (transfer.Report, error)
	Close() error
}

// inMongo says whether everything is in MongoDB.
func inMongo(cfg broker.Config) bool { return cfg.Store.URI.Reveal() != "" }

// storeName is how lines for people call the store.
func storeName(cfg broker.Config) string {
	if inMongo(cfg) {
		return cfg.Store.URI.String()
	}
	return cfg.Data
}

// inUse says whether somebody else has the store.
func inUse(err error) bool {
	return errors.Is(err, pebble.ErrInUse) || errors.Is(err, mongo.ErrInUse) || errors.Is(err, errNodeRuns)
}

// openStore opens the store that is configured, for nobody else to have it meanwhile.
func openStore(ctx context.Context, cfg broker.Config, log *slog.Logger) (store, error) {
	return openAny(ctx, cfg, false, log)
}

// openUnfinished is openStore for an import, which may be under way already.
func openUnfinished(ctx context.Context, cfg broker.Config) (store, error) {
	return openAny(ctx, cfg, true, slog.New(slog.DiscardHandler)) // what matters comes back as an error
}

func openAny(ctx context.Context, cfg broker.Config, unfinished bool, log *slog.Logger) (store, error) {
	if inMongo(cfg) {
		s, err := openDatabase(ctx, cfg, unfinished, log)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	s, err := pebble.Open(pebble.Config{
		Dir:        cfg.Data,
		CacheSize:  int64(cfg.Store.Cache),
		MinFree:    uint64(cfg.Store.MinFree),
		QueueAge:   time.Duration(cfg.Sessions.QueueAge),
		Unfinished: unfinished,
	}, log)
	if err != nil {
		return nil, notOpened(cfg, err)
	}
	return s, nil
}

// notOpened says what to do about a store that cannot be opened.
func notOpened(cfg broker.Config, err error) error {
	is := func(one, other error) bool { return errors.Is(err, one) || errors.Is(err, other) }
	name := storeName(cfg)
	switch {
	case inUse(err):
		return fmt.Errorf("%s: another magpie is running on it: %w", name, err)
	case is(pebble.ErrDamaged, mongo.ErrDamaged):
		return fmt.Errorf("%s: nothing was changed; copy it before trying anything: %w", name, err)
	case is(pebble.ErrNewer, mongo.ErrNewer):
		return fmt.Errorf("%s: nothing was changed; use the magpie that wrote it, or a newer one: %w", name, err)
	case is(pebble.ErrUnfinished, mongo.ErrUnfinished):
		return fmt.Errorf("%s: finish it by the same command, or begin again with an empty one: %w", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// database is a store in MongoDB, with what makes this data directory one node of it.
type database struct {
	*mongo.Store
	node *nodeFile
}

func mongoConfig(cfg broker.Config) mongo.Config {
	return mongo.Config{
		URI:          cfg.Store.URI.Reveal(),
		Password:     cfg.Store.Password.Reveal(),
		StartTimeout: time.Duration(cfg.Store.StartTimeout),
		Timeout:      time.Duration(cfg.Store.Timeout),
		Lease:        time.Duration(cfg.Store.Lease),
		QueueAge:     time.Duration(cfg.Sessions.QueueAge),
		Alone:        true,
	}
}

func openDatabase(ctx context.Context, cfg broker.Config, unfinished bool, log *slog.Logger) (*database, error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	node, err := openNodeFile(cfg.Data)
	if err != nil {
		return nil, notOpened(cfg, err)
	}
	with := mongoConfig(cfg)
	with.Node, with.Unfinished = node.id, unfinished
	s, err := mongo.Open(ctx, with, log)
	if err != nil {
		return nil, errors.Join(notOpened(cfg, err), node.Close())
	}
	return &database{s, node}, nil
}

// Check looks at what would be exported.
func (d *database) Check(ctx context.Context) (transfer.Report, error) {
	return transfer.Check(ctx, d.Transfer())
}

// Close closes the store before another process can be this node.
func (d *database) Close() error { return errors.Join(d.Store.Close(), d.node.Close()) }

func closeStore(s store) error {
	if err := s.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
