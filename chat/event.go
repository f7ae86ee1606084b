package chat

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/magpie-im/magpie/accounts"
)

// Types of events that are no entries of a stream.
const (
	EventReset  EntryType = "reset"  // the stream does not reach back to where the reader was
	EventTyping EntryType = "typing" // somebody types, or has stopped; never stored
	EventPlace  EntryType = "loc"    // where a member of a conversation is; never stored
	EventLive   EntryType = "live"   // how many watch a live room, and how many likes there were
	EventHead   EntryType = "head"   // where a large conversation stands
)

// Event is an entry of a stream made ready for a reader, or one of those that are no entries (EventReset and so on).
type Event struct {
	Entry
	// Unread and Total are the reader's unread counts, of the conversation and of all of them, at the moment in which his
	// stream ended at AsOf. The numbers with the highest AsOf are the newest.
	Unread, Total, AsOf uint64
	Mention             uint64 // of those in Unread, how many mention the reader
	Typing              bool   // EventTyping: has started
	Own                 bool   // EntryMessage: the reader's own
	Boxed               bool   // EntryMessage: of a stranger who was not answered
	// Live: it is for those who watch the conversation, or for members of a large one, and no part of a stream: its USN is 0, and
	// there are no numbers.
	Live    bool
	Where   json.RawMessage // EventPlace: of Who
	Viewers int             // EventLive
	Likes   uint64          // EventLive
	Title   string          // EntryMessage, EntryEdit, EntryRecall: of the room, for Text; see [Service.Entitle]
	Tally   Tally           // EventHead
	Made    any             // what a Router has made of it
}

// Place gives where the message of a message event stands; ok is false for other events.
func (e Event) Place() (p Place, ok bool) {
	return Place{e.Conversation, e.Message.Seq, e.Own}, e.Type == EntryMessage
}

