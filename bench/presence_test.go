package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/hooks"
	"github.com/magpie-im/magpie/store/pebble"
)

// presenceUsers are the accounts of the benchmarks of presence, and presenceContacts how many of them are contacts of star.
const (
	presenceUsers    = 100_000
	presenceContacts = 5_000
	star             = accounts.Name("star")
)

// counter is a wire that counts PUBLISH packets.
type counter struct{ published *atomic.Int64 }

func (c counter) Publish(sessions.Publish) error { c.published.Add(1); return nil }
func (counter) Ack(sessions.Ack) error           { return nil }
func (counter) Suback(uint16, []byte) error      { return nil }
func (counter) Unsuback(uint16, []byte) error    { return nil }
func (counter) Disconnect(byte)                  {}
func (counter) Buffered() int                    { return 0 }

func crowdName(i int) accounts.Name { return accounts.Name(fmt.Sprintf("u%06d", i)) }

func wait(b *testing.B, n *atomic.Int64, to int64) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); n.Load() < to; {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d came", n.Load(), to)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// crowdOf makes a messenger with users, of whom many are contacts of star, connected, and watching all their contacts.
func crowdOf(b *testing.B) (*chat.Service, *atomic.Int64) {
	b.Helper()
	ctx, log := b.Context(), slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: "data", FS: vfs.NewMem()}, log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(store.Accounts().CreateUser(ctx, accounts.User{Name: star}))
	for i := range presenceUsers {
		must(store.Accounts().CreateUser(ctx, accounts.User{Name: crowdName(i)}))
	}
	acc := accounts.New(accounts.DefaultConfig(), store.Accounts(), log)
	streams := &hooks.Streams{}
	registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), streams, log)
	cfg := chat.DefaultConfig()
	cfg.Grace, cfg.MaxRequests, cfg.MaxContacts = 0, 0, 0
	messenger := chat.New(cfg, store.Chat(), acc, registry, log)
	streams.Bind(messenger)
	hooks.NewLive(registry, messenger)
	background, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- messenger.Run(background) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	published := &atomic.Int64{}
	for i := range presenceContacts {
		name := crowdName(i)
		_, _, err := messenger.RequestContact(ctx, name, star, "", nil)
		must(err)
		_, _, err = messenger.AcceptContact(ctx, star, name, nil)
		must(err)
		link, err := registry.Connect(ctx, sessions.Connect{
			Key: sessions.Key{Account: name, Client: "c"}, Version: 4, CleanStart: true, Wire: counter{published}})
		must(err)
		link.Start()
		filter := "im/p/+/" + string(name)
		must(link.Subscribe(ctx, 1, []sessions.Grant{{Subscription: sessions.Subscription{Filter: filter, Spelling: "im/p/+"}}}))
	}
	for i := range presenceUsers {
		messenger.Arrive(crowdName(i), chat.Connection{ID: uint64(i)})
	}
	start := time.Now()
	messenger.Arrive(star, chat.Connection{ID: 1 << 40}) // behind all others
	wait(b, published, 2*presenceContacts)
	b.Logf("%d people came, and %d heard of the last one, within %v", presenceUsers, presenceContacts, time.Since(start))
	messenger.Depart(ctx, star, 1<<40)
	wait(b, published, 3*presenceContacts)
	<-time.After(1100 * time.Millisecond) // the pause between two changes
	return messenger, published
}

// BenchmarkPresence measures what presence costs with 100,000 people who are there.
func BenchmarkPresence(b *testing.B) {
	messenger, published := crowdOf(b)
	b.Run("told to 5000", func(b *testing.B) {
		id := uint64(1 << 32)
		for b.Loop() {
			before := published.Load()
			id++
			messenger.Arrive(star, chat.Connection{ID: id})
			wait(b, published, before+presenceContacts)
			b.StopTimer()
			messenger.Depart(b.Context(), star, id)
			wait(b, published, before+2*presenceContacts)
			<-time.After(1100 * time.Millisecond) // the pause between two changes
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/presenceContacts, "us/told")
	})
	b.Run("asked for 200", func(b *testing.B) {
		var who []accounts.Name
		for i := range 200 {
			who = append(who, crowdName(i*(presenceUsers/200)/20))
		}
		for b.Loop() {
			p, err := messenger.Presences(b.Context(), star, who)
			if err != nil || !p[0].On {
				b.Fatal(p, err)
			}
		}
	})
	b.Run("asked for 200 who are away", func(b *testing.B) {
		who := make([]accounts.Name, 200)
		for i := range who {
			who[i] = star
		}
		for b.Loop() {
			if _, err := messenger.Presences(b.Context(), crowdName(0), who); err != nil {
				b.Fatal(err)
			}
		}
	})
}
