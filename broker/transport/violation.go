package transport

// Violation is what a peer did that MQTT forbids. It ends the connection.
type Violation struct { //nolint:errname // that is what it is
	Reason byte   // of MQTT 5 (2.4)
	Text   string // what is wrong
}

func (v *Violation) Error() string { return v.Text }

// Reasons of violations (MQTT 5, 2.4).
const (
	reasonMalformed  = 0x81
	reasonProtocol   = 0x82
	reasonVersion    = 0x84
	reasonClientID   = 0x85
	reasonTopicName  = 0x90
	reasonTopicAlias = 0x94
	reasonTooLarge   = 0x95
)

// malformed is the violation of a packet that cannot be read as the specification says (MQTT 5, 4.13.1).
func malformed(text string) *Violation {
	return &Violation{reasonMalformed, "malformed packet: " + text}
}

// forbidden is the violation of a packet that can be read, and says what it must not.
func forbidden(text string) *Violation { return &Violation{reasonProtocol, "protocol error: " + text} }
