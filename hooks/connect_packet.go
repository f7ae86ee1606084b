package hooks

import (
	"encoding/binary"

	"github.com/magpie-im/magpie/broker/transport"
)

// amendConnect makes of a CONNECT that mochi should let through one that it does. emptyWill: the payload of the will is
// empty, whatever it has now.
func amendConnect(conn *transport.Conn) (emptyWill bool) {
	amended, emptyWill, ok := amended(conn.Connect())
	if ok {
		conn.SetConnect(amended)
	}
	return emptyWill
}

// amended gives another CONNECT for one of MQTT 3.1.1 or 5 that is well formed; not ok: there is nothing to amend. A will
// with an empty payload, which mochi takes for none, gets one byte; an empty password is taken out, as it is nobody's.
func amended(packet []byte) (out []byte, emptyWill, ok bool) {
	const (
		flagsAt  = 7 // behind the name and the version
		will     = 0x04
		password = 0x40
		user     = 0x80
	)
	content := packet[1:]
	for content[0]&0x80 != 0 {
		content = content[1:]
	}
	content = content[1:]
	flags, five := content[flagsAt], content[flagsAt-1] == 5
	at := flagsAt + 3 // behind the keep-alive
	field := func() (size int) {
		size = int(binary.BigEndian.Uint16(content[at:]))
		at += 2 + size
		return size
	}
	properties := func() {
		if five {
			size, used := binary.Uvarint(content[at:]) // the same encoding, for what is well formed
			at += used + int(size)
		}
	}
	properties()
	field() // client id
	willAt := 0
	if flags&will != 0 {
		properties()
		field() // topic
		willAt = at
		emptyWill = field() == 0
	}
	if flags&user != 0 {
		field()
	}
	noPassword := flags&password != 0 && field() == 0
	if !emptyWill && !noPassword {
		return nil, false, false
	}
	content = append([]byte(nil), content...)
	if noPassword {
		content = content[:len(content)-2]
		content[flagsAt] &^= password
	}
	if emptyWill {
		rest := append([]byte{0, 1, 0}, content[willAt+2:]...)
		content = append(content[:willAt], rest...)
	}
	return append(appendVarint([]byte{packet[0]}, len(content)), content...), emptyWill, true
}
