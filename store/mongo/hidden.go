package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var hiddenIndexes = []index{
	{hiddenCollection, "user", fields("u", "c", "s"), false, false, "Forget; what is cleared besides"},
}

// cleared gives the seq up to which somebody has deleted a conversation for himself.
func (s *Store) cleared(ctx context.Context, who accounts.Name, c chat.Conversation) (upTo int64, err error) {
	var d hiddenDoc
	err = s.get(ctx, hiddenCollection, hiddenKey{who, c, 0}, &d)
	return d.UpTo, err
}

// hiddenPage is of how many people is asked at once who has deleted a message for himself.
const hiddenPage = 500

func (c chatStore) Hidden(ctx context.Context, name chat.Conversation, seq uint64, who []accounts.Name) (out []bool, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	hides := map[accounts.Name]bool{}
	for some := range slices.Chunk(who, hiddenPage) {
		var keys bson.A
		for _, person := range some {
			keys = append(keys, hiddenKey{person, name, 0}, hiddenKey{person, name, int64(seq)})
		}
		var all []hiddenDoc
		err := s.findAll(ctx, hiddenCollection, bson.D{{Key: "_id", Value: in(keys)}}, &all)
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			hides[d.U] = hides[d.U] || d.S != 0 || int64(seq) <= d.UpTo
		}
	}
	for _, person := range who {
		out = append(out, hides[person])
	}
	return out, nil
}

// hiding is something that somebody deletes for himself, on its way.
type hiding struct {
	store  *Store
	who    accounts.Name
	seqs   []uint64 // nil: all
	origin *originDoc
	upTo   int64 // the last of all
	wrote  bool
}

func (s *Store) hide(ctx context.Context, name chat.Conversation, who accounts.Name, seqs []uint64, origin any) (*hiding, error) {
	h := &hiding{store: s, who: who, seqs: seqs}
	var err error
	if h.origin, err = s.originOf(origin); err != nil {
		return nil, err
	}
	st := &step{who: []accounts.Name{who}, reads: true, take: h.some}
	if seqs == nil {
		st.take = h.all
	}
	return h, s.take(ctx, name, st)
}

func (h *hiding) commit() chat.Commit {
	if h.wrote {
		return durable{}
	}
	return nil
}

func (c chatStore) Hide(
	ctx context.Context, name chat.Conversation, who accounts.Name, seqs []uint64, origin any,
) (chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	h, err := s.hide(ctx, name, who, append([]uint64{}, seqs...), origin)
	if err != nil {
		return nil, err
	}
	return h.commit(), nil
}

func (c chatStore) Clear(
	ctx context.Context, name chat.Conversation, who accounts.Name, origin any,
) (upTo uint64, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, nil, err
	}
	defer s.leave()
	h, err := s.hide(ctx, name, who, nil, origin)
	if err != nil {
		return 0, nil, err
	}
	return uint64(h.upTo), h.commit(), nil
}

// begin begins the entry of what the member deletes for himself.
func (h *hiding) begin(t *turn, m *memberDoc) {
	t.begin(entryIsState)
	t.origin, h.wrote = h.origin, true
	m.Hides = true
	t.save(m)
}

// some deletes messages for the one who wants it.
func (h *hiding) some(ctx context.Context, t *turn) error {
	h.wrote = false
	m, err := h.member(t)
	if err != nil {
		return err
	}
	docs, err := h.visible(ctx, t, m)
	if err != nil || len(docs) == 0 {
		return err
	}
	h.begin(t, m)
	e := entryDoc{Type: chat.EntryHide, TS: t.now, Conversation: t.Name}
	for _, d := range docs {
		d.N = t.entry.N
		t.put(hiddenCollection, d.Key, d)
		if e.Seqs = append(e.Seqs, d.S); d.Counts {
			m.hide(d.S)
		}
	}
	t.tell(h.who, e)
	return nil
}

// member gives the one who deletes. He may have left.
func (h *hiding) member(t *turn) (*memberDoc, error) {
	m, err := t.place(h.who)
	if err == nil && !t.exists() {
		err = chat.ErrNoConversation
	}
	return m, err
}

