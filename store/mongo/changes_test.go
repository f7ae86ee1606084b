package mongo_test

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// holding gives the collections in which some words are, in any document and in whatever is packed into one.
func holding(t *testing.T, uri, words string) (names []string) {
	t.Helper()
	db := client(t, uri)
	all, err := db.ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		cursor, err := db.Collection(name).Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for cursor.Next(t.Context()) {
			if bytes.Contains(cursor.Current, []byte(words)) {
				names = append(names, name)
			}
		}
		if err := cursor.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestNothingIsLeftOfWhatAMessageSaidThatIsGone(t *testing.T) {
	const conv, words = chat.Conversation("d.alice.bob"), "secret"
	var late atomic.Int64 // how much the clock is ahead, in seconds
	clock := func() time.Time { return time.Now().Add(time.Duration(late.Load()) * time.Second) }
	for name, end := range map[string]func(store chat.Store, seq uint64) error{
		"recalled": func(store chat.Store, seq uint64) error {
			_, _, err := store.ApplyOp(t.Context(), chat.OpDraft{Conversation: conv, By: "alice", Op: chat.OpRecall, Seq: seq})
			return err
		},
		"wiped": func(store chat.Store, _ uint64) error { return store.Wipe(t.Context(), conv, "alice") },
		"expired": func(store chat.Store, _ uint64) error {
			late.Add(100)
			_, err := store.Expire(t.Context(), 10)
			return err
		},
	} {
		uri := mongotest.Database(t)
		aliceAndBob(t, uri)
		store := open(t, mongo.Config{URI: uri, Clock: clock})
		a, commit, err := store.Chat().Append(t.Context(), chat.Draft{
			Conversation: conv, From: "alice", MID: "m", ID: name, Kind: "text", Body: []byte(`"secret 1"`), Fallback: "secret",
			At: []accounts.Name{"bob"}, TTL: 50,
		})
		written(t, commit, err)
		for _, d := range []chat.OpDraft{
			{Op: chat.OpEdit, By: "alice", Body: []byte(`"secret 2"`), Fallback: "secret", MID: "e"},
			{Op: chat.OpEdit, By: "alice", Body: []byte(`"secret 3"`)},
			{Op: chat.OpReact, By: "bob", Emoji: "hurray"},
		} {
			d.Conversation, d.Seq = conv, a.Message.Seq
			_, commit, err := store.Chat().ApplyOp(t.Context(), d)
			written(t, commit, err)
		}
		if holding(t, uri, words) == nil {
			t.Fatalf("%s: what the message says is not found where it is", name)
		}
		if err := end(store.Chat(), a.Message.Seq); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if in := holding(t, uri, words); in != nil {
			t.Errorf("%s: what the message said is still in %v", name, in)
		}
		if in := holding(t, uri, "hurray"); slices.Contains(in, "reactions") {
			t.Errorf("%s: a reaction to it is still in %v", name, in)
		}
	}
}
