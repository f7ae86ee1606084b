package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
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

// liveViewers are those of the room that is measured.
const liveViewers = 2000

// theatre is a messenger with its sessions, whose clients take whatever comes.
type theatre struct {
	*chat.Service
	registry *sessions.Registry
	store    *pebble.Store
}

func openTheatre(b *testing.B, users int) theatre {
	b.Helper()
	h, shut := openTheatreWith(b, pebble.Config{Dir: "data", FS: vfs.NewMem()})
	b.Cleanup(shut)
	for i := range users {
		must(b, h.store.Accounts().CreateUser(b.Context(), accounts.User{Name: crowdName(i)}))
	}
	return h
}

// openTheatreWith opens what there is. The caller shuts it.
func openTheatreWith(b *testing.B, cfg pebble.Config) (h theatre, shut func()) {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(cfg, log)
	must(b, err)
	acc := accounts.New(accounts.DefaultConfig(), store.Accounts(), log)
	streams := &hooks.Streams{}
	registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), streams, log)
	messenger := chat.New(chat.DefaultConfig(), store.Chat(), acc, registry, log)
	streams.Bind(messenger)
	hooks.NewLive(registry, messenger)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- messenger.Run(ctx) }()
	return theatre{messenger, registry, store}, func() {
		cancel()
		must(b, <-ended)
		must(b, store.Close())
	}
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
	h.write(b, who, c, n, json.RawMessage(`{"text":"what a beautiful evening this is"}`))
}

func (h theatre) write(b *testing.B, who accounts.Name, c chat.Conversation, n int, body json.RawMessage) {
	b.Helper()
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
// in live rooms of 2 and of 2,000 viewers.
func BenchmarkLive(b *testing.B) {
	b.Run("two people", func(b *testing.B) {
		h, published := openTheatre(b, 2), &atomic.Int64{}
		befriend(b, h.Service, crowdName(0), crowdName(1))
		for i := range 2 {
			h.sit(b, crowdName(i), fmt.Sprintf("im/u/%s/in", crowdName(i)), published)
		}
		h.measure(b, compared{}, chat.Direct(crowdName(0), crowdName(1)), 2, published)
	})
	c := compared{}
	for _, viewers := range []int{2, liveViewers} {
		h, published := openTheatre(b, max(viewers, smallRooms)), &atomic.Int64{}
		room := h.open(b, crowdName(0))
		before := heapInUse()
		for i := range viewers {
			h.sit(b, crowdName(i), "im/c/"+string(room)+"/live", published)
		}
		wait(b, published, int64(viewers)) // each is told how many they are
		perViewer := float64(heapInUse()-before) / float64(viewers)
		if viewers == 2 {
			perViewer = h.manySmall(b)
		}
		b.Run(fmt.Sprintf("a room of %d", viewers), func(b *testing.B) {
			h.measure(b, c, room, viewers, published)
			c.report(b, viewers == 2, perViewer, "B/viewer")
		})
		b.Run(fmt.Sprintf("the last viewer/%d", viewers), func(b *testing.B) { h.last(b, c, room, viewers, published) })
		b.Run(fmt.Sprintf("likes/%d", viewers), func(b *testing.B) { h.like(b, c, room, viewers, published) })
	}
}

// open makes a live room.
func (h theatre) open(b *testing.B, who accounts.Name) chat.Conversation {
	b.Helper()
	title := "show"
	room, _, commit, err := h.CreateRoom(b.Context(), who, chat.KindLive, chat.RoomPatch{Title: &title}, nil, nil)
	must(b, err)
	must(b, commit.Wait(b.Context()))
	return room
}

// smallRooms are how many rooms of 2 viewers are opened to see what they take.
const smallRooms = 50

// manySmall gives the bytes for each viewer of rooms of two, with the room.
func (h theatre) manySmall(b *testing.B) float64 {
	b.Helper()
	published, before := &atomic.Int64{}, heapInUse()
	for i := range smallRooms {
		topic := "im/c/" + string(h.open(b, crowdName(i))) + "/live"
		for j := range 2 {
			h.sit(b, accounts.Name(fmt.Sprintf("v%03d", 2*i+j)), topic, published)
		}
	}
	wait(b, published, 2*smallRooms)
	return float64(heapInUse()-before) / (2 * smallRooms)
}

// measure has 256 messages written at a time, by 16.
func (h theatre) measure(b *testing.B, c compared, room chat.Conversation, each int, published *atomic.Int64) {
	const burst = 256
	sent := 0
	for b.Loop() {
		before := published.Load()
		h.say(b, crowdName(0), room, burst)
		wait(b, published, before+int64(burst*each))
		sent += burst
	}
	seconds, first := b.Elapsed().Seconds(), each == 2
	c.report(b, first, float64(sent*each)/seconds, "shown/s")
	c.report(b, first, float64(sent)/seconds, "msg/s")
	c.report(b, first, seconds*1e9/float64(sent*each), "ns/shown")
}

// last measures one message after the other, from sending to the last viewer.
func (h theatre) last(b *testing.B, c compared, room chat.Conversation, viewers int, published *atomic.Int64) {
	var shown spent
	for b.Loop() {
		before, start := published.Load(), time.Now()
		h.say(b, crowdName(0), room, 1)
		wait(b, published, before+int64(viewers))
		shown = append(shown, time.Since(start))
	}
	c.report(b, viewers == 2, shown.micros(0.5), "us/last-viewer-p50")
	c.report(b, viewers == 2, shown.micros(0.99), "us/last-viewer-p99")
}

// like measures likes, each of which is acknowledged by itself, and how many packets the viewers get of them.
func (h theatre) like(b *testing.B, c compared, room chat.Conversation, viewers int, published *atomic.Int64) {
	const burst = 1024
	before, sent := published.Load(), 0
	for b.Loop() {
		h.write(b, crowdName(0), room, burst, json.RawMessage(`{"text":"+1","p":"like"}`))
		sent += burst
	}
	seconds := b.Elapsed().Seconds()
	c.report(b, viewers == 2, float64(sent)/seconds, "likes/s")
	b.ReportMetric(float64(published.Load()-before)/float64(sent)/float64(viewers), "packets/like-and-viewer")
}
