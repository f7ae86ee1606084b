package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Decode reads JSON, with its numbers as they were written.
func Decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more behind it: %w", ErrValue)
	}
	return v, nil
}

// str is a value as a template prints it: as Python does, but that lists and objects are JSON.
func (r *run) str(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case undefined:
		return "", nil
	case nil:
		return "None", nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return python(v), nil
	}
	var b strings.Builder
	if err := r.json(&b, v, 0); err != nil {
		return "", err
	}
	return b.String(), nil
}

// python is a number with a fraction as Python writes it.
func python(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// json writes a value as JSON.
func (r *run) json(b *strings.Builder, v any, depth int) error {
	const deepest = 32
	if err := r.work(1 + len("null")); err != nil {
		return err
	}
	if depth > deepest {
		return fmt.Errorf("too deep: %w", ErrValue)
	}
	write := func(s string) error {
		if b.Len()+len(s) > maxText {
			return fmt.Errorf("too long: %w", ErrValue)
		}
		b.WriteString(s)
		return r.work(len(s))
	}
	switch v := known(v).(type) {
	case nil:
		return write("null")
	case bool:
		return write(strconv.FormatBool(v))
	case int64:
		return write(strconv.FormatInt(v, 10))
	case float64:
		return write(python(v))
	case string:
		if b.Len()+len(v) > maxText {
			return fmt.Errorf("too long: %w", ErrValue)
		}
		if err := r.work(len(v)); err != nil {
			return err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return write(string(text))
	case []any:
		return r.jsonParts("[", "]", len(v), write, func(i int) error { return r.json(b, v[i], depth+1) })
	case map[string]any:
		if err := r.work(len(v) * bits.Len(uint(len(v)))); err != nil { // they are sorted
			return err
		}
		names := slices.Sorted(maps.Keys(v))
		return r.jsonParts("{", "}", len(v), write, func(i int) error { return r.field(b, names[i], v[names[i]], depth) })
	case dict:
		return r.jsonParts("{", "}", len(v), write, func(i int) error {
			name, err := r.str(v[i].key)
			if err != nil {
				return err
			}
			return r.field(b, name, v[i].value, depth)
		})
	}
	return fmt.Errorf("no JSON: %w", ErrValue)
}

func (r *run) jsonParts(begin, end string, n int, write func(string) error, part func(i int) error) error {
	if err := write(begin); err != nil {
		return err
	}
	for i := range n {
		if i > 0 {
			if err := write(", "); err != nil {
				return err
			}
		}
		if err := part(i); err != nil {
			return err
		}
	}
	return write(end)
}

func (r *run) field(b *strings.Builder, name string, v any, depth int) error {
	if err := r.json(b, name, depth+1); err != nil {
		return err
	}
	b.WriteString(": ") // counted as what is in front of every value
	return r.json(b, v, depth+1)
}

// plain gives a value as JSON has it: without dicts, and without what is not there.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case undefined:
		return nil, ErrNone
	case dict:
		out := make(map[string]any, len(v))
		for _, p := range v {
			key, is := p.key.(string)
			if !is {
				return nil, fmt.Errorf("an object with names that are no texts: %w", ErrValue)
			}
			inner, err := scalar(p.value)
			if err != nil {
				return nil, err
			}
			out[key] = inner
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			inner, err := scalar(x)
			if err != nil {
				return nil, err
			}
			out[i] = inner
		}
		return out, nil
	}
	return v, nil
}

// scalar lets what a template has put into a list or an object be one value, so that no template makes much of little.
func scalar(v any) (any, error) {
	switch v.(type) {
	case undefined:
		return nil, ErrNone
	case dict, []any:
		return nil, fmt.Errorf("a list within a list: %w", ErrValue)
	}
	return v, nil
}
