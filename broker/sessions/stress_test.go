package sessions

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestEverythingAtOnce runs clients, a growing stream, replies, routed messages, takeovers and cuts on the real
// scheduler, mainly for the race detector. Every client has to get everything in the end, in order.
func TestEverythingAtOnce(t *testing.T) {
	store, log := newFakeStore(emptyDisk()), &fakeLog{}
	store.instant = true
	log.size.Store(200)
	r := newRegistry(store, log, func(c *Config) { c.HighWater = 4096 })
	total := 3000
	if testing.Short() {
		total = 600
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	var clients, others sync.WaitGroup
	for i := range 4 {
		c := persistent(fmt.Sprint("client", i), byte(4+i%2))
		x := open(t, r, c)
		x.subscribe(1, Subscription{Filter: streamTopic, QoS: byte(1 + i/2)}, Subscription{Filter: rsp, QoS: 1},
			Subscription{Filter: "im/p/+", QoS: 0})
		waitFor(ctx, t, "SUBACK", func() bool {
			st, ok := store.stored(c.Key)
			return ok && st.Streaming
		})
		x.close()
		clients.Go(func() { stressClient(ctx, t, r, store, c, uint64(total)) })
	}
	finished, stop := context.WithCancel(ctx)
	others.Go(func() {
		for i := range total {
			log.head.Store(uint64(i + 1))
			r.Wake("alice")
			r.Route(Publish{Topic: "im/p/bob", Payload: []byte("routed")})
		}
	})
	others.Go(func() {
		for finished.Err() == nil {
			if _, _, err := r.Sessions(ctx, "alice", Key{}, 100); err != nil {
				t.Error(err)
			}
			r.Wake("alice")
		}
	})
	clients.Wait()
	stop()
	others.Wait()
	if err := r.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
	if n := r.metrics.inFlight.Load(); n != 0 {
		t.Errorf("%d in flight without a connection", n)
	}
	if n := (r.routes.Len() + r.lives.Len()); n != 0 {
		t.Errorf("%d filters left in the index", n)
	}
}

func waitFor(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func stressClient(ctx context.Context, t *testing.T, r *Registry, store *fakeStore, c Connect, total uint64) {
	random := rand.New(rand.NewPCG(7, uint64(c.Version)))
	rec := newReceiver(t, c.Version, 64)
	for round := 0; rec.last < total; round++ {
		c.Wire = nil
		x, err := tryOpen(r, c)
		if err != nil {
			t.Errorf("connect: %v", err)
			return
		}
		rec.connected()
		packets := 1 + random.IntN(600)
		for id := uint16(1); packets > 0 && rec.last < total; id++ {
			select {
			case <-x.w.arrived:
			case <-ctx.Done():
				t.Errorf("%s has %d of %d after %d connections", c.Key.Client, rec.last, total, round)
				return
			}
			packets--
			if random.IntN(4) == 0 {
				x.link.Reply(reply("reply " + strconv.Itoa(round)))
				x.publish(message(id, 1, "up"), storing(store))
			}
			if random.IntN(50) == 0 {
				x.w.stall(true)
				x.w.stall(false)
			}
			rec.serve(x)
		}
		if random.IntN(2) == 0 {
			x.close()
		}
	}
}
