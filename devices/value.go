package devices

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Object is a JSON object: values are nil, bool, json.Number, string, []any and Object. What is in a Shadow is shared and never
// changed: who changes it makes new objects on the way to what changes.
type Object map[string]any

// UnmarshalJSON implements json.Unmarshaler: numbers stay as they are written.
func (o *Object) UnmarshalJSON(text []byte) error {
	v, err := parseValue(text)
	if err != nil {
		return err
	}
	object, is := v.(Object)
	if !is && v != nil {
		return errNoObject
	}
	*o = object
	return nil
}

var errNoObject = errors.New("not a JSON object")

var errNotOneValue = errors.New("not one JSON value")

// parseValue reads one JSON value. Of a key that is there twice the last one counts.
func parseValue(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotOneValue
	}
	return objects(v), nil
}

// objects makes Objects of the maps in a value that was just read.
func objects(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			v[key] = objects(x)
		}
		return Object(v)
	case []any:
		for i, x := range v {
			v[i] = objects(x)
		}
	}
	return v
}

// depth is how many objects and arrays are within each other, at the deepest place.
func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case Object:
		for _, x := range v {
			deepest = max(deepest, depth(x))
		}
	case []any:
		for _, x := range v {
			deepest = max(deepest, depth(x))
		}
	default:
		return 0
	}
	return 1 + deepest
}

// hasNull says whether there is a null in an array, however deep.
func hasNull(v any, inArray bool) bool {
	switch v := v.(type) {
	case nil:
		return inArray
	case Object:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), func(x any) bool { return hasNull(x, inArray) })
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return hasNull(x, true) })
	}
	return false
}

// same says whether two values are equal. Numbers are if they say the same, however they are written.
func same(a, b any) bool {
	switch a := a.(type) {
	case Object:
		b, is := b.(Object)
		return is && maps.EqualFunc(a, b, same)
	case []any:
		b, is := b.([]any)
		return is && slices.EqualFunc(a, b, same)
	case json.Number:
		b, is := b.(json.Number)
		return is && sameNumber(string(a), string(b))
	}
	switch b.(type) {
	case Object, []any:
		return false
	}
	return a == b
}

// maxDigits bounds what comparing two numbers costs: longer ones are equal if they are written alike.
const maxDigits = 64

func sameNumber(a, b string) bool {
	if a == b || len(a) > maxDigits || len(b) > maxDigits {
		return a == b
	}
	if strings.ContainsAny(a+b, "eE") { // an exponent may be huge: nothing is gained by being exact then
		x, _, errX := big.ParseFloat(a, 10, 64, big.ToNearestEven)
		y, _, errY := big.ParseFloat(b, 10, 64, big.ToNearestEven)
		return errX == nil && errY == nil && x.Cmp(y) == 0
	}
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	return okX && okY && x.Cmp(y) == 0
}
