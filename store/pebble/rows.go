package pebble

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// Values are CBOR maps with small integers for keys. A field that is not there is its zero value; a number once used is
// never used for something else. A row that an older version could misread by ignoring what it does not know needs a new
// format version.

// formatVersion is what this version writes and the highest that it reads.
const formatVersion = 3

type formatRow struct {
	Version int    `cbor:"1,keyasint"`
	Product string `cbor:"2,keyasint"`
}

const product = "magpie"

// moment is a time to the nanosecond; the zero time is zero.
type moment struct {
	Sec  int64 `cbor:"1,keyasint,omitempty"`
	Nsec int64 `cbor:"2,keyasint,omitempty"`
}

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

func (m moment) time() time.Time {
	if m == (moment{}) {
		return time.Time{}
	}
	return time.Unix(m.Sec, m.Nsec).UTC()
}

type userRow struct {
	Password string `cbor:"1,keyasint,omitempty"`
	Disabled bool   `cbor:"2,keyasint,omitempty"`
	Created  moment `cbor:"3,keyasint"`
	Deleted  moment `cbor:"4,keyasint,omitzero"`

	Reason       string        `cbor:"5,keyasint,omitempty"` // of Disabled
	Until        moment        `cbor:"6,keyasint,omitzero"`  // of Disabled
	Role         accounts.Role `cbor:"7,keyasint,omitempty"`
	Recovery     []byte        `cbor:"8,keyasint,omitempty"` // digest
	RecoveryEnds moment        `cbor:"9,keyasint,omitzero"`
}

func (r userRow) user(name accounts.Name) accounts.User {
	return accounts.User{
		Name: name, Password: r.Password, Role: r.Role, Created: r.Created.time(), Deleted: r.Deleted.time(),
		Suspension: accounts.Suspension{Disabled: r.Disabled, Reason: r.Reason, Until: r.Until.time()},
	}
}

type tokenRow struct {
	Owner   accounts.Name `cbor:"1,keyasint"`
	Label   string        `cbor:"2,keyasint,omitempty"`
	Created moment        `cbor:"3,keyasint"`
	Expires moment        `cbor:"4,keyasint"`
}

func (r tokenRow) token(d accounts.Digest) accounts.Token {
	return accounts.Token{
		Digest: d, Owner: r.Owner, Label: r.Label, Created: r.Created.time(), Expires: r.Expires.time(),
	}
}

type invitationRow struct {
	Uses    int           `cbor:"1,keyasint"`
	Expires moment        `cbor:"2,keyasint"`
	Made    int           `cbor:"3,keyasint,omitempty"`
	Label   string        `cbor:"4,keyasint,omitempty"`
	By      accounts.Name `cbor:"5,keyasint,omitempty"`
	Created moment        `cbor:"6,keyasint,omitzero"`
}

func (r invitationRow) invitation(d accounts.Digest) accounts.Invitation {
	return accounts.Invitation{
		Digest: d, Uses: r.Uses, Made: r.Made, Label: r.Label, By: r.By, Created: r.Created.time(), Expires: r.Expires.time(),
	}
}

// auditRow is what an administrator did. Its time is in its key.
type auditRow struct {
	Time    moment        `cbor:"1,keyasint"`
	By      accounts.Name `cbor:"2,keyasint,omitempty"`
	From    string        `cbor:"3,keyasint,omitempty"`
	Method  string        `cbor:"4,keyasint"`
	Target  string        `cbor:"5,keyasint,omitempty"`
	Outcome string        `cbor:"6,keyasint,omitempty"`
}

// conversationRow says since when there is a conversation, and what does not change with every message.
type conversationRow struct {
	Members []accounts.Name `cbor:"1,keyasint"` // null of rooms
	Created int64           `cbor:"2,keyasint"` // Unix milliseconds
	Open    bool            `cbor:"3,keyasint,omitempty"`
	Asker   accounts.Name   `cbor:"4,keyasint,omitempty"`
	Dropped bool            `cbor:"5,keyasint,omitempty"`
	Info    *infoRow        `cbor:"6,keyasint,omitempty"` // of a room
}

