package sessions

import (
	"context"
	"errors"
	"time"
)

// Number names a session's queue, or that of a shared group. A stored session keeps its number for life, and it is
// unique among all that are stored; 0 is none. Sessions that end with their connection, and groups, have numbers too,
// from ranges of their own.
type Number uint32

// The ranges of numbers.
const (
	FirstVolatile Number = 1 << 30 // sessions that end with their connection; in no store
	FirstGroup    Number = 1 << 31 // shared groups
)

// Message is an application message on a free topic. It does not change once it was appended, and is shared by all who
// read it.
type Message struct {
	Topic   string // canonical
	Payload []byte
	QoS     byte // as published
	Retain  bool // as published
	From    Key  // the session that published it; zero: the server did

	// MQTT 5; zero values mean absent.
	PayloadFormat    byte
	HasPayloadFormat bool // a PayloadFormat of 0 was said
	ContentType      string
	EmptyContentType bool // a ContentType of "" was said
	ResponseTopic    string
	Correlation      []byte
	User             []UserProperty

	Time    time.Time // when it was accepted, to the millisecond
	Expires time.Time // when it is worth nothing any more, to the millisecond; zero: never
}

// Target is a queue that a message goes to, and how it is to be delivered from there.
type Target struct {
	Number Number
	QoS    byte  // 1 or 2: the lower of the message's and the subscription's
	Retain bool  // the retain flag it is sent with
	IDs    []int // subscription identifiers
}

// Entry is one message in a queue.
type Entry struct {
	Pos uint64
	Target
	Message *Message
}

// Step is what one position of the order holds: a message, where it goes, and what else becomes true together with it.
type Step struct {
	Message *Message
	To      []Target // no number twice
	// Retain makes it the retained message of its topic, instead of the one before; with an empty payload there is none
	// any more (MQTT 5, 3.3.1.3).
	Retain bool
	// Due, if not zero, keeps the message for later: To is empty then and Retain false.
	Due time.Time
	// Origin is what the message came out of, and what ends, or is remembered, in the same durable step: nil, an Origin, a
	// WillOrigin, a DelayedOrigin, a MoveOrigin or a ReplayOrigin.
	Origin any
}

// WillOrigin takes the will of a session out.
type WillOrigin struct{ Key Key }

// DelayedOrigin takes a delayed message out.
type DelayedOrigin struct {
	Due time.Time
	Pos uint64
}

// MoveOrigin takes one entry out of a queue: it goes to another one.
type MoveOrigin struct {
	Number Number
	Pos    uint64
}

// ReplayOrigin notes how far a replay has come; one that is Done is forgotten.
type ReplayOrigin struct {
	Key    Key
	Replay Replay
	Done   bool
}

// Bounds are how much one queue may hold, stored or not. 0 means any number.
type Bounds struct {
	Count int
	Bytes int64         // of topics, payloads and properties
	Age   time.Duration // since Message.Time
	// Refuse says what happens to a message that would be too much by Count or Bytes: it is refused (ErrQueueFull), or the
	// oldest ones are dropped for it.
	Refuse bool
}

// Appended says what became of an Append.
type Appended struct {
	First   uint64 // position of the first step; the others follow without a gap
	Commit  Commit
	Dropped int // entries that were dropped from full queues
}

// Replay is a subscription whose retained messages a session has not got all of. They are appended to its queue by and
// by, in the order of their topics.
type Replay struct {
	ID      uint64 // unique within the session
	Filter  string // canonical
	QoS     byte   // granted
	SubID   int
	NoLocal bool
	After   string // the last topic that was looked at
	Until   uint64 // only what was retained at this position or before: what came later, came live

	// Of topics of the server's own, which are never stored.
	Asked bool // the client has just subscribed
	Mute  bool // and does not want to be told what they say
}

// Will is the will of a connection (MQTT 5, 3.1.2.5).
type Will struct {
	Key          Key
	Version      byte
	Publish      Publish // Topic is canonical; no ID, no Dup
	DelaySeconds uint32
	// Due is when it is published, to the millisecond; zero as long as the connection lasts, and after a crash.
	Due time.Time
}

// Retained is a retained message and the position that it was stored at.
type Retained struct {
	Pos     uint64
	Message *Message
}

