package main

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/pebble"
)

// acking is a client that acknowledges what comes, and counts messages, also those in batches.
type acking struct {
	counter
	ids     chan uint16
	packets *atomic.Int64
}

func (w acking) Publish(p sessions.Publish) error {
	w.packets.Add(1)
	w.published.Add(int64(bytes.Count(p.Payload, []byte(`"t":"msg"`))))
	if p.QoS > 0 {
		w.ids <- p.ID
	}
	return nil
}

// comeback is a session of star.
func comeback(b *testing.B, h theatre, client string, batch bool) (link *sessions.Link, w acking, leave func()) {
	b.Helper()
	w = acking{counter{&atomic.Int64{}}, make(chan uint16, 1<<16), &atomic.Int64{}}
	link, err := h.registry.Connect(b.Context(), sessions.Connect{
		Key: sessions.Key{Account: star, Client: client}, Version: 5, ExpirySeconds: 3600, Wire: w,
		Options: sessions.Options{Batch: batch},
	})
	must(b, err)
	link.Start()
	gone, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case id := <-w.ids:
				link.Puback(id, 0)
			case <-gone:
				return
			}
		}
	}()
	return link, w, func() {
		link.End(sessions.End{})
		close(gone)
		<-done
	}
}

// BenchmarkReturn measures somebody who comes back after many messages, just after a start of the server: the list that he is
// given first, the memory that he takes by then, and how long it takes until he has all messages, with QoS 1, one by one and
// in batches.
func BenchmarkReturn(b *testing.B) {
	c := compared{}
	for i, size := range []struct{ conversations, messages int }{{1, 20}, {1, 100_000}, {5000, 100_000}} {
		var r *homecoming // is called twice, but it takes long, and the second time would not be just after a start
		b.Run(fmt.Sprintf("%d conversations, %d messages", size.conversations, size.messages), func(b *testing.B) {
			if r == nil {
				r = comeBack(b, size.conversations, size.messages)
			}
			r.report(b, c, i == 0)
		})
	}
}

// homecoming is what it took.
type homecoming struct {
	messages, reply, packets int
	list, all, batched       time.Duration
	held, after              int64 // bytes, with the list, and when all has been delivered twice
}

func (r *homecoming) report(b *testing.B, c compared, first bool) {
	b.ReportMetric(0, "ns/op")
	c.report(b, first, float64(r.list.Microseconds()), "us/list")
	c.report(b, first, float64(r.reply), "B/list")
	b.ReportMetric(float64(r.held), "B/heap")
	b.ReportMetric(float64(r.after), "B/heap-after")
	b.ReportMetric(r.all.Seconds()*1000, "ms/all")
	c.report(b, first, float64(r.messages)/r.all.Seconds(), "msg/s")
	b.ReportMetric(r.batched.Seconds()*1000, "ms/all-batched")
	c.report(b, first, float64(r.messages)/r.batched.Seconds(), "msg/s-batched")
	b.ReportMetric(float64(r.packets), "packets-batched")
}

func comeBack(b *testing.B, conversations, messages int) *homecoming {
	b.Helper()
	cfg := pebble.Config{Dir: b.TempDir()}
	goAway(b, cfg, conversations, messages)
	h, shut := openTheatreWith(b, cfg)
	defer shut()
	r := &homecoming{messages: messages}
	before, start := heapInUse(), time.Now()
	r.reply = firstList(b, h.Service, `{"limit":20}`)
	r.list, r.held = time.Since(start), heapInUse()-before
	for _, batch := range []bool{false, true} {
		start = time.Now()
		_, w, leave := comeback(b, h, clientOf(batch), batch)
		wait(b, w.published, int64(messages))
		if took := time.Since(start); batch {
			r.batched, r.packets = took, int(w.packets.Load())
		} else {
			r.all = took
		}
		leave()
	}
	r.after = heapInUse() - before
	return r
}

func clientOf(batch bool) string { return fmt.Sprint("batch=", batch) }

// goAway makes sessions of star, who leaves, and is then written to.
func goAway(b *testing.B, cfg pebble.Config, conversations, messages int) {
	b.Helper()
	h, shut := openTheatreWith(b, cfg)
	defer shut()
	must(b, h.store.Accounts().CreateUser(b.Context(), accounts.User{Name: star}))
	for i := range conversations {
		must(b, h.store.Accounts().CreateUser(b.Context(), accounts.User{Name: crowdName(i)}))
		befriend(b, h.Service, crowdName(i), star)
	}
	in := sessions.Subscription{Filter: "im/u/" + string(star) + "/in", QoS: 1}
	for _, batch := range []bool{false, true} {
		link, _, leave := comeback(b, h, clientOf(batch), batch)
		must(b, link.Subscribe(b.Context(), 1, []sessions.Grant{{Subscription: in, Code: 1}}))
		leave()
	}
	for i := range messages {
		say(b, h.Service, i%conversations)
	}
}
