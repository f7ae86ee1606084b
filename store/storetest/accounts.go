package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

var accountTests = []test{
	{"a user comes back as it was created", testUser},
	{"a name is taken once", testTaken},
	{"users are listed by name", testUsers},
	{"tokens come, go and end", testTokens},
	{"all tokens of an account go at once", testDeleteTokens},
	{"an invitation is used as often as it may", testInvitation},
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

	k.ok("password", k.accounts().SetPassword(k.ctx(), alice, "other"))
	k.ok("disable", k.accounts().SetDisabled(k.ctx(), alice, true))
	k.is("password of a stranger", k.accounts().SetPassword(k.ctx(), bob, "x"), accounts.ErrUnknown)
	k.is("disable a stranger", k.accounts().SetDisabled(k.ctx(), bob, true), accounts.ErrUnknown)
	k.crash()
	u.Password, u.Disabled = "other", true
	got, err = k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	same(k, "changed user", got, u)
	k.ok("enable", k.accounts().SetDisabled(k.ctx(), alice, false))
	got, err = k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	equal(k, "disabled", got.Disabled, false)
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

	k.ok("delete", k.accounts().DeleteToken(k.ctx(), accounts.Digest{2, 1, 2, 3}))
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
	n, err := k.accounts().DeleteTokens(k.ctx(), alice)
	k.ok("delete", err)
	equal(k, "forgotten", n, 15)
	n, err = k.accounts().DeleteTokens(k.ctx(), alice)
	k.ok("delete again", err)
	equal(k, "forgotten again", n, 0)
	k.crash()
	for i := range byte(20) {
		_, err := k.accounts().Token(k.ctx(), accounts.Digest{i, 1, 2, 3})
		if i%4 == 0 {
			k.ok("another's token", err)
		} else {
			k.is("token", err, accounts.ErrUnknown)
		}
	}
	n, err = k.accounts().PurgeTokens(k.ctx(), end.Add(time.Second), 100)
	k.ok("purge", err)
	equal(k, "purged", n, 5)
}

func testInvitation(k *kit) {
	now := k.clock.Now()
	i := accounts.Invitation{Digest: accounts.Digest{7}, Uses: 5, Expires: now.Add(time.Hour).UTC()}
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
