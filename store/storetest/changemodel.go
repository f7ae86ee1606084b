package storetest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// changedMessage is a message as it has to be, after all that was done to it.
type changedMessage struct {
	from   accounts.Name
	silent bool
	says   []string // in the order of edits
	over   int64    // when its time is; 0: never
	why    string   // it is gone
	counts bool     // as unread
	react  map[string]map[accounts.Name]bool
	pinned bool
	hidden map[accounts.Name]bool
}

// changedTalk is a conversation as it has to be: everything is counted anew.
type changedTalk struct {
	members  []accounts.Name
	messages []*changedMessage
	read     map[accounts.Name]uint64
	cleared  map[accounts.Name]uint64
	revs     int
}

func (c *changedTalk) unread(who accounts.Name) (n uint64) {
	for i, m := range c.messages {
		seq := uint64(i + 1)
		if m.counts && m.from != who && seq > c.read[who] && seq > c.cleared[who] && !m.hidden[who] {
			n++
		}
	}
	return n
}

// vanish is what recalling and expiring make of a message.
func (m *changedMessage) vanish(why string) {
	m.why, m.says, m.counts, m.pinned, m.react = why, nil, false, false, nil
}

// changeModel does random things to messages of two people and of a room, and to an oracle.
type changeModel struct {
	kit   *kit
	talks map[chat.Conversation]*changedTalk
	names []chat.Conversation
	usn   map[accounts.Name]int // entries of streams
}

func testChangeModel(k *kit) {
	rapid.Check(k.t, func(t *rapid.T) {
		run := &kit{tb: t, t: k.t, newHarness: k.newHarness, harness: k.newHarness(k.t), clock: newClock()}
		run.open()
		defer func() { run.ok("close", run.store.Close()) }()
		conv := run.contacts(alice, bob)
		run.take(group, alice, create(alice))
		run.take(group, alice, func(r *chat.Room) (chat.RoomTold, error) {
			r.Enter(bob, chat.RoleMember)
			r.Enter(carol, chat.RoleMember)
			return chat.RoomTold{}, nil
		}, bob, carol)
		m := &changeModel{kit: run, names: []chat.Conversation{conv, group}, usn: map[accounts.Name]int{}}
		m.talks = map[chat.Conversation]*changedTalk{
			conv:  {members: []accounts.Name{alice, bob}},
			group: {members: []accounts.Name{alice, bob, carol}, messages: []*changedMessage{{from: alice, silent: true}}},
		}
		for _, c := range m.talks {
			c.read, c.cleared = map[accounts.Name]uint64{}, map[accounts.Name]uint64{}
		}
		m.talks[group].read[bob], m.talks[group].read[carol] = 1, 1 // who comes in has read what was there
		for _, who := range []accounts.Name{alice, bob, carol} {
			m.usn[who] = len(run.stream(who))
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": m.send, "mark": m.mark, "edit": m.edit, "recall": m.recall, "react": m.react, "pin": m.pin, "hide": m.hide,
			"clear": m.clear, "wait": m.wait, "expire": m.expire, "crash": m.crash, "reopen": m.reopen, "": m.check,
		})
	})
}

// draw gives a conversation, somebody in it, and a seq that may be too high.
func (m *changeModel) draw(t *rapid.T) (chat.Conversation, *changedTalk, accounts.Name, uint64) {
	name := rapid.SampledFrom(m.names).Draw(t, "conversation")
	c := m.talks[name]
	who := rapid.SampledFrom(c.members).Draw(t, "who")
	return name, c, who, rapid.Uint64Range(1, uint64(len(c.messages))+1).Draw(t, "seq")
}

func (m *changeModel) now() int64 { return m.kit.clock.Now().UnixMilli() }

// gone says whether a message reads as gone, and why.
func (m *changeModel) gone(x *changedMessage) string {
	if x.why == "" && x.over != 0 && x.over <= m.now() {
		return chat.WhyExpired
	}
	return x.why
}

func (m *changeModel) told(c *changedTalk) {
	for _, who := range c.members {
		m.usn[who]++
	}
}

func (m *changeModel) send(t *rapid.T) {
	name, c, who, _ := m.draw(t)
	words := fmt.Sprint("m", len(c.messages))
	d := draft(name, who, "", words)
	d.Silent = rapid.IntRange(0, 5).Draw(t, "silent") == 0
	d.TTL = max(0, rapid.Int64Range(-4, 3).Draw(t, "ttl"))
	m.kit.send(d)
	x := &changedMessage{from: who, silent: d.Silent, counts: !d.Silent, says: []string{string(d.Body)}}
	if d.TTL > 0 {
		x.over = m.now() + 1000*d.TTL
	}
	c.messages = append(c.messages, x)
	m.told(c)
}

func (m *changeModel) mark(t *rapid.T) {
	name, c, who, seq := m.draw(t)
	m.kit.mark(name, who, 0, seq)
	if read := min(seq, uint64(len(c.messages))); read > c.read[who] {
		c.read[who] = read
		m.usn[who]++
	}
	if name != group { // receipts have rules of their own
		for _, who := range c.members {
			m.usn[who] = len(m.kit.stream(who))
		}
	}
}

