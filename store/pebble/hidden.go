package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// hiddenCounts is the value of a row of tableHidden if the message counted as unread for the one who deleted it, then or
// later.
var hiddenCounts = []byte{1}

// readHidden reads which counting messages somebody has deleted for himself, those after after.
func (s *Store) readHidden(r pebble.Reader, who accounts.Name, c chat.Conversation, after uint64) (seqs []uint64, err error) {
	prefix := key2(tableHidden, who, c)
	err = eachRow(r, hiddenKey(who, c, after+1), prefixEnd(prefix), func(iter *pebble.Iterator) error {
		seq, err := cutNumber(iter.Key()[len(prefix):])
		if len(iter.Value()) > 0 {
			seqs = append(seqs, seq)
		}
		return err
	})
	if err != nil {
		return nil, unavailable("read hidden", err)
	}
	return seqs, nil
}

// cleared gives the seq up to which somebody has deleted a conversation for himself.
func (s *Store) cleared(r pebble.Reader, who accounts.Name, c chat.Conversation) (upTo uint64, err error) {
	value, closer, err := r.Get(hiddenKey(who, c, 0))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err == nil {
		upTo, err = cutNumber(value)
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		return 0, unavailable("read hidden", err)
	}
	return upTo, nil
}

// hides says whether somebody has deleted a message for himself.
func (s *Store) hides(r pebble.Reader, who accounts.Name, c chat.Conversation, seq uint64) (bool, error) {
	upTo, err := s.cleared(r, who, c)
	if err != nil || seq <= upTo {
		return err == nil, err
	}
	return has(r, hiddenKey(who, c, seq))
}

func (c chatStore) Hidden(
	ctx context.Context, name chat.Conversation, seq uint64, who []accounts.Name,
) (out []bool, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	iter, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{byte(tableHidden)}, UpperBound: prefixEnd([]byte{byte(tableHidden)}),
	})
	if err != nil {
		return nil, unavailable("read hidden", err)
	}
	out = make([]bool, len(who))
	for i, person := range who {
		if out[i], err = hiddenAt(iter, person, name, seq); err != nil {
			break
		}
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return nil, unavailable("read hidden", err)
	}
	return out, nil // what is not durable yet was not acknowledged to anybody
}

// hiddenAt is hides with an iterator: most people have deleted nothing, and the first look says so.
func hiddenAt(iter *pebble.Iterator, who accounts.Name, name chat.Conversation, seq uint64) (bool, error) {
	prefix := key2(tableHidden, who, name)
	if !iter.SeekGE(prefix) || !bytes.HasPrefix(iter.Key(), prefix) {
		return false, nil
	}
	if bytes.Equal(iter.Key(), hiddenKey(who, name, 0)) {
		value, err := iter.ValueAndErr()
		if err != nil {
			return false, err
		}
		if upTo, err := cutNumber(value); err != nil || seq <= upTo {
			return err == nil, err
		}
	}
	key := hiddenKey(who, name, seq)
	return iter.SeekGE(key) && bytes.Equal(iter.Key(), key), nil
}

func (c chatStore) Hide(
	ctx context.Context, name chat.Conversation, who accounts.Name, seqs []uint64, origin any,
) (chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	h := hiding{store: s, row: entryRow{Type: entryHide, Conversation: name}}
	if err := h.load(ctx, name, who, origin); err != nil {
		return nil, err
	}
	defer h.parties.release()
	var counting []uint64
	for _, seq := range seqs {
		_, content, err := s.contentAt(name, seq)
		if err != nil {
			return nil, err
		}
		done, err := s.hides(s.db, who, name, seq)
		if err != nil {
			return nil, err
		}
		if content.ID == "" || done {
			continue
		}
		h.row.Seqs = append(h.row.Seqs, seq)
		if !content.Silent && content.From != who {
			counting = append(counting, seq)
		}
	}
	return h.commit(ctx, func(b *pebble.Batch, m *member) bool {
		for _, seq := range h.row.Seqs {
			var value []byte
			if slices.Contains(counting, seq) {
				value = hiddenCounts
				m.hideLocked(seq)
			}
			put(b, hiddenKey(who, name, seq), value)
		}
		return len(h.row.Seqs) > 0
	})
}

