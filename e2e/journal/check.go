package journal

import (
	"fmt"
	"slices"
	"strings"
)

// Rule names what a server did wrong.
type Rule string

// The rules.
const (
	Malformed  Rule = "malformed"  // the journal itself, or an event in it, cannot be understood
	Lost       Rule = "lost"       // acknowledged, and not there
	Doubled    Rule = "doubled"    // stored or delivered again where that must not be
	Reordered  Rule = "reordered"  // not in the order in which it was sent
	Gap        Rule = "gap"        // a number is missing
	Gone       Rule = "gone"       // shown to a client, and not there any more
	Changed    Rule = "changed"    // shown to a client, and something else now: a number was used twice
	Invented   Rule = "invented"   // there, and never sent, or refused
	Redelivery Rule = "redelivery" // came again without being marked as such
	Forgotten  Rule = "forgotten"  // a session that should have been kept
	ReadLost   Rule = "read-lost"  // an acknowledged read mark is not there
	Miscounted Rule = "miscounted" // unread numbers that a recount does not give
	Incoherent Rule = "incoherent" // streams and histories contradict each other
)

// Fault is one broken promise.
type Fault struct {
	Rule Rule
	Line int // of the journal, counted from 1; 0: it is about the whole
	Text string
}

func (f Fault) String() string { return fmt.Sprintf("%s: line %d: %s", f.Rule, f.Line, f.Text) }

// Check decides over a whole journal. No faults means that every promise was kept.
func Check(entries []Entry) []Fault {
	c := checker{convs: map[string]*conversation{}, streams: map[string]*stream{}}
	c.load(entries)
	c.checkConversations()
	c.checkStreams()
	c.checkSends(entries)
	c.checkSeen(entries)
	c.checkSessions(entries)
	c.checkUnread(entries)
	c.checkReads(entries)
	return c.faults
}

// Summary gives the faults as text, the first few of each rule.
func Summary(faults []Fault) string {
	const each = 5
	var b strings.Builder
	seen := map[Rule]int{}
	for _, f := range faults {
		if seen[f.Rule]++; seen[f.Rule] <= each {
			fmt.Fprintln(&b, f)
		}
	}
	for rule, n := range seen {
		if n > each {
			fmt.Fprintf(&b, "%s: %d in all\n", rule, n)
		}
	}
	return b.String()
}

// checker holds the end of the journal, with which everything else is compared.
type checker struct {
	convs   map[string]*conversation
	streams map[string]*stream // by user
	faults  []Fault
}

// conversation is a final history.
type conversation struct {
	name     string
	head     uint64
	messages []stored // in the order of the journal, which has to be that of seq
}

// stream is a user's final stream.
type stream struct {
	user    string
	head    uint64
	entries []stored
}

// stored is an event that the server says is there.
type stored struct {
	Event
	fixed string
	line  int
}

func (c *checker) fault(rule Rule, line int, format string, args ...any) {
	c.faults = append(c.faults, Fault{rule, line, fmt.Sprintf(format, args...)})
}

func (c *checker) conv(name string) *conversation {
	if c.convs[name] == nil {
		c.convs[name] = &conversation{name: name}
	}
	return c.convs[name]
}

func (c *checker) stream(user string) *stream {
	if c.streams[user] == nil {
		c.streams[user] = &stream{user: user}
	}
	return c.streams[user]
}

// event parses the event of a line.
func (c *checker) event(e Entry, line int) (Event, bool) {
	event, err := ParseEvent(e.Event)
	if err != nil {
		c.fault(Malformed, line, "%v", err)
	}
	return event, err == nil
}

func (c *checker) load(entries []Entry) {
	for i, e := range entries {
		switch e.Do {
		case History:
			if event, ok := c.event(e, i+1); ok {
				conv := c.conv(e.C)
				conv.messages = append(conv.messages, stored{event, fixed(e.Event, inStreamOnly...), i + 1})
			}
		case Head:
			c.conv(e.C).head = e.Seq
		case Stream:
			if event, ok := c.event(e, i+1); ok {
				s := c.stream(e.User)
				s.entries = append(s.entries, stored{event, fixed(e.Event), i + 1})
			}
		case End:
			c.stream(e.User).head = e.USN
		}
	}
}

// at gives the message with this seq.
func (v *conversation) at(seq uint64) (stored, bool) {
	if seq == 0 || seq > uint64(len(v.messages)) {
		return stored{}, false
	}
	return v.messages[seq-1], true
}

// at gives the entry with this usn.
func (s *stream) at(usn uint64) (stored, bool) {
	if usn == 0 || usn > uint64(len(s.entries)) {
		return stored{}, false
	}
	return s.entries[usn-1], true
}

