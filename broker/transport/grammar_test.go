package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// packetTest is a packet that a connected client sends, without the length. 0 means that it is as it should be, in this
// version; -1 that the version has no such packet.
type packetTest struct {
	name         string
	first        byte
	content      string
	want3, want5 int
}

// bytes is the packet. {} in the content stands for the properties that MQTT 5 has there: none, with their length.
func (p packetTest) bytes(version byte) []byte {
	properties := ""
	if version >= version5 {
		properties = "\x00"
	}
	p.content = strings.ReplaceAll(p.content, "{}", properties)
	return p.raw()
}

// raw is the packet with the content as it stands there.
func (p packetTest) raw() []byte {
	return append(binary.AppendUvarint([]byte{p.first}, uint64(len(p.content))), p.content...) // as MQTT's lengths
}

func text(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// with is properties with their length.
func with(properties ...string) string {
	all := strings.Join(properties, "")
	if len(all) > 0x7f {
		return string([]byte{byte(len(all)) | 0x80, byte(len(all) >> 7)}) + all
	}
	return string([]byte{byte(len(all))}) + all
}

const (
	longText = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	aTopic   = "\x00\x01t" // a topic
	id1      = "\x00\x01"  // a packet id
)

var packetTests = []packetTest{
	// The first byte (MQTT 5, 2.1.3).
	{"reserved", 0x00, "", 0x81, 0x81},
	{"second CONNECT", 0x10, "\x00\x04MQTT\x04\x02\x00\x00\x00\x00", 0x82, 0x82},
	{"CONNACK", 0x20, "\x00\x00", 0x81, 0x81},
	{"SUBACK", 0x90, "\x00\x01{}\x00", 0x81, 0x81},
	{"UNSUBACK", 0xb0, "\x00\x01{}", 0x81, 0x81},
	{"PINGRESP", 0xd0, "", 0x81, 0x81},
	{"AUTH", 0xf0, "", 0x81, 0x82},
	{"AUTH with flags", 0xf1, "", 0x81, 0x81},
	{"PUBACK with flags", 0x42, id1, 0x81, 0x81},
	{"PUBREL without flags", 0x60, id1, 0x81, 0x81},
	{"SUBSCRIBE without flags", 0x80, id1 + "{}" + aTopic + "\x00", 0x81, 0x81},
	{"UNSUBSCRIBE with all flags", 0xaf, id1 + "{}" + aTopic, 0x81, 0x81},
	{"PINGREQ with flags", 0xc1, "", 0x81, 0x81},
	{"DISCONNECT with flags", 0xe8, "", 0x81, 0x81},

	// PUBLISH.
	{"PUBLISH", 0x30, aTopic + "{}", 0, 0},
	{"PUBLISH with all flags", 0x3d, aTopic + id1 + "{}payload\x00\xff", 0, 0},
	{"PUBLISH of much", 0x34, aTopic + id1 + "{}" + strings.Repeat("x", 1000), 0, 0},
	{"QoS 3", 0x36, aTopic + id1 + "{}", 0x81, 0x81},
	{"DUP with QoS 0", 0x38, aTopic + "{}", 0x81, 0x81},
	{"PUBLISH of nothing", 0x30, "", 0x81, 0x81},
	{"half a length", 0x30, "\x00", 0x81, 0x81},
	{"topic beyond the packet", 0x30, "\x00\x09t{}", 0x81, 0x81},
	{"topic far beyond the packet", 0x32, "\xff\xfft" + id1 + "{}", 0x81, 0x81},
	{"no packet id", 0x32, aTopic, 0x81, 0x81},
	{"half a packet id", 0x32, aTopic + "\x01", 0x81, 0x81},
	{"packet id 0", 0x32, aTopic + "\x00\x00{}", 0x82, 0x82},
	{"empty topic", 0x30, "\x00\x00{}x", 0x82, 0x82},
	{"+", 0x30, text("a/+/b") + "{}x", 0x90, 0x90},
	{"#", 0x30, text("a/#") + "{}x", 0x90, 0x90},
	{"null", 0x30, text("a\x00b") + "{}x", 0x81, 0x81},
	{"not UTF-8", 0x30, text("a\xffb") + "{}x", 0x81, 0x81},
	{"surrogate", 0x30, text("\xed\xa0\x80") + "{}x", 0x81, 0x81},
	{"overlong", 0x30, text("\xc0\xaf") + "{}x", 0x81, 0x81},
	{"non-characters and controls are allowed", 0x30, text("\uffff\ufeff\x01\u0080") + "{}x", 0, 0},
	{"largest topic", 0x30, text(strings.Repeat("x", 65535)) + "{}", 0, 0},
	{"no properties", 0x30, aTopic, 0, 0x81},
	{"length of properties in five bytes", 0x30, aTopic + "\x80\x80\x80\x80\x01", 0, 0x81},
	{"length of properties is not minimal", 0x30, aTopic + "\x80\x00x", 0, 0x81},
	{"length of properties is cut", 0x30, aTopic + "\x80\x80", 0, 0x81},
	{"properties beyond the packet", 0x30, aTopic + "\x7fx", 0, 0x81},

	// Properties of PUBLISH (MQTT 5, 3.3.2.3). In 3.1.1 they are payload.
	{"every property", 0x32, aTopic + id1 + with("\x01\x01", "\x02\x00\x00\x00\x09", "\x03\x00\x01c", "\x08\x00\x01r", "\x09\x00\x01\xff", "\x23\x00\x01",
		"\x26"+text("k")+text("v"), "\x26"+text("")+text("")) + "x", 0, 0},
	{"many properties", 0x30, aTopic + with("\x26"+text(longText)+text(longText), "\x26"+text(longText)+text(longText)) + "x", 0, 0},
	{"alias instead of a topic", 0x30, "\x00\x00" + with("\x23\x00\x01") + "x", 0x82, 0},
	{"alias 0", 0x30, aTopic + with("\x23\x00\x00") + "x", 0, 0x94},
	{"alias twice", 0x30, aTopic + with("\x23\x00\x01", "\x23\x00\x01"), 0, 0x82},
	{"half an alias", 0x30, aTopic + with("\x23\x00"), 0, 0x81},
	{"payload format 2", 0x30, aTopic + with("\x01\x02"), 0, 0x82},
	{"payload format twice", 0x30, aTopic + with("\x01\x00", "\x01\x00"), 0, 0x82},
	{"payload format without a value", 0x30, aTopic + with("\x01"), 0, 0x81},
	{"expiry twice", 0x30, aTopic + with("\x02\x00\x00\x00\x09", "\x02\x00\x00\x00\x09"), 0, 0x82},
	{"half an expiry", 0x30, aTopic + with("\x02\x00\x00"), 0, 0x81},
	{"content type twice", 0x30, aTopic + with("\x03\x00\x00", "\x03\x00\x00"), 0, 0x82},
	{"content type that is not UTF-8", 0x30, aTopic + with("\x03\x00\x01\xff"), 0, 0x81},
	{"response topic twice", 0x30, aTopic + with("\x08\x00\x01r", "\x08\x00\x01r"), 0, 0x82},
	{"response topic with a wildcard", 0x30, aTopic + with("\x08"+text("r/#")), 0, 0x82},
	{"empty response topic", 0x30, aTopic + with("\x08"+text("")), 0, 0x82},
	{"response topic that is not UTF-8", 0x30, aTopic + with("\x08"+text("\xc3")), 0, 0x81},
	{"correlation data twice", 0x30, aTopic + with("\x09\x00\x00", "\x09\x00\x00"), 0, 0x82},
	{"correlation data beyond the properties", 0x30, aTopic + with("\x09\x00\x01") + "x", 0, 0x81},
	{"half a user property", 0x30, aTopic + with("\x26"+text("k")), 0, 0x81},
	{"user property with a null", 0x30, aTopic + with("\x26"+text("k")+text("\x00")), 0, 0x81},
	{"subscription identifier from a client", 0x30, aTopic + with("\x0b\x01"), 0, 0x82},
	{"session expiry in PUBLISH", 0x30, aTopic + with("\x11\x00\x00\x00\x01"), 0, 0x81},
	{"reason string in PUBLISH", 0x30, aTopic + with("\x1f\x00\x01x"), 0, 0x81},
	{"property 0", 0x30, aTopic + with("\x00"), 0, 0x81},
	{"property 0x7e", 0x30, aTopic + with("\x7e\x00"), 0, 0x81},
	{"property in two bytes", 0x30, aTopic + with("\x82\x00\x00\x00\x00\x09"), 0, 0x81},

	// Acks.
	{"PUBACK", 0x40, id1, 0, 0},
	{"PUBACK with a reason", 0x40, id1 + "\x10", 0x81, 0},
	{"PUBREC with a reason and no properties", 0x50, id1 + "\x97\x00", 0x81, 0},
	{"PUBREL with properties", 0x62, id1 + "\x92" + with("\x1f"+text("why"), "\x26"+text("k")+text("v")), 0x81, 0},
	{"PUBCOMP with a reason", 0x70, id1 + "\x92", 0x81, 0},
	{"PUBACK of nothing", 0x40, "", 0x81, 0x81},
	{"PUBACK of one byte", 0x40, "\x01", 0x81, 0x81},
	{"PUBACK with id 0", 0x40, "\x00\x00", 0x82, 0x82},
	{"PUBACK with the reason of PUBREL", 0x40, id1 + "\x92", 0x81, 0x82},
	{"PUBREL with the reason of PUBREC", 0x62, id1 + "\x10", 0x81, 0x82},
	{"PUBACK with reason 0x40", 0x40, id1 + "\x40", 0x81, 0x82},
	{"PUBACK with reason 0xC0", 0x40, id1 + "\xc0", 0x81, 0x82},
	{"PUBACK with two reason strings", 0x40, id1 + "\x00" + with("\x1f\x00\x00", "\x1f\x00\x00"), 0x81, 0x82},
	{"PUBACK with an expiry", 0x40, id1 + "\x00" + with("\x02\x00\x00\x00\x01"), 0x81, 0x81},
	{"PUBACK with bytes behind", 0x40, id1 + "\x00\x00\x00", 0x81, 0x81},

	// SUBSCRIBE and UNSUBSCRIBE.
	{"SUBSCRIBE", 0x82, id1 + "{}" + aTopic + "\x00" + text("#") + "\x02", 0, 0},
	{"SUBSCRIBE with every option", 0x82, id1 + "{}" + aTopic + "\x2e", 0x81, 0},
	{"SUBSCRIBE with an identifier", 0x82, id1 + with("\x0b\xff\xff\xff\x7f", "\x26"+text("k")+text("v")) + aTopic + "\x01", 0x81, 0},
	{"SUBSCRIBE with QoS 3", 0x82, id1 + "{}" + aTopic + "\x03", 0x82, 0x82},
	{"SUBSCRIBE with retain handling 3", 0x82, id1 + "{}" + aTopic + "\x30", 0x81, 0x82},
	{"SUBSCRIBE with bit 6", 0x82, id1 + "{}" + aTopic + "\x40", 0x81, 0x81},
	{"SUBSCRIBE with bit 7", 0x82, id1 + "{}" + aTopic + "\x80", 0x81, 0x81},
	{"SUBSCRIBE without options", 0x82, id1 + "{}" + aTopic, 0x81, 0x81},
	{"SUBSCRIBE without filters", 0x82, id1 + "{}", 0x82, 0x82},
	{"SUBSCRIBE of nothing", 0x82, "", 0x81, 0x81},
	{"SUBSCRIBE with id 0", 0x82, "\x00\x00{}" + aTopic + "\x00", 0x82, 0x82},
	{"SUBSCRIBE with half a filter", 0x82, id1 + "{}" + aTopic + "\x00\x00\x02t", 0x81, 0x81},
	{"SUBSCRIBE to what is not UTF-8", 0x82, id1 + "{}" + text("\xff") + "\x00", 0x81, 0x81},
	{"SUBSCRIBE with identifier 0", 0x82, id1 + with("\x0b\x00") + aTopic + "\x00", 0x81, 0x82},
	{"SUBSCRIBE with two identifiers", 0x82, id1 + with("\x0b\x01", "\x0b\x02") + aTopic + "\x00", 0x81, 0x82},
	{"SUBSCRIBE with an identifier that is not minimal", 0x82, id1 + with("\x0b\x81\x00") + aTopic + "\x00", 0x81, 0x81},
	{"SUBSCRIBE with an identifier of five bytes", 0x82, id1 + with("\x0b\xff\xff\xff\xff\x01") + aTopic + "\x00", 0x81, 0x81},
	{"No Local and shared", 0x82, id1 + "{}" + text("$share/g/t") + "\x04", 0x81, 0x82},
	{"UNSUBSCRIBE", 0xa2, id1 + "{}" + aTopic + text("a/#"), 0, 0},
	{"UNSUBSCRIBE with a property", 0xa2, id1 + with("\x26"+text("k")+text("v")) + aTopic, 0x81, 0},
	{"UNSUBSCRIBE with an identifier", 0xa2, id1 + with("\x0b\x01") + aTopic, 0x81, 0x81},
	{"UNSUBSCRIBE without filters", 0xa2, id1 + "{}", 0x82, 0x82},
	{"UNSUBSCRIBE with id 0", 0xa2, "\x00\x00{}" + aTopic, 0x82, 0x82},
	{"UNSUBSCRIBE with options", 0xa2, id1 + "{}" + aTopic + "\x00", 0x81, 0x81},

	// PINGREQ and DISCONNECT.
	{"PINGREQ", 0xc0, "", 0, 0},
	{"PINGREQ with content", 0xc0, "\x00", 0x81, 0x81},
	{"DISCONNECT", 0xe0, "", 0, 0},
	{"DISCONNECT with a reason", 0xe0, "\x04", 0x81, 0},
	{"DISCONNECT with properties", 0xe0, "\x81" + with("\x1f"+text("why"), "\x26"+text("k")+text("v"), "\x11\x00\x00\x00\x00"), 0x81, 0},
	{"DISCONNECT with a reason of servers", 0xe0, "\x8e", 0x81, 0x82},
	{"DISCONNECT with the reference of a server", 0xe0, "\x00" + with("\x1c"+text("x")), 0x81, 0x82},
	{"DISCONNECT with an expiry that CONNECT had not", 0xe0, "\x00" + with("\x11\x00\x00\x00\x09"), 0x81, 0x82},
	{"DISCONNECT with two expiries", 0xe0, "\x00" + with("\x11\x00\x00\x00\x00", "\x11\x00\x00\x00\x00"), 0x81, 0x82},
	{"DISCONNECT with bytes behind", 0xe0, "\x00\x00\x00", 0x81, 0x81},
	{"DISCONNECT with properties beyond it", 0xe0, "\x00\x05", 0x81, 0x81},
}

func TestPacketsThatMustNotBeSentDoNotGoByWhole(t *testing.T) {
	for _, tt := range packetTests {
		for version, want := range map[byte]int{version311: tt.want3, version5: tt.want5} {
			t.Run(fmt.Sprintf("%s, version %d", tt.name, version), func(t *testing.T) {
				packet := tt.bytes(version)
				f := framer{limit: 1 << 20, dialect: dialect{version: version}}
				good, err := f.feed(packet)
				got, v := 0, (*Violation)(nil)
				if errors.As(err, &v) {
					got = int(v.Reason)
				}
				if got != want || (good == len(packet)) != (want == 0) {
					t.Errorf("feed(% .40x) = %d of %d, %v, reason %#x, want %#x", packet, good, len(packet), err, got, want)
				}
			})
		}
	}
}

func TestADisconnectMayChangeTheExpiryThatThereIs(t *testing.T) {
	f := framer{limit: 100, dialect: dialect{version: version5, expires: true}}
	if _, err := f.feed([]byte("\xe0\x07\x00\x05\x11\x00\x00\x00\x09")); err != nil {
		t.Error(err)
	}
}

func TestLengthsAreMinimalInMQTT5(t *testing.T) {
	packet := []byte{0x30, 0x86, 0x80, 0, 0, 1, 't', 0, 'x', 'y'}
	for version, want := range map[byte]error{version311: nil, version5: ErrMalformed} {
		f := framer{limit: 100, dialect: dialect{version: version}}
		if _, err := f.feed(packet); !errors.Is(err, want) {
			t.Errorf("version %d: %v, want %v", version, err, want)
		}
	}
}

func TestConnect(t *testing.T) {
	head := func(version, flags byte) string { return "\x00\x04MQTT" + string([]byte{version, flags}) + "\x00\x3c" }
	three := func(flags byte, fields string) string { return head(version311, flags) + fields }
	five := func(flags byte, fields string) string { return head(version5, flags) + "\x00" + fields }
	properties := func(list ...string) string { return head(version5, 2) + with(list...) + text("c") }
	tests := map[string]struct {
		content string
		want    int    // reason; 0: it is let through
		answer  string // what a client of 3.1.1 is told; that of 5 is told the reason
	}{
		"3.1.1":                            {three(0x02, text("c")), 0, ""},
		"5":                                {five(0x02, text("c")), 0, ""},
		"3.1.1 with all":                   {three(0xf6, text("c")+aTopic+text("x")+text("u")+text("p")), 0, ""},
		"5 with all":                       {five(0xf4, text("")+"\x00"+aTopic+text("")+text("")+text("")), 0, ""},
		"5, password without a user":       {five(0x42, text("c")+text("p")), 0, ""},
		"5, no client id":                  {five(0x00, text("")), 0, ""},
		"3.1.1, no client id":              {three(0x02, text("")), 0, ""},
		"3.1.1, no client id and a stay":   {three(0x00, text("")), 0x85, "\x20\x02\x00\x02"},
		"3.1.1, password without a user":   {three(0x42, text("c")+text("p")), 0x81, ""},
		"3.1.1, reserved flag":             {three(0x03, text("c")), 0x81, ""},
		"5, reserved flag":                 {five(0x03, text("c")), 0x81, ""},
		"QoS without a will":               {five(0x0a, text("c")), 0x81, ""},
		"retain without a will":            {three(0x22, text("c")), 0x81, ""},
		"will of QoS 3":                    {five(0x1e, text("c")+"\x00"+aTopic+text("x")), 0x81, ""},
		"no will":                          {three(0x06, text("c")), 0x81, ""},
		"will without a payload":           {five(0x06, text("c")+"\x00"+aTopic), 0x81, ""},
		"will with an empty topic":         {five(0x06, text("c")+"\x00"+text("")+text("x")), 0x90, ""},
		"will with a wildcard":             {three(0x06, text("c")+text("a/+")+text("x")), 0x90, ""},
		"no user":                          {five(0x82, text("c")), 0x81, ""},
		"no password":                      {five(0xc2, text("c")+text("u")), 0x81, ""},
		"client id that is not UTF-8":      {three(0x02, text("\xff")), 0x81, ""},
		"user that is not UTF-8":           {five(0x82, text("c")+text("\xff")), 0x81, ""},
		"password that is not UTF-8":       {three(0xc2, text("c")+text("u")+text("\xff\x00")), 0, ""},
		"bytes behind":                     {five(0x02, text("c")+"x"), 0x81, ""},
		"3.1.1, bytes behind":              {three(0x00, text("")+"x"), 0x81, ""},
		"cut":                              {"\x00\x04MQTT\x05\x02\x00", 0x81, ""},
		"cut before the version":           {"\x00\x04MQTT", 0x81, ""},
		"nothing":                          {"", 0x81, ""},
		"3.1":                              {"\x00\x06MQIsdp\x03\x02\x00\x00" + text("c"), 0x84, "\x20\x02\x00\x01"},
		"version 3":                        {head(3, 2) + text("c"), 0x84, "\x20\x02\x00\x01"},
		"version 6":                        {head(6, 2) + text("c"), 0x84, "\x20\x03\x00\x84\x00"},
		"the bit of a bridge":              {head(0x84, 2) + text("c"), 0x84, "\x20\x02\x00\x01"},
		"protocol in small letters":        {"\x00\x04mqtt\x04\x02\x00\x00" + text("c"), 0x84, ""},
		"every property":                   {properties("\x11\x00\x00\x00\x09", "\x21\x00\x01", "\x27\x00\x00\x00\x01", "\x22\x00\x00", "\x19\x01", "\x17\x00", "\x26"+text("k")+text("v"), "\x15"+text("m"), "\x16"+text("d")), 0, ""},
		"every property of a will":         {five(0x06, text("c")+with("\x18\x00\x00\x00\x00", "\x01\x01", "\x02\x00\x00\x00\x00", "\x03"+text(""), "\x08"+text("r"), "\x09"+text(""), "\x26"+text("k")+text("v"))+aTopic+text("x")), 0, ""},
		"alias of a will":                  {five(0x06, text("c")+with("\x23\x00\x01")+aTopic+text("x")), 0x81, ""},
		"will with two delays":             {five(0x06, text("c")+with("\x18\x00\x00\x00\x00", "\x18\x00\x00\x00\x00")+aTopic+text("x")), 0x82, ""},
		"delay outside the will":           {properties("\x18\x00\x00\x00\x00"), 0x81, ""},
		"receive maximum 0":                {properties("\x21\x00\x00"), 0x82, ""},
		"maximum packet size 0":            {properties("\x27\x00\x00\x00\x00"), 0x82, ""},
		"request problem information 2":    {properties("\x17\x02"), 0x82, ""},
		"request response information 2":   {properties("\x19\x02"), 0x82, ""},
		"session expiry twice":             {properties("\x11\x00\x00\x00\x09", "\x11\x00\x00\x00\x09"), 0x82, ""},
		"authentication data alone":        {properties("\x16" + text("d")), 0x82, ""},
		"properties beyond the packet":     {head(version5, 2) + "\x7f" + text("c"), 0x81, ""},
		"a length that is not minimal":     {head(version5, 2) + "\x80\x00" + text("c"), 0x81, ""},
		"5, five bytes for the properties": {head(version5, 2) + "\x80\x80\x80\x80\x01" + text("c"), 0x81, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			packet := packetTest{first: 0x10, content: tt.content}.bytes(version311)
			d, err := checkConnect(packet)
			if tt.want == 0 {
				if err != nil || d.version != tt.content[6] {
					t.Errorf("checkConnect(% x) = %v, %v, want it let through", packet, d, err)
				}
				return
			}
			var r *refusal
			if !errors.As(err, &r) || int(r.Reason) != tt.want {
				t.Fatalf("checkConnect(% x) = %v, want reason %#x", packet, err, tt.want)
			}
			want := tt.answer
			if len(tt.content) > 6 && tt.content[6] == version5 {
				want = string([]byte{0x20, 3, 0, byte(tt.want), 0})
			}
			if string(r.answer) != want {
				t.Errorf("the answer is % x, want % x", r.answer, want)
			}
		})
	}
}

