package mongo

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/broker/sessions"
)

// publicationDoc is a step of an Append: a message with all that becomes true with it. One insert makes it so. An entry of a
// queue is that the queue's number is in one, and that the queue has not come past its position.
type publicationDoc struct {
	ID  int64 `bson:"_id"`         // Pos, but for the second and further documents of a step with very many queues
	Pos int64 `bson:"p"`           // position
	End int64 `bson:"e,omitempty"` // _id of the last document of the Append, without which this one counts for nothing

	Queues  []int64 `bson:"q,omitempty"`   // numbers
	QoS     int32   `bson:"qos,omitempty"` // in all of them but those that Targets has
	Targets []byte  `bson:"t,omitempty"`   // see targets

	Topic   string     `bson:"r,omitempty"`   // it is the retained message of its topic, unless a later one is
	Clear   bool       `bson:"clr,omitempty"` // the topic has none, in this case
	Due     int64      `bson:"due,omitempty"` // Unix milliseconds: it is published then
	Origin  *originDoc `bson:"o,omitempty"`
	Time    int64      `bson:"ts"`          // Unix milliseconds, as Expires
	Expires int64      `bson:"x,omitempty"` // 0: never
	Size    int64      `bson:"s"`           // as Bounds counts it

	Message *contentDoc `bson:"m,omitempty"`
}

// contentDoc is what a message says.
type contentDoc struct {
	Topic         string        `bson:"t"`
	Payload       []byte        `bson:"p,omitempty"`
	QoS           int32         `bson:"q,omitempty"`
	Retain        bool          `bson:"r,omitempty"`
	Account       string        `bson:"a,omitempty"`
	Client        string        `bson:"c,omitempty"`
	Format        int32         `bson:"f,omitempty"`
	HasFormat     bool          `bson:"hf,omitempty"`
	Type          string        `bson:"ct,omitempty"`
	EmptyType     bool          `bson:"et,omitempty"`
	ResponseTopic string        `bson:"rt,omitempty"`
	Correlation   []byte        `bson:"cd,omitempty"`
	EmptyCorr     bool          `bson:"ecd,omitempty"`
	User          []propertyDoc `bson:"u,omitempty"`
}

type propertyDoc struct {
	Name  string `bson:"n"`
	Value string `bson:"v"`
}

func propertyDocs(user []sessions.UserProperty) (out []propertyDoc) {
	for _, u := range user {
		out = append(out, propertyDoc{plain(u.Name), plain(u.Value)})
	}
	return out
}

func properties(docs []propertyDoc) (out []sessions.UserProperty) {
	for _, d := range docs {
		out = append(out, sessions.UserProperty{Name: unplain(d.Name), Value: unplain(d.Value)})
	}
	return out
}

func contentDocOf(m *sessions.Message) *contentDoc {
	return &contentDoc{
		Topic: plain(m.Topic), Payload: m.Payload, QoS: int32(m.QoS), Retain: m.Retain,
		Account: plain(string(m.From.Account)), Client: plain(m.From.Client),
		Format: int32(m.PayloadFormat), HasFormat: m.HasPayloadFormat,
		Type: plain(m.ContentType), EmptyType: m.EmptyContentType, ResponseTopic: plain(m.ResponseTopic),
		Correlation: m.Correlation, EmptyCorr: m.Correlation != nil && len(m.Correlation) == 0, User: propertyDocs(m.User),
	}
}

func (d *publicationDoc) stamp() sessions.Stamp {
	return sessions.Stamp{Time: d.Time, Expires: d.Expires, Size: d.Size}
}

// message gives the message of a publication.
func (d *publicationDoc) message() *sessions.Message {
	c := d.Message
	if c == nil {
		c = &contentDoc{}
	}
	correlation := c.Correlation
	if c.EmptyCorr {
		correlation = []byte{}
	}
	return &sessions.Message{
		Topic: unplain(c.Topic), Payload: c.Payload, QoS: byte(c.QoS), Retain: c.Retain,
		From:          sessions.Key{Account: nameOf(c.Account), Client: unplain(c.Client)},
		PayloadFormat: byte(c.Format), HasPayloadFormat: c.HasFormat,
		ContentType: unplain(c.Type), EmptyContentType: c.EmptyType, ResponseTopic: unplain(c.ResponseTopic),
		Correlation: correlation, User: properties(c.User),
		Time: sessions.TimeOf(d.Time), Expires: sessions.TimeOf(d.Expires),
	}
}

// publicationOf makes a document of a step, but for its place and its queues.
func publicationOf(s *sessions.Step) (*publicationDoc, error) {
	m, at := s.Message, sessions.StampOf(s.Message)
	d := &publicationDoc{
		Time: at.Time, Expires: at.Expires, Due: sessions.Millis(s.Due), Size: at.Size, Message: contentDocOf(m),
	}
	if s.Retain {
		d.Topic, d.Clear = plain(m.Topic), len(m.Payload) == 0
	}
	if d.Size > maxContent {
		return nil, fmt.Errorf("message of %d bytes, which is more than a document can have: %w", d.Size, sessions.ErrUnavailable)
	}
	var err error
	d.Origin, err = stepOrigin(s.Origin)
	return d, err
}

const (
	// maxContent is how large a message may be: a document has 16 MiB, with the numbers of queues.
	maxContent = 8 << 20
	// maxQueues is how many queues one document is for, at some 25 bytes each with what is said of them.
	maxQueues = 1 << 17
)

// targets packs how a message is to be delivered from queues of a document, as far as that is not simply with a QoS: for each of
// them flags, number, and the subscription identifiers, whose number is in the flags from bit 3 on.
func (d *publicationDoc) add(t sessions.Target) {
	if len(d.Queues) == 0 && !t.Retain && len(t.IDs) == 0 {
		d.QoS = int32(t.QoS)
	}
	d.Queues = append(d.Queues, int64(t.Number))
	if int32(t.QoS) == d.QoS && !t.Retain && len(t.IDs) == 0 {
		return
	}
	flags := uint64(t.QoS) & 3
	if t.Retain {
		flags |= 4
	}
	b := binary.AppendUvarint(d.Targets, flags|uint64(len(t.IDs))<<3)
	b = binary.AppendUvarint(b, uint64(t.Number))
	for _, id := range t.IDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	d.Targets = b
}

var errTargets = errors.New("targets of a publication are damaged")

// target gives how a message is to be delivered from a queue.
func (d *publicationDoc) target(n sessions.Number) (sessions.Target, error) {
	for rest := d.Targets; len(rest) > 0; {
		var head, number uint64
		var ok bool
		if head, rest, ok = cutUvarint(rest); !ok {
			return sessions.Target{}, errTargets
		}
		if number, rest, ok = cutUvarint(rest); !ok {
			return sessions.Target{}, errTargets
		}
		t := sessions.Target{Number: n, QoS: byte(head & 3), Retain: head&4 != 0}
		for range head >> 3 {
			var id uint64
			if id, rest, ok = cutUvarint(rest); !ok {
				return sessions.Target{}, errTargets
			}
			t.IDs = append(t.IDs, int(id))
		}
		if number == uint64(n) {
			return t, nil
		}
	}
	return sessions.Target{Number: n, QoS: byte(d.QoS)}, nil
}

func cutUvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
