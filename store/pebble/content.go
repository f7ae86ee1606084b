package pebble

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// Messages on free topics are many, so that their rows are written by hand: numbers are varints, strings have their lengths
// before them. A row of a queue is a header and, if no other queue has the message, its content; the content of the others
// is in a row of its own.
//
//	entry:    kind, flags, number of ids, ids, stamp, content if kind is entryInline
//	stamp:    time, expires (Unix milliseconds; 0: none), size
//	content:  version, flags, length of the payload, topic, then what flags say is there, payload

// Kinds of entries. A new way to write one is a new kind.
const (
	entryInline    = 1
	entryReference = 2
)

// Versions of content. The second is the first for a message whose content type is said, and empty.
const (
	contentVersion   = 1
	contentEmptyType = 2
)

// Flags of an entry.
const (
	flagQoS    = 3
	flagRetain = 4
)

// Flags of content, besides those of an entry.
const (
	flagFormat      = 8
	flagFrom        = 16
	flagCorrelation = 32
	flagTexts       = 64 // content type and response topic
	flagUser        = 128
)

func appendStamp(b []byte, s sessions.Stamp) []byte {
	b = binary.AppendVarint(b, s.Time)
	b = binary.AppendVarint(b, s.Expires)
	return binary.AppendUvarint(b, uint64(s.Size))
}

func flagsOf(qos byte, retain bool) byte {
	flags := qos & flagQoS
	if retain {
		flags |= flagRetain
	}
	return flags
}

// appendEntry writes a row of a queue up to its content.
func appendEntry(b []byte, kind byte, t sessions.Target, s sessions.Stamp) []byte {
	b = append(b, kind, flagsOf(t.QoS, t.Retain))
	b = binary.AppendUvarint(b, uint64(len(t.IDs)))
	for _, id := range t.IDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return appendStamp(b, s)
}

