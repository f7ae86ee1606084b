package mongo_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// What several writers do to each other in the windows between their steps, one window a test. Messages are held on their way to
// the database until the others have done their part.

// node gives a store that is not alone, and the proxy between it and the database.
func node(t *testing.T, uri string) (*mongo.Store, *wirefault.Proxy) {
	t.Helper()
	p, err := wirefault.New(uri, 1)
	if err != nil {
		t.Fatal(err)
	}
	store := join(t, p.URI())
	t.Cleanup(func() {
		p.Set()
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("close the proxy: %v", err)
		}
	})
	return store, p
}

// ids makes ids of messages unique.
var ids atomic.Int64

// say appends a message, and gives its answer.
func say(t *testing.T, store *mongo.Store, mid string) chat.Appended {
	t.Helper()
	d := chat.Draft{Conversation: "d.alice.bob", From: "alice", MID: mid, ID: fmt.Sprint("id", ids.Add(1)), Kind: "text", Body: []byte(`1`)}
	a, commit, err := store.Chat().Append(t.Context(), d)
	written(t, commit, err)
	return a
}

// told gives the seqs of the messages of alice and bob in the order in which bob was told of them.
func told(t *testing.T, store *mongo.Store) (seqs []uint64) {
	t.Helper()
	page, err := store.Chat().Stream(t.Context(), "bob", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Entries {
		if e.Type == chat.EntryMessage {
			seqs = append(seqs, e.Message.Seq)
		}
	}
	return seqs
}

func TestAMessageIsToldBeforeTheNextOneOfAnotherWriter(t *testing.T) {
	uri := mongotest.Database(t)
	aliceAndBob(t, uri)
	slow, pSlow := node(t, uri)
	fast, pFast := node(t, uri)
	say(t, slow, "1")
	pFast.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"find"}, Collection: "convs", Times: 1})
	third := make(chan chat.Appended, 1)
	go func() { third <- say(t, fast, "3") }() // sees that all has been told, and then reads how far the conversation is
	eventually(t, "a reader that is held", func() bool { return pFast.Done(wirefault.Hold) == 1 })
	pSlow.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"insert"}, Collection: "stream"})
	done := make(chan struct{})
	go func() { defer close(done); say(t, slow, "2") }()
	eventually(t, "a message that is written and not told", func() bool { return pSlow.Done(wirefault.Hold) == 1 })
	pFast.Set()
	if a := <-third; a.Message.Seq != 3 {
		t.Errorf("the third message has seq %d", a.Message.Seq)
	}
	if got := told(t, fast); fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("bob is told %v", got)
	}
	pSlow.Set()
	<-done
}

func TestARepeatThatIsAcknowledgedWasTold(t *testing.T) {
	uri := mongotest.Database(t)
	aliceAndBob(t, uri)
	first, p1 := node(t, uri)
	second, p2 := node(t, uri)
	say(t, second, "1") // it knows the conversation
	p2.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"insert"}, Collection: "log", Times: 1})
	repeated := make(chan chat.Appended, 1)
	go func() { repeated <- say(t, second, "2") }()
	eventually(t, "the second one's insert", func() bool { return p2.Done(wirefault.Hold) == 1 })
	p1.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"insert"}, Collection: "stream"})
	done := make(chan struct{})
	go func() { defer close(done); say(t, first, "2") }()
	eventually(t, "the first one's telling", func() bool { return p1.Done(wirefault.Hold) >= 1 })
	p2.Set()
	if a := <-repeated; !a.Dup || a.Message.Seq != 2 {
		t.Errorf("the repeat got %+v, want the dup of message 2", a)
	}
	if got := told(t, second); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("when the repeat is acknowledged bob is told %v", got)
	}
	p1.Set()
	<-done
	if got := told(t, second); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("in the end bob is told %v", got)
	}
}

func TestAStartFinishesWhatOthersHaveBegun(t *testing.T) {
	uri := mongotest.Database(t)
	aliceAndBob(t, uri)
	first, p := node(t, uri)
	p.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"insert"}, Collection: "stream"})
	done := make(chan struct{})
	go func() { defer close(done); say(t, first, "1") }()
	eventually(t, "a message that is written and not told", func() bool { return p.Done(wirefault.Hold) == 1 })
	second, _ := node(t, uri)
	if got := told(t, second); fmt.Sprint(got) != "[1]" {
		t.Errorf("after the start of another one bob is told %v", got)
	}
	p.Set()
	<-done
	if got := told(t, second); fmt.Sprint(got) != "[1]" {
		t.Errorf("in the end bob is told %v", got)
	}
}

func aliceAndBob(t *testing.T, uri string) {
	t.Helper()
	store := join(t, uri)
	defer store.Close()
	know(t, store, "alice", "bob")
}

// know makes two people contacts.
func know(t *testing.T, store *mongo.Store, a, b accounts.Name) {
	t.Helper()
	for _, change := range []chat.Change{chat.ToRequest(a, b, "", chat.Bounds{}), chat.ToAccept(b, a, chat.Bounds{})} {
		_, commit, err := store.Chat().Change(t.Context(), change)
		written(t, commit, err)
	}
}

// join opens a store that is not alone.
func join(t *testing.T, uri string) *mongo.Store {
	t.Helper()
	store, err := mongo.Open(t.Context(), mongo.Config{URI: uri}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// written waits for what was written.
func written(t *testing.T, commit chat.Commit, err error) {
	t.Helper()
	if err == nil && commit != nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}
