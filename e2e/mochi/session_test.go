package mochi

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// Several CONNECTs of one client id at once: in the end one connection is left. mochi does not order them, and leaves
// connections that nobody knows of.
//
// Against bare mochi v2.7.9: more than one connection was left after 14 of 40 rounds.
func TestOneOfManySimultaneousConnectsIsLeft(t *testing.T) {
	try(t, func(w *world) {
		const rounds, connects = 40, 6
		crowded := 0
		for round := range rounds {
			var mu sync.Mutex
			var in []*client
			var all sync.WaitGroup
			version := wire.V311 + byte(round%2)
			for range connects {
				all.Go(func() {
					if c, err := w.enter(version, "same"); err == nil { // one that was taken over at once has no answer
						mu.Lock()
						defer mu.Unlock()
						in = append(in, c)
					}
				})
			}
			all.Wait()
			if alive := countAlive(w, in); alive > 1 {
				crowded++
			} else if alive == 0 {
				w.Errorf("round %d: nobody is left", round)
			}
			for _, c := range in {
				c.cut()
			}
		}
		if crowded > 0 {
			w.lost("after %d of %d rounds more than one connection was left", crowded, rounds)
		}
	})
}

// countAlive counts the connections that answer.
func countAlive(w *world, in []*client) int {
	alive := 0
	for _, c := range in {
		if c.Send(wire.Packet{Type: wire.PINGREQ}) != nil {
			continue
		}
		p, err := c.read()
		if errors.Is(err, wire.ErrTimeout) {
			w.Errorf("a connection neither answers nor ends")
		}
		if err == nil && p.Type == wire.PINGRESP {
			alive++
		}
	}
	return alive
}

// An MQTT 5 session without an expiry ends with its connection, also when a second CONNECT ends that (MQTT 5, 3.1.2.11.2).
//
// Against bare mochi v2.7.9: the CONNACK said that there was a session, and the new one got what the old one had
// subscribed to.
func TestATakeoverDoesNotInheritASessionThatEndsWithItsConnection(t *testing.T) {
	try(t, func(w *world) {
		w.connect(wire.V5, "same", ephemeral).subscribe(1, "t/x")
		next := w.connect(wire.V5, "same", property(wire.Num(wire.SessionExpiry, 0)))
		if next.ack.Present {
			w.lost("the CONNACK says that there is a session")
		}
		next.subscribe(1, "t/marker")
		publisher := w.connect(wire.V311, "publisher", clean)
		publisher.publish(message("t/x", "for the old one", 1))
		publisher.publish(message("t/marker", "for the new one", 1))
		if got := payloads(next.take(1, true)); !slices.Equal(got, []string{"for the new one"}) {
			w.lost("the new session got %q", got)
		}
	}, quick)
}

// An MQTT 5 session that has expired leaves its subscriptions in mochi: whoever uses the client id next gets what they
// match, without having asked.
//
// Against bare mochi v2.7.9: the new session got a message that it had not subscribed to.
func TestASessionThatExpiredLeavesNoSubscriptions(t *testing.T) {
	try(t, func(w *world) {
		expires := property(wire.Num(wire.SessionExpiry, 1))
		w.connect(wire.V5, "same", expires).subscribe(1, "t/x").cut()
		w.expired(1)
		next := w.connect(wire.V5, "same", ephemeral)
		next.subscribe(1, "t/marker")
		publisher := w.connect(wire.V311, "publisher", clean)
		publisher.publish(message("t/x", "for the old one", 1))
		publisher.publish(message("t/marker", "for the new one", 1))
		if got := payloads(next.take(1, true)); !slices.Equal(got, []string{"for the new one"}) {
			w.lost("the new session got %q", got)
		}
	})
}

// expired returns when sessions that were cut before, and live for so many seconds without their connection, are gone.
func (w *world) expired(seconds uint32) {
	w.Helper()
	const probes = 100 // each can be asked once: that renews it
	for i := range probes {
		w.connect(wire.V5, fmt.Sprint("probe", i), property(wire.Num(wire.SessionExpiry, seconds))).cut()
	}
	for i := range probes {
		if !w.connect(wire.V5, fmt.Sprint("probe", i)).ack.Present {
			return
		}
		w.idle(100 * time.Millisecond)
	}
	w.Fatal("sessions do not expire")
}

// idle lets a moment pass between two looks.
func (w *world) idle(d time.Duration) { <-time.After(d) }

