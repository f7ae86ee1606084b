package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestTheServerKeepsToTheClientsReceiveMaximum(t *testing.T) {
	n := start(t)
	for _, most := range []int{1, 2, 10} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			shows(t, wire.V5, "3.3.4-9", "3.3.4-10", "4.9.0-1", "4.9.0-2", "4.9.0-3")
			publisher := n.connect(t, wire.V5)
			p := n.connect(t, wire.V5, props(wire.Num(wire.ReceiveMaximum, uint32(most))))
			p.listen(2, "t/#")
			const count = 24
			var want []string
			for i := range count {
				want = append(want, fmt.Sprint(i))
				publisher.publish("t/a", want[i], byte(1+i%2))
			}
			var open []wire.Packet
			var got []string
			for len(got) < count {
				for len(open) < most && len(got) < count {
					m := p.message()
					open, got = append(open, m), append(got, string(m.Payload))
				}
				publisher.publish("t/zero", "0", 0)
				p.ping() // other packets do not wait, and QoS 0 neither
				zero := p.await("QoS 0", func(m wire.Packet) bool { return m.Type == wire.PUBLISH && m.QoS == 0 })
				if zero.Topic != "t/zero" {
					t.Errorf("got %+v", zero)
				}
				p.subscribe(1, "t/other")
				if len(p.waiting) > 0 {
					t.Fatalf("with %d open came %+v", len(open), p.waiting)
				}
				m := open[0]
				open = open[1:]
				p.waiting = append(p.waiting, m)
				p.take()
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
}

func TestAReceiveMaximumOf65535IsNotTooMuchToSay(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "4.9.0-1")
	p := n.connect(t, wire.V5, props(wire.Num(wire.ReceiveMaximum, 65535)))
	p.listen(1, "t/a")
	p.publish("t/a", "x", 1)
	p.take()
}

func TestAClientThatExceedsTheServersReceiveMaximumIsDisconnected(t *testing.T) {
	n := start(t, func(cfg *broker.Config) { cfg.Limits.Inbound = 3 })
	shows(t, wire.V5, "3.3.4-7")
	p := n.connect(t, wire.V5)
	if most, _ := p.ack.Props.Get(wire.ReceiveMaximum); most.Num != 3 {
		t.Fatalf("Receive Maximum %d, want 3", most.Num)
	}
	for i := uint16(1); i <= 3; i++ { // as many as are allowed, for as long as one likes
		p.send(publish("t/a", "x", 2, i))
		p.answer(wire.PUBREC, i)
	}
	p.ping()
	p.send(wire.Packet{Type: wire.PUBREL, ID: 1})
	p.answer(wire.PUBCOMP, 1)
	p.send(publish("t/a", "x", 2, 4))
	p.answer(wire.PUBREC, 4)
	p.send(publish("t/a", "x", 2, 5))
	p.told(0x93)
}

func TestAPacketLargerThanTheServerTakesEndsTheConnection(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"4.8.0-1", "3.2.2-15 4.13.1-1"}, func(t *testing.T, version byte) {
		p := n.connect(t, version)
		p.raw(packet(0x30, text("t/a"), none(version), strings.Repeat("x", 1<<20)))
		p.refused(0x95)
	})
}

func TestAMessageLargerThanTheClientTakesIsPassedOver(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.1.2-24", "3.1.2-25")
	const size = 200
	limit := props(wire.Num(wire.MaximumPacketSize, size))
	publisher, p := n.connect(t, wire.V5), n.connect(t, wire.V5, id("small"), keep, limit)
	p.listen(2, "t/#")
	large := strings.Repeat("x", 300)
	for qos := range byte(3) {
		publisher.publish("t/a", large, qos)
		publisher.publish("t/a", fmt.Sprint(qos), qos)
		publisher.publish("t/a", "p", qos, wire.User("k", large))
	}
	check := func(want ...string) {
		t.Helper()
		for _, payload := range want {
			if m := p.take(); string(m.Payload) != payload || m.Size > size {
				t.Errorf("got %q in %d bytes, want %q in %d at most", m.Payload, m.Size, payload, size)
			}
		}
	}
	check("0", "1", "2")
	p.leave()
	publisher.publish("t/a", large, 1)
	publisher.publish("t/a", "later", 1)
	p = n.connect(t, wire.V5, id("small"), keep, limit) // the session is not poisoned
	check("later")

	exact := n.connect(t, wire.V5)
	exact.listen(1, "t/exact")
	publisher.publish("t/exact", "", 1)
	empty := exact.take().Size
	exact.leave()
	publisher.publish("t/exact", strings.Repeat("y", size-empty-1), 1) // the length takes a byte more
	check("", strings.Repeat("y", size-empty-1))
	publisher.publish("t/exact", strings.Repeat("y", size-empty), 1)
	p.only(publisher, "t/end")
}

