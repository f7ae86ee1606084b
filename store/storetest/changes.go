package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

var changeTests = []test{
	{"an edit is seen everywhere, and what was said before is kept", testEdit},
	{"what is recalled is nowhere, and counts no more", testRecall},
	{"what is wiped is pinned no more, and counts no more", testWipe},
	{"one's own message is recalled by its mid", testRecallByMID},
	{"reactions are counted, each once", testReactions},
	{"messages are pinned, and not for ever", testPins},
	{"a repeated mid changes nothing, and another change is a conflict", testOpMIDs},
	{"what is refused or changes nothing writes nothing", testOpNothing},
	{"who has left changes nothing, and is told nothing", testOpOutside},
	{"who has left reads what messages said then", testOpAfterLeaving},
	{"a change takes its origin along", testOpOrigin},
	{"what one deletes for oneself is there for others", testHideForOneself},
	{"a recalled message that was hidden is gone once", testHiddenAndRecalled},
	{"a conversation is cleared up to now", testClear},
	{"a ttl ends to the millisecond, also if nobody comes round", testExpiry},
	{"many messages expire in slices", testExpirySlices},
	{"changes made at once have their places", testConcurrentOps},
	{"changes that wait for each other's mids end", testOpsAndMIDs},
	{"messages, changed in any way, are as an oracle says", testChangeModel},
}

func said(words string) json.RawMessage {
	body, err := json.Marshal(map[string]string{"text": words})
	if err != nil {
		panic(err)
	}
	return body
}

// op gives a change of a message.
func op(c chat.Conversation, by accounts.Name, what chat.Op, seq uint64) chat.OpDraft {
	return chat.OpDraft{Conversation: c, By: by, Op: what, Seq: seq, Bounds: chat.OpBounds{
		EditFor: time.Hour, RecallFor: time.Minute, Edits: 3, Reactions: 2, Emojis: 3, Pins: 2,
	}}
}

func editing(c chat.Conversation, by accounts.Name, seq uint64, words string) chat.OpDraft {
	d := op(c, by, chat.OpEdit, seq)
	d.Body = said(words)
	return d
}

func reacting(c chat.Conversation, by accounts.Name, what chat.Op, seq uint64, emoji string) chat.OpDraft {
	d := op(c, by, what, seq)
	d.Emoji = emoji
	return d
}

// named gives a change a mid.
func named(d chat.OpDraft, mid string) chat.OpDraft {
	d.MID = mid
	copy(d.Fingerprint[:], fmt.Sprint(d.Op, d.Seq, d.Emoji, string(d.Body)))
	return d
}

// apply makes a change and waits for it.
func (k *kit) apply(d chat.OpDraft) chat.Changed {
	k.Helper()
	changed, commit, err := k.chat().ApplyOp(k.ctx(), d)
	k.durable(string(d.Op), commit, err)
	return changed
}

// refused checks that a change is not made.
func (k *kit) refused(d chat.OpDraft, want error) {
	k.Helper()
	_, _, err := k.chat().ApplyOp(k.ctx(), d)
	k.is(string(d.Op), err, want)
}

// look gives a message as somebody sees it.
func (k *kit) look(who accounts.Name, c chat.Conversation, seq uint64) chat.Message {
	k.Helper()
	page, err := k.chat().MessagesFor(k.ctx(), who, c, seq-1, seq+1, 1)
	k.ok("message", err)
	if len(page.Messages) == 0 {
		return chat.Message{}
	}
	return page.Messages[0]
}

// last gives the last entry of a stream.
func (k *kit) last(who accounts.Name) chat.Entry {
	k.Helper()
	stream := k.stream(who)
	return stream[len(stream)-1]
}

