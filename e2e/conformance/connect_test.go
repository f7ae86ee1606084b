package conformance

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// Connect flags.
const (
	userFlag     = 0x80
	passwordFlag = 0x40
	willRetain   = 0x20
	willQoS1     = 0x08
	willQoS2     = 0x10
	willFlag     = 0x04
	cleanFlag    = 0x02
)

// connect is a CONNECT of these parts, with a keep-alive of 0 and without properties.
func connect(protocol string, level, flags byte, fields ...string) []byte {
	head := text(protocol) + string([]byte{level, flags}) + number(0)
	if level == wire.V5 {
		head += "\x00"
	}
	return packet(0x10, append([]string{head}, fields...)...)
}

func TestAConnectThatIsNotFormedAsItShouldBeEndsTheConnection(t *testing.T) {
	n := start(t)
	user, secret := text("ann"), text(n.tokens["ann"])
	const login = userFlag | passwordFlag
	// will is the fields of a will.
	will := func(version byte, topic, payload string) string { return none(version) + text(topic) + text(payload) }
	properties := func(list string) func(byte) []byte { // instead of none
		return func(byte) []byte {
			return packet(0x10, text("MQTT"), string([]byte{wire.V5, login | cleanFlag}), number(0),
				string(byte(len(list))), list,
				text("c"), user, secret)
		}
	}
	tests := []broken{
		{name: "PUBLISH as the first packet", shows: ids{"3.1.0-1", "3.1.0-1 3.14.0-1"}, bytes: body(0x30, text("t/a"),
			"x")},
		{name: "SUBSCRIBE as the first packet", shows: ids{"3.1.0-1", "3.1.0-1 3.14.0-1"}, bytes: body(0x82, number(1),
			text("t/a")+"\x00")},
		{name: "PINGREQ as the first packet", shows: ids{"3.1.0-1", "3.1.0-1 3.14.0-1"}, bytes: always(packet(0xC0))},
		{name: "DISCONNECT as the first packet", shows: ids{"3.1.0-1", "3.1.0-1 3.14.0-1"},
			bytes: always(packet(0xE0))},
		{name: "AUTH as the first packet", shows: ids{absent, "3.1.0-1 3.14.0-1"}, bytes: always(packet(0xF0))},
		{name: "the reserved type as the first packet", shows: ids{"3.1.0-1", "3.1.0-1 3.14.0-1"},
			bytes: always(packet(0x00))},
		{name: "another protocol name", shows: ids{"3.1.2-1", "3.1.2-1"}, reasons: []byte{0x81, 0x82, 0x84},
			bytes: func(v byte) []byte {
				return connect("MQTX", v, login|cleanFlag, text("c"), user, secret)
			}},
		{name: "the protocol name in small letters", shows: ids{"3.1.2-1", "3.1.2-1"}, reasons: []byte{0x81, 0x82,
			0x84}, bytes: func(v byte) []byte {
			return connect("mqtt", v, login|cleanFlag, text("c"), user, secret)
		}},
		{name: "an empty protocol name", shows: ids{"3.1.2-1", "3.1.2-1"}, reasons: []byte{0x81, 0x82, 0x84},
			bytes: func(v byte) []byte {
				return connect("", v, login|cleanFlag, text("c"), user, secret)
			}},
		{name: "the reserved connect flag", shows: ids{"3.1.2-3 3.1.4-1", "3.1.2-3 3.1.4-1"}, reasons: either,
			bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag|1, text("c"), user, secret)
			}},
		{name: "a will's QoS without a will", shows: ids{"3.1.2-13 3.1.2-11 3.1.4-1", "3.1.2-11 3.1.4-1"},
			reasons: either, bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag|willQoS1, text("c"), user, secret)
			}},
		{name: "a will's retain without a will", shows: ids{"3.1.2-15 3.1.2-11 3.1.4-1", "3.1.2-13 3.1.4-1"},
			reasons: either, bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag|willRetain, text("c"), user, secret)
			}},
		{name: "a will of QoS 3", shows: ids{"3.1.2-14 3.1.4-1", "3.1.2-12 3.1.4-1"}, reasons: either,
			bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag|willFlag|willQoS1|willQoS2, text("c"), will(v, "t/a", "x"), user,
					secret)
			}},
		{name: "the will flag without a will", shows: ids{"3.1.2-9 3.1.4-1", "3.1.2-9 3.1.4-1"}, reasons: either,
			bytes: func(v byte) []byte {
				return connect("MQTT", v, cleanFlag|willFlag, text("c"))
			}},
		{name: "a will topic with a wildcard", shows: ids{"4.7.1-1", "4.7.0-1"}, reasons: []byte{0x81, 0x82, 0x87,
			0x90}, bytes: func(v byte) []byte {
			return connect("MQTT", v, login|cleanFlag|willFlag, text("c"), will(v, "t/#", "x"), user, secret)
		}},
		{name: "an empty will topic", shows: ids{"4.7.3-1", "4.7.3-1"}, reasons: []byte{0x81, 0x82, 0x87, 0x90},
			bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag|willFlag, text("c"), will(v, "", "x"), user, secret)
			}},
		{name: "the user name flag without a user name", shows: ids{"3.1.2-19 3.1.4-1", "3.1.2-17 3.1.4-1"},
			reasons: either, bytes: func(v byte) []byte {
				return connect("MQTT", v, cleanFlag|userFlag, text("c"))
			}},
		{name: "a user name without its flag", shows: ids{"3.1.2-18", "3.1.2-16"}, reasons: []byte{0x81, 0x82, 0x86},
			bytes: func(v byte) []byte {
				return connect("MQTT", v, cleanFlag, text("c"), user, secret)
			}},
		{name: "the password flag without a password", shows: ids{"3.1.2-21 3.1.4-1", "3.1.2-19 3.1.4-1"},
			reasons: either, bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag, text("c"), user)
			}},
		{name: "a password without its flag", shows: ids{"3.1.2-20", "3.1.2-18"}, reasons: []byte{0x81, 0x82, 0x86},
			bytes: func(v byte) []byte {
				return connect("MQTT", v, userFlag|cleanFlag, text("c"), user, secret)
			}},
		{name: "a password without a user name", shows: ids{"3.1.2-22 3.1.4-1", absent}, bytes: func(v byte) []byte {
			return connect("MQTT", v, passwordFlag|cleanFlag, text("c"), secret)
		}},
		{name: "no client id field", shows: ids{"3.1.3-3 3.1.4-1", "3.1.3-3 3.1.4-1"}, reasons: either,
			bytes: func(v byte) []byte {
				return connect("MQTT", v, cleanFlag)
			}},
		{name: "fields in another order", shows: ids{"3.1.3-1", "3.1.3-1"}, reasons: []byte{0x81, 0x82, 0x86},
			bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag, text("c"), secret, user)
			}},
		{name: "bytes behind the last field", shows: ids{"3.1.4-1", "3.1.4-1"}, reasons: either,
			bytes: func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag, text("c"), user, secret, "abc")
			}},
		{name: "a CONNECT that ends early", shows: ids{"3.1.4-1", "3.1.4-1"}, reasons: either,
			bytes: func(v byte) []byte {
				return packet(0x10, text("MQTT"), string([]byte{v, login | cleanFlag}), "\x00")
			}},
		{name: "a session expiry twice", shows: ids{absent, "3.1.4-1"}, reasons: either,
			bytes: properties("\x11\x00\x00\x00\x09\x11\x00\x00\x00\x09")},
		{name: "Receive Maximum 0", shows: ids{absent, "3.1.4-1"}, reasons: either, bytes: properties("\x21\x00\x00")},
		{name: "Maximum Packet Size 0", shows: ids{absent, "3.1.4-1"}, reasons: either,
			bytes: properties("\x27\x00\x00\x00\x00")},
		{name: "Request Problem Information 2", shows: ids{absent, "3.1.4-1"}, reasons: either,
			bytes: properties("\x17\x02")},
		{name: "Request Response Information 2", shows: ids{absent, "3.1.4-1"}, reasons: either,
			bytes: properties("\x19\x02")},
		{name: "a topic alias in CONNECT", shows: ids{absent, "3.1.4-1"}, reasons: either,
			bytes: properties("\x23\x00\x01")},
		{name: "authentication data without a method", shows: ids{absent, "3.1.4-1"}, reasons: either,
			bytes: properties("\x16\x00\x01a")},
	}
	for flag := byte(1); flag < 16; flag <<= 1 {
		tests = append(tests, broken{name: "CONNECT with flags " + string("0123456789"[flag]),
			shows:   ids{"2.2.2-2 3.1.4-1", "2.1.3-1 3.1.4-1"},
			reasons: either, bytes: func(v byte) []byte {
				b := connect("MQTT", v, login|cleanFlag, text("c"), user, secret)
				b[0] |= flag
				return b
			}})
	}
	for what, bad := range brokenText {
		texts := func(where string, shows ids, reasons []byte, bytes func(byte) []byte) {
			tests = append(tests, broken{name: what + " in " + where, shows: shows, reasons: reasons, bytes: bytes})
		}
		texts("the client id", ids{"1.5.3-1 3.1.3-4", "1.5.4-1 3.1.3-4"}, []byte{0x81, 0x85}, func(v byte) []byte {
			return connect("MQTT", v, login|cleanFlag, text(bad), user, secret)
		})
		texts("the user name", ids{"1.5.3-1 3.1.3-11", "1.5.4-1 3.1.3-12"}, []byte{0x81, 0x86}, func(v byte) []byte {
			return connect("MQTT", v, login|cleanFlag, text("c"), text("ann"+bad), secret)
		})
		texts("the will topic", ids{"1.5.3-1 3.1.3-10", "1.5.4-1 3.1.3-11"}, []byte{0x81, 0x90, 0x87},
			func(v byte) []byte {
				return connect("MQTT", v, login|cleanFlag|willFlag, text("c"), will(v, "t/"+bad, "x"), user, secret)
			})
	}
	for _, b := range tests {
		t.Run(b.name, func(t *testing.T) {
			inBoth(t, b.shows, func(t *testing.T, version byte) {
				p := n.dial(t, version)
				p.raw(b.bytes(version))
				p.refusedOrNotLetIn(b.reasons...)
			})
		})
	}
}

