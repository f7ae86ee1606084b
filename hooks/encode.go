package hooks

import (
	"encoding/binary"
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/broker/sessions"
)

// What sessions send most, PUBLISH and the four acks, is encoded here: mochi's encoder takes a Packet of 800 bytes by
// value through every plug-in and three buffers, which costs more than all else that a delivery does. Everything else mochi
// encodes.

// Identifiers of properties (MQTT 5, 2.2.2.2).
const (
	propPayloadFormat   = 0x01
	propMessageExpiry   = 0x02
	propContentType     = 0x03
	propResponseTopic   = 0x08
	propCorrelation     = 0x09
	propSubscription    = 0x0B
	propReasonString    = 0x1F
	propUser            = 0x26
	longestVariableByte = 4
)

// scratch is memory for one packet.
type scratch struct{ b []byte }

var scratches = sync.Pool{New: func() any { return &scratch{b: make([]byte, 0, 1024)} }}

func (s *scratch) free() {
	if cap(s.b) <= 64<<10 {
		scratches.Put(s)
	}
}

// appendPublish appends a PUBLISH (MQTT 5, 3.3; 3.1.1, 3.3).
func appendPublish(b []byte, p *sessions.Publish, version byte) []byte {
	first := packets.Publish<<4 | p.QoS<<1
	if p.Dup {
		first |= 1 << 3
	}
	if p.Retain {
		first |= 1
	}
	size := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		size += 2
	}
	props := 0
	if version == 5 {
		props = sizeOfPublishProperties(p)
		size += props + sizeOfVarint(props)
	}
	b = appendVarint(append(b, first), size)
	b = appendText(b, p.Topic)
	if p.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	if version == 5 {
		b = appendPublishProperties(appendVarint(b, props), p)
	}
	return append(b, p.Payload...)
}

// setPacketID puts another packet id into a PUBLISH of QoS 1 or 2.
func setPacketID(packet []byte, id uint16) {
	at := 1
	for packet[at]&0x80 != 0 { // the length (MQTT 5, 2.1.4)
		at++
	}
	at++
	at += 2 + int(binary.BigEndian.Uint16(packet[at:]))
	binary.BigEndian.PutUint16(packet[at:], id)
}

func sizeOfPublishProperties(p *sessions.Publish) int {
	n := 0
	if p.PayloadFormat != 0 || p.HasPayloadFormat {
		n += 2
	}
	if p.Expiry != 0 {
		n += 5
	}
	if p.ContentType != "" || p.EmptyContentType {
		n += 3 + len(p.ContentType)
	}
	if p.ResponseTopic != "" {
		n += 3 + len(p.ResponseTopic)
	}
	if p.Correlation != nil { // it may be empty
		n += 3 + len(p.Correlation)
	}
	for _, id := range p.SubscriptionIDs {
		n += 1 + sizeOfVarint(id)
	}
	return n + sizeOfUserProperties(p.User)
}

func appendPublishProperties(b []byte, p *sessions.Publish) []byte {
	if p.PayloadFormat != 0 || p.HasPayloadFormat {
		b = append(b, propPayloadFormat, p.PayloadFormat)
	}
	if p.Expiry != 0 {
		b = binary.BigEndian.AppendUint32(append(b, propMessageExpiry), p.Expiry)
	}
	if p.ContentType != "" || p.EmptyContentType {
		b = appendText(append(b, propContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		b = appendText(append(b, propResponseTopic), p.ResponseTopic)
	}
	if p.Correlation != nil {
		b = appendText(append(b, propCorrelation), p.Correlation)
	}
	for _, id := range p.SubscriptionIDs {
		b = appendVarint(append(b, propSubscription), id)
	}
	return appendUserProperties(b, p.User)
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5, 3.4 to 3.7). Without problem information it has neither
// reason string nor user properties (MQTT 5, 3.1.2.11.7).
func appendAck(b []byte, a *sessions.Ack, version byte, problems bool) []byte {
	first := byte(a.Kind) << 4
	if a.Kind == sessions.Pubrel {
		first |= 2 // reserved bits (MQTT 5, 3.6.1)
	}
	props := 0
	if problems {
		props = sizeOfUserProperties(a.User)
		if a.Text != "" {
			props += 3 + len(a.Text)
		}
	}
	switch {
	case version < 5, a.Reason == 0 && props == 0:
		return binary.BigEndian.AppendUint16(append(b, first, 2), a.ID)
	case props == 0:
		return append(binary.BigEndian.AppendUint16(append(b, first, 3), a.ID), a.Reason)
	}
	b = appendVarint(append(b, first), 3+sizeOfVarint(props)+props)
	b = append(binary.BigEndian.AppendUint16(b, a.ID), a.Reason)
	b = appendVarint(b, props)
	if a.Text != "" {
		b = appendText(append(b, propReasonString), a.Text)
	}
	return appendUserProperties(b, a.User)
}

func sizeOfUserProperties(user []sessions.UserProperty) int {
	n := 0
	for _, u := range user {
		n += 5 + len(u.Name) + len(u.Value)
	}
	return n
}

func appendUserProperties(b []byte, user []sessions.UserProperty) []byte {
	for _, u := range user {
		b = appendText(appendText(append(b, propUser), u.Name), u.Value)
	}
	return b
}

// appendText appends a string or binary data with its length before it (MQTT 5, 1.5.4 and 1.5.6).
func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// appendVarint appends a variable byte integer (MQTT 5, 1.5.5).
func appendVarint(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func sizeOfVarint(n int) int {
	size := 1
	for ; n >= 0x80 && size < longestVariableByte; n >>= 7 {
		size++
	}
	return size
}
