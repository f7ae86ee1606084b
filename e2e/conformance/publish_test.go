package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

func TestAPublishIsAnsweredAsItsQoSSays(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.3.4-1 2.3.1-5 2.3.1-6 2.2.2-1",
		"3.3.4-1 2.2.1-2 2.2.1-5 2.2.2-1 2.1.3-1 4.3.2-4 4.3.3-8 4.3.3-11 3.4.2-1 3.5.2-1 3.7.2-1"}, func(t *testing.T, version byte) {
		p := n.connect(t, version)
		p.send(publish("t/a", "0", 0, 0), wire.Packet{Type: wire.PINGREQ})
		if got := p.next(); got.Type != wire.PINGRESP {
			t.Errorf("QoS 0 is answered with %+v", got)
		}
		for _, id := range []uint16{1, 0x100, 65535} {
			p.send(publish("t/a", "1", 1, id))
			if got := p.next(); got.Type != wire.PUBACK || got.ID != id || got.Reason != 0 && got.Reason != 0x10 {
				t.Errorf("QoS 1, id %d: answered with %+v", id, got)
			}
			p.send(publish("t/a", "2", 2, id))
			if got := p.next(); got.Type != wire.PUBREC || got.ID != id || got.Reason != 0 && got.Reason != 0x10 {
				t.Errorf("QoS 2, id %d: answered with %+v", id, got)
			}
			p.send(wire.Packet{Type: wire.PUBREL, ID: id})
			if got := p.next(); got.Type != wire.PUBCOMP || got.ID != id || got.Reason != 0 {
				t.Errorf("PUBREL %d: answered with %+v", id, got)
			}
		}
	})
}

func TestAMessageIsDeliveredOnceWithTheLowerQoS(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.8.4-6 4.3.1-1 4.3.2-1 4.3.3-1 4.5.0-1 2.3.1-4",
		"3.8.4-8 4.3.1-1 4.3.2-1 4.3.2-2 4.3.3-1 4.3.3-2 4.3.3-4 4.5.0-1 2.2.1-4 3.6.2-1"}, func(t *testing.T, version byte) {
		publisher := n.connect(t, version)
		for granted := range byte(3) {
			subscriber := n.connect(t, version)
			subscriber.listen(granted, "t/+")
			for qos := range byte(3) {
				want := fmt.Sprint(granted, qos)
				publisher.publish("t/"+want, want, qos)
				m := subscriber.take()
				if m.Topic != "t/"+want || string(m.Payload) != want || m.QoS != min(granted,
					qos) || m.Dup || m.Retain {
					t.Errorf("QoS %d, granted %d: got %+v", qos, granted, m)
				}
				if (m.QoS > 0) != (m.ID != 0) {
					t.Errorf("QoS %d has packet id %d", m.QoS, m.ID)
				}
			}
			subscriber.only(publisher, "t/end")
			subscriber.leave()
		}
	})
}

func TestPacketIDsInUseAreNotGivenAgain(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"2.3.1-4 4.3.2-1 4.3.3-1", "2.2.1-4 4.3.2-1 4.3.3-1"}, func(t *testing.T, version byte) {
		publisher, subscriber := n.connect(t, version), n.connect(t, version)
		subscriber.listen(2, "t/#")
		for range 20 {
			publisher.publish("t/a", "x", 1)
			publisher.publish("t/a", "x", 2)
		}
		open := map[uint16]bool{}
		for range 40 {
			m := subscriber.message()
			if m.ID == 0 || open[m.ID] {
				t.Errorf("packet id %d is 0 or in use: %v", m.ID, open)
			}
			open[m.ID] = true
		}
	})
}

