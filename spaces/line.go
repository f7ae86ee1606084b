package spaces

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line is something that somebody says to a device in the conversation of its home: "@lamp on".
type Line struct {
	Name  string // whom it is said to: the device's name, or what its title comes to by Slug
	Order Order
}

// Order is what a device is told by a line.
type Order struct {
	Do    string          `json:"do"` // one of the words below; empty: it was not understood
	Key   string          `json:"key,omitempty"`
	Value json.RawMessage `json:"value,omitempty"` // of OrderSet
	Call  string          `json:"call,omitempty"`
	Args  json.RawMessage `json:"args,omitempty"` // of OrderCall; nil: none
}

// What a device can be told by a line.
const (
	OrderOn     = "on"
	OrderOff    = "off"
	OrderToggle = "toggle"
	OrderSet    = "set"  // key value
	OrderCall   = "call" // name {json}
)

// Bounds of what a line holds, in bytes.
const (
	maxLineName = 128
	maxLineKey  = 64
	maxLine     = 8 << 10
)

// ParseLine takes a line apart; ok is false if it is said to nobody. What is said to somebody and not understood is an Order that
// does nothing. Whether there is a device of this name is for others to know: it may be a person.
func ParseLine(text string) (l Line, ok bool) {
	rest, is := strings.CutPrefix(text, "@")
	if !is || len(text) > maxLine || !utf8.ValidString(text) {
		return Line{}, false
	}
	if first, _ := utf8.DecodeRuneInString(rest); unicode.IsSpace(first) {
		return Line{}, false
	}
	name, rest := word(rest)
	l.Name = strings.ToLower(strings.TrimRight(name, ":,"))
	if l.Name == "" || len(l.Name) > maxLineName {
		return Line{}, false
	}
	l.Order = parseOrder(rest)
	return l, true
}

func parseOrder(text string) (o Order) {
	do, rest := word(text)
	switch do = strings.ToLower(do); do {
	case OrderOn, OrderOff, OrderToggle:
		if rest == "" {
			o.Do = do
		}
	case OrderSet:
		key, value := word(rest)
		if value != "" && validKey(key) {
			o = Order{Do: do, Key: key, Value: valueOf(value)}
		}
	case OrderCall:
		name, args := word(rest)
		switch {
		case !validKey(name):
		case args == "":
			o = Order{Do: do, Call: name}
		case json.Valid([]byte(args)):
			o = Order{Do: do, Call: name, Args: json.RawMessage(args)}
		}
	}
	return o
}

// word cuts the first word off.
func word(text string) (first, rest string) {
	text = strings.TrimSpace(text)
	i := strings.IndexFunc(text, unicode.IsSpace)
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimSpace(text[i:])
}

// valueOf is what somebody has written as JSON, or else as a text.
func valueOf(text string) json.RawMessage {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string can always be written
	}
	return quoted
}

// validKey says whether a word may name a value of a device, or a command.
func validKey(s string) bool {
	return s != "" && len(s) <= maxLineKey && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:-", r)
	}) < 0
}

// Slug is how a title is written in a line: its letters and digits, small, with one hyphen for all that is between them.
func Slug(title string) string {
	var b strings.Builder
	gap := false
	for _, r := range title {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			gap = b.Len() > 0
			continue
		}
		if gap {
			b.WriteByte('-')
			gap = false
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
