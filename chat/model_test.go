package chat_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// TestTheMessengerAgreesWithAModel does what users may do, in any order, and counts everything anew after each step.
func TestTheMessengerAgreesWithAModel(t *testing.T) {
	m := start(t)
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		w := newModel(rt, t, m, int(runs.Add(1)))
		rt.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { w.check() },
			"request": w.request,
			"accept":  w.accept,
			"send":    w.send,
			"resend":  w.resend,
			"mark":    w.mark,
			"say":     w.say,
			"deliver": w.deliver,
			"fresh":   w.fresh,
			"restart": w.restart,
			"wait": func(rt *rapid.T) {
				m.clock.advance(time.Duration(rapid.IntRange(0, 1500).Draw(rt, "ms")) * time.Millisecond)
			},
		})
	})
}

// model is a small messenger without a database. Its users are new in each run, the store is the same.
type model struct {
	*rapid.T
	t     *testing.T
	real  messenger
	users []accounts.Name
	rel   map[[2]accounts.Name]chat.ContactState
	convs map[chat.Conversation]*modelConversation
	devs  map[accounts.Name][]*device
	sides map[chat.Member]chat.OwnSide
}

type modelConversation struct {
	messages []modelMessage // by seq-1
	marks    map[accounts.Name]chat.Marks
}

type modelMessage struct {
	from      accounts.Name
	mid, text string
	id        string
}

// device is a session: it was given everything after where it began.
type device struct {
	given  uint64
	places []chat.Place // given and not acknowledged
	told   map[chat.Member]chat.Marks
}

func newModel(rt *rapid.T, t *testing.T, m messenger, run int) *model {
	w := &model{
		T: rt, t: t, real: m, rel: map[[2]accounts.Name]chat.ContactState{},
		convs: map[chat.Conversation]*modelConversation{},
		devs:  map[accounts.Name][]*device{},
		sides: map[chat.Member]chat.OwnSide{},
	}
	for _, name := range []string{"a", "b", "c"} {
		user := accounts.Name(fmt.Sprintf("%s%d", name, run))
		m.users[user] = true
		w.users = append(w.users, user)
		w.devs[user] = []*device{newDevice(0), newDevice(0)}
	}
	m.befriend(t, w.users[0], w.users[1])
	w.contacts(w.users[0], w.users[1])
	return w
}

func newDevice(at uint64) *device { return &device{given: at, told: map[chat.Member]chat.Marks{}} }

func (w *model) pair(rt *rapid.T) (a, b accounts.Name) {
	i := rapid.IntRange(0, 2).Draw(rt, "who")
	j := (i + rapid.IntRange(1, 2).Draw(rt, "whom")) % 3
	return w.users[i], w.users[j]
}

func (w *model) request(rt *rapid.T) {
	a, b := w.pair(rt)
	greeting := rapid.SampledFrom([]string{"", "hi"}).Draw(rt, "greeting")
	state, _, err := w.real.RequestContact(w.t.Context(), a, b, greeting, nil)
	want := chat.ContactPending
	if w.rel[[2]accounts.Name{a, b}] == chat.ContactAccepted || w.rel[[2]accounts.Name{b, a}] == chat.ContactPending {
		want = chat.ContactAccepted
	}
	if err != nil || state.State != want {
		rt.Fatalf("%s requests %s: %+v, %v, want %q", a, b, state, err, want)
	}
	if want == chat.ContactAccepted {
		w.contacts(a, b)
	} else {
		w.rel[[2]accounts.Name{a, b}] = want
	}
}

func (w *model) accept(rt *rapid.T) {
	a, b := w.pair(rt)
	open := w.rel[[2]accounts.Name{b, a}]
	_, _, err := w.real.AcceptContact(w.t.Context(), a, b, nil)
	if open == chat.ContactNone && !errors.Is(err, chat.ErrNoRequest) || open != chat.ContactNone && err != nil {
		rt.Fatalf("%s accepts %s: %v, where %s is %q", a, b, err, a, open)
	}
	if err == nil {
		w.contacts(a, b)
	}
}