func testEdit(k *kit) {
	conv := k.filled(2)
	k.clock.advance(time.Minute)
	first := k.clock.Now().UnixMilli()
	done := k.apply(editing(conv, alice, 1, "better"))
	equal(k, "rev", done.Rev, 1)
	same(k, "told", len(done.Told), 2)
	k.clock.advance(time.Minute)
	k.apply(editing(conv, alice, 1, "best"))
	k.crash()
	m := k.look(bob, conv, 1)
	same(k, "body", m.Body, said("best"))
	equal(k, "rev of the message", m.Rev, 2)
	equal(k, "edited", m.Edited, first+60_000)
	edits, err := k.chat().Edits(k.ctx(), conv, 1)
	k.ok("edits", err)
	same(k, "edits", edits, []chat.Edit{{Rev: 0, TS: m.TS, Body: said("0")}, {Rev: 1, TS: first, Body: said("better")}})
	stream := k.stream(bob)
	var entries []chat.Entry
	for _, e := range stream {
		if e.Conversation == conv && e.Type != chat.EntryContact {
			entries = append(entries, e)
		}
	}
	equal(k, "entries", len(entries), 4)
	same(k, "the message in the stream", entries[0].Message.Body, said("best"))
	equal(k, "type", entries[2].Type, chat.EntryEdit)
	equal(k, "rev of the entry", entries[2].Change.Rev, 1)
	same(k, "the edit in the stream", entries[2].Change.Message.Body, said("best"))
	equal(k, "time of the entry", entries[2].TS, first)
	equal(k, "unread", k.unread(bob), 2)
	k.refused(editing(conv, bob, 1, "mine"), chat.ErrNoRight)
	k.apply(editing(conv, alice, 1, "and on"))
	k.refused(editing(conv, alice, 1, "too often"), chat.ErrQuota)
	k.clock.advance(time.Hour)
	k.refused(editing(conv, alice, 2, "late"), chat.ErrLate)
	k.audit(alice, bob)
}

func testRecall(k *kit) {
	conv := k.filled(3)
	k.apply(editing(conv, alice, 2, "better"))
	k.apply(reacting(conv, bob, chat.OpReact, 2, "+"))
	k.apply(op(conv, bob, chat.OpPin, 2))
	equal(k, "unread", k.unread(bob), 3)
	k.refused(op(conv, bob, chat.OpRecall, 2), chat.ErrNoRight)
	done := k.apply(op(conv, alice, chat.OpRecall, 2))
	equal(k, "unread after that", k.unread(bob), 2)
	equal(k, "again", k.apply(op(conv, alice, chat.OpRecall, 2)).Rev, 0)
	k.crash()
	equal(k, "unread after a crash", k.unread(bob), 2)
	m := k.look(bob, conv, 2)
	same(k, "what is left", m, chat.Message{
		Conversation: conv, Seq: 2, ID: m.ID, MID: m.MID, From: alice, TS: m.TS, Kind: chat.KindGone, N: 2, Own: 2, Rev: done.Rev,
		Why: chat.WhyRecalled,
	})
	e := k.last(bob)
	equal(k, "type", e.Type, chat.EntryRecall)
	equal(k, "by", e.Change.By, alice)
	equal(k, "seq", e.Change.Seq, 2)
	_, err := k.chat().Edits(k.ctx(), conv, 2)
	k.is("edits", err, chat.ErrNoMessage)
	pins, err := k.chat().Pins(k.ctx(), conv)
	k.ok("pins", err)
	equal(k, "pins", len(pins), 0)
	k.refused(reacting(conv, bob, chat.OpReact, 2, "+"), chat.ErrNoMessage)
	k.refused(editing(conv, alice, 2, "x"), chat.ErrNoMessage)
	k.mark(conv, bob, 0, 2)
	equal(k, "unread of what is read", k.unread(bob), 1)
	k.clock.advance(2 * time.Minute)
	k.refused(op(conv, alice, chat.OpRecall, 3), chat.ErrLate)
	k.refused(op(conv, alice, chat.OpRecall, 9), chat.ErrNoMessage)
}

