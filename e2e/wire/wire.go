// Package wire is an MQTT client for tests that does nothing by itself: every packet that leaves it was asked for,
// with the packet id that was asked for, and nothing is acknowledged, answered, pinged or reconnected unless the test
// does it. A client that is not read from leaves its socket unread, as a stalled peer does.
//
// It has a codec of its own for MQTT 3.1.1 and 5, a small one that shares nothing with the server's, so that an error
// of one does not hide behind the same error of the other; a test compares it with the codecs of Paho.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// ErrTimeout means that the deadline passed before a whole packet had come. The client may be read from again.
var ErrTimeout = errors.New("no packet before the deadline")

// Client is one connection. One goroutine may read while others send.
type Client struct {
	version byte
	conn    net.Conn
	in      *Reader

	mu sync.Mutex // serialises writes
}

// Dial opens a TCP connection and sends nothing.
func Dial(addr string, version byte) (*Client, error) {
	return DialFrom(net.Dialer{Timeout: 10 * time.Second}, addr, version)
}

// DialFrom is Dial with settings of the socket, a local address for example.
func DialFrom(d net.Dialer, addr string, version byte) (*Client, error) {
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return New(conn, version), nil
}

// New makes a client of a connection that is open already.
func New(conn net.Conn, version byte) *Client {
	return &Client{version: version, conn: conn, in: NewReader(conn)}
}

// Open dials, sends a CONNECT and reads the CONNACK, whatever it says.
func Open(addr string, version byte, c Connect, props ...Property) (*Client, Packet, error) {
	cl, err := Dial(addr, version)
	if err != nil {
		return nil, Packet{}, err
	}
	if err := cl.Send(Packet{Type: CONNECT, Connect: c, Props: props}); err != nil {
		return nil, Packet{}, errors.Join(err, cl.Close())
	}
	ack, err := cl.Read(time.Now().Add(20 * time.Second))
	if err == nil && ack.Type != CONNACK {
		err = fmt.Errorf("the answer to CONNECT is %s", ack.Type)
	}
	if err != nil {
		return nil, ack, errors.Join(err, cl.Close())
	}
	return cl, ack, nil
}

// Version gives the protocol version.
func (c *Client) Version() byte { return c.version }

// Reader gives what Read reads from, for who wants packets faster than they can be parsed.
func (c *Client) Reader() *Reader { return c.in }

// Conn gives the socket. Reading from it directly misses what Reader has buffered.
func (c *Client) Conn() net.Conn { return c.conn }

// Send writes packets in one piece.
func (c *Client) Send(packets ...Packet) error {
	var b []byte
	for _, p := range packets {
		b = p.Append(b, c.version)
	}
	return c.SendRaw(b)
}

// SendRaw writes bytes as they are. It fails after ten seconds in which the server took nothing.
func (c *Client) SendRaw(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if _, err := c.conn.Write(b); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Read gives the next packet. After the end of the connection the error is, or wraps, io.EOF or that of the socket.
func (c *Client) Read(deadline time.Time) (Packet, error) {
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return Packet{}, fmt.Errorf("read: %w", err)
	}
	first, body, err := c.in.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Packet{}, ErrTimeout
	}
	if err != nil {
		return Packet{}, err
	}
	p, err := Parse(first, append([]byte(nil), body...), c.version)
	p.Size = len(binary.AppendUvarint(nil, uint64(len(body)))) + 1 + len(body)
	return p, err
}

// Close closes the socket and says nothing to the server.
func (c *Client) Close() error { return c.conn.Close() }

// Reader takes a stream of packets apart without looking into them. A deadline that passes in the middle of a packet
// loses nothing: the next call goes on.
type Reader struct {
	r    *bufio.Reader
	body []byte // of the packet that Next gave last
	head []byte // first byte and length as far as they have come
	got  int    // how much of body has come
	size int    // of body; -1: not known yet
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 32<<10), size: -1} }

// Next gives the first byte of the next packet and everything after its length, which stays valid until the next call.
func (r *Reader) Next() (first byte, body []byte, err error) {
	for r.size < 0 {
		b, err := r.r.ReadByte()
		if err != nil {
			return 0, nil, fmt.Errorf("read: %w", err)
		}
		r.head = append(r.head, b)
		if err := r.measure(); err != nil {
			return 0, nil, err
		}
	}
	if cap(r.body) < r.size {
		r.body = make([]byte, r.size)
	}
	r.body = r.body[:r.size]
	for r.got < r.size {
		n, err := r.r.Read(r.body[r.got:])
		r.got += n
		if err != nil {
			return 0, nil, fmt.Errorf("read: %w", err)
		}
	}
	first = r.head[0]
	r.head, r.got, r.size = r.head[:0], 0, -1
	return first, r.body, nil
}

// Buffered says whether a next packet has begun to arrive.
func (r *Reader) Buffered() bool { return r.r.Buffered() > 0 || len(r.head) > 0 }

func (r *Reader) measure() error {
	n, used := binary.Uvarint(r.head[1:])
	switch {
	case used > 1 && r.head[used] == 0:
		return fmt.Errorf("header % x: %w", r.head, errLong)
	case used > 4 || len(r.head) > 5:
		return fmt.Errorf("header % x: no length", r.head)
	case used > 0:
		r.size = int(n)
	}
	return nil
}