// refusedOrNotLetIn is refused, except that an MQTT 3.1.1 client may be told that its login is not good: some of what is
// wrong with a CONNECT looks like that.
func (p *peer) refusedOrNotLetIn(reasons ...byte) {
	p.t.Helper()
	login := slices.Contains(reasons, 0x86) || slices.Contains(reasons, 0x87)
	if login && p.Version() == wire.V311 {
		if last := p.gone(); last.Type != 0 && last.Reason != 4 && last.Reason != 5 {
			p.t.Errorf("the answer is %s %#x, want none or CONNACK 4 or 5", last.Type, last.Reason)
		}
		return
	}
	p.refused(reasons...)
}

func TestAnEmptyWillIsAWill(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.2-8 3.1.4-4", "3.1.2-8 3.1.4-5"}, func(t *testing.T, version byte) {
		watcher := n.connect(t, version)
		watcher.listen(1, "t/#")
		n.connect(t, version, will(wire.Will{Topic: "t/empty", QoS: 1})).cut()
		if m := watcher.take(); m.Topic != "t/empty" || len(m.Payload) > 0 {
			t.Errorf("got %+v", m)
		}
	})
}

func TestAProtocolLevelThatIsNotSupportedIsSaidToBeSo(t *testing.T) {
	n := start(t)
	for _, level := range []byte{0, 1, 2, 6, 7, 0x84, 0xFF} {
		t.Run(string("0123456789abcdef"[level>>4])+string("0123456789abcdef"[level&15]), func(t *testing.T) {
			shows(t, wire.V311, "3.1.2-2", "3.2.2-5")
			shows(t, wire.V5, "3.1.2-2", "3.2.2-7", "3.2.2-8")
			p := n.dial(t, wire.V311)
			p.raw(connect("MQTT", level, cleanFlag|userFlag|passwordFlag, text("c"), text("ann"),
				text(n.tokens["ann"])))
			first, body, err := p.Reader().Next()
			if err != nil || first != 0x20 || len(body) < 2 || body[0] != 0 || body[1] != 0x01 && body[1] != 0x84 {
				t.Fatalf("the answer is % x % x, %v, want CONNACK 0x01 or 0x84", first, body, err)
			}
			if last := p.gone(); last.Type != 0 {
				t.Errorf("then comes %+v", last)
			}
		})
	}
}

