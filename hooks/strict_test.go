package hooks_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// mayAll lets everybody use the free topics under t.
func mayAll(c *broker.Config) {
	c.ACL = append(c.ACL, broker.ACLConfig{Topic: "t/#", Who: "all", Allow: []string{"pub", "sub"}})
}

// The grammar is tested where it is checked, in broker/transport; this is about what the client is told.
func TestWhatMQTTForbidsEndsTheConnectionWithTheReason(t *testing.T) {
	t.Parallel()
	n := start(t, mayAll)
	tests := map[string]struct {
		three, five string
		reason      byte
	}{
		"reserved flags":              {"\xc1\x00", "\xc1\x00", 0x81},
		"a second CONNECT":            {"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", "\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", 0x82},
		"AUTH":                        {"\xf0\x00", "\xf0\x00", 0x82},
		"QoS 3":                       {"\x36\x07\x00\x03t/a\x00\x01", "\x36\x08\x00\x03t/a\x00\x01\x00", 0x81},
		"packet id 0":                 {"\x32\x07\x00\x03t/a\x00\x00", "\x32\x08\x00\x03t/a\x00\x00\x00", 0x82},
		"a topic with a wildcard":     {"\x30\x05\x00\x03t/#", "\x30\x06\x00\x03t/#\x00", 0x90},
		"an expiry twice":             {"", "\x30\x10\x00\x03t/a\x0a\x02\x00\x00\x00\x09\x02\x00\x00\x00\x09", 0x82},
		"topic alias 0":               {"", "\x30\x09\x00\x03t/a\x03\x23\x00\x00", 0x94},
		"reserved bits of options":    {"\x82\x08\x00\x01\x00\x03t/a\x04", "\x82\x09\x00\x01\x00\x00\x03t/a\x40", 0x81},
		"SUBSCRIBE to nothing":        {"\x82\x02\x00\x01", "\x82\x03\x00\x01\x00", 0x82},
		"UNSUBSCRIBE with bytes over": {"\xa2\x08\x00\x01\x00\x03t/a\x00", "\xa2\x09\x00\x01\x00\x00\x03t/a\x00", 0x81},
		"a packet too large":          {"\x30\xff\xff\xff\x7f", "\x30\xff\xff\xff\x7f", 0x95},
		"a length without an end":     {"\x30\xff\xff\xff\xff\x7f", "\x30\xff\xff\xff\xff\x7f", 0x81},
		"an expiry in DISCONNECT":     {"\xe0\x01\x00", "\xe0\x07\x00\x05\x11\x00\x00\x00\x09", 0x82},
		"a reason of servers":         {"\xe0\x02\x00\x00", "\xe0\x01\x8e", 0x82},
	}
	for name, tt := range tests {
		for protocol, version := range versions {
			bytes := tt.three
			if version == wire.V5 {
				bytes = tt.five
			}
			if bytes == "" {
				continue
			}
			t.Run(name+", "+protocol, func(t *testing.T) {
				c := connect(t, n, version, wire.Connect{User: "alice", ClientID: "c", Clean: true})
				// What comes before it is answered.
				if err := c.SendRaw([]byte("\xc0\x00" + bytes)); err != nil {
					t.Fatal(err)
				}
				c.read(wire.PINGRESP)
				reason, told := c.ended()
				if told != (version == wire.V5) || told && reason != tt.reason {
					t.Errorf("told %#x (%v), want %#x of MQTT 5 only", reason, told, tt.reason)
				}
			})
		}
	}
}

func TestAWillWithoutAPayloadIsOne(t *testing.T) {
	n := start(t, mayAll)
	for protocol, version := range versions {
		t.Run(protocol, func(t *testing.T) {
			watcher := connect(t, n, version, wire.Connect{User: "bob", ClientID: "w", Clean: true})
			watcher.subscribe(wire.Filter{Topic: "t/will", Options: 0})
			will := &wire.Will{Topic: "t/will"}
			if version == wire.V5 {
				will.Props = wire.Properties{wire.Str(wire.ContentType, "nothing")}
			}
			c := connect(t, n, version, wire.Connect{User: "alice", ClientID: strings.Repeat("c", 100), Clean: true, Will: will})
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			p := watcher.read(wire.PUBLISH)
			kind, _ := p.Props.Get(wire.ContentType)
			if p.Topic != "t/will" || len(p.Payload) > 0 || (version == wire.V5) != (kind.Str == "nothing") {
				t.Errorf("got %+v", p)
			}
		})
	}
}

