package conformance

import (
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// broken is something that a client must not send.
type broken struct {
	name    string
	shows   ids
	bytes   func(version byte) []byte
	reasons []byte // MQTT 5: what the server may say, if anything
}

var (
	malformed = []byte{0x81}
	violation = []byte{0x82}
	either    = []byte{0x81, 0x82}
)

func always(b []byte) func(byte) []byte { return func(byte) []byte { return b } }

// body makes packets that have properties in MQTT 5 between head and tail.
func body(first byte, head, tail string) func(byte) []byte {
	return func(version byte) []byte { return packet(first, head, none(version), tail) }
}

// brokenText is what no text may be.
var brokenText = map[string]string{
	"not UTF-8": "\xff\xfe", "a cut character": "a\xc3", "an overlong slash": "\xc0\xaf", "a surrogate": "\xed\xa0\x80",
	"the last surrogate": "\xed\xbf\xbf", "beyond Unicode": "\xf4\x90\x80\x80",
}

func TestAPacketThatMustNotBeSentEndsTheConnection(t *testing.T) {
	n := start(t)
	for _, b := range brokenPackets() {
		t.Run(b.name, func(t *testing.T) {
			inBoth(t, b.shows, func(t *testing.T, version byte) {
				p := n.connect(t, version)
				p.raw(b.bytes(version))
				p.refused(b.reasons...)
			})
		})
	}
	if p := n.connect(t, wire.V5); p.ack.Reason != 0 {
		t.Errorf("afterwards: CONNACK %#x", p.ack.Reason)
	}
}

func brokenPackets() []broken {
	all := []broken{
		{name: "a second CONNECT", shows: ids{"3.1.0-2 4.8.0-1", "3.1.0-2 4.13.1-1 4.13.2-1"}, reasons: violation,
			bytes: func(version byte) []byte {
				return wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{Clean: true, ClientID: "x"}}.Append(nil,
					version)
			}},
		{name: "the reserved packet type", shows: ids{"4.8.0-1", "4.13.1-1"}, bytes: always(packet(0x00)),
			reasons: either},
		{name: "AUTH in 3.1.1", shows: ids{"4.8.0-1", absent}, bytes: always(packet(0xF0))},
		{name: "AUTH without a method", shows: ids{absent, "4.12.0-7 4.13.1-1"}, bytes: always(packet(0xF0)),
			reasons: violation},
		{name: "AUTH with a method", shows: ids{absent, "4.12.0-7 4.13.1-1"}, reasons: violation,
			bytes: always(packet(0xF0, "\x19\x07\x15\x00\x04SCRA"))},
		{name: "a CONNACK from a client", shows: ids{"4.8.0-1", "4.13.1-1"}, bytes: body(0x20, "\x00\x00", ""),
			reasons: either},
		{name: "a SUBACK from a client", shows: ids{"4.8.0-1", "4.13.1-1"}, bytes: body(0x90, "\x00\x01", "\x00"),
			reasons: either},
		{name: "an UNSUBACK from a client", shows: ids{"4.8.0-1", "4.13.1-1"}, bytes: body(0xB0, "\x00\x01", ""),
			reasons: either},
		{name: "a PINGRESP from a client", shows: ids{"4.8.0-1", "4.13.1-1"}, bytes: always(packet(0xD0)),
			reasons: either},

		{name: "a length in five bytes", shows: ids{"4.8.0-1", "1.5.5-1 4.13.1-1"}, reasons: malformed,
			bytes: always([]byte("\x30\x80\x80\x80\x80\x01"))},
		{name: "a property length in five bytes", shows: ids{absent, "1.5.5-1 4.13.1-1"}, reasons: malformed,
			bytes: always(packet(0x30, text("t/a"), "\x80\x80\x80\x80\x01"))},
		{name: "a property length beyond the packet", shows: ids{absent, "4.13.1-1"}, reasons: malformed,
			bytes: always(packet(0x30, text("t/a"), "\x7f"))},
		{name: "a PUBLISH that ends in its topic", shows: ids{"3.3.2-1 4.8.0-1", "3.3.2-1 4.13.1-1"},
			reasons: malformed,
			bytes:   always(packet(0x30, "\x00\x09t"))},
		{name: "a PUBLISH without its packet id", shows: ids{"2.3.1-1", "2.2.1-3"}, reasons: malformed,
			bytes: always(packet(0x32, text("t/a")))},
		{name: "a PUBACK without its packet id", shows: ids{"4.8.0-1", "4.13.1-1"}, bytes: always(packet(0x40)),
			reasons: malformed},

		{name: "QoS 3", shows: ids{"3.3.1-4", "3.3.1-4"}, bytes: body(0x36, text("t/a")+number(1), "x"),
			reasons: malformed},
		{name: "DUP with QoS 0", shows: ids{"3.3.1-2", "3.3.1-2"}, bytes: body(0x38, text("t/a"), "x"),
			reasons: either},
		{name: "packet id 0 with QoS 1", shows: ids{"2.3.1-1", "2.2.1-3"}, bytes: body(0x32, text("t/a")+number(0),
			"x"), reasons: either},
		{name: "packet id 0 with QoS 2", shows: ids{"2.3.1-1", "2.2.1-3"}, bytes: body(0x34, text("t/a")+number(0),
			"x"), reasons: either},
		{name: "an empty topic", shows: ids{"4.7.3-1", "4.7.3-1"}, bytes: body(0x30, text(""), "x"),
			reasons: []byte{0x81, 0x82, 0x90}},
		{name: "+ in a topic", shows: ids{"3.3.2-2 4.7.1-1", "3.3.2-2 4.7.0-1"}, bytes: body(0x30, text("t/+"), "x"),
			reasons: []byte{0x81, 0x82, 0x90}},
		{name: "# in a topic", shows: ids{"3.3.2-2 4.7.1-1", "3.3.2-2 4.7.0-1"}, bytes: body(0x32,
			text("t/#")+number(1), "x"), reasons: []byte{0x81, 0x82, 0x90}},
		{name: "U+0000 in a topic", shows: ids{"1.5.3-2 4.7.3-2", "1.5.4-2 4.7.3-2"}, bytes: body(0x30, text("t/\x00"),
			"x"), reasons: []byte{0x81, 0x90}},
		{name: "U+0000 in a filter", shows: ids{"1.5.3-2 4.7.3-2", "1.5.4-2 4.7.3-2"}, bytes: body(0x82, number(1),
			text("t/\x00")+"\x00"), reasons: []byte{0x81, 0x8F}},
		{name: "U+0000 in a filter of UNSUBSCRIBE", shows: ids{"1.5.3-2 4.7.3-2", "1.5.4-2 4.7.3-2"}, bytes: body(0xA2,
			number(1), text("t/\x00")), reasons: []byte{0x81, 0x8F}},

		{name: "SUBSCRIBE without a filter", shows: ids{"3.8.3-3", "3.8.3-2"}, bytes: body(0x82, number(1), ""),
			reasons: either},
		{name: "SUBSCRIBE without the options", shows: ids{"4.8.0-1", "4.13.1-1"}, bytes: body(0x82, number(1),
			text("t/a")), reasons: malformed},
		{name: "SUBSCRIBE with QoS 3", shows: ids{"3.8.3-4", "4.13.1-1"}, bytes: body(0x82, number(1),
			text("t/a")+"\x03"), reasons: either},
		{name: "SUBSCRIBE with packet id 0", shows: ids{"2.3.1-1", "2.2.1-3"}, bytes: body(0x82, number(0),
			text("t/a")+"\x00"), reasons: either},
		{name: "bit 6 of the options", shows: ids{"3.8.3-4", "3.8.3-5"}, bytes: body(0x82, number(1),
			text("t/a")+"\x40"), reasons: malformed},
		{name: "bit 7 of the options", shows: ids{"3.8.3-4", "3.8.3-5"}, bytes: body(0x82, number(1),
			text("t/a")+"\x80"), reasons: malformed},
		{name: "No Local in 3.1.1", shows: ids{"3.8.3-4", absent}, bytes: body(0x82, number(1), text("t/a")+"\x04")},
		{name: "Retain Handling 3", shows: ids{absent, "4.13.1-1"}, bytes: body(0x82, number(1), text("t/a")+"\x30"),
			reasons: either},
		{name: "No Local with a shared subscription", shows: ids{absent, "3.8.3-4"}, bytes: body(0x82, number(1),
			text("$share/g/t/a")+"\x04"), reasons: violation},
		{name: "UNSUBSCRIBE without a filter", shows: ids{"3.10.3-2", "3.10.3-2"}, bytes: body(0xA2, number(1), ""),
			reasons: either},
		{name: "UNSUBSCRIBE with packet id 0", shows: ids{"2.3.1-1", "2.2.1-3"}, bytes: body(0xA2, number(0),
			text("t/a")), reasons: either},

		{name: "topic alias 0", shows: ids{absent, "3.3.2-8"}, bytes: always(packet(0x30, text("t/a"),
			"\x03\x23\x00\x00", "x")), reasons: []byte{0x94}},
		{name: "an unknown topic alias", shows: ids{absent, "4.13.1-1"}, bytes: always(packet(0x30, text(""),
			"\x03\x23\x00\x07", "x")), reasons: violation},
		{name: "a topic alias above the maximum", shows: ids{absent, "3.3.2-9 3.2.2-17"}, bytes: always(packet(0x30,
			text("t/a"), "\x03\x23\xff\xff", "x")), reasons: []byte{0x94}},
		{name: "a response topic with a wildcard", shows: ids{absent, "3.3.2-14"}, bytes: always(packet(0x30,
			text("t/a"), "\x06\x08", text("r/#"), "x")), reasons: []byte{0x81, 0x82, 0x90}},
		{name: "a subscription identifier in PUBLISH", shows: ids{absent, "3.3.4-6"}, bytes: always(packet(0x30,
			text("t/a"), "\x02\x0b\x01", "x")), reasons: violation},
		{name: "a subscription identifier of 0", shows: ids{absent, "4.13.1-1"}, bytes: always(packet(0x82, number(1),
			"\x02\x0b\x00", text("t/a"), "\x00")), reasons: violation},
		{name: "a payload format of 2", shows: ids{absent, "4.13.1-1"}, bytes: always(packet(0x30, text("t/a"),
			"\x02\x01\x02", "x")), reasons: either},
		{name: "a session expiry above 0 after one of 0", shows: ids{absent, "4.13.1-1"}, bytes: always(packet(0xE0,
			"\x00\x05\x11\x00\x00\x00\x09")), reasons: violation},
	}
	return append(append(append(all, brokenFlags()...), brokenTexts()...), brokenProperties()...)
}

