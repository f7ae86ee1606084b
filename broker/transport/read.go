package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Read gives what the peer sent. It is the CONNECT first, and nothing else before Authenticated; see errors.go for what
// it fails with.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil && c.onViolation != nil {
		if v := (*Violation)(nil); errors.As(err, &v) {
			tell := c.onViolation
			c.onViolation = nil
			tell(v)
		}
	}
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	switch {
	case c.broken != nil:
		return 0, c.broken
	case c.held != nil:
		return c.release(p), nil
	case !c.authenticated.Load():
		return 0, c.breaks(ErrUnauthenticated)
	}
	c.framer.limit = c.server.packetLimit
	return c.receive(p)
}

// receive reads from the network. What comes before a violation is still given.
func (c *Conn) receive(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.server.metrics.received.Add(uint64(n))
	good, violation := c.framer.feed(p[:n])
	if c.framer.disconnect != 0 {
		c.disconnect.Store(uint32(c.framer.disconnect))
	}
	if violation != nil {
		if err = c.breaks(violation); good > 0 {
			err = nil
		}
		return good, err
	}
	if err != nil {
		err = c.readError(err)
	}
	return n, err
}

// breaks makes err what every Read gives from now on.
func (c *Conn) breaks(err error) error {
	c.broken = err
	c.server.metrics.end(err)
	return err
}

// readError says why the network gave err.
func (c *Conn) readError(err error) error {
	c.mu.Lock()
	closed, cause := c.closed, c.cause
	c.mu.Unlock()
	switch {
	case cause != nil:
		return cause
	case closed:
		return net.ErrClosed
	case reasonOf(err) != "":
		return c.breaks(err)
	}
	return err
}

// release gives what is held.
func (c *Conn) release(p []byte) int {
	n := copy(p, c.held.b[c.taken:])
	if c.taken += n; c.taken == len(c.held.b) {
		c.held.free()
		c.held = nil
	}
	return n
}

// begin brings the connection up to its complete CONNECT, which it keeps for Read.
func (c *Conn) begin() error {
	err := c.handshake()
	if err == nil {
		err = c.awaitConnect()
	}
	if err == nil {
		return c.SetReadDeadline(time.Time{})
	}
	if isTimeout(err) {
		err = errConnectTimeout
	}
	if c.broken == nil {
		c.server.metrics.end(err)
	}
	return err
}

// handshake does that of TLS, on our listeners. Both deadlines have been set.
func (c *Conn) handshake() error {
	if secure, ok := c.raw.(*tls.Conn); ok && c.ws == nil {
		if err := secure.HandshakeContext(context.Background()); err != nil {
			if isTimeout(err) || errors.Is(err, io.EOF) { // EOF: a port scan, a health check
				return err
			}
			return fmt.Errorf("%w: %w", errHandshake, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.sock.SetWriteDeadline(time.Time{})
}

// awaitConnect reads the first packet and not one byte more, into memory that grows with what comes, and looks at it.
func (c *Conn) awaitConnect() error {
	const first = kindConnect << 4 // with its reserved bits (MQTT 5, 3.1.1)
	c.framer.limit = c.server.cfg.ConnectPacket
	held := newBuffer(0)
	for len(held.b) == 0 || c.framer.step != atBoundary {
		held = held.grow(1)
		room := held.b[len(held.b):cap(held.b)]
		n, err := c.receive(room[:min(len(room), c.framer.ahead())])
		held.b = held.b[:len(held.b)+n]
		if n > 0 && held.b[0] != first {
			err = c.breaks(errNotConnect)
		}
		if err != nil {
			held.free()
			return err
		}
	}
	spoken, err := checkConnect(held.b)
	if err != nil {
		held.free()
		return c.breaks(err)
	}
	c.framer.dialect = spoken
	c.odd.Store(spoken.odd)
	c.held = held
	return nil
}
