package promises

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// Who is in the background is told nothing of typing and presence until he is back, and then the newest presence, once.
func row741(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t, func(c *broker.Config) { c.Presence.Grace = 0 })
		all := friends(t, town.Place, version, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		say := func(who *people.Person, state string) {
			if _, word := who.Publish("im/u/me/state", []byte(state)); word != "" {
				t.Fatal(word)
			}
		}
		is := func(state string) func(s people.Seen) bool {
			return func(s people.Seen) bool { return s.T() == "presence" && s.Is("state", state) }
		}
		for _, who := range []*people.Person{bob, carol} {
			who.Subscribe("im/p/alice", 0)
			who.Await(0, "that alice is there", is("fg"))
		}
		told := func(mark int) (shown []people.Seen) {
			for _, s := range bob.Record()[mark:] {
				if s.T() == "typing" || s.T() == "presence" {
					shown = append(shown, s)
				}
			}
			return shown
		}
		say(bob, "bg")
		mark := bob.Mark()
		for _, state := range []string{"bg", "away"} {
			alice.Typing("bob", true)
			say(alice, state)
			carol.Await(0, "that alice is "+state, is(state)) // bob is told first
		}
		if _, word := alice.Send("bob", "hello"); word != "" {
			t.Fatal(word)
		}
		message := func(s people.Seen) bool { return s.T() == "msg" }
		bob.Await(mark, "the message", message)
		if shown := told(mark); len(shown) > 0 {
			t.Errorf("in the background bob is shown %v", shown)
		}
		mark = bob.Mark()
		say(bob, "fg")
		bob.Await(mark, "that alice is away", is("away"))
		if _, word := alice.Send("bob", "are you there?"); word != "" {
			t.Fatal(word)
		}
		bob.Await(mark, "the next message", message)
		if shown := told(mark); len(shown) != 1 {
			t.Errorf("in front again bob is shown %v, want one presence", shown)
		}
	})
}

// What is written to a connection that is dead comes again on the next one: neither what the server sent nor what the client
// acknowledged gets through, and nothing is missing. What comes twice is the same.
func row742(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		line := lay(t, town.MQTT, nil)
		reader := listen(t, line.address(), version, 1, bob, "phone")
		writer := dial(t, town.MQTT(), version, alice, "phone", brief)
		writer.chatter("bob", 1, 30, nil)
		known := map[uint64]string{}
		take := func(acked bool) {
			a := reader.next()
			if a.T != "msg" {
				t.Fatalf("got %+v", a.event)
			}
			if was := known[a.USN]; was != "" && was != a.core() {
				t.Errorf("usn %d was %s, and is %s", a.USN, was, a.core())
			}
			known[a.USN] = a.core()
			if acked {
				reader.send(wire.Packet{Type: wire.PUBACK, ID: a.packet.ID})
			}
		}
		for range 10 {
			take(true)
		}
		reader.ping()
		c := line.last()
		c.lose(up)
		for range 20 {
			take(true) // which the server does not hear
		}
		c.lose(down)
		writer.chatter("bob", 2, 100, nil)
		server.Eventually(t, "something is lost", func() bool { return c.swallows(down) > 0 && c.swallows(up) > 0 })
		c.cut()
		reader = dial(t, town.MQTT(), version, bob, "phone")
		if !reader.present {
			t.Fatal("the session is gone")
		}
		for range 20 + 100 {
			take(true)
		}
		reader.ping()
		if len(reader.waiting) > 0 {
			t.Errorf("more came: %s", reader.waiting[0].Payload)
		}
		if len(known) != 130 {
			t.Errorf("%d of 130 messages came", len(known))
		}
	})
}

// The sender is told that a message has arrived by the receiver's acknowledgement of it, which every client sends by itself.
// Who takes the stream with QoS 0 says so himself.
func row744(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		client := mosquitto(version)
		client.Need(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		connect(t, alice)
		hears := func(words string, qos byte, brief bool) *clients.Listener {
			session := plainSession(town, bob, fmt.Sprint("reader ", qos))
			session.Ends = brief
			l, err := client.Listen(ctx, session, qos, "im/u/me/in")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.Kill)
			if _, word := alice.Send("bob", words); word != "" {
				t.Fatal(word)
			}
			if got := reads(ctx, t, l, 1); got[len(got)-1].Body.Text != words {
				t.Fatalf("got %+v", got)
			}
			return l
		}
		delivered := func(seq uint64) {
			alice.Await(0, fmt.Sprint("that ", seq, " was delivered"), func(s people.Seen) bool {
				return s.T() == "rcpt" && s.Is("who", "bob") && s.Fields["recv"] == float64(seq)
			})
		}
		l := hears("one", 1, false)
		delivered(1)
		if err := l.Stop(); err != nil {
			t.Fatal(err)
		}
		hears("two", 0, true)
		c := device.Direct("alice", "bob")
		if marks := call(t, town.Place, bob, "recv", people.M{"c": c, "seq": 1}); marks["recv"] != float64(1) {
			t.Errorf("QoS 0 says what was received: %v", marks)
		}
		session := plainSession(town, bob, "writer")
		session.Ends = true
		if err := client.Publish(ctx, session, "im/c/"+c+"/recv", 1, []string{"2"}); err != nil {
			t.Fatal(err)
		}
		delivered(2)
	})
}

// A network that doubles packets in both directions makes nothing double: a client that keeps rows by usn, and messages by
// conversation and seq, has each once, and what it got twice was the same.
func row745(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		const n = 60
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		doubles := func(_ *cable, _ direction, p []byte) []byte {
			if typ := wire.Type(p[0] >> 4); typ == wire.PUBLISH || typ == wire.PUBACK {
				return append(slices.Clone(p), p...)
			}
			return p
		}
		line := lay(t, town.MQTT, doubles)
		reader := listen(t, line.address(), version, 1, bob, "phone")
		writer := listen(t, line.address(), version, 1, alice, "phone")
		for i := range n {
			writer.send(text("bob", fmt.Sprint("message ", i), fmt.Sprint("mid ", i), 1, uint16(100+i)))
			if a := writer.outcome(uint16(100 + i)); !a.OK || a.Seq != uint64(i+1) {
				t.Errorf("message %d was answered with %+v", i, a)
			}
		}
		rows, messages, twice := map[uint64]string{}, map[uint64]string{}, 0
		for range 2 * n {
			a := reader.take()
			if a.T != "msg" {
				continue
			}
			if was, again := rows[a.USN]; again {
				if twice++; was != a.core() {
					t.Errorf("usn %d was %s, and is %s", a.USN, was, a.core())
				}
			}
			rows[a.USN] = a.core()
			if was := messages[a.Seq]; was != "" && was != a.ID {
				t.Errorf("seq %d was %s, and is %s", a.Seq, was, a.ID)
			}
			messages[a.Seq] = a.ID
		}
		if len(rows) != n || len(messages) != n || twice != n {
			t.Errorf("%d rows, %d messages, %d came twice; want %d of each", len(rows), len(messages), twice, n)
		}
		if got := history(t, town.Place, alice, device.Direct("alice", "bob")); len(got) != n {
			t.Errorf("%d messages are stored, want %d", len(got), n)
		}
	})
}
