package storetest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var modelTests = []test{
	{"any order of operations gives what the model gives", testModel},
}

// testModel does random things one after the other, with crashes in between, and compares with a model that is too simple
// to be wrong.
func testModel(k *kit) {
	rapid.Check(k.t, func(t *rapid.T) {
		run := &kit{tb: t, t: k.t, newHarness: k.newHarness, harness: k.newHarness(k.t), clock: newClock()}
		run.open()
		defer func() { run.ok("close", run.store.Close()) }()
		m := &model{kit: run, people: []accounts.Name{"al", "bo", "cy"}, streams: map[accounts.Name]*modelStream{}}
		for _, p := range m.people {
			m.streams[p] = &modelStream{}
		}
		m.pairs = map[chat.Conversation]*modelPair{}
		t.Repeat(map[string]func(*rapid.T){
			"request": m.request,
			"accept":  m.accept,
			"send":    m.send,
			"send2":   m.send,
			"mark":    m.mark,
			"mark2":   m.mark,
			"tell":    m.tell,
			"read":    m.read,
			"wait":    func(t *rapid.T) { run.clock.advance(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * 1e6) },
			"reopen":  func(*rapid.T) { run.reopen(); m.check() },
			"crash":   func(*rapid.T) { run.crash(); m.check() },
			"":        func(*rapid.T) { m.checkTallies() },
		})
		m.check()
	})
}

type model struct {
	*kit
	people  []accounts.Name
	streams map[accounts.Name]*modelStream
	pairs   map[chat.Conversation]*modelPair
	ids     int
}

type modelStream struct {
	entries []chat.Entry
	seen    uint64
}

// modelPair is what is between two people.
type modelPair struct {
	asked    accounts.Name // who has asked; empty: nobody
	greeting string
	contacts bool
	messages []chat.Message
	prints   map[string][32]byte // by sender and mid
	marks    map[accounts.Name]*modelMarks
}

type modelMarks struct {
	chat.Marks
	told    chat.Marks
	toldTS  int64
	toldUSN uint64
}

func (m *model) now() int64 { return m.clock.Now().UnixMilli() }

// two draws two different people.
func (m *model) two(t *rapid.T) (a, b accounts.Name, p *modelPair) {
	people := rapid.Permutation(m.people).Draw(t, "people")
	a, b = people[0], people[1]
	c := chat.Direct(a, b)
	if m.pairs[c] == nil {
		m.pairs[c] = &modelPair{
			prints: map[string][32]byte{}, marks: map[accounts.Name]*modelMarks{a: {}, b: {}},
		}
	}
	return a, b, m.pairs[c]
}

func (m *model) push(who accounts.Name, e chat.Entry) uint64 {
	s := m.streams[who]
	e.USN = uint64(len(s.entries) + 1)
	s.entries = append(s.entries, e)
	return e.USN
}

func (m *model) request(t *rapid.T) {
	a, b, p := m.two(t)
	greeting := rapid.SampledFrom([]string{"", "hi", "hello"}).Draw(t, "greeting")
	want := chat.ContactPending
	switch {
	case p.contacts:
		want = chat.ContactAccepted
	case p.asked == b:
		want = chat.ContactAccepted
		m.accepted(a, b, p)
	case p.asked == a && p.greeting == greeting:
	default:
		p.asked, p.greeting = a, greeting
		e := chat.Entry{Type: chat.EntryContact, TS: m.now(), Greeting: greeting}
		e.Who, e.State = b, chat.ContactPending
		m.push(a, e)
		e.Who, e.State = a, chat.ContactRequested
		m.push(b, e)
	}
	got, commit, err := m.chat().Request(m.ctx(), a, b, greeting, nil)
	m.durable("request", commit, err)
	equal(m.kit, "state", got, want)
}

// accepted makes a and b contacts; b has asked.
func (m *model) accepted(a, b accounts.Name, p *modelPair) {
	p.contacts = true
	c := chat.Direct(a, b)
	for _, pair := range [][2]accounts.Name{{a, b}, {b, a}} {
		m.push(pair[0], chat.Entry{
			Type: chat.EntryContact, TS: m.now(), Who: pair[1], State: chat.ContactAccepted, Conversation: c,
		})
	}
	if p.greeting != "" {
		m.appended(p, chat.Message{Conversation: c, From: b, Kind: "text"})
	}
}

