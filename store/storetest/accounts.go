package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var accountTests = []test{
	{"a user comes back as it was created", testUser},
	{"a name is taken once", testTaken},
	{"users are listed by name", testUsers},
	{"tokens come, go and end", testTokens},
	{"all tokens of an account go at once", testDeleteTokens},
	{"an invitation is used as often as it may", testInvitation},
	{"invitations are listed and taken back", testInvitations},
	{"a password is changed by one of those who know it", testSwap},
	{"a recovery is used once", testRecover},
	{"a deleted account leaves its name", testDeleteUser},
	{"acts are kept in their order", testActs},
	{"a session is told in its user's stream", testTellSession},
}

func testUser(k *kit) {
	u := accounts.User{Name: alice, Password: "$argon2id$x", Created: time.Unix(1234567890, 987654321).UTC()}
	k.ok("create", k.accounts().CreateUser(k.ctx(), u))
	k.is("create again", k.accounts().CreateUser(k.ctx(), u), accounts.ErrTaken)
	k.crash()
	got, err := k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	same(k, "user", got, u)
	_, err = k.accounts().User(k.ctx(), bob)
	k.is("stranger", err, accounts.ErrUnknown)

	k.ok("password", k.accounts().SetPassword(k.ctx(), alice, "", "other"))
	k.is("password of a stranger", k.accounts().SetPassword(k.ctx(), bob, "", "x"), accounts.ErrUnknown)
	u.Suspension = accounts.Suspension{Disabled: true, Reason: "spam", Until: time.Unix(2e9, 7).UTC()}
	k.ok("suspend", k.accounts().SetSuspension(k.ctx(), alice, u.Suspension))
	k.is("suspend a stranger", k.accounts().SetSuspension(k.ctx(), bob, u.Suspension), accounts.ErrUnknown)
	k.ok("role", k.accounts().SetRole(k.ctx(), alice, accounts.RoleAdmin))
	k.is("role of a stranger", k.accounts().SetRole(k.ctx(), bob, accounts.RoleAdmin), accounts.ErrUnknown)
	k.crash()
	u.Password, u.Role = "other", accounts.RoleAdmin
	got, err = k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	same(k, "changed user", got, u)
	k.ok("enable", k.accounts().SetSuspension(k.ctx(), alice, accounts.Suspension{}))
	k.ok("no role", k.accounts().SetRole(k.ctx(), alice, accounts.RoleNone))
	u.Suspension, u.Role = accounts.Suspension{}, accounts.RoleNone
	got, err = k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	same(k, "user as before", got, u)
}

func testSwap(k *kit) {
	k.ok("create", k.accounts().CreateUser(k.ctx(), accounts.User{Name: alice, Password: "old"}))
	k.is("another old one", k.accounts().SetPassword(k.ctx(), alice, "older", "new"), accounts.ErrChanged)
	var swapped atomic.Int64
	each(16, func(i int) {
		err := k.accounts().SetPassword(k.ctx(), alice, "old", fmt.Sprint(i))
		if err == nil {
			swapped.Add(1)
			return
		}
		k.is("second", err, accounts.ErrChanged)
	})
	equal(k, "changes of one password", swapped.Load(), 1)
}