// op makes a change of which the oracle says what comes of it.
func (m *changeModel) op(c *changedTalk, d chat.OpDraft, changes bool, want error) bool {
	changed, commit, err := m.kit.chat().ApplyOp(m.kit.ctx(), d)
	if want != nil {
		m.kit.is(string(d.Op), err, want)
		return false
	}
	m.kit.durable(string(d.Op), commit, err)
	if changes {
		c.revs++
		m.told(c)
		equal(m.kit, "rev", changed.Rev, uint64(c.revs))
	} else {
		equal(m.kit, "rev of what changes nothing", changed.Rev, 0)
	}
	return changes
}

// target gives a message, if it is there to be changed; otherwise the error.
func (m *changeModel) target(name chat.Conversation, c *changedTalk, who accounts.Name, seq uint64) (*changedMessage, error) {
	if seq > uint64(len(c.messages)) {
		return nil, chat.ErrNoMessage
	}
	x := c.messages[seq-1]
	if name == group && seq == 1 {
		if who != alice {
			return x, chat.ErrNoMessage // from before he came
		}
		return x, chat.ErrNoRight // the server's
	}
	return x, nil
}

func (m *changeModel) edit(t *rapid.T) {
	name, c, who, seq := m.draw(t)
	words := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "words")
	d := editing(name, who, seq, words)
	x, err := m.target(name, c, who, seq)
	switch {
	case err != nil:
	case m.gone(x) != "":
		err = chat.ErrNoMessage
	case x.from != who:
		err = chat.ErrNoRight
	case x.says[len(x.says)-1] == string(d.Body):
		m.op(c, d, false, nil)
		return
	case len(x.says) > d.Bounds.Edits:
		err = chat.ErrQuota
	}
	if m.op(c, d, true, err) {
		x.says = append(x.says, string(d.Body))
	}
}

func (m *changeModel) recall(t *rapid.T) {
	name, c, who, seq := m.draw(t)
	d := op(name, who, chat.OpRecall, seq)
	d.Bounds.RecallFor = 0
	x, err := m.target(name, c, who, seq)
	switch {
	case err != nil:
	case x.from != who && (name != group || who != alice):
		err = chat.ErrNoRight
	case m.gone(x) != "":
		m.op(c, d, false, nil)
		return
	}
	if m.op(c, d, true, err) {
		x.vanish(chat.WhyRecalled)
	}
}

func (m *changeModel) react(t *rapid.T) {
	name, c, who, seq := m.draw(t)
	emoji := rapid.SampledFrom([]string{"+", "-", "?", "!"}).Draw(t, "emoji")
	what := rapid.SampledFrom([]chat.Op{chat.OpReact, chat.OpUnreact}).Draw(t, "op")
	d := reacting(name, who, what, seq, emoji)
	x, err := m.target(name, c, who, seq)
	if err == nil && m.gone(x) != "" {
		err = chat.ErrNoMessage
	}
	if err != nil {
		m.op(c, d, false, err)
		return
	}
	mine := 0
	for _, by := range x.react {
		if by[who] {
			mine++
		}
	}
	has := x.react[emoji][who]
	another := len(x.react[emoji]) == 0 && len(x.react) >= d.Bounds.Emojis
	if what == chat.OpReact && !has && (mine >= d.Bounds.Reactions || another) {
		m.op(c, d, false, chat.ErrQuota)
		return
	}
	if !m.op(c, d, has == (what == chat.OpUnreact), nil) {
		return
	}
	if what == chat.OpUnreact {
		delete(x.react[emoji], who)
		if len(x.react[emoji]) == 0 {
			delete(x.react, emoji)
		}
		return
	}
	if x.react == nil {
		x.react = map[string]map[accounts.Name]bool{}
	}
	if x.react[emoji] == nil {
		x.react[emoji] = map[accounts.Name]bool{}
	}
	x.react[emoji][who] = true
}

func (m *changeModel) pin(t *rapid.T) {
	name, c, who, seq := m.draw(t)
	what := rapid.SampledFrom([]chat.Op{chat.OpPin, chat.OpUnpin}).Draw(t, "op")
	d := op(name, who, what, seq)
	d.Bounds.Pins = 0
	x, err := m.target(name, c, who, seq)
	switch {
	case err != nil:
	case m.gone(x) != "" && what == chat.OpPin:
		err = chat.ErrNoMessage
	case name == group && who != alice:
		err = chat.ErrNoRight
	}
	if err != nil {
		m.op(c, d, false, err)
	} else if m.op(c, d, x.pinned == (what == chat.OpUnpin), nil) {
		x.pinned = what == chat.OpPin
	}
}

func (m *changeModel) hide(t *rapid.T) {
	name, c, who, seq := m.draw(t)
	m.kit.hide(name, who, seq)
	if seq > uint64(len(c.messages)) || seq <= c.cleared[who] || c.messages[seq-1].hidden[who] {
		return
	}
	x := c.messages[seq-1]
	if x.hidden == nil {
		x.hidden = map[accounts.Name]bool{}
	}
	x.hidden[who] = true
	m.usn[who]++
}

