package transfer

import (
	"bytes"
	"cmp"
	"reflect"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Kind says what a record is of; it is the "t" of its line.
type Kind string

// What there are records of, in the order in which they come.
const (
	KindUser         Kind = "user"
	KindToken        Kind = "token"
	KindDevice       Kind = "device"
	KindInvitation   Kind = "invitation"
	KindAct          Kind = "act"
	KindPerson       Kind = "person"
	KindHandle       Kind = "handle"
	KindTelling      Kind = "telling"
	KindSeen         Kind = "seen"
	KindList         Kind = "list"
	KindContact      Kind = "contact"
	KindConversation Kind = "conversation"
	KindRoom         Kind = "room"
	KindFloor        Kind = "floor"
	KindSnapshot     Kind = "snapshot"
	KindOutdated     Kind = "outdated"
	KindLikes        Kind = "likes"
	KindMember       Kind = "member"
	KindSide         Kind = "side"
	KindBoxed        Kind = "boxed"
	KindMessage      Kind = "message"
	KindOwn          Kind = "own"
	KindGone         Kind = "gone"
	KindMention      Kind = "mention"
	KindChange       Kind = "change"
	KindEdit         Kind = "edit"
	KindReaction     Kind = "reaction"
	KindPin          Kind = "pin"
	KindHidden       Kind = "hidden"
	KindMID          Kind = "mid"
	KindEntry        Kind = "entry"
	KindRetained     Kind = "retained"
	KindThing        Kind = "thing"
	KindShadow       Kind = "shadow"
	KindCommand      Kind = "command"
	KindEvent        Kind = "event"
	KindAlarm        Kind = "alarm"
	KindPresence     Kind = "presence"
)

// Record is one thing that a store has: a pointer to one of the structs below. Fields that are not there are their zero
// values. A field once used is never used for something else.
type Record interface {
	// Of says what it is a record of.
	Of() Kind
}

// kinds are all kinds in their order, with what makes an empty record, and how many of its fields, the first ones, it is
// sorted by.
var kinds = []struct {
	kind Kind
	make func() Record
	keys int
}{
	{KindUser, empty[User], 1},
	{KindToken, empty[Token], 1},
	{KindDevice, empty[Device], 1},
	{KindInvitation, empty[Invitation], 1},
	{KindAct, empty[Act], 1},
	{KindPerson, empty[Person], 1},
	{KindHandle, empty[Handle], 2},
	{KindTelling, empty[Telling], 1},
	{KindSeen, empty[Seen], 1},
	{KindList, empty[List], 1},
	{KindContact, empty[Contact], 2},
	{KindConversation, empty[Conversation], 1},
	{KindRoom, empty[Room], 1},
	{KindFloor, empty[Floor], 1},
	{KindSnapshot, empty[Snapshot], 1},
	{KindOutdated, empty[Outdated], 2},
	{KindLikes, empty[Likes], 1},
	{KindMember, empty[Member], 2},
	{KindSide, empty[Side], 2},
	{KindBoxed, empty[Boxed], 2},
	{KindMessage, empty[Message], 2},
	{KindOwn, empty[Own], 3},
	{KindGone, empty[Gone], 2},
	{KindMention, empty[Mention], 3},
	{KindChange, empty[Change], 2},
	{KindEdit, empty[Edit], 3},
	{KindReaction, empty[Reaction], 4},
	{KindPin, empty[Pin], 2},
	{KindHidden, empty[Hidden], 3},
	{KindMID, empty[MID], 3},
	{KindEntry, empty[Entry], 2},
	{KindRetained, empty[Retained], 1},
	{KindThing, empty[Thing], 1},
	{KindShadow, empty[Shadow], 2},
	{KindCommand, empty[Command], 2},
	{KindEvent, empty[Event], 2},
	{KindAlarm, empty[Alarm], 2},
	{KindPresence, empty[Presence], 1},
	{KindPoints, empty[Points], 2},
	{KindMinutes, empty[Minutes], 3},
	{KindHours, empty[Hours], 3},
	{KindLast, empty[Last], 1},
	{KindTeleFloor, empty[TeleFloor], 1},
	{KindKept, empty[Kept], 3},
	{KindFile, empty[FileChunk], 2}, // the last one: Kinds
}

func empty[T any, P interface {
	*T
	Record
}]() Record {
	return P(new(T))
}

// Kinds gives all kinds that a store has, in their order. After them comes [KindFile].
func Kinds() []Kind {
	out := make([]Kind, len(kinds)-1)
	for i := range out {
		out[i] = kinds[i].kind
	}
	return out
}

// place gives where a kind stands among all; -1: it is none.
func place(kind Kind) int {
	for i := range kinds {
		if kinds[i].kind == kind {
			return i
		}
	}
	return -1
}

// New gives an empty record, or nil if there is no such kind.
func New(kind Kind) Record {
	for _, k := range kinds {
		if k.kind == kind {
			return k.make()
		}
	}
	return nil
}

// Compare says which of two records comes first in the order of all: negative, 0 or positive.
func Compare(a, b Record) int {
	at := place(a.Of())
	if order := cmp.Compare(at, place(b.Of())); order != 0 {
		return order
	}
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range kinds[at].keys {
		if order := compareKeys(x.Field(i), y.Field(i)); order != 0 {
			return order
		}
	}
	return 0
}

func compareKeys(a, b reflect.Value) int {
	switch a.Kind() {
	case reflect.String:
		return cmp.Compare(a.String(), b.String())
	case reflect.Int64:
		return cmp.Compare(a.Int(), b.Int())
	case reflect.Uint64:
		return cmp.Compare(a.Uint(), b.Uint())
	}
	return bytes.Compare(a.Bytes(), b.Bytes())
}

// User is an account, also one that was deleted. Users are sorted by their names.
type User struct {
	Name         accounts.Name `json:"name"`
	Password     Text          `json:"password,omitempty"` // hash
	Disabled     bool          `json:"disabled,omitempty"`
	Reason       Text          `json:"reason,omitempty"` // of Disabled
	Until        time.Time     `json:"until,omitzero"`   // of Disabled
	Role         accounts.Role `json:"role,omitempty"`
	Created      time.Time     `json:"created,omitzero"`
	Deleted      time.Time     `json:"deleted,omitzero"`
	Leaving      bool          `json:"leaving,omitempty"`  // deleted, and something is left to be removed
	Recovery     Hex           `json:"recovery,omitempty"` // SHA-256 of the code
	RecoveryEnds time.Time     `json:"recovery_ends,omitzero"`
}

// Token lets its owner log in. Tokens are sorted by their digests.
type Token struct {
	Digest  Hex           `json:"digest"` // SHA-256
	Owner   accounts.Name `json:"owner"`
	Label   Text          `json:"label,omitempty"`
	Created time.Time     `json:"created,omitzero"`
	Expires time.Time     `json:"expires,omitzero"`
}

// Device is how a device logs in, also one that was deleted. Devices are sorted by their names, which no users have.
type Device struct {
	Name     accounts.Name `json:"name"`
	Owner    accounts.Name `json:"owner,omitempty"`
	Secrets  []Secret      `json:"secrets,omitempty"` // the newest first
	Pins     []Hex         `json:"pins,omitempty"`    // SHA-256 of certificates
	Disabled bool          `json:"disabled,omitempty"`
	Reason   Text          `json:"reason,omitempty"` // of Disabled
	Until    time.Time     `json:"until,omitzero"`   // of Disabled
	Created  time.Time     `json:"created,omitzero"`
	Deleted  time.Time     `json:"deleted,omitzero"`
	Leaving  bool          `json:"leaving,omitempty"` // deleted, and something is left to be removed
	Rev      uint64        `json:"rev"`
}

// Secret is one that a device has.
type Secret struct {
	Digest  Hex       `json:"digest"` // SHA-256
	Created time.Time `json:"created,omitzero"`
}

// Invitation is one to register with. Invitations are sorted by their digests.
type Invitation struct {
	Digest  Hex           `json:"digest"` // SHA-256
	Uses    int           `json:"uses,omitempty"`
	Made    int           `json:"made,omitempty"`
	Label   Text          `json:"label,omitempty"`
	By      accounts.Name `json:"by,omitempty"`
	Created time.Time     `json:"created,omitzero"`
	Expires time.Time     `json:"expires,omitzero"`
}

// Act is what an administrator did. Acts are sorted by their ids.
type Act struct {
	ID      Text          `json:"id"`
	Time    time.Time     `json:"time,omitzero"`
	By      accounts.Name `json:"by,omitempty"`
	From    Text          `json:"from,omitempty"`
	Method  Text          `json:"method,omitempty"`
	Target  Text          `json:"target,omitempty"`
	Outcome Text          `json:"outcome,omitempty"`
}

// Audience is nobody, contacts, near, everyone, or empty: the default.
type Audience string

// Field is one thing that somebody says of himself.
type Field struct {
	Value Text     `json:"value,omitempty"`
	Show  Audience `json:"show,omitempty"`
}

// Person is somebody's profile and settings. Persons are sorted by their users.
type Person struct {
	User      accounts.Name    `json:"user"`
	Ver       uint64           `json:"ver,omitempty"`
	Name      Text             `json:"name,omitempty"`
	Avatar    Text             `json:"avatar,omitempty"`
	Text      Text             `json:"text,omitempty"`
	Fields    map[string]Field `json:"fields,omitempty"`
	Phone     Field            `json:"phone,omitzero"`
	Email     Field            `json:"email,omitzero"`
	Verified  bool             `json:"verified,omitempty"`
	Bot       bool             `json:"bot,omitempty"`
	Strangers Audience         `json:"strangers,omitempty"`
	Seen      Audience         `json:"seen,omitempty"`
	Hidden    bool             `json:"hidden,omitempty"`
	ByPhone   bool             `json:"by_phone,omitempty"`
	ByEmail   bool             `json:"by_email,omitempty"`
	Listed    bool             `json:"listed,omitempty"`
	Cell      uint64           `json:"cell,omitempty"`
	CellUntil int64            `json:"cell_until,omitempty"` // Unix milliseconds, as all int64 times
}

// Handle is a phone number or an e-mail address that nobody gets before a time. Those that have an owner are in his Person.
// Handles are sorted by their kinds and values.
type Handle struct {
	Handle chat.HandleKind `json:"handle"`
	Value  Text            `json:"value"`
	Free   time.Time       `json:"free,omitzero"`
}

// Telling is a change of a profile on its way to the contacts. They are sorted by their users.
type Telling struct {
	User  accounts.Name `json:"user"`
	After accounts.Name `json:"after,omitempty"` // the contact that was told last
}

// Seen is when somebody was there last. They are sorted by their users.
type Seen struct {
	User accounts.Name `json:"user"`
	At   int64         `json:"at"`
}

// List is what is counted of a user and others. Lists are sorted by their users.
type List struct {
	User     accounts.Name `json:"user"`
	Asked    []int64       `json:"asked,omitempty"`
	Contacts int           `json:"contacts,omitempty"`
	Version  uint64        `json:"version,omitempty"`
	Hides    bool          `json:"hides,omitempty"` // he has deleted messages for himself
}

// Contact is what somebody is to a user. Contacts are sorted by user and other.
type Contact struct {
	User     accounts.Name     `json:"user"`
	Other    accounts.Name     `json:"other"`
	State    chat.ContactState `json:"state,omitempty"`
	Greeting Text              `json:"greeting,omitempty"`
	Since    int64             `json:"since,omitempty"`
	Until    int64             `json:"until,omitempty"`
	Blocked  bool              `json:"blocked,omitempty"`
	Ignored  bool              `json:"ignored,omitempty"`
	Refused  int64             `json:"refused,omitempty"`
	Silently bool              `json:"silently,omitempty"`
	Remark   Text              `json:"remark,omitempty"`
	Tags     []Text            `json:"tags,omitempty"`
	Version  uint64            `json:"version,omitempty"`
}

// Conversation is a conversation without its messages. Conversations are sorted by their names.
type Conversation struct {
	C       chat.Conversation `json:"c"`
	Members []accounts.Name   `json:"members,omitempty"`
	Created int64             `json:"created,omitempty"`
	Open    bool              `json:"open,omitempty"`
	Asker   accounts.Name     `json:"asker,omitempty"`
	Dropped bool              `json:"dropped,omitempty"`
	Info    *RoomInfo         `json:"info,omitempty"` // of a room
}

// RoomInfo is what a room's admins say of it.
type RoomInfo struct {
	Title   Text               `json:"title,omitempty"`
	Avatar  Text               `json:"avatar,omitempty"`
	Notice  Text               `json:"notice,omitempty"`
	Join    chat.JoinPolicy    `json:"join,omitempty"`
	Invite  chat.Group         `json:"invite,omitempty"`
	History chat.HistoryPolicy `json:"history,omitempty"`
	Post    chat.Group         `json:"post,omitempty"`
	Slow    int64              `json:"slow,omitempty"`
	Muted   int64              `json:"muted,omitempty"`
	Keep    int64              `json:"keep,omitempty"`
	Rooms   Text               `json:"rooms,omitempty"` // of a home: a name in each line
}

// Room is the state of a room. Rooms are sorted by their conversations.
type Room struct {
	C        chat.Conversation `json:"c"`
	Owner    accounts.Name     `json:"owner,omitempty"`
	Ended    int64             `json:"ended,omitempty"`
	Version  uint64            `json:"version,omitempty"`
	Members  int               `json:"members,omitempty"`
	Large    bool              `json:"large,omitempty"`
	Link     Text              `json:"link,omitempty"`
	LinkUses int               `json:"link_uses,omitempty"`
	LinkEnds int64             `json:"link_ends,omitempty"`
	Partings uint64            `json:"partings,omitempty"`
}

// Floor says where a conversation begins now. Floors are sorted by their conversations.
type Floor struct {
	C     chat.Conversation `json:"c"`
	Floor uint64            `json:"floor,omitempty"`
	Ops   uint64            `json:"ops,omitempty"` // of a board: operations up to here are removed

	// Of the last message below the floor, if what was removed counted.
	N    uint64        `json:"n,omitempty"`
	From accounts.Name `json:"from,omitempty"`
	Own  uint64        `json:"own,omitempty"`
}

// Snapshot is the newest one of a board. Snapshots are sorted by their conversations.
type Snapshot struct {
	C    chat.Conversation `json:"c"`
	Seq  uint64            `json:"seq"`
	TS   int64             `json:"ts,omitempty"`
	By   accounts.Name     `json:"by,omitempty"`
	Body Body              `json:"body,omitempty"`
}

// Outdated says up to which seq operations of a board are to be removed some time after a time. They are sorted by the
// time and the conversation.
type Outdated struct {
	TS  int64             `json:"ts"`
	C   chat.Conversation `json:"c"`
	Seq uint64            `json:"seq"`
}

// Likes are those of a live room. They are sorted by their conversations.
type Likes struct {
	C     chat.Conversation `json:"c"`
	Likes uint64            `json:"likes"`
}

// Member is somebody in a conversation, and how far he has come; of a room also who was, or asks to be. Members are sorted by
// conversation and name.
type Member struct {
	C         chat.Conversation `json:"c"`
	Who       accounts.Name     `json:"who"`
	Forgotten bool              `json:"forgotten,omitempty"` // it is not in his list: he was deleted
	Large     bool              `json:"large,omitempty"`     // it is not in his stream
	Recv      uint64            `json:"recv,omitempty"`
	Read      uint64            `json:"read,omitempty"`
	ReadN     uint64            `json:"read_n,omitempty"`
	ReadOwn   uint64            `json:"read_own,omitempty"`
	ToldRecv  uint64            `json:"told_recv,omitempty"`
	ToldRead  uint64            `json:"told_read,omitempty"`
	ToldTS    int64             `json:"told_ts,omitempty"`
	ToldUSN   uint64            `json:"told_usn,omitempty"`
	Base      uint64            `json:"base,omitempty"`

	Own     uint64        `json:"own,omitempty"`
	Sent    int64         `json:"sent,omitempty"`
	Role    chat.Role     `json:"role,omitempty"`
	Since   int64         `json:"since,omitempty"`
	From    uint64        `json:"from,omitempty"`
	Past    []uint64      `json:"past,omitempty"` // from, to, from, to ...
	Muted   int64         `json:"muted,omitempty"`
	Banned  int64         `json:"banned,omitempty"`
	Inviter accounts.Name `json:"inviter,omitempty"`
	Asked   int64         `json:"asked,omitempty"`
	Text    Text          `json:"text,omitempty"`

	Hid    uint64 `json:"hid,omitempty"` // how much of Read others are not to know
	Joined uint64 `json:"joined,omitempty"`
	Owed   uint64 `json:"owed,omitempty"`  // a message of his of which he is to be told
	Hides  bool   `json:"hides,omitempty"` // he has deleted something for himself that counted
}

// Side is somebody's own side of a conversation. Sides are sorted by user and conversation.
type Side struct {
	User    accounts.Name     `json:"user"`
	C       chat.Conversation `json:"c"`
	Mute    int64             `json:"mute,omitempty"`
	Pin     bool              `json:"pin,omitempty"`
	Archive bool              `json:"archive,omitempty"`
	Hide    uint64            `json:"hide,omitempty"`
	Flag    bool              `json:"flag,omitempty"`
	Draft   Text              `json:"draft,omitempty"`
	Private bool              `json:"private,omitempty"`
	Remark  Text              `json:"remark,omitempty"`
}

// Boxed is a conversation in somebody's box. They are sorted by user and conversation.
type Boxed struct {
	User    accounts.Name     `json:"user"`
	C       chat.Conversation `json:"c"`
	Dropped bool              `json:"dropped,omitempty"`
}

// Message is a message in its place. Messages are sorted by conversation and seq.
type Message struct {
	C        chat.Conversation `json:"c"`
	Seq      uint64            `json:"seq"`
	TS       int64             `json:"ts"`
	N        uint64            `json:"n,omitempty"`
	Own      uint64            `json:"own,omitempty"`
	ID       Text              `json:"id"`
	MID      Text              `json:"mid,omitempty"` // absent: the id
	From     accounts.Name     `json:"from"`
	Kind     Text              `json:"k"`
	Body     Body              `json:"body,omitempty"`
	Re       uint64            `json:"re,omitempty"`
	At       []accounts.Name   `json:"at,omitempty"`
	TTL      int64             `json:"ttl,omitempty"`
	Fallback Text              `json:"fallback,omitempty"`
	Silent   bool              `json:"silent,omitempty"`
	Everyone bool              `json:"everyone,omitempty"`
	Quotes   bool              `json:"quotes,omitempty"`
	FwdFrom  accounts.Name     `json:"fwd_from,omitempty"`
	FwdTS    int64             `json:"fwd_ts,omitempty"`
	Edited   int64             `json:"edited,omitempty"`
	Rev      uint64            `json:"rev,omitempty"` // of the last change of what it says
	Edits    int               `json:"edits,omitempty"`
	Why      string            `json:"why,omitempty"` // it is gone
}

// Own says how many counting messages of a room are somebody's up to one of his. They are sorted by conversation, name and seq.
type Own struct {
	C   chat.Conversation `json:"c"`
	Who accounts.Name     `json:"who"`
	Seq uint64            `json:"seq"`
	N   uint64            `json:"n"`
}

// Gone is a counting message that counts no more. They are sorted by conversation and seq.
type Gone struct {
	C    chat.Conversation `json:"c"`
	Seq  uint64            `json:"seq"`
	From accounts.Name     `json:"from"`
}

// Mention is a message that mentions somebody who has not read it. They are sorted by conversation, name and seq.
type Mention struct {
	C    chat.Conversation `json:"c"`
	Who  accounts.Name     `json:"who,omitempty"` // absent: everyone
	Seq  uint64            `json:"seq"`
	From accounts.Name     `json:"from,omitempty"` // if it mentions everyone
}

// Change is something that was done to a message. Changes are sorted by conversation and rev.
type Change struct {
	C     chat.Conversation `json:"c"`
	Rev   uint64            `json:"rev"`
	Op    chat.Op           `json:"op"`
	Seq   uint64            `json:"seq"`
	By    accounts.Name     `json:"by,omitempty"` // absent: the message's time was over
	TS    int64             `json:"ts"`
	Emoji Text              `json:"emoji,omitempty"`
	Why   string            `json:"why,omitempty"`
}

// Edit is what a message said before it was edited. Edits are sorted by conversation, seq and rev.
type Edit struct {
	C    chat.Conversation `json:"c"`
	Seq  uint64            `json:"seq"`
	Rev  uint64            `json:"rev"` // of the change that made it say so; 0: it was sent so
	TS   int64             `json:"ts"`  // since when
	Body Body              `json:"body,omitempty"`
}

// Reaction is somebody's to a message, or how many there are with one emoji. They are sorted by conversation, seq, emoji
// and name.
type Reaction struct {
	C     chat.Conversation `json:"c"`
	Seq   uint64            `json:"seq"`
	Emoji Text              `json:"emoji"`
	Who   accounts.Name     `json:"who,omitempty"` // absent: N is how many there are
	TS    int64             `json:"ts,omitempty"`
	N     uint64            `json:"n,omitempty"`
}

// Pin is a message that is pinned. Pins are sorted by conversation and seq.
type Pin struct {
	C   chat.Conversation `json:"c"`
	Seq uint64            `json:"seq"`
	TS  int64             `json:"ts"`
}

// Hidden is a message that somebody has deleted for himself. They are sorted by user, conversation and seq.
type Hidden struct {
	User   accounts.Name     `json:"user"`
	C      chat.Conversation `json:"c"`
	Seq    uint64            `json:"seq,omitempty"`    // absent: UpTo is the last of all that he has deleted at once
	Counts bool              `json:"counts,omitempty"` // as unread, but for that
	UpTo   uint64            `json:"upto,omitempty"`
}

// MID is the name that a sender gave a message, or a change of one, by which a repeat is known. MIDs are sorted by
// conversation, sender and mid.
type MID struct {
	C           chat.Conversation `json:"c"`
	From        accounts.Name     `json:"from"`
	MID         Text              `json:"mid"`
	Seq         uint64            `json:"seq"`
	Fingerprint Hex               `json:"fingerprint,omitempty"`
	Op          chat.Op           `json:"op,omitempty"` // of a change
	Rev         uint64            `json:"rev,omitempty"`
	TS          int64             `json:"ts,omitempty"` // of what is not, or not any more, a message that is there
	ID          Text              `json:"id,omitempty"` // of a message that is not there any more
}

// Entry is one place of a user's stream. Entries are sorted by user and usn.
type Entry struct {
	User         accounts.Name     `json:"user"`
	USN          uint64            `json:"usn"`
	Type         chat.EntryType    `json:"type"`
	Conversation chat.Conversation `json:"c,omitempty"`
	Seq          uint64            `json:"seq,omitempty"`
	TS           int64             `json:"ts,omitempty"`
	Who          accounts.Name     `json:"who,omitempty"`
	Recv         uint64            `json:"recv,omitempty"`
	Read         uint64            `json:"read,omitempty"`
	State        chat.ContactState `json:"state,omitempty"`
	Greeting     Text              `json:"greeting,omitempty"`
	Until        int64             `json:"until,omitempty"`
	Blocked      bool              `json:"blocked,omitempty"`
	Ignored      bool              `json:"ignored,omitempty"`
	Remark       Text              `json:"remark,omitempty"`
	Tags         []Text            `json:"tags,omitempty"`
	Version      uint64            `json:"version,omitempty"`
	Name         Text              `json:"name,omitempty"`
	Avatar       Text              `json:"avatar,omitempty"`
	Verified     bool              `json:"verified,omitempty"`
	Bot          bool              `json:"bot,omitempty"`
	Login        chat.LoginState   `json:"login,omitempty"`
	LoginID      Text              `json:"login_id,omitempty"`
	LoginLabel   Text              `json:"login_label,omitempty"`
	LoginAddr    Text              `json:"login_addr,omitempty"`
	Room         chat.RoomState    `json:"room,omitempty"`
	By           accounts.Name     `json:"by,omitempty"`
	Title        Text              `json:"title,omitempty"`
	Role         chat.Role         `json:"role,omitempty"`
	Text         Text              `json:"text,omitempty"`
	OwnSide      *SideChange       `json:"side,omitempty"`
	RecvN        int               `json:"recv_n,omitempty"`
	ReadN        int               `json:"read_n,omitempty"`
	OfN          int               `json:"of_n,omitempty"`
	Rev          uint64            `json:"rev,omitempty"` // of a change of a message
	Seqs         []uint64          `json:"seqs,omitempty"`
}

// SideChange is what has changed of a Side; absent: it has not.
type SideChange struct {
	Mute    *int64 `json:"mute,omitempty"`
	Pin     *bool  `json:"pin,omitempty"`
	Archive *bool  `json:"archive,omitempty"`
	Hide    *bool  `json:"hide,omitempty"`
	Flag    *bool  `json:"flag,omitempty"`
	Draft   *Text  `json:"draft,omitempty"`
	Private *bool  `json:"private,omitempty"`
	Remark  *Text  `json:"remark,omitempty"`
}

// UserProperty is one of MQTT 5.
type UserProperty struct {
	Name  Text `json:"name,omitempty"`
	Value Text `json:"value,omitempty"`
}

// Retained is the retained message of a topic. They are sorted by their topics.
type Retained struct {
	Topic            Text           `json:"topic"`
	Payload          Bytes          `json:"payload,omitempty"`
	QoS              byte           `json:"qos,omitempty"`
	Retain           bool           `json:"retain,omitempty"`
	Account          accounts.Name  `json:"account,omitempty"` // of the session that published it; absent: the server did
	Client           Text           `json:"client,omitempty"`
	PayloadFormat    byte           `json:"payload_format,omitempty"`
	HasPayloadFormat bool           `json:"has_payload_format,omitempty"`
	ContentType      Text           `json:"content_type,omitempty"`
	EmptyContentType bool           `json:"empty_content_type,omitempty"`
	ResponseTopic    Text           `json:"response_topic,omitempty"`
	Correlation      *Bytes         `json:"correlation,omitempty"` // it may be there and empty
	User             []UserProperty `json:"properties,omitempty"`
	Time             int64          `json:"time,omitempty"`
	Expires          int64          `json:"expires,omitempty"`
}

// Of implements Record.
func (*User) Of() Kind { return KindUser }

// Of implements Record.
func (*Token) Of() Kind { return KindToken }

// Of implements Record.
func (*Device) Of() Kind { return KindDevice }

// Of implements Record.
func (*Invitation) Of() Kind { return KindInvitation }

// Of implements Record.
func (*Act) Of() Kind { return KindAct }

// Of implements Record.
func (*Person) Of() Kind { return KindPerson }

// Of implements Record.
func (*Handle) Of() Kind { return KindHandle }

// Of implements Record.
func (*Telling) Of() Kind { return KindTelling }

// Of implements Record.
func (*Seen) Of() Kind { return KindSeen }

// Of implements Record.
func (*List) Of() Kind { return KindList }

// Of implements Record.
func (*Contact) Of() Kind { return KindContact }

// Of implements Record.
func (*Conversation) Of() Kind { return KindConversation }

// Of implements Record.
func (*Member) Of() Kind { return KindMember }

// Of implements Record.
func (*Boxed) Of() Kind { return KindBoxed }

// Of implements Record.
func (*Message) Of() Kind { return KindMessage }

// Of implements Record.
func (*MID) Of() Kind { return KindMID }

// Of implements Record.
func (*Entry) Of() Kind { return KindEntry }

// Of implements Record.
func (*Retained) Of() Kind { return KindRetained }

// Of implements Record.
func (*Room) Of() Kind { return KindRoom }

// Of implements Record.
func (*Floor) Of() Kind { return KindFloor }

// Of implements Record.
func (*Snapshot) Of() Kind { return KindSnapshot }

// Of implements Record.
func (*Outdated) Of() Kind { return KindOutdated }

// Of implements Record.
func (*Likes) Of() Kind { return KindLikes }

// Of implements Record.
func (*Side) Of() Kind { return KindSide }

// Of implements Record.
func (*Own) Of() Kind { return KindOwn }

// Of implements Record.
func (*Gone) Of() Kind { return KindGone }

// Of implements Record.
func (*Mention) Of() Kind { return KindMention }

// Of implements Record.
func (*Change) Of() Kind { return KindChange }

// Of implements Record.
func (*Edit) Of() Kind { return KindEdit }

// Of implements Record.
func (*Reaction) Of() Kind { return KindReaction }

// Of implements Record.
func (*Pin) Of() Kind { return KindPin }

// Of implements Record.
func (*Hidden) Of() Kind { return KindHidden }
