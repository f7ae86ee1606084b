package pebble_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// With the disk standing still, every reading method either waits or does not need to: a context that has ended shows
// which.
func TestNothingIsReadBeforeItIsDurable(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs})
	conv := contacts(t, store, "alice", "bob")
	key := sessions.Key{Account: "alice", Client: "phone"}
	reads := map[string]func(ctx context.Context) error{
		"messages": func(ctx context.Context) error {
			_, err := store.Chat().Messages(ctx, conv, 0, 0, 10)
			return err
		},
		"stream": func(ctx context.Context) error {
			_, err := store.Chat().Stream(ctx, "bob", 0, 10)
			return err
		},
		"tallies": func(ctx context.Context) error {
			_, _, err := store.Chat().Tallies(ctx, "bob")
			return err
		},
		"conversations": func(ctx context.Context) error {
			_, _, err := store.Chat().Conversations(ctx, "bob", chat.ListQuery{Limit: 10})
			return err
		},
		"box": func(ctx context.Context) error {
			_, _, err := store.Chat().Conversations(ctx, "bob", chat.ListQuery{List: chat.ListBox, Limit: 10})
			return err
		},
		"own side": func(ctx context.Context) error {
			_, _, err := store.Chat().OwnSide(ctx, conv, "bob")
			return err
		},
		"membership": func(ctx context.Context) error {
			_, err := store.Chat().Membership(ctx, conv, "bob")
			return err
		},
		"untold": func(ctx context.Context) error {
			_, err := store.Chat().Untold(ctx, chat.Member{}, 10)
			return err
		},
		"list": func(ctx context.Context) error {
			_, err := store.Chat().List(ctx, "bob", "", 10)
			return err
		},
		"owner": func(ctx context.Context) error {
			_, err := store.Chat().Owner(ctx, chat.Handle{})
			return err
		},
		"found": func(ctx context.Context) error {
			_, err := store.Chat().Found(ctx, chat.TermWord, "b", chat.Hit{}, 10)
			return err
		},
		"mutual": func(ctx context.Context) error {
			_, err := store.Chat().Mutual(ctx, "alice", "bob", 10)
			return err
		},
		"tellings": func(ctx context.Context) error {
			_, err := store.Chat().Tellings(ctx, "", 10)
			return err
		},
		"users": func(ctx context.Context) error {
			_, err := store.Accounts().Users(ctx, "", 10)
			return err
		},
		"user": func(ctx context.Context) error {
			_, err := store.Accounts().User(ctx, "alice")
			return ignore(err, accounts.ErrUnknown)
		},
		"token": func(ctx context.Context) error {
			_, err := store.Accounts().Token(ctx, accounts.Digest{})
			return ignore(err, accounts.ErrUnknown)
		},
		"tokens": func(ctx context.Context) error {
			_, err := store.Accounts().Tokens(ctx, "alice")
			return err
		},
		"invitation": func(ctx context.Context) error {
			_, err := store.Accounts().Invitation(ctx, accounts.Digest{})
			return ignore(err, accounts.ErrUnknown)
		},
		"session": func(ctx context.Context) error {
			_, err := store.Sessions().Load(ctx, key)
			return ignore(err, sessions.ErrNoSession)
		},
		"sessions": func(ctx context.Context) error {
			_, err := store.Sessions().Sessions(ctx, "", sessions.Key{}, 10)
			return err
		},
		"count": func(ctx context.Context) error {
			_, err := store.Sessions().Count(ctx, "alice")
			return err
		},
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, read := range reads {
		if err := read(ended); err != nil {
			t.Errorf("%s, everything durable: got %v, want none", name, err)
		}
	}

	release := faults.hold()
	defer release()
	_, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", "m", "x"))
	if err != nil {
		t.Fatalf("append while the disk stands: %v", err)
	}
	<-faults.stuck
	if err := commit.Wait(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: got %v, want %v", err, context.Canceled)
	}
	for name, read := range reads {
		if err := read(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, a commit on its way: got %v, want %v", name, err, context.Canceled)
		}
	}
	if _, err := store.Chat().Pair(ended, "alice", "bob"); err != nil {
		t.Errorf("relation, which need not wait: %v", err)
	}
	release()
	if err := commit.Wait(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
	for name, read := range reads {
		if err := read(ended); err != nil {
			t.Errorf("%s, everything durable again: got %v, want none", name, err)
		}
	}
}

func TestReadersDoNotWaitForOthers(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs})
	conv, other := contacts(t, store, "alice", "bob"), contacts(t, store, "carol", "dora")
	_, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", "", "x"))
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	release := faults.hold()
	defer release()
	if _, _, err := store.Chat().Append(t.Context(), message(other, "carol", "", "x")); err != nil {
		t.Fatalf("append: %v", err)
	}
	// What bob has received changes his marks and alice's stream, and not what bob reads.
	if _, _, err := store.Chat().Mark(t.Context(), conv, "bob", chat.Marks{Recv: 1}, nil); err != nil {
		t.Fatalf("mark: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if page, err := store.Chat().Stream(ended, "bob", 0, 10); err != nil || len(page.Entries) != 3 {
		t.Errorf("stream of bob: got %d entries, %v, want 3", len(page.Entries), err)
	}
	if tallies, _, err := store.Chat().Tallies(ended, "bob"); err != nil || len(tallies) != 1 {
		t.Errorf("tallies of bob: got %d, %v, want 1", len(tallies), err)
	}
	if _, err := store.Chat().Stream(ended, "alice", 0, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("stream of alice, who has a receipt: got %v, want %v", err, context.Canceled)
	}
	if _, err := store.Chat().Stream(ended, "dora", 0, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("stream of dora: got %v, want %v", err, context.Canceled)
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func TestADuplicateIsNotDurableBeforeTheFirst(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs})
	conv := contacts(t, store, "alice", "bob")
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	release := faults.hold()
	defer release()
	first, _, err := store.Chat().Append(t.Context(), message(conv, "alice", "m", "x"))
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	again, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", "m", "x"))
	if err != nil || !again.Dup || again.Message.Seq != first.Message.Seq {
		t.Fatalf("append again: got %+v, %v, want a dup of seq %d", again, err, first.Message.Seq)
	}
	if err := commit.Wait(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("wait for the dup: got %v, want %v", err, context.Canceled)
	}
	if _, _, err := store.Chat().Append(ended, message(conv, "alice", "m", "y")); !errors.Is(err, context.Canceled) {
		t.Errorf("conflict with what is not durable: got %v, want %v", err, context.Canceled)
	}
	// What changes nothing rests on what is not durable too.
	if _, _, err := store.Chat().Mark(t.Context(), conv, "bob", chat.Marks{Recv: 1}, nil); err != nil {
		t.Fatalf("mark: %v", err)
	}
	_, commit, err = store.Chat().Mark(t.Context(), conv, "bob", chat.Marks{Recv: 1}, nil)
	if err != nil || commit == nil || !errors.Is(commit.Wait(ended), context.Canceled) {
		t.Errorf("repeated mark is durable before the first one; error %v", err)
	}
	release()
	if err := commit.Wait(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
	if _, _, err := store.Chat().Append(t.Context(), message(conv, "alice", "m", "y")); !errors.Is(err, chat.ErrConflict) {
		t.Errorf("conflict: got %v, want %v", err, chat.ErrConflict)
	}
}

func TestWritesWaitWhenManyArePending(t *testing.T) {
	const pending = 8
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs, Pending: pending})
	conv := contacts(t, store, "alice", "bob")
	release := faults.hold()
	defer release()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	accepted := 0
	for n := range 10 * pending { // a call with an ended context may find room or not, if there is any
		if _, _, err := store.Chat().Append(ended, message(conv, "alice", "", fmt.Sprint(n))); err == nil {
			accepted++
		}
	}
	if accepted == 0 || accepted > pending {
		t.Fatalf("messages accepted: got %d, want 1 to %d", accepted, pending)
	}
	const more = 5 * pending
	var opened atomic.Bool
	results := make(chan error, more)
	for n := range more {
		go func() {
			_, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", fmt.Sprint(n), "x"))
			if err == nil {
				if err = commit.Wait(t.Context()); err == nil && !opened.Load() {
					err = errors.New("durable while the disk stood still")
				}
			}
			results <- err
		}()
	}
	<-faults.stuck
	opened.Store(true)
	release()
	for range more {
		if err := <-results; err != nil {
			t.Errorf("append: %v", err)
		}
	}
}

