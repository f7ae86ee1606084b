package pebble

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Written(ctx context.Context, after chat.Conversation, limit int) (out []chat.Written, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	iter, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: prefixEnd(key1(tableMessages, after)), UpperBound: prefixEnd([]byte{byte(tableMessages)}),
	})
	if err != nil {
		return nil, unavailable("read conversations", err)
	}
	for ok := iter.First(); ok && err == nil && len(out) < limit; {
		var name string
		if name, _, err = cutString(iter.Key()[1:]); err != nil {
			break
		}
		w := chat.Written{Conversation: chat.Conversation(name)}
		if w.Keep, w.Oldest, err = s.kept(w.Conversation, iter); err == nil {
			out = append(out, w)
		}
		ok = iter.SeekGE(prefixEnd(key1(tableMessages, name)))
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return nil, unavailable("read conversations", err)
	}
	return out, s.seq.settled(ctx)
}

// kept gives for how many days a conversation wants to be kept, and the time of the message at which iter stands, which is the
// first that is there.
func (s *Store) kept(name chat.Conversation, iter *pebble.Iterator) (days, oldest int64, err error) {
	value, err := iter.ValueAndErr()
	if err != nil {
		return 0, 0, err
	}
	p, _, err := decodePlace(value)
	if err != nil || !name.Kind().Room() {
		return 0, p.TS, err
	}
	var row conversationRow
	if _, err := s.get(key1(tableConversations, name), "conversation", &row); err != nil || row.Info == nil {
		return 0, p.TS, err
	}
	return row.Info.Keep, p.TS, nil
}

func (c chatStore) Retire(ctx context.Context, name chat.Conversation, before int64) (more bool, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	p, err := s.parties(ctx, name, true)
	if err != nil {
		return false, err
	}
	defer p.release()
	if err := p.conv.value.take(ctx); err != nil { // nobody writes a message anew that is removed
		return false, err
	}
	defer p.conv.value.give()
	floor, err := s.floorAt(p.conv.value, before)
	if err != nil {
		return false, err
	}
	if err := s.raise(ctx, &p, floor); err != nil {
		return false, err
	}
	return s.removeBelow(ctx, p.conv.value, before)
}

// floorAt says where a conversation begins if messages before a time are not kept.
func (s *Store) floorAt(c *conversation, before int64) (row floorRow, err error) {
	s.seq.mu.Lock()
	low, high := max(c.floor.Floor, 1), c.head+1
	s.seq.mu.Unlock()
	n := sort.Search(int(high-low), func(i int) bool {
		if err != nil {
			return true
		}
		var m chat.Message
		m, err = s.message(c.name, low+uint64(i))
		return m.TS >= before
	})
	row.Floor = low + uint64(n)
	if err != nil || row.Floor == 1 {
		return row, err
	}
	last, err := s.message(c.name, row.Floor-1)
	row.N, row.From, row.Own = last.N, last.From, last.Own
	return row, err
}

