package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
	v3 "github.com/eclipse/paho.mqtt.golang/packets"
)

func connectPacket() Packet {
	return Packet{Type: CONNECT, Connect: Connect{
		Clean: true, KeepAlive: 60, ClientID: "phone", User: "alice?fmt=text", Password: "secret",
		Will: &Will{Topic: "im/to/bob/send", Payload: []byte("gone"), QoS: 1, Retain: true,
			Props: Properties{Num(WillDelay, 5)}},
	}, Props: Properties{Num(SessionExpiry, 3600), Num(ReceiveMaximum, 10), User("ack", "event")}}
}

func TestPahoUnderstandsWhatIsSent(t *testing.T) {
	toServer := []Packet{
		connectPacket(),
		{Type: PUBLISH, Dup: true, QoS: 2, Retain: true, ID: 300, Topic: "im/to/bob/send", Payload: []byte("你好"),
			Props: Properties{Str(ContentType, "text/plain"), Str(CorrelationData, "\x00\xff"), Num(TopicAlias, 3)}},
		{Type: PUBLISH, Topic: "t", Payload: bytes.Repeat([]byte("x"), 70000)},
		{Type: PUBACK, ID: 7}, {Type: PUBREC, ID: 8, Reason: 0x97}, {Type: PUBREL, ID: 9},
		{Type: PUBCOMP, ID: 65535, Props: Properties{Str(ReasonString, "late")}},
		{Type: SUBSCRIBE, ID: 1, Filters: []Filter{{Topic: "im/u/me/in", Options: 1}, {Topic: "im/u/me/rsp", Options: 2}},
			Props: Properties{Num(SubscriptionID, 200)}},
		{Type: UNSUBSCRIBE, ID: 2, Filters: []Filter{{Topic: "im/u/me/in"}}},
		{Type: PINGREQ},
		{Type: DISCONNECT, Reason: 0x04, Props: Properties{Num(SessionExpiry, 0)}},
	}
	for _, p := range toServer {
		t.Run(p.Type.String()+"/5", func(t *testing.T) { pahoReads5(t, p) })
		t.Run(p.Type.String()+"/3.1.1", func(t *testing.T) { pahoReads3(t, p) })
	}
}

func pahoReads5(t *testing.T, p Packet) {
	sent := p.Append(nil, V5)
	cp, err := v5.ReadPacket(bytes.NewReader(sent))
	if err != nil {
		t.Fatalf("paho cannot read % .80x: %v", sent, err)
	}
	var back bytes.Buffer
	if _, err := cp.WriteTo(&back); err != nil {
		t.Fatal(err)
	}
	if p.Type == CONNECT || p.Type == PUBLISH {
		checkFields5(t, cp, p)
	}
	if p.Type == SUBSCRIBE { // paho keeps filters in another form, so compare what it writes
		if !bytes.Contains(back.Bytes(), []byte("im/u/me/rsp\x02")) {
			t.Errorf("paho understood % x", back.Bytes())
		}
	}
}

func checkFields5(t *testing.T, cp *v5.ControlPacket, p Packet) {
	switch c := cp.Content.(type) {
	case *v5.Connect:
		if c.ClientID != "phone" || c.Username != "alice?fmt=text" || string(c.Password) != "secret" || !c.CleanStart ||
			c.KeepAlive != 60 || c.WillTopic != "im/to/bob/send" || string(c.WillMessage) != "gone" || c.WillQOS != 1 ||
			!c.WillRetain || *c.Properties.SessionExpiryInterval != 3600 || *c.Properties.ReceiveMaximum != 10 ||
			*c.WillProperties.WillDelayInterval != 5 || c.Properties.User[0].Value != "event" {
			t.Errorf("paho understood %+v", c)
		}
	case *v5.Publish:
		if c.Topic != p.Topic || c.PacketID != p.ID || c.QoS != p.QoS || c.Duplicate != p.Dup || c.Retain != p.Retain ||
			!bytes.Equal(c.Payload, p.Payload) {
			t.Errorf("paho understood %+v", c)
		}
		if len(p.Props) > 0 && (c.Properties.ContentType != "text/plain" ||
			string(c.Properties.CorrelationData) != "\x00\xff" || *c.Properties.TopicAlias != 3) {
			t.Errorf("paho understood %+v", c.Properties)
		}
	}
}

func pahoReads3(t *testing.T, p Packet) {
	sent := p.Append(nil, V311)
	cp, err := v3.ReadPacket(bytes.NewReader(sent))
	if err != nil {
		t.Fatalf("paho cannot read % .80x: %v", sent, err)
	}
	var back bytes.Buffer
	if err := cp.Write(&back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Bytes(), sent) {
		t.Errorf("paho writes % .80x\nwe write % .80x", back.Bytes(), sent)
	}
}

