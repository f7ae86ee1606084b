package chat

import (
	"encoding/json"
	"unicode/utf8"
)

// scanner walks over strangers' JSON without building it: what they sent is kept as bytes, and only a few fields are
// looked at. encoding/json is too kind for that: it matches names in any case, lets the last of two equal ones win, and
// replaces what is no UTF-8.
//
// It takes what RFC 8259 defines, of any depth, in memory of one byte for each level; deepest, lone and spaces say
// what the caller may not like about it.
type scanner struct {
	in      []byte
	pos     int
	deepest int  // most levels of arrays and objects around a value
	lone    bool // a string has half of a surrogate pair, which no UTF-8 can hold
	spaces  bool // there is white space between tokens
}

func (s *scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
			s.spaces = true
		default:
			return
		}
	}
}

// take moves over c, if it is next.
func (s *scanner) take(c byte) bool {
	if s.pos < len(s.in) && s.in[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// value moves over one value, and white space before it.
func (s *scanner) value() bool {
	var open []byte // the closing brackets that are due
	for {
		s.space()
		if s.begin(&open) {
			last := open[len(open)-1]
			s.space()
			if !s.take(last) {
				if last == '}' && !s.name() {
					return false
				}
				continue
			}
			open = open[:len(open)-1] // {} or []
		} else if !s.scalar() {
			return false
		}
		if !s.close(&open) {
			return false
		}
		if len(open) == 0 {
			return true
		}
	}
}

// begin moves over an opening bracket, if one is next.
func (s *scanner) begin(open *[]byte) bool {
	switch {
	case s.take('{'):
		*open = append(*open, '}')
	case s.take('['):
		*open = append(*open, ']')
	default:
		return false
	}
	s.deepest = max(s.deepest, len(*open))
	return true
}

// close moves on after a value within open: over the brackets that end there, up to where the next value begins.
func (s *scanner) close(open *[]byte) bool {
	for len(*open) > 0 {
		s.space()
		last := (*open)[len(*open)-1]
		switch {
		case s.take(last):
			*open = (*open)[:len(*open)-1]
		case s.take(','):
			if last == '}' {
				s.space()
				return s.name()
			}
			return true
		default:
			return false
		}
	}
	return true
}

// name moves over the name of a member and its colon.
func (s *scanner) name() bool {
	if !s.str() {
		return false
	}
	s.space()
	return s.take(':')
}

func (s *scanner) scalar() bool {
	if s.pos == len(s.in) {
		return false
	}
	switch s.in[s.pos] {
	case '"':
		return s.str()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) literal(word string) bool {
	if len(s.in)-s.pos < len(word) || string(s.in[s.pos:s.pos+len(word)]) != word {
		return false
	}
	s.pos += len(word)
	return true
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.pos
	for s.pos < len(s.in) && '0' <= s.in[s.pos] && s.in[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > from
}

// str moves over a string.
func (s *scanner) str() bool {
	if !s.take('"') {
		return false
	}
	from := s.pos
	high := -1 // where the first half of a surrogate pair ended, whose second half is due
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; {
		case c == '"':
			s.lone = s.lone || high >= 0
			s.pos++
			return utf8.Valid(s.in[from : s.pos-1])
		case c < 0x20:
			return false
		case c == '\\':
			unit, ok := s.escape()
			if !ok {
				return false
			}
			second := 0xDC00 <= unit && unit <= 0xDFFF
			if (high >= 0) != second || second && high != s.pos-len(`\uDC00`) {
				s.lone = true
			}
			high = -1
			if 0xD800 <= unit && unit <= 0xDBFF {
				high = s.pos
			}
		default:
			s.pos++
		}
	}
	return false
}

// escape moves over a backslash and what it stands for; unit is the UTF-16 code unit of a \u, otherwise 0.
func (s *scanner) escape() (unit rune, ok bool) {
	if len(s.in)-s.pos < 2 {
		return 0, false
	}
	c := s.in[s.pos+1]
	s.pos += 2
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 0, true
	case 'u':
		if len(s.in)-s.pos < 4 {
			return 0, false
		}
		for range 4 {
			digit := hex(s.in[s.pos])
			if digit < 0 {
				return 0, false
			}
			unit = unit<<4 | digit
			s.pos++
		}
		return unit, true
	}
	return 0, false
}

func hex(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// members calls f with each member of the object that s.in holds, and says whether it holds one and nothing else. Names
// are decoded, values are as they stand.
func (s *scanner) members(f func(name string, value []byte)) bool {
	s.space()
	if !s.take('{') {
		return false
	}
	for first := true; ; first = false {
		s.space()
		if first && s.take('}') {
			return s.end()
		}
		from := s.pos
		if !s.str() {
			return false
		}
		name := unquote(s.in[from:s.pos])
		s.space()
		if !s.take(':') {
			return false
		}
		s.space()
		from = s.pos
		if !s.value() {
			return false
		}
		f(name, s.in[from:s.pos])
		s.space()
		if s.take('}') {
			return s.end()
		}
		if !s.take(',') {
			return false
		}
	}
}

// end says whether nothing but white space follows.
func (s *scanner) end() bool {
	s.space()
	return s.pos == len(s.in)
}

// unquote decodes a string that the scanner has passed.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' {
			var out string
			if err := json.Unmarshal(raw, &out); err != nil {
				return "" // the scanner takes no less than it should, see FuzzScanner
			}
			return out
		}
	}
	return string(inner)
}

// appendCompact adds valid JSON to dst without the white space between its tokens.
func appendCompact(dst, valid []byte) []byte {
	quoted := false
	for i := 0; i < len(valid); i++ {
		c := valid[i]
		switch {
		case quoted && c == '\\':
			dst = append(dst, c, valid[i+1])
			i++
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendQuoted adds valid UTF-8 to dst as a JSON string. It escapes what JSON demands and nothing more, so that what is
// decoded is what was given, byte for byte.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}
