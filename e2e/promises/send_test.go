package promises

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// topics grants the free topics below t to everybody.
func topics(c *broker.Config) {
	c.ACL = append(c.ACL, broker.ACLConfig{Topic: "t/#", Who: "users", Allow: []string{"pub", "sub"}})
}

// A network that loses everything without a word is noticed after one and a half times the keep-alive, and not before; whoever
// answers, or has a longer one, is left alone. The will comes once, and the session stays.
func row731(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t, topics, func(c *broker.Config) { c.Presence.Grace = 0 })
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		line := lay(t, town.MQTT, nil)
		witness := dial(t, town.MQTT(), version, bob, "witness", brief)
		witness.subscribe(1, "t/will")
		patient := dial(t, line.address(), version, alice, "patient", brief, keepAlive(60))
		patience := line.last()
		lively := dial(t, town.MQTT(), version, alice, "lively", brief, keepAlive(2))
		last := will(wire.Will{Topic: "t/will", Payload: []byte("alice is gone"), QoS: 1})
		phone := listen(t, line.address(), version, 1, alice, "phone", keepAlive(2), last)
		dead := line.last()
		since := time.Now() // the server counts from when it reads the ping, which is later
		phone.ping()
		dead.lose(up, down)
		patience.lose(up, down)
		server.Eventually(t, "the connection is ended", func() bool {
			lively.ping()
			return dead.isEnding()
		})
		if after := time.Since(since); after < 3*time.Second {
			t.Errorf("the connection was ended after %s, before its time", after)
		}
		lively.ping()
		if patience.isEnding() {
			t.Error("a connection with a longer keep-alive was ended, too")
		}
		_ = patient.Close()
		if m := witness.await("the will", published("t/will")); string(m.Payload) != "alice is gone" {
			t.Errorf("the will says %q", m.Payload)
		}
		connect(t, bob)
		if _, word := bob.Send("alice", "are you there?"); word != "" {
			t.Fatal(word)
		}
		phone = dial(t, town.MQTT(), version, alice, "phone", keepAlive(60), last)
		if !phone.present {
			t.Error("the session is gone")
		}
		if got := phone.message(); got.Body.Text != "are you there?" {
			t.Errorf("the session goes on with %q", got.Body.Text)
		}
		phone.send(wire.Packet{Type: wire.PUBLISH, Topic: "t/will", Payload: []byte("back"), QoS: 1, ID: 9})
		if m := witness.await("alice", published("t/will")); string(m.Payload) != "back" {
			t.Errorf("then came %q: the will again", m.Payload)
		}
		if version == wire.V5 {
			delayed(t, town, line, alice, witness)
		}
	})
}

func published(topic string) func(wire.Packet) bool {
	return func(p wire.Packet) bool { return p.Type == wire.PUBLISH && p.Topic == topic }
}

// delayed sees that the will of a client that comes back before its delay has passed does not come, and that of one who does
// not come back does.
func delayed(t *testing.T, town *town, line *link, alice *people.Person, witness *peer) {
	t.Helper()
	leaves := func(id string, delay uint32) *cable {
		dial(t, line.address(), wire.V5, alice, id, keepAlive(2), will(wire.Will{Topic: "t/will", Payload: []byte(id), QoS: 1,
			Props: wire.Properties{wire.Num(wire.WillDelay, delay)}}))
		c := line.last()
		c.lose(up, down)
		return c
	}
	returns, stays := leaves("who comes back", 1), leaves("who stays away", 2)
	server.Eventually(t, "the connection is ended", returns.isEnding)
	dial(t, town.MQTT(), wire.V5, alice, "who comes back", keepAlive(60))
	server.Eventually(t, "the connection is ended", stays.isEnding)
	if m := witness.await("a will", published("t/will")); string(m.Payload) != "who stays away" {
		t.Errorf("the will of %q came", m.Payload)
	}
}

