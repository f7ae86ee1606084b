package transport

import (
	"crypto/tls"
	"net"
	"time"
)

// piece is how much is handed to the socket at a time: enough for the call to cost nothing, little enough for
// Config.WriteTimeout to be about progress. It is the size of the largest WebSocket message we send, too.
const piece = 64 << 10

// Write takes p and gives it to the peer when the peer is ready. It does not block. It fails with ErrSlowConsumer when
// too much waits already, which ends the connection, and with net.ErrClosed afterwards.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	if int(c.buffered.Load())+len(p) > c.server.cfg.WriteBuffer {
		c.mu.Unlock()
		c.fail(ErrSlowConsumer)
		return 0, ErrSlowConsumer
	}
	if c.out == nil {
		c.out = newBuffer(c.headroom() + len(p))
		c.out.b = c.out.b[:c.headroom()]
	}
	c.out = c.out.grow(len(p))
	c.out.b = append(c.out.b, p...)
	c.buffered.Add(int64(len(p)))
	c.spoke = true
	c.flushLocked()
	c.mu.Unlock()
	return len(p), nil
}

// headroom is what a buffer keeps free at its beginning.
func (c *Conn) headroom() int {
	if c.ws != nil {
		return frameHeader
	}
	return 0
}

// flushLocked makes sure that somebody will look at out, pong and closed.
func (c *Conn) flushLocked() {
	if !c.flushing {
		c.flushing = true
		c.flusher.Go(c.flush)
	}
}

// flush writes until nothing is left to be written, or the connection is closed.
func (c *Conn) flush() {
	told := false // that everything was taken
	for {
		c.mu.Lock()
		out, pong, onDrain := c.out, c.pong, c.onDrain
		c.out, c.pong = nil, nil
		idle := out == nil && pong == nil
		if c.shut || idle && (c.closed || told || onDrain == nil) {
			c.flushing = false
			hangUp := c.closed && !c.shut
			if !c.closed {
				// TLS answers a key update when it reads, and one write beyond a deadline breaks it for good.
				_ = c.sock.SetWriteDeadline(time.Time{})
			}
			c.mu.Unlock()
			if hangUp {
				c.hangUp()
			}
			return
		}
		c.mu.Unlock()

		if idle {
			told = true
			onDrain()
			continue
		}
		told = false
		if err := c.deliver(out, pong); err != nil {
			if isTimeout(err) {
				err = ErrStalled
			}
			c.fail(err)
		}
	}
}

// deliver writes what waits to the socket. It may block for as long as the peer may take.
func (c *Conn) deliver(out *buffer, pong []byte) error {
	if out != nil {
		defer out.free()
		for at := c.headroom(); at < len(out.b); {
			end := min(at+piece, len(out.b))
			from := at
			if c.ws != nil {
				// Into the headroom, or over the end of the piece that has been sent.
				from = at - putFrameHeader(out.b[:at], opBinary, end-at)
			}
			if err := c.send(out.b[from:end]); err != nil {
				return err
			}
			c.buffered.Add(int64(at - end))
			c.server.metrics.sent.Add(uint64(end - at))
			c.server.metrics.flushes.Add(1)
			at = end
		}
	}
	if pong != nil {
		return c.send(frame(opPong, pong))
	}
	return nil
}

// send writes one piece within the write timeout, or what is left of the time that Close gave.
func (c *Conn) send(p []byte) error {
	c.mu.Lock()
	if !c.closed {
		_ = c.sock.SetWriteDeadline(time.Now().Add(c.server.cfg.WriteTimeout)) // fails where the write will
	}
	c.mu.Unlock()
	_, err := c.raw.Write(p)
	return err
}

// hangUp says, in each protocol below MQTT, that nothing more will come. The peer can still be listened to; finish
// does.
func (c *Conn) hangUp() {
	// Whoever does not want to hear it need not: all that follows is closing.
	if c.ws != nil {
		_ = c.send(frame(opClose, c.ws.farewell()))
	}
	if secure, ok := c.raw.(*tls.Conn); ok {
		_ = secure.CloseWrite()
	}
	if half, ok := c.sock.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
