package pebble_test

import (
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// rowsOf counts the rows of a table of a store that is closed.
func rowsOf(t *testing.T, fs vfs.FS, table byte) (n int) {
	t.Helper()
	db := openEngine(t, fs)
	iter, err := db.NewIter(&engine.IterOptions{LowerBound: []byte{table}, UpperBound: []byte{table + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		n++
	}
	if err := iter.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// In a large room nobody's rows are in memory, and what they have of old messages goes all the same.
func TestWhatMembersHaveOfOldMessagesGoesWithThem(t *testing.T) {
	for name, large := range map[string]bool{"small": false, "large": true} {
		t.Run(name, func(t *testing.T) {
			fs, now := vfs.NewMem(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
			cfg := pebble.Config{Dir: dataDir, FS: fs, Clock: func() time.Time { return now }}
			store := open(t, cfg)
			const room chat.Conversation = "g.room"
			who := settle(t, store, room, 3, large)
			said := func(d chat.Draft) {
				t.Helper()
				d.At = []accounts.Name{who[1], who[2]}
				_, commit, err := store.Chat().Append(t.Context(), d)
				if err == nil {
					err = commit.Wait(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			hide := func(seqs ...uint64) {
				t.Helper()
				commit, err := store.Chat().Hide(t.Context(), room, who[1], seqs, nil)
				if err == nil {
					err = commit.Wait(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			said(message(room, who[0], "", "old"))
			said(message(room, who[0], "", "old, too"))
			hide(1, 2)
			now = now.Add(time.Hour)
			said(message(room, who[0], "", "new"))
			hide(3)
			if _, err := store.Chat().Retire(t.Context(), room, now.UnixMilli()); err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			if got := rowsOf(t, fs, 'H'); got != 1 {
				t.Errorf("of what is hidden there are %d rows, want 1", got)
			}
			if got := rowsOf(t, fs, 'G'); got != 2 {
				t.Errorf("of mentions there are %d rows, want 2", got)
			}
		})
	}
}
