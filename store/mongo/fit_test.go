package mongo

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/magpie-im/magpie/transfer"
)

// movedDocs are the documents of which records are made, with the records.
var movedDocs = []struct {
	doc     any
	records []any
}{
	{userDoc{}, []any{transfer.User{}}},
	{tokenDoc{}, []any{transfer.Token{}}},
	{deviceAccountDoc{}, []any{transfer.Device{}}},
	{invitationDoc{}, []any{transfer.Invitation{}}},
	{actDoc{}, []any{transfer.Act{}}},
	{personDoc{}, []any{transfer.Person{}}},
	{personFieldDoc{}, []any{transfer.Field{}}},
	{relationDoc{}, []any{transfer.Contact{}}},
	{talkDoc{}, []any{transfer.Conversation{}}},
	{roomDoc{}, []any{transfer.Room{}, transfer.RoomInfo{}}},
	{floorDoc{}, []any{transfer.Floor{}}},
	{boardDoc{}, []any{transfer.Snapshot{}}},
	{memberDoc{}, []any{transfer.Member{}}},
	{sideDoc{}, []any{transfer.Side{}}},
	{messageDoc{}, []any{transfer.Message{}}},
	{changeDoc{}, []any{transfer.Change{}}},
	{editDoc{}, []any{transfer.Edit{}}},
	{entryDoc{}, []any{transfer.Entry{}}},
	{sideChangeDoc{}, []any{transfer.SideChange{}}},
	{thingDoc{}, []any{transfer.Thing{}}},
	{grantDoc{}, []any{transfer.Grant{}}},
	{windowDoc{}, []any{transfer.Window{}}},
	{shadowDoc{}, []any{transfer.Shadow{}}},
	{commandDoc{}, []any{transfer.Command{}}},
	{outcomeDoc{}, []any{transfer.Outcome{}}},
	{eventDoc{}, []any{transfer.Event{}}},
	{alarmDoc{}, []any{transfer.Alarm{}}},
	{presenceDoc{}, []any{transfer.Presence{}}},
	{recordDoc{}, []any{transfer.Kept{}}},
}

// notFitted are fields of documents that are in no record under their names, and why.
var notFitted = map[string]string{
	"userDoc.Epoch":           "of tokens: those that are none are in no record",
	"deviceAccountDoc.Device": "it is another kind of record",
	"tokenDoc.Epoch":          "as userDoc.Epoch",

	"personDoc.V": "what happened to the document", "personDoc.N": "as V", "personDoc.W": "as V",
	"personDoc.Fields": "in transfer.Person, by hand", "personDoc.Phone": "as Fields", "personDoc.Email": "as Fields",
	"personDoc.Until": "transfer.Person.CellUntil", "personDoc.Area": "as Until", "personDoc.Terms": "computed",
	"personDoc.Telling": "transfer.Telling", "personDoc.TellN": "what is told is what the person says now",
	"personDoc.Told": "transfer.Telling", "personDoc.Open": "nothing is open", "personDoc.Follows": "as Open",
	"personFieldDoc.Key": "the key of the map",

	"relationDoc.Key": "U and P", "relationDoc.N": "numbers of entries are new", "relationDoc.U": "transfer.Contact.User",
	"relationDoc.P": "transfer.Contact.Other", "talkDoc.Exists": "there is a record", "boardDoc.N": "numbers of entries are new",

	"memberDoc.Key": "U and C", "memberDoc.N": "numbers of entries are new", "memberDoc.U": "transfer.Member.Who",
	"memberDoc.In": "transfer.Member.Forgotten", "memberDoc.Pending": "transfer.Member.Forgotten",
	"memberDoc.Boxed": "transfer.Boxed", "memberDoc.Dropped": "transfer.Boxed", "memberDoc.Side": "transfer.Side",
	"memberDoc.Spoke": "computed from messages", "memberDoc.Untold": "computed", "memberDoc.Wrote": "need not be known",
	"memberDoc.Hides": "transfer.Hidden", "memberDoc.HidCounted": "transfer.Member.Hides", "memberDoc.Hidden": "transfer.Hidden",
	"memberDoc.Mentions": "transfer.Mention",

	"thingDoc.W": "which write it was", "thingDoc.Seers": "computed", "thingDoc.In": "computed",
	"shadowDoc.At": "Device and Name", "shadowDoc.W": "as thingDoc.W",
	"commandDoc.At": "Device and ID", "commandDoc.W": "as thingDoc.W", "commandDoc.Busy": "computed", "commandDoc.Done": "computed",
	"eventDoc.At": "Device and ID", "eventDoc.W": "as thingDoc.W", "eventDoc.Last": "computed from the order", "eventDoc.Newest": "as Last",
	"alarmDoc.At": "Device and Type", "alarmDoc.W": "as thingDoc.W", "presenceDoc.Online": "computed",
	"recordDoc.Name": "Kind, Scope and ID", "recordDoc.W": "as thingDoc.W",

	"messageDoc.Out": "transfer.Own", "messageDoc.Edits": "how many they are, and transfer.Edit",
}

func TestDocumentsAreMoved(t *testing.T) {
	for _, x := range movedDocs {
		doc := reflect.TypeOf(x.doc)
		in := map[string]bool{}
		for _, r := range x.records {
			record := reflect.New(reflect.TypeOf(r))
			fill(record.Elem())
			back := reflect.New(doc)
			fit(back.Interface(), record.Interface())
			again := reflect.New(reflect.TypeOf(r))
			fit(again.Interface(), back.Interface())
			for i := range doc.NumField() {
				name := doc.Field(i).Name
				if field, found := record.Elem().Type().FieldByName(name); found && !apart[doc.Name()+"."+name] {
					in[name] = true
					if got, want := again.Elem().FieldByIndex(field.Index), record.Elem().FieldByIndex(field.Index); !reflect.DeepEqual(
						got.Interface(), want.Interface()) {
						t.Errorf("%s.%s: got %v, want %v", doc.Name(), name, got, want)
					}
				}
			}
		}
		for i := range doc.NumField() {
			name := doc.Name() + "." + doc.Field(i).Name
			if _, not := notFitted[name]; not == in[doc.Field(i).Name] {
				t.Errorf("%s is in a record: %t, and notFitted has it: %t", name, in[doc.Field(i).Name], not)
			}
		}
	}
}

// fill gives every field something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == timeType {
			v.Set(reflect.ValueOf(time.Date(2030, 1, 2, 3, 4, 5, 6_000_007, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(7)
	case reflect.Uint64, reflect.Uint8:
		v.SetUint(8)
	case reflect.Map:
	default:
		panic(fmt.Sprintf("nothing is known for %s", v.Type()))
	}
}
