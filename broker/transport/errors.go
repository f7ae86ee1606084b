package transport

import (
	"errors"
	"os"
)

// What Read and Write of a [Conn] may fail with, beside a [Violation], io.EOF, os.ErrDeadlineExceeded, net.ErrClosed and what the
// network says.
var (
	// ErrSlowConsumer means that more waited for the peer than it may leave unread.
	ErrSlowConsumer = errors.New("peer reads too slowly: write buffer is full")
	// ErrStalled means that the peer took nothing for the write timeout.
	ErrStalled = errors.New("peer does not read: write timed out")
	// ErrUnauthenticated means that something was read after the CONNECT and before Authenticated.
	ErrUnauthenticated = errors.New("second packet is not read before authentication")
	// ErrWebSocket means that the peer broke the WebSocket protocol, or sent text.
	ErrWebSocket = errors.New("websocket protocol violation")
)

// Violations that have a name.
var (
	// ErrPacketTooLarge means that the header of a packet announces more than is allowed. Its content was not read.
	ErrPacketTooLarge error = &Violation{reasonTooLarge, "packet is too large"}
	// ErrMalformed means that a packet's length cannot be read (MQTT 5, 1.5.5).
	ErrMalformed error = malformed("length")
)

// Why a connection ends before its CONNECT is there; nobody but the log hears of it.
var (
	errNotConnect     = errors.New("first packet is not CONNECT")
	errConnectTimeout = errors.New("no complete CONNECT in time")
	errHandshake      = errors.New("TLS handshake failed")
)

// reasons are the errors by which this package ends a connection, each with its label in the metrics.
var reasons = []struct {
	err   error
	label string
}{
	{ErrSlowConsumer, "slow_consumer"},
	{ErrStalled, "stalled"},
	{ErrPacketTooLarge, "packet_too_large"},
	{ErrUnauthenticated, "unauthenticated"},
	{ErrWebSocket, "websocket"},
	{errNotConnect, "not_connect"},
	{errConnectTimeout, "connect_timeout"},
	{errHandshake, "tls_handshake"},
}

// reasonOf gives the label of err, or "" if the connection ended by itself.
func reasonOf(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.label
		}
	}
	var v *Violation
	switch {
	case !errors.As(err, &v):
		return ""
	case v.Reason == reasonMalformed:
		return "malformed"
	}
	return "protocol_error"
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
