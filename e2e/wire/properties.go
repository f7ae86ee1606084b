package wire

import (
	"encoding/binary"
	"fmt"
)

// Identifiers of properties (MQTT 5, 2.2.2.2).
const (
	PayloadFormat     = 0x01
	MessageExpiry     = 0x02
	ContentType       = 0x03
	ResponseTopic     = 0x08
	CorrelationData   = 0x09
	SubscriptionID    = 0x0B
	SessionExpiry     = 0x11
	AssignedClientID  = 0x12
	ServerKeepAlive   = 0x13
	AuthMethod        = 0x15
	AuthData          = 0x16
	ProblemInfo       = 0x17
	WillDelay         = 0x18
	ResponseInfo      = 0x19
	ResponseInfoReply = 0x1A
	ServerReference   = 0x1C
	ReasonString      = 0x1F
	ReceiveMaximum    = 0x21
	TopicAliasMaximum = 0x22
	TopicAlias        = 0x23
	MaximumQoS        = 0x24
	RetainAvailable   = 0x25
	UserProperty      = 0x26
	MaximumPacketSize = 0x27
	WildcardAvailable = 0x28
	SubIDAvailable    = 0x29
	SharedAvailable   = 0x2A
)

// Property is one property of an MQTT 5 packet. A number is in Num, a string or bytes in Str, a pair in Name and Str.
type Property struct {
	ID   byte
	Num  uint32
	Name string
	Str  string
}

// Properties are in the order of the wire; the same one may be there more than once.
type Properties []Property

// Num makes a property with a number.
func Num(id byte, n uint32) Property { return Property{ID: id, Num: n} }

// Str makes a property with a string or with bytes.
func Str(id byte, s string) Property { return Property{ID: id, Str: s} }

// User makes a user property.
func User(name, value string) Property { return Property{ID: UserProperty, Name: name, Str: value} }

// Get gives the first property with this id; ok is false if there is none.
func (ps Properties) Get(id byte) (p Property, ok bool) {
	for _, p := range ps {
		if p.ID == id {
			return p, true
		}
	}
	return Property{}, false
}

// User gives the first user property of this name; ok is false if there is none.
func (ps Properties) User(name string) (value string, ok bool) {
	for _, p := range ps {
		if p.ID == UserProperty && p.Name == name {
			return p.Str, true
		}
	}
	return "", false
}

func (ps Properties) append(b []byte) []byte {
	var body []byte
	for _, p := range ps {
		body = p.append(body)
	}
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

func (p Property) append(b []byte) []byte {
	b = append(b, p.ID)
	switch p.ID {
	case PayloadFormat, ProblemInfo, ResponseInfo, MaximumQoS, RetainAvailable, WildcardAvailable, SubIDAvailable,
		SharedAvailable:
		return append(b, byte(p.Num))
	case ServerKeepAlive, ReceiveMaximum, TopicAliasMaximum, TopicAlias:
		return binary.BigEndian.AppendUint16(b, uint16(p.Num))
	case MessageExpiry, SessionExpiry, WillDelay, MaximumPacketSize:
		return binary.BigEndian.AppendUint32(b, p.Num)
	case SubscriptionID:
		return binary.AppendUvarint(b, uint64(p.Num))
	case UserProperty:
		b = appendString(b, p.Name)
	}
	return appendString(b, p.Str)
}

func (d *decoder) property() Property {
	p := Property{ID: d.byte()}
	switch p.ID {
	case PayloadFormat, ProblemInfo, ResponseInfo, MaximumQoS, RetainAvailable, WildcardAvailable, SubIDAvailable,
		SharedAvailable:
		p.Num = uint32(d.byte())
	case ServerKeepAlive, ReceiveMaximum, TopicAliasMaximum, TopicAlias:
		p.Num = uint32(d.uint16())
	case MessageExpiry, SessionExpiry, WillDelay, MaximumPacketSize:
		p.Num = d.uint32()
	case SubscriptionID:
		p.Num = d.varint()
	case UserProperty:
		p.Name, p.Str = d.text(), d.text()
	case ContentType, ResponseTopic, AssignedClientID, AuthMethod, ResponseInfoReply, ServerReference, ReasonString:
		p.Str = d.text()
	case CorrelationData, AuthData:
		p.Str = d.string()
	default:
		d.err = fmt.Errorf("no such property: %#x", p.ID)
	}
	return p
}
