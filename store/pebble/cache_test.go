package pebble_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// With room for one conversation and one stream, everything is loaded and forgotten all the time.
func TestWhatIsForgottenIsLoadedAgain(t *testing.T) {
	const people, goroutines, steps = 5, 8, 150
	store := open(t, pebble.Config{FS: vfs.NewMem(), Conversations: 1, Streams: 1, MemTableSize: 1 << 18})
	name := func(i int) accounts.Name { return accounts.Name(fmt.Sprint("u", i)) }
	for i := range people {
		for j := range i {
			contacts(t, store, name(i), name(j))
		}
	}
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for step := range steps {
				i := rng.IntN(people)
				j := (i + 1 + rng.IntN(people-1)) % people
				if err := busy(t, store, name(i), name(j), fmt.Sprintf("%d %d", g, step/2), rng.IntN(6)); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i := range people {
		recount(t, store, name(i))
	}
}

func busy(t *testing.T, store *pebble.Store, a, b accounts.Name, mid string, what int) error {
	conv := chat.Direct(a, b)
	switch what {
	case 0:
		_, _, err := store.Chat().Mark(t.Context(), conv, a, chat.Marks{Read: 3, Recv: 7}, nil)
		return err
	case 1:
		_, _, err := store.Chat().Tallies(t.Context(), a)
		return err
	case 2:
		_, err := store.Chat().Stream(t.Context(), b, 3, 10)
		return err
	case 3:
		_, _, err := store.Chat().Append(t.Context(), message(conv, a, "", "x"))
		return err
	}
	_, _, err := store.Chat().Append(t.Context(), message(conv, a, mid, "x"))
	return err
}

// recount compares somebody's stream, conversations and tallies with each other.
func recount(t *testing.T, store *pebble.Store, who accounts.Name) {
	t.Helper()
	page, err := store.Chat().Stream(t.Context(), who, 0, 1<<20)
	if err != nil || uint64(len(page.Entries)) != page.Head {
		t.Fatalf("stream of %s: got %d entries, head %d, %v", who, len(page.Entries), page.Head, err)
	}
	heads := map[chat.Conversation]uint64{}
	unread := map[chat.Conversation]uint64{}
	for i, e := range page.Entries {
		if e.USN != uint64(i+1) {
			t.Fatalf("usn of %s: got %d, want %d", who, e.USN, i+1)
		}
		if e.Type != chat.EntryMessage {
			continue
		}
		heads[e.Conversation]++
		if e.Message.Seq != heads[e.Conversation] {
			t.Fatalf("message of %s: got seq %d, want %d", e.Conversation, e.Message.Seq, heads[e.Conversation])
		}
		marks, err := store.Chat().Membership(t.Context(), e.Conversation, who)
		if err != nil {
			t.Fatalf("membership: %v", err)
		}
		if e.Message.From != who && e.Message.Seq > marks.Read {
			unread[e.Conversation]++
		}
	}
	tallies, asOf, err := store.Chat().Tallies(t.Context(), who)
	if err != nil || asOf != page.Head {
		t.Fatalf("tallies of %s: as of %d, %v, want %d", who, asOf, err, page.Head)
	}
	for _, tally := range tallies {
		if tally.Unread() != unread[tally.Conversation] {
			t.Errorf("unread of %s in %s: got %d, want %d", who, tally.Conversation, tally.Unread(), unread[tally.Conversation])
		}
		delete(unread, tally.Conversation)
	}
	if len(unread) > 0 {
		t.Errorf("unread of %s: missing %v", who, unread)
	}
}
