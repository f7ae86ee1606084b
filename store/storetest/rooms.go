package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var roomTests = []test{
	{"members get what is sent while they are in", testRoomMembers},
	{"a step that fails or says nothing writes nothing", testRoomNothing},
	{"homes have guests and rooms", testHome},
	{"devices write into homes that they are not in", testDeviceInHome},
	{"links lead to rooms", testRoomLinks},
	{"large rooms are listed", testRoomLarge},
	{"senders of rooms are told by how many it was read", testRoomReceipts},
	{"rooms wait for those who are invited, and for who asks", testPendingRooms},
	{"the rooms in which somebody has written are known", testSpokenIn},
	{"rooms, of any size, are as an oracle says", testRoomModel},
}

const group chat.Conversation = "g.one"

// largeFrom is with how many members the rooms of these tests become large.
const largeFrom = 3

// step makes a step that says something of what it does.
func step(do func(r *chat.Room) error) chat.RoomStep {
	return func(r *chat.Room) (chat.RoomTold, error) {
		err := do(r)
		r.Large = r.Large || r.Members > largeFrom
		return chat.RoomTold{Line: json.RawMessage(`{"do":"something"}`)}, err
	}
}

func create(owner accounts.Name) chat.RoomStep {
	return step(func(r *chat.Room) error {
		r.Owner, r.Created, r.Info = owner, r.Now, chat.RoomInfo{Title: "one", History: chat.HistoryJoin}
		r.Enter(owner, chat.RoleOwner)
		return nil
	})
}

func enter(who ...accounts.Name) chat.RoomStep {
	return step(func(r *chat.Room) error {
		for _, name := range who {
			r.Enter(name, chat.RoleMember)
		}
		return nil
	})
}

func exit(who accounts.Name) chat.RoomStep {
	return step(func(r *chat.Room) error {
		r.Exit(who)
		return nil
	})
}

// take takes a step and waits for it.
func (k *kit) take(c chat.Conversation, by accounts.Name, s chat.RoomStep, who ...accounts.Name) chat.RoomChanged {
	k.Helper()
	changed, commit, err := k.chat().ChangeRoom(k.ctx(), chat.RoomChange{Conversation: c, By: by, Who: who, Step: s})
	k.durable("change of a room", commit, err)
	return changed
}

func testRoomMembers(k *kit) {
	_, _, err := k.chat().Append(k.ctx(), draft(group, alice, "", "before"))
	k.is("to no room", err, chat.ErrNoConversation)
	changed := k.take(group, alice, create(alice))
	same(k, "told", changed.Told, []accounts.Name{alice})
	k.take(group, alice, enter(bob), bob)
	_, _, err = k.chat().Append(k.ctx(), draft(group, carol, "", "from outside"))
	k.is("from outside", err, chat.ErrNotMember)
	k.send(draft(group, alice, "1", "first"))
	k.send(draft(group, bob, "2", "second"))
	k.take(group, alice, exit(bob), bob)
	k.send(draft(group, alice, "3", "third"))
	_, _, err = k.chat().Append(k.ctx(), draft(group, bob, "", "from outside"))
	k.is("from somebody who was thrown out", err, chat.ErrNotMember)
	k.crash()
	equal(k, "messages", len(k.messages(group)), 6)
	equal(k, "entries of alice", len(k.stream(alice)), 6)
	equal(k, "entries of bob", len(k.stream(bob)), 3)
	t, _ := k.tallies(bob)
	equal(k, "tallies of bob", len(t), 0)
	t, _ = k.tallies(alice)
	equal(k, "unread of alice", t[0].Unread(), 1)
	r, err := k.chat().Room(k.ctx(), group, alice, bob)
	k.ok("room", err)
	same(k, "what bob may read", r.Of(bob).Readable(), []chat.Period{{From: 2, To: 5}})
	equal(k, "members", r.Members, 1)
	rooms, err := k.chat().RoomsOf(k.ctx(), bob)
	k.ok("rooms", err)
	equal(k, "rooms of bob", len(rooms), 0)
	members, err := k.chat().RoomMembers(k.ctx(), group, "", 10, func(m chat.Membership) bool { return m.Role != "" })
	k.ok("members", err)
	same(k, "members", []accounts.Name{members[0].Who}, []accounts.Name{alice})
}

