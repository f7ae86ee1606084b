package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// arguments are those of a call.
type arguments struct {
	*run
	of    string
	x     any // what is in front of a filter or a method
	args  []any
	named map[string]any
}

// arg gives an argument by its place or name.
func (c *arguments) arg(i int, name string) (any, bool) {
	if i < len(c.args) {
		return c.args[i], true
	}
	v, there := c.named[name]
	return v, there
}

func (c *arguments) fails() error { return fmt.Errorf("%s: %w", c.of, ErrValue) }

// text gives what is in front as a text.
func (c *arguments) text() (string, error) {
	s, err := c.str(c.x)
	if err == nil {
		err = c.work(2 * len(s))
	}
	return s, err
}

type builtin func(c *arguments) (any, error)

// Tables of what there is. They are filled by functions that the parser calls too, which is why not where they are declared.
var filters, methods, functions = builtins()

func builtins() (filters, methods, functions map[string]builtin) {
	upper, lower := onText(strings.ToUpper), onText(strings.ToLower)
	filters = map[string]builtin{
		"int": toInt, "float": toFloat, "round": round, "abs": absolute, "bool": toBool, "string": toText, "is_number": isNumber,
		"lower": lower, "upper": upper, "trim": trim, "title": onText(title), "capitalize": onText(capitalize),
		"replace": replace, "truncate": truncate, "default": otherwise, "d": otherwise, "is_defined": isDefined, "iif": iif,
		"tojson": toJSON, "to_json": toJSON, "from_json": fromJSON,
		"length": length, "count": length, "join": join, "first": first, "last": last, "min": least, "max": most,
		"add": add, "multiply": multiply, "bitwise_and": bitwise, "bitwise_or": bitwise,
	}
	methods = map[string]builtin{
		"lower": lower, "upper": upper, "strip": trim, "title": onText(title), "capitalize": onText(capitalize),
		"replace": replace, "split": split, "startswith": begins, "endswith": begins, "get": get,
	}
	first := func(f builtin) builtin { // the first argument is what a filter has in front
		return func(c *arguments) (any, error) {
			if len(c.args) == 0 {
				return nil, c.fails()
			}
			c.x, c.args = c.args[0], c.args[1:]
			return f(c)
		}
	}
	among := func(f builtin) builtin { // of several arguments, or of one list
		return func(c *arguments) (any, error) {
			c.x = c.args
			if len(c.args) == 1 {
				c.x = c.args[0]
			}
			return f(c)
		}
	}
	functions = map[string]builtin{
		"int": first(toInt), "float": first(toFloat), "bool": first(toBool), "is_number": first(isNumber), "iif": first(iif),
		"min": among(least), "max": among(most),
	}
	return filters, methods, functions
}

// tests are those behind is.
var tests = map[string]func(v any) bool{
	"defined":   func(v any) bool { return v != undefined{} },
	"undefined": func(v any) bool { return v == undefined{} },
	"none":      func(v any) bool { return v == nil },
	"number":    func(v any) bool { _, _, _, ok := numeric(v); return ok },
	"integer":   func(v any) bool { _, is := v.(int64); return is },
	"float":     func(v any) bool { _, is := v.(float64); return is },
	"string":    func(v any) bool { _, is := v.(string); return is },
	"boolean":   func(v any) bool { _, is := v.(bool); return is },
	"true":      func(v any) bool { b, is := v.(bool); return is && b },
	"false":     func(v any) bool { b, is := v.(bool); return is && !b },
	"sequence":  isParts,
	"iterable":  isParts,
	"mapping": func(v any) bool {
		switch v.(type) {
		case map[string]any, dict:
			return true
		}
		return false
	},
}

func isParts(v any) bool {
	switch v.(type) {
	case string, []any, map[string]any, dict:
		return true
	}
	return false
}

func onText(f func(string) string) builtin {
	return func(c *arguments) (any, error) {
		s, err := c.text()
		if err != nil {
			return nil, err
		}
		return f(s), nil
	}
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + strings.ToLower(s[n:])
}