func TestThePlainHandshakeIsAnsweredWithOneConnack(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.4-4 3.2.0-1 3.2.2-1 2.2.2-1", "3.1.4-5 3.2.0-1 3.2.0-2 3.2.2-1 3.2.2-2 3.2.2-8 4.12.0-6 4.2-1"},
		func(t *testing.T, version byte) {
			p := n.connect(t, version)
			if p.ack.Present {
				t.Error("session present is 1 with a clean start")
			}
			if _, named := p.ack.Props.Get(wire.AuthMethod); named {
				t.Errorf("CONNACK %v names an authentication method", p.ack.Props)
			}
			p.ping()
			if len(p.waiting) > 0 {
				t.Errorf("before PINGRESP came %+v", p.waiting)
			}
		})
}

func TestConnackSaysWhatTheServerCan(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.1.2-28")
	p := n.connect(t, wire.V5, props(wire.Num(wire.ResponseInfo, 0)))
	want := map[byte]uint32{wire.ReceiveMaximum: 1024, wire.MaximumPacketSize: 1 << 20, wire.TopicAliasMaximum: 32}
	for property, value := range want {
		if got, ok := p.ack.Props.Get(property); !ok || got.Num != value {
			t.Errorf("property %#x is %v, %v, want %d", property, got.Num, ok, value)
		}
	}
	for _, capability := range []byte{wire.RetainAvailable, wire.WildcardAvailable, wire.SubIDAvailable,
		wire.SharedAvailable} {
		if got, ok := p.ack.Props.Get(capability); ok && got.Num != 1 {
			t.Errorf("capability %#x is %d, want 1 or absent", capability, got.Num)
		}
	}
	for _, absent := range []byte{wire.MaximumQoS, wire.ResponseInfoReply, wire.ServerReference, wire.AssignedClientID,
		wire.ReasonString} {
		if got, ok := p.ack.Props.Get(absent); ok {
			t.Errorf("property %#x is there: %+v", absent, got)
		}
	}
}

