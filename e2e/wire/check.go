package wire

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkFlags looks at the low half of the first byte of what a server sends (MQTT 5, 2.1.3).
func checkFlags(first byte) error {
	flags, want := first&0x0F, byte(0)
	switch Type(first >> 4) {
	case PUBLISH:
		if flags&0x06 == 0x06 || flags&0x0E == 0x08 { // QoS 3, or DUP with QoS 0
			return fmt.Errorf("PUBLISH with flags %#x", flags)
		}
		return nil
	case PUBREL:
		want = 0x02
	}
	if flags != want {
		return fmt.Errorf("%s with flags %#x, want %#x", Type(first>>4), flags, want)
	}
	return nil
}

// serverProperties are the properties that a server may send, by packet (MQTT 5, 2.2.2.2).
var serverProperties = map[Type][]byte{
	CONNACK: {SessionExpiry, AssignedClientID, ServerKeepAlive, AuthMethod, AuthData, ResponseInfoReply, ServerReference,
		ReasonString, ReceiveMaximum, TopicAliasMaximum, MaximumQoS, RetainAvailable, UserProperty, MaximumPacketSize,
		WildcardAvailable, SubIDAvailable, SharedAvailable},
	PUBLISH: {PayloadFormat, MessageExpiry, ContentType, ResponseTopic, CorrelationData, SubscriptionID, TopicAlias,
		UserProperty},
	PUBACK: {ReasonString, UserProperty}, PUBREC: {ReasonString, UserProperty}, PUBREL: {ReasonString, UserProperty},
	PUBCOMP: {ReasonString, UserProperty}, SUBACK: {ReasonString, UserProperty}, UNSUBACK: {ReasonString, UserProperty},
	DISCONNECT: {ReasonString, UserProperty, ServerReference},
	AUTH:       {AuthMethod, AuthData, ReasonString, UserProperty},
}

// serverReasons are the reasons that a server may give, by packet (MQTT 5, 2.4).
var serverReasons = map[Type]string{
	CONNACK: "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f",
	PUBACK:  "\x00\x10\x80\x83\x87\x90\x91\x97\x99", PUBREC: "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	PUBREL: "\x00\x92", PUBCOMP: "\x00\x92",
	SUBACK:   "\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2",
	UNSUBACK: "\x00\x11\x80\x83\x87\x8f\x91",
	DISCONNECT: "\x00\x80\x81\x82\x83\x87\x89\x8b\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f" +
		"\xa0\xa1\xa2",
	AUTH: "\x00\x18\x19",
}

// check finds what can be read and must not be sent.
func (p Packet) check(version byte) error {
	if version != V5 {
		return p.check311()
	}
	for i, prop := range p.Props {
		if !slices.Contains(serverProperties[p.Type], prop.ID) {
			return fmt.Errorf("property %#x does not belong there", prop.ID)
		}
		once := prop.ID != UserProperty && (prop.ID != SubscriptionID || p.Type != PUBLISH)
		if _, again := p.Props[:i].Get(prop.ID); again && once {
			return fmt.Errorf("property %#x is there twice", prop.ID)
		}
	}
	reasons, codes := serverReasons[p.Type], p.Codes
	if codes == nil {
		codes = []byte{p.Reason}
	}
	for _, code := range codes {
		if reasons != "" && strings.IndexByte(reasons, code) < 0 {
			return fmt.Errorf("reason %#x does not belong there", code)
		}
	}
	return nil
}

func (p Packet) check311() error {
	switch {
	case p.Type == DISCONNECT || p.Type == AUTH:
		return fmt.Errorf("a server does not send it in 3.1.1")
	case p.Type == CONNACK && p.Reason > 5:
		return fmt.Errorf("no such return code in 3.1.1: %#x", p.Reason)
	case p.Type == UNSUBACK && len(p.Codes) > 0:
		return fmt.Errorf("it has no codes in 3.1.1")
	}
	for _, code := range p.Codes {
		if code > 2 && code != 0x80 {
			return fmt.Errorf("no such return code in 3.1.1: %#x", code)
		}
	}
	return nil
}

// text is string for what has to be UTF-8 without U+0000 (MQTT 5, 1.5.4).
func (d *decoder) text() string {
	s := d.string()
	if d.err == nil && (!utf8.ValidString(s) || strings.Contains(s, "\x00")) {
		d.err = fmt.Errorf("%q is no text", s)
	}
	return s
}
