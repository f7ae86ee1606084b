package mongo

import (
	"fmt"
	"reflect"
	"time"
)

// A document and the records that are made of it have the same fields, under the same names. They are copied by their names: two
// structs with forty fields each, written out twice, would lose one sooner or later. TestDocumentsAreMoved finds a field of a
// document that is in no record.

// apart are fields that mean another thing in a record.
var apart = map[string]bool{
	"messageDoc.Edits": true, "memberDoc.Hides": true, "personDoc.Fields": true, "personDoc.Phone": true, "personDoc.Email": true,
}

// fit copies the fields that both have. Both are pointers to structs.
func fit(to, from any) {
	fitStruct(reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem())
}

func fitStruct(to, from reflect.Value) {
	for i := range to.NumField() {
		name := to.Type().Field(i).Name
		if apart[to.Type().Name()+"."+name] || apart[from.Type().Name()+"."+name] {
			continue
		}
		if value := from.FieldByName(name); value.IsValid() {
			fitValue(to.Field(i), value)
		}
	}
}

var (
	momentType = reflect.TypeFor[*moment]()
	timeType   = reflect.TypeFor[time.Time]()
)

// fitValue panics if the fields are not the same thing: TestDocumentsAreMoved tries all.
func fitValue(to, from reflect.Value) {
	switch a, b := to.Type(), from.Type(); {
	case a == timeType && b == momentType:
		to.Set(reflect.ValueOf(from.Interface().(*moment).time()))
	case a == momentType && b == timeType:
		to.Set(reflect.ValueOf(momentOf(from.Interface().(time.Time))))
	case a.Kind() == b.Kind() && b.ConvertibleTo(a), whole(a) && whole(b):
		to.Set(from.Convert(a))
	case a.Kind() != b.Kind():
		panic(fmt.Sprintf("%s is no %s", b, a))
	case a.Kind() == reflect.Pointer && !from.IsNil():
		to.Set(reflect.New(a.Elem()))
		fitValue(to.Elem(), from.Elem())
	case a.Kind() == reflect.Slice && !from.IsNil():
		to.Set(reflect.MakeSlice(a, from.Len(), from.Len()))
		for i := range from.Len() {
			fitValue(to.Index(i), from.Index(i))
		}
	case a.Kind() == reflect.Struct:
		fitStruct(to, from)
	}
}

// whole says whether a type is one of the two in which seqs and the like are kept: BSON has no unsigned numbers.
func whole(t reflect.Type) bool { return t.Kind() == reflect.Int64 || t.Kind() == reflect.Uint64 }
