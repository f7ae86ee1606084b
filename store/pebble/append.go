package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// chatStore implements chat.Store.
type chatStore struct{ *Store }

func (c chatStore) Append(ctx context.Context, d chat.Draft) (chat.Appended, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Appended{}, nil, err
	}
	defer s.leave()
	a := appending{store: s, draft: d}
	if err := a.prepare(ctx); err != nil {
		return chat.Appended{}, nil, err
	}
	defer a.parties.release()
	if d.MID != "" {
		first, err := a.claim(ctx)
		if err != nil {
			return chat.Appended{}, nil, err
		}
		if first != nil {
			return a.repeated(ctx, first)
		}
	}
	m, commit, err := a.append(ctx)
	if err != nil {
		a.abandon()
		return chat.Appended{}, nil, err
	}
	return chat.Appended{Message: m}, commit, nil
}

// appending is one message on its way to its place.
type appending struct {
	store   *Store
	draft   chat.Draft
	origin  originRow
	parties parties
	from    int         // which member is the sender
	to      []int       // members that get a pointer
	content []byte      // encoded
	claimed *claimedMID // nil without a mid
}

// prepare does what needs no place: parsing, loading, encoding.
func (a *appending) prepare(ctx context.Context) (err error) {
	if a.origin, err = originKey(a.draft.Origin); err != nil {
		return err
	}
	if a.parties, err = a.store.parties(ctx, a.draft.Conversation); err != nil {
		return err
	}
	if err = a.checkMembers(); err != nil {
		a.parties.release()
		return err
	}
	a.content = encode(contentOf(a.draft))
	return nil
}

// checkMembers sees that all who are concerned have a place in the conversation, which need not exist yet.
func (a *appending) checkMembers() (err error) {
	conv := a.parties.conv.value // the names in it never change
	if a.from, err = conv.place(a.draft.From); err != nil {
		return err
	}
	for _, name := range a.draft.Members {
		i, err := conv.place(name)
		if err != nil {
			return err
		}
		a.to = append(a.to, i)
	}
	return nil
}

// place is index for somebody who is, or could be, in the conversation.
func (c *conversation) place(who accounts.Name) (int, error) {
	if c.members[0] == "" {
		return 0, chat.ErrNoConversation
	}
	i, ok := c.index(who)
	if !ok {
		return 0, chat.ErrNotMember
	}
	return i, nil
}

// admitLocked says whether the sender may write now, and adds what that makes of the conversation.
func (a *appending) admitLocked(b *pebble.Batch, now int64) error {
	conv := a.parties.conv.value
	me, them := &conv.relations[a.from], &conv.relations[1-a.from]
	if me.State == relationAccepted && !me.Blocked && !them.Blocked {
		return nil
	}
	st := a.parties.stream(a.from)
	p := conv.pairLocked(a.from, now)
	p.Asked = st.social.Asked
	if err := p.Write(a.draft.Stranger, a.draft.Approaches); err != nil || p.Talk == conv.talk {
		return err
	}
	a.parties.talkLocked(b, p.Talk, now)
	st.social.Asked = p.Asked
	put(b, key1(tableSocial, st.user), encode(st.social))
	return nil
}

// append gives the message its place.
func (a *appending) append(ctx context.Context) (chat.Message, *commit, error) {
	q := a.store.seq
	if err := q.reserve(ctx); err != nil {
		return chat.Message{}, nil, err
	}
	b := a.store.batch()
	q.mu.Lock()
	defer q.mu.Unlock()
	now := a.store.now()
	if err := a.admitLocked(b, now); err != nil {
		q.release()
		return chat.Message{}, nil, errors.Join(err, b.Close())
	}
	m := a.parties.appendLocked(b, a.draft, a.content, a.to, now)
	if a.draft.MID != "" {
		row := midRow{Seq: m.Seq, Fingerprint: a.draft.Fingerprint[:]}
		put(b, midKey(m.Conversation, m.From, m.MID), encode(row))
	}
	putOrigin(b, a.origin)
	commit, err := a.parties.commitLocked(b)
	if err != nil {
		return chat.Message{}, nil, err
	}
	a.settleLocked(m, commit)
	a.store.counts.messages.Inc()
	return m, commit, nil
}

// appendLocked puts a message at the end of the conversation and pointers to it at the end of the streams.
func (p parties) appendLocked(b *pebble.Batch, d chat.Draft, content []byte, to []int, now int64) chat.Message {
	c := p.conv.value
	from, _ := c.index(d.From)
	c.head++
	c.ts = max(c.ts, now)
	if !d.Silent {
		c.n++
		c.own[from]++
	}
	place := placeRow{TS: c.ts, N: c.n, Own: c.own[from]}
	put(b, messageKey(c.name, c.head), append(encode(place), content...))
	pointer := encode(entryRow{Type: entryMessage, Conversation: c.name, Seq: c.head})
	for _, i := range to {
		p.pushLocked(b, i, pointer)
	}
	for i := range c.members {
		p.changedLocked(i)
	}
	return contentOf(d).message(c.name, c.head, place)
}

// put adds a row to a batch, which fails only if the batch would have 4 GiB.
func put(b *pebble.Batch, key, value []byte) {
	if err := b.Set(key, value, nil); err != nil {
		panic(err)
	}
}

func remove(b *pebble.Batch, key []byte) {
	if err := b.Delete(key, nil); err != nil {
		panic(err)
	}
}

// originRow is the row that remembers the inbound packet of a change, or the one of the will that it was.
type originRow struct {
	key    []byte // nil: none
	remove bool
}

func originKey(origin any) (originRow, error) {
	switch o := origin.(type) {
	case nil:
		return originRow{}, nil
	case sessions.Origin:
		return originRow{key: receivedKey(o.Key, o.ID)}, nil
	case sessions.WillOrigin:
		return originRow{key: sessionKey(tableWills, o.Key), remove: true}, nil
	}
	return originRow{}, fmt.Errorf("origin is a %T, which this store does not know", origin)
}

func putOrigin(b *pebble.Batch, row originRow) {
	switch {
	case row.key == nil:
	case row.remove:
		remove(b, row.key)
	default:
		put(b, row.key, nil)
	}
}

// now is the time in Unix milliseconds.
func (s *Store) now() int64 { return s.cfg.Clock().UnixMilli() }

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
	m, err := s.message(key.conversation, row.Seq)
	if err != nil {
		return nil, err
	}
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
