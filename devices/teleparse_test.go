package devices

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const teleNow = 1_800_000_000_000

func number(key string, ts int64, v float64) Point {
	return Point{Key: key, TS: ts, Kind: PointNumber, Number: v}
}

func TestTelemetryIsReadAsThingsBoardHasIt(t *testing.T) {
	truth := Point{Key: "on", TS: teleNow, Kind: PointTrue, Number: 1}
	tests := map[string][]Point{
		`{"t":21.5}`: {number("t", teleNow, 21.5)},
		"\t{\"t\": 21.5,\"on\":true , \"off\":false}": {number("t", teleNow, 21.5), truth, {Key: "off", TS: teleNow, Kind: PointFalse}},
		`{"s":"a\u00fc"}`:                              {{Key: "s", TS: teleNow, Kind: PointText, Text: "aü"}},
		`{"j":{"b":[1,{"c":null}],"a":1.50}}`:          {{Key: "j", TS: teleNow, Kind: PointJSON, Text: `{"a":1.50,"b":[1,{"c":null}]}`}},
		`{"j":[]}`:                                     {{Key: "j", TS: teleNow, Kind: PointJSON, Text: `[]`}},
		`{"ts":5,"values":{"t":1,"on":null}}`:          {number("t", 5, 1)},
		`{"values":{"t":1},"ts":5,"metadata":{"a":1}}`: {number("t", 5, 1)},
		`{"ts":5}`:            {number("ts", teleNow, 5)},
		`{"values":5,"ts":6}`: {number("values", teleNow, 5), number("ts", teleNow, 6)},
		`{"values":{"t":1}}`:  {{Key: "values", TS: teleNow, Kind: PointJSON, Text: `{"t":1}`}},
		`[{"t":1},{"ts":7,"values":{"t":2}},{"h":3}]`: {number("t", teleNow, 1), number("t", 7, 2), number("h", teleNow, 3)},
		`{"t":-0.0,"u":1e-400}`:                       {number("t", teleNow, 0), number("u", teleNow, 0)},
		`{"t":12345678901234567890}`:                  {number("t", teleNow, 12345678901234567890)},
		`{}`:                                          nil,
		`[]`:                                          nil,
		`{"t":null}`:                                  nil,
	}
	for payload, want := range tests {
		got, err := DefaultTelemetryLimits().ParseTelemetry([]byte(payload), teleNow)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", payload, got, err, want)
		}
	}
}

func TestTelemetryBeyondItsBoundsIsRefused(t *testing.T) {
	limits := TelemetryLimits{Payload: 400, Points: 3, Key: 4, Text: 5, JSON: 20, Depth: 2}
	tests := []string{
		``, `1`, `"t"`, `null`, `{`, `{"t":}`, `{"t":1}}`, `{"t":1} {"t":2}`, `[1]`, `[[{"t":1}]]`, `[{"t":1}`, `[{"t":1},null]`,
		`{"t":NaN}`, `{"t":Infinity}`, `{"t":1e400}`, `{"t":-1e400}`, "{\"t\":\"\xff\"}", `{"":1}`, `{"12345":1}`,
		`{"t":"123456"}`, `{"a":1,"b":2,"c":3,"d":4}`, `[{"a":1,"b":2},{"a":1,"b":2}]`,
		`{"t":[[[]]]}`, `{"t":["` + strings.Repeat("x", 20) + `"]}`,
		`{"ts":-1,"values":{"t":1}}`, `{"ts":1.5,"values":{"t":1}}`, `{"ts":"5","values":{"t":1}}`,
		`{"ts":99999999999999999999,"values":{"t":1}}`, `{"ts":5,"values":{"":1}}`,
		`{"t":` + strings.Repeat("[", 190) + strings.Repeat("]", 190) + `}`,
	}
	for _, payload := range tests {
		if got, err := limits.ParseTelemetry([]byte(payload), teleNow); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v, want %v", payload, got, err, ErrMalformed)
		}
	}
	if _, err := limits.ParseTelemetry(make([]byte, 401), teleNow); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a payload that is too large: %v", err)
	}
	for _, payload := range []string{`{"1234":"12345"}`, `{"a":1,"b":2,"c":3,"n":null}`, `{"t":[[12345678901234]]}`} {
		if _, err := limits.ParseTelemetry([]byte(payload), teleNow); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// FuzzParseTelemetry also looks whether what was read can be stored, and given to others.
func FuzzParseTelemetry(f *testing.F) {
	for _, s := range []string{
		`{"t":21.5,"on":true,"s":"x","j":{"a":[1]},"n":null}`, `[{"ts":1800000000000,"values":{"t":1}},{"t":2}]`, `{"ts":1,"values":[]}`,
		`{"t":1e308,"u":5e-324,"v":-0}`,
	} {
		f.Add([]byte(s))
	}
	limits := DefaultTelemetryLimits()
	f.Fuzz(func(t *testing.T, payload []byte) {
		points, err := limits.ParseTelemetry(payload, teleNow)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) || points != nil {
				t.Fatalf("got %v, %v", points, err)
			}
			return
		}
		for hour, some := range ByHour(points) {
			got, err := DecodePoints(hour, EncodePoints(hour, some), nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := unique(some); !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		last := MergeLast(nil, points)
		var doc struct {
			Values map[string]struct {
				TS    int64           `json:"ts"`
				Value json.RawMessage `json:"v"`
			} `json:"values"`
		}
		if err := json.Unmarshal(LastDocument(last), &doc); err != nil || len(doc.Values) != len(last) {
			t.Fatalf("%d of %d last values: %v", len(doc.Values), len(last), err)
		}
	})
}

// unique is what newest says, written otherwise.
func unique(points []Point) []Point {
	at := map[string]int{}
	var all []Point
	for _, p := range points {
		name := fmt.Sprint(p.TS, " ", p.Key)
		if i, is := at[name]; is {
			all[i] = p
			continue
		}
		at[name] = len(all)
		all = append(all, p)
	}
	for i := range all { // by insertion, as it comes
		for j := i; j > 0 && (all[j].Key < all[j-1].Key || all[j].Key == all[j-1].Key && all[j].TS < all[j-1].TS); j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all
}
