package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

var sessionTests = []test{
	{"a session comes back as it was saved", testSession},
	{"flights come, change and go", testFlights},
	{"received ids come by origin and go by release", testReceived},
	{"dropping forgets everything", testDrop},
	{"sessions are listed by account and client", testSessionList},
	{"client ids may be anything", testStrangeClients},
	{"different sessions are used concurrently", testConcurrentSessions},
}

func fullState(k sessions.Key) sessions.State {
	return sessions.State{
		Key: k, Version: 5, Options: sessions.Options{Text: true, AckEvents: true, SyncCursor: true, Batch: true, Device: true},
		Subscriptions: []sessions.Subscription{
			{
				Filter: "im/u/alice/in", Spelling: "im/u/me/in", QoS: 2, NoLocal: true, RetainAsPublished: true,
				RetainHandling: 2, ID: 268435455,
			},
			{Filter: "\x00\xff+/#", Spelling: "x"},
		},
		ExpirySeconds: 0xFFFFFFFF, Open: true, Left: time.Unix(1234, 5678).UTC(), Streaming: true, Acked: 40,
		Flights: []sessions.Flight{
			{ID: 65535, Pos: 41, QoS: 1, Stage: sessions.StageSent},
			{ID: 1, Pos: 44, QoS: 2, Stage: sessions.StageReleased, First: 42},
			{ID: 0, Pos: 1 << 60, QoS: 0, Stage: sessions.StageDone},
		},
		NextID: 65535,
		Unacked: []sessions.Answered{
			{ID: 9, Fingerprint: [32]byte{1, 31: 2}, Reply: sessions.Reply{
				Reason: 0x87, Text: "no", User: []sessions.UserProperty{{Name: "a", Value: "b"}, {Name: "a", Value: ""}},
				Event: []byte("{}"),
			}},
			{ID: 10},
		},
	}
}

func (k *kit) save(s sessions.State) {
	k.Helper()
	commit, err := k.sessions().Save(k.ctx(), s)
	k.durable("save", commit, err)
}

func (k *kit) load(key sessions.Key) sessions.State {
	k.Helper()
	s, err := k.sessions().Load(k.ctx(), key)
	k.ok("load", err)
	return s
}

func testSession(k *kit) {
	key := sessions.Key{Account: alice, Client: "phone"}
	_, err := k.sessions().Load(k.ctx(), key)
	k.is("before it is there", err, sessions.ErrNoSession)
	full := fullState(key)
	k.save(full)
	k.crash()
	same(k, "session", k.load(key), full)
	n, err := k.sessions().Count(k.ctx(), alice)
	k.ok("count", err)
	equal(k, "sessions", n, 1)

	small := sessions.State{Key: key, Version: 4, Acked: 7}
	k.save(small)
	k.crash()
	same(k, "session, overwritten", k.load(key), small)
	if got := k.load(key); !got.Left.IsZero() {
		k.Fatalf("left: got %s, want the zero time", got.Left)
	}
}

func testFlights(k *kit) {
	key, other := sessions.Key{Account: alice, Client: "phone"}, sessions.Key{Account: alice, Client: "phone\x00"}
	k.save(sessions.State{Key: key})
	k.save(sessions.State{Key: other, Flights: []sessions.Flight{{ID: 1, Pos: 2, QoS: 1, Stage: sessions.StageSent}}})
	want := map[uint64]sessions.Flight{}
	fly := func(flights ...sessions.Flight) {
		k.Helper()
		commit, err := k.sessions().Fly(k.ctx(), key, flights)
		k.durable("fly", commit, err)
		for _, f := range flights {
			want[f.Pos] = f
		}
	}
	acked := uint64(0)
	check := func() {
		k.Helper()
		var flights []sessions.Flight
		for pos, f := range want {
			if pos > acked {
				flights = append(flights, f)
			}
		}
		slices.SortFunc(flights, func(a, b sessions.Flight) int { return int(a.Pos) - int(b.Pos) })
		s := k.load(key)
		same(k, "flights", s.Flights, flights)
		equal(k, "acked", s.Acked, acked)
	}
	for pos := range uint64(300) {
		fly(sessions.Flight{ID: uint16(pos + 1), Pos: pos + 1, QoS: 2, Stage: sessions.StageSent})
		if pos%7 == 0 {
			fly(sessions.Flight{ID: uint16(pos + 1), Pos: pos + 1, QoS: 2, Stage: sessions.StageReleased},
				sessions.Flight{ID: 7, Pos: 1000 + pos, QoS: 1, Stage: sessions.StageSent})
		}
		if pos%20 == 19 {
			acked = pos - 5
			k.ok("advance", k.sessions().Advance(k.ctx(), key, acked))
			check()
		}
	}
	commit, err := k.sessions().Fly(k.ctx(), key, nil)
	k.durable("fly nothing", commit, err) // durable now is all before it, also the last Advance
	k.crash()
	check()
	equal(k, "flights of the other", len(k.load(other).Flights), 1)
	equal(k, "position of the other", k.load(other).Acked, 0)
}

func testReceived(k *kit) {
	conv := k.contacts(alice, bob)
	key := sessions.Key{Account: alice, Client: "phone"}
	k.save(sessions.State{Key: key})
	for id := range uint16(20) {
		d := draft(conv, alice, "", fmt.Sprint(id))
		d.Origin = sessions.Origin{Key: key, ID: id + 1}
		k.send(d)
	}
	for id := range uint16(20) {
		if id%3 != 0 {
			commit, err := k.sessions().Release(k.ctx(), key, id+1)
			k.durable("release", commit, err)
		}
	}
	commit, err := k.sessions().Release(k.ctx(), key, 999)
	k.durable("release what is not there", commit, err)
	want := []uint16{1, 4, 7, 10, 13, 16, 19}
	s := k.load(key)
	same(k, "received", s.Received, want)
	s.Received = nil
	k.save(s) // leaves Received alone
	k.crash()
	same(k, "received after save", k.load(key).Received, want)
}