// A connection that is cut at any byte, of what is sent or of the answer, leaves exactly one message once its client has sent
// it again as MQTT says: with a mid, or with QoS 2.
func row732(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		for _, how := range []struct {
			name string
			qos  byte
			mid  bool
		}{{"QoS 1 with mid", 1, true}, {"QoS 2 without mid", 2, false}} {
			t.Run(how.name, func(t *testing.T) {
				t.Parallel()
				town := found(t)
				alice := absent(t, town.Place, version, "alice", "bob")[0]
				line := lay(t, town.MQTT, nil)
				phone := device.Start(device.Config{User: "alice", Password: alice.Token, ClientID: "phone", Version: version, QoS: 1,
					Up: func(ctx context.Context) (string, int, error) { return line.address(), 1, ctx.Err() }})
				defer func() {
					if err := phone.Close(); err != nil {
						t.Error(err)
					}
				}()
				var want []string
				for _, d := range []direction{up, down} {
					for n := 0; ; n += stride() {
						server.Eventually(t, "the phone is connected", func() bool { return phone.Ready() && !line.last().wasCut() })
						c, words := line.last(), fmt.Sprintf("cut %d after %d", d, n)
						c.cutAfter(d, n)
						m := device.Message{To: "bob", Text: words, QoS: how.qos}
						if how.mid {
							m.MID = words
						}
						phone.Send(m)
						want = append(want, words)
						server.Eventually(t, "an answer to "+words, func() bool { return phone.Unacked() == 0 })
						if !c.wasCut() && n > 0 {
							break
						}
					}
				}
				if len(want) < 100/stride() {
					t.Errorf("the connection was cut %d times only", len(want)-2)
				}
				var got []string
				for _, m := range history(t, town.Place, alice, device.Direct("alice", "bob")) {
					got = append(got, m.Body.Text)
				}
				if !slices.Equal(got, want) {
					t.Errorf("stored is\n%q\nwant\n%q", got, want)
				}
			})
		}
	})
}

// stride is the distance between two cuts: every byte, unless only quick tests are wanted or little is borne.
func stride() int {
	switch {
	case brokertest.Small():
		return 29
	case testing.Short():
		return 7
	}
	return 1
}

// Right after any ack the process may be killed: what was acknowledged is there, at the place that was said. What was not is
// sent again, and is there once.
func row733(t *testing.T) {
	long(t)
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		place, s := people.Outside(t)
		both := absent(t, place, version, "alice", "bob")
		alice := both[0]
		const flight = 12
		var want []string
		acked := map[string]said{}
		for round := range rounds(8) {
			p := listen(t, s.MQTT(), version, 1, alice, fmt.Sprint("phone", round), brief)
			words := make([]string, flight)
			packets := make([]wire.Packet, flight)
			for i := range packets {
				words[i] = fmt.Sprintf("round %d message %d", round, i)
				packets[i] = text("bob", words[i], words[i], byte(1+i%2), uint16(i+1))
			}
			p.send(packets...)
			until := d.IntN(flight)
			for i := range until + 1 {
				acked[words[i]] = p.outcomeOf(p.await("an ack", answers))
			}
			s.Kill()
			s.Start()
			p = listen(t, s.MQTT(), version, 1, alice, "again", brief)
			for _, m := range packets { // all of them: whoever was told and forgot it may ask again
				m.QoS = 1
				p.send(m)
			}
			for i, m := range packets {
				got := p.outcome(m.ID)
				if first, ok := acked[words[i]]; ok && (got.same() != first.same() || !got.Dup) {
					t.Fatalf("%q was acknowledged as %+v, and after a kill it is %+v", words[i], first, got)
				}
				acked[words[i]] = got
			}
			want = append(want, words...)
		}
		stored := history(t, place, both[1], device.Direct("alice", "bob"))
		count := map[string]int{}
		for i, m := range stored {
			count[m.Body.Text]++
			if m.Seq != uint64(i+1) || acked[m.Body.Text].Seq != m.Seq {
				t.Errorf("message %d is %q with seq %d, acknowledged as %d", i+1, m.Body.Text, m.Seq, acked[m.Body.Text].Seq)
			}
		}
		for _, words := range want {
			if count[words] != 1 {
				t.Errorf("%q is there %d times", words, count[words])
			}
		}
		if len(stored) != len(want) {
			t.Errorf("%d messages are there, %d were sent", len(stored), len(want))
		}
	})
}

func answers(p wire.Packet) bool { return p.Type == wire.PUBACK || p.Type == wire.PUBREC }

