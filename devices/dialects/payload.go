package dialects

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/magpie-im/magpie/devices/dialects/jinja"
)

// Payload is what a message says. It is read once, however much is looked for in it. It is not for concurrent use.
type Payload struct {
	raw  []byte
	text any // the same as a text; nil: not made yet, or there is none
	json any // nil: not read yet
	bad  bool
	vars map[string]any // for templates
	work int            // what is left to be done
}

// maxWork is how much may be done with one message, in steps of jinja, of which a byte that is looked at is one: however many
// devices it is about, and however many values of each. After that, it says nothing.
const maxWork = 8 << 20

// NewPayload gives the payload of a message, which must not change meanwhile.
func NewPayload(raw []byte) *Payload { return &Payload{raw: raw, work: maxWork} }

// decoded gives the JSON of the payload.
func (p *Payload) decoded() (any, bool) {
	if p.json == nil && !p.bad {
		v, err := jinja.Decode(p.raw)
		p.json, p.bad = v, err != nil
	}
	return p.json, !p.bad
}

// may counts that all of a value is looked at, and says whether there may be so much.
func (p *Payload) may(v any) bool {
	switch v := v.(type) {
	case string:
		p.work -= len(v)
	case json.Number:
		p.work -= len(v)
	case []any, map[string]any: // it is not longer than what it is part of, or made of
		p.work -= max(len(p.raw), 1)
	}
	p.work--
	return p.work >= 0
}

// at gives what a template makes of the payload, or that itself, and of that what its JSON has at a path; without a path, a
// payload is a text.
func (p *Payload) at(t *jinja.Template, path []string) (any, bool) {
	v, ok := p.found(t, path)
	return v, ok && p.may(v)
}

// found is at, of which nobody has looked at what it gives.
func (p *Payload) found(t *jinja.Template, path []string) (any, bool) {
	switch {
	case t == nil && path == nil:
		if p.text == nil && utf8.Valid(p.raw) {
			p.text = string(p.raw)
		}
		return p.text, p.text != nil
	case t == nil:
		v, ok := p.decoded()
		if !ok {
			return nil, false
		}
		return below(v, path)
	case len(p.raw) > maxRender:
		return nil, false
	}
	if p.vars == nil {
		p.vars = map[string]any{"value": string(p.raw)}
		if v, ok := p.decoded(); ok {
			p.vars["value_json"] = v
		}
	}
	v, err := t.ValueWithin(p.vars, &p.work)
	if err != nil {
		return nil, false
	}
	if text, is := v.(string); is && path != nil {
		if !p.may(text) {
			return nil, false
		}
		if v, err = jinja.Decode([]byte(text)); err != nil {
			return nil, false
		}
	}
	return below(v, path)
}

// below gives what JSON has at a path.
func below(v any, path []string) (any, bool) {
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

// inner gives what an object, or the text of one, has under a name, or the value itself if it is no object.
func inner(v any, name string) (in any, object bool) {
	if text, is := v.(string); is && strings.HasPrefix(strings.TrimSpace(text), "{") && len(text) <= maxRender {
		if decoded, err := jinja.Decode([]byte(text)); err == nil {
			v = decoded
		}
	}
	if fields, is := v.(map[string]any); is {
		return fields[name], true
	}
	return v, false
}
