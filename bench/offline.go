package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/pebble"
)

// waiting is how many messages wait for each stored session.
const waiting = 5

// everyone is the topic that all stored sessions subscribe to in the cases for that.
const everyone = "bench/everyone"

// owner gives the account of a stored session. One in a hundred belongs to one that can log in.
func owner(n int) accounts.Name {
	if n%100 == 0 {
		return "sender0"
	}
	return accounts.Name("u" + strconv.Itoa(n/10))
}

func offlineID(n int) string { return "offline" + strconv.Itoa(n) }

// stored makes n sessions, and messages for them, in the data directory of a server that does not run. What makes them
// is what a server would call.
func stored(dir string, n int, filter func(n int) string, messages int) (err error) {
	store, err := openStore(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ctx, to := context.Background(), store.Sessions()
	var last sessions.Commit
	for i := range n {
		topic := filter(i)
		last, err = to.Save(ctx, sessions.State{
			Key: sessions.Key{Account: owner(i), Client: offlineID(i)}, Version: wire.V311,
			Subscriptions: []sessions.Subscription{{Filter: topic, Spelling: topic, QoS: 1}},
			ExpirySeconds: 7 * 24 * 3600, Left: time.Now(), Number: sessions.Number(i + 1),
		})
		if err != nil {
			return err
		}
	}
	for round := range messages { // not one session after the other: that is not how messages come
		var steps []sessions.Step
		for i := range n {
			steps = append(steps, sessions.Step{
				Message: &sessions.Message{Topic: filter(i), Payload: []byte(payload(round)), QoS: 1, Time: time.Now()},
				To:      []sessions.Target{{Number: sessions.Number(i + 1), QoS: 1}},
			})
			if len(steps) < 100 && i < n-1 {
				continue
			}
			if err := to.Room(ctx); err != nil {
				return err
			}
			appended, err := to.Append(sessions.Bounds{}, steps...)
			if err != nil {
				return err
			}
			last, steps = appended.Commit, steps[:0]
		}
	}
	return last.Wait(ctx)
}

func openStore(dir string) (*pebble.Store, error) {
	return pebble.Open(pebble.Config{Dir: dir, CacheSize: 1 << 20}, slog.New(slog.DiscardHandler))
}

// index measures what it takes to know the subscriptions of all stored sessions: time, and bytes that stay.
func index(dir string) (took time.Duration, size int64, err error) {
	store, err := openStore(dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ctx := context.Background()
	for range 2 { // the first time warms up what the store keeps
		registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), nil, slog.New(slog.DiscardHandler))
		before, begin := heap(), time.Now()
		if err := registry.Load(ctx); err != nil {
			return 0, 0, err
		}
		took = time.Since(begin)
		size = heap() - before
		if err := registry.Close(ctx); err != nil {
			return 0, 0, err
		}
	}
	return took, size, nil
}

// heap gives the bytes that are alive in this process.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// liveHeap gives the bytes that are alive in a server.
func (srv *instance) liveHeap() (float64, error) {
	text, err := fetch(srv.admin, "heap?gc=1&debug=1")
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(text, []byte("# HeapAlloc = "))
	if !ok {
		return 0, errors.New("the heap profile has no HeapAlloc")
	}
	number, _, _ := strings.Cut(string(rest), "\n")
	return strconv.ParseFloat(strings.TrimSpace(number), 64)
}

// offlineCase measures a server with n stored sessions that are not connected, each with an exact subscription and a few
// messages.
func offlineCase(n int) func(settings, *instance) ([]value, error) {
	topic := func(i int) string { return fmt.Sprintf("bench/offline/%d/state", i) }
	return func(s settings, _ *instance) (values []value, err error) {
		m, err := filled(s, n, topic, waiting)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.close()) }()
		loading, size, err := index(m.dir)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := m.start(s); err != nil {
			return nil, err
		}
		values = []value{
			{"start until ready", "ms", float64(time.Since(begin).Milliseconds())},
			{"reading subscriptions", "ms", float64(loading.Milliseconds())},
			{"index", "bytes/session", float64(size) / float64(n)},
		}
		srv := m.instance()
		memory, err := memoryOf(srv)
		if err != nil {
			return nil, err
		}
		back, err := resumed(srv, n)
		if err != nil {
			return nil, err
		}
		c, forget, err := newCrowd(srv, shape{publishers: 1, subscribers: 1, qos: 1, window: 64, durable: true})
		if err != nil {
			return nil, err
		}
		beside, err := c.measure(s, srv)
		for i := range beside {
			beside[i].name = "1-1/w64 beside: " + beside[i].name
		}
		return slices.Concat(values, memory, back, beside), errOr(err, forget())
	}
}

