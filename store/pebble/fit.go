package pebble

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// A row and the record that is made of it have the same fields, under the same names; a record has those of the key too. They
// are copied by their names, so that a field that a row gets and no record has is an error, and TestRecordsHaveWhatRowsHave
// finds it. Two structs with forty fields each, written out twice, would lose one sooner or later.

// notMoved are the fields of rows that can be computed from others.
var notMoved = map[string]bool{"profileRow.Terms": true}

// toRecord copies what a row says into a record. Both are pointers.
func toRecord(record, row any) error {
	return fit(reflect.ValueOf(row).Elem(), reflect.ValueOf(record).Elem(), false)
}

// toRow copies what a record says into a row. Both are pointers.
func toRow(row, record any) error {
	return fit(reflect.ValueOf(row).Elem(), reflect.ValueOf(record).Elem(), true)
}

// fields are the indexes in a record of the fields of a row; -1: it is not moved.
type fields []int

var fitted sync.Map // [2]reflect.Type to fields

func fieldsOf(row, record reflect.Type) (fields, error) {
	pair := [2]reflect.Type{row, record}
	if known, ok := fitted.Load(pair); ok {
		return known.(fields), nil
	}
	out := make(fields, row.NumField())
	for i := range out {
		name := row.Field(i).Name
		field, ok := record.FieldByName(name)
		switch {
		case notMoved[row.Name()+"."+name]:
			out[i] = -1
		case !ok:
			return nil, fmt.Errorf("%s has no field for %s.%s", record, row.Name(), name)
		default:
			out[i] = field.Index[0]
		}
	}
	fitted.Store(pair, out)
	return out, nil
}

func fit(row, record reflect.Value, back bool) error {
	indexes, err := fieldsOf(row.Type(), record.Type())
	if err != nil {
		return err
	}
	for i, j := range indexes {
		if j < 0 {
			continue
		}
		from, to := row.Field(i), record.Field(j)
		if back {
			from, to = to, from
		}
		if err := convert(to, from, back); err != nil {
			return fmt.Errorf("%s: %w", row.Type().Field(i).Name, err)
		}
	}
	return nil
}

var (
	momentType = reflect.TypeFor[moment]()
	timeType   = reflect.TypeFor[time.Time]()
)

// words are what numbers in rows are called in records.
var words = map[reflect.Type]map[int]string{
	reflect.TypeFor[chat.ContactState](): wordsOf(relationStates),
	reflect.TypeFor[chat.EntryType]():    wordsOf(entryTypes),
	reflect.TypeFor[chat.Role]():         wordsOf(roleWords()),
	reflect.TypeFor[chat.Op]():           wordsOf(opWords),
	reflect.TypeFor[transfer.Audience](): {0: "", 1: "nobody", 2: "contacts", 3: "near", 4: "everyone"},
}

func roleWords() map[int]chat.Role {
	out := map[int]chat.Role{}
	for n, role := range roles {
		out[n] = role
	}
	return out
}

func wordsOf[S ~string](numbers map[int]S) map[int]string {
	out := make(map[int]string, len(numbers))
	for n, word := range numbers {
		out[n] = string(word)
	}
	return out
}

// convert sets to to what from says. Fields of structs are those of rows in from, or in to if back is true.
func convert(to, from reflect.Value, back bool) error {
	switch {
	case from.Type() == momentType && to.Type() == timeType:
		to.Set(reflect.ValueOf(from.Interface().(moment).time()))
	case from.Type() == timeType && to.Type() == momentType:
		to.Set(reflect.ValueOf(momentOf(from.Interface().(time.Time))))
	case from.Kind() == reflect.Int && words[to.Type()] != nil:
		return toWord(to, from)
	case to.Kind() == reflect.Int && words[from.Type()] != nil:
		return toNumber(to, from)
	case from.Kind() == to.Kind() && from.Type().ConvertibleTo(to.Type()):
		to.Set(from.Convert(to.Type()))
	case from.Kind() != to.Kind():
		return fmt.Errorf("%s is no %s", from.Type(), to.Type())
	case from.Kind() == reflect.Pointer:
		if from.IsNil() {
			return nil
		}
		to.Set(reflect.New(to.Type().Elem()))
		return convert(to.Elem(), from.Elem(), back)
	case from.Kind() == reflect.Slice:
		return convertSlice(to, from, back)
	case from.Kind() == reflect.Map:
		return convertMap(to, from, back)
	case from.Kind() == reflect.Struct && back:
		return fit(to, from, back)
	case from.Kind() == reflect.Struct:
		return fit(from, to, back)
	default:
		return fmt.Errorf("%s is no %s", from.Type(), to.Type())
	}
	return nil
}

var errWord = errors.New("not known")

func toWord(to, from reflect.Value) error {
	word, ok := words[to.Type()][int(from.Int())]
	if !ok {
		return fmt.Errorf("%d: %w", from.Int(), errWord)
	}
	to.SetString(word)
	return nil
}

func toNumber(to, from reflect.Value) error {
	for number, word := range words[from.Type()] {
		if word == from.String() {
			to.SetInt(int64(number))
			return nil
		}
	}
	return fmt.Errorf("%.40q: %w", from.String(), errWord)
}

func convertSlice(to, from reflect.Value, back bool) error {
	if from.IsNil() {
		return nil
	}
	to.Set(reflect.MakeSlice(to.Type(), from.Len(), from.Len()))
	for i := range from.Len() {
		if err := convert(to.Index(i), from.Index(i), back); err != nil {
			return err
		}
	}
	return nil
}

func convertMap(to, from reflect.Value, back bool) error {
	if from.IsNil() {
		return nil
	}
	to.Set(reflect.MakeMapWithSize(to.Type(), from.Len()))
	for each := from.MapRange(); each.Next(); {
		value := reflect.New(to.Type().Elem()).Elem()
		if err := convert(value, each.Value(), back); err != nil {
			return err
		}
		to.SetMapIndex(each.Key(), value)
	}
	return nil
}
