package mongo

import (
	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// messageDoc is what a message is, but for what its entry says.
type messageDoc struct {
	ID       string          `bson:"id"`
	MID      string          `bson:"mid,omitempty"` // empty: the same as ID
	From     accounts.Name   `bson:"from"`
	Kind     string          `bson:"k"`
	N        int64           `bson:"n,omitempty"`
	Own      int64           `bson:"own,omitempty"`
	Out      bool            `bson:"out,omitempty"`  // its sender was not in the room: none of his own are counted
	Body     []byte          `bson:"body,omitempty"` // JSON
	Re       int64           `bson:"re,omitempty"`
	At       []accounts.Name `bson:"at,omitempty"`
	TTL      int64           `bson:"ttl,omitempty"`
	Fallback string          `bson:"fallback,omitempty"`
	Silent   bool            `bson:"silent,omitempty"`
	Everyone bool            `bson:"everyone,omitempty"`
	Quotes   bool            `bson:"quotes,omitempty"`
	FwdFrom  accounts.Name   `bson:"fwd_from,omitempty"`
	FwdTS    int64           `bson:"fwd_ts,omitempty"`
	Edited   int64           `bson:"edited,omitempty"` // Unix milliseconds
	Rev      int64           `bson:"rev,omitempty"`    // of the last change of what it says
	Why      string          `bson:"why,omitempty"`    // it is gone
	Edits    []editDoc       `bson:"edits,omitempty"`  // what it said before, oldest first
}

// editDoc is what a message said before it was edited.
type editDoc struct {
	Rev  int64  `bson:"rev,omitempty"` // of the change that made it say so; 0: it was sent so
	TS   int64  `bson:"ts"`            // since when
	Body []byte `bson:"body,omitempty"`
}

func messageDocOf(d chat.Draft) *messageDoc {
	m := &messageDoc{
		ID: d.ID, MID: d.MID, From: d.From, Kind: d.Kind, Body: d.Body, Re: int64(d.Re), At: d.At, TTL: d.TTL,
		Fallback: d.Fallback, Silent: d.Silent, Everyone: d.Everyone, Quotes: d.Quote, FwdFrom: d.Fwd.From, FwdTS: d.Fwd.TS,
	}
	if m.MID == m.ID {
		m.MID = ""
	}
	return m
}

// message is the message of an entry, as it is stored.
func (e *logDoc) message() chat.Message {
	d := e.Message
	m := chat.Message{
		Conversation: e.Conversation, Seq: uint64(e.Seq), ID: d.ID, MID: d.MID, From: d.From, TS: e.TS, Kind: d.Kind,
		Body: d.Body, Re: uint64(d.Re), At: d.At, TTL: d.TTL, Fallback: d.Fallback, Silent: d.Silent, N: uint64(d.N),
		Own: uint64(d.Own), Everyone: d.Everyone, Quotes: d.Quotes, Fwd: chat.Forward{From: d.FwdFrom, TS: d.FwdTS},
		Edited: d.Edited, Rev: uint64(d.Rev), Why: d.Why,
	}
	if m.Kind == chat.KindGone && m.Why == "" {
		m.Why = chat.WhyDeleted
	}
	if m.MID == "" {
		m.MID = m.ID
	}
	return m
}

// changeDoc is a change of a message. What an edit says is in the message, so that nothing of it is left when that is gone.
type changeDoc struct {
	Op    chat.Op       `bson:"op"`
	Seq   int64         `bson:"s"`
	By    accounts.Name `bson:"by,omitempty"` // empty: the message's time was over
	Emoji string        `bson:"emoji,omitempty"`
	Why   string        `bson:"why,omitempty"`
}

// seqMark is a message of somebody that is not like others.
type seqMark struct {
	Seq  int64         `bson:"s"`
	From accounts.Name `bson:"f"`
}

// convDoc is the state of a conversation.
type convDoc struct {
	Name    chat.Conversation `bson:"_id"`
	N       int64             `bson:"n"`              // of the last entry
	Created int64             `bson:"made,omitempty"` // Unix milliseconds; 0: it is as if it were not there
	Head    int64             `bson:"head,omitempty"` // last seq
	TS      int64             `bson:"ts,omitempty"`   // of the last message
	Count   int64             `bson:"count,omitempty"`
	LastBy  accounts.Name     `bson:"last_by,omitempty"`  // who has sent the last message
	LastOwn int64             `bson:"last_own,omitempty"` // how many of Count are his
	Rev     int64             `bson:"rev,omitempty"`
	Gone    []seqMark         `bson:"gone,omitempty"`  // counting messages that count no more, in the order of seq
	Calls   []seqMark         `bson:"calls,omitempty"` // messages that mention everyone, in the order of seq
	Pins    []int64           `bson:"pins,omitempty"`  // sorted
	Floor   floorDoc          `bson:"floor,omitempty"`
	Talk    *talkDoc          `bson:"talk,omitempty"` // of two people
	Room    *roomDoc          `bson:"room,omitempty"` // of kinds that people join and leave
	Link    string            `bson:"link,omitempty"` // of a room
	Likes   int64             `bson:"likes,omitempty"`
	Snap    *snapshotDoc      `bson:"snap,omitempty"` // of a board
}

// floorDoc says where a conversation begins.
type floorDoc struct {
	Floor int64 `bson:"floor,omitempty"` // the first seq that is there
	Ops   int64 `bson:"ops,omitempty"`   // of a board: operations up to here are removed

	// Of the last message below the floor, if what was removed counted.
	N    int64         `bson:"n,omitempty"`
	From accounts.Name `bson:"from,omitempty"`
	Own  int64         `bson:"own,omitempty"`
}

// talkDoc is the state of the conversation of two people.
type talkDoc struct {
	Exists  bool          `bson:"exists,omitempty"`
	Open    bool          `bson:"open,omitempty"`
	Asker   accounts.Name `bson:"asker,omitempty"`
	Dropped bool          `bson:"dropped,omitempty"`
}

// snapshotDoc says of which moment the snapshot of a board is. What it says has a document of its own.
type snapshotDoc struct {
	Seq int64 `bson:"s"`
	TS  int64 `bson:"ts"`
}

// roomDoc is the state of a room, but for its link's name.
type roomDoc struct {
	Owner    accounts.Name      `bson:"owner"`
	Ended    int64              `bson:"ended,omitempty"`
	Version  int64              `bson:"version,omitempty"`
	Members  int                `bson:"members,omitempty"`
	Large    bool               `bson:"large,omitempty"`
	LinkUses int                `bson:"link_uses,omitempty"`
	LinkEnds int64              `bson:"link_ends,omitempty"`
	Partings int64              `bson:"partings,omitempty"`
	Title    string             `bson:"title,omitempty"`
	Avatar   string             `bson:"avatar,omitempty"`
	Notice   string             `bson:"notice,omitempty"`
	Join     chat.JoinPolicy    `bson:"join,omitempty"`
	Invite   chat.Group         `bson:"invite,omitempty"`
	History  chat.HistoryPolicy `bson:"history,omitempty"`
	Post     chat.Group         `bson:"post,omitempty"`
	Slow     int64              `bson:"slow,omitempty"`
	Muted    int64              `bson:"muted,omitempty"`
	Keep     int64              `bson:"keep,omitempty"`
	Rooms    chat.Places        `bson:"rooms,omitempty"`
}

// memberKey is the _id of a memberDoc, and of a relationDoc, where C is the other one.
type memberKey struct {
	User accounts.Name     `bson:"u"`
	C    chat.Conversation `bson:"c"`
}

// memberDoc is what somebody is to a conversation: how far he has come, what others were told of that, what he is to a room, and
// his own side of it.
type memberDoc struct {
	Key memberKey         `bson:"_id"`
	N   int64             `bson:"n"`
	U   accounts.Name     `bson:"u"` // as in Key, for the indexes
	C   chat.Conversation `bson:"c"`

	In      bool `bson:"in,omitempty"`      // the conversation is one of his
	Boxed   bool `bson:"boxed,omitempty"`   // a stranger's, who was not answered
	Dropped bool `bson:"dropped,omitempty"` // which was put away

	// What these say is there for the indexes to find, which know only those that say something.
	Pending accounts.Name `bson:"pending,omitempty"` // U, if he is invited to the room, or asks to be let in
	Spoke   accounts.Name `bson:"spoke,omitempty"`   // U, if he has written in the room
	Untold  string        `bson:"untold,omitempty"`  // an untoldKey, if something is to be told of him, or to him

	Recv    int64 `bson:"recv,omitempty"`
	Read    int64 `bson:"read,omitempty"`
	ReadN   int64 `bson:"read_n,omitempty"`   // counting messages up to Read
	ReadOwn int64 `bson:"read_own,omitempty"` // the member's own among them
	Hid     int64 `bson:"hid,omitempty"`      // how much of Read others are not to know
	Joined  int64 `bson:"joined,omitempty"`   // in rooms: the first seq after he has joined

	ToldRecv int64 `bson:"told_recv,omitempty"`
	ToldRead int64 `bson:"told_read,omitempty"`
	ToldTS   int64 `bson:"told_ts,omitempty"`  // when, in Unix milliseconds
	ToldUSN  int64 `bson:"told_usn,omitempty"` // where in the stream of who was told
	Owed     int64 `bson:"owed,omitempty"`     // in rooms: the newest of his messages of which he is to be told

	// Base is the seq after which messages count, if that is more than Read: ReadN and ReadOwn are those up to there then.
	Base int64 `bson:"base,omitempty"`

	Hides      bool    `bson:"hides,omitempty"`       // he has deleted messages for himself
	HidCounted bool    `bson:"hid_counted,omitempty"` // some of which counted
	Hidden     []int64 `bson:"hidden,omitempty"`      // those of them of others after since that count, sorted
	Mentions   []int64 `bson:"mentions,omitempty"`    // messages after since that mention him by name, sorted

	// Of rooms only.
	Own     int64         `bson:"own,omitempty"`   // counting messages that he has sent
	Wrote   int64         `bson:"wrote,omitempty"` // the seq of the last of them; 0: it is not known
	Sent    int64         `bson:"sent,omitempty"`  // when he sent the last one, in Unix milliseconds
	Role    chat.Role     `bson:"role,omitempty"`
	Since   int64         `bson:"since,omitempty"`
	From    int64         `bson:"from,omitempty"`
	Past    []int64       `bson:"past,omitempty"` // from, to, from, to ...
	Muted   int64         `bson:"muted,omitempty"`
	Banned  int64         `bson:"banned,omitempty"`
	Inviter accounts.Name `bson:"inviter,omitempty"`
	Asked   int64         `bson:"asked,omitempty"`
	Text    string        `bson:"text,omitempty"`

	Side *sideDoc `bson:"side,omitempty"`
}

// sideDoc is a user's own side of a conversation.
type sideDoc struct {
	Mute    int64  `bson:"mute,omitempty"`
	Pin     bool   `bson:"pin,omitempty"`
	Archive bool   `bson:"archive,omitempty"`
	Hide    int64  `bson:"hide,omitempty"`
	Flag    bool   `bson:"flag,omitempty"`
	Draft   string `bson:"draft,omitempty"`
	Private bool   `bson:"private,omitempty"`
	Remark  string `bson:"remark,omitempty"`
}

// relationKey is the _id of a relationDoc.
type relationKey struct {
	User  accounts.Name `bson:"u"`
	Other accounts.Name `bson:"p"`
}

// relationDoc is what one user is to another.
type relationDoc struct {
	Key      relationKey   `bson:"_id"`
	N        int64         `bson:"n"`
	U        accounts.Name `bson:"u"` // as in Key, for the indexes
	P        accounts.Name `bson:"p"`
	State    string        `bson:"state,omitempty"`
	Greeting string        `bson:"greeting,omitempty"`
	Since    int64         `bson:"since,omitempty"`
	Until    int64         `bson:"until,omitempty"`
	Blocked  bool          `bson:"blocked,omitempty"`
	Ignored  bool          `bson:"ignored,omitempty"`
	Refused  int64         `bson:"refused,omitempty"`
	Silently bool          `bson:"silently,omitempty"`
	Remark   string        `bson:"remark,omitempty"`
	Tags     []string      `bson:"tags,omitempty"`
	Version  int64         `bson:"ver,omitempty"` // of his list, in which it became as it is
}

// entryDoc is an entry of a stream. It points at a message, or at a change of one, or says the rest itself. Its fields are as in
// transfer.Entry.
type entryDoc struct {
	Type         chat.EntryType    `bson:"t"`
	Conversation chat.Conversation `bson:"c,omitempty"`
	Seq          int64             `bson:"s,omitempty"`
	TS           int64             `bson:"ts,omitempty"`
	Who          accounts.Name     `bson:"who,omitempty"`
	Recv         int64             `bson:"recv,omitempty"`
	Read         int64             `bson:"read,omitempty"`
	State        chat.ContactState `bson:"state,omitempty"`
	Greeting     string            `bson:"greeting,omitempty"`
	Until        int64             `bson:"until,omitempty"`
	Blocked      bool              `bson:"blocked,omitempty"`
	Ignored      bool              `bson:"ignored,omitempty"`
	Remark       string            `bson:"remark,omitempty"`
	Tags         []string          `bson:"tags,omitempty"`
	Version      int64             `bson:"ver,omitempty"`
	Name         string            `bson:"name,omitempty"`
	Avatar       string            `bson:"avatar,omitempty"`
	Verified     bool              `bson:"verified,omitempty"`
	Bot          bool              `bson:"bot,omitempty"`
	Login        chat.LoginState   `bson:"login,omitempty"`
	LoginID      string            `bson:"login_id,omitempty"`
	LoginLabel   string            `bson:"login_label,omitempty"`
	LoginAddr    string            `bson:"login_addr,omitempty"`
	RecvN        int               `bson:"recv_n,omitempty"`
	ReadN        int               `bson:"read_n,omitempty"`
	OfN          int               `bson:"of_n,omitempty"`
	Room         chat.RoomState    `bson:"room,omitempty"`
	By           accounts.Name     `bson:"by,omitempty"`
	Title        string            `bson:"title,omitempty"`
	Role         chat.Role         `bson:"role,omitempty"`
	Text         string            `bson:"text,omitempty"`
	OwnSide      *sideChangeDoc    `bson:"side,omitempty"`
	Rev          int64             `bson:"rev,omitempty"` // of a change of a message
	Seqs         []int64           `bson:"seqs,omitempty"`
}

// sideChangeDoc is what has changed of a sideDoc; nil: it has not.
type sideChangeDoc struct {
	Mute    *int64  `bson:"mute,omitempty"`
	Pin     *bool   `bson:"pin,omitempty"`
	Archive *bool   `bson:"archive,omitempty"`
	Hide    *bool   `bson:"hide,omitempty"`
	Flag    *bool   `bson:"flag,omitempty"`
	Draft   *string `bson:"draft,omitempty"`
	Private *bool   `bson:"private,omitempty"`
	Remark  *string `bson:"remark,omitempty"`
}
