package pebble_test

import (
	"errors"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// What a store of version 2 has kept for longer than its time goes when that is found out.
func TestAnUpgradeFindsWhatIsOver(t *testing.T) {
	fs := vfs.NewMem()
	store := open(t, pebble.Config{Dir: dataDir, FS: fs})
	c := contacts(t, store, "alice", "bob")
	d := message(c, "alice", "", "soon over")
	d.TTL = 1
	sent, commit, err := store.Chat().Append(t.Context(), d)
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	db := openEngine(t, fs)
	err = errors.Join(
		db.DeleteRange([]byte("c"), []byte("d"), engine.Sync),
		db.Set([]byte("V"), formatValue(t, map[int]any{1: 2, 2: "magpie"}), engine.Sync), db.Close(),
	)
	if err != nil {
		t.Fatalf("make it one of version 2: %v", err)
	}
	later := time.UnixMilli(sent.Message.TS + 1000)
	store = open(t, pebble.Config{Dir: dataDir, FS: fs, Clock: func() time.Time { return later }})
	if got, err := store.Chat().Expire(t.Context(), 10); err != nil || got.More || len(got.Told) != 2 {
		t.Errorf("expire: got %+v, %v", got, err)
	}
	tallies, _, err := store.Chat().Tallies(t.Context(), "bob")
	if err != nil || len(tallies) != 0 {
		t.Errorf("unread of bob: got %+v, %v", tallies, err)
	}
}

// A store of version 1 that a crash has left half upgraded has some of the rows already.
func TestAnUpgradeGoesOn(t *testing.T) {
	fs := vfs.NewMem()
	store := open(t, pebble.Config{Dir: dataDir, FS: fs})
	contacts(t, store, "alice", "bob")
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	db := openEngine(t, fs)
	for key, row := range map[string]map[int]any{
		"V":                          {1: 1, 2: "magpie"},
		"Ralice\x00\x01erin\x00\x01": {1: 2, 2: "hi", 3: 1},
		"Rerin\x00\x01alice\x00\x01": {1: 1, 2: "hi", 3: 1},
	} {
		if err := db.Set([]byte(key), formatValue(t, row), engine.Sync); err != nil {
			t.Fatalf("set %q: %v", key, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	for range 2 {
		store = open(t, pebble.Config{Dir: dataDir, FS: fs})
		list, version, err := store.Chat().Changes(t.Context(), "alice", 0, 10)
		if err != nil || len(list) != 2 || version != list[1].Version || list[0].Who != "bob" ||
			list[1].Who != "erin" || list[1].State != chat.ContactRequested {
			t.Errorf("list of alice: got %+v, %d, %v", list, version, err)
		}
		if n, err := store.Chat().Requests(t.Context(), "alice", 10); err != nil || n != 1 {
			t.Errorf("requests to alice: got %d, %v, want 1", n, err)
		}
		if err := store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}
