package chat

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

// OpRequest is what a user wants to do to a message.
type OpRequest struct {
	Op    Op
	Seq   uint64          // of the message; 0: OpRecall of the one that he has called MID
	MID   string          // his name for the change, or, without Seq, for the message; empty: none
	Body  json.RawMessage // OpEdit
	At    []accounts.Name // OpEdit
	Emoji string          // OpReact, OpUnreact
}

// maxEmoji is how long a reaction may be, in bytes: the longest emoji of families and flags are about as long.
const maxEmoji = 32

// The fields of a request.
const (
	opFieldOp = iota
	opFieldSeq
	opFieldMID
	opFieldBody
	opFieldAt
	opFieldEmoji
)

var opFieldNames = [...]string{"op", "seq", "mid", "body", "at", "emoji"}

// opParser collects the fields of a request.
type opParser struct {
	parser
	r OpRequest
}

// ParseOp reads the payload of a change (docs/conversations.md, section 3), by the same rules as ParseContent reads the full
// form of a message. Whether the fields go together is checked when it is carried out. The body may share memory with
// payload.
func ParseOp(payload []byte) (OpRequest, error) {
	p := opParser{}
	s := scanner{in: payload}
	switch {
	case !s.members(p.field):
		return OpRequest{}, fmt.Errorf("change is no JSON object: %w", ErrMalformed)
	case p.bad != "":
		return OpRequest{}, fmt.Errorf("change: %s: %w", p.bad, ErrMalformed)
	case s.lone || s.deepest > maxDepth:
		return OpRequest{}, fmt.Errorf("change of %d levels, half a surrogate pair: %t: %w", s.deepest, s.lone, ErrMalformed)
	}
	return p.r, nil
}

func (p *opParser) field(name string, value []byte) {
	i := slices.Index(opFieldNames[:], name)
	if i < 0 {
		return
	}
	if p.seen&(1<<i) != 0 {
		p.wrong(name + " comes twice")
		return
	}
	p.seen |= 1 << i
	if string(value) == "null" && i != opFieldBody {
		return
	}
	switch i {
	case opFieldOp:
		p.r.Op = Op(p.text(name, value))
	case opFieldSeq:
		p.r.Seq = p.number(name, value, maxExact)
	case opFieldMID:
		p.r.MID = p.text(name, value)
	case opFieldBody:
		p.r.Body = value
	case opFieldAt:
		p.r.At = p.names(value)
	case opFieldEmoji:
		p.r.Emoji = p.text(name, value)
	}
}

// draft checks what can be known of a request without its message, but for what an edit says.
func (r OpRequest) draft(c Conversation, by accounts.Name, cfg Config) (OpDraft, error) {
	d := OpDraft{Conversation: c, By: by, Op: r.Op, Seq: r.Seq, MID: r.MID, Bounds: cfg.opBounds()}
	switch {
	case len(r.MID) > cfg.MaxMID:
		return d, fmt.Errorf("mid of %d bytes: %w", len(r.MID), ErrTooLarge)
	case !printable(r.MID) || r.Seq > maxExact:
		return d, fmt.Errorf("mid %.80q, seq %d: %w", r.MID, r.Seq, ErrMalformed)
	}
	if r.Seq == 0 {
		if r.Op != OpRecall || r.MID == "" {
			return d, fmt.Errorf("op %.80q without seq: %w", r.Op, ErrMalformed)
		}
		d.Target, d.MID = r.MID, ""
	}
	switch r.Op {
	case OpEdit:
		if len(r.Body) == 0 {
			return d, fmt.Errorf("edit without body: %w", ErrMalformed)
		}
		d.Body, d.At = r.Body, r.At
	case OpReact, OpUnreact:
		if !validEmoji(r.Emoji) {
			return d, fmt.Errorf("emoji %.80q: %w", r.Emoji, ErrMalformed)
		}
		d.Emoji = r.Emoji
	case OpRecall, OpPin, OpUnpin:
	default:
		return d, fmt.Errorf("op %.80q: %w", r.Op, ErrMalformed)
	}
	return d, nil
}

// validEmoji says whether s may stand below a message: at most 32 bytes of what can be seen, and of what joins it to one
// emoji.
func validEmoji(s string) bool {
	const joiner, firstTag, lastTag = '\u200D', '\U000E0020', '\U000E007F'
	return s != "" && len(s) <= maxEmoji && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool {
		joins := r == joiner || firstTag <= r && r <= lastTag
		return !joins && (!unicode.IsPrint(r) || r == ' ')
	}) < 0 && strings.IndexFunc(s, unicode.IsPrint) >= 0
}

// fingerprint tells two changes apart. It is no fingerprint of a message, whose kind is never empty.
func (d *OpDraft) fingerprint() [sha256.Size]byte {
	head := []byte{0}
	field := func(s string) {
		head = binary.AppendUvarint(head, uint64(len(s)))
		head = append(head, s...)
	}
	field(string(d.Op))
	head = binary.AppendUvarint(head, d.Seq)
	field(d.Emoji)
	head = binary.AppendUvarint(head, uint64(len(d.At)))
	for _, name := range d.At {
		field(string(name))
	}
	return sha256.Sum256(slices.Concat(head, d.Body))
}