func TestCloseWaitsForPendingCommits(t *testing.T) {
	mem := vfs.NewCrashableMem()
	faults, fs := newFaulty(mem)
	store := open(t, pebble.Config{FS: fs})
	conv := contacts(t, store, "alice", "bob")
	release := faults.hold()
	defer release()
	var commits []chat.Commit
	for n := range 100 {
		_, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", "", fmt.Sprint(n)))
		if err != nil {
			t.Fatalf("append: %v", err)
		}
		commits = append(commits, commit)
	}
	closed := make(chan error, 1)
	go func() { closed <- store.Close() }()
	eventually(t, "the store refuses calls", func() bool {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := store.Chat().Stream(ended, "bob", 0, 1)
		return errors.Is(err, chat.ErrUnavailable)
	})
	if len(closed) > 0 {
		t.Errorf("closed while commits were pending: %v", <-closed)
	}
	release()
	if err := <-closed; err != nil {
		t.Fatalf("close: %v", err)
	}
	for _, commit := range commits {
		if err := commit.Wait(t.Context()); err != nil {
			t.Errorf("wait after close: %v", err)
		}
	}
	again := open(t, pebble.Config{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	page, err := again.Chat().Messages(t.Context(), conv, 0, 0, 1000)
	if err != nil || len(page.Messages) != 100 {
		t.Errorf("messages after opening again: got %d, %v, want 100", len(page.Messages), err)
	}
}

func TestAPersonIsReadWhenWhatHeSaysIsDurable(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Chat().Person(t.Context(), "alice"); err != nil { // loaded while everything is durable
		t.Fatalf("person: %v", err)
	}
	release := faults.hold()
	defer release()
	_, commit, err := store.Chat().ChangePerson(t.Context(), "bob", func(p *chat.Person) (bool, error) {
		p.Settings.Find.Hidden = true
		return false, nil
	}, nil)
	if err != nil {
		t.Fatalf("change while the disk stands: %v", err)
	}
	<-faults.stuck
	if _, err := store.Chat().Person(ended, "bob"); !errors.Is(err, context.Canceled) {
		t.Errorf("person: got %v, want %v", err, context.Canceled)
	}
	if _, err := store.Chat().Person(ended, "alice"); err != nil {
		t.Errorf("another person: got %v, want none", err)
	}
	if s, err := store.Chat().Settings(ended, "bob"); err != nil || !s.Find.Hidden {
		t.Errorf("settings, which need not wait: got %+v, %v", s, err)
	}
	release()
	if err := commit.Wait(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
	if p, err := store.Chat().Person(ended, "bob"); err != nil || !p.Settings.Find.Hidden {
		t.Errorf("person, durable: got %+v, %v", p, err)
	}
}