func testRoomNothing(k *kit) {
	k.take(group, alice, create(alice))
	broken := errors.New("broken")
	_, _, err := k.chat().ChangeRoom(k.ctx(), chat.RoomChange{Conversation: group, By: alice, Who: []accounts.Name{bob},
		Step: func(r *chat.Room) (chat.RoomTold, error) {
			r.Enter(bob, chat.RoleAdmin)
			return chat.RoomTold{}, broken
		}})
	k.is("a step that fails", err, broken)
	k.take(group, alice, func(*chat.Room) (chat.RoomTold, error) { return chat.RoomTold{}, nil })
	r, err := k.chat().Room(k.ctx(), group, bob)
	k.ok("room", err)
	equal(k, "members", r.Members, 1)
	equal(k, "role of bob", r.Of(bob).Role, chat.RoleNone)
	equal(k, "messages", len(k.messages(group)), 1)
	direct := chat.RoomChange{Conversation: chat.Direct(alice, bob), By: alice, Step: create(alice)}
	_, _, err = k.chat().ChangeRoom(k.ctx(), direct)
	k.is("two people are no room", err, chat.ErrNoConversation)
}

func testHome(k *kit) {
	const home chat.Conversation = "h.home"
	rooms := chat.PlacesOf([]string{"Hall", "Attic"})
	k.take(home, alice, create(alice))
	k.take(home, alice, step(func(r *chat.Room) error {
		r.Enter(bob, chat.RoleGuest)
		r.Info.Rooms = rooms
		return nil
	}), bob)
	for range 2 {
		r, err := k.chat().Room(k.ctx(), home, bob)
		k.ok("home", err)
		equal(k, "role of bob", r.Of(bob).Role, chat.RoleGuest)
		equal(k, "rooms", r.Info.Rooms, rooms)
		k.crash()
	}
	k.take(home, alice, step(func(r *chat.Room) error { r.Info.Rooms = ""; return nil }))
	r, err := k.chat().Room(k.ctx(), home)
	k.ok("home", err)
	equal(k, "rooms", r.Info.Rooms, "")
}

func testDeviceInHome(k *kit) {
	const home chat.Conversation = "h.home"
	says := func(mid, words string) chat.Draft {
		d := draft(home, "lamp", mid, words)
		d.Kind, d.Device = chat.KindDeviceEvent, true
		return d
	}
	unread := func(who accounts.Name, want uint64) {
		k.Helper()
		tallies, _, err := k.chat().Tallies(k.ctx(), who)
		k.ok("tallies", err)
		got := uint64(0)
		for _, t := range tallies {
			got += t.Unread()
		}
		equal(k, "unread of "+string(who), got, want)
	}
	_, _, err := k.chat().Append(k.ctx(), says("1", "too early"))
	k.is("to no home", err, chat.ErrNoConversation)
	k.take(home, alice, create(alice))
	k.take(home, alice, enter(bob), bob)
	_, _, err = k.chat().Append(k.ctx(), draft(home, "lamp", "1", "as anybody"))
	k.is("of who is not in it", err, chat.ErrNotMember)

	m := k.send(says("1", "hot"))
	equal(k, "own", m.Own, 0)
	quiet := says("2", "warm")
	quiet.Silent = true
	k.send(quiet)
	for range 2 {
		again, _, err := k.chat().Append(k.ctx(), says("1", "hot"))
		k.ok("again", err)
		equal(k, "dup", again.Dup, true)
		equal(k, "seq", again.Message.Seq, m.Seq)
		equal(k, "sender", k.look(bob, home, m.Seq).From, "lamp")
		unread(alice, 1)
		unread(bob, 1)
		k.crash()
	}
	k.send(draft(home, alice, "", "I see"))
	unread(alice, 1)
	unread(bob, 2)
	k.mark(home, bob, 99, 99)
	unread(bob, 0)
	equal(k, "own of the second", k.send(says("4", "hotter")).Own, 0)
	unread(bob, 1)

	edit := editing(home, "lamp", m.Seq, "cold")
	k.refused(edit, chat.ErrNotMember)
	edit.Device = true
	changed := k.apply(edit)
	same(k, "told", slices.Sorted(slices.Values(changed.Told)), []accounts.Name{alice, bob}) // in no order
	for range 2 {
		equal(k, "body", string(k.look(bob, home, m.Seq).Body), string(said("cold")))
		k.crash()
	}
	k.take(home, alice, step(func(r *chat.Room) error { r.Ended = r.Now; return nil }))
	_, _, err = k.chat().Append(k.ctx(), says("3", "late"))
	k.is("to a home that has ended", err, chat.ErrEnded)
}

