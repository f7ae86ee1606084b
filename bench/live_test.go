package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/hooks"
	"github.com/magpie-im/magpie/store/pebble"
)

// liveViewers are those of the room that is measured.
const liveViewers = 2000

// theatre is a messenger with its sessions, whose clients take whatever comes.
type theatre struct {
	*chat.Service
	registry *sessions.Registry
}

func openTheatre(b *testing.B, users int) theatre {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: "data", FS: vfs.NewMem()}, log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	for i := range users {
		if err := store.Accounts().CreateUser(b.Context(), accounts.User{Name: crowdName(i)}); err != nil {
			b.Fatal(err)
		}
	}
	acc := accounts.New(accounts.DefaultConfig(), store.Accounts(), log)
	streams := &hooks.Streams{}
	registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), streams, log)
	messenger := chat.New(chat.DefaultConfig(), store.Chat(), acc, registry, log)
	streams.Bind(messenger)
	hooks.NewLive(registry, messenger)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- messenger.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return theatre{messenger, registry}
}

// sit connects somebody who subscribes to a topic.
func (h theatre) sit(b *testing.B, who accounts.Name, topic string, published *atomic.Int64) {
	b.Helper()
	link, err := h.registry.Connect(b.Context(), sessions.Connect{
		Key: sessions.Key{Account: who, Client: "c"}, Version: 4, CleanStart: true, Wire: counter{published}})
	if err != nil {
		b.Fatal(err)
	}
	link.Start()
	sub := sessions.Subscription{Filter: topic, Spelling: topic}
	if err := link.Subscribe(b.Context(), 1, []sessions.Grant{{Subscription: sub}}); err != nil {
		b.Fatal(err)
	}
}

// say has somebody write so many messages, by a few at the same time, as many writers do.
func (h theatre) say(b *testing.B, who accounts.Name, c chat.Conversation, n int) {
	b.Helper()
	body := json.RawMessage(`{"text":"what a beautiful evening this is"}`)
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := g; i < n; i += 16 {
				_, commit, err := h.Send(b.Context(), who, chat.Target{Conversation: c}, chat.Content{Body: body}, nil)
				if err == nil {
					err = commit.Wait(b.Context())
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkLive measures what a message costs for each who is shown it: in a conversation of two, whose stream brings it, and
// in a live room of 2,000 viewers.
func BenchmarkLive(b *testing.B) {
	const burst = 256
	measure := func(b *testing.B, h theatre, who accounts.Name, c chat.Conversation, each int, published *atomic.Int64) {
		b.Helper()
		sent := 0
		for b.Loop() {
			before := published.Load()
			h.say(b, who, c, burst)
			wait(b, published, before+int64(burst*each))
			sent += burst
		}
		seconds := b.Elapsed().Seconds()
		b.ReportMetric(float64(sent*each)/seconds, "shown/s")
		b.ReportMetric(float64(sent)/seconds, "msg/s")
		b.ReportMetric(seconds*1e9/float64(sent*each), "ns/shown")
	}
	b.Run("two people", func(b *testing.B) {
		h, published := openTheatre(b, 2), &atomic.Int64{}
		_, _, err := h.RequestContact(b.Context(), crowdName(0), crowdName(1), "", nil)
		if err == nil {
			_, _, err = h.AcceptContact(b.Context(), crowdName(1), crowdName(0), nil)
		}
		if err != nil {
			b.Fatal(err)
		}
		for i := range 2 {
			h.sit(b, crowdName(i), fmt.Sprintf("im/u/%s/in", crowdName(i)), published)
		}
		measure(b, h, crowdName(0), chat.Direct(crowdName(0), crowdName(1)), 2, published)
	})
	b.Run("a room of 2000", func(b *testing.B) {
		h, published := openTheatre(b, liveViewers), &atomic.Int64{}
		title := "show"
		room, _, commit, err := h.CreateRoom(b.Context(), crowdName(0), chat.KindLive, chat.RoomPatch{Title: &title}, nil, nil)
		if err == nil {
			err = commit.Wait(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
		before := heap()
		for i := range liveViewers {
			h.sit(b, crowdName(i), "im/c/"+string(room)+"/live", published)
		}
		wait(b, published, liveViewers) // each is told how many they are
		perViewer := float64(heap()-before) / liveViewers
		measure(b, h, crowdName(0), room, liveViewers, published)
		b.ReportMetric(perViewer, "B/viewer")
	})
}
