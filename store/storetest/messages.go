package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

var messageTests = []test{
	{"a message comes back as it was sent", testMessage},
	{"concurrent senders leave no gaps", testConcurrentSenders},
	{"a repeated mid gives the first message", testRepeated},
	{"a repeated mid is found after a crash", testRepeatedAfterCrash},
	{"racing duplicates become one message", testRacingDuplicates},
	{"the same mid with other content is a conflict", testConflict},
	{"a mid belongs to its sender and conversation", testMIDScope},
	{"without a mid nothing is compared", testNoMID},
	{"only members of a conversation append", testStrangersAppend},
	{"silent messages do not count", testSilent},
	{"time does not go back", testClockGoesBack},
	{"an origin is stored with its message", testOrigin},
	{"a cancelled call decides nothing halfway", testCancelled},
}

func decodeText(k *kit, m chat.Message) string {
	k.Helper()
	var body struct{ Text string }
	k.ok("body", json.Unmarshal(m.Body, &body))
	return body.Text
}

func testMessage(k *kit) {
	conv := k.contacts(alice, bob)
	d := draft(conv, alice, "mid\x00with anything \xff", "hello")
	d.Kind, d.Re, d.At, d.TTL, d.Fallback = "x.poll", 7, []accounts.Name{bob, carol}, 60, "a poll"
	d.Body = json.RawMessage(`{"a":[1,2.5e300,null,"\u0000"]}`)
	got := k.send(d)
	want := chat.Message{
		Conversation: conv, Seq: 1, ID: d.ID, MID: d.MID, From: alice, TS: k.clock.Now().UnixMilli(), Kind: d.Kind,
		Body: d.Body, Re: 7, At: d.At, TTL: 60, Fallback: "a poll", N: 1, Own: 1,
	}
	same(k, "appended", got, want)
	large := draft(conv, bob, "", "large")
	large.Body = json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`)
	k.send(large)
	k.crash()
	messages := k.messages(conv)
	same(k, "stored", messages[0], want)
	equal(k, "large body", string(messages[1].Body), string(large.Body))
	equal(k, "mid of a message without one", messages[1].MID, large.ID)
	for _, who := range []accounts.Name{alice, bob} {
		entries := k.stream(who)
		same(k, "in the stream", entries[len(entries)-2].Message, want)
		equal(k, "time of the entry", entries[len(entries)-2].TS, want.TS)
	}
	k.audit(alice, bob)
}

func testConcurrentSenders(k *kit) {
	const people, goroutines = 5, 16
	messages := k.few(40)
	for i := range people {
		for j := range i {
			k.contacts(user(i), user(j))
		}
	}
	var mu sync.Mutex
	var errs []error
	each(goroutines, func(g int) {
		last := map[chat.Conversation]uint64{}
		for n := range messages {
			from, to := user(g%people), user((g+1+n%(people-1))%people)
			mid := ""
			if n%3 != 0 {
				mid = fmt.Sprintf("%d-%d", g, n)
			}
			a, commit, err := k.chat().Append(k.ctx(), draft(chat.Direct(from, to), from, mid, fmt.Sprintf("%d %d", g, n)))
			if err == nil && n%5 == 0 {
				err = commit.Wait(k.ctx())
			}
			if m := a.Message; err == nil && m.Seq <= last[m.Conversation] {
				err = fmt.Errorf("seq %d of %s after %d", m.Seq, m.Conversation, last[m.Conversation])
			}
			last[a.Message.Conversation] = a.Message.Seq
			if err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				return
			}
		}
	})
	k.ok("senders", errors.Join(errs...))
	total := 0
	for i := range people {
		for j := range i {
			total += len(k.messages(chat.Direct(user(i), user(j))))
		}
	}
	equal(k, "messages", total, goroutines*messages)
	for range 2 {
		for i := range people {
			k.audit(user(i))
		}
		k.crash()
	}
}

func testRepeated(k *kit) {
	conv := k.contacts(alice, bob)
	d := draft(conv, alice, "m1", "hello")
	first := k.send(d)
	k.clock.advance(1e9)
	d.ID = "another id"
	for range 2 {
		again, commit, err := k.chat().Append(k.ctx(), d)
		k.durable("append again", commit, err)
		equal(k, "dup", again.Dup, true)
		same(k, "message", again.Message, first)
		k.reopen()
	}
	equal(k, "messages", len(k.messages(conv)), 1)
	k.audit(alice, bob)
}

func testRepeatedAfterCrash(k *kit) {
	conv := k.contacts(alice, bob)
	var sent []chat.Message
	for i := range 50 {
		a, _, err := k.chat().Append(k.ctx(), draft(conv, alice, fmt.Sprint("m", i), fmt.Sprint(i)))
		k.ok("append", err)
		sent = append(sent, a.Message)
	}
	k.crash()
	stored := k.messages(conv)
	for i, was := range sent {
		a, commit, err := k.chat().Append(k.ctx(), draft(conv, alice, fmt.Sprint("m", i), fmt.Sprint(i)))
		k.durable("append again", commit, err)
		if i < len(stored) {
			same(k, "message that survived", a, chat.Appended{Message: was, Dup: true})
		} else {
			equal(k, "dup of a lost message", a.Dup, false)
		}
	}
	equal(k, "messages", len(k.messages(conv)), len(sent))
	k.audit(alice, bob)
}

func testRacingDuplicates(k *kit) {
	conv := k.contacts(alice, bob)
	const racers = 16
	rounds := k.few(30)
	for round := range rounds {
		var mu sync.Mutex
		firsts := 0
		var answers []chat.Message
		var errs []error
		each(racers, func(i int) {
			d := draft(conv, alice, fmt.Sprint("m", round), fmt.Sprint(round))
			d.ID = fmt.Sprintf("id %d of %d", i, round)
			a, commit, err := k.chat().Append(k.ctx(), d)
			if err == nil {
				err = commit.Wait(k.ctx())
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			answers = append(answers, a.Message)
			if !a.Dup {
				firsts++
			}
		})
		k.ok("append", errors.Join(errs...))
		equal(k, "answers that are no dup", firsts, 1)
		for _, m := range answers {
			same(k, "answer", m, answers[0])
		}
	}
	equal(k, "messages", len(k.messages(conv)), rounds)
	k.audit(alice, bob)
}

func testConflict(k *kit) {
	conv := k.contacts(alice, bob)
	first := k.send(draft(conv, alice, "m1", "hello"))
	for range 2 {
		_, _, err := k.chat().Append(k.ctx(), draft(conv, alice, "m1", "bye"))
		k.is("other content", err, chat.ErrConflict)
		k.crash()
	}
	same(k, "messages", k.messages(conv), []chat.Message{first})

	// While the first is not durable yet: the refusal must not survive what it refers to.
	_, commit, err := k.chat().Append(k.ctx(), draft(conv, alice, "m2", "hello"))
	k.ok("append", err)
	_, _, err = k.chat().Append(k.ctx(), draft(conv, alice, "m2", "bye"))
	k.is("other content", err, chat.ErrConflict)
	k.crash()
	equal(k, "messages after a refusal", len(k.messages(conv)), 2)
	_ = commit
}

func testMIDScope(k *kit) {
	one, two := k.contacts(alice, bob), k.contacts(alice, carol)
	k.send(draft(one, alice, "m", "a"))
	k.send(draft(one, bob, "m", "b"))
	k.send(draft(two, alice, "m", "c"))
	k.send(draft(two, alice, "m\x00", "d"))
	k.send(draft(two, alice, "m\x00\x01", "e"))
	equal(k, "messages with bob", len(k.messages(one)), 2)
	equal(k, "messages with carol", len(k.messages(two)), 3)
}

func testNoMID(k *kit) {
	conv := k.contacts(alice, bob)
	for i := range 3 {
		d := draft(conv, alice, "", "same")
		d.ID = fmt.Sprint("id", i)
		m := k.send(d)
		equal(k, "mid", m.MID, d.ID)
	}
	equal(k, "messages", len(k.messages(conv)), 3)
	// The name that the store gave is the server's: a client cannot know it, and it is not compared.
	m := k.send(draft(conv, alice, "id0", "other"))
	equal(k, "seq", m.Seq, 4)
}

func testStrangersAppend(k *kit) {
	conv := k.contacts(alice, bob)
	_, _, err := k.chat().Append(k.ctx(), draft(chat.Direct(alice, carol), alice, "m", "x"))
	k.is("no conversation", err, chat.ErrNoConversation)
	_, _, err = k.chat().Append(k.ctx(), draft("g.none", alice, "m", "x"))
	k.is("no such group", err, chat.ErrNoConversation)
	_, _, err = k.chat().Mark(k.ctx(), conv, carol, chat.Marks{}, nil)
	k.is("mark of a stranger", err, chat.ErrNotMember)
	_, _, err = k.chat().Mark(k.ctx(), chat.Direct(bob, carol), carol, chat.Marks{}, nil)
	k.is("mark in no conversation", err, chat.ErrNoConversation)
	equal(k, "messages", len(k.messages(conv)), 0)
}

func testSilent(k *kit) {
	conv := k.contacts(alice, bob)
	for i := range 6 {
		d := draft(conv, alice, "", fmt.Sprint(i))
		d.Silent = i%2 == 0
		k.send(d)
	}
	tallies, _ := k.tallies(bob)
	equal(k, "unread", tallies[0].Unread(), 3)
	k.mark(conv, bob, 0, 3)
	tallies, _ = k.tallies(bob)
	equal(k, "unread after reading a silent one", tallies[0].Unread(), 2)
	k.audit(alice, bob)
}

func testClockGoesBack(k *kit) {
	conv := k.contacts(alice, bob)
	first := k.send(draft(conv, alice, "", "1"))
	k.clock.advance(-24 * 3600 * 1e9)
	equal(k, "time", k.send(draft(conv, alice, "", "2")).TS, first.TS)
	k.reopen()
	equal(k, "time after opening", k.send(draft(conv, bob, "", "3")).TS, first.TS)
	k.audit(alice, bob)
}

func testOrigin(k *kit) {
	conv := k.contacts(alice, bob)
	key := sessions.Key{Account: alice, Client: "phone"}
	commit, err := k.sessions().Save(k.ctx(), sessions.State{Key: key})
	k.durable("save", commit, err)
	d := draft(conv, alice, "m", "x")
	d.Origin = sessions.Origin{Key: key, ID: 65535}
	k.send(d)
	_, written, err := k.chat().Mark(k.ctx(), conv, alice, chat.Marks{Read: 1}, sessions.Origin{Key: key, ID: 1})
	k.durable("mark", written, err)
	_, written, err = k.request(alice, carol, "", sessions.Origin{Key: key, ID: 2})
	k.durable("request", written, err)
	_, written, err = k.accept(carol, alice, sessions.Origin{
		Key: sessions.Key{Account: carol, Client: "phone"}, ID: 3})
	k.durable("accept", written, err)
	k.crash()
	state, err := k.sessions().Load(k.ctx(), key)
	k.ok("load", err)
	same(k, "received", state.Received, []uint16{1, 2, 65535})
}

func testCancelled(k *kit) {
	conv := k.contacts(alice, bob)
	ctx, cancel := context.WithCancel(k.ctx())
	cancel()
	for i := range 20 {
		a, commit, err := k.chat().Append(ctx, draft(conv, alice, fmt.Sprint("m", i), "x"))
		if err == nil {
			equal(k, "dup", a.Dup, false)
			if err := commit.Wait(ctx); err != nil {
				k.is("wait", err, context.Canceled)
			}
		}
		b, commit, err := k.chat().Append(k.ctx(), draft(conv, alice, fmt.Sprint("m", i), "x"))
		k.durable("append again", commit, err)
		equal(k, "dup of an accepted one", b.Dup, a.Message.Seq != 0)
	}
	equal(k, "messages", len(k.messages(conv)), 20)
	k.audit(alice, bob)
}
