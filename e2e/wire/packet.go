package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type is the kind of a control packet (MQTT 5, 2.1.2).
type Type byte

// The control packets.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15
)

var typeNames = [...]string{"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

func (t Type) String() string { return typeNames[t&0x0F] }

// Versions of the protocol.
const (
	V311 byte = 4
	V5   byte = 5
)

// ServerBusy is the reason of a DISCONNECT of MQTT 5 when the server cannot decide about something now.
const ServerBusy byte = 0x89

// Unavailable gives the reason of a CONNACK when the server cannot serve now.
func Unavailable(version byte) byte {
	if version == V5 {
		return 0x88
	}
	return 3
}

// Packet is one control packet. Which fields mean something depends on Type; the others are ignored.
type Packet struct {
	Type    Type
	Dup     bool   // PUBLISH
	QoS     byte   // PUBLISH
	Retain  bool   // PUBLISH
	ID      uint16 // packet id, where the type has one
	Topic   string // PUBLISH
	Payload []byte // PUBLISH
	Present bool   // CONNACK: session present
	Reason  byte   // CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH
	Codes   []byte // SUBACK, UNSUBACK (5)
	Filters []Filter
	Props   Properties // MQTT 5 only
	Connect Connect
	Size    int // of a packet that Client.Read gave: all of its bytes on the wire
}

// Filter is one line of a SUBSCRIBE (QoS and options) or an UNSUBSCRIBE (Topic only).
type Filter struct {
	Topic   string
	Options byte // QoS in the low two bits; the rest is MQTT 5, 3.8.3.1
}

// Connect is what is special about a CONNECT.
type Connect struct {
	Protocol  string // empty: "MQTT"
	Version   byte   // 0: that of the client that sends it
	Clean     bool   // CleanSession, or Clean Start
	KeepAlive uint16
	ClientID  string
	User      string // empty: absent
	Password  string // empty: absent
	Will      *Will
}

// Will is the message that a CONNECT leaves for the end of the connection.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Props   Properties
}

// Append adds the packet to b as it goes over the wire in the given protocol version. It checks nothing: a test may
// want the nonsense that it asks for.
func (p Packet) Append(b []byte, version byte) []byte {
	body := p.body(version)
	b = append(b, byte(p.Type)<<4|p.flags())
	b = binary.AppendUvarint(b, uint64(len(body))) // the same encoding as MQTT's for all lengths that are allowed
	return append(b, body...)
}

func (p Packet) flags() byte {
	switch p.Type {
	case PUBLISH:
		return flag(p.Dup, 0x08) | p.QoS<<1 | flag(p.Retain, 0x01)
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 0x02
	}
	return 0
}

func (p Packet) body(version byte) []byte {
	var b []byte
	switch p.Type {
	case CONNECT:
		return p.connect(version)
	case PUBLISH:
		b = appendString(b, p.Topic)
		if p.QoS > 0 {
			b = binary.BigEndian.AppendUint16(b, p.ID)
		}
		if version == V5 {
			b = p.Props.append(b)
		}
		return append(b, p.Payload...)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		b = binary.BigEndian.AppendUint16(b, p.ID)
		return p.appendReason(b, version)
	case SUBSCRIBE, UNSUBSCRIBE:
		return p.filters(version)
	case DISCONNECT, AUTH:
		return p.appendReason(b, version)
	}
	return b
}

// appendReason writes reason and properties, which may be left out where there is nothing to say.
func (p Packet) appendReason(b []byte, version byte) []byte {
	if version != V5 || p.Reason == 0 && len(p.Props) == 0 {
		return b
	}
	b = append(b, p.Reason)
	if len(p.Props) > 0 {
		b = p.Props.append(b)
	}
	return b
}

func (p Packet) filters(version byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, p.ID)
	if version == V5 {
		b = p.Props.append(b)
	}
	for _, f := range p.Filters {
		b = appendString(b, f.Topic)
		if p.Type == SUBSCRIBE {
			b = append(b, f.Options)
		}
	}
	return b
}

