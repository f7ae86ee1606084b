// Package pebble keeps everything on one machine, in a CockroachDB Pebble database: an ordered map of bytes with a log.
//
// One [Store] is the accounts.Store, chat.Store, devices.Store and sessions.Store of a node. Every change of any of them is
// one batch that takes its place in one order (sequencer.go) and becomes durable a moment later, together with all that
// wait at that time. Nothing that was read is returned before it is durable. keys.go and rows.go hold the format;
// docs/storage.md explains it.
//
// Small changes share a batch when the disk is busy. Queues of free topics (queues.go) get their entries without reading
// anything; what is needed to keep them within their bounds (backlog.go) and to remove what nobody needs any more
// (sweep.go) is done by one goroutine in the background, the tender.
//
// Chat keeps what it needs to find the next place of a message in memory: conversations and streams are loaded when they
// are used and stay as long as there is room (cache.go). What is in memory can always be computed from what is on the
// disk; no total is stored anywhere.
package pebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/backlogs"
)

// Store is an open data directory. It is safe for concurrent use.
type Store struct {
	cfg    Config
	log    *slog.Logger
	db     *pebble.DB
	lock   *pebble.Lock
	health *health
	seq    *sequencer
	counts *counts

	accountTurn turn // who changes accounts
	peopleTurn  turn // who changes profiles and settings
	deviceTurn  turn // who changes what is known of devices

	checkpointTurn turn // who makes a checkpoint

	telemetryTurns telemetryTurns

	// Guarded by seq.mu.
	conversations *cache[chat.Conversation, *conversation]
	members       *cache[chat.Member, *member] // of rooms
	streams       *cache[accounts.Name, *stream]
	people        *cache[accounts.Name, *person]
	backlogs      *backlogs.Shelf[appended]
	retained      *retained
	pace          backlogs.Pace // of sweeps, by the bytes of content that are written
	mids          map[mid]*claimedMID
	endingMIDs    atomic.Bool   // somebody is removing mids
	appendedMIDs  []*claimedMID // applied, oldest first; those that are durable are dropped as new ones come

	contents *contentCache
	grounded grounded
	tender   *tender

	stop context.CancelFunc // of the goroutines below
	done sync.WaitGroup     // of the goroutine that watches the disk

	delayed atomic.Int64 // messages

	calls gate
}

// Open opens the data in cfg.Dir, and makes an empty store if there is none. A refused directory is as it was before:
// ErrInUse, ErrDamaged, ErrNewer, ErrFull, or what the machine says.
func Open(cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	started := time.Now()
	h := newHealth(log, cfg.Fatal)
	db, lock, err := openEngine(cfg, h, log)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		cfg: cfg, log: log, db: db, lock: lock, health: h,
		seq:  newSequencer(db, h, cfg.Pending, cfg.Clock),
		mids: map[mid]*claimedMID{},

		accountTurn: newTurn(),
		peopleTurn:  newTurn(),
		deviceTurn:  newTurn(),

		checkpointTurn: newTurn(),

		telemetryTurns: newTelemetryTurns(),
	}
	s.calls.open()
	s.counts = newCounts(s)
	s.seq.observe = func(d time.Duration, changes int) {
		s.counts.commits.Observe(d.Seconds())
		s.counts.changes.Observe(float64(changes))
	}
	s.conversations = newCache(&s.seq.mu, cfg.Conversations, s.loadConversation)
	s.members = newCache(&s.seq.mu, cfg.Streams, s.loadMember)
	s.streams = newCache(&s.seq.mu, cfg.Streams, s.loadStream)
	s.people = newCache(&s.seq.mu, cfg.People, s.loadPerson)
	s.backlogs, s.retained = newBacklogs(cfg.Queues), newRetained()
	s.contents = newContentCache(contentRoom)
	s.tender = &tender{Store: s, sweeps: backlogs.NewRequests()}
	if err := errors.Join(s.loadPosition(), s.countDelayed()); err != nil {
		s.seq.close()
		return nil, fmt.Errorf("open store: %w", errors.Join(err, db.Close(), lock.Close()))
	}
	s.watch()
	log.Info("store opened", "dir", cfg.Dir, "took", time.Since(started))
	return s, nil
}

// watch looks at the free space once, so that Writable is right from the start, and goes on in the background.
func (s *Store) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	if err := s.health.checkSpace(s.cfg.FS, s.cfg.Dir, s.cfg.MinFree); err != nil {
		s.log.Warn("free disk space is unknown", "dir", s.cfg.Dir, "err", err)
	}
	go s.tender.run(ctx)
	s.done.Go(func() { s.health.watchSpace(ctx, s.cfg.FS, s.cfg.Dir, s.cfg.MinFree, s.cfg.CheckEvery) })
}

