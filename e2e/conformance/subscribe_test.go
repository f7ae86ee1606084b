package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

func TestASubscribeIsAnsweredForEveryFilterInOrder(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.8.4-1 3.8.4-2 3.8.4-4 3.8.4-5 3.9.3-1 3.9.3-2 2.3.1-7 2.2.2-1",
		"3.8.4-1 3.8.4-2 3.8.4-5 3.8.4-6 3.8.4-7 3.9.3-1 3.9.3-2 2.2.1-6 2.1.3-1"}, func(t *testing.T, version byte) {
		p := n.connect(t, version)
		p.send(wire.Packet{Type: wire.SUBSCRIBE, ID: 4711, Filters: []wire.Filter{
			{Topic: "t/0", Options: 0}, {Topic: "im/u/bob/in", Options: 1}, {Topic: "t/2", Options: 2}, {Topic: "t/1",
				Options: 1},
			{Topic: "t/+/x", Options: 2}, {Topic: "im/u/bob/#", Options: 0},
		}})
		got := p.next()
		want := []byte{0, 0x80, 2, 1, 2, 0x80}
		if version == wire.V5 {
			want[1], want[5] = 0x87, 0x87
		}
		if got.Type != wire.SUBACK || got.ID != 4711 || !bytes.Equal(got.Codes, want) {
			t.Errorf("got %+v, want SUBACK 4711 with % x", got, want)
		}
		for _, topic := range []string{"t/0", "t/1", "t/2", "t/1/x"} {
			p.publish(topic, topic, 2)
			if m := p.take(); m.Topic != topic {
				t.Errorf("published to %s, got %+v", topic, m)
			}
		}
	})
}

func TestAFilterThatIsNoneIsRefused(t *testing.T) {
	n := start(t)
	filters := map[string]ids{
		"t/#/a": {"4.7.1-2", "4.7.1-1"}, "t/a#": {"4.7.1-2", "4.7.1-1"}, "#/a": {"4.7.1-2",
			"4.7.1-1"}, "t/##": {"4.7.1-2", "4.7.1-1"},
		"t/a+": {"4.7.1-3", "4.7.1-2"}, "t/+a/b": {"4.7.1-3", "4.7.1-2"}, "t/++": {"4.7.1-3",
			"4.7.1-2"}, "t/+#": {"4.7.1-3 4.7.1-2", "4.7.1-2 4.7.1-1"},
		"":            {"4.7.3-1", "4.7.3-1"},
		"$share//t/a": {absent, "4.8.2-1"}, "$share/g": {absent, "4.8.2-2"}, "$share/g/": {absent,
			"4.8.2-2"}, "$share/g+/t/a": {absent, "4.8.2-2"}, "$share/#/t/a": {absent, "4.8.2-2"},
		"$share/": {absent, "4.8.2-1"}, "$share/g/t/a#": {absent, "4.7.1-1"},
	}
	for filter, s := range filters {
		t.Run("filter "+slashes(filter), func(t *testing.T) {
			inBoth(t, s, func(t *testing.T, version byte) {
				p := n.connect(t, version)
				p.send(wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: filter}}})
				answer, err := p.Read(farAway())
				switch {
				case err != nil: // a violation of the protocol
				case answer.Type == wire.DISCONNECT && answer.Reason >= 0x80:
				case answer.Type == wire.SUBACK && len(answer.Codes) == 1 && answer.Codes[0] >= 0x80:
				default:
					t.Errorf("got %+v, want a refusal", answer)
				}
			})
		})
	}
}

func TestUnsubscribeEndsExactlyThatSubscription(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6 2.3.1-7",
		"3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6 3.11.3-1 3.11.3-2 2.2.1-6"}, func(t *testing.T, version byte) {
		p, publisher := n.connect(t, version), n.connect(t, version)
		p.listen(1, "t/a", "t/b", "t/+/x", "t/c", "t/end")
		p.send(wire.Packet{Type: wire.UNSUBSCRIBE, ID: 4711, Filters: []wire.Filter{
			{Topic: "t/a"}, {Topic: "t/none"}, {Topic: "t/+"}, {Topic: "t/1/x"}, {Topic: "T/c"}, {Topic: "t/b"},
		}})
		got := p.next()
		var want []byte
		if version == wire.V5 {
			want = []byte{0, 0x11, 0x11, 0x11, 0x11, 0}
		}
		if got.Type != wire.UNSUBACK || got.ID != 4711 || !bytes.Equal(got.Codes, want) {
			t.Errorf("got %+v, want UNSUBACK 4711 with % x", got, want)
		}
		for _, topic := range []string{"t/a", "t/b", "t/1/x", "t/c"} {
			publisher.publish(topic, topic, 1)
		}
		p.only(publisher, "t/end", "t/1/x", "t/c")
	})
}

