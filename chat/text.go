package chat

import (
	"strings"
	"unicode"
)

// lineBreak stands for the line breaks within a message.
const lineBreak = " ⏎ "

// Text gives the event as one line for a terminal, without a line break at its end, and ok = false for events that are
// not worth one: "alice: dinner at 7?", "alice@Trip: dinner at 7?" in a room, "* carol asks to be your contact: hi".
//
// One event is one line, always: line breaks within become " ⏎ ", so that nobody writes a line that looks like somebody
// else's, and scripts read messages line by line. Control characters other than the tab become U+FFFD, so that no
// message moves the cursor, sets colours or answers for the terminal. Everything else is as it was sent.
func (e Event) Text() (line string, ok bool) {
	switch {
	case e.Type == EntryMessage:
		return e.messageText(), true
	case e.Type == EntryConv:
		return e.roomText()
	case e.Type == EntryEdit && e.Change.Message.Kind != KindGone:
		return "* " + e.by(e.Change.By) + " edited: " + oneLine(e.Change.Message.line()), true
	case e.Type == EntryRecall && e.Change.By != "":
		return "* " + e.by(e.Change.By) + " recalled a message", true
	case e.Type == EntryContact && e.State == ContactRequested && e.Greeting != "":
		return "* " + string(e.Who) + " asks to be your contact: " + oneLine(e.Greeting), true
	case e.Type == EntrySession && e.Login.State == LoggedIn:
		return "* login from " + oneLine(strings.TrimSpace(e.Login.Addr+" "+e.Login.Label)), true
	case e.Type == EntryContact && e.State == ContactRequested:
		return "* " + string(e.Who) + " asks to be your contact", true
	}
	return "", false
}

// textIn gives the text in a body, which may be empty; ok is false if it is no object.
func textIn(body []byte) (text string, ok bool) {
	s := scanner{in: body}
	ok = s.members(func(name string, value []byte) {
		if name == "text" && value[0] == '"' {
			text = unquote(value)
		}
	})
	return text, ok
}

// line is what a message says: the text of a text, otherwise the fallback, or the kind.
func (m Message) line() string {
	if m.Kind == KindSys {
		return m.roomLine()
	}
	if m.Kind == kindText {
		if text, ok := textIn(m.Body); ok {
			return text
		}
	}
	if m.Fallback != "" {
		return m.Fallback
	}
	return "[" + m.Kind + "]"
}

// oneLine makes s safe for one line of a terminal.
func oneLine(s string) string {
	if strings.IndexFunc(s, unsafe) < 0 {
		return s
	}
	var b strings.Builder
	s = strings.ReplaceAll(s, "\r\n", "\n")
	for _, r := range s {
		switch {
		case strings.ContainsRune("\n\v\f\r\u0085\u2028\u2029", r):
			b.WriteString(lineBreak)
		case unsafe(r):
			b.WriteRune(unicode.ReplacementChar)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unsafe says whether r may not reach a terminal.
func unsafe(r rune) bool {
	return unicode.IsControl(r) && r != '\t' || r == '\u2028' || r == '\u2029'
}
