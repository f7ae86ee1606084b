package chat

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Commit is something that has its place in the order and is on its way to the disk.
type Commit interface {
	// Wait gives nil once a crash can no longer undo it. Any other result means that it is not known to be durable and
	// must not be acknowledged: the error of ctx, or one that wraps ErrUnavailable. Safe for concurrent use, any number
	// of times.
	Wait(ctx context.Context) error
}

// Store keeps conversations, streams and contacts.
//
// Writing methods give what they write its place in the order before they return, in the order of the calls, and what
// they wrote is durable once Wait of the returned commit gives nil; a nil commit means that nothing had to be written
// and that everything the answer says is durable already. Reading methods give only what would survive a crash: one that
// has seen more waits until it is durable. Everything is safe for concurrent use; every method fails with an error that
// wraps ErrUnavailable when the store cannot serve, and then nothing was written.
//
// Any origin given is made durable in the same step as the change.
type Store interface {
	Log
	Contacts
	People
	Seen
	Rooms
	OwnSides
	Halls
	Retention
	Ops
}

// Log keeps messages and streams in the order in which it accepted them.
type Log interface {
	// Append gives d the next seq of its conversation and a pointer in the stream of each of its members, unless it is
	// large. Its time is now, or that of the message before it if the clock went back. A repeated (Conversation, From, MID)
	// writes nothing and gives the first message, with Dup set and a commit that waits for the first one's durability; if
	// its fingerprint differs, the error is ErrConflict. Otherwise [Pair.Write] or [Room.Write] decides, in the order of
	// messages and of changes of the conversation, and its errors are given. Notes to oneself are there from the start.
	Append(ctx context.Context, d Draft) (Appended, Commit, error)

	// Mark moves who's marks in a conversation forward: the result is the maximum of what was and what is given, both
	// clamped to the last seq, Recv never less than Read. If Read moved, an EntryRead goes to who's own stream. If any mark
	// moved, an EntryReceipt goes to the streams of the other members, unless the last one about who is younger than
	// ReceiptInterval or still waits there, given to none of their readers: then the answer says Untold, and somebody has to
	// call Tell later. In rooms of up to m.ReceiptsTo members that are neither large nor channels it says so always, and TellRoom
	// has to be called. What m.Private or the member's own side says is private others are not told. If nothing moved, the
	// commit is that of earlier changes, or nil. ErrNotMember, ErrNoConversation.
	Mark(ctx context.Context, c Conversation, who accounts.Name, m Marks, origin any) (Marked, Commit, error)

	// Tell adds the EntryReceipt that Mark left out, under the same condition; untold means that it still holds and
	// something is left to tell. The commit is nil if nothing was added.
	Tell(ctx context.Context, c Conversation, who accounts.Name) (untold bool, commit Commit, err error)

	// TellRoom tells, in a room, what Mark has left to it: it adds an EntryReceipt with ReceiptCounts to the streams of senders,
	// told, about the newest of their messages that somebody else has received or read since that was told. Who has one that was
	// given to none of his readers gets the next one when it was: then somebody has to call TellRoom again. again means
	// that something is left, and that it has to be called again later: less than RoomReceiptInterval has passed, or more has
	// come. The commit is nil if nothing was added.
	TellRoom(ctx context.Context, c Conversation) (told []accounts.Name, again bool, commit Commit, err error)

	// AllMarks gives the marks of the members of a conversation that is not large, as far as others may know, in the order of
	// their names; of two people, what each was told of the other one. ErrNoConversation.
	AllMarks(ctx context.Context, c Conversation) ([]MemberMarks, error)

	// Untold gives up to limit members whose marks have moved past what their last receipt told, or of rooms who are to be told
	// more, in a stable order, those after after; for a start after a crash.
	Untold(ctx context.Context, after Member, limit int) ([]Member, error)

	// Wipe takes the content of what from has sent into a conversation away: body, fallback, mentions; the kind becomes
	// KindGone; but for the lines of the server in his name. What somebody had not read of it counts no more, and pins and
	// reactions go, as if it was recalled; but nobody is told. When it returns nil, that is durable.
	Wipe(ctx context.Context, c Conversation, from accounts.Name) error

	// Forget removes a user's stream, lists, counts and last seen, when nothing is written to them any more; repeated, it
	// does nothing. When it returns nil, that is durable.
	Forget(ctx context.Context, user accounts.Name) error

	// TellSession adds an EntrySession to a user's stream. It does not ask whether there is such a user.
	TellSession(ctx context.Context, user accounts.Name, l Login) (Commit, error)

	// Membership gives who's marks, or ErrNotMember, or ErrNoConversation.
	Membership(ctx context.Context, c Conversation, who accounts.Name) (Marks, error)

	// Messages gives up to limit messages of a conversation in the order of seq: those after after, or, if before is not
	// 0, the last ones before before; both bounds exclusive.
	Messages(ctx context.Context, c Conversation, after, before uint64, limit int) (MessagePage, error)

	// Stream gives up to limit entries of a user's stream in the order of usn, those after after; with limit 0 only the
	// head and the floor.
	Stream(ctx context.Context, user accounts.Name, after uint64, limit int) (StreamPage, error)

	// Tallies gives a tally for every conversation of user in which something may be unread, and for all that is boxed, also
	// what was read or dropped (which has nothing unread), all of the moment in which the user's stream ended at the returned
	// usn. Those that are flagged are among them too, with nothing unread.
	Tallies(ctx context.Context, user accounts.Name) (t []Tally, asOf uint64, err error)

	// Conversations gives conversations of one of a user's lists, the pinned ones first, and of these and of the others the
	// one with the newest message first; more says that there are others after them. What was dropped is nowhere.
	Conversations(ctx context.Context, user accounts.Name, q ListQuery) (list []Overview, more bool, err error)
}

