package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// mid names a message by what its sender called it.
type mid struct {
	conversation chat.Conversation
	from         accounts.Name
	mid          string
}

// claimedMID is a mid that is being looked for on the disk, or whose message has its place and is not durable yet: the
// disk does not tell of either.
type claimedMID struct {
	key         mid
	decided     chan struct{} // closed when the one who claimed it has appended it, or has not
	commit      *commit       // nil until it is appended; guarded by sequencer.mu, as is message
	message     chat.Message
	op          *chat.Changed // nil: it is a message
	fingerprint [32]byte
}

// first is what was stored before under the same mid: a message, or a change of one.
type first struct {
	message     chat.Message
	op          *chat.Changed // nil: it is a message
	fingerprint [32]byte
	commit      *commit
}

// midClaim is the right to store something under a mid.
type midClaim struct {
	store   *Store
	claimed *claimedMID // nil: there is none
}

// claim looks for what is stored under this mid. If there is nothing, nobody else can store something until settleLocked or
// abandon.
func (m *midClaim) claim(ctx context.Context, key mid, fingerprint [32]byte) (*first, error) {
	s := m.store
	for {
		s.seq.mu.Lock()
		s.forgetDurableLocked()
		other := s.mids[key]
		switch {
		case other == nil:
			m.claimed = &claimedMID{key: key, decided: make(chan struct{}), fingerprint: fingerprint}
			s.mids[key] = m.claimed
		case other.commit != nil:
			f := &first{other.message, other.op, other.fingerprint, other.commit}
			s.seq.mu.Unlock()
			return f, nil
		}
		s.seq.mu.Unlock()
		if other == nil {
			break
		}
		select {
		case <-other.decided:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f, err := s.storedMID(key)
	if f != nil || err != nil {
		m.abandon()
	}
	return f, err
}

// rememberMID writes what a mid stands for.
func rememberMID(b *pebble.Batch, key mid, row midRow) {
	put(b, midKey(key.conversation, key.from, key.mid), encode(row))
	if row.ends() {
		put(b, midEndKey(row.TS, key.conversation, key.from, key.mid), nil)
	}
}

// leaving is a message that is to be removed before its mid is.
type leaving struct {
	chat.Message
	mid *midRow // nil: it has none
}

// leavingOf reads what is to be remembered of a message that is to be removed.
func (s *Store) leavingOf(m chat.Message) (l leaving, err error) {
	l.Message = m
	if m.ID == "" || m.MID == m.ID {
		return l, nil
	}
	var row midRow
	found, err := s.get(midKey(m.Conversation, m.From, m.MID), "mid", &row)
	if found && row.Seq == m.Seq {
		row.ID, row.TS = m.ID, m.TS
		l.mid = &row
	}
	return l, err
}

// storedMID looks on the disk. What is there and was not among the claimed is durable.
func (s *Store) storedMID(key mid) (*first, error) {
	for again := false; ; again = true {
		var row midRow
		found, err := s.getRarely(midKey(key.conversation, key.from, key.mid), "mid", &row)
		if err != nil || !found {
			return nil, err
		}
		f, err := s.firstOf(key, row)
		if again || err != nil || f.op != nil || row.Seq == 0 || f.message.ID != "" {
			return f, err
		} // its message was removed just now, and the row says so by now, or has gone with it
	}
}

// firstOf gives what a row stands for.
func (s *Store) firstOf(key mid, row midRow) (*first, error) {
	f := &first{commit: &commit{seq: s.seq}}
	copy(f.fingerprint[:], row.Fingerprint)
	if row.Op != 0 {
		f.op = &chat.Changed{Revision: chat.Revision{
			Conversation: key.conversation, Rev: row.Rev, Op: ops[row.Op], Seq: row.Seq, By: key.from, TS: row.TS,
		}}
		return f, nil
	}
	f.message = chat.Message{Conversation: key.conversation}
	if row.Seq != 0 { // likes have none
		var err error
		if f.message, err = s.message(key.conversation, row.Seq); err != nil {
			return nil, err
		}
	}
	if row.ID != "" {
		f.message.ID, f.message.TS = row.ID, row.TS
	}
	f.message.From, f.message.MID = key.from, key.mid // also of one that is not there any more
	return f, nil
}

// messageOfMID gives the seq of the message that somebody has called so; 0: there is none.
func (s *Store) messageOfMID(ctx context.Context, key mid) (seq uint64, err error) {
	for {
		s.seq.mu.Lock()
		s.forgetDurableLocked()
		other := s.mids[key]
		if other != nil && other.commit != nil {
			if other.op == nil {
				seq = other.message.Seq
			}
			s.seq.mu.Unlock()
			return seq, nil
		}
		s.seq.mu.Unlock()
		if other == nil {
			break
		}
		select {
		case <-other.decided:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	var row midRow
	found, err := s.getRarely(midKey(key.conversation, key.from, key.mid), "mid", &row)
	if err != nil || !found || row.Op != 0 {
		return 0, err
	}
	return row.Seq, nil
}

// repeated answers with the first message. A conflict is an answer too, and as final as the first message.
func (a *appending) repeated(ctx context.Context, f *first) (chat.Appended, chat.Commit, error) {
	if f.op == nil && f.fingerprint == a.draft.Fingerprint {
		return chat.Appended{Message: f.message, Dup: true}, f.commit, nil
	}
	return chat.Appended{}, nil, f.conflict(ctx, mid{a.draft.Conversation, a.draft.From, a.draft.MID})
}

// conflict is final once what was first is durable.
func (f *first) conflict(ctx context.Context, key mid) error {
	if err := f.commit.Wait(ctx); err != nil {
		return err
	}
	return fmt.Errorf("mid %.80q in %s: %w", key.mid, key.conversation, chat.ErrConflict)
}

// settleLocked ends a claim: the message, or the change, has its place.
func (m *midClaim) settleLocked(message chat.Message, op *chat.Changed, c *commit) {
	if m.claimed == nil {
		return
	}
	m.claimed.message, m.claimed.op, m.claimed.commit = message, op, c
	m.store.appendedMIDs = append(m.store.appendedMIDs, m.claimed)
	close(m.claimed.decided)
}

// abandon ends a claim: there will be nothing, or there was something before.
func (m *midClaim) abandon() {
	if m.claimed == nil {
		return
	}
	m.store.seq.mu.Lock()
	defer m.store.seq.mu.Unlock()
	delete(m.store.mids, m.claimed.key)
	close(m.claimed.decided)
	m.claimed = nil
}

// forgetDurableLocked drops claims whose rows the disk gives. There are never more of them than commits that may be
// pending, and one.
func (s *Store) forgetDurableLocked() {
	n := 0
	for n < len(s.appendedMIDs) && s.appendedMIDs[n].commit.isDurable() {
		delete(s.mids, s.appendedMIDs[n].key)
		s.appendedMIDs[n] = nil
		n++
	}
	s.appendedMIDs = s.appendedMIDs[n:]
}

func (c chatStore) RetireMIDs(ctx context.Context, before int64, limit int) (more bool, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	// Who removes the same ones a second time could hit what was stored under them in between.
	if !s.endingMIDs.CompareAndSwap(false, true) {
		return false, nil
	}
	defer s.endingMIDs.Store(false)
	b, n := s.batch(), 0
	from := []byte{byte(tableMIDEnds)}
	err = s.scan(from, binary.BigEndian.AppendUint64(from, uint64(max(before, 0))), "mids", func(key, _ []byte) (bool, error) {
		if len(key) < 9 {
			return false, errKey
		}
		remove(b, append([]byte{byte(tableMIDs)}, key[9:]...))
		remove(b, key)
		n++
		return n < max(limit, 1), nil
	})
	if err != nil || n == 0 {
		return false, errors.Join(err, b.Close())
	}
	if err := s.seq.place(ctx); err != nil {
		return false, errors.Join(err, b.Close())
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	_, err = s.seq.commitLocked(b)
	return n == max(limit, 1), err
}
