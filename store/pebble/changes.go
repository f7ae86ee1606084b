package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// take waits until nobody else changes messages of the conversation. What they say is read without the sequencer's lock, so
// whoever writes a message anew has this turn from before he reads it until it is handed over.
func (c *conversation) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conversation) give() { <-c.turn }

func (c chatStore) ApplyOp(ctx context.Context, d chat.OpDraft) (chat.Changed, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Changed{}, nil, err
	}
	defer s.leave()
	o := operation{midClaim: midClaim{store: s}, draft: d}
	var err error
	if o.origin, err = originKey(d.Origin); err != nil {
		return chat.Changed{}, nil, err
	}
	if err := o.load(ctx); err != nil {
		return chat.Changed{}, nil, err
	}
	defer func() { o.parties.release() }()
	if d.MID != "" {
		key := mid{d.Conversation, d.By, d.MID}
		first, err := o.claim(ctx, key, d.Fingerprint)
		switch {
		case err != nil:
			return chat.Changed{}, nil, err
		case first != nil && (first.op == nil || first.fingerprint != d.Fingerprint):
			return chat.Changed{}, nil, first.conflict(ctx, key)
		case first != nil:
			again := *first.op
			again.Dup, again.Told = true, nil
			return again, first.commit, nil
		}
	}
	changed, commit, err := o.apply(ctx)
	if err != nil {
		o.abandon()
		return chat.Changed{}, nil, err
	}
	return changed, commit, nil
}

// operation is one change of a message on its way to its place.
type operation struct {
	midClaim
	draft   chat.OpDraft
	origin  originRow
	parties parties
	by      int // which of the people wants it

	place   placeRow // of the message
	content contentRow
	is      chat.OpCase // but for what is known under the lock only
	reacted reacted
}

// load loads those who are concerned.
func (o *operation) load(ctx context.Context) (err error) {
	if o.parties, err = o.store.parties(ctx, o.draft.Conversation, true, o.draft.By); err != nil {
		return err
	}
	if o.by, err = o.parties.place(o.draft.By); err != nil {
		o.parties.release()
	}
	return err
}

// apply makes the change, in its turn.
func (o *operation) apply(ctx context.Context) (changed chat.Changed, c chat.Commit, err error) {
	if err := o.find(ctx); err != nil {
		return changed, nil, err
	}
	conv := o.parties.conv.value // the same one also when it is loaded again: the turn is had by who has pinned it
	if err := conv.take(ctx); err != nil {
		return changed, nil, err
	}
	defer conv.give()
	if err := o.store.loadChanges(conv); err != nil {
		return changed, nil, err
	}
	if err := o.read(); err != nil {
		return changed, nil, err
	}
	for {
		changed, commit, stale, err := o.tryApply(ctx)
		if !stale {
			return changed, commit, err
		}
		old := o.parties
		err = o.load(ctx)
		old.release()
		if err != nil {
			o.parties = parties{}
			return changed, nil, err
		}
	}
}

// find finds the message that is named by its mid. It waits for whoever is claiming that, who may wait for his turn: so it is
// done before one has the turn.
func (o *operation) find(ctx context.Context) (err error) {
	if d := &o.draft; d.Seq == 0 {
		d.Seq, err = o.store.messageOfMID(ctx, mid{d.Conversation, d.By, d.Target})
	}
	return err
}

// read reads the message, and what else a decision about it needs.
func (o *operation) read() (err error) {
	s, d := o.store, &o.draft
	if o.place, o.content, err = s.contentAt(d.Conversation, d.Seq); err != nil || o.content.ID == "" {
		return err
	}
	o.is.Message, o.is.Edits = o.content.message(d.Conversation, d.Seq, o.place), o.content.Edits
	if d.Op == chat.OpReact || d.Op == chat.OpUnreact {
		o.reacted, err = s.reactedBy(d.Conversation, d.Seq, d.By, d.Emoji)
		o.is.Has, o.is.Used, o.is.Mine, o.is.Emojis = o.reacted.has, o.reacted.n > 0, o.reacted.mine, o.reacted.emojis
	}
	return err
}

