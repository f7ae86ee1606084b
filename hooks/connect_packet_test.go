package hooks

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	client "github.com/magpie-im/magpie/e2e/wire"
)

func TestMochiTakesEveryConnectThatIsAmended(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.SampledFrom([]byte{client.V311, client.V5}).Draw(t, "version")
		word := rapid.SampledFrom([]string{"", "a", "word", string(bytes.Repeat([]byte("x"), 130))})
		p := client.Packet{Type: client.CONNECT, Connect: client.Connect{
			Clean: true, ClientID: word.Draw(t, "id"), User: word.Draw(t, "user"), KeepAlive: 60,
		}}
		if p.Connect.User != "" {
			p.Connect.Password = word.Draw(t, "password")
		}
		properties := func(label string) (ps client.Properties) {
			for range rapid.IntRange(0, 3).Draw(t, label) {
				ps = append(ps, client.User(word.Draw(t, "name"), word.Draw(t, "value")))
			}
			return ps
		}
		p.Props = properties("properties")
		if rapid.Bool().Draw(t, "will") {
			p.Connect.Will = &client.Will{
				Topic: "t/" + word.Draw(t, "topic"), Payload: []byte(word.Draw(t, "payload")), QoS: byte(rapid.IntRange(0, 2).Draw(t, "qos")),
				Retain: rapid.Bool().Draw(t, "retain"), Props: properties("properties of the will"),
			}
		}
		packet := p.Append(nil, version)
		secretless := rapid.Bool().Draw(t, "empty password") && p.Connect.User != "" && p.Connect.Password == ""
		if secretless { // which wire cannot say
			packet = withEmptyPassword(packet)
		}
		before := bytes.Clone(packet)

		out, emptyWill, ok := amended(packet)
		if !bytes.Equal(packet, before) {
			t.Fatal("the packet itself was changed")
		}
		empty := p.Connect.Will != nil && len(p.Connect.Will.Payload) == 0
		if emptyWill != empty || ok != (empty || secretless) {
			t.Fatalf("amended(% x) = %v, %v", packet, emptyWill, ok)
		}
		if !ok {
			out = packet
		}
		var pk packets.Packet
		in := bytes.NewReader(out[1:])
		size, used, err := packets.DecodeLength(in)
		if err != nil || 1+used+size != len(out) {
			t.Fatalf("length %d of % x, %v", size, out, err)
		}
		pk.FixedHeader.Type = packets.Connect
		if err := pk.ConnectDecode(out[1+used:]); err != nil {
			t.Fatalf("mochi: %v, % x", err, out)
		}
		if code := pk.ConnectValidate(); code != packets.CodeSuccess {
			t.Fatalf("mochi: %v, % x", code, out)
		}
		c := pk.Connect
		if c.ClientIdentifier != p.Connect.ClientID || string(c.Username) != p.Connect.User || string(c.Password) != p.Connect.Password ||
			c.WillFlag != (p.Connect.Will != nil) || version == client.V5 && len(pk.Properties.User) != len(p.Props) {
			t.Fatalf("mochi read %+v from % x, want %+v", c, out, p.Connect)
		}
		if w := p.Connect.Will; w != nil && (c.WillTopic != w.Topic || !emptyWill && !bytes.Equal(c.WillPayload, w.Payload) ||
			c.WillQos != w.QoS || c.WillRetain != w.Retain || version == client.V5 && len(c.WillProperties.User) != len(w.Props)) {
			t.Fatalf("mochi read the will %+v from % x, want %+v", c, out, w)
		}
	})
}

// withEmptyPassword adds one to a CONNECT that has a user name and no password.
func withEmptyPassword(packet []byte) []byte {
	_, used, err := packets.DecodeLength(bytes.NewReader(packet[1:]))
	if err != nil {
		panic(err)
	}
	content := append(bytes.Clone(packet[1+used:]), 0, 0)
	content[7] |= 0x40
	return append(appendVarint([]byte{packet[0]}, len(content)), content...)
}
