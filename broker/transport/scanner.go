package transport

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// scanner takes the content of a packet apart. After the first violation it gives zero values, and there is nothing more
// to take.
type scanner struct {
	b   []byte
	bad *Violation
}

func (s *scanner) fail(v *Violation) {
	if s.bad == nil {
		s.bad = v
	}
	s.b = nil
}

var errEnds = malformed("ends too early")

func (s *scanner) take(n int) []byte {
	if n > len(s.b) {
		s.fail(errEnds)
		return nil
	}
	taken := s.b[:n]
	s.b = s.b[n:]
	return taken
}

func (s *scanner) byte() byte {
	if len(s.b) < 1 {
		s.fail(errEnds)
		return 0
	}
	b := s.b[0]
	s.b = s.b[1:]
	return b
}

func (s *scanner) uint16() uint16 {
	if len(s.b) < 2 {
		s.fail(errEnds)
		return 0
	}
	n := binary.BigEndian.Uint16(s.b)
	s.b = s.b[2:]
	return n
}

func (s *scanner) uint32() uint32 {
	if len(s.b) < 4 {
		s.fail(errEnds)
		return 0
	}
	n := binary.BigEndian.Uint32(s.b)
	s.b = s.b[4:]
	return n
}

// varint takes a variable byte integer (MQTT 5, 1.5.5).
func (s *scanner) varint() int {
	if len(s.b) > 0 && s.b[0] < 0x80 {
		n := s.b[0]
		s.b = s.b[1:]
		return int(n)
	}
	n := 0
	for i := range 4 {
		if i == len(s.b) {
			s.fail(errEnds)
			return 0
		}
		b := s.b[i]
		n |= int(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			if i > 0 && b == 0 {
				s.fail(malformed("integer in more bytes than it needs"))
				return 0
			}
			s.b = s.b[i+1:]
			return n
		}
	}
	s.fail(malformed("integer in more than four bytes"))
	return 0
}

// data takes binary data (MQTT 5, 1.5.6).
func (s *scanner) data() []byte { return s.take(int(s.uint16())) }

// text takes a string (MQTT 5, 1.5.4; 3.1.1, 1.5.3).
func (s *scanner) text() []byte {
	t := s.data()
	for i, b := range t {
		if b-1 < 0x7f { // ASCII, as nearly all of it is
			continue
		}
		if rest := t[i:]; !utf8.Valid(rest) || bytes.IndexByte(rest, 0) >= 0 {
			s.fail(malformed("text is not UTF-8, or has a null character"))
			return nil
		}
		break
	}
	return t
}

// id takes a packet id (MQTT 5, 2.2.1).
func (s *scanner) id() {
	if s.uint16() == 0 {
		s.fail(forbidden("packet id of 0"))
	}
}

// end is the violation that was found, if nothing else than that there is more.
func (s *scanner) end() error {
	if len(s.b) > 0 {
		s.fail(malformed("bytes behind its end"))
	}
	if s.bad != nil {
		return s.bad // not a nil *Violation in an error
	}
	return nil
}

// isTopic says whether text can name a topic (MQTT 5, 4.7).
func isTopic(t []byte) bool {
	return len(t) > 0 && bytes.IndexByte(t, '#') < 0 && bytes.IndexByte(t, '+') < 0
}
