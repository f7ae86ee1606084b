package pebble_test

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// A room that is forgotten while likes wait in the open batch is loaded with them.
func TestLikesOfARoomThatWasForgottenAreNotLost(t *testing.T) {
	disk, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs, Conversations: 1})
	ctx := t.Context()
	for _, c := range []chat.Conversation{"l.show", "l.other"} {
		_, commit, err := store.Chat().ChangeRoom(ctx, chat.RoomChange{
			Conversation: c, By: "alice", Step: func(r *chat.Room) (chat.RoomTold, error) {
				r.Owner, r.Created, r.Large = "alice", r.Now, true
				r.Enter("alice", chat.RoleOwner)
				return chat.RoomTold{}, nil
			}})
		if err == nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	like := func(c chat.Conversation) chat.Commit {
		t.Helper()
		_, commit, err := store.Chat().Like(ctx, chat.Likes{Conversation: c, From: "bob", N: 1})
		if err != nil {
			t.Fatal(err)
		}
		return commit
	}
	release := disk.hold()
	defer release()
	for range 3 {
		like("l.show") // the first is on its way to the disk, the others wait for it
	}
	if _, err := store.Chat().Room(ctx, "l.other"); err != nil { // l.show is forgotten
		t.Fatal(err)
	}
	last := like("l.show")
	release()
	if err := last.Wait(context.WithoutCancel(ctx)); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Chat().Liked(ctx, "l.show"); got != 4 || err != nil {
		t.Errorf("there are %d likes, %v, want 4", got, err)
	}
}
