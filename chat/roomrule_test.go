package chat_test

import (
	"errors"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type makeStep = func(c chat.Conversation) chat.RoomChange

// against are the refusals of what admins do to somebody.
func against(t *testing.T, step func(c chat.Conversation, by, who accounts.Name) chat.RoomChange) {
	t.Helper()
	ruled(t, func(c chat.Conversation, by accounts.Name) chat.RoomChange { return step(c, by, "erin") })
	for name, pair := range map[string][2]accounts.Name{
		"the owner": {"bob", "alice"}, "an admin, by an admin": {"bob", "dave"}, "oneself": {"bob", "bob"},
		"oneself, the owner": {"alice", "alice"},
	} {
		t.Run(name, roomStep{change: func(c chat.Conversation) chat.RoomChange { return step(c, pair[0], pair[1]) },
			err: chat.ErrNoRight}.run)
	}
}

func TestToApprove(t *testing.T) {
	ruled(t, func(c chat.Conversation, by accounts.Name) chat.RoomChange {
		return chat.ToApprove(c, by, "zoe", true, roomMost)
	})
	approve := func(yes bool) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToApprove(c, "bob", "zoe", yes, roomMost) }
	}
	asks := func(r *chat.Room) { r.Of("zoe").Asked, r.Of("zoe").Text = 5, "hi" }
	for name, s := range map[string]roomStep{
		"who has not asked": {change: approve(true), err: chat.ErrNoRequest},
		"no, again":         {change: approve(false), err: chat.ErrNoRequest},
		"who is in it":      {given: func(r *chat.Room) { r.Enter("zoe", chat.RoleMember) }, change: approve(true)},
		"full": {given: func(r *chat.Room) { asks(r); r.Members = roomMost }, change: approve(true),
			err: chat.ErrFull},
		"yes": {given: asks, change: approve(true), want: `{"do":"join","who":["zoe"]}; zoe joined member; ` +
			`zoe role "member" since 1000000 reads [11-] asked 0 ""; 6 members`},
		"no": {given: asks, change: approve(false), want: `zoe declined; zoe asked 0 ""`},
	} {
		t.Run(name, s.run)
	}
}

func TestToKick(t *testing.T) {
	against(t, func(c chat.Conversation, by, who accounts.Name) chat.RoomChange {
		return chat.ToKick(c, by, "erin", who)
	})
	kick := func(by accounts.Name, who ...accounts.Name) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToKick(c, by, who...) }
	}
	for name, s := range map[string]roomStep{
		"nobody":      {change: kick("bob")},
		"an outsider": {change: kick("bob", "zoe")},
		"an invited one": {given: func(r *chat.Room) { r.Of("zoe").Inviter = "carol" }, change: kick("bob", "zoe"),
			want: `zoe inviter ""`},
		"who asks": {given: func(r *chat.Room) { r.Of("zoe").Asked = 5 }, change: kick("bob", "zoe"),
			want: `zoe asked 0 ""`},
		"twice": {change: kick("bob", "carol", "carol"), want: `{"do":"kick","who":["carol"]}; carol kicked; ` +
			`carol role "" since 1000000 reads [3-10]; 4 members`},
		"an admin, by the owner": {change: kick("alice", "dave", "erin"),
			want: `{"do":"kick","who":["dave","erin"]}; dave kicked; ` +
				`erin kicked; dave role "" since 1000000 reads [4-10]; erin role "" since 1000000 reads [5-10]; 3 members`},
	} {
		t.Run(name, s.run)
	}
}

func TestToBan(t *testing.T) {
	against(t, func(c chat.Conversation, by, who accounts.Name) chat.RoomChange { return chat.ToBan(c, by, who, 0) })
	ban := func(who accounts.Name, seconds int64) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToBan(c, "bob", who, seconds) }
	}
	banned := func(until int64) func(*chat.Room) { return func(r *chat.Room) { r.Of("zoe").Banned = until } }
	for name, s := range map[string]roomStep{
		"a member": {change: ban("carol", 60), want: `{"do":"ban","who":["carol"],"until":1060000}; carol banned 1060000; ` +
			`carol role "" since 1000000 reads [3-10] banned 1060000; 4 members`},
		"an outsider": {change: ban("zoe", 0), want: `zoe banned -1`},
		"a viewer": {room: "l.x", change: ban("zoe", 0),
			want: `{"do":"ban","who":["zoe"],"until":-1}; zoe banned -1; zoe banned -1`},
		"who is invited": {given: func(r *chat.Room) { r.Of("zoe").Inviter = "bob" }, change: ban("zoe", 0),
			want: `zoe banned -1 inviter ""`},
		"again":      {given: banned(chat.Forever), change: ban("zoe", 0)},
		"for longer": {given: banned(5), change: ban("zoe", 1), want: `zoe banned 1001000`},
	} {
		t.Run(name, s.run)
	}
}

