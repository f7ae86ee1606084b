package document_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/api/document"
	"github.com/magpie-im/magpie/api/document/documenttest"
	"github.com/magpie-im/magpie/chat"
)

// kinds gives the values of all constants of a type of package chat, as its source has them.
func kinds(t *testing.T, typeName string) []string {
	t.Helper()
	var found []string
	files, err := fs.Glob(os.DirFS("../../chat"), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), "../../chat/"+name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != typeName {
				return true
			}
			for _, v := range spec.Values {
				if text, err := strconv.Unquote(v.(*ast.BasicLit).Value); err == nil {
					found = append(found, text)
				}
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatalf("package chat has no constants of type %s", typeName)
	}
	return found
}

// filler fills values by chance, empty ones among them.
type filler struct {
	*rand.Rand
	words map[string][]string // values of types that have few
}

func (f filler) fill(v reflect.Value) {
	if f.IntN(3) == 0 {
		return // as it is
	}
	if words := f.words[v.Type().String()]; words != nil {
		v.SetString(words[f.IntN(len(words))])
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"bob", "\"<\n\x01深夜"}[f.IntN(2)])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(1793000000123)
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint8:
		v.SetUint(uint64(f.IntN(3)))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				f.fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"text":"hi"}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), f.IntN(3), 2))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key)
		f.fill(value)
		v.SetMapIndex(key, value)
	}
}

// everyEvent makes events of a kind in all variety, the same each time.
func everyEvent(kind string) []chat.Event {
	f := filler{rand.New(rand.NewPCG(1, 2)), document.Known()}
	all := make([]chat.Event, 300)
	for i := range all {
		e := &all[i]
		for field := range reflect.TypeFor[chat.Event]().NumField() {
			f.fill(reflect.ValueOf(e).Elem().Field(field))
		}
		e.Type, e.Conversation, e.Live = chat.EntryType(kind), "d.alice.bob", false
		fix(f, e)
	}
	return all
}

// fix gives an event what one of its kind always has.
func fix(f filler, e *chat.Event) {
	for _, v := range []reflect.Value{
		reflect.ValueOf(&e.State), reflect.ValueOf(&e.Login.State), reflect.ValueOf(&e.Room.State),
	} {
		words := f.words[v.Elem().Type().String()]
		v.Elem().SetString(words[f.IntN(len(words))])
	}
	if e.Live = e.Type == chat.EventHead; e.Live {
		e.USN = 0
	}
	e.Where = json.RawMessage(`{"lat":1,"lon":2}`)
	if e.Type == chat.EntryContact && f.IntN(2) == 0 {
		e.Conversation = ""
	}
}

// What is said of a type that has few values is what package chat says of it.
func TestWordsOfTypes(t *testing.T) {
	for name, got := range document.Known() {
		short, ok := strings.CutPrefix(name, "chat.")
		if !ok {
			continue
		}
		want := slices.DeleteFunc(kinds(t, short), func(word string) bool { return word == "" }) // empty: none
		if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("known in api/document/schema.go says of %s %q, its constants are %q", name, got, want)
		}
	}
}

// Every kind of event that package chat knows is in asyncapi.json, as AppendJSON writes it: no field is missing there, and
// none is there that is never written.
func TestEventsAreAsDescribed(t *testing.T) {
	text, _ := document.AsyncAPI(document.Source{})
	d, err := documenttest.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds(t, "EntryType") {
		t.Run(kind, func(t *testing.T) {
			topic := "im/u/alice/in"
			switch chat.EntryType(kind) {
			case chat.EventTyping:
				topic = "im/u/alice/eph"
			case chat.EventPlace, chat.EventLive:
				topic = "im/c/d.alice.bob/live"
			}
			seen := map[string]bool{}
			for _, e := range everyEvent(kind) {
				if topic == "im/u/alice/in" && !slices.Contains(d.Fields(kind), "c") { // then it is about no conversation
					e.Conversation = ""
				}
				written := e.AppendJSON(nil)
				if err := d.Message(topic, false, written); err != nil {
					t.Fatalf("describe it in api/document/events.go: %v", err)
				}
				var fields map[string]any
				if err := json.Unmarshal(written, &fields); err != nil {
					t.Fatal(err)
				}
				for name := range fields {
					seen[name] = true
				}
			}
			for _, name := range d.Fields(kind) {
				if !seen[name] {
					t.Errorf("field %q of event %s is described, and is never written; written are %q", name, kind,
						slices.Sorted(maps.Keys(seen)))
				}
			}
		})
	}
}

// The check itself: an event that is not described is found.
func TestEventsThatAreNotDescribedAreFound(t *testing.T) {
	text, _ := document.AsyncAPI(document.Source{})
	d, err := documenttest.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	good := chat.Event{Entry: chat.Entry{Type: chat.EntryRead, USN: 1, Conversation: "d.alice.bob", Read: 1}}.AppendJSON(nil)
	for name, payload := range map[string]string{
		"as described":  string(good),
		"another kind":  strings.Replace(string(good), `"t":"read"`, `"t":"reading"`, 1),
		"another field": strings.Replace(string(good), `{`, `{"more":1,`, 1),
		"no usn":        strings.Replace(string(good), `"usn":1,`, ``, 1),
		"a text as usn": strings.Replace(string(good), `"usn":1`, `"usn":"1"`, 1),
		"no JSON":       `{"t":"read"`,
	} {
		if err := d.Message("im/u/alice/in", false, []byte(payload)); (err == nil) != (name == "as described") {
			t.Errorf("%s: %s: %v", name, payload, err)
		}
	}
	if err := d.Message("im/u/alice/in", true, good); err == nil {
		t.Error("a client may publish to the stream")
	}
	if err := d.Message("im/u/alice/more", false, good); err == nil {
		t.Error("there is a topic that nobody knows")
	}
}

// What those who watch a conversation are shown of a message is described, too.
func TestWatchedMessagesAreAsDescribed(t *testing.T) {
	text, _ := document.AsyncAPI(document.Source{})
	d, err := documenttest.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range everyEvent(string(chat.EntryMessage)) {
		e.Live, e.Boxed, e.USN = true, false, 0
		for _, topic := range []string{"im/c/d.alice.bob/live", "im/u/alice/in"} { // the latter if it is large
			if err := d.Message(topic, false, e.AppendJSON(nil)); err != nil {
				t.Fatalf("describe it in api/document/events.go: %v", err)
			}
		}
	}
	for _, op := range kinds(t, "Op") {
		for _, e := range everyEvent(op) {
			e.Live, e.USN = true, 0
			for _, topic := range []string{"im/c/d.alice.bob/live", "im/u/alice/in"} {
				if err := d.Message(topic, false, e.AppendJSON(nil)); err != nil {
					t.Fatalf("describe it in api/document/events.go: %v", err)
				}
			}
		}
	}
}