func TestTheClientsPacketIDsAreItsOwn(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"2.3.1-6 2.3.1-7", "2.2.1-5 2.2.1-6"}, func(t *testing.T, version byte) {
		p := n.connect(t, version)
		p.listen(2, "t/a")
		for id := uint16(1); id <= 5; id++ { // the server uses the same ones at the same time
			p.send(publish("t/a", fmt.Sprint(id), 2, id))
			p.answer(wire.PUBREC, id)
			p.send(wire.Packet{Type: wire.PUBREL, ID: id})
			p.answer(wire.PUBCOMP, id)
			p.subscribe(1, "t/other")
		}
		if got, want := p.payloads(5), []string{"1", "2", "3", "4", "5"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAfterPubackThePacketIDIsThatOfANewMessage(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"4.3.2-2 3.3.1-3", "4.3.2-5 3.3.1-3"}, func(t *testing.T, version byte) {
		publisher, subscriber := n.connect(t, version), n.connect(t, version)
		subscriber.listen(2, "t/a")
		for _, m := range []wire.Packet{publish("t/a", "same", 1, 7), publish("t/a", "same", 1, 7), publish("t/a",
			"same", 1, 7)} {
			publisher.send(m)
			publisher.answer(wire.PUBACK, 7)
		}
		again := publish("t/a", "same", 1, 7)
		again.Dup = true
		publisher.send(again)
		publisher.answer(wire.PUBACK, 7)
		for range 4 {
			if m := subscriber.take(); m.Dup || string(m.Payload) != "same" {
				t.Errorf("got %+v, want DUP 0", m)
			}
		}
		subscriber.only(publisher, "t/a")
	})
}

func TestARepeatedQoS2PublishIsAnsweredAndNotDeliveredAgain(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"4.3.3-2 3.3.1-3", "4.3.3-10 4.3.3-11 4.3.3-12 3.3.1-3"}, func(t *testing.T, version byte) {
		publisher := n.connect(t, version, id("twice"+names[version]), keep)
		subscriber := n.connect(t, version)
		subscriber.listen(2, "t/#")
		m := publish("t/a", "once", 2, 9)
		publisher.send(m)
		publisher.answer(wire.PUBREC, 9)
		m.Dup = true
		publisher.send(m)
		publisher.answer(wire.PUBREC, 9)
		publisher.cut()
		publisher = n.connect(t, version, id("twice"+names[version]), keep)
		publisher.send(m)
		if rec := publisher.answer(wire.PUBREC, 9); rec.Reason >= 0x80 {
			t.Errorf("a repetition on the next connection is answered with PUBREC %#x", rec.Reason)
		}
		for range 2 {
			publisher.send(wire.Packet{Type: wire.PUBREL, ID: 9})
			publisher.answer(wire.PUBCOMP, 9)
		}
		publisher.ids = 20
		subscriber.only(publisher, "t/end", "once")

		publisher.send(m) // a new message, also with DUP
		publisher.answer(wire.PUBREC, 9)
		publisher.send(wire.Packet{Type: wire.PUBREL, ID: 9})
		publisher.answer(wire.PUBCOMP, 9)
		subscriber.only(publisher, "t/end", "once")
	})
}

func TestAReleaseOfNothingIsAnswered(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"4.3.3-2", "4.3.3-11 3.7.2-1 3.6.2-1"}, func(t *testing.T, version byte) {
		p := n.connect(t, version)
		p.send(wire.Packet{Type: wire.PUBREL, ID: 77})
		if got := p.answer(wire.PUBCOMP, 77); version == wire.V5 && got.Reason != 0x92 {
			t.Errorf("PUBREL of an unknown id: PUBCOMP %#x, want 0x92", got.Reason)
		}
		if version == wire.V5 {
			p.send(wire.Packet{Type: wire.PUBREC, ID: 78})
			if got := p.answer(wire.PUBREL, 78); got.Reason != 0x92 {
				t.Errorf("PUBREC of an unknown id: PUBREL %#x, want 0x92", got.Reason)
			}
		}
		p.send(wire.Packet{Type: wire.PUBACK, ID: 79}, wire.Packet{Type: wire.PUBCOMP, ID: 80})
		p.ping()
	})
}