// placeRow is what a message gets when it finds its place. It stands before the contentRow in one value, so that the rest
// is encoded before the place is known, and heads are read without it.
type placeRow struct {
	TS  int64  `cbor:"1,keyasint"`
	N   uint64 `cbor:"2,keyasint,omitempty"`
	Own uint64 `cbor:"3,keyasint,omitempty"`
}

type contentRow struct {
	ID       string          `cbor:"1,keyasint"`
	MID      string          `cbor:"2,keyasint,omitempty"` // empty: the same as ID
	From     accounts.Name   `cbor:"3,keyasint"`
	Kind     string          `cbor:"4,keyasint"`
	Body     []byte          `cbor:"5,keyasint,omitempty"`
	Re       uint64          `cbor:"6,keyasint,omitempty"`
	At       []accounts.Name `cbor:"7,keyasint,omitempty"`
	TTL      int64           `cbor:"8,keyasint,omitempty"`
	Fallback string          `cbor:"9,keyasint,omitempty"`
	Silent   bool            `cbor:"10,keyasint,omitempty"`
	Everyone bool            `cbor:"11,keyasint,omitempty"`
	Quotes   bool            `cbor:"12,keyasint,omitempty"`
	FwdFrom  accounts.Name   `cbor:"13,keyasint,omitempty"`
	FwdTS    int64           `cbor:"14,keyasint,omitempty"`
	Edited   int64           `cbor:"15,keyasint,omitempty"` // Unix milliseconds
	Rev      uint64          `cbor:"16,keyasint,omitempty"` // of the last change of what it says
	Edits    int             `cbor:"17,keyasint,omitempty"`
	Why      string          `cbor:"18,keyasint,omitempty"` // it is gone
}

func contentOf(d chat.Draft) contentRow {
	r := contentRow{
		ID: d.ID, MID: d.MID, From: d.From, Kind: d.Kind, Body: d.Body, Re: d.Re, At: d.At, TTL: d.TTL,
		Fallback: d.Fallback, Silent: d.Silent, Everyone: d.Everyone, Quotes: d.Quote, FwdFrom: d.Fwd.From, FwdTS: d.Fwd.TS,
	}
	if r.MID == r.ID {
		r.MID = ""
	}
	return r
}

func (r contentRow) message(c chat.Conversation, seq uint64, p placeRow) chat.Message {
	m := chat.Message{
		Conversation: c, Seq: seq, ID: r.ID, MID: r.MID, From: r.From, TS: p.TS, Kind: r.Kind, Body: r.Body, Re: r.Re,
		At: r.At, TTL: r.TTL, Fallback: r.Fallback, Silent: r.Silent, N: p.N, Own: p.Own,
		Everyone: r.Everyone, Quotes: r.Quotes, Fwd: chat.Forward{From: r.FwdFrom, TS: r.FwdTS},
		Edited: r.Edited, Rev: r.Rev, Why: r.Why,
	}
	if m.Kind == chat.KindGone && m.Why == "" {
		m.Why = chat.WhyDeleted
	}
	if m.MID == "" {
		m.MID = m.ID
	}
	return m
}

type midRow struct {
	Seq         uint64 `cbor:"1,keyasint"`
	Fingerprint []byte `cbor:"2,keyasint"`

	// Of a change of a message.
	Op  int    `cbor:"3,keyasint,omitempty"`
	Rev uint64 `cbor:"4,keyasint,omitempty"`

	TS int64  `cbor:"5,keyasint,omitempty"` // of a change, of likes, and of a message that is not there any more
	ID string `cbor:"6,keyasint,omitempty"` // of a message that is not there any more
}

// ends says whether the mid ends some time after it was written, because there is no message with which it would.
func (r midRow) ends() bool { return r.Op != 0 || r.Seq == 0 || r.ID != "" }

