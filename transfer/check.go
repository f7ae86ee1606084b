package transfer

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// maxProblems is how many problems a report tells of; the rest is counted.
const maxProblems = 100

// Report says what was found in a store.
type Report struct {
	Counts   map[Kind]uint64
	Problems []string // the first of them
	Found    int      // all of them
}

// Add adds a problem.
func (r *Report) Add(format string, args ...any) {
	if r.Found++; r.Found <= maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check looks whether the records of a store fit together: messages and entries are numbered without gaps and in the order of
// time, counts and marks are what counting gives, pointers and mids lead to their messages, and everything belongs
// to something that there is. What does not is in the report; an error means that not everything could be read.
func Check(ctx context.Context, src Source) (Report, error) {
	c := &checker{
		ctx: ctx, src: src, report: Report{Counts: map[Kind]uint64{}},
		lists: map[accounts.Name]List{}, conversations: map[chat.Conversation]*seenConversation{},
	}
	var last Record
	for {
		page, err := src.Records(ctx, last, exportPage)
		if err != nil {
			return Report{}, fmt.Errorf("check: %w", err)
		}
		for _, r := range page {
			c.report.Counts[r.Of()]++
			if err := c.record(r); err != nil {
				return Report{}, fmt.Errorf("check: %w", err)
			}
			last = r
		}
		if len(page) < exportPage {
			c.endConversation()
			c.endStream()
			c.endMembers()
			c.endLists()
			return c.report, nil
		}
	}
}

type checker struct {
	ctx    context.Context
	src    Source
	report Report

	lists         map[accounts.Name]List // less what was found of them
	conversations map[chat.Conversation]*seenConversation
	conversation  *counting // whose messages are being read; nil: none is
	stream        *pointing // whose entries are being read; nil: none is
}

// seenConversation is what has to be known of a conversation later.
type seenConversation struct {
	wanted      []accounts.Name // members of whom there is no record yet
	first, head uint64          // seqs; 0: there is no message
	members     []*Member       // until its messages were read
}

func (c *checker) record(r Record) error {
	switch r := r.(type) {
	case *List:
		c.lists[r.User] = *r
	case *Contact:
		c.contact(r)
	case *Conversation:
		c.conversations[r.C] = &seenConversation{wanted: slices.Clone(r.Members)}
	case *Member:
		c.member(r)
	case *Boxed:
		if c.conversations[r.C] == nil {
			c.report.Add("box of %s: there is no conversation %s", r.User, r.C)
		}
	case *Message:
		c.message(r)
	case *MID:
		return c.mid(r)
	case *Entry:
		c.entry(r)
	}
	return nil
}

// contact counts what a list says.
func (c *checker) contact(r *Contact) {
	l, ok := c.lists[r.User]
	if !ok || r.Version > l.Version {
		c.report.Add("contact %s of %s: version %d, and the list has %d", r.Other, r.User, r.Version, l.Version)
	}
	if ok && r.State == chat.ContactAccepted {
		l.Contacts--
		c.lists[r.User] = l
	}
}

func (c *checker) endLists() {
	for _, user := range slices.Sorted(maps.Keys(c.lists)) {
		if l := c.lists[user]; l.Contacts != 0 {
			c.report.Add("list of %s: %d contacts more than there are", user, l.Contacts)
		}
	}
}

func (c *checker) member(r *Member) {
	at := c.conversations[r.C]
	if at == nil {
		c.report.Add("member %s of %s: there is no such conversation", r.Who, r.C)
		return
	}
	at.members = append(at.members, r)
	at.wanted = slices.DeleteFunc(at.wanted, func(n accounts.Name) bool { return n == r.Who })
	if r.Recv < r.Read {
		c.report.Add("member %s of %s: read %d, received %d", r.Who, r.C, r.Read, r.Recv)
	}
}

// counting counts the messages of a conversation anew.
type counting struct {
	name chat.Conversation
	at   *seenConversation
	last *Message
	own  map[accounts.Name]uint64 // counting messages, by senders
}

func (c *checker) message(r *Message) {
	if c.conversation == nil || c.conversation.name != r.C {
		c.endConversation()
		c.conversation = &counting{name: r.C, at: c.conversations[r.C], own: map[accounts.Name]uint64{}}
		if c.conversation.at == nil {
			c.report.Add("message %s %d: there is no such conversation", r.C, r.Seq)
			c.conversation.at = &seenConversation{}
		}
		c.conversation.at.first = r.Seq
	}
	k := c.conversation
	n, ts, seq := uint64(0), r.TS, r.Seq
	if k.last != nil {
		n, ts, seq = k.last.N, k.last.TS, k.last.Seq+1
	}
	own, known := k.own[r.From], k.at.first == 1
	if _, wrote := k.own[r.From]; wrote {
		known = true
	}
	if !r.Silent {
		n++
		own++
	}
	switch {
	case r.Seq != seq:
		c.report.Add("message %s %d: %d was to come", r.C, r.Seq, seq)
	case r.TS < ts:
		c.report.Add("message %s %d: it is older than the one before", r.C, r.Seq)
	case r.N != n && (k.last != nil || r.Seq == 1):
		c.report.Add("message %s %d: n is %d, counted %d", r.C, r.Seq, r.N, n)
	case r.Own != own && known:
		c.report.Add("message %s %d: own is %d, counted %d", r.C, r.Seq, r.Own, own)
	}
	k.own[r.From], k.last, k.at.head = r.Own, r, r.Seq
	for _, m := range k.at.members {
		c.mark(k, m, r)
	}
}

// mark checks what a member's marks say of a message.
func (c *checker) mark(k *counting, m *Member, r *Message) {
	if _, _, direct := k.name.Pair(); !direct || m.Read != r.Seq {
		return
	}
	if own := k.own[m.Who]; m.ReadN != r.N || m.ReadOwn != own && k.at.first == 1 {
		c.report.Add("member %s of %s: read %d, n %d, own %d, counted %d and %d",
			m.Who, k.name, m.Read, m.ReadN, m.ReadOwn, r.N, own)
	}
}

// endConversation checks what has to be so when all messages of a conversation were read.
func (c *checker) endConversation() {
	if c.conversation == nil {
		return
	}
	for _, m := range c.conversation.at.members {
		if m.Recv > c.conversation.at.head {
			c.report.Add("member %s of %s: received %d, and the last is %d", m.Who, m.C, m.Recv, c.conversation.at.head)
		}
	}
	c.conversation.at.members = nil
	c.conversation = nil
}

// endMembers checks conversations for which nothing was left to read.
func (c *checker) endMembers() {
	for _, name := range slices.Sorted(maps.Keys(c.conversations)) {
		at := c.conversations[name]
		if len(at.wanted) > 0 {
			c.report.Add("conversation %s: there are no members %v", name, at.wanted)
		}
		for _, m := range at.members {
			if m.Recv > 0 && at.head == 0 {
				c.report.Add("member %s of %s: received %d, and there is no message", m.Who, m.C, m.Recv)
			}
		}
	}
}

// mid looks for its message.
func (c *checker) mid(r *MID) error {
	at := c.conversations[r.C]
	if at == nil || r.Seq > at.head {
		c.report.Add("mid %q of %s in %s: there is no message %d", r.MID, r.From, r.C, r.Seq)
		return nil
	}
	if r.Seq < at.first {
		return nil // its message is gone
	}
	found, err := c.src.Records(c.ctx, &Message{C: r.C, Seq: r.Seq - 1}, 1)
	if err != nil {
		return err
	}
	var m *Message
	if len(found) > 0 {
		m, _ = found[0].(*Message)
	}
	if m == nil || m.C != r.C || m.Seq != r.Seq || m.From != r.From || m.MID != r.MID && (m.MID != "" || m.ID != r.MID) {
		c.report.Add("mid %q of %s in %s: message %d has another", r.MID, r.From, r.C, r.Seq)
	}
	return nil
}

// pointing follows the entries of a stream.
type pointing struct {
	user        accounts.Name
	first, last uint64
	seqs        map[chat.Conversation]uint64
}

func (c *checker) entry(r *Entry) {
	if c.stream == nil || c.stream.user != r.User {
		c.endConversation()
		c.endStream()
		c.stream = &pointing{user: r.User, first: r.USN, last: r.USN - 1, seqs: map[chat.Conversation]uint64{}}
	}
	s := c.stream
	if r.USN != s.last+1 {
		c.report.Add("entry %s %d: %d was to come", r.User, r.USN, s.last+1)
	}
	s.last = r.USN
	if r.Type != chat.EntryMessage {
		return
	}
	was, pointed := s.seqs[r.Conversation]
	_, _, direct := r.Conversation.Pair()
	at := c.conversations[r.Conversation]
	switch {
	case at == nil || r.Seq > at.head:
		c.report.Add("entry %s %d: there is no message %s %d", r.User, r.USN, r.Conversation, r.Seq)
	case pointed && r.Seq <= was, direct && r.Seq != was+1 && (pointed || s.first == 1):
		c.report.Add("entry %s %d: message %d of %s comes after %d", r.User, r.USN, r.Seq, r.Conversation, was)
	}
	s.seqs[r.Conversation] = r.Seq
}

// endStream checks that all messages of two people were pointed at.
func (c *checker) endStream() {
	if c.stream == nil {
		return
	}
	for name, seq := range c.stream.seqs {
		if _, _, direct := name.Pair(); direct && c.conversations[name] != nil && seq < c.conversations[name].head {
			c.report.Add("stream of %s: message %d of %s is not in it", c.stream.user, seq+1, name)
		}
	}
	c.stream = nil
}