func testRoomLinks(k *kit) {
	k.take(group, alice, create(alice))
	set := func(link string) {
		k.take(group, alice, step(func(r *chat.Room) error { r.Link = link; return nil }))
	}
	want := func(link string, want chat.Conversation) {
		k.Helper()
		got, err := k.chat().LinkedRoom(k.ctx(), link)
		k.ok("link", err)
		equal(k, "room of "+link, got, want)
	}
	want("x", "")
	set("x")
	want("x", group)
	set("y")
	k.crash()
	want("x", "")
	want("y", group)
	set("")
	want("y", "")
}

func testSpokenIn(k *kit) {
	spoken := func(want ...chat.Conversation) {
		k.Helper()
		for range 2 {
			list, err := k.chat().SpokenIn(k.ctx(), bob, "", 10)
			k.ok("spoken in", err)
			same(k, "where bob has written", list, want)
			k.crash()
		}
	}
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob), bob)
	k.openHall(live)
	k.send(draft(k.contacts(alice, bob), bob, "", "between two"))
	spoken()
	k.send(draft(group, bob, "", "in a room"))
	spoken(group)
	k.take(group, bob, exit(bob), bob)
	spoken(group)
	k.send(draft(live, bob, "", "from outside"))
	k.send(draft(live, bob, "", "again"))
	spoken(group, live)
	list, err := k.chat().SpokenIn(k.ctx(), bob, group, 1)
	k.ok("spoken in", err)
	same(k, "after the first one", list, []chat.Conversation{live})
	list, err = k.chat().SpokenIn(k.ctx(), bob, "", 1)
	k.ok("spoken in", err)
	same(k, "the first one", list, []chat.Conversation{group})
	k.ok("wipe", k.chat().Wipe(k.ctx(), group, bob))
	for _, m := range k.messages(group) {
		if m.From == bob && m.Kind != "sys" {
			equal(k, "kind", m.Kind, chat.KindGone)
		}
	}
	k.ok("forget", k.chat().Forget(k.ctx(), bob))
	spoken(group, live)
}

func testPendingRooms(k *kit) {
	wait := func(c chat.Conversation, who accounts.Name, inviter accounts.Name, asked int64) {
		k.Helper()
		k.take(c, alice, step(func(r *chat.Room) error {
			r.Of(who).Inviter, r.Of(who).Asked = inviter, asked
			return nil
		}), who)
	}
	want := func(who accounts.Name, after chat.Conversation, limit int, want ...chat.Conversation) {
		k.Helper()
		got, err := k.chat().PendingRooms(k.ctx(), who, after, limit)
		k.ok("pending rooms", err)
		same(k, "pending rooms of "+string(who), got, want)
	}
	rooms := []chat.Conversation{"g.1", "g.2", "n.1"}
	for _, c := range rooms {
		k.take(c, alice, create(alice))
		wait(c, bob, alice, 0)
	}
	want(bob, "", 10, rooms...)
	want(bob, "", 2, rooms[:2]...)
	want(bob, "g.1", 10, rooms[1:]...)
	wait("g.1", bob, "", 5) // who asks waits as well
	wait("g.2", bob, "", 0)
	k.take("n.1", alice, enter(bob), bob)
	wait("g.2", carol, alice, 0)
	k.crash()
	want(bob, "", 10, "g.1")
	want(carol, "", 10, "g.2")
	want(alice, "", 10)
	k.ok("forget", k.chat().Forget(k.ctx(), carol))
	want(carol, "", 10)
}

