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
	fingerprint [32]byte
}

// first is a message that was stored before under the same mid.
type first struct {
	message     chat.Message
	fingerprint [32]byte
	commit      *commit
}

// claim looks for the first message of this mid. If there is none, nobody else can append one until settleLocked or
// abandon.
func (a *appending) claim(ctx context.Context) (*first, error) {
	s := a.store
	key := mid{a.draft.Conversation, a.draft.From, a.draft.MID}
	for {
		s.seq.mu.Lock()
		s.forgetDurableLocked()
		other := s.mids[key]
		switch {
		case other == nil:
			a.claimed = &claimedMID{key: key, decided: make(chan struct{}), fingerprint: a.draft.Fingerprint}
			s.mids[key] = a.claimed
		case other.commit != nil:
			f := &first{other.message, other.fingerprint, other.commit}
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
		a.abandon()
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
	m := chat.Message{Conversation: key.conversation}
	if row.Seq != 0 { // likes have none
		if m, err = s.message(key.conversation, row.Seq); err != nil {
			return nil, err
		}
	}
	m.From, m.MID = key.from, key.mid // also of one that is not there any more
	f := &first{message: m, commit: &commit{seq: s.seq}}
	copy(f.fingerprint[:], row.Fingerprint)
	return f, nil
}

// repeated answers with the first message. A conflict is an answer too, and as final as the first message.
func (a *appending) repeated(ctx context.Context, f *first) (chat.Appended, chat.Commit, error) {
	if f.fingerprint == a.draft.Fingerprint {
		return chat.Appended{Message: f.message, Dup: true}, f.commit, nil
	}
	if err := f.commit.Wait(ctx); err != nil {
		return chat.Appended{}, nil, err
	}
	return chat.Appended{}, nil, fmt.Errorf("mid %.80q in %s: %w", a.draft.MID, a.draft.Conversation, chat.ErrConflict)
}

// settleLocked ends a claim: the message has its place.
func (a *appending) settleLocked(m chat.Message, c *commit) {
	if a.claimed == nil {
		return
	}
	a.claimed.message, a.claimed.commit = m, c
	a.store.appendedMIDs = append(a.store.appendedMIDs, a.claimed)
	close(a.claimed.decided)
}

// abandon ends a claim: there will be no message, or there was one before.
func (a *appending) abandon() {
	if a.claimed == nil {
		return
	}
	a.store.seq.mu.Lock()
	defer a.store.seq.mu.Unlock()
	delete(a.store.mids, a.claimed.key)
	close(a.claimed.decided)
	a.claimed = nil
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