func (m *changeModel) clear(t *rapid.T) {
	name, c, who, _ := m.draw(t)
	m.kit.clear(name, who)
	if head := uint64(len(c.messages)); head > c.cleared[who] {
		c.cleared[who] = head
		m.usn[who]++
	}
}

func (m *changeModel) wait(t *rapid.T) {
	m.kit.clock.advance(time.Duration(rapid.IntRange(1, 1500).Draw(t, "milliseconds")) * time.Millisecond)
}

func (m *changeModel) expire(t *rapid.T) {
	m.kit.expire(rapid.IntRange(1, 3).Draw(t, "limit"))
	for _, c := range m.talks {
		for _, x := range c.messages {
			if x.why == "" && m.gone(x) != "" {
				x.vanish(chat.WhyExpired)
				c.revs++
				m.told(c)
			}
		}
	}
}

func (m *changeModel) crash(*rapid.T)  { m.kit.crash() }
func (m *changeModel) reopen(*rapid.T) { m.kit.reopen() }

func (m *changeModel) check(*rapid.T) {
	k := m.kit
	unread := map[accounts.Name]uint64{}
	for _, name := range m.names {
		c := m.talks[name]
		revisions, rev, err := k.chat().Revisions(k.ctx(), name, 0, 1000)
		k.ok("changes", err)
		equal(k, "changes", len(revisions), c.revs)
		equal(k, "rev", rev, uint64(c.revs))
		for _, who := range c.members {
			unread[who] += c.unread(who)
			m.checkSeen(name, c, who)
		}
		for i, x := range c.messages {
			m.checkEdits(name, uint64(i+1), x)
		}
	}
	for who, want := range unread {
		m.checkOf(who, want)
	}
}

// checkSeen compares what somebody sees of a conversation.
func (m *changeModel) checkSeen(name chat.Conversation, c *changedTalk, who accounts.Name) {
	k := m.kit
	page, err := k.chat().MessagesFor(k.ctx(), who, name, 0, 0, 1000)
	k.ok("messages", err)
	var got, want []string
	for _, x := range page.Messages {
		got = append(got, fmt.Sprint(x.Seq, string(x.Body), x.Why, x.Pinned, x.Reactions))
	}
	for i, x := range c.messages {
		seq := uint64(i + 1)
		hidden, err := k.chat().Hidden(k.ctx(), name, seq, []accounts.Name{who})
		k.ok("hidden", err)
		same(k, fmt.Sprintf("whether %s has hidden %d of %s", who, seq, name), hidden,
			[]bool{seq <= c.cleared[who] || x.hidden[who]})
		if seq <= c.cleared[who] {
			continue
		}
		body, reactions, why := "", []chat.Reaction(nil), m.gone(x)
		if x.hidden[who] {
			why = chat.WhyHidden
		}
		if why == "" {
			for _, emoji := range slices.Sorted(maps.Keys(x.react)) {
				reactions = append(reactions, chat.Reaction{
					Emoji: emoji, N: uint64(len(x.react[emoji])), Me: x.react[emoji][who],
				})
			}
			if len(x.says) > 0 {
				body = x.says[len(x.says)-1]
			} else { // the line of the room
				body = `{"do":"something"}`
			}
		}
		want = append(want, fmt.Sprint(seq, body, why, x.pinned && why == "", reactions))
	}
	same(k, "what "+string(who)+" sees of "+string(name), got, want)
}

func (m *changeModel) checkEdits(name chat.Conversation, seq uint64, x *changedMessage) {
	k := m.kit
	edits, err := k.chat().Edits(k.ctx(), name, seq)
	if m.gone(x) != "" {
		k.is("edits of what is gone", err, chat.ErrNoMessage)
		return
	}
	k.ok("edits", err)
	var says []string
	for _, e := range edits {
		says = append(says, string(e.Body))
	}
	same(k, fmt.Sprintf("edits of message %d of %s", seq, name), says, x.says[:max(0, len(x.says)-1)])
}

// checkOf compares what somebody is told.
func (m *changeModel) checkOf(who accounts.Name, unread uint64) {
	k := m.kit
	equal(k, "unread of "+string(who), k.unread(who), unread)
	list, _, err := k.chat().Conversations(k.ctx(), who, chat.ListQuery{Limit: 10})
	k.ok("conversations", err)
	n := uint64(0)
	for _, o := range list {
		n += o.Tally.Unread()
	}
	equal(k, "unread in the list of "+string(who), n, unread)
	stream := k.stream(who)
	equal(k, "entries of "+string(who), len(stream), m.usn[who])
	for _, e := range stream {
		c := m.talks[e.Conversation]
		if e.Type != chat.EntryMessage || c == nil {
			continue
		}
		x := c.messages[e.Message.Seq-1]
		gone := m.gone(x) != "" || x.hidden[who] || e.Message.Seq <= c.cleared[who]
		equal(k, fmt.Sprintf("whether message %d of %s is gone for %s", e.Message.Seq, e.Conversation, who),
			e.Message.Kind == chat.KindGone, gone)
	}
}
