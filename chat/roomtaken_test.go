package chat_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestWhatAStepChangesOfARoomIsSeen(t *testing.T) {
	before := chat.Room{
		Conversation: "g.1", Owner: "alice", Created: 1, Members: 2, Head: 7, Now: 9,
		People: map[accounts.Name]*chat.Membership{"alice": {Role: chat.RoleOwner}, "bob": {Role: chat.RoleMember, From: 1}},
	}
	tests := map[string]struct {
		step         func(r *chat.Room) chat.RoomTold
		says, parted bool
	}{
		"nothing":           {func(*chat.Room) chat.RoomTold { return chat.RoomTold{} }, false, false},
		"the time":          {func(r *chat.Room) chat.RoomTold { r.Now++; return chat.RoomTold{} }, false, false},
		"its title":         {func(r *chat.Room) chat.RoomTold { r.Info.Title = "x"; return chat.RoomTold{} }, true, false},
		"what somebody is":  {func(r *chat.Room) chat.RoomTold { r.Of("bob").Muted = 3; return chat.RoomTold{} }, true, false},
		"that it was ended": {func(r *chat.Room) chat.RoomTold { r.Ended = 9; return chat.RoomTold{} }, true, true},
		"only a line":       {func(*chat.Room) chat.RoomTold { return chat.RoomTold{Line: json.RawMessage(`{}`)} }, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := chat.RoomChange{Conversation: "g.1", By: "alice", Step: func(r *chat.Room) (chat.RoomTold, error) { return tt.step(r), nil }}
			is, err := c.Take(before)
			if err != nil {
				t.Fatal(err)
			}
			if is.Says() != tt.says || is.Changed().Parted != tt.parted || is.Grew() {
				t.Errorf("says %t, parted %t, grew %t, want %t, %t, false", is.Says(), is.Changed().Parted, is.Grew(), tt.says, tt.parted)
			}
		})
	}
}

func TestALargeRoomHasNoLineOfAChange(t *testing.T) {
	c := chat.RoomChange{Conversation: "g.1", By: "alice", Step: func(r *chat.Room) (chat.RoomTold, error) {
		return chat.RoomTold{Line: json.RawMessage(`{"do":"set"}`)}, nil
	}}
	is, err := c.Take(chat.Room{Conversation: "g.1", Owner: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	d, says := is.Line("id")
	if !says || d.Kind != chat.KindSys || !d.Silent || d.From != "alice" || string(d.Body) != `{"do":"set"}` {
		t.Errorf("got %+v, %t, want a silent line of alice's", d, says)
	}
	is.After.Large = true
	if d, says := is.Line("id"); says {
		t.Errorf("of a large room: got %+v, want none", d)
	}
}

func TestEverybodyConcernedIsNamedOnce(t *testing.T) {
	c := chat.RoomChange{By: "alice", Who: []accounts.Name{"bob", "alice", "carol", "bob"}}
	if got, want := c.Concerned(), []accounts.Name{"alice", "bob", "carol"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