func (c chatStore) Clear(
	ctx context.Context, name chat.Conversation, who accounts.Name, origin any,
) (upTo uint64, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, nil, err
	}
	defer s.leave()
	h := hiding{store: s, row: entryRow{Type: entryHide, Conversation: name}}
	if err := h.load(ctx, name, who, origin); err != nil {
		return 0, nil, err
	}
	defer h.parties.release()
	before, err := s.cleared(s.db, who, name)
	if err != nil {
		return 0, nil, err
	}
	commit, err = h.commit(ctx, func(b *pebble.Batch, m *member) bool {
		conv := h.parties.conv.value
		if upTo = conv.head; upTo <= before {
			return false
		}
		if upTo > m.row.since() {
			m.row.ReadN, m.row.ReadOwn = conv.n, m.own
		}
		m.row.Base, m.hidden, m.missed = max(m.row.Base, upTo), nil, missed{}
		if err := b.DeleteRange(hiddenKey(who, name, 0), hiddenKey(who, name, upTo+1), nil); err != nil {
			panic(err)
		}
		put(b, hiddenKey(who, name, 0), binary.BigEndian.AppendUint64(nil, upTo))
		h.row.Read = upTo
		return true
	})
	return upTo, commit, err
}

// hiding is something that somebody deletes for himself, on its way.
type hiding struct {
	store   *Store
	parties parties
	who     int // which of the people
	origin  originRow
	row     entryRow
}

func (h *hiding) load(ctx context.Context, name chat.Conversation, who accounts.Name, origin any) (err error) {
	if h.origin, err = originKey(origin); err != nil {
		return err
	}
	if h.parties, err = h.store.parties(ctx, name, false, who); err != nil {
		return err
	}
	if h.who, err = h.parties.place(who); err != nil {
		h.parties.release()
	}
	return err
}

// commit has hide change what is known of the one who hides, and tells his devices if it says that something has changed.
func (h *hiding) commit(ctx context.Context, hide func(b *pebble.Batch, m *member) bool) (chat.Commit, error) {
	s, p := h.store, &h.parties
	if err := s.seq.reserve(ctx); err != nil {
		return nil, err
	}
	b := s.batch()
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	conv, m, st := p.conv.value, p.people[h.who].member, p.stream(h.who)
	if !conv.exists() {
		s.seq.release()
		return nil, errors.Join(chat.ErrNoConversation, b.Close())
	}
	if !hide(b, m) {
		s.seq.release()
		return p.pendingLocked(), b.Close()
	}
	if !st.social.Hides {
		st.social.Hides = true
		put(b, key1(tableSocial, st.user), encode(st.social))
	}
	h.row.TS = s.now()
	p.saveLocked(b, h.who)
	p.pushLocked(b, h.who, encode(h.row))
	p.changedLocked(h.who)
	putOrigin(b, h.origin)
	commit, err := p.commitLocked(b)
	if err != nil {
		return nil, err
	}
	return commit, nil
}

// hideLocked remembers a counting message that the member has deleted for himself.
func (m *member) hideLocked(seq uint64) {
	m.row.Hides = true
	since := m.row.since()
	read, _ := slices.BinarySearch(m.hidden, since+1)
	m.hidden = slices.Delete(m.hidden, 0, read)
	if i, found := slices.BinarySearch(m.hidden, seq); !found && seq > since {
		m.hidden = slices.Insert(m.hidden, i, seq)
		m.missed = missed{}
	}
}

// hides says whether the member has deleted a counting message after his mark for himself.
func (m *member) hides(seq uint64) bool {
	_, found := slices.BinarySearch(m.hidden, seq)
	return found
}

// MessagesFor reads what Messages does, as one sees it.
func (c chatStore) MessagesFor(
	ctx context.Context, who accounts.Name, name chat.Conversation, after, before uint64, limit int,
) (chat.MessagePage, error) {
	return c.messages(ctx, name, func(s *Store, floor uint64) (chat.MessagePage, error) {
		return s.messagesFor(who, name, floor, after, before, limit)
	})
}

