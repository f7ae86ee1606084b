package dialects

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/magpie-im/magpie/devices/dialects/jinja"
)

// Part is what one message that a bridge publishes says of a device behind it: what it is, some of the values that it has, and
// how it is known that it is there. A device is all of its parts together. The message says so until another one is published
// to its topic.
type Part struct {
	Topic  string // of the message, or that and more if there are several parts in one
	Local  string // what the bridge calls the device; others of the same bridge are called otherwise
	Name   string // what people call it; empty: nothing in particular
	Model  string
	Type   string // what it is to people; empty: nothing is known
	Points []Point
	Events []Occasion
	There  Availability
}

// Weight is how much there is of a part, in values: a template that is a long one counts as several.
func (p Part) Weight() int {
	const each = 16 // parts of templates
	return 1 + len(p.Points) + len(p.There.Hints) + len(p.Events) + p.templates()/each
}

// templates is of how many parts its templates are together.
func (p Part) templates() (n int) {
	for _, x := range p.Points {
		n += x.Template.Size() + x.Format.Size()
	}
	for _, h := range p.There.Hints {
		n += h.Template.Size()
	}
	for _, o := range p.Events {
		n += o.Template.Size()
	}
	return n
}

// Bounds of parts.
const (
	maxLocal  = 128      // bytes
	maxTopic  = 200      // bytes
	maxPoints = 256      // of one part, as of its events and hints
	maxFields = 200      // of a description, that all of its components have
	maxParsed = 32 << 10 // parts of the templates of one description: all of its components may have a long one in common
	maxRender = 64 << 10 // bytes of a payload that templates are used for
)

// Availability is how it is known whether a device is there.
type Availability struct {
	Mode  string // "all", "any" or "latest" of the topics count; empty: latest
	Hints []Hint
}

// Hint is a topic that says whether a device is there.
type Hint struct {
	Topic    string
	Path     []string        // in the JSON of the payload; nil: the payload is the word
	Words    map[string]bool // what words mean; of others nothing is known
	Template *jinja.Template // gives what Path is in; nil: that is the payload
}

// Says reads a payload; ok is false if it says neither.
func (h Hint) Says(payload []byte) (there, ok bool) { return h.From(NewPayload(payload)) }

// From is Says.
func (h Hint) From(p *Payload) (there, ok bool) {
	v, ok := p.at(h.Template, h.Path)
	if !ok {
		return false, false
	}
	there, ok = h.Words[wordOf(v)]
	return there, ok
}

// Point is a value of a device: where it is read, and how it is set.
type Point struct {
	Key   string // in what the device reports
	Other string // what it is called if there is another one of that key; empty: then there is none of it
	State string // the topic; empty: it is not known
	Path  []string
	Kind  Kind
	// Template gives what Path is in; nil: that is the payload.
	Template *jinja.Template
	// Inner is the name of the value if what was found so far is a JSON object, or the text of one. If it is none, it is the
	// value itself, unless OnlyInner.
	Inner     string
	OnlyInner bool
	// Words are what payloads mean: of those that are not here nothing is known. nil: whatever the payload is.
	Words map[string]any
	Scale float64  // what stands for 255; 0: it is said as it is
	Names []string // of KindList: what its values are called in an object, or in a Format

	Command string            // the topic; empty: it cannot be set
	Field   string            // of the JSON object that is published; empty: the value alone
	Writes  map[string]string // payloads for values; nil: the value itself
	Calls   map[string]string // payloads for commands, by their names
	// Format makes the payload of value, and of all Names; nil: see Field.
	Format *jinja.Template
}

// Kind is what a value is.
type Kind byte

// Kinds.
const (
	KindAny    Kind = iota // JSON if it was in an object, else text
	KindNumber             // what is none is nothing
	KindBool
	KindList // of numbers: in an array, as "1,2,3", or in an object with Names
	KindText // also if it was a number
)

