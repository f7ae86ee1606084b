package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var peopleTests = []test{
	{"settings and profiles are kept", testPerson},
	{"a change that fails changes nothing", testPersonFails},
	{"changes of one user do not get lost", testPersonRace},
	{"a new version is an entry of one's own stream", testProfileEntry},
	{"a handle has one owner", testHandles},
	{"two who want a handle at once do not both get it", testHandleRace},
	{"hits are those that begin with a prefix, in order", testFound},
	{"areas are forgotten when their time is over", testAreas},
	{"a person that is forgotten leaves nothing but kept handles", testForget},
	{"who was hidden stays so when he is forgotten", testForgetHidden},
	{"who is a contact of both is counted", testMutualNames},
	{"contacts are told of a profile slice by slice", testTelling},
	{"who has blocked or is blocked is not told", testTellingBlocked},
	{"a newer version is told instead of an older one", testTellingAnew},
	{"what is found is what profiles say after a loss of power", testPeopleCrash},
	{"contacts are told once, whatever crashes", testTellingCrash},
}

// change changes what a user says and waits for it.
func (k *kit) change(who accounts.Name, change func(p *chat.Person)) chat.Person {
	k.Helper()
	return k.changeTelling(who, false, change)
}

func (k *kit) changeTelling(who accounts.Name, tell bool, change func(p *chat.Person)) chat.Person {
	k.Helper()
	p, commit, err := k.chat().ChangePerson(k.ctx(), who, changing(tell, change), nil)
	k.durable("change person", commit, err)
	return p
}

