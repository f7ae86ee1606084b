package transport

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzPacketsAgainstMochi looks for packets that are let through and that mochi cannot decode: their sender would be cut off
// without a word.
func FuzzPacketsAgainstMochi(f *testing.F) {
	for _, tt := range packetTests {
		f.Add(tt.first, tt.bytes(version311)[2:], false)
		f.Add(tt.first, tt.bytes(version5)[2:], true)
	}
	f.Fuzz(func(t *testing.T, first byte, content []byte, five bool) {
		d := dialect{version: version311}
		if five {
			d = dialect{version: version5, expires: true}
		}
		packet := packetTest{first: first, content: string(content)}.raw()
		fr := framer{limit: 1 << 20, dialect: d}
		if _, err := fr.feed(packet); err != nil {
			return
		}
		if err := mochi(first, content, d.version); err != nil {
			t.Errorf("% x of version %d is let through; mochi: %v", packet, d.version, err)
		}
	})
}

// mochi decodes and validates a packet as it does for a connection.
func mochi(first byte, content []byte, version byte) error {
	pk := packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return err
	}
	pk.FixedHeader.Remaining = len(content)
	code := packets.CodeSuccess
	var err error
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if err = pk.PublishDecode(content); err == nil {
			code = pk.PublishValidate(0xffff)
		}
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		err = pk.PubackDecode(content) // the same for all of them
	case packets.Subscribe:
		if err = pk.SubscribeDecode(content); err == nil {
			code = pk.SubscribeValidate()
		}
	case packets.Unsubscribe:
		if err = pk.UnsubscribeDecode(content); err == nil {
			code = pk.UnsubscribeValidate()
		}
	case packets.Disconnect:
		err = pk.DisconnectDecode(content)
	}
	if err == nil && code != packets.CodeSuccess {
		err = code
	}
	return err
}
