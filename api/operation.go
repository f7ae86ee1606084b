package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/magpie-im/magpie/chat"
)

const (
	smallBody   = 16 << 10
	profileBody = 128 << 10 // the longest that a profile may be, with each character escaped
	draftBody   = 32 << 10  // a draft with each character escaped
	messageBody = 1 << 20   // as large as a packet may be; what a message may hold is for chat to say
)

// change makes a row that changes something.
func change[In, Out any](
	name string, access Access, doc string,
	f func(ctx context.Context, c Caller, in In) (Out, chat.Commit, error),
) *Operation {
	return op(name, access, true, doc, f)
}

// read makes a row that only reads.
func read[In, Out any](
	name string, access Access, doc string, f func(ctx context.Context, c Caller, in In) (Out, error),
) *Operation {
	return op(name, access, false, doc, func(ctx context.Context, c Caller, in In) (Out, chat.Commit, error) {
		out, err := f(ctx, c, in)
		return out, nil, err
	})
}

func op[In, Out any](
	name string, access Access, changes bool, doc string,
	f func(ctx context.Context, c Caller, in In) (Out, chat.Commit, error),
) *Operation {
	return &Operation{
		Name:    name,
		Doc:     doc,
		Access:  access,
		Changes: changes,
		MaxBody: smallBody,
		Input:   reflect.TypeFor[In](),
		Output:  reflect.TypeFor[Out](),
		decode: func(body []byte) (any, error) {
			var in In
			if err := decode(body, &in); err != nil {
				return nil, err
			}
			return in, nil
		},
		run: func(ctx context.Context, c Caller, in any) Answer {
			out, commit, err := f(ctx, c, in.(In))
			if err != nil {
				return Answer{Err: fmt.Errorf("%s: %w", name, err)}
			}
			return Answer{Body: out, Commit: commit}
		},
	}
}

// ending makes a row that changes something which may end the caller's own connection. spare keeps that until the answer has
// been given.
func ending[In, Out any](
	name, doc string, spare func(Caller) (end func()), f func(ctx context.Context, c Caller, in In) (Out, error),
) *Operation {
	o := change(name, User, doc, func(context.Context, Caller, In) (Out, chat.Commit, error) { panic("never called") })
	o.run = func(ctx context.Context, c Caller, in any) Answer {
		end := spare(c)
		out, err := f(ctx, c, in.(In))
		if err != nil {
			return Answer{Err: fmt.Errorf("%s: %w", name, err), after: end}
		}
		return Answer{Body: out, after: end}
	}
	return o
}

// public lets everybody ask.
func (o *Operation) public() *Operation {
	o.Access = Public
	return o
}

// stream makes a row that only reads and answers with lines.
func stream[In any](
	name, doc string, f func(ctx context.Context, c Caller, in In, emit func(line any) error) error,
) *Operation {
	o := read(name, User, doc, func(context.Context, Caller, In) (nothing, error) { return nothing{}, ErrNoMethod })
	o.stream = func(ctx context.Context, c Caller, in any, emit func(line any) error) error {
		return f(ctx, c, in.(In), emit)
	}
	return o
}

// lines says what the lines of an answer can be, one value of each type.
func (o *Operation) lines(kinds ...any) *Operation {
	for _, kind := range kinds {
		o.Lines = append(o.Lines, reflect.TypeOf(kind))
	}
	return o
}

// upTo gives the row room for a larger input.
func (o *Operation) upTo(bytes int) *Operation {
	o.MaxBody = bytes
	return o
}

// nothing is the input or output of rows that have none.
type nothing struct{}

// decode reads a JSON object: strict about types, lenient about fields that it does not know.
func decode(body []byte, into any) error {
	body = bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(body) == 0:
		return nil
	case body[0] != '{':
		return malformed("the body is not a JSON object")
	case !utf8.Valid(body):
		return malformed("the body is not UTF-8")
	}
	err := json.Unmarshal(body, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return malformed("field %q is not %s", wrongType.Field, kindOf(wrongType.Type))
	}
	return malformed("the body is not valid JSON")
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Uint, reflect.Uint64:
		return "a whole number of at least 0"
	}
	return "an object"
}
