package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// conversation is what is kept in memory of a conversation of two people, and of the two people if they have none yet.
// Nothing of the head has a row of its own: it is what the last message's row says. Guarded by sequencer.mu.
type conversation struct {
	name    chat.Conversation
	members [2]accounts.Name // sorted
	talk    chat.Talk
	created int64

	head uint64    // last seq
	ts   int64     // of the last message
	n    uint64    // counting messages
	own  [2]uint64 // those of them that each member sent

	marks     [2]memberRow
	relations [2]relationRow // what the other one is to each member

	last *commit // covers all of this
}

// index says which of the two who is.
func (c *conversation) index(who accounts.Name) (i int, ok bool) {
	for i, m := range c.members {
		if m == who {
			return i, true
		}
	}
	return 0, false
}

// memberLocked is index for somebody who has to be in a conversation that exists.
func (c *conversation) memberLocked(who accounts.Name) (int, error) {
	if !c.talk.Exists {
		return 0, chat.ErrNoConversation
	}
	i, ok := c.index(who)
	if !ok {
		return 0, chat.ErrNotMember
	}
	return i, nil
}

// tallyLocked is member i's tally of this moment.
func (c *conversation) tallyLocked(i int) chat.Tally {
	m := c.marks[i]
	if c.talk.Dropped && c.talk.Boxed(c.members[i]) {
		return chat.Tally{Conversation: c.name, Boxed: true}
	}
	return chat.Tally{
		Conversation: c.name, Head: c.head, Read: m.Read, N: c.n, ReadN: m.ReadN, Own: c.own[i], ReadOwn: m.ReadOwn,
		Boxed: c.talk.Boxed(c.members[i]),
	}
}

// ownOf gives how many of the counting messages up to a message of a direct conversation are who's: a row says it of its
// sender, and all others are the other's.
func ownOf(who, from accounts.Name, p placeRow) uint64 {
	if who == from {
		return p.Own
	}
	return p.N - p.Own
}

func (s *Store) loadConversation(_ context.Context, name chat.Conversation) (*conversation, error) {
	c := &conversation{name: name, last: s.seq.current()} // nothing changes it while it is being loaded
	var ok bool
	if c.members[0], c.members[1], ok = name.Pair(); !ok {
		return c, nil // there are no others yet
	}
	for i, member := range c.members {
		if _, err := s.get(key2(tableRelations, member, c.members[1-i]), "relation", &c.relations[i]); err != nil {
			return nil, err
		}
	}
	var row conversationRow
	exists, err := s.get(key1(tableConversations, name), "conversation", &row)
	if err != nil || !exists {
		return c, err
	}
	c.created = row.Created
	c.talk = chat.Talk{Exists: true, Open: row.Open, Asker: row.Asker, Dropped: row.Dropped}
	for i, member := range c.members {
		if _, err := s.get(key2(tableMembers, name, member), "member", &c.marks[i]); err != nil {
			return nil, err
		}
	}
	last, err := s.lastMessage(s.db, name)
	if err != nil {
		return nil, err
	}
	c.head, c.ts, c.n = last.Seq, last.TS, last.N
	for i, member := range c.members {
		c.own[i] = ownOf(member, last.From, placeRow{N: last.N, Own: last.Own})
	}
	return c, nil
}

// lastMessage gives the last message of a conversation; the zero value if it has none.
func (s *Store) lastMessage(r pebble.Reader, name chat.Conversation) (m chat.Message, err error) {
	prefix := key1(tableMessages, name)
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return m, unavailable("read last message", err)
	}
	if iter.Last() {
		m, err = messageAt(name, iter)
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return m, unavailable("read last message", err)
	}
	return m, nil
}

// messageAt reads the message at which an iterator stands.
func messageAt(c chat.Conversation, iter *pebble.Iterator) (chat.Message, error) {
	key := iter.Key()
	seq, err := cutNumber(key[max(0, len(key)-8):])
	if err != nil {
		return chat.Message{}, err
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return chat.Message{}, err
	}
	return decodeMessage(c, seq, value)
}

// message reads one message that is known to be there.
func (s *Store) message(c chat.Conversation, seq uint64) (m chat.Message, err error) {
	value, closer, err := s.db.Get(messageKey(c, seq))
	if err != nil {
		return m, unavailable("read message", err)
	}
	m, err = decodeMessage(c, seq, value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return m, unavailable("read message", err)
	}
	return m, nil
}

// parties are a conversation and the streams of its people, in memory and pinned.
type parties struct {
	store *Store
	conv  *entry[chat.Conversation, *conversation]
	users [2]*entry[accounts.Name, *stream] // of conversation.members; nil if the conversation cannot have any
}

// parties loads what a change of a conversation touches. It has to be released.
func (s *Store) parties(ctx context.Context, name chat.Conversation) (p parties, err error) {
	p.store = s
	if p.conv, err = s.conversations.pin(ctx, name); err != nil {
		return p, err
	}
	if p.conv.value.members[0] == "" {
		return p, nil
	}
	for i, user := range p.conv.value.members {
		if p.users[i], err = s.streams.pin(ctx, user); err != nil {
			p.release()
			return p, err
		}
	}
	return p, nil
}

func (p parties) release() {
	p.store.seq.mu.Lock()
	defer p.store.seq.mu.Unlock()
	for _, e := range p.users {
		if e != nil {
			p.store.streams.unpinLocked(e)
		}
	}
	p.store.conversations.unpinLocked(p.conv)
}

// stream gives the stream of member i.
func (p parties) stream(i int) *stream { return p.users[i].value }

// changedLocked tells member i's stream that the tally of the conversation is another.
func (p parties) changedLocked(i int) {
	st := p.stream(i)
	st.changed = true
	st.unread.noteLocked(p.conv.value.tallyLocked(i))
}

// pushLocked adds an entry to the stream of member i.
func (p parties) pushLocked(b *pebble.Batch, i int, row []byte) (usn uint64) {
	st := p.stream(i)
	st.changed = true
	return st.pushLocked(b, row)
}

// commitLocked uses up a reserved place for a change of the conversation.
func (p parties) commitLocked(b *pebble.Batch) (*commit, error) {
	commit, err := p.store.seq.commitLocked(b)
	if err != nil {
		return nil, err
	}
	p.conv.value.last = commit
	for _, e := range p.users {
		if st := e.value; st.changed {
			st.last, st.changed = commit, false
		}
	}
	return commit, nil
}