// appended adds a message whose content the model does not care about.
func (m *model) appended(p *modelPair, msg chat.Message) chat.Message {
	msg.Seq, msg.TS = uint64(len(p.messages)+1), m.now()
	for _, other := range p.messages {
		msg.N = other.N
		msg.TS = max(msg.TS, other.TS)
		if other.From == msg.From {
			msg.Own = other.Own
		}
	}
	if !msg.Silent {
		msg.N++
		msg.Own++
	}
	p.messages = append(p.messages, msg)
	a, b, _ := msg.Conversation.Pair()
	for _, who := range []accounts.Name{a, b} {
		m.push(who, chat.Entry{Type: chat.EntryMessage, TS: msg.TS, Conversation: msg.Conversation, Message: msg})
	}
	return msg
}

func (m *model) accept(t *rapid.T) {
	a, b, p := m.two(t)
	switch {
	case p.contacts:
	case p.asked == b:
		m.accepted(a, b, p)
	default:
		_, _, err := m.chat().Accept(m.ctx(), a, b, nil)
		m.is("accept", err, chat.ErrNoRequest)
		return
	}
	contact, commit, err := m.chat().Accept(m.ctx(), a, b, nil)
	m.durable("accept", commit, err)
	equal(m.kit, "contact", contact.State, chat.ContactAccepted)
}

func (m *model) send(t *rapid.T) {
	a, b, p := m.two(t)
	m.ids++
	mid := rapid.SampledFrom([]string{"", "", "", "m1", "m2", "m3"}).Draw(t, "mid")
	d := draft(chat.Direct(a, b), a, mid, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "words"))
	d.ID, d.Silent = fmt.Sprint("id", m.ids), rapid.Bool().Draw(t, "silent")
	got, commit, err := m.chat().Append(m.ctx(), d)
	if !p.contacts {
		m.is("append", err, chat.ErrNoConversation)
		return
	}
	key := string(a) + " " + mid
	print, repeated := p.prints[key]
	if mid != "" && repeated && print != d.Fingerprint {
		m.is("append", err, chat.ErrConflict)
		return
	}
	m.durable("append", commit, err)
	equal(m.kit, "dup", got.Dup, mid != "" && repeated)
	if got.Dup {
		i := slices.IndexFunc(p.messages, func(o chat.Message) bool { return o.From == a && o.MID == mid })
		same(m.kit, "repeated message", got.Message, p.messages[i])
		return
	}
	p.prints[key] = d.Fingerprint
	want := chat.Message{
		Conversation: d.Conversation, ID: d.ID, MID: mid, From: a, Kind: d.Kind, Body: d.Body, Silent: d.Silent,
	}
	if mid == "" {
		want.MID = d.ID
	}
	same(m.kit, "message", got.Message, m.appended(p, want))
}

func (m *model) mark(t *rapid.T) {
	a, b, p := m.two(t)
	c := chat.Direct(a, b)
	given := chat.Marks{
		Recv: rapid.Uint64Range(0, uint64(len(p.messages))+1).Draw(t, "recv"),
		Read: rapid.Uint64Range(0, uint64(len(p.messages))+1).Draw(t, "read"),
	}
	got, commit, err := m.chat().Mark(m.ctx(), c, a, given, nil)
	if !p.contacts {
		m.is("mark", err, chat.ErrNoConversation)
		return
	}
	m.durable("mark", commit, err)
	head := uint64(len(p.messages))
	mine := p.marks[a]
	next := chat.Marks{Read: max(mine.Read, min(given.Read, head))}
	next.Recv = max(mine.Recv, min(given.Recv, head), next.Read)
	want := chat.Marked{Marks: next, Moved: next != mine.Marks}
	if next.Read > mine.Read {
		m.push(a, chat.Entry{Type: chat.EntryRead, TS: m.now(), Conversation: c, Recv: next.Recv, Read: next.Read})
	}
	mine.Marks = next
	if want.Moved {
		want.Untold = !m.told(c, a, b, mine)
	}
	equal(m.kit, "marked", got, want)
}

