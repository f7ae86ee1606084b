package storetest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// audit reads everything of some users and compares what can be known twice: places have no gaps, every message has one
// pointer in each stream, ordinals and tallies are what counting gives, contacts are so on both sides.
func (k *kit) audit(users ...accounts.Name) {
	k.Helper()
	for _, u := range users {
		stream := k.stream(u)
		convs := append(k.conversations(u, false), k.conversations(u, true)...)
		pointers := map[chat.Conversation]uint64{}
		for _, e := range stream {
			if e.Type != chat.EntryMessage {
				continue
			}
			pointers[e.Conversation]++
			equal(k, fmt.Sprintf("seq that usn %d of %s points at", e.USN, u), e.Message.Seq, pointers[e.Conversation])
		}
		var unread []chat.Tally
		for _, o := range convs {
			t := k.recount(u, o.Tally.Conversation)
			t.Boxed = o.Tally.Boxed
			same(k, "tally of "+string(u)+" in the list", o.Tally, t)
			equal(k, "pointers of "+string(u), pointers[t.Conversation], t.Head)
			if t.Unread() > 0 {
				unread = append(unread, t)
			}
		}
		sortTallies(unread)
		tallies, asOf := k.tallies(u)
		same(k, "tallies of "+string(u), tallies, unread)
		equal(k, "usn of the tallies of "+string(u), asOf, uint64(len(stream)))
		k.auditContacts(u, convs)
	}
}

// conversations reads the whole list of somebody, in small pages.
func (k *kit) conversations(who accounts.Name, boxed bool) []chat.Overview {
	k.Helper()
	list := chat.ListAll
	if boxed {
		list = chat.ListBox
	}
	return k.list(who, list)
}

// list reads one of somebody's lists, a few lines at a time.
func (k *kit) list(who accounts.Name, list chat.List) []chat.Overview {
	k.Helper()
	var out []chat.Overview
	for q := (chat.ListQuery{List: list, Limit: 2}); ; {
		page, more, err := k.chat().Conversations(k.ctx(), who, q)
		k.ok("conversations", err)
		out = append(out, page...)
		if !more {
			return out
		}
		q.After = page[len(page)-1].Place
	}
}

// recount computes a tally by counting messages.
func (k *kit) recount(who accounts.Name, c chat.Conversation) chat.Tally {
	k.Helper()
	t := chat.Tally{Conversation: c, Read: k.marks(c, who).Read}
	own := map[accounts.Name]uint64{}
	var ts int64
	for _, m := range k.messages(c) {
		t.Head = m.Seq
		if !m.Silent {
			t.N++
			own[m.From]++
		}
		if !m.Silent && m.Seq > t.Read && m.From != who && (m.Everyone || slices.Contains(m.At, who)) {
			t.Mention++
		}
		equal(k, fmt.Sprintf("N of message %d of %s", m.Seq, c), m.N, t.N)
		equal(k, fmt.Sprintf("Own of message %d of %s", m.Seq, c), m.Own, own[m.From])
		if m.TS < ts {
			k.Fatalf("time of message %d of %s: got %d after %d", m.Seq, c, m.TS, ts)
		}
		ts = m.TS
		if m.Seq == t.Read {
			t.ReadN, t.ReadOwn = t.N, own[who]
		}
	}
	t.Own = own[who]
	return t
}

func (k *kit) auditContacts(u accounts.Name, convs []chat.Overview) {
	k.Helper()
	accepted := map[chat.Conversation]bool{}
	list, err := k.chat().List(k.ctx(), u, "", 1000)
	k.ok("list", err)
	for _, c := range list {
		// A request may have vanished on one side, behind a block or a silent refusal; being contacts is mutual.
		there := k.state(c.Who, u)
		equal(k, fmt.Sprintf("whether %s is a contact of %s, who has %q, as %q", u, c.Who, c.State, there),
			there == chat.ContactAccepted, c.State == chat.ContactAccepted)
		if c.State == chat.ContactAccepted {
			accepted[c.Conversation] = true
		}
	}
	for _, o := range convs {
		delete(accepted, o.Tally.Conversation)
	}
	for c := range accepted {
		k.Fatalf("%s and a contact have no conversation %s", u, c)
	}
}

func sortTallies(t []chat.Tally) {
	slices.SortFunc(t, func(a, b chat.Tally) int { return cmp.Compare(a.Conversation, b.Conversation) })
}