func testRecover(k *kit) {
	now := k.clock.Now()
	code, other := accounts.Digest{1}, accounts.Digest{2}
	k.ok("create", k.accounts().CreateUser(k.ctx(), accounts.User{Name: alice, Password: "old"}))
	recovered := func(name accounts.Name, d accounts.Digest, now time.Time, hash string) error {
		_, err := k.accounts().Recover(k.ctx(), name, d, now, hash)
		return err
	}
	k.is("stranger", k.accounts().SetRecovery(k.ctx(), bob, accounts.Recovery{Digest: code}), accounts.ErrUnknown)
	k.is("none", recovered(alice, accounts.Digest{}, now, "new"), accounts.ErrUnknown)
	k.ok("first", k.accounts().SetRecovery(k.ctx(), alice, accounts.Recovery{Digest: other, Expires: now.Add(time.Hour)}))
	k.ok("second", k.accounts().SetRecovery(k.ctx(), alice, accounts.Recovery{Digest: code, Expires: now.Add(time.Hour)}))
	k.crash()
	k.is("replaced code", recovered(alice, other, now, "new"), accounts.ErrUnknown)
	k.is("ended code", recovered(alice, code, now.Add(time.Hour), "new"), accounts.ErrUnknown)
	k.is("of a stranger", recovered(bob, code, now, "new"), accounts.ErrUnknown)
	var used atomic.Int64
	each(8, func(i int) {
		if recovered(alice, code, now, fmt.Sprint("new", i)) == nil {
			used.Add(1)
		}
	})
	equal(k, "uses of one code", used.Load(), 1)
	k.crash()
	u, err := k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	equal(k, "password is new", u.Password != "old", true)
	k.is("used code", recovered(alice, code, now, "newer"), accounts.ErrUnknown)
	k.ok("third", k.accounts().SetRecovery(k.ctx(), alice, accounts.Recovery{Digest: code, Expires: now.Add(time.Hour)}))
	k.ok("taken back", k.accounts().SetRecovery(k.ctx(), alice, accounts.Recovery{}))
	for _, d := range []accounts.Digest{code, {}} {
		k.is("code taken back", recovered(alice, d, now, "newer"), accounts.ErrUnknown)
	}
	theirs := accounts.Token{Digest: accounts.Digest{8}, Owner: bob, Expires: now.Add(time.Hour)}
	hers := accounts.Token{Digest: accounts.Digest{7}, Owner: alice, Expires: now.Add(time.Hour)}
	k.ok("token", k.accounts().PutToken(k.ctx(), hers))
	k.ok("another's", k.accounts().PutToken(k.ctx(), theirs))
	k.ok("fourth", k.accounts().SetRecovery(k.ctx(), alice, accounts.Recovery{Digest: other, Expires: now.Add(time.Hour)}))
	gone, err := k.accounts().Recover(k.ctx(), alice, other, now, "newest")
	k.ok("recover", err)
	k.crash()
	same(k, "tokens gone", gone, []accounts.Digest{{7}})
	_, err = k.accounts().Token(k.ctx(), accounts.Digest{7})
	k.is("token after a recovery", err, accounts.ErrUnknown)
	_, err = k.accounts().Token(k.ctx(), theirs.Digest)
	k.ok("another's token", err)
}

func testDeleteUser(k *kit) {
	now := time.Unix(1800000000, 3).UTC()
	u := accounts.User{
		Name: alice, Password: "hash", Role: accounts.RoleAdmin, Created: time.Unix(1700000000, 5).UTC(),
		Suspension: accounts.Suspension{Disabled: true, Reason: "x"},
	}
	k.ok("create", k.accounts().CreateUser(k.ctx(), u))
	k.ok("recovery", k.accounts().SetRecovery(k.ctx(), alice, accounts.Recovery{Digest: accounts.Digest{1}, Expires: now}))
	k.is("stranger", k.accounts().DeleteUser(k.ctx(), bob, now), accounts.ErrUnknown)
	k.ok("delete", k.accounts().DeleteUser(k.ctx(), alice, now))
	k.crash()
	got, err := k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	same(k, "tombstone", got, accounts.User{Name: alice, Created: u.Created, Deleted: now})
	k.is("again", k.accounts().CreateUser(k.ctx(), u), accounts.ErrTaken)
	_, recovery := k.accounts().Recover(k.ctx(), alice, accounts.Digest{1}, now.Add(-1), "x")
	for what, err := range map[string]error{
		"delete":   k.accounts().DeleteUser(k.ctx(), alice, now),
		"password": k.accounts().SetPassword(k.ctx(), alice, "", "x"),
		"suspend":  k.accounts().SetSuspension(k.ctx(), alice, accounts.Suspension{}),
		"role":     k.accounts().SetRole(k.ctx(), alice, accounts.RoleAdmin),
		"offer":    k.accounts().SetRecovery(k.ctx(), alice, accounts.Recovery{}),
		"recover":  recovery,
	} {
		k.is(what+" a deleted one", err, accounts.ErrUnknown)
	}

	for _, name := range []accounts.Name{"b", "c"} {
		k.ok("create", k.accounts().CreateUser(k.ctx(), accounts.User{Name: name}))
		k.ok("delete", k.accounts().DeleteUser(k.ctx(), name, now))
	}
	leaving, err := k.accounts().Leaving(k.ctx(), "", 2)
	k.ok("leaving", err)
	same(k, "leaving", leaving, []accounts.Name{alice, "b"})
	k.ok("left", k.accounts().Left(k.ctx(), "b"))
	k.ok("left again", k.accounts().Left(k.ctx(), "b"))
	k.crash()
	leaving, err = k.accounts().Leaving(k.ctx(), alice, 10)
	k.ok("leaving", err)
	same(k, "leaving after alice", leaving, []accounts.Name{"c"})
}

