package transport

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one connection. It is a net.Conn whose Write never blocks. One goroutine at a time may read; everything else
// may be called concurrently.
type Conn struct {
	server *Server
	door   *door
	remote netip.AddrPort
	done   chan struct{}

	sock net.Conn // the socket: deadlines, and the end
	raw  net.Conn // what bytes are written to: sock, or TLS over it
	in   io.Reader
	ws   *frames // nil without WebSocket

	needsCertificate bool // where the peer came nobody is let in without

	authenticated atomic.Bool
	odd           atomic.Bool   // as dialect.odd
	disconnect    atomic.Uint32 // as framer.disconnect
	buffered      atomic.Int64  // bytes taken by Write and not yet by the socket; grows under mu
	flusher       sync.WaitGroup

	// Of the reader.
	framer      framer
	held        *buffer // the CONNECT, until it has been read
	taken       int     // how much of held that is
	broken      error   // what every further Read gives
	onViolation func(*Violation)

	mu       sync.Mutex // guards the fields below, and the setting of deadlines
	out      *buffer    // nil: nothing waits
	pong     []byte     // WebSocket: payload of the pong to be sent; nil: none
	flushing bool       // a goroutine is in flush
	spoke    bool       // the peer has been sent something that it ought to get
	closed   bool       // by Close or fail: nothing more is read or written
	shut     bool       // sock is closed
	cause    error      // why, if it was not Close
	until    time.Time  // closed by Close: when lingering ends
	linger   *time.Timer
	onDrain  func()
	onEnd    func()
	attached any
}

var _ net.Conn = (*Conn)(nil)

// Listener is the name of the listener that accepted the connection: "websocket", or what Listen was given.
func (c *Conn) Listener() string { return c.door.name }

// TLS gives what was agreed with the peer, and the certificates that it has shown, the first of which it has proven to have the
// key of; nil without TLS, and over WebSocket. It may be called when the CONNECT has come.
func (c *Conn) TLS() *tls.ConnectionState {
	secure, ok := c.raw.(*tls.Conn)
	if !ok || c.ws != nil {
		return nil
	}
	state := secure.ConnectionState()
	return &state
}

// NeedsCertificate says whether the peer came where nobody is let in without a certificate.
func (c *Conn) NeedsCertificate() bool { return c.needsCertificate }

// AddrPort is the address of the peer.
func (c *Conn) AddrPort() netip.AddrPort { return c.remote }

// LocalAddr is the address that the peer connected to.
func (c *Conn) LocalAddr() net.Addr { return c.sock.LocalAddr() }

// RemoteAddr is the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.sock.RemoteAddr() }

// Done is closed when the function that serves the connection has returned and the connection is closed. The socket may
// live a little longer, for as long as Close lingers.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Attach keeps a value with the connection, for Attachment to give.
func (c *Conn) Attach(value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attached = value
}

// Attachment gives the value last attached, or nil.
func (c *Conn) Attachment() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attached
}

// Authenticated tells that the peer has shown who it is: more than the CONNECT may be read now, with the larger limits.
func (c *Conn) Authenticated() {
	if !c.authenticated.Swap(true) {
		c.server.settle(c)
	}
}

// LastDisconnect gives the reason code of the DISCONNECT packet that was read, if one was. A DISCONNECT without a
// reason has reason 0 (MQTT 5, 3.14.2.1).
func (c *Conn) LastDisconnect() (reason byte, ok bool) {
	d := c.disconnect.Load()
	return byte(d), d != 0
}

// Blank gives what the nth PUBLISH that was read, counted from 1, says without a value. Only the reader may ask, about each
// PUBLISH in turn.
func (c *Conn) Blank(n uint64) Blank { return c.framer.blank(n) }

// AtBoundary says whether what was read so far ends with a whole packet, and no more of it is held back here (TLS may).
// Only the reader may ask.
func (c *Conn) AtBoundary() bool {
	return c.held == nil && c.framer.step == atBoundary && (c.ws == nil || c.ws.atBoundary())
}

// Connect gives the CONNECT that waits to be read. Only the reader may ask, and before it has read anything.
func (c *Conn) Connect() []byte { return c.held.b }

// SetConnect puts another CONNECT in the place of the one that waits to be read. Only the reader may, as with Connect.
func (c *Conn) SetConnect(packet []byte) {
	held := newBuffer(len(packet))
	held.b = append(held.b, packet...)
	c.held.free()
	c.held = held
}

