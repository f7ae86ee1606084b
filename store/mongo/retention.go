package mongo

import (
	"context"
	"fmt"
	"sort"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// retentionIndexes are those by which it is found what is too old.
var retentionIndexes = []index{
	{logCollection, "forget", fields("mx"), false, true, "RetireMIDs"},
	{outdatedCollection, "due", fields("due", "c", "s"), false, false, "Outdated; exports"},
	{outdatedCollection, "ends", fields("x"), false, true, "snapshots that are done with"},
	{hiddenCollection, "conversation", fields("c", "s"), false, false, "Retire"},
}

func (c chatStore) Written(ctx context.Context, after chat.Conversation, limit int) (out []chat.Written, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	var all []convDoc
	filter := bson.D{
		{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}, {Key: "head", Value: bson.D{{Key: "$gt", Value: 0}}},
	}
	err = s.findAll(ctx, convsCollection, filter, &all, sortedBy("_id", 1), limitedTo(limit), only("_id", "room.keep"))
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		var first []*logDoc
		err := s.findAll(ctx, logCollection, seqsFrom(d.Name, 1), &first, sortedBy("s", 1), limitedTo(1), only("ts"))
		if err != nil {
			return nil, err
		}
		w := chat.Written{Conversation: d.Name}
		if d.Room != nil {
			w.Keep = d.Room.Keep
		}
		if len(first) > 0 {
			w.Oldest = first[0].TS
		}
		out = append(out, w)
	}
	return out, nil
}

// seqsFrom finds the messages of a conversation from one on.
func seqsFrom(c chat.Conversation, seq int64) bson.D {
	return bson.D{{Key: "c", Value: c}, {Key: "s", Value: bson.D{{Key: "$gte", Value: seq}}}}
}

func (c chatStore) Retire(ctx context.Context, name chat.Conversation, before int64) (more bool, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return false, err
	}
	defer s.leave()
	r := retiring{store: s, before: before}
	if err := s.take(ctx, name, &step{reads: true, take: r.raise}); err != nil {
		return false, fmt.Errorf("retire: %w", err)
	}
	if err := s.take(ctx, name, &step{reads: true, take: r.remove}); err != nil {
		return false, fmt.Errorf("retire: %w", err)
	}
	return r.more, nil
}

// retiring is two steps in which messages go with their mids.
type retiring struct {
	store  *Store
	before int64
	more   bool // there are more to remove
}

// raise raises the floor, and has nobody count what is below.
func (r *retiring) raise(ctx context.Context, t *turn) error {
	floor, err := r.store.floorAt(ctx, t.state, r.before)
	if err != nil || floor.Floor <= t.Floor.Floor {
		return err
	}
	floor = t.Floor.raised(floor)
	own := map[*memberDoc]int64{}
	for _, m := range t.people {
		if !t.in(m) || m.since() >= floor.Floor-1 {
			continue
		}
		if own[m], err = r.store.ownBelow(ctx, t.state, m, floor); err != nil {
			return err
		}
	}
	t.begin(entryIsState)
	t.Floor = floor
	for m, n := range own {
		m.rebase(floor, n)
		if !t.large() {
			t.save(m)
		}
	}
	t.Gone, t.Calls = t.Gone[marksAfter(t.Gone, floor.Floor-1):], t.Calls[marksAfter(t.Calls, floor.Floor-1):]
	t.Pins = t.Pins[firstAfter(t.Pins, floor.Floor-1):]
	return nil
}

// floorAt says where a conversation begins if messages before a time are not kept.
func (s *Store) floorAt(ctx context.Context, st *state, before int64) (f floorDoc, err error) {
	f.Floor = max(st.Floor.Floor, 1)
	var first []*logDoc
	kept := append(seqsFrom(st.Name, f.Floor), bson.E{Key: "ts", Value: bson.D{{Key: "$gte", Value: before}}})
	if err := s.findAll(ctx, logCollection, kept, &first, sortedBy("s", 1), limitedTo(1), only("s")); err != nil {
		return f, err
	}
	if f.Floor = st.Head + 1; len(first) > 0 {
		f.Floor = first[0].Seq
	}
	if f.Floor == 1 {
		return f, nil
	}
	last, err := s.message(ctx, st.Name, uint64(f.Floor-1))
	f.N, f.From, f.Own = int64(last.N), last.From, int64(last.Own)
	return f, err
}

// retireSlice is how many messages, or changes, are removed by one step.
const retireSlice = 64

// remove removes some of the messages below the floor, with what belongs to them. The last message of all stays, without content.
func (r *retiring) remove(ctx context.Context, t *turn) error {
	s := r.store
	gone := bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: t.Floor.Floor}}
	below := bson.D{{Key: "c", Value: t.Name}, {Key: "s", Value: gone}}
	all, err := s.leaving(ctx, below, "s", retireSlice)
	if err != nil {
		return err
	}
	r.more = len(all) == retireSlice
	if n := len(all); n > 0 && all[n-1].bare() { // done before
		all = all[:n-1]
	}
	if !r.more {
		changes, err := r.changes(ctx, t)
		if err != nil {
			return err
		}
		all = append(all, changes...)
	}
	if len(all) == 0 {
		return nil
	}
	if err := s.removeHidden(ctx, t.Name, t.Floor.Floor); err != nil {
		return err
	}
	t.begin(entryIsState)
	for _, e := range all {
		if e.Seq == t.Head {
			t.put(logCollection, e.ID, e.laidBare(t.N))
			t.gone = append(t.gone, e.Seq)
			continue
		}
		t.remove(e, false)
	}
	return nil
}

