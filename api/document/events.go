package document

import (
	"encoding/json"
	"reflect"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// event is a kind of event of a user's stream.
type event struct {
	t    chat.EntryType
	doc  string
	more reflect.Type // its fields besides t, usn, total and asof; optional ones have omitempty
}

// events are what chat.Event.AppendJSON writes, but for what is never in a stream. A test makes every kind that package chat
// knows, and finds what is missing here.
var events = []event{
	{chat.EntryMessage, "A message of a conversation, one's own included.", typeOf[messageEvent]()},
	{chat.EntryReceipt, "Another member has received and read up to here; in a room: how many have, of the user's newest " +
		"message of which that changed.", typeOf[receiptEvent]()},
	{chat.EntryRead, "Oneself has read up to here, on some device.", typeOf[readEvent]()},
	{chat.EntryContact, "What somebody is to the user has changed.", typeOf[contactEvent]()},
	{chat.EntryConv, "What the user is to a room has changed, or an admin is told who asks to be let in, or (set) the user has " +
		"said something of a conversation for himself, on some device.", typeOf[convEvent]()},
	{chat.EntryEdit, "A message says something else: what it says now. It is gone if recalled since.", typeOf[editEvent]()},
	{chat.EntryRecall, "What a message has said is gone, for everybody.", typeOf[recallEvent]()},
	{chat.EntryReact, "Somebody has reacted to a message.", typeOf[reactEvent]()},
	{chat.EntryUnreact, "Somebody has taken a reaction back.", typeOf[unreactEvent]()},
	{chat.EntryPin, "A message was pinned.", typeOf[pinEvent]()},
	{chat.EntryUnpin, "A message is pinned no more.", typeOf[unpinEvent]()},
	{chat.EntryHide, "The user has deleted messages for himself, on some device.", typeOf[hideEvent]()},
	{chat.EntryProfile, "What somebody says of himself has changed, or what the user says.", typeOf[profileEvent]()},
	{chat.EntrySession, "Somebody has logged in to the user's account, or out.", typeOf[sessionEvent]()},
	{chat.EventReset, "The stream does not reach back to where the session was: take conv.list and history, and go on after usn.",
		typeOf[resetEvent]()},
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// eventMessage is a message in an event.
type eventMessage struct {
	Conversation chat.Conversation `json:"c"`
	Seq          uint64            `json:"seq"`
	ID           string            `json:"id"`
	MID          string            `json:"mid"`
	From         accounts.Name     `json:"from"`
	TS           int64             `json:"ts"`
	Kind         string            `json:"k"`
	Body         json.RawMessage   `json:"body,omitempty"`
	Re           uint64            `json:"re,omitempty"`
	At           []accounts.Name   `json:"at,omitempty"`
	Quote        *quote            `json:"quote,omitempty"`
	Fwd          *origin           `json:"fwd,omitempty"`
	TTL          int64             `json:"ttl,omitempty"`
	Fallback     string            `json:"fallback,omitempty"`
	Edited       int64             `json:"edited,omitempty" doc:"when it was edited, in Unix milliseconds"`
	Rev          uint64            `json:"rev,omitempty" doc:"of the last change of what it says"`
	Why          string            `json:"why,omitempty" doc:"k is gone: recalled, expired, deleted, hidden"`
}

// counts are those of the conversation that an event is about.
type counts struct {
	Unread  uint64 `json:"unread"`
	Mention uint64 `json:"mention,omitempty"`
}

// place is where a change of a message has its place.
type place struct {
	Conversation chat.Conversation `json:"c"`
	Rev          uint64            `json:"rev"`
	Seq          uint64            `json:"seq"`
}

type messageEvent struct {
	eventMessage
	Box bool `json:"box,omitempty"`
	counts
}

type quote struct {
	From accounts.Name `json:"from"`
	Kind string        `json:"k"`
	Text string        `json:"text" doc:"the beginning of what it says"`
}

type origin struct {
	From accounts.Name `json:"from"`
	TS   int64         `json:"ts"`
}

type receiptEvent struct {
	Conversation chat.Conversation `json:"c"`
	Who          accounts.Name     `json:"who,omitempty" doc:"with two people: the other one"`
	Recv         uint64            `json:"recv,omitempty"`
	Read         uint64            `json:"read,omitempty"`
	Seq          uint64            `json:"seq,omitempty" doc:"in a room: of which message"`
	RecvN        int               `json:"recv_n,omitempty" doc:"in a room: how many have received it"`
	ReadN        int               `json:"read_n,omitempty" doc:"in a room: how many have read it"`
	Of           int               `json:"of,omitempty" doc:"in a room: of how many"`
	TS           int64             `json:"ts"`
	counts
}

type readEvent struct {
	Conversation chat.Conversation `json:"c"`
	Seq          uint64            `json:"seq" doc:"up to which seq oneself has read"`
	TS           int64             `json:"ts"`
	counts
}

type contactEvent struct {
	State        chat.ContactState `json:"st" doc:"pending: oneself asked; requested: he asked; none: it is over"`
	Who          accounts.Name     `json:"who"`
	Greeting     string            `json:"greeting,omitempty"`
	Conversation chat.Conversation `json:"c,omitempty" doc:"that of contacts; that of a stranger whose message was put away"`
	Until        int64             `json:"until,omitempty" doc:"when the request ends, in Unix milliseconds"`
	Blocked      bool              `json:"blocked,omitempty"`
	Ignored      bool              `json:"ignored,omitempty"`
	Remark       string            `json:"remark,omitempty"`
	Tags         []string          `json:"tags,omitempty"`
	Version      uint64            `json:"ver,omitempty" doc:"the version of the list of contacts"`
	TS           int64             `json:"ts"`
	Unread       uint64            `json:"unread,omitempty"`
	Mention      uint64            `json:"mention,omitempty"`
}

type profileEvent struct {
	Who      accounts.Name `json:"who"`
	Version  uint64        `json:"ver" doc:"the version of the profile"`
	Name     string        `json:"name,omitempty"`
	Avatar   string        `json:"avatar,omitempty"`
	Verified bool          `json:"verified,omitempty"`
	Bot      bool          `json:"bot,omitempty"`
	TS       int64         `json:"ts"`
}

type convEvent struct {
	Conversation chat.Conversation `json:"c"`
	State        chat.RoomState    `json:"st" doc:"what has happened; asked, to an admin: who would like to be let in"`
	By           accounts.Name     `json:"by,omitempty"`
	Who          accounts.Name     `json:"who,omitempty" doc:"to whom; absent: to the user"`
	Title        string            `json:"title,omitempty"`
	Role         chat.Role         `json:"role,omitempty" doc:"what he is there now"`
	Until        int64             `json:"until,omitempty" doc:"until when he is muted or banned, in Unix milliseconds"`
	Text         string            `json:"text,omitempty" doc:"what who asks has written with it"`
	Mute         *int64            `json:"mute,omitempty"`
	Pin          *bool             `json:"pin,omitempty"`
	Archive      *bool             `json:"archive,omitempty"`
	Hide         *bool             `json:"hide,omitempty"`
	Flag         *bool             `json:"flag,omitempty"`
	Private      *bool             `json:"private,omitempty"`
	Draft        *string           `json:"draft,omitempty"`
	Remark       *string           `json:"remark,omitempty"`
	TS           int64             `json:"ts"`
	counts
}

type pinEvent struct {
	place
	By accounts.Name `json:"by,omitempty" doc:"absent: the message's time was over"`
	TS int64         `json:"ts"`
	counts
}

type unpinEvent pinEvent

type editEvent struct {
	place
	By   accounts.Name   `json:"by,omitempty"`
	TS   int64           `json:"ts"`
	Kind string          `json:"k"`
	Body json.RawMessage `json:"body,omitempty"`
	At   []accounts.Name `json:"at,omitempty"`
	Why  string          `json:"why,omitempty" doc:"k is gone: recalled, expired, deleted, hidden"`
	counts
}

type recallEvent struct {
	place
	By  accounts.Name `json:"by,omitempty" doc:"absent: the message's time was over"`
	TS  int64         `json:"ts"`
	Why string        `json:"why,omitempty" doc:"recalled, expired"`
	counts
}

type reactEvent struct {
	place
	By    accounts.Name `json:"by,omitempty"`
	TS    int64         `json:"ts"`
	Emoji string        `json:"emoji"`
	counts
}

type unreactEvent reactEvent

type hideEvent struct {
	Conversation chat.Conversation `json:"c"`
	Seqs         []uint64          `json:"seqs,omitempty" doc:"these"`
	UpTo         uint64            `json:"upto,omitempty" doc:"and all up to this one"`
	TS           int64             `json:"ts"`
	counts
}

type sessionEvent struct {
	State chat.LoginState `json:"st" doc:"what became of it"`
	ID    string          `json:"id" doc:"which one, as in session.list; empty: all but the one that asked for it"`
	Label string          `json:"label,omitempty"`
	Addr  string          `json:"addr,omitempty"`
	TS    int64           `json:"ts"`
}

type resetEvent struct{}

// headEvent comes on in, for each large conversation with something unread, when a session subscribes or comes back.
type headEvent struct {
	Type         string            `json:"t" enum:"head"`
	USN          uint64            `json:"usn" enum:"0" doc:"it is no part of the stream"`
	Conversation chat.Conversation `json:"c"`
	Head         uint64            `json:"head"`
	Read         uint64            `json:"read"`
	Unread       uint64            `json:"unread"`
	Mention      uint64            `json:"mention"`
}

// batchEvent comes on in, for sessions with batch=1. Its events are those of a stream.
type batchEvent struct {
	Type string `json:"t" enum:"batch"`
	USN  uint64 `json:"usn" doc:"that of the last one"`
}

// batch gives the schema of several events.
func (s *schemas) batch() schema {
	o := schema{Type: "object"}
	s.fields(&o, typeOf[batchEvent](), false)
	one := s.events()
	o.Properties = append(o.Properties, property{name: "events", schema: schema{
		Type: "array", Items: &one, Description: "they follow each other",
	}})
	o.Required = append(o.Required, "events")
	return o
}

// typingEvent comes on eph.
type typingEvent struct {
	Type         string            `json:"t" enum:"typing"`
	Conversation chat.Conversation `json:"c"`
	Who          accounts.Name     `json:"who"`
	On           bool              `json:"on" doc:"has begun, or has stopped"`
}

// presenceEvent comes on im/p/{uid}.
type presenceEvent struct {
	Type    string        `json:"t" enum:"presence"`
	Who     accounts.Name `json:"who"`
	On      bool          `json:"on,omitempty" doc:"is there, or not; absent: it is not for you to know"`
	State   chat.Activity `json:"state,omitempty" doc:"the first of fg, bg and away that one of his connections has"`
	Devices int           `json:"dev,omitempty"`
	Seen    int64         `json:"seen,omitempty"`
}

// watchedMessage and what follows come on im/c/{conv}/live.
type watchedMessage struct {
	Type string `json:"t" enum:"msg"`
	USN  uint64 `json:"usn" enum:"0" doc:"it is no part of a stream"`
	eventMessage
}

type watchedChange struct {
	Type string `json:"t" enum:"edit|recall|react|unreact|pin|unpin"`
	USN  uint64 `json:"usn" enum:"0" doc:"it is no part of a stream"`
	place
	By    accounts.Name   `json:"by,omitempty"`
	TS    int64           `json:"ts"`
	Kind  string          `json:"k,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
	At    []accounts.Name `json:"at,omitempty"`
	Why   string          `json:"why,omitempty" doc:"why it is gone"`
	Emoji string          `json:"emoji,omitempty"`
}

type watchedPosition struct {
	Type         string            `json:"t" enum:"loc"`
	Conversation chat.Conversation `json:"c"`
	Who          accounts.Name     `json:"who"`
	TS           int64             `json:"ts"`
	Where        json.RawMessage   `json:"loc" doc:"where he is, as he has said it"`
}

type watchedRoom struct {
	Type         string            `json:"t" enum:"live"`
	Conversation chat.Conversation `json:"c"`
	Viewers      int               `json:"viewers" doc:"how many accounts watch"`
	Likes        uint64            `json:"likes" doc:"the sum of all likes that were acknowledged"`
	TS           int64             `json:"ts"`
}

// positionGiven goes up on im/c/{conv}/loc.
type positionGiven struct {
	Lat float64 `json:"lat" required:"true"`
	Lon float64 `json:"lon" required:"true"`
}

// ackEvent comes on rsp: what became of a PUBLISH.
type ackEvent struct {
	Type         string            `json:"t" enum:"ack"`
	MID          string            `json:"mid,omitempty"`
	PacketID     uint16            `json:"pid"`
	OK           bool              `json:"ok"`
	Conversation chat.Conversation `json:"c,omitempty"`
	Rev          uint64            `json:"rev,omitempty" doc:"of a change of a message; 0: nothing has changed"`
	Seq          uint64            `json:"seq,omitempty"`
	ID           string            `json:"id,omitempty"`
	TS           int64             `json:"ts,omitempty"`
	Dup          bool              `json:"dup,omitempty"`
	Err          string            `json:"err,omitempty"`
	RetryMS      int64             `json:"retry_ms,omitempty"`
}

// refusedReply comes on rsp: a request was refused.
type refusedReply struct {
	Type    string `json:"t" enum:"rsp"`
	RID     string `json:"rid,omitempty"`
	OK      bool   `json:"ok"`
	Err     string `json:"err"`
	Text    string `json:"msg,omitempty"`
	RetryMS int64  `json:"retry_ms,omitempty"`
}

// replyHead is what every answer on rsp begins with.
type replyHead struct {
	Type string `json:"t" enum:"rsp"`
	RID  string `json:"rid,omitempty"`
	OK   bool   `json:"ok"`
}

// eventHead and eventTail are what every event of the stream has.
type eventHead struct {
	Type string `json:"t"`
	USN  uint64 `json:"usn"`
}

type eventTail struct {
	Total uint64 `json:"total"`
	AsOf  uint64 `json:"asof"`
}

// events gives a reference to the schema of any event of a stream.
func (s *schemas) events() schema {
	const name = "Event"
	if _, made := s.byName[name]; !made {
		all := &schema{Description: "An event of a user's stream."}
		s.byName[name] = all
		for _, e := range events {
			one := s.event(e)
			all.OneOf = append(all.OneOf, &one)
		}
	}
	return schema{Ref: reference + name}
}

// event gives a reference to the schema of one kind of event.
func (s *schemas) event(e event) schema {
	key := use{e.more, false}
	name, made := s.names[key]
	if !made {
		name = s.free(e.more, false)
		s.names[key] = name
		o := &schema{Description: e.doc, Type: "object"}
		s.byName[name] = o
		for _, part := range []reflect.Type{typeOf[eventHead](), e.more, typeOf[eventTail]()} {
			s.fields(o, part, false)
		}
		o.Properties[0].Const = string(e.t)
		if e.doc == "" {
			s.gap("event %s has no doc in api/document/events.go", e.t)
		}
	}
	return schema{Ref: reference + name}
}