// Accounts is the store of accounts.
func (s *Store) Accounts() accounts.Store { return accountStore{s} }

// Chat is the store of chat.
func (s *Store) Chat() chat.Store { return chatStore{s} }

// Sessions is the store of sessions. It is their sessions.Queues too.
func (s *Store) Sessions() sessions.Store { return sessionStore{s} }

// Failed is closed when the store has failed. Nothing is acknowledged from then on, and only a new process can find out
// what is on the disk: the caller has to end.
func (s *Store) Failed() <-chan struct{} { return s.health.failed }

// Err says why the store has failed; nil as long as it has not.
func (s *Store) Err() error { return s.health.err() }

// Writable says why writes are refused at this moment; nil if they are not.
func (s *Store) Writable() error { return s.health.writable() }

// Collectors are the store's metrics.
func (s *Store) Collectors() []prometheus.Collector { return s.counts.collectors() }

// Close refuses further calls, waits for those that run and for pending commits, and closes the data. Closing again does
// nothing. A store that has failed, or does so now, gives what it failed of, and leaves behind goroutines of the engine
// and the lock of the directory: only the end of the process ends them.
func (s *Store) Close() error {
	if !s.calls.shut() {
		return nil
	}
	s.stop()
	s.done.Wait()
	closed := make(chan error, 1)
	go func() { closed <- s.closeNow() }()
	select {
	case err := <-closed:
		return err
	case <-s.health.failed:
		return s.health.err()
	}
}

func (s *Store) closeNow() error {
	<-s.calls.idle
	<-s.tender.sweeps.Ended()
	s.seq.close()
	if err := s.health.err(); err != nil {
		return err
	}
	// Without a log to read the next start is quick.
	if err := errors.Join(s.db.Flush(), s.db.Close(), s.lock.Close()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// enter begins a call; if it gives nil, leave has to end it.
func (s *Store) enter() error {
	if !s.calls.enter() {
		return errClosed
	}
	if err := s.health.err(); err != nil {
		s.calls.leave()
		return err
	}
	return nil
}

func (s *Store) leave() { s.calls.leave() }

// gate counts the calls that run, so that the database is not taken away from under one.
type gate struct {
	state  atomic.Int64  // calls that run, and gateShut
	idle   chan struct{} // closed when the gate is shut and no call runs
	settle func()        // closes idle, once
}

const gateShut = 1 << 62

func (g *gate) open() {
	g.idle = make(chan struct{})
	g.settle = sync.OnceFunc(func() { close(g.idle) })
}

func (g *gate) enter() bool {
	if g.state.Add(1) < gateShut {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateShut {
		g.settle()
	}
}

// shut lets no further call in. It says whether this was the first time.
func (g *gate) shut() bool {
	for {
		n := g.state.Load()
		if n >= gateShut {
			return false
		}
		if g.state.CompareAndSwap(n, n+gateShut) {
			if n == 0 {
				g.settle()
			}
			return true
		}
	}
}

// get reads one row. A row that is not there is no error.
func (s *Store) get(key []byte, what string, row any) (found bool, err error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, unavailable("read "+what, err)
	}
	if err := errors.Join(decode(what, value, row), closer.Close()); err != nil {
		return false, unavailable("read "+what, err)
	}
	return true, nil
}

// getRarely is get for a row that is hardly ever there: it asks the filters of the last level too, which get does not, and
// which hold most of all keys.
func (s *Store) getRarely(key []byte, what string, row any) (found bool, err error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key, UpperBound: append(key, 0), UseL6Filters: true})
	if err != nil {
		return false, unavailable("read "+what, err)
	}
	if found = iter.SeekPrefixGE(key); found {
		var value []byte
		if value, err = iter.ValueAndErr(); err == nil {
			err = decode(what, value, row)
		}
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return false, unavailable("read "+what, err)
	}
	return found, nil
}

// scan calls visit for the rows in [from, to) in order until it says that it has enough.
func (s *Store) scan(from, to []byte, what string, visit func(key, value []byte) (more bool, err error)) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return unavailable("read "+what, err)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		more := false
		if err == nil {
			more, err = visit(iter.Key(), value)
		}
		if err != nil {
			return unavailable("read "+what, errors.Join(err, iter.Close()))
		}
		if !more {
			break
		}
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return unavailable("read "+what, err)
	}
	return nil
}

func (s *Store) batch() *pebble.Batch { return s.db.NewBatch() }