// memberRow is how far a member of a conversation has come, what the other one of a direct conversation was told of it, and
// what he is to a room.
type memberRow struct {
	Recv    uint64 `cbor:"1,keyasint,omitempty"`
	Read    uint64 `cbor:"2,keyasint,omitempty"`
	ReadN   uint64 `cbor:"3,keyasint,omitempty"` // counting messages up to Read
	ReadOwn uint64 `cbor:"4,keyasint,omitempty"` // the member's own among them

	ToldRecv uint64 `cbor:"5,keyasint,omitempty"`
	ToldRead uint64 `cbor:"6,keyasint,omitempty"`
	ToldTS   int64  `cbor:"7,keyasint,omitempty"` // when, in Unix milliseconds
	ToldUSN  uint64 `cbor:"8,keyasint,omitempty"` // where in the other's stream

	// Base is the seq after which messages count, if that is more than Read: ReadN and ReadOwn are those up to there then.
	Base uint64 `cbor:"9,keyasint,omitempty"`

	// Of rooms only.
	Own     uint64        `cbor:"10,keyasint,omitempty"` // counting messages that he has sent
	Sent    int64         `cbor:"11,keyasint,omitempty"` // when he sent the last one, in Unix milliseconds
	Role    int           `cbor:"12,keyasint,omitempty"`
	Since   int64         `cbor:"13,keyasint,omitempty"`
	From    uint64        `cbor:"14,keyasint,omitempty"`
	Past    []uint64      `cbor:"15,keyasint,omitempty"` // from, to, from, to ...
	Muted   int64         `cbor:"16,keyasint,omitempty"`
	Banned  int64         `cbor:"17,keyasint,omitempty"`
	Inviter accounts.Name `cbor:"18,keyasint,omitempty"`
	Asked   int64         `cbor:"19,keyasint,omitempty"`
	Text    string        `cbor:"20,keyasint,omitempty"`

	Hid    uint64 `cbor:"21,keyasint,omitempty"` // how much of Read others are not to know
	Joined uint64 `cbor:"22,keyasint,omitempty"` // in rooms: the first seq after he has joined
	// Owed is, in rooms, the newest of his messages of which he is to be told when he has taken the last receipt, at ToldUSN of
	// his own stream; 0: none.
	Owed uint64 `cbor:"23,keyasint,omitempty"`

	// Hides says that he has deleted something for himself that counted: tableHidden has it.
	Hides bool `cbor:"24,keyasint,omitempty"`
}

// public is how far others may know that he has read.
func (r *memberRow) public() uint64 { return r.Read - r.Hid }

// since is the seq after which messages count as unread.
func (r *memberRow) since() uint64 { return max(r.Read, r.Base) }

func (r *memberRow) marks() chat.Marks { return chat.Marks{Recv: r.Recv, Read: r.Read} }

// reader is how far others may know that he has come.
func (r *memberRow) reader() chat.Reader {
	return chat.Reader{Recv: r.Recv, Read: r.public(), ToldRecv: r.ToldRecv, ToldRead: r.ToldRead, Joined: r.Joined}
}

// moved says that the marks have moved past what was told of them.
func (r *memberRow) moved() bool { return r.reader().Moved() }

// untold says that something is to be told, of him or to him.
func (r *memberRow) untold() bool { return r.moved() || r.Owed > 0 }

// pending says whether he is invited to a room, or asks to be let in.
func (r *memberRow) pending() bool { return r.Inviter != "" || r.Asked != 0 }

// What an entryRow is about.
const (
	entryMessage = 1
	entryReceipt = 2
	entryRead    = 3
	entryContact = 4
	entryProfile = 7
	entrySession = 8
	entryConv    = 9

	// Changes of messages are entryOp and the number of what is done.
	entryOp   = 10
	entryHide = 17
)

