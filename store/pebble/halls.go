package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// liveRow is what is summed in a live room.
type liveRow struct {
	Likes uint64 `cbor:"1,keyasint,omitempty"`
}

// hall is what is kept in memory of a live room or a board. Guarded by sequencer.mu.
type hall struct {
	likes    uint64
	snapshot uint64 // seq of the newest one
}

func (s *Store) loadHall(ctx context.Context, c *conversation) error {
	switch c.kind {
	case chat.KindLive:
		if err := s.seq.show(ctx); err != nil { // likes may have joined before the room was forgotten
			return err
		}
		c.last = s.seq.current()
		var row liveRow
		_, err := s.get(key1(tableLive, c.name), "likes", &row)
		c.hall.likes = row.Likes
		return err
	case chat.KindBoard:
		var row snapshotRow
		_, err := s.get(key1(tableSnapshots, c.name), "snapshot", &row)
		c.hall.snapshot = row.Seq
		return err
	}
	return nil
}

// Like joins the open batch: the busier the disk is, the more likes there are in one.
func (c chatStore) Like(ctx context.Context, l chat.Likes) (dup bool, _ chat.Commit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return false, nil, err
	}
	defer s.leave()
	origin, err := originKey(l.Origin)
	if err != nil {
		return false, nil, err
	}
	p := onlookers{store: s}
	defer p.release()
	if err := p.pin(ctx, l.Conversation, []accounts.Name{l.From}); err != nil {
		return false, nil, err
	}
	if !p.conv.value.kind.Room() {
		return false, nil, fmt.Errorf("likes for %s: %w", l.Conversation, chat.ErrNoConversation)
	}
	a := appending{midClaim: midClaim{store: s}, draft: chat.Draft{
		Conversation: l.Conversation, From: l.From, MID: l.MID, Fingerprint: l.Fingerprint,
	}}
	if l.MID != "" {
		first, err := a.claim(ctx, mid{l.Conversation, l.From, l.MID}, l.Fingerprint)
		if err != nil {
			return false, nil, err
		}
		if first != nil {
			_, commit, err := a.repeated(ctx, first)
			return err == nil, commit, err
		}
	}
	commit, err := p.like(ctx, l, &a, origin)
	if err != nil {
		a.abandon()
		return false, nil, err
	}
	return false, commit, nil
}

func (p *onlookers) like(ctx context.Context, l chat.Likes, a *appending, origin originRow) (*commit, error) {
	q, conv := p.store.seq, p.conv.value
	if err := q.room(ctx); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, errClosed
	}
	r := p.roomLocked()
	if err := r.Act(l.From); err != nil {
		return nil, err
	}
	c := q.openLocked()
	conv.hall.likes += l.N
	put(c.batch, key1(tableLive, conv.name), encode(liveRow{Likes: conv.hall.likes}))
	if l.MID != "" {
		rememberMID(c.batch, a.claimed.key, midRow{Fingerprint: l.Fingerprint[:], TS: p.store.now()})
	}
	putOrigin(c.batch, origin)
	conv.last = c
	if err := q.joinedLocked(); err != nil {
		return nil, err
	}
	a.settleLocked(chat.Message{Conversation: l.Conversation, From: l.From, MID: l.MID}, nil, c)
	return c, nil
}

func (c chatStore) Liked(ctx context.Context, name chat.Conversation) (uint64, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	e, err := s.conversations.pin(ctx, name)
	if err != nil {
		return 0, err
	}
	defer s.conversations.unpin(e)
	s.seq.mu.Lock()
	likes, last := e.value.hall.likes, e.value.last
	s.seq.mu.Unlock()
	return likes, last.Wait(ctx)
}

// snapshotRow is what the messages of a board come to.
type snapshotRow struct {
	Seq  uint64        `cbor:"1,keyasint"`
	TS   int64         `cbor:"2,keyasint"`
	By   accounts.Name `cbor:"3,keyasint"`
	Body []byte        `cbor:"4,keyasint"`
}

// outdatedKey sorts snapshots by their times.
func outdatedKey(ts int64, name chat.Conversation) []byte {
	return appendString(binary.BigEndian.AppendUint64([]byte{byte(tableOutdated)}, uint64(ts)), name)
}

func (c chatStore) Snapshot(ctx context.Context, name chat.Conversation) (chat.Snapshot, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Snapshot{}, err
	}
	defer s.leave()
	var row snapshotRow
	if _, err := s.get(key1(tableSnapshots, name), "snapshot", &row); err != nil {
		return chat.Snapshot{}, err
	}
	return chat.Snapshot{Conversation: name, Seq: row.Seq, By: row.By, TS: row.TS, Body: row.Body}, s.seq.settled(ctx)
}

func (c chatStore) PutSnapshot(ctx context.Context, n chat.Snapshot) (seq uint64, _ chat.Commit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, nil, err
	}
	defer s.leave()
	origin, err := originKey(n.Origin)
	if err != nil {
		return 0, nil, err
	}
	p := onlookers{store: s}
	defer p.release()
	if err := p.pin(ctx, n.Conversation, []accounts.Name{n.By}); err != nil {
		return 0, nil, err
	}
	conv := p.conv.value
	if conv.kind != chat.KindBoard {
		return 0, nil, fmt.Errorf("snapshot of %s: %w", n.Conversation, chat.ErrNoConversation)
	}
	if err := s.seq.reserve(ctx); err != nil {
		return 0, nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	r := p.roomLocked()
	if err = r.Act(n.By); err == nil && (n.Seq == 0 || n.Seq > conv.head) {
		err = fmt.Errorf("snapshot of %s at %d of %d: %w", n.Conversation, n.Seq, conv.head, chat.ErrMalformed)
	}
	if err != nil || n.Seq <= conv.hall.snapshot {
		s.seq.release()
		return conv.hall.snapshot, p.pendingLocked(), err
	}
	b, now := s.batch(), s.now()
	put(b, key1(tableSnapshots, conv.name), encode(snapshotRow{Seq: n.Seq, TS: now, By: n.By, Body: n.Body}))
	put(b, outdatedKey(now, conv.name), binary.BigEndian.AppendUint64(nil, n.Seq))
	putOrigin(b, origin)
	commit, err := s.seq.commitLocked(b)
	if err != nil {
		return 0, nil, err
	}
	conv.hall.snapshot, conv.last = n.Seq, commit
	return n.Seq, commit, nil
}

// pendingLocked is what an answer that changes nothing waits for; nil: nothing.
func (p *onlookers) pendingLocked() chat.Commit {
	if c := p.conv.value.last; !c.isDurable() {
		return c
	}
	return nil
}

func (c chatStore) Outdated(ctx context.Context, before int64, limit int) (out []chat.Snapshot, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	from := []byte{byte(tableOutdated)}
	to := binary.BigEndian.AppendUint64(from, uint64(max(before, 0)))
	err = s.scan(from, to, "outdated", func(key, value []byte) (bool, error) {
		var o chat.Snapshot
		ts, err := cutNumber(key[1:min(9, len(key))])
		if err != nil {
			return false, err
		}
		name, _, err := cutString(key[9:])
		if err != nil {
			return false, err
		}
		o.Conversation, o.TS = chat.Conversation(name), int64(ts)
		o.Seq, err = cutNumber(value)
		out = append(out, o)
		return len(out) < limit, err
	})
	return out, errors.Join(err, s.seq.settled(ctx))
}
