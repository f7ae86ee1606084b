package automations

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/magpie-im/magpie/devices"
)

// value reads a JSON value; of nothing it is nil. Numbers are float64.
func value(text json.RawMessage) (v any, err error) {
	if len(text) > 0 {
		err = json.Unmarshal(text, &v)
	}
	return v, err
}

// plain makes of a part of a shadow what conditions and triggers look at: maps, lists, texts, float64, true and false.
func plain(v any) any {
	switch v := v.(type) {
	case devices.Object:
		out := make(map[string]any, len(v))
		for key, x := range v {
			out[key] = plain(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = plain(x)
		}
		return out
	case json.Number:
		f, err := v.Float64()
		if err != nil { // larger than any
			return string(v)
		}
		return f
	}
	return v
}

// at gives what is at a path ("color.h") of a state; nil: nothing is. Of no path it is all of it.
func at(state devices.Object, path string) any {
	if path == "" {
		return plain(state)
	}
	var v any = state
	for name := range strings.SplitSeq(path, ".") {
		object, is := v.(devices.Object)
		if !is {
			return nil
		}
		v = object[name]
	}
	return plain(v)
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

const longestShown = 200 // bytes of a value in a trace, or in a message

// shown is a value as people read it, and not too much of it.
func shown(v any) string {
	if m, is := v.(map[string]any); is && len(m) > 20 {
		v = slices.Sorted(maps.Keys(m))
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return cut(string(text))
}

// cut is the beginning of a text.
func cut(text string) string {
	if len(text) <= longestShown {
		return strings.ToValidUTF8(text, "?")
	}
	end := longestShown
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.ToValidUTF8(text[:end], "?") + "…"
}
