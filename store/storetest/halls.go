package storetest

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

var hallTests = []test{
	{"likes are summed, those of a mid once", testLikes},
	{"likes that were acknowledged survive a crash", testLikesCrash},
	{"who may not write does not like", testLikesRefused},
	{"what is trimmed is not there any more", testTrim},
	{"messages that are gone leave a gap", testGaps},
	{"a board keeps its newest snapshot", testSnapshot},
	{"operations behind a snapshot are removed", testCompact},
	{"with an operation goes what belongs to it", testCompactChanged},
	{"a room is another one when somebody may not watch it any more", testPartings},
}

const (
	live  chat.Conversation = "l.one"
	board chat.Conversation = "b.one"
)

// openHall makes a room of which only alice is a member; a live room is large.
func (k *kit) openHall(c chat.Conversation) {
	k.Helper()
	k.take(c, alice, func(r *chat.Room) (chat.RoomTold, error) {
		r.Owner, r.Created, r.Info = alice, r.Now, chat.RoomInfo{History: chat.HistoryAll, Post: chat.GroupAll}
		r.Large = c.Kind() == chat.KindLive
		r.Enter(alice, chat.RoleOwner)
		return chat.RoomTold{}, nil
	})
}

func likes(from accounts.Name, mid string, n uint64) chat.Likes {
	return chat.Likes{Conversation: live, From: from, N: n, MID: mid, Fingerprint: [32]byte{byte(n)}}
}

func (k *kit) like(l chat.Likes) (dup bool) {
	k.Helper()
	dup, commit, err := k.chat().Like(k.ctx(), l)
	k.ok("like", err)
	if commit != nil {
		k.ok("commit of a like", commit.Wait(k.ctx()))
	}
	return dup
}

func (k *kit) liked(want uint64) {
	k.Helper()
	got, err := k.chat().Liked(k.ctx(), live)
	k.ok("likes", err)
	equal(k, "likes", got, want)
}

func testLikes(k *kit) {
	k.openHall(live)
	k.liked(0)
	for range 10 {
		equal(k, "without a mid it is new", k.like(likes(bob, "", 3)), false)
	}
	equal(k, "new", k.like(likes(bob, "m", 5)), false)
	equal(k, "repeated", k.like(likes(bob, "m", 5)), true)
	equal(k, "of another one", k.like(likes(carol, "m", 5)), false)
	_, _, err := k.chat().Like(k.ctx(), likes(bob, "m", 6))
	k.is("with other content", err, chat.ErrConflict)
	k.liked(40)
	l := likes(alice, "", 1)
	l.Origin = sessions.Origin{Key: sessions.Key{Account: alice, Client: "phone"}, ID: 5}
	k.save(sessions.State{Key: sessions.Key{Account: alice, Client: "phone"}})
	k.like(l)
	same(k, "received", k.load(sessions.Key{Account: alice, Client: "phone"}).Received, []uint16{5})
	k.reopen()
	k.liked(41)
	equal(k, "repeated after a restart", k.like(likes(bob, "m", 5)), true)
	equal(k, "messages", len(k.messages(live)), 0)
}

func testLikesCrash(k *kit) {
	k.openHall(live)
	var acked, sent atomic.Uint64
	var all sync.WaitGroup
	store := k.store
	for g := range 8 {
		all.Go(func() {
			for i := range k.few(300) {
				n := uint64(1 + i%3)
				sent.Add(n)
				_, commit, err := store.Chat().Like(k.ctx(), likes(accounts.Name(fmt.Sprint("u", g)), "", n))
				if err == nil {
					err = commit.Wait(k.ctx())
				}
				if err != nil {
					return
				}
				acked.Add(n)
			}
		})
	}
	k.eventually("some likes are acknowledged", func() bool { return acked.Load() > 100 })
	least := acked.Load()
	k.harness.Crash(k.t)
	all.Wait()
	k.open()
	got, err := k.chat().Liked(k.ctx(), live)
	k.ok("likes", err)
	if got < least || got > sent.Load() {
		k.Fatalf("%d likes, want %d to %d", got, least, sent.Load())
	}
	k.like(likes(bob, "", 1))
	k.liked(got + 1)
}

