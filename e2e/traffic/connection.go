package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/wire"
)

// Ready says whether the client is connected and all that it wants of the server is settled.
func (c *Client) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readyLocked() {
		return false
	}
	for _, s := range c.filters {
		if !s.settled {
			return false
		}
	}
	return true
}

func (c *Client) readyLocked() bool { return c.conn != nil && !c.conn.over }

// Cut closes the connection under the client, which connects again. A hard cut throws away what is on its way.
func (c *Client) Cut(hard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readyLocked() {
		return
	}
	c.writeLocked(journal.Act{Do: journal.Cut})
	c.conn.over = true
	if tcp, ok := c.conn.Conn().(*net.TCPConn); ok && hard {
		_ = tcp.SetLinger(0)
	}
	_ = c.conn.Close()
}

// Leave disconnects with a reason, 0 or 4 (MQTT 5: with the will), and keeps the client away until Return. It does
// nothing while there is no connection.
func (c *Client) Leave(reason byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readyLocked() {
		return
	}
	if c.cfg.Version != wire.V5 {
		reason = 0
	}
	c.writeLocked(journal.Act{Do: journal.Left, Reason: reason})
	_ = c.conn.Send(wire.Packet{Type: wire.DISCONNECT, Reason: reason})
	c.conn.over, c.away = true, true
}

// Vanish cuts the connection and keeps the client away until Return.
func (c *Client) Vanish() {
	c.mu.Lock()
	c.away = true
	c.mu.Unlock()
	c.Cut(true)
}

// Return ends Leave and Vanish.
func (c *Client) Return() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = false
	c.changed.Broadcast()
}

// Gone says whether the client stays away, and its connection has ended.
func (c *Client) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away && c.conn == nil
}

// TakeOver connects again while the old connection is there still, unread from now on.
func (c *Client) TakeOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readyLocked() || c.dangling != nil {
		return
	}
	c.conn.over, c.conn.taken = true, true
	_ = c.conn.Conn().SetReadDeadline(time.Unix(1, 0)) // wakes the reader
}

// Renew cuts the connection and connects again for a new session, in which nothing is left of the old one.
func (c *Client) Renew() {
	c.mu.Lock()
	c.clean = true
	c.mu.Unlock()
	c.Cut(false)
}

// writeLocked puts an act of this connection into the journal.
func (c *Client) writeLocked(a journal.Act) {
	a.Session, a.Conn = c.session, c.number
	c.cfg.Journal.Write(a)
}

func (c *Client) oddLocked(format string, args ...any) {
	c.writeLocked(journal.Act{Do: journal.Odd, Err: fmt.Sprintf(format, args...)})
}

func (c *Client) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// run keeps the client connected.
func (c *Client) run(ctx context.Context) {
	defer func() {
		close(c.done)
		c.mu.Lock()
		c.changed.Broadcast()
		c.mu.Unlock()
	}()
	for ctx.Err() == nil {
		c.mu.Lock()
		for c.away {
			c.changed.Wait()
		}
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return
		}
		addr, boot, err := c.cfg.Up(ctx)
		if err != nil {
			return
		}
		pause := 2 * time.Millisecond // the server may be about to die, and Up does not know it yet
		switch err := c.connection(addr, int32(boot)); {
		case errors.Is(err, errUnavailable):
			pause = 200 * time.Millisecond
		case err != nil:
			c.mu.Lock()
			c.err = fmt.Errorf("client %s: %w", c.session, err)
			c.mu.Unlock()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// errUnavailable means that the server cannot serve now, or is about to stop.
var errUnavailable = errors.New("the server is unavailable")

// connection is one connection from CONNECT to its end. The error is a refusal or errUnavailable; that a connection ends is
// none.
func (c *Client) connection(addr string, boot int32) error {
	w, err := wire.Dial(addr, c.cfg.Version)
	if err != nil {
		return nil //nolint:nilerr // the server is about to die, or has
	}
	ack, err := c.open(w, boot)
	if err != nil {
		_ = w.Close()
		return nil //nolint:nilerr // it died before it answered
	}
	if ack.Reason == wire.Unavailable(c.cfg.Version) {
		_ = w.Close()
		return errUnavailable
	}
	if ack.Reason != 0 {
		return errors.Join(fmt.Errorf("CONNACK %#x", ack.Reason), w.Close())
	}
	conn := &connection{Client: w, boot: boot, inFlight: map[uint16]bool{}}
	c.begin(conn, ack)
	reason, err := c.read(conn)
	c.end(conn, reason, err)
	if reason == wire.ServerBusy {
		return errUnavailable
	}
	return nil
}

// open sends CONNECT and waits for CONNACK.
func (c *Client) open(w *wire.Client, boot int32) (wire.Packet, error) {
	c.mu.Lock()
	c.number++
	clean := !c.cfg.Keeps || c.clean
	a := journal.Act{Do: journal.Connect, Version: c.cfg.Version, Clean: clean, Keeps: c.cfg.Keeps, Boot: boot}
	p := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: c.cfg.ClientID, User: c.cfg.User,
		Password: c.cfg.Password, Clean: clean}}
	if c.cfg.Version == wire.V5 {
		if c.cfg.Keeps {
			p.Props = append(p.Props, wire.Num(wire.SessionExpiry, 3600))
		}
		if c.cfg.ReceiveMaximum > 0 {
			p.Props = append(p.Props, wire.Num(wire.ReceiveMaximum, uint32(c.cfg.ReceiveMaximum)))
		}
	}
	if will := c.cfg.Will; will.Topic != "" {
		c.nextN++
		text, sum := payload(c.session, c.nextN, will.Topic, 0)
		a.Topic, a.N, a.QoS, a.Retain, a.Delay, a.Sum = will.Topic, c.nextN, will.QoS, will.Retain, will.Delay, sum
		p.Connect.Will = &wire.Will{Topic: will.Topic, Payload: text, QoS: will.QoS, Retain: will.Retain}
		if will.Delay > 0 {
			p.Connect.Will.Props = wire.Properties{wire.Num(wire.WillDelay, will.Delay)}
		}
	}
	c.writeLocked(a)
	c.mu.Unlock()
	if err := w.Send(p); err != nil {
		return wire.Packet{}, err
	}
	ack, err := w.Read(time.Now().Add(20 * time.Second))
	if err == nil && ack.Type != wire.CONNACK {
		err = fmt.Errorf("the answer to CONNECT is %s", ack.Type)
	}
	return ack, errors.Join(err, w.Conn().SetReadDeadline(time.Time{}))
}

