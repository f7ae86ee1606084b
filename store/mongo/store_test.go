package mongo_test

import (
	"context"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/sessions"
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
	cfg := mongo.Config{URI: h.uri, Clock: clock, Alone: true, Node: "harness", Unfinished: true}
	store, err := mongo.Open(context.Background(), cfg, quiet)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	h.store = store
	return partly{store}
}

// Small is true of the test server: it has no indexes that it uses.
func (h *harness) Small() bool { return os.Getenv("MAGPIE_TEST_MONGO_URI") == "" }

// Crash cuts the store off from the database, in the middle of what it does.
func (h *harness) Crash(t *testing.T) {
	t.Helper()
	if err := h.store.Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
}

// partly is a store of which some parts are still to be written.
type partly struct{ *mongo.Store }

func (partly) Sessions() sessions.Store { return nil }

// wanted are the groups of the suite for what is written, but for some of their tests.
var wanted = map[string][]string{
	"accounts":  nil,
	"contacts":  nil,
	"relations": nil,
	"messages":  nil,
	"marks":     nil,
	"reading":   nil,
	"own sides": nil,
	"model":     nil,
	"crash":     {"an origin and its message survive together or not at all", "calls on a closed store fail"},
	"rooms": {
		"rooms wait for those who are invited, and for who asks", "the rooms in which somebody has written are known",
		"rooms, of any size, are as an oracle says",
	},
	"people": nil,
	"seen":   {"who was there at a crash was seen at the last beat", "who came after the last beat was seen when he came", "many are settled"},
}

// fewChecks is how many random runs there are of each model, where little is borne.
const fewChecks = "4"

func TestStore(t *testing.T) {
	if (&harness{}).Small() && flag.Lookup("rapid.checks").Value.String() == "100" {
		if err := flag.Set("rapid.checks", fewChecks); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Some(t, newHarness, func(group, name string) bool {
		but, some := wanted[group]
		return some && !slices.Contains(but, name)
	})
}
