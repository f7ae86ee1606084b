package mongo_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/storetest"
)

// harness is a store in a database of its own.
type harness struct {
	uri   string
	store *mongo.Store
}

func newHarness(t *testing.T) storetest.Harness { return &harness{uri: mongotest.Database(t)} }

func (h *harness) Open(t *testing.T, clock func() time.Time) storetest.Store {
	t.Helper()
	cfg := mongo.Config{URI: h.uri, Clock: clock, Alone: true, Node: "harness", Unfinished: true,
		StartTimeout: time.Minute, Timeout: time.Minute, Lease: time.Minute, // the server is slow
		Watch: mongo.Watched,
	}
	store, err := mongo.Open(context.Background(), cfg, quiet)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	h.store = store
	return store
}

// Small is true of the test server: it has no indexes that it uses.
func (h *harness) Small() bool { return mongotest.Small() }

// Crash cuts the store off from the database, in the middle of what it does.
func (h *harness) Crash(t *testing.T) {
	t.Helper()
	if err := h.store.Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
}

// fewChecks is how many random runs there are of each model, where little is borne.
const fewChecks = "4"

func TestStore(t *testing.T) {
	if mongotest.Small() && flag.Lookup("rapid.checks").Value.String() == "100" {
		if err := flag.Set("rapid.checks", fewChecks); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Run(t, newHarness)
}
