package main

import (
	"log/slog"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/hooks"
	"github.com/magpie-im/magpie/store/pebble"
)

// popular makes a messenger on the disk with users, of whom many are contacts of star.
func popular(b *testing.B, cfg chat.Config) (*chat.Service, *pebble.Store) {
	b.Helper()
	ctx, log := b.Context(), slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	users := append(make([]accounts.Name, 0, presenceUsers), star)
	for i := range presenceUsers - 1 {
		users = append(users, crowdName(i))
	}
	const together = 500 // share the syncs of the disk
	failed := make(chan error, together)
	for g := range together {
		go func() {
			var err error
			for i := g; i < len(users) && err == nil; i += together {
				err = store.Accounts().CreateUser(ctx, accounts.User{Name: users[i]})
			}
			failed <- err
		}()
	}
	for range together {
		must(<-failed)
	}
	acc := accounts.New(accounts.DefaultConfig(), store.Accounts(), log)
	registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), &hooks.Streams{}, log)
	messenger := chat.New(cfg, store.Chat(), acc, registry, log)
	var last chat.Commit
	for _, name := range users[1 : presenceContacts+1] {
		_, _, err := messenger.RequestContact(ctx, name, star, "", nil)
		must(err)
		_, last, err = messenger.AcceptContact(ctx, star, name, nil)
		must(err)
	}
	must(last.Wait(ctx))
	return messenger, store
}

// BenchmarkContacts measures what a list of 5,000 contacts costs among 100,000 accounts.
func BenchmarkContacts(b *testing.B) {
	m, _ := popular(b, chat.DefaultConfig())
	ctx := b.Context()
	b.Run("list of 5000, in pages of 200", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for after := accounts.Name(""); ; {
				page, err := m.ListContacts(ctx, star, after, 200)
				if err != nil {
					b.Fatal(err)
				}
				if n += len(page); len(page) < 200 {
					break
				}
				after = page[len(page)-1].Who
			}
			if n != presenceContacts {
				b.Fatalf("got %d contacts, want %d", n, presenceContacts)
			}
		}
	})
	b.Run("10 changes of that list", func(b *testing.B) {
		version, err := m.ContactVersion(ctx, star)
		if err != nil {
			b.Fatal(err)
		}
		remark := "an old friend"
		for i := range 10 {
			if _, _, err := m.NoteContact(ctx, star, crowdName(i*100), &remark, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			page, err := m.ContactChanges(ctx, star, version, 200)
			if err != nil || len(page.Contacts) != 10 {
				b.Fatalf("got %d changes, %v, want 10", len(page.Contacts), err)
			}
		}
	})
	b.Run("nothing has changed", func(b *testing.B) {
		version, err := m.ContactVersion(ctx, star)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if page, err := m.ContactChanges(ctx, star, version, 200); err != nil || len(page.Contacts) != 0 {
				b.Fatalf("got %d changes, %v, want none", len(page.Contacts), err)
			}
		}
	})
	b.Run("a remark, durable", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			remark := string(crowdName(i))
			_, commit, err := m.NoteContact(ctx, star, crowdName(i%presenceContacts), &remark, nil, nil)
			if err == nil {
				err = commit.Wait(ctx)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
