package storetest

import (
	"fmt"
	"sync"

	"github.com/magpie-im/magpie/chat"
)

var readingTests = []test{
	{"pages of a conversation have exclusive bounds", testPages},
	{"pages of a stream begin after a usn", testStreamPages},
	{"an empty stream has no head", testEmpty},
	{"conversations are listed newest first", testConversations},
	{"tallies are of the moment of their usn", testTalliesMoment},
	{"tallies of somebody with many conversations are right while they change", testTalliesWhileChanging},
}

func testPages(k *kit) {
	conv := k.filled(10)
	tests := []struct {
		after, before uint64
		limit         int
		want          []uint64
	}{
		{0, 0, 3, []uint64{1, 2, 3}},
		{3, 0, 3, []uint64{4, 5, 6}},
		{8, 0, 5, []uint64{9, 10}},
		{10, 0, 5, nil},
		{99, 0, 5, nil},
		{1<<64 - 1, 0, 5, nil},
		{0, 5, 3, []uint64{2, 3, 4}},
		{0, 3, 5, []uint64{1, 2}},
		{0, 1, 5, nil},
		{0, 99, 2, []uint64{9, 10}},
		{0, 1<<64 - 1, 2, []uint64{9, 10}},
		{3, 7, 2, []uint64{5, 6}},
		{3, 7, 9, []uint64{4, 5, 6}},
		{6, 7, 9, nil},
		{7, 3, 9, nil},
		{0, 0, 0, nil},
	}
	for _, tt := range tests {
		page, err := k.chat().Messages(k.ctx(), conv, tt.after, tt.before, tt.limit)
		k.ok("messages", err)
		var got []uint64
		for _, m := range page.Messages {
			got = append(got, m.Seq)
		}
		same(k, fmt.Sprintf("seqs after %d before %d, %d of them", tt.after, tt.before, tt.limit), got, tt.want)
		equal(k, "head", page.Head, 10)
		equal(k, "floor", page.Floor, 1)
	}
}

func testStreamPages(k *kit) {
	k.filled(5)
	all := k.stream(bob)
	for after := range uint64(len(all)) + 2 {
		page, err := k.chat().Stream(k.ctx(), bob, after, 3)
		k.ok("stream", err)
		rest := all[min(int(after), len(all)):]
		same(k, fmt.Sprint("entries after ", after), page.Entries, rest[:min(3, len(rest))])
		equal(k, "head", page.Head, uint64(len(all)))
	}
	page, err := k.chat().Stream(k.ctx(), bob, 1<<64-1, 3)
	k.ok("stream", err)
	equal(k, "entries after the last that could be", len(page.Entries), 0)
	page, err = k.chat().Stream(k.ctx(), bob, 0, 0)
	k.ok("stream", err)
	equal(k, "entries of an empty page", len(page.Entries), 0)
	equal(k, "head of an empty page", page.Head, uint64(len(all)))
}

func testEmpty(k *kit) {
	page, err := k.chat().Stream(k.ctx(), alice, 0, 10)
	k.ok("stream", err)
	equal(k, "head", page.Head, 0)
	equal(k, "entries", len(page.Entries), 0)
	conv := k.contacts(alice, bob)
	messages, err := k.chat().Messages(k.ctx(), conv, 0, 0, 10)
	k.ok("messages", err)
	equal(k, "head of the conversation", messages.Head, 0)
	k.audit(alice, bob)
}

func testConversations(k *kit) {
	var want []chat.Conversation
	for i := 1; i <= 7; i++ {
		conv := k.contacts(user(0), user(i))
		if i == 4 { // empty: after all that have a message
			continue
		}
		k.clock.advance(1e9)
		k.send(draft(conv, user(i), "", "x"))
		want = append([]chat.Conversation{conv}, want...)
	}
	want = append(want, chat.Direct(user(0), user(4)))
	k.crash()
	got := k.conversations(user(0), false)
	var names []chat.Conversation
	for _, o := range got {
		names = append(names, o.Tally.Conversation)
		equal(k, "last of "+string(o.Tally.Conversation), o.Last.Seq, o.Tally.Head)
	}
	same(k, "conversations", names, want)

	// A message between two pages does not make the rest of the list repeat or skip.
	first, more, err := k.chat().Conversations(k.ctx(), user(0), chat.ListQuery{Limit: 3})
	k.ok("first page", err)
	equal(k, "first page", len(first), 3)
	equal(k, "more", more, true)
	k.clock.advance(1e9)
	k.send(draft(want[6], user(4), "", "x"))
	rest, more, err := k.chat().Conversations(k.ctx(), user(0), chat.ListQuery{After: first[2].Place, Limit: 10})
	k.ok("second page", err)
	equal(k, "more", more, false)
	equal(k, "second page", len(rest), 3)
	equal(k, "begin of second page", rest[0].Tally.Conversation, want[3])
}

func testTalliesMoment(k *kit) {
	conv := k.contacts(alice, bob)
	base := uint64(len(k.stream(bob)))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if _, _, err := k.chat().Append(k.ctx(), draft(conv, alice, "", fmt.Sprint(i))); err != nil {
					k.Errorf("append: %v", err)
					return
				}
			}
		}
	})
	// Nothing but messages comes to bob's stream, so that the usn says how many there are.
	for range k.few(200) {
		tallies, asOf := k.tallies(bob)
		var unread uint64
		for _, t := range tallies {
			unread += t.Unread()
		}
		if unread != asOf-base {
			k.Errorf("unread as of usn %d: got %d, want %d", asOf, unread, asOf-base)
			break
		}
	}
	close(stop)
	wg.Wait()
	k.audit(alice, bob)
}

func testTalliesWhileChanging(k *kit) {
	const busy = 4
	people := max(k.few(40), 8)
	unread := make([]uint64, people)
	for i := 1; i < people; i++ {
		k.contacts(user(0), user(i))
	}
	for range max(k.few(10), 2) {
		k.reopen() // nothing is in memory
		send := func(i int) {
			if _, _, err := k.chat().Append(k.ctx(), draft(chat.Direct(user(0), user(i)), user(i), "", "x")); err != nil {
				k.Errorf("append: %v", err)
			}
			unread[i]++
		}
		for g := range busy { // now what these need is
			send(people - 1 - g)
		}
		var changing sync.WaitGroup
		for g := range busy {
			changing.Go(func() {
				for range max(k.few(20), 5) {
					send(people - 1 - g)
				}
			})
		}
		k.tallies(user(0))
		changing.Wait()
		tallies, _ := k.tallies(user(0))
		got := map[chat.Conversation]uint64{}
		for _, t := range tallies {
			got[t.Conversation] = t.Unread()
		}
		for i := 1; i < people; i++ {
			c := chat.Direct(user(0), user(i))
			equal(k, "unread in "+string(c), got[c], unread[i])
		}
	}
	k.audit(user(0))
}