func testWipe(k *kit) {
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob), bob)
	k.take(crowd, alice, create(alice))
	k.take(crowd, alice, enter(bob, carol, "zoe"), bob, carol, "zoe")
	for _, c := range []chat.Conversation{k.contacts(alice, bob), group, crowd} {
		before := k.unread(bob)
		var seqs []uint64
		for _, from := range []accounts.Name{alice, bob, alice, alice} {
			d := draft(c, from, "", "words")
			d.At = []accounts.Name{bob}
			seqs = append(seqs, k.send(d).Seq)
		}
		k.apply(op(c, alice, chat.OpPin, seqs[0]))
		k.apply(op(c, alice, chat.OpPin, seqs[1]))
		k.apply(editing(c, alice, seqs[2], "others"))
		k.apply(op(c, alice, chat.OpRecall, seqs[3]))
		equal(k, "unread", k.unread(bob)-before, 2)
		rev := k.look(bob, c, seqs[2]).Rev
		heard := len(k.stream(bob))
		for range 2 { // the second time nothing is left to be done
			k.ok("wipe", k.chat().Wipe(k.ctx(), c, alice))
			equal(k, "unread of what is wiped", k.unread(bob), before)
			pins, err := k.chat().Pins(k.ctx(), c)
			k.ok("pins", err)
			same(k, "pins", pins, seqs[1:2])
			m := k.look(bob, c, seqs[2])
			same(k, "what is left", []any{m.Kind, m.Why, m.Rev, len(m.Body)}, []any{chat.KindGone, chat.WhyDeleted, rev, 0})
			same(k, "recalled before", k.look(bob, c, seqs[3]).Why, chat.WhyRecalled)
			equal(k, "mentions", mentions(k, bob, c), 0)
			equal(k, "entries", len(k.stream(bob)), heard)
			k.crash()
		}
		same(k, "what another one says", k.look(alice, c, seqs[1]).Kind, "text")
	}
}

// mentions gives how often somebody is mentioned in what he has not read of a conversation.
func mentions(k *kit, who accounts.Name, c chat.Conversation) (n uint64) {
	k.Helper()
	tallies, _ := k.tallies(who)
	for _, t := range tallies {
		if t.Conversation == c {
			n += t.Mention
		}
	}
	return n
}

func testRecallByMID(k *kit) {
	conv := k.contacts(alice, bob)
	k.send(draft(conv, alice, "m1", "one"))
	k.send(draft(conv, bob, "m2", "two"))
	d := op(conv, alice, chat.OpRecall, 0)
	d.Target = "m2"
	k.refused(d, chat.ErrNoMessage)
	d.Target = "m1"
	equal(k, "seq", k.apply(d).Seq, 1)
	equal(k, "why", k.look(bob, conv, 1).Why, chat.WhyRecalled)
	equal(k, "rev of a repetition", k.apply(d).Rev, 0)
}

func reaction(emoji string, n uint64, me bool) chat.Reaction {
	return chat.Reaction{Emoji: emoji, N: n, Me: me}
}

func testReactions(k *kit) {
	conv := k.filled(1)
	for _, r := range []struct {
		by    accounts.Name
		emoji string
		rev   uint64
	}{{alice, "a", 1}, {bob, "a", 2}, {bob, "a", 0}, {bob, "b\x00", 3}} {
		equal(k, fmt.Sprintf("rev of %+v", r), k.apply(reacting(conv, r.by, chat.OpReact, 1, r.emoji)).Rev, r.rev)
	}
	k.refused(reacting(conv, bob, chat.OpReact, 1, "c"), chat.ErrQuota)
	k.crash()
	same(k, "seen by bob", k.look(bob, conv, 1).Reactions, []chat.Reaction{reaction("a", 2, true), reaction("b\x00", 1, true)})
	same(k, "seen by alice", k.look(alice, conv, 1).Reactions,
		[]chat.Reaction{reaction("a", 2, true), reaction("b\x00", 1, false)})
	e := k.last(alice)
	equal(k, "type", e.Type, chat.EntryReact)
	equal(k, "emoji", e.Change.Emoji, "b\x00")
	k.apply(reacting(conv, bob, chat.OpUnreact, 1, "b\x00"))
	equal(k, "rev of nothing", k.apply(reacting(conv, bob, chat.OpUnreact, 1, "b\x00")).Rev, 0)
	k.apply(reacting(conv, bob, chat.OpUnreact, 1, "a"))
	same(k, "what is left", k.look(bob, conv, 1).Reactions, []chat.Reaction{reaction("a", 1, false)})
	for _, emoji := range []string{"b", "c"} {
		k.apply(reacting(conv, bob, chat.OpReact, 1, emoji))
	}
	k.refused(reacting(conv, alice, chat.OpReact, 1, "d"), chat.ErrQuota)
}