// brokenFlags are packets with reserved bits that are not as they should be.
func brokenFlags() []broken {
	bits := func(name string, shows ids, right byte, rest func(version byte) []byte) (out []broken) {
		for wrong := range byte(16) {
			if wrong == right {
				continue
			}
			if wrong != right^1 && wrong != right^2 && wrong != right^4 && wrong != right^8 { // one bit at a time
				continue
			}
			out = append(out, broken{name: name + " with flags " + string("0123456789abcdef"[wrong]), shows: shows,
				reasons: malformed,
				bytes: func(version byte) []byte {
					b := rest(version)
					b[0] = b[0]&0xF0 | wrong
					return b
				}})
		}
		return out
	}
	var all []broken
	ids311, ids5 := "2.2.2-1 2.2.2-2", "2.1.3-1"
	add := func(b []broken) { all = append(all, b...) }
	add(bits("PUBACK", ids{ids311, ids5}, 0, always(packet(0x40, number(1)))))
	add(bits("PUBREC", ids{ids311, ids5}, 0, always(packet(0x50, number(1)))))
	add(bits("PUBREL", ids{ids311 + " 3.6.1-1", ids5 + " 3.6.1-1"}, 2, always(packet(0x60, number(1)))))
	add(bits("PUBCOMP", ids{ids311, ids5}, 0, always(packet(0x70, number(1)))))
	add(bits("SUBSCRIBE", ids{ids311 + " 3.8.1-1", ids5 + " 3.8.1-1"}, 2, body(0x80, number(1), text("t/a")+"\x00")))
	add(bits("UNSUBSCRIBE", ids{ids311 + " 3.10.1-1", ids5 + " 3.10.1-1"}, 2, body(0xA0, number(1), text("t/a"))))
	add(bits("PINGREQ", ids{ids311, ids5}, 0, always(packet(0xC0))))
	add(bits("DISCONNECT", ids{ids311 + " 3.14.1-1", ids5 + " 3.14.1-1"}, 0, always(packet(0xE0))))
	for _, b := range bits("AUTH", ids{absent, ids5 + " 3.15.1-1"}, 0, always(packet(0xF0))) {
		b.reasons = either
		add([]broken{b})
	}
	return all
}

