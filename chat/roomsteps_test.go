package chat_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const (
	roomNow  = 1_000_000
	roomMost = 8
)

// testRoom is alice's room, in which bob and dave are admins and carol and erin members; head is 10.
func testRoom(c chat.Conversation) *chat.Room {
	r := &chat.Room{Conversation: c, Info: chat.FirstInfo(c.Kind()), Owner: "alice", Created: 1, Version: 1, Head: 10, Now: roomNow}
	r.Info.Title = "T"
	for i, who := range []accounts.Name{"alice", "bob", "carol", "dave", "erin"} {
		role := chat.RoleMember
		switch who {
		case "alice":
			role = chat.RoleOwner
		case "bob", "dave":
			role = chat.RoleAdmin
		}
		*r.Of(who) = chat.Membership{Role: role, Since: int64(i + 1), From: uint64(i + 1)}
		r.Members++
	}
	return r
}

// became says in words what a step has made of a room: the line, who is told what, and who is something else.
func became(before, after *chat.Room, told chat.RoomTold) string {
	var all []string
	if told.Line != nil {
		all = append(all, string(told.Line))
	}
	for _, t := range told.Tells {
		words := []string{string(t.To), string(t.State), string(t.Role), string(t.Who), t.Text}
		if t.Until != 0 {
			words = append(words, fmt.Sprint(t.Until))
		}
		all = append(all, strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	}
	for _, who := range slices.Sorted(maps.Keys(after.People)) {
		was := chat.Membership{}
		if m := before.People[who]; m != nil {
			was = *m
		}
		if is := after.People[who]; !is.Equal(was) {
			all = append(all, string(who)+changed(was, *is))
		}
	}
	if after.Members != before.Members {
		all = append(all, fmt.Sprintf("%d members", after.Members))
	}
	if after.Owner != before.Owner {
		all = append(all, "owner "+string(after.Owner))
	}
	if after.Ended != before.Ended {
		all = append(all, "ended")
	}
	if after.Version != before.Version {
		all = append(all, fmt.Sprintf("version %d", after.Version))
	}
	if after.Link != before.Link || after.LinkUses != before.LinkUses || after.LinkEnds != before.LinkEnds {
		all = append(all, fmt.Sprintf("link %q %d %d", after.Link, after.LinkUses, after.LinkEnds))
	}
	return strings.Join(all, "; ")
}

// periodsOf gives what may be read: "3-7", and "11-" without an end.
func periodsOf(m chat.Membership) []string {
	all := []string{}
	for _, p := range m.Readable() {
		if p.To == math.MaxUint64 {
			all = append(all, fmt.Sprintf("%d-", p.From))
		} else {
			all = append(all, fmt.Sprintf("%d-%d", p.From, p.To-1))
		}
	}
	return all
}

func changed(was, is chat.Membership) string {
	s := ""
	if was.Role != is.Role {
		s += fmt.Sprintf(" role %q since %d", is.Role, is.Since)
	}
	if was.From != is.From || !slices.Equal(was.Past, is.Past) {
		s += " reads " + fmt.Sprint(periodsOf(is))
	}
	if was.Muted != is.Muted {
		s += fmt.Sprintf(" muted %d", is.Muted)
	}
	if was.Banned != is.Banned {
		s += fmt.Sprintf(" banned %d", is.Banned)
	}
	if was.Inviter != is.Inviter {
		s += fmt.Sprintf(" inviter %q", is.Inviter)
	}
	if was.Asked != is.Asked || was.Text != is.Text {
		s += fmt.Sprintf(" asked %d %q", is.Asked, is.Text)
	}
	return s
}

// roomStep is a step of a room, and what it has to make of it.
type roomStep struct {
	room   chat.Conversation // empty: a group
	given  func(r *chat.Room)
	change func(c chat.Conversation) chat.RoomChange
	err    error
	want   string
}

func (s roomStep) run(t *testing.T) {
	t.Helper()
	c := s.room
	if c == "" {
		c = "g.x"
	}
	r := testRoom(c)
	if s.given != nil {
		s.given(r)
	}
	change := s.change(c)
	for _, who := range append(change.Who, change.By) {
		r.Of(who)
	}
	for range 2 { // a step may be taken more than once
		after := r.Clone()
		told, err := change.Step(&after)
		if !errors.Is(err, s.err) || (err == nil) != (s.err == nil) {
			t.Fatalf("got error %v, want %v", err, s.err)
		}
		if err != nil {
			continue
		}
		if got := became(r, &after, told); got != s.want {
			t.Errorf("got  %s\nwant %s", got, s.want)
		}
		for _, tell := range told.Tells {
			if tell.To != change.By && !slices.Contains(change.Who, tell.To) {
				t.Errorf("%s is told and was not asked for", tell.To)
			}
		}
	}
}

func endedRoom(r *chat.Room) { r.Ended = 5 }
func noRoom(r *chat.Room)    { *r = chat.Room{Conversation: r.Conversation, Now: r.Now} }

// ruled are the refusals of all that admins do.
func ruled(t *testing.T, step func(c chat.Conversation, by accounts.Name) chat.RoomChange) {
	t.Helper()
	for name, s := range map[string]roomStep{
		"in no room":        {given: noRoom, err: chat.ErrNoConversation},
		"in an ended room":  {given: endedRoom, err: chat.ErrEnded},
		"by an outsider":    {err: chat.ErrNotMember},
		"by a former admin": {given: func(r *chat.Room) { r.Exit("bob") }, err: chat.ErrNotMember},
		"by a member":       {err: chat.ErrNoRight},
	} {
		by := map[string]accounts.Name{"by an outsider": "zoe", "by a member": "carol"}[name]
		if by == "" {
			by = "bob"
		}
		s.change = func(c chat.Conversation) chat.RoomChange { return step(c, by) }
		t.Run(name, s.run)
	}
}
