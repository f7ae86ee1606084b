package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

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
	sent  map[int]uint64
	costs map[int]hallCosts

	whispered atomic.Int64 // PUBLISH packets to the one of two people who is written to beside all that
}

// hallCosts are bytes of memory.
type hallCosts struct{ member, connected float64 }

// whisperers are two people who are in no room.
var whisperers = [2]accounts.Name{"whisperer", "listener"}

const hallConnected = 2000

func buildHalls(b *testing.B) *rooms {
	b.Helper()
	ctx, log := b.Context(), slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, log)
	must(b, err)
	b.Cleanup(func() { must(b, store.Close()) })
	acc := accounts.New(accounts.DefaultConfig(), store.Accounts(), log)
	for _, who := range []accounts.Name{hallOwner, crowdName(0), whisperers[0], whisperers[1]} {
		must(b, store.Accounts().CreateUser(ctx, accounts.User{Name: who}))
	}
	streams := &hooks.Streams{}
	registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), streams, log)
	r := &rooms{
		Service: chat.New(chat.DefaultConfig(), store.Chat(), acc, registry, log), store: store,
		heard: map[int]*atomic.Int64{}, there: map[int]int{}, sent: map[int]uint64{}, costs: map[int]hallCosts{},
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
	befriend(b, r.Service, whisperers[0], whisperers[1])
	r.connect(b, registry, whisperers[1], 1, &r.whispered)
	return r
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// befriend makes two people contacts.
func befriend(b *testing.B, m *chat.Service, one, other accounts.Name) {
	b.Helper()
	_, _, err := m.RequestContact(b.Context(), one, other, "", nil)
	must(b, err)
	_, _, err = m.AcceptContact(b.Context(), other, one, nil)
	must(b, err)
}

// build makes a conversation, in slices, and connects some of its members. Nobody is in two of them.
func (r *rooms) build(b *testing.B, registry *sessions.Registry, members int) {
	b.Helper()
	start, before := time.Now(), heapInUse()
	names := make([]accounts.Name, members-1)
	for i := range names {
		names[i] = hallMember(members, i)
	}
	if members == 2 {
		names[0] = crowdName(0)
		befriend(b, r.Service, hallOwner, names[0])
	} else {
		for slice := range slices.Chunk(names, 500) {
			settle(b, r.store, hallName(members), slice, members > 2000)
		}
	}
	took, joined := time.Since(start), heapInUse()
	r.heard[members], r.there[members] = &atomic.Int64{}, min(len(names), hallConnected)
	for i, who := range names[:r.there[members]] {
		r.connect(b, registry, who, uint64(members*10+i), r.heard[members])
	}
	r.costs[members] = hallCosts{
		float64(joined-before) / float64(members), float64(heapInUse()-joined) / float64(r.there[members]),
	}
	b.Logf("%d members join within %v", members, took.Round(time.Millisecond))
}

// connect has somebody read his stream.
func (r *rooms) connect(b *testing.B, registry *sessions.Registry, who accounts.Name, id uint64, heard *atomic.Int64) {
	b.Helper()
	link, err := registry.Connect(b.Context(), sessions.Connect{
		Key: sessions.Key{Account: who, Client: "c"}, Version: 4, CleanStart: true, Wire: counter{heard}})
	must(b, err)
	r.Arrive(who, chat.Connection{ID: id})
	link.Start()
	in := sessions.Subscription{Filter: "im/u/" + string(who) + "/in"}
	must(b, link.Subscribe(b.Context(), 1, []sessions.Grant{{Subscription: in}}))
	_, err = r.Heads(b.Context(), who, "", func(chat.Event) bool { return true })
	must(b, err)
}

// settle has people join a room, which is made if there is none.
func settle(b *testing.B, store *pebble.Store, c chat.Conversation, slice []accounts.Name, large bool) {
	b.Helper()
	_, commit, err := store.Chat().ChangeRoom(b.Context(), chat.RoomChange{
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