// OnViolation sets a function to be called, once, when the peer has sent something that MQTT forbids: by Read, which fails
// with it as soon as the function returns, and after everything before it was read. Until then the peer can be told. Only
// the reader may set it.
func (c *Conn) OnViolation(f func(*Violation)) { c.onViolation = f }

// Buffered is how many bytes wait to be taken by the peer.
func (c *Conn) Buffered() int { return int(c.buffered.Load()) }

// OnDrain sets a function to be called whenever everything that was written has been taken. It runs on the goroutine
// that writes to the socket, never twice at a time and with no lock held; until it returns nothing more is sent, so it
// must not wait for the peer. It may write. A connection that is closed does not call it any more.
func (c *Conn) OnDrain(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onDrain = f
}

// OnEnd sets a function to be called, once, when the connection is closed, by whomever, or has failed: whoever waits for
// this peer, to read or to go on, waits in vain. It is called with no lock held, possibly from Write, and must not block.
func (c *Conn) OnEnd(f func()) {
	c.mu.Lock()
	closed := c.closed
	c.onEnd = f
	c.mu.Unlock()
	if closed {
		f()
	}
}

// ended calls what OnEnd has set. The caller has just set closed.
func (c *Conn) ended() {
	c.mu.Lock()
	f := c.onEnd
	c.mu.Unlock()
	if f != nil {
		f()
	}
}

// SetDeadline sets the read deadline only: whoever keeps the peer alive by what it sends has nothing to say about how
// fast it reads. See Config.WriteTimeout for that.
//
// mochi counts one and a half times the keep-alive in whole seconds: the half second that an odd one has is added here (MQTT 5,
// 3.1.2.10).
func (c *Conn) SetDeadline(t time.Time) error {
	if c.odd.Load() && !t.IsZero() {
		t = t.Add(time.Second / 2)
	}
	return c.SetReadDeadline(t)
}

// SetReadDeadline makes reads fail with os.ErrDeadlineExceeded from t on; zero means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed // and the reader stays released
	}
	return c.sock.SetReadDeadline(t)
}

// SetWriteDeadline does nothing: Write does not block.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Close ends the connection. Read and Write fail with net.ErrClosed from now on, also a Read that is waiting. What has
// been written before is still sent if the peer takes it within Config.Linger. Close itself waits for nothing.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	defer c.ended()
	if !c.spoke {
		c.mu.Unlock()
		c.shutdown(false)
		return nil
	}
	linger := c.server.cfg.Linger
	c.until = time.Now().Add(linger)
	_ = c.sock.SetReadDeadline(time.Unix(1, 0)) // cannot fail but on a closed socket
	_ = c.sock.SetWriteDeadline(c.until)
	c.linger = time.AfterFunc(linger, func() { c.shutdown(c.Buffered() > 0) })
	c.flushLocked()
	c.mu.Unlock()
	return nil
}

// fail ends the connection at once because of err, which the reader gets to see.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	first := !c.closed
	if first {
		c.closed, c.cause = true, err
		c.server.metrics.end(err)
	}
	c.mu.Unlock()
	c.shutdown(true)
	if first {
		c.ended()
	}
}

// shutdown closes the socket. reset: the kernel need not keep for a peer that does not read what it has not taken.
func (c *Conn) shutdown(reset bool) {
	c.mu.Lock()
	if c.shut {
		c.mu.Unlock()
		return
	}
	first := !c.closed
	c.closed, c.shut = true, true
	if c.out != nil {
		c.out.free()
		c.out = nil
	}
	if c.linger != nil {
		c.linger.Stop()
	}
	c.mu.Unlock()
	if tcp, ok := c.sock.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = c.sock.Close() // nothing is left to be lost
	if first {
		c.ended()
	}
}

// lastWords is how much of what the peer goes on sending is listened to when all is said.
const lastWords = 256 << 10

// finish waits until nothing of the connection runs any more. The peer may still be sending: if the socket were closed
// with data unread, the kernel would reset the connection, and the peer might lose the DISCONNECT that is on its way.
func (c *Conn) finish() {
	c.flusher.Wait()
	c.mu.Lock()
	listen := !c.shut && c.sock.SetReadDeadline(c.until) == nil
	c.mu.Unlock()
	if listen {
		_, _ = io.CopyN(io.Discard, c.sock, lastWords)
	}
	c.shutdown(false)
}