func testActs(k *kit) {
	at := time.Unix(1700000000, 5).UTC()
	var all []accounts.Act
	for i := range 5 {
		a := accounts.Act{
			ID: fmt.Sprintf("%04d", i), Time: at, By: alice, From: "192.0.2.1", Method: "user.add", Target: fmt.Sprint(i),
		}
		k.ok("put", k.accounts().PutAct(k.ctx(), a))
		if i == 2 {
			a.Outcome = "ok"
			k.ok("put again", k.accounts().PutAct(k.ctx(), a))
		}
		all = append([]accounts.Act{a}, all...)
	}
	k.crash()
	page, err := k.accounts().Acts(k.ctx(), "", 3)
	k.ok("acts", err)
	same(k, "newest acts", page, all[:3])
	page, err = k.accounts().Acts(k.ctx(), page[2].ID, 10)
	k.ok("acts", err)
	same(k, "older acts", page, all[3:])
	n, err := k.accounts().PurgeActs(k.ctx(), "0003", 2)
	k.ok("purge", err)
	equal(k, "purged", n, 2)
	n, err = k.accounts().PurgeActs(k.ctx(), "0003", 2)
	k.ok("purge", err)
	equal(k, "purged then", n, 1)
	k.crash()
	page, err = k.accounts().Acts(k.ctx(), "", 10)
	k.ok("acts", err)
	same(k, "acts left", page, all[:2])
}

func testTaken(k *kit) {
	var created atomic.Int64
	each(16, func(i int) {
		err := k.accounts().CreateUser(k.ctx(), accounts.User{Name: alice, Password: fmt.Sprint(i)})
		if err == nil {
			created.Add(1)
		}
	})
	equal(k, "accounts of one name", created.Load(), 1)
}

func testUsers(k *kit) {
	for _, name := range []accounts.Name{"b", "a-b", "ab", "a", "a_b", "c"} {
		k.ok("create", k.accounts().CreateUser(k.ctx(), accounts.User{Name: name}))
	}
	var got []accounts.Name
	for after := accounts.Name(""); ; {
		page, err := k.accounts().Users(k.ctx(), after, 4)
		k.ok("users", err)
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			got = append(got, u.Name)
			after = u.Name
		}
	}
	same(k, "users", got, []accounts.Name{"a", "a-b", "a_b", "ab", "b", "c"})
}

func token(owner accounts.Name, i byte, expires time.Time) accounts.Token {
	return accounts.Token{
		Digest: accounts.Digest{i, 1, 2, 3}, Owner: owner, Label: "phone",
		Created: time.Unix(1700000000, 5).UTC(), Expires: expires.UTC(),
	}
}