// begin goes on where the last connection ended, as far as the server remembers it.
func (c *Client) begin(conn *connection, ack wire.Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dangling != nil {
		_ = c.dangling.Close()
		c.dangling = nil
	}
	c.conn, c.present, c.clean = conn, ack.Present, false
	conn.silent = c.cfg.Answers == Silently && c.number%2 == 1 && !c.prompt
	c.writeLocked(journal.Act{Do: journal.Connected, Present: ack.Present, Boot: conn.boot})
	if !ack.Present {
		clear(c.received)
		c.forgetLocked()
	}
	if c.closed {
		c.writeLocked(journal.Act{Do: journal.Cut})
		conn.over = true
		_ = conn.Close()
		return
	}
	c.askAllLocked()
	c.resendLocked()
	c.changed.Broadcast()
}

// forgetLocked gives up what the server may have, and does not know of any more.
func (c *Client) forgetLocked() {
	kept := c.unacked[:0]
	for _, o := range c.unacked {
		if !o.sent {
			kept = append(kept, o)
		}
	}
	c.unacked = kept
}

// read handles packets until the connection ends.
func (c *Client) read(conn *connection) (reason byte, err error) {
	for {
		first, body, err := conn.Reader().Next()
		if err != nil {
			return reason, err
		}
		p, err := wire.Parse(first, append([]byte(nil), body...), c.cfg.Version)
		c.mu.Lock()
		switch {
		case conn.over:
		case err != nil:
			c.oddLocked("%v", err)
		case p.Type == wire.DISCONNECT:
			if reason = p.Reason; c.cfg.Version != wire.V5 {
				c.oddLocked("DISCONNECT to a client of MQTT 3.1.1")
			}
		default:
			c.handleLocked(p)
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return reason, err
		}
	}
}

func (c *Client) handleLocked(p wire.Packet) {
	switch p.Type {
	case wire.PUBLISH:
		c.incomingLocked(p)
	case wire.PUBREL:
		c.releaseLocked(p)
	case wire.PUBACK, wire.PUBREC, wire.PUBCOMP:
		c.answerLocked(p)
	case wire.SUBACK, wire.UNSUBACK:
		c.settledLocked(p)
	default:
		c.oddLocked("%s, which nobody asked for", p.Type)
	}
}

// end notes the end of a connection.
func (c *Client) end(conn *connection, reason byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = nil
	switch {
	case conn.taken:
		c.dangling = conn.Client
	default:
		_ = conn.Close()
	}
	if !conn.over {
		c.writeLocked(journal.Act{Do: journal.Ended, Reason: reason, Err: err.Error()})
	}
	if !c.cfg.Keeps {
		c.forgetLocked()
	}
	c.changed.Broadcast()
}