// entryRow points at a message, or at a change of one, or says the rest itself. A message's time is in its own row.
type entryRow struct {
	Type         int               `cbor:"1,keyasint"`
	Conversation chat.Conversation `cbor:"2,keyasint,omitempty"`
	Seq          uint64            `cbor:"3,keyasint,omitempty"`
	TS           int64             `cbor:"4,keyasint,omitempty"`
	Who          accounts.Name     `cbor:"5,keyasint,omitempty"`
	Recv         uint64            `cbor:"6,keyasint,omitempty"`
	Read         uint64            `cbor:"7,keyasint,omitempty"`
	State        int               `cbor:"8,keyasint,omitempty"`
	Greeting     string            `cbor:"9,keyasint,omitempty"`
	Until        int64             `cbor:"10,keyasint,omitempty"`
	Blocked      bool              `cbor:"11,keyasint,omitempty"`
	Ignored      bool              `cbor:"12,keyasint,omitempty"`
	Remark       string            `cbor:"13,keyasint,omitempty"`
	Tags         []string          `cbor:"14,keyasint,omitempty"`
	Version      uint64            `cbor:"15,keyasint,omitempty"`
	Name         string            `cbor:"21,keyasint,omitempty"`
	Avatar       string            `cbor:"22,keyasint,omitempty"`
	Verified     bool              `cbor:"23,keyasint,omitempty"`
	Bot          bool              `cbor:"24,keyasint,omitempty"`
	Login        chat.LoginState   `cbor:"31,keyasint,omitempty"`
	LoginID      string            `cbor:"32,keyasint,omitempty"`
	LoginLabel   string            `cbor:"33,keyasint,omitempty"`
	LoginAddr    string            `cbor:"34,keyasint,omitempty"`
	RecvN        int               `cbor:"61,keyasint,omitempty"`
	ReadN        int               `cbor:"62,keyasint,omitempty"`
	OfN          int               `cbor:"63,keyasint,omitempty"`
	Room         chat.RoomState    `cbor:"41,keyasint,omitempty"`
	By           accounts.Name     `cbor:"42,keyasint,omitempty"`
	Title        string            `cbor:"43,keyasint,omitempty"`
	Role         chat.Role         `cbor:"44,keyasint,omitempty"`
	Text         string            `cbor:"45,keyasint,omitempty"`
	OwnSide      *selfChangeRow    `cbor:"51,keyasint,omitempty"`
	Rev          uint64            `cbor:"52,keyasint,omitempty"`
	Seqs         []uint64          `cbor:"53,keyasint,omitempty"`
}

var entryTypes = map[int]chat.EntryType{
	entryMessage: chat.EntryMessage, entryReceipt: chat.EntryReceipt, entryRead: chat.EntryRead,
	entryContact: chat.EntryContact, entryProfile: chat.EntryProfile, entrySession: chat.EntrySession,
	entryConv: chat.EntryConv, entryHide: chat.EntryHide,
	entryOp + opEdit: chat.EntryEdit, entryOp + opRecall: chat.EntryRecall, entryOp + opReact: chat.EntryReact,
	entryOp + opUnreact: chat.EntryUnreact, entryOp + opPin: chat.EntryPin, entryOp + opUnpin: chat.EntryUnpin,
}

// What relations are on the disk.
const (
	relationPending   = 1
	relationRequested = 2
	relationAccepted  = 3
	relationDeleted   = 4
	relationEnded     = 5 // in entries only, as the next one
	relationRejected  = 6
)

var relationStates = map[int]chat.ContactState{
	0: chat.ContactNone, relationPending: chat.ContactPending, relationRequested: chat.ContactRequested,
	relationAccepted: chat.ContactAccepted, relationDeleted: chat.ContactDeleted, relationEnded: chat.ContactEnded,
	relationRejected: chat.ContactRejected,
}

// stateNumber is relationStates backwards.
func stateNumber(state chat.ContactState) int {
	for number, s := range relationStates {
		if s == state {
			return number
		}
	}
	panic("no such state: " + string(state))
}

type relationRow struct {
	State    int      `cbor:"1,keyasint"`
	Greeting string   `cbor:"2,keyasint,omitempty"`
	Since    int64    `cbor:"3,keyasint"`
	Until    int64    `cbor:"4,keyasint,omitempty"`
	Blocked  bool     `cbor:"5,keyasint,omitempty"`
	Ignored  bool     `cbor:"6,keyasint,omitempty"`
	Refused  int64    `cbor:"7,keyasint,omitempty"`
	Remark   string   `cbor:"8,keyasint,omitempty"`
	Tags     []string `cbor:"9,keyasint,omitempty"`
	Version  uint64   `cbor:"10,keyasint,omitempty"`
	Silently bool     `cbor:"11,keyasint,omitempty"`
}

func (r relationRow) side() chat.Side {
	return chat.Side{
		State: relationStates[r.State], Greeting: r.Greeting, Since: r.Since, Until: r.Until, Blocked: r.Blocked,
		Ignored: r.Ignored, Refused: r.Refused, Silently: r.Silently, Remark: r.Remark, Tags: r.Tags,
	}
}