func TestWhoIsNotLetInIsToldWhyAndDisconnected(t *testing.T) {
	n := start(t)
	tests := map[string]struct {
		shows  ids
		change with
		code3  byte
		code5  byte
	}{
		"a wrong password": {shows: ids{"3.2.2-4 3.2.2-5 3.2.2-6", "3.1.4-2 3.2.2-6 3.2.2-7 3.2.2-8 4.13.2-1"},
			change: func(p *wire.Packet) { p.Connect.Password = "wrong" }, code3: 4, code5: 0x86},
		"an unknown user": {shows: ids{"3.2.2-4 3.2.2-5 3.2.2-6", "3.1.4-2 3.2.2-6 3.2.2-7 3.2.2-8"},
			change: func(p *wire.Packet) { p.Connect.User = "nobody" }, code3: 4, code5: 0x86},
		"no user": {shows: ids{"3.2.2-4 3.2.2-5", "3.1.4-2 3.2.2-6 3.2.2-7"},
			change: func(p *wire.Packet) { p.Connect.User, p.Connect.Password = "", "" }, code3: 4, code5: 0x86},
		"a client id that is too long": {shows: ids{"3.1.3-9", "3.1.3-8"},
			change: id(strings.Repeat("x", 257)), code3: 2, code5: 0x85},
		"no client id for a session that is to stay": {shows: ids{"3.1.3-8 3.1.3-7 3.2.2-4", absent},
			change: func(p *wire.Packet) { p.Connect.ClientID, p.Connect.Clean = "", false }, code3: 2},
		"an authentication method": {shows: ids{absent, "4.12.0-1 4.12.0-4"},
			change: props(wire.Str(wire.AuthMethod, "SCRAM-SHA-1")), code5: 0x8C},
		"an authentication method with data": {shows: ids{absent, "4.12.0-1 4.12.0-4"},
			change: props(wire.Str(wire.AuthMethod, "SCRAM-SHA-1"), wire.Str(wire.AuthData, "n,,")), code5: 0x8C},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBoth(t, tt.shows, func(t *testing.T, version byte) {
				p := n.knock(t, version, tt.change)
				want := tt.code3
				if version == wire.V5 {
					want = tt.code5
				}
				if p.ack.Reason != want || p.ack.Present {
					t.Errorf("CONNACK %#x, session present %t, want %#x, false", p.ack.Reason, p.ack.Present, want)
				}
				if last := p.gone(); last.Type != 0 {
					t.Errorf("then comes %+v", last)
				}
			})
		})
	}
}

