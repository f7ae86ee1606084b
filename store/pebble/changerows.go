package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// What is done to messages, on the disk.
const (
	opEdit    = 1
	opRecall  = 2
	opReact   = 3
	opUnreact = 4
	opPin     = 5
	opUnpin   = 6
)

var ops = [...]chat.Op{
	opEdit: chat.OpEdit, opRecall: chat.OpRecall, opReact: chat.OpReact, opUnreact: chat.OpUnreact, opPin: chat.OpPin,
	opUnpin: chat.OpUnpin,
}

// opWords are ops and that of no change.
var opWords = map[int]chat.Op{
	0: "", opEdit: chat.OpEdit, opRecall: chat.OpRecall, opReact: chat.OpReact, opUnreact: chat.OpUnreact, opPin: chat.OpPin,
	opUnpin: chat.OpUnpin,
}

// changeRow is a change in its place. What an edit says is in the message, so that nothing of it is left when that is gone.
type changeRow struct {
	Op    int           `cbor:"1,keyasint"`
	Seq   uint64        `cbor:"2,keyasint"`
	By    accounts.Name `cbor:"3,keyasint,omitempty"`
	TS    int64         `cbor:"4,keyasint"`
	Emoji string        `cbor:"5,keyasint,omitempty"`
	Why   string        `cbor:"6,keyasint,omitempty"`
}

func changeRowOf(r *chat.Revision) changeRow {
	op := slices.Index(ops[:], r.Op)
	return changeRow{Op: op, Seq: r.Seq, By: r.By, TS: r.TS, Emoji: r.Emoji, Why: r.Why}
}

func decodeRevision(c chat.Conversation, rev uint64, value []byte) (chat.Revision, error) {
	var row changeRow
	if err := decode("change", value, &row); err != nil {
		return chat.Revision{}, err
	}
	if row.Op <= 0 || row.Op >= len(ops) {
		return chat.Revision{}, fmt.Errorf("change %d of %s is a %d: %w", rev, c, row.Op, ErrDamaged)
	}
	return chat.Revision{
		Conversation: c, Rev: rev, Op: ops[row.Op], Seq: row.Seq, By: row.By, TS: row.TS, Emoji: row.Emoji, Why: row.Why,
	}, nil
}

// editRow is what a message said before an edit.
type editRow struct {
	TS   int64  `cbor:"1,keyasint"` // since when
	Body []byte `cbor:"2,keyasint,omitempty"`
}

// changes are what is kept in memory of the changes of a conversation. Guarded by sequencer.mu.
type changes struct {
	loaded bool // from the disk: conversations without changes do without
	rev    uint64
	pins   []uint64 // sorted
}

// loadChanges sees that the changes of a conversation are in memory.
func (s *Store) loadChanges(c *conversation) error {
	s.seq.mu.Lock()
	loaded := c.changes.loaded
	s.seq.mu.Unlock()
	if loaded {
		return nil
	}
	rev, err := s.lastRevision(c.name)
	if err != nil {
		return err
	}
	pins, err := s.pins(c.name, 0, 0)
	if err != nil {
		return err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if !c.changes.loaded {
		c.changes = changes{true, rev, pins}
	}
	return nil
}

func (s *Store) lastRevision(name chat.Conversation) (rev uint64, err error) {
	prefix := key1(tableChanges, name)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return 0, unavailable("read last change", err)
	}
	if iter.Last() {
		rev, err = cutNumber(iter.Key()[len(prefix):])
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return 0, unavailable("read last change", err)
	}
	return rev, nil
}

// pins reads which messages are pinned from seq first to seq last; 0: all.
func (s *Store) pins(name chat.Conversation, first, last uint64) (seqs []uint64, err error) {
	prefix := key1(tablePins, name)
	end := prefixEnd(prefix)
	if last != 0 {
		end = seqKey(tablePins, name, last+1)
	}
	err = s.scan(seqKey(tablePins, name, first), end, "pins", func(key, _ []byte) (bool, error) {
		seq, err := cutNumber(key[len(prefix):])
		seqs = append(seqs, seq)
		return true, err
	})
	return seqs, err
}