// contacts makes two contacts. Whether there is a greeting as the first message is the store's to say.
func (w *model) contacts(a, b accounts.Name) {
	w.rel[[2]accounts.Name{a, b}], w.rel[[2]accounts.Name{b, a}] = chat.ContactAccepted, chat.ContactAccepted
	name := chat.Direct(a, b)
	if w.convs[name] != nil {
		return
	}
	c := &modelConversation{marks: map[accounts.Name]chat.Marks{}}
	page, err := w.real.History(w.t.Context(), a, chat.HistoryQuery{Conversation: name})
	if err != nil || len(page.Messages) > 1 {
		w.Fatalf("a new conversation has the history %+v, %v", page, err)
	}
	for _, m := range page.Messages {
		c.messages = append(c.messages, modelMessage{from: m.From, mid: m.MID, id: m.ID, text: "hi"})
	}
	w.convs[name] = c
}

func (w *model) send(rt *rapid.T) {
	a, b := w.pair(rt)
	text := rapid.SampledFrom([]string{"x", "y\n", "<\u2028>"}).Draw(rt, "text")
	c := chat.Content{Body: []byte(fmt.Sprintf(`{"text":%q}`, text))}
	if rapid.Bool().Draw(rt, "with mid") {
		c.MID = fmt.Sprint("m", rapid.Uint64().Draw(rt, "mid"))
	}
	w.sent(rt, a, b, c, text)
}

// sent sends, and compares what comes back.
func (w *model) sent(rt *rapid.T, a, b accounts.Name, c chat.Content, text string) {
	got, commit, err := w.real.Send(w.t.Context(), a, chat.Target{User: b}, c, nil)
	conv := w.convs[chat.Direct(a, b)]
	if conv == nil {
		if !errors.Is(err, chat.ErrNoRight) {
			rt.Fatalf("%s sends to the stranger %s: %+v, %v", a, b, got, err)
		}
		return
	}
	before := slices.IndexFunc(conv.messages, func(m modelMessage) bool {
		return c.MID != "" && m.from == a && m.mid == c.MID
	})
	switch {
	case before >= 0 && conv.messages[before].text != text:
		if !errors.Is(err, chat.ErrConflict) {
			rt.Fatalf("the mid of message %d with other content: %+v, %v", before+1, got, err)
		}
		return
	case before >= 0:
		if err != nil || !got.Dup || got.Seq != uint64(before)+1 || got.ID != conv.messages[before].id {
			rt.Fatalf("message %d again: %+v, %v", before+1, got, err)
		}
	default:
		if err != nil || got.Dup || got.Seq != uint64(len(conv.messages))+1 {
			rt.Fatalf("message %d: %+v, %v", len(conv.messages)+1, got, err)
		}
		conv.messages = append(conv.messages, modelMessage{from: a, mid: got.MID, text: text, id: got.ID})
		w.change(chat.Member{Conversation: chat.Direct(a, b), Who: a}, chat.Undrafted())
	}
	if commit != nil {
		if err := commit.Wait(w.t.Context()); err != nil {
			rt.Fatalf("commit: %v", err)
		}
	}
}

// resend sends a message again, with the same content or with other.
func (w *model) resend(rt *rapid.T) {
	a, b := w.pair(rt)
	conv := w.convs[chat.Direct(a, b)]
	if conv == nil {
		return
	}
	mine := slices.DeleteFunc(slices.Clone(conv.messages), func(m modelMessage) bool { return m.from != a || m.mid == m.id })
	if len(mine) == 0 {
		return
	}
	m := rapid.SampledFrom(mine).Draw(rt, "message")
	if rapid.IntRange(0, 3).Draw(rt, "changed") == 0 {
		m.text += "!"
	}
	w.sent(rt, a, b, chat.Content{MID: m.mid, Body: []byte(fmt.Sprintf(`{"text":%q}`, m.text))}, m.text)
}