func testPins(k *kit) {
	conv := k.filled(3)
	k.apply(op(conv, bob, chat.OpPin, 3))
	k.apply(op(conv, alice, chat.OpPin, 1))
	equal(k, "again", k.apply(op(conv, alice, chat.OpPin, 3)).Rev, 0)
	k.refused(op(conv, alice, chat.OpPin, 2), chat.ErrQuota)
	k.crash()
	pins, err := k.chat().Pins(k.ctx(), conv)
	k.ok("pins", err)
	same(k, "pins", pins, []uint64{1, 3})
	equal(k, "pinned", k.look(bob, conv, 3).Pinned, true)
	equal(k, "not pinned", k.look(bob, conv, 2).Pinned, false)
	k.apply(op(conv, bob, chat.OpUnpin, 1))
	k.apply(op(conv, alice, chat.OpPin, 2))
	equal(k, "rev of nothing", k.apply(op(conv, bob, chat.OpUnpin, 1)).Rev, 0)
}

func testOpMIDs(k *kit) {
	conv := k.filled(1)
	k.send(draft(conv, alice, "m1", "one"))
	d := named(editing(conv, alice, 1, "better"), "e1")
	done := k.apply(d)
	k.apply(op(conv, alice, chat.OpRecall, 1))
	for range 2 {
		again := k.apply(d)
		equal(k, "dup", again.Dup, true)
		equal(k, "rev", again.Rev, done.Rev)
		equal(k, "seq", again.Seq, 1)
		equal(k, "time", again.TS, done.TS)
		k.refused(named(editing(conv, alice, 1, "other"), "e1"), chat.ErrConflict)
		k.refused(named(editing(conv, alice, 2, "other"), "m1"), chat.ErrConflict)
		_, _, err := k.chat().Append(k.ctx(), draft(conv, alice, "e1", "a message"))
		k.is("a message with the mid of a change", err, chat.ErrConflict)
		k.crash()
	}
	pin := named(op(conv, bob, chat.OpPin, 2), "p1")
	k.apply(op(conv, alice, chat.OpPin, 2))
	equal(k, "rev of nothing", k.apply(pin).Rev, 0)
	k.apply(op(conv, alice, chat.OpUnpin, 2))
	k.crash()
	again := k.apply(pin)
	equal(k, "dup of nothing", again.Dup, true)
	equal(k, "pinned", k.look(bob, conv, 2).Pinned, false)
	equal(k, "why", k.look(bob, conv, 1).Why, chat.WhyRecalled)
}

func testOpNothing(k *kit) {
	conv := k.filled(1)
	before := len(k.stream(bob))
	equal(k, "an edit that says the same", k.apply(editing(conv, alice, 1, "0")).Rev, 0)
	k.refused(op(conv, alice, chat.OpPin, 2), chat.ErrNoMessage)
	k.refused(op(conv, carol, chat.OpPin, 1), chat.ErrNotMember)
	k.refused(op(chat.Direct(alice, carol), alice, chat.OpPin, 1), chat.ErrNoConversation)
	k.refused(op("g.none", alice, chat.OpPin, 1), chat.ErrNoConversation)
	revisions, rev, err := k.chat().Revisions(k.ctx(), conv, 0, 10)
	k.ok("changes", err)
	equal(k, "changes", len(revisions), 0)
	equal(k, "rev", rev, 0)
	equal(k, "entries", len(k.stream(bob)), before)
	_, commit, err := k.chat().Change(k.ctx(), chat.ToBlock(bob, alice))
	k.durable("block", commit, err)
	k.refused(reacting(conv, alice, chat.OpReact, 1, "+"), chat.ErrBlocked)
	k.refused(editing(conv, alice, 1, "hear me"), chat.ErrBlocked)
	equal(k, "what one has said, one may take back", k.apply(op(conv, alice, chat.OpRecall, 1)).Rev, 1)
}

