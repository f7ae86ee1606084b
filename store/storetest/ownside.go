package storetest

import (
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

var ownSideTests = []test{
	{"what one says of a conversation is one's own, and lasts", testOwnSide},
	{"a change that changes nothing writes nothing", testOwnSideAgain},
	{"only members have a side", testOwnSideOfNobody},
	{"reading takes the flag away", testFlag},
	{"sending takes the draft away", testDraft},
	{"what is hidden comes back with the next message", testHide},
	{"lists have pinned conversations first, and what is archived apart", testLists},
	{"lists are right while messages come", testListWhileChanging},
	{"tallies say what is muted and flagged", testTalliesOfSides},
	{"a side survives once acknowledged, with its origin and its entry", testOwnSideCrash},
	{"who is forgotten has said nothing", testOwnSideForgotten},
	{"who leaves a room has said nothing, large or not", testOwnSideInRooms},
}

// own changes somebody's side and waits for it.
func (k *kit) own(c chat.Conversation, who accounts.Name, change chat.OwnChange) chat.OwnSide {
	k.Helper()
	side, _, commit, err := k.chat().ChangeOwnSide(k.ctx(), c, who, change, nil)
	k.durable("change own side", commit, err)
	return side
}

func (k *kit) ownSide(c chat.Conversation, who accounts.Name) chat.OwnSide {
	k.Helper()
	side, _, err := k.chat().OwnSide(k.ctx(), c, who)
	k.ok("own side", err)
	return side
}

func is[T any](v T) *T { return &v }

// lastEntry gives the last entry of alice's stream.
func (k *kit) lastEntry() chat.Entry {
	k.Helper()
	all := k.stream(alice)
	return all[len(all)-1]
}

func testOwnSide(k *kit) {
	conv := k.contacts(alice, bob)
	k.send(draft(conv, bob, "", "x"))
	bobs := len(k.stream(bob))
	all := chat.OwnChange{
		Mute: is(int64(chat.MuteForEver)), Pin: is(true), Archive: is(true), Hide: is(true), Flag: is(true),
		Draft: is("dear bob"), Private: is(true), Remark: is("B."),
	}
	want := chat.OwnSide{
		Mute: -1, Pin: true, Archive: true, Hide: 2, Flag: true, Draft: "dear bob", Private: true, Remark: "B.",
	}
	same(k, "own side", k.own(conv, alice, all), want)
	e := k.lastEntry()
	equal(k, "type", e.Type, chat.EntryConv)
	equal(k, "conversation", e.Conversation, conv)
	same(k, "entry", e.OwnSide, all)
	k.crash()
	same(k, "own side, after a crash", k.ownSide(conv, alice), want)
	same(k, "entry, after a crash", k.lastEntry().OwnSide, all)
	same(k, "bob's side", k.ownSide(conv, bob), chat.OwnSide{})
	equal(k, "entries of bob", len(k.stream(bob)), bobs)

	less := chat.OwnChange{Pin: is(false), Flag: is(true), Hide: is(false)}
	want.Pin, want.Hide = false, 0
	same(k, "own side, changed", k.own(conv, alice, less), want)
	same(k, "entry, changed", k.lastEntry().OwnSide, chat.OwnChange{Pin: is(false), Hide: is(false)})
	k.own(conv, alice, chat.OwnChange{
		Mute: is(int64(0)), Archive: is(false), Flag: is(false), Draft: is(""), Private: is(false), Remark: is(""),
	})
	k.reopen()
	same(k, "own side, nothing said any more", k.ownSide(conv, alice), chat.OwnSide{})
	k.audit(alice, bob)
}

func testOwnSideAgain(k *kit) {
	conv := k.contacts(alice, bob)
	k.own(conv, alice, chat.OwnChange{Pin: is(true), Remark: is("B.")})
	before := len(k.stream(alice))
	for _, c := range []chat.OwnChange{{}, {Pin: is(true)}, {Remark: is("B."), Flag: is(false), Hide: is(false)}} {
		same(k, "own side", k.own(conv, alice, c), chat.OwnSide{Pin: true, Remark: "B."})
	}
	equal(k, "entries", len(k.stream(alice)), before)
}

func testOwnSideOfNobody(k *kit) {
	conv := k.contacts(alice, bob)
	change := chat.OwnChange{Pin: is(true)}
	for who, want := range map[accounts.Name]error{carol: chat.ErrNotMember} {
		_, _, _, err := k.chat().ChangeOwnSide(k.ctx(), conv, who, change, nil)
		k.is("change of "+string(who), err, want)
		_, _, err = k.chat().OwnSide(k.ctx(), conv, who)
		k.is("side of "+string(who), err, want)
	}
	_, _, _, err := k.chat().ChangeOwnSide(k.ctx(), chat.Direct(alice, carol), alice, change, nil)
	k.is("change in no conversation", err, chat.ErrNoConversation)
	_, _, err = k.chat().OwnSide(k.ctx(), chat.Direct(alice, carol), alice)
	k.is("side in no conversation", err, chat.ErrNoConversation)
}

func testFlag(k *kit) {
	conv := k.contacts(alice, bob)
	for n := range 3 {
		k.send(draft(conv, bob, "", fmt.Sprint(n)))
	}
	k.mark(conv, alice, 2, 2)
	tests := []struct {
		recv, read uint64
		unflagged  bool
	}{
		{2, 0, false}, // receiving
		{3, 0, false},
		{1, 1, false}, // a device that is late
		{2, 2, true},  // nothing moves
		{3, 3, true},
		{9, 9, true},
	}
	for _, tt := range tests {
		k.own(conv, alice, chat.OwnChange{Flag: is(true)})
		receipts := len(k.stream(bob))
		moved := k.marks(conv, alice)
		marked := k.mark(conv, alice, tt.recv, tt.read)
		about := fmt.Sprintf("recv %d, read %d: ", tt.recv, tt.read)
		equal(k, about+"unflagged", marked.Unflagged, tt.unflagged)
		k.crash()
		equal(k, about+"flag", k.ownSide(conv, alice).Flag, !tt.unflagged)
		if moved == marked.Marks {
			equal(k, about+"entries of bob", len(k.stream(bob)), receipts)
		}
		if tt.unflagged {
			same(k, about+"entry", k.lastEntry().OwnSide, chat.OwnChange{Flag: is(false)})
		}
		k.clock.advance(2 * chat.ReceiptInterval)
	}
	marked := k.mark(conv, alice, 3, 3)
	equal(k, "unflagged, without a flag", marked.Unflagged, false)
	k.audit(alice, bob)
}

func testDraft(k *kit) {
	conv := k.contacts(alice, bob)
	for _, who := range []accounts.Name{alice, bob} {
		k.own(conv, who, chat.OwnChange{Draft: is("dear " + string(who)), Remark: is("R.")})
	}
	d := draft(conv, alice, "1", "x")
	k.send(d)
	for range 2 {
		same(k, "alice's side", k.ownSide(conv, alice), chat.OwnSide{Remark: "R."})
		same(k, "bob's side", k.ownSide(conv, bob), chat.OwnSide{Draft: "dear bob", Remark: "R."})
		same(k, "alice's entry", k.lastEntry().OwnSide, chat.OwnChange{Draft: is("")})
		k.crash()
	}
	k.own(conv, alice, chat.OwnChange{Draft: is("again")})
	k.send(d) // a repetition is no sending
	equal(k, "draft after a repetition", k.ownSide(conv, alice).Draft, "again")
	k.audit(alice, bob)
}

func testHide(k *kit) {
	conv := k.contacts(alice, bob)
	k.own(conv, alice, chat.OwnChange{Hide: is(true)})
	for n := range 3 {
		equal(k, "in the list, hidden", len(k.list(alice, chat.ListMain)), 0)
		equal(k, "in the archive, hidden", len(k.list(alice, chat.ListArchived)), 0)
		equal(k, "in all", len(k.list(alice, chat.ListAll)), 1)
		equal(k, "bob's", len(k.list(bob, chat.ListMain)), 1)
		if n == 1 {
			k.crash()
			continue
		}
		k.send(draft(conv, bob, "", fmt.Sprint(n)))
		equal(k, "in the list, with a message", len(k.list(alice, chat.ListMain)), 1)
		same(k, "own side", k.ownSide(conv, alice).Hidden(uint64(n+1)), false)
		k.own(conv, alice, chat.OwnChange{Hide: is(true)})
		same(k, "entry", k.lastEntry().OwnSide, chat.OwnChange{Hide: is(true)})
	}
}

func names(list []chat.Overview) (out []chat.Conversation) {
	for _, o := range list {
		out = append(out, o.Tally.Conversation)
	}
	return out
}

func testLists(k *kit) {
	var convs []chat.Conversation // the oldest first
	for i := 1; i <= 6; i++ {
		conv := k.contacts(user(0), user(i))
		k.clock.advance(1e9)
		k.send(draft(conv, user(i), "", "x"))
		convs = append(convs, conv)
	}
	pick := func(is ...int) (out []chat.Conversation) {
		for _, i := range is {
			out = append(out, convs[i])
		}
		return out
	}
	check := func(what string, main, archived []chat.Conversation) {
		k.Helper()
		for range 2 {
			same(k, what+": main", names(k.list(user(0), chat.ListMain)), main)
			same(k, what+": archived", names(k.list(user(0), chat.ListArchived)), archived)
			equal(k, what+": all", len(k.list(user(0), chat.ListAll)), len(convs))
			k.crash()
		}
	}
	check("at first", pick(5, 4, 3, 2, 1, 0), nil)
	k.own(convs[1], user(0), chat.OwnChange{Pin: is(true)})
	k.own(convs[3], user(0), chat.OwnChange{Pin: is(true)})
	check("pinned", pick(3, 1, 5, 4, 2, 0), nil)
	k.own(convs[3], user(0), chat.OwnChange{Archive: is(true)})
	k.own(convs[4], user(0), chat.OwnChange{Archive: is(true)})
	check("archived", pick(1, 5, 2, 0), pick(3, 4))
	k.clock.advance(1e9)
	k.send(draft(convs[4], user(5), "", "y"))
	k.send(draft(convs[0], user(0), "", "z"))
	check("with news", pick(1, 0, 5, 2), pick(3, 4))
	k.own(convs[1], user(0), chat.OwnChange{Pin: is(false)})
	k.own(convs[4], user(0), chat.OwnChange{Archive: is(false), Draft: is("d")})
	check("put back", pick(0, 4, 5, 2, 1), pick(3))
	list := k.list(user(0), chat.ListMain)
	same(k, "own side in a line", list[1].Own, chat.OwnSide{Draft: "d"})
	same(k, "last in a line", decodeText(k, list[1].Last), "y")
}

func testListWhileChanging(k *kit) {
	const people = 12
	for i := 1; i < people; i++ {
		k.contacts(user(0), user(i))
	}
	for round := range max(k.few(5), 2) {
		k.reopen() // nothing is in memory
		each(3, func(g int) {
			for n := range 10 {
				i := 1 + (g*7+n*3+round)%(people-1)
				conv := chat.Direct(user(0), user(i))
				k.clock.advance(1e6)
				var err error
				switch n % 3 {
				case 0:
					_, _, _, err = k.chat().ChangeOwnSide(k.ctx(), conv, user(0), chat.OwnChange{Pin: is(n%2 == 0)}, nil)
				case 1:
					_, _, err = k.chat().Append(k.ctx(), draft(conv, user(i), "", "x"))
				default:
					_, _, err = k.chat().Conversations(k.ctx(), user(0), chat.ListQuery{Limit: 5})
				}
				if err != nil {
					k.Errorf("change: %v", err)
				}
			}
		})
		got := k.list(user(0), chat.ListMain)
		equal(k, "conversations", len(got), people-1)
		for i, o := range got {
			equal(k, "pinned, at its place", o.Place.Pinned, o.Own.Pin)
			equal(k, "time, at its place", o.Place.TS, o.Last.TS)
			if i > 0 && got[i-1].Place.Compare(o.Place) >= 0 {
				k.Fatalf("list: %v stands before %v", got[i-1].Place, o.Place)
			}
		}
		k.reopen()
		same(k, "list, read anew", names(k.list(user(0), chat.ListMain)), names(got))
	}
	k.audit(user(0))
}

func testTalliesOfSides(k *kit) {
	var convs []chat.Conversation
	for i := 1; i <= 3; i++ {
		convs = append(convs, k.contacts(user(0), user(i)))
	}
	k.send(draft(convs[0], user(1), "", "x"))
	k.own(convs[0], user(0), chat.OwnChange{Mute: is(int64(77)), Flag: is(true)})
	k.own(convs[1], user(0), chat.OwnChange{Flag: is(true)})
	k.own(convs[2], user(0), chat.OwnChange{Mute: is(int64(-1)), Pin: is(true)})
	for range 2 {
		got := map[chat.Conversation]chat.Tally{}
		tallies, _, err := k.chat().Tallies(k.ctx(), user(0))
		k.ok("tallies", err)
		for _, t := range tallies {
			got[t.Conversation] = t
		}
		equal(k, "tallies", len(got), 2)
		equal(k, "unread", got[convs[0]].Unread(), 1)
		equal(k, "mute", got[convs[0]].Mute, 77)
		equal(k, "flag", got[convs[0]].Flag, true)
		equal(k, "unread, flagged only", got[convs[1]].Unread(), 0)
		equal(k, "flag, flagged only", got[convs[1]].Flag, true)
		k.crash()
	}
}

func testOwnSideCrash(k *kit) {
	const goroutines = 6
	steps := k.few(40)
	conv := k.contacts(alice, bob)
	for round := range k.rounds() {
		key := func(g int) sessions.Key {
			return sessions.Key{Account: alice, Client: fmt.Sprintf("client %d of %d", g, round)}
		}
		for g := range goroutines {
			k.save(sessions.State{Key: key(g)})
		}
		before := len(k.stream(alice))
		w := &witness{acked: map[string]string{}}
		knew := k.crashUnderLoad(w, goroutines, steps, func(store Store, g, step int) error {
			remark := fmt.Sprintf("%d-%d-%d", round, g, step)
			_, _, commit, err := store.Chat().ChangeOwnSide(k.ctx(), conv, alice, chat.OwnChange{Remark: &remark},
				sessions.Origin{Key: key(g), ID: uint16(step + 1)})
			if err == nil && step%4 == 0 {
				if err = commit.Wait(k.ctx()); err == nil {
					w.said(remark, true)
				}
			}
			return err
		})
		said := map[string]bool{}
		last := ""
		for _, e := range k.stream(alice)[before:] {
			last = *e.OwnSide.Remark
			said[last] = true
		}
		for remark := range knew {
			equal(k, "acknowledged "+remark+" is in the stream", said[remark], true)
		}
		if last != "" {
			equal(k, "own side is what the stream says", k.ownSide(conv, alice).Remark, last)
		}
		for g := range goroutines {
			received := map[uint16]bool{}
			for _, id := range k.load(key(g)).Received {
				received[id] = true
			}
			for step := range steps {
				remark := fmt.Sprintf("%d-%d-%d", round, g, step)
				equal(k, remark+" is stored and its packet id is", said[remark], received[uint16(step+1)])
			}
		}
	}
}

func testOwnSideForgotten(k *kit) {
	conv := k.contacts(alice, bob)
	k.own(conv, alice, chat.OwnChange{Pin: is(true)})
	k.own(conv, bob, chat.OwnChange{Pin: is(true)})
	k.step(chat.ToLeave(alice, bob))
	k.ok("forget", k.chat().Forget(k.ctx(), alice))
	k.crash()
	same(k, "alice's side", k.ownSide(conv, alice), chat.OwnSide{})
	equal(k, "bob's side", k.ownSide(conv, bob).Pin, true)
}

// testOwnSideInRooms is about rooms that grow large while somebody has a side there.
func testOwnSideInRooms(k *kit) {
	direct := k.contacts(alice, bob)
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob), bob)
	k.own(group, bob, chat.OwnChange{Flag: is(true), Mute: is(int64(-1)), Draft: is("dear all")})
	_, _, _, err := k.chat().ChangeOwnSide(k.ctx(), group, carol, chat.OwnChange{Pin: is(true)}, nil)
	k.is("of somebody outside", err, chat.ErrNotMember)
	for _, large := range []bool{false, true} {
		if large {
			k.take(group, alice, enter("dave", "erin"), "dave", "erin")
		}
		k.clock.advance(1e9)
		k.send(draft(group, alice, "", "x"))
		for range 2 {
			same(k, "list", names(k.list(bob, chat.ListMain)), []chat.Conversation{group, direct})
			tallies, _ := k.tallies(bob)
			equal(k, "tallies", len(tallies), 1)
			equal(k, "large", tallies[0].Large, large)
			equal(k, "flag", tallies[0].Flag, true)
			equal(k, "mute", tallies[0].Mute, int64(-1))
			k.crash()
		}
		k.clock.advance(1e9)
		k.send(draft(direct, alice, "", "y"))
		k.mark(direct, bob, 9, 9)
		same(k, "list", names(k.list(bob, chat.ListMain)), []chat.Conversation{direct, group})
		k.own(group, bob, chat.OwnChange{Pin: is(true)})
		same(k, "list, pinned", names(k.list(bob, chat.ListMain)), []chat.Conversation{group, direct})
		k.own(group, bob, chat.OwnChange{Pin: is(false)})
		equal(k, "draft", k.ownSide(group, bob).Draft, "dear all")
		k.send(draft(group, bob, "", "z"))
		equal(k, "draft, sent", k.ownSide(group, bob).Draft, "")
		k.own(group, bob, chat.OwnChange{Draft: is("dear all")})
		marked := k.mark(group, bob, 99, 99)
		equal(k, "unflagged", marked.Unflagged, true)
		k.own(group, bob, chat.OwnChange{Flag: is(true)})
	}
	k.take(group, alice, exit(bob), bob)
	for range 2 {
		same(k, "list, left", names(k.list(bob, chat.ListMain)), []chat.Conversation{direct})
		all, _, err := k.chat().Tallies(k.ctx(), bob)
		k.ok("tallies", err)
		equal(k, "tallies, left", len(all), 0)
		_, _, err = k.chat().OwnSide(k.ctx(), group, bob)
		k.is("side, left", err, chat.ErrNotMember)
		k.crash()
	}
	k.take(group, alice, enter(bob), bob)
	same(k, "side, back again", k.ownSide(group, bob), chat.OwnSide{})
	equal(k, "list, back again", len(k.list(bob, chat.ListMain)), 2)
}