// bare says whether nothing is left of a message but its place.
func (e *logDoc) bare() bool {
	return e.Message != nil && e.Message.Kind == chat.KindGone && e.given() == ""
}

// laidBare is what stays of the last message of a conversation.
func (e *logDoc) laidBare(n int64) *logDoc {
	m := e.Message
	return &logDoc{
		ID: e.ID, Conversation: e.Conversation, N: e.N, V: n, Seq: e.Seq, From: e.From, MID: minted(e.N), Kind: e.Kind, TS: e.TS,
		Message: &messageDoc{ID: m.ID, From: m.From, Kind: chat.KindGone, N: m.N, Own: m.Own, Silent: m.Silent},
	}
}

// changes gives some changes that are too old, of messages below the floor, the oldest first. The last one of all stays: it says
// what the next rev is.
func (r *retiring) changes(ctx context.Context, t *turn) ([]*logDoc, error) {
	filter := bson.D{{Key: "c", Value: t.Name}, {Key: "r", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: t.Rev}}}}
	all, err := r.store.leaving(ctx, filter, "r", retireSlice)
	if err != nil {
		return nil, err
	}
	for i, e := range all {
		if e.TS >= r.before || e.Change.Seq >= t.Floor.Floor {
			return all[:i], nil
		}
	}
	r.more = len(all) == retireSlice
	return all, nil
}

// removeHidden removes what says of messages below a floor that somebody has deleted them for himself. An entry of before may
// bring it back, which nobody sees.
func (s *Store) removeHidden(ctx context.Context, c chat.Conversation, floor int64) error {
	filter := bson.D{{Key: "c", Value: c}, {Key: "s", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: floor}}}}
	err := retried(ctx, func() error {
		_, err := s.db.Collection(hiddenCollection).DeleteMany(ctx, filter)
		return err
	})
	return failed(ctx, "write "+hiddenCollection, err)
}

func (c chatStore) RetireStreams(
	ctx context.Context, before int64, after accounts.Name, limit int,
) (last accounts.Name, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return "", err
	}
	defer s.leave()
	for range limit {
		var next []streamDoc
		behind := bson.D{{Key: "u", Value: bson.D{{Key: "$gt", Value: after}}}}
		if err := s.findAll(ctx, streamCollection, behind, &next, inOrder("u", "n"), limitedTo(1)); err != nil {
			return "", err
		}
		if len(next) == 0 {
			return "", nil
		}
		after = next[0].User
		if err := s.retireStream(ctx, &next[0], before); err != nil {
			return "", err
		}
	}
	return after, nil
}

// retireStream cuts the beginning of a stream off. What is cut off while somebody reads it is not there for him: see contiguous.
func (s *Store) retireStream(ctx context.Context, first *streamDoc, before int64) error {
	ts, err := s.toldAt(ctx, first)
	if err != nil || ts >= before { // as of almost all
		return err
	}
	head, err := s.headNow(ctx, first.User)
	if err != nil || uint64(first.USN) >= head {
		return err
	}
	from := first.USN + 1
	n := sort.Search(int(int64(head)-from), func(i int) bool {
		if err != nil {
			return true
		}
		var d streamDoc
		if d, err = s.streamAt(ctx, first.User, from+int64(i)); err == nil {
			ts, err = s.toldAt(ctx, &d)
		}
		return ts >= before
	})
	if err != nil {
		return err
	}
	old := bson.D{{Key: "u", Value: first.User}, {Key: "n", Value: bson.D{{Key: "$lt", Value: from + int64(n)}}}}
	err = retried(ctx, func() error {
		_, err := s.stream().DeleteMany(ctx, old)
		return err
	})
	return failed(ctx, "cut a stream", err)
}

// streamAt reads a place of a stream; of one that was cut off meanwhile nothing is known, and it is as old as can be.
func (s *Store) streamAt(ctx context.Context, user accounts.Name, usn int64) (d streamDoc, err error) {
	var all []streamDoc
	filter := bson.D{{Key: "u", Value: user}, {Key: "n", Value: usn}}
	err = s.findAll(ctx, streamCollection, filter, &all, limitedTo(1))
	if err == nil && len(all) > 0 {
		d = all[0]
	}
	return d, err
}

// toldAt gives the time of an entry of a stream; of a message, or of a change of one, that of what it points at.
func (s *Store) toldAt(ctx context.Context, d *streamDoc) (int64, error) {
	switch e := &d.Entry; {
	case e.Type == chat.EntryMessage:
		m, err := s.message(ctx, e.Conversation, uint64(e.Seq))
		return m.TS, err
	case e.Rev != 0:
		return s.changeTime(ctx, e.Conversation, e.Rev)
	default:
		return e.TS, nil
	}
}

// contiguous gives the end of a page of a stream that has no gap: before one there is only what is being cut off.
func contiguous(docs []streamDoc) []streamDoc {
	for i := len(docs) - 1; i > 0; i-- {
		if docs[i-1].USN+1 != docs[i].USN {
			return docs[i:]
		}
	}
	return docs
}

// inOrder reads documents in the order of several fields.
func inOrder(names ...string) findOption {
	return func(o *options.FindOptionsBuilder) { o.SetSort(fields(names...)) }
}