func title(s string) string {
	within := false
	return strings.Map(func(r rune) rune {
		defer func() { within = unicode.IsLetter(r) || unicode.IsDigit(r) || r == '\'' }()
		if within {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

// orElse gives the default of a conversion that cannot be done.
func (c *arguments) orElse() (any, error) {
	if v, there := c.arg(0, "default"); there {
		return v, nil
	}
	return nil, c.fails()
}

func toInt(c *arguments) (any, error) {
	base := int64(10)
	if v, there := c.arg(1, "base"); there {
		base, _ = v.(int64)
	}
	if s, is := c.x.(string); is {
		if len(s) > longestNumber || base != 0 && (base < 2 || base > 36) {
			return c.orElse()
		}
		s = strings.TrimSpace(s)
		digits := s
		if base == 16 {
			digits = strings.TrimPrefix(strings.ToLower(s), "0x")
		}
		if n, err := strconv.ParseInt(digits, int(base), 64); err == nil {
			return n, nil
		}
	}
	f, ok := float(c.x)
	if !ok || math.Abs(f) >= 1<<63 {
		return c.orElse()
	}
	return int64(f), nil
}

func toFloat(c *arguments) (any, error) {
	if f, ok := float(c.x); ok {
		return f, nil
	}
	return c.orElse()
}

// float reads a number, also from a text.
func float(v any) (float64, bool) {
	if s, is := v.(string); is && len(s) <= longestNumber {
		f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	_, f, _, ok := numeric(v)
	return f, ok
}

func isNumber(c *arguments) (any, error) {
	_, ok := float(c.x)
	return ok, nil
}

func round(c *arguments) (any, error) {
	f, ok := float(c.x)
	if !ok {
		if v, there := c.arg(2, "default"); there {
			return v, nil
		}
		return nil, c.fails()
	}
	places := int64(0)
	if v, there := c.arg(0, "precision"); there {
		if places, ok = v.(int64); !ok || places < 0 || places > 15 {
			return nil, c.fails()
		}
	}
	how, _ := c.arg(1, "method")
	scale := math.Pow10(int(places))
	switch how {
	case "ceil":
		f = math.Ceil(f*scale) / scale
	case "floor":
		f = math.Floor(f*scale) / scale
	case "half":
		f = math.RoundToEven(f*2) / 2
	default:
		f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(places), 64), 64)
	}
	if places == 0 && how != "half" && math.Abs(f) < 1<<63 {
		return int64(f), nil
	}
	return finite(f)
}

func absolute(c *arguments) (any, error) {
	n, f, whole, ok := numeric(c.x)
	switch {
	case !ok:
		return nil, c.fails()
	case !whole || n == math.MinInt64:
		return math.Abs(f), nil
	}
	return max(n, -n), nil
}

func toBool(c *arguments) (any, error) {
	switch v := c.x.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "1", "true", "yes", "on", "enable":
			return true, nil
		case "0", "false", "no", "off", "disable":
			return false, nil
		}
	}
	if _, f, _, ok := numeric(c.x); ok {
		return f != 0, nil
	}
	return c.orElse()
}

func toText(c *arguments) (any, error) { return c.text() }

func trim(c *arguments) (any, error) {
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	if v, there := c.arg(0, "chars"); there {
		set, is := v.(string)
		if !is {
			return nil, c.fails()
		}
		if err := c.work(len(s) * min(len(set), maxText)); err != nil {
			return nil, err
		}
		return strings.Trim(s, set), nil
	}
	return strings.TrimSpace(s), nil
}

func replace(c *arguments) (any, error) {
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	from, _ := c.arg(0, "old")
	to, _ := c.arg(1, "new")
	a, isA := from.(string)
	b, isB := to.(string)
	if !isA || !isB {
		return nil, c.fails()
	}
	long := len(s) + strings.Count(s, a)*(len(b)-len(a))
	if long > maxText {
		return nil, c.fails()
	}
	if err := c.work(long); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(s, a, b), nil
}

// truncate shortens a text, at the end of a word unless it is said otherwise.
func truncate(c *arguments) (any, error) {
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	bounded := func(i int, name string, otherwise int) (int, bool) {
		v, there := c.arg(i, name)
		if !there {
			return otherwise, true
		}
		n, is := v.(int64)
		return int(n), is && n >= 0 && n <= maxText
	}
	long, okLong := bounded(0, "length", 255)
	leeway, okLeeway := bounded(3, "leeway", 5)
	end := "..."
	okEnd := true
	if v, there := c.arg(2, "end"); there {
		end, okEnd = v.(string)
	}
	if !okLong || !okLeeway || !okEnd {
		return nil, c.fails()
	}
	letters := []rune(s)
	keep := long - utf8.RuneCountInString(end)
	if len(letters) <= long+leeway {
		return s, nil
	}
	if keep < 0 {
		return nil, c.fails()
	}
	cut := string(letters[:keep])
	if whole, _ := c.arg(1, "killwords"); !truth(whole) {
		if i := strings.LastIndexByte(cut, ' '); i >= 0 {
			cut = cut[:i]
		}
	}
	return c.joined(cut, end)
}

func split(c *arguments) (any, error) {
	s, is := c.x.(string)
	if !is {
		return nil, c.fails()
	}
	by, there := c.arg(0, "sep")
	sep, isText := by.(string)
	if there && (!isText || sep == "") {
		return nil, c.fails()
	}
	if err := c.work(16 * len(s)); err != nil {
		return nil, err
	}
	parts := strings.Fields(s)
	if there {
		parts = strings.Split(s, sep)
	}
	out := make([]any, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out, nil
}

func begins(c *arguments) (any, error) {
	s, is := c.x.(string)
	v, _ := c.arg(0, "")
	part, isText := v.(string)
	if !is || !isText {
		return nil, c.fails()
	}
	if c.of == "endswith" {
		return strings.HasSuffix(s, part), nil
	}
	return strings.HasPrefix(s, part), nil
}

func get(c *arguments) (any, error) {
	if !tests["mapping"](c.x) || len(c.args) == 0 {
		return nil, c.fails()
	}
	v, err := c.at(c.x, c.args[0])
	if err != nil || v != (undefined{}) {
		return v, err
	}
	v, _ = c.arg(1, "default")
	return v, nil
}

func otherwise(c *arguments) (any, error) {
	v, _ := c.arg(0, "default_value")
	if v == nil && len(c.args) == 0 {
		v = ""
	}
	also, _ := c.arg(1, "boolean")
	if c.x == (undefined{}) || truth(also) && !truth(c.x) {
		return v, nil
	}
	return c.x, nil
}

func isDefined(c *arguments) (any, error) {
	if c.x == (undefined{}) {
		return nil, fmt.Errorf("not defined: %w", ErrNone)
	}
	return c.x, nil
}

func iif(c *arguments) (any, error) {
	if v, there := c.arg(2, "if_none"); there && c.x == nil {
		return v, nil
	}
	if truth(c.x) {
		if v, there := c.arg(0, "if_true"); there {
			return v, nil
		}
		return true, nil
	}
	if v, there := c.arg(1, "if_false"); there {
		return v, nil
	}
	return false, nil
}

func toJSON(c *arguments) (any, error) {
	var b strings.Builder
	if err := c.json(&b, c.x, 0); err != nil {
		return nil, err
	}
	return b.String(), nil
}

func fromJSON(c *arguments) (any, error) {
	s, is := c.x.(string)
	if !is {
		return nil, c.fails()
	}
	if err := c.work(4 * len(s)); err != nil {
		return nil, err
	}
	v, err := Decode([]byte(s))
	if err != nil {
		return nil, errors.Join(c.fails(), err)
	}
	return known(v), nil
}

func length(c *arguments) (any, error) {
	switch v := c.x.(type) {
	case string:
		return int64(utf8.RuneCountInString(v)), c.work(len(v))
	case []any, map[string]any, dict:
		return int64(size(v)), nil
	}
	return nil, c.fails()
}

func join(c *arguments) (any, error) {
	all, is := c.x.([]any)
	if !is {
		return nil, c.fails()
	}
	v, _ := c.arg(0, "d")
	sep, _ := v.(string)
	var b strings.Builder
	for i, x := range all {
		s, err := c.str(known(x))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			s = sep + s
		}
		if b.Len()+len(s) > maxText {
			return nil, c.fails()
		}
		if err := c.work(len(s) + 1); err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func first(c *arguments) (any, error) { return c.at(c.x, int64(0)) }

func last(c *arguments) (any, error) { return c.at(c.x, int64(-1)) }

func least(c *arguments) (any, error) { return c.extreme("<") }

func most(c *arguments) (any, error) { return c.extreme(">") }

func (c *arguments) extreme(op string) (any, error) {
	all, is := c.x.([]any)
	if !is || len(all) == 0 {
		return nil, c.fails()
	}
	best := known(all[0])
	for _, v := range all[1:] {
		v = known(v)
		if err := c.work(1); err != nil {
			return nil, err
		}
		better, err := c.less(op, v, best)
		if err != nil {
			return nil, err
		}
		if better {
			best = v
		}
	}
	return best, nil
}

func add(c *arguments) (any, error) { return c.calculated("+") }

func multiply(c *arguments) (any, error) { return c.calculated("*") }

func (c *arguments) calculated(op string) (any, error) {
	f, ok := float(c.x)
	by, there := c.arg(0, "amount")
	if !there {
		return nil, c.fails()
	}
	if !ok {
		if v, there := c.arg(1, "default"); there {
			return v, nil
		}
		return nil, c.fails()
	}
	return arithmetic(op, f, by)
}

func bitwise(c *arguments) (any, error) {
	a, isA := c.x.(int64)
	v, _ := c.arg(0, "second_value")
	b, isB := v.(int64)
	if !isA || !isB {
		return nil, c.fails()
	}
	if c.of == "bitwise_or" {
		return a | b, nil
	}
	return a & b, nil
}