func TestWhatPahoSendsIsUnderstood(t *testing.T) {
	var b bytes.Buffer
	write := func(c v5.Packet) {
		t.Helper()
		if _, err := c.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
	}
	write(&v5.Connack{SessionPresent: true, Properties: &v5.Properties{ReceiveMaximum: new(uint16(20))}})
	write(&v5.Publish{Topic: "im/u/bob/in", QoS: 1, PacketID: 5, Duplicate: true, Payload: []byte("{}"),
		Properties: &v5.Properties{ContentType: "application/json", User: []v5.User{{Key: "a", Value: "b"}}}})
	write(&v5.Puback{PacketID: 6, ReasonCode: 0x87, Properties: &v5.Properties{
		User: []v5.User{{Key: "err", Value: "no_right"}}}})
	write(&v5.Pubrec{PacketID: 7, Properties: &v5.Properties{}})
	write(&v5.Suback{PacketID: 8, Reasons: []byte{1, 0x87}, Properties: &v5.Properties{}})
	write(&v5.Disconnect{ReasonCode: 0x8E, Properties: &v5.Properties{}})
	want := []Packet{
		{Type: CONNACK, Present: true, Props: Properties{Num(ReceiveMaximum, 20)}},
		{Type: PUBLISH, Topic: "im/u/bob/in", QoS: 1, ID: 5, Dup: true, Payload: []byte("{}"),
			Props: Properties{Str(ContentType, "application/json"), User("a", "b")}},
		{Type: PUBACK, ID: 6, Reason: 0x87, Props: Properties{User("err", "no_right")}},
		{Type: PUBREC, ID: 7},
		{Type: SUBACK, ID: 8, Codes: []byte{1, 0x87}},
		{Type: DISCONNECT, Reason: 0x8E},
	}
	in := NewReader(iotest.OneByteReader(&b))
	for _, w := range want {
		first, body, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(first, body, V5)
		if err != nil || !reflect.DeepEqual(got, w) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, w)
		}
	}
	if _, _, err := in.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestADeadlineInTheMiddleOfAPacketLosesNothing(t *testing.T) {
	server, conn := net.Pipe()
	c := New(conn, V311)
	packet := []byte("\x30\x06\x00\x01tabc")
	for cut := range packet {
		go func() { _, _ = server.Write(packet[:cut]) }()
		for cut > 0 && len(c.in.head)+c.in.got < cut { // until all that was written has been read
			if _, err := c.Read(time.Now().Add(time.Millisecond)); !errors.Is(err, ErrTimeout) {
				t.Fatalf("after %d bytes: %v, want ErrTimeout", cut, err)
			}
		}
		go func() { _, _ = server.Write(packet[cut:]) }()
		p, err := c.Read(time.Now().Add(10 * time.Second))
		if err != nil || p.Topic != "t" || string(p.Payload) != "abc" {
			t.Fatalf("cut at %d: %+v, %v", cut, p, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x32\x00\x01t\x00\x01\x00x"), true)
	f.Add([]byte("\x40\x00\x01\x00\x05\x26\x00\x00\x00\x00"), true)
	f.Add([]byte("\x90\x00\x01\x80"), false)
	f.Fuzz(func(t *testing.T, b []byte, five bool) {
		if len(b) == 0 {
			return
		}
		version := V311
		if five {
			version = V5
		}
		if _, err := Parse(b[0], b[1:], version); err != nil && !strings.Contains(err.Error(), " ") {
			t.Errorf("error without words: %v", err)
		}
	})
}

func TestWhatAServerMustNotSendIsAnError(t *testing.T) {
	tests := map[string]struct {
		packet  string
		version byte
	}{
		"reserved flags of a PUBACK":       {"\x42\x00\x01", V311},
		"QoS 3":                            {"\x36\x00\x01t\x00\x01", V311},
		"DUP with QoS 0":                   {"\x38\x00\x01t", V311},
		"a PUBREL without its bit":         {"\x60\x00\x01", V311},
		"reserved flags of a CONNACK":      {"\x20\x02\x00", V311},
		"a topic that is not UTF-8":        {"\x30\x00\x01\xff", V311},
		"a topic with U+0000":              {"\x30\x00\x01\x00", V311},
		"a topic with half a surrogate":    {"\x30\x00\x03\xed\xa0\x80", V311},
		"a DISCONNECT in 3.1.1":            {"\xe0", V311},
		"a return code of 5 in 3.1.1":      {"\x20\x00\x87", V311},
		"a SUBACK code of 5 in 3.1.1":      {"\x90\x00\x01\x87", V311},
		"codes of an UNSUBACK in 3.1.1":    {"\xb0\x00\x01\x00", V311},
		"a property of another packet":     {"\x40\x00\x01\x00\x05\x11\x00\x00\x00\x00", V5},
		"a property twice":                 {"\x40\x00\x01\x00\x08\x1f\x00\x01a\x1f\x00\x01b", V5},
		"a reason of another packet":       {"\x40\x00\x01\x92\x00", V5},
		"a property length in two bytes":   {"\x40\x00\x01\x00\x80\x00", V5},
		"a reason string that is not text": {"\x40\x00\x01\x00\x04\x1f\x00\x01\xff", V5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if p, err := Parse(tt.packet[0], []byte(tt.packet[1:]), tt.version); err == nil {
				t.Errorf("% x is %+v, want an error", tt.packet, p)
			}
		})
	}
}

func TestALengthThatTakesMoreBytesThanItNeedsIsAnError(t *testing.T) {
	for _, header := range []string{"\xd0\x80\x00", "\xd0\x80\x80\x80\x80\x01"} {
		if _, _, err := NewReader(strings.NewReader(header)).Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("% x: %v, want an error about the length", header, err)
		}
	}
}
