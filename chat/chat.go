// Package chat is the messenger: contacts, conversations, messages, receipts, unread counts and sync.
//
// A conversation is a log of messages numbered 1, 2, 3 ... without gaps (seq). Each user has one stream, a log of
// pointers numbered the same way (usn): every message of his conversations, receipts, what his other devices read,
// changes of contacts. A device is up to date when it has seen the stream up to its head; nothing else needs to be
// delivered. Content is stored once, in the conversation; streams point at it.
//
// Unread counts are never counted up or down: [Tally.Unread] computes them from ordinals and cursors.
//
// [Service] is what the rooms above call. It knows no MQTT, no HTTP and no database: what it needs of a store are the
// ports in ports.go, and what it decides comes back as values and as the errors in errors.go.
package chat

import (
	"encoding/json"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

// Conversation names a conversation: "d.alice.bob" for two people, their names sorted; "s.alice" for somebody's notes to
// himself; "g.x1" and so on for rooms.
type Conversation string

// Kind is what kind of conversation a name says it is: its first letter.
type Kind byte

// Kinds of conversations.
const (
	KindNone    Kind = 0 // of a name that none can have
	KindDirect  Kind = 'd'
	KindNotes   Kind = 's'
	KindGroup   Kind = 'g'
	KindChannel Kind = 'n'
	KindLive    Kind = 'l'
	KindBoard   Kind = 'b'
	KindTrip    Kind = 't'
	KindHome    Kind = 'h'
)

// Kind gives the kind of a well-formed name; KindNone for any other.
func (c Conversation) Kind() Kind {
	kind, rest, found := strings.Cut(string(c), ".")
	if !found || len(kind) != 1 {
		return KindNone
	}
	switch k := Kind(kind[0]); k {
	case KindDirect:
		if _, _, ok := c.Pair(); ok {
			return k
		}
	case KindNotes:
		if _, err := accounts.ParseUser(rest); err == nil {
			return k
		}
	case KindGroup, KindChannel, KindLive, KindBoard, KindTrip, KindHome:
		if validRoomID(rest) {
			return k
		}
	}
	return KindNone
}

// Room says whether it is a kind that people join and leave.
func (k Kind) Room() bool { return k != KindNone && k != KindDirect && k != KindNotes }

// validRoomID says whether s is [a-z0-9]{1,32}.
func validRoomID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// Notes names somebody's notes to himself.
func Notes(who accounts.Name) Conversation { return Conversation("s." + string(who)) }

// Owner gives whose notes these are; ok is false for any other name.
func (c Conversation) Owner() (who accounts.Name, ok bool) {
	if c.Kind() != KindNotes {
		return "", false
	}
	return accounts.Name(c[2:]), true
}

// Direct names the conversation of two people.
func Direct(a, b accounts.Name) Conversation {
	if b < a {
		a, b = b, a
	}
	return Conversation("d." + string(a) + "." + string(b))
}

// Pair gives the two people of a direct conversation, sorted; ok is false for any other name.
func (c Conversation) Pair() (a, b accounts.Name, ok bool) {
	rest, found := strings.CutPrefix(string(c), "d.")
	if !found {
		return "", "", false
	}
	first, second, found := strings.Cut(rest, ".")
	if !found {
		return "", "", false
	}
	a, errA := accounts.ParseUser(first)
	b, errB := accounts.ParseUser(second)
	return a, b, errA == nil && errB == nil && a < b
}

// Peer gives the other person of a direct conversation of which who is one; ok is false otherwise.
func (c Conversation) Peer(who accounts.Name) (peer accounts.Name, ok bool) {
	a, b, ok := c.Pair()
	switch {
	case ok && who == a:
		return b, true
	case ok && who == b:
		return a, true
	}
	return "", false
}

// Draft is a message that has not found its place yet.
type Draft struct {
	Conversation Conversation
	From         accounts.Name
	MID          string          // the sender's name for it; empty: never compared with another, the store keeps ID in its place
	ID           string          // the server's name for it, unique
	Kind         string          // "text", "image", ..., "x.*"
	Body         json.RawMessage // a JSON value
	Re           uint64          // seq of the message it answers; 0: none
	At           []accounts.Name // who is mentioned, by name
	TTL          int64           // seconds; 0: for ever
	Fallback     string          // what a client shows that does not know Kind
	Silent       bool            // has a seq and never counts as unread
	Device       bool            // From is a device of the home, which is no member
	Stranger     bool            // the other one hears strangers: see [Pair.Write]
	Approaches   int             // how many strangers the sender may ask or write to in a day; 0: any number
	Quote        bool            // the sender may read the message that it answers
	Everyone     bool            // all members are mentioned; the sender has to be an admin
	Fwd          Forward         // where it comes from; zero: nowhere
	Refuse       error           // given unless the message is a repeated one; nil: none
	Fingerprint  [32]byte        // of the content: the same MID with another one is a conflict
	Origin       any             // opaque: what the store must make durable together with the message; nil: nothing
}

// Forward says where a message was written first. The zero value says that it was written where it is.
type Forward struct {
	From accounts.Name
	TS   int64 // Unix milliseconds
}

// Quote is the beginning of the message that another one answers, as it is now.
type Quote struct {
	From accounts.Name
	Kind string
	Text string
}

// Message is a message in its place, as it is now: what it says may be edited, and taken away.
type Message struct {
	Conversation Conversation
	Seq          uint64
	ID           string
	MID          string // never empty
	From         accounts.Name
	TS           int64 // Unix milliseconds; never less than that of Seq-1
	Kind         string
	Body         json.RawMessage
	Re           uint64
	At           []accounts.Name
	TTL          int64
	Fallback     string
	Silent       bool
	Everyone     bool   // all members are mentioned
	Quotes       bool   // its sender could read the message that it answers
	Quote        *Quote // [Service] fills it in, if Quotes
	Fwd          Forward
	N            uint64 // how many messages up to and including this one count as unread for somebody
	Own          uint64 // how many of those are From's
	Edited       int64  // Unix milliseconds of the last edit; 0: none
	Rev          uint64 // of the last change of what it says; 0: none
	Why          string // KindGone: why it is
	// Reactions, sorted by emoji, and Pinned are known of messages that were read for somebody.
	Reactions []Reaction
	Pinned    bool
}

// Tally is what the unread count of one member of one conversation is computed from, all of one moment.
type Tally struct {
	Conversation Conversation
	Head         uint64 // last seq
	Read         uint64 // the member's read mark: a seq
	N, ReadN     uint64 // counting messages up to Head, and up to Read
	Own, ReadOwn uint64 // those of them that the member sent himself
	Gone         uint64 // those of others after Read that count no more: recalled, expired, deleted
	Mention      uint64 // those of others after Read that mention the member
	Boxed        bool   // a stranger's, who was not answered: it counts for the box, and not for the total
	Large        bool   // the conversation is not in the member's stream
	Mute         int64  // as in [OwnSide]: while it holds, it does not count for the total
	Flag         bool   // as in [OwnSide]
}

// Unread is the number of counting messages of others after the read mark.
func (t Tally) Unread() uint64 { return (t.N - t.ReadN) - (t.Own - t.ReadOwn) - t.Gone }

// EntryType says what an entry of a stream is about. The values are the "t" of events on the wire.
type EntryType string

// What a stream holds.
const (
	EntryMessage EntryType = "msg"     // a message of a conversation
	EntryReceipt EntryType = "rcpt"    // how far another member has received and read
	EntryRead    EntryType = "read"    // how far oneself has read, for one's other devices
	EntryContact EntryType = "contact" // a change of a relation
	EntryProfile EntryType = "profile" // a change of somebody's profile, or of one's own
	EntrySession EntryType = "session" // somebody logged in to one's account, or out
	EntryConv    EntryType = "conv"    // what one is to a conversation has changed, or one's own side of it
	EntryHide    EntryType = "hide"    // messages that one has deleted for oneself

	// Changes of messages.
	EntryEdit    EntryType = "edit"
	EntryRecall  EntryType = "recall"
	EntryReact   EntryType = "react"
	EntryUnreact EntryType = "unreact"
	EntryPin     EntryType = "pin"
	EntryUnpin   EntryType = "unpin"
)

// Entry is one place of a user's stream. Entries never change.
type Entry struct {
	USN          uint64
	Type         EntryType
	TS           int64 // Unix milliseconds
	Conversation Conversation
	Message      Message       // EntryMessage
	Who          accounts.Name // EntryReceipt: whose receipt; EntryContact: the other one; EntryProfile: whose
	Recv, Read   uint64        // EntryReceipt and EntryRead: seqs
	Counts       ReceiptCounts // EntryReceipt of a room, without Who
	State        ContactState  // EntryContact
	Greeting     string        // EntryContact, on a request
	Contact      Note          // EntryContact
	Version      uint64        // EntryContact: of the list of contacts; EntryProfile: of the profile
	Card         Card          // EntryProfile
	Login        Login         // EntrySession
	Room         RoomNews      // EntryConv
	OwnSide      OwnChange     // EntryConv of one's own side, about which Room says nothing
	Change       Revision      // changes of messages
	Hidden       Hidden        // EntryHide
}

// Hidden says which messages of a conversation somebody has deleted for himself: these, and all up to UpTo.
type Hidden struct {
	Seqs []uint64
	UpTo uint64
}

// RoomNews is what an EntryConv says besides who it is about.
type RoomNews struct {
	State RoomState
	By    accounts.Name
	Title string
	Role  Role
	Until int64
	Text  string
}

// ReceiptCounts is how many of the other members of a room have received and read a message of the reader.
type ReceiptCounts struct {
	Seq            uint64
	Recv, Read, Of int
}

// Marks are how far a member has come in a conversation, as seqs.
type Marks struct {
	Recv, Read uint64 // Recv >= Read

	// Of what is given to Log.Mark only:

	Private    bool // that it was read is nobody else's business
	ReceiptsTo int  // up to how many members of a room senders are told
}

// ContactState is what one user is to another, seen from one side.
type ContactState string

// Relations, and the "st" of contact events.
const (
	ContactNone      ContactState = ""
	ContactPending   ContactState = "pending"   // I asked
	ContactRequested ContactState = "requested" // I was asked
	ContactAccepted  ContactState = "accepted"  // contacts, on both sides
	ContactDeleted   ContactState = "deleted"   // the other one's account is no more
	ContactEnded     ContactState = "none"      // of events and lists of changes: there is nothing between us any more
	ContactRejected  ContactState = "rejected"  // of events: what I asked for was refused
)

// Contact is one line of a user's list.
type Contact struct {
	Who          accounts.Name
	State        ContactState
	Greeting     string // of the request
	Since        int64  // Unix milliseconds of the last change of State, or of the greeting
	Conversation Conversation
	Note
	Version uint64 // of the list, in which the line became as it is
}

// Note is what a line of a user's list has besides the relation.
type Note struct {
	Until   int64 // Unix milliseconds at which an open request ends; 0: never
	Blocked bool  // the user has blocked him
	Ignored bool  // the user does not want to be reminded of the request
	Remark  string
	Tags    []string
}