func TestToUnban(t *testing.T) {
	against(t, chat.ToUnban)
	unban := func(c chat.Conversation) chat.RoomChange { return chat.ToUnban(c, "bob", "zoe") }
	for name, s := range map[string]roomStep{
		"who is not banned": {change: unban},
		"who is": {given: func(r *chat.Room) { r.Of("zoe").Banned = chat.Forever }, change: unban,
			want: `zoe banned 0`},
	} {
		t.Run(name, s.run)
	}
}

func TestToMute(t *testing.T) {
	against(t, func(c chat.Conversation, by, who accounts.Name) chat.RoomChange { return chat.ToMute(c, by, who, 0) })
	mute := func(who accounts.Name, seconds int64) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToMute(c, "bob", who, seconds) }
	}
	for name, s := range map[string]roomStep{
		"a member": {change: mute("carol", 60),
			want: `{"do":"mute","who":["carol"],"until":1060000}; carol muted 1060000; carol muted 1060000`},
		"for ever": {change: mute("carol", 0),
			want: `{"do":"mute","who":["carol"],"until":-1}; carol muted -1; carol muted -1`},
		"an outsider": {change: mute("zoe", 0), want: `zoe muted -1`},
		"a viewer": {room: "l.x", change: mute("zoe", 0),
			want: `{"do":"mute","who":["zoe"],"until":-1}; zoe muted -1; zoe muted -1`},
		"again": {given: func(r *chat.Room) { r.Of("carol").Muted = chat.Forever }, change: mute("carol", 0)},
	} {
		t.Run(name, s.run)
	}
}

func TestWhoIsMuted(t *testing.T) {
	for name, s := range map[string]struct {
		given func(r *chat.Room)
		who   accounts.Name
		want  error
	}{
		"a member": {func(r *chat.Room) { r.Of("carol").Muted = chat.Forever }, "carol", chat.ErrMuted},
		"an admin": {func(r *chat.Room) { r.Of("bob").Muted = roomNow + 1 }, "bob", chat.ErrMuted},
		"an admin, where only admins write": {func(r *chat.Room) {
			r.Of("bob").Muted, r.Info.Post = chat.Forever, chat.GroupAdmins
		}, "bob", chat.ErrMuted},
		"a member, where only admins write": {func(r *chat.Room) {
			r.Of("carol").Muted, r.Info.Post = chat.Forever, chat.GroupAdmins
		}, "carol", chat.ErrNoRight},
		"an admin, for some time": {func(r *chat.Room) { r.Of("bob").Muted = roomNow }, "bob", nil},
		"all, a member":           {func(r *chat.Room) { r.Info.Muted = chat.Forever }, "carol", chat.ErrMuted},
		"all, an admin":           {func(r *chat.Room) { r.Info.Muted = chat.Forever }, "bob", nil},
		"all, the owner":          {func(r *chat.Room) { r.Info.Muted = chat.Forever }, "alice", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRoom("g.x")
			s.given(r)
			if err := r.Write(s.who); !errors.Is(err, s.want) {
				t.Errorf("writing: got %v, want %v", err, s.want)
			}
			edit := chat.OpCase{Room: r, Now: roomNow, Message: chat.Message{Seq: 9, From: s.who, TS: roomNow, Kind: "text"}}
			_, err := edit.Decide(&chat.OpDraft{By: s.who, Op: chat.OpEdit, Seq: 9, Body: []byte(`{}`)})
			if !errors.Is(err, s.want) {
				t.Errorf("an edit: got %v, want %v", err, s.want)
			}
		})
	}
}

func TestToUnmute(t *testing.T) {
	against(t, chat.ToUnmute)
	unmute := func(who accounts.Name) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToUnmute(c, "bob", who) }
	}
	muted := func(until int64) func(*chat.Room) {
		return func(r *chat.Room) { r.Of("carol").Muted, r.Of("zoe").Muted = until, until }
	}
	for name, s := range map[string]roomStep{
		"who is not": {change: unmute("carol")},
		"a member": {given: muted(chat.Forever), change: unmute("carol"),
			want: `{"do":"unmute","who":["carol"]}; carol unmuted; carol muted 0`},
		"an outsider":   {given: muted(chat.Forever), change: unmute("zoe"), want: `zoe muted 0`},
		"it had an end": {given: muted(5), change: unmute("carol"), want: `carol muted 0`},
	} {
		t.Run(name, s.run)
	}
}

