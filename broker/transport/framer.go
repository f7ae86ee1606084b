package transport

// framer follows MQTT's fixed headers (MQTT 5, 2.1.1) through a stream, however it is cut. When it knows the dialect it
// looks into the packets too: a packet that is not as it should be never goes by whole. It keeps nothing but the head of a
// packet that came in pieces, until it has looked at it. The zero value is at the beginning of a packet and allows none.
type framer struct {
	dialect dialect // zero: nothing but headers is looked at
	limit   int     // of a whole packet, header included
	left    uint32  // of the packet's content; while the length is being read, what is known of it
	kind    byte    // first byte of the header
	step    byte    // see below
	curious bool    // the packet has not been checked
	head    *buffer // what has come of its content meanwhile; nil: nothing

	fresh      bool     // nothing of the content has come yet
	reason     byte     // first byte of the content: the reason, in a DISCONNECT
	publishes  uint64   // PUBLISH packets that have begun
	blanks     []blanks // of those that have any
	disconnect uint16   // 0x100 + reason of the last complete DISCONNECT; 0: there was none
}

// Values of step. In between are 1 to 4: the next byte is that byte of the length.
const (
	atBoundary = 0
	inContent  = 5
)

// feed follows p and gives how much of it was in order: all, or what is before the byte at which it failed. That
// depends on the stream only, not on how it is cut. After an error there is no going on.
func (f *framer) feed(p []byte) (int, error) {
	for i := 0; i < len(p); {
		switch f.step {
		case atBoundary:
			if err := f.begin(p[i]); err != nil {
				return i, err
			}
			i++
		case inContent:
			n, err := f.content(p[i:])
			if i += n; err != nil {
				return i, err
			}
		default:
			if err := f.length(p[i]); err != nil {
				return i, err
			}
			i++
		}
	}
	return len(p), nil
}

// begin takes the first byte of a packet.
func (f *framer) begin(first byte) error {
	f.curious = f.dialect.version != 0
	if f.curious {
		if err := f.dialect.checkFirst(first); err != nil {
			return err
		}
	}
	if first>>4 == kindPublish {
		f.publishes++
	}
	f.kind, f.left, f.step, f.reason = first, 0, 1, 0
	return nil
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
	if b == 0 && f.step > 1 && f.dialect.version >= version5 { // MQTT 5, 1.5.5; 3.1.1 does not say so
		return ErrMalformed
	}
	if 1+int(f.step)+int(f.left) > f.limit {
		return ErrPacketTooLarge
	}
	if f.left == 0 && f.curious {
		if _, err := f.dialect.check(f.kind, nil); err != nil {
			return err
		}
	}
	if f.step, f.fresh = inContent, true; f.left == 0 {
		f.end()
	}
	return nil
}

// content takes what p has of the packet's content, and gives how much that was, or what is before the byte with which it
// became clear that the packet is none.
func (f *framer) content(p []byte) (int, error) {
	p = p[:min(uint64(len(p)), uint64(f.left))]
	if f.curious && f.fresh && f.dialect.plain(f.kind, p, int(f.left)) {
		f.curious = false
	}
	if f.curious {
		if n, err := f.inspect(p); err != nil {
			return n, err
		}
	}
	if f.fresh {
		f.reason, f.fresh = p[0], false
	}
	if f.left -= uint32(len(p)); f.left == 0 {
		f.end()
	}
	return len(p), nil
}

// inspect checks the packet if p, the next piece of its content, has what is needed for that; otherwise it keeps it.
func (f *framer) inspect(p []byte) (int, error) {
	there, rest, size := p, []byte(nil), int(f.left)
	if f.head != nil {
		there, rest, size = f.head.b, p, size+len(f.head.b)
	}
	for {
		need := min(f.dialect.headOf(f.kind, there), size)
		if need <= len(there) {
			said, err := f.dialect.check(f.kind, there[:need])
			if said.blank != (Blank{}) && err == nil {
				f.blanks = append(f.blanks, blanks{f.publishes, said.blank})
			}
			if f.curious = false; f.head != nil {
				f.head.free()
				f.head, need = nil, len(p)-len(rest)
			}
			return need - 1, err
		}
		if f.head == nil {
			f.head = newBuffer(len(p))
			f.head.b = append(f.head.b, p...)
			return 0, nil
		}
		if len(rest) == 0 {
			return 0, nil
		}
		more := min(need-len(there), len(rest))
		f.head = f.head.grow(more)
		f.head.b = append(f.head.b, rest[:more]...)
		there, rest = f.head.b, rest[more:]
	}
}

// blanks are those of the nth PUBLISH.
type blanks struct {
	n uint64
	Blank
}

// blank gives those of the nth PUBLISH, and forgets them and those before it.
func (f *framer) blank(n uint64) (b Blank) {
	for len(f.blanks) > 0 && f.blanks[0].n <= n {
		if f.blanks[0].n == n {
			b = f.blanks[0].Blank
		}
		f.blanks = f.blanks[1:]
	}
	if len(f.blanks) == 0 {
		f.blanks = nil
	}
	return b
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
