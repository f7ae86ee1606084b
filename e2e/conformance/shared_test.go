package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

func TestASharedSubscriptionDeliversToOneMember(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"", "4.8.2-1 4.8.2-2"}, func(t *testing.T, version byte) {
		one, other, alone, publisher := n.connect(t, version), n.connect(t, version), n.connect(t,
			version), n.connect(t, version)
		one.listen(1, "$share/g/t/+")
		other.listen(1, "$share/g/t/+")
		alone.listen(1, "t/+", "$share/other/t/+")
		const count = 20
		var want []string
		for i := range count {
			want = append(want, fmt.Sprintf("%02d", i))
			publisher.publish("t/a", want[i], 1)
		}
		taken := make(chan string)
		for _, p := range []*peer{one, other} {
			go func() {
				for {
					m, err := p.Read(farAway())
					if err != nil {
						return
					}
					if m.Type == wire.PUBLISH {
						taken <- string(m.Payload)
						_ = p.Send(wire.Packet{Type: wire.PUBACK, ID: m.ID})
					}
				}
			}()
		}
		var got []string
		for range count {
			got = append(got, <-taken)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("the members got %q, want each once: %q", got, want)
		}
		one.cut()
		other.cut()
	})
}

func TestAMemberGetsTheQoSThatItWasGranted(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "4.8.2-3")
	publisher := n.connect(t, wire.V5)
	for granted := range byte(3) {
		p := n.connect(t, wire.V5)
		p.listen(granted, fmt.Sprintf("$share/g%d/t/a", granted))
		publisher.publish("t/a", "x", 2)
		if m := p.take(); m.QoS != granted {
			t.Errorf("granted %d, got QoS %d", granted, m.QoS)
		}
		p.leave()
	}
}

func TestAMessageOfAMemberThatLeftGoesToAnother(t *testing.T) {
	n := start(t)
	publisher := n.connect(t, wire.V5)
	first := n.connect(t, wire.V5)
	first.listen(1, "$share/g/t/#")
	publisher.publish("t/a", "x", 1)
	first.message() // and does not acknowledge
	second := n.connect(t, wire.V5)
	second.listen(1, "$share/g/t/#")
	first.leave()
	if m := second.take(); string(m.Payload) != "x" {
		t.Errorf("got %+v", m)
	}
}

func TestAQoS2MessageStaysWithItsMember(t *testing.T) {
	n := start(t)
	t.Run("until it comes back", func(t *testing.T) {
		shows(t, wire.V5, "4.8.2-4")
		publisher, first := n.connect(t, wire.V5), n.connect(t, wire.V5, id("first"), keep)
		first.listen(2, "$share/g/t/#")
		publisher.publish("t/a", "x", 2)
		m := first.message()
		first.send(wire.Packet{Type: wire.PUBREC, ID: m.ID})
		first.answer(wire.PUBREL, m.ID)
		first.cut()
		second := n.connect(t, wire.V5)
		second.listen(2, "$share/g/t/#")
		first = n.connect(t, wire.V5, id("first"), keep)
		first.answer(wire.PUBREL, m.ID)
		first.send(wire.Packet{Type: wire.PUBCOMP, ID: m.ID})
		first.unsubscribe("$share/g/t/#")
		second.only(publisher, "t/end")
		second.leave()
	})
	t.Run("also if its session ends", func(t *testing.T) {
		shows(t, wire.V5, "4.8.2-5")
		publisher, first := n.connect(t, wire.V5), n.connect(t, wire.V5)
		first.listen(2, "$share/h/t/#")
		publisher.publish("t/a", "x", 2)
		m := first.message()
		first.send(wire.Packet{Type: wire.PUBREC, ID: m.ID})
		first.answer(wire.PUBREL, m.ID)
		second := n.connect(t, wire.V5)
		second.listen(2, "$share/h/t/#")
		first.cut()
		first = n.connect(t, wire.V5) // the other connection is noticed to be gone when this one is served
		first.ping()
		second.only(publisher, "t/end")
	})
}

func TestAMessageThatAMemberRefusesGoesToNobody(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "4.8.2-6")
	publisher, first := n.connect(t, wire.V5), n.connect(t, wire.V5)
	first.listen(2, "$share/g/t/#")
	publisher.publish("t/a", "1", 1)
	publisher.publish("t/a", "2", 2)
	one, two := first.message(), first.message()
	second := n.connect(t, wire.V5)
	second.listen(2, "$share/g/t/#")
	first.send(wire.Packet{Type: wire.PUBACK, ID: one.ID, Reason: 0x80}, wire.Packet{Type: wire.PUBREC, ID: two.ID,
		Reason: 0x83})
	first.ping()
	first.leave()
	second.only(publisher, "t/end")
}
