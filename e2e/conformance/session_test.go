package conformance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

func TestASessionGoesOnOrBeginsAsTheClientSays(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.2-4 3.1.2-5 3.1.2-6 3.1.3-2 3.1.4-3 3.2.2-1 3.2.2-2 3.2.2-3 4.1.0-1 4.5.0-1",
		"3.1.2-4 3.1.2-5 3.1.2-6 3.1.2-23 3.1.3-2 3.1.4-4 3.2.2-2 3.2.2-3 4.5.0-1"}, func(t *testing.T, version byte) {
		me := id("me" + names[version])
		publisher := n.connect(t, version)
		p := n.connect(t, version, me, keep)
		if p.ack.Present {
			t.Error("the first connection has session present 1")
		}
		p.listen(2, "t/#")
		p.leave()
		publisher.publish("t/a", "1", 1)
		publisher.publish("t/a", "2", 2)

		p = n.connect(t, version, me, keep)
		if !p.ack.Present {
			t.Error("the second connection has session present 0")
		}
		p.only(publisher, "t/end", "1", "2")
		p.cut()
		publisher.publish("t/a", "3", 1)

		p = n.connect(t, version, me) // a clean start
		if p.ack.Present {
			t.Error("a clean start has session present 1")
		}
		p.listen(1, "t/end")
		publisher.publish("t/a", "4", 1)
		p.only(publisher, "t/end")
		p.leave()

		p = n.connect(t, version, me, keep) // the one before ended with its connection
		if p.ack.Present {
			t.Error("a session that ended with its connection is present")
		}
		p.listen(1, "t/end")
		p.only(publisher, "t/end")
	})
}

func TestWhatWasNotAcknowledgedComesAgainFirst(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"4.4.0-1 3.3.1-1 4.3.2-1 4.3.3-1 2.3.1-4 4.6.0-1",
		"4.4.0-1 3.3.1-1 4.3.2-3 4.3.3-3 4.3.3-5 4.3.3-6 4.6.0-1"}, func(t *testing.T, version byte) {
		me := id("me" + names[version])
		publisher := n.connect(t, version)
		p := n.connect(t, version, me, keep)
		p.listen(2, "t/#")
		for i := range 6 {
			publisher.publish("t/a", fmt.Sprint(i), byte(1+i%2))
		}
		var first []wire.Packet
		for range 6 {
			first = append(first, p.message())
		}
		p.send(wire.Packet{Type: wire.PUBACK, ID: first[0].ID}) // 0 is done, and 3 is between PUBREC and PUBCOMP
		p.send(wire.Packet{Type: wire.PUBREC, ID: first[3].ID})
		p.answer(wire.PUBREL, first[3].ID)
		if len(p.waiting) > 0 {
			t.Errorf("on the same connection came again: %+v", p.waiting)
		}
		p.cut()

		p = n.connect(t, version, me, keep)
		var rel bool
		var again []wire.Packet
		for len(again) < 4 || !rel {
			switch got := p.next(); got.Type {
			case wire.PUBREL:
				if rel = true; got.ID != first[3].ID {
					t.Errorf("PUBREL %d comes again, want %d", got.ID, first[3].ID)
				}
			case wire.PUBLISH:
				again = append(again, got)
			default:
				t.Fatalf("got %+v", got)
			}
		}
		for i, j := range []int{1, 2, 4, 5} {
			got, want := again[i], first[j]
			if got.ID != want.ID || !got.Dup || got.QoS != want.QoS || string(got.Payload) != string(want.Payload) {
				t.Errorf("again comes %+v, want %+v with DUP", got, want)
			}
		}
		p.send(wire.Packet{Type: wire.PUBCOMP, ID: first[3].ID})
		p.waiting = append(p.waiting, again...)
		p.payloads(4)
		p.only(publisher, "t/end")
		p.leave()
		p = n.connect(t, version, me, keep)
		p.only(publisher, "t/end") // nothing is left
	})
}