func TestWhatIsBeingDeliveredIsFinishedAfterUnsubscribe(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.10.4-3", "3.10.4-3"}, func(t *testing.T, version byte) {
		p, publisher := n.connect(t, version), n.connect(t, version)
		p.listen(2, "t/a")
		publisher.publish("t/a", "1", 1)
		publisher.publish("t/a", "2", 2)
		one, two := p.message(), p.message()
		p.unsubscribe("t/a")
		p.send(wire.Packet{Type: wire.PUBACK, ID: one.ID}, wire.Packet{Type: wire.PUBREC, ID: two.ID})
		if rel := p.answer(wire.PUBREL, two.ID); rel.Reason != 0 {
			t.Errorf("PUBREL %#x, want 0", rel.Reason)
		}
		p.send(wire.Packet{Type: wire.PUBCOMP, ID: two.ID})
		p.listen(1, "t/end")
		p.only(publisher, "t/end")
	})
}

func TestOfOverlappingSubscriptionsTheHighestQoSCounts(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.3.5-1", "3.3.4-2"}, func(t *testing.T, version byte) {
		publisher := n.connect(t, version)
		for i, order := range [][]string{{"t/a", "t/+", "t/#"}, {"t/#", "t/+", "t/a"}, {"t/+", "t/a", "t/#"}} {
			p := n.connect(t, version)
			for qos, filter := range order {
				p.listen(byte(qos), filter)
			}
			publisher.publish("t/a", fmt.Sprint(i), 2)
			publisher.publish("t/a", "end", 2)
			highest := byte(0)
			for {
				m := p.take()
				if string(m.Payload) == "end" {
					break
				}
				highest = max(highest, m.QoS)
			}
			if highest != 2 {
				t.Errorf("subscribed %q with QoS 0, 1, 2: the highest delivered is %d, want 2", order, highest)
			}
			p.leave()
		}
	})
}

func TestSubscriptionIdentifiersAreSentWithWhatTheyMatch(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.3.4-3", "3.3.4-4")
	p, publisher := n.connect(t, wire.V5, id("sub-ids"), keep), n.connect(t, wire.V5)
	subscribe := func(number uint32, filters ...string) {
		t.Helper()
		packet := wire.Packet{Type: wire.SUBSCRIBE, ID: p.id()}
		if number > 0 {
			packet.Props = wire.Properties{wire.Num(wire.SubscriptionID, number)}
		}
		for _, f := range filters {
			packet.Filters = append(packet.Filters, wire.Filter{Topic: f, Options: 1})
		}
		p.send(packet)
		if codes := p.answer(wire.SUBACK, packet.ID).Codes; slices.Max(codes) > 2 {
			t.Fatalf("SUBACK % x", codes)
		}
	}
	check := func(topic string, want ...int) {
		t.Helper()
		m := p.take()
		var got []int
		for _, prop := range m.Props {
			if prop.ID == wire.SubscriptionID {
				got = append(got, int(prop.Num))
			}
		}
		slices.Sort(got)
		if m.Topic != topic || !slices.Equal(got, want) {
			t.Errorf("%s came with %v, want %s with %v", m.Topic, got, topic, want)
		}
	}
	subscribe(1, "t/a", "t/b")
	subscribe(268_435_455, "t/+")
	subscribe(0, "t/#")
	subscribe(7, "t/+/x", "t/0")
	both := []string{"t/a", "t/x", "t/1/x", "t/deep/er/still", "t/0"}
	want := map[string][]int{"t/a": {1, 268_435_455}, "t/x": {268_435_455}, "t/1/x": {7}, "t/deep/er/still": nil,
		"t/0": {7, 268_435_455}}
	for qos := range byte(3) {
		for _, topic := range both {
			publisher.publish(topic, "", qos)
			check(topic, want[topic]...)
		}
	}
	subscribe(9, "t/a") // another number for the same filter
	subscribe(0, "t/+") // and none any more
	publisher.publish("t/a", "", 1)
	check("t/a", 9)
	p.leave()
	publisher.publish("t/a", "", 1)
	p = n.connect(t, wire.V5, id("sub-ids"), keep)
	check("t/a", 9)
	publisher.deliver(retained(publish("t/kept", "x", 1, 0)))
	p.take()
	p.ids = 50
	subscribe(11, "t/kept")
	check("t/kept", 11)
}

func TestNoLocalKeepsAClientsOwnMessagesFromIt(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.8.3-3")
	p, other := n.connect(t, wire.V5), n.connect(t, wire.V5)
	p.listen(1|noLocal, "t/a")
	p.listen(1, "t/b", "t/end")
	for qos := range byte(3) {
		p.publish("t/a", "own", qos)
		p.publish("t/b", fmt.Sprint("own to b ", qos), qos)
		other.publish("t/a", fmt.Sprint("other's ", qos), qos)
	}
	p.only(other, "t/end", "own to b 0", "other's 0", "own to b 1", "other's 1", "own to b 2", "other's 2")

	later := n.connect(t, wire.V5, id("later"), keep) // its own messages are also kept from it while it is away
	later.listen(1|noLocal, "t/c")
	later.send(publish("t/c", "own", 1, 90))
	later.answer(wire.PUBACK, 90)
	later.leave()
	other.publish("t/c", "other's", 1)
	later = n.connect(t, wire.V5, id("later"), keep)
	if got := string(later.take().Payload); got != "other's" {
		t.Errorf("got %q, want what the other published", got)
	}
}