// Read gives the value that a payload has for a point.
func (p Point) Read(payload []byte) (v any, ok bool) { return p.From(NewPayload(payload)) }

// From is Read.
func (p Point) From(payload *Payload) (v any, ok bool) {
	if v, ok = payload.at(p.Template, p.Path); !ok {
		return nil, false
	}
	if p.Inner != "" {
		in, object := inner(v, p.Inner)
		if !object && p.OnlyInner {
			return nil, false
		}
		v = in
	}
	if p.Words != nil {
		said, is := p.Words[wordOf(v)]
		if b, isBool := v.(bool); isBool && !is { // as Python says it
			said, is = p.Words[map[bool]string{true: "True", false: "False"}[b]]
		}
		return said, is
	}
	switch p.Kind {
	case KindNumber:
		n, ok := numberOf(v)
		if ok && p.Scale > 0 {
			n = scaled(n, 255/p.Scale)
		}
		return n, ok
	case KindList:
		return p.list(v)
	case KindText:
		return wordOf(v), wordOf(v) != ""
	case KindBool:
		b, err := strconv.ParseBool(strings.ToLower(wordOf(v)))
		return b, err == nil
	}
	return v, v != nil
}

// Differs says whether a point is read or set elsewhere than another one.
func (p Point) Differs(x Point) bool {
	read := p.State != "" && x.State != "" &&
		(p.State != x.State || !slices.Equal(p.Path, x.Path) || p.Inner != x.Inner || !same(p.Template, x.Template))
	return read || p.Command != "" && x.Command != "" && (p.Command != x.Command || p.Field != x.Field)
}

// same says whether two templates are, or there is none of either.
func same(a, b *jinja.Template) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.String() == b.String()
}

// ReadAs makes a point be read as another one is.
func (p *Point) ReadAs(x Point) {
	p.State, p.Path, p.Template, p.Inner, p.OnlyInner = x.State, x.Path, x.Template, x.Inner, x.OnlyInner
	p.Kind, p.Words, p.Scale, p.Names = x.Kind, x.Words, x.Scale, x.Names
}

// WrittenAs makes a point be set as another one is.
func (p *Point) WrittenAs(x Point) {
	p.Command, p.Field, p.Format, p.Writes, p.Calls = x.Command, x.Field, x.Format, x.Writes, x.Calls
	if p.Names == nil {
		p.Names = x.Names
	}
}

// longestNumber is of how many bytes a number is at most.
const longestNumber = 64

// numberOf is a value as a number.
func numberOf(v any) (json.Number, bool) {
	n := json.Number(strings.TrimSpace(wordOf(v)))
	if len(n) > longestNumber {
		return "", false
	}
	if _, err := strconv.ParseFloat(string(n), 64); err != nil || !json.Valid([]byte(n)) {
		return "", false
	}
	return n, true
}

// scaled gives so many times a number, without a fraction.
func scaled(n json.Number, times float64) json.Number {
	f, err := n.Float64()
	if f = math.Round(f * times); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return n
	}
	return json.Number(strconv.FormatFloat(f, 'f', -1, 64))
}

// list reads a list of numbers: the color of a lamp.
func (p Point) list(v any) (out []any, ok bool) {
	var all []any
	switch v := v.(type) {
	case []any:
		all = v
	case map[string]any:
		for _, name := range p.Names {
			all = append(all, v[name])
		}
	case string:
		for _, part := range strings.SplitN(v, ",", len(p.Names)+1) {
			all = append(all, part)
		}
	}
	if len(all) != len(p.Names) {
		return nil, false
	}
	for _, x := range all {
		n, ok := numberOf(x)
		if !ok {
			return nil, false
		}
		out = append(out, n)
	}
	return out, len(out) > 0
}

