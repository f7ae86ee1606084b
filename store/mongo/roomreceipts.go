package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// In rooms the senders are told of what became of their messages. A mark writes nothing for them: it notes that something is
// untold. Every now and then all that is untold in a room is told at once: one entry for each sender whose messages lie among
// what was read or received, with numbers that are counted from the marks of the members. So what that costs depends on the
// number of members and of senders, and not on how many have read how many messages.

// settleReceipts leaves nothing untold of a member, and nothing to him, without telling.
func (m *memberDoc) settleReceipts() {
	m.ToldRecv, m.ToldRead, m.Owed = m.Recv, m.public(), 0
	m.noteUntold()
}

// noteUntold says whether something is to be told of a member, or to him.
func (m *memberDoc) noteUntold() {
	m.Untold = ""
	if m.moved() || m.Owed > 0 {
		m.Untold = untoldKey(m.C, m.U)
	}
}

// untoldKey is the place of a member among those of whom something is untold.
func untoldKey(c chat.Conversation, who accounts.Name) string { return string(c) + " " + string(who) }

// waits says whether the last receipt for a member waits in his stream still.
func (s *Store) waits(m *memberDoc) bool { return m.ToldUSN != 0 && !s.seen(m.U, uint64(m.ToldUSN)) }

func (c chatStore) TellRoom(
	ctx context.Context, name chat.Conversation,
) (told []accounts.Name, again bool, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, false, nil, err
	}
	defer s.leave()
	if !name.Kind().Room() {
		return nil, false, nil, nil
	}
	r := roomTelling{store: s}
	if err := s.take(ctx, name, &step{reads: true, take: r.take, after: r.after}); err != nil {
		return nil, false, nil, err
	}
	if r.wrote {
		commit = durable{}
	}
	return r.who, r.again, commit, nil
}

// roomTelling is one round of receipts.
type roomTelling struct {
	store *Store
	who   []accounts.Name // was told
	told  []receipt
	again bool
	wrote bool
}

func (r *roomTelling) take(ctx context.Context, t *turn) error {
	*r = roomTelling{store: r.store}
	crew := t.crew()
	if !slices.ContainsFunc(crew, func(m *memberDoc) bool { return m.moved() || m.Owed > 0 && !r.store.waits(m) }) {
		return nil
	}
	// A clock that went back stops nothing.
	if age := t.now - t.receiptsAt; age >= 0 && age < chat.RoomReceiptInterval.Milliseconds() {
		r.again = true
		return nil
	}
	news, err := r.news(ctx, t.Name, crew)
	if err != nil {
		return err
	}
	t.begin(entryIsState)
	t.receiptsAt, r.wrote = t.now, true
	for _, m := range crew {
		if m.moved() {
			m.ToldRecv, m.ToldRead = m.Recv, m.public()
			t.save(m)
		}
	}
	for i, m := range crew {
		if seq := max(news[i], m.Owed); seq != 0 {
			r.tell(t, m, seq)
		}
		m.noteUntold()
	}
	return nil
}

// tell tells a sender of what became of one of his messages, unless what he was told last still waits.
func (r *roomTelling) tell(t *turn, m *memberDoc, seq int64) {
	if r.store.waits(m) && m.Owed == seq {
		return
	}
	t.save(m)
	if r.store.waits(m) {
		m.Owed = seq
		return
	}
	m.Owed = 0
	n := t.countMarks(m, seq)
	r.who, r.told = append(r.who, m.U), append(r.told, receipt{m, len(t.told)})
	t.tell(m.U, entryDoc{
		Type: chat.EntryReceipt, TS: t.now, Conversation: t.Name, Seq: seq, RecvN: n.Recv, ReadN: n.Read, OfN: n.Of,
	})
}

// after keeps in mind where they were told.
func (r *roomTelling) after(usns []uint64) {
	for i := range r.told {
		r.told[i].after(usns)
	}
}

// news looks for the newest message of each sender of which something is to be told; 0: there is none.
func (r *roomTelling) news(ctx context.Context, name chat.Conversation, crew []*memberDoc) ([]int64, error) {
	news := make(chat.Readers, len(crew))
	for i, m := range crew {
		news[i] = m.reader()
	}
	told, out := int64(news.Told()), make([]int64, len(crew))
	for i, m := range crew {
		if m.Own == 0 || m.Wrote != 0 && m.Wrote <= told {
			continue
		}
		seq, err := news.Newest(i, func(seq uint64) (uint64, error) {
			if m.Wrote != 0 && m.Wrote <= int64(seq) {
				return uint64(m.Wrote), nil
			}
			last, err := r.store.lastOwn(ctx, name, m.U, int64(seq))
			return uint64(last), err
		})
		if err != nil {
			return nil, err
		}
		out[i] = int64(seq)
	}
	return out, nil
}

// lastOwn gives the last counting message up to seq that somebody has sent in a room; 0: there is none.
func (s *Store) lastOwn(ctx context.Context, c chat.Conversation, who accounts.Name, seq int64) (int64, error) {
	var last []*logDoc
	filter := bson.D{
		{Key: "c", Value: c}, {Key: "f", Value: who},
		{Key: "s", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lte", Value: seq}}},
		{Key: "msg.silent", Value: bson.D{{Key: "$ne", Value: true}}},
	}
	err := s.findAll(ctx, logCollection, filter, &last, sortedBy("s", -1), limitedTo(1), only("s"))
	if err != nil || len(last) == 0 {
		return 0, err
	}
	return last[0].Seq, nil
}

// countMarks counts the other members who have received and read a message of one of them.
func (st *state) countMarks(of *memberDoc, seq int64) (n chat.ReceiptCounts) {
	n.Seq = uint64(seq)
	for _, m := range st.people {
		if m != of && st.in(m) {
			n.Count(m.reader())
		}
	}
	return n
}