func TestARefusalIsNotLargerThanTheClientCanTake(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.2.2-19", "3.2.2-20")
	const size = 12
	p := n.dial(t, wire.V5)
	p.send(n.hello(props(wire.Num(wire.MaximumPacketSize, size)),
		func(p *wire.Packet) { p.Connect.Password = "wrong" }))
	if last := p.gone(); last.Size > size {
		t.Errorf("CONNACK with %d bytes: %+v, want %d at most", last.Size, last, size)
	}
}

func TestWhatComesAfterARefusedConnectIsNotLookedAt(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.4-5", "3.1.4-6"}, func(t *testing.T, version byte) {
		bob := n.connect(t, version, as("bob", n))
		bob.listen(1, "t/#")
		p := n.dial(t, version)
		hello := n.hello(func(p *wire.Packet) { p.Connect.Password = "wrong" })
		p.send(hello, publish("t/early", "early", 1, 1), wire.Packet{Type: wire.PINGREQ})
		if last := p.gone(); last.Type != wire.CONNACK {
			t.Errorf("the last packet is %+v, want the CONNACK", last)
		}
		bob.only(n.connect(t, version), "t/end")
	})
}

func TestPacketsRightBehindConnectAreHandled(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.2.0-1", "3.2.0-1"}, func(t *testing.T, version byte) {
		p := n.dial(t, version)
		p.send(n.hello(), wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "t/a", Options: 1}}},
			publish("t/a", "x", 1, 2), wire.Packet{Type: wire.PINGREQ})
		if first := p.next(); first.Type != wire.CONNACK || first.Reason != 0 {
			t.Fatalf("the first packet is %+v, want CONNACK 0", first)
		}
		p.answer(wire.SUBACK, 1)
		p.answer(wire.PUBACK, 2)
		if m := p.take(); string(m.Payload) != "x" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestClientIDsOfDigitsAndLettersAreAllowed(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.3-5 3.1.3-2", "3.1.3-5 3.1.3-2"}, func(t *testing.T, version byte) {
		const all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for _, name := range []string{"0", "z", "Z", all[:23], all[23:46], all[39:]} {
			n.connect(t, version, id(name)).leave() // what another version left
			first := n.connect(t, version, id(name), keep)
			first.leave()
			if first.ack.Present {
				t.Errorf("%q: the session of another client id is present", name)
			}
			if again := n.connect(t, version, id(name), keep); !again.ack.Present {
				t.Errorf("%q: no session present", name)
			}
		}
	})
}

