package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// conversation is what is kept in memory of a conversation; of two people also if they have none yet. Nothing of the head has
// a row of its own: it is what the last message's row says. Guarded by sequencer.mu.
type conversation struct {
	store   *Store
	name    chat.Conversation
	kind    chat.Kind // KindNone: nobody is in it, and never will be
	created int64     // 0: there is no row yet
	direct  *direct   // of two people
	room    *room     // of kinds that people join and leave

	head uint64 // last seq
	ts   int64  // of the last message
	n    uint64 // counting messages
	gone gone
	// calls are the messages that mention everyone.
	calls []goneMark

	floor floorRow
	hall  hall

	members []*member // the two, sorted by name, or whose notes it is; of a room, none
	// pinned are the members of a room that is not large; crew counts how often members have changed.
	pinned map[accounts.Name]*entry[chat.Member, *member]
	crew   uint64
	// receiptsAt is when senders of a room were told last what became of their messages, in Unix milliseconds.
	receiptsAt int64

	changes changes
	turn    chan struct{} // see take

	last *commit // covers all of this
}

// direct is what two people are to each other, in the order of members.
type direct struct {
	talk      chat.Talk
	relations [2]relationRow
}

// member is what is kept in memory of somebody and a conversation. Guarded by sequencer.mu.
type member struct {
	who accounts.Name
	row memberRow
	own uint64 // counting messages that he has sent
	// wrote is the seq of the last of them in a room; 0: it is not known, or there is none.
	wrote uint64
	spoke bool // it is written down that he has said something in the room
	// hidden are those of others after since that he has deleted for himself, in the order of seq.
	hidden []uint64

	missed   missed
	mentions []uint64 // messages after his mark that mention him by name
}

// weightLocked counts what the members of a room take besides.
func (c *conversation) weightLocked() int { return 1 + len(c.pinned)/4 + len(c.gone.marks)/16 }

// partLocked is called when the conversation is forgotten.
func (c *conversation) partLocked() { c.unpinLocked(c.store) }

// exists says whether the conversation can be read and marked.
func (c *conversation) exists() bool {
	switch {
	case c.direct != nil:
		return c.direct.talk.Exists
	case c.room != nil:
		return c.room.Exists()
	}
	return c.kind == chat.KindNotes
}

// large says whether the conversation is in nobody's stream.
func (c *conversation) large() bool { return c.room != nil && c.room.Large }

// index says which of the two people who is, who is one of them.
func (c *conversation) index(who accounts.Name) int {
	return slices.IndexFunc(c.members, func(m *member) bool { return m.who == who })
}

// in says whether m, who is one of its parties, is a member now.
func (c *conversation) in(m *member) bool { return c.room == nil || m.row.Role != roleNone }

// tallyLocked is a member's tally of this moment.
func (c *conversation) tallyLocked(m *member) chat.Tally {
	boxed := c.direct != nil && c.direct.talk.Boxed(m.who)
	if boxed && c.direct.talk.Dropped || !c.in(m) {
		return chat.Tally{Conversation: c.name, Boxed: boxed}
	}
	return chat.Tally{
		Conversation: c.name, Head: c.head, Read: m.row.Read, N: c.n, ReadN: m.row.ReadN, Own: m.own, ReadOwn: m.row.ReadOwn,
		Gone: c.gone.missedLocked(m), Mention: c.mentionsLocked(m), Boxed: boxed, Large: c.large(),
	}
}

// ownOf gives how many of the counting messages up to a message of a direct conversation are who's: a row says it of its
// sender, and all others are the other's. Notes are one's own.
func ownOf(who, from accounts.Name, p placeRow) uint64 {
	if who == from {
		return p.Own
	}
	return p.N - p.Own
}