func testOpOutside(k *kit) {
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob), bob)
	k.send(draft(group, bob, "", "one"))
	seq := uint64(3)
	k.refused(op(group, bob, chat.OpPin, seq), chat.ErrNoRight)
	k.refused(editing(group, bob, 2, "a line"), chat.ErrNoRight)
	k.refused(reacting(group, bob, chat.OpReact, 1, "+"), chat.ErrNoMessage)
	k.take(group, alice, exit(bob), bob)
	before := len(k.stream(bob))
	k.refused(op(group, bob, chat.OpRecall, seq), chat.ErrNotMember)
	k.apply(op(group, alice, chat.OpPin, seq))
	done := k.apply(op(group, alice, chat.OpRecall, seq))
	same(k, "told", done.Told, []accounts.Name{alice})
	equal(k, "entries of bob", len(k.stream(bob)), before)
	k.take(group, alice, step(func(r *chat.Room) error { r.Ended = r.Now; return nil }))
	k.refused(op(group, alice, chat.OpRecall, seq), chat.ErrEnded)
}

func testOpAfterLeaving(k *kit) {
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob), bob)
	k.send(draft(group, alice, "", "one"))
	k.send(draft(group, alice, "", "two"))
	k.clock.advance(time.Second)
	k.apply(editing(group, alice, 3, "while bob was here"))
	k.clock.advance(time.Second)
	k.take(group, alice, exit(bob), bob)
	k.apply(reacting(group, alice, chat.OpReact, 3, "👍"))
	k.apply(op(group, alice, chat.OpPin, 3))
	k.apply(editing(group, alice, 3, "secret"))
	k.apply(editing(group, alice, 4, "secret"))
	k.crash()
	want := map[uint64]json.RawMessage{3: said("while bob was here"), 4: said("two")}
	for seq, body := range want {
		same(k, "body in history", k.look(bob, group, seq).Body, body)
		same(k, "body for a member", k.look(alice, group, seq).Body, said("secret"))
	}
	if m := k.look(bob, group, 3); m.Pinned || len(m.Reactions) > 0 {
		k.Errorf("bob is shown what came after he had left: %+v", m)
	}
	for _, e := range k.stream(bob) {
		if body := want[e.Message.Seq]; body != nil {
			same(k, "body in the stream", e.Message.Body, body)
		}
	}
}

func testOpOrigin(k *kit) {
	conv := k.filled(1)
	key := sessions.Key{Account: bob, Client: "phone"}
	_, err := k.sessions().Save(k.ctx(), sessions.State{Key: key})
	k.ok("save", err)
	d := op(conv, bob, chat.OpPin, 1)
	d.Origin = sessions.Origin{Key: key, ID: 7}
	k.apply(d)
	commit, err := k.chat().Hide(k.ctx(), conv, bob, []uint64{1}, sessions.Origin{Key: key, ID: 8})
	k.durable("hide", commit, err)
	k.crash()
	state, err := k.sessions().Load(k.ctx(), key)
	k.ok("load", err)
	same(k, "received", len(state.Received), 2)
}

func (k *kit) hide(c chat.Conversation, who accounts.Name, seqs ...uint64) {
	k.Helper()
	commit, err := k.chat().Hide(k.ctx(), c, who, seqs, nil)
	k.durable("hide", commit, err)
}

