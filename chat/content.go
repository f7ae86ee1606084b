package chat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

// Content is what a user wants to say, before it has a place.
type Content struct {
	Kind     string          // "text", "image", ..., "x.*"; empty: "text"
	Body     json.RawMessage // a JSON value; nil: null
	MID      string          // the sender's name for it; empty: none
	Re       uint64          // seq of the message it answers; 0: none
	At       []accounts.Name // who is mentioned
	TTL      int64           // seconds; 0: for ever
	Fallback string          // what a client shows that does not know Kind; empty: the server makes one for all but text
	Fwd      Source          // the message of which Kind, Body and Fallback are to be taken; zero: none
}

// Source names a message.
type Source struct {
	Conversation Conversation `json:"c"`
	Seq          uint64       `json:"seq"`
}

const (
	kindText = "text"
	kindMD   = "md"

	// KindSys is the kind of what the server itself says.
	KindSys = "sys"

	// KindOp is the kind of what somebody does on a board.
	KindOp = "op"

	// KindGone is the kind of a message whose content was taken away.
	KindGone = "gone"

	maxKind  = 32        // bytes
	maxDepth = 64        // levels of arrays and objects in a body: clients' parsers recurse
	maxTTL   = 1<<31 - 1 // seconds
	maxExact = 1<<53 - 1 // the largest integer that every JSON parser keeps
)

// ParseContent reads a payload (docs/protocol.md, section 2). contentType decides: "text/plain" means that the payload
// is the text, "application/json" that it is the full form. Without one, a JSON object with "k" or "body" is the full
// form, and anything else is text.
//
// Text is kept byte for byte; it has to be UTF-8 without NUL. A body is kept as it was written, less the white space
// between its tokens: numbers keep their digits, objects their order. Unknown fields of the full form are ignored, and
// null is the same as none. Refused with ErrMalformed: a field of the wrong type, a known field that comes twice, half a
// surrogate pair, more than 64 levels, anything after the object.
//
// The limits of [Config] are checked by Send. The body may share memory with payload.
func ParseContent(payload []byte, contentType string) (Content, error) {
	medium, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(medium)) {
	case "":
		if c, is, err := parseFull(payload, false); is {
			return c, err
		}
		return parseText(payload)
	case "text/plain":
		return parseText(payload)
	case "application/json":
		c, _, err := parseFull(payload, true)
		return c, err
	}
	return Content{}, fmt.Errorf("content type %.80q: %w", contentType, ErrMalformed)
}

func parseText(payload []byte) (Content, error) {
	if !utf8.Valid(payload) || bytes.IndexByte(payload, 0) >= 0 {
		return Content{}, fmt.Errorf("text is not UTF-8 without NUL: %w", ErrMalformed)
	}
	body := make([]byte, 0, len(payload)+len(`{"text":""}`)+8)
	body = append(body, `{"text":`...)
	body = append(appendQuoted(body, string(payload)), '}')
	return Content{Kind: kindText, Body: body}, nil
}

// parseFull reads the full form. is says whether payload is one: always if it was said to be.
func parseFull(payload []byte, said bool) (c Content, is bool, err error) {
	p := parser{c: Content{Kind: kindText}}
	s := scanner{in: payload}
	if !s.members(p.field) {
		return Content{}, said, fmt.Errorf("payload is no JSON object: %w", ErrMalformed)
	}
	if is = said || p.seen&(1<<fieldKind|1<<fieldBody|1<<fieldFwd) != 0; !is {
		return Content{}, false, nil
	}
	if p.bad == "" && s.lone {
		p.bad = "half a surrogate pair"
	}
	if p.bad == "" && s.deepest > maxDepth {
		p.bad = "more than 64 levels"
	}
	if p.bad != "" {
		return Content{}, true, fmt.Errorf("message: %s: %w", p.bad, ErrMalformed)
	}
	if s.spaces && p.c.Body != nil {
		p.c.Body = appendCompact(make([]byte, 0, len(p.c.Body)), p.c.Body)
	}
	return p.c, true, nil
}

