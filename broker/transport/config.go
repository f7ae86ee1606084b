// Package transport takes connections from the network, over TCP, TLS and WebSocket, and gives each of them to one
// function as a [Conn]. It knows the grammar of MQTT, to protect everything behind it, and nothing of what the packets mean.
//
// A Conn never blocks its writer. [Conn.Write] only appends to a buffer; a goroutine that exists while there is
// something to write hands it to the socket, many packets in one call. So whoever fans a message out to a thousand
// connections can do that in a loop: a peer that has stopped reading costs the buffer it is allowed and nobody's time.
// When the buffer is full the connection is closed, and what was durable goes on to wait in the store. An idle
// connection holds no buffer.
//
// Before a stranger has shown who he is, he costs little and not for long. A connection reaches the function only with
// a complete CONNECT, of bounded size and within a bounded time after it was accepted; until then it is one goroutine
// and the bytes that really came, whatever its packet header promised. It gets no second packet through before
// [Conn.Authenticated]. After that, a packet larger than the limit ends the connection before its content is read.
//
// What a Conn gives to its reader is MQTT to the letter: a packet that 3.1.1 or 5 calls malformed, or that says what its
// sender must not say, never comes out whole. Reading ends before it, with a [Violation] that the peer can be told
// ([Conn.OnViolation]); one whose CONNECT is wrong is told here, as far as MQTT has words for that. What depends on more
// than the packet and its CONNECT, an unknown topic alias for one, is for others to judge.
//
// A Conn knows where packets begin and end in what it reads ([Conn.AtBoundary]), and keeps the reason of a DISCONNECT
// ([Conn.LastDisconnect]).
package transport

import (
	"fmt"
	"net/url"
	"time"
)

// largestPacket is the size of the largest packet that MQTT can express: a header byte, four bytes of length, content.
const largestPacket = 1 + 4 + 1<<28 - 1

// Config says what connections may cost. [DefaultConfig] gives values to start from; the zero value does not validate.
type Config struct {
	// ConnectTimeout is the time from accepting a connection to its complete CONNECT, TLS handshake included. It is
	// absolute: bytes that come slowly do not extend it. A WebSocket connection is accepted when its upgrade request is
	// handled; what goes before is the http.Server's ReadHeaderTimeout. Default 10 s.
	ConnectTimeout time.Duration
	// ConnectPacket is the size of the largest CONNECT, in bytes. Default 66 KiB: a will with the largest payload there
	// is (64 KiB), and 2 KiB for the client id, the user name, a token and properties.
	ConnectPacket int
	// PacketSize is the size of the largest packet after that, header included, in bytes. Default 1 MiB. 0: MQTT's own
	// limit, 256 MiB.
	PacketSize int
	// WriteBuffer is how many bytes may wait for one peer before its connection is closed. Default 4 MiB: senders pause
	// long before it, so what fills it is replies that the peer asked for and does not read, and then three more
	// packets of the greatest size have to fit behind the first. The memory for it can be three times as much: two
	// buffers take turns, and each grows by half. At least PacketSize.
	WriteBuffer int
	// WriteTimeout is the time in which the peer has to take the next piece of what waits for it, at most 64 KiB.
	// Default 20 s, so that 26 kbit/s are enough.
	WriteTimeout time.Duration
	// Linger is the time that Close leaves to the peer for taking what still waits, a DISCONNECT above all, and for
	// closing its side. Default 1 s.
	Linger time.Duration

	// MaxConnections is the number of connections at a time, on all listeners together. Default 100,000: more than one
	// node's memory carries (about 30 KiB each), and fewer than a mistake can make. 0: no limit but that of open files.
	MaxConnections int
	// MaxPending is how many of them may be unauthenticated. Default 10,000, so that the devices of a whole town can
	// come back at once. 0: no limit.
	MaxPending int
	// MaxPerListener is the number of connections at a time that came through one listener; all WebSocket connections came
	// through one. Default 0, no limit.
	MaxPerListener int
	// ConnectRate is how many new connections a second one listener takes, and how many it takes at once. Over it, TCP and
	// TLS connections wait in the kernel's backlog until they are accepted, and fail when that is full; WebSocket
	// connections are refused (503), because the HTTP server has accepted them already. Default 0, no limit.
	ConnectRate int
	// MaxPerAddress is the number of connections of one address (an IPv6 address counts by its /64; loopback counts
	// too). Default 0, no limit: thousands may share an address behind a carrier's NAT or a proxy.
	MaxPerAddress int
	// MaxPendingPerAddress is the same for unauthenticated ones, so that one stranger cannot take all of MaxPending.
	// Default 1,000. 0: no limit.
	MaxPendingPerAddress int

	// Origins are hosts whose pages may connect over WebSocket, beside the page's own server: "chat.example.org",
	// "localhost:5173", "*.example.org" (every host below it), or "*" (every page). Clients that are no browser send no
	// Origin and are not asked. Default none.
	Origins []string

	// Tight, if not nil, says that no new connection is wanted just now. It is asked before a WebSocket upgrade, which then
	// is refused (503); whom a TCP connection belongs to, and so what to tell him, only the function knows that serves it.
	// It is called concurrently, and must be quick.
	Tight func() bool
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{
		ConnectTimeout:       10 * time.Second,
		ConnectPacket:        66 << 10,
		PacketSize:           1 << 20,
		WriteBuffer:          4 << 20,
		WriteTimeout:         20 * time.Second,
		Linger:               time.Second,
		MaxConnections:       100_000,
		MaxPending:           10_000,
		MaxPendingPerAddress: 1000,
	}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	for _, f := range []struct {
		name        string
		value, from int64
	}{
		{"ConnectTimeout", int64(c.ConnectTimeout), 1},
		{"ConnectPacket", int64(c.ConnectPacket), 128},
		{"PacketSize", int64(c.PacketSize), 0},
		{"WriteBuffer", int64(c.WriteBuffer), max(4096, int64(c.PacketSize))},
		{"WriteTimeout", int64(c.WriteTimeout), 1},
		{"Linger", int64(c.Linger), 0},
		{"MaxConnections", int64(c.MaxConnections), 0},
		{"MaxPending", int64(c.MaxPending), 0},
		{"MaxPerListener", int64(c.MaxPerListener), 0},
		{"ConnectRate", int64(c.ConnectRate), 0},
		{"MaxPerAddress", int64(c.MaxPerAddress), 0},
		{"MaxPendingPerAddress", int64(c.MaxPendingPerAddress), 0},
	} {
		if f.value < f.from {
			return fmt.Errorf("%s: %d is less than %d", f.name, f.value, f.from)
		}
	}
	for _, host := range c.Origins {
		if u, err := url.Parse("//" + host); err != nil || host == "" || u.Host != host {
			return fmt.Errorf("Origins: %q is no host", host)
		}
	}
	return nil
}

func (c Config) packetLimit() int {
	if c.PacketSize == 0 {
		return largestPacket
	}
	return c.PacketSize
}