func TestToMuteAll(t *testing.T) {
	ruled(t, func(c chat.Conversation, by accounts.Name) chat.RoomChange { return chat.ToMuteAll(c, by, 0) })
	ruled(t, chat.ToUnmuteAll)
	mute := func(c chat.Conversation) chat.RoomChange { return chat.ToMuteAll(c, "bob", 60) }
	unmute := func(c chat.Conversation) chat.RoomChange { return chat.ToUnmuteAll(c, "bob") }
	muted := func(r *chat.Room) { r.Info.Muted = roomNow + 60_000 }
	for name, s := range map[string]roomStep{
		"mute":          {change: mute, want: `{"do":"mute","until":1060000}; version 2`},
		"mute again":    {given: muted, change: mute},
		"unmute":        {given: muted, change: unmute, want: `{"do":"unmute"}; version 2`},
		"unmute, again": {change: unmute},
	} {
		t.Run(name, s.run)
	}
}

func TestToRole(t *testing.T) {
	role := func(by, who accounts.Name, role chat.Role) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToRole(c, by, who, role) }
	}
	for name, s := range map[string]roomStep{
		"in no room":            {given: noRoom, change: role("alice", "carol", "admin"), err: chat.ErrNoConversation},
		"in an ended room":      {given: endedRoom, change: role("alice", "carol", "admin"), err: chat.ErrEnded},
		"by an outsider":        {change: role("zoe", "carol", "admin"), err: chat.ErrNotMember},
		"by an admin":           {change: role("bob", "carol", "admin"), err: chat.ErrNoRight},
		"an admin, by himself":  {change: role("bob", "bob", "member"), err: chat.ErrNoRight},
		"the owner, by himself": {change: role("alice", "alice", "member"), err: chat.ErrNoRight},
		"an outsider":           {change: role("alice", "zoe", "admin"), err: chat.ErrNotMember},
		"again":                 {change: role("alice", "bob", "admin")},
		"admin": {change: role("alice", "carol", "admin"),
			want: `{"do":"role","who":["carol"],"role":"admin"}; carol role admin; carol role "admin" since 1000000`},
		"member": {change: role("alice", "bob", "member"),
			want: `{"do":"role","who":["bob"],"role":"member"}; bob role member; bob role "member" since 1000000`},
		"a viewer": {room: "l.x", change: role("alice", "zoe", "admin"), want: `{"do":"role","who":["zoe"],"role":"admin"}; ` +
			`zoe role admin; zoe role "admin" since 1000000 reads [1-]; 6 members`},
		"a viewer is one already": {room: "l.x", change: role("alice", "zoe", "member")},
		"an admin becomes a viewer": {room: "l.x", change: role("alice", "bob", "member"),
			want: `{"do":"role","who":["bob"],"role":"member"}; bob role member; bob role "" since 1000000 reads [2-10]; 4 members`},
		"a guest, by an admin": {room: "h.x", change: role("bob", "carol", "guest"),
			want: `{"do":"role","who":["carol"],"role":"guest"}; carol role guest; carol role "guest" since 1000000`},
		"a guest no more": {room: "h.x", given: guestErin, change: role("bob", "erin", "member"), want: `{"do":"role","who":["erin"],` +
			`"role":"member"}; erin role member; erin role "member" since 1000000`},
		"an admin of a home, by an admin": {room: "h.x", change: role("bob", "carol", "admin"), err: chat.ErrNoRight},
		"an admin of a home, a guest":     {room: "h.x", change: role("bob", "dave", "guest"), err: chat.ErrNoRight},
		"the owner of a home, a guest":    {room: "h.x", change: role("bob", "alice", "guest"), err: chat.ErrNoRight},
		"by a member of a home":           {room: "h.x", change: role("carol", "erin", "guest"), err: chat.ErrNoRight},
		"by a guest":                      {room: "h.x", given: guestErin, change: role("erin", "carol", "guest"), err: chat.ErrNoRight},
		"by a guest, himself":             {room: "h.x", given: guestErin, change: role("erin", "erin", "member"), err: chat.ErrNoRight},
		"a banned viewer": {room: "l.x", given: func(r *chat.Room) { r.Of("zoe").Banned = chat.Forever },
			change: role("alice", "zoe", "admin"), err: chat.ErrBanned},
	} {
		t.Run(name, s.run)
	}
}

