package sessions

import (
	"context"
	"errors"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrNoSession means that the store has no session under this key.
	ErrNoSession = errors.New("no such session")
	// ErrTooMany means that the account has as many sessions as it may.
	ErrTooMany = errors.New("too many sessions")
	// ErrClosed means that the link or the registry is closed.
	ErrClosed = errors.New("closed")
	// ErrUnavailable means that the store cannot write or answer now.
	ErrUnavailable = accounts.ErrUnavailable
)

// Store keeps sessions and their queues. Writing methods give what they write its place in the order before they return,
// and it is durable once Wait of the returned commit gives nil. Different keys may be used concurrently; calls for one key
// are made by one goroutine at a time, except Release and the effect of an Origin.
type Store interface {
	// Load gives a session as of the last durable write, or ErrNoSession.
	Load(ctx context.Context, k Key) (State, error)
	// Save writes everything of s but Received, and creates the session if it is not there.
	Save(ctx context.Context, s State) (Commit, error)
	// Drop forgets a session with all that belongs to it. One that is not there is no error.
	Drop(ctx context.Context, k Key) (Commit, error)
	// Fly adds or replaces flights (by Pos) and changes nothing else.
	Fly(ctx context.Context, k Key, flights []Flight) (Commit, error)
	// Advance sets Acked and forgets the flights up to it. It may become durable late: nobody waits for it.
	Advance(ctx context.Context, k Key, acked uint64) error
	// Release takes id out of Received.
	Release(ctx context.Context, k Key, id uint16) (Commit, error)
	// Sessions gives up to limit sessions, ordered by account and client id, those after after; an empty account means
	// all accounts. Received and Flights may be left out.
	Sessions(ctx context.Context, account accounts.Name, after Key, limit int) ([]State, error)
	// Count gives the number of sessions of an account.
	Count(ctx context.Context, account accounts.Name) (int, error)

	Queues
}

// Sources opens the streams that feed sessions.
type Sources interface {
	// Open gives the stream of a session. It costs nothing until it is read.
	Open(k Key, o Options) Source
}

// Source is a durable log read from a position. One goroutine uses a Source at a time, except for Head.
type Source interface {
	// Topic is the canonical topic of what it delivers; empty: that is said with each delivery.
	Topic() string
	// Next gives up to limit deliveries after position pos, in order, and only what would survive a crash. None means that
	// the end was reached; Wake tells when to look again. Positions grow. Reading again gives the same content.
	// If the log no longer reaches back to pos, the first delivery says so and its Pos may be any later position.
	Next(ctx context.Context, pos uint64, limit int) ([]Delivery, error)
	// Acked tells that the client has everything that Next gave up to pos. When it returns, what follows from it
	// (delivered marks) has its place in the durable order, before any Advance that comes after.
	Acked(ctx context.Context, pos uint64) error
	// Head gives the position of the last entry. Safe for concurrent use.
	Head(ctx context.Context) (uint64, error)
}

// Joiner is a Source of which several deliveries can be sent as one.
type Joiner interface {
	// Join makes one delivery, at the position of the last of them, of several that follow each other. It has at most
	// joinRoom bytes more than they have together, and one for each.
	Join(ds []Delivery) Delivery
}

// Delivery is one entry of a source, made ready for the wire.
type Delivery struct {
	Pos         uint64
	Payload     []byte
	ContentType string
	Expires     time.Time // zero: never
	Skip        bool      // nothing to send for this session: it counts as delivered

	// Of a queue, where Payload and ContentType are those of the Message.
	Message *Message
	QoS     byte
	Retain  bool
	IDs     []int
}

func (d *Delivery) size() int {
	if d.Message != nil {
		return d.Message.weight()
	}
	return len(d.Payload)
}

// Wire writes the packets of one connection. No method blocks on the peer; what is written after the connection ended is
// dropped. Safe for concurrent use.
type Wire interface {
	// Publish writes p. ErrPacketSize means that it is larger than the client allows (MQTT 5, 3.1.2.11.4) and was not
	// written; any other error means that the connection is gone.
	Publish(p Publish) error
	// Ack writes a PUBACK, PUBREC, PUBREL, PUBCOMP.
	Ack(a Ack) error
	// Suback and Unsuback answer with one code for each filter.
	Suback(id uint16, codes []byte) error
	Unsuback(id uint16, codes []byte) error
	// Disconnect writes a DISCONNECT with this reason (MQTT 5 only) and closes the connection.
	Disconnect(reason byte)
	// Buffered is how many bytes wait to be taken by the peer.
	Buffered() int
}

// ErrPacketSize means that a packet is larger than the client allows.
var ErrPacketSize = errors.New("packet is larger than the client allows")

// AckKind says which packet an Ack is. The values are MQTT's packet types.
type AckKind byte

// The four acks of QoS 1 and 2.
const (
	Puback  AckKind = 4
	Pubrec  AckKind = 5
	Pubrel  AckKind = 6
	Pubcomp AckKind = 7
)

// Ack is one of the four packets that move a QoS 1 or 2 message on.
type Ack struct {
	Kind   AckKind
	ID     uint16
	Reason byte
	Text   string         // reason string
	User   []UserProperty // user properties
}
