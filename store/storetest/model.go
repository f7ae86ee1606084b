package storetest

import (
	"cmp"
	"errors"
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
		m.asked, m.contacts, m.versions = map[accounts.Name][]int64{}, map[accounts.Name]int{}, map[accounts.Name]uint64{}
		t.Repeat(map[string]func(*rapid.T){
			"request": m.request,
			"change":  m.change,
			"change2": m.change,
			"send":    m.send,
			"send2":   m.send,
			"mark":    m.mark,
			"mark2":   m.mark,
			"tell":    m.tell,
			"read":    m.read,
			"wait":    func(t *rapid.T) { run.clock.advance(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * 1e6) },
			"reopen":  func(*rapid.T) { run.reopen(); m.check() },
			"crash":   func(*rapid.T) { run.crash(); m.check() },
			"move":    func(*rapid.T) { run.move(); m.check() },
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

	asked    map[accounts.Name][]int64
	contacts map[accounts.Name]int
	versions map[accounts.Name]uint64 // of the lists
}

type modelStream struct {
	entries []chat.Entry
	seen    uint64
}

// modelPair is what is between two people.
type modelPair struct {
	sides    map[accounts.Name]chat.Side
	versions map[accounts.Name]uint64 // in which each one's line became as it is
	talk     chat.Talk
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
			sides: map[accounts.Name]chat.Side{}, versions: map[accounts.Name]uint64{},
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

// seen is the pair as a sees it.
func (p *modelPair) seen(a, b accounts.Name, now int64) chat.Pair {
	return chat.Pair{Me: a, Them: b, Mine: p.sides[a], Theirs: p.sides[b], Talk: p.talk, Now: now}
}

func (m *model) request(t *rapid.T) {
	a, b, p := m.two(t)
	m.take(a, b, p, chat.ToRequest(a, b, rapid.SampledFrom([]string{"", "hi", "hello"}).Draw(t, "greeting"),
		chat.Bounds{Requests: 4, Contacts: 2}))
}

func (m *model) change(t *rapid.T) {
	a, b, p := m.two(t)
	remark, tags := rapid.SampledFrom([]string{"", "Al"}).Draw(t, "remark"), []string{"family"}
	m.take(a, b, p, rapid.SampledFrom([]chat.Change{
		chat.ToAccept(a, b, chat.Bounds{}), chat.ToAccept(a, b, chat.Bounds{Contacts: 1}), chat.ToReject(a, b, true),
		chat.ToReject(a, b, false), chat.ToIgnore(a, b), chat.ToWithdraw(a, b), chat.ToRemove(a, b), chat.ToBlock(a, b),
		chat.ToUnblock(a, b), chat.ToNote(a, b, &remark, &tags), chat.ToDrop(a, b),
	}).Draw(t, "change"))
}

// take takes a step here and there. That the steps themselves are right is for the tests of chat to say.
func (m *model) take(a, b accounts.Name, p *modelPair, c chat.Change) {
	was := p.seen(a, b, m.now())
	is := was
	is.Asked, is.Contacts, is.ContactsOfThem = m.asked[a], m.contacts[a], m.contacts[b]
	told, want := c.Step(&is)
	got, commit, err := m.chat().Change(m.ctx(), c)
	if errors.Is(want, chat.ErrQuota) {
		want = chat.ErrQuota // whatever it says of the time
	}
	if want != nil {
		m.is("change", err, want)
		return
	}
	m.durable("change", commit, err)
	if is.Mine.Equal(was.Mine) && is.Theirs.Equal(was.Theirs) && is.Talk == was.Talk && told == (chat.Told{}) {
		return
	}
	m.asked[a] = is.Asked
	m.set(a, b, p, is.Mine, told.Me, told.Away)
	m.set(b, a, p, is.Theirs, told.Them, false)
	p.talk = is.Talk
	if told.Greeting != "" {
		m.appended(p, chat.Message{Conversation: chat.Direct(a, b), From: b, Kind: "text"})
	}
	same(m.kit, "line", got.Contact(), p.seen(a, b, m.now()).Contact())
}

// set makes what b is to a, and tells a.
func (m *model) set(a, b accounts.Name, p *modelPair, side chat.Side, told chat.ContactState, away bool) {
	was := p.sides[a]
	if side.Equal(was) && told == "" {
		return
	}
	m.versions[a]++
	p.versions[a], p.sides[a] = m.versions[a], side
	if was.State == chat.ContactAccepted {
		m.contacts[a]--
	}
	if side.State == chat.ContactAccepted {
		m.contacts[a]++
	}
	if told == "" {
		return
	}
	e := chat.Entry{
		Type: chat.EntryContact, TS: m.now(), Who: b, State: told, Version: m.versions[a],
		Contact: chat.Note{Blocked: side.Blocked, Remark: side.Remark, Tags: side.Tags},
	}
	if away || told == chat.ContactAccepted {
		e.Conversation = chat.Direct(a, b)
	}
	if told == chat.ContactPending || told == chat.ContactRequested {
		e.Greeting, e.Contact.Until, e.Contact.Ignored = side.Greeting, side.Until, side.Ignored
	}
	m.push(a, e)
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

func (m *model) send(t *rapid.T) {
	a, b, p := m.two(t)
	m.ids++
	mid := rapid.SampledFrom([]string{"", "", "", "m1", "m2", "m3"}).Draw(t, "mid")
	d := draft(chat.Direct(a, b), a, mid, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "words"))
	d.ID, d.Silent = fmt.Sprint("id", m.ids), rapid.Bool().Draw(t, "silent")
	d.Stranger, d.Approaches = rapid.Bool().Draw(t, "stranger"), rapid.IntRange(0, 2).Draw(t, "approaches")
	got, commit, err := m.chat().Append(m.ctx(), d)
	key := string(a) + " " + mid
	print, repeated := p.prints[key]
	repeated = repeated && mid != ""
	if repeated && print != d.Fingerprint {
		m.is("append", err, chat.ErrConflict)
		return
	}
	if !repeated {
		pair := p.seen(a, b, m.now())
		pair.Asked = m.asked[a]
		want := pair.Write(d.Stranger, d.Approaches)
		if errors.Is(want, chat.ErrQuota) {
			want = chat.ErrQuota
		}
		if want != nil {
			m.is("append", err, want)
			return
		}
		p.talk, m.asked[a] = pair.Talk, pair.Asked
	}
	m.durable("append", commit, err)
	equal(m.kit, "dup", got.Dup, repeated)
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
	if !p.talk.Exists {
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
		want.Untold = !m.told(c, a, b, p)
	}
	equal(m.kit, "marked", got, want)
}

// told adds a receipt, if it may be added now.
func (m *model) told(c chat.Conversation, who, other accounts.Name, p *modelPair) bool {
	mine := p.marks[who]
	if pair := p.seen(who, other, m.now()); !pair.Close() {
		mine.told = mine.Marks // and nobody ever hears of it
		return true
	}
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
	if !p.talk.Exists {
		m.is("tell", err, chat.ErrNoConversation)
		return
	}
	m.durable("tell", commit, err)
	mine := p.marks[a]
	left, told := mine.Marks != mine.told, false
	if left {
		told = m.told(c, a, b, p)
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
		if !p.talk.Exists {
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
	m.checkLists()
	m.audit(m.people...)
}

// checkLists compares everybody's list, and what changed in it lately.
func (m *model) checkLists() {
	m.Helper()
	for _, who := range m.people {
		var lines, changes []chat.Contact
		requests := 0
		for _, other := range m.people { // in the order of their names
			p := m.pairs[chat.Direct(who, other)]
			if p == nil || who == other || p.versions[who] == 0 {
				continue
			}
			line := p.seen(who, other, m.now()).Contact()
			line.Version = p.versions[who]
			if line.State != chat.ContactNone || line.Blocked {
				lines = append(lines, line)
			}
			if line.State == chat.ContactNone {
				line.State = chat.ContactEnded
			}
			changes = append(changes, line)
			if p.sides[who].IsRequest(m.now()) {
				requests++
			}
		}
		slices.SortFunc(changes, func(a, b chat.Contact) int { return cmp.Compare(a.Version, b.Version) })
		got, err := m.chat().List(m.ctx(), who, "", 10)
		m.ok("list", err)
		same(m.kit, "list of "+string(who), got, lines)
		for n := range changes {
			got, head, err := m.chat().Changes(m.ctx(), who, changes[n].Version-1, 10)
			m.ok("changes", err)
			same(m.kit, "changes in the list of "+string(who), got, changes[n:])
			equal(m.kit, "version", head, m.versions[who])
		}
		n, err := m.chat().Requests(m.ctx(), who, 10)
		m.ok("requests", err)
		equal(m.kit, "requests to "+string(who), n, requests)
	}
}

// checkTallies counts everybody's unread messages one by one.
func (m *model) checkTallies() {
	m.Helper()
	for _, who := range m.people {
		want := map[chat.Conversation]uint64{}
		for c, p := range m.pairs {
			for _, msg := range p.messages {
				dropped := p.talk.Dropped && p.talk.Boxed(who)
				if mine := p.marks[who]; mine != nil && !dropped && !msg.Silent && msg.From != who && msg.Seq > mine.Read {
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
