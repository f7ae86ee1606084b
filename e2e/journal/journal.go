// Package journal keeps what clients did and saw while they did it, and decides afterwards whether the server kept its
// word.
//
// A [Journal] is a file of JSON lines, one [Entry] each. What a client is about to do is written before it does it
// (Sent, Marked), what it saw after it saw it (Acked, Got, Shown), so that the order of the lines is an order in which
// things may have happened. When all is quiet, what the server says is there is written too: History, Stream, Unread.
// [Check] needs nothing but the lines. It does not know how the server works, only what protocol.md promises:
//
//   - what was acknowledged is in the history, in the order of each publisher, at the seq that the ack told;
//   - seq and usn have no gaps, and every member's stream has every message once and in order;
//   - what any client was ever shown is still there and has not changed;
//   - a mid is stored once, and so is a QoS 2 publish; a QoS 1 publish without a mid not more often than it was sent;
//   - a session gets its stream without a gap; a repetition is a redelivery (DUP, or after a crash), never with QoS 2;
//   - unread numbers are what a recount gives.
//
// # Free topics
//
// A [Traffic] is the journal of clients of free topics, of lines that are called [Act]. [CheckTraffic] judges it by what
// MQTT and protocol.md promise. Here, too, what a client is about to do is written before and what it saw after, so that
// "A before B" in the rules below, which means the order of the lines, is what happened. The server is known to have been
// killed only by the line Killed; the time until the next one is a run.
//
// A session has lives: one ends when a CONNACK says that there is none. In a life it makes subscriptions. One is in force
// from its SUBACK to the line before which the client cannot have given it up: an UNSUBSCRIBE, a CONNECT for a new session
// or, for sessions that end with their connection, whatever may have ended that. It may be in force from its SUBSCRIBE to the
// UNSUBACK or the end of the life. A SUBSCRIBE for the same filter goes on with it.
//
// A message counts as acknowledged with PUBACK or PUBREC. A message that was published with QoS 2, and a will, may have been
// accepted once, one of QoS 1 as often as it was sent before the line in question: these are its copies. The rules:
//
//   - Lost: a session that is Drained has got, in its last life, every acknowledged message (QoS 1, 2) that was first sent
//     when a subscription to it was in force, with QoS 1 or 2, that still is. A life that ended has got every such message
//     up to the last that it got of the same publisher, topic and QoS. Messages with an empty payload have no name and are not
//     followed; neither is what its publisher sent itself with No Local.
//   - Reordered: a life gets the messages of one publisher to one topic with one QoS for the first time in the order in which
//     they were first sent, if the one that comes too late was sent when the subscription was in force. Wills, delayed
//     messages, retained ones that a subscription asked for, and members of shared groups are left out.
//   - Doubled: a life gets a message of QoS 2 to a subscription of QoS 2 in no more exchanges than there are copies, whatever
//     happens in between. One with QoS 0 comes not more often than there are copies, or than it was sent.
//   - Redelivery: on one connection a message comes not more often than there are copies, in one run not more often without
//     DUP. With DUP it does not come on the first connection of a life, nor with QoS 0, and in one run it has a packet id that
//     it had before.
//   - Invented: what comes was sent before. Changed: with this content to this topic; and a QoS 2 packet id that a client has
//     not released stands for the same message as before.
//   - Stranger: what comes matches a subscription that may have been in force since it was first sent; it was not acknowledged
//     before the SUBSCRIBE, if it does not come as a retained one; it was not published, and is not received, by somebody who
//     is Denied the topic. Who is denied is not told otherwise (SUBACK; PUBACK and PUBREC of MQTT 5).
//   - WrongQoS: it comes with the lower of the QoS of the message and the highest of the subscriptions.
//   - WrongRetain: the retain flag is on what was published with it, when a new subscription asked for it or with Retain As
//     Published, and nowhere else.
//   - Stale: what comes as a retained message, to a subscription, is not older than one of the same topic that was
//     acknowledged before its SUBSCRIBE; older means that the server was done with it before the other was sent. It is Lost
//     if nothing comes to a Drained session where there must be a retained message.
//   - WillLost: the will of a connection that had a CONNACK and ended without DISCONNECT (or with 0x04), the server's being
//     killed included, is a message like an acknowledged one to all who subscribed before its CONNECT, if it has no delay, if
//     its session ended, or if its client did not come back, unless its delay is a [LongDelay].
//   - WillWrong: nobody gets the will of a connection that is there still; of one that ended with DISCONNECT if the client has
//     had another CONNACK in the same run, or if that is the last run; of one with a [LongDelay] whose session went on.
//   - GroupLost: an acknowledged message to a shared group that had a member then that outlives its connections, and that
//     still is a member, has been answered by some member when all are Drained.
//   - GroupDoubled: while one member has it, or has answered it, no other gets it, unless in another run, or the first one's
//     connection or subscription may have ended. With QoS 2, Doubled: never.
//   - Forgotten: a session that is to be kept is there at the next CONNECT. Protocol: one that cannot be there is not; a
//     publish is refused, a lower QoS granted, and a client disconnected only with a reason; acks answer something; no more
//     is on its way than the Receive Maximum.
package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Do says what an entry is about.
type Do string