// The fields of the full form.
const (
	fieldKind = iota
	fieldBody
	fieldMID
	fieldRe
	fieldAt
	fieldTTL
	fieldFallback
	fieldFwd
)

var fieldNames = [...]string{"k", "body", "mid", "re", "at", "ttl", "fallback", "fwd"}

// parser collects the fields of the full form.
type parser struct {
	c    Content
	seen uint   // a bit for each field that has come
	bad  string // the first thing that is wrong
}

func (p *parser) field(name string, value []byte) {
	i := slices.Index(fieldNames[:], name)
	if i < 0 {
		return
	}
	if p.seen&(1<<i) != 0 {
		p.wrong(name + " comes twice")
		return
	}
	p.seen |= 1 << i
	if string(value) == "null" {
		return
	}
	switch i {
	case fieldKind:
		p.c.Kind = p.text(name, value)
	case fieldBody:
		p.c.Body = value
	case fieldMID:
		p.c.MID = p.text(name, value)
	case fieldRe:
		p.c.Re = p.number(name, value, maxExact)
	case fieldAt:
		p.c.At = p.names(value)
	case fieldTTL:
		p.c.TTL = int64(p.number(name, value, maxTTL))
	case fieldFallback:
		p.c.Fallback = p.text(name, value)
	case fieldFwd:
		p.c.Fwd = p.source(value)
	}
}

func (p *parser) source(value []byte) (s Source) {
	if err := json.Unmarshal(value, &s); err != nil || s.Seq == 0 || s.Seq > maxExact {
		p.wrong("fwd names no message")
	}
	return s
}

func (p *parser) wrong(what string) {
	if p.bad == "" {
		p.bad = what
	}
}

func (p *parser) text(name string, value []byte) string {
	if value[0] != '"' {
		p.wrong(name + " is no string")
		return ""
	}
	return unquote(value)
}

func (p *parser) number(name string, value []byte, most uint64) uint64 {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil || n > most {
		p.wrong(name + " is no whole number, or too large")
		return 0
	}
	return n
}

func (p *parser) names(value []byte) []accounts.Name {
	var names []accounts.Name
	if err := json.Unmarshal(value, &names); err != nil {
		p.wrong("at is no list of names")
	}
	return names
}

// check says whether c may be stored. It gives c in the form in which it is stored, less a fallback that is to be made,
// and the text in it, if there is one. It does not trust that c came from ParseContent.
func (c Content) check(cfg Config) (checked Content, text string, err error) {
	if c.Kind == "" {
		c.Kind = kindText
	}
	if c.Kind == KindSys || c.Kind == KindGone {
		return c, "", fmt.Errorf("kind %s is the server's: %w", c.Kind, ErrNoRight)
	}
	if !validKind(c.Kind) {
		return c, "", fmt.Errorf("kind %.80q: %w", c.Kind, ErrMalformed)
	}
	if err := c.checkFields(cfg); err != nil {
		return c, "", err
	}
	if c.Fwd != (Source{}) {
		if c.Body != nil || c.Kind != kindText || c.Fallback != "" {
			return c, "", fmt.Errorf("a forwarded message with content of its own: %w", ErrMalformed)
		}
		c.Body = json.RawMessage("null")
		return c, "", nil
	}
	if c.Body == nil {
		c.Body = json.RawMessage("null")
	}
	if text, err = c.checkBody(); err != nil {
		return c, "", err
	}
	if over(len(c.Body), cfg.MaxBody) {
		return c, "", fmt.Errorf("body of %d bytes: %w", len(c.Body), ErrTooLarge)
	}
	if (c.Kind == kindText || c.Kind == kindMD) && over(utf8.RuneCountInString(text), cfg.MaxText) {
		return c, "", fmt.Errorf("text of %d characters: %w", utf8.RuneCountInString(text), ErrTooLarge)
	}
	return c, text, nil
}