func TestNoAnswerIsLargerThanTheClientTakes(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.1.2-24", "3.2.2-19", "3.2.2-20", "3.4.2-2", "3.4.2-3", "3.5.2-2", "3.5.2-3", "3.6.2-2",
		"3.6.2-3",
		"3.7.2-2", "3.7.2-3", "3.9.2-1", "3.9.2-2", "3.11.2-1", "3.11.2-2", "3.14.2-3", "3.14.2-4")
	size := n.connect(t, wire.V5).ack.Size // what lets it in
	p := n.connect(t, wire.V5, props(wire.Num(wire.MaximumPacketSize, uint32(size))))
	answers := map[wire.Type]wire.Packet{}
	note := func(a wire.Packet) {
		answers[a.Type] = a
		if a.Size > size {
			t.Errorf("%s of %d bytes, want %d at most: %+v", a.Type, a.Size, size, a)
		}
	}
	note(p.ack)
	p.send(publish("im/nobody", "x", 1, 1), publish("im/nobody", "x", 2, 2), wire.Packet{Type: wire.PUBREL, ID: 3},
		wire.Packet{Type: wire.PUBREC, ID: 4})
	note(p.answer(wire.PUBACK, 1))
	note(p.answer(wire.PUBREC, 2))
	note(p.answer(wire.PUBCOMP, 3))
	note(p.answer(wire.PUBREL, 4))
	p.send(wire.Packet{Type: wire.SUBSCRIBE, ID: 5, Filters: []wire.Filter{{Topic: "im/u/bob/in"}}})
	note(p.answer(wire.SUBACK, 5))
	p.send(wire.Packet{Type: wire.UNSUBSCRIBE, ID: 6, Filters: []wire.Filter{{Topic: "im/u/bob/in"}}})
	note(p.answer(wire.UNSUBACK, 6))
	if answers[wire.PUBACK].Reason < 0x80 || answers[wire.PUBREC].Reason < 0x80 {
		t.Errorf("PUBACK %#x and PUBREC %#x, want refusals", answers[wire.PUBACK].Reason, answers[wire.PUBREC].Reason)
	}
	p.send(n.hello()) // a violation, for a DISCONNECT with something to say
	note(p.gone())
}

func TestWhoDoesNotWantProblemsExplainedIsToldReasonsOnly(t *testing.T) {
	n := start(t)
	for _, wanted := range []uint32{0, 1} {
		t.Run(fmt.Sprint("Request Problem Information ", wanted), func(t *testing.T) {
			shows(t, wire.V5, "3.1.2-29")
			p := n.connect(t, wire.V5, props(wire.Num(wire.ProblemInfo, wanted)))
			check := func(a wire.Packet) {
				t.Helper()
				_, reason := a.Props.Get(wire.ReasonString)
				_, user := a.Props.Get(wire.UserProperty)
				if wanted == 0 && (reason || user) {
					t.Errorf("%s with %v", a.Type, a.Props)
				}
				if wanted == 1 && a.Reason >= 0x80 && !user {
					t.Errorf("%s %#x with %v, want to be told more", a.Type, a.Reason, a.Props)
				}
			}
			p.send(publish("im/nobody", "x", 1, 1), publish("im/nobody", "x", 2, 2), wire.Packet{Type: wire.PUBREL,
				ID: 3}, wire.Packet{Type: wire.PUBREC, ID: 4})
			check(p.answer(wire.PUBACK, 1))
			check(p.answer(wire.PUBREC, 2))
			if wanted == 0 {
				check(p.answer(wire.PUBCOMP, 3))
				check(p.answer(wire.PUBREL, 4))
				p.send(wire.Packet{Type: wire.SUBSCRIBE, ID: 5, Filters: []wire.Filter{{Topic: "im/u/bob/in"}}})
				check(p.answer(wire.SUBACK, 5))
				check(p.unsubscribe("im/u/bob/in"))
			}
			p.listen(1, "t/a")
			p.publish("t/a", "x", 1, wire.User("k", "v")) // those of a PUBLISH stay
			if m := p.take(); len(m.Props) == 0 || m.Props[0] != wire.User("k", "v") {
				t.Errorf("got %+v", m)
			}
		})
	}
}