// contentAt reads a message; the zero values if there is none.
func (s *Store) contentAt(c chat.Conversation, seq uint64) (p placeRow, r contentRow, err error) {
	value, closer, err := s.db.Get(messageKey(c, seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return p, r, nil
	}
	if err != nil {
		return p, r, unavailable("read message", err)
	}
	p, rest, err := decodePlace(value)
	if err == nil {
		err = decode("message", rest, &r)
	}
	if err = errors.Join(err, closer.Close()); err != nil {
		return p, r, unavailable("read message", err)
	}
	return p, r, nil
}

// tryApply is apply, unless members have come or gone since they were looked at.
func (o *operation) tryApply(ctx context.Context) (changed chat.Changed, c chat.Commit, stale bool, err error) {
	q, p := o.store.seq, &o.parties
	if err := q.reserve(ctx); err != nil {
		return changed, nil, false, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.staleLocked() {
		q.release()
		return changed, nil, true, nil
	}
	changed.Revision, err = o.decideLocked(o.store.now())
	if err != nil {
		q.release()
		return changed, nil, false, err
	}
	changed.Large = p.conv.value.large()
	if changed.Rev == 0 && o.claimed == nil {
		q.release()
		return changed, p.pendingLocked(), false, nil
	}
	b := o.store.batch()
	if changed.Rev != 0 {
		changed.Told = o.writeLocked(b, &changed.Revision)
	}
	if o.claimed != nil {
		rememberMID(b, o.claimed.key, midRow{
			Seq: changed.Seq, Fingerprint: o.draft.Fingerprint[:], Op: slices.Index(ops[:], changed.Op), Rev: changed.Rev,
			TS: changed.TS,
		})
	}
	putOrigin(b, o.origin)
	commit, err := p.commitLocked(b)
	if err != nil {
		return chat.Changed{}, nil, false, err
	}
	o.settleLocked(chat.Message{}, &changed, commit)
	return changed, commit, false, nil
}

// decideLocked gives the change with its place; without one if it changes nothing.
func (o *operation) decideLocked(now int64) (chat.Revision, error) {
	p, d := &o.parties, &o.draft
	conv := p.conv.value
	r := chat.Revision{Conversation: conv.name, Op: d.Op, Seq: d.Seq, By: d.By, TS: now, Emoji: d.Emoji}
	is := o.is
	is.Message, is.Now = o.store.shown(is.Message, now), now
	_, is.Pinned = slices.BinarySearch(conv.changes.pins, d.Seq)
	is.Pins = len(conv.changes.pins)
	switch {
	case conv.room != nil:
		room := p.roomLocked([]accounts.Name{d.By})
		is.Room = &room
	case conv.direct != nil:
		pair := conv.pairLocked(o.by, now)
		is.Pair = &pair
	}
	changes, err := is.Decide(d)
	if err != nil || !changes {
		return r, err
	}
	if d.Op == chat.OpRecall {
		r.Why = chat.WhyRecalled
	}
	r.Rev = conv.changes.rev + 1
	return r, nil
}

// writeLocked makes the change, and tells the members.
func (o *operation) writeLocked(b *pebble.Batch, r *chat.Revision) []accounts.Name {
	p := &o.parties
	c := p.conv.value
	switch r.Op {
	case chat.OpEdit:
		o.editLocked(b, r)
	case chat.OpRecall:
		p.vanishLocked(b, r, o.place, o.content)
	case chat.OpReact:
		put(b, reactionKey(c.name, r.Seq, r.Emoji, r.By), binary.BigEndian.AppendUint64(nil, uint64(r.TS)))
		countReactions(b, c.name, r.Seq, r.Emoji, o.reacted.n+1)
	case chat.OpUnreact:
		remove(b, reactionKey(c.name, r.Seq, r.Emoji, r.By))
		countReactions(b, c.name, r.Seq, r.Emoji, o.reacted.n-1)
	case chat.OpPin:
		put(b, seqKey(tablePins, c.name, r.Seq), binary.BigEndian.AppendUint64(nil, uint64(r.TS)))
		i, _ := slices.BinarySearch(c.changes.pins, r.Seq)
		c.changes.pins = slices.Insert(c.changes.pins, i, r.Seq)
	case chat.OpUnpin:
		c.unpinMessageLocked(b, r.Seq)
	}
	return p.revisedLocked(b, r)
}

// revisedLocked gives a change its place, and tells those who are told of messages.
func (p *parties) revisedLocked(b *pebble.Batch, r *chat.Revision) (told []accounts.Name) {
	c := p.conv.value
	c.changes.rev = r.Rev
	row := changeRowOf(r)
	put(b, changeKey(c.name, r.Rev), encode(row))
	if c.large() {
		return nil
	}
	pointer := encode(entryRow{Type: entryOp + row.Op, Conversation: c.name, Seq: r.Seq, Rev: r.Rev})
	for i, q := range p.people {
		if c.in(q.member) {
			p.pushLocked(b, i, pointer)
			p.changedLocked(i)
			told = append(told, q.who)
		}
	}
	return told
}

// editLocked puts what the message says now in the place of what it said, which is kept.
func (o *operation) editLocked(b *pebble.Batch, r *chat.Revision) {
	was, is := editRow{TS: o.content.Edited, Body: o.content.Body}, o.content
	if is.Edited == 0 {
		was.TS = o.place.TS
	}
	put(b, editKey(r.Conversation, r.Seq, is.Rev), encode(was))
	is.Body, is.At, is.Fallback = o.draft.Body, o.draft.At, o.draft.Fallback
	is.Edited, is.Rev, is.Edits = r.TS, r.Rev, is.Edits+1
	put(b, messageKey(r.Conversation, r.Seq), append(encode(o.place), encode(is)...))
}

// vanishLocked takes away all that a message says and has said; it counts no more.
func (p *parties) vanishLocked(b *pebble.Batch, r *chat.Revision, place placeRow, was contentRow) {
	c := p.conv.value
	bare := bareRow(was, r.Why)
	bare.Rev = r.Rev
	put(b, messageKey(c.name, r.Seq), append(encode(place), encode(bare)...))
	belongings(b, was.message(c.name, r.Seq, place))
	c.unpinMessageLocked(b, r.Seq)
	if !was.Silent && p.countsLocked(r.Seq, was.From) && c.gone.putLocked(r.Seq, was.From) {
		put(b, seqKey(tableGone, c.name, r.Seq), encode(goneRow{From: was.From}))
	}
}

// belongings removes the rows that a message has besides its own, and that go with what it says.
func belongings(b *pebble.Batch, m chat.Message) {
	removeRange(b, seqKey(tableEdits, m.Conversation, m.Seq))
	removeRange(b, seqKey(tableReactions, m.Conversation, m.Seq))
	forgetExpiry(b, m)
}

func forgetExpiry(b *pebble.Batch, m chat.Message) {
	if m.TTL > 0 {
		remove(b, expiringKey(m.Expires(), m.Conversation, m.Seq))
	}
}

// bareRow is what is left of a message that is gone.
func bareRow(was contentRow, why string) contentRow {
	return contentRow{
		ID: was.ID, MID: was.MID, From: was.From, Kind: chat.KindGone, Re: was.Re, Silent: was.Silent, Rev: was.Rev, Why: why,
	}
}

// countsLocked says whether a message may count as unread for somebody, now or later. Who comes into a room has read what was
// there before, so that what all have read counts never again; of a large room not all are known.
func (p *parties) countsLocked(seq uint64, from accounts.Name) bool {
	if p.conv.value.large() {
		return true
	}
	return slices.ContainsFunc(p.people, func(q party) bool { return q.who != from && q.member.row.since() < seq })
}

func (c *conversation) unpinMessageLocked(b *pebble.Batch, seq uint64) {
	if i, pinned := slices.BinarySearch(c.changes.pins, seq); pinned {
		remove(b, seqKey(tablePins, c.name, seq))
		c.changes.pins = slices.Delete(c.changes.pins, i, i+1)
	}
}

func (c chatStore) Revisions(ctx context.Context, name chat.Conversation, after uint64, limit int) (
	out []chat.Revision, rev uint64, err error,
) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	if rev, err = s.lastRevision(name); err != nil || after >= rev || limit <= 0 {
		return nil, rev, errors.Join(err, s.seq.settled(ctx))
	}
	prefix := key1(tableChanges, name)
	err = s.scan(changeKey(name, after+1), prefixEnd(prefix), "changes", func(key, value []byte) (bool, error) {
		at, err := cutNumber(key[len(prefix):])
		if err != nil {
			return false, err
		}
		r, err := decodeRevision(name, at, value)
		out, rev = append(out, r), max(rev, at)
		return len(out) < limit, err
	})
	if err != nil {
		return nil, 0, err
	}
	return out, rev, s.seq.settled(ctx)
}

func (c chatStore) Edits(ctx context.Context, name chat.Conversation, seq uint64) (out []chat.Edit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	place, content, err := s.contentAt(name, seq)
	if err != nil {
		return nil, err
	}
	if m := s.shown(content.message(name, seq, place), s.now()); content.ID == "" || m.Kind == chat.KindGone {
		return nil, fmt.Errorf("message %d of %s: %w", seq, name, chat.ErrNoMessage)
	}
	prefix := seqKey(tableEdits, name, seq)
	err = s.scan(prefix, prefixEnd(prefix), "edits", func(key, value []byte) (bool, error) {
		rev, err := cutNumber(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row editRow
		err = decode("edit", value, &row)
		out = append(out, chat.Edit{Rev: rev, TS: row.TS, Body: row.Body})
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

func (c chatStore) Pins(ctx context.Context, name chat.Conversation) ([]uint64, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	seqs, err := s.pins(name, 0, 0)
	if err != nil {
		return nil, err
	}
	return seqs, s.seq.settled(ctx)
}
