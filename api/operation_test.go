package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/chat"
)

func TestInputIsStrictAboutTypesAndLenientAboutNewFields(t *testing.T) {
	table, op := oneRow(func(_ context.Context, _ Caller, in echo) (echo, chat.Commit, error) { return in, nil, nil })
	tests := map[string]struct {
		body string
		want string // part of the fault's text; empty: accepted
	}{
		"nothing":         {"", ""},
		"white space":     {" \r\n", ""},
		"empty":           {"{}", ""},
		"unknown field":   {`{"n":1,"later":{"x":[1]}}`, ""},
		"null":            {`{"n":null,"list":null}`, ""},
		"wrong type":      {`{"n":"1"}`, `field "n" is not a whole number`},
		"fraction":        {`{"n":1.5}`, `field "n" is not a whole number`},
		"too many digits": {`{"n":99999999999999999999}`, `field "n" is not a whole number`},
		"no list":         {`{"list":"x"}`, `field "list" is not a list`},
		"in a list":       {`{"list":[1]}`, `is not a string`},
		"no object":       {`[]`, "not a JSON object"},
		"null object":     {`null`, "not a JSON object"},
		"text":            {`hello`, "not a JSON object"},
		"cut off":         {`{"n":1`, "not valid JSON"},
		"two":             {`{"n":1}{"n":2}`, "not valid JSON"},
		"not UTF-8":       {"{\"list\":[\"\xff\"]}", "not UTF-8"},
		"deep":            {`{"x":` + strings.Repeat("[", 15_000), "not valid JSON"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := table.Call(t.Context(), op, alice, "", []byte(tt.body))
			if tt.want == "" {
				if a.Err != nil {
					t.Errorf("%q: %v", tt.body, a.Err)
				}
				return
			}
			f, ok := FaultOf(a.Err)
			if !ok || f.Err != "bad" || !strings.Contains(f.Text, tt.want) {
				t.Errorf("%q: got %+v, want bad with %q", tt.body, f, tt.want)
			}
		})
	}
	a := table.Call(t.Context(), op, alice, "", make([]byte, smallBody+1))
	if f, _ := FaultOf(a.Err); f.Err != "too_big" {
		t.Errorf("a body over the limit: got %v", a.Err)
	}
	if a := table.Call(t.Context(), op, Caller{}, "", nil); a.Err == nil {
		t.Error("a stranger was served")
	}
	if a := table.Call(t.Context(), nil, alice, "", nil); a.Err == nil {
		t.Error("no operation was served")
	}
}

func TestEveryRowIsComplete(t *testing.T) {
	for _, table := range []*Table{New(Rooms{Chat: &chat.Service{}}), NewAdmin(Rooms{})} {
		for _, op := range table.Operations() {
			if op.Name == "" || !strings.HasSuffix(op.Doc, ".") || op.Input == nil || op.Output == nil || op.MaxBody == 0 {
				t.Errorf("row %+v is not complete", op)
			}
			if found, ok := table.Lookup(op.Name); !ok || found != op {
				t.Errorf("%s: Lookup gives %v, %v", op.Name, found, ok)
			}
			if _, err := op.decode([]byte("{}")); err != nil {
				t.Errorf("%s: {} is no input: %v", op.Name, err)
			}
		}
	}
	if _, ok := New(Rooms{Chat: &chat.Service{}}).Lookup("user.add"); ok {
		t.Error("clients are served what is for administrators")
	}
}

func FuzzInput(f *testing.F) {
	f.Add([]byte(`{"to":"bob","body":{"text":"dinner at 7?"},"at":["bob"],"re":41,"ttl":0,"mid":"1"}`))
	f.Add([]byte(`{"c":"d.alice.bob","seq":18446744073709551615,"limit":-1,"before":0}`))
	f.Add([]byte(`{"uid":"alice","password":"\ud800","label":null}`))
	table := New(Rooms{Chat: &chat.Service{}})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, op := range table.Operations() {
			in, err := op.decode(body)
			if err != nil {
				if fault, ok := FaultOf(err); !ok || fault.Err != "bad" {
					t.Errorf("%s(%q): got %v", op.Name, body, err)
				}
				continue
			}
			once, err := json.Marshal(in)
			if err != nil {
				t.Fatalf("%s(%q): %v", op.Name, body, err)
			}
			again, err := op.decode(once)
			if err != nil {
				t.Fatalf("%s(%q) was understood as %s: %v", op.Name, body, once, err)
			}
			a, errA := fingerprint(in)
			b, errB := fingerprint(again)
			if a != b || errA != nil || errB != nil {
				t.Errorf("%s(%q) is not the same as %s", op.Name, body, once)
			}
		}
	})
}
