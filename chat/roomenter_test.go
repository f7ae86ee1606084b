package chat_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestFirstInfo(t *testing.T) {
	tests := map[chat.Kind]chat.RoomInfo{
		chat.KindGroup:   {Join: "closed", Invite: "members", History: "join", Post: "all"},
		chat.KindChannel: {Join: "open", Invite: "admins", History: "all", Post: "admins"},
		chat.KindLive:    {Join: "open", Invite: "members", History: "all", Post: "all"},
		chat.KindBoard:   {Join: "closed", Invite: "members", History: "all", Post: "all"},
		chat.KindTrip:    {Join: "closed", Invite: "admins", History: "join", Post: "all"},
	}
	for kind, want := range tests {
		if got := chat.FirstInfo(kind); got != want {
			t.Errorf("kind %c: got %+v, want %+v", kind, got, want)
		}
	}
}

func guests(names ...accounts.Name) []chat.Guest {
	var all []chat.Guest
	for _, name := range names {
		all = append(all, chat.Guest{Who: name, Contact: name[0] < 'm'})
	}
	return all
}

func TestToCreate(t *testing.T) {
	create := func(most int, guests ...chat.Guest) func(chat.Conversation) chat.RoomChange {
		return func(c chat.Conversation) chat.RoomChange {
			info := chat.FirstInfo(c.Kind())
			info.Title = "T"
			return chat.ToCreate(c, "alice", info, guests, most, &chat.Guests{})
		}
	}
	for name, s := range map[string]roomStep{
		"there is one": {change: create(8), err: chat.ErrConflict},
		"alone": {given: noRoom, change: create(8),
			want: `{"do":"create","title":"T"}; alice joined owner; alice role "owner" since 1000000 reads [1-]; ` +
				`1 members; owner alice; version 1`},
		"with others": {given: noRoom, change: create(8, guests("bob", "zoe")...),
			want: `{"do":"create","who":["bob"],"title":"T"}; alice joined owner; bob joined member; zoe invited; ` +
				`alice role "owner" since 1000000 reads [1-]; ` +
				`bob role "member" since 1000000 reads [1-]; zoe inviter "alice"; 2 members; owner alice; version 1`},
		"too many": {given: noRoom, change: create(1, guests("bob")...),
			want: `{"do":"create","title":"T"}; alice joined owner; alice role "owner" since 1000000 reads [1-]; ` +
				`1 members; owner alice; version 1`},
		"of a live room": {room: "l.x", given: noRoom, change: create(8, guests("bob")...),
			want: `{"do":"create","title":"T"}; alice joined owner; bob invited; ` +
				`alice role "owner" since 1000000 reads [1-]; bob inviter "alice"; 1 members; owner alice; version 1`},
	} {
		t.Run(name, s.run)
	}
}

func TestToInvite(t *testing.T) {
	invite := func(by accounts.Name, guests ...chat.Guest) func(chat.Conversation) chat.RoomChange {
		return func(c chat.Conversation) chat.RoomChange {
			return chat.ToInvite(c, by, guests, roomMost, &chat.Guests{})
		}
	}
	admins := func(r *chat.Room) { r.Info.Invite = chat.GroupAdmins }
	for name, s := range map[string]roomStep{
		"to no room":       {given: noRoom, change: invite("alice"), err: chat.ErrNoConversation},
		"to an ended room": {given: endedRoom, change: invite("alice"), err: chat.ErrEnded},
		"by an outsider":   {change: invite("zoe"), err: chat.ErrNotMember},
		"only admins may":  {given: admins, change: invite("carol"), err: chat.ErrNoRight},
		"an admin may":     {given: admins, change: invite("bob", guests("zoe")...), want: `zoe invited; zoe inviter "bob"`},
		"a contact": {change: invite("carol", guests("frank")...),
			want: `{"do":"join","who":["frank"]}; frank joined member; frank role "member" since 1000000 reads [11-]; 6 members`},
		"history for all": {given: func(r *chat.Room) { r.Info.History = chat.HistoryAll }, change: invite("carol", guests("frank")...),
			want: `{"do":"join","who":["frank"]}; frank joined member; frank role "member" since 1000000 reads [1-]; 6 members`},
		"a member": {change: invite("carol", guests("bob")...)},
		"again": {given: func(r *chat.Room) { r.Of("zoe").Inviter = "bob" },
			change: invite("carol", guests("zoe")...)},
		"somebody banned": {given: func(r *chat.Room) { r.Of("frank").Banned = chat.Forever },
			change: invite("alice", guests("frank")...)},
		"whose ban is over": {given: func(r *chat.Room) { r.Of("zoe").Banned = roomNow }, change: invite("alice", guests("zoe")...),
			want: `zoe invited; zoe inviter "alice"`},
		"who has asked, by an admin": {given: func(r *chat.Room) { r.Of("zoe").Asked = 5 },
			change: invite("bob", guests("zoe")...),
			want:   `{"do":"join","who":["zoe"]}; zoe joined member; zoe role "member" since 1000000 reads [11-] asked 0 ""; 6 members`},
		"who has asked, by a member": {given: func(r *chat.Room) { r.Of("zoe").Asked = 5 },
			change: invite("carol", guests("zoe")...),
			want:   `zoe invited; zoe inviter "carol"`},
	} {
		t.Run(name, s.run)
	}
}