func testLikesRefused(k *kit) {
	_, _, err := k.chat().Like(k.ctx(), likes(bob, "", 1))
	k.is("in no room", err, chat.ErrNoConversation)
	k.openHall(live)
	k.take(live, alice, func(r *chat.Room) (chat.RoomTold, error) {
		r.Of(bob).Muted, r.Of(carol).Banned, r.Info.Slow = chat.Forever, chat.Forever, 60
		return chat.RoomTold{}, nil
	}, bob, carol)
	_, _, err = k.chat().Like(k.ctx(), likes(bob, "m", 1))
	k.is("muted", err, chat.ErrMuted)
	_, _, err = k.chat().Like(k.ctx(), likes(carol, "", 1))
	k.is("banned", err, chat.ErrNotMember)
	k.like(likes("dave", "", 1))
	k.like(likes("dave", "", 1))
	k.liked(2)
	d := draft(live, "dave", "", "one")
	k.send(d)
	_, _, err = k.chat().Append(k.ctx(), d)
	k.is("slow mode, also for those who only watch", err, chat.ErrSlow)
	k.take(live, alice, func(r *chat.Room) (chat.RoomTold, error) {
		r.Ended = r.Now
		return chat.RoomTold{}, nil
	})
	_, _, err = k.chat().Like(k.ctx(), likes("dave", "", 1))
	k.is("in one that has ended", err, chat.ErrEnded)
}