// One message a hundred times over three connections and HTTP, again after a week and a restart, is one message, and every
// answer names it.
func row734(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		times := brokertest.Scale(100, 20)
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice := both[0]
		answers := make([][]said, 3)
		var all sync.WaitGroup
		var lines []*link
		for i := range answers {
			lines = append(lines, lay(t, town.MQTT, nil))
			p := listen(t, lines[i].address(), version, 1, alice, fmt.Sprint("device ", i), brief)
			all.Go(func() { answers[i] = repeat(p, times) })
		}
		all.Wait()
		first := said{}
		fresh := 0
		for i, as := range answers {
			if len(as) != times {
				t.Fatalf("connection %d got %d answers", i, len(as))
			}
			for _, a := range as {
				if first.ID == "" {
					first = a
				}
				if a.same() != first.same() || !a.OK || a.Seq != 1 {
					t.Fatalf("one answer is %+v, another %+v", first, a)
				}
				if !a.Dup {
					fresh++
				}
			}
		}
		if fresh != 1 {
			t.Errorf("%d of the answers say that the message is new", fresh)
		}
		town.clock.step(7*24*time.Hour - time.Minute)
		town.Restart()
		late := listen(t, town.MQTT(), version, 1, alice, "late", brief)
		late.send(text("bob", "the same", "m1", 1, 1))
		if a := late.outcome(1); a.same() != first.same() || !a.Dup {
			t.Errorf("a week later the answer is %+v, want %+v", a, first)
		}
		late.send(text("bob", "another", "m1", 1, 2))
		if a := late.outcome(2); a.OK || a.Err != "mid_conflict" {
			t.Errorf("another message with the same mid: %+v", a)
		}
		in := people.M{"to": "bob", "k": "text", "body": people.M{"text": "the same"}, "mid": "m1"}
		out := call(t, town.Place, alice, "send", in)
		if out["id"] != first.ID || out["dup"] != true {
			t.Errorf("over HTTP the answer is %v, want %+v", out, first)
		}
		if got := history(t, town.Place, both[1], first.C); len(got) != 1 || got[0].ID != first.ID {
			t.Errorf("stored is %+v", got)
		}
	})
}

// repeat publishes one message so often, all at once, and gives the answers.
func repeat(p *peer, times int) (all []said) {
	var packets []wire.Packet
	for i := range times {
		packets = append(packets, text("bob", "the same", "m1", 1, uint16(i+1)))
	}
	p.send(packets...)
	for _, m := range packets {
		all = append(all, p.outcome(m.ID))
	}
	return all
}

// Whatever is sent at the same time has one order, without gaps, in which every connection's messages are in the order in which
// they were published, and no time is before the one before it though the clock is: between two people with four devices each,
// and in a group of eight.
func row735(t *testing.T) {
	const senders = 8
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		all := absent(t, town.Place, version, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7")
		group := room(t, town.Place, all[0], "group", "p1", "p2", "p3", "p4", "p5", "p6", "p7")
		for c, writers := range map[string][]*people.Person{
			device.Direct("p0", "p1"): {all[0], all[1], all[0], all[1], all[0], all[1], all[0], all[1]}, group: all,
		} {
			per := many(250, 1000)
			var done sync.WaitGroup
			for i, who := range writers {
				p := dial(t, town.MQTT(), version, who, fmt.Sprint("device ", i), brief)
				done.Go(func() { p.chatter(c, i, per, func() { town.clock.step(-time.Hour) }) })
			}
			done.Wait()
			inOrder(t, history(t, town.Place, all[1], c), senders, per)
		}
	})
}

// inOrder looks at all messages of a conversation to which so many have sent so much each.
func inOrder(t *testing.T, got []event, senders, per int) {
	t.Helper()
	next := make([]int, senders)
	ts, total := int64(0), 0
	for i, m := range got {
		if m.Seq != got[0].Seq+uint64(i) || m.TS < ts {
			t.Fatalf("message %d has seq %d, at %d after %d", i, m.Seq, m.TS, ts)
		}
		if ts = m.TS; m.K == "sys" {
			continue
		}
		var sender, n int
		if _, err := fmt.Sscanf(m.Body.Text, "sender %d message %d", &sender, &n); err != nil {
			t.Fatalf("message %q: %v", m.Body.Text, err)
		}
		if n != next[sender] {
			t.Fatalf("message %d of %d came as number %d", n, sender, next[sender])
		}
		next[sender]++
		total++
	}
	if total != senders*per {
		t.Errorf("%d messages are there, want %d", total, senders*per)
	}
}

// chatter publishes many messages, several at once. One of the senders does something strange in the middle.
func (p *peer) chatter(to string, sender, n int, strange func()) {
	const flight = 50
	for from := 0; from < n; from += flight {
		var batch []wire.Packet
		for i := from; i < min(n, from+flight); i++ {
			batch = append(batch, plain(to, fmt.Sprintf("sender %d message %d", sender, i), 1, uint16(i+1)))
		}
		p.send(batch...)
		for _, m := range batch {
			p.answer(wire.PUBACK, m.ID)
		}
		if sender == 0 && from <= n/2 && n/2 < from+flight {
			strange()
		}
	}
}