func appendText[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendContent(b []byte, m *sessions.Message) []byte {
	flags := flagsOf(m.QoS, m.Retain)
	if m.HasPayloadFormat {
		flags |= flagFormat
	}
	if m.From != (sessions.Key{}) {
		flags |= flagFrom
	}
	if m.Correlation != nil {
		flags |= flagCorrelation
	}
	if m.ContentType != "" || m.ResponseTopic != "" {
		flags |= flagTexts
	}
	if len(m.User) > 0 {
		flags |= flagUser
	}
	version := byte(contentVersion)
	if m.EmptyContentType {
		version = contentEmptyType
	}
	b = append(b, version, flags)
	b = binary.AppendUvarint(b, uint64(len(m.Payload)))
	b = appendText(b, m.Topic)
	if flags&flagFormat != 0 {
		b = append(b, m.PayloadFormat)
	}
	if flags&flagFrom != 0 {
		b = appendText(appendText(b, m.From.Account), m.From.Client)
	}
	if flags&flagCorrelation != 0 {
		b = appendText(b, m.Correlation)
	}
	if flags&flagTexts != 0 {
		b = appendText(appendText(b, m.ContentType), m.ResponseTopic)
	}
	if flags&flagUser != 0 {
		b = binary.AppendUvarint(b, uint64(len(m.User)))
		for _, u := range m.User {
			b = appendText(appendText(b, u.Name), u.Value)
		}
	}
	return append(b, m.Payload...)
}

// cutter takes a row apart. Once something was not there, nothing is.
type cutter struct {
	row []byte
	at  int
	bad bool
}

func (c *cutter) fail() { c.bad, c.at = true, len(c.row) }

func (c *cutter) octet() byte {
	if c.at >= len(c.row) {
		c.fail()
		return 0
	}
	c.at++
	return c.row[c.at-1]
}

func (c *cutter) uvarint() uint64 {
	n, size := binary.Uvarint(c.row[c.at:])
	if size <= 0 {
		c.fail()
		return 0
	}
	c.at += size
	return n
}

func (c *cutter) varint() int64 {
	n, size := binary.Varint(c.row[c.at:])
	if size <= 0 {
		c.fail()
		return 0
	}
	c.at += size
	return n
}

// count takes a number of things that are at least a byte each.
func (c *cutter) count() int {
	n := c.uvarint()
	if n > uint64(len(c.row)-c.at) {
		c.fail()
		return 0
	}
	return int(n)
}

// text gives where a string is.
func (c *cutter) text() (from, to int) {
	n := c.count()
	c.at += n
	return c.at - n, c.at
}

func (c *cutter) stamp() sessions.Stamp {
	s := sessions.Stamp{Time: c.varint(), Expires: c.varint(), Size: int64(c.uvarint())}
	if s.Size < 0 {
		c.fail()
	}
	return s
}

func (c *cutter) rest() []byte { return c.row[c.at:] }

// entryHead is a row of a queue without its content.
type entryHead struct {
	kind  byte
	flags byte
	ids   []int
	stamp sessions.Stamp
}

// parseEntry reads a row of a queue up to its content. What it gives shares no memory with row.
func parseEntry(row []byte, withIDs bool) (h entryHead, content []byte, err error) {
	c := cutter{row: row}
	h.kind, h.flags = c.octet(), c.octet()
	if n := c.count(); n > 0 {
		if withIDs {
			h.ids = make([]int, 0, n)
		}
		for range n {
			id := c.uvarint()
			if id > math.MaxInt32 {
				c.fail()
			}
			if withIDs {
				h.ids = append(h.ids, int(id))
			}
		}
	}
	h.stamp = c.stamp()
	content = c.rest()
	if c.bad || h.flags&^(flagQoS|flagRetain) != 0 || h.kind != entryInline && (h.kind != entryReference || len(content) > 0) {
		return entryHead{}, nil, fmt.Errorf("entry of a queue: %w", ErrDamaged)
	}
	return h, content, nil
}

func (h entryHead) target(n sessions.Number) sessions.Target {
	return sessions.Target{Number: n, QoS: h.flags & flagQoS, Retain: h.flags&flagRetain != 0, IDs: h.ids}
}

// parseContent reads the content of a message. What it gives shares no memory with row.
func parseContent(row []byte, s sessions.Stamp) (*sessions.Message, error) {
	c := cutter{row: row}
	version, flags := c.octet(), c.octet()
	payload := c.count()
	c.row = c.row[:len(c.row)-payload]
	texts := string(c.row)
	text := func() string {
		from, to := c.text()
		return texts[from:to]
	}
	m := &sessions.Message{
		Topic: text(), QoS: flags & flagQoS, Retain: flags&flagRetain != 0,
		Time: sessions.TimeOf(s.Time), Expires: sessions.TimeOf(s.Expires),
	}
	if flags&flagFormat != 0 {
		m.HasPayloadFormat, m.PayloadFormat = true, c.octet()
	}
	if flags&flagFrom != 0 {
		m.From.Account, m.From.Client = accounts.Name(text()), text()
	}
	if flags&flagCorrelation != 0 {
		from, to := c.text()
		m.Correlation = append(make([]byte, 0, to-from), c.row[from:to]...)
	}
	if flags&flagTexts != 0 {
		m.ContentType, m.ResponseTopic = text(), text()
	}
	if flags&flagUser != 0 {
		n := c.count()
		m.User = make([]sessions.UserProperty, 0, n)
		for range n {
			m.User = append(m.User, sessions.UserProperty{Name: text(), Value: text()})
		}
	}
	m.EmptyContentType = version == contentEmptyType
	if c.bad || version != contentVersion && version != contentEmptyType || c.at != len(c.row) {
		return nil, fmt.Errorf("content of a message: %w", ErrDamaged)
	}
	if payload > 0 {
		m.Payload = append(make([]byte, 0, payload), row[len(row)-payload:]...)
	}
	return m, nil
}