// Delayed is a message that is published later.
type Delayed struct {
	Due     time.Time
	Pos     uint64
	Message *Message
}

// Cursor is how far a session has come in its queue.
type Cursor struct {
	Acked   uint64   // every position up to here is finished
	Flights []Flight // sorted by Pos; all > Acked
}

// ExpiryGrace is how long a store keeps what has expired in a queue at least: its delivery may have begun, and is completed
// when the client comes back (MQTT 5, 4.3.3).
const ExpiryGrace = time.Hour

// ErrDelayedFull means that as many messages wait for their time as may.
var ErrDelayedFull = errors.New("too many delayed messages")

// ErrQueueFull means that a queue has no room, and is bounded by refusing.
var ErrQueueFull = errors.New("queue is full")

// Queues keep what was published on free topics: the queues of sessions and shared groups, retained messages, wills, and
// what is delayed. Content is kept once, however many queues it is in. All positions come from one order, which only grows,
// also over crashes; a queue has those that concern it. Safe for concurrent use, except that calls for one Key are made by
// one goroutine at a time.
type Queues interface {
	// Room waits while so much is on its way to the disk that Append should not be called. ErrUnavailable, or that of ctx.
	Room(ctx context.Context) error
	// Append gives the steps the next positions, in one durable change, and never waits for the disk. The order of calls is
	// the order of positions, and that in which they become durable. ErrQueueFull, ErrUnavailable: nothing was changed.
	Append(b Bounds, steps ...Step) (Appended, error)
	// Last is the last position that was given.
	Last() uint64

	// Queue gives up to limit entries after pos, in order, and only what would survive a crash. What is older than age is
	// left out; 0: nothing is. What has expired is not: its delivery may have begun.
	Queue(ctx context.Context, n Number, after uint64, limit int, age time.Duration) ([]Entry, error)
	// QueueSize is how many entries a queue has after pos, how many bytes these are, and the time of the first.
	QueueSize(ctx context.Context, n Number, after uint64) (count int, bytes int64, oldest time.Time, err error)
	// FlyQueue is Store.Fly for the queue.
	FlyQueue(ctx context.Context, k Key, flights []Flight) (Commit, error)
	// AdvanceQueue is Store.Advance for the queue: entries up to acked may be forgotten, now or later.
	AdvanceQueue(ctx context.Context, k Key, n Number, acked uint64) error
	// Remove takes single entries out of a queue. Nobody waits for it.
	Remove(ctx context.Context, n Number, positions []uint64) error

	// Retained gives up to limit retained messages whose topics match filter and come after after, in the order of topics,
	// and only what would survive a crash. Expired ones are left out. next is where to go on; empty: there is no more.
	Retained(ctx context.Context, filter, after string, limit int) (found []Retained, next string, err error)

	// HasRetained says whether a topic has a retained message. Shortly after the start it may not know.
	HasRetained(topic string) bool
	// RetainedCount and DelayedCount are how many retained and delayed messages there are. For a moment after the start
	// they may say less.
	RetainedCount() int64
	DelayedCount() int64

	// PutWill adds or replaces the will of a session.
	PutWill(ctx context.Context, w Will) (Commit, error)
	// DropWill forgets it. One that is not there is no error.
	DropWill(ctx context.Context, k Key) (Commit, error)
	// Wills gives up to limit wills, ordered by account and client id, those after after.
	Wills(ctx context.Context, after Key, limit int) ([]Will, error)

	// Delayed gives up to limit messages that are due by now, in the order of their times, and when the next one after
	// these is due; zero: there is none.
	Delayed(ctx context.Context, now time.Time, limit int) (due []Delayed, next time.Time, err error)

	// Groups gives the numbers of shared groups, by name.
	Groups(ctx context.Context) (map[string]Number, error)
	// SaveGroup gives a group its number.
	SaveGroup(ctx context.Context, name string, n Number) (Commit, error)
	// DropGroup forgets a group and its queue.
	DropGroup(ctx context.Context, name string, n Number) (Commit, error)

	// Beat notes that the process lives. Nobody waits for it.
	Beat(ctx context.Context, now time.Time) error
	// LastBeat is the last time noted that survived; zero: none was.
	LastBeat(ctx context.Context) (time.Time, error)
}