func TestWhatBecomesOfGuests(t *testing.T) {
	r := testRoom("g.x")
	r.Of("gone").Banned = chat.Forever
	var out chat.Guests
	no := errors.New("no")
	all := append(guests("bob", "gone", "frank", "zoe"), chat.Guest{Who: "henry", Contact: true, Refused: no})
	all = append(all, guests("ida", "judy")...)
	change := chat.ToInvite("g.x", "alice", all, 7, &out)
	for range 2 {
		after := r.Clone()
		if _, err := change.Step(&after); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(out.Joined, []accounts.Name{"bob", "frank", "ida"}) || !slices.Equal(out.Invited, []accounts.Name{"zoe"}) {
			t.Errorf("joined %v, invited %v", out.Joined, out.Invited)
		}
		want := map[accounts.Name]error{"gone": chat.ErrBanned, "henry": no, "judy": chat.ErrFull}
		if !maps.Equal(out.Refused, want) {
			t.Errorf("refused %v, want %v", out.Refused, want)
		}
	}
}

func TestToAnswer(t *testing.T) {
	answer := func(yes bool) func(chat.Conversation) chat.RoomChange {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToAnswer(c, "zoe", yes, roomMost) }
	}
	invited := func(r *chat.Room) { r.Of("zoe").Inviter = "carol" }
	with := func(more func(*chat.Room)) func(*chat.Room) { return func(r *chat.Room) { invited(r); more(r) } }
	for name, s := range map[string]roomStep{
		"no room": {given: noRoom, change: answer(true), err: chat.ErrNoConversation},
		"ended":   {given: with(endedRoom), change: answer(true), err: chat.ErrEnded},
		"banned": {given: with(func(r *chat.Room) { r.Of("zoe").Banned = roomNow + 1 }), change: answer(true),
			err: chat.ErrBanned},
		"full":        {given: with(func(r *chat.Room) { r.Members = roomMost }), change: answer(true), err: chat.ErrFull},
		"not invited": {change: answer(true), err: chat.ErrNoRequest},
		"no, again":   {change: answer(false), err: chat.ErrNoRequest},
		"is in it":    {given: func(r *chat.Room) { r.Enter("zoe", chat.RoleMember) }, change: answer(true)},
		"yes": {given: invited, change: answer(true),
			want: `{"do":"join","who":["zoe"]}; zoe joined member; zoe role "member" since 1000000 reads [11-] inviter ""; 6 members`},
		"no":             {given: invited, change: answer(false), want: `zoe declined; zoe inviter ""`},
		"to a live room": {room: "l.x", given: invited, change: answer(true), want: `zoe inviter ""`},
	} {
		t.Run(name, s.run)
	}
}