// raise raises the floor, and has nobody count what is below.
func (s *Store) raise(ctx context.Context, p *parties, row floorRow) error {
	own := make([]uint64, len(p.people))
	for i, q := range p.people {
		var err error
		if own[i], err = s.ownBelow(p.conv.value, row, q.who); err != nil {
			return err
		}
	}
	if err := s.seq.place(ctx); err != nil {
		return err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	conv, b := p.conv.value, s.batch()
	if p.staleLocked() || row.Floor <= conv.floor.Floor {
		s.seq.release() // the next look finds it
		return b.Close()
	}
	conv.setFloorLocked(b, row)
	for i, q := range p.people {
		if conv.in(q.member) && q.member.row.since() < row.Floor-1 {
			q.member.rebase(row, own[i])
			conv.forgetMentionsLocked(b, q.member)
			p.saveLocked(b, i)
			p.changedLocked(i)
		}
	}
	_, err := p.commitLocked(b)
	return err
}

// rebase has a member count only what is not below the floor.
func (m *member) rebase(row floorRow, own uint64) {
	m.row.Base, m.row.ReadN, m.row.ReadOwn = row.Floor-1, row.N, own
}

// ownBelow gives how many of the counting messages below a floor somebody has sent.
func (s *Store) ownBelow(c *conversation, row floorRow, who accounts.Name) (uint64, error) {
	if c.kind.Room() {
		return s.ownUpTo(s.db, c.name, who, row.Floor-1)
	}
	return ownOf(who, row.From, placeRow{N: row.N, Own: row.Own}), nil
}

// rebase brings a member of a room up to its floor: the rows of members of large ones are not written when that is raised.
func (s *Store) rebase(c *conversation, m *member) error {
	s.seq.mu.Lock()
	row := c.floor
	behind := c.behindLocked(m)
	s.seq.mu.Unlock()
	if !behind {
		return nil
	}
	own, err := s.ownBelow(c, row, m.who)
	if err != nil {
		return err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if m.row.since()+1 < row.Floor {
		m.rebase(row, own)
	}
	return nil
}

// behindLocked says whether a member still counts what is below the floor.
func (c *conversation) behindLocked(m *member) bool {
	return c.in(m) && m.row.since()+1 < c.floor.Floor
}

// rebaseFrom is rebase for somebody who was read from the disk.
func (s *Store) rebaseFrom(r pebble.Reader, c *conversation, m *member) error {
	if !c.kind.Room() {
		return nil // their rows are written
	}
	var row floorRow
	value, closer, err := r.Get(key1(tableFloors, c.name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = errors.Join(decode("floor", value, &row), closer.Close())
	}
	if err != nil {
		return unavailable("read floor", err)
	}
	if m.row.since()+1 >= row.Floor {
		return nil
	}
	own, err := s.ownUpTo(r, c.name, m.who, row.Floor-1)
	m.rebase(row, own)
	return err
}

// retireSlice is how many messages are removed in one batch.
const retireSlice = 256

// removeBelow removes some of the messages below the floor, with what belongs to them. The last message of all stays, without
// content.
func (s *Store) removeBelow(ctx context.Context, c *conversation, before int64) (more bool, err error) {
	s.seq.mu.Lock()
	floor, head := c.floor.Floor, c.head
	s.seq.mu.Unlock()
	b := s.batch()
	n := 0
	err = s.scan(messageKey(c.name, 0), messageKey(c.name, floor), "messages", func(key, value []byte) (bool, error) {
		if more = n == retireSlice; more {
			return false, nil
		}
		seq, err := cutNumber(key[max(0, len(key)-8):])
		if err != nil {
			return false, err
		}
		m, err := decodeMessage(c.name, seq, value)
		if err != nil {
			return false, err
		}
		if seq == head && m.Kind == chat.KindGone && m.MID == m.ID { // done before
			return true, nil
		}
		n++
		return true, s.removeMessage(b, m, seq == head)
	})
	if err != nil {
		return false, errors.Join(err, b.Close())
	}
	if !more && n > 0 { // with the last slice; when there was none, it is done
		err = errors.Join(s.removeOthers(b, c.name, floor), s.removeTheirs(b, c, floor))
	}
	if err == nil && !more {
		more, err = s.removeChanges(b, c.name, floor, before)
	}
	if err != nil || b.Empty() {
		return false, errors.Join(err, b.Close())
	}
	if err := s.seq.place(ctx); err != nil {
		return false, errors.Join(err, b.Close())
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	c.gone.cutLocked(floor)
	c.calls = slices.DeleteFunc(c.calls, func(call goneMark) bool { return call.seq < floor })
	c.changes.pins = slices.DeleteFunc(c.changes.pins, func(seq uint64) bool { return seq < floor })
	commit, err := s.seq.commitLocked(b)
	if err == nil {
		c.last = commit
	}
	return more, err
}

// removeMessage removes one message; of the last one only what it says.
func (s *Store) removeMessage(b *pebble.Batch, m chat.Message, last bool) error {
	if m.MID != m.ID {
		remove(b, midKey(m.Conversation, m.From, m.MID))
	}
	forgetExpiry(b, m)
	if last {
		bare := contentRow{ID: m.ID, From: m.From, Kind: chat.KindGone, Silent: m.Silent}
		put(b, messageKey(m.Conversation, m.Seq), append(encode(placeRow{TS: m.TS, N: m.N, Own: m.Own}), encode(bare)...))
	} else {
		remove(b, messageKey(m.Conversation, m.Seq))
	}
	if !m.Conversation.Kind().Room() || m.Silent {
		return nil
	}
	// The newest of somebody's ordinals below the floor stays: it says how many there were.
	prefix := key2(tableOwn, m.Conversation, m.From)
	return s.lastBefore(prefix, ownKey(m.Conversation, m.From, m.Seq), func(key []byte) { remove(b, key) })
}

// lastBefore calls found with the last key of a prefix before a bound, if there is one.
func (s *Store) lastBefore(prefix, bound []byte, found func(key []byte)) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: bound})
	if err != nil {
		return unavailable("read row", err)
	}
	if iter.Last() {
		found(append([]byte(nil), iter.Key()...))
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return unavailable("read row", err)
	}
	return nil
}

// removeOthers removes what belongs to messages below the floor and has their seq in its key.
func (s *Store) removeOthers(b *pebble.Batch, name chat.Conversation, floor uint64) error {
	for _, t := range []table{tableGone, tableEdits, tableReactions, tablePins} {
		if err := b.DeleteRange(key1(t, name), seqKey(t, name, floor), nil); err != nil {
			return unavailable("remove messages", err)
		}
	}
	if err := b.DeleteRange(key2(tableMentions, name, ""), mentionKey(name, "", floor), nil); err != nil {
		return unavailable("remove messages", err)
	}
	return nil
}

// cutLocked forgets what is below a floor.
func (g *gone) cutLocked(floor uint64) {
	if n := g.after(floor - 1); n > 0 {
		g.marks = append([]goneMark(nil), g.marks[n:]...)
		g.version++
	}
}

func (c chatStore) RetireStreams(
	ctx context.Context, before int64, after accounts.Name, limit int,
) (last accounts.Name, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return "", err
	}
	defer s.leave()
	for range limit {
		user, found, err := s.nextStream(after)
		if err != nil || !found {
			return "", err
		}
		if err := s.retireStream(ctx, user, before); err != nil {
			return "", err
		}
		after = user
	}
	return after, nil
}