// roomOracle is what a room has to be: everything is counted anew.
type roomOracle struct {
	from    []accounts.Name // of each message; empty: a line
	ts      []time.Time
	floor   uint64 // what is up to here was removed
	at      [][]accounts.Name
	now     func() time.Time
	members map[accounts.Name]bool
	read    map[accounts.Name]uint64
	streams map[accounts.Name]int
	large   bool
}

func (o *roomOracle) unread(who accounts.Name) uint64 {
	n := uint64(0)
	for seq, from := range o.from {
		if uint64(seq+1) > max(o.read[who], o.floor) && from != "" && from != who {
			n++
		}
	}
	return n
}

func (o *roomOracle) mentions(who accounts.Name) uint64 {
	n := uint64(0)
	for seq, at := range o.at {
		if uint64(seq+1) > max(o.read[who], o.floor) && slices.Contains(at, who) {
			n++
		}
	}
	return n
}

// add adds a message, or a line, that mentions somebody; only members are.
func (o *roomOracle) add(from accounts.Name, at ...accounts.Name) {
	o.from = append(o.from, from)
	o.ts = append(o.ts, o.now())
	at = slices.DeleteFunc(at, func(who accounts.Name) bool { return who == from || !o.members[who] })
	o.at = append(o.at, at)
	if !o.large {
		for who := range o.members {
			o.streams[who]++
		}
	}
}

func testRoomModel(k *kit) {
	rapid.Check(k.t, func(t *rapid.T) {
		run := &kit{tb: t, t: k.t, newHarness: k.newHarness, harness: k.newHarness(k.t), clock: newClock()}
		run.open()
		defer func() { run.ok("close", run.store.Close()) }()
		m := &roomModel{kit: run, oracle: roomOracle{
			now:     run.clock.Now,
			members: map[accounts.Name]bool{}, read: map[accounts.Name]uint64{}, streams: map[accounts.Name]int{},
		}}
		m.kit.take(group, user(0), create(user(0)))
		m.oracle.members[user(0)] = true
		m.oracle.add("")
		t.Repeat(map[string]func(*rapid.T){
			"send": m.send, "mark": m.mark, "enter": m.enter, "exit": m.exit, "wait": m.wait, "retire": m.retire,
			"crash": m.crash, "reopen": m.reopen, "": m.check,
		})
	})
}

type roomModel struct {
	kit    *kit
	oracle roomOracle
}

const roomPeople = 6

func (m *roomModel) who(t *rapid.T) accounts.Name {
	return user(rapid.IntRange(0, roomPeople-1).Draw(t, "who"))
}

func (m *roomModel) send(t *rapid.T) {
	who := m.who(t)
	d := draft(group, who, "", fmt.Sprint(len(m.oracle.from)))
	d.At = rapid.SliceOfN(rapid.Map(rapid.IntRange(0, roomPeople-1), user), 0, 2).Draw(t, "at")
	d.Everyone = who == user(0) && rapid.Bool().Draw(t, "everyone")
	_, commit, err := m.kit.chat().Append(m.kit.ctx(), d)
	if !m.oracle.members[who] {
		m.kit.is("send from outside", err, chat.ErrNotMember)
		return
	}
	m.kit.durable("send", commit, err)
	at := slices.Clone(d.At)
	if d.Everyone {
		at = slices.Collect(maps.Keys(m.oracle.members))
	}
	m.oracle.add(who, at...)
}

func (m *roomModel) mark(t *rapid.T) {
	who := m.who(t)
	seq := rapid.Uint64Range(0, uint64(len(m.oracle.from))+1).Draw(t, "seq")
	_, commit, err := m.kit.chat().Mark(m.kit.ctx(), group, who, chat.Marks{Recv: seq, Read: seq}, nil)
	if !m.oracle.members[who] {
		m.kit.is("mark from outside", err, chat.ErrNotMember)
		return
	}
	m.kit.durable("mark", commit, err)
	if read := min(seq, uint64(len(m.oracle.from))); read > m.oracle.read[who] {
		m.oracle.read[who] = read
		m.oracle.streams[who]++
	}
}

func (m *roomModel) enter(t *rapid.T) {
	who := m.who(t)
	if m.oracle.members[who] {
		t.Skip("is in it")
	}
	m.oracle.read[who] = max(m.oracle.read[who], uint64(len(m.oracle.from)))
	m.oracle.members[who] = true
	m.oracle.large = m.oracle.large || len(m.oracle.members) > largeFrom
	if !m.oracle.large {
		m.oracle.add("")
	}
	m.kit.take(group, user(0), enter(who), who)
}

