package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// room makes a room of some people, the first of whom is its owner.
func room(t *testing.T, store *mongo.Store, c chat.Conversation, info chat.RoomInfo, large bool, who ...accounts.Name) {
	t.Helper()
	_, commit, err := store.Chat().ChangeRoom(t.Context(), chat.RoomChange{
		Conversation: c, By: who[0], Who: who, Step: func(r *chat.Room) (chat.RoomTold, error) {
			r.Owner, r.Created, r.Info, r.Large = who[0], r.Now, info, large
			r.Enter(who[0], chat.RoleOwner)
			for _, name := range who[1:] {
				r.Enter(name, chat.RoleMember)
			}
			return chat.RoomTold{}, nil
		},
	})
	written(t, commit, err)
}

// write appends a message to a room.
func write(t *testing.T, store *mongo.Store, c chat.Conversation, from accounts.Name, mid string) (chat.Appended, error) {
	t.Helper()
	d := chat.Draft{Conversation: c, From: from, MID: mid, ID: fmt.Sprint("id", ids.Add(1)), Kind: "text", Body: []byte(`1`)}
	a, commit, err := store.Chat().Append(t.Context(), d)
	if err == nil {
		written(t, commit, nil)
	}
	return a, err
}

// Something follows in a large room all the time, and no stream says so.
func TestOnesOwnMessagesInALargeRoomAreNeverUnread(t *testing.T) {
	t.Parallel()
	store := open(t, mongo.Config{URI: mongotest.Database(t), Alone: true})
	room(t, store, "g.large", chat.RoomInfo{Title: "large"}, true, "alice", "bob")
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for range 15 {
				if _, err := write(t, store, "g.large", "alice", ""); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		tallies, _, err := store.Chat().Tallies(t.Context(), "alice")
		if err != nil || len(tallies) != 0 {
			t.Fatalf("tallies of who has sent all there is: %+v, %v", tallies, err)
		}
		list, _, err := store.Chat().Conversations(t.Context(), "alice", chat.ListQuery{Limit: 1})
		if err != nil || len(list) != 1 || list[0].Tally.Unread() != 0 {
			t.Fatalf("list of who has sent all there is: %+v, %v", list, err)
		}
	}
}

// A repeat that comes together with the first one would be refused if it was a message of its own.
func TestARepeatIsNoRefusalForBeingTooFast(t *testing.T) {
	t.Parallel()
	store := open(t, mongo.Config{URI: mongotest.Database(t), Alone: true})
	room(t, store, "g.slow", chat.RoomInfo{Title: "slow", Slow: 3600}, false, "owner", "alice")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := write(t, store, "g.slow", "alice", "m"); err != nil {
				t.Errorf("repeat %d: %v", i, err)
			}
		})
		wg.Go(func() {
			if _, err := write(t, store, "g.slow", "owner", ""); err != nil { // so that the others have to wait for something
				t.Errorf("append: %v", err)
			}
		})
	}
	wg.Wait()
}

// What is read may be taken together with the message itself, which cannot be looked at then.
func TestAMarkCountsWhatWasOnlyJustSent(t *testing.T) {
	t.Parallel()
	store := open(t, mongo.Config{URI: mongotest.Database(t), Alone: true})
	room(t, store, "g.room", chat.RoomInfo{Title: "room"}, false, "alice", "bob")
	const messages = 40
	var wg sync.WaitGroup
	for range messages {
		wg.Go(func() {
			if _, err := write(t, store, "g.room", "alice", ""); err != nil {
				t.Errorf("append: %v", err)
			}
		})
		wg.Go(func() {
			if _, _, err := store.Chat().Mark(t.Context(), "g.room", "bob", chat.Marks{Read: messages / 2}, nil); err != nil {
				t.Errorf("mark: %v", err)
			}
		})
	}
	wg.Wait()
	if _, _, err := store.Chat().Mark(t.Context(), "g.room", "bob", chat.Marks{Read: messages / 2}, nil); err != nil {
		t.Fatal(err)
	}
	tallies, _, err := store.Chat().Tallies(t.Context(), "bob")
	if err != nil || len(tallies) != 1 || tallies[0].Unread() != messages/2 {
		t.Errorf("tallies are %+v, %v, want %d unread", tallies, err, messages/2)
	}
}

// Nothing is written of members of a large room when messages go.
func TestWhatIsNotKeptOfALargeRoomIsUnreadNoMore(t *testing.T) {
	t.Parallel()
	store := open(t, mongo.Config{URI: mongotest.Database(t), Alone: true})
	room(t, store, "g.large", chat.RoomInfo{Title: "large"}, true, "alice", "bob")
	d := chat.Draft{
		Conversation: "g.large", From: "alice", ID: "id", Kind: "text", Body: []byte(`1`), At: []accounts.Name{"bob"},
	}
	_, commit, err := store.Chat().Append(t.Context(), d)
	written(t, commit, err)
	for more := true; more; {
		if more, err = store.Chat().Retire(t.Context(), "g.large", 1<<60); err != nil {
			t.Fatal(err)
		}
	}
	list, _, err := store.Chat().Conversations(t.Context(), "bob", chat.ListQuery{Limit: 1})
	if err != nil || len(list) != 1 || list[0].Tally.Unread() != 0 || list[0].Tally.Mention != 0 {
		t.Errorf("list is %+v, %v, want a room with nothing unread", list, err)
	}
	tallies, _, err := store.Chat().Tallies(t.Context(), "bob")
	if err != nil || len(tallies) != 0 {
		t.Errorf("tallies are %+v, %v, want none", tallies, err)
	}
}

// What somebody has not read in a room that he is put out of is unread until his stream says that he is.
func TestWhoIsPutOutOfARoomIsToldBeforeItCountsNoMore(t *testing.T) {
	t.Parallel()
	var store *mongo.Store
	var leaves atomic.Bool
	looked := "nobody has looked"
	store = open(t, mongo.Config{URI: mongotest.Database(t), Alone: true, Hook: func(point string) {
		if point != "followers written" || !leaves.Load() {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tallies, asOf, err := store.Chat().Tallies(ctx, "bob")
		if looked = ""; !errors.Is(err, context.DeadlineExceeded) {
			looked = fmt.Sprintf("tallies are %+v as of %d, %v", tallies, asOf, err)
		}
	}})
	room(t, store, "g.room", chat.RoomInfo{Title: "room"}, false, "alice", "bob")
	if _, err := write(t, store, "g.room", "alice", ""); err != nil {
		t.Fatal(err)
	}
	leaves.Store(true)
	_, commit, err := store.Chat().ChangeRoom(t.Context(), chat.RoomChange{
		Conversation: "g.room", By: "alice", Who: []accounts.Name{"bob"}, Step: func(r *chat.Room) (chat.RoomTold, error) {
			r.Exit("bob")
			return chat.RoomTold{Tells: []chat.RoomTell{{To: "bob", State: chat.RoomKicked}}}, nil
		},
	})
	written(t, commit, err)
	if looked != "" {
		t.Errorf("between his place and his stream: %s", looked)
	}
}
