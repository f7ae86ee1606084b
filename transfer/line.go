package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ErrLine means that a line is not one that an export has.
var ErrLine = errors.New("not a line of an export")

// Marshal gives the line of a record, without the line feed. Equal records have equal lines.
func Marshal(r Record) ([]byte, error) {
	line, err := tagged(r.Of(), r)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", r.Of(), err)
	}
	return line, nil
}

// Unmarshal reads a line. A field that it does not know is an error: ErrLine.
func Unmarshal(line []byte) (Record, error) {
	kind, body, err := untagged(line)
	if err != nil {
		return nil, err
	}
	r := New(kind)
	if r == nil {
		return nil, fmt.Errorf("%w: there are no records of kind %.40q", ErrLine, kind)
	}
	if err := strict(body, r); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLine, kind, err)
	}
	return r, nil
}

// tagged is a value as a JSON object whose first field says what it is.
func tagged(kind Kind, v any) ([]byte, error) {
	body, err := marshal(v)
	if err != nil {
		return nil, err
	}
	line := append([]byte(`{"t":"`), kind...)
	line = append(line, '"')
	if len(body) > 2 {
		line = append(line, ',')
	}
	return append(line, body[1:]...), nil
}

const tagBegins = `{"t":"`

// untagged undoes tagged.
func untagged(line []byte) (kind Kind, body []byte, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(tagBegins))
	word, rest, found := bytes.Cut(rest, []byte{'"'})
	if !ok || !found || len(rest) == 0 || !utf8.Valid(line) {
		return "", nil, fmt.Errorf("%w: %.60q", ErrLine, line)
	}
	if rest[0] == ',' {
		rest = rest[1:]
	}
	return Kind(word), append([]byte{'{'}, rest...), nil
}

// marshal writes JSON that people can read: nothing is escaped that need not be.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}

// strict reads one JSON value and nothing else.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}