func (m *roomModel) exit(t *rapid.T) {
	who := m.who(t)
	if !m.oracle.members[who] || who == user(0) {
		t.Skip("is not in it, or the owner")
	}
	delete(m.oracle.members, who)
	if !m.oracle.large {
		m.oracle.add("")
	}
	m.kit.take(group, user(0), exit(who), who)
}

func (m *roomModel) wait(*rapid.T) { m.kit.clock.advance(time.Hour) }

// retire removes what is older than some hours.
func (m *roomModel) retire(t *rapid.T) {
	before := m.kit.clock.Now().Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "hours")) * time.Hour)
	m.kit.retire(group, before)
	for m.oracle.floor < uint64(len(m.oracle.ts)) && m.oracle.ts[m.oracle.floor].Before(before) {
		m.oracle.floor++
	}
}

func (m *roomModel) crash(*rapid.T)  { m.kit.crash() }
func (m *roomModel) reopen(*rapid.T) { m.kit.reopen() }

func (m *roomModel) check(*rapid.T) {
	k, o := m.kit, &m.oracle
	page, err := k.chat().Messages(k.ctx(), group, 0, 0, 1000)
	k.ok("messages", err)
	equal(k, "messages", len(page.Messages), len(o.from)-int(o.floor))
	equal(k, "head", page.Head, uint64(len(o.from)))
	equal(k, "floor", page.Floor, o.floor+1)
	r, err := k.chat().Room(k.ctx(), group)
	k.ok("room", err)
	equal(k, "members", r.Members, len(o.members))
	equal(k, "large", r.Large, o.large)
	var members []accounts.Name
	list, err := k.chat().RoomMembers(k.ctx(), group, "", 100, func(m chat.Membership) bool { return m.Role != "" })
	k.ok("members", err)
	for _, x := range list {
		members = append(members, x.Who)
	}
	same(k, "members", members, slices.Sorted(maps.Keys(o.members)))
	for i := range roomPeople {
		m.checkOf(user(i))
	}
}

func (m *roomModel) checkOf(who accounts.Name) {
	k, o := m.kit, &m.oracle
	equal(k, "stream of "+string(who), len(k.stream(who)), o.streams[who])
	want, mentions := uint64(0), uint64(0)
	if o.members[who] {
		want, mentions = o.unread(who), o.mentions(who)
	}
	got := uint64(0)
	tallies, _ := k.tallies(who)
	for _, t := range tallies {
		got += t.Unread()
		equal(k, "mentions of "+string(who), t.Mention, mentions)
		equal(k, "large", t.Large, o.large)
	}
	equal(k, "unread of "+string(who), got, want)
	list, _, err := k.chat().Conversations(k.ctx(), who, chat.ListQuery{Limit: 10})
	k.ok("conversations", err)
	got = 0
	for _, x := range list {
		got += x.Tally.Unread()
		equal(k, "mentions in the list of "+string(who), x.Tally.Mention, mentions)
	}
	equal(k, "unread in the list of "+string(who), got, want)
	equal(k, "conversations of "+string(who), len(list) == 1, o.members[who])
	if len(list) == 1 {
		equal(k, "title in the list of "+string(who), list[0].Title, "one")
	}
}

func testRoomLarge(k *kit) {
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob, carol), bob, carol)
	large := func(who accounts.Name, want int) {
		k.Helper()
		list, err := k.chat().Large(k.ctx(), who)
		k.ok("large", err)
		equal(k, "large conversations of "+string(who), len(list), want)
		if want > 0 {
			equal(k, "conversation", list[0].Conversation, group)
			equal(k, "head", list[0].Head, uint64(len(k.messages(group))))
		}
	}
	large(bob, 0)
	crew, err := k.chat().Crew(k.ctx(), group)
	k.ok("crew", err)
	same(k, "crew", crew, []accounts.Name{alice, bob, carol})
	left := k.take(group, alice, exit(bob), bob)
	equal(k, "somebody has left", left.Parted, true)
	equal(k, "grew", left.Grew, false)
	k.take(group, alice, enter(bob), bob)
	grown := k.take(group, alice, enter("dave"), "dave")
	equal(k, "grew", grown.Grew, true)
	equal(k, "somebody has left", grown.Parted, false)
	a, commit, err := k.chat().Append(k.ctx(), draft(group, alice, "2", "second"))
	k.durable("append", commit, err)
	equal(k, "an append says that it is large", a.Large, true)
	crew, err = k.chat().Crew(k.ctx(), group)
	k.ok("crew", err)
	equal(k, "crew of a large room", len(crew), 0)
	large(bob, 1)
	k.take(group, alice, exit(bob), bob)
	large(bob, 0)
	k.crash()
	large(bob, 0)
	large(carol, 1)
}

