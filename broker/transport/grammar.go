package transport

import (
	"bytes"
	"math"
)

// What a client's packets have to look like is checked here, on the bytes and before anybody else decodes them: a decoder
// that keeps the last of two properties, or masks a reserved bit, takes for granted what both specifications call
// malformed. Nothing is kept, and of a PUBLISH the payload is not looked at.

// Kinds of packets (MQTT 5, 2.1.2).
const (
	kindConnect     = 1
	kindPublish     = 3
	kindPuback      = 4
	kindPubrec      = 5
	kindPubrel      = 6
	kindPubcomp     = 7
	kindSubscribe   = 8
	kindUnsubscribe = 10
	kindPingreq     = 12
	kindDisconnect  = 14
	kindAuth        = 15
)

// Versions of MQTT, as they stand in CONNECT.
const (
	version311 = 4
	version5   = 5
)

// dialect is how a connection speaks, which its CONNECT said. The zero value is before that.
type dialect struct {
	version byte
	odd     bool // its keep-alive is an odd number of seconds
	expires bool // the session outlives the connection, so that DISCONNECT may change when it ends
}

// checkFirst looks at the first byte of a packet after the CONNECT (MQTT 5, 2.1).
func (d dialect) checkFirst(first byte) error {
	flags := first & 0xf
	switch kind := first >> 4; kind {
	case kindPublish:
		switch qos := first >> 1 & 3; {
		case qos == 3:
			return malformed("QoS 3") // MQTT 5, 3.3.1.2
		case qos == 0 && first&8 != 0:
			return malformed("DUP with QoS 0") // MQTT 5, 3.3.1.1
		}
		return nil
	case kindPubrel, kindSubscribe, kindUnsubscribe:
		flags ^= 2
	case kindPuback, kindPubrec, kindPubcomp, kindPingreq, kindDisconnect:
	case kindConnect:
		if flags == 0 {
			return forbidden("second CONNECT") // MQTT 5, 3.1.0
		}
	case kindAuth:
		if d.version < version5 {
			return malformed("packet that no client sends")
		}
		// Every CONNECT that names a method of authentication is refused (MQTT 5, 4.12).
		if flags == 0 {
			return forbidden("AUTH without an authentication method")
		}
	default:
		return malformed("packet that no client sends")
	}
	if flags != 0 {
		return malformed("reserved flags")
	}
	return nil
}

// plain says that check would find nothing wrong, for the packets that nearly all are: a PUBLISH without properties and
// with a topic in ASCII, and the acks without a reason. content is the beginning of a content of that size.
func (d dialect) plain(first byte, content []byte, size int) bool {
	if len(content) < 2 {
		return false
	}
	number := int(content[0])<<8 | int(content[1])
	switch first >> 4 {
	case kindPuback, kindPubrec, kindPubrel, kindPubcomp:
		return size == 2 && number != 0
	case kindPublish:
	default:
		return false
	}
	end := 2 + number
	if number == 0 || len(content) < end+3 {
		return false
	}
	for _, b := range content[2:end] {
		if !plainByte[b] {
			return false
		}
	}
	if first&6 != 0 {
		if content[end]|content[end+1] == 0 {
			return false
		}
		end += 2
	}
	return d.version < version5 || content[end] == 0
}

// plainByte are the bytes of ASCII that may stand in a topic.
var plainByte = func() (plain [256]bool) {
	for b := 1; b < 0x80; b++ {
		plain[b] = b != '+' && b != '#'
	}
	return plain
}()

// headOf is how much of a packet's content has to be there for check, or for headOf to say more. content is what there is.
func (d dialect) headOf(first byte, content []byte) int {
	if first>>4 != kindPublish {
		return math.MaxInt
	}
	if len(content) < 2 {
		return 2
	}
	n := 2 + int(content[0])<<8 + int(content[1])
	if first&6 != 0 {
		n += 2 // packet id
	}
	if d.version < version5 {
		return n
	}
	length := 0
	for i := range 4 {
		if n+i >= len(content) {
			return n + i + 1
		}
		b := content[n+i]
		length |= int(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			return n + i + 1 + length
		}
	}
	return n + 4 // check says what is wrong
}

// check looks at the content of a packet whose first byte is in order: all of it, or the head of a PUBLISH, whose
// properties it gives.
func (d dialect) check(first byte, content []byte) (f found, err error) {
	s := scanner{b: content}
	switch first >> 4 {
	case kindPublish:
		f = d.publish(&s, first)
	case kindPuback, kindPubrec, kindPubrel, kindPubcomp:
		d.ack(&s, first>>4)
	case kindSubscribe:
		d.subscribe(&s)
	case kindUnsubscribe:
		s.id()
		if d.version >= version5 {
			s.properties(inUnsubscribe, 0)
		}
		d.filters(&s, false)
	case kindDisconnect:
		d.disconnect(&s)
	}
	return f, s.end()
}