func TestAMessageThatTheClientRefusesIsNotSentAgain(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "4.4.0-2")
	publisher := n.connect(t, wire.V5)
	p := n.connect(t, wire.V5, id("me"), keep)
	p.listen(2, "t/#")
	publisher.publish("t/a", "1", 1)
	publisher.publish("t/a", "2", 2)
	p.send(wire.Packet{Type: wire.PUBACK, ID: p.message().ID, Reason: 0x83})
	p.send(wire.Packet{Type: wire.PUBREC, ID: p.message().ID, Reason: 0x97})
	p.ping()
	if len(p.waiting) > 0 {
		t.Errorf("a refusal is answered with %+v", p.waiting)
	}
	p.only(publisher, "t/end")
	p.leave()
	p = n.connect(t, wire.V5, id("me"), keep)
	p.only(publisher, "t/end")
}

func TestASessionIsKeptWhileItsConnectionIsOpen(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"4.1.0-2 3.1.2-6", "4.1.0-1"}, func(t *testing.T, version byte) {
		p, publisher := n.connect(t, version), n.connect(t, version) // with sessions that end with their connections
		p.listen(2, "t/#")
		for i := range 50 {
			publisher.publish("t/a", fmt.Sprint(i), 1)
		}
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprint(i))
		}
		if got := p.payloads(50); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestASessionEndsWhenItsExpiryHasPassed(t *testing.T) {
	n := start(t)
	tests := map[string]struct {
		connect, disconnect []wire.Property
		present             bool
		wait                time.Duration
	}{
		"none: with the connection": {nil, nil, false, 0},
		"0: with the connection": {[]wire.Property{wire.Num(wire.SessionExpiry, 0)}, nil, false,
			0},
		"1 second: after it": {[]wire.Property{wire.Num(wire.SessionExpiry, 1)}, nil, false,
			1100 * time.Millisecond},
		"an hour: not yet": {[]wire.Property{wire.Num(wire.SessionExpiry, 3600)}, nil,
			true, 0},
		"never: not yet": {[]wire.Property{wire.Num(wire.SessionExpiry, 1<<32-1)}, nil,
			true, 0},
		"an hour, DISCONNECT says 0: with it": {[]wire.Property{wire.Num(wire.SessionExpiry, 3600)},
			[]wire.Property{wire.Num(wire.SessionExpiry, 0)}, false, 0},
		"an hour, DISCONNECT says 1 second: after that": {[]wire.Property{wire.Num(wire.SessionExpiry, 3600)},
			[]wire.Property{wire.Num(wire.SessionExpiry, 1)}, false, 1100 * time.Millisecond},
		"1 second, DISCONNECT says an hour: not yet": {[]wire.Property{wire.Num(wire.SessionExpiry, 1)},
			[]wire.Property{wire.Num(wire.SessionExpiry, 3600)}, true, 1100 * time.Millisecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shows(t, wire.V5, "4.1.0-2", "3.1.2-23")
			p := n.connect(t, wire.V5, id(name), func(p *wire.Packet) { p.Connect.Clean, p.Props = false, tt.connect })
			p.listen(1, "t/a")
			p.leave(tt.disconnect...)
			until(time.Now().Add(tt.wait))
			if again := n.connect(t, wire.V5, id(name), keep); again.ack.Present != tt.present {
				t.Errorf("session present %t, want %t", again.ack.Present, tt.present)
			}
		})
	}
}

func TestSessionsOutliveARestartOfTheServer(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.2-4 3.1.2-5 4.1.0-1", "3.1.2-5 3.1.2-23"}, func(t *testing.T, version byte) {
		me := id("me" + names[version])
		p := n.connect(t, version, me, keep)
		p.listen(2, "t/#")
		publisher := n.connect(t, version)
		publisher.publish("t/a", "1", 1)
		m := p.message() // not acknowledged
		p.cut()
		publisher.publish("t/a", "2", 2)
		n.Restart()
		p, publisher = n.connect(t, version, me, keep), n.connect(t, version)
		if !p.ack.Present {
			t.Error("session present is 0")
		}
		if again := p.message(); again.ID != m.ID || !again.Dup || string(again.Payload) != "1" {
			t.Errorf("first comes %+v, want %+v with DUP", again, m)
		}
		p.send(wire.Packet{Type: wire.PUBACK, ID: m.ID})
		p.only(publisher, "t/end", "2")
	})
}