func changing(tell bool, change func(p *chat.Person)) func(p *chat.Person) (bool, error) {
	return func(p *chat.Person) (bool, error) {
		change(p)
		return tell, nil
	}
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

// everySetting is alice, of whom everything is said.
func everySetting() chat.Person {
	return chat.Person{
		User: alice,
		Profile: chat.Profile{
			Card: chat.Card{
				Name: "Alice Liddell", Avatar: "https://example.org/a.png", Trust: chat.Trust{Verified: true, Bot: true},
			},
			Text: "curiouser\nand curiouser",
			Fields: map[string]chat.Field{
				"town": {Value: "Oxford", Show: chat.AudienceEveryone}, "job": {Value: "none", Show: chat.AudienceContacts},
			},
			Phone: chat.Field{Value: "+441865000000", Show: chat.AudienceNobody},
			Email: chat.Field{Value: "alice@example.org"},
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
	want := everySetting()
	got := k.change(alice, func(p *chat.Person) { *p = want })
	same(k, "what a change gives", got, want)
	got.Profile.Fields["town"] = chat.Field{Value: "is mine"}
	same(k, "what is kept", k.person(alice), want)
	k.crash()
	same(k, "after a crash", k.person(alice), want)
	same(k, "another's", k.person(bob), chat.Person{User: bob})

	_, commit, err := k.chat().ChangePerson(k.ctx(), alice, changing(true, func(*chat.Person) {}), nil)
	k.ok("change nothing", err)
	equal(k, "nothing was written", commit, nil)
	k.change(alice, func(p *chat.Person) { p.Settings = chat.Settings{}; p.Profile.Fields = nil })
	want.Settings, want.Profile.Fields = chat.Settings{}, nil
	same(k, "taken back", k.person(alice), want)
	k.reopen()
	same(k, "taken back, after a start", k.person(alice), want)
}

func testPersonFails(k *kit) {
	want := k.change(alice, func(p *chat.Person) { *p = everySetting() })
	failed := errors.New("no")
	_, _, err := k.chat().ChangePerson(k.ctx(), alice, func(p *chat.Person) (bool, error) {
		p.Profile.Name = "x"
		p.Profile.Fields["town"] = chat.Field{}
		return true, failed
	}, nil)
	k.is("change", err, failed)
	same(k, "what is kept", k.person(alice), want)
}

func testPersonRace(k *kit) {
	const goroutines, steps = 8, 20
	var failed atomic.Int64
	each(goroutines, func(int) {
		for range steps {
			_, commit, err := k.chat().ChangePerson(k.ctx(), alice, changing(false, func(p *chat.Person) {
				p.Settings.Find.Nearby.Cell++
			}), nil)
			if err != nil || commit != nil && commit.Wait(k.ctx()) != nil {
				failed.Add(1)
			}
		}
	})
	equal(k, "failed changes", failed.Load(), 0)
	k.crash()
	equal(k, "counted", k.person(alice).Settings.Find.Nearby.Cell, goroutines*steps)
}

func testProfileEntry(k *kit) {
	k.change(alice, func(p *chat.Person) { *p = everySetting(); p.Profile.Ver = 1 })
	k.change(alice, func(p *chat.Person) { p.Settings.Find.Listed = false })
	k.changeTelling(alice, true, func(p *chat.Person) { p.Profile.Ver, p.Profile.Name = 2, "Al" })
	k.crash()
	entries := k.stream(alice)
	equal(k, "entries", len(entries), 2)
	same(k, "the first one", entries[0], chat.Entry{
		USN: 1, Type: chat.EntryProfile, TS: k.clock.Now().UnixMilli(), Who: alice, Version: 1,
		Card: everySetting().Profile.Card,
	})
	equal(k, "version", entries[1].Version, 2)
	equal(k, "name", entries[1].Card.Name, "Al")
}

func (k *kit) owner(h chat.Handle, want accounts.Name) {
	k.Helper()
	got, err := k.chat().Owner(k.ctx(), h)
	k.ok("owner", err)
	equal(k, "owner of "+h.Value, got, want)
}

var (
	phone = chat.Handle{Kind: chat.HandlePhone, Value: "+4912345678"}
	email = chat.Handle{Kind: chat.HandleEmail, Value: "a@example.org"}
)

func setHandles(p *chat.Person) {
	p.Profile.Phone.Value, p.Profile.Email.Value = phone.Value, email.Value
}

func testHandles(k *kit) {
	k.owner(phone, "")
	k.change(alice, setHandles)
	k.crash()
	k.owner(phone, alice)
	k.owner(email, alice)
	k.owner(chat.Handle{Kind: chat.HandlePhone, Value: email.Value}, "")
	_, _, err := k.chat().ChangePerson(k.ctx(), bob, changing(false, func(p *chat.Person) {
		p.Profile.Name, p.Profile.Email.Value = "x", email.Value
	}), nil)
	k.is("another's address", err, chat.ErrTaken)
	same(k, "bob", k.person(bob), chat.Person{User: bob})
	k.change(alice, func(p *chat.Person) { p.Profile.Email.Value = "b@example.org" })
	k.change(bob, func(p *chat.Person) { p.Profile.Email.Value = email.Value })
	k.crash()
	k.owner(email, bob)
	k.owner(phone, alice)
	k.owner(chat.Handle{Kind: chat.HandleEmail, Value: "b@example.org"}, alice)
}

func testHandleRace(k *kit) {
	var got atomic.Int64
	each(8, func(i int) {
		_, commit, err := k.chat().ChangePerson(k.ctx(), user(i), changing(false, setHandles), nil)
		if err == nil && commit.Wait(k.ctx()) == nil {
			got.Add(1)
		} else if !errors.Is(err, chat.ErrTaken) {
			got.Add(100)
		}
	})
	equal(k, "how many got it", got.Load(), 1)
}

// found gives all hits, a few at a time.
func (k *kit) found(kind chat.TermKind, prefix string) []string {
	k.Helper()
	var out []string
	for after := (chat.Hit{}); ; {
		hits, err := k.chat().Found(k.ctx(), kind, prefix, after, 2)
		k.ok("found", err)
		if len(hits) == 0 {
			return out
		}
		for _, h := range hits {
			out = append(out, h.Value+"="+string(h.User))
			after = h
		}
	}
}

func testFound(k *kit) {
	for who, name := range map[accounts.Name]string{alice: "Zed", bob: "zed al", carol: "alicia"} {
		k.change(who, func(p *chat.Person) { p.Profile.Name, p.Settings.Find.Listed = name, true })
	}
	k.change("dave", func(p *chat.Person) { p.Profile.Name = "al" })
	k.crash()
	same(k, "al", k.found(chat.TermWord, "al"), []string{"al=bob", "alice=alice", "alicia=carol"})
	same(k, "zed", k.found(chat.TermWord, "zed"), []string{"zed=alice", "zed al=bob"})
	same(k, "nothing", k.found(chat.TermWord, "q"), []string(nil))
	equal(k, "listed", len(k.found(chat.TermListed, "")), 3)
	hits, err := k.chat().Found(k.ctx(), chat.TermWord, "zed", chat.Hit{Value: "zeda"}, 5)
	k.ok("behind", err)
	equal(k, "behind the last", len(hits), 0)
	hits, err = k.chat().Found(k.ctx(), chat.TermWord, "zed", chat.Hit{Value: "a", User: "zoe"}, 5)
	k.ok("before", err)
	equal(k, "after what is before the first", len(hits), 2)

	k.change(alice, func(p *chat.Person) { p.Profile.Name = "" })
	k.change(bob, func(p *chat.Person) { p.Settings.Find.Listed = false })
	same(k, "changed", k.found(chat.TermWord, ""), []string{"alice=alice", "alicia=carol", "carol=carol"})
	k.reopen()
	k.change(carol, func(p *chat.Person) { p.Settings.Find.Hidden = true })
	same(k, "changed after a start", k.found(chat.TermWord, ""), []string{"alice=alice"})
	equal(k, "listed", len(k.found(chat.TermListed, "")), 1)
}

func testAreas(k *kit) {
	until := k.clock.Now().Add(time.Hour)
	for i, who := range []accounts.Name{alice, bob, carol} {
		k.change(who, func(p *chat.Person) {
			p.Settings.Find.Nearby = chat.Area{Cell: 258, Until: until.Add(time.Duration(i) * time.Hour).UnixMilli()}
		})
	}
	cell := "\x00\x00\x00\x00\x00\x00\x01\x02"
	equal(k, "in the cell", len(k.found(chat.TermCell, cell)), 3)
	k.change(bob, func(p *chat.Person) { p.Settings.Find.Nearby.Until = until.UnixMilli() })
	k.crash()
	n, err := k.chat().PurgePeople(k.ctx(), until, 10)
	k.ok("purge", err)
	equal(k, "forgotten in time", n, 0)
	n, err = k.chat().PurgePeople(k.ctx(), until.Add(time.Millisecond), 1)
	k.ok("purge", err)
	equal(k, "forgotten, with a limit", n, 1)
	n, err = k.chat().PurgePeople(k.ctx(), until.Add(time.Millisecond), 10)
	k.ok("purge", err)
	equal(k, "forgotten, the rest", n, 1)
	k.crash()
	same(k, "in the cell", k.found(chat.TermCell, cell), []string{cell + "=carol"})
	equal(k, "alice's area", k.person(alice).Settings.Find.Nearby, chat.Area{})
}

func testForget(k *kit) {
	k.contacts(alice, bob)
	commit, err := k.chat().ForgetPerson(k.ctx(), carol, k.clock.Now())
	k.durable("forget nothing", commit, err)
	k.changeTelling(alice, true, func(p *chat.Person) {
		*p = everySetting()
		p.Profile.Ver = 1
		p.Settings.Find.Hidden = false
		setHandles(p)
	})
	free := k.clock.Now().Add(time.Hour)
	for range 2 {
		commit, err := k.chat().ForgetPerson(k.ctx(), alice, free)
		k.durable("forget", commit, err)
		k.crash()
		same(k, "alice", k.person(alice), chat.Person{User: alice})
		for _, kind := range []chat.TermKind{chat.TermWord, chat.TermCell, chat.TermListed} {
			equal(k, "found by "+string(kind), len(k.found(kind, "")), 0)
		}
		same(k, "tellings", k.tellings(), []accounts.Name(nil))
		k.owner(phone, "")
	}
	_, _, err = k.chat().ChangePerson(k.ctx(), bob, changing(false, setHandles), nil)
	k.is("a handle that is kept", err, chat.ErrTaken)
	n, err := k.chat().PurgePeople(k.ctx(), k.clock.Now(), 10)
	k.ok("purge too early", err)
	equal(k, "purged too early", n, 0)
	k.clock.advance(time.Hour)
	k.change(bob, func(p *chat.Person) { p.Profile.Phone.Value = phone.Value })
	k.clock.advance(time.Millisecond)
	n, err = k.chat().PurgePeople(k.ctx(), k.clock.Now(), 10)
	k.ok("purge", err)
	equal(k, "purged: the address, the number has an owner", n, 1)
	k.crash()
	k.owner(phone, bob)
	k.change(bob, setHandles)
	k.owner(email, bob)
}

func testForgetHidden(k *kit) {
	k.change(alice, func(p *chat.Person) { *p = everySetting() })
	want := chat.Person{User: alice}
	want.Settings.Find.Hidden = true
	for range 2 {
		commit, err := k.chat().ForgetPerson(k.ctx(), alice, k.clock.Now())
		k.durable("forget", commit, err)
		same(k, "alice", k.person(alice), want)
		k.crash()
		same(k, "alice, after a crash", k.person(alice), want)
	}
}

func testMutualNames(k *kit) {
	for _, pair := range [][2]accounts.Name{
		{alice, "al"}, {bob, "al"}, {alice, "b"}, {bob, "c"}, {alice, "d"}, {bob, "d"}, {alice, bob}, {alice, "e"}, {bob, "e-f"},
		{alice, "zoe"}, {bob, "zoe"},
	} {
		k.contacts(pair[0], pair[1])
	}
	for _, who := range []accounts.Name{alice, bob} {
		_, commit, err := k.request(who, "pending", "", nil)
		k.durable("request", commit, err)
	}
	for _, tt := range []struct {
		a, b       accounts.Name
		most, want int
	}{
		{alice, bob, 10, 3}, {bob, alice, 10, 3}, {alice, bob, 2, 2}, {alice, "al", 10, 1}, {alice, carol, 10, 0},
		{carol, alice, 10, 0},
	} {
		n, err := k.chat().Mutual(k.ctx(), tt.a, tt.b, tt.most)
		k.ok("mutual", err)
		equal(k, "contacts of "+string(tt.a+" and "+tt.b), n, tt.want)
	}
}

func (k *kit) tellings() []accounts.Name {
	k.Helper()
	var out []accounts.Name
	for after := accounts.Name(""); ; {
		page, err := k.chat().Tellings(k.ctx(), after, 1)
		k.ok("tellings", err)
		if len(page) == 0 {
			return out
		}
		out = append(out, page...)
		after = page[0]
	}
}

// tellProfile tells some contacts and waits for it.
func (k *kit) tellProfile(who accounts.Name, limit int) []accounts.Name {
	k.Helper()
	told, commit, err := k.chat().TellProfile(k.ctx(), who, limit)
	k.durable("tell profile", commit, err)
	return told
}

// versions gives which versions of alice's profile who's stream has.
func (k *kit) versions(who accounts.Name) []uint64 {
	k.Helper()
	var out []uint64
	for _, e := range k.stream(who) {
		if e.Type == chat.EntryProfile && e.Who == alice {
			out = append(out, e.Version)
		}
	}
	return out
}

func setName(ver uint64, name string) func(p *chat.Person) {
	return func(p *chat.Person) { p.Profile.Ver, p.Profile.Name = ver, name }
}

func testTelling(k *kit) {
	for i := range 5 {
		k.contacts(alice, user(i))
	}
	_, commit, err := k.request(alice, "pending", "", nil)
	k.durable("request", commit, err)
	equal(k, "told of nothing", len(k.tellProfile(alice, 2)), 0)
	k.change(alice, setName(1, "quietly"))
	same(k, "tellings", k.tellings(), []accounts.Name(nil))
	k.changeTelling(alice, true, setName(2, "Al"))
	k.changeTelling(bob, true, setName(1, "Bob"))
	same(k, "tellings", k.tellings(), []accounts.Name{alice, bob})
	var told []accounts.Name
	for n := 0; ; n++ {
		k.crash()
		if !slices.Contains(k.tellings(), alice) {
			break
		}
		told = append(told, k.tellProfile(alice, 2)...)
		equal(k, "it ends", n < 10, true)
	}
	same(k, "told", told, []accounts.Name{user(0), user(1), user(2), user(3), user(4)})
	for i := range 5 {
		same(k, "versions", k.versions(user(i)), []uint64{2})
	}
	same(k, "versions for who is no contact", k.versions("pending"), []uint64(nil))
	same(k, "versions for oneself", k.versions(alice), []uint64{1, 2})
	same(k, "tellings", k.tellings(), []accounts.Name{bob})
	equal(k, "bob has nobody to tell", len(k.tellProfile(bob, 2)), 0)
	same(k, "tellings", k.tellings(), []accounts.Name(nil))
}

func testTellingBlocked(k *kit) {
	for i := range 4 {
		k.contacts(alice, user(i))
	}
	k.changeTelling(alice, true, setName(1, "Al"))
	for _, c := range []chat.Change{
		chat.ToBlock(alice, user(0)), chat.ToBlock(user(1), alice), chat.ToRemove(user(2), alice),
	} {
		_, commit, err := k.chat().Change(k.ctx(), c)
		k.durable("step", commit, err)
	}
	same(k, "told", k.tellProfile(alice, 10), []accounts.Name{user(3)})
	same(k, "tellings", k.tellings(), []accounts.Name(nil))
	for i := range 3 {
		same(k, "versions", k.versions(user(i)), []uint64(nil))
	}
}

func testTellingAnew(k *kit) {
	for i := range 4 {
		k.contacts(alice, user(i))
	}
	k.changeTelling(alice, true, setName(1, "one"))
	k.tellProfile(alice, 2)
	k.changeTelling(alice, true, setName(2, "two"))
	for len(k.tellings()) > 0 {
		k.tellProfile(alice, 2)
	}
	k.crash()
	same(k, "told of both", k.versions(user(0)), []uint64{1, 2})
	same(k, "told of the newer", k.versions(user(3)), []uint64{2})
}

// testPeopleCrash loses the power while profiles, handles and what they are found by change.
func testPeopleCrash(k *kit) {
	const people, goroutines = 4, 8
	steps := k.few(40)
	for round := range k.rounds() {
		w := &witness{acked: map[string]string{}}
		knew := k.crashUnderLoad(w, goroutines, steps, func(store Store, g, step int) error {
			who := user(g % people)
			if step%11 == 10 {
				_, err := store.Chat().ForgetPerson(k.ctx(), who, k.clock.Now())
				return err
			}
			p, commit, err := store.Chat().ChangePerson(k.ctx(), who, changing(true, func(p *chat.Person) {
				p.Profile.Ver++
				p.Profile.Name = fmt.Sprintf("name %d of %d %d", step, g, round)
				p.Profile.Phone.Value = fmt.Sprintf("+%d", (g+step)%people)
				p.Settings.Find.Listed = step%5 != 0
				p.Settings.Find.Nearby = chat.Area{Cell: uint64(step % 3), Until: int64(step)}
			}), nil)
			if err == nil && step%3 == 0 {
				err = commit.Wait(k.ctx())
				if err == nil {
					w.said(fmt.Sprintf("%s %d %s", who, p.Profile.Ver, p.Profile.Name), true)
				}
			}
			return ignoreTaken(err)
		})
		k.checkFound(people)
		for i := range people { // what was said is no newer than what is there
			who := user(i)
			has := map[string]bool{}
			for _, e := range k.stream(who) {
				has[fmt.Sprintf("%s %d %s", who, e.Version, e.Card.Name)] = true
			}
			for said := range knew {
				if strings.HasPrefix(said, string(who)+" ") && !has[said] {
					k.Fatalf("a change that was acknowledged is lost: %s", said)
				}
			}
		}
	}
}

func ignoreTaken(err error) error {
	if errors.Is(err, chat.ErrTaken) {
		return nil
	}
	return err
}

// checkFound compares what people are found by with what they say.
func (k *kit) checkFound(people int) {
	k.Helper()
	want := map[chat.TermKind][]string{}
	for i := range people {
		p := k.person(user(i))
		for _, t := range p.Terms() {
			want[t.Kind] = append(want[t.Kind], t.Value+"="+string(p.User))
		}
		for _, h := range p.Handles() {
			k.owner(h, p.User)
		}
	}
	for n := range people {
		who, err := k.chat().Owner(k.ctx(), chat.Handle{Kind: chat.HandlePhone, Value: fmt.Sprintf("+%d", n)})
		k.ok("owner", err)
		if who != "" {
			equal(k, "the number of "+string(who), k.person(who).Profile.Phone.Value, fmt.Sprintf("+%d", n))
		}
	}
	for _, kind := range []chat.TermKind{chat.TermWord, chat.TermCell, chat.TermListed} {
		got := k.found(kind, "")
		slices.Sort(got)
		slices.Sort(want[kind])
		same(k, "found by "+string(kind), got, want[kind])
	}
}

// testTellingCrash loses the power while contacts are told: in the end each has the last version once, and no slice is told
// twice.
func testTellingCrash(k *kit) {
	const people = 9
	for i := range people {
		k.contacts(alice, user(i))
	}
	last := uint64(0)
	for range k.rounds() {
		last++
		k.changeTelling(alice, true, setName(last, fmt.Sprint("name ", last)))
		w := &witness{acked: map[string]string{}}
		k.crashUnderLoad(w, 1, 4, func(store Store, _, _ int) error {
			_, _, err := store.Chat().TellProfile(k.ctx(), alice, 2)
			return err
		})
	}
	for len(k.tellings()) > 0 {
		k.tellProfile(alice, 2)
	}
	k.crash()
	for i := range people {
		versions := k.versions(user(i))
		equal(k, "the last version", versions[len(versions)-1], last)
		for j := range versions[1:] {
			equal(k, fmt.Sprint("order of versions ", versions), versions[j] < versions[j+1], true)
		}
	}
}