func (s *Store) messagesFor(
	who accounts.Name, name chat.Conversation, floor, after, before uint64, limit int,
) (page chat.MessagePage, err error) {
	upTo, err := s.cleared(s.db, who, name)
	if err != nil {
		return page, err
	}
	page, err = s.messagePage(name, floor, max(after, upTo), before, limit)
	if err != nil {
		return page, err
	}
	if upTo+1 > page.Floor {
		page.Floor, page.Why = upTo+1, chat.FloorClear
	}
	v := view{store: s, name: name, who: who, now: s.now()}
	if v.left, err = s.leftAt(who, name); err != nil {
		return page, err
	}
	page.Messages, err = v.see(page.Messages)
	return page, err
}

// view is how somebody sees the messages of a conversation.
type view struct {
	store *Store
	name  chat.Conversation
	who   accounts.Name
	now   int64
	left  int64 // when he has left the room; 0: he has not
}

// see takes messages in the order of seq without gaps. It takes away what is hidden, and adds reactions and pins. Who has left
// the room is not shown these: they may have come after that.
func (v *view) see(all []chat.Message) ([]chat.Message, error) {
	if len(all) == 0 {
		return nil, nil
	}
	first, last := all[0].Seq, all[len(all)-1].Seq
	hidden := map[uint64]bool{}
	prefix := key2(tableHidden, v.who, v.name)
	err := v.store.scan(hiddenKey(v.who, v.name, first), hiddenKey(v.who, v.name, last+1), "hidden",
		func(key, _ []byte) (bool, error) {
			seq, err := cutNumber(key[len(prefix):])
			hidden[seq] = true
			return true, err
		})
	if err != nil {
		return nil, err
	}
	pins, err := v.store.pins(v.name, first, last)
	if err != nil {
		return nil, err
	}
	out := make([]chat.Message, 0, len(all))
	for _, m := range all {
		m = v.store.shown(m, v.now)
		if hidden[m.Seq] {
			m.Vanish(chat.WhyHidden)
		}
		if m.Kind != chat.KindGone {
			_, m.Pinned = slices.BinarySearch(pins, m.Seq)
		}
		if v.left != 0 {
			m.Pinned = false
			if err := v.store.asItWas(v.left, &m); err != nil {
				return nil, err
			}
		}
		out = append(out, m)
	}
	if v.left != 0 {
		return out, nil
	}
	return out, v.react(out, first, last)
}

// react adds the reactions to messages.
func (v *view) react(all []chat.Message, first, last uint64) error {
	s := v.store
	iter, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: seqKey(tableReactions, v.name, first), UpperBound: seqKey(tableReactions, v.name, last+1),
	})
	if err != nil {
		return unavailable("read reactions", err)
	}
	at, err := v.reactedAt(iter, iter.First())
	for i := range all {
		m := &all[i]
		if at < m.Seq && err == nil {
			at, err = v.reactedAt(iter, iter.SeekGE(seqKey(tableReactions, v.name, m.Seq)))
		}
		if at != m.Seq || err != nil || m.Kind == chat.KindGone {
			continue
		}
		err = s.reactions(iter, v.name, m.Seq, func(emoji string, n uint64) error {
			me, err := has(s.db, reactionKey(v.name, m.Seq, emoji, v.who))
			m.Reactions = append(m.Reactions, chat.Reaction{Emoji: emoji, N: n, Me: me})
			return err
		})
		if err == nil {
			at, err = v.reactedAt(iter, iter.Valid())
		}
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return unavailable("read reactions", err)
	}
	return nil
}

// reactedAt gives the message at whose reactions an iterator stands, if it does.
func (v *view) reactedAt(iter *pebble.Iterator, valid bool) (uint64, error) {
	if !valid {
		return math.MaxUint64, nil
	}
	return cutNumber(iter.Key()[len(key1(tableReactions, v.name)):])
}
