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
