package mongo

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Store is a database that is open. Safe for concurrent use.
type Store struct {
	cfg    Config
	client *mongo.Client
	db     *mongo.Database

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup // calls that are under way

	life    context.Context // of what runs in the background, and of what is written
	end     context.CancelFunc
	running sync.WaitGroup // what runs in the background

	convMu sync.Mutex
	convs  map[chat.Conversation]*conversation

	following sync.RWMutex // held while something follows; by who needs all of one moment, alone
	flightMu  sync.Mutex
	flights   map[chat.Conversation]chan struct{} // where things follow, until they have

	pushMu      sync.Mutex
	pushQueue   []*pushing
	pushRunning bool

	headMu sync.Mutex
	heads  map[accounts.Name]streamHead
}

// Open connects to the database, and makes what is missing there.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	o, database, err := cfg.client()
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	s := &Store{
		cfg: cfg, client: client, db: client.Database(database), convs: map[chat.Conversation]*conversation{},
		heads: map[accounts.Name]streamHead{}, flights: map[chat.Conversation]chan struct{}{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	starting, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	if err := client.Ping(starting, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("the database does not answer: %w", err), client.Disconnect(ctx))
	}
	if err := createIndexes(starting, s.db); err != nil {
		return nil, errors.Join(err, client.Disconnect(ctx))
	}
	if err := s.finishAll(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close waits for calls that are under way, and disconnects. Later calls fail.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.users.Wait()
	s.running.Wait()
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	return s.client.Disconnect(ctx)
}

// enter begins a call, which ends with leave.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.users.Add(1)
	return nil
}

func (s *Store) leave() { s.users.Done() }

// Accounts gives the accounts' part of the store.
func (s *Store) Accounts() accounts.Store { return accountStore{s} }
