package mongo_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// alone is a store that wants to be alone, and is believed to be there for a moment only.
func alone(uri, node string) mongo.Config {
	return mongo.Config{URI: uri, Alone: true, Node: node, Lease: time.Second}
}

func TestASecondNodeIsRefused(t *testing.T) {
	uri := mongotest.Database(t)
	one, err := mongo.Open(t.Context(), alone(uri, "one"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := mongo.Open(t.Context(), alone(uri, "other"), quiet); !errors.Is(err, mongo.ErrInUse) {
		t.Fatalf("open as another node: %v, %v, want %v", other, err, mongo.ErrInUse)
	}
	if err := one.Writable(); err != nil {
		t.Errorf("the first one cannot write: %v", err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, alone(uri, "other")) // at once: it was given back
}

func TestANodeThatIsNotThereAnyMoreIsWaitedFor(t *testing.T) {
	uri := mongotest.Database(t)
	leave(t, uri, "gone")
	began := time.Now()
	open(t, alone(uri, "other"))
	if took := time.Since(began); took < time.Second {
		t.Errorf("another node has taken the database after %s, want a lease", took)
	}
}

func TestANodeTakesOverFromItself(t *testing.T) {
	uri := mongotest.Database(t)
	leave(t, uri, "one")
	cfg := alone(uri, "one")
	cfg.Lease = time.Hour // it would have to wait for so long
	open(t, cfg)
}

// leave leaves a database as a node that had it does when it crashes.
func leave(t *testing.T, uri, node string) {
	t.Helper()
	doc := bson.D{
		{Key: "_id", Value: "node"}, {Key: "epoch", Value: 7}, {Key: "owner", Value: "x"}, {Key: "node", Value: node},
		{Key: "where", Value: "process 1"}, {Key: "beat", Value: 7},
	}
	if _, err := collection(t, uri, "nodes").InsertOne(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
}

func TestWhoHasLostTheDatabaseFails(t *testing.T) {
	uri := mongotest.Database(t)
	one := open(t, alone(uri, "one"))
	open(t, alone(uri, "one")) // a copy of its data directory, for example
	select {
	case <-one.Failed():
	case <-time.After(30 * time.Second):
		t.Fatal("it does not fail")
	}
	if one.Err() == nil || one.Writable() == nil {
		t.Errorf("its error is %v, and that of writing %v", one.Err(), one.Writable())
	}
	err := one.Accounts().CreateUser(t.Context(), accounts.User{Name: "dora"})
	if !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("a write gives %v, want %v", err, accounts.ErrUnavailable)
	}
}

func TestWhileTheDatabaseIsAwayCallsFailAtOnceAndItComesBack(t *testing.T) {
	door := newDoor(t, mongotest.Server(t))
	cfg := alone(door.through(mongotest.Database(t)), "one")
	cfg.Timeout = time.Second
	s := open(t, cfg)
	if _, err := s.Accounts().Users(t.Context(), "", 10); err != nil {
		t.Fatal(err)
	}

	door.shut()
	until(t, "nothing can be written", func() bool { return s.Writable() != nil })
	until(t, "a call fails at once", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // who gets as far as the database finds that out
		_, err := s.Accounts().Users(ctx, "", 10)
		return errors.Is(err, accounts.ErrUnavailable)
	})
	door.open()
	until(t, "it can be written again", func() bool { return s.Writable() == nil })
	if err := s.Accounts().CreateUser(t.Context(), accounts.User{Name: "dora"}); err != nil {
		t.Error(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the store has failed: %v", err)
	}
}

func TestTheEpochSaysWhetherSomebodyElseHasOpenedTheDatabase(t *testing.T) {
	uri := mongotest.Database(t)
	var id string
	var epoch int64
	for _, cfg := range []mongo.Config{alone(uri, "one"), {URI: uri}, alone(uri, "other")} {
		s, err := mongo.Open(t.Context(), cfg, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if epoch++; s.Epoch() != epoch {
			t.Errorf("the epoch is %d, want %d", s.Epoch(), epoch)
		}
		if id == "" {
			id = s.ID()
		}
		if id == "" || s.ID() != id {
			t.Errorf("the database is called %q, was %q", s.ID(), id)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s := open(t, mongo.Config{URI: mongotest.Database(t)}); s.ID() == id {
		t.Errorf("two databases are called %s", id)
	}
}