func testRoomReceipts(k *kit) {
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob, carol), bob, carol)
	k.send(draft(group, alice, "1", "first"))
	k.send(draft(group, bob, "2", "second"))
	mark := func(who accounts.Name, seq uint64, m chat.Marks) {
		k.Helper()
		m.Recv, m.Read = seq, seq
		if m.ReceiptsTo == 0 {
			m.ReceiptsTo = 10
		}
		_, commit, err := k.chat().Mark(k.ctx(), group, who, m, nil)
		k.durable("mark", commit, err)
	}
	tell := func(again bool, want ...accounts.Name) {
		k.Helper()
		told, more, commit, err := k.chat().TellRoom(k.ctx(), group)
		k.durable("tell", commit, err)
		slices.Sort(told)
		same(k, "told", told, want)
		equal(k, "again", more, again)
	}
	untold := func(want ...accounts.Name) {
		k.Helper()
		list, err := k.chat().Untold(k.ctx(), chat.Member{}, 10)
		k.ok("untold", err)
		var got []accounts.Name
		for _, m := range list {
			got = append(got, m.Who)
		}
		same(k, "untold", got, want)
	}
	last := func(who accounts.Name, want chat.ReceiptCounts) {
		k.Helper()
		list := k.stream(who)
		same(k, "receipt of "+string(who), []chat.ReceiptCounts{list[len(list)-1].Counts}, []chat.ReceiptCounts{want})
	}
	tell(false)
	mark(carol, 4, chat.Marks{})
	untold(carol)
	k.crash()
	untold(carol)
	tell(false, alice, bob)
	untold()
	last(alice, chat.ReceiptCounts{Seq: 3, Recv: 1, Read: 1, Of: 2})
	last(bob, chat.ReceiptCounts{Seq: 4, Recv: 1, Read: 1, Of: 2})
	mark(bob, 3, chat.Marks{})
	tell(true)
	k.clock.advance(chat.RoomReceiptInterval)
	tell(false, alice) // who was given the last one by last
	mark(alice, 4, chat.Marks{Private: true})
	k.clock.advance(chat.RoomReceiptInterval)
	tell(false, bob)
	last(bob, chat.ReceiptCounts{Seq: 4, Recv: 2, Read: 1, Of: 2})
	k.send(draft(group, alice, "3", "third"))
	mark(carol, 5, chat.Marks{})
	k.clock.advance(chat.RoomReceiptInterval)
	tell(false) // alice has one that she was not given
	untold(alice)
	k.crash()
	untold(alice)
	tell(false, alice)
	untold()
	last(alice, chat.ReceiptCounts{Seq: 5, Recv: 1, Read: 1, Of: 2})
	all, err := k.chat().AllMarks(k.ctx(), group)
	k.ok("marks", err)
	same(k, "marks", all, []chat.MemberMarks{
		{Who: alice, Marks: chat.Marks{Recv: 4, Read: 0}, Joined: 1}, {Who: bob, Marks: chat.Marks{Recv: 3, Read: 3}, Joined: 2},
		{Who: carol, Marks: chat.Marks{Recv: 5, Read: 5}, Joined: 2},
	})
	mark(bob, 4, chat.Marks{})
	k.take(group, alice, exit(bob), bob)
	untold()
	k.take(group, alice, enter(bob), bob)
	mark(bob, 9, chat.Marks{ReceiptsTo: 2})
	k.take(group, alice, enter("dave"), "dave")
	untold()
	tell(false)
}
