package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Store is a database that is open. Safe for concurrent use.
type Store struct {
	cfg    Config
	logger *slog.Logger
	client *mongo.Client
	db     *mongo.Database
	limits limits
	health *health
	lease  *lease
	counts *counts
	id     string // of the database
	epoch  int64  // grows with each Open of the database
	stop   func() // what runs in the background

	stopMending func() // nil: it does not

	seq        *sequencer
	tender     *tender
	stopTender func()

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup // calls that are under way

	life    context.Context // of what runs in the background, and of what is written
	end     context.CancelFunc
	running sync.WaitGroup // what runs in the background

	convMu sync.Mutex
	convs  map[chat.Conversation]*conversation
	// convWeight is what those weigh that are in memory.
	convWeight atomic.Int64

	following sync.RWMutex // held while something follows; by who needs all of one moment, alone
	flightMu  sync.Mutex
	flights   map[chat.Conversation]flight // where things follow, until they have
	// torn is where not all has followed, because the database has failed, and who is told there.
	torn map[chat.Conversation]map[accounts.Name]bool

	pushMu      sync.Mutex
	pushQueue   []*pushing
	pushRunning bool

	headMu sync.Mutex
	heads  map[accounts.Name]streamHead

	people people

	attempts attempts

	telemetry *telemetry

	left   chan struct{} // has a value when something may have been left open
	onLate atomic.Pointer[func(chat.Arrival)]
}

// Open connects to the database, sees that it is one that can be used, and makes what is missing there.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Store, error) {
	cfg = cfg.withDefaults()
	o, database, err := cfg.client()
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, logger: log, counts: newCounts(),
		convs: map[chat.Conversation]*conversation{}, heads: map[accounts.Name]streamHead{},
		flights: map[chat.Conversation]flight{}, torn: map[chat.Conversation]map[accounts.Name]bool{},
		left:      make(chan struct{}, 1),
		telemetry: newTelemetry(),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.health = newHealth(log, s.ping, cfg.Timeout/2)
	client, err := mongo.Connect(o.SetMonitor(s.commands()).SetPoolMonitor(s.counts.pool()).SetServerMonitor(s.topology()))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrConfig, reason(err))
	}
	s.client, s.db = client, client.Database(database)
	if err := s.prove(ctx); err != nil {
		return nil, errors.Join(err, s.disconnect())
	}
	s.start()
	if err := s.openQueues(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.finishAll(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.finishPeople(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	mending, stopMending := context.WithCancel(s.life)
	s.stopMending = stopMending
	s.running.Go(func() { s.mend(mending) })
	return s, nil
}

// start starts what runs in the background, until stop.
func (s *Store) start() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.health.watch(ctx) })
	if s.lease != nil {
		running.Go(func() { s.keep(ctx) })
	}
	s.stop = func() {
		cancel()
		running.Wait()
	}
}

// prove sees what there is, takes the database, and makes what is missing.
func (s *Store) prove(ctx context.Context) error {
	if err := s.reach(ctx); err != nil {
		return err
	}
	if err := s.learnLimits(ctx); err != nil {
		return err
	}
	if err := s.inspect(ctx); err != nil {
		return err
	}
	if err := s.enroll(ctx); err != nil {
		return err
	}
	err := s.prepare(ctx)
	if err == nil && s.lease != nil && s.lease.holds() != nil { // that took long
		err = starting("say that the database is still ours", s.lease.renew(ctx))
	}
	if err != nil {
		s.giveBack()
	}
	return err
}

// giveBack lets others have the database.
func (s *Store) giveBack() {
	if s.lease == nil {
		return
	}
	if err := s.lease.giveBack(); err != nil {
		s.logger.Warn("the database is not given back, others have to wait for it", "err", reason(err))
	}
}

// reach waits until the database answers.
func (s *Store) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	return starting("reach the database", s.ping(ctx))
}

func (s *Store) ping(ctx context.Context) error {
	return s.db.RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
}

// Close waits for calls that are under way, lets others have the database, and disconnects. Later calls fail.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	if s.stopMending != nil {
		s.stopMending()
	}
	s.users.Wait()
	s.running.Wait()
	s.closeQueues()
	s.end()
	s.stop()
	s.giveBack()
	return s.disconnect()
}

func (s *Store) disconnect() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	return s.client.Disconnect(ctx)
}

// enter begins a call, which ends with leave. While the database is away calls fail at once.
func (s *Store) enter() error {
	if err := s.health.away(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.users.Add(1)
	return nil
}

// enterWrite is enter for calls that write: they fail also while it is not known whether the database is ours.
func (s *Store) enterWrite() error {
	if err := s.Writable(); err != nil {
		return err
	}
	return s.enter()
}

func (s *Store) leave() { s.users.Done() }

// Accounts gives the accounts' part of the store.
func (s *Store) Accounts() accounts.Store { return accountStore{s} }