// RoomReceiptInterval is the least time between two rounds of receipts in a room.
const RoomReceiptInterval = 2 * time.Second

// MemberMarks are how far a member has come.
type MemberMarks struct {
	Who accounts.Name
	Marks
	Joined uint64 // the first seq after he has joined
}

// ReceiptInterval is the least time between two receipts about one member of one conversation.
const ReceiptInterval = time.Second

// Member is somebody in a conversation.
type Member struct {
	Conversation Conversation
	Who          accounts.Name
}

// Marked is what Mark did.
type Marked struct {
	Marks
	Moved     bool
	Untold    bool // a receipt was left out: Tell has to be called
	Unflagged bool // the member's flag was taken away
}

// Appended is what Append did.
type Appended struct {
	Message Message
	Dup     bool // it had been stored before
	// Members are those in whose streams it is; of a Dup, and in large conversations, nobody.
	Members []accounts.Name
	Large   bool // the conversation is large; false of a Dup
}

// MessagePage is a part of a conversation.
type MessagePage struct {
	Messages []Message
	Head     uint64 // last seq of the conversation; 0: it is empty
	Floor    uint64 // first seq that still exists
	Why      FloorReason
}

// FloorReason is why there is nothing before the floor of a conversation. The values are those of the wire.
type FloorReason string

// Reasons for a floor.
const (
	FloorStart     FloorReason = "start"     // nothing was before
	FloorJoin      FloorReason = "join"      // the reader was no member before
	FloorClear     FloorReason = "clear"     // the reader has deleted what was before for himself
	FloorRetention FloorReason = "retention" // what was before was too old
)

// StreamPage is a part of a stream.
type StreamPage struct {
	Entries []Entry
	Head    uint64 // last usn of the stream; 0: it is empty
	Floor   uint64 // first usn that still exists; a reader behind Floor-1 has to start over
}

// Overview is one line of a list of conversations.
type Overview struct {
	Tally Tally
	Last  Message // zero if there is none
	Title string  // of a room
	Own   OwnSide
	Place ListPlace // where it stands in the list
}

