package transport

// Identifiers of properties (MQTT 5, 2.2.2.2).
const (
	propPayloadFormat   = 0x01
	propMessageExpiry   = 0x02
	propContentType     = 0x03
	propResponseTopic   = 0x08
	propCorrelation     = 0x09
	propSubscription    = 0x0B
	propSessionExpiry   = 0x11
	propAuthMethod      = 0x15
	propAuthData        = 0x16
	propRequestProblem  = 0x17
	propWillDelay       = 0x18
	propRequestResponse = 0x19
	propServerReference = 0x1C
	propReasonString    = 0x1F
	propReceiveMaximum  = 0x21
	propAliasMaximum    = 0x22
	propTopicAlias      = 0x23
	propUser            = 0x26
	propPacketSize      = 0x27
)

// properties is a set of them.
type properties uint64

func (s properties) has(id byte) bool { return id < 64 && s>>id&1 != 0 }

// What each packet of a client may carry. servers are those that only a server may put there.
const (
	inMessage properties = 1<<propPayloadFormat | 1<<propMessageExpiry | 1<<propContentType | 1<<propResponseTopic |
		1<<propCorrelation | 1<<propUser
	inPublish = inMessage | 1<<propTopicAlias
	inWill    = inMessage | 1<<propWillDelay
	inConnect = 1<<propSessionExpiry | 1<<propReceiveMaximum | 1<<propPacketSize | 1<<propAliasMaximum |
		1<<propRequestResponse | 1<<propRequestProblem | 1<<propUser | 1<<propAuthMethod | 1<<propAuthData
	inAck         = 1<<propReasonString | 1<<propUser
	inSubscribe   = 1<<propSubscription | 1<<propUser
	inUnsubscribe = 1 << propUser
	inDisconnect  = 1<<propSessionExpiry | 1<<propReasonString | 1<<propUser

	serversPublish    properties = 1 << propSubscription
	serversDisconnect properties = 1 << propServerReference
)

// found is what matters of a list of properties.
type found struct {
	set           properties
	sessionExpiry uint32
	blank         Blank
}

// Blank is what a PUBLISH says without a value, so that a decoder may not tell it from what is not said.
type Blank struct {
	Expiry      bool // a message expiry interval of 0: it expires at once
	ContentType bool // an empty content type
}

// properties takes a list of them, with its length (MQTT 5, 2.2.2).
func (s *scanner) properties(allowed, servers properties) (f found) {
	length := s.varint()
	if length == 0 || s.bad != nil {
		return f
	}
	list := scanner{b: s.take(length), bad: s.bad}
	for len(list.b) > 0 && list.bad == nil {
		id := list.byte() // one byte, as long as no property has a larger one
		switch {
		case servers.has(id):
			list.fail(forbidden("property that only a server may send"))
		case !allowed.has(id):
			list.fail(malformed("property that this packet cannot have"))
		case f.set.has(id) && id != propUser:
			list.fail(forbidden("property twice"))
		}
		f.set |= 1 << (id & 63)
		list.property(id, &f)
	}
	s.bad = list.bad
	return f
}

// property takes the value of one.
func (s *scanner) property(id byte, f *found) {
	switch id {
	case propUser:
		s.text()
		s.text()
	case propContentType:
		f.blank.ContentType = len(s.text()) == 0
	case propReasonString, propAuthMethod:
		s.text()
	case propResponseTopic:
		if topic := s.text(); !isTopic(topic) {
			s.fail(forbidden("response topic is empty or has a wildcard")) // MQTT 5, 3.3.2.3.5
		}
	case propCorrelation, propAuthData:
		s.data()
	case propMessageExpiry:
		f.blank.Expiry = s.uint32() == 0
	case propWillDelay:
		s.uint32()
	case propSessionExpiry:
		f.sessionExpiry = s.uint32()
	case propPacketSize:
		if s.uint32() == 0 {
			s.fail(forbidden("maximum packet size of 0")) // MQTT 5, 3.1.2.11.4
		}
	case propReceiveMaximum:
		if s.uint16() == 0 {
			s.fail(forbidden("receive maximum of 0")) // MQTT 5, 3.1.2.11.3
		}
	case propAliasMaximum:
		s.uint16()
	case propTopicAlias:
		if s.uint16() == 0 {
			s.fail(&Violation{reasonTopicAlias, "topic alias of 0"}) // MQTT 5, 3.3.2.3.4
		}
	case propSubscription:
		if s.varint() == 0 {
			s.fail(forbidden("subscription identifier of 0")) // MQTT 5, 3.8.2.1.2
		}
	case propPayloadFormat, propRequestProblem, propRequestResponse:
		if s.byte() > 1 {
			s.fail(forbidden("property is neither 0 nor 1"))
		}
	}
}
