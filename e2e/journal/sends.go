package journal

import (
	"maps"
	"slices"
)

// message is one message as its sender knows it, sent once or more often.
type message struct {
	line          int // of the first time
	session, conv string
	user, text    string
	mid           string
	qos           byte
	sent          int
	acked         int // line, or 0
	refused       int // line, or 0
	seq           uint64
	id            string
}

// messageKey names a message: its conversation, its sender, its text.
type messageKey struct{ conv, user, text string }

// checkSends compares what was sent and what was answered with the histories.
func (c *checker) checkSends(entries []Entry) {
	sent, order := c.sends(entries)
	copies := map[messageKey][]stored{}
	for _, v := range c.convs {
		for _, m := range v.messages {
			k := messageKey{v.name, m.From, m.Text()}
			copies[k] = append(copies[k], m)
			if sent[k] == nil {
				c.fault(Invented, m.line, "%s: nobody sent seq %d of %s, %.80q", v.name, m.Seq, m.From, m.Text())
			}
		}
	}
	for _, k := range order {
		c.checkSend(sent[k], copies[k])
	}
	c.checkOrder(sent, order, copies)
}

// sends collects the messages, in the order in which they were first sent.
func (c *checker) sends(entries []Entry) (map[messageKey]*message, []messageKey) {
	sent := map[messageKey]*message{}
	var order []messageKey
	for i, e := range entries {
		k := messageKey{e.C, e.User, e.Text}
		m := sent[k]
		switch e.Do {
		case Sent, Given:
			if m == nil {
				m = &message{line: i + 1, session: e.Session, conv: e.C, user: e.User, text: e.Text, mid: e.MID, qos: e.QoS}
				sent[k] = m
				order = append(order, k)
			}
			m.sent++
			if e.Do == Given {
				m.acked = i + 1
			}
		case Acked, Refused:
			if m == nil {
				c.fault(Malformed, i+1, "an answer to %.80q of %s, which was not sent", e.Text, e.User)
			} else if e.Do == Refused {
				m.refused = i + 1
			} else {
				c.noteAck(m, e, i+1)
			}
		}
	}
	return sent, order
}

// noteAck keeps what an ack said. A message that is acked twice has been answered the same twice, if it has a mid.
func (c *checker) noteAck(m *message, e Entry, line int) {
	if m.mid != "" && m.acked != 0 && e.Seq != 0 && m.seq != 0 && (e.Seq != m.seq || e.ID != m.id) {
		c.fault(Doubled, line, "mid %s was acked as seq %d, id %s and then as seq %d, id %s", m.mid, m.seq, m.id, e.Seq, e.ID)
	}
	m.acked = line
	if e.Seq != 0 {
		m.seq, m.id = e.Seq, e.ID
	}
}

func (c *checker) checkSend(m *message, copies []stored) {
	if m.acked != 0 && len(copies) == 0 {
		c.fault(Lost, m.acked, "%s: %.80q of %s was acknowledged and is not there", m.conv, m.text, m.user)
		return
	}
	if m.refused != 0 && m.acked == 0 && len(copies) > 0 {
		c.fault(Invented, m.refused, "%s: %.80q of %s was refused and is seq %d", m.conv, m.text, m.user, copies[0].Seq)
	}
	if once := m.mid != "" || m.qos == 2; len(copies) > 1 && once || len(copies) > m.sent {
		c.fault(Doubled, copies[len(copies)-1].line, "%s: %.80q of %s (mid %q, QoS %d, sent %d times) is there %d times",
			m.conv, m.text, m.user, m.mid, m.qos, m.sent, len(copies))
	}
	if m.seq == 0 {
		return
	}
	told := slices.IndexFunc(copies, func(s stored) bool { return s.Seq == m.seq && s.ID == m.id })
	if told < 0 {
		c.fault(Changed, m.acked, "%s: %.80q of %s was acknowledged as seq %d, id %s, and is seq %d, id %s",
			m.conv, m.text, m.user, m.seq, m.id, copies[0].Seq, copies[0].ID)
	}
}

// checkOrder sees that what one session sent to one conversation stands there in the order of sending. Of a message
// that was stored again when it was resent, the first copy counts.
func (c *checker) checkOrder(sent map[messageKey]*message, order []messageKey, copies map[messageKey][]stored) {
	type line struct{ session, conv string }
	last := map[line]stored{}
	for _, k := range order {
		m, at := sent[k], copies[k]
		if len(at) == 0 || m.session == "" {
			continue
		}
		l := line{m.session, m.conv}
		if at[0].Seq < last[l].Seq {
			c.fault(Reordered, at[0].line, "%s: %.80q is seq %d, and %.80q, sent before it by %s, is seq %d",
				m.conv, m.text, at[0].Seq, last[l].Text(), m.session, last[l].Seq)
		}
		last[l] = at[0]
	}
}

