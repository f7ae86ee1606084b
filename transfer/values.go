package transfer

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Text is a string, which may hold any bytes: clients wrote most of them. One that is no UTF-8 is an object in JSON,
// {"base64":"..."}.
type Text string

type encodedText struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	if !utf8.ValidString(string(t)) {
		return json.Marshal(encodedText{[]byte(t)})
	}
	return marshal(string(t))
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(b []byte) error {
	if b[0] == '{' {
		var e encodedText
		if err := strict(b, &e); err != nil {
			return err
		}
		*t = Text(e.Base64)
		return nil
	}
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s == nil {
		return errNull
	}
	*t = Text(*s)
	return nil
}

var errNull = errors.New("null in place of a value")

// Bytes are in JSON what encoding/json makes of them: base64.
type Bytes []byte

// Hex are bytes that are hexadecimal digits in JSON.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(b []byte) (err error) {
	*h, err = hex.AppendDecode(nil, b)
	return err
}

// Body is a JSON value, byte for byte. An object without white space is in JSON as it is, anything else a string of base64.
type Body []byte

// MarshalJSON implements json.Marshaler.
func (b Body) MarshalJSON() ([]byte, error) {
	if plain(b) {
		return b, nil
	}
	return json.Marshal([]byte(b))
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Body) UnmarshalJSON(from []byte) error {
	switch from[0] {
	case '{':
		*b = bytes.Clone(from)
		return nil
	case '"':
		var s string
		err := json.Unmarshal(from, &s)
		if err == nil {
			*b, err = base64.StdEncoding.DecodeString(s)
		}
		return err
	}
	return fmt.Errorf("a body is neither an object nor a string: %.20q", from)
}

// plain says whether a body comes out of a line as it was put into it.
func plain(b Body) bool {
	if len(b) == 0 || b[0] != '{' || !utf8.Valid(b) {
		return false
	}
	var same bytes.Buffer
	return json.Compact(&same, b) == nil && bytes.Equal(same.Bytes(), b)
}