func TestWhoGivesNoClientIDGetsOneOfItsOwn(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.3-6", "3.1.3-6 3.1.3-7 3.2.2-16"}, func(t *testing.T, version byte) {
		one, other := n.connect(t, version, id("")), n.connect(t, version, id(""))
		one.ping() // it was not taken over
		other.ping()
		if version == wire.V311 {
			return
		}
		a, _ := one.ack.Props.Get(wire.AssignedClientID)
		b, _ := other.ack.Props.Get(wire.AssignedClientID)
		if a.Str == "" || b.Str == "" || a.Str == b.Str {
			t.Errorf("assigned are %q and %q, want two different ones", a.Str, b.Str)
		}
	})
	t.Run("it names the session", func(t *testing.T) {
		shows(t, wire.V5, "3.1.3-7")
		one := n.connect(t, wire.V5, id(""), keep)
		assigned, _ := one.ack.Props.Get(wire.AssignedClientID)
		one.listen(1, "t/a")
		one.leave()
		again := n.connect(t, wire.V5, id(assigned.Str), keep)
		if _, told := again.ack.Props.Get(wire.AssignedClientID); !again.ack.Present || told {
			t.Errorf("CONNACK %+v, want the session, and no assigned id", again.ack)
		}
	})
}

func TestASecondConnectionOfAClientIDEndsTheFirst(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.4-2", "3.1.4-3"}, func(t *testing.T, version byte) {
		first := n.connect(t, version, id("same"+names[version]))
		second := n.connect(t, version, id("same"+names[version]))
		first.told(0x8E)
		second.ping()
	})
}

func TestTheKeepAliveOfTheClientIsWatched(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.2-24", "3.1.2-22 3.2.2-22"}, func(t *testing.T, version byte) {
		t.Parallel()
		p := n.connect(t, version, alive(1))
		if told, ok := p.ack.Props.Get(wire.ServerKeepAlive); ok {
			t.Errorf("the server says a keep-alive of %d", told.Num)
		}
		p.ping()
		for { // without a word: gone would ping
			packet, err := p.Read(time.Now().Add(deadline))
			switch {
			case errors.Is(err, wire.ErrTimeout):
				t.Fatal("still connected")
			case err != nil:
				return
			case packet.Type != wire.DISCONNECT || packet.Reason != 0x8D:
				t.Fatalf("got %+v", packet)
			}
		}
	})
	t.Run("what is more than the server can count is said", func(t *testing.T) {
		p := n.connect(t, wire.V5, alive(65535))
		if told, ok := p.ack.Props.Get(wire.ServerKeepAlive); ok && told.Num >= 65535 {
			t.Errorf("the server says a keep-alive of %d", told.Num)
		}
		p.ping()
	})
}

func TestPingreqIsAnswered(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.12.4-1", "3.12.4-1"}, func(t *testing.T, version byte) {
		p := n.connect(t, version)
		for range 3 {
			p.ping()
		}
		p.send(wire.Packet{Type: wire.PINGREQ}, wire.Packet{Type: wire.PINGREQ})
		for range 2 {
			if got := p.next(); got.Type != wire.PINGRESP {
				t.Errorf("got %+v, want PINGRESP", got)
			}
		}
	})
}

func TestAnErrorOfTheStoreEndsTheConnectionAndPromisesNothing(t *testing.T) {
	shows(t, wire.V311, "4.8.0-2")
	mongotest.Embedded(t, "its disk is too full")
	var full bool
	n := start(t, func(cfg *broker.Config) {
		if full {
			cfg.Store.MinFree = 1 << 60
		}
	})
	full = true
	n.Restart()
	for _, version := range []byte{wire.V311, wire.V5} {
		p := n.connect(t, version)
		p.send(publish("t/a", "x", 1, 1))
		if last := p.gone(); last.Type != 0 && (last.Type != wire.DISCONNECT || last.Reason < 0x80) {
			t.Errorf("%s: the last packet is %+v, want DISCONNECT or none", names[version], last)
		}
	}
}
