package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// What clients of free topics do and see besides what chat clients do. What one is about to do is written before it
// does it, and what it saw after it saw it.
const (
	Connect      Do = "connect"      // a CONNECT is about to be sent: Version, Clean, Keeps, Boot, and the will, if any
	Subscribe    Do = "subscribe"    // one filter of a SUBSCRIBE is about to be sent: Topic, QoS, Options
	Unsubscribe  Do = "unsubscribe"  // an UNSUBSCRIBE is about to be sent: Topic
	Unsubscribed Do = "unsubscribed" // its UNSUBACK came: Topic
	Answered     Do = "answered"     // PUBACK, or PUBREC, of what a member of a group got is about to be sent: From, N
	Cut          Do = "cut"          // the client is about to close its connection, without a word
	Left         Do = "left"         // a DISCONNECT is about to be sent: Reason
	Ended        Do = "ended"        // the connection has ended, and not by the client: Reason of the server's DISCONNECT
	Killed       Do = "killed"       // the server is about to be killed, or stopped
	Denied       Do = "denied"       // Session is a user, who has no right to Topic, a filter
	Odd          Do = "odd"          // the server did what no server may: Err
)

// Act is one line of a journal of free topics. Which fields mean something depends on Do.
//
// A message is named by its publisher's session (From) and a number of that (N), which grows with every message in the
// order of publishing. The will of a connection is such a message as well, with its number from the CONNECT. A message
// with an empty payload (Empty) takes a retained one back, and tells no name to who receives it.
type Act struct {
	Do      Do     `json:"do"`
	Session string `json:"session,omitempty"` // user/client id
	Conn    int32  `json:"conn,omitempty"`    // of the session, counted from 1
	Boot    int32  `json:"boot,omitempty"`    // of the server, counted from 1
	Version byte   `json:"version,omitempty"` // 4: MQTT 3.1.1; 5
	Clean   bool   `json:"clean,omitempty"`   // an old session is not wanted
	Keeps   bool   `json:"keeps,omitempty"`   // the session outlives the connection
	Present bool   `json:"present,omitempty"`

	Topic   string `json:"topic,omitempty"` // or a filter, with $share/ as subscribed
	Options byte   `json:"options,omitempty"`
	From    string `json:"from,omitempty"`
	N       int32  `json:"n,omitempty"`
	Sum     uint32 `json:"sum,omitempty"` // of the payload
	Delay   uint32 `json:"delay,omitempty"`
	PID     uint16 `json:"pid,omitempty"`
	QoS     byte   `json:"qos,omitempty"`
	Dup     bool   `json:"dup,omitempty"`
	Retain  bool   `json:"retain,omitempty"`
	Empty   bool   `json:"empty,omitempty"`
	Known   bool   `json:"known,omitempty"` // QoS 2: its packet id was not released, so that the client does not take it again
	Reason  byte   `json:"reason,omitempty"`
	Err     string `json:"err,omitempty"`
}

// Traffic is a journal of free topics. There are so many lines that it keeps them in memory.
type Traffic struct {
	mu   sync.Mutex
	acts []Act
}

// Write adds a line. It may be called concurrently.
func (t *Traffic) Write(a Act) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acts = append(t.acts, a)
}

// Acts gives the lines so far.
func (t *Traffic) Acts() []Act {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clip(t.acts)
}

// Save writes the lines into a file, one in JSON each.
func (t *Traffic) Save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save journal: %w", err)
	}
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	for _, a := range t.Acts() {
		if err := lines.Encode(a); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// OpenTraffic reads what Save has written.
func OpenTraffic(path string) ([]Act, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	var acts []Act
	lines := json.NewDecoder(bufio.NewReader(f))
	for lines.More() {
		var a Act
		if err := lines.Decode(&a); err != nil {
			return nil, errors.Join(fmt.Errorf("line %d: %w", len(acts)+1, err), f.Close())
		}
		acts = append(acts, a)
	}
	return acts, f.Close()
}