func (c Content) checkFields(cfg Config) error {
	if len(c.MID) > cfg.MaxMID {
		return fmt.Errorf("mid of %d bytes: %w", len(c.MID), ErrTooLarge)
	}
	if !printable(c.MID) {
		return fmt.Errorf("mid %q is not printable: %w", c.MID, ErrMalformed)
	}
	if over(utf8.RuneCountInString(c.Fallback), cfg.MaxFallback) {
		return fmt.Errorf("fallback of %d bytes: %w", len(c.Fallback), ErrTooLarge)
	}
	if !validText(c.Fallback) {
		return fmt.Errorf("fallback is not UTF-8 without NUL: %w", ErrMalformed)
	}
	if over(len(c.At), cfg.MaxMentions) {
		return fmt.Errorf("%d mentions: %w", len(c.At), ErrTooLarge)
	}
	for _, name := range c.At {
		if _, err := accounts.ParseDevice(string(name)); err != nil { // a user's name would do for a device as well
			return fmt.Errorf("mention of %.80q: %w", name, ErrMalformed)
		}
	}
	if c.Re > maxExact || c.TTL < 0 || c.TTL > maxTTL {
		return fmt.Errorf("re %d, ttl %d: %w", c.Re, c.TTL, ErrMalformed)
	}
	return nil
}

// checkBody says whether the body may be stored, takes white space out of it, and gives its member "text" if it is an
// object with one. The kind text must have it.
func (c *Content) checkBody() (text string, err error) {
	s := scanner{in: c.Body}
	texts, last := 0, []byte(nil)
	object := s.members(func(name string, value []byte) {
		if name == "text" {
			texts++
			last = value
		}
	})
	if !object {
		s = scanner{in: c.Body}
		if !s.value() || !s.end() {
			return "", fmt.Errorf("body is no JSON: %w", ErrMalformed)
		}
	} else {
		s.deepest++ // the object itself
	}
	if s.lone || s.deepest > maxDepth {
		return "", fmt.Errorf("body of %d levels, half a surrogate pair: %t: %w", s.deepest, s.lone, ErrMalformed)
	}
	if s.spaces {
		c.Body = appendCompact(make([]byte, 0, len(c.Body)), c.Body)
	}
	if texts == 1 && last[0] == '"' {
		text = unquote(last)
	} else if c.Kind == kindText {
		return "", fmt.Errorf("body of a text has not one text: %w", ErrMalformed)
	}
	if c.Kind == kindText && !validText(text) {
		return "", fmt.Errorf("text has a NUL: %w", ErrMalformed)
	}
	return text, nil
}

// validKind says whether s is [a-z][a-z0-9]* or x.[a-z0-9._-]+, and not too long.
func validKind(s string) bool {
	own, custom := strings.CutPrefix(s, "x.")
	if own == "" || len(s) > maxKind || !custom && (own[0] < 'a' || own[0] > 'z') {
		return false
	}
	for i := range len(own) {
		c := own[i]
		plain := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !plain && (!custom || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

// printable says whether s is UTF-8 of letters, marks, numbers, punctuation, symbols and plain spaces only: it stands in
// logs and in user properties.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func validText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// fallbackFor gives c's fallback. One that is missing is made, but for a text: the beginning of the text in it, or else
// the name of its kind.
func (c Content) fallbackFor(text string, longest int) string {
	switch {
	case c.Fallback != "" || c.Kind == kindText:
		return c.Fallback
	case text == "" || !validText(text):
		return "[" + c.Kind + "]"
	case longest > 0:
		return cut(text, longest)
	}
	return text
}

// fingerprint tells two contents apart: what was sent, not what the server added. The body counts as it was written.
func (c Content) fingerprint() [sha256.Size]byte {
	head := make([]byte, 0, 256)
	field := func(s string) {
		head = binary.AppendUvarint(head, uint64(len(s)))
		head = append(head, s...)
	}
	field(c.Kind)
	field(c.Fallback)
	if c.Fwd != (Source{}) {
		field(string(c.Fwd.Conversation))
		head = binary.AppendUvarint(head, c.Fwd.Seq)
	}
	head = binary.AppendUvarint(head, c.Re)
	head = binary.AppendVarint(head, c.TTL)
	head = binary.AppendUvarint(head, uint64(len(c.At)))
	for _, name := range c.At {
		field(string(name))
	}
	return sha256.Sum256(slices.Concat(head, c.Body))
}
