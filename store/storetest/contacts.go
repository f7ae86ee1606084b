package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var contactTests = []test{
	{"asking and accepting makes contacts and a conversation", testAccept},
	{"crossing requests accept each other", testCrossing},
	{"accepting without a request is refused", testNoRequest},
	{"a repeated request replaces the greeting", testGreetingReplaced},
	{"the list is sorted by name", testList},
	{"racing requests and accepts agree", testContactRace},
}

func testAccept(k *kit) {
	state, commit, err := k.request(alice, bob, "it's <alice>", nil)
	k.durable("request", commit, err)
	equal(k, "state after asking", state, chat.ContactPending)
	k.crash()
	k.relation(alice, bob, chat.ContactPending)
	k.relation(bob, alice, chat.ContactRequested)
	requested := k.stream(bob)
	equal(k, "entries of bob", len(requested), 1)
	same(k, "bob's entry", requested[0], chat.Entry{
		USN: 1, Type: chat.EntryContact, TS: k.clock.Now().UnixMilli(), Who: alice, State: chat.ContactRequested,
		Greeting: "it's <alice>", Version: 1,
		Contact: chat.Note{Until: k.clock.Now().Add(7 * 24 * time.Hour).UnixMilli()},
	})

	contact, commit, err := k.accept(bob, alice, nil)
	k.durable("accept", commit, err)
	conv := chat.Direct(alice, bob)
	equal(k, "who", contact.Who, alice)
	equal(k, "state", contact.State, chat.ContactAccepted)
	equal(k, "conversation", contact.Conversation, conv)
	again, commit, err := k.accept(bob, alice, nil)
	k.durable("accept again", commit, err)
	same(k, "contact, repeated", again, contact)
	k.crash()

	k.relation(alice, bob, chat.ContactAccepted)
	k.relation(bob, alice, chat.ContactAccepted)
	messages := k.messages(conv)
	equal(k, "messages", len(messages), 1)
	equal(k, "sender of the greeting", messages[0].From, alice)
	equal(k, "greeting", decodeText(k, messages[0]), "it's <alice>")
	for _, who := range []accounts.Name{alice, bob} {
		equal(k, "marks of "+string(who), k.marks(conv, who), chat.Marks{})
		var types []chat.EntryType
		for _, e := range k.stream(who) {
			types = append(types, e.Type)
		}
		same(k, "stream of "+string(who), types,
			[]chat.EntryType{chat.EntryContact, chat.EntryContact, chat.EntryMessage})
	}
	_, err = k.chat().Membership(k.ctx(), conv, carol)
	k.is("stranger", err, chat.ErrNotMember)
	_, err = k.chat().Membership(k.ctx(), chat.Direct(alice, carol), alice)
	k.is("no conversation", err, chat.ErrNoConversation)
	k.audit(alice, bob, carol)
}

// request asks for contact as a client would.
func request(
	ctx context.Context, store Store, from, to accounts.Name, greeting string, origin any,
) (chat.ContactState, chat.Commit, error) {
	c := chat.ToRequest(from, to, greeting, chat.Bounds{})
	c.Origin = origin
	p, commit, err := store.Chat().Change(ctx, c)
	return p.Contact().State, commit, err
}

// accept accepts a request as a client would.
func accept(
	ctx context.Context, store Store, who, requester accounts.Name, origin any,
) (chat.Contact, chat.Commit, error) {
	c := chat.ToAccept(who, requester, chat.Bounds{})
	c.Origin = origin
	p, commit, err := store.Chat().Change(ctx, c)
	if err != nil {
		return chat.Contact{}, nil, err
	}
	return p.Contact(), commit, nil
}

func (k *kit) request(from, to accounts.Name, greeting string, origin any) (chat.ContactState, chat.Commit, error) {
	return request(k.ctx(), k.store, from, to, greeting, origin)
}

func (k *kit) accept(who, requester accounts.Name, origin any) (chat.Contact, chat.Commit, error) {
	return accept(k.ctx(), k.store, who, requester, origin)
}

// state gives what other is to who.
func (k *kit) state(who, other accounts.Name) chat.ContactState {
	k.Helper()
	p, err := k.chat().Pair(k.ctx(), who, other)
	k.ok("pair", err)
	return p.Contact().State
}

func (k *kit) relation(who, other accounts.Name, want chat.ContactState) {
	k.Helper()
	equal(k, fmt.Sprintf("what %s is to %s", other, who), k.state(who, other), want)
}

func testCrossing(k *kit) {
	_, commit, err := k.request(alice, bob, "from alice", nil)
	k.durable("request", commit, err)
	state, commit, err := k.request(bob, alice, "from bob", nil)
	k.durable("crossing request", commit, err)
	equal(k, "state", state, chat.ContactAccepted)
	state, commit, err = k.request(bob, alice, "again", nil)
	k.durable("request among contacts", commit, err)
	equal(k, "state", state, chat.ContactAccepted)
	k.crash()
	messages := k.messages(chat.Direct(alice, bob))
	equal(k, "messages", len(messages), 1)
	equal(k, "greeting", decodeText(k, messages[0]), "from alice")
	k.audit(alice, bob)
}

func testNoRequest(k *kit) {
	_, _, err := k.accept(bob, alice, nil)
	k.is("nobody asked", err, chat.ErrNoRequest)
	_, commit, err := k.request(bob, alice, "", nil)
	k.durable("request", commit, err)
	_, _, err = k.accept(bob, alice, nil)
	k.is("I asked", err, chat.ErrNoRequest)
	k.audit(alice, bob)
}

func testGreetingReplaced(k *kit) {
	for _, greeting := range []string{"one", "two", "two", ""} {
		_, commit, err := k.request(alice, bob, greeting, nil)
		k.durable("request", commit, err)
	}
	var greetings []string
	for _, e := range k.stream(bob) {
		greetings = append(greetings, e.Greeting)
	}
	same(k, "greetings in bob's stream", greetings, []string{"one", "two", ""})
	_, commit, err := k.accept(bob, alice, nil)
	k.durable("accept", commit, err)
	equal(k, "messages, without a greeting", len(k.messages(chat.Direct(alice, bob))), 0)
	k.audit(alice, bob)
}

func testList(k *kit) {
	for _, name := range []accounts.Name{"zoe", "al", "al-", "al_x", "alx"} {
		_, commit, err := k.request(bob, name, "hi", nil)
		k.durable("request", commit, err)
	}
	var got []accounts.Name
	for after := accounts.Name(""); ; {
		page, err := k.chat().List(k.ctx(), bob, after, 2)
		k.ok("list", err)
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			equal(k, "state", c.State, chat.ContactPending)
			equal(k, "greeting", c.Greeting, "hi")
			got = append(got, c.Who)
			after = c.Who
		}
	}
	same(k, "list", got, []accounts.Name{"al", "al-", "al_x", "alx", "zoe"})
}

func testContactRace(k *kit) {
	const people = 6
	var failed atomic.Int64
	each(8, func(i int) {
		for n := range k.few(60) {
			a, b := user((i+n)%people), user((i*3+n*5+1)%people)
			if a == b {
				continue
			}
			_, commit, err := k.request(a, b, fmt.Sprint("hi ", n%3), nil)
			if err != nil || commit != nil && commit.Wait(k.ctx()) != nil {
				failed.Add(1)
				k.Logf("request: %v", err)
			}
		}
	})
	equal(k, "failed requests", failed.Load(), 0)
	for range 2 {
		for i := range people {
			k.audit(user(i))
		}
		k.crash()
	}
}