func TestAPublishThatIsRefusedEndsItsExchange(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "4.3.3-9", "3.4.2-1", "3.5.2-1", "4.4.0-2")
	p := n.connect(t, wire.V5)
	p.listen(2, "t/a")
	p.send(publish("im/nobody", "x", 1, 5))
	if got := p.answer(wire.PUBACK, 5); got.Reason < 0x80 {
		t.Errorf("PUBACK %#x, want a refusal", got.Reason)
	}
	p.send(publish("im/nobody", "x", 2, 5))
	if got := p.answer(wire.PUBREC, 5); got.Reason < 0x80 {
		t.Errorf("PUBREC %#x, want a refusal", got.Reason)
	}
	m := publish("t/a", "new", 2, 5)
	m.Dup = true
	p.send(m)
	if got := p.answer(wire.PUBREC, 5); got.Reason >= 0x80 {
		t.Errorf("the next PUBLISH with this id: PUBREC %#x", got.Reason)
	}
	p.send(wire.Packet{Type: wire.PUBREL, ID: 5})
	p.answer(wire.PUBCOMP, 5)
	if m := p.take(); string(m.Payload) != "new" {
		t.Errorf("got %+v", m)
	}
}

func TestAPublishThatIsNotAllowedIsAcknowledgedInMQTT311(t *testing.T) {
	n := start(t)
	shows(t, wire.V311, "3.3.5-2")
	p := n.connect(t, wire.V311)
	p.send(publish("im/nobody", "0", 0, 0), publish("im/nobody", "1", 1, 1), publish("im/nobody", "2", 2, 2))
	p.answer(wire.PUBACK, 1)
	p.answer(wire.PUBREC, 2)
	p.send(wire.Packet{Type: wire.PUBREL, ID: 2})
	p.answer(wire.PUBCOMP, 2)
	p.ping()
}

func TestOneClientsMessagesComeInOrder(t *testing.T) {
	n := start(t)
	for qos := range byte(3) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			inBoth(t, ids{"4.6.0-5 4.6.0-6", "4.6.0-5 4.6.0-6"}, func(t *testing.T, version byte) {
				publisher, subscriber := n.connect(t, version), n.connect(t, version)
				subscriber.listen(2, "t/#")
				const count = 200
				var want []string
				for i := range count {
					want = append(want, fmt.Sprint(i))
					publisher.send(publish("t/a", want[i], qos, uint16(i+1)))
				}
				go release(publisher, qos, count)
				if got := subscriber.payloads(count); !slices.Equal(got, want) {
					t.Errorf("got %q\nwant %q", got, want)
				}
			})
		})
	}
}

// release answers the PUBRECs of a publisher.
func release(p *peer, qos byte, count int) {
	for qos == 2 && count > 0 {
		packet, err := p.Read(farAway())
		if err != nil {
			return
		}
		if packet.Type == wire.PUBREC {
			_ = p.Send(wire.Packet{Type: wire.PUBREL, ID: packet.ID})
			count--
		}
	}
}

