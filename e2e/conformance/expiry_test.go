package conformance

import (
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

func expires(seconds uint32) wire.Property { return wire.Num(wire.MessageExpiry, seconds) }

func TestTheExpiryOfAMessageIsCountedDown(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.3.2-6")
	publisher := n.connect(t, wire.V5)
	p := n.connect(t, wire.V5, id("away"), keep)
	p.listen(1, "t/#")
	p.leave()
	const seconds = 1000
	publisher.publish("t/a", "x", 1, expires(seconds))
	publisher.deliver(retained(publish("t/kept", "x", 1, 0, expires(seconds))))
	since := time.Now()
	until(since.Add(1100 * time.Millisecond))
	check := func(m wire.Packet) {
		t.Helper()
		longest := uint32(time.Since(since)/time.Second) + 2
		if left, ok := m.Props.Get(wire.MessageExpiry); !ok || left.Num >= seconds || left.Num < seconds-longest {
			t.Errorf("%s: expiry %d, %t, want between %d and %d", m.Topic, left.Num, ok, seconds-longest, seconds-1)
		}
	}
	p = n.connect(t, wire.V5, id("away"), keep)
	check(p.take())
	check(p.take())
	late := n.connect(t, wire.V5)
	late.listen(1, "t/kept")
	check(late.take())
}

func TestAMessageThatHasExpiredIsNotDelivered(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.3.2-5")
	publisher := n.connect(t, wire.V5)
	p := n.connect(t, wire.V5, id("away"), keep)
	old := n.connect(t, wire.V311, id("old"), keep)
	p.listen(2, "t/#")
	old.listen(2, "t/#")
	p.leave()
	old.leave()
	publisher.publish("t/a", "short 1", 1, expires(1))
	publisher.publish("t/a", "long 1", 1, expires(3600))
	publisher.publish("t/a", "short 2", 2, expires(1))
	publisher.publish("t/a", "for ever", 2)
	publisher.deliver(retained(publish("t/kept", "short", 1, 0, expires(1))))
	until(time.Now().Add(1100 * time.Millisecond))
	n.connect(t, wire.V5, id("away"), keep).only(publisher, "t/end", "long 1", "for ever")
	n.connect(t, wire.V311, id("old"), keep).only(publisher, "t/end", "long 1", "for ever")
	checkKept(t, n, wire.V5, "t/kept")
}

func TestAMessageThatExpiresAtOnceIsNotKept(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.3.2-5")
	publisher, p := n.connect(t, wire.V5), n.connect(t, wire.V5, id("away"), keep)
	p.listen(1, "t/#")
	p.leave()
	publisher.publish("t/a", "now or never", 1, expires(0))
	n.connect(t, wire.V5, id("away"), keep).only(publisher, "t/end")
}

func TestAnExchangeThatHasBegunDoesNotExpire(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "4.3.3-7", "4.3.3-13")
	publisher := n.connect(t, wire.V5)
	p := n.connect(t, wire.V5, id("slow"), keep)
	p.listen(2, "t/#")
	publisher.send(publish("t/a", "x", 2, 1, expires(1)))
	publisher.answer(wire.PUBREC, 1)
	first := p.message()
	p.cut()
	until(time.Now().Add(1100 * time.Millisecond))
	publisher.send(wire.Packet{Type: wire.PUBREL, ID: 1})
	publisher.answer(wire.PUBCOMP, 1)
	p = n.connect(t, wire.V5, id("slow"), keep)
	again := p.message()
	if again.ID != first.ID || !again.Dup || string(again.Payload) != "x" {
		t.Errorf("got %+v, want %+v with DUP", again, first)
	}
	p.send(wire.Packet{Type: wire.PUBREC, ID: again.ID})
	p.answer(wire.PUBREL, again.ID)
	p.send(wire.Packet{Type: wire.PUBCOMP, ID: again.ID})
	p.ping()
}
