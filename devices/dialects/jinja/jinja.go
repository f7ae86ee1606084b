// Package jinja is the part of Jinja, https://jinja.palletsprojects.com/, with which devices say to Home Assistant how what they
// publish is read, and how they are told something: {{ value_json.temperature | round(1) }}. It has expressions, if and set, and
// the filters, tests and functions that are useful there.
//
// Templates come from strangers. There are no loops, no macros, nothing that calls itself, no powers, no repeated texts, and
// nothing that reads files, other templates or the time: a template is done after as many steps as it is long. What it makes is
// bounded, too. What is beyond that is refused when the template is parsed.
package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds.
const (
	maxSource = 4 << 10   // bytes of a template
	maxNodes  = 500       // parts of its expressions
	maxDepth  = 24        // of parentheses and blocks within each other
	maxWork   = 256 << 10 // steps of a run; a byte that is copied or compared is one
	maxText   = 64 << 10  // bytes of what it makes
)

var (
	// ErrBeyond means that a template has something that is not understood here, or is no template.
	ErrBeyond = errors.New("template not understood")
	// ErrValue means that a template cannot be done with these values.
	ErrValue = errors.New("template does not fit the value")
	// ErrNone means that a template comes to nothing: a value that it names is not there.
	ErrNone = errors.New("no value")
)

// Template is one that was understood. It does not change, and may be used concurrently.
type Template struct {
	source string
	size   int // parts of its expressions
	body   []statement
	only   expr // the template is this and nothing else; nil: it is more, or less
}

// Parse reads a template. ErrBeyond.
func Parse(source string) (*Template, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("%d bytes: %w", len(source), ErrBeyond)
	}
	p := &parser{lexer: lexer{rest: source}}
	body, err := p.template()
	if err != nil {
		return nil, err
	}
	t := &Template{source: source, size: p.nodes, body: body}
	if all := outputs(body); len(all) == 1 {
		if o, is := all[0].(output); is {
			t.only = o.expr
		}
	}
	return t, nil
}

// outputs are the statements that are more than white space.
func outputs(body []statement) (all []statement) {
	for _, s := range body {
		if t, is := s.(text); !is || strings.TrimSpace(string(t)) != "" {
			all = append(all, s)
		}
	}
	return all
}

// String is the template as it was written.
func (t *Template) String() string { return t.source }

// Size is of how many parts the template is: how much memory it takes. That of no template is 0.
func (t *Template) Size() int {
	if t == nil {
		return 0
	}
	return t.size
}

// Value gives what the template comes to with these variables, which are JSON: nil, bool, json.Number, string, []any and
// map[string]any. A template that is one expression gives its value, as JSON with int64 and float64 for numbers; any other the
// text that it makes, without white space around it. ErrValue, ErrNone.
func (t *Template) Value(vars map[string]any) (any, error) {
	work := maxWork
	return t.ValueWithin(vars, &work)
}

// ValueWithin is Value as part of more that is done, which work bounds: steps are taken off it. Without any left, it is ErrValue.
func (t *Template) ValueWithin(vars map[string]any, work *int) (any, error) {
	r := &run{vars: vars, left: min(maxWork, *work)}
	defer func(had int) { *work -= had - r.left }(r.left)
	if t.only != nil {
		v, err := r.eval(t.only)
		if err != nil {
			return nil, err
		}
		if v, err = plain(v); err != nil || v == nil {
			return nil, errors.Join(err, nothing(v))
		}
		return v, nil
	}
	return t.text(r)
}

func nothing(v any) error {
	if v == nil {
		return ErrNone
	}
	return nil
}

// Text gives the text that the template makes, without white space around it. ErrValue, ErrNone.
func (t *Template) Text(vars map[string]any) (string, error) {
	return t.text(&run{vars: vars, left: maxWork})
}

func (t *Template) text(r *run) (string, error) {
	if err := r.write(t.body); err != nil {
		return "", err
	}
	return strings.TrimSpace(r.out.String()), nil
}
