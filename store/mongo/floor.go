package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/chat"
)

// Messages that are not kept are removed some at a time, by steps: what becomes of them follows from an entry. What is before the
// floor of a conversation is not there for anybody, whether it has been removed yet or not; behind it there may be gaps. The last
// message is never removed: it says what the next seq is.

// raised gives the floor when one is to be there. It is never lowered.
func (f floorDoc) raised(to floorDoc) floorDoc {
	if to.N < f.N || to.Floor < f.Floor { // what is removed now does not count
		to.N, to.From, to.Own = f.N, f.From, f.Own
	}
	to.Floor, to.Ops = max(to.Floor, f.Floor), max(to.Ops, f.Ops)
	return to
}

// behind says whether a member still counts what is below the floor.
func (st *state) behind(m *memberDoc) bool { return st.in(m) && m.since()+1 < st.Floor.Floor }

// rebase has a member count only what is not below a floor.
func (m *memberDoc) rebase(f floorDoc, own int64) {
	m.Base, m.ReadN, m.ReadOwn = f.Floor-1, f.N, own
	m.forgetMentions()
}

// rebaseRead brings members who were read up to the floor: the documents of members of large rooms are not written when that is
// raised.
func (s *Store) rebaseRead(ctx context.Context, st *state, all []*memberDoc) error {
	for _, m := range all {
		if !st.behind(m) {
			continue
		}
		own, err := s.ownBelow(ctx, st, m, st.Floor)
		if err != nil {
			return err
		}
		m.rebase(st.Floor, own)
	}
	return nil
}

// ownBelow gives how many of the counting messages below a floor are somebody's.
func (s *Store) ownBelow(ctx context.Context, st *state, m *memberDoc, f floorDoc) (int64, error) {
	switch {
	case f.N == 0:
		return 0, nil
	case st.kind.Room():
		return s.ownUpTo(ctx, st.Name, m, f.Floor-1)
	case f.From == m.U:
		return f.Own, nil
	}
	return f.N - f.Own, nil
}

// trimSlice is how many messages are removed by one step: few enough that others, who wait for their turn, do not wait long.
const trimSlice = 64

func (c chatStore) Trim(ctx context.Context, name chat.Conversation, floor uint64, seqs []uint64) error {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	for {
		r := trimming{store: s, floor: int64(min(floor, 1<<62)), seqs: seqs[:min(len(seqs), trimSlice)]}
		if err := s.take(ctx, name, &step{reads: true, take: r.take}); err != nil {
			return fmt.Errorf("trim: %w", err)
		}
		if r.more {
			continue
		}
		if seqs = seqs[len(r.seqs):]; len(seqs) == 0 {
			return nil
		}
	}
}

// trimming is a step in which messages go whose mids stay.
type trimming struct {
	store *Store
	floor int64
	seqs  []uint64
	more  bool // there may be more of the same to remove
}

// take raises the floor, and removes some messages below it and of the seqs.
func (r *trimming) take(ctx context.Context, t *turn) error {
	floor := t.Floor.raised(floorDoc{Floor: min(r.floor, t.Head)})
	which := bson.A{bson.D{{Key: "s", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: min(floor.Floor, t.Head)}}}}}
	var seqs []int64
	for _, seq := range r.seqs {
		if seq < uint64(t.Head) {
			seqs = append(seqs, int64(seq))
		}
	}
	if len(seqs) > 0 {
		which = append(which, bson.D{{Key: "s", Value: in(seqs)}})
	}
	entries, err := r.store.leaving(ctx, bson.D{{Key: "c", Value: t.Name}, {Key: "$or", Value: which}}, "s", trimSlice)
	if err != nil {
		return err
	}
	r.more = len(entries) == trimSlice
	if len(entries) == 0 && floor == t.Floor {
		return nil
	}
	t.begin(entryIsState)
	t.Floor = floor
	t.removeMessages(entries)
	return nil
}

