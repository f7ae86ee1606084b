package mongo

import (
	"strings"
	"unicode/utf8"
)

// strange is where the code points begin that stand for bytes which are not UTF-8: the last 256 ones, for private use. They come
// after everything else.
const strange = 0x10FF00

// plain makes any bytes a string that BSON can have. Strings that are UTF-8 stay what they are, and in their order.
func plain(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, "\xf4\x8f") {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 || r >= strange {
			for _, c := range []byte(s[:size]) {
				b.WriteRune(strange + rune(c))
			}
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// unplain gives what plain was given.
func unplain(s string) string {
	if !strings.Contains(s, "\xf4\x8f") {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r >= strange {
			b.WriteByte(byte(r - strange))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
