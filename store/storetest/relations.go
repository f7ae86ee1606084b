package storetest

import (
	"fmt"
	"sync"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var relationTests = []test{
	{"a block has its place among the messages", testBlockAmongMessages},
	{"a stranger's first message waits in a box", testBox},
	{"nobody hears how far a stranger's message was read", testBoxReceipts},
	{"a deleted account leaves nothing but what was sent", testLeave},
	{"people that two know are counted", testMutual},
	{"requests are counted across a crash", testAskedAcrossCrash},
}

// step takes a step between two people and waits for it.
func (k *kit) step(c chat.Change) chat.Pair {
	k.Helper()
	p, commit, err := k.chat().Change(k.ctx(), c)
	k.durable("change", commit, err)
	return p
}

// testBlockAmongMessages blocks somebody who writes as fast as he can.
func testBlockAmongMessages(k *kit) {
	conv := k.contacts(alice, bob)
	for round := range 5 {
		var writing sync.WaitGroup
		started := make(chan struct{}, 1)
		for g := range 3 {
			writing.Go(func() {
				for n := 0; ; n++ {
					_, _, err := k.chat().Append(k.ctx(), draft(conv, bob, "", fmt.Sprint(round, g, n)))
					if err != nil {
						return // blocked
					}
					select {
					case started <- struct{}{}:
					default:
					}
				}
			})
		}
		<-started
		_, commit, err := k.chat().Change(k.ctx(), chat.ToBlock(alice, bob))
		if err != nil {
			k.Fatalf("block: %v", err)
		}
		placed, err := k.chat().Messages(k.ctx(), conv, 0, 0, 1)
		k.ok("messages", err)
		writing.Wait()
		k.durable("block", commit, nil)
		after, err := k.chat().Messages(k.ctx(), conv, 0, 0, 1)
		k.ok("messages", err)
		equal(k, "messages after the block", after.Head, placed.Head)
		_, _, err = k.chat().Append(k.ctx(), draft(conv, alice, "", "x"))
		k.is("to whom one has blocked", err, chat.ErrBlocked)
		last := k.stream(alice)
		equal(k, "the last entry", last[len(last)-1].Type, chat.EntryContact)
		marked, commit, err := k.chat().Mark(k.ctx(), conv, bob, chat.Marks{Recv: after.Head, Read: after.Head}, nil)
		k.durable("mark", commit, err)
		equal(k, "left untold by the block", marked.Untold, false)
		equal(k, "entries after the block", len(k.stream(alice)), len(last))
		k.step(chat.ToUnblock(alice, bob))
	}
	k.crash()
	k.audit(alice, bob)
}

func testBox(k *kit) {
	conv := chat.Direct(alice, bob)
	d := draft(conv, alice, "first", "hello, stranger")
	_, _, err := k.chat().Append(k.ctx(), d)
	k.is("who hears no strangers", err, chat.ErrNoConversation)
	d.Stranger = true
	first := k.send(d)
	k.crash()
	equal(k, "the first one, repeated", k.send(d).ID, first.ID)
	second := draft(conv, alice, "second", "are you there?")
	second.Stranger = true
	_, _, err = k.chat().Append(k.ctx(), second)
	k.is("before an answer", err, chat.ErrAwaitReply)

	equal(k, "conversations of bob", len(k.conversations(bob, false)), 0)
	equal(k, "box of bob", len(k.conversations(bob, true)), 1)
	equal(k, "conversations of alice", len(k.conversations(alice, false)), 1)
	tallies, _ := k.tallies(bob)
	equal(k, "tallies of bob", len(tallies), 1)
	equal(k, "boxed", tallies[0].Boxed, true)
	k.audit(alice, bob)

	k.step(chat.ToDrop(bob, alice))
	before := len(k.stream(bob))
	k.step(chat.ToDrop(bob, alice))
	k.step(chat.ToBlock(bob, alice))
	k.step(chat.ToUnblock(bob, alice))
	for i, e := range k.stream(bob)[before-1:] { // only the first one is about the conversation
		equal(k, "type", e.Type, chat.EntryContact)
		equal(k, "names the conversation", e.Conversation == conv, i == 0)
	}
	for range 2 {
		equal(k, "box of bob, put away", len(k.conversations(bob, true))+len(k.conversations(bob, false)), 0)
		tallies, _ = k.tallies(bob)
		equal(k, "tallies of bob, put away", len(tallies), 0)
		all, _, err := k.chat().Tallies(k.ctx(), bob)
		k.ok("tallies", err)
		same(k, "all tallies of bob, put away", all, []chat.Tally{{Conversation: conv, Boxed: true}})
		_, _, err = k.chat().Append(k.ctx(), second)
		k.is("still no answer", err, chat.ErrAwaitReply)
		k.crash()
	}

	k.send(draft(conv, bob, "", "yes"))
	second.Stranger = false
	k.send(second)
	k.crash()
	equal(k, "conversations of bob, answered", len(k.conversations(bob, false)), 1)
	equal(k, "box of bob, answered", len(k.conversations(bob, true)), 0)
	k.audit(alice, bob)
}

func testBoxReceipts(k *kit) {
	conv := chat.Direct(alice, bob)
	d := draft(conv, alice, "", "hello")
	d.Stranger = true
	k.send(d)
	before := len(k.stream(alice))
	k.mark(conv, bob, 1, 1)
	untold, told := k.tell(conv, bob)
	equal(k, "untold", untold, false)
	equal(k, "told", told, false)
	equal(k, "entries of alice", len(k.stream(alice)), before)
	k.send(draft(conv, bob, "", "yes"))
	k.mark(conv, alice, 2, 2)
	entries := k.stream(bob)
	equal(k, "bob hears that his answer was read", entries[len(entries)-1].Type, chat.EntryReceipt)
}

func testLeave(k *kit) {
	conv := k.contacts(alice, bob)
	k.send(draft(conv, alice, "", "of alice"))
	k.send(draft(conv, bob, "", "of bob"))
	asked := draft(chat.Direct(alice, carol), carol, "", "of carol")
	asked.Stranger = true
	k.send(asked)
	partners, err := k.chat().Partners(k.ctx(), alice, "", 10)
	k.ok("partners", err)
	same(k, "partners", partners, []accounts.Name{bob, carol})
	partners, err = k.chat().Partners(k.ctx(), alice, bob, 10)
	k.ok("partners", err)
	same(k, "partners after bob", partners, []accounts.Name{carol})

	for range 2 { // a crash in the middle begins again
		for _, other := range []accounts.Name{bob, carol} {
			k.step(chat.ToLeave(alice, other))
			k.ok("wipe", k.chat().Wipe(k.ctx(), chat.Direct(alice, other), alice))
		}
		k.crash()
	}
	for range 2 {
		k.ok("forget", k.chat().Forget(k.ctx(), alice))
		k.crash()
		partners, err = k.chat().Partners(k.ctx(), alice, "", 10)
		k.ok("partners", err)
		equal(k, "partners of nobody", len(partners), 0)
		page, err := k.chat().Stream(k.ctx(), alice, 0, 10)
		k.ok("stream", err)
		equal(k, "entries of nobody", len(page.Entries), 0)
	}
	k.relation(bob, alice, chat.ContactDeleted)
	entries := k.stream(bob)
	equal(k, "what bob heard last", entries[len(entries)-1].State, chat.ContactDeleted)
	messages := k.messages(conv)
	equal(k, "kind", messages[0].Kind, chat.KindGone)
	equal(k, "body", string(messages[0].Body), "")
	equal(k, "sender", messages[0].From, alice)
	equal(k, "what bob said", decodeText(k, messages[1]), "of bob")
	for _, who := range []accounts.Name{bob, carol} {
		d := draft(chat.Direct(alice, who), who, "", "are you there?")
		d.Stranger = true
		_, _, err := k.chat().Append(k.ctx(), d)
		k.is(string(who)+" writes to nobody", err, chat.ErrGone)
	}
}

func testMutual(k *kit) {
	for n := range 5 {
		k.contacts(alice, user(n))
		if n > 1 {
			k.contacts(bob, user(n))
		}
	}
	k.contacts(alice, bob)
	_, commit, err := k.request(bob, user(0), "", nil)
	k.durable("request", commit, err)
	for limit, want := range map[int]int{1: 1, 2: 2, 10: 3} {
		n, err := k.chat().Mutual(k.ctx(), alice, bob, limit)
		k.ok("mutual", err)
		equal(k, fmt.Sprintf("mutual, up to %d", limit), n, want)
	}
	names := []accounts.Name{bob, user(0), user(1), user(2), user(3), user(4)}
	for limit, want := range map[int][]accounts.Name{0: nil, 2: names[1:3], 10: names[1:]} {
		got, err := k.chat().Accepted(k.ctx(), alice, bob, limit)
		k.ok("accepted", err)
		same(k, fmt.Sprintf("contacts of alice after bob, up to %d", limit), got, want)
	}
	asked, err := k.chat().Accepted(k.ctx(), user(0), alice, 10)
	k.ok("accepted", err)
	equal(k, "contacts of who was asked", len(asked), 0)
	n, err := k.chat().Mutual(k.ctx(), carol, bob, 10)
	k.ok("mutual", err)
	equal(k, "mutual of somebody without any", n, 0)
}

func testAskedAcrossCrash(k *kit) {
	few := chat.Bounds{Requests: 3}
	for n := range 3 {
		k.step(chat.ToRequest(alice, user(n), "", few))
		k.crash()
	}
	_, _, err := k.chat().Change(k.ctx(), chat.ToRequest(alice, user(3), "", few))
	k.is("one more", err, chat.ErrQuota)
	k.clock.advance(24 * 60 * 60 * 1e9)
	k.step(chat.ToRequest(alice, user(3), "", few))
	n, err := k.chat().Requests(k.ctx(), user(3), 10)
	k.ok("requests", err)
	equal(k, "requests", n, 1)
	k.clock.advance(7 * 24 * 60 * 60 * 1e9)
	n, err = k.chat().Requests(k.ctx(), user(3), 10)
	k.ok("requests", err)
	equal(k, "requests that have ended", n, 0)
	list, err := k.chat().List(k.ctx(), user(3), "", 10)
	k.ok("list", err)
	equal(k, "lines", len(list), 0)
}