// FuzzConnectPacket looks for a CONNECT that cannot be looked at.
func FuzzConnectPacket(f *testing.F) {
	f.Add(connect[2:])
	f.Add(connect5[2:])
	f.Add([]byte("\x00\x04MQTT\x05\xf6\x00\x3c\x00\x00\x01c\x00\x00\x01t\x00\x00\x00\x01u\x00\x01p"))
	f.Fuzz(func(t *testing.T, content []byte) {
		packet := packetTest{first: 0x10, content: string(content)}.bytes(version311)
		d, err := checkConnect(packet)
		if err == nil && d.version != version311 && d.version != version5 {
			t.Errorf("checkConnect(% x) = %+v", packet, d)
		}
	})
}

func TestAViolationCanBeToldBeforeReadFails(t *testing.T) {
	type outcome struct {
		read []byte
		told []byte
		err  error
	}
	ended := make(chan outcome, 1)
	s, addr := listen(t, nil, func(c *Conn) {
		if !admitted(t, c) {
			return
		}
		var o outcome
		c.OnViolation(func(v *Violation) {
			o.told = append(o.told, v.Reason)
			if _, err := c.Write([]byte{0xe0, 2, v.Reason, 0}); err != nil {
				t.Errorf("Write: %v", err)
			}
		})
		p := make([]byte, 100)
		for range 3 {
			var n int
			n, o.err = c.Read(p)
			o.read = append(o.read, p[:n]...)
		}
		ended <- o
	})
	conn := dial(t, addr)
	before := publish(50, 'x')
	send(t, conn, slices.Concat(connect, before, []byte{0x82, 6, 0, 1, 0, 1, 't', 3}))
	o := receive(t, ended)
	var v *Violation
	if !errors.As(o.err, &v) || v.Reason != reasonProtocol || !bytes.Equal(o.told, []byte{reasonProtocol}) {
		t.Errorf("Read: %v, told % x, want one protocol error", o.err, o.told)
	}
	if !bytes.HasPrefix(o.read, before) || len(o.read) >= len(before)+8 {
		t.Errorf("read %d bytes, want the %d before it, and less than all", len(o.read), len(before))
	}
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, []byte{0xe0, 2, reasonProtocol, 0}) {
		t.Errorf("the peer got % x, %v", got, err)
	}
	if n := broken(s, "protocol_error"); n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
}

