package pebble

import (
	"context"
	"fmt"

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

// storedMID looks on the disk. What is there and was not among the claimed is durable.
func (s *Store) storedMID(key mid) (*first, error) {
	var row midRow
	found, err := s.getRarely(midKey(key.conversation, key.from, key.mid), "mid", &row)
	if err != nil || !found {
		return nil, err
	}
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
		if f.message, err = s.message(key.conversation, row.Seq); err != nil {
			return nil, err
		}
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