func (d dialect) publish(s *scanner, first byte) (f found) {
	topic := s.text()
	if first&6 != 0 {
		s.id()
	}
	if d.version >= version5 {
		f = s.properties(inPublish, serversPublish)
	}
	switch {
	case s.bad != nil || isTopic(topic):
	case len(topic) > 0:
		s.fail(&Violation{reasonTopicName, "topic has a wildcard"}) // MQTT 5, 3.3.2.1
	case !f.set.has(propTopicAlias):
		s.fail(forbidden("neither topic nor alias")) // MQTT 5, 3.3.2.1
	}
	return f
}

// ack is PUBACK, PUBREC, PUBREL or PUBCOMP. Reason and properties may be left out (MQTT 5, 3.4.2.1 and 3.4.2.2.1).
func (d dialect) ack(s *scanner, kind byte) {
	s.id()
	if d.version < version5 || len(s.b) == 0 {
		return
	}
	if reason := s.byte(); !ackReasons(kind).has(reason) {
		s.fail(forbidden("reason that this packet cannot have"))
	}
	if len(s.b) > 0 {
		s.properties(inAck, 0)
	}
}

// reasonSet is a set of reason codes, of which there are none from 0x40 to 0x7F, and none from 0xC0.
type reasonSet struct{ low, high uint64 }

func (s reasonSet) has(reason byte) bool {
	switch reason >> 6 {
	case 0:
		return s.low>>reason&1 != 0
	case 2:
		return s.high>>(reason&0x3f)&1 != 0
	}
	return false
}

// Reasons that clients may give (MQTT 5, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1 and 3.14.2.1).
var (
	receivedReasons = reasonSet{
		low:  1<<0x00 | 1<<0x10,
		high: 1<<0x00 | 1<<0x03 | 1<<0x07 | 1<<0x10 | 1<<0x11 | 1<<0x17 | 1<<0x19,
	}
	releasedReasons   = reasonSet{low: 1 << 0x00, high: 1 << 0x12}
	disconnectReasons = reasonSet{
		low: 1<<0x00 | 1<<0x04,
		high: 1<<0x00 | 1<<0x01 | 1<<0x02 | 1<<0x03 | 1<<0x10 | 1<<0x13 | 1<<0x14 | 1<<0x15 | 1<<0x16 | 1<<0x17 |
			1<<0x18 | 1<<0x19,
	}
)

func ackReasons(kind byte) reasonSet {
	if kind == kindPuback || kind == kindPubrec {
		return receivedReasons
	}
	return releasedReasons
}

func (d dialect) subscribe(s *scanner) {
	s.id()
	if d.version >= version5 {
		s.properties(inSubscribe, 0)
	}
	d.filters(s, true)
}

var sharePrefix = []byte("$share/")

// filters are the payload of SUBSCRIBE and UNSUBSCRIBE.
func (d dialect) filters(s *scanner, options bool) {
	if s.bad == nil && len(s.b) == 0 {
		s.fail(forbidden("no topic filter")) // MQTT 5, 3.8.3 and 3.10.3
	}
	for len(s.b) > 0 {
		filter := s.text()
		if !options {
			continue
		}
		o := s.byte()
		switch v := d.version; { // MQTT 5, 3.8.3.1; 3.1.1, 3.8.3
		case v >= version5 && o&0xc0 != 0, v < version5 && o&0xfc != 0:
			s.fail(malformed("reserved bits of subscription options"))
		case o&3 == 3:
			s.fail(forbidden("maximum QoS 3"))
		case o>>4&3 == 3:
			s.fail(forbidden("retain handling 3"))
		case o&4 != 0 && bytes.HasPrefix(filter, sharePrefix):
			s.fail(forbidden("no local with a shared subscription"))
		}
	}
}

// disconnect may leave out reason and properties (MQTT 5, 3.14.2.1 and 3.14.2.2.1).
func (d dialect) disconnect(s *scanner) {
	if d.version < version5 || len(s.b) == 0 {
		return
	}
	if !disconnectReasons.has(s.byte()) {
		s.fail(forbidden("reason that this packet cannot have"))
	}
	if len(s.b) == 0 {
		return
	}
	if f := s.properties(inDisconnect, serversDisconnect); f.sessionExpiry > 0 && !d.expires {
		s.fail(forbidden("session expiry where CONNECT had none")) // MQTT 5, 3.14.2.2.2
	}
}