// Write gives the payload that sets a point to a value.
func (p Point) Write(v any) (payload []byte, ok bool) {
	if p.Command == "" || v == nil {
		return nil, false
	}
	if p.Writes != nil {
		word, ok := p.Writes[wordOf(v)]
		if !ok {
			return nil, false
		}
		return p.wrap(word)
	}
	switch v := v.(type) {
	case string, bool, json.Number, float64:
		if p.Kind == KindList {
			return nil, false
		}
		if n, is := numberOf(v); is && p.Scale > 0 {
			return p.wrap(scaled(n, p.Scale/255))
		}
		return p.wrap(v)
	case []any:
		if list, ok := p.list(v); ok && p.Kind == KindList {
			return p.wrap(list)
		}
	}
	return nil, false
}

// Call gives the payload for a command.
func (p Point) Call(name string) (payload []byte, ok bool) {
	word, ok := p.Calls[name]
	if !ok || p.Command == "" {
		return nil, false
	}
	return p.wrap(word)
}

func (p Point) wrap(v any) ([]byte, bool) {
	if f, is := v.(float64); is && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		v = int64(f) // which a template prints without a fraction
	}
	list, isList := v.([]any)
	switch {
	case p.Format != nil:
		vars := map[string]any{"value": v, "state": "on"} // to set a lamp is to switch it on
		for i, name := range p.Names {
			if isList {
				vars[name] = list[i]
			} else {
				vars[name] = v
			}
		}
		text, err := p.Format.Text(vars)
		return []byte(text), err == nil
	case isList && p.Field != "":
		object := map[string]any{}
		for i, name := range p.Names {
			object[name] = list[i]
		}
		return encoded(map[string]any{p.Field: object}), true
	case isList:
		words := make([]string, len(list))
		for i, x := range list {
			words[i] = wordOf(x)
		}
		return []byte(strings.Join(words, ",")), true
	case p.Field != "":
		return encoded(map[string]any{p.Field: v}), true
	}
	return []byte(wordOf(v)), true
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
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// onOff are words for the state of something that is on or off.
func onOff(on, off string) (words map[string]any, writes, calls map[string]string) {
	return map[string]any{on: "on", off: "off"},
		map[string]string{"on": on, "off": off, "true": on, "false": off},
		map[string]string{"on": on, "off": off}
}

// Read gives the parts that a message says; ok is false if it says nothing of what there is. A part without a Local says that
// what its topic has said is over.
func Read(topic string, payload []byte) (parts []Part, ok bool) {
	for _, read := range []func(string, []byte) ([]Part, bool){
		readHomeAssistant, readZigbee2MQTT, readTasmota, readShelly, readHomie,
	} {
		if parts, ok = read(topic, payload); ok {
			for i := range parts {
				parts[i].bound()
			}
			return slices.DeleteFunc(parts, unfit), true
		}
	}
	return nil, false
}

// long says whether a text is longer than anything may be, or none.
func long(s string) bool {
	return len(s) > maxTopic || !utf8.ValidString(s) || strings.ContainsRune(s, 0)
}

// unfit says whether a part cannot be kept.
func unfit(p Part) bool {
	return long(p.Topic) || len(p.Local) > maxLocal || long(p.Local) || long(p.Name) || long(p.Model)
}

// bound leaves out of a part what cannot be, and what is too much.
func (p *Part) bound() {
	p.Points = slices.DeleteFunc(p.Points, func(x Point) bool {
		return long(x.State) || long(x.Command) || strings.ContainsAny(x.Command, "+#") || x.Key == "" || long(x.Key) ||
			long(x.Other)
	})
	p.Events = slices.DeleteFunc(p.Events, func(o Occasion) bool { return o.Topic == "" || long(o.Topic) })
	p.There.Hints = slices.DeleteFunc(p.There.Hints, func(h Hint) bool { return h.Topic == "" || long(h.Topic) })
	p.Points = p.Points[:min(len(p.Points), maxPoints)]
	p.Events = p.Events[:min(len(p.Events), maxPoints)]
	p.There.Hints = p.There.Hints[:min(len(p.There.Hints), maxPoints)]
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
