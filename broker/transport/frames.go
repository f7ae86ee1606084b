package transport

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
)

// Opcodes of WebSocket frames (RFC 6455, 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// Status codes with which we close (RFC 6455, 7.4.1).
const (
	statusNormal   = 1000
	statusProtocol = 1002
	statusType     = 1003
)

const (
	maxControl = 125 // bytes of a control frame's payload (RFC 6455, 5.5)
	maskBit    = 0x80
	finBit     = 0x80
	rsvBits    = 0x70
)

// frames is the stream of bytes inside the binary messages of a WebSocket client. Where messages begin and end means
// nothing to MQTT (MQTT 5, 6.0), so nothing is collected: frames are decoded in the memory that they are read into, and
// an idle connection has no buffer for them. A read that fails because of a deadline can be repeated.
//
// That is also why this is not left to a library, whose connection object keeps buffers, blocks its reader on writing
// pongs and takes a missed deadline for the end.
type frames struct {
	src   io.Reader
	early []byte       // what the HTTP server had read of src
	pong  func([]byte) // is asked to answer a ping; must not block

	head    [14]byte
	have    int    // bytes of head
	inFrame bool   // head is complete
	left    uint64 // of the frame's payload
	phase   int    // into the mask
	message bool   // a message has begun and not ended
	control []byte // payload of the control frame so far

	broken error         // what every further Read gives
	status atomic.Uint32 // to close with; 0: normal
}

// Read gives payload.
func (f *frames) Read(p []byte) (int, error) {
	for f.broken == nil {
		n, err := f.fetch(p)
		n, f.broken = f.decode(p[:n])
		if n > 0 || len(p) == 0 {
			return n, nil // an error comes again
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, f.broken
}

func (f *frames) fetch(p []byte) (int, error) {
	if f.early == nil {
		return f.src.Read(p)
	}
	n := copy(p, f.early)
	if f.early = f.early[n:]; len(f.early) == 0 {
		f.early = nil
	}
	return n, nil
}

func (f *frames) atBoundary() bool { return f.have == 0 && !f.message && f.early == nil }

// decode moves the payload of data frames in p to the beginning of p and gives its length.
func (f *frames) decode(p []byte) (int, error) {
	out := 0
	for i := 0; i < len(p); {
		if !f.inFrame {
			f.head[f.have] = p[i]
			f.have++
			i++
			if err := f.header(); err != nil {
				return out, err
			}
		} else {
			n := int(min(uint64(len(p)-i), f.left))
			part := p[i : i+n]
			f.unmask(part)
			if f.head[0]&0x8 != 0 {
				f.control = append(f.control, part...)
			} else {
				out += copy(p[out:], part)
			}
			f.left -= uint64(n)
			i += n
		}
		if f.inFrame && f.left == 0 {
			if err := f.end(); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// header looks at what there is of the frame's header.
func (f *frames) header() error {
	if f.have == 2 {
		if err := f.check(); err != nil {
			return err
		}
	}
	size := 2 + 4
	switch f.head[1] &^ maskBit {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.have < 2 || f.have < size {
		return nil
	}
	switch size {
	case 6:
		f.left = uint64(f.head[1] &^ maskBit)
	case 8:
		f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
	default:
		if f.left = binary.BigEndian.Uint64(f.head[2:]); f.left>>63 != 0 {
			return f.violation(statusProtocol, "length with its highest bit set")
		}
	}
	copy(f.head[10:], f.head[size-4:size]) // the mask, where unmask looks for it
	f.inFrame, f.phase = true, 0
	return nil
}

// check judges the first two bytes of a header.
func (f *frames) check() error {
	fin, op, length := f.head[0]&finBit != 0, f.head[0]&0xf, f.head[1]&^maskBit
	switch {
	case f.head[0]&rsvBits != 0:
		return f.violation(statusProtocol, "reserved bits without an extension")
	case f.head[1]&maskBit == 0:
		return f.violation(statusProtocol, "frame without a mask")
	case op == opClose || op == opPing || op == opPong:
		if !fin || length > maxControl {
			return f.violation(statusProtocol, "control frame in parts or too long")
		}
	case op == opText:
		return f.violation(statusType, "text message")
	case op != opBinary && op != opContinuation:
		return f.violation(statusProtocol, "unknown opcode")
	case (op == opContinuation) != f.message:
		return f.violation(statusProtocol, "message begins or goes on out of turn")
	default:
		f.message = !fin
	}
	return nil
}

// end acts upon a frame whose payload is complete.
func (f *frames) end() error {
	payload := f.control
	f.have, f.inFrame, f.control = 0, false, nil
	switch f.head[0] & 0xf {
	case opPing:
		f.pong(payload)
	case opClose:
		if len(payload) == 1 {
			return f.violation(statusProtocol, "close frame with half a status")
		}
		return io.EOF
	}
	return nil
}

func (f *frames) violation(status uint32, what string) error {
	f.status.Store(status)
	return fmt.Errorf("%w: %s", ErrWebSocket, what)
}

// farewell is the payload of our close frame.
func (f *frames) farewell() []byte {
	status := f.status.Load()
	if status == 0 {
		status = statusNormal
	}
	return binary.BigEndian.AppendUint16(nil, uint16(status))
}

// unmask decodes the next bytes of the payload (RFC 6455, 5.3).
func (f *frames) unmask(p []byte) {
	mask := f.head[10:14]
	var turned [8]byte
	for i := range turned {
		turned[i] = mask[(f.phase+i)&3]
	}
	f.phase = (f.phase + len(p)) & 3
	key := binary.NativeEndian.Uint64(turned[:])
	for ; len(p) >= 8; p = p[8:] {
		binary.NativeEndian.PutUint64(p, binary.NativeEndian.Uint64(p)^key)
	}
	for i := range p {
		p[i] ^= turned[i]
	}
}

// frameHeader is the size of the largest header that a server's frame can have.
const frameHeader = 10

// putFrameHeader writes the header of an unfragmented frame with n bytes of payload to the end of b, and gives its
// length.
func putFrameHeader(b []byte, op byte, n int) int {
	size := 2
	switch {
	case n > 0xffff:
		size = 10
		binary.BigEndian.PutUint64(b[len(b)-8:], uint64(n))
		b[len(b)-9] = 127
	case n > maxControl:
		size = 4
		binary.BigEndian.PutUint16(b[len(b)-2:], uint16(n))
		b[len(b)-3] = 126
	default:
		b[len(b)-1] = byte(n)
	}
	b[len(b)-size] = finBit | op
	return size
}

// frame is a control frame.
func frame(op byte, payload []byte) []byte {
	b := make([]byte, 2, 2+len(payload))
	putFrameHeader(b, op, len(payload))
	return append(b, payload...)
}
