package dialects

import (
	"strings"

	"github.com/magpie-im/magpie/devices/dialects/jinja"
)

// Occasion is a topic whose messages are events of a device.
type Occasion struct {
	Topic    string
	Template *jinja.Template // gives what Path is in; nil: that is the payload
	Path     []string
	Inner    string          // the name of the word in what was found so far, if that is a JSON object; else that is the word
	Words    map[string]bool // those that are events; nil: each is one
	Type     string          // what the event is; empty: the word says it
	Where    string          // which of several things that are alike it has happened to; empty: nothing in particular
}

// From reads what has happened; ok is false if nothing has.
func (o Occasion) From(p *Payload) (kind string, ok bool) {
	v, ok := p.at(o.Template, o.Path)
	if o.Inner != "" {
		v, _ = inner(v, o.Inner)
	}
	said := wordOf(v)
	if !ok || said == "" || o.Words != nil && !o.Words[said] {
		return "", false
	}
	kind = eventWord(either(o.Type, said))
	if o.Where != "" {
		kind += ":" + eventWord(o.Where)
	}
	return kind, true
}

// eventWord makes a part of an event's type of what others call something.
func eventWord(s string) string {
	out := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' || r == '-' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, s)
	return out[:min(len(out), 31)]
}