func relationRowOf(s chat.Side, version uint64) relationRow {
	return relationRow{
		State: stateNumber(s.State), Greeting: s.Greeting, Since: s.Since, Until: s.Until, Blocked: s.Blocked,
		Ignored: s.Ignored, Refused: s.Refused, Silently: s.Silently, Remark: s.Remark, Tags: s.Tags, Version: version,
	}
}

// socialRow is what is counted of a user and others.
type socialRow struct {
	Asked    []int64 `cbor:"1,keyasint,omitempty"` // when he asked for contact, as far as it counts, in Unix milliseconds
	Contacts int     `cbor:"2,keyasint,omitempty"` // about how many he has; stores of earlier versions did not count
	Version  uint64  `cbor:"3,keyasint,omitempty"` // of his list
	Hides    bool    `cbor:"4,keyasint,omitempty"` // he has deleted messages for himself
}

type sessionRow struct {
	Version       byte              `cbor:"1,keyasint"`
	Text          bool              `cbor:"2,keyasint,omitempty"`
	AckEvents     bool              `cbor:"3,keyasint,omitempty"`
	SyncCursor    bool              `cbor:"4,keyasint,omitempty"`
	Subscriptions []subscriptionRow `cbor:"5,keyasint,omitempty"`
	ExpirySeconds uint32            `cbor:"6,keyasint,omitempty"`
	Open          bool              `cbor:"7,keyasint,omitempty"`
	Left          moment            `cbor:"8,keyasint"`
	Streaming     bool              `cbor:"9,keyasint,omitempty"`
	NextID        uint16            `cbor:"10,keyasint,omitempty"`
	Unacked       []answeredRow     `cbor:"11,keyasint,omitempty"`
	Number        sessions.Number   `cbor:"12,keyasint,omitempty"`
	Token         []byte            `cbor:"13,keyasint,omitempty"` // digest
	Name          string            `cbor:"14,keyasint,omitempty"`
	Invisible     bool              `cbor:"15,keyasint,omitempty"`
	Batch         bool              `cbor:"16,keyasint,omitempty"`
	Device        bool              `cbor:"17,keyasint,omitempty"`
}

type subscriptionRow struct {
	Filter            string `cbor:"1,keyasint"`
	Spelling          string `cbor:"2,keyasint,omitempty"`
	QoS               byte   `cbor:"3,keyasint,omitempty"`
	NoLocal           bool   `cbor:"4,keyasint,omitempty"`
	RetainAsPublished bool   `cbor:"5,keyasint,omitempty"`
	RetainHandling    byte   `cbor:"6,keyasint,omitempty"`
	ID                int    `cbor:"7,keyasint,omitempty"`
}

type answeredRow struct {
	ID          uint16            `cbor:"1,keyasint"`
	Fingerprint []byte            `cbor:"2,keyasint"`
	Reason      byte              `cbor:"3,keyasint,omitempty"`
	Text        string            `cbor:"4,keyasint,omitempty"`
	User        []userPropertyRow `cbor:"5,keyasint,omitempty"`
	Event       []byte            `cbor:"6,keyasint"` // null and empty are not the same
}

type userPropertyRow struct {
	Name  string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint"`
}

type flightRow struct {
	ID    uint16         `cbor:"1,keyasint,omitempty"`
	QoS   byte           `cbor:"2,keyasint,omitempty"`
	Stage sessions.Stage `cbor:"3,keyasint"`
	First uint64         `cbor:"4,keyasint,omitempty"` // a position
}

type replayRow struct {
	Filter  string `cbor:"1,keyasint"`
	QoS     byte   `cbor:"2,keyasint,omitempty"`
	SubID   int    `cbor:"3,keyasint,omitempty"`
	NoLocal bool   `cbor:"4,keyasint,omitempty"`
	After   string `cbor:"5,keyasint,omitempty"`
	Until   uint64 `cbor:"6,keyasint,omitempty"`
}

