package document_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/api/document"
	"github.com/magpie-im/magpie/api/document/documenttest"
)

func row[In, Out any](name, doc string, access api.Access) *api.Operation {
	return &api.Operation{Name: name, Doc: doc, Access: access, Changes: true, MaxBody: 100,
		Input: reflect.TypeFor[In](), Output: reflect.TypeFor[Out]()}
}

type (
	none struct{}
	leaf struct {
		Who  accounts.Name `json:"who"`
		Kids []*leaf       `json:"kids,omitempty" doc:"smaller ones"`
	}
	outer struct {
		leaf
		Who    string             `json:"who" doc:"the outer one is seen"`
		Words  map[string]*string `json:"words" doc:"by name"`
		Ratio  float64            `json:"ratio" doc:"between 0 and 1"`
		Choice string             `json:"choice,omitempty" doc:"one of them" enum:"a|b|"`
		Never  string             `json:"-"`
		hidden string
	}
	given struct {
		Name string   `json:"name" required:"true" max:"3"`
		List []string `json:"list" doc:"some" max:"2" example:"[\"x\"]"`
		Note *string  `json:"note" doc:"a note"`
	}
)

var _ = outer{}.hidden // encoding/json does not see it, and neither must we

func source(rows ...*api.Operation) document.Source {
	return document.Source{Table: rows, Refusals: []document.Refusal{{Status: 400, Err: "bad", Text: "It is bad."}}}
}

func TestSchemasOfTypes(t *testing.T) {
	text, gaps := document.OpenAPI(source(row[given, outer]("x.y", "Does it.", api.User)))
	if len(gaps) > 0 {
		t.Errorf("gaps: %q", gaps)
	}
	var got struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Given": `{"type":"object","properties":{"name":{"description":"what people call it","type":"string","maxLength":3,` +
			`"examples":["Alice"]},"list":{"description":"some","type":"array","maxItems":2,"items":{"type":"string"},` +
			`"examples":[["x"]]},"note":{"description":"a note","type":"string"}},"required":["name"]}`,
		"Leaf": `{"type":"object","properties":{"who":{"description":"the one that it is about","type":"string"},` +
			`"kids":{"description":"smaller ones","type":"array","items":{"$ref":"#/components/schemas/Leaf"}}},"required":["who"]}`,
	} {
		var small bytes.Buffer
		if err := json.Compact(&small, got.Components.Schemas[name]); err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, text)
		}
		if small.String() != want {
			t.Errorf("%s is\n%s, want\n%s", name, small.String(), want)
		}
	}
	d, err := documenttest.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if example, _ := d.Example("/x.y"); string(example) != `{"list":["x"],"name":"Alice"}` {
		t.Errorf("example %s", example)
	}
	word := "word"
	for name, out := range map[string]any{
		"all": outer{leaf: leaf{Who: "bob", Kids: []*leaf{{Who: "carol"}}}, Words: map[string]*string{"a": &word, "b": nil}, Choice: "b"},
		"few": outer{Words: map[string]*string{}},
	} {
		body, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Answer("POST", "/x.y", 200, "application/json", body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, body := range []string{
		`{"who":"","words":{},"ratio":0,"choice":"c"}`, `{"who":"","words":{"a":1},"ratio":0}`, `{"who":"","words":{}}`,
		`{"who":"","words":{},"ratio":0,"kids":[{}]}`, `{"who":"","words":{},"ratio":0,"hidden":""}`, `[]`,
	} {
		if err := d.Answer("POST", "/x.y", 200, "application/json", []byte(body)); err == nil {
			t.Errorf("%s is as described", body)
		}
	}
}

func TestTwoTypesOfOneName(t *testing.T) {
	type leaf struct { // another one
		Seq uint64 `json:"seq"`
	}
	type pair struct {
		A leaf  `json:"a" doc:"one"`
		B *leaf `json:"b" doc:"another"`
	}
	text, gaps := document.OpenAPI(source(row[leaf, outer]("a", "A.", api.User), row[pair, leaf]("b", "B.", api.Public)))
	d, err := documenttest.Read(text)
	if err != nil || len(gaps) > 0 {
		t.Fatal(err, gaps)
	}
	if err := d.Answer("POST", "/a", 200, "application/json", []byte(`{"who":"","words":{},"ratio":0,"kids":[{"who":"x"}]}`)); err != nil {
		t.Error(err)
	}
	if err := d.Answer("POST", "/b", 200, "application/json", []byte(`{"seq":1}`)); err != nil {
		t.Error(err)
	}
}

func TestGapsAreReported(t *testing.T) {
	type unsaid struct {
		Flavour string `json:"flavour"`
	}
	type timed struct {
		At time.Time `json:"ts"`
	}
	type waits struct {
		Done chan int `json:"done" doc:"closed at the end"`
	}
	for want, op := range map[string]*api.Operation{
		`operation x has no Doc`:                   row[none, none]("x", "", api.User),
		`field "flavour" of document_test.unsaid`:  row[unsaid, none]("x", "X.", api.User),
		`time.Time encodes itself`:                 row[none, timed]("x", "X.", api.User),
		`chan int has no form in JSON`:             row[none, waits]("x", "X.", api.Admin),
		`field "flavour" of document_test.unsaid `: row[none, []unsaid]("x", "X.", api.Public),
	} {
		for name, write := range map[string]func(document.Source) ([]byte, []string){
			"OpenAPI": document.OpenAPI, "AsyncAPI": document.AsyncAPI,
		} {
			if op.Output.Kind() == reflect.Slice && name == "AsyncAPI" {
				continue // answers on rsp are objects
			}
			text, gaps := write(source(op))
			if !slices.ContainsFunc(gaps, func(gap string) bool { return strings.Contains(gap, strings.TrimSpace(want)) }) {
				t.Errorf("%s: gaps %q, want %q", name, gaps, want)
			}
			if _, err := documenttest.Read(text); err != nil { // it is a document all the same
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestDocumentsAreTheSameEachTime(t *testing.T) {
	for _, write := range []func(document.Source) ([]byte, []string){document.OpenAPI, document.AsyncAPI} {
		first, _ := write(source(row[given, outer]("x.y", "Does it.", api.User)))
		for range 10 {
			if again, _ := write(source(row[given, outer]("x.y", "Does it.", api.User))); !bytes.Equal(first, again) {
				t.Fatal("two documents of one table differ")
			}
		}
	}
}
