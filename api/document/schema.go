package document

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/jobs"
)

// schema is what of JSON Schema is needed here: words that mean the same in 2020-12, of which OpenAPI 3.1 is made, and in
// draft 7, of which AsyncAPI 3 is.
type schema struct {
	Ref         string     `json:"$ref,omitempty"`
	Description string     `json:"description,omitempty"`
	Type        any        `json:"type,omitempty"` // a word or a list of words
	Format      string     `json:"format,omitempty"`
	Pattern     string     `json:"pattern,omitempty"`
	Const       any        `json:"const,omitempty"`
	Enum        []string   `json:"enum,omitempty"`
	Minimum     *int       `json:"minimum,omitempty"`
	MaxLength   int        `json:"maxLength,omitempty"`
	MaxItems    int        `json:"maxItems,omitempty"`
	Items       *schema    `json:"items,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Values      *schema    `json:"additionalProperties,omitempty"`
	Required    []string   `json:"required,omitempty"`
	OneOf       []*schema  `json:"oneOf,omitempty"`
	Examples    []any      `json:"examples,omitempty"`
}

// properties stay in the order in which a struct has them.
type properties []property

type property struct {
	name string
	schema
	shown bool // in an example of the whole
}

// MarshalJSON writes an object.
func (p properties) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i, one := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(one.schema)
		if err != nil {
			return nil, err
		}
		b.WriteString(strconv.Quote(one.name) + ":") // names of fields are plain words
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (p properties) has(name string) bool {
	return slices.ContainsFunc(p, func(one property) bool { return one.name == name })
}

// The forms of values that have a type of their own.
var known = map[reflect.Type]schema{
	reflect.TypeFor[accounts.Name](): {Type: "string"},
	reflect.TypeFor[accounts.Role](): {Type: "string", Enum: []string{string(accounts.RoleAdmin)}},
	reflect.TypeFor[chat.ContactState](): {Type: "string", Enum: words(
		chat.ContactPending, chat.ContactRequested, chat.ContactAccepted, chat.ContactDeleted, chat.ContactEnded,
		chat.ContactRejected)},
	reflect.TypeFor[chat.Role](): {Type: "string", Enum: words(chat.RoleGuest, chat.RoleMember, chat.RoleAdmin, chat.RoleOwner)},
	reflect.TypeFor[chat.JoinPolicy](): {Type: "string", Enum: words(
		chat.JoinClosed, chat.JoinApproval, chat.JoinOpen)},
	reflect.TypeFor[chat.HistoryPolicy](): {Type: "string", Enum: words(chat.HistoryJoin, chat.HistoryAll)},
	reflect.TypeFor[chat.Group](): {Type: "string", Enum: words(
		chat.GroupAll, chat.GroupMembers, chat.GroupAdmins)},
	reflect.TypeFor[chat.RoomState](): {Type: "string", Enum: words(
		chat.RoomJoined, chat.RoomInvited, chat.RoomAsked, chat.RoomDeclined, chat.RoomLeft, chat.RoomKicked, chat.RoomBanned,
		chat.RoomDissolved, chat.RoomRole, chat.RoomMuted, chat.RoomUnmuted, chat.RoomSet)},
	reflect.TypeFor[chat.Op](): {Type: "string", Enum: words(
		chat.OpEdit, chat.OpRecall, chat.OpReact, chat.OpUnreact, chat.OpPin, chat.OpUnpin)},
	reflect.TypeFor[chat.Activity]():     {Type: "string", Enum: words(chat.Foreground, chat.Background, chat.Away)},
	reflect.TypeFor[chat.LoginState]():   {Type: "string", Enum: words(chat.LoggedIn, chat.LoggedOut, chat.Kicked)},
	reflect.TypeFor[chat.Conversation](): {Type: "string", Pattern: `^[a-z]\..+$`},
	reflect.TypeFor[devices.Verb]():      {Type: "string", Pattern: `^(manage|control|see|cmd:.+)$`},
	reflect.TypeFor[devices.CommandState](): {Type: "string", Enum: words(
		devices.CommandQueued, devices.CommandSent, devices.CommandDelivered, devices.CommandAccepted, devices.CommandProgress,
		devices.CommandSucceeded, devices.CommandFailed, devices.CommandRejected, devices.CommandExpired, devices.CommandTimedOut,
		devices.CommandCanceled, devices.CommandSuperseded)},
	reflect.TypeFor[devices.AlarmState](): {Type: "string", Enum: words(
		devices.AlarmActive, devices.AlarmAcknowledged, devices.AlarmCleared)},
	reflect.TypeFor[jobs.Status](): {Type: "string", Enum: words(
		jobs.Waiting, jobs.Queued, jobs.InProgress, jobs.Succeeded, jobs.Failed, jobs.Rejected, jobs.TimedOut, jobs.Removed,
		jobs.Canceled)},
	reflect.TypeFor[devices.PresenceState](): {Type: "string", Enum: words(
		devices.Online, devices.Offline, devices.Sleeping, devices.Unknown)},
	reflect.TypeFor[chat.Places]():     {Type: "array", Items: &schema{Type: "string"}},
	reflect.TypeFor[json.RawMessage](): {},
}

func words[T ~string](list ...T) []string {
	out := make([]string, len(list))
	for i, word := range list {
		out[i] = string(word)
	}
	return out
}

// schemas collects the schemas of types. What has a name is kept apart and referred to.
type schemas struct {
	byName map[string]*schema
	names  map[use]string
	// gaps are what cannot be described, for people.
	gaps []string
}

// use is a type in one of the two directions: what a client must give, and what it can rely on.
type use struct {
	t     reflect.Type
	input bool
}

func newSchemas() *schemas {
	return &schemas{byName: map[string]*schema{}, names: map[use]string{}}
}

func (s *schemas) gap(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(s.gaps, text) {
		s.gaps = append(s.gaps, text)
	}
}

// of gives the schema of a type, or a reference to it.
func (s *schemas) of(t reflect.Type, input bool) schema {
	if form, ok := known[t]; ok {
		return form
	}
	if t == reflect.TypeFor[chat.Event]() {
		return s.events()
	}
	if t.Kind() != reflect.Pointer && (marshals(t) || marshals(reflect.PointerTo(t))) {
		s.gap("%v encodes itself: add what it looks like to known in api/document/schema.go", t)
		return schema{}
	}
	switch t.Kind() {
	case reflect.String:
		if t.PkgPath() != "" {
			s.gap("%v has words of its own: add them to known in api/document/schema.go, or give the field a tag `enum`", t)
		}
		return schema{Type: "string"}
	case reflect.Bool:
		return schema{Type: "boolean"}
	case reflect.Float32, reflect.Float64:
		return schema{Type: "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32:
		return schema{Type: "integer"}
	case reflect.Int64:
		return schema{Type: "integer", Format: "int64"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return schema{Type: "integer", Minimum: new(int)}
	case reflect.Uint64:
		return schema{Type: "integer", Format: "int64", Minimum: new(int)}
	case reflect.Pointer:
		return s.of(t.Elem(), input)
	case reflect.Interface:
		return schema{}
	case reflect.Slice, reflect.Array:
		items := s.of(t.Elem(), input)
		return schema{Type: "array", Items: &items}
	case reflect.Map:
		values := s.of(t.Elem(), input)
		if word, ok := values.Type.(string); ok && t.Elem().Kind() == reflect.Pointer {
			values.Type = []string{word, "null"}
		}
		return schema{Type: "object", Values: &values}
	case reflect.Struct:
		return s.named(t, input)
	}
	s.gap("%v has no form in JSON", t)
	return schema{}
}

// marshals says whether a type has a form of its own in JSON.
func marshals(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// named gives a reference to the schema of a struct, or the schema itself if the struct has no name or no fields.
func (s *schemas) named(t reflect.Type, input bool) schema {
	if t.Name() == "" || t.NumField() == 0 {
		return s.object(t, input)
	}
	name, ok := s.names[use{t, input}]
	if !ok {
		name = s.free(t, input)
		s.names[use{t, input}] = name
		s.byName[name] = nil // taken: it may refer to itself
		object := s.object(t, input)
		s.byName[name] = &object
	}
	return schema{Ref: reference + name}
}

const reference = "#/components/schemas/" // in both documents

// free finds a name for a struct. Two of the same name are told apart by their packages and by what they are used for.
func (s *schemas) free(t reflect.Type, input bool) string {
	title := func(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
	plain := strings.Map(func(r rune) rune {
		if r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_' // of a generic type
	}, t.Name())
	path := strings.Split(t.PkgPath(), "/")
	full := title(path[len(path)-1]) + title(plain)
	for _, name := range []string{title(plain), full} {
		if _, taken := s.byName[name]; !taken {
			return name
		}
	}
	if input {
		return full + "Given"
	}
	return full + "Shown"
}

// object gives the schema of a struct with all its fields.
func (s *schemas) object(t reflect.Type, input bool) schema {
	o := schema{Type: "object"}
	s.fields(&o, t, input)
	return o
}

// fields adds the fields of a struct, those of embedded ones included, as encoding/json knows them.
func (s *schemas) fields(o *schema, t reflect.Type, input bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		switch {
		case f.Anonymous && name == "" && embedded.Kind() == reflect.Struct:
			s.fields(o, embedded, input)
			continue
		case !f.IsExported() || tag == "-":
			continue
		case name == "":
			name = f.Name
		}
		if o.Properties.has(name) { // the outer one is seen
			continue
		}
		must := !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero")
		if input {
			must = f.Tag.Get("required") == "true"
		}
		if must {
			o.Required = append(o.Required, name)
		}
		one := s.field(t, f, name, input)
		if !input && must && f.Type.Kind() == reflect.Pointer {
			one = schema{OneOf: []*schema{&one, {Type: "null"}}}
		}
		_, shown := f.Tag.Lookup("example")
		o.Properties = append(o.Properties, property{name, one, must || shown})
	}
}

// field gives the schema of one field, with what its tags say of it, and the vocabulary where they do not.
func (s *schemas) field(t reflect.Type, f reflect.StructField, name string, input bool) schema {
	tag := f.Tag.Get("enum")
	one := schema{Type: "string"}
	if tag == "" {
		one = s.of(f.Type, input)
	}
	word := vocabulary[name]
	one.Description = f.Tag.Get("doc")
	if one.Description == "" {
		one.Description = word.doc
	}
	if one.Description == "" {
		s.gap("field %q of %v has no `doc` tag that says what it is, and there is no such word in api/document/vocabulary.go",
			name, t)
	}
	if list := strings.Split(tag, "|"); len(list) > 1 {
		one.Enum = list
	} else if n, err := strconv.Atoi(tag); err == nil && f.Type.Kind() != reflect.String {
		one = schema{Type: "integer", Description: one.Description, Const: n}
	} else if tag != "" {
		one.Const = tag
	}
	if most, err := strconv.Atoi(f.Tag.Get("max")); err == nil {
		if one.Type == "array" {
			one.MaxItems = most
		} else {
			one.MaxLength = most
		}
	}
	if input && (one.Ref == "" || f.Tag.Get("example") != "") { // beside a reference, too: JSON Schema 2020-12, 8.2.3.1
		if example := s.example(f, word.example); example != nil {
			one.Examples = []any{example}
		} else if len(one.Enum) > 0 {
			one.Examples = []any{one.Enum[0]}
		}
	}
	return one
}

// whole gives an input that has what it must have, and what its tags want to be seen.
func (o *schema) whole() object {
	out := object{}
	for _, p := range o.Properties {
		if p.shown && len(p.Examples) > 0 {
			out[p.name] = p.Examples[0]
		}
	}
	return out
}

// example gives an example for a field: its own, or that of the word, if that is of the field's type.
func (s *schemas) example(f reflect.StructField, usual any) any {
	text := f.Tag.Get("example")
	if text == "" {
		if usual == nil || !fits(usual, f.Type) {
			return nil
		}
		return usual
	}
	var own any
	if err := json.Unmarshal([]byte(text), &own); err != nil {
		return text
	}
	return own
}

// fits says whether a value can be decoded as a type.
func fits(v any, t reflect.Type) bool {
	text, err := json.Marshal(v)
	return err == nil && json.Unmarshal(text, reflect.New(t).Interface()) == nil
}

// all gives the schemas that have names.
func (s *schemas) all() map[string]*schema { return maps.Clone(s.byName) }
