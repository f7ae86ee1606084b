package hooks

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/broker/sessions"
)

// TestMochiUnderstandsWhatIsEncoded compares with a decoder that was written by others.
func TestMochiUnderstandsWhatIsEncoded(t *testing.T) {
	users := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sessions.UserProperty {
		return sessions.UserProperty{Name: rapid.StringMatching(`[a-zé ]{0,9}`).Draw(t, "name"), Value: rapid.StringMatching(`[a-zé ]{0,9}`).Draw(t, "value")}
	}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.SampledFrom([]byte{4, 5}).Draw(t, "version")
		p := sessions.Publish{
			Topic: rapid.StringMatching(`[a-zé/]{1,300}`).Draw(t, "topic"),
			QoS:   rapid.ByteRange(0, 2).Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain"),
			Payload: bytes.Repeat([]byte("p"), rapid.SampledFrom([]int{0, 1, 100, 127, 128, 16_300, 16_384}).Draw(t, "size")),
		}
		if p.QoS > 0 {
			p.ID, p.Dup = rapid.Uint16Min(1).Draw(t, "id"), rapid.Bool().Draw(t, "dup")
		}
		if version == 5 {
			p.ContentType, p.ResponseTopic = rapid.StringMatching(`[a-zé/]{0,9}`).Draw(t, "type"), rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "to")
			p.EmptyContentType = p.ContentType == "" && rapid.Bool().Draw(t, "empty type")
			p.Correlation = rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "correlation")
			p.Expiry, p.HasPayloadFormat = rapid.Uint32().Draw(t, "expiry"), rapid.Bool().Draw(t, "format")
			p.SubscriptionIDs = rapid.SliceOfN(rapid.IntRange(1, 268_435_455), 0, 3).Draw(t, "ids")
			p.User = users.Draw(t, "user")
		}
		pk := decode(t, appendPublish(nil, &p, version), version)
		if err := pk.PublishDecode(pk.Payload); err != nil {
			t.Fatalf("mochi: %v", err)
		}
		got := fromPacket(pk)
		got.SubscriptionIDs = pk.Properties.SubscriptionIdentifier
		same := got.Topic == p.Topic && bytes.Equal(got.Payload, p.Payload) && got.QoS == p.QoS && got.Dup == p.Dup &&
			got.Retain == p.Retain && got.ID == p.ID && got.ContentType == p.ContentType &&
			got.ResponseTopic == p.ResponseTopic && bytes.Equal(got.Correlation, p.Correlation) && got.Expiry == p.Expiry &&
			got.HasPayloadFormat == p.HasPayloadFormat && len(got.User) == len(p.User) &&
			len(got.SubscriptionIDs) == len(p.SubscriptionIDs)
		for i := range p.User {
			same = same && got.User[i] == p.User[i]
		}
		for i := range p.SubscriptionIDs {
			same = same && got.SubscriptionIDs[i] == p.SubscriptionIDs[i]
		}
		if !same {
			t.Fatalf("mochi reads %+v, want %+v", got, p)
		}
	})
}

// decode takes the fixed header off; what is left is in Payload.
func decode(t *rapid.T, b []byte, version byte) packets.Packet {
	pk := packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(b[0]); err != nil {
		t.Fatalf("fixed header: %v", err)
	}
	length, n, err := packets.DecodeLength(bytes.NewReader(b[1:]))
	if err != nil || n+1+length != len(b) {
		t.Fatalf("length %d in %d bytes, %v, of %d bytes", length, n, err, len(b))
	}
	pk.FixedHeader.Remaining, pk.Payload = length, b[1+n:]
	return pk
}

func TestMochiUnderstandsAcks(t *testing.T) {
	tests := map[string]struct {
		ack      sessions.Ack
		version  byte
		problems bool
		want     string
	}{
		"3.1.1":               {sessions.Ack{Kind: sessions.Puback, ID: 7, Reason: 0x87, Text: "no"}, 4, true, "40020007"},
		"success":             {sessions.Ack{Kind: sessions.Pubrec, ID: 7}, 5, true, "50020007"},
		"PUBREL":              {sessions.Ack{Kind: sessions.Pubrel, ID: 7}, 5, true, "62020007"},
		"reason":              {sessions.Ack{Kind: sessions.Pubcomp, ID: 7, Reason: 0x92}, 5, true, "7003000792"},
		"text":                {sessions.Ack{Kind: sessions.Puback, ID: 7, Reason: 0x87, Text: "no"}, 5, true, "40090007" + "87" + "05" + "1f00026e6f"},
		"no problem wanted":   {sessions.Ack{Kind: sessions.Puback, ID: 7, Reason: 0x87, Text: "no"}, 5, false, "4003000787"},
		"user property alone": {sessions.Ack{Kind: sessions.Puback, ID: 7, User: []sessions.UserProperty{{Name: "a", Value: "b"}}}, 5, true, "400b0007" + "00" + "07" + "26000161000162"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := hexOf(appendAck(nil, &tt.ack, tt.version, tt.problems)); got != tt.want {
				t.Errorf("%+v is %s, want %s", tt.ack, got, tt.want)
			}
		})
	}
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

func BenchmarkAppendPublish(b *testing.B) {
	p := sessions.Publish{Topic: "bench/one/1", Payload: make([]byte, 128), QoS: 1, ID: 7}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendPublish(buf[:0], &p, 5)
	}
}
