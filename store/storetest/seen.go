package storetest

import (
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var seenTests = []test{
	{"who has left was seen then", testLastSeen},
	{"who was there at a crash was seen at the last beat", testSettle},
	{"who came after the last beat was seen when he came", testSettleNewcomer},
	{"many are settled", testSettleMany},
}

func (k *kit) note(changes ...chat.Sighting) {
	k.Helper()
	k.ok("note", k.chat().Note(k.ctx(), changes...))
}

func (k *kit) seen(who ...accounts.Name) []time.Time {
	k.Helper()
	at, err := k.chat().LastSeen(k.ctx(), who...)
	k.ok("last seen", err)
	equal(k, "answers", len(at), len(who))
	return at
}

// noon is a time to the millisecond, some minutes after noon.
func noon(minutes int) time.Time {
	return time.Date(2030, 1, 2, 12, minutes, 0, 7e6, time.UTC)
}

func testLastSeen(k *kit) {
	same(k, "nobody", k.seen(), []time.Time{})
	same(k, "never", k.seen(alice, "nobody"), []time.Time{{}, {}})
	k.note(chat.Sighting{Who: alice, At: noon(1), There: true}, chat.Sighting{Who: bob, At: noon(2)})
	same(k, "there now", k.seen(alice, bob, alice), []time.Time{{}, noon(2), {}})
	k.note(chat.Sighting{Who: alice, At: noon(3)})
	k.note(chat.Sighting{Who: bob, At: noon(4), There: true})
	same(k, "left", k.seen(alice, bob), []time.Time{noon(3), noon(2)})
	k.note(chat.Sighting{Who: carol, At: noon(3)})
	k.note(chat.Sighting{Who: carol})
	same(k, "forgotten", k.seen(carol), []time.Time{{}})
	k.reopen()
	same(k, "left, after a start", k.seen(alice, bob), []time.Time{noon(3), noon(2)})
	k.contacts(alice, bob)
	k.crash()
	same(k, "left, after a crash", k.seen(alice, bob), []time.Time{noon(3), noon(2)})
}

func testSettle(k *kit) {
	k.note(
		chat.Sighting{Who: alice, At: noon(1), There: true}, chat.Sighting{Who: bob, At: noon(1), There: true},
		chat.Sighting{Who: carol, At: noon(2)},
	)
	k.note(chat.Sighting{Who: bob, At: noon(2)})
	k.ok("beat", k.queues().Beat(k.ctx(), noon(5)))
	k.contacts(alice, bob) // is durable when it returns, and so is what was before
	k.crash()
	for range 2 { // the second time nobody is left
		k.ok("settle", k.chat().Settle(k.ctx()))
		same(k, "settled", k.seen(alice, bob, carol), []time.Time{noon(5), noon(2), noon(2)})
		k.ok("beat", k.queues().Beat(k.ctx(), noon(9)))
		k.crash()
	}
}

func testSettleNewcomer(k *kit) {
	k.ok("settle nothing", k.chat().Settle(k.ctx()))
	k.note(chat.Sighting{Who: bob, At: noon(1), There: true})
	k.contacts(alice, bob)
	k.crash()
	k.ok("settle without a beat", k.chat().Settle(k.ctx()))
	same(k, "settled without a beat", k.seen(bob), []time.Time{noon(1)})

	k.ok("beat", k.queues().Beat(k.ctx(), noon(3)))
	k.note(chat.Sighting{Who: alice, At: noon(4), There: true})
	k.contacts(alice, carol)
	k.crash()
	k.ok("settle", k.chat().Settle(k.ctx()))
	same(k, "settled", k.seen(alice, bob), []time.Time{noon(4), noon(1)})
}

func testSettleMany(k *kit) {
	many := k.few(2500)
	var there []chat.Sighting
	var names []accounts.Name
	for i := range many {
		name := accounts.Name(fmt.Sprintf("u%04d", i))
		names = append(names, name)
		there = append(there, chat.Sighting{Who: name, At: noon(1), There: true})
	}
	k.note(there...)
	k.ok("beat", k.queues().Beat(k.ctx(), noon(2)))
	k.reopen()
	k.ok("settle", k.chat().Settle(k.ctx()))
	for i, at := range k.seen(names...) {
		same(k, "settled: "+string(names[i]), at, noon(2))
	}
}