func (w *model) mark(rt *rapid.T) {
	a, b := w.pair(rt)
	name := chat.Direct(a, b)
	conv := w.convs[name]
	head := uint64(0)
	if conv != nil {
		head = uint64(len(conv.messages))
	}
	seq := rapid.Uint64Range(0, head+2).Draw(rt, "seq")
	move, read := w.real.MarkReceived, rapid.Bool().Draw(rt, "read")
	if read {
		move = w.real.MarkRead
	}
	got, _, err := move(w.t.Context(), a, name, seq, nil)
	if conv == nil {
		if !errors.Is(err, chat.ErrNoConversation) {
			rt.Fatalf("mark in a conversation that is not there: %v", err)
		}
		return
	}
	want := conv.marks[a]
	if read {
		if chat.ReadsFlag(seq, want.Read, head) {
			w.change(chat.Member{Conversation: name, Who: a}, chat.Unflagged())
		}
		want.Read = max(want.Read, min(seq, head))
	}
	want.Recv = max(want.Recv, min(seq, head))
	conv.marks[a] = want
	if err != nil || got != want {
		rt.Fatalf("%s marks %d (read: %t) of %d: %+v, %v, want %+v", a, seq, read, head, got, err, want)
	}
}

// deliver gives a device some events, which it acknowledges, or not yet.
func (w *model) deliver(rt *rapid.T) {
	user := w.users[rapid.IntRange(0, 2).Draw(rt, "who")]
	d := w.devs[user][rapid.IntRange(0, 1).Draw(rt, "device")]
	events, head, err := w.real.Events(w.t.Context(), user, d.given, rapid.IntRange(1, 5).Draw(rt, "events"))
	if err != nil {
		rt.Fatalf("events: %v", err)
	}
	for _, e := range events {
		w.given(rt, user, d, e, head)
	}
	n := rapid.IntRange(0, len(d.places)).Draw(rt, "acked")
	acked := d.places[:n]
	d.places = d.places[n:]
	if err := w.real.Delivered(w.t.Context(), user, acked); err != nil {
		rt.Fatalf("delivered: %v", err)
	}
	for _, p := range acked {
		w.convs[p.Conversation].delivered(user, p.Seq)
	}
}

// given checks an event that a device gets.
func (w *model) given(rt *rapid.T, user accounts.Name, d *device, e chat.Event, head uint64) {
	if e.USN != d.given+1 {
		rt.Fatalf("after usn %d comes %d", d.given, e.USN)
	}
	d.given = e.USN
	unread, total := w.unread(user)
	if e.Total != total || e.Unread != unread[e.Conversation] || e.AsOf < head {
		rt.Fatalf("event %+v of head %d: want unread %d, total %d", e, head, unread[e.Conversation], total)
	}
	conv := w.convs[e.Conversation]
	switch e.Type {
	case chat.EntryMessage:
		m := conv.messages[e.Message.Seq-1]
		if e.Message.From != m.from || e.Message.ID != m.id || e.Own != (m.from == user) {
			rt.Fatalf("message %+v, want %+v", e.Message, m)
		}
		p, _ := e.Place()
		d.places = append(d.places, p)
	case chat.EntryReceipt, chat.EntryRead:
		about := chat.Member{Conversation: e.Conversation, Who: e.Who}
		if e.Type == chat.EntryRead {
			about.Who = user
		}
		was, now := d.told[about], chat.Marks{Recv: e.Recv, Read: e.Read}
		is := conv.marks[about.Who]
		if now.Recv < was.Recv || now.Read < was.Read || now.Recv > is.Recv || now.Read > is.Read || now == was {
			rt.Fatalf("%s of %s goes from %+v to %+v, and is at %+v", e.Type, about.Who, was, now, is)
		}
		d.told[about] = now
	}
}