// visible gives those of the messages that are there and were not deleted by him before.
func (h *hiding) visible(ctx context.Context, t *turn, m *memberDoc) (out []hiddenDoc, err error) {
	s, seqs := h.store, map[chat.Conversation][]int64{}
	for _, seq := range h.seqs {
		seqs[t.Name] = append(seqs[t.Name], int64(seq))
	}
	there, err := s.entriesAt(ctx, "s", seqs)
	if err != nil {
		return nil, err
	}
	hidden, err := s.hiddenOf(ctx, h.who, map[chat.Conversation]*memberDoc{t.Name: m}, seqs)
	if err != nil {
		return nil, err
	}
	for _, seq := range seqs[t.Name] {
		at := place{t.Name, seq}
		e := there[at]
		if e == nil || e.Message == nil || hidden[at] {
			continue
		}
		delete(there, at)
		out = append(out, hiddenDoc{
			Key: hiddenKey{h.who, t.Name, seq}, U: h.who, C: t.Name, S: seq, Counts: !e.Message.Silent && e.Message.From != h.who,
		})
	}
	return out, nil
}

// hide remembers a counting message that the member has deleted for himself.
func (m *memberDoc) hide(seq int64) {
	m.HidCounted = true
	m.Hidden = m.Hidden[firstAfter(m.Hidden, m.since()):]
	if i, found := sortedSeqs(m.Hidden, seq); !found && seq > m.since() {
		m.Hidden = slices.Insert(m.Hidden, i, seq)
	}
}

// all deletes all that is there for the one who wants it.
func (h *hiding) all(ctx context.Context, t *turn) error {
	h.upTo, h.wrote = t.Head, false
	m, err := h.member(t)
	if err != nil {
		return err
	}
	before, err := h.store.cleared(ctx, h.who, t.Name)
	if err != nil || t.Head <= before {
		return err
	}
	h.begin(t, m)
	if t.Head > m.since() {
		m.ReadN, m.ReadOwn = t.Count, t.own(m)
	}
	m.Base = max(m.Base, t.Head)
	m.forgetMentions()
	d := hiddenDoc{Key: hiddenKey{h.who, t.Name, 0}, N: t.entry.N, U: h.who, C: t.Name, UpTo: t.Head}
	t.put(hiddenCollection, d.Key, d)
	t.tell(h.who, entryDoc{Type: chat.EntryHide, TS: t.now, Conversation: t.Name, Read: t.Head})
	return nil
}

// MessagesFor reads what Messages does, as one sees it.
func (c chatStore) MessagesFor(
	ctx context.Context, who accounts.Name, name chat.Conversation, after, before uint64, limit int,
) (page chat.MessagePage, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return page, err
	}
	defer s.leave()
	v := view{store: s, who: who}
	if err := s.look(ctx, name, []accounts.Name{who}, v.of); err != nil {
		return page, err
	}
	upTo := int64(0)
	if v.member.Hides {
		if upTo, err = s.cleared(ctx, who, name); err != nil {
			return page, err
		}
	}
	page, entries, err := s.messagePage(ctx, name, max(after, uint64(upTo)), before, limit)
	if err != nil {
		return page, err
	}
	if floor := uint64(upTo) + 1; floor > page.Floor {
		page.Floor, page.Why = floor, chat.FloorClear
	}
	return page, v.see(ctx, page.Messages, entries)
}

// view is how somebody sees the messages of a conversation.
type view struct {
	store  *Store
	who    accounts.Name
	member memberDoc // what he is to the conversation, in part
	pins   []int64
}

func (v *view) of(t *turn) error {
	v.member, v.pins = memberDoc{C: t.Name}, slices.Clone(t.Pins)
	if m := t.people[v.who]; m != nil {
		v.member.Hides, v.member.Role, v.member.Since = m.Hides, m.Role, m.Since
	}
	return nil
}

// see takes away what is hidden of messages, which are in entries, and adds reactions and pins. Who has left the room is not
// shown these: they may have come after that.
func (v *view) see(ctx context.Context, all []chat.Message, entries []*logDoc) error {
	if len(all) == 0 {
		return nil
	}
	name, left := v.member.C, v.member.leftAt()
	seqs := make([]int64, len(all))
	for i := range all {
		seqs[i] = int64(all[i].Seq)
	}
	hidden, err := v.store.hiddenOf(ctx, v.who, map[chat.Conversation]*memberDoc{name: &v.member},
		map[chat.Conversation][]int64{name: seqs})
	if err != nil {
		return err
	}
	for i := range all {
		m := &all[i]
		if hidden[place{name, seqs[i]}] {
			m.Vanish(chat.WhyHidden)
		}
		switch {
		case m.Kind == chat.KindGone:
		case left != 0:
			entries[i].asItWas(left, m)
		default:
			_, m.Pinned = sortedSeqs(v.pins, seqs[i])
		}
	}
	if left != 0 {
		return nil
	}
	return v.store.withReactions(ctx, name, all, v.who)
}
