package mongo_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// What was committed and not told when the database failed is told when it is there again, although nobody asks, and those whom
// it concerns are woken.
func TestWhatIsLeftOpenIsFinishedByItself(t *testing.T) {
	store, p := ownNode(t, time.Minute)
	var mu sync.Mutex
	var woken []accounts.Name
	store.Chat().(chat.Mending).OnLate(func(l chat.Arrival) {
		mu.Lock()
		defer mu.Unlock()
		if l.Seq == 1 && l.Conversation == "d.alice.bob" {
			woken = append(woken, l.Told...)
		}
	})
	p.Set(wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.Unknown, Commands: []string{"insert"}, Collection: "stream", Times: 2})
	d := chat.Draft{Conversation: "d.alice.bob", From: "alice", ID: "id1", Kind: "text", Body: []byte(`1`)}
	if _, _, err := store.Chat().Append(t.Context(), d); !errors.Is(err, chat.ErrUnavailable) {
		t.Fatalf("a message of which nobody could be told: %v", err)
	}
	eventually(t, "a message that is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(woken, "alice") && slices.Contains(woken, "bob")
	})
	if seqs := told(t, store); len(seqs) != 1 {
		t.Errorf("bob was told of %v", seqs)
	}
}

// What is counted is of one moment, also when a message is there that nobody could be told of.
func TestWhatIsLeftOpenIsNotCountedBeforeItIsTold(t *testing.T) {
	store, p := ownNode(t, time.Minute)
	p.Set(wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.Unknown, Commands: []string{"insert"}, Collection: "stream"})
	d := chat.Draft{Conversation: "d.alice.bob", From: "alice", ID: "id1", Kind: "text", Body: []byte(`1`)}
	if _, _, err := store.Chat().Append(t.Context(), d); !errors.Is(err, chat.ErrUnavailable) {
		t.Fatalf("a message of which nobody could be told: %v", err)
	}
	before := len(told(t, store))
	if tallies, asOf, err := store.Chat().Tallies(t.Context(), "bob"); before == 0 && !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("tallies are %+v as of %d, %v, when bob was not told of the message", tallies, asOf, err)
	}
	p.Set()
	tallies, asOf, err := store.Chat().Tallies(t.Context(), "bob")
	if err != nil || len(tallies) != 1 || tallies[0].Unread() != 1 || asOf == 0 {
		t.Errorf("then they are %+v as of %d, %v", tallies, asOf, err)
	}
	if seqs := told(t, store); len(seqs) != 1 {
		t.Errorf("bob was told of %v", seqs)
	}
}

// A client sends a message of QoS 2 again that it was told nothing of, and may be quicker than what follows from the first one.
func TestAMessageOfQoS2IsThereOnceWhenTheDatabaseFails(t *testing.T) {
	for collection, commands := range map[string][]string{
		"log": {"insert"}, "members": {"update"}, "convs": {"update"}, "stream": {"insert"},
	} {
		t.Run(collection, func(t *testing.T) {
			store, p := ownNode(t, time.Minute)
			answer := wirefault.Unknown
			answer.Done = true // it is only the answer that fails
			p.Set(wirefault.Rule{Do: wirefault.Refuse, Answer: answer, Commands: commands, Collection: collection, Times: 1})
			d := chat.Draft{
				Conversation: "d.alice.bob", From: "alice", ID: "id1", Kind: "text", Body: []byte(`1`), Fingerprint: [32]byte{1},
				Origin: sessions.Origin{Key: sessions.Key{Account: "alice", Client: "phone"}, ID: 7},
			}
			var a chat.Appended
			eventually(t, "a message that is stored", func() bool {
				var err error
				d.ID += "x"
				a, _, err = store.Chat().Append(t.Context(), d)
				return err == nil
			})
			if a.Message.Seq != 1 {
				t.Errorf("at last it has seq %d", a.Message.Seq)
			}
			if seqs := told(t, store); len(seqs) != 1 {
				t.Errorf("bob was told of %v", seqs)
			}
			d.ID, d.Body, d.Fingerprint = "id2", []byte(`2`), [32]byte{2} // the packet id is used again
			if a, _, err := store.Chat().Append(t.Context(), d); err != nil || a.Dup || a.Message.Seq != 2 {
				t.Errorf("another one with the packet id: %+v, %v", a, err)
			}
		})
	}
}