func testTokens(k *kit) {
	now := k.clock.Now()
	for i := range byte(5) {
		t := token(alice, i, now.Add(time.Duration(i)*time.Second))
		k.ok("put", k.accounts().PutToken(k.ctx(), t))
	}
	k.ok("invite", k.accounts().PutInvitation(k.ctx(), accounts.Invitation{Uses: 1, Expires: now.Add(time.Nanosecond)}))
	k.crash()
	got, err := k.accounts().Token(k.ctx(), accounts.Digest{3, 1, 2, 3})
	k.ok("token", err)
	same(k, "token", got, token(alice, 3, now.Add(3*time.Second)))
	_, err = k.accounts().Token(k.ctx(), accounts.Digest{9})
	k.is("unknown token", err, accounts.ErrUnknown)

	n, err := k.accounts().PurgeTokens(k.ctx(), now, 10)
	k.ok("purge", err)
	equal(k, "ended before the first end", n, 0)
	n, err = k.accounts().PurgeTokens(k.ctx(), now.Add(2*time.Second), 2)
	k.ok("purge", err)
	equal(k, "ended, at most two", n, 2)
	n, err = k.accounts().PurgeTokens(k.ctx(), now.Add(2*time.Second), 10)
	k.ok("purge", err)
	equal(k, "ended, the rest", n, 1)
	_, err = k.accounts().Invitation(k.ctx(), accounts.Digest{})
	k.is("ended invitation", err, accounts.ErrUnknown)
	_, err = k.accounts().Token(k.ctx(), accounts.Digest{1, 1, 2, 3})
	k.is("ended token", err, accounts.ErrUnknown)
	_, err = k.accounts().Token(k.ctx(), accounts.Digest{2, 1, 2, 3})
	k.ok("token that ends now", err)

	labelled := token(alice, 2, now.Add(2*time.Second))
	labelled.Label = "tablet"
	k.ok("label", k.accounts().SetLabel(k.ctx(), labelled.Digest, "tablet"))
	got, err = k.accounts().Token(k.ctx(), labelled.Digest)
	k.ok("token", err)
	same(k, "labelled token", got, labelled)
	k.ok("delete", k.accounts().DeleteToken(k.ctx(), accounts.Digest{2, 1, 2, 3}))
	k.is("label of none", k.accounts().SetLabel(k.ctx(), labelled.Digest, "x"), accounts.ErrUnknown)
	k.ok("delete again", k.accounts().DeleteToken(k.ctx(), accounts.Digest{2, 1, 2, 3}))
	k.crash()
	_, err = k.accounts().Token(k.ctx(), accounts.Digest{2, 1, 2, 3})
	k.is("deleted token", err, accounts.ErrUnknown)
	left, err := k.accounts().Tokens(k.ctx(), alice)
	k.ok("tokens", err)
	equal(k, "tokens left", len(left), 2)
}

func testDeleteTokens(k *kit) {
	end := k.clock.Now().Add(time.Hour)
	for i := range byte(20) {
		owner := alice
		if i%4 == 0 {
			owner = bob
		}
		k.ok("put", k.accounts().PutToken(k.ctx(), token(owner, i, end)))
	}
	kept := accounts.Digest{5, 1, 2, 3}
	gone, err := k.accounts().DeleteTokens(k.ctx(), alice, kept)
	k.ok("delete", err)
	equal(k, "forgotten", len(gone), 14)
	left, err := k.accounts().Tokens(k.ctx(), alice)
	k.ok("tokens", err)
	same(k, "kept", left, []accounts.Token{token(alice, 5, end)})
	gone, err = k.accounts().DeleteTokens(k.ctx(), alice, accounts.Digest{})
	k.ok("delete again", err)
	same(k, "forgotten then", gone, []accounts.Digest{kept})
	gone, err = k.accounts().DeleteTokens(k.ctx(), alice, accounts.Digest{})
	k.ok("delete once more", err)
	equal(k, "forgotten at last", len(gone), 0)
	k.crash()
	for i := range byte(20) {
		_, err := k.accounts().Token(k.ctx(), accounts.Digest{i, 1, 2, 3})
		if i%4 == 0 {
			k.ok("another's token", err)
		} else {
			k.is("token", err, accounts.ErrUnknown)
		}
	}
	n, err := k.accounts().PurgeTokens(k.ctx(), end.Add(time.Second), 100)
	k.ok("purge", err)
	equal(k, "purged", n, 5)
}