// reacted is what is known of the reactions to a message before a change of them.
type reacted struct {
	has          bool   // his, with the emoji
	n            uint64 // with the emoji
	mine, emojis int
}

// reactions visits the emojis with which somebody has reacted to a message, in the order of keys.
func (s *Store) reactions(
	iter *pebble.Iterator, c chat.Conversation, seq uint64, visit func(emoji string, n uint64) error,
) error {
	prefix := seqKey(tableReactions, c, seq)
	for ok := iter.SeekGE(prefix); ok; {
		key := iter.Key()
		if len(key) < len(prefix) || string(key[:len(prefix)]) != string(prefix) {
			return nil
		}
		emoji, rest, err := cutString(key[len(prefix):])
		if err != nil {
			return err
		}
		if who, _, err := cutString(rest); err != nil || who != "" {
			return errors.Join(err, fmt.Errorf("reactions to message %d of %s: %w", seq, c, ErrDamaged))
		}
		n, err := cutNumber(iter.Value())
		if err == nil {
			err = visit(emoji, n)
		}
		if err != nil {
			return err
		}
		ok = iter.SeekGE(prefixEnd(emojiKey(c, seq, emoji)))
	}
	return iter.Error()
}

// reactedBy reads what a decision about a reaction needs.
func (s *Store) reactedBy(c chat.Conversation, seq uint64, who accounts.Name, emoji string) (r reacted, err error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: seqKey(tableReactions, c, seq), UpperBound: seqKey(tableReactions, c, seq+1),
	})
	if err != nil {
		return r, unavailable("read reactions", err)
	}
	err = s.reactions(iter, c, seq, func(used string, n uint64) error {
		r.emojis++
		is, err := has(s.db, reactionKey(c, seq, used, who))
		r.mine += one(is)
		if used == emoji {
			r.has, r.n = is, n
		}
		return err
	})
	if err = errors.Join(err, iter.Close()); err != nil {
		return r, unavailable("read reactions", err)
	}
	return r, nil
}

// countReactions writes how many have reacted with an emoji.
func countReactions(b *pebble.Batch, c chat.Conversation, seq uint64, emoji string, n uint64) {
	key := reactionKey(c, seq, emoji, "")
	if n == 0 {
		remove(b, key)
		return
	}
	put(b, key, binary.BigEndian.AppendUint64(nil, n))
}

// removeRange removes the rows whose keys begin with prefix.
func removeRange(b *pebble.Batch, prefix []byte) {
	if err := b.DeleteRange(prefix, prefixEnd(prefix), nil); err != nil {
		panic(err)
	}
}

// shown is a message as it is now: one whose time is over says nothing, also if nobody has come round to it yet.
func (s *Store) shown(m chat.Message, now int64) chat.Message {
	if end := m.Expires(); end != 0 && end <= now && m.Kind != chat.KindGone {
		m.Vanish(chat.WhyExpired)
	}
	return m
}

// leftAt gives when somebody has left a room, in Unix milliseconds; 0: he is in it, or never was. Nobody leaves a live room.
func (s *Store) leftAt(who accounts.Name, c chat.Conversation) (int64, error) {
	if !c.Kind().Room() || c.Kind() == chat.KindLive {
		return 0, nil
	}
	var row memberRow
	if _, err := s.get(key2(tableMembers, c, who), "member", &row); err != nil || row.Role != roleNone {
		return 0, err
	}
	return row.Since, nil
}

// asItWas makes a message of a room say what it said when somebody left: of edits he hears no more.
func (s *Store) asItWas(left int64, m *chat.Message) error {
	if m.Edited < left {
		return nil
	}
	prefix := seqKey(tableEdits, m.Conversation, m.Seq)
	return s.scan(prefix, prefixEnd(prefix), "edits", func(key, value []byte) (bool, error) {
		var was editRow
		if err := decode("edit", value, &was); err != nil {
			return false, err
		}
		if was.TS >= left && was.TS != m.TS { // the first one was there when he was
			return false, nil
		}
		rev, err := cutNumber(key[len(prefix):])
		m.Body, m.At, m.Fallback, m.Rev, m.Edited = was.Body, nil, "", rev, 0
		if rev != 0 {
			m.Edited = was.TS
		}
		return true, err
	})
}