// Contacts keeps what people are to each other. A list has a version, which grows with each of its changes.
type Contacts interface {
	// Pair gives what other is to user. It serves decisions and may be ahead of what is durable.
	Pair(ctx context.Context, user, other accounts.Name) (Pair, error)

	// Change takes a step between two people: both sides, their conversation, the greeting as its message (Told.Greeting, from
	// Other), the entries in both streams and what is counted, all or nothing, in the order of the messages of the two. If the
	// step changes nothing, nothing is written; its errors are given as they are. It gives the pair as it is then.
	Change(ctx context.Context, c Change) (Pair, Commit, error)

	// List gives up to limit lines of a user's list in the order of their names, those after after: contacts, open requests
	// and who is blocked.
	List(ctx context.Context, user, after accounts.Name, limit int) ([]Contact, error)

	// Accepted gives up to limit of those who are contacts of user, in the order of their names, those after after. It serves
	// decisions and may be ahead of what is durable, as Pair.
	Accepted(ctx context.Context, user, after accounts.Name, limit int) ([]accounts.Name, error)

	// Changes gives up to limit lines that are newer than a version of the list, in the order of their versions, also those
	// that have become ContactEnded, and the version of the list.
	Changes(ctx context.Context, user accounts.Name, version uint64, limit int) ([]Contact, uint64, error)

	// Requests counts the requests to user that wait for a decision, up to limit.
	Requests(ctx context.Context, user accounts.Name, limit int) (int, error)

	// Partners gives up to limit people with whom user has, or had, anything to do, in the order of their names, those after
	// after.
	Partners(ctx context.Context, user, after accounts.Name, limit int) ([]accounts.Name, error)

	// Mutual counts the people who are contacts of both, up to limit.
	Mutual(ctx context.Context, a, b accounts.Name, limit int) (int, error)
}

// Rooms keeps who is in a conversation that people join and leave.
type Rooms interface {
	// Room gives a room and what some people are to it. It serves decisions and may be ahead of what is durable; it is not any
	// more when Messages of the same conversation, called later, has returned. A room that does not exist is no error:
	// [Room.Exists] says so.
	Room(ctx context.Context, c Conversation, who ...accounts.Name) (Room, error)

	// ChangeRoom takes a step: the room, the members, the line in the conversation and the events, all or nothing, in the order
	// of its messages. If the step changes nothing, nothing is written; its errors are given as they are. It gives the room as
	// it is then, and who has something new in his stream.
	//
	// Who becomes a member has read everything that was there before. A room with more members than the store's setting says,
	// and every channel and live room, is large, and stays so.
	ChangeRoom(ctx context.Context, change RoomChange) (RoomChanged, Commit, error)

	// RoomMembers gives up to limit of those to whom keep says yes, in the order of their names, those after after. It visits
	// everybody who has, or had, anything to do with the room.
	RoomMembers(
		ctx context.Context, c Conversation, after accounts.Name, limit int, keep func(Membership) bool,
	) ([]RoomMember, error)

	// LinkedRoom gives the room with this link; empty: none has it.
	LinkedRoom(ctx context.Context, link string) (Conversation, error)

	// PendingRooms gives up to limit rooms to which a user is invited, or that he asks to be let into, in the order of their
	// names, those after after.
	PendingRooms(ctx context.Context, user accounts.Name, after Conversation, limit int) ([]Conversation, error)

	// RoomsOf gives the rooms that a user is in, in the order of their names.
	RoomsOf(ctx context.Context, user accounts.Name) ([]Conversation, error)

	// SpokenIn gives up to limit rooms in which a user has written, also those that he is not in any more, or never was, in the
	// order of their names, those after after. Of what he wrote there may be nothing left, and it may have been lines of the
	// server about what he has done.
	SpokenIn(ctx context.Context, user accounts.Name, after Conversation, limit int) ([]Conversation, error)

	// Crew gives the members of a room that is not large, of a large one nobody. It may be ahead of what is durable.
	Crew(ctx context.Context, c Conversation) ([]accounts.Name, error)

	// Large gives the large conversations that a user is in. It may be ahead of what is durable.
	Large(ctx context.Context, user accounts.Name) ([]Attending, error)
}