// What clients did and saw.
const (
	Connected  Do = "connected"  // a CONNACK came: Present, Clean, Boot
	Subscribed Do = "subscribed" // a SUBACK for the stream came: QoS; USN is the stream's head if the test knew it (Quiet)
	Sent       Do = "sent"       // a message is about to be published: C, Text, MID, QoS, Dup
	Acked      Do = "acked"      // it was accepted: C, Text; Seq and ID if the ack told
	Refused    Do = "refused"    // it was refused: C, Text, Err
	Marked     Do = "marked"     // a read mark was accepted: C, Seq
	Got        Do = "got"        // an event came on the stream: QoS, Dup, Event
	Shown      Do = "shown"      // a message came as part of an answer: Event
)

// What the server says at the end, when all is quiet, and what was there before the start.
const (
	Given   Do = "given"   // C, User, Text: a message that no client of this journal sent
	History Do = "history" // one message of a conversation: Event
	Head    Do = "head"    // the end of a conversation: C, Seq
	Stream  Do = "stream"  // one entry of User's stream: Event
	End     Do = "end"     // the end of User's stream: USN
	Unread  Do = "unread"  // User's numbers: Total, Counts
	Drained Do = "drained" // the session has nothing more to come
)

// Entry is one line. Which fields mean something depends on Do.
type Entry struct {
	Do      Do     `json:"do"`
	User    string `json:"user,omitempty"`
	Session string `json:"session,omitempty"` // unique over all users
	Conn    int    `json:"conn,omitempty"`    // of the session, counted from 1
	Boot    int    `json:"boot,omitempty"`    // of the server, counted from 1
	Present bool   `json:"present,omitempty"`
	Clean   bool   `json:"clean,omitempty"`
	Quiet   bool   `json:"quiet,omitempty"`

	C    string `json:"c,omitempty"`
	Text string `json:"text,omitempty"` // names a message: no two of one user have the same
	MID  string `json:"mid,omitempty"`
	QoS  byte   `json:"qos,omitempty"`
	Dup  bool   `json:"dup,omitempty"`
	Seq  uint64 `json:"seq,omitempty"`
	USN  uint64 `json:"usn,omitempty"`
	ID   string `json:"id,omitempty"`
	Err  string `json:"err,omitempty"`

	Event  json.RawMessage `json:"event,omitempty"`
	Total  int             `json:"total,omitempty"`
	Counts map[string]int  `json:"counts,omitempty"` // of conversations with something unread
}

// Journal is written to by many clients at once.
type Journal struct {
	mu  sync.Mutex
	f   *os.File
	err error // the first one; nothing is written after it
}

// Create starts a journal in a new file.
func Create(path string) (*Journal, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	return &Journal{f: f}, nil
}

// Write adds an entry. When it returns, the entry is in the file. An error is kept for Close.
func (j *Journal) Write(e Entry) {
	line, err := json.Marshal(e)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil && err == nil {
		_, err = j.f.Write(append(line, '\n'))
	}
	j.err = errors.Join(j.err, err)
}

// Close ends the journal. An error means that it is not complete.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.err, j.f.Close())
}

// Read gives the entries of a journal.
func Read(r io.Reader) ([]Entry, error) {
	var entries []Entry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(entries)+1, err)
		}
		entries = append(entries, e)
	}
	return entries, lines.Err()
}

// Open reads the journal in a file.
func Open(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	entries, err := Read(f)
	return entries, errors.Join(err, f.Close())
}
