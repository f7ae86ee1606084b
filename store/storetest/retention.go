package storetest

import (
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var retentionTests = []test{
	{"old messages go, and nobody counts them", testRetire},
	{"a conversation whose messages are all too old goes on", testRetireAll},
	{"a mid is forgotten with its message", testRetireMID},
	{"a mid of what is not a message that is there is forgotten in time", testRetireMIDs},
	{"what was done to old messages goes with them", testRetireChanges},
	{"streams are cut at an age, and go on", testRetireStreams},
	{"a change of a message in a stream is as old as it is", testRetireStreamOfChanges},
	{"what has messages is found", testWritten},
}

// retire removes what is older than a time from a conversation.
func (k *kit) retire(c chat.Conversation, before time.Time) {
	k.Helper()
	for more := true; more; {
		var err error
		more, err = k.chat().Retire(k.ctx(), c, before.UnixMilli())
		k.ok("retire", err)
	}
}

// unread gives what somebody has not read in all of his conversations.
func (k *kit) unread(who accounts.Name) (n uint64) {
	k.Helper()
	tallies, _ := k.tallies(who)
	for _, t := range tallies {
		n += t.Unread()
	}
	return n
}

// left gives the seqs of all messages that are there.
func (k *kit) left(c chat.Conversation) (seqs []uint64, floor uint64) {
	k.Helper()
	page, err := k.chat().Messages(k.ctx(), c, 0, 0, 1000)
	k.ok("messages", err)
	for _, m := range page.Messages {
		seqs = append(seqs, m.Seq)
	}
	return seqs, page.Floor
}

func testRetire(k *kit) {
	k.large()
	conv := k.contacts(alice, bob)
	for i := range 600 {
		if i == 597 {
			k.clock.advance(time.Hour)
		}
		k.send(draft(conv, alice, "", fmt.Sprint(i)))
	}
	k.mark(conv, bob, 5, 5)
	equal(k, "unread before", k.unread(bob), 595)
	k.retire(conv, k.clock.Now())
	check := func() {
		k.Helper()
		seqs, floor := k.left(conv)
		same(k, "messages", seqs, []uint64{598, 599, 600})
		equal(k, "floor", floor, 598)
		equal(k, "unread", k.unread(bob), 3)
		equal(k, "mark", k.marks(conv, bob).Read, 5)
	}
	check()
	k.crash()
	check()
	equal(k, "next", k.send(draft(conv, bob, "", "next")).Seq, 601)
	k.mark(conv, bob, 599, 599)
	equal(k, "unread after a mark", k.unread(bob), 1)
	for _, e := range k.stream(bob) {
		if e.Type == chat.EntryMessage && e.Message.Seq < 598 {
			equal(k, "kind of what is gone", e.Message.Kind, chat.KindGone)
		}
	}
}

func testRetireAll(k *kit) {
	conv := k.contacts(alice, bob)
	k.send(draft(conv, alice, "1", "secret"))
	k.send(draft(conv, alice, "2", "secret"))
	k.clock.advance(time.Hour)
	k.retire(conv, k.clock.Now())
	for range 2 {
		seqs, floor := k.left(conv)
		equal(k, "messages", len(seqs), 0)
		equal(k, "floor", floor, 3)
		equal(k, "unread", k.unread(bob), 0)
		for _, e := range k.stream(bob) {
			if e.Type == chat.EntryMessage {
				equal(k, "body of what is gone", string(e.Message.Body), "")
			}
		}
		k.crash()
	}
	equal(k, "next", k.send(draft(conv, alice, "", "next")).Seq, 3)
	equal(k, "unread", k.unread(bob), 1)
}

func testRetireMID(k *kit) {
	conv := k.contacts(alice, bob)
	d := draft(conv, alice, "the same", "hello")
	equal(k, "first", k.send(d).Seq, 1)
	equal(k, "repeated", k.send(d).Seq, 1)
	k.send(draft(conv, alice, "", "another"))
	k.clock.advance(time.Hour)
	k.retire(conv, k.clock.Now())
	equal(k, "when it is gone", k.send(d).Seq, 3)
}

// retireMIDs forgets mids that are older than a time.
func (k *kit) retireMIDs(before time.Time, limit int) {
	k.Helper()
	for more := true; more; {
		var err error
		more, err = k.chat().RetireMIDs(k.ctx(), before.UnixMilli(), limit)
		k.ok("retire mids", err)
	}
}

func testRetireMIDs(k *kit) {
	k.openHall(live)
	k.openHall(board)
	silent, watching := draft(board, alice, "op", "op"), draft(live, alice, "watched", "watched")
	silent.Kind, silent.Silent = chat.KindOp, true
	first := k.send(silent)
	k.send(draft(board, alice, "kept", "kept"))
	watched := k.send(watching)
	k.send(draft(live, alice, "last", "last"))
	k.like(likes(bob, "like", 5))
	pinning := named(op(board, alice, chat.OpPin, 2), "pin")
	pinned := k.apply(pinning)
	k.ok("trim", k.chat().Trim(k.ctx(), live, watched.Seq+1, nil))
	snapshot := chat.Snapshot{Conversation: board, Seq: first.Seq, By: alice, Body: []byte(`{}`)}
	_, commit, err := k.chat().PutSnapshot(k.ctx(), snapshot)
	k.durable("snapshot", commit, err)
	outdated, err := k.chat().Outdated(k.ctx(), k.clock.Now().UnixMilli()+1, 10)
	k.ok("outdated", err)
	for _, o := range outdated {
		_, err := k.chat().Compact(k.ctx(), o)
		k.ok("compact", err)
	}
	k.like(likes(bob, "", 1)) // when that is durable, what was removed is gone for good
	k.clock.advance(time.Hour)
	known := func() {
		k.Helper()
		for d, want := range map[*chat.Draft]chat.Message{&silent: first, &watching: watched} {
			a, commit, err := k.chat().Append(k.ctx(), *d)
			k.durable("repeated", commit, err)
			equal(k, "dup", a.Dup, true)
			equal(k, "seq", a.Message.Seq, want.Seq)
			equal(k, "id", a.Message.ID, want.ID)
			equal(k, "ts", a.Message.TS, want.TS)
		}
		equal(k, "like again", k.like(likes(bob, "like", 5)), true)
		again := k.apply(pinning)
		equal(k, "change again", again.Dup, true)
		equal(k, "rev", again.Rev, pinned.Rev)
	}
	known()
	k.retireMIDs(k.clock.Now().Add(-2*time.Hour), 2)
	known()
	k.crash()
	known()
	k.move()
	known()
	k.retireMIDs(k.clock.Now(), 2)
	k.like(likes(bob, "", 1))
	for range 2 {
		equal(k, "one that is there", k.send(draft(board, alice, "kept", "kept")).Seq, first.Seq+1)
		equal(k, "the last one", k.send(draft(live, alice, "last", "last")).Seq, watched.Seq+1)
		k.crash()
	}
	equal(k, "like later", k.like(likes(bob, "like", 5)), false)
	equal(k, "operation later", k.send(silent).Seq, first.Seq+2)
	equal(k, "message later", k.send(watching).Seq, watched.Seq+2)
	equal(k, "change later", k.apply(pinning).Dup, false)
}

func testRetireChanges(k *kit) {
	k.large()
	conv := k.contacts(alice, bob)
	const old = 300 // more than a slice
	for i := range old {
		k.send(draft(conv, alice, "", fmt.Sprint(i)))
		_, _, err := k.chat().ApplyOp(k.ctx(), editing(conv, alice, uint64(i+1), "edited"))
		k.ok("edit", err)
	}
	commit, err := k.chat().Hide(k.ctx(), conv, bob, []uint64{1, 2, 3}, nil)
	k.durable("hide", commit, err)
	k.clock.advance(time.Hour)
	k.send(draft(conv, alice, "", "new"))
	k.apply(reacting(conv, bob, chat.OpReact, 1, "👍")) // of an old one, and not old
	k.apply(editing(conv, alice, old+1, "newer"))
	k.retire(conv, k.clock.Now())
	for range 2 {
		all, rev, err := k.chat().Revisions(k.ctx(), conv, 0, 1000)
		k.ok("changes", err)
		equal(k, "changes", len(all), 2)
		equal(k, "first that is there", all[0].Rev, old+1)
		equal(k, "rev", rev, old+2)
		edits := 0
		for _, e := range k.stream(bob) { // who was away is told that there was something
			if e.Type == chat.EntryEdit && e.Change.Seq <= old {
				edits++
				equal(k, "kind of what was edited", e.Change.Message.Kind, chat.KindGone)
				equal(k, "seq of what was edited", e.Change.Seq, e.Change.Rev)
			}
		}
		equal(k, "edits in the stream", edits, old)
		k.crash()
	}
	head := len(k.stream(bob))
	k.cutStreams(k.clock.Now().Add(-2 * time.Hour))
	equal(k, "a stream that is not old", len(k.stream(bob)), head)
	k.clock.advance(time.Hour)
	k.retire(conv, k.clock.Now())
	equal(k, "next rev", k.apply(reacting(conv, bob, chat.OpReact, k.send(draft(conv, alice, "", "last")).Seq, "👍")).Rev, old+3)
	all, _, err := k.chat().Revisions(k.ctx(), conv, 0, 1000)
	k.ok("changes", err)
	equal(k, "the last one stays", all[0].Rev, old+2)
	k.move()
}

// cutStreams removes what is older than a time from all streams.
func (k *kit) cutStreams(before time.Time) {
	k.Helper()
	for after, more := accounts.Name(""), true; more; {
		last, err := k.chat().RetireStreams(k.ctx(), before.UnixMilli(), after, 1)
		k.ok("retire streams", err)
		after, more = last, last != ""
	}
}

func testRetireStreams(k *kit) {
	conv := k.contacts(alice, bob)
	for i := range 20 {
		k.send(draft(conv, alice, "", fmt.Sprint(i)))
	}
	k.clock.advance(time.Hour)
	k.send(draft(conv, alice, "", "new"))
	head := uint64(len(k.stream(bob)))
	cut := k.cutStreams
	want := func(floor uint64) {
		k.Helper()
		for range 2 {
			page, err := k.chat().Stream(k.ctx(), bob, 0, 100)
			k.ok("stream", err)
			equal(k, "floor", page.Floor, floor)
			equal(k, "head", page.Head, head)
			equal(k, "entries", len(page.Entries), int(head-floor+1))
			k.crash()
		}
	}
	cut(k.clock.Now().Add(-2 * time.Hour))
	want(1)
	cut(k.clock.Now())
	want(head)
	k.clock.advance(time.Hour)
	cut(k.clock.Now())
	want(head) // the last one stays
	k.send(draft(conv, alice, "", "newer"))
	page, err := k.chat().Stream(k.ctx(), bob, head, 10)
	k.ok("stream", err)
	equal(k, "usn after that", page.Entries[0].USN, head+1)
}

func testRetireStreamOfChanges(k *kit) {
	conv := k.contacts(alice, bob)
	k.send(draft(conv, alice, "", "hello"))
	before := len(k.stream(bob))
	k.clock.advance(time.Hour)
	for i := range 10 { // wherever a stream is looked at, there is a change
		k.apply(reacting(conv, alice, []chat.Op{chat.OpReact, chat.OpUnreact}[i%2], 1, "👍"))
	}
	head := len(k.stream(bob))
	cut := func(before time.Time, left int) {
		k.Helper()
		k.cutStreams(before)
		page, err := k.chat().Stream(k.ctx(), bob, 0, 100)
		k.ok("stream", err)
		equal(k, "entries", len(page.Entries), left)
	}
	cut(k.clock.Now().Add(-2*time.Hour), head)
	cut(k.clock.Now(), head-before)
	k.clock.advance(time.Hour)
	cut(k.clock.Now(), 1)
}

func testWritten(k *kit) {
	first := k.contacts(alice, bob)
	k.contacts(alice, carol)
	k.send(draft(first, alice, "", "hello"))
	ts := k.clock.Now().UnixMilli()
	k.clock.advance(time.Hour)
	k.send(draft(first, alice, "", "hello"))
	k.take(group, alice, step(func(r *chat.Room) error {
		r.Owner, r.Created, r.Info.Keep = alice, r.Now, 9
		r.Enter(alice, chat.RoleOwner)
		return nil
	}))
	var all []chat.Written
	for after := chat.Conversation(""); ; {
		page, err := k.chat().Written(k.ctx(), after, 1)
		k.ok("written", err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		after = page[len(page)-1].Conversation
	}
	same(k, "written", all, []chat.Written{
		{Conversation: first, Oldest: ts}, {Conversation: group, Keep: 9, Oldest: k.clock.Now().UnixMilli()},
	})
}