func testInvitation(k *kit) {
	now := k.clock.Now()
	i := accounts.Invitation{
		Digest: accounts.Digest{7}, Uses: 5, Made: 6, Label: "class 3b", By: bob,
		Created: now.UTC(), Expires: now.Add(time.Hour).UTC(),
	}
	k.is("unknown", k.accounts().TakeInvitation(k.ctx(), i.Digest, now), accounts.ErrInvitation)
	k.ok("put", k.accounts().PutInvitation(k.ctx(), i))
	got, err := k.accounts().Invitation(k.ctx(), i.Digest)
	k.ok("invitation", err)
	same(k, "invitation", got, i)
	k.is("over", k.accounts().TakeInvitation(k.ctx(), i.Digest, now.Add(time.Hour)), accounts.ErrInvitation)
	k.ok("take", k.accounts().TakeInvitation(k.ctx(), i.Digest, now))
	k.crash()
	var mu sync.Mutex
	taken := 0
	each(16, func(int) {
		if k.accounts().TakeInvitation(k.ctx(), i.Digest, now) == nil {
			mu.Lock()
			defer mu.Unlock()
			taken++
		}
	})
	equal(k, "taken", taken, 4)
	k.is("used up", k.accounts().TakeInvitation(k.ctx(), i.Digest, now), accounts.ErrInvitation)
}

func testInvitations(k *kit) {
	end := k.clock.Now().Add(time.Hour)
	var all []accounts.Invitation
	for n := range byte(5) {
		i := accounts.Invitation{Digest: accounts.Digest{n}, Uses: 1, Expires: end.UTC()}
		k.ok("put", k.accounts().PutInvitation(k.ctx(), i))
		all = append(all, i)
	}
	page, err := k.accounts().Invitations(k.ctx(), accounts.Digest{}, 3)
	k.ok("first page", err)
	k.ok("delete", k.accounts().DeleteInvitation(k.ctx(), accounts.Digest{3}))
	k.is("delete again", k.accounts().DeleteInvitation(k.ctx(), accounts.Digest{3}), accounts.ErrUnknown)
	k.is("take", k.accounts().TakeInvitation(k.ctx(), accounts.Digest{3}, k.clock.Now()), accounts.ErrInvitation)
	k.crash()
	rest, err := k.accounts().Invitations(k.ctx(), page[len(page)-1].Digest, 3)
	k.ok("second page", err)
	same(k, "invitations", append(page, rest...), append(all[:3:3], all[4]))
	n, err := k.accounts().PurgeTokens(k.ctx(), end.Add(time.Second), 100)
	k.ok("purge", err)
	equal(k, "purged", n, 4)
}

func testTellSession(k *kit) {
	l := chat.Login{State: chat.LoggedIn, ID: "m1", Label: "phone", Addr: "192.0.2.1"}
	for range 2 {
		commit, err := k.chat().TellSession(k.ctx(), alice, l)
		k.durable("tell", commit, err)
	}
	k.crash()
	now := k.clock.Now().UnixMilli()
	same(k, "entries", k.stream(alice), []chat.Entry{
		{USN: 1, Type: chat.EntrySession, TS: now, Login: l}, {USN: 2, Type: chat.EntrySession, TS: now, Login: l},
	})
}
