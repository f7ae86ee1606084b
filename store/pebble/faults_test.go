package pebble_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// dataDir is where tests in memory keep their data.
const dataDir = "/var/lib/magpie"

// faulty is a file system that can be told to fail or to stop.
type faulty struct {
	mu    sync.Mutex
	fail  func(op errorfs.Op) error
	gate  chan struct{} // syncs of logs wait until it is closed; nil: they do not
	stuck chan struct{} // gets one for each sync that waits
}

func newFaulty(under vfs.FS) (*faulty, vfs.FS) {
	f := &faulty{stuck: make(chan struct{}, 1<<16)}
	return f, errorfs.Wrap(under, errorfs.InjectorFunc(f.at))
}

func (f *faulty) at(op errorfs.Op) error {
	f.mu.Lock()
	fail, gate := f.fail, f.gate
	f.mu.Unlock()
	if gate != nil && isLogSync(op) {
		f.stuck <- struct{}{}
		<-gate
	}
	if fail != nil {
		return fail(op)
	}
	return nil
}

func isLogSync(op errorfs.Op) bool {
	sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	return sync && strings.HasSuffix(op.Path, ".log")
}

// failWith makes every operation fail for which fail gives an error.
func (f *faulty) failWith(fail func(op errorfs.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// hold makes the syncs of logs wait until release is called.
func (f *faulty) hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	f.gate = gate
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.gate = nil
		close(gate)
	})
}

// open opens a store and closes it at the end of the test.
func open(t *testing.T, cfg pebble.Config) *pebble.Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = dataDir
	}
	store, err := pebble.Open(cfg, logger())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil && store.Err() == nil {
			t.Errorf("close: %v", err)
		}
	})
	return store
}

func contacts(t *testing.T, store *pebble.Store, a, b accounts.Name) chat.Conversation {
	t.Helper()
	if _, _, err := store.Chat().Change(t.Context(), chat.ToRequest(a, b, "", chat.Bounds{})); err != nil {
		t.Fatalf("request: %v", err)
	}
	_, commit, err := store.Chat().Change(t.Context(), chat.ToAccept(b, a, chat.Bounds{}))
	if err == nil && commit != nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	return chat.Direct(a, b)
}

func message(c chat.Conversation, from accounts.Name, mid, words string) chat.Draft {
	d := chat.Draft{
		Conversation: c, From: from, MID: mid, ID: "id " + mid + words, Kind: "text",
		Body: []byte(`"` + words + `"`),
	}
	copy(d.Fingerprint[:], words)
	return d
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within the time", what)
		}
	}
}