// nextStream gives the first user after another who has a stream.
func (s *Store) nextStream(after accounts.Name) (user accounts.Name, found bool, err error) {
	from := []byte{byte(tableStreams)}
	to := prefixEnd(from)
	if after != "" {
		from = prefixEnd(key1(tableStreams, after))
	}
	err = s.scan(from, to, "streams", func(key, _ []byte) (bool, error) {
		name, _, err := cutString(key[1:])
		user, found = accounts.Name(name), true
		return false, err
	})
	return user, found, err
}

// retireStream cuts the beginning of a stream off, in one go: nobody sees half of it.
func (s *Store) retireStream(ctx context.Context, user accounts.Name, before int64) error {
	first, head, err := s.streamEnds(user)
	if err != nil || first == head {
		return err
	}
	n := sort.Search(int(head-first), func(i int) bool {
		if err != nil {
			return true
		}
		var ts int64
		ts, err = s.entryTime(user, first+uint64(i))
		return ts >= before
	})
	if err != nil || n == 0 {
		return err
	}
	b := s.batch()
	if err := b.DeleteRange(entryKey(user, 0), entryKey(user, first+uint64(n)), nil); err != nil {
		return errors.Join(unavailable("cut stream", err), b.Close())
	}
	if err := s.seq.place(ctx); err != nil {
		return errors.Join(err, b.Close())
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	_, err = s.seq.commitLocked(b)
	return err
}

// streamEnds gives the first usn and the last one of a stream.
func (s *Store) streamEnds(user accounts.Name) (first, head uint64, err error) {
	prefix := key1(tableStreams, user)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return 0, 0, unavailable("read stream", err)
	}
	if iter.First() {
		first, err = cutNumber(iter.Key()[len(prefix):])
	}
	if err == nil && iter.Last() {
		head, err = cutNumber(iter.Key()[len(prefix):])
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return 0, 0, unavailable("read stream", err)
	}
	return first, head, nil
}

// entryTime gives the time of an entry; of a message, or of a change of one, that of what it points at.
func (s *Store) entryTime(user accounts.Name, usn uint64) (int64, error) {
	var row entryRow
	_, err := s.get(entryKey(user, usn), "entry", &row)
	switch {
	case err != nil:
		return 0, err
	case row.Type == entryMessage:
		m, err := s.message(row.Conversation, row.Seq)
		return m.TS, err
	case row.Rev != 0:
		return s.changeTime(row.Conversation, row.Rev)
	}
	return row.TS, nil
}