// told adds a receipt, if it may be added now.
func (m *model) told(c chat.Conversation, who, other accounts.Name, mine *modelMarks) bool {
	young := m.now()-mine.toldTS < chat.ReceiptInterval.Milliseconds()
	if mine.toldUSN != 0 && (young || mine.toldUSN > m.streams[other].seen) {
		return false
	}
	mine.told, mine.toldTS = mine.Marks, m.now()
	mine.toldUSN = m.push(other, chat.Entry{
		Type: chat.EntryReceipt, TS: m.now(), Conversation: c, Who: who, Recv: mine.Recv, Read: mine.Read,
	})
	return true
}

func (m *model) tell(t *rapid.T) {
	a, b, p := m.two(t)
	c := chat.Direct(a, b)
	untold, commit, err := m.chat().Tell(m.ctx(), c, a)
	if !p.contacts {
		m.is("tell", err, chat.ErrNoConversation)
		return
	}
	m.durable("tell", commit, err)
	mine := p.marks[a]
	left, told := mine.Marks != mine.told, false
	if left {
		told = m.told(c, a, b, mine)
		left = !told
	}
	equal(m.kit, "untold", untold, left)
	equal(m.kit, "told", commit != nil, told)
}

func (m *model) read(t *rapid.T) {
	who := rapid.SampledFrom(m.people).Draw(t, "who")
	s := m.streams[who]
	after := rapid.Uint64Range(0, uint64(len(s.entries))).Draw(t, "after")
	limit := rapid.IntRange(0, 5).Draw(t, "limit")
	page, err := m.chat().Stream(m.ctx(), who, after, limit)
	m.ok("stream", err)
	m.compare(who, page.Entries, s.entries[after:min(after+uint64(limit), uint64(len(s.entries)))])
}

// compare checks entries that were read, and remembers that they were.
func (m *model) compare(who accounts.Name, got, want []chat.Entry) {
	m.Helper()
	equal(m.kit, "entries", len(got), len(want))
	for i, e := range got {
		if e.Type == chat.EntryMessage && want[i].Message.ID == "" { // a greeting, named by the store
			want[i].Message.ID, want[i].Message.MID, want[i].Message.Body = e.Message.ID, e.Message.MID, e.Message.Body
		}
		same(m.kit, "entry of "+string(who), e, want[i])
		m.streams[who].seen = max(m.streams[who].seen, e.USN)
	}
}

// check compares everything. After a start nothing waits any more in a stream; reading all of it makes that so for
// every store.
func (m *model) check() {
	m.Helper()
	for _, who := range m.people {
		m.compare(who, m.stream(who), m.streams[who].entries)
	}
	for c, p := range m.pairs {
		if !p.contacts {
			continue
		}
		equal(m.kit, "messages of "+string(c), len(m.messages(c)), len(p.messages))
		for who, mine := range p.marks {
			equal(m.kit, "marks of "+string(who), m.marks(c, who), mine.Marks)
		}
	}
	var untold []chat.Member
	for c, p := range m.pairs {
		for who, mine := range p.marks {
			if mine.Marks != mine.told {
				untold = append(untold, chat.Member{Conversation: c, Who: who})
			}
		}
	}
	got := m.untold()
	equal(m.kit, "number of untold members", len(got), len(untold))
	for _, u := range untold {
		if !slices.Contains(got, u) {
			m.Fatalf("untold: got %v, want %v among them", got, u)
		}
	}
	m.audit(m.people...)
}

// checkTallies counts everybody's unread messages one by one.
func (m *model) checkTallies() {
	m.Helper()
	for _, who := range m.people {
		want := map[chat.Conversation]uint64{}
		for c, p := range m.pairs {
			for _, msg := range p.messages {
				if mine := p.marks[who]; mine != nil && !msg.Silent && msg.From != who && msg.Seq > mine.Read {
					want[c]++
				}
			}
		}
		tallies, asOf := m.tallies(who)
		got := map[chat.Conversation]uint64{}
		for _, t := range tallies {
			got[t.Conversation] = t.Unread()
		}
		same(m.kit, "unread of "+string(who), got, want)
		equal(m.kit, "usn of the tallies", asOf, uint64(len(m.streams[who].entries)))
	}
}