func TestTopicAliasesFromTheClient(t *testing.T) {
	n := start(t)
	p := n.connect(t, wire.V5, id("aliases"))
	most, ok := p.ack.Props.Get(wire.TopicAliasMaximum)
	if !ok || most.Num == 0 {
		t.Fatalf("Topic Alias Maximum %v, %t", most.Num, ok)
	}
	watcher := n.connect(t, wire.V5, as("bob", n))
	watcher.listen(2, "t/#")
	alias := func(a uint32) wire.Property { return wire.Num(wire.TopicAlias, a) }
	t.Run("all up to the maximum are accepted", func(t *testing.T) {
		shows(t, wire.V5, "3.3.2-12", "3.1.2-27")
		p.now(t)
		watcher.now(t)
		for qos := range byte(3) {
			for a := uint32(1); a <= most.Num; a++ {
				topic := fmt.Sprint("t/", qos, "/", a)
				p.publish(topic, "set", qos, alias(a))
				p.publish("", "used", qos, alias(a))
				for _, payload := range []string{"set", "used"} {
					m := watcher.take()
					if _, sent := m.Props.Get(wire.TopicAlias); m.Topic != topic || string(m.Payload) != payload || sent {
						t.Errorf("alias %d: got %+v, want %s on %s", a, m, payload, topic)
					}
				}
			}
		}
	})
	t.Run("one that stands for something else", func(t *testing.T) {
		p.now(t)
		watcher.now(t)
		p.publish("t/new", "1", 1, alias(1))
		p.publish("", "2", 1, alias(1))
		for range 2 {
			if m := watcher.take(); m.Topic != "t/new" {
				t.Errorf("got %+v, want topic t/new", m)
			}
		}
	})
	t.Run("they end with their connection", func(t *testing.T) {
		shows(t, wire.V5, "3.3.2-7")
		p.now(t).leave()
		p = n.connect(t, wire.V5, id("aliases"))
		p.send(publish("", "x", 0, 0, alias(1)))
		p.told(0x82)
	})
	t.Run("0 and too high", func(t *testing.T) {
		shows(t, wire.V5, "3.3.2-8", "3.3.2-9")
		for _, a := range []uint32{0, most.Num + 1} {
			p := n.connect(t, wire.V5)
			p.send(publish("t/a", "x", 1, 1, alias(a)))
			p.told(0x94)
		}
	})
}

func TestTopicAliasesFromTheServerAreWhatTheClientAllows(t *testing.T) {
	n := start(t)
	for _, most := range []uint32{0, 2} {
		t.Run(fmt.Sprint("at most ", most), func(t *testing.T) {
			shows(t, wire.V5, "3.1.2-26", "3.1.2-27", "3.3.2-11")
			publisher := n.connect(t, wire.V5)
			p := n.connect(t, wire.V5, props(wire.Num(wire.TopicAliasMaximum, most)))
			p.listen(1, "t/#")
			for i := range 12 {
				topic := fmt.Sprint("t/", i%4)
				publisher.publish(topic, "x", byte(i%2))
				m := p.take()
				alias, sent := m.Props.Get(wire.TopicAlias)
				if sent && (alias.Num == 0 || alias.Num > most) {
					t.Errorf("alias %d, want %d at most", alias.Num, most)
				}
				if m.Topic != topic && !sent {
					t.Errorf("got topic %q, want %s", m.Topic, topic)
				}
			}
		})
	}
}