func TestToJoin(t *testing.T) {
	join := func(j chat.Joining) func(chat.Conversation) chat.RoomChange {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToJoin(c, "zoe", j, roomMost) }
	}
	policy := func(p chat.JoinPolicy, more ...func(*chat.Room)) func(*chat.Room) {
		return func(r *chat.Room) {
			r.Info.Join = p
			for _, f := range more {
				f(r)
			}
		}
	}
	link := func(uses int, ends int64) func(*chat.Room) {
		return func(r *chat.Room) { r.Link, r.LinkUses, r.LinkEnds = "L", uses, ends }
	}
	invited := func(r *chat.Room) { r.Of("zoe").Inviter = "carol" }
	byName, byLink := chat.Joining{}, chat.Joining{Link: "L"}
	asks := chat.Joining{Text: "hi", Admins: []accounts.Name{"alice", "bob", "carol"}}
	const joins = `{"do":"join","who":["zoe"]}; zoe joined member; zoe role "member" since 1000000 reads [11-]; 6 members`
	for name, s := range map[string]roomStep{
		"no room": {given: noRoom, change: join(byName), err: chat.ErrNoConversation},
		"ended":   {given: policy("open", endedRoom), change: join(byName), err: chat.ErrEnded},
		"banned": {given: policy("open", func(r *chat.Room) { r.Of("zoe").Banned = chat.Forever }), change: join(byName),
			err: chat.ErrBanned},
		"full": {given: policy("open", func(r *chat.Room) { r.Members = roomMost }), change: join(byName),
			err: chat.ErrFull},
		"closed":       {given: policy("closed"), change: join(byName), err: chat.ErrNoRight},
		"open":         {given: policy("open"), change: join(byName), want: joins},
		"is in it":     {given: policy("closed", func(r *chat.Room) { r.Enter("zoe", chat.RoleMember) }), change: join(byName)},
		"a wrong link": {given: policy("open"), change: join(byLink), err: chat.ErrNoConversation},
		"a late link":  {given: policy("open", link(0, roomNow)), change: join(byLink), err: chat.ErrNoConversation},
		"a link":       {given: policy("closed", link(0, roomNow+1)), change: join(byLink), want: joins},
		"a link, once": {given: policy("closed", link(1, 0)), change: join(byLink), want: joins + `; link "" 0 0`},
		"a link, twice": {given: policy("closed", link(2, 5_000_000)), change: join(byLink),
			want: joins + `; link "L" 1 5000000`},
		"with approval": {given: policy("approval"), change: join(asks),
			want: `zoe asked; alice asked zoe hi; bob asked zoe hi; zoe asked 1000000 "hi"`},
		"asks by a link": {given: policy("approval", link(1, 0)), change: join(byLink),
			want: `zoe asked; zoe asked 1000000 ""; link "" 0 0`},
		"asks again": {given: policy("approval", func(r *chat.Room) { r.Of("zoe").Asked = 5 }), change: join(asks),
			want: `zoe asked 5 "hi"`},
		"invited": {given: policy("closed", invited), change: join(byName),
			want: `{"do":"join","who":["zoe"]}; zoe joined member; zoe role "member" since 1000000 reads [11-] inviter ""; 6 members`},
		"invited, a link": {given: policy("closed", invited, link(1, 0)), change: join(byLink),
			want: `{"do":"join","who":["zoe"]}; zoe joined member; zoe role "member" since 1000000 reads [11-] inviter ""; 6 members`},
		"a live room": {room: "l.x", change: join(byName)},
		"comes back": {given: policy("open", func(r *chat.Room) { r.Of("zoe").Past = []chat.Period{{From: 1, To: 3}} }),
			change: join(byName),
			want:   `{"do":"join","who":["zoe"]}; zoe joined member; zoe role "member" since 1000000 reads [1-2 11-]; 6 members`},
	} {
		t.Run(name, s.run)
	}
}

func TestToLeaveRoom(t *testing.T) {
	leave := func(who accounts.Name) func(chat.Conversation) chat.RoomChange {
		return func(c chat.Conversation) chat.RoomChange { return chat.ToLeaveRoom(c, who) }
	}
	alone := func(r *chat.Room) {
		for _, who := range []accounts.Name{"bob", "carol", "dave", "erin"} {
			r.Exit(who)
		}
		r.Link = "L"
	}
	for name, s := range map[string]roomStep{
		"no room":     {given: noRoom, change: leave("alice"), err: chat.ErrNoConversation},
		"an outsider": {change: leave("zoe"), err: chat.ErrNotMember},
		"who is invited": {given: func(r *chat.Room) { r.Of("zoe").Inviter = "bob" }, change: leave("zoe"),
			err: chat.ErrNotMember},
		"who asks":  {given: func(r *chat.Room) { r.Of("zoe").Asked = 5 }, change: leave("zoe"), want: `zoe asked 0 ""`},
		"again":     {given: func(r *chat.Room) { r.Exit("carol") }, change: leave("carol")},
		"a viewer":  {room: "l.x", change: leave("zoe")},
		"the owner": {change: leave("alice"), err: chat.ErrLastOwner},
		"the owner, alone": {given: alone, change: leave("alice"),
			want: `alice left; alice role "" since 1000000 reads [1-10]; 0 members; ended; link "" 0 0`},
		"a member": {change: leave("carol"),
			want: `{"do":"leave","who":["carol"]}; carol left; carol role "" since 1000000 reads [3-10]; 4 members`},
		"an ended room": {given: endedRoom, change: leave("alice"),
			want: `alice left; alice role "" since 1000000 reads [1-10]; 4 members`},
		"before anything was said": {given: func(r *chat.Room) { r.Of("carol").From = 11 }, change: leave("carol"),
			want: `{"do":"leave","who":["carol"]}; carol left; carol role "" since 1000000 reads []; 4 members`},
	} {
		t.Run(name, s.run)
	}
}

func TestTheTimesThatSomebodyWasAMemberAreBounded(t *testing.T) {
	r := &chat.Room{Conversation: "g.x", Owner: "alice", Info: chat.RoomInfo{History: chat.HistoryJoin}}
	for range 3 { // nothing is said meanwhile
		r.Enter("bob", chat.RoleMember)
		r.Head++
		r.Exit("bob")
	}
	if got := r.Of("bob").Past; len(got) != 1 || got[0] != (chat.Period{From: 1, To: 4}) {
		t.Errorf("periods: %v", got)
	}
	for range 1000 {
		r.Head++
		r.Enter("bob", chat.RoleMember)
		r.Head++
		r.Exit("bob")
	}
	m := r.Of("bob")
	if len(m.Past) != 100 || !m.Reads(r.Head) || m.Reads(r.Head-1) || m.Reads(1) {
		t.Errorf("%d periods, the last of them %v", len(m.Past), m.Past[len(m.Past)-1])
	}
}
