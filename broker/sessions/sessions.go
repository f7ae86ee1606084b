// Package sessions is what the broker remembers of a client between its connections, and how messages of QoS 1 and 2
// flow. It knows MQTT's rules, and neither the library that speaks MQTT on the socket nor a database.
//
// A session belongs to a [Key], an account and a client id, so that nobody can take over or read another account's
// session by guessing its client id. A [Link] is one network connection of a session. Acks and replies belong to
// the Link and die with it; packet ids, subscriptions, cursors and what is in flight belong to the Session and outlive it.
//
// Outbound, a session is fed by sources. A [Source] is a durable log read from a position; the session's cursor is all
// that is remembered of how far the client has come, so that live delivery, offline delivery, a slow reader, a takeover
// and a restart are one code path: the pump. A signal (Wake) only makes the pump look; a lost one costs latency, never a
// message. A packet's content is never kept for retransmission, it is read from the source again.
//
// Inbound, a PUBLISH goes to a [Handler], which gives it its place in the order and says in an [Outcome] what to wait for
// and what to answer. A FIFO of the Link writes the answers in the order of arrival once they are durable (MQTT 5,
// 4.6), without holding up the reader.
package sessions

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Key names a session.
type Key struct {
	Account accounts.Name
	Client  string // the client id: any UTF-8 string up to 65,535 bytes
}

// UserProperty is a name and a value (MQTT 5, 3.3.2.3.7). The same name may occur more than once.
type UserProperty struct{ Name, Value string }

// Publish is an application message on its way in or out.
type Publish struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Dup     bool
	ID      uint16 // packet id; 0 with QoS 0

	// MQTT 5 only; zero values mean absent.
	ContentType     string
	ResponseTopic   string
	Correlation     []byte
	User            []UserProperty
	Expiry          uint32 // seconds
	PayloadFormat   byte
	SubscriptionIDs []int // outbound only

	HasPayloadFormat bool // a PayloadFormat of 0 was said
	EmptyContentType bool // a ContentType of "" was said
	ExpiresAtOnce    bool // an Expiry of 0 was said; inbound only

	Once *Once // outbound only; nil: it is for one session alone

	// Text is what sessions that chose text get in the place of Payload, of Cast and Current only; nil: Payload, empty: nothing.
	Text []byte
	// Ambient says that it is worth nothing to a client that nobody looks at; of Route and Current only. See SetBackground.
	Ambient bool
}

// Subscription is one filter of a session, with the options of the SUBSCRIBE that made it.
type Subscription struct {
	Filter            string // canonical: "me" replaced by the account's name
	Spelling          string // as the client wrote it
	QoS               byte   // granted
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	ID                int // subscription identifier; 0: none
}

// Options are what a client chose in its CONNECT about how it wants to be served.
type Options struct {
	Text       bool // fmt=text: events as lines for a terminal
	AckEvents  bool // ack=event, and always for 3.1.1: outcomes as events on rsp
	SyncCursor bool // sync=cursor: nothing is replayed, the client calls sync
	Batch      bool // batch=1: events that wait are sent several at a time
	Device     bool // no choice: the account is a device's
}

// Stage is how far an outbound message in flight has come.
type Stage byte

// Stages. A flight is forgotten when every position up to its own is finished.
const (
	StageSent     Stage = 1 // PUBLISH may have been sent
	StageReleased Stage = 2 // QoS 2: PUBREC has come, PUBREL may have been sent
	StageDone     Stage = 3 // PUBACK or PUBCOMP has come, or nothing had to be sent; something before it is still in flight
)

// Flight is one outbound message that has a packet id.
type Flight struct {
	ID    uint16 // 0 with StageDone when nothing was sent
	Pos   uint64 // position in the source; from 1<<63 on: of a stream that was given up, with no position any more
	QoS   byte   // 1 or 2
	Stage Stage
	First uint64 // of what was sent several at a time: the position of the first of them; 0: it is that at Pos alone
}

// first is the position of the first delivery of the flight.
func (f *Flight) first() uint64 {
	if f.First != 0 {
		return f.First
	}
	return f.Pos
}

// State is what is stored of a session. Everything about a session that must survive its connection is here.
type State struct {
	Key           Key
	Version       byte // protocol of the last connection: 4 or 5
	Options       Options
	Subscriptions []Subscription
	ExpirySeconds uint32    // session expiry; 0xFFFFFFFF: never
	Open          bool      // a connection is using it, or was at a crash: what was in flight is not known exactly
	Left          time.Time // when the last connection ended; zero while there is one, and after a crash

	Token     accounts.Digest // that the last connection was opened with; zero: it was the password
	Name      string          // what its owner calls it; empty: nothing
	Invisible bool            // its connection does not make its owner present

	// The user's stream. Streaming is true from the SUBSCRIBE that covers it to the UNSUBSCRIBE that no longer does.
	Streaming bool
	Acked     uint64   // every position up to here is finished
	Flights   []Flight // sorted by Pos; all > Acked
	NextID    uint16   // the packet id to try next

	// Free topics.
	Number  Number   // of its queue; 0: it has none yet
	Queue   Cursor   // how far it has come there
	Replays []Replay // retained messages that are still to be appended to it

	// Inbound.
	Received []uint16   // QoS 2 ids whose PUBLISH is stored and whose PUBREL has not come
	Unacked  []Answered // outcomes whose PUBACK or PUBREC could not be written
}

// Answered is the outcome of an inbound PUBLISH of QoS 1 or 2 whose ack never reached the wire. A retransmission (same
// id, same content, DUP) on the next connection gets the same answer.
type Answered struct {
	ID          uint16
	Fingerprint [32]byte // of topic and payload
	Reply       Reply
}

// Origin is what chat and its like pass through to the store: the inbound QoS 2 packet that a change came in with. The
// store adds ID to the Received of session Key in the same durable step as the change.
type Origin struct {
	Key Key
	ID  uint16
}

// Commit is something on its way to the disk. See chat.Commit, which is the same interface.
type Commit interface {
	Wait(ctx context.Context) error
}

// Reply is what a client is told about its PUBLISH.
type Reply struct {
	Reason byte           // MQTT 5 reason code of the PUBACK or PUBREC; a 3.1.1 ack has none
	Text   string         // MQTT 5 reason string; empty: none
	User   []UserProperty // MQTT 5 user properties of the ack
	Event  []byte         // payload for the session's rsp topic, sent before the ack; nil: none
}

// Outcome is what a Handler decided about an inbound PUBLISH. It is final once Commit is durable.
type Outcome struct {
	Commit Commit // nil: nothing to wait for
	Reply  Reply
	// Fatal, if not 0, means that nothing was decided: no ack, and the link is disconnected with this reason code (3.1.1:
	// closed), so that the client resends.
	Fatal byte
	// Deliver, if not nil, is called once Commit is durable, before the answer is written.
	Deliver func()
	// Done, if not nil, is called after the answer was written or dropped; err is that of Commit. It must not block.
	Done func(err error)
	// Later, if not nil, gives the outcome itself, and nothing else is set. It is called once, not by the reader, after those
	// of earlier packets, and may block; what it gives has no Later. Not for QoS 2, where the reader has to know what to keep.
	Later func() Outcome
}

// Handler decides about one inbound PUBLISH. It is called on the connection's reader, one call at a time for each Link,
// in the order of arrival; what it writes has its place in the order when it returns. origin is nil, or an Origin to be
// stored with the change. p.Payload is the handler's to keep.
type Handler func(ctx context.Context, l *Link, p Publish, origin any) Outcome
