package chat_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// messenger is a service with a real store, whose disk is memory.
type messenger struct {
	*chat.Service
	store chat.Store
	users directory
	woken *wakes
	clock *clock

	stopped *stopper
}

// stopper ends the background task, once.
type stopper struct{ f func() }

// start makes a messenger in which alice, bob and carol have accounts, and alice and bob are contacts.
func start(t testing.TB) messenger {
	t.Helper()
	return startWith(t, chat.DefaultConfig(), nil)
}

// startWith lets between stand between the service and the store.
func startWith(t testing.TB, cfg chat.Config, between func(chat.Store) chat.Store) messenger {
	t.Helper()
	m := messenger{
		users: directory{"alice": true, "bob": true, "carol": true},
		woken: &wakes{},
		clock: &clock{at: time.Now()},

		stopped: &stopper{},
	}
	db, err := pebble.Open(pebble.Config{Dir: "data", FS: vfs.NewMem(), Clock: m.clock.now}, discard)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	m.store = db.Chat()
	if between != nil {
		m.store = between(m.store)
	}
	m.Service = chat.New(cfg, m.store, m.users, m.woken, discard)
	m.befriend(t, "alice", "bob")
	return m
}

func (m messenger) befriend(t testing.TB, a, b accounts.Name) {
	t.Helper()
	if _, _, err := m.RequestContact(t.Context(), a, b, "", nil); err != nil {
		t.Fatalf("%s asks %s: %v", a, b, err)
	}
	if _, _, err := m.AcceptContact(t.Context(), b, a, nil); err != nil {
		t.Fatalf("%s accepts %s: %v", b, a, err)
	}
}

// send stores a text in the conversation of two contacts and gives its seq.
func (m messenger) send(t testing.TB, from, to accounts.Name, text string) uint64 {
	t.Helper()
	sent, commit, err := m.Send(t.Context(), from, chat.Target{User: to}, content(t, text), nil)
	if err != nil {
		t.Fatalf("%s sends %q to %s: %v", from, text, to, err)
	}
	if err := commit.Wait(t.Context()); err != nil {
		t.Fatalf("%s sends %q to %s: commit: %v", from, text, to, err)
	}
	return sent.Seq
}

// events gives everything of a stream after a usn.
func (m messenger) events(t testing.TB, who accounts.Name, after uint64) []chat.Event {
	t.Helper()
	events, head, err := m.Events(t.Context(), who, after, 1000)
	if err != nil {
		t.Fatalf("events of %s after %d: %v", who, after, err)
	}
	if n := len(events); n > 0 && events[n-1].USN != head {
		t.Fatalf("events of %s after %d: the last is %d, the head %d", who, after, events[n-1].USN, head)
	}
	return events
}

var discard = slog.New(slog.DiscardHandler)

// of keeps the events of one type.
func of(t chat.EntryType, events []chat.Event) []chat.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e chat.Event) bool { return e.Type != t })
}

// marks gives where somebody's marks are.
func (m messenger) marks(t testing.TB, who accounts.Name, c chat.Conversation) chat.Marks {
	t.Helper()
	marks, err := m.store.Membership(t.Context(), c, who)
	if err != nil {
		t.Fatalf("marks of %s in %s: %v", who, c, err)
	}
	return marks
}

func content(t testing.TB, payload string) chat.Content {
	t.Helper()
	c, err := chat.ParseContent([]byte(payload), "")
	if err != nil {
		t.Fatalf("parse %q: %v", payload, err)
	}
	return c
}

// directory knows who exists.
type directory map[accounts.Name]bool

func (d directory) Status(_ context.Context, name accounts.Name) (accounts.Status, error) {
	if d[name] {
		return accounts.Active, nil
	}
	return accounts.Absent, nil
}

// wakes remembers who was woken.
type wakes struct {
	meanwhile func() // called by Wake; nil: nothing

	mu   sync.Mutex
	seen []accounts.Name
}

func (w *wakes) Wake(users ...accounts.Name) {
	if w.meanwhile != nil {
		w.meanwhile()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, users...)
}

// take gives who was woken since the last call, sorted, each once.
func (w *wakes) take() []accounts.Name {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	slices.Sort(seen)
	return slices.Compact(seen)
}

// clock is the store's clock. It stands still but for advance, until follow.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		return time.Now()
	}
	return c.at
}

// follow makes it show the time.
func (c *clock) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Time{}
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// broken is a store that cannot serve while fails is set.
type broken struct {
	chat.Store
	mu    sync.Mutex
	fails bool
}

func (b *broken) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails {
		return errBroken
	}
	return nil
}

func (b *broken) set(fails bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails = fails
}

var errBroken = errors.Join(errors.New("disk is on fire"), chat.ErrUnavailable)

func (b *broken) Append(ctx context.Context, d chat.Draft) (chat.Appended, chat.Commit, error) {
	if err := b.err(); err != nil {
		return chat.Appended{}, nil, err
	}
	return b.Store.Append(ctx, d)
}

func (b *broken) Mark(ctx context.Context, c chat.Conversation, who accounts.Name, m chat.Marks, origin any) (
	chat.Marked, chat.Commit, error,
) {
	if err := b.err(); err != nil {
		return chat.Marked{}, nil, err
	}
	return b.Store.Mark(ctx, c, who, m, origin)
}

func (b *broken) Tell(ctx context.Context, c chat.Conversation, who accounts.Name) (bool, chat.Commit, error) {
	if err := b.err(); err != nil {
		return false, nil, err
	}
	return b.Store.Tell(ctx, c, who)
}

func (b *broken) Tallies(ctx context.Context, user accounts.Name) ([]chat.Tally, uint64, error) {
	if err := b.err(); err != nil {
		return nil, 0, err
	}
	return b.Store.Tallies(ctx, user)
}
