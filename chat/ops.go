package chat

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Op is what is done to a message that has its place. The values are those of the wire.
type Op string

// What can be done to a message.
const (
	OpEdit    Op = "edit"
	OpRecall  Op = "recall"
	OpReact   Op = "react"
	OpUnreact Op = "unreact"
	OpPin     Op = "pin"
	OpUnpin   Op = "unpin"
)

// Why a message is gone. The values are those of the wire.
const (
	WhyRecalled = "recalled" // by its sender, or an admin
	WhyExpired  = "expired"  // its ttl is over
	WhyDeleted  = "deleted"  // with its sender's account
	WhyHidden   = "hidden"   // by the reader, for himself
)

// OpDraft is a change of a message that has not found its place yet.
type OpDraft struct {
	Conversation Conversation
	By           accounts.Name
	Op           Op
	Seq          uint64 // of the message; 0: it is the one that By has called Target
	Target       string
	MID          string          // By's name for the change; empty: none. It is none of his messages' names
	Body         json.RawMessage // OpEdit
	At           []accounts.Name // OpEdit
	Fallback     string          // OpEdit
	Emoji        string          // OpReact, OpUnreact
	Bounds       OpBounds
	Device       bool     // By is a device of the home, which is no member
	Fingerprint  [32]byte // of what is done: the same MID with another one is a conflict
	Origin       any      // opaque: what the store must make durable together with the change; nil: nothing
}

// OpBounds are what changes of messages have to keep to. 0: no limit.
type OpBounds struct {
	EditFor   time.Duration // for so long a sender may edit
	RecallFor time.Duration // for so long a sender may recall
	Edits     int           // of a message
	Reactions int           // of one person to a message
	Emojis    int           // different reactions to a message
	Pins      int           // in a conversation
}

// Revision is a change of a message in its place among the changes of its conversation.
type Revision struct {
	Conversation Conversation
	Rev          uint64 // 1, 2, 3 ...; 0: it changed nothing, and has no place
	Op           Op
	Seq          uint64        // of the message
	By           accounts.Name // empty: the server, whose message's time was over
	TS           int64         // Unix milliseconds
	Emoji        string        // OpReact, OpUnreact
	Why          string        // OpRecall
	Message      Message       // OpEdit, when it is read: the message as it is now
}

// Changed is what became of an OpDraft.
type Changed struct {
	Revision
	Dup   bool            // it had been done before
	Told  []accounts.Name // in whose streams it is; of a Dup, and in large conversations, nobody
	Large bool
}

// Edit is what a message said before.
type Edit struct {
	Rev  uint64 // 0: as it was sent
	TS   int64  // since when it said so
	Body json.RawMessage
}

// Reaction is how many have reacted to a message with an emoji.
type Reaction struct {
	Emoji string
	N     uint64
	Me    bool // the reader has
}

// OpCase is a message as a decision about a change of it sees it, and what the one who wants it is to the conversation.
type OpCase struct {
	Room    *Room   // nil: it is no room
	Pair    *Pair   // of two people, seen from the one who wants it; nil: it is not theirs
	Message Message // zero: there is none
	Edits   int     // how often it was edited
	Has     bool    // the reaction, of the one who wants it, is there
	Used    bool    // somebody has reacted with this emoji
	Mine    int     // reactions of the one who wants it
	Emojis  int     // different reactions
	Pinned  bool
	Pins    int // in the conversation
	Now     int64
}

// Decide says whether d may be done, and changes anything. ErrNoConversation, ErrNotMember, ErrEnded, ErrGone, ErrBlocked,
// ErrNoRight, a MutedError, ErrNoMessage, ErrLate, ErrQuota.
func (c *OpCase) Decide(d *OpDraft) (changes bool, err error) {
	if err := c.enter(d); err != nil {
		return false, err
	}
	m := &c.Message
	switch {
	case m.Seq == 0 || m.From != d.By && c.Room != nil && !c.Room.Of(d.By).Reads(m.Seq) && !c.watches(d.By):
		return false, ErrNoMessage
	case m.Kind == KindSys:
		return false, ErrNoRight
	case d.Op == OpRecall:
		return c.recall(d)
	case m.Kind == KindGone && d.Op != OpUnpin:
		return false, ErrNoMessage
	}
	switch d.Op {
	case OpEdit:
		return c.edit(d)
	case OpReact:
		return c.react(d)
	case OpUnreact:
		return c.Has, nil
	case OpPin, OpUnpin:
		return c.pin(d)
	}
	return false, ErrMalformed
}