func replayRowOf(r sessions.Replay) replayRow {
	return replayRow{Filter: r.Filter, QoS: r.QoS, SubID: r.SubID, NoLocal: r.NoLocal, After: r.After, Until: r.Until}
}

func (r replayRow) replay(id uint64) sessions.Replay {
	return sessions.Replay{
		ID: id, Filter: r.Filter, QoS: r.QoS, SubID: r.SubID, NoLocal: r.NoLocal, After: r.After, Until: r.Until,
	}
}

type willRow struct {
	Version         byte              `cbor:"1,keyasint,omitempty"`
	Topic           string            `cbor:"2,keyasint"`
	Payload         []byte            `cbor:"3,keyasint,omitempty"`
	QoS             byte              `cbor:"4,keyasint,omitempty"`
	Retain          bool              `cbor:"5,keyasint,omitempty"`
	ContentType     string            `cbor:"6,keyasint,omitempty"`
	ResponseTopic   string            `cbor:"7,keyasint,omitempty"`
	Correlation     []byte            `cbor:"8,keyasint,omitempty"`
	User            []userPropertyRow `cbor:"9,keyasint,omitempty"`
	Expiry          uint32            `cbor:"10,keyasint,omitempty"`
	PayloadFormat   byte              `cbor:"11,keyasint,omitempty"`
	SubscriptionIDs []int             `cbor:"12,keyasint,omitempty"`
	DelaySeconds    uint32            `cbor:"13,keyasint,omitempty"`
	Due             moment            `cbor:"14,keyasint"`
}

func willRowOf(w sessions.Will) willRow {
	p := w.Publish
	r := willRow{
		Version: w.Version, Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, ContentType: p.ContentType,
		ResponseTopic: p.ResponseTopic, Correlation: p.Correlation, Expiry: p.Expiry, PayloadFormat: p.PayloadFormat,
		SubscriptionIDs: p.SubscriptionIDs, DelaySeconds: w.DelaySeconds, Due: momentOf(w.Due),
	}
	for _, u := range p.User {
		r.User = append(r.User, userPropertyRow(u))
	}
	return r
}

func (r willRow) will(k sessions.Key) sessions.Will {
	w := sessions.Will{
		Key: k, Version: r.Version, DelaySeconds: r.DelaySeconds, Due: r.Due.time(),
		Publish: sessions.Publish{
			Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, Retain: r.Retain, ContentType: r.ContentType,
			ResponseTopic: r.ResponseTopic, Correlation: r.Correlation, Expiry: r.Expiry, PayloadFormat: r.PayloadFormat,
			SubscriptionIDs: r.SubscriptionIDs,
		},
	}
	for _, u := range r.User {
		w.Publish.User = append(w.Publish.User, sessions.UserProperty(u))
	}
	return w
}

// The encoding is deterministic; the golden files depend on it. Strings may hold any bytes: client ids and what clients
// write are theirs, and it is not the store that judges them.
var (
	encoding = must(cbor.EncOptions{Sort: cbor.SortCanonical}.EncMode())
	decoding = must(cbor.DecOptions{
		UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: 1 << 24, DupMapKey: cbor.DupMapKeyEnforcedAPF,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// encode never fails for the rows above: they hold nothing that CBOR cannot.
func encode(row any) []byte { return must(encoding.Marshal(row)) }

// decode reads a whole value. What it gives shares no memory with value.
func decode(what string, value []byte, row any) error {
	if err := decoding.Unmarshal(value, row); err != nil {
		return fmt.Errorf("decode %s: %w: %w", what, ErrDamaged, err)
	}
	return nil
}

// decodePlace reads the first part of a message's value.
func decodePlace(value []byte) (p placeRow, rest []byte, err error) {
	if rest, err = decoding.UnmarshalFirst(value, &p); err != nil {
		return p, nil, fmt.Errorf("decode place of message: %w: %w", ErrDamaged, err)
	}
	return p, rest, nil
}

func decodeMessage(c chat.Conversation, seq uint64, value []byte) (chat.Message, error) {
	p, rest, err := decodePlace(value)
	if err != nil {
		return chat.Message{}, err
	}
	var r contentRow
	if err := decode("message", rest, &r); err != nil {
		return chat.Message{}, err
	}
	return r.message(c, seq, p), nil
}