func TestAllThatIsSaidInPublishIsSentOnUnchanged(t *testing.T) {
	n := start(t)
	tests := map[string]struct {
		shows string
		props wire.Properties
	}{
		"nothing":          {"2.2.2-1", nil},
		"payload format 0": {"3.3.2-4", wire.Properties{wire.Num(wire.PayloadFormat, 0)}},
		"payload format 1": {"3.3.2-4", wire.Properties{wire.Num(wire.PayloadFormat, 1)}},
		"content type":     {"3.3.2-20", wire.Properties{wire.Str(wire.ContentType, "text/😀; x=1")}},
		"response topic":   {"3.3.2-15", wire.Properties{wire.Str(wire.ResponseTopic, "t/answers/here")}},
		"correlation data": {"3.3.2-16", wire.Properties{wire.Str(wire.CorrelationData,
			"\x00\xff\x80binary")}},
		"user properties in their order": {"3.3.2-17 3.3.2-18 1.5.7-1", wire.Properties{wire.User("b", "1"),
			wire.User("a", "2"), wire.User("b", "1"), wire.User("", ""), wire.User("a", "1")}},
		"an empty content type":  {"3.3.2-20", wire.Properties{wire.Str(wire.ContentType, "")}},
		"empty correlation data": {"3.3.2-16", wire.Properties{wire.Str(wire.CorrelationData, "")}},
		"all of them": {"3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20",
			wire.Properties{wire.Num(wire.PayloadFormat, 1),
				wire.Str(wire.ContentType, "text/plain"), wire.Str(wire.ResponseTopic,
					"t/r"), wire.Str(wire.CorrelationData, "7"),
				wire.User("one", "1"), wire.User("two", "2")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in(t, wire.V5, ids{v5: tt.shows})
			publisher := n.connect(t, wire.V5)
			live, old := n.connect(t, wire.V5), n.connect(t, wire.V311)
			stored := n.connect(t, wire.V5, id(name), keep)
			for _, p := range []*peer{live, old, stored} {
				p.listen(1, "t/#")
			}
			stored.leave()
			for qos := range byte(2) {
				publisher.publish("t/a", "x", qos, tt.props...)
				if m := live.take(); !sameProps(m.Props, tt.props) {
					t.Errorf("QoS %d: got %v, want %v", qos, m.Props, tt.props)
				}
				if m := old.take(); string(m.Payload) != "x" {
					t.Errorf("QoS %d: 3.1.1 got %+v", qos, m)
				}
			}
			stored = n.connect(t, wire.V5, id(name), keep)
			if m := stored.take(); !sameProps(m.Props, tt.props) {
				t.Errorf("from the store: got %v, want %v", m.Props, tt.props)
			}
			publisher.deliver(retained(publish("t/a", "kept", 1, 0, tt.props...)))
			late := n.connect(t, wire.V5)
			late.listen(1, "t/a")
			if m := late.take(); !sameProps(m.Props, tt.props) {
				t.Errorf("retained: got %v, want %v", m.Props, tt.props)
			}
			publisher.deliver(retained(publish("t/a", "", 1, 0)))
		})
	}
}

// sameProps compares properties; only that of user properties is an order. A message expiry that the server added is its
// own business.
func sameProps(got, want wire.Properties) bool {
	split := func(ps wire.Properties) (user, rest wire.Properties) {
		for _, p := range ps {
			if p.ID == wire.UserProperty {
				user = append(user, p)
			} else if p.ID != wire.MessageExpiry {
				rest = append(rest, p)
			}
		}
		slices.SortFunc(rest, func(a, b wire.Property) int { return int(a.ID) - int(b.ID) })
		return user, rest
	}
	gotUser, gotRest := split(got)
	wantUser, wantRest := split(want)
	return slices.Equal(gotUser, wantUser) && slices.Equal(gotRest, wantRest)
}

func TestRequestAndResponse(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.3.2-15", "3.3.2-16")
	asker, answerer := n.connect(t, wire.V5), n.connect(t, wire.V5, as("bob", n))
	asker.listen(1, "t/answers/1")
	answerer.listen(1, "t/questions")
	asker.publish("t/questions", "how?", 1, wire.Str(wire.ResponseTopic, "t/answers/1"), wire.Str(wire.CorrelationData,
		"q\x001"))
	question := answerer.take()
	topic, _ := question.Props.Get(wire.ResponseTopic)
	correlation, _ := question.Props.Get(wire.CorrelationData)
	answerer.publish(topic.Str, "so", 1, correlation)
	answer := asker.take()
	if back, _ := answer.Props.Get(wire.CorrelationData); string(answer.Payload) != "so" || back.Str != "q\x001" {
		t.Errorf("the answer is %+v", answer)
	}
}

func TestEveryLengthOfPayloadArrives(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"", "1.5.5-1"}, func(t *testing.T, version byte) {
		publisher, subscriber := n.connect(t, version), n.connect(t, version)
		subscriber.listen(1, "t/a")
		for _, size := range []int{0, 1, 117, 118, 119, 120, 121, 122, 123, 16370, 16375, 16380, 16384, 500_000} {
			payload := string(slices.Repeat([]byte{'x'}, size))
			publisher.publish("t/a", payload, 1)
			if m := subscriber.take(); string(m.Payload) != payload {
				t.Errorf("%d bytes: got %d", size, len(m.Payload))
			}
		}
	})
}
