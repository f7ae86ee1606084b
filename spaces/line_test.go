package spaces

import (
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

func TestLinesAreTakenApart(t *testing.T) {
	for text, want := range map[string]*Line{
		"@lamp on":                       {"lamp", Order{Do: OrderOn}},
		"@Lamp:  OFF ":                   {"lamp", Order{Do: OrderOff}},
		"@desk-lamp, toggle":             {"desk-lamp", Order{Do: OrderToggle}},
		"@lamp set level 40":             {"lamp", Order{Do: OrderSet, Key: "level", Value: json.RawMessage("40")}},
		"@lamp set mode deep night":      {"lamp", Order{Do: OrderSet, Key: "mode", Value: json.RawMessage(`"deep night"`)}},
		"@lamp set rgb [1, 2]":           {"lamp", Order{Do: OrderSet, Key: "rgb", Value: json.RawMessage("[1, 2]")}},
		"@lamp set level":                {Name: "lamp"},
		"@lamp set a/b 1":                {Name: "lamp"},
		"@lamp call blink":               {"lamp", Order{Do: OrderCall, Call: "blink"}},
		"@lamp call blink {\"times\":3}": {"lamp", Order{Do: OrderCall, Call: "blink", Args: json.RawMessage(`{"times":3}`)}},
		"@lamp call blink {times}":       {Name: "lamp"},
		"@lamp on my way":                {Name: "lamp"},
		"@lamp":                          {Name: "lamp"},
		"@lamp\ton":                      {"lamp", Order{Do: OrderOn}},
		"@":                              nil,
		"@ lamp on":                      nil,
		"lamp on":                        nil,
		"hi @lamp on":                    nil,
		"@lamp \xff":                     nil,
	} {
		got, ok := ParseLine(text)
		if ok != (want != nil) || ok && !reflect.DeepEqual(got, *want) {
			t.Errorf("%q: %+v, %t; want %+v", text, got, ok, want)
		}
	}
}

func TestSlug(t *testing.T) {
	for title, want := range map[string]string{
		"Desk lamp": "desk-lamp", "  Küche / 2 ": "küche-2", "客厅灯": "客厅灯", "!!!": "", "A--B": "a-b",
	} {
		if got := Slug(title); got != want {
			t.Errorf("Slug(%q) = %q, want %q", title, got, want)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	for _, text := range []string{"@lamp on", "@a set b {\"c\":1}", "@x call y [", "@\u2003z off", "@\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, ok := ParseLine(text)
		if !ok {
			return
		}
		if l.Name == "" || len(l.Name) > 3*maxLineName || !utf8.ValidString(l.Name) {
			t.Errorf("%q is said to %q", text, l.Name)
		}
		for _, v := range []json.RawMessage{l.Order.Value, l.Order.Args} {
			if v != nil && !json.Valid(v) {
				t.Errorf("%q has %q in it", text, v)
			}
		}
		o := l.Order
		if o.Do == OrderSet && (o.Value == nil || !validKey(o.Key)) || o.Do == OrderCall && !validKey(o.Call) {
			t.Errorf("%q is the order %+v", text, l.Order)
		}
	})
}