// A keep-alive of more than 43,690 seconds overflows mochi's 16 bits when it adds one half, and the connection ends at
// once.
//
// Against bare mochi v2.7.9: with 43,691 seconds the connection was closed without a CONNACK, in both versions.
func TestALongKeepAliveIsALongOne(t *testing.T) {
	try(t, func(w *world) {
		w.eachVersion(func(w *world, version byte) {
			for _, seconds := range []uint16{43_690, 43_691, 65_535} {
				keepAlive := func(p *wire.Packet) { p.Connect.KeepAlive = seconds }
				c, err := w.enter(version, "patient", clean, keepAlive)
				if err != nil {
					w.lost("with a keep-alive of %d: %v", seconds, err)
					continue
				}
				c.ping()
			}
		})
	}, quick)
}

// A QoS 2 PUBLISH that is sent again, because its PUBREC was lost, is answered like the first and delivered no second
// time (MQTT 5, 4.3.3). mochi answers that the packet id is in use, and a client takes that for a refusal.
//
// Against bare mochi v2.7.9: the second PUBREC said 0x91.
func TestAQoS2PublishThatIsSentAgainIsAcceptedAgain(t *testing.T) {
	try(t, func(w *world) {
		w.eachVersion(func(w *world, version byte) {
			topic := fmt.Sprint("t/", version)
			reader := w.connect(version, "reader"+topic).subscribe(2, topic)
			p := message(topic, "once", 2)
			p.ID = 7
			publisher := w.connect(version, "publisher"+topic)
			publisher.send(p)
			if ack := publisher.expect(wire.PUBREC); ack.Reason != 0 {
				w.Fatalf("PUBREC %#x", ack.Reason)
			}
			publisher.cut()
			publisher = w.connect(version, "publisher"+topic)
			publisher.ping() // what mochi sends again by itself has come
			p.Dup = true
			publisher.send(p)
			if ack := publisher.expect(wire.PUBREC); ack.Reason != 0 {
				w.lost("the second PUBREC says %#x", ack.Reason)
			}
			publisher.send(wire.Packet{Type: wire.PUBREL, ID: p.ID})
			publisher.expect(wire.PUBCOMP)
			publisher.packets = 100
			publisher.publish(message(topic, "marker", 2))
			if got := payloads(reader.take(2, true)); !slices.Equal(got, []string{"once", "marker"}) {
				w.lost("the reader got %q", got)
			}
		})
	}, quick)
}

// Rights are asked for the topic that an alias stands for. mochi asks before it knows, for the topic "": whoever grants
// topics one by one has to refuse every message that makes use of its alias.
//
// Against bare mochi v2.7.9: the message with an alias only was refused with 0x87.
func TestAPublishByAliasHasTheRightsOfItsTopic(t *testing.T) {
	try(t, func(w *world) {
		reader := w.connect(wire.V311, "reader").subscribe(1, "t/x", "locked/x")
		publisher := w.connect(wire.V5, "publisher", ephemeral)
		publish := func(topic, text string, alias uint32) byte {
			p := message(topic, text, 1, wire.Num(wire.TopicAlias, alias))
			p.ID = publisher.packetID()
			publisher.send(p)
			return publisher.expect(wire.PUBACK).Reason
		}
		for i, topic := range []string{"t/x", ""} {
			if reason := publish(topic, fmt.Sprint(i), 1); reason >= 0x80 {
				w.lost("message %d, with topic %q and its alias: %#x", i, topic, reason)
			}
		}
		if reason := publish("locked/x", "forbidden", 2); reason < 0x80 {
			w.Errorf("a message to a topic that is not granted: %#x", reason)
		}
		publisher.publish(message("t/x", "marker", 1))
		if got := payloads(reader.take(3, true)); !slices.Equal(got, []string{"0", "1", "marker"}) {
			w.lost("the reader got %q", got)
		}
	}, withACL)
}

// A 3.1.1 client that publishes where it may not is told by nothing in MQTT 3.1.1. mochi ends its connection, and so the
// client sends the same again when it has reconnected, for ever.
//
// Against bare mochi v2.7.9: the connection was closed.
func TestA311ClientThatMayNotPublishStaysConnected(t *testing.T) {
	try(t, func(w *world) {
		reader := w.connect(wire.V311, "reader").subscribe(1, "t/#", "locked/#")
		c := w.connect(wire.V311, "publisher", clean)
		p := message("locked/x", "forbidden", 1)
		p.ID = 1
		c.send(p)
		if _, err := c.await(wire.PUBACK); err != nil {
			w.lost("the refused message: %v", err)
			return
		}
		c.packets = 1
		c.publish(message("t/x", "marker", 1))
		if got := payloads(reader.take(1, true)); !slices.Equal(got, []string{"marker"}) {
			w.lost("the reader got %q", got)
		}
	}, withACL, quick)
}