// watches says whether the room is one where all who look on may do what its members may.
func (c *OpCase) watches(who accounts.Name) bool {
	return c.Room.Conversation.Kind() == KindLive && !c.Room.Of(who).IsBanned(c.Now)
}

// enter checks that changes are made at all in the conversation, by this one.
func (c *OpCase) enter(d *OpDraft) error {
	switch r, p := c.Room, c.Pair; {
	case r != nil && !r.Exists(), p != nil && !p.Exists:
		return ErrNoConversation
	case r != nil && r.Of(d.By).Role == RoleNone && !d.Device && !c.watches(d.By):
		return ErrNotMember
	case r != nil && r.Ended != 0:
		return ErrEnded
	case p == nil:
		return nil
	case p.parted():
		return ErrGone
	case d.Op == OpRecall || p.Close(): // what one has said, one may always take back
		return nil
	case p.Blocked():
		return ErrBlocked
	}
	return ErrNoRight
}

func (c *OpCase) admin(who accounts.Name) bool { return c.Room != nil && c.Room.Of(who).Admin() }

func (c *OpCase) edit(d *OpDraft) (bool, error) {
	m := &c.Message
	switch {
	case m.From != d.By, m.Fwd != (Forward{}): // what another one has said
		return false, ErrNoRight
	case bytes.Equal(m.Body, d.Body) && slices.Equal(m.At, d.At):
		return false, nil
	case expired(m.TS, d.Bounds.EditFor, c.Now):
		return false, ErrLate
	case d.Bounds.Edits > 0 && c.Edits >= d.Bounds.Edits:
		return false, ErrQuota
	case c.Room == nil, d.Device:
		return true, nil
	}
	if err := c.Room.Act(d.By); err != nil { // an edit says something new
		return false, err
	}
	return true, nil
}

// expired says whether more than a time has gone by since ts; 0 never has.
func expired(ts int64, limit time.Duration, now int64) bool {
	return limit > 0 && now-ts > limit.Milliseconds()
}

func (c *OpCase) recall(d *OpDraft) (bool, error) {
	m := &c.Message
	switch {
	case m.From != d.By && !c.admin(d.By):
		return false, ErrNoRight
	case m.Kind == KindGone:
		return false, nil
	case !c.admin(d.By) && expired(m.TS, d.Bounds.RecallFor, c.Now):
		return false, ErrLate
	}
	return true, nil
}

func (c *OpCase) react(d *OpDraft) (bool, error) {
	b := d.Bounds
	switch {
	case c.Has:
		return false, nil
	case b.Reactions > 0 && c.Mine >= b.Reactions, !c.Used && b.Emojis > 0 && c.Emojis >= b.Emojis:
		return false, ErrQuota
	}
	return true, nil
}

func (c *OpCase) pin(d *OpDraft) (bool, error) {
	switch {
	case c.Room != nil && !c.admin(d.By):
		return false, ErrNoRight
	case d.Op == OpUnpin, c.Pinned:
		return c.Pinned == (d.Op == OpUnpin), nil
	case d.Bounds.Pins > 0 && c.Pins >= d.Bounds.Pins:
		return false, ErrQuota
	}
	return true, nil
}

// Vanish takes away what a message says: nothing of it is left but that it was there.
func (m *Message) Vanish(why string) {
	m.Kind, m.Why = KindGone, why
	m.Body, m.At, m.TTL, m.Fallback, m.Edited, m.Reactions, m.Pinned = nil, nil, 0, "", 0, nil, false
	m.Everyone, m.Quotes, m.Quote, m.Fwd = false, false, nil, Forward{}
}

// Expires says when the time of a message is over, in Unix milliseconds; 0: never.
func (m *Message) Expires() int64 {
	if m.TTL <= 0 {
		return 0
	}
	return m.TS + 1000*m.TTL
}
