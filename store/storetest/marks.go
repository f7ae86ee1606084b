package storetest

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/magpie-im/magpie/chat"
)

var markTests = []test{
	{"marks only move forward, to the last message", testMarks},
	{"the order of marks does not matter", testMarkPermutations},
	{"concurrent marks end at the highest", testConcurrentMarks},
	{"reading is told to one's own devices", testReadEntry},
	{"at most one receipt waits, and one a second is told", testReceipts},
	{"what was left out is told later", testTell},
	{"who is left untold is found after a crash", testUntold},
	{"sending moves no marks", testSendingMovesNothing},
	{"nothing moved, nothing written", testNothingMoved},
}

// filled gives a conversation with n messages of alice.
func (k *kit) filled(n int) chat.Conversation {
	k.Helper()
	conv := k.contacts(alice, bob)
	for i := range n {
		k.send(draft(conv, alice, "", fmt.Sprint(i)))
	}
	return conv
}

func testMarks(k *kit) {
	conv := k.filled(5)
	steps := []struct{ given, want chat.Marks }{
		{chat.Marks{Recv: 2}, chat.Marks{Recv: 2}},
		{chat.Marks{Read: 1}, chat.Marks{Recv: 2, Read: 1}},
		{chat.Marks{Recv: 1}, chat.Marks{Recv: 2, Read: 1}},
		{chat.Marks{Read: 3}, chat.Marks{Recv: 3, Read: 3}},
		{chat.Marks{}, chat.Marks{Recv: 3, Read: 3}},
		{chat.Marks{Recv: math.MaxUint64}, chat.Marks{Recv: 5, Read: 3}},
		{chat.Marks{Read: math.MaxUint64}, chat.Marks{Recv: 5, Read: 5}},
		{chat.Marks{Recv: 4, Read: 4}, chat.Marks{Recv: 5, Read: 5}},
	}
	was := chat.Marks{}
	for _, step := range steps {
		m := k.mark(conv, bob, step.given.Recv, step.given.Read)
		equal(k, fmt.Sprintf("marks after %+v", step.given), m.Marks, step.want)
		equal(k, fmt.Sprintf("moved by %+v", step.given), m.Moved, step.want != was)
		k.crash()
		equal(k, "stored marks", k.marks(conv, bob), step.want)
		was = step.want
	}
	k.audit(alice, bob)
}

func testMarkPermutations(k *kit) {
	given := []chat.Marks{{Recv: 3}, {Read: 2}, {Recv: 9, Read: 1}, {Read: 4}}
	var want chat.Marks
	for round, order := range permutations(len(given)) {
		a, b := user(2*round), user(2*round+1)
		conv := k.contacts(a, b)
		for range 5 {
			k.send(draft(conv, a, "", "x"))
		}
		for _, i := range order {
			_, _, err := k.chat().Mark(k.ctx(), conv, b, given[i], nil)
			k.ok("mark", err)
		}
		got := k.marks(conv, b)
		if round == 0 {
			want = got
		}
		equal(k, fmt.Sprintf("marks after %v", order), got, want)
		k.audit(a, b)
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for at := range n {
			q := append(append(append([]int{}, p[:at]...), n-1), p[at:]...)
			out = append(out, q)
		}
	}
	return out
}

func testConcurrentMarks(k *kit) {
	messages := max(k.few(60), 12)
	conv := k.filled(messages)
	var mu sync.Mutex
	var errs []error
	each(8, func(g int) {
		for n := range messages {
			read := uint64((n*7 + g*13) % messages)
			m, commit, err := k.chat().Mark(k.ctx(), conv, bob, chat.Marks{Read: read, Recv: uint64(n)}, nil)
			if err == nil && commit != nil && n%4 == 0 {
				err = commit.Wait(k.ctx())
			}
			if err == nil && (m.Read < read || m.Recv < m.Read || m.Recv < uint64(n)) {
				err = fmt.Errorf("marks %+v after read %d, received %d", m.Marks, read, n)
			}
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		}
	})
	k.ok("marks", errors.Join(errs...))
	for range 2 {
		equal(k, "marks", k.marks(conv, bob), chat.Marks{Recv: uint64(messages - 1), Read: uint64(messages - 1)})
		k.audit(alice, bob)
		k.crash()
	}
}

func testReadEntry(k *kit) {
	conv := k.filled(3)
	before := len(k.stream(bob))
	k.mark(conv, bob, 2, 0)
	equal(k, "entries after receiving", len(k.stream(bob)), before)
	k.mark(conv, bob, 0, 1)
	entries := k.stream(bob)
	equal(k, "entries after reading", len(entries), before+1)
	same(k, "entry", entries[before], chat.Entry{
		USN: uint64(before + 1), Type: chat.EntryRead, TS: k.clock.Now().UnixMilli(), Conversation: conv, Recv: 2, Read: 1,
	})
}

// receipts gives those in a stream.
func (k *kit) receipts() []chat.Marks {
	k.Helper()
	var out []chat.Marks
	for _, e := range k.stream(alice) {
		if e.Type == chat.EntryReceipt {
			out = append(out, chat.Marks{Recv: e.Recv, Read: e.Read})
		}
	}
	return out
}