// brokenTexts are texts that are none, wherever a client can say one.
func brokenTexts() []broken {
	var all []broken
	for what, bad := range brokenText {
		add := func(where string, shows ids, reasons []byte, bytes func(byte) []byte) {
			all = append(all, broken{name: what + " in " + where, shows: shows, bytes: bytes, reasons: reasons})
		}
		property := func(id string) func(byte) []byte {
			value := id + text(bad)
			return always(packet(0x30, text("t/a"), string(byte(len(value))), value, "x"))
		}
		add("a topic", ids{"1.5.3-1 3.3.2-1", "1.5.4-1 3.3.2-1"}, []byte{0x81, 0x90}, body(0x30, text("t/"+bad), "x"))
		add("a filter", ids{"1.5.3-1 3.8.3-1", "1.5.4-1 3.8.3-1"}, []byte{0x81, 0x8F}, body(0x82, number(1),
			text("t/"+bad)+"\x00"))
		add("a filter of UNSUBSCRIBE", ids{"1.5.3-1 3.10.3-1", "1.5.4-1 3.10.3-1"}, []byte{0x81, 0x8F}, body(0xA2,
			number(1), text("t/"+bad)))
		add("a content type", ids{absent, "1.5.4-1 3.3.2-19"}, malformed, property("\x03"))
		add("a response topic", ids{absent, "1.5.4-1 3.3.2-13"}, []byte{0x81, 0x90}, property("\x08"))
		add("the name of a user property", ids{absent, "1.5.7-1"}, malformed, func(byte) []byte {
			value := "\x26" + text(bad) + text("v")
			return packet(0x30, text("t/a"), string(byte(len(value))), value, "x")
		})
		add("the value of a user property", ids{absent, "1.5.7-1"}, malformed, property("\x26"+text("k")))
	}
	return all
}

