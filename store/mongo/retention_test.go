package mongo_test

import (
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// contents gives access to a database besides the store.
func contents(t *testing.T, uri string) *driver.Database {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(t.Context()) })
	parsed, err := connstring.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return client.Database(parsed.Database)
}

func documents(t *testing.T, db *driver.Database, collection string) int64 {
	t.Helper()
	n, err := db.Collection(collection).CountDocuments(t.Context(), bson.D{})
	if err != nil {
		t.Fatalf("count %s: %v", collection, err)
	}
	return n
}

func TestNothingIsLeftOfWhatIsRetiredButTheLastEntry(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	h := &harness{uri: mongotest.Database(t)}
	store := h.Open(t, func() time.Time { return now })
	defer func() { _ = store.Close() }()
	db, cs, ctx := contents(t, h.uri), store.Chat(), t.Context()
	done := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	const alice accounts.Name = "alice"
	conv := chat.Notes(alice)
	for i := range 4 {
		_, _, err := cs.Append(ctx, chat.Draft{
			Conversation: conv, From: alice, ID: fmt.Sprint("id", i), MID: fmt.Sprint("m", i), Kind: "text", Body: []byte(`{}`),
		})
		done("append", err)
		_, _, err = cs.Mark(ctx, conv, alice, chat.Marks{Recv: uint64(i + 1), Read: uint64(i + 1)}, nil)
		done("mark", err)
	}
	for _, seq := range []uint64{1, 4} {
		_, _, err := cs.ApplyOp(ctx, chat.OpDraft{
			Conversation: conv, By: alice, Op: chat.OpReact, Seq: seq, Emoji: "x", Bounds: chat.OpBounds{Reactions: 9, Emojis: 9},
		})
		done("react", err)
	}
	want := func(when, collection string, want int64) {
		t.Helper()
		if n := documents(t, db, collection); n != want {
			t.Errorf("%s: %d documents of %s, want %d", when, n, collection, want)
		}
	}
	want("at first", "log", 10)
	want("at first", "reactions", 4)
	sweep := func() {
		t.Helper()
		for more := true; more; {
			var err error
			more, err = cs.RetireMIDs(ctx, now.UnixMilli(), 3)
			done("retire mids", err)
		}
	}
	sweep()
	want("when nothing is old", "log", 10)
	now = now.Add(25 * time.Hour)
	sweep()
	want("when the fences are old", "log", 6)
	for more := true; more; {
		var err error
		more, err = cs.Retire(ctx, conv, now.UnixMilli())
		done("retire", err)
	}
	want("when all is too old", "reactions", 0)
	now = now.Add(50 * time.Hour)
	sweep()
	want("when all is too old", "log", 3) // the last message, the last change, and the last entry
}