func (k *kit) clear(c chat.Conversation, who accounts.Name) uint64 {
	k.Helper()
	upTo, commit, err := k.chat().Clear(k.ctx(), c, who, nil)
	k.durable("clear", commit, err)
	return upTo
}

// shownSeqs gives those that somebody sees, less than 0 if he has hidden them.
func (k *kit) shownSeqs(who accounts.Name, c chat.Conversation, before uint64, limit int) (out []int) {
	k.Helper()
	page, err := k.chat().MessagesFor(k.ctx(), who, c, 0, before, limit)
	k.ok("messages", err)
	for _, m := range page.Messages {
		seq := int(m.Seq)
		if m.Kind == chat.KindGone && m.Why == chat.WhyHidden && len(m.Body) == 0 && !m.Pinned && m.Reactions == nil {
			seq = -seq
		}
		out = append(out, seq)
	}
	return out
}

func testHideForOneself(k *kit) {
	conv := k.filled(6)
	k.mark(conv, bob, 0, 1)
	k.apply(op(conv, bob, chat.OpPin, 3))
	k.hide(conv, bob, 1, 3, 4, 99)
	equal(k, "unread", k.unread(bob), 3)
	e := k.last(bob)
	equal(k, "type", e.Type, chat.EntryHide)
	same(k, "hidden", e.Hidden.Seqs, []uint64{1, 3, 4})
	before := len(k.stream(bob))
	k.hide(conv, bob, 3)
	equal(k, "entries after a repetition", len(k.stream(bob)), before)
	for range 2 {
		same(k, "forwards", k.shownSeqs(bob, conv, 0, 2), []int{-1, 2})
		same(k, "backwards", k.shownSeqs(bob, conv, 6, 2), []int{-4, 5})
		same(k, "all", k.shownSeqs(bob, conv, 0, 10), []int{-1, 2, -3, -4, 5, 6})
		same(k, "seen by alice", k.shownSeqs(alice, conv, 0, 10), []int{1, 2, 3, 4, 5, 6})
		equal(k, "unread", k.unread(bob), 3)
		for seq, want := range map[uint64]bool{2: false, 3: true, 5: false} {
			got, err := k.chat().Hidden(k.ctx(), conv, seq, []accounts.Name{alice, bob, carol})
			k.ok("hidden", err)
			same(k, fmt.Sprint("who has hidden ", seq), got, []bool{false, want, false})
		}
		k.crash()
	}
	for _, e := range k.stream(bob) {
		if e.Type == chat.EntryMessage && e.Message.Seq == 3 {
			equal(k, "why, in the stream", e.Message.Why, chat.WhyHidden)
			equal(k, "body, in the stream", len(e.Message.Body), 0)
		}
	}
	k.hide(conv, bob, 6)
	list, _, err := k.chat().Conversations(k.ctx(), bob, chat.ListQuery{Limit: 10})
	k.ok("conversations", err)
	equal(k, "kind of the last message", list[0].Last.Kind, chat.KindGone)
	equal(k, "unread in the list", list[0].Tally.Unread(), 2)
	k.mark(conv, bob, 0, 5)
	equal(k, "unread when all is read", k.unread(bob), 0)
	commit, err := k.chat().Hide(k.ctx(), conv, carol, []uint64{1}, nil)
	k.is(fmt.Sprint("hide from outside", commit), err, chat.ErrNotMember)
}

func testHiddenAndRecalled(k *kit) {
	conv := k.filled(4)
	k.hide(conv, bob, 2)
	k.apply(op(conv, alice, chat.OpRecall, 2))
	k.apply(op(conv, alice, chat.OpRecall, 3))
	k.hide(conv, bob, 3)
	for range 2 {
		equal(k, "unread", k.unread(bob), 2)
		k.crash()
	}
	k.clear(conv, bob)
	equal(k, "unread when all is cleared", k.unread(bob), 0)
	k.apply(op(conv, alice, chat.OpRecall, 4))
	equal(k, "unread", k.unread(bob), 0)
	k.send(draft(conv, alice, "", "new"))
	for range 2 {
		equal(k, "unread of what is new", k.unread(bob), 1)
		k.crash()
	}
}