// brokenProperties are properties that are there twice, in the wrong packet, or that do not exist.
func brokenProperties() []broken {
	const (
		expiry  = "\x02\x00\x00\x00\x09"
		session = "\x11\x00\x00\x00\x09"
	)
	alias, contentType := "\x23"+number(1), "\x03"+text("a")
	tests := map[string]struct {
		properties string
		reasons    []byte
	}{
		"message expiry twice":           {expiry + expiry, either},
		"payload format twice":           {"\x01\x00\x01\x00", either},
		"content type twice":             {contentType + contentType, either},
		"response topic twice":           {"\x08" + text("a") + "\x08" + text("a"), either},
		"correlation data twice":         {"\x09" + text("a") + "\x09" + text("a"), either},
		"topic alias twice":              {alias + alias, either},
		"session expiry in PUBLISH":      {session, either},
		"receive maximum in PUBLISH":     {"\x21" + number(5), either},
		"reason string in PUBLISH":       {"\x1f" + text("a"), either},
		"a property that does not exist": {"\x7e\x00", either},
		"property 0":                     {"\x00", either},
		"half a property":                {"\x02\x00\x00", either},
	}
	var all []broken
	for name, tt := range tests {
		all = append(all, broken{name: name, shows: ids{absent, "4.13.1-1"}, reasons: tt.reasons,
			bytes: always(packet(0x30, text("t/a"), string(byte(len(tt.properties))), tt.properties, "x"))})
	}
	others := map[string][]byte{
		"a message expiry in SUBSCRIBE":        packet(0x82, number(1), "\x05"+expiry, text("t/a"), "\x00"),
		"subscription identifier twice":        packet(0x82, number(1), "\x04\x0b\x01\x0b\x02", text("t/a"), "\x00"),
		"a subscription identifier in UNSUB":   packet(0xA2, number(1), "\x02\x0b\x01", text("t/a")),
		"a session expiry in PUBACK":           packet(0x40, number(1), "\x00\x05"+session),
		"a message expiry in DISCONNECT":       packet(0xE0, "\x00\x05"+expiry),
		"a session expiry twice in DISCONNECT": packet(0xE0, "\x00\x0a"+session+session),
	}
	for name, b := range others {
		all = append(all, broken{name: name, shows: ids{absent, "4.13.1-1"}, reasons: either, bytes: always(b)})
	}
	return all
}
