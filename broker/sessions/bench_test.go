package sessions

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// benchWire is a peer that takes packets from a channel.
type benchWire struct {
	publishes chan Publish
	acks      chan Ack
}

func newBenchWire() *benchWire {
	return &benchWire{publishes: make(chan Publish, 4096), acks: make(chan Ack, 4096)}
}

func (w *benchWire) Publish(p Publish) error     { w.publishes <- p; return nil }
func (w *benchWire) Ack(a Ack) error             { w.acks <- a; return nil }
func (w *benchWire) Suback(uint16, []byte) error { w.acks <- Ack{}; return nil }
func (*benchWire) Unsuback(uint16, []byte) error { return nil }
func (*benchWire) Disconnect(byte)               {}
func (*benchWire) Buffered() int                 { return 0 }

// nullStore has everything durable at once, and keeps nothing.
type nullStore struct{ Store }

func (nullStore) Load(context.Context, Key) (State, error)             { return State{}, ErrNoSession }
func (nullStore) Save(context.Context, State) (Commit, error)          { return nil, nil }
func (nullStore) Fly(context.Context, Key, []Flight) (Commit, error)   { return nil, nil }
func (nullStore) Advance(context.Context, Key, uint64) error           { return nil }
func (nullStore) Release(context.Context, Key, uint16) (Commit, error) { return nil, nil }

func benchLink(b *testing.B, log *fakeLog, qos byte) (*Link, *benchWire) {
	b.Helper()
	w := newBenchWire()
	r := newRegistry(nullStore{}, log, func(c *Config) { c.PerAccount = 0 })
	l, err := r.Connect(b.Context(), Connect{Key: alice("phone"), Version: 5, ExpirySeconds: 60, Wire: w})
	if err != nil {
		b.Fatal(err)
	}
	l.Start()
	b.Cleanup(func() { l.End(End{}) })
	sub := Subscription{Filter: streamTopic, Spelling: streamTopic, QoS: qos}
	if err := l.Subscribe(b.Context(), 1, []Grant{{Subscription: sub, Code: qos}}); err != nil {
		b.Fatal(err)
	}
	<-w.acks
	return l, w
}

// BenchmarkBacklog drains a backlog: what the engine costs per message, without a socket or a disk.
func BenchmarkBacklog(b *testing.B) {
	for qos := byte(1); qos <= 2; qos++ {
		b.Run(fmt.Sprintf("qos %d", qos), func(b *testing.B) {
			log := &fakeLog{}
			l, w := benchLink(b, log, qos)
			b.ReportAllocs()
			b.ResetTimer()
			log.head.Store(uint64(b.N))
			l.registry.Wake("alice")
			for done := 0; done < b.N; {
				select {
				case p := <-w.publishes:
					if qos == 1 {
						l.Puback(p.ID, 0)
						done++
					} else {
						l.Pubrec(p.ID, 0)
					}
				case a := <-w.acks:
					l.Pubcomp(a.ID)
					done++
				}
			}
		})
	}
}

// BenchmarkReceive takes messages in, with outcomes that are durable at once.
func BenchmarkReceive(b *testing.B) {
	for qos := byte(1); qos <= 2; qos++ {
		b.Run(fmt.Sprintf("qos %d", qos), func(b *testing.B) {
			l, w := benchLink(b, &fakeLog{}, 1)
			h := func(context.Context, *Link, Publish, any) Outcome { return Outcome{Commit: fakeDone{}} }
			p := Publish{Topic: "im/to/bob/send", Payload: make([]byte, 128), QoS: qos}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				p.ID = uint16(i%65535) + 1
				if err := l.Receive(b.Context(), p, h); err != nil {
					b.Fatal(err)
				}
				<-w.acks
				if qos == 2 {
					l.Pubrel(p.ID)
					<-w.acks
				}
			}
		})
	}
}

type fakeDone struct{}

func (fakeDone) Wait(context.Context) error { return nil }

// BenchmarkIdleLinks gives the bytes of a connected session that is subscribed and does nothing, besides its wire.
func BenchmarkIdleLinks(b *testing.B) {
	const n = 20_000
	for range b.N {
		r := newRegistry(nullStore{}, &fakeLog{}, func(c *Config) { c.PerAccount = 0 })
		w := &benchWire{acks: make(chan Ack, 1), publishes: make(chan Publish, 16)}
		keys, topics := make([]Key, n), make([]string, n)
		for i := range keys {
			keys[i] = Key{Account: alice("").Account, Client: fmt.Sprintf("client-%06d", i)}
			topics[i] = fmt.Sprintf("im/u/user%06d/in", i)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		links := make([]*Link, n)
		for i := range links {
			l, err := r.Connect(b.Context(), Connect{Key: keys[i], Version: 5, ExpirySeconds: 60, Wire: w})
			if err != nil {
				b.Fatal(err)
			}
			l.Start()
			sub := Subscription{Filter: topics[i], Spelling: topics[i], QoS: 1}
			if err := l.Subscribe(b.Context(), 1, []Grant{{Subscription: sub, Code: 1}}); err != nil {
				b.Fatal(err)
			}
			<-w.acks
			links[i] = l
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/link")
		for _, l := range links {
			l.End(End{})
		}
		runtime.KeepAlive(topics)
	}
}