func (c *checker) checkConversations() {
	for _, v := range c.convs {
		ids, mids := map[string]bool{}, map[string]bool{}
		var ts int64
		for i, m := range v.messages {
			if m.Seq != uint64(i)+1 {
				c.fault(Gap, m.line, "%s: message %d of the history has seq %d", v.name, i+1, m.Seq)
			}
			if m.TS < ts {
				c.fault(Reordered, m.line, "%s: the time of seq %d is before that of the one before", v.name, m.Seq)
			}
			ts = m.TS
			if mid := m.From + " " + m.MID; m.MID == "" || mids[mid] {
				c.fault(Doubled, m.line, "%s: seq %d has mid %q of %s again", v.name, m.Seq, m.MID, m.From)
			} else {
				mids[mid] = true
			}
			if m.ID == "" || ids[m.ID] {
				c.fault(Doubled, m.line, "%s: seq %d has id %q again", v.name, m.Seq, m.ID)
			}
			ids[m.ID] = true
		}
		if v.head != uint64(len(v.messages)) {
			c.fault(Gap, 0, "%s: the head is %d, and the history has %d messages", v.name, v.head, len(v.messages))
		}
	}
}

// checkStreams compares streams with histories: everything a stream points at is there, and a member's stream has all
// of a conversation, in order.
func (c *checker) checkStreams() {
	for _, s := range c.streams {
		next := map[string]uint64{} // by conversation: the seq that has to come next
		recv, read := map[string]uint64{}, map[string]uint64{}
		for i, e := range s.entries {
			if e.USN != uint64(i)+1 {
				c.fault(Gap, e.line, "entry %d of %s's stream has usn %d", i+1, s.user, e.USN)
			}
			switch e.T {
			case "msg":
				next[e.C]++
				c.checkPointer(s, e, next[e.C])
			case "rcpt":
				who := e.C + " " + e.Who
				if e.Recv < recv[who] || e.Read < read[who] || e.Read > e.Recv || e.Recv > c.conv(e.C).head {
					c.fault(Incoherent, e.line, "%s, usn %d: receipt of %s: recv %d, read %d after %d, %d with head %d",
						s.user, e.USN, who, e.Recv, e.Read, recv[who], read[who], c.conv(e.C).head)
				}
				recv[who], read[who] = e.Recv, e.Read
			}
		}
		for name, n := range next {
			if n != c.conv(name).head {
				c.fault(Lost, 0, "%s's stream has %d messages of %s, whose head is %d", s.user, n, name, c.conv(name).head)
			}
		}
		if s.head != uint64(len(s.entries)) {
			c.fault(Gap, 0, "the head of %s's stream is %d, and it has %d entries", s.user, s.head, len(s.entries))
		}
	}
}

func (c *checker) checkPointer(s *stream, e stored, want uint64) {
	if e.Seq != want {
		c.fault(Reordered, e.line, "%s, usn %d: seq %d of %s, want %d", s.user, e.USN, e.Seq, e.C, want)
	}
	m, ok := c.conv(e.C).at(e.Seq)
	if !ok {
		c.fault(Gone, e.line, "%s, usn %d: seq %d of %s is not in the history", s.user, e.USN, e.Seq, e.C)
	} else if !sameMessage(m.Event, e.Event) {
		c.fault(Changed, e.line, "%s, usn %d: seq %d of %s is another one in the history", s.user, e.USN, e.Seq, e.C)
	}
}

// sameMessage compares what histories and streams both say of a message.
func sameMessage(a, b Event) bool {
	return a.Seq == b.Seq && a.ID == b.ID && a.MID == b.MID && a.From == b.From && a.TS == b.TS && a.K == b.K &&
		fixed(wrap(a.Body)) == fixed(wrap(b.Body))
}

func wrap(body []byte) []byte { return slices.Concat([]byte(`{"body":`), orNull(body), []byte("}")) }

func orNull(b []byte) []byte {
	if len(b) == 0 {
		return []byte("null")
	}
	return b
}

// checkSeen compares what clients were shown with what is there at the end.
func (c *checker) checkSeen(entries []Entry) {
	for i, e := range entries {
		if e.Do != Got && e.Do != Shown {
			continue
		}
		seen, ok := c.event(e, i+1)
		if !ok {
			continue
		}
		if e.Do == Shown {
			c.compareMessage(e.C, seen, fixed(e.Event, inStreamOnly...), i+1)
			continue
		}
		now, ok := c.stream(e.User).at(seen.USN)
		if !ok {
			c.fault(Gone, i+1, "%s was shown usn %d, and the stream ends at %d", e.User, seen.USN, c.stream(e.User).head)
		} else if got := fixed(e.Event); got != now.fixed {
			c.fault(Changed, i+1, "%s was shown usn %d as %s, and now it is %s", e.User, seen.USN, got, now.fixed)
		}
	}
}

func (c *checker) compareMessage(conv string, seen Event, fixed string, line int) {
	now, ok := c.conv(conv).at(seen.Seq)
	if !ok {
		c.fault(Gone, line, "%s: seq %d was shown, and the head is %d", conv, seen.Seq, c.conv(conv).head)
	} else if fixed != now.fixed {
		c.fault(Changed, line, "%s: seq %d was shown as %s, and now it is %s", conv, seen.Seq, fixed, now.fixed)
	}
}
