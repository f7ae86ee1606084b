package chat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// home makes alice's home, into which she brings others, and gives what OnHome has told since.
func (m messenger) home(t *testing.T, p chat.RoomPatch, members ...accounts.Name) (chat.Conversation, *[]chat.Conversation) {
	t.Helper()
	var told []chat.Conversation
	m.OnHome(func(_ context.Context, c chat.Conversation) { told = append(told, c) })
	title := "Home"
	p.Title = &title
	c, _, commit, err := m.CreateRoom(t.Context(), "alice", chat.KindHome, p, members, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := commit.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	told = nil
	return c, &told
}

func TestWhoComesIntoAHomeIsAGuest(t *testing.T) {
	m := start(t)
	m.befriend(t, "alice", "bob")
	c, told := m.home(t, chat.RoomPatch{}, "bob", "carol")
	if _, err := m.AnswerRoom(t.Context(), "carol", c, true, nil); err != nil {
		t.Fatal(err)
	}
	if got := m.roles(t, c); got != "alice owner, bob guest, carol guest" {
		t.Errorf("there are %s", got)
	}
	if len(*told) != 1 {
		t.Errorf("told of %v, want of carol, who came", *told)
	}
	for _, step := range []func() (chat.Commit, error){
		func() (chat.Commit, error) { return m.SetRoomRole(t.Context(), "alice", c, "bob", chat.RoleAdmin, nil) },
		func() (chat.Commit, error) {
			return m.SetRoomRole(t.Context(), "bob", c, "carol", chat.RoleMember, nil)
		},
		func() (chat.Commit, error) {
			return m.KickFromRoom(t.Context(), "bob", c, []accounts.Name{"carol"}, nil)
		},
	} {
		*told = nil
		if _, err := step(); err != nil || !slices.Contains(*told, c) {
			t.Errorf("told of %v, %v", *told, err)
		}
	}
	want := map[accounts.Name]chat.Role{"alice": chat.RoleOwner, "bob": chat.RoleAdmin}
	if got, err := m.HomeRoles(t.Context(), c); err != nil || !maps.Equal(got, want) {
		t.Errorf("roles %v, %v; want %v", got, err, want)
	}
	if got, err := m.HomesOf(t.Context(), "bob"); err != nil || !slices.Equal(got, []chat.Conversation{c}) {
		t.Errorf("homes of bob: %v, %v", got, err)
	}
	if _, err := m.DissolveRoom(t.Context(), "alice", c, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := m.HomeRoles(t.Context(), c); err != nil || len(got) != 0 {
		t.Errorf("roles in a home that was dissolved: %v, %v", got, err)
	}
}

func TestWhatAGuestMayDo(t *testing.T) {
	m := start(t)
	m.befriend(t, "alice", "bob")
	m.befriend(t, "bob", "carol")
	all, members := chat.HistoryAll, chat.GroupMembers
	c, _ := m.home(t, chat.RoomPatch{History: &all, Invite: &members})
	write := func(who accounts.Name, text string) error {
		_, commit, err := m.Send(t.Context(), who, chat.Target{Conversation: c},
			chat.Content{Kind: "text", Body: json.RawMessage(`{"text":"` + text + `"}`)}, nil)
		if err == nil {
			err = commit.Wait(t.Context())
		}
		return err
	}
	if err := write("alice", "before"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.InviteToRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := write("bob", "hello"); err != nil {
		t.Errorf("a guest writes: %v", err)
	}
	page, err := m.History(t.Context(), "bob", chat.HistoryQuery{Conversation: c, Limit: 100})
	if err != nil || len(page.Messages) == 0 || strings.Contains(fmt.Sprint(page.Messages), "before") {
		t.Errorf("a guest reads %v, %v", page.Messages, err)
	}
	if _, _, err := m.InviteToRoom(t.Context(), "bob", c, []accounts.Name{"carol"}, nil); !errors.Is(err, chat.ErrNoRight) {
		t.Errorf("a guest brings somebody: %v", err)
	}
	rooms := chat.PlacesOf([]string{"Hall"})
	if _, err := m.SetRoom(t.Context(), "bob", c, chat.RoomPatch{Rooms: &rooms}, nil); !errors.Is(err, chat.ErrNoRight) {
		t.Errorf("a guest sets rooms: %v", err)
	}
	if list, err := m.RoomMembers(t.Context(), "bob", c, "guest", "", 0); err != nil || len(list) != 1 || list[0].Who != "bob" {
		t.Errorf("guests are %v, %v", list, err)
	}
}

func TestAHomeOfGuestsEndsWithItsOwner(t *testing.T) {
	m := start(t)
	m.befriend(t, "alice", "bob")
	c, told := m.home(t, chat.RoomPatch{}, "bob")
	m.users["alice"] = false
	if err := m.Leave(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if v, err := m.SeeRoom(t.Context(), "bob", c); err != nil || v.Ended == 0 {
		t.Errorf("the home goes on: %+v, %v", v, err)
	}
	if len(*told) == 0 {
		t.Error("nobody was told")
	}
}

func TestRoomsOfAHome(t *testing.T) {
	m := start(t)
	c, told := m.home(t, chat.RoomPatch{})
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, tt := range map[string]struct {
		rooms []string
		want  error
	}{
		"some":        {[]string{"Hall", "Küche"}, nil},
		"none":        {nil, nil},
		"many":        {many[:64], nil},
		"too many":    {many, chat.ErrTooLarge},
		"twice":       {[]string{"Hall", "Hall"}, chat.ErrMalformed},
		"empty":       {[]string{""}, chat.ErrMalformed},
		"two lines":   {[]string{"a\nb"}, chat.ErrMalformed},
		"no UTF-8":    {[]string{"\xff"}, chat.ErrMalformed},
		"long":        {[]string{strings.Repeat("x", 65)}, chat.ErrTooLarge},
		"many bytes":  {[]string{strings.Repeat("厨", 43)}, chat.ErrTooLarge},
		"just enough": {[]string{strings.Repeat("厨", 42)}, nil},
	} {
		rooms := chat.PlacesOf(tt.rooms)
		_, err := m.SetRoom(t.Context(), "alice", c, chat.RoomPatch{Rooms: &rooms}, nil)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if err != nil {
			continue
		}
		v, err := m.SeeRoom(t.Context(), "alice", c)
		if got := v.Info.Rooms.List(); err != nil || !slices.Equal(got, tt.rooms) {
			t.Errorf("%s: the rooms are %q, %v", name, got, err)
		}
	}
	if len(*told) != 0 {
		t.Errorf("told that roles have changed: %v", *told)
	}
}

func TestPlacesAreAListInJSON(t *testing.T) {
	for _, text := range []string{`[]`, `["Hall"]`, `["b","a"]`} {
		var p chat.Places
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(p); err != nil || string(again) != text {
			t.Errorf("%s became %s, %v", text, again, err)
		}
	}
}
