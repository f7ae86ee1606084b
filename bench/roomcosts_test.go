package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// compared reports numbers of several cases of one run, and what they are in relation to those of the first one.
type compared map[string]float64

func (c compared) report(b *testing.B, first bool, value float64, unit string) {
	b.ReportMetric(value, unit)
	if first {
		c[unit] = value
	} else if c[unit] != 0 {
		b.ReportMetric(value/c[unit], "x-"+unit)
	}
}

// spent are how long things took.
type spent []time.Duration

// micros gives a quantile.
func (s spent) micros(q float64) float64 {
	slices.Sort(s)
	return float64(s[int(q*float64(len(s)-1))].Nanoseconds()) / 1000
}

// heapInUse is how many bytes are in use.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// counted gives a metric of a store.
func counted(b *testing.B, store *pebble.Store, name string) float64 {
	b.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(store.Collectors()...)
	families, err := registry.Gather()
	must(b, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.Fatalf("nobody counts %s", name)
	return 0
}

const (
	loggedBytes = "magpie_store_written_bytes_total"
	diskBytes   = "magpie_store_disk_bytes_total"
)

// hallText is what is said in these benchmarks.
const hallText = "hello to everybody who is in here"

func (r *rooms) say(ctx context.Context, from accounts.Name, to chat.Target) error {
	content, err := chat.ParseContent([]byte(hallText), "text/plain")
	if err != nil {
		return err
	}
	_, commit, err := r.Send(ctx, from, to, content, nil)
	if err != nil {
		return err
	}
	return commit.Wait(ctx)
}

// sayIn has the owner write in a room, and waits until it is acknowledged.
func (r *rooms) sayIn(ctx context.Context, members int) error {
	err := r.say(ctx, hallOwner, chat.Target{Conversation: hallName(members)})
	if err == nil {
		r.sent[members]++
	}
	return err
}

// BenchmarkRooms measures what a message costs in rooms of all sizes, in one run: until it is acknowledged, until all who are
// connected have it, what the unread count of one member takes, and how long two others wait beside that.
func BenchmarkRooms(b *testing.B) {
	r, c := buildHalls(b), compared{}
	for _, members := range halls {
		b.Run(fmt.Sprint("heard by those connected/", members), func(b *testing.B) { r.hear(b, c, members) })
		b.Run(fmt.Sprint("unread of a member/", members), func(b *testing.B) { r.countUnread(b, members) })
		b.Run(fmt.Sprint("two others beside it/", members), func(b *testing.B) { r.whisper(b, c, members) })
	}
	r.manyLarge(b)
}

func (r *rooms) hear(b *testing.B, c compared, members int) {
	before := counted(b, r.store, loggedBytes)
	var acked spent
	for b.Loop() {
		heard, start := r.heard[members].Load(), time.Now()
		must(b, r.sayIn(b.Context(), members))
		acked = append(acked, time.Since(start))
		wait(b, r.heard[members], heard+int64(r.there[members]))
	}
	n, first := float64(b.N), members == 2
	c.report(b, first, (counted(b, r.store, loggedBytes)-before)/n, "logged/msg")
	c.report(b, first, acked.micros(0.5), "us/acked")
	c.report(b, first, n*float64(r.there[members])/b.Elapsed().Seconds(), "heard/s")
	c.report(b, first, b.Elapsed().Seconds()*1e6/n, "us/heard-by-all")
	b.ReportMetric(r.costs[members].member, "B/member")
	b.ReportMetric(r.costs[members].connected, "B/connected")
}

func (r *rooms) countUnread(b *testing.B, members int) {
	who := crowdName(0)
	if members > 2 {
		who = hallMember(members, members/2)
	}
	for b.Loop() {
		u, err := r.Unread(b.Context(), who)
		if err != nil || u.Total != r.sent[members] {
			b.Fatalf("%d unread of %d, %v", u.Total, r.sent[members], err)
		}
	}
}

// whisper measures two people who write to each other while in a room one message follows the other, each as soon as all have
// heard the last one.
func (r *rooms) whisper(b *testing.B, c compared, members int) {
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- r.flood(ctx, members) }()
	const each = 10
	var acked, arrived spent
	for b.Loop() {
		for range each {
			before, start := r.whispered.Load(), time.Now()
			must(b, r.say(b.Context(), whisperers[0], chat.Target{User: whisperers[1]}))
			acked = append(acked, time.Since(start))
			wait(b, &r.whispered, before+1)
			arrived = append(arrived, time.Since(start))
		}
	}
	stop()
	must(b, <-ended)
	first := members == 2
	c.report(b, first, acked.micros(0.5), "us/ack-p50")
	c.report(b, first, acked.micros(0.99), "us/ack-p99")
	c.report(b, first, arrived.micros(0.5), "us/arrival-p50")
	c.report(b, first, arrived.micros(0.99), "us/arrival-p99")
}

