package transfer

import (
	"context"
	"encoding/json"
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
		if len(page) == 0 {
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
	listing       listing   // what devices have, and is being read
}

// seenConversation is what has to be known of a conversation later.
type seenConversation struct {
	wanted      []accounts.Name // members of whom there is no record yet
	room        *Room
	floor       uint64
	first, head uint64    // seqs; 0: there is no message
	members     []*Member // until its messages were read
}

func (c *checker) record(r Record) error {
	switch r := r.(type) {
	case *List:
		c.lists[r.User] = *r
	case *Contact:
		c.contact(r)
	case *Conversation:
		c.conversations[r.C] = &seenConversation{wanted: slices.Clone(r.Members)}
	case *Room:
		if at := c.of("room", r.C); at != nil {
			room := *r
			at.room = &room
		}
	case *Floor:
		if at := c.of("floor", r.C); at != nil {
			at.floor = r.Floor
		}
	case *Snapshot:
		c.of("snapshot", r.C)
		c.body(r.Body, "snapshot", r.C, r.Seq)
	case *Outdated:
		c.of("snapshot", r.C)
	case *Likes:
		c.of("likes", r.C)
	case *Member:
		c.member(r)
	case *Boxed:
		c.of("box of "+string(r.User), r.C)
	case *Message:
		c.message(r)
	case *Own:
		c.seq("own of "+string(r.Who), r.C, r.Seq)
	case *Gone:
		c.seq("gone", r.C, r.Seq)
	case *Mention:
		c.seq("mention of "+string(r.Who), r.C, r.Seq)
	case *Change:
		c.seq("change", r.C, r.Seq)
	case *Edit:
		c.seq("edit", r.C, r.Seq)
		c.body(r.Body, "edit", r.C, r.Seq)
	case *Reaction:
		c.seq("reaction of "+string(r.Who), r.C, r.Seq)
	case *Pin:
		c.seq("pin", r.C, r.Seq)
	case *Hidden:
		c.seq("hidden by "+string(r.User), r.C, max(r.Seq, r.UpTo))
	case *MID:
		return c.mid(r)
	case *Entry:
		c.entry(r)
	default:
		c.things(r)
	}
	return nil
}

// body checks what clients are sent as it is.
func (c *checker) body(b Body, what string, name chat.Conversation, seq uint64) {
	if len(b) > 0 && !json.Valid(b) {
		c.report.Add("%s %s %d: its body is no JSON", what, name, seq)
	}
}

// of gives the conversation that something is about.
func (c *checker) of(what string, name chat.Conversation) *seenConversation {
	at := c.conversations[name]
	if at == nil {
		c.report.Add("%s: there is no conversation %s", what, name)
	}
	return at
}

// seq checks what is about a message, which may have been removed.
func (c *checker) seq(what string, name chat.Conversation, seq uint64) {
	c.endConversation()
	if at := c.of(what, name); at != nil && (seq == 0 || seq > at.head) {
		c.report.Add("%s: there is no message %s %d", what, name, seq)
	}
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
	at := c.of("member "+string(r.Who), r.C)
	if at == nil {
		return
	}
	at.wanted = slices.DeleteFunc(at.wanted, func(n accounts.Name) bool { return n == r.Who })
	switch {
	case r.Recv < r.Read:
		c.report.Add("member %s of %s: read %d, received %d", r.Who, r.C, r.Read, r.Recv)
	case r.Hid > r.Read:
		c.report.Add("member %s of %s: read %d, and %d of that in private", r.Who, r.C, r.Read, r.Hid)
	case len(r.Past)%2 != 0 || !slices.IsSorted(r.Past):
		c.report.Add("member %s of %s: was there in %d", r.Who, r.C, r.Past)
	}
	if r.C.Kind().Room() && r.Role == chat.RoleNone {
		return
	}
	at.members = append(at.members, r)
	if at.room != nil {
		at.room.Members--
		if r.Who == at.room.Owner != (r.Role == chat.RoleOwner) {
			c.report.Add("member %s of %s: the owner is %s", r.Who, r.C, at.room.Owner)
		}
	}
}

// counting counts the messages of a conversation anew.
type counting struct {
	name chat.Conversation
	kind chat.Kind
	at   *seenConversation
	last *Message
	own  map[accounts.Name]uint64 // counting messages, by senders
	read map[uint64][]*Member     // by the message up to which they have read
}

// device says whether a sender is a device of a home: everybody else who writes there is, or was, a member.
func (k *counting) device(who accounts.Name) bool {
	return k.kind == chat.KindHome && !slices.ContainsFunc(k.at.members, func(m *Member) bool { return m.Who == who })
}

func (c *checker) message(r *Message) {
	if c.conversation == nil || c.conversation.name != r.C {
		c.endConversation()
		at := c.of("message", r.C)
		if at == nil {
			at = &seenConversation{}
		}
		at.first = r.Seq
		c.conversation = &counting{
			name: r.C, kind: r.C.Kind(), at: at, own: map[accounts.Name]uint64{}, read: map[uint64][]*Member{}}
		for _, m := range at.members {
			seq := max(m.Read, m.Base)
			c.conversation.read[seq] = append(c.conversation.read[seq], m)
		}
	}
	k := c.conversation
	c.place(k, r)
	c.body(r.Body, "message", r.C, r.Seq)
	own, wrote := k.own[r.From]
	if !r.Silent && !k.device(r.From) {
		own++
	}
	// Who watches a live room and is not in it is counted only as long as he is remembered.
	if r.Own != own && (wrote || k.at.first == 1) && k.whole() {
		c.report.Add("message %s %d: own is %d, counted %d", r.C, r.Seq, r.Own, own)
	}
	k.own[r.From], k.last, k.at.head = r.Own, r, r.Seq
	for _, m := range k.read[r.Seq] {
		c.mark(k, m, r)
	}
}

// whole says whether nothing but what is before the floor is ever removed.
func (k *counting) whole() bool {
	return k.kind != chat.KindLive && k.kind != chat.KindBoard && k.at.floor == 0
}

// place checks that a message comes after the one before.
func (c *checker) place(k *counting, r *Message) {
	last := k.last
	if last == nil {
		if last = (&Message{TS: r.TS}); r.Seq != 1 {
			last = &Message{Seq: r.Seq - 1, TS: r.TS, N: r.N}
			if r.N > 0 && !r.Silent {
				last.N--
			}
			if k.whole() {
				c.report.Add("message %s %d: it is the first, and there is no floor", r.C, r.Seq)
			}
		}
	}
	gap, n := r.Seq-last.Seq-1, last.N
	if !r.Silent {
		n++
	}
	switch {
	case r.Seq <= last.Seq || gap > 0 && k.whole():
		c.report.Add("message %s %d: %d was to come", r.C, r.Seq, last.Seq+1)
	case r.TS < last.TS:
		c.report.Add("message %s %d: it is older than the one before", r.C, r.Seq)
	case r.N < n || r.N > n+gap:
		c.report.Add("message %s %d: n is %d, counted %d", r.C, r.Seq, r.N, n)
	}
}

// mark checks what a member's marks say of the message up to which he has read.
func (c *checker) mark(k *counting, m *Member, r *Message) {
	if k.kind == chat.KindLive {
		return
	}
	if own := k.own[m.Who]; m.ReadN != r.N || m.ReadOwn != own && k.whole() {
		c.report.Add("member %s of %s: read %d, n %d, own %d, counted %d and %d",
			m.Who, k.name, r.Seq, m.ReadN, m.ReadOwn, r.N, own)
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
		if at.room != nil && at.room.Members != 0 {
			c.report.Add("room %s: %d members more than there are", name, at.room.Members)
		}
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
	c.endConversation()
	at := c.of("mid", r.C)
	if at == nil || r.Seq == 0 || r.Op != "" || r.ID != "" { // likes have none, changes are of anybody's, others were removed
		return nil
	}
	if r.Seq > at.head {
		c.report.Add("mid %q of %s in %s: there is no message %d", r.MID, r.From, r.C, r.Seq)
		return nil
	}
	found, err := c.src.Records(c.ctx, &Message{C: r.C, Seq: r.Seq - 1}, 1)
	if err != nil {
		return err
	}
	var m *Message
	if len(found) > 0 {
		m, _ = found[0].(*Message)
	}
	if k := (&counting{kind: r.C.Kind(), at: at}); !k.whole() && (m == nil || m.C != r.C || m.Seq != r.Seq) {
		return nil // its message was removed
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
	all := pointsAtAll(r.Conversation)
	at := c.conversations[r.Conversation]
	switch {
	case at == nil || r.Seq > at.head:
		c.report.Add("entry %s %d: there is no message %s %d", r.User, r.USN, r.Conversation, r.Seq)
	case pointed && r.Seq <= was, all && r.Seq != was+1 && (pointed || s.first == 1):
		c.report.Add("entry %s %d: message %d of %s comes after %d", r.User, r.USN, r.Seq, r.Conversation, was)
	}
	s.seqs[r.Conversation] = r.Seq
}

// pointsAtAll says whether the streams of members have every message, because they are members for ever.
func pointsAtAll(c chat.Conversation) bool {
	return c.Kind() == chat.KindDirect || c.Kind() == chat.KindNotes
}

// endStream checks that all messages of two people were pointed at.
func (c *checker) endStream() {
	if c.stream == nil {
		return
	}
	for name, seq := range c.stream.seqs {
		if pointsAtAll(name) && c.conversations[name] != nil && seq < c.conversations[name].head {
			c.report.Add("stream of %s: message %d of %s is not in it", c.stream.user, seq+1, name)
		}
	}
	c.stream = nil
}