func (s *Store) loadConversation(ctx context.Context, name chat.Conversation) (*conversation, error) {
	c := &conversation{store: s, name: name, kind: name.Kind(), turn: make(chan struct{}, 1)}
	c.last = s.seq.current() // nothing changes it while it is being loaded
	if c.kind == chat.KindNone {
		return c, nil
	}
	var row conversationRow
	exists, err := s.get(key1(tableConversations, name), "conversation", &row)
	if err != nil {
		return nil, err
	}
	c.created = row.Created
	last, err := s.lastMessage(s.db, name)
	if err != nil {
		return nil, err
	}
	c.head, c.ts, c.n = last.Seq, last.TS, last.N
	if c.gone.marks, err = s.readGone(s.db, name, 0); err != nil {
		return nil, err
	}
	if c.calls, err = s.readCalls(s.db, name, 0); err != nil {
		return nil, err
	}
	if _, err := s.get(key1(tableFloors, name), "floor", &c.floor); err != nil {
		return nil, err
	}
	if err := s.loadHall(ctx, c); err != nil {
		return nil, err
	}
	switch {
	case c.kind == chat.KindDirect:
		return c, s.loadDirect(c, exists, row, last)
	case c.kind.Room():
		return c, s.loadRoom(ctx, c, row)
	}
	owner, _ := name.Owner()
	return c, s.loadTheirs(c, last, owner)
}

func (s *Store) loadDirect(c *conversation, exists bool, row conversationRow, last chat.Message) error {
	a, b, _ := c.name.Pair()
	c.direct = &direct{}
	if exists {
		c.direct.talk = chat.Talk{Exists: true, Open: row.Open, Asker: row.Asker, Dropped: row.Dropped}
	}
	for i, pair := range [2][2]accounts.Name{{a, b}, {b, a}} {
		if _, err := s.get(key2(tableRelations, pair[0], pair[1]), "relation", &c.direct.relations[i]); err != nil {
			return err
		}
	}
	return s.loadTheirs(c, last, a, b)
}

// loadTheirs loads those who are in a conversation for ever.
func (s *Store) loadTheirs(c *conversation, last chat.Message, names ...accounts.Name) error {
	for _, who := range names {
		m := &member{who: who, own: ownOf(who, last.From, placeRow{N: last.N, Own: last.Own})}
		if _, err := s.get(key2(tableMembers, c.name, who), "member", &m.row); err != nil {
			return err
		}
		var err error
		if m.mentions, err = s.readMentions(s.db, c.name, who, m.row.since()); err != nil {
			return err
		}
		if err := s.loadHidden(c.name, m); err != nil {
			return err
		}
		c.members = append(c.members, m)
	}
	return nil
}

func (s *Store) loadMember(_ context.Context, key chat.Member) (*member, error) {
	m := &member{who: key.Who}
	if _, err := s.get(key2(tableMembers, key.Conversation, key.Who), "member", &m.row); err != nil {
		return nil, err
	}
	m.own = m.row.Own
	var err error
	if m.mentions, err = s.readMentions(s.db, key.Conversation, key.Who, m.row.since()); err != nil {
		return nil, err
	}
	return m, s.loadHidden(key.Conversation, m)
}

func (s *Store) loadHidden(c chat.Conversation, m *member) (err error) {
	if m.row.Hides {
		m.hidden, err = s.readHidden(s.db, m.who, c, m.row.since())
	}
	return err
}

// lastMessage gives the last message of a conversation; the zero value if it has none.
func (s *Store) lastMessage(r pebble.Reader, name chat.Conversation) (m chat.Message, err error) {
	prefix := key1(tableMessages, name)
	err = lastRow(r, prefix, prefixEnd(prefix), func(iter *pebble.Iterator) (err error) {
		m, err = messageAt(name, iter)
		return err
	})
	if err != nil {
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

// message reads one message that is known to be there, or to have been: see gap.
func (s *Store) message(c chat.Conversation, seq uint64) (m chat.Message, err error) {
	value, closer, err := s.db.Get(messageKey(c, seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return s.gap(c, seq)
	}
	if err != nil {
		return m, unavailable("read message", err)
	}
	m, err = decodeMessage(c, seq, value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return m, unavailable("read message", err)
	}
	return m, nil
}

// ownUpTo gives how many of the counting messages up to seq who has sent in a room.
func (s *Store) ownUpTo(r pebble.Reader, c chat.Conversation, who accounts.Name, seq uint64) (own uint64, err error) {
	prefix := key2(tableOwn, c, who)
	upper := binary.BigEndian.AppendUint64(prefix, seq+1)
	err = lastRow(r, prefix, upper, func(iter *pebble.Iterator) error {
		value, err := iter.ValueAndErr()
		if err == nil {
			own, err = cutNumber(value)
		}
		return err
	})
	if err != nil {
		return 0, unavailable("read own", err)
	}
	return own, nil
}
