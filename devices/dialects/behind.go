package dialects

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Part is what one message that a bridge publishes says of a device behind it: what it is, some of the values that it has, and how it
// is known that it is there. A device is all of its parts together. The message says so until another one is published to its topic.
type Part struct {
	Topic  string // of the message, or that and more if there are several parts in one
	Local  string // what the bridge calls the device; others of the same bridge are called otherwise
	Name   string // what people call it; empty: nothing in particular
	Model  string
	Type   string // what it is to people; empty: nothing is known
	Points []Point
	There  Availability
}

// Bounds of parts, in bytes.
const (
	maxLocal = 128
	maxTopic = 200
)

// Availability is how it is known whether a device is there.
type Availability struct {
	Mode  string // "all", "any" or "latest" of the topics count; empty: latest
	Hints []Hint
}

// Hint is a topic that says whether a device is there.
type Hint struct {
	Topic string
	Path  []string        // in the JSON of the payload; nil: the payload is the word
	Words map[string]bool // what words mean; of others nothing is known
}

// Says reads a payload; ok is false if it says neither.
func (h Hint) Says(payload []byte) (there, ok bool) {
	v, ok := at(payload, h.Path)
	if !ok {
		return false, false
	}
	there, ok = h.Words[wordOf(v)]
	return there, ok
}

// Point is a value of a device: where it is read, and how it is set.
type Point struct {
	Key   string // in what the device reports
	State string // the topic; empty: it is not known
	Path  []string
	Kind  Kind
	// Words are what payloads mean: of those that are not here nothing is known. nil: whatever the payload is.
	Words map[string]any

	Command string            // the topic; empty: it cannot be set
	Field   string            // of the JSON object that is published; empty: the value alone
	Writes  map[string]string // payloads for values; nil: the value itself
	Calls   map[string]string // payloads for commands, by their names
}

// Kind is what a value is.
type Kind byte

// Kinds.
const (
	KindAny    Kind = iota // JSON if it was in an object, else text
	KindNumber             // what is none is nothing
	KindBool
)

// Read gives the value that a payload has for a point.
func (p Point) Read(payload []byte) (v any, ok bool) {
	if v, ok = at(payload, p.Path); !ok {
		return nil, false
	}
	if p.Words != nil {
		v, ok = p.Words[wordOf(v)]
		return v, ok
	}
	switch p.Kind {
	case KindNumber:
		n := json.Number(strings.TrimSpace(wordOf(v)))
		if _, err := strconv.ParseFloat(string(n), 64); err != nil || !json.Valid([]byte(n)) {
			return nil, false
		}
		return n, true
	case KindBool:
		b, err := strconv.ParseBool(strings.ToLower(wordOf(v)))
		return b, err == nil
	}
	return v, v != nil
}

// Write gives the payload that sets a point to a value.
func (p Point) Write(v any) (payload []byte, ok bool) {
	if p.Command == "" || v == nil {
		return nil, false
	}
	if p.Writes != nil {
		word, ok := p.Writes[wordOf(v)]
		return p.wrap(word), ok
	}
	switch v.(type) {
	case string, bool, json.Number, float64:
		return p.wrap(v), true
	}
	return nil, false
}

// Call gives the payload for a command.
func (p Point) Call(name string) (payload []byte, ok bool) {
	word, ok := p.Calls[name]
	return p.wrap(word), ok && p.Command != ""
}

func (p Point) wrap(v any) []byte {
	if p.Field != "" {
		return encoded(map[string]any{p.Field: v})
	}
	return []byte(wordOf(v))
}

// at gives what the JSON of a payload has at a path; without one, the payload as a text.
func at(payload []byte, path []string) (any, bool) {
	if path == nil {
		return string(payload), utf8.Valid(payload)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, false
	}
	for _, name := range path {
		fields, is := v.(map[string]any)
		if !is {
			return nil, false
		}
		if v, is = fields[name]; !is {
			return nil, false
		}
	}
	return v, v != nil
}

// wordOf is a value as a text.
func wordOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		return strconv.Itoa(v)
	}
	return ""
}

// onOff are words for the state of something that is on or off.
func onOff(on, off string) (words map[string]any, writes, calls map[string]string) {
	return map[string]any{on: "on", off: "off"},
		map[string]string{"on": on, "off": off, "true": on, "false": off},
		map[string]string{"on": on, "off": off}
}

// Read gives the parts that a message says; ok is false if it says nothing of what there is. A part without a Local says that what its
// topic has said is over.
func Read(topic string, payload []byte) (parts []Part, ok bool) {
	for _, read := range []func(string, []byte) ([]Part, bool){readHomeAssistant, readZigbee2MQTT, readTasmota, readShelly, readHomie} {
		if parts, ok = read(topic, payload); ok {
			return slices.DeleteFunc(parts, unfit), true
		}
	}
	return nil, false
}

// unfit says whether a part is longer than anything may be.
func unfit(p Part) bool {
	long := func(s string) bool { return len(s) > maxTopic || !utf8.ValidString(s) || strings.ContainsRune(s, 0) }
	bad := long(p.Topic) || len(p.Local) > maxLocal || long(p.Local) || long(p.Name) || long(p.Model)
	for _, x := range p.Points {
		bad = bad || long(x.State) || long(x.Command) || strings.ContainsAny(x.Command, "+#") || long(x.Key) || x.Key == ""
	}
	return bad
}

// Over says whether what a topic has said is over.
func (p Part) Over() bool { return p.Local == "" }

// word makes a key of what others call something: small letters, digits and underscores.
func word(s string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, s)
	return out[:min(len(out), 64)]
}
