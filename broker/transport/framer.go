package transport

// framer follows MQTT's fixed headers (MQTT 5, 2.1.1) through a stream, however it is cut, without looking into packets
// or keeping any of them. The zero value is at the beginning of a packet and allows none.
type framer struct {
	limit int    // of a whole packet, header included
	left  uint32 // of the packet's content; while the length is being read, what is known of it
	kind  byte   // first byte of the header
	step  byte   // see below

	fresh      bool   // nothing of the content has come yet
	reason     byte   // first byte of the content: the reason, in a DISCONNECT
	disconnect uint16 // 0x100 + reason of the last complete DISCONNECT; 0: there was none
}

// Values of step. In between are 1 to 4: the next byte is that byte of the length.
const (
	atBoundary = 0
	inContent  = 5
)

const kindDisconnect = 14

// feed follows p and gives how much of it was in order: all, or what is before the byte at which it failed. That
// depends on the stream only, not on how it is cut.
func (f *framer) feed(p []byte) (int, error) {
	for i := 0; i < len(p); {
		switch f.step {
		case atBoundary:
			f.kind, f.left, f.step, f.reason = p[i], 0, 1, 0
			i++
		case inContent:
			i += f.content(p[i:])
		default:
			if err := f.length(p[i]); err != nil {
				return i, err
			}
			i++
		}
	}
	return len(p), nil
}

// length takes the next byte of the length.
func (f *framer) length(b byte) error {
	f.left |= uint32(b&0x7f) << (7 * (f.step - 1))
	if b&0x80 != 0 {
		if f.step == 4 {
			return ErrMalformed
		}
		f.step++
		return nil
	}
	if 1+int(f.step)+int(f.left) > f.limit {
		return ErrPacketTooLarge
	}
	if f.step, f.fresh = inContent, true; f.left == 0 {
		f.end()
	}
	return nil
}

// content takes what p has of the packet's content, and gives how much that was.
func (f *framer) content(p []byte) int {
	if f.fresh {
		f.reason, f.fresh = p[0], false
	}
	n := min(uint32(len(p)), f.left)
	if f.left -= n; f.left == 0 {
		f.end()
	}
	return int(n)
}

func (f *framer) end() {
	if f.kind>>4 == kindDisconnect {
		// Also of one in three bytes, E0 01 04, whose reason mochi does not look at.
		f.disconnect = 0x100 | uint16(f.reason)
	}
	f.step = atBoundary
}

// ahead is how many bytes can be read without reading beyond the packet.
func (f *framer) ahead() int {
	switch f.step {
	case atBoundary:
		return 2
	case inContent:
		return int(f.left)
	}
	return 1
}