// MarshalJSON gives the event as docs/protocol.md, section 4, has it. [Event.AppendJSON] is cheaper.
func (e Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// AppendJSON adds the event to dst as docs/protocol.md, section 4, has it. Bodies are as they are stored.
func (e Event) AppendJSON(dst []byte) []byte {
	o := object{slices.Grow(dst, 320+len(e.Message.Body)+len(e.Message.Fallback)+len(e.Greeting)+len(e.Card.Avatar))}
	o.b = append(o.b, `{"t":"`...)
	o.b = append(append(o.b, e.Type...), '"')
	switch e.Type {
	case EventTyping:
		o.str(`,"c":`, string(e.Conversation))
		o.str(`,"who":`, string(e.Who))
		o.b = strconv.AppendBool(append(o.b, `,"on":`...), e.Typing)
		return append(o.b, '}')
	case EventPlace:
		o.str(`,"c":`, string(e.Conversation))
		o.str(`,"who":`, string(e.Who))
		o.time(e.TS)
		o.b = append(append(o.b, `,"loc":`...), e.Where...)
		return append(o.b, '}')
	case EventLive:
		o.str(`,"c":`, string(e.Conversation))
		o.num(`,"viewers":`, uint64(e.Viewers))
		o.num(`,"likes":`, e.Likes)
		o.time(e.TS)
		return append(o.b, '}')
	}
	o.num(`,"usn":`, e.USN)
	if e.Type == EventHead {
		o.str(`,"c":`, string(e.Conversation))
		o.num(`,"head":`, e.Tally.Head)
		o.num(`,"read":`, e.Tally.Read)
		o.num(`,"unread":`, e.Tally.Unread())
		o.num(`,"mention":`, e.Tally.Mention)
		return append(o.b, '}')
	}
	switch e.Type {
	case EntryMessage:
		o.message(e.Conversation, &e.Message)
		o.flag(`,"box":true`, e.Boxed)
	case EntryReceipt:
		o.receipt(&e.Entry)
	case EntryRead:
		o.str(`,"c":`, string(e.Conversation))
		o.num(`,"seq":`, e.Read)
		o.time(e.TS)
	case EntryContact:
		o.contact(&e.Entry)
	case EntrySession:
		o.str(`,"st":`, string(e.Login.State))
		o.str(`,"id":`, e.Login.ID)
		o.maybe(`,"label":`, e.Login.Label)
		o.maybe(`,"addr":`, e.Login.Addr)
		o.time(e.TS)
	case EntryConv:
		if e.OwnSide != (OwnChange{}) {
			o.ownSide(&e.Entry)
		} else {
			o.room(&e.Entry)
		}
	case EntryHide:
		o.hidden(&e.Entry)
	case EntryEdit, EntryRecall, EntryReact, EntryUnreact, EntryPin, EntryUnpin:
		o.str(`,"c":`, string(e.Conversation))
		o.revision(e.Type, &e.Change)
	case EntryProfile:
		o.str(`,"who":`, string(e.Who))
		o.num(`,"ver":`, e.Version)
		o.card(e.Card)
		o.time(e.TS)
	}
	if e.Live {
		return append(o.b, '}')
	}
	if e.Conversation != "" {
		o.num(`,"unread":`, e.Unread)
		if e.Mention != 0 {
			o.num(`,"mention":`, e.Mention)
		}
	}
	o.num(`,"total":`, e.Total)
	o.num(`,"asof":`, e.AsOf)
	return append(o.b, '}')
}

// object is a JSON object under construction. What its methods call key is the text before the value, comma and colon
// included.
type object struct{ b []byte }

func (o *object) str(key, value string) { o.b = appendQuoted(append(o.b, key...), value) }

func (o *object) num(key string, value uint64) {
	o.b = strconv.AppendUint(append(o.b, key...), value, 10)
}

func (o *object) time(ts int64) { o.b = strconv.AppendInt(append(o.b, `,"ts":`...), ts, 10) }

// maybe leaves an empty string out.
func (o *object) maybe(key, value string) {
	if value != "" {
		o.str(key, value)
	}
}

// flag adds text if it is raised.
func (o *object) flag(text string, raised bool) {
	if raised {
		o.b = append(o.b, text...)
	}
}

func (o *object) contact(e *Entry) {
	o.str(`,"st":`, string(e.State))
	o.str(`,"who":`, string(e.Who))
	o.maybe(`,"greeting":`, e.Greeting)
	o.maybe(`,"c":`, string(e.Conversation))
	if e.Contact.Until != 0 {
		o.b = strconv.AppendInt(append(o.b, `,"until":`...), e.Contact.Until, 10)
	}
	o.flag(`,"blocked":true`, e.Contact.Blocked)
	o.flag(`,"ignored":true`, e.Contact.Ignored)
	o.maybe(`,"remark":`, e.Contact.Remark)
	if len(e.Contact.Tags) > 0 {
		o.b = append(o.b, `,"tags":[`...)
		for i, tag := range e.Contact.Tags {
			o.flag(",", i > 0)
			o.b = appendQuoted(o.b, tag)
		}
		o.b = append(o.b, ']')
	}
	if e.Version != 0 {
		o.num(`,"ver":`, e.Version)
	}
	o.time(e.TS)
}

func (o *object) room(e *Entry) {
	o.str(`,"c":`, string(e.Conversation))
	o.str(`,"st":`, string(e.Room.State))
	o.maybe(`,"by":`, string(e.Room.By))
	o.maybe(`,"who":`, string(e.Who))
	o.maybe(`,"title":`, e.Room.Title)
	o.maybe(`,"role":`, string(e.Room.Role))
	if e.Room.Until != 0 {
		o.b = strconv.AppendInt(append(o.b, `,"until":`...), e.Room.Until, 10)
	}
	o.maybe(`,"text":`, e.Room.Text)
	o.time(e.TS)
}

func (o *object) receipt(e *Entry) {
	o.str(`,"c":`, string(e.Conversation))
	if n := e.Counts; n.Seq != 0 {
		o.num(`,"seq":`, n.Seq)
		o.num(`,"recv_n":`, uint64(n.Recv))
		o.num(`,"read_n":`, uint64(n.Read))
		o.num(`,"of":`, uint64(n.Of))
	} else {
		o.str(`,"who":`, string(e.Who))
		o.num(`,"recv":`, e.Recv)
		o.num(`,"read":`, e.Read)
	}
	o.time(e.TS)
}

// revision adds all but the conversation.
func (o *object) revision(t EntryType, r *Revision) {
	o.num(`,"rev":`, r.Rev)
	o.num(`,"seq":`, r.Seq)
	o.maybe(`,"by":`, string(r.By))
	o.time(r.TS)
	switch t {
	case EntryEdit:
		o.str(`,"k":`, r.Message.Kind)
		o.body(&r.Message)
		o.at(&r.Message)
		o.maybe(`,"why":`, r.Message.Why)
	case EntryRecall:
		o.maybe(`,"why":`, r.Why)
	case EntryReact, EntryUnreact:
		o.str(`,"emoji":`, r.Emoji)
	}
}

func (o *object) hidden(e *Entry) {
	o.str(`,"c":`, string(e.Conversation))
	if len(e.Hidden.Seqs) > 0 {
		o.b = append(o.b, `,"seqs":[`...)
		for i, seq := range e.Hidden.Seqs {
			o.flag(",", i > 0)
			o.b = strconv.AppendUint(o.b, seq, 10)
		}
		o.b = append(o.b, ']')
	}
	if e.Hidden.UpTo != 0 {
		o.num(`,"upto":`, e.Hidden.UpTo)
	}
	o.time(e.TS)
}

func (o *object) card(c Card) {
	o.maybe(`,"name":`, c.Name)
	o.maybe(`,"avatar":`, c.Avatar)
	o.flag(`,"verified":true`, c.Verified)
	o.flag(`,"bot":true`, c.Bot)
}

func (o *object) message(c Conversation, m *Message) {
	o.str(`,"c":`, string(c))
	o.num(`,"seq":`, m.Seq)
	o.str(`,"id":`, m.ID)
	o.str(`,"mid":`, m.MID)
	o.str(`,"from":`, string(m.From))
	o.time(m.TS)
	o.str(`,"k":`, m.Kind)
	o.maybe(`,"why":`, m.Why)
	o.body(m)
	if m.Re != 0 {
		o.num(`,"re":`, m.Re)
	}
	o.at(m)
	if q := m.Quote; q != nil {
		o.str(`,"quote":{"from":`, string(q.From))
		o.str(`,"k":`, q.Kind)
		o.str(`,"text":`, q.Text)
		o.b = append(o.b, '}')
	}
	if m.Fwd != (Forward{}) {
		o.str(`,"fwd":{"from":`, string(m.Fwd.From))
		o.time(m.Fwd.TS)
		o.b = append(o.b, '}')
	}
	if m.TTL > 0 {
		o.num(`,"ttl":`, uint64(m.TTL))
	}
	o.maybe(`,"fallback":`, m.Fallback)
	if m.Edited != 0 {
		o.b = strconv.AppendInt(append(o.b, `,"edited":`...), m.Edited, 10)
	}
	if m.Rev != 0 {
		o.num(`,"rev":`, m.Rev)
	}
}

func (o *object) body(m *Message) {
	if len(m.Body) > 0 {
		o.b = append(append(o.b, `,"body":`...), m.Body...)
	}
}

func (o *object) at(m *Message) {
	if at := m.Mentions(); len(at) > 0 {
		o.names(`,"at":`, at)
	}
}

func (o *object) names(key string, names []accounts.Name) {
	o.b = append(append(o.b, key...), '[')
	for i, name := range names {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendQuoted(o.b, string(name))
	}
	o.b = append(o.b, ']')
}

var _ json.Marshaler = Event{}
