package people

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/magpie-im/magpie/broker"
)

// What is told at once and never stored, typing and presence, stops with the ack of a block, however much of it is on its way.
func TestTrap_10_WhatIsToldAtOnceStopsWithTheAck(t *testing.T) {
	const usual, typists = 60, 6
	n := rounds(t, usual)
	place, _ := Inside(t, func(c *broker.Config) { c.Presence.Grace = 0 })
	alice, bob := place.Join("alice", V311), place.Join("bob", V5)
	befriend(t, alice, bob)
	for _, p := range []*Person{alice, bob} {
		if code := p.Subscribe("im/p/+", 0); code >= 0x80 {
			t.Fatalf("SUBACK %#x", code)
		}
	}
	var stop atomic.Bool
	var typed atomic.Int64
	var noise sync.WaitGroup
	defer noise.Wait()
	defer stop.Store(true)
	for i := range typists {
		device := bob.Another(fmt.Sprint("typist", i), V5)
		noise.Go(func() {
			for j := 0; !stop.Load() && device.Connected(); j++ {
				if i == 0 {
					publish(device, "im/u/me/state", []string{"fg", "bg"}[j%2])
				} else {
					device.Typing("alice", (i+j)%2 == 0)
				}
				typed.Add(1)
			}
		})
	}
	for range n {
		mark := alice.Mark()
		alice.Await(mark, "bob typing", func(s Seen) bool { return s.Topic == "eph" })
		_, word := alice.Call("contact.block", M{"who": "bob"})
		if word != "" {
			t.Fatalf("block: %s", word)
		}
		acked := len(alice.Record())
		for record := alice.Record(); record[acked-1].Topic != "ack"; acked-- {
		}
		until := typed.Load() + 2*typists
		if !becomes(func() bool { return typed.Load() >= until }) {
			t.Fatal("nobody types any more")
		}
		alice.Must("unread.get", M{}) // what was on its way comes before the answer
		for _, s := range alice.Record()[acked:] {
			if s.Topic == "eph" || s.Topic == "im/p/bob" && s.Fields["on"] != nil {
				t.Fatalf("after the block alice was shown %s on %s", s.Raw, s.Topic)
			}
		}
		alice.Must("contact.unblock", M{"who": "bob"})
	}
}
