package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/hooks"
	"github.com/magpie-im/magpie/store/pebble"
)

// halls are the conversations of these benchmarks: two people, and rooms of so many.
var halls = []int{2, 50, 2000, 100_000}

// hallOwner writes in all of them.
const hallOwner = accounts.Name("owner")

func hallName(members int) chat.Conversation {
	if members == 2 {
		return chat.Direct(hallOwner, crowdName(0))
	}
	return chat.Conversation(fmt.Sprintf("g.of%d", members))
}

func hallMember(members, i int) accounts.Name {
	return accounts.Name(fmt.Sprintf("r%dx%06d", members, i))
}

// rooms is a messenger with a store on the disk and conversations of all sizes, of which up to so many members are
// connected.
type rooms struct {
	*chat.Service
	store *pebble.Store
	heard map[int]*atomic.Int64 // PUBLISH packets to those who are connected, by the size of the room
	there map[int]int           // how many are
}

const hallConnected = 2000

func buildHalls(b *testing.B) *rooms {
	b.Helper()
	ctx, log := b.Context(), slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, log)
	must(b, err)
	b.Cleanup(func() { must(b, store.Close()) })
	acc := accounts.New(accounts.DefaultConfig(), store.Accounts(), log)
	for _, who := range []accounts.Name{hallOwner, crowdName(0)} {
		must(b, store.Accounts().CreateUser(ctx, accounts.User{Name: who}))
	}
	streams := &hooks.Streams{}
	registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), streams, log)
	r := &rooms{
		Service: chat.New(chat.DefaultConfig(), store.Chat(), acc, registry, log), store: store,
		heard: map[int]*atomic.Int64{}, there: map[int]int{},
	}
	streams.Bind(r.Service)
	hooks.NewLive(registry, r.Service)
	background, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(background) }()
	b.Cleanup(func() {
		cancel()
		must(b, <-ended)
	})
	for _, members := range halls {
		r.build(b, registry, members)
	}
	return r
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// build makes a conversation, in slices, and connects some of its members. Nobody is in two of them.
func (r *rooms) build(b *testing.B, registry *sessions.Registry, members int) {
	b.Helper()
	ctx, start, before := b.Context(), time.Now(), heapInUse()
	names := make([]accounts.Name, members-1)
	for i := range names {
		names[i] = hallMember(members, i)
	}
	if members == 2 {
		names[0] = crowdName(0)
		_, _, err := r.RequestContact(ctx, hallOwner, names[0], "", nil)
		must(b, err)
		_, _, err = r.AcceptContact(ctx, names[0], hallOwner, nil)
		must(b, err)
	} else {
		for slice := range slices.Chunk(names, 500) {
			r.settle(b, hallName(members), slice, members > 2000)
		}
	}
	r.heard[members], r.there[members] = &atomic.Int64{}, min(len(names), hallConnected)
	for i, who := range names[:r.there[members]] {
		link, err := registry.Connect(ctx, sessions.Connect{
			Key: sessions.Key{Account: who, Client: "c"}, Version: 4, CleanStart: true, Wire: counter{r.heard[members]}})
		must(b, err)
		r.Arrive(who, chat.Connection{ID: uint64(members*10 + i)})
		link.Start()
		must(b, link.Subscribe(ctx, 1, []sessions.Grant{{Subscription: sessions.Subscription{Filter: "im/u/" + string(who) + "/in"}}}))
		_, err = r.Heads(ctx, who, "", func(chat.Event) bool { return true })
		must(b, err)
	}
	b.Logf("%d members, %d of them connected, within %v; %d bytes of memory for each", members, r.there[members],
		time.Since(start).Round(time.Millisecond), (heapInUse()-before)/int64(members))
}

func (r *rooms) settle(b *testing.B, c chat.Conversation, slice []accounts.Name, large bool) {
	b.Helper()
	_, commit, err := r.store.Chat().ChangeRoom(b.Context(), chat.RoomChange{
		Conversation: c, By: hallOwner, Who: slice, Step: func(x *chat.Room) (chat.RoomTold, error) {
			if !x.Exists() {
				x.Owner, x.Created, x.Large = hallOwner, x.Now, large
				x.Enter(hallOwner, chat.RoleOwner)
			}
			for _, who := range slice {
				x.Enter(who, chat.RoleMember)
			}
			return chat.RoomTold{}, nil
		}})
	must(b, err)
	must(b, commit.Wait(b.Context()))
}

// heapInUse is how many bytes are in use.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// written is how many bytes the store has written to its log.
func (r *rooms) written(b *testing.B) float64 {
	b.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.store.Collectors()...)
	families, err := registry.Gather()
	must(b, err)
	for _, f := range families {
		if f.GetName() == "magpie_store_written_bytes_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.Fatal("nobody counts what is written")
	return 0
}

// BenchmarkRooms measures what a message costs in rooms of all sizes, in one run: until it is acknowledged, until all who are
// connected have it, and what the unread count of one member takes.
func BenchmarkRooms(b *testing.B) {
	r := buildHalls(b)
	content, err := chat.ParseContent([]byte("hello to everybody who is in here"), "text/plain")
	must(b, err)
	sent := map[int]uint64{}
	send := func(b *testing.B, members int) {
		_, commit, err := r.Send(b.Context(), hallOwner, chat.Target{Conversation: hallName(members)}, content, nil)
		must(b, err)
		must(b, commit.Wait(b.Context()))
		sent[members]++
	}
	for _, members := range halls {
		b.Run(fmt.Sprint("heard by those connected/", members), func(b *testing.B) {
			before := r.written(b)
			var acked time.Duration
			for b.Loop() {
				heard, start := r.heard[members].Load(), time.Now()
				send(b, members)
				acked += time.Since(start)
				wait(b, r.heard[members], heard+int64(r.there[members]))
			}
			n := float64(b.N)
			b.ReportMetric((r.written(b)-before)/n, "written/msg")
			b.ReportMetric(float64(acked.Microseconds())/n, "us/acked")
			b.ReportMetric(n*float64(r.there[members])/b.Elapsed().Seconds(), "heard/s")
		})
		b.Run(fmt.Sprint("unread of a member/", members), func(b *testing.B) {
			who := crowdName(0)
			if members > 2 {
				who = hallMember(members, members/2)
			}
			for b.Loop() {
				u, err := r.Unread(b.Context(), who)
				if err != nil || u.Total != sent[members] {
					b.Fatalf("%d unread of %d, %v", u.Total, sent[members], err)
				}
			}
		})
	}
	const busy = accounts.Name("busy")
	for i := range 500 {
		c := chat.Conversation(fmt.Sprintf("g.busy%d", i))
		r.settle(b, c, []accounts.Name{busy}, true)
		_, commit, err := r.Send(b.Context(), hallOwner, chat.Target{Conversation: c}, content, nil)
		must(b, err)
		must(b, commit.Wait(b.Context()))
	}
	b.Run("unread of who is in 500 large rooms", func(b *testing.B) {
		for b.Loop() {
			if u, err := r.Unread(b.Context(), busy); err != nil || u.Total != 500 {
				b.Fatalf("%d unread, %v", u.Total, err)
			}
		}
	})
}
