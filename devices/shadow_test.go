package devices_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/devices"
)

const now = 1795417920

// update changes a shadow as a request says.
func update(t *testing.T, s devices.Shadow, request string) (devices.Shadow, devices.ShadowUpdate) {
	t.Helper()
	u, err := devices.ParseShadowUpdate([]byte(request))
	if err != nil {
		t.Fatalf("parse %s: %v", request, err)
	}
	next, err := s.Update(u, now, devices.DefaultShadowLimits())
	if err != nil {
		t.Fatalf("update %s: %v", request, err)
	}
	return next, u
}

// sameJSON compares documents.
func sameJSON(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if want == "" {
		if got != nil {
			t.Errorf("%s is %s, want none", what, got)
		}
		return
	}
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s is %q: %v", what, got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

// What AWS's documentation says of shadows: https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-document.html and
// device-shadow-mqtt.html.
func TestShadowsAreAsAWSDocumentsThem(t *testing.T) {
	tests := map[string]struct {
		requests []string // the last one is looked at
		state    string   // of the shadow, as get gives it
		delta    string   // state of it
	}{
		"a first update makes the shadow": {
			[]string{`{"state":{"reported":{"temp":55}}}`}, `{"reported":{"temp":55}}`, ``,
		},
		"what is not reported is missing": {
			[]string{`{"state":{"desired":{"color":"RED"}}}`}, `{"desired":{"color":"RED"},"delta":{"color":"RED"}}`, `{"color":"RED"}`,
		},
		"what is only reported is no difference": {
			[]string{`{"state":{"desired":{"a":1},"reported":{"a":1,"b":2}}}`}, `{"desired":{"a":1},"reported":{"a":1,"b":2}}`, ``,
		},
		"only the fields of a request change": {
			[]string{`{"state":{"desired":{"a":1,"b":{"c":2,"d":3}}}}`, `{"state":{"desired":{"b":{"c":4}}}}`},
			`{"desired":{"a":1,"b":{"c":4,"d":3}},"delta":{"a":1,"b":{"c":4,"d":3}}}`, `{"a":1,"b":{"c":4,"d":3}}`,
		},
		"of a nested difference the path to the root": {
			[]string{
				`{"state":{"desired":{"lights":{"color":"RED"},"engine":"ON"},"reported":{"lights":{"color":"GREEN"},"engine":"ON"}}}`,
			},
			`{"desired":{"lights":{"color":"RED"},"engine":"ON"},"reported":{"lights":{"color":"GREEN"},"engine":"ON"},
				"delta":{"lights":{"color":"RED"}}}`, `{"lights":{"color":"RED"}}`,
		},
		"an array is one value": {
			[]string{
				`{"state":{"desired":{"colors":["RED","GREEN","BLUE"]},"reported":{"colors":["RED","GREEN"]}}}`,
				`{"state":{"desired":{"colors":["RED"]}}}`,
			},
			`{"desired":{"colors":["RED"]},"reported":{"colors":["RED","GREEN"]},"delta":{"colors":["RED"]}}`, `{"colors":["RED"]}`,
		},
		"null removes a field": {
			[]string{`{"state":{"desired":{"a":1,"b":2}}}`, `{"state":{"desired":{"a":null}}}`},
			`{"desired":{"b":2},"delta":{"b":2}}`, `{"b":2}`,
		},
		"null removes a field that is not there": {
			[]string{`{"state":{"desired":{"a":1}}}`, `{"state":{"desired":{"b":null}}}`}, `{"desired":{"a":1},"delta":{"a":1}}`, `{"a":1}`,
		},
		"null removes a section": {
			[]string{`{"state":{"desired":{"color":"red"}}}`, `{"state":{"reported":{"color":"red"},"desired":null}}`},
			`{"reported":{"color":"red"}}`, ``,
		},
		"a section of which all is removed is none": {
			[]string{`{"state":{"desired":{"a":1}}}`, `{"state":{"desired":{"a":null}}}`}, `{}`, ``,
		},
		"null for the state removes all": {
			[]string{`{"state":{"desired":{"a":1},"reported":{"b":2}}}`, `{"state":null}`}, `{}`, ``,
		},
		"a value takes the place of an object": {
			[]string{`{"state":{"desired":{"a":{"b":1}}}}`, `{"state":{"desired":{"a":7}}}`}, `{"desired":{"a":7},"delta":{"a":7}}`, `{"a":7}`,
		},
		"an object takes the place of a value": {
			[]string{`{"state":{"desired":{"a":7}}}`, `{"state":{"desired":{"a":{"b":1}}}}`},
			`{"desired":{"a":{"b":1}},"delta":{"a":{"b":1}}}`, `{"a":{"b":1}}`,
		},
		"numbers that say the same are equal": {
			[]string{`{"state":{"desired":{"a":1.50,"b":100},"reported":{"a":1.5,"b":1e2}}}`},
			`{"desired":{"a":1.5,"b":100},"reported":{"a":1.5,"b":100}}`, ``,
		},
		"large numbers are exact": {
			[]string{`{"state":{"desired":{"a":9007199254740993},"reported":{"a":9007199254740992}}}`},
			`{"desired":{"a":9007199254740993},"reported":{"a":9007199254740992},"delta":{"a":9007199254740993}}`,
			`{"a":9007199254740993}`,
		},
		"different kinds are different": {
			[]string{`{"state":{"desired":{"a":"1","b":{},"c":[],"d":false},"reported":{"a":1,"b":[],"c":{},"d":0}}}`},
			`{"desired":{"a":"1","b":{},"c":[],"d":false},"reported":{"a":1,"b":[],"c":{},"d":0},
				"delta":{"a":"1","b":{},"c":[],"d":false}}`, `{"a":"1","b":{},"c":[],"d":false}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var s devices.Shadow
			for _, request := range tt.requests {
				s, _ = update(t, s, request)
			}
			if s.Version != uint64(len(tt.requests)) {
				t.Errorf("version %d after %d updates", s.Version, len(tt.requests))
			}
			text, err := s.GetDocument("", now)
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ State json.RawMessage }
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			sameJSON(t, "the state", got.State, tt.state)
			var delta struct{ State json.RawMessage }
			if text := s.DeltaDocument("", now); text != nil {
				if err := json.Unmarshal(text, &delta); err != nil {
					t.Fatal(err)
				}
			}
			sameJSON(t, "the delta", delta.State, tt.delta)
		})
	}
}

func TestWhatIsPublishedAboutAShadow(t *testing.T) {
	var s devices.Shadow
	s, _ = update(t, s, `{"state":{"reported":{"power":"off","rgb":[1,2]}}}`)
	before := s
	u, err := devices.ParseShadowUpdate([]byte(`{"state":{"desired":{"power":"on","old":null}},"clientToken":"a-1","version":1}`))
	if err != nil {
		t.Fatal(err)
	}
	const later = now + 5
	if s, err = s.Update(u, later, devices.DefaultShadowLimits()); err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "accepted", s.AcceptedDocument(u, later), `{"state":{"desired":{"power":"on","old":null}},
		"metadata":{"desired":{"power":{"timestamp":1795417925}}},"version":2,"timestamp":1795417925,"clientToken":"a-1"}`)
	sameJSON(t, "delta", s.DeltaDocument("a-1", later), `{"version":2,"timestamp":1795417925,"state":{"power":"on"},
		"metadata":{"power":{"timestamp":1795417925}},"clientToken":"a-1"}`)
	got, err := s.GetDocument("g", later+1)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "get", got, `{"state":{"desired":{"power":"on"},"reported":{"power":"off","rgb":[1,2]},"delta":{"power":"on"}},
		"metadata":{"desired":{"power":{"timestamp":1795417925}},
			"reported":{"power":{"timestamp":1795417920},"rgb":[{"timestamp":1795417920},{"timestamp":1795417920}]}},
		"version":2,"timestamp":1795417926,"clientToken":"g"}`)
	sameJSON(t, "documents", devices.ChangeDocument(before, s, "a-1", later), `{
		"previous":{"state":{"reported":{"power":"off","rgb":[1,2]}},"version":1,
			"metadata":{"reported":{"power":{"timestamp":1795417920},"rgb":[{"timestamp":1795417920},{"timestamp":1795417920}]}}},
		"current":{"state":{"desired":{"power":"on"},"reported":{"power":"off","rgb":[1,2]}},"version":2,
			"metadata":{"desired":{"power":{"timestamp":1795417925}},
				"reported":{"power":{"timestamp":1795417920},"rgb":[{"timestamp":1795417920},{"timestamp":1795417920}]}}},
		"timestamp":1795417925,"clientToken":"a-1"}`)
	gone, err := s.Delete()
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "deleted", gone.DeletedDocument("", later), `{"version":3,"timestamp":1795417925}`)
}

func TestDeletingAShadowDoesNotSetItsVersionBack(t *testing.T) {
	var s devices.Shadow
	if _, err := s.Delete(); !isShadowError(err, 404) {
		t.Errorf("deleting what was never there: %v, want 404", err)
	}
	s, _ = update(t, s, `{"state":{"desired":{"a":1}}}`)
	s, err := s.Delete()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetDocument("", now); !isShadowError(err, 404) {
		t.Errorf("get of a deleted shadow: %v, want 404", err)
	}
	if _, err := s.Delete(); !isShadowError(err, 404) {
		t.Errorf("deleting it again: %v, want 404", err)
	}
	s, _ = update(t, s, `{"state":{"reported":{"b":2}}}`)
	got, err := s.GetDocument("", now)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "the new one", got, `{"state":{"reported":{"b":2}},"metadata":{"reported":{"b":{"timestamp":1795417920}}},
		"version":3,"timestamp":1795417920}`)
}

func isShadowError(err error, code int) bool {
	var r *devices.ShadowError
	return errors.As(err, &r) && r.Code == code
}

func TestRequestsThatAreRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 6) + "1" + strings.Repeat("}", 6)
	tests := map[string]struct {
		request string
		code    int
		message string
		token   string
	}{
		"no JSON":               {`{"state":`, 400, "Invalid JSON", ""},
		"two values":            {`{"state":{}} {}`, 400, "Invalid JSON", ""},
		"no object":             {`[1]`, 400, "Invalid JSON", ""},
		"nothing":               {``, 400, "Invalid JSON", ""},
		"no state":              {`{"clientToken":"t"}`, 400, "Missing required node: state", "t"},
		"state is no object":    {`{"state":1}`, 400, "State node must be an object", ""},
		"desired is no object":  {`{"state":{"desired":1}}`, 400, "Desired node must be an object", ""},
		"reported is no object": {`{"state":{"reported":[]}}`, 400, "Reported node must be an object", ""},
		"another section":       {`{"state":{"wanted":{}},"clientToken":"t"}`, 400, "State contains an invalid node", "t"},
		"null in an array":      {`{"state":{"desired":{"colors":[null,"RED"]}}}`, 400, "State contains an invalid node", ""},
		"null deep in an array": {`{"state":{"desired":{"a":[{"b":null}]}}}`, 400, "State contains an invalid node", ""},
		"a long token":          {`{"state":{},"clientToken":"` + strings.Repeat("x", 65) + `"}`, 400, "Invalid clientToken", ""},
		"a token that is none":  {`{"state":{},"clientToken":7}`, 400, "Invalid clientToken", ""},
		"a negative version":    {`{"state":{},"version":-1}`, 400, "Invalid version", ""},
		"a version with a part": {`{"state":{},"version":1.5}`, 400, "Invalid version", ""},
		"a version of text":     {`{"state":{},"version":"1"}`, 400, "Invalid version", ""},
		"another version":       {`{"state":{},"version":2,"clientToken":"t"}`, 409, "Version conflict", "t"},
		"too deep": {
			`{"state":{"desired":{"a":` + deep + `}}}`, 400, "JSON contains too many levels of nesting; maximum is 6", "",
		},
		"too large": {
			`{"state":{"desired":{"a":"` + strings.Repeat("x", 32<<10) + `"}}}`, 413, "The payload exceeds the maximum size allowed", "",
		},
		"not UTF-8": {"{\"state\":{\"desired\":{\"a\":\"\xff\"}}}", 415, "Unsupported documented encoding; supported encoding is UTF-8", ""},
	}
	var s devices.Shadow
	s, _ = update(t, s, `{"state":{"reported":{"a":1}}}`)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := devices.ParseShadowUpdate([]byte(tt.request))
			if err == nil {
				_, err = s.Update(u, now, devices.DefaultShadowLimits())
			}
			var r *devices.ShadowError
			if !errors.As(err, &r) {
				t.Fatalf("got %v, want a rejection", err)
			}
			if *r != (devices.ShadowError{Code: tt.code, Message: tt.message, Token: tt.token}) {
				t.Errorf("got %+v", *r)
			}
		})
	}
	for request, most := range map[string]bool{ // what is just not refused
		`{"state":{"desired":` + deep + `}}`:                                   true,
		`{"state":{},"clientToken":"` + strings.Repeat("x", 64) + `"}`:         true,
		`{"state":{"desired":{"a":"` + strings.Repeat("x", 32<<10-17) + `"}}}`: true, // with {"a":1} twice as keys
	} {
		u, err := devices.ParseShadowUpdate([]byte(request))
		if err == nil {
			_, err = s.Update(u, now, devices.DefaultShadowLimits())
		}
		if (err == nil) != most {
			t.Errorf("%.60s: %v", request, err)
		}
	}
}

func TestTheShortFormsOfUpdates(t *testing.T) {
	tests := map[string]struct {
		parse func([]byte) (devices.ShadowUpdate, error)
		body  string
		state string
		fails bool
	}{
		"reported":                      {devices.ParseReported, `{"a":1,"b":null}`, `{"reported":{"a":1}}`, false},
		"reported, nothing":             {devices.ParseReported, `{}`, `{}`, false},
		"reported, no object":           {devices.ParseReported, `7`, ``, true},
		"reported, null":                {devices.ParseReported, `null`, ``, true},
		"desired":                       {devices.ParseDesired, `{"desired":{"a":1}}`, `{"desired":{"a":1},"delta":{"a":1}}`, false},
		"desired, bare":                 {devices.ParseDesired, `{"a":1}`, `{"desired":{"a":1},"delta":{"a":1}}`, false},
		"desired, bare with a version":  {devices.ParseDesired, `{"version":9}`, `{"desired":{"version":9},"delta":{"version":9}}`, false},
		"desired, bare, and more":       {devices.ParseDesired, `{"desired":{"a":1},"x":2}`, `{"desired":{"desired":{"a":1},"x":2},"delta":{"desired":{"a":1},"x":2}}`, false},
		"desired, a version that is":    {devices.ParseDesired, `{"desired":{"a":1},"version":0}`, `{"desired":{"a":1},"delta":{"a":1}}`, false},
		"desired, a version of another": {devices.ParseDesired, `{"desired":{"a":1},"version":3}`, ``, true},
		"desired, no object":            {devices.ParseDesired, `{"desired":1}`, ``, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := tt.parse([]byte(tt.body))
			var s devices.Shadow
			if err == nil {
				s, err = s.Update(u, now, devices.DefaultShadowLimits())
			}
			if (err != nil) != tt.fails {
				t.Fatalf("%s: %v", tt.body, err)
			}
			if tt.fails {
				return
			}
			text, err := s.GetDocument("", now)
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ State json.RawMessage }
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			sameJSON(t, "the state", got.State, tt.state)
		})
	}
}

// flat is a section as a list of what is where: the oracle of TestRandomPatches, which knows of no trees.
type flat struct {
	leaves  map[string]string // path -> JSON of what is neither an object
	objects map[string]bool   // paths of objects
	stamps  map[string]int64  // path -> when it was set
}

func newFlat() flat { return flat{map[string]string{}, map[string]bool{"": true}, map[string]int64{}} }

func (f flat) remove(path string) {
	for _, at := range slices.Concat(slices.Collect(maps.Keys(f.leaves)), slices.Collect(maps.Keys(f.objects))) {
		if at == path || strings.HasPrefix(at, path+"/") {
			delete(f.leaves, at)
			delete(f.objects, at)
			delete(f.stamps, at)
		}
	}
}

func (f flat) put(path string, v any, at int64) {
	switch v := v.(type) {
	case nil:
		f.remove(path)
	case map[string]any:
		if !f.objects[path] {
			f.remove(path)
			f.objects[path] = true
		}
		for key, x := range v {
			f.put(path+"/"+key, x, at)
		}
	default:
		f.remove(path)
		text, _ := json.Marshal(v)
		f.leaves[path], f.stamps[path] = string(text), at
	}
}

// delta lists what should be and is not.
func (f flat) delta(is flat) (out []string) {
	for path, v := range f.leaves {
		if is.leaves[path] != v {
			out = append(out, fmt.Sprint(path, "=", v, "@", f.stamps[path]))
		}
	}
	for path := range f.objects {
		empty := path != ""
		for at := range f.leaves {
			empty = empty && !strings.HasPrefix(at, path+"/")
		}
		for at := range f.objects {
			empty = empty && !strings.HasPrefix(at, path+"/")
		}
		if empty && !is.objects[path] {
			out = append(out, path+"={}")
		}
	}
	slices.Sort(out)
	return out
}

// listed lists a tree in the same way.
func listed(path string, v, stamp any) (out []string) {
	o, is := v.(map[string]any)
	if !is {
		text, _ := json.Marshal(v)
		at := stamp
		for {
			list, is := at.([]any)
			if !is || len(list) == 0 {
				break
			}
			at = list[0]
		}
		when := "?"
		if m, is := at.(map[string]any); is {
			when = fmt.Sprint(int64(m["timestamp"].(float64)))
		}
		return []string{fmt.Sprint(path, "=", string(text), "@", when)}
	}
	if len(o) == 0 && path != "" {
		return []string{path + "={}"}
	}
	stamps, _ := stamp.(map[string]any)
	for key, x := range o {
		out = append(out, listed(path+"/"+key, x, stamps[key])...)
	}
	slices.Sort(out)
	return out
}

func value(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 2), func(n int) any { return float64(n) }), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.SampledFrom([]string{"", "on", "ä"}), func(s string) any { return s }), rapid.Just[any](nil),
		rapid.Map(rapid.SliceOfN(rapid.IntRange(0, 1), 1, 2), func(list []int) any {
			out := make([]any, len(list))
			for i, n := range list {
				out[i] = float64(n)
			}
			return out
		}),
	)
	if depth == 0 {
		return leaf
	}
	return rapid.OneOf(leaf, rapid.Map(object(depth-1), func(o map[string]any) any { return o }))
}

func object(depth int) *rapid.Generator[map[string]any] {
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), value(depth), 0, 3)
}

func TestRandomPatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s devices.Shadow
		desired, reported := newFlat(), newFlat()
		for i := range rapid.IntRange(1, 12).Draw(t, "updates") {
			at := int64(now + i)
			state := map[string]any{}
			for name, f := range map[string]flat{"desired": desired, "reported": reported} {
				if rapid.Bool().Draw(t, name) {
					patch := object(3).Draw(t, name+" patch")
					state[name] = patch
					f.put("", patch, at)
				}
			}
			body, err := json.Marshal(map[string]any{"state": state})
			if err != nil {
				t.Fatal(err)
			}
			u, err := devices.ParseShadowUpdate(body)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			before, _ := json.Marshal(s)
			next, err := s.Update(u, at, devices.DefaultShadowLimits())
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if after, _ := json.Marshal(s); string(before) != string(after) {
				t.Fatalf("an update has changed what was: %s, and now %s", before, after)
			}
			s = next
			if s.Version != uint64(i+1) {
				t.Fatalf("version %d after %d updates", s.Version, i+1)
			}
			var got struct{ State, Metadata any }
			if text := s.DeltaDocument("", at); text != nil {
				if err := json.Unmarshal(text, &got); err != nil {
					t.Fatal(err)
				}
			}
			if want := desired.delta(reported); !slices.Equal(listed("", orEmpty(got.State), got.Metadata), want) {
				t.Fatalf("after %s the delta is %v of %v, want %v", body, got.State, got.Metadata, want)
			}
		}
	})
}

func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}

func FuzzParseShadowUpdate(f *testing.F) {
	f.Add([]byte(`{"state":{"desired":{"a":[1,{"b":2.50}]},"reported":null},"version":1,"clientToken":"t"}`))
	f.Add([]byte(`{"state":{"desired":{"a":1e999999999}}}`))
	f.Add([]byte(strings.Repeat(`{"state":`, 200)))
	limits := devices.DefaultShadowLimits()
	f.Fuzz(func(t *testing.T, payload []byte) {
		u, err := devices.ParseShadowUpdate(payload)
		if err != nil {
			if r := new(devices.ShadowError); !errors.As(err, &r) || !json.Valid(r.Document(now)) {
				t.Fatalf("%q: %v", payload, err)
			}
			return
		}
		u.Version = nil
		s, err := devices.Shadow{}.Update(u, now, limits)
		if err != nil {
			return
		}
		if again, err := s.Update(u, now, limits); err != nil || len(again.Delta().State) != len(s.Delta().State) {
			t.Errorf("%q twice: %v", payload, err)
		}
		for _, text := range [][]byte{s.AcceptedDocument(u, now), devices.ChangeDocument(devices.Shadow{}, s, "", now)} {
			if !json.Valid(text) {
				t.Errorf("%q gives %q", payload, text)
			}
		}
	})
}
