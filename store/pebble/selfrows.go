package pebble

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// selfRow is a user's own side of a conversation. Who has said nothing of it has none.
type selfRow struct {
	Mute    int64  `cbor:"1,keyasint,omitempty"` // Unix milliseconds; -1: for ever
	Pin     bool   `cbor:"2,keyasint,omitempty"`
	Archive bool   `cbor:"3,keyasint,omitempty"`
	Hide    uint64 `cbor:"4,keyasint,omitempty"` // a seq
	Flag    bool   `cbor:"5,keyasint,omitempty"`
	Draft   string `cbor:"6,keyasint,omitempty"`
	Private bool   `cbor:"7,keyasint,omitempty"`
	Remark  string `cbor:"8,keyasint,omitempty"`
}

// selfChangeRow is what an entry says of a change of that; null: it did not change.
type selfChangeRow struct {
	Mute    *int64  `cbor:"1,keyasint,omitempty"`
	Pin     *bool   `cbor:"2,keyasint,omitempty"`
	Archive *bool   `cbor:"3,keyasint,omitempty"`
	Hide    *bool   `cbor:"4,keyasint,omitempty"`
	Flag    *bool   `cbor:"5,keyasint,omitempty"`
	Draft   *string `cbor:"6,keyasint,omitempty"`
	Private *bool   `cbor:"7,keyasint,omitempty"`
	Remark  *string `cbor:"8,keyasint,omitempty"`
}

// sides are what a user has said of his conversations for himself. Guarded by sequencer.mu.
type sides struct {
	all map[chat.Conversation]chat.OwnSide
	// counted are those that are muted or flagged: what unread counts have to look at.
	counted map[chat.Conversation]struct{}
	bytes   int // of drafts and remarks
}

// set makes the side of a conversation what it is.
func (s *sides) set(name chat.Conversation, side chat.OwnSide) {
	if s.all == nil {
		s.all, s.counted = map[chat.Conversation]chat.OwnSide{}, map[chat.Conversation]struct{}{}
	}
	was := s.all[name]
	s.bytes += len(side.Draft) + len(side.Remark) - len(was.Draft) - len(was.Remark)
	if side == (chat.OwnSide{}) {
		delete(s.all, name)
	} else {
		s.all[name] = side
	}
	if side.Mute != 0 || side.Flag {
		s.counted[name] = struct{}{}
	} else {
		delete(s.counted, name)
	}
}

// tell adds to tallies, of which index finds those that are in the stream, what the user has said of their conversations.
func (s *sides) tell(tallies []chat.Tally, index map[chat.Conversation]int) []chat.Tally {
	for name := range s.counted {
		side := s.all[name]
		i, found := index[name]
		if !found { // a large one, of which there are few
			i = slices.IndexFunc(tallies[len(index):], func(t chat.Tally) bool { return t.Conversation == name })
			i, found = i+len(index), i >= 0
		}
		if !found {
			if !side.Flag {
				continue
			}
			i, tallies = len(tallies), append(tallies, chat.Tally{Conversation: name})
		}
		tallies[i].Mute, tallies[i].Flag = side.Mute, side.Flag
	}
	return tallies
}

func (s *Store) loadSides(user accounts.Name) (out sides, err error) {
	prefix := key1(tableSelf, user)
	err = s.scan(prefix, prefixEnd(prefix), "own sides", func(key, value []byte) (bool, error) {
		var row selfRow
		name, _, err := cutString(key[len(prefix):])
		if err == nil {
			err = decode("own side", value, &row)
		}
		out.set(chat.Conversation(name), chat.OwnSide(row))
		return true, err
	})
	return out, err
}

// changeSideLocked changes the user's own side of a conversation, and tells him. It says what was not so before.
func (st *stream) changeSideLocked(
	b *pebble.Batch, name chat.Conversation, c chat.OwnChange, head uint64, now int64,
) (side chat.OwnSide, changed chat.OwnChange) {
	side = st.sides.all[name]
	if changed = side.Take(c, head); changed == (chat.OwnChange{}) {
		return side, changed
	}
	st.sides.set(name, side)
	if side == (chat.OwnSide{}) {
		remove(b, key2(tableSelf, st.user, name))
	} else {
		put(b, key2(tableSelf, st.user, name), encode(selfRow(side)))
	}
	own := selfChangeRow(changed)
	st.pushLocked(b, encode(entryRow{Type: entryConv, TS: now, Conversation: name, OwnSide: &own}))
	st.changed = true
	return side, changed
}

// leaveLocked forgets what the user has said of a room that he leaves.
func (st *stream) leaveLocked(b *pebble.Batch, name chat.Conversation) {
	if _, said := st.sides.all[name]; said {
		st.sides.set(name, chat.OwnSide{})
		remove(b, key2(tableSelf, st.user, name))
	}
}

// undraftLocked takes the draft away of who has sent something.
func (st *stream) undraftLocked(b *pebble.Batch, name chat.Conversation, now int64) {
	if st.sides.all[name].Draft != "" {
		st.changeSideLocked(b, name, chat.Undrafted(), 0, now)
	}
}

func (c chatStore) ChangeOwnSide(
	ctx context.Context, name chat.Conversation, who accounts.Name, change chat.OwnChange, origin any,
) (chat.OwnSide, uint64, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.OwnSide{}, 0, nil, err
	}
	defer s.leave()
	from, err := originKey(origin)
	if err != nil {
		return chat.OwnSide{}, 0, nil, err
	}
	p, err := s.parties(ctx, name, false, who)
	if err != nil {
		return chat.OwnSide{}, 0, nil, err
	}
	defer p.release()
	if err := s.seq.reserve(ctx); err != nil {
		return chat.OwnSide{}, 0, nil, err
	}
	b := s.batch()
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	i, err := p.memberLocked(who)
	if err != nil {
		s.seq.release()
		return chat.OwnSide{}, 0, nil, errors.Join(err, b.Close())
	}
	conv, st := p.conv.value, p.stream(i)
	side, changed := st.changeSideLocked(b, name, change, conv.head, s.now())
	if changed == (chat.OwnChange{}) {
		s.seq.release()
		return side, conv.head, pendingCommit(st.last), b.Close()
	}
	st.listLocked(conv, p.people[i].member)
	putOrigin(b, from)
	commit, err := p.commitLocked(b)
	if err != nil {
		return chat.OwnSide{}, 0, nil, err
	}
	return side, conv.head, commit, nil
}

func (c chatStore) OwnSide(
	ctx context.Context, name chat.Conversation, who accounts.Name,
) (chat.OwnSide, uint64, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.OwnSide{}, 0, err
	}
	defer s.leave()
	p, err := s.parties(ctx, name, false, who)
	if err != nil {
		return chat.OwnSide{}, 0, err
	}
	defer p.release()
	s.seq.mu.Lock()
	i, memberErr := p.memberLocked(who)
	var side chat.OwnSide
	commits := []*commit{p.conv.value.last}
	if memberErr == nil {
		side = p.stream(i).sides.all[name]
		commits = append(commits, p.stream(i).last)
	}
	head := p.conv.value.head
	s.seq.mu.Unlock()
	for _, commit := range commits {
		if err := commit.Wait(ctx); err != nil {
			return chat.OwnSide{}, 0, err
		}
	}
	return side, head, memberErr
}