func testReceipts(k *kit) {
	conv := k.filled(10)
	// The receipt is told at once, and waits: nobody reads alice's stream.
	m := k.mark(conv, bob, 1, 0)
	equal(k, "untold, the first", m.Untold, false)
	k.clock.advance(time.Hour)
	for recv := uint64(2); recv < 5; recv++ {
		m = k.mark(conv, bob, recv, 0)
		equal(k, "untold, one waits", m.Untold, true)
		k.clock.advance(time.Hour)
	}
	untold, told := k.tell(conv, bob)
	equal(k, "untold, one still waits", untold, true)
	equal(k, "told, one still waits", told, false)
	same(k, "receipts", k.receipts(), []chat.Marks{{Recv: 1}}) // this reads alice's stream

	untold, told = k.tell(conv, bob)
	equal(k, "untold", untold, false)
	equal(k, "told", told, true)
	same(k, "receipts", k.receipts(), []chat.Marks{{Recv: 1}, {Recv: 4}})

	// Read, and younger than the interval.
	m = k.mark(conv, bob, 0, 5)
	equal(k, "untold, too soon", m.Untold, true)
	k.clock.advance(chat.ReceiptInterval - time.Millisecond)
	untold, told = k.tell(conv, bob)
	equal(k, "untold, still too soon", untold, true)
	equal(k, "told, still too soon", told, false)
	k.clock.advance(time.Millisecond)
	m = k.mark(conv, bob, 0, 6)
	equal(k, "untold, late enough", m.Untold, false)
	same(k, "receipts", k.receipts(), []chat.Marks{{Recv: 1}, {Recv: 4}, {Recv: 6, Read: 6}})
	// A reader that starts over does not make anything wait again.
	k.clock.advance(time.Hour)
	equal(k, "untold, nothing waits", k.mark(conv, bob, 7, 0).Untold, false)

	last := k.receipts()
	equal(k, "receipts in the end", len(last), 4)
	k.audit(alice, bob)
}

func testTell(k *kit) {
	conv := k.filled(3)
	untold, told := k.tell(conv, bob)
	equal(k, "untold, nothing moved", untold, false)
	equal(k, "told, nothing moved", told, false)
	k.mark(conv, bob, 1, 0)
	k.receipts()
	equal(k, "untold", k.mark(conv, bob, 2, 2).Untold, true)
	k.clock.advance(chat.ReceiptInterval)
	untold, told = k.tell(conv, bob)
	equal(k, "untold, told", untold, false)
	equal(k, "told", told, true)
	_, told = k.tell(conv, bob)
	equal(k, "told twice", told, false)
	entries := k.stream(alice)
	same(k, "receipt", entries[len(entries)-1], chat.Entry{
		USN: uint64(len(entries)), Type: chat.EntryReceipt, TS: k.clock.Now().UnixMilli(), Conversation: conv, Who: bob,
		Recv: 2, Read: 2,
	})
	_, _, err := k.chat().Tell(k.ctx(), conv, carol)
	k.is("stranger", err, chat.ErrNotMember)
	_, _, err = k.chat().Tell(k.ctx(), chat.Direct(carol, bob), bob)
	k.is("no conversation", err, chat.ErrNoConversation)
}

func testUntold(k *kit) {
	var want []chat.Member
	const people = 5
	for i := 1; i < people; i++ {
		conv := k.contacts(user(0), user(i))
		for range 2 {
			k.send(draft(conv, user(0), "", "x"))
		}
		k.mark(conv, user(i), 1, 0)
		k.mark(conv, user(i), 2, 0)
		want = append(want, chat.Member{Conversation: conv, Who: user(i)})
	}
	k.crash()
	same(k, "untold", k.untold(), want)
	k.clock.advance(time.Hour)
	for _, m := range want[1:] {
		untold, told := k.tell(m.Conversation, m.Who)
		equal(k, "untold after telling", untold, false)
		equal(k, "told", told, true)
	}
	k.crash()
	same(k, "untold", k.untold(), want[:1])
	// A mark that is told takes it off too.
	k.clock.advance(time.Hour)
	k.stream(user(0))
	equal(k, "untold", k.mark(want[0].Conversation, want[0].Who, 2, 2).Untold, false)
	equal(k, "untold in the end", len(k.untold()), 0)
}

func (k *kit) untold() []chat.Member {
	k.Helper()
	var out []chat.Member
	for after := (chat.Member{}); ; {
		page, err := k.chat().Untold(k.ctx(), after, 2)
		k.ok("untold", err)
		if len(page) == 0 {
			return out
		}
		out = append(out, page...)
		after = page[len(page)-1]
	}
}

func testSendingMovesNothing(k *kit) {
	conv := k.filled(3)
	before, _ := k.tallies(bob)
	for range 3 {
		k.send(draft(conv, bob, "", "x"))
	}
	after, _ := k.tallies(bob)
	equal(k, "unread after sending", after[0].Unread(), before[0].Unread())
	equal(k, "marks after sending", k.marks(conv, bob), chat.Marks{})
	k.audit(alice, bob)
}

func testNothingMoved(k *kit) {
	conv := k.filled(3)
	k.mark(conv, bob, 2, 2)
	streams := [2]int{len(k.stream(alice)), len(k.stream(bob))}
	m, commit, err := k.chat().Mark(k.ctx(), conv, bob, chat.Marks{Recv: 2, Read: 1}, nil)
	k.ok("mark", err)
	equal(k, "moved", m.Moved, false)
	equal(k, "untold", m.Untold, false)
	if commit != nil {
		k.Errorf("commit of a mark that moved nothing: got %v, want none", commit)
	}
	equal(k, "streams", [2]int{len(k.stream(alice)), len(k.stream(bob))}, streams)
}
