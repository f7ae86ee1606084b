package document

import (
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/chat"
)

// topic is a topic of docs/protocol.md, section 2, but for im/rpc, of which the table has one for each row.
type topic struct {
	id, address, doc string
	up               bool // clients publish to it; otherwise the server does
	qos              int  // at most
	messages         []string
}

// topics are described from the server's side: it receives what goes up.
var topics = []topic{
	{"send", "im/c/{conv}/send", "A message into a conversation. In MQTT 5 the ack carries c, seq, id and ts as user " +
		"properties, and dup=1 if this mid had been stored before.", true, 2, []string{"text", "message"}},
	{"to", "im/to/{uid}/send", "A message to a user, as with send.", true, 2, []string{"text", "message"}},
	{"read", "im/c/{conv}/read", "Up to which seq the user has read.", true, 2, []string{"seq"}},
	{"recv", "im/c/{conv}/recv", "Up to which seq the user has received.", true, 2, []string{"seq"}},
	{"op", "im/c/{conv}/op", "A change of a message: edit, recall, react, unreact, pin, unpin. In MQTT 5 the ack " +
		"carries c, seq, rev and ts, and dup=1 if this mid had been used before.", true, 2, []string{"change"}},
	{"typing", "im/c/{conv}/typing", "1 when the user begins to type and every 3 s after that, 0 when he stops.", true, 2,
		[]string{"switch"}},
	{"loc", "im/c/{conv}/loc", "Where the user is, for those who watch a group, a trip or the conversation of two people. The " +
		"newest of each member is known for an hour.", true, 2, []string{"position"}},
	{"live", "im/c/{conv}/live", "What happens in a conversation that one may read, for those who watch it: a live room, a " +
		"board, a trip or any other. It is subscribed by its name only.", false, 1,
		[]string{"watched.msg", "watched.change", "watched.loc", "watched.live", "line"}},
	{"state", "im/u/me/state", "What this connection is used for; in bg it is told neither typing nor presence.", true, 2,
		[]string{"activity"}},
	{"in", "im/u/{uid}/in", "The user's stream: one ordered line of events. usn is the last one plus 1, or call sync.",
		false, 2, nil},
	{"eph", "im/u/{uid}/eph", "What is worth nothing later.", false, 0, []string{"typing"}},
	{"presence", "im/p/{uid}", "Whether a contact is there. im/p/+ is all contacts.", false, 0, []string{"presence"}},
	{"rsp", "im/u/{uid}/rsp", "Answers and acks, for the session that asked and no other.", false, 1, []string{"ack", "refused"}},
}

// parameters are what stands in braces in topics.
var parameters = map[string]object{
	"conv": {"description": "The name of a conversation.", "examples": []string{"d.alice.bob"}},
	"uid":  {"description": "The name of a user; me is the user of the connection.", "examples": []string{"alice"}},
}

// message is what is published to a topic.
type message struct {
	doc         string
	contentType string
	payload     schema
}

// messages gives what is published besides events, requests and replies.
func (s *schemas) messages(table []*api.Operation) map[string]message {
	const text, structured = "text/plain", "application/json"
	return map[string]message{
		"text":    {"A message of plain text.", text, schema{Type: "string", Examples: []any{"dinner at 7?"}}},
		"message": {"A message in its full form.", structured, s.content(table, "send")},
		"change":  {"A change of a message.", structured, s.content(table, "op")},
		"seq":     {"A decimal seq.", text, schema{Type: "string", Pattern: "^[0-9]{1,20}$", Examples: []any{"1"}}},
		"switch":  {"1 for yes, 0 for no.", text, schema{Type: "string", Enum: []string{"1", "0"}, Examples: []any{"1"}}},
		"activity": {"fg while somebody looks at it, bg while it runs unseen, away while nobody is there.", text,
			schema{Type: "string", Enum: words(chat.Foreground, chat.Background, chat.Away), Examples: []any{"fg"}}},
		"position": {"Where somebody is: lat and lon in degrees, and whatever else; 1 KiB at most.", structured,
			s.object(typeOf[positionGiven](), true)},
		"watched.msg": {"A message was sent in a conversation that is watched, or is large and not in the stream.",
			structured, s.of(typeOf[watchedMessage](), false)},
		"watched.change": {"A message was changed in a conversation that is watched, or is large and not in the stream.",
			structured, s.of(typeOf[watchedChange](), false)},
		"watched.loc": {"A member is somewhere else.", structured, s.of(typeOf[watchedPosition](), false)},
		"watched.live": {"How many watch a live room, or how often it was liked, has changed.", structured,
			s.of(typeOf[watchedRoom](), false)},
		"batch": {"Events that have waited, several at a time, for sessions with batch=1.", structured, s.batch()},
		"head":  {"Where a large conversation stands that is not in the stream.", structured, s.of(typeOf[headEvent](), false)},
		"line": {"An event as a line for a terminal, for sessions with the option fmt=text; with batch=1 perhaps several " +
			"lines.", text, schema{Type: "string"}},
		"typing":   {"Somebody types, or has stopped.", structured, s.of(typeOf[typingEvent](), false)},
		"presence": {"Somebody came, or went.", structured, s.of(typeOf[presenceEvent](), false)},
		"ack": {"What became of a PUBLISH: for MQTT 3.1.1, which cannot say it in the ack, and for sessions with ack=event. It " +
			"comes before the ack.", structured, s.of(typeOf[ackEvent](), false)},
		"refused": {"A request was refused.", structured, s.of(typeOf[refusedReply](), false)},
	}
}

// content is the input of an operation without where it goes to, which the topic says.
func (s *schemas) content(table []*api.Operation, name string) schema {
	for _, op := range table {
		if op.Name != name {
			continue
		}
		all := s.object(op.Input, true)
		kept := all.Properties[:0]
		for _, p := range all.Properties {
			if p.name != "c" && p.name != "to" {
				kept = append(kept, p)
			}
		}
		all.Properties = kept
		return all
	}
	return schema{Type: "object"}
}
