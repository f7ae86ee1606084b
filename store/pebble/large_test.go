package pebble_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// written is how many bytes a store has written to its log.
func written(t testing.TB, store *pebble.Store) int64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(store.Collectors()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "magpie_store_written_bytes_total" {
			return int64(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Fatal("nobody counts what is written")
	return 0
}

// settle makes a room of so many members, in slices.
func settle(t testing.TB, store *pebble.Store, c chat.Conversation, members int, large bool) (names []accounts.Name) {
	t.Helper()
	for i := range members {
		names = append(names, accounts.Name(fmt.Sprintf("m%06d", i)))
	}
	var last chat.Commit
	for slice := range slices.Chunk(names, 500) {
		_, commit, err := store.Chat().ChangeRoom(t.Context(), chat.RoomChange{
			Conversation: c, By: names[0], Who: slice, Step: func(r *chat.Room) (chat.RoomTold, error) {
				if !r.Exists() {
					r.Owner, r.Created, r.Large = names[0], r.Now, large
				}
				for _, who := range slice {
					r.Enter(who, chat.RoleMember)
				}
				return chat.RoomTold{}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		last = commit
	}
	if err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return names
}

func appendTo(t testing.TB, store *pebble.Store, c chat.Conversation, from accounts.Name, n int) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("%s-%d-%d", c, n, i)
		_, commit, err := store.Chat().Append(t.Context(), chat.Draft{
			Conversation: c, From: from, ID: id, Kind: "text", Body: []byte(`{"text":"hello"}`)})
		if err == nil {
			err = commit.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What a message to a large room writes does not depend on how many are in it, and is less than what one to two people does.
func TestAMessageToManyWritesNoMoreThanOneToAFew(t *testing.T) {
	store := open(t, pebble.Config{FS: vfs.NewMem(), MemTableSize: 4 << 20})
	perMessage := func(c chat.Conversation, members int, large bool) int64 {
		t.Helper()
		names := settle(t, store, c, members, large)
		appendTo(t, store, c, names[0], 5)
		before := written(t, store)
		appendTo(t, store, c, names[0], 100)
		return (written(t, store) - before) / 100
	}
	two, few, many := perMessage("g.two", 2, false), perMessage("g.few", 3, true), perMessage("g.many", 5000, true)
	if many > few+16 || many > two {
		t.Errorf("%d bytes for each message to 5000, %d to 3, %d to 2 in whose streams it is", many, few, two)
	}
	tallies, _, err := store.Chat().Tallies(t.Context(), "m004999")
	if err != nil || len(tallies) != 1 || tallies[0].Unread() != 105 || !tallies[0].Large {
		t.Errorf("tallies of a member are %+v, %v, want 105 unread in a large room", tallies, err)
	}
}

func TestWhatIsTooOldIsRemovedOnce(t *testing.T) {
	store := open(t, pebble.Config{FS: vfs.NewMem()})
	names := settle(t, store, "g.old", 3, false)
	appendTo(t, store, "g.old", names[0], 5)
	op := chat.OpDraft{Conversation: "g.old", By: names[0], Op: chat.OpRecall, Seq: 5}
	if _, _, err := store.Chat().ApplyOp(t.Context(), op); err != nil { // it is gone, and has its mid
		t.Fatal(err)
	}
	retire := func() int64 {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = store.Chat().Retire(t.Context(), "g.old", 1<<60); err != nil {
				t.Fatal(err)
			}
		}
		return written(t, store)
	}
	if first, second := retire(), retire(); first != second {
		t.Errorf("%d bytes were written, and %d when there was nothing to remove", first, second-first)
	}
}