// delivered moves the received mark over a message, if all before it were received or are one's own.
func (c *modelConversation) delivered(who accounts.Name, seq uint64) {
	marks := c.marks[who]
	for at := marks.Recv + 1; at < seq; at++ {
		if c.messages[at-1].from != who {
			return
		}
	}
	if c.messages[seq-1].from != who {
		marks.Recv = max(marks.Recv, seq)
		c.marks[who] = marks
	}
}

// fresh replaces a device by a new one, which begins at the head.
func (w *model) fresh(rt *rapid.T) {
	user := w.users[rapid.IntRange(0, 2).Draw(rt, "who")]
	head, err := w.real.StreamHead(w.t.Context(), user)
	if err != nil {
		rt.Fatalf("head: %v", err)
	}
	w.devs[user][rapid.IntRange(0, 1).Draw(rt, "device")] = newDevice(head)
}

// restart forgets what the service remembers.
func (w *model) restart(*rapid.T) {
	w.real.Service = chat.New(chat.DefaultConfig(), w.real.store, w.real.users, w.real.woken, discard)
}

// unread counts anew.
func (w *model) unread(user accounts.Name) (counts map[chat.Conversation]uint64, total uint64) {
	counts = map[chat.Conversation]uint64{}
	for name, c := range w.convs {
		for i, m := range c.messages {
			if _, member := name.Peer(user); member && m.from != user && uint64(i) >= c.marks[user].Read {
				counts[name]++
				if w.sides[chat.Member{Conversation: name, Who: user}].Mute == 0 {
					total++
				}
			}
		}
	}
	return counts, total
}

// check compares everything that can be asked for.
func (w *model) check() {
	for _, user := range w.users {
		counts, total := w.unread(user)
		got, err := w.real.Unread(w.t.Context(), user)
		sum, listed := uint64(0), map[chat.Conversation]uint64{}
		for _, c := range got.Conversations {
			side := w.sides[chat.Member{Conversation: c.Conversation, Who: user}]
			if c.Mute != side.Mute || c.Flag != side.Flag {
				w.Fatalf("unread of %s: %+v, want %+v", user, c, side)
			}
			if side.Mute == 0 {
				sum += c.Unread
			}
			if c.Unread > 0 {
				listed[c.Conversation] = c.Unread
			}
		}
		if err != nil || got.Total != total || sum != total || !maps.Equal(listed, counts) {
			w.Fatalf("unread of %s: %+v, %v, want %v", user, got, err, counts)
		}
		page, err := w.real.Conversations(w.t.Context(), user, chat.ListAll, "", 10)
		if err != nil {
			w.Fatalf("conversations of %s: %v", user, err)
		}
		w.checkLists(user)
		for _, o := range page.List {
			c := w.convs[o.Tally.Conversation]
			if o.Tally.Unread() != counts[o.Tally.Conversation] || o.Tally.Head != uint64(len(c.messages)) ||
				o.Tally.Read != c.marks[user].Read {
				w.Fatalf("%s sees %+v, want %+v and unread %d", user, o, c, counts[o.Tally.Conversation])
			}
		}
	}
	for name, c := range w.convs {
		w.checkConversation(name, c)
	}
}

func (w *model) checkConversation(name chat.Conversation, c *modelConversation) {
	a, b, _ := name.Pair()
	for _, user := range []accounts.Name{a, b} {
		if got := w.real.marks(w.t, user, name); got != c.marks[user] {
			w.Fatalf("marks of %s in %s: %+v, want %+v", user, name, got, c.marks[user])
		}
	}
	page, err := w.real.History(w.t.Context(), a, chat.HistoryQuery{Conversation: name, First: true, Limit: 100})
	if err != nil || len(page.Messages) != min(len(c.messages), 100) || page.Head != uint64(len(c.messages)) {
		w.Fatalf("history of %s: %+v, %v, want %d messages", name, page, err, len(c.messages))
	}
	for i, m := range page.Messages {
		want := c.messages[i]
		if m.Seq != uint64(i)+1 || m.ID != want.id || m.From != want.from || m.MID != want.mid {
			w.Fatalf("message %d of %s: %+v, want %+v", i+1, name, m, want)
		}
	}
}
