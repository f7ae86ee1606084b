package storetest

import (
	"errors"
	"sync/atomic"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var peopleTests = []test{
	{"settings and profiles are kept", testPerson},
	{"a change that fails changes nothing", testPersonFails},
	{"changes of one user do not get lost", testPersonRace},
}

// change changes what a user says and waits for it.
func (k *kit) change(who accounts.Name, change func(p *chat.Person)) chat.Person {
	k.Helper()
	p, commit, err := k.chat().ChangePerson(k.ctx(), who, func(p *chat.Person) error {
		change(p)
		return nil
	}, nil)
	k.durable("change person", commit, err)
	return p
}

func (k *kit) person(who accounts.Name) chat.Person {
	k.Helper()
	p, err := k.chat().Person(k.ctx(), who)
	k.ok("person", err)
	settings, err := k.chat().Settings(k.ctx(), who)
	k.ok("settings", err)
	equal(k, "settings of "+string(who), settings, p.Settings)
	return p
}

// everySetting is a person of whom everything is said.
func everySetting(who accounts.Name) chat.Person {
	return chat.Person{
		User: who,
		Profile: chat.Profile{
			Name: "Alice Liddell", Avatar: "https://example.org/a.png", Text: "curiouser\nand curiouser",
			Fields: map[string]chat.Field{
				"town": {Value: "Oxford", Show: chat.AudienceEveryone}, "job": {Value: "none", Show: chat.AudienceContacts},
			},
			Phone: chat.Field{Value: "+441865000000", Show: chat.AudienceNobody},
			Email: chat.Field{Value: "alice@example.org"},
			Trust: chat.Trust{Verified: true, Bot: true},
		},
		Settings: chat.Settings{
			Strangers: chat.AudienceNear, Seen: chat.AudienceNobody,
			Find: chat.Find{
				Hidden: true, Phone: true, Email: true, Listed: true, Nearby: chat.Area{Cell: 1 << 63, Until: 1 << 50},
			},
		},
	}
}

func testPerson(k *kit) {
	same(k, "nobody's", k.person(alice), chat.Person{User: alice})
	want := everySetting(alice)
	got := k.change(alice, func(p *chat.Person) { *p = want })
	same(k, "what a change gives", got, want)
	got.Profile.Fields["town"] = chat.Field{Value: "is mine"}
	same(k, "what is kept", k.person(alice), want)
	k.crash()
	same(k, "after a crash", k.person(alice), want)
	same(k, "another's", k.person(bob), chat.Person{User: bob})

	_, commit, err := k.chat().ChangePerson(k.ctx(), alice, func(*chat.Person) error { return nil }, nil)
	k.ok("change nothing", err)
	equal(k, "nothing was written", commit, nil)
	k.change(alice, func(p *chat.Person) { p.Settings = chat.Settings{}; p.Profile.Fields = nil })
	want.Settings, want.Profile.Fields = chat.Settings{}, nil
	same(k, "taken back", k.person(alice), want)
	k.reopen()
	same(k, "taken back, after a start", k.person(alice), want)
}

func testPersonFails(k *kit) {
	want := k.change(alice, func(p *chat.Person) { *p = everySetting(alice) })
	failed := errors.New("no")
	_, _, err := k.chat().ChangePerson(k.ctx(), alice, func(p *chat.Person) error {
		p.Profile.Name = "x"
		p.Profile.Fields["town"] = chat.Field{}
		return failed
	}, nil)
	k.is("change", err, failed)
	same(k, "what is kept", k.person(alice), want)
}

func testPersonRace(k *kit) {
	const goroutines, steps = 8, 20
	var failed atomic.Int64
	each(goroutines, func(int) {
		for range steps {
			_, commit, err := k.chat().ChangePerson(k.ctx(), alice, func(p *chat.Person) error {
				p.Settings.Find.Nearby.Cell++
				return nil
			}, nil)
			if err != nil || commit != nil && commit.Wait(k.ctx()) != nil {
				failed.Add(1)
			}
		}
	})
	equal(k, "failed changes", failed.Load(), 0)
	k.crash()
	equal(k, "counted", k.person(alice).Settings.Find.Nearby.Cell, goroutines*steps)
}