func testDrop(k *kit) {
	conv := k.contacts(alice, bob)
	key := sessions.Key{Account: alice, Client: "phone"}
	neighbours := []sessions.Key{
		{Account: alice, Client: ""}, {Account: alice, Client: "phon"}, {Account: alice, Client: "phone\x00"},
		{Account: alice, Client: "phonf"}, {Account: "alic", Client: "phone"}, {Account: "alice-", Client: "phone"},
	}
	for i, n := range append([]sessions.Key{key}, neighbours...) {
		k.save(fullState(n))
		d := draft(conv, alice, "", fmt.Sprint(i))
		d.Origin = sessions.Origin{Key: n, ID: 5}
		k.send(d)
	}
	for range 2 {
		commit, err := k.sessions().Drop(k.ctx(), key)
		k.durable("drop", commit, err)
	}
	k.crash()
	_, err := k.sessions().Load(k.ctx(), key)
	k.is("dropped", err, sessions.ErrNoSession)
	k.save(sessions.State{Key: key})
	same(k, "session that came later", k.load(key), sessions.State{Key: key})
	for _, n := range neighbours {
		want := fullState(n)
		want.Received = []uint16{5}
		same(k, fmt.Sprintf("neighbour %q", n), k.load(n), want)
	}
}

func (k *kit) sessionKeys(account accounts.Name, limit int) []sessions.Key {
	k.Helper()
	var out []sessions.Key
	for after := (sessions.Key{}); ; {
		page, err := k.sessions().Sessions(k.ctx(), account, after, limit)
		k.ok("sessions", err)
		if len(page) == 0 {
			return out
		}
		for _, s := range page {
			out = append(out, s.Key)
		}
		after = page[len(page)-1].Key
	}
}

func testSessionList(k *kit) {
	var want []sessions.Key
	for _, account := range []accounts.Name{"al", "alice", "alice-2", "bob"} {
		for _, client := range []string{"", "\x00", "\x00\x01", "a", "a\x00b", "ab", "b", "\xff"} {
			want = append(want, sessions.Key{Account: account, Client: client})
		}
	}
	for i := range want {
		k.save(sessions.State{Key: want[(i*7)%len(want)], ExpirySeconds: 5, Acked: 9, Left: time.Unix(99, 0).UTC()})
	}
	same(k, "all sessions", k.sessionKeys("", 3), want)
	same(k, "sessions of alice", k.sessionKeys("alice", 3), want[8:16])
	n, err := k.sessions().Count(k.ctx(), "alice")
	k.ok("count", err)
	equal(k, "number", n, 8)
	page, err := k.sessions().Sessions(k.ctx(), "", sessions.Key{}, 1)
	k.ok("sessions", err)
	same(k, "listed state", page, []sessions.State{
		{Key: want[0], ExpirySeconds: 5, Acked: 9, Left: time.Unix(99, 0).UTC()}})
}

func testStrangeClients(k *kit) {
	clients := []string{
		"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\xff\xff", "日本語 \U0001F426", "a/b+c#", "../..",
		strings.Repeat("x", 65535), strings.Repeat("\x00", 65535), strings.Repeat("\xff", 65535),
	}
	conv := k.contacts(alice, bob)
	for i, client := range clients {
		key := sessions.Key{Account: alice, Client: client}
		k.save(sessions.State{Key: key, NextID: uint16(i)})
		commit, err := k.sessions().Fly(k.ctx(), key, []sessions.Flight{{ID: 3, Pos: uint64(i + 1), QoS: 1, Stage: 1}})
		k.durable("fly", commit, err)
		d := draft(conv, alice, "", fmt.Sprint(i))
		d.Origin = sessions.Origin{Key: key, ID: uint16(i)}
		k.send(d)
	}
	k.crash()
	for i, client := range clients {
		key := sessions.Key{Account: alice, Client: client}
		same(k, fmt.Sprintf("session of client %.20q", client), k.load(key), sessions.State{
			Key: key, NextID: uint16(i), Flights: []sessions.Flight{{ID: 3, Pos: uint64(i + 1), QoS: 1, Stage: 1}},
			Received: []uint16{uint16(i)},
		})
	}
	equal(k, "sessions", len(k.sessionKeys(alice, 1)), len(clients))
}

func testConcurrentSessions(k *kit) {
	var mu sync.Mutex
	var errs []error
	each(8, func(g int) {
		key := sessions.Key{Account: user(g % 3), Client: fmt.Sprint("client ", g)}
		err := func() error {
			commit, err := k.sessions().Save(k.ctx(), sessions.State{Key: key})
			for pos := uint64(1); err == nil && pos <= 50; pos++ {
				commit, err = k.sessions().Fly(k.ctx(), key, []sessions.Flight{{ID: 1, Pos: pos, QoS: 2, Stage: 1}})
				if err == nil && pos%3 == 0 {
					err = k.sessions().Advance(k.ctx(), key, pos-2)
				}
			}
			if err != nil {
				return err
			}
			return commit.Wait(k.ctx())
		}()
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	})
	k.ok("sessions", errors.Join(errs...))
	k.crash()
	for g := range 8 {
		s := k.load(sessions.Key{Account: user(g % 3), Client: fmt.Sprint("client ", g)})
		equal(k, "acked", s.Acked, 46)
		equal(k, "flights", len(s.Flights), 4)
	}
}