func TestWhoseConnectIsWrongIsTold(t *testing.T) {
	_, addr := listen(t, nil, unserved(t))
	for in, want := range map[string]string{
		"\x10\x0d\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x00":       "\x20\x03\x00\x81\x00",
		"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00":           "",
		"\x10\x0c\x00\x04MQTT\x03\x02\x00\x3c\x00\x00":           "\x20\x02\x00\x01",
		"\x10\x0d\x00\x04mqtt\x05\x02\x00\x3c\x00\x00\x00":       "",
		"\x10\x8d\x00\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00":   "\x20\x03\x00\x81\x00",
		"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00\xc0\x00": "\x20\x02\x00\x01",
	} {
		conn := dial(t, addr)
		send(t, conn, []byte(in))
		if got, err := io.ReadAll(conn); err != nil || string(got) != want {
			t.Errorf("% x is answered with % x, %v, want % x", in, got, err, want)
		}
	}
}

func TestAConnectCanBeReplaced(t *testing.T) {
	got := make(chan []byte, 1)
	_, addr := listen(t, nil, func(c *Conn) {
		if !bytes.Equal(c.Connect(), connect) {
			t.Errorf("Connect() = % x", c.Connect())
		}
		c.SetConnect(connect5)
		p := make([]byte, 100)
		n, err := c.Read(p)
		if err != nil || !c.AtBoundary() {
			t.Errorf("Read: %v", err)
		}
		got <- p[:n]
	})
	send(t, dial(t, addr), connect)
	if got := receive(t, got); !bytes.Equal(got, connect5) {
		t.Errorf("read % x, want % x", got, connect5)
	}
}