// flood writes in a room until it is told to stop.
func (r *rooms) flood(ctx context.Context, members int) error {
	for ctx.Err() == nil {
		heard := r.heard[members].Load() + int64(r.there[members])
		if err := r.sayIn(context.WithoutCancel(ctx), members); err != nil {
			return err
		}
		until(ctx, r.heard[members], heard)
	}
	return nil
}

// until is wait for who may be told to give up.
func until(ctx context.Context, n *atomic.Int64, to int64) {
	for n.Load() < to && ctx.Err() == nil {
		time.Sleep(100 * time.Microsecond)
	}
}

func (r *rooms) manyLarge(b *testing.B) {
	const busy, rooms = accounts.Name("busy"), 500
	b.Run("unread of who is in 500 large rooms", func(b *testing.B) {
		for i := range rooms {
			c := chat.Conversation(fmt.Sprintf("g.busy%d", i))
			settle(b, r.store, c, []accounts.Name{busy}, true)
			must(b, r.say(b.Context(), hallOwner, chat.Target{Conversation: c}))
		}
		for b.Loop() {
			if u, err := r.Unread(b.Context(), busy); err != nil || u.Total != rooms {
				b.Fatalf("%d unread, %v", u.Total, err)
			}
		}
	})
}

// BenchmarkRoomsOnDisk measures what a message in rooms of all sizes writes to the disk in the end, with the tables that are
// made of the log and merged. Nobody is connected.
func BenchmarkRoomsOnDisk(b *testing.B) {
	c := compared{}
	for _, members := range halls {
		b.Run(fmt.Sprint(members), func(b *testing.B) { writeMuch(b, c, members) })
	}
}

func writeMuch(b *testing.B, c compared, members int) {
	const share = 1 << 20 // bytes of the log for each round
	store, messenger := openChatWith(b, pebble.Config{Dir: b.TempDir(), MemTableSize: 2 << 20})
	if members == 2 {
		befriend(b, messenger, hallOwner, crowdName(0))
	} else {
		names := make([]accounts.Name, members-1)
		for i := range names {
			names[i] = hallMember(members, i)
		}
		for slice := range slices.Chunk(names, 500) {
			settle(b, store, hallName(members), slice, members > 2000)
		}
	}
	r := rooms{Service: messenger}
	logged, disk := counted(b, store, loggedBytes), counted(b, store, diskBytes)
	sent, next := 0, logged
	for b.Loop() {
		for next += share; counted(b, store, loggedBytes) < next; {
			sent += sayTogether(b, &r, members)
		}
	}
	seconds, first := b.Elapsed().Seconds(), members == 2
	logged, disk = counted(b, store, loggedBytes)-logged, counted(b, store, diskBytes)-disk
	c.report(b, first, logged/float64(sent), "logged/msg")
	c.report(b, first, disk/float64(sent), "disk/msg")
	b.ReportMetric(disk/logged, "disk/logged")
	c.report(b, first, float64(sent)/seconds, "msg/s")
	must(b, store.Close())
}

// sayTogether writes some messages of which none waits for another one.
func sayTogether(b *testing.B, r *rooms, members int) int {
	const together = 64
	failed := make(chan error, together)
	for range together {
		go func() { failed <- r.say(b.Context(), hallOwner, chat.Target{Conversation: hallName(members)}) }()
	}
	for range together {
		must(b, <-failed)
	}
	return together
}
