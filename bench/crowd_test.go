package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// A benchmark that does not see losses measures them as speed.
func TestACrowdSeesWhatIsLostOrComesTwice(t *testing.T) {
	tests := map[string]struct {
		deliver        []uint32 // of messages 0 to 3
		again          int
		missing        int // found by those that came later
		givenUp        int // found in the end
		wantDone       uint32
		wantInTheOrder int
	}{
		"all":            {deliver: []uint32{0, 1, 2, 3}, wantDone: 4, wantInTheOrder: 4},
		"the first lost": {deliver: []uint32{1, 2, 3}, missing: 1, wantDone: 4, wantInTheOrder: 3},
		"the last lost":  {deliver: []uint32{0, 1, 2}, givenUp: 1, wantDone: 3, wantInTheOrder: 3},
		"one twice":      {deliver: []uint32{0, 1, 1, 2, 3}, again: 1, wantDone: 4, wantInTheOrder: 4},
		"two swapped":    {deliver: []uint32{0, 2, 1, 3}, again: 1, missing: 1, wantDone: 4, wantInTheOrder: 3},
		"none":           {givenUp: 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &crowd{shape: shape{publishers: 1, subscribers: 1, qos: 1, window: 8}, live: 1}
			p := newPublisher(&member{}, 0, c.shape, "t")
			s := &subscriber{member: &member{}, next: make([]uint32, 1)}
			c.publishers, c.subscribers = []*publisher{p}, []*subscriber{s}
			for range 4 {
				p.put(1, time.Now().UnixNano(), c.live)
			}
			for _, number := range tt.deliver {
				c.arrived(s, content(number), time.Now())
			}
			if c.seen.delivered != tt.wantInTheOrder || c.seen.again != tt.again || c.seen.lost != tt.missing {
				t.Errorf("delivered, again, lost = %d, %d, %d; want %d, %d, %d", c.seen.delivered, c.seen.again, c.seen.lost,
					tt.wantInTheOrder, tt.again, tt.missing)
			}
			if p.done != tt.wantDone {
				t.Errorf("done up to %d, want %d", p.done, tt.wantDone)
			}
			if missing := c.giveUp(); missing != tt.givenUp || p.done != 4 {
				t.Errorf("gave up %d messages and was done up to %d, want %d and 4", missing, p.done, tt.givenUp)
			}
		})
	}
}

func content(number uint32) []byte {
	b := make([]byte, payloadSize)
	binary.BigEndian.PutUint64(b, uint64(time.Now().UnixNano()))
	binary.BigEndian.PutUint32(b[12:], number)
	return b
}

// The server of this test loses a message on purpose: the generator, with its sockets, has to say so.
func TestACrowdWorksAgainstAServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go loseTheThird(l)
	srv := &instance{addr: l.Addr().String(), pid: -1, free: func(int) login { return login{} }}
	c, forget, err := newCrowd(srv, shape{publishers: 1, subscribers: 1, qos: 1, window: 4})
	if err != nil {
		t.Fatal(err)
	}
	c.sending = true
	enough := func() bool { return c.seen.delivered >= 100 }
	if err := c.spin(patience, enough); err != nil || !enough() {
		t.Fatalf("%d messages were delivered: %v", c.seen.delivered, err)
	}
	c.sending = false
	if err := errors.Join(c.spin(patience, c.finished), forget()); err != nil {
		t.Fatal(err)
	}
	if c.seen.lost != 1 || c.seen.again != 0 || c.seen.acked != c.seen.delivered+1 {
		t.Errorf("%d of %d are lost and %d came again, want 1 and 0", c.seen.lost, c.seen.acked, c.seen.again)
	}
}

// loseTheThird is the least server: everything that is published goes to the one subscriber, but for one message.
func loseTheThird(l net.Listener) {
	subscribers := make(chan net.Conn, 1)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			var to net.Conn
			in, published := wire.NewReader(conn), 0
			for {
				first, body, err := in.Next()
				if err != nil {
					return
				}
				switch wire.Type(first >> 4) {
				case wire.CONNECT:
					_, err = conn.Write([]byte{byte(wire.CONNACK) << 4, 2, 0, 0})
				case wire.SUBSCRIBE:
					subscribers <- conn
					_, err = conn.Write([]byte{byte(wire.SUBACK) << 4, 3, body[0], body[1], 1})
				case wire.PUBLISH:
					if to == nil {
						to = <-subscribers
					}
					if published++; published != 3 {
						_, err = to.Write(append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...))
					}
					id := body[2+int(binary.BigEndian.Uint16(body)):]
					if err == nil {
						_, err = conn.Write([]byte{byte(wire.PUBACK) << 4, 2, id[0], id[1]})
					}
				}
				if err != nil && !errors.Is(err, io.EOF) {
					return
				}
			}
		}()
	}
}

func TestBelow(t *testing.T) {
	tests := map[[2]string]bool{
		{"free/q1/1-1/w64/durable", "free"}:               true,
		{"free/q1/1-1/w64/durable", "free/q1/1-1/"}:       true,
		{"free/q1/1-1/w64/durable", "free/*/1-1/w64"}:     true,
		{"free/q1/1-1/w64/durable", "*/*/*/*/durable"}:    true,
		{"free/q1/1-1/w64/durable", "free/q1/1"}:          false,
		{"free/q1/1-1/w64/durable", "free/*/1-50"}:        false,
		{"free/q1/1-1/w64/durable", "free/*/1-1/w64/*/x"}: false,
	}
	for in, want := range tests {
		if got := below(in[0], in[1]); got != want {
			t.Errorf("below(%q, %q) = %v, want %v", in[0], in[1], got, want)
		}
	}
}