func TestWhoseConnectIsWrongIsTold(t *testing.T) {
	n := start(t)
	tests := map[string]struct{ in, want string }{
		"version 3":                         {"\x10\x0d\x00\x04MQTT\x03\x02\x00\x00\x00\x01c", "\x20\x02\x00\x01"},
		"version 6":                         {"\x10\x0e\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01c", "\x20\x03\x00\x84\x00"},
		"3.1":                               {"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c", "\x20\x02\x00\x01"},
		"another protocol":                  {"\x10\x0d\x00\x04HTTP\x04\x02\x00\x00\x00\x01c", ""},
		"3.1.1, no client id and a session": {"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", "\x20\x02\x00\x02"},
		"3.1.1, reserved flag":              {"\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01c", ""},
		"5, reserved flag":                  {"\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c", "\x20\x03\x00\x81\x00"},
		"5, receive maximum 0":              {"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x01c", "\x20\x03\x00\x82\x00"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := wire.Dial(n.MQTT(), wire.V5)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SendRaw([]byte(tt.in)); err != nil {
				t.Fatal(err)
			}
			if err := c.Conn().SetReadDeadline(time.Now().Add(brokertest.Deadline)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c.Conn()); err != nil || string(got) != tt.want {
				t.Errorf("the answer is % x, %v, want % x", got, err, tt.want)
			}
		})
	}
}

func TestWhoHasNoPasswordIsNotLetIn(t *testing.T) {
	n := start(t)
	const head3, head5 = "\x00\x04MQTT\x04", "\x00\x04MQTT\x05"
	tests := map[string]struct {
		version byte
		content string
		want    byte
	}{
		"3.1.1, user only":         {wire.V311, head3 + "\x82\x00\x00\x00\x01c\x00\x05alice", 4},
		"3.1.1, an empty password": {wire.V311, head3 + "\xc2\x00\x00\x00\x01c\x00\x05alice\x00\x00", 4},
		"3.1.1, an empty will too": {wire.V311, head3 + "\xc6\x00\x00\x00\x01c\x00\x03t/w\x00\x00\x00\x05alice\x00\x00", 4},
		"5, user only":             {wire.V5, head5 + "\x82\x00\x00\x00\x00\x01c\x00\x05alice", 0x86},
		"5, an empty password":     {wire.V5, head5 + "\xc2\x00\x00\x00\x00\x01c\x00\x05alice\x00\x00", 0x86},
		"5, a password only":       {wire.V5, head5 + "\x42\x00\x00\x00\x00\x01c\x00\x05alice", 0x86},
		"5, an empty user name":    {wire.V5, head5 + "\xc2\x00\x00\x00\x00\x01c\x00\x00\x00\x01p", 0x86},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := wire.Dial(n.MQTT(), tt.version)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SendRaw(append([]byte{0x10, byte(len(tt.content))}, tt.content...)); err != nil {
				t.Fatal(err)
			}
			if ack, err := c.Read(time.Now().Add(brokertest.Deadline)); err != nil || ack.Type != wire.CONNACK || ack.Reason != tt.want {
				t.Errorf("the answer is %+v, %v, want CONNACK %#x", ack, err, tt.want)
			}
		})
	}
}

func TestNoPacketIsLargerThanTheClientAllows(t *testing.T) {
	n := start(t, mayAll)
	token, _, err := n.Accounts().Login(t.Context(), "alice", brokertest.Password, "test", n.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	login := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{User: "alice", Password: token, ClientID: "c"}}
	refused := login // with a reason string
	refused.Props = wire.Properties{wire.Str(wire.AuthMethod, "none")}
	let := map[wire.Type]int{}
	for most := 1; most < 130; most++ {
		for _, p := range []wire.Packet{refused, login} {
			p.Props = append(wire.Properties{wire.Num(wire.MaximumPacketSize, uint32(most))}, p.Props...)
			c, err := wire.Dial(n.MQTT(), wire.V5)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Conn().SetReadDeadline(time.Now().Add(brokertest.Deadline)); err != nil {
				t.Fatal(err)
			}
			_ = c.Send(p, // and if that is let in, a PUBACK and a DISCONNECT with a reason string
				wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "no/right"},
				wire.Packet{Type: wire.SUBSCRIBE, ID: 1})
			for {
				first, body, err := c.Reader().Next()
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection did not end")
				}
				if err != nil {
					break
				}
				if size := 2 + len(body); size > most {
					t.Errorf("% x % x: %d bytes, and %d are allowed", first, body, size, most)
				}
				let[wire.Type(first>>4)]++
			}
			_ = c.Close()
		}
	}
	// What is left when nothing is said that need not be said, and the least that a successful CONNACK has to say.
	if let[wire.CONNACK] < 2*(130-60) || let[wire.DISCONNECT] < 130-60 || let[wire.PUBACK] < 130-60 {
		t.Errorf("packets that fitted: %v", let)
	}
}