// checkReads sees that an acknowledged read mark is still there.
func (c *checker) checkReads(entries []Entry) {
	read := map[string]map[string]uint64{} // by user and conversation
	for user, s := range c.streams {
		read[user] = map[string]uint64{}
		for _, e := range s.entries {
			if e.T != "read" {
				continue
			}
			if e.Seq < read[user][e.C] {
				c.fault(Incoherent, e.line, "%s, usn %d: read %d after %d", user, e.USN, e.Seq, read[user][e.C])
			}
			read[user][e.C] = e.Seq
		}
	}
	for i, e := range entries {
		if e.Do != Marked {
			continue
		}
		if got := read[e.User][e.C]; got < e.Seq {
			c.fault(ReadLost, i+1, "%s: %s's read mark %d was acknowledged and is %d", e.C, e.User, e.Seq, got)
		}
	}
}

// checkUnread recounts every unread number that anybody was shown.
func (c *checker) checkUnread(entries []Entry) {
	shown := map[string][]numbers{}
	for i, e := range entries {
		switch e.Do {
		case Got:
			event, ok := c.event(e, i+1)
			if !ok {
				continue
			}
			n := numbers{line: i + 1, asOf: event.AsOf, total: event.Total, conv: event.C, unread: event.Unread}
			shown[e.User] = append(shown[e.User], n)
		case Unread:
			n := numbers{line: i + 1, asOf: c.stream(e.User).head, total: &e.Total, counts: e.Counts, all: true}
			shown[e.User] = append(shown[e.User], n)
		}
	}
	for _, user := range slices.Sorted(maps.Keys(shown)) {
		c.recount(c.stream(user), shown[user])
	}
}

// numbers are unread numbers as a client was shown them.
type numbers struct {
	line   int
	asOf   uint64
	total  *int
	conv   string // with unread
	unread *int
	counts map[string]int // with all
	all    bool
}

// recount goes through a stream once and compares the numbers that are said to be of each moment.
func (c *checker) recount(s *stream, shown []numbers) {
	slices.SortStableFunc(shown, func(a, b numbers) int { return int(a.asOf) - int(b.asOf) })
	counts := tally{user: s.user, seqs: map[string][]uint64{}, read: map[string]uint64{}}
	var at uint64
	for _, n := range shown {
		if n.asOf > s.head {
			c.fault(Gone, n.line, "%s was shown numbers as of usn %d, and the stream ends at %d", s.user, n.asOf, s.head)
			continue
		}
		for ; at < n.asOf && at < uint64(len(s.entries)); at++ {
			counts.add(s.entries[at].Event)
		}
		c.compareNumbers(s.user, n, &counts)
	}
}

func (c *checker) compareNumbers(user string, n numbers, counts *tally) {
	if want := counts.total(); n.total != nil && *n.total != want {
		c.fault(Miscounted, n.line, "%s: total %d as of usn %d, a recount gives %d", user, *n.total, n.asOf, want)
	}
	if n.conv != "" && n.unread != nil {
		if want := counts.unread(n.conv); *n.unread != want {
			c.fault(Miscounted, n.line, "%s: %d unread in %s as of usn %d, a recount gives %d", user, *n.unread, n.conv,
				n.asOf, want)
		}
	}
	if !n.all {
		return
	}
	for conv := range counts.seqs {
		if got, want := n.counts[conv], counts.unread(conv); got != want {
			c.fault(Miscounted, n.line, "%s: %d unread in %s at the end, a recount gives %d", user, got, conv, want)
		}
	}
}

// tally counts what is unread for one user, the slow and plain way.
type tally struct {
	user string
	seqs map[string][]uint64 // by conversation: messages of others, ascending
	read map[string]uint64   // by conversation: the read mark
}

func (t *tally) add(e Event) {
	switch {
	case e.T == "msg" && e.From != t.user:
		t.seqs[e.C] = append(t.seqs[e.C], e.Seq)
	case e.T == "read":
		t.read[e.C] = max(t.read[e.C], e.Seq)
	}
}

func (t *tally) unread(conv string) int {
	seqs := t.seqs[conv]
	read, _ := slices.BinarySearch(seqs, t.read[conv]+1)
	return len(seqs) - read
}

func (t *tally) total() int {
	n := 0
	for conv := range t.seqs {
		n += t.unread(conv)
	}
	return n
}