// filled is a server that was stopped, with sessions.
func filled(s settings, n int, filter func(int) string, messages int) (*magpie, error) {
	m, err := runMagpie(s)
	if err != nil {
		return nil, err
	}
	if err := errOr(m.stop(), stored(m.dir, n, filter, messages)); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func memoryOf(srv *instance) ([]value, error) {
	alive, err := srv.liveHeap()
	if err != nil {
		return nil, err
	}
	rss, err := resident(srv.pid)
	const mega = 1 << 20
	return []value{{"heap after GC", "MiB", alive / mega}, {"RSS", "MiB", float64(rss) / mega}}, err
}

// resumed lets some of the sessions come back, one after the other.
func resumed(srv *instance, n int) ([]value, error) {
	var in, all []time.Duration
	for range 50 {
		i := rand.IntN((n+99)/100) * 100
		begin := time.Now()
		c, err := connect(srv, srv.free(0), offlineID(i), true)
		if err != nil {
			return nil, err
		}
		in = append(in, time.Since(begin))
		missing, err := read(c, waiting)
		all = append(all, time.Since(begin))
		if err := errors.Join(err, c.Close()); err != nil {
			return nil, fmt.Errorf("session %d lacks %d messages: %w", i, missing, err)
		}
		if err := back(srv, i); err != nil {
			return nil, err
		}
	}
	return slices.Concat(spread("resume, until CONNACK", in)[:2], spread("resume, until the 5th message", all)[:2]), nil
}

// back publishes what a session has just read, so that it can be read again.
func back(srv *instance, session int) error {
	from := *srv
	from.sendTo = func(int) string { return fmt.Sprintf("bench/offline/%d/state", session) }
	s, err := send(&from, 0, fresh("back"))
	if err != nil {
		return err
	}
	err = s.window(waiting, func() bool { return s.next < waiting })
	return errors.Join(err, s.c.Send(wire.Packet{Type: wire.DISCONNECT}), s.c.Close())
}

// read reads and acknowledges n messages, and says goodbye once the acks have arrived: what is answered to a PINGREQ
// comes after them.
func read(c *wire.Client, n int) (missing int, err error) {
	for n > 0 {
		p, err := c.Read(time.Now().Add(10 * time.Second))
		if err != nil {
			return n, err
		}
		if p.Type == wire.PUBLISH {
			n--
			if err := c.Send(wire.Packet{Type: wire.PUBACK, ID: p.ID}); err != nil {
				return n, err
			}
		}
	}
	if err := c.Send(wire.Packet{Type: wire.PINGREQ}); err != nil {
		return 0, err
	}
	_, err = c.Read(time.Now().Add(10 * time.Second))
	return 0, errors.Join(err, c.Send(wire.Packet{Type: wire.DISCONNECT}))
}

// everyoneCase measures a publish to n stored sessions that are not connected.
func everyoneCase(n int) func(settings, *instance) ([]value, error) {
	return func(s settings, _ *instance) (values []value, err error) {
		m, err := filled(s, n, func(int) string { return everyone }, 0)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.close()) }()
		if err := m.start(s); err != nil {
			return nil, err
		}
		srv := m.instance()
		from := *srv
		from.sendTo = func(int) string { return everyone }
		p, err := send(&from, 0, "publisher")
		if err != nil {
			return nil, err
		}
		begin, err := used(srv.pid)
		if err != nil {
			return nil, err
		}
		if err := p.window(1, func() bool { return p.next < waiting }); err != nil {
			return nil, err
		}
		end, err := used(srv.pid)
		if err != nil {
			return nil, err
		}
		memory, err := memoryOf(srv)
		if err == nil && s.pprof != "" {
			err = save(srv.admin, "heap", fmt.Sprintf("%s-everyone-%d.heap", s.pprof, n))
		}
		if err != nil {
			return nil, err
		}
		c, err := connect(srv, srv.free(0), offlineID(0), true)
		if err != nil {
			return nil, err
		}
		if missing, err := read(c, waiting); err != nil {
			return nil, fmt.Errorf("%d messages are missing: %w", missing, err)
		}
		slices.Sort(p.latencies)
		p50 := micro(percentile(p.latencies, 50))
		return slices.Concat([]value{
			{"publish until ack", "ms", p50 / 1000}, {"slowest of 5", "ms", micro(p.latencies[len(p.latencies)-1]) / 1000},
			{"ack", "us/subscriber", p50 / float64(n)},
			{"server CPU", "us/subscriber", micro(end.server-begin.server) / waiting / float64(n)},
		}, memory), errors.Join(c.Close(), p.c.Close())
	}
}
