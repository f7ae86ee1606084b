package mongo

import (
	"context"
	"fmt"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) ApplyOp(ctx context.Context, d chat.OpDraft) (out chat.Changed, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return out, nil, err
	}
	defer s.leave()
	o := changing{store: s, draft: d}
	if o.origin, err = s.originOf(d.Origin); err != nil {
		return out, nil, err
	}
	step := &step{who: []accounts.Name{d.By}, take: o.take, again: o.again}
	if err := s.take(ctx, d.Conversation, step); err != nil {
		return out, nil, err
	}
	if o.wrote {
		commit = durable{}
	}
	return o.out, commit, nil
}

// changing is one change of a message on its way to its place.
type changing struct {
	store  *Store
	draft  chat.OpDraft
	origin *originDoc
	out    chat.Changed
	wrote  bool
}

// take makes the change. One that changes nothing is there for its mid only, if it has one.
func (o *changing) take(ctx context.Context, t *turn) error {
	o.out, o.wrote = chat.Changed{}, false
	d := o.draft
	if _, err := t.place(d.By); err != nil {
		return err
	}
	e, err := o.find(ctx, t)
	if err != nil {
		return err
	}
	if e != nil {
		d.Seq = uint64(e.Seq)
	}
	is, reacted, err := o.look(ctx, t, e)
	if err != nil {
		return err
	}
	changes, err := is.Decide(&d)
	if err == nil && changes && d.Op == chat.OpEdit {
		err = e.fits(d.Body)
	}
	if err != nil {
		return o.store.unlessRepeated(ctx, t, d.By, d.MID, err, o.again)
	}
	r := chat.Revision{Conversation: t.Name, Op: d.Op, Seq: d.Seq, By: d.By, TS: t.now, Emoji: d.Emoji}
	o.out = chat.Changed{Revision: r, Large: t.large()}
	if !changes && d.MID == "" {
		return nil
	}
	t.begin(entryIsChange)
	if t.origin, o.wrote = o.origin, true; d.MID != "" {
		t.named(d.By, d.MID, d.Fingerprint)
	}
	if !changes {
		t.entry.Change = changeDocOf(&r)
		return nil
	}
	if d.Op == chat.OpRecall {
		r.Why = chat.WhyRecalled
	}
	o.out.Told = t.revise(&r)
	t.change(e, &d, &r, reacted)
	o.out.Revision = r
	return nil
}

// find reads the message; nil: there is none.
func (o *changing) find(ctx context.Context, t *turn) (*logDoc, error) {
	d := &o.draft
	if d.Seq != 0 {
		return t.message(ctx, o.store, int64(min(d.Seq, math.MaxInt64)))
	}
	e, err := o.store.named(ctx, t.Name, d.By, d.Target)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return t.message(ctx, o.store, e.Seq)
	}
	return nil, t.readable(t.Head) // it may be among what is being written
}

// look gives the message as the decision sees it.
func (o *changing) look(ctx context.Context, t *turn, e *logDoc) (is chat.OpCase, of reacted, err error) {
	d := &o.draft
	is.Now = t.now
	switch {
	case t.kind.Room():
		room := t.room([]accounts.Name{d.By}, t.now)
		is.Room = &room
	case t.kind == chat.KindDirect:
		pair := t.pair(d.By, t.now)
		is.Pair = &pair
	}
	if e == nil {
		return is, of, nil
	}
	is.Message, is.Edits = shown(e.message(), t.now), len(e.Message.Edits)
	_, is.Pinned = sortedSeqs(t.Pins, e.Seq)
	is.Pins = len(t.Pins)
	if d.Op == chat.OpReact || d.Op == chat.OpUnreact {
		of, err = o.store.reactedBy(ctx, e, d.By, d.Emoji)
		is.Has, is.Used, is.Mine, is.Emojis = of.has, of.n > 0, of.mine, of.emojis
	}
	return is, of, err
}

// again answers by the entry that has the change's mid.
func (o *changing) again(e *logDoc) error {
	if e.Kind != entryIsChange || string(e.Fingerprint) != string(o.draft.Fingerprint[:]) {
		return fmt.Errorf("mid %.80q in %s: %w", o.draft.MID, o.draft.Conversation, chat.ErrConflict)
	}
	o.out, o.wrote = chat.Changed{Revision: e.revision(), Dup: true}, true
	return nil
}

func changeDocOf(r *chat.Revision) *changeDoc {
	return &changeDoc{Op: r.Op, Seq: int64(r.Seq), By: r.By, Emoji: r.Emoji, Why: r.Why}
}

// revise gives a change, whose entry has begun, its place, and tells those who are told of messages. It gives who they are.
func (t *turn) revise(r *chat.Revision) (told []accounts.Name) {
	t.Rev++
	r.Rev = uint64(t.Rev)
	t.entry.Rev, t.entry.Change = t.Rev, changeDocOf(r)
	for _, m := range t.crew() {
		t.tell(m.U, entryDoc{Type: chat.EntryType(r.Op), Conversation: t.Name, Seq: int64(r.Seq), Rev: t.Rev})
		told = append(told, m.U)
	}
	return told
}

