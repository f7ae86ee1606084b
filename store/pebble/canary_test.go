package pebble_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// Of what is recalled, or has expired, nothing is left in any row: not of what it said last, and not of what it said before.
func TestNothingIsLeftOfWhatIsGone(t *testing.T) {
	fs := vfs.NewMem()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	store := open(t, pebble.Config{Dir: dataDir, FS: fs, Clock: func() time.Time { return now }})
	c := contacts(t, store, "alice", "bob")
	ctx := t.Context()
	for _, name := range []string{"recalled", "expired", "answer"} {
		d := message(c, "alice", "mid-"+name, "canary one")
		d.ID, d.Fallback, d.At = "id "+name, "canary fallback", []accounts.Name{"bob"}
		if name == "expired" {
			d.TTL = 60
		}
		if name == "answer" {
			d = message(c, "bob", "mid-"+name, "an answer")
			d.Re, d.Quote = 1, true
		}
		if _, _, err := store.Chat().Append(ctx, d); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	apply := func(d chat.OpDraft) {
		t.Helper()
		d.Conversation = c
		_, commit, err := store.Chat().ApplyOp(ctx, d)
		if err == nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			t.Fatalf("%s: %v", d.Op, err)
		}
	}
	for seq := range uint64(2) {
		for _, words := range []string{`"canary two"`, `"canary three"`} {
			apply(chat.OpDraft{
				By: "alice", Op: chat.OpEdit, Seq: seq + 1, Body: []byte(words), Fallback: "canary edit", MID: words + string(rune(97+seq)),
			})
		}
		apply(chat.OpDraft{By: "bob", Op: chat.OpReact, Seq: seq + 1, Emoji: "canary"})
	}
	if n := canaries(t, store, fs); n < 8 {
		t.Fatalf("rows with a canary before: got %d", n)
	}
	store = open(t, pebble.Config{Dir: dataDir, FS: fs, Clock: func() time.Time { return now }})
	apply(chat.OpDraft{By: "alice", Op: chat.OpRecall, Seq: 1})
	now = now.Add(time.Minute)
	if got, err := store.Chat().Expire(ctx, 10); err != nil || len(got.Told) != 2 {
		t.Fatalf("expire: got %v, %v", got, err)
	}
	// The changes that brought the reactions are told to those who were away, and say what they were.
	if n := canaries(t, store, fs); n != 2 {
		t.Errorf("rows with a canary: got %d, want the two changes that say with what bob has reacted", n)
	}
}

// canaries closes a store, and counts the rows in which the word is, but for mids, which only their senders know.
func canaries(t *testing.T, store *pebble.Store, fs vfs.FS) (n int) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	db := openEngine(t, fs)
	defer func() {
		if err := db.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	}()
	iter, err := db.NewIter(nil)
	if err != nil {
		t.Fatalf("iterate: %v", err)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		key := iter.Key()
		mids := key[0] == 'D' || key[0] == '9'
		if !mids && (bytes.Contains(key, []byte("canary")) || bytes.Contains(iter.Value(), []byte("canary"))) {
			n++
		}
	}
	if err := iter.Close(); err != nil {
		t.Errorf("iterate: %v", err)
	}
	return n
}