func testClear(k *kit) {
	conv := k.filled(3)
	k.hide(conv, bob, 2)
	equal(k, "cleared up to", k.clear(conv, bob), 3)
	e := k.last(bob)
	equal(k, "type", e.Type, chat.EntryHide)
	equal(k, "up to", e.Hidden.UpTo, 3)
	before := len(k.stream(bob))
	equal(k, "cleared again", k.clear(conv, bob), 3)
	equal(k, "entries", len(k.stream(bob)), before)
	k.send(draft(conv, alice, "", "new"))
	for range 2 {
		same(k, "seen by bob", k.shownSeqs(bob, conv, 0, 10), []int{4})
		same(k, "seen by bob, backwards", k.shownSeqs(bob, conv, 9, 10), []int{4})
		same(k, "seen by alice", k.shownSeqs(alice, conv, 0, 10), []int{1, 2, 3, 4})
		equal(k, "unread", k.unread(bob), 1)
		equal(k, "marks", k.marks(conv, bob), chat.Marks{})
		k.crash()
	}
	k.mark(conv, bob, 0, 2)
	equal(k, "unread after reading what is cleared", k.unread(bob), 1)
	k.mark(conv, bob, 0, 4)
	equal(k, "unread after reading all", k.unread(bob), 0)
}

// expire has all that is over taken away, in slices.
func (k *kit) expire(limit int) (told []accounts.Name) {
	k.Helper()
	for {
		some, err := k.chat().Expire(k.ctx(), limit)
		k.ok("expire", err)
		if len(some.Changes) > 0 {
			k.ok("wait for what has expired", some.Commit.Wait(k.ctx()))
		}
		for _, r := range some.Changes {
			list, _, err := k.chat().Revisions(k.ctx(), r.Conversation, r.Rev-1, 1)
			k.ok("changes", err)
			same(k, "what has expired", list, []chat.Revision{r})
		}
		told = append(told, some.Told...)
		if !some.More {
			return told
		}
	}
}

func testExpiry(k *kit) {
	conv := k.contacts(alice, bob)
	d := draft(conv, alice, "", "soon over")
	d.TTL = 10
	k.send(d)
	k.send(draft(conv, alice, "", "for ever"))
	k.apply(reacting(conv, bob, chat.OpReact, 1, "+"))
	k.clock.advance(10*time.Second - time.Millisecond)
	equal(k, "told too early", len(k.expire(10)), 0)
	equal(k, "kind", k.look(bob, conv, 1).Kind, "text")
	k.clock.advance(time.Millisecond)
	for range 2 {
		m := k.look(bob, conv, 1)
		equal(k, "kind in history", m.Kind, chat.KindGone)
		equal(k, "why in history", m.Why, chat.WhyExpired)
		equal(k, "body in history", len(m.Body), 0)
		equal(k, "reactions in history", len(m.Reactions), 0)
		for _, e := range k.stream(bob) {
			if e.Type == chat.EntryMessage && e.Message.Seq == 1 {
				equal(k, "kind in the stream", e.Message.Kind, chat.KindGone)
			}
		}
		equal(k, "kind by itself", k.messages(conv)[0].Kind, chat.KindGone)
		k.refused(editing(conv, alice, 1, "not yet"), chat.ErrNoMessage)
		k.crash()
	}
	equal(k, "told", len(k.expire(10)), 2)
	for range 2 {
		equal(k, "unread", k.unread(bob), 1)
		equal(k, "why", k.look(bob, conv, 1).Why, chat.WhyExpired)
		e := k.last(bob)
		equal(k, "type", e.Type, chat.EntryRecall)
		equal(k, "why in the entry", e.Change.Why, chat.WhyExpired)
		equal(k, "by", e.Change.By, "")
		k.crash()
		equal(k, "told again", len(k.expire(10)), 0)
	}
}