// leaving reads some entries that are to be removed: all of them but what they say.
func (s *Store) leaving(ctx context.Context, filter bson.D, order string, limit int) (entries []*logDoc, err error) {
	err = s.findAll(ctx, logCollection, filter, &entries, sortedBy(order, 1), limitedTo(limit),
		only("c", "n", "s", "f", "m", "k", "ts", "fp", "r", "op",
			"msg.id", "msg.from", "msg.k", "msg.n", "msg.own", "msg.silent"))
	return entries, err
}

// removeMessages removes messages, none of which is the last one. Repeats of them are known for some time still.
func (t *turn) removeMessages(entries []*logDoc) {
	for _, e := range entries {
		t.remove(e, true)
		if i, pinned := sortedSeqs(t.Pins, e.Seq); pinned {
			t.Pins = slices.Delete(slices.Clone(t.Pins), i, i+1)
		}
	}
}

// remove removes a message, or a change of one. Something of it stays if its mid has to be known, or if it was there for so short
// a time that somebody may still believe that its place is the next one.
func (t *turn) remove(e *logDoc, named bool) {
	if e.Seq > 0 {
		t.gone = append(t.gone, e.Seq)
	}
	left := logDoc{
		ID: e.ID, Conversation: e.Conversation, N: e.N, V: t.N, Seq: -e.N, From: e.From, MID: minted(e.N), Kind: entryIsGone,
		TS: e.TS,
	}
	switch named = named && e.given() != ""; {
	case named:
		left.MID, left.Fingerprint, left.Was, left.WasID, left.Forget = e.MID, e.Fingerprint, e.Seq, e.Message.ID, e.TS
	case e.needed(t.now):
		left.Ends = e.ends()
	default:
		t.docs = append(t.docs, removedOf(e, t.N))
		return
	}
	t.put(logCollection, e.ID, left)
}

// removedOf is that an entry is not there any more.
func removedOf(e *logDoc, n int64) document {
	d := documentOf(logCollection, e.ID, n, bson.D{})
	d.Doc = nil
	return d
}

// needed says whether an entry has to stay as a fence.
func (e *logDoc) needed(now int64) bool { return e.TS+fenceLife.Milliseconds() > now }

// ends is when an entry is not needed any more.
func (e *logDoc) ends() *time.Time {
	at := time.UnixMilli(e.TS).Add(fenceLife)
	return &at
}

// Compact goes through the messages from where the last one ended.
func (c chatStore) Compact(ctx context.Context, o chat.Snapshot) (more bool, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return false, err
	}
	defer s.leave()
	take := func(ctx context.Context, t *turn) error {
		ops, floor, err := s.ops(ctx, t, int64(o.Seq))
		if err != nil {
			return err
		}
		t.begin(entryIsState)
		t.Floor = t.Floor.raised(floor)
		t.removeMessages(ops)
		if more = floor.Ops < int64(o.Seq); !more {
			t.compacted(o)
		}
		return nil
	}
	return more, s.take(ctx, o.Conversation, &step{reads: true, take: take})
}

// ops gives the next operations up to a snapshot, and the floor when they are removed.
func (s *Store) ops(ctx context.Context, t *turn, to int64) (ops []*logDoc, next floorDoc, err error) {
	from := max(t.Floor.Floor, t.Floor.Ops+1, 1)
	bare := from == max(t.Floor.Floor, 1) // nothing is kept before
	next = floorDoc{Floor: t.Floor.Floor, Ops: to}
	all, err := s.leaving(ctx, seqRange(t.Name, uint64(from), uint64(to+1)), "s", trimSlice+1)
	if err != nil {
		return nil, next, err
	}
	if len(all) > trimSlice {
		next.Ops, all = all[trimSlice].Seq-1, all[:trimSlice]
	}
	for _, e := range all {
		switch m := e.Message; {
		case m.Kind != chat.KindOp || !m.Silent:
			if bare {
				next.Floor, bare = e.Seq, false
			}
		case e.Seq < t.Head:
			ops = append(ops, e)
		}
	}
	if bare {
		next.Floor = next.Ops + 1
	}
	return ops, next, nil
}
