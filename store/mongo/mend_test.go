package mongo_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// What was committed and not told when the database failed is told when it is there again, although nobody asks, and those whom
// it concerns are woken.
func TestWhatIsLeftOpenIsFinishedByItself(t *testing.T) {
	store, p := ownNode(t, time.Minute)
	var mu sync.Mutex
	var woken []accounts.Name
	store.Chat().(chat.Mending).OnLate(func(l chat.Late) {
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
