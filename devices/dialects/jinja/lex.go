package jinja

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// kind says what a token is.
type kind byte

const (
	tokenEnd      kind = iota // of the template
	tokenText                 // outside of {{ }} and {% %}
	tokenOutput               // {{
	tokenBlock                // {%
	tokenClose                // }} or %}
	tokenName                 // a word
	tokenNumber               // as it was written
	tokenString               // without its quotes
	tokenOperator             // one of operators
)

type token struct {
	kind kind
	text string
}

// lexer takes a template apart.
type lexer struct {
	rest   string
	inside string // what ends where the lexer is: }} or %}; empty: it is in text
	braces int    // { that are open
	trim   bool   // white space at the beginning of the next text is left out
}

// operators, the longest first.
var operators = []string{
	"==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<", ">", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|",
	"=",
}

func (l *lexer) next() (token, error) {
	if l.inside == "" {
		return l.outside()
	}
	l.rest = strings.TrimLeft(l.rest, " \t\r\n")
	if l.rest == "" {
		return token{}, fmt.Errorf("no %s: %w", l.inside, ErrBeyond)
	}
	if l.braces == 0 {
		for _, end := range []string{l.inside, "-" + l.inside} {
			if rest, ok := strings.CutPrefix(l.rest, end); ok {
				l.rest, l.inside, l.trim = rest, "", len(end) > 2
				return token{kind: tokenClose}, nil
			}
		}
	}
	c := l.rest[0]
	switch {
	case c == '\'' || c == '"':
		return l.quoted()
	case isDigit(c):
		return l.number(), nil
	case isLetter(c):
		end := 1
		for end < len(l.rest) && (isLetter(l.rest[end]) || isDigit(l.rest[end])) {
			end++
		}
		return l.cut(tokenName, end), nil
	}
	for _, op := range operators {
		if strings.HasPrefix(l.rest, op) {
			switch op {
			case "{":
				l.braces++
			case "}":
				l.braces--
			}
			return l.cut(tokenOperator, len(op)), nil
		}
	}
	return token{}, fmt.Errorf("%.20q: %w", l.rest, ErrBeyond)
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func (l *lexer) cut(k kind, n int) token {
	t := token{k, l.rest[:n]}
	l.rest = l.rest[n:]
	return t
}

// outside gives text until something is opened, or what is opened.
func (l *lexer) outside() (token, error) {
	trimmed := l.trim
	l.trim = false
	if trimmed {
		l.rest = strings.TrimLeft(l.rest, " \t\r\n")
	}
	if l.rest == "" {
		return token{}, nil
	}
	at := -1
	for _, open := range []string{"{{", "{%", "{#"} {
		if i := strings.Index(l.rest, open); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	switch {
	case at < 0:
		return l.cut(tokenText, len(l.rest)), nil
	case at > 0:
		t := l.cut(tokenText, at)
		if len(l.rest) > 2 && l.rest[2] == '-' {
			t.text = strings.TrimRight(t.text, " \t\r\n")
		}
		return t, nil
	}
	opened := l.rest[:2]
	l.rest = strings.TrimPrefix(l.rest[2:], "-")
	switch opened {
	case "{{":
		l.inside, l.braces = "}}", 0
		return token{kind: tokenOutput}, nil
	case "{%":
		l.inside, l.braces = "%}", 0
		return token{kind: tokenBlock}, nil
	}
	comment, rest, ok := strings.Cut(l.rest, "#}")
	if !ok {
		return token{}, fmt.Errorf("no #}: %w", ErrBeyond)
	}
	l.rest, l.trim = rest, strings.HasSuffix(comment, "-")
	return token{kind: tokenText}, nil
}

func (l *lexer) number() token {
	end, dots := 0, 0
	for end < len(l.rest) {
		c := l.rest[end]
		switch {
		case isDigit(c):
		case c == '.' && dots == 0 && end+1 < len(l.rest) && isDigit(l.rest[end+1]):
			dots++
		default:
			return l.cut(tokenNumber, end)
		}
		end++
	}
	return l.cut(tokenNumber, end)
}

func (l *lexer) quoted() (token, error) {
	quote, out := l.rest[0], strings.Builder{}
	for i := 1; i < len(l.rest); i++ {
		c := l.rest[i]
		switch {
		case c == quote:
			l.rest = l.rest[i+1:]
			if !utf8.ValidString(out.String()) {
				return token{}, fmt.Errorf("no UTF-8: %w", ErrBeyond)
			}
			return token{tokenString, out.String()}, nil
		case c != '\\':
			out.WriteByte(c)
			continue
		}
		if i++; i == len(l.rest) {
			break
		}
		switch c := l.rest[i]; c {
		case 'n':
			out.WriteByte('\n')
		case 't':
			out.WriteByte('\t')
		case '\\', '\'', '"', '/':
			out.WriteByte(c)
		default:
			return token{}, fmt.Errorf(`\%c: %w`, c, ErrBeyond)
		}
	}
	return token{}, fmt.Errorf("no %c: %w", quote, ErrBeyond)
}