func testExpirySlices(k *kit) {
	var convs []chat.Conversation
	for i := range 3 {
		convs = append(convs, k.contacts(alice, user(i)))
	}
	for i := range 12 {
		d := draft(convs[i%3], alice, "", fmt.Sprint(i))
		d.TTL = int64(1 + i/6)
		k.send(d)
	}
	k.apply(op(convs[0], alice, chat.OpRecall, 1))
	k.clock.advance(time.Second)
	k.expire(2)
	for i := range 3 {
		equal(k, "unread", k.unread(user(i)), 2)
	}
	k.crash()
	k.clock.advance(time.Second)
	k.expire(5)
	for i, c := range convs {
		equal(k, "unread", k.unread(user(i)), 0)
		revisions, _, err := k.chat().Revisions(k.ctx(), c, 0, 10)
		k.ok("changes", err)
		equal(k, "changes", len(revisions), 4)
	}
}

// A recall by mid waits for the change that is claiming that mid, which waits for its turn: nobody has the turn then.
func testOpsAndMIDs(k *kit) {
	conv := k.filled(1)
	ctx, cancel := context.WithTimeout(k.ctx(), 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i := range k.few(300) {
		mid := fmt.Sprint("m", i)
		recall := op(conv, alice, chat.OpRecall, 0)
		recall.Target = mid
		pin := []chat.Op{chat.OpPin, chat.OpUnpin}[i%2]
		for _, d := range []chat.OpDraft{recall, named(op(conv, alice, pin, 1), mid), reacting(conv, bob, chat.OpReact, 1, "👍")} {
			all.Go(func() {
				if _, _, err := k.chat().ApplyOp(ctx, d); err != nil && !errors.Is(err, chat.ErrNoMessage) {
					k.Errorf("%s %s%s: %v", d.Op, d.MID, d.Target, err)
				}
			})
		}
	}
	all.Wait()
}

func testConcurrentOps(k *kit) {
	conv := k.filled(4)
	rounds := max(k.few(20), 5)
	each(4, func(g int) {
		who := []accounts.Name{alice, bob}[g%2]
		for n := range rounds {
			seq := uint64(n%4 + 1)
			what := []chat.Op{chat.OpReact, chat.OpUnreact}[n/4%2]
			d := reacting(conv, who, what, seq, []string{"a", "b"}[g/2])
			if g == 0 && n == rounds-1 {
				d = op(conv, alice, chat.OpRecall, 4)
			}
			_, commit, err := k.chat().ApplyOp(k.ctx(), d)
			if err == nil && commit != nil && (n%5 == 0 || n == rounds-1) {
				err = commit.Wait(k.ctx())
			}
			if err != nil && seq != 4 {
				k.Errorf("%s: %v", d.Op, err)
			}
		}
	})
	k.crash()
	revisions, rev, err := k.chat().Revisions(k.ctx(), conv, 0, 1000)
	k.ok("changes", err)
	equal(k, "rev", rev, uint64(len(revisions)))
	var lists []string
	for _, who := range []accounts.Name{alice, bob} {
		var list []uint64
		for _, e := range k.stream(who) {
			if e.Change.Rev != 0 {
				list = append(list, e.Change.Rev)
				equal(k, "rev in the stream", e.Change.Rev, uint64(len(list)))
			}
		}
		lists = append(lists, fmt.Sprint(list))
	}
	equal(k, "changes in both streams", lists[0], lists[1])
	counted := map[string]int{}
	for _, r := range revisions {
		switch key := fmt.Sprint(r.Seq, r.Emoji); r.Op {
		case chat.OpReact:
			counted[key]++
		case chat.OpUnreact:
			counted[key]--
		}
	}
	for seq := uint64(1); seq <= 3; seq++ {
		for _, r := range k.look(bob, conv, seq).Reactions {
			equal(k, "reactions", int(r.N), counted[fmt.Sprint(seq, r.Emoji)])
		}
	}
	equal(k, "unread", k.unread(bob), 3)
}
