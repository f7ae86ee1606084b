package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Messages that are not kept are removed some at a time. What is before the floor of a conversation is not there for anybody,
// whether it has been removed yet or not; behind it there may be gaps. The last message is never removed: it says what the next
// seq is.

// floorRow says where a conversation begins.
type floorRow struct {
	Floor uint64 `cbor:"1,keyasint,omitempty"` // the first seq that is there
	Ops   uint64 `cbor:"2,keyasint,omitempty"` // of a board: operations up to here are removed

	// Of the last message below the floor, if what was removed counted.
	N    uint64        `cbor:"3,keyasint,omitempty"`
	From accounts.Name `cbor:"4,keyasint,omitempty"`
	Own  uint64        `cbor:"5,keyasint,omitempty"`
}

// trimSlice is how many messages are removed in one batch.
const trimSlice = 256

// setFloorLocked raises the floor, in a batch that nothing is removed before.
func (c *conversation) setFloorLocked(b *pebble.Batch, row floorRow) {
	if row.N < c.floor.N || row.Floor < c.floor.Floor { // what was removed now does not count
		row.N, row.From, row.Own = c.floor.N, c.floor.From, c.floor.Own
	}
	row.Floor, row.Ops = max(row.Floor, c.floor.Floor), max(row.Ops, c.floor.Ops)
	if row != c.floor {
		c.floor = row
		put(b, key1(tableFloors, c.name), encode(row))
	}
}

func (c chatStore) Trim(ctx context.Context, name chat.Conversation, floor uint64, seqs []uint64) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	e, err := s.conversations.pin(ctx, name)
	if err != nil {
		return err
	}
	defer s.conversations.unpin(e)
	if err := e.value.take(ctx); err != nil { // nobody writes a message anew that is removed
		return err
	}
	defer e.value.give()
	if err := s.loadChanges(e.value); err != nil {
		return err
	}
	for first := true; first || len(seqs) > 0; first = false {
		n := min(len(seqs), trimSlice)
		if err := s.trim(ctx, e.value, floor, seqs[:n]); err != nil {
			return err
		}
		seqs = seqs[n:]
	}
	return s.clearBelow(ctx, e.value)
}

// trim raises the floor, and removes messages.
func (s *Store) trim(ctx context.Context, c *conversation, floor uint64, seqs []uint64) error {
	removed := make([]leaving, len(seqs))
	for i, seq := range seqs {
		place, content, err := s.contentAt(c.name, seq)
		if err != nil {
			return err
		}
		if removed[i], err = s.leavingOf(content.message(c.name, seq, place)); err != nil {
			return err
		}
	}
	if err := s.seq.place(ctx); err != nil {
		return err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	b := s.batch()
	c.setFloorLocked(b, floorRow{Floor: min(floor, c.head)})
	for _, m := range removed {
		c.removeLocked(b, m)
	}
	return s.commitTrimLocked(c, b)
}

// removeLocked removes a message that is not the last one, and what belongs to it.
// A repeat of it is known for some time still.
func (c *conversation) removeLocked(b *pebble.Batch, m leaving) {
	if m.Seq >= c.head {
		return
	}
	remove(b, messageKey(c.name, m.Seq))
	belongings(b, m.Message)
	c.unpinMessageLocked(b, m.Seq)
	if m.mid != nil {
		rememberMID(b, mid{c.name, m.From, m.MID}, *m.mid)
	}
}

func (s *Store) commitTrimLocked(c *conversation, b *pebble.Batch) error {
	if b.Empty() {
		s.seq.release()
		return b.Close()
	}
	commit, err := s.seq.commitLocked(b)
	if err == nil {
		c.last = commit
	}
	return err
}

// clearBelow removes what is left before the floor.
func (s *Store) clearBelow(ctx context.Context, c *conversation) error {
	for {
		s.seq.mu.Lock()
		floor := c.floor.Floor
		s.seq.mu.Unlock()
		var seqs []uint64
		prefix := key1(tableMessages, c.name)
		err := s.scan(prefix, messageKey(c.name, floor), "messages", func(key, _ []byte) (bool, error) {
			seq, err := cutNumber(key[len(prefix):])
			seqs = append(seqs, seq)
			return len(seqs) < trimSlice, err
		})
		if err != nil || len(seqs) == 0 {
			return err
		}
		if err := s.trim(ctx, c, floor, seqs); err != nil {
			return err
		}
		if len(seqs) < trimSlice {
			return nil
		}
	}
}

// Compact goes through the messages from where the last one ended.
func (c chatStore) Compact(ctx context.Context, o chat.Snapshot) (more bool, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	e, err := s.conversations.pin(ctx, o.Conversation)
	if err != nil {
		return false, err
	}
	defer s.conversations.unpin(e)
	if err := e.value.take(ctx); err != nil { // nobody writes a message anew that is removed
		return false, err
	}
	defer e.value.give()
	if err := s.loadChanges(e.value); err != nil {
		return false, err
	}
	s.seq.mu.Lock()
	floor := e.value.floor
	s.seq.mu.Unlock()
	ops, next, err := s.ops(o, floor)
	if err != nil {
		return false, err
	}
	if err := s.seq.place(ctx); err != nil {
		return false, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	b, conv := s.batch(), e.value
	conv.setFloorLocked(b, next)
	for _, m := range ops {
		conv.removeLocked(b, m)
	}
	if more = next.Ops < o.Seq; !more {
		remove(b, outdatedKey(o.TS, o.Conversation))
	}
	return more, s.commitTrimLocked(conv, b)
}

// ops gives the next operations up to a snapshot, and the floor when they are removed.
func (s *Store) ops(o chat.Snapshot, floor floorRow) (ops []leaving, next floorRow, err error) {
	from := max(floor.Floor, floor.Ops+1, 1)
	bare := from == max(floor.Floor, 1) // nothing is kept before
	next = floorRow{Floor: floor.Floor, Ops: o.Seq}
	seen := 0
	err = s.scan(messageKey(o.Conversation, from), messageKey(o.Conversation, o.Seq+1), "messages",
		func(key, value []byte) (bool, error) {
			seq, err := cutNumber(key[max(0, len(key)-8):])
			if err != nil {
				return false, err
			}
			m, err := decodeMessage(o.Conversation, seq, value)
			if err != nil {
				return false, err
			}
			if seen++; seen > trimSlice {
				next.Ops = seq - 1
				return false, nil
			}
			if m.Kind == chat.KindOp && m.Silent {
				op, err := s.leavingOf(m)
				if ops = append(ops, op); err != nil {
					return false, err
				}
			} else if bare {
				next.Floor, bare = seq, false
			}
			return true, nil
		})
	if bare {
		next.Floor = next.Ops + 1
	}
	return ops, next, err
}

// gap says what is known of a message that is not there any more: nothing but what counts before it.
func (s *Store) gap(c chat.Conversation, seq uint64) (m chat.Message, err error) {
	m = chat.Message{Conversation: c, Seq: seq, Kind: chat.KindGone, Silent: true}
	prefix := key1(tableMessages, c)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return m, unavailable("read message", err)
	}
	if iter.SeekLT(messageKey(c, seq)) {
		var before chat.Message
		if before, err = messageAt(c, iter); err == nil {
			m.N, m.TS = before.N, before.TS
		}
	} else if iter.SeekGE(messageKey(c, seq)) {
		var after chat.Message
		if after, err = messageAt(c, iter); err == nil {
			m.N, m.TS = after.N, after.TS
			if !after.Silent {
				m.N--
			}
		}
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return m, unavailable("read message", err)
	}
	return m, nil
}