func TestToTransfer(t *testing.T) {
	transfer := func(by, to accounts.Name) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToTransfer(c, by, to) }
	}
	for name, s := range map[string]roomStep{
		"no room":                   {given: noRoom, change: transfer("alice", "bob"), err: chat.ErrNoConversation},
		"an ended room":             {given: endedRoom, change: transfer("alice", "bob"), err: chat.ErrEnded},
		"by an outsider":            {change: transfer("zoe", "bob"), err: chat.ErrNotMember},
		"by an admin":               {change: transfer("bob", "carol"), err: chat.ErrNoRight},
		"by a member, to the owner": {change: transfer("carol", "alice"), err: chat.ErrNoRight},
		"to an outsider":            {change: transfer("alice", "zoe"), err: chat.ErrNotMember},
		"to oneself":                {change: transfer("alice", "alice")},
		"again":                     {change: transfer("bob", "alice")},
		"to a member": {change: transfer("alice", "carol"), want: `{"do":"transfer","who":["carol"]}; carol role owner; ` +
			`alice role admin; alice role "admin" since 1000000; carol role "owner" since 1000000; owner carol`},
		"to who is muted": {given: func(r *chat.Room) { r.Of("bob").Muted = chat.Forever }, change: transfer("alice", "bob"),
			want: `{"do":"transfer","who":["bob"]}; bob role owner; alice role admin; ` +
				`alice role "admin" since 1000000; bob role "owner" since 1000000 muted 0; owner bob`},
	} {
		t.Run(name, s.run)
	}
}

func TestToSet(t *testing.T) {
	ruled(t, func(c chat.Conversation, by accounts.Name) chat.RoomChange {
		return chat.ToSet(c, by, chat.RoomPatch{})
	})
	title, same, slow, all := "New", "T", int64(5), chat.HistoryAll
	set := func(p chat.RoomPatch) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToSet(c, "bob", p) }
	}
	for name, s := range map[string]roomStep{
		"nothing":   {change: set(chat.RoomPatch{})},
		"as it was": {change: set(chat.RoomPatch{Title: &same})},
		"some": {change: set(chat.RoomPatch{Title: &title, Slow: &slow, History: &all}),
			want: `{"do":"set","title":"New","history":"all","slow":5}; version 2`},
	} {
		t.Run(name, s.run)
	}
}

func TestToLink(t *testing.T) {
	ruled(t, func(c chat.Conversation, by accounts.Name) chat.RoomChange { return chat.ToLink(c, by, chat.Linking{}) })
	zero, two, minute, ever := 0, 2, int64(60), int64(0)
	link := func(l chat.Linking) makeStep {
		l.Secret = "new"
		return func(c chat.Conversation) chat.RoomChange { return chat.ToLink(c, "bob", l) }
	}
	has := func(uses int, ends int64) func(*chat.Room) {
		return func(r *chat.Room) { r.Link, r.LinkUses, r.LinkEnds = "old", uses, ends }
	}
	for name, s := range map[string]roomStep{
		"there is none":   {change: link(chat.Linking{}), want: `link "new" 0 0`},
		"there is one":    {given: has(3, 2_000_000), change: link(chat.Linking{})},
		"it has ended":    {given: has(3, roomNow), change: link(chat.Linking{}), want: `link "new" 0 0`},
		"another":         {given: has(3, 2_000_000), change: link(chat.Linking{Reset: true}), want: `link "new" 0 0`},
		"with bounds":     {change: link(chat.Linking{Uses: &two, TTL: &minute}), want: `link "new" 2 1060000`},
		"other bounds":    {given: has(3, 2_000_000), change: link(chat.Linking{Uses: &zero, TTL: &ever}), want: `link "old" 0 0`},
		"off":             {given: has(3, 2_000_000), change: link(chat.Linking{Off: true, Uses: &two}), want: `link "" 0 0`},
		"off, once again": {change: link(chat.Linking{Off: true})},
	} {
		t.Run(name, s.run)
	}
}

func TestToDissolve(t *testing.T) {
	dissolve := func(by accounts.Name) makeStep {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToDissolve(c, by, "bob", "zoe") }
	}
	for name, s := range map[string]roomStep{
		"no room":     {given: noRoom, change: dissolve("alice"), err: chat.ErrNoConversation},
		"an outsider": {change: dissolve("zoe"), err: chat.ErrNotMember},
		"an admin":    {change: dissolve("bob"), err: chat.ErrNoRight},
		"again":       {given: endedRoom, change: dissolve("alice")},
		"the owner": {given: func(r *chat.Room) {
			r.Link = "L"
			r.People = nil
			r.Members = 2
			*r.Of("alice") = chat.Membership{Role: chat.RoleOwner}
			r.Of("bob").Role = chat.RoleAdmin
		},
			change: dissolve("alice"), want: `{"do":"dissolve"}; alice dissolved; bob dissolved; ended; link "" 0 0`},
	} {
		t.Run(name, s.run)
	}
}

func guestErin(r *chat.Room) { r.Of("erin").Role = chat.RoleGuest }
