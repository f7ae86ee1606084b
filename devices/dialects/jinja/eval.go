package jinja

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// Values are nil, bool, int64, float64, string, []any, map[string]any (of JSON), dict (of a template), and undefined.
type (
	undefined struct{}
	dict      []struct{ key, value any }
)

// run is one run of a template.
type run struct {
	vars map[string]any // set gives it more, in a copy
	own  bool           // vars is that copy
	left int            // of maxWork
	out  strings.Builder
}

// work counts what is done. It is called before that.
func (r *run) work(steps int) error {
	if r.left -= steps; r.left < 0 || steps < 0 {
		return fmt.Errorf("too much: %w", ErrValue)
	}
	return nil
}

func (r *run) write(body []statement) error {
	for _, s := range body {
		switch s := s.(type) {
		case text:
			if err := r.print(string(s)); err != nil {
				return err
			}
		case output:
			v, err := r.eval(s.expr)
			if err != nil {
				return err
			}
			t, err := r.str(v)
			if err == nil {
				err = r.print(t)
			}
			if err != nil {
				return err
			}
		case assignment:
			v, err := r.eval(s.expr)
			if err != nil {
				return err
			}
			r.set(s.name, v)
		case choice:
			if err := r.choose(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) print(s string) error {
	if r.out.Len()+len(s) > maxText {
		return fmt.Errorf("too long: %w", ErrValue)
	}
	if err := r.work(len(s)); err != nil {
		return err
	}
	r.out.WriteString(s)
	return nil
}

func (r *run) set(name string, v any) {
	if !r.own {
		copied := make(map[string]any, len(r.vars)+1)
		for k, v := range r.vars {
			copied[k] = v
		}
		r.vars, r.own = copied, true
	}
	r.vars[name] = v
}

func (r *run) choose(c choice) error {
	for i, test := range c.tests {
		v, err := r.eval(test)
		if err != nil {
			return err
		}
		if truth(v) {
			return r.write(c.bodies[i])
		}
	}
	return r.write(c.other)
}

// eval gives the value of an expression.
func (r *run) eval(e expr) (any, error) {
	if err := r.work(1); err != nil {
		return nil, err
	}
	switch e := e.(type) {
	case constant:
		return e.value, nil
	case name:
		v, there := r.vars[string(e)]
		if !there {
			return undefined{}, nil
		}
		return known(v), nil
	case list:
		return r.all(e)
	case pairs:
		return r.dict(e)
	case unary:
		return r.unary(e)
	case binary:
		return r.binary(e)
	case logic:
		x, err := r.eval(e.x)
		if err != nil || truth(x) == (e.op == "or") {
			return x, err
		}
		return r.eval(e.y)
	case comparison:
		return r.compare(e)
	case conditional:
		test, err := r.eval(e.test)
		switch {
		case err != nil:
			return nil, err
		case truth(test):
			return r.eval(e.yes)
		case e.no == nil:
			return undefined{}, nil
		}
		return r.eval(e.no)
	case member:
		x, err := r.eval(e.x)
		if err != nil {
			return nil, err
		}
		return r.at(x, e.name)
	case subscript:
		return r.subscript(e)
	case slice:
		return r.slice(e)
	case call:
		return r.call(e)
	case test:
		x, err := r.eval(e.x)
		if err != nil {
			return nil, err
		}
		return tests[e.name](x) != e.not, nil
	}
	return nil, fmt.Errorf("%T: %w", e, ErrBeyond)
}

// longestNumber is of how many bytes a number is at most: what is longer is nothing.
const longestNumber = 64

// known gives a value of JSON in the types of this package.
func known(v any) any {
	switch v := v.(type) {
	case json.Number:
		// It is read each time that it is looked at, which is one step.
		if len(v) > longestNumber {
			return undefined{}
		}
		if n, ok := number(v.String()); ok {
			return n
		}
		return undefined{}
	case int:
		return int64(v)
	}
	return v
}

func (r *run) all(exprs []expr) ([]any, error) {
	out := make([]any, len(exprs))
	for i, e := range exprs {
		v, err := r.eval(e)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (r *run) dict(e pairs) (any, error) {
	out := make(dict, len(e))
	for i, p := range e {
		var err error
		if out[i].key, err = r.eval(p.key); err != nil {
			return nil, err
		}
		if out[i].value, err = r.eval(p.value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// truth is what a value is to if, and, or and not.
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	case dict:
		return len(v) > 0
	}
	return false
}

func (r *run) unary(e unary) (any, error) {
	x, err := r.eval(e.x)
	if err != nil {
		return nil, err
	}
	if e.op == "not" {
		return !truth(x), nil
	}
	if e.op == "-" {
		return arithmetic("-", int64(0), x)
	}
	return arithmetic("+", int64(0), x)
}

func (r *run) binary(e binary) (any, error) {
	x, err := r.eval(e.x)
	if err != nil {
		return nil, err
	}
	y, err := r.eval(e.y)
	if err != nil {
		return nil, err
	}
	a, isText := x.(string)
	b, areTexts := y.(string)
	switch {
	case e.op == "~":
		if a, err = r.str(x); err != nil {
			return nil, err
		}
		if b, err = r.str(y); err != nil {
			return nil, err
		}
		return r.joined(a, b)
	case e.op == "+" && isText && areTexts:
		return r.joined(a, b)
	}
	return arithmetic(e.op, x, y)
}

func (r *run) joined(a, b string) (any, error) {
	if len(a)+len(b) > maxText {
		return nil, fmt.Errorf("too long: %w", ErrValue)
	}
	if err := r.work(len(a) + len(b)); err != nil {
		return nil, err
	}
	return a + b, nil
}

// numeric gives a number, which true and false are too.
func numeric(v any) (i int64, f float64, whole, ok bool) {
	switch v := v.(type) {
	case int64:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	}
	return 0, 0, false, false
}

func arithmetic(op string, x, y any) (any, error) {
	a, fa, wholeA, okA := numeric(x)
	b, fb, wholeB, okB := numeric(y)
	if !okA || !okB {
		return nil, fmt.Errorf("%s of what is no number: %w", op, ErrValue)
	}
	if wholeA && wholeB {
		if n, ok := wholes(op, a, b); ok {
			return n, nil
		}
	}
	var f float64
	switch op {
	case "+":
		f = fa + fb
	case "-":
		f = fa - fb
	case "*":
		f = fa * fb
	default: // of division
		if fb == 0 {
			return nil, fmt.Errorf("division by zero: %w", ErrValue)
		}
		switch op {
		case "/":
			f = fa / fb
		case "//":
			f = math.Floor(fa / fb)
		default:
			f = fa - fb*math.Floor(fa/fb)
		}
	}
	return finite(f)
}

func finite(f float64) (any, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("no number: %w", ErrValue)
	}
	return f, nil
}

// wholes does with whole numbers what stays whole, and does not become too large.
func wholes(op string, a, b int64) (n int64, ok bool) {
	const most = 1 << 31
	if a < -most || a > most || b < -most || b > most {
		return 0, false
	}
	switch op {
	case "+":
		return a + b, true
	case "-":
		return a - b, true
	case "*":
		return a * b, true
	case "//", "%":
		if b == 0 {
			return 0, false
		}
		q, rest := a/b, a%b
		if rest != 0 && (rest < 0) != (b < 0) { // Python rounds down
			q, rest = q-1, rest+b
		}
		if op == "%" {
			return rest, true
		}
		return q, true
	}
	return 0, false
}

// at gives what an object or a list has under a key, or undefined.
func (r *run) at(x, key any) (any, error) {
	switch x := x.(type) {
	case undefined:
		return nil, fmt.Errorf("a part of what is not there: %w", ErrNone)
	case map[string]any:
		if name, is := key.(string); is {
			if v, there := x[name]; there {
				return known(v), nil
			}
		}
	case dict:
		if err := r.work(len(x)); err != nil {
			return nil, err
		}
		if v, there := x.get(key); there {
			return v, nil
		}
	case []any:
		if i, ok := index(key, len(x)); ok {
			return known(x[i]), nil
		}
	case string:
		if err := r.work(len(x)); err != nil {
			return nil, err
		}
		letters := []rune(x)
		if i, ok := index(key, len(letters)); ok {
			return string(letters[i]), nil
		}
	}
	return undefined{}, nil
}

func index(key any, n int) (int, bool) {
	i, is := key.(int64)
	if is && i < 0 {
		i += int64(n)
	}
	return int(i), is && i >= 0 && i < int64(n)
}

func (r *run) subscript(e subscript) (any, error) {
	x, err := r.eval(e.x)
	if err != nil {
		return nil, err
	}
	key, err := r.eval(e.at)
	if err != nil {
		return nil, err
	}
	return r.at(x, key)
}

func (r *run) slice(e slice) (any, error) {
	x, err := r.eval(e.x)
	if err != nil {
		return nil, err
	}
	if err := r.work(size(x)); err != nil {
		return nil, err
	}
	all, isList := x.([]any)
	t, isText := x.(string)
	letters := []rune(t)
	n := len(letters)
	switch {
	case isList:
		n = len(all)
	case !isText:
		return nil, fmt.Errorf("a slice of what is no list: %w", ErrValue)
	}
	ends := [2]int{0, n}
	for i, end := range []expr{e.from, e.to} {
		if end == nil {
			continue
		}
		v, err := r.eval(end)
		if err != nil {
			return nil, err
		}
		at, is := v.(int64)
		if !is {
			return nil, fmt.Errorf("a slice to no number: %w", ErrValue)
		}
		if at < 0 {
			at += int64(n)
		}
		ends[i] = int(max(0, min(at, int64(n))))
	}
	ends[1] = max(ends[0], ends[1])
	if isList {
		return all[ends[0]:ends[1]], nil
	}
	return string(letters[ends[0]:ends[1]]), nil
}

func (r *run) call(e call) (any, error) {
	c := arguments{run: r, of: e.of}
	var err error
	if e.x != nil {
		if c.x, err = r.eval(e.x); err != nil {
			return nil, err
		}
	}
	if c.args, err = r.all(e.args); err != nil {
		return nil, err
	}
	for name, e := range e.named {
		v, err := r.eval(e)
		if err != nil {
			return nil, err
		}
		if c.named == nil {
			c.named = map[string]any{}
		}
		c.named[name] = v
	}
	switch e.how {
	case 'f':
		return functions[e.of](&c)
	case '.':
		if _, gone := c.x.(undefined); gone {
			return nil, fmt.Errorf(".%s() of what is not there: %w", e.of, ErrNone)
		}
		return methods[e.of](&c)
	}
	return filters[e.of](&c)
}