// change does to a message what a change that has its place says.
func (t *turn) change(e *logDoc, d *chat.OpDraft, r *chat.Revision, of reacted) {
	switch r.Op {
	case chat.OpEdit:
		t.edit(e, d)
	case chat.OpRecall:
		e.Message.Rev = t.Rev
		t.vanish(e, r.Why)
	case chat.OpReact, chat.OpUnreact:
		t.react(r, of)
	case chat.OpPin:
		i, _ := sortedSeqs(t.Pins, e.Seq)
		t.Pins = slices.Insert(t.Pins, i, e.Seq)
	case chat.OpUnpin:
		t.unpin(e.Seq)
	}
}

func (t *turn) unpin(seq int64) {
	if i, pinned := sortedSeqs(t.Pins, seq); pinned {
		t.Pins = slices.Delete(t.Pins, i, i+1)
	}
}

// rewrite puts a message, which was read, in its place again. All that follows from its entry has followed: of what it said
// nothing is left there.
func (t *turn) rewrite(e *logDoc) {
	e.V, e.Open, e.Follows = t.entry.N, "", nil
	t.changed[e.Seq] = true
	t.docs = append(t.docs, documentOf(logCollection, e.ID, t.entry.N, e))
}

// maxSaid is how many bytes a message may say now and have said before, together: it is one document, of at most 16 MiB, which
// is in another one, with others.
const maxSaid = 8 << 20

// fits says whether the message has room for another edit.
func (e *logDoc) fits(body []byte) error {
	said := len(body) + len(e.Message.Body)
	for _, was := range e.Message.Edits {
		said += len(was.Body)
	}
	if said > maxSaid {
		return fmt.Errorf("message %d of %s and its edits: %d bytes: %w", e.Seq, e.Conversation, said, chat.ErrQuota)
	}
	return nil
}

// edit puts what the message says now in the place of what it said, which is kept.
func (t *turn) edit(e *logDoc, d *chat.OpDraft) {
	m := e.Message
	was := editDoc{Rev: m.Rev, TS: m.Edited, Body: m.Body}
	if m.Edited == 0 {
		was.TS = e.TS
	}
	m.Edits = append(m.Edits, was)
	m.Body, m.At, m.Fallback, m.Edited, m.Rev = d.Body, d.At, d.Fallback, t.now, t.Rev
	t.rewrite(e)
}

// vanish takes away all that a message says and has said; it counts no more.
func (t *turn) vanish(e *logDoc, why string) {
	was := e.Message
	e.Expires = 0
	e.Message = &messageDoc{
		ID: was.ID, MID: was.MID, From: was.From, Kind: chat.KindGone, N: was.N, Own: was.Own, Re: was.Re, Silent: was.Silent,
		Rev: was.Rev, Why: why,
	}
	t.rewrite(e)
	t.unpin(e.Seq)
	t.gone = append(t.gone, e.Seq)
	if !was.Silent {
		t.discount(e.Seq, was.From)
	}
}

// maxGone is how many messages of a large room that count no more are kept in mind, about: each is a part of the room's document,
// which is written with every message. Who has more of them before him is told of a few unread messages too many until he reads.
const maxGone = 2000

// discount notes that a message counts no more, unless it is one that counts for nobody, now or later. Who comes into a room has
// read what was there before, so that what all have read counts never again; of a large room not all are known.
func (t *turn) discount(seq int64, from accounts.Name) {
	i := marksAfter(t.Gone, seq)
	if i > 0 && t.Gone[i-1].Seq == seq {
		return
	}
	if t.large() {
		t.Gone = slices.Insert(t.Gone, i, seqMark{seq, from})
		t.Gone = t.Gone[max(0, len(t.Gone)-maxGone):]
		return
	}
	least, counts := t.Head, false
	for _, m := range t.crew() {
		least = min(least, m.since())
		counts = counts || m.U != from && m.since() < seq
	}
	if counts {
		t.Gone = slices.Insert(t.Gone, i, seqMark{seq, from})
	}
	t.Gone = t.Gone[marksAfter(t.Gone, least):]
}

func (c chatStore) Revisions(ctx context.Context, name chat.Conversation, after uint64, limit int) (
	out []chat.Revision, rev uint64, err error,
) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	err = s.look(ctx, name, nil, func(t *turn) error {
		rev = uint64(t.Rev)
		return nil
	})
	if err != nil || after >= rev || limit <= 0 {
		return nil, rev, err
	}
	var all []*logDoc
	filter := bson.D{{Key: "c", Value: name}, {Key: "r", Value: bson.D{{Key: "$gt", Value: int64(after)}}}}
	if err := s.findAll(ctx, logCollection, filter, &all, sortedBy("r", 1), limitedTo(limit)); err != nil {
		return nil, 0, err
	}
	for _, e := range all {
		out = append(out, e.revision())
		rev = max(rev, uint64(e.Rev))
	}
	return out, rev, nil
}

func (c chatStore) Edits(ctx context.Context, name chat.Conversation, seq uint64) (out []chat.Edit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	e, err := s.messageAt(ctx, name, seq)
	if err != nil {
		return nil, err
	}
	if e == nil || shown(e.message(), s.now()).Kind == chat.KindGone {
		return nil, fmt.Errorf("message %d of %s: %w", seq, name, chat.ErrNoMessage)
	}
	for _, was := range e.Message.Edits {
		out = append(out, chat.Edit{Rev: uint64(was.Rev), TS: was.TS, Body: was.Body})
	}
	return out, nil
}

func (c chatStore) Pins(ctx context.Context, name chat.Conversation) (out []uint64, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.look(ctx, name, nil, func(t *turn) error {
		out = unsigned(t.Pins)
		return nil
	})
	return out, err
}
