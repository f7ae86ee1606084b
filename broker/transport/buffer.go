package transport

import "sync"

// buffer is a growing piece of memory on loan. Connections have one only while something waits in it.
type buffer struct {
	b     []byte
	class int // index in classes; len(classes): not pooled
}

// classes are the sizes that are kept for reuse: an ack or a few, a screenful of messages, a burst, a flood.
var classes = [...]int{512, 4 << 10, 32 << 10, 256 << 10}

var pools [len(classes)]sync.Pool

// newBuffer gives an empty buffer with room for n bytes.
func newBuffer(n int) *buffer {
	for class, size := range classes {
		if n <= size {
			if b, ok := pools[class].Get().(*buffer); ok {
				return b
			}
			return &buffer{b: make([]byte, 0, size), class: class}
		}
	}
	return &buffer{b: make([]byte, 0, n), class: len(classes)}
}

// grow gives a buffer with what is in b and room for n bytes more; b itself is no longer to be used.
func (b *buffer) grow(n int) *buffer {
	need := len(b.b) + n
	if need <= cap(b.b) {
		return b
	}
	more := newBuffer(need + min(need/2, cap(b.b))) // beyond the classes: by half, so that copying stays linear
	more.b = append(more.b, b.b...)
	b.free()
	return more
}

func (b *buffer) free() {
	if b.class < len(classes) {
		b.b = b.b[:0]
		pools[b.class].Put(b)
	}
}