func (k *kit) seqs(c chat.Conversation, after, before uint64, limit int) (seqs []uint64) {
	k.Helper()
	page, err := k.chat().Messages(k.ctx(), c, after, before, limit)
	k.ok("messages", err)
	for _, m := range page.Messages {
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

func testTrim(k *kit) {
	k.large()
	k.openHall(live)
	const n = 1000
	var third chat.Message
	for i := range n {
		d := draft(live, alice, fmt.Sprint("m", i), fmt.Sprint(i))
		d.Silent = true
		a, _, err := k.chat().Append(k.ctx(), d)
		k.ok("append", err)
		if i == 3 {
			third = a.Message
			k.clock.advance(time.Second)
		}
	}
	k.ok("trim", k.chat().Trim(k.ctx(), live, 901, []uint64{950, 951, n, n + 7}))
	check := func() {
		k.Helper()
		page, err := k.chat().Messages(k.ctx(), live, 0, 0, n)
		k.ok("messages", err)
		equal(k, "floor", page.Floor, 901)
		equal(k, "head", page.Head, n)
		equal(k, "messages", len(page.Messages), 98)
		same(k, "over a gap, forward", k.seqs(live, 948, 0, 2), []uint64{949, 952})
		same(k, "over a gap, backward", k.seqs(live, 0, 953, 3), []uint64{948, 949, 952})
		same(k, "before the floor", k.seqs(live, 0, 903, 10), []uint64{901, 902})
		same(k, "in a gap", k.seqs(live, 949, 952, 10), nil)
	}
	check()
	k.crash()
	_, err := k.chat().Messages(k.ctx(), live, 0, 0, 1)
	k.ok("messages after a crash", err)
	k.ok("trim again", k.chat().Trim(k.ctx(), live, 901, []uint64{950, 951}))
	k.ok("a lower floor changes nothing", k.chat().Trim(k.ctx(), live, 5, nil))
	check()
	k.reopen()
	check()
	again, commit, err := k.chat().Append(k.ctx(), draft(live, alice, "m3", "3"))
	k.durable("a mid of one that is gone", commit, err)
	equal(k, "dup", again.Dup, true)
	equal(k, "seq", again.Message.Seq, 4)
	equal(k, "id", again.Message.ID, "id-3-m3")
	equal(k, "ts", again.Message.TS, third.TS)
	_, _, err = k.chat().Append(k.ctx(), draft(live, alice, "m3", "other"))
	k.is("another one with a mid of one that is gone", err, chat.ErrConflict)
	equal(k, "all is gone but the last", len(k.seqs(live, 0, 0, 5)), 5)
	k.ok("trim everything", k.chat().Trim(k.ctx(), live, n+50, nil))
	k.reopen()
	equal(k, "the next seq", k.send(draft(live, alice, "", "next")).Seq, n+1)
}

func testGaps(k *kit) {
	k.openHall(board)
	k.take(board, alice, enter(bob), bob)
	var head uint64
	for i := range 10 {
		d := draft(board, alice, "", fmt.Sprint(i))
		if d.Silent = i%2 == 0; d.Silent {
			d.Kind = chat.KindOp
		}
		head = k.send(d).Seq
	}
	var ops []uint64
	all := k.messages(board)
	for _, m := range all {
		if m.Kind == chat.KindOp {
			ops = append(ops, m.Seq)
		}
	}
	before := k.recount(bob, board)
	k.ok("trim", k.chat().Trim(k.ctx(), board, 1, ops))
	for _, seq := range ops {
		k.mark(board, bob, seq, seq)
		unread := uint64(0)
		for _, m := range all {
			if m.Seq > seq && !m.Silent {
				unread++
			}
		}
		got := uint64(0)
		tallies, _ := k.tallies(bob)
		for _, t := range tallies {
			got += t.Unread()
		}
		equal(k, fmt.Sprintf("unread behind %d", seq), got, unread)
	}
	equal(k, "unread before", before.Unread(), 5)
	for _, e := range k.stream(bob) {
		if e.Type == chat.EntryMessage && e.Message.Seq == ops[0] && e.Message.Kind != chat.KindGone {
			k.Fatalf("an entry of one that is gone: %+v", e.Message)
		}
	}
	equal(k, "head", k.seqs(board, head-1, 0, 5)[0], head)
}

func snapshot(by accounts.Name, seq uint64, body string) chat.Snapshot {
	return chat.Snapshot{Conversation: board, Seq: seq, By: by, Body: json.RawMessage(body)}
}

func (k *kit) snapshot(s chat.Snapshot) uint64 {
	k.Helper()
	seq, commit, err := k.chat().PutSnapshot(k.ctx(), s)
	k.ok("snapshot", err)
	if commit != nil {
		k.ok("commit of a snapshot", commit.Wait(k.ctx()))
	}
	return seq
}

func (k *kit) draw(n int) (last uint64) {
	k.Helper()
	for i := range n {
		d := draft(board, alice, "", fmt.Sprint(i))
		d.Kind, d.Silent = chat.KindOp, true
		last = k.send(d).Seq
	}
	return last
}

func testSnapshot(k *kit) {
	_, _, err := k.chat().PutSnapshot(k.ctx(), snapshot(alice, 1, `1`))
	k.is("of no board", err, chat.ErrNoConversation)
	k.openHall(board)
	s, err := k.chat().Snapshot(k.ctx(), board)
	k.ok("none", err)
	equal(k, "none", s.Seq, 0)
	k.draw(5)
	for _, seq := range []uint64{0, 6} {
		_, _, err = k.chat().PutSnapshot(k.ctx(), snapshot(alice, seq, `1`))
		k.is("of what is not there", err, chat.ErrMalformed)
	}
	_, _, err = k.chat().PutSnapshot(k.ctx(), snapshot(bob, 1, `1`))
	k.is("of somebody from outside", err, chat.ErrNotMember)
	equal(k, "the first", k.snapshot(snapshot(alice, 3, `{"a":1}`)), 3)
	equal(k, "an older one", k.snapshot(snapshot(alice, 2, `2`)), 3)
	equal(k, "the same", k.snapshot(snapshot(alice, 3, `3`)), 3)
	k.crash()
	s, err = k.chat().Snapshot(k.ctx(), board)
	k.ok("snapshot", err)
	equal(k, "body", string(s.Body), `{"a":1}`)
	equal(k, "by", s.By, alice)
	equal(k, "a newer one", k.snapshot(snapshot(alice, 5, `5`)), 5)
}

func testCompact(k *kit) {
	k.openHall(board)
	k.draw(300)
	k.send(draft(board, alice, "", "words"))
	k.draw(300)
	k.snapshot(snapshot(alice, 500, `1`))
	k.clock.advance(time.Minute)
	k.snapshot(snapshot(alice, 601, `2`))
	outdated := func(want ...uint64) (all []chat.Snapshot) {
		k.Helper()
		all, err := k.chat().Outdated(k.ctx(), k.clock.Now().Add(time.Second).UnixMilli(), 10)
		k.ok("outdated", err)
		var got []uint64
		for _, o := range all {
			got = append(got, o.Seq)
		}
		same(k, "outdated", got, want)
		return all
	}
	none, err := k.chat().Outdated(k.ctx(), k.clock.Now().Add(-2*time.Minute).UnixMilli(), 10)
	k.ok("outdated", err)
	equal(k, "none is old enough", len(none), 0)
	all := outdated(500, 601)
	slices := 0
	for more := true; more; slices++ {
		more, err = k.chat().Compact(k.ctx(), all[0])
		k.ok("compact", err)
	}
	if slices < 2 {
		k.Fatalf("compacted in %d slices, want some", slices)
	}
	outdated(601)
	page, err := k.chat().Messages(k.ctx(), board, 0, 0, 2)
	k.ok("messages", err)
	equal(k, "floor", page.Floor, 301)
	same(k, "what is left", k.seqs(board, 0, 0, 2), []uint64{301, 501})
	k.reopen()
	for more := true; more; {
		more, err = k.chat().Compact(k.ctx(), all[1])
		k.ok("compact", err)
	}
	outdated()
	same(k, "what is left, the last one at any rate", k.seqs(board, 0, 0, 9), []uint64{301, 601})
	k.reopen()
	same(k, "what is left after a restart", k.seqs(board, 0, 0, 9), []uint64{301, 601})
	equal(k, "the next seq", k.draw(1), 602)
}

func testCompactChanged(k *kit) {
	k.openHall(board)
	k.draw(3)
	pins := func(c chat.Conversation, want ...uint64) {
		k.Helper()
		got, err := k.chat().Pins(k.ctx(), c)
		k.ok("pins", err)
		same(k, "pins", got, want)
	}
	for seq := range uint64(2) {
		k.apply(op(board, alice, chat.OpPin, seq+1))
	}
	pins(board, 1, 2)
	k.snapshot(snapshot(alice, 1, `1`))
	k.crash()
	for more := true; more; {
		var err error
		more, err = k.chat().Compact(k.ctx(), chat.Snapshot{Conversation: board, Seq: 1, TS: k.clock.Now().UnixMilli()})
		k.ok("compact", err)
	}
	pins(board, 2)
	k.apply(op(board, alice, chat.OpPin, 3)) // two are allowed
	pins(board, 2, 3)

	k.openHall(live)
	for range 3 {
		d := draft(live, alice, "", "words")
		d.Silent = true
		k.send(d)
	}
	k.apply(op(live, alice, chat.OpPin, 1))
	k.crash()
	k.ok("trim", k.chat().Trim(k.ctx(), live, 2, []uint64{1}))
	pins(live)
	k.crash()
	pins(live)
}

func testPartings(k *kit) {
	k.openHall(live)
	last := uint64(0)
	change := func(what string, parts bool, do func(r *chat.Room)) {
		k.Helper()
		changed := k.take(live, alice, func(r *chat.Room) (chat.RoomTold, error) {
			do(r)
			return chat.RoomTold{}, nil
		}, bob)
		equal(k, what, changed.Room.Partings > last, parts)
		last = changed.Room.Partings
		r, err := k.chat().Room(k.ctx(), live)
		k.ok("room", err)
		equal(k, "partings", r.Partings, last)
	}
	change("a title", false, func(r *chat.Room) { r.Info.Title = "x" })
	change("a ban of somebody who only watches", true, func(r *chat.Room) { r.Of(bob).Banned = chat.Forever })
	change("and its end", false, func(r *chat.Room) { r.Of(bob).Banned = 0 })
	k.reopen()
	change("the end of the room", true, func(r *chat.Room) { r.Ended = r.Now })
}