// Attending is that somebody is in a large conversation.
type Attending struct {
	Conversation Conversation
	Head         uint64 // the last seq
	Mute         int64  // Unix milliseconds until which he has muted it; 0: not; Forever
}

// Ops keeps what becomes of messages after they were sent. Wherever messages are read, they are as they are now; from the moment
// on in which the time of one is over it reads as gone, whenever Expire comes round.
type Ops interface {
	// ApplyOp gives d the next rev of its conversation, changes the message, and puts an entry into the stream of each member,
	// unless the conversation is large. [OpCase.Decide] decides, in the order of messages and of changes of the conversation; its
	// errors are given. What changes nothing has no rev and no entry. A repeated (Conversation, By, MID) writes nothing and
	// gives what became of the first one, with Dup set and a commit that waits for its durability; if its fingerprint
	// differs, or a message has that MID, the error is ErrConflict.
	//
	// Of a message that is recalled nothing is left that it, or earlier versions of it, said; reactions and pins go as well, and
	// one that counted as unread does so no more.
	ApplyOp(ctx context.Context, d OpDraft) (Changed, Commit, error)

	// Revisions gives up to limit changes of a conversation in the order of rev, those after after, and the last rev. The oldest
	// may have been removed with the messages that they were of, by Retire.
	Revisions(ctx context.Context, c Conversation, after uint64, limit int) ([]Revision, uint64, error)

	// Edits gives what a message said before, oldest first. ErrNoMessage if there is none, or it is gone.
	Edits(ctx context.Context, c Conversation, seq uint64) ([]Edit, error)

	// Pins gives the seqs of the messages that are pinned in a conversation, in their order.
	Pins(ctx context.Context, c Conversation) ([]uint64, error)

	// MessagesFor is Messages as who sees them: with reactions and pins; of what he has deleted for himself nothing is left but
	// that it was there, and Clear makes him a floor. It does not ask whether he may read them.
	MessagesFor(ctx context.Context, who accounts.Name, c Conversation, after, before uint64, limit int) (MessagePage, error)

	// Hidden says of some people who has deleted a message for himself. It does not ask whether they may read it.
	Hidden(ctx context.Context, c Conversation, seq uint64, who []accounts.Name) ([]bool, error)

	// Hide deletes messages for one person: they count for him no more, and an EntryHide goes to his stream. Those that do not
	// exist are left out. ErrNotMember, ErrNoConversation.
	Hide(ctx context.Context, c Conversation, who accounts.Name, seqs []uint64, origin any) (Commit, error)

	// Clear is Hide for all that is there. It gives the last seq of it.
	Clear(ctx context.Context, c Conversation, who accounts.Name, origin any) (uint64, Commit, error)

	// Expire takes away what messages say whose time is over, up to about limit of them, as if the server had recalled them. What
	// it gives with an error has been done.
	Expire(ctx context.Context, limit int) (Expired, error)
}

// Expired is what Expire did.
type Expired struct {
	Told    []accounts.Name // in whose streams something is
	Changes []Revision
	Commit  Commit // of all of them; nil: there are none
	More    bool   // there is more to do
}

// RoomChanged is what ChangeRoom did.
type RoomChanged struct {
	Room Room
	Told []accounts.Name // who has something new in his stream
	Line Message         // zero: there was none
	Grew bool            // the room has become large
	// Parted says that Room.Partings has grown by 1.
	Parted bool
}

// RoomMember is somebody who has to do with a room.
type RoomMember struct {
	Who accounts.Name
	Membership
}

// Directory tells who exists.
type Directory interface {
	// Status says whether there is, or was, such a user.
	Status(ctx context.Context, name accounts.Name) (accounts.Status, error)
}

// Waker makes the sessions of users look at their streams. It never blocks, and a call that is lost costs latency, never
// a message.
type Waker interface {
	Wake(users ...accounts.Name)
}