func (p Packet) connect(version byte) []byte {
	c := p.Connect
	if c.Protocol == "" {
		c.Protocol = "MQTT"
	}
	if c.Version == 0 {
		c.Version = version
	}
	flags := flag(c.Clean, 0x02) | flag(c.User != "", 0x80) | flag(c.Password != "", 0x40)
	if w := c.Will; w != nil {
		flags |= 0x04 | w.QoS<<3 | flag(w.Retain, 0x20)
	}
	b := append(appendString(nil, c.Protocol), c.Version, flags)
	b = binary.BigEndian.AppendUint16(b, c.KeepAlive)
	if c.Version == V5 {
		b = p.Props.append(b)
	}
	b = appendString(b, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			b = w.Props.append(b)
		}
		b = appendString(appendString(b, w.Topic), string(w.Payload))
	}
	if c.User != "" {
		b = appendString(b, c.User)
	}
	if c.Password != "" {
		b = appendString(b, c.Password)
	}
	return b
}

func flag(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

var (
	// errShort means that a packet ends before its content does.
	errShort = errors.New("packet is too short")
	// errLong means that a length takes more bytes than it needs (MQTT 5, 1.5.5).
	errLong = errors.New("length takes too many bytes")
)

// Parse reads what a server sends: the first byte of a packet and everything after its length. Payload aliases body.
// Packets that only clients send are an error, and so is whatever a server must not send: reserved bits, text that is not
// UTF-8, lengths in more bytes than they need, properties and reasons of other packets.
func Parse(first byte, body []byte, version byte) (Packet, error) {
	p := Packet{Type: Type(first >> 4)}
	d := decoder{b: body}
	if err := checkFlags(first); err != nil {
		return p, err
	}
	switch p.Type {
	case CONNACK:
		flags := d.byte()
		if p.Present = flags&1 == 1; flags > 1 {
			return p, fmt.Errorf("CONNACK with reserved flags: %#x", flags)
		}
		p.Reason = d.byte()
		p.Props = d.props(version)
	case PUBLISH:
		p.Dup, p.QoS, p.Retain = first&0x08 != 0, first>>1&3, first&1 != 0
		p.Topic = d.text()
		if p.QoS > 0 {
			p.ID = d.uint16()
		}
		p.Props = d.props(version)
		p.Payload = d.rest()
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.ID = d.uint16()
		d.reason(&p, version)
	case SUBACK, UNSUBACK:
		p.ID = d.uint16()
		p.Props = d.props(version)
		p.Codes = d.rest()
	case DISCONNECT, AUTH:
		d.reason(&p, version)
	case PINGRESP:
	default:
		return p, fmt.Errorf("a server does not send %s", p.Type)
	}
	if d.err != nil {
		return p, fmt.Errorf("parse %s % x: %w", p.Type, body, d.err)
	}
	if len(d.b) > 0 {
		return p, fmt.Errorf("parse %s % x: %d bytes too many", p.Type, body, len(d.b))
	}
	if err := p.check(version); err != nil {
		return p, fmt.Errorf("parse %s % x: %w", p.Type, body, err)
	}
	return p, nil
}

// decoder takes a packet apart. After the first error it gives zero values.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n > len(d.b) {
		d.err = errShort
		return make([]byte, min(n, 8)) // long enough for every number
	}
	taken := d.b[:n:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) rest() []byte   { return d.take(len(d.b)) }
func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) string() string { return string(d.take(int(d.uint16()))) }

func (d *decoder) varint() uint32 {
	n, used := binary.Uvarint(d.b)
	if used <= 0 || used > 4 {
		d.err = errShort
		return 0
	}
	if used > 1 && d.b[used-1] == 0 {
		d.err = errLong
		return 0
	}
	d.take(used)
	return uint32(n)
}

func (d *decoder) reason(p *Packet, version byte) {
	if version != V5 || len(d.b) == 0 {
		return
	}
	p.Reason = d.byte()
	if len(d.b) > 0 {
		p.Props = d.props(version)
	}
}

func (d *decoder) props(version byte) Properties {
	if version != V5 {
		return nil
	}
	in := decoder{b: d.take(int(d.varint())), err: d.err}
	var ps Properties
	for len(in.b) > 0 && in.err == nil {
		ps = append(ps, in.property())
	}
	d.err = errors.Join(d.err, in.err)
	return ps
}
