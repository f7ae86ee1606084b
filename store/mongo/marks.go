package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// public is how far others may know that he has read.
func (m *memberDoc) public() int64 { return m.Read - m.Hid }

// since is the seq after which messages count as unread.
func (m *memberDoc) since() int64 { return max(m.Read, m.Base) }

func (m *memberDoc) marks() chat.Marks { return chat.Marks{Recv: uint64(m.Recv), Read: uint64(m.Read)} }

// reader is how far others may know that he has come.
func (m *memberDoc) reader() chat.Reader {
	return chat.Reader{
		Recv: uint64(m.Recv), Read: uint64(m.public()), ToldRecv: uint64(m.ToldRecv), ToldRead: uint64(m.ToldRead),
		Joined: uint64(m.Joined),
	}
}

// moved says that the marks have moved past what was told of them.
func (m *memberDoc) moved() bool { return m.reader().Moved() }

// private says whether he tells nobody what he has read there.
func (m *memberDoc) private() bool { return m.Side != nil && m.Side.Private }

func (c chatStore) Mark(ctx context.Context, name chat.Conversation, who accounts.Name, m chat.Marks, origin any) (
	out chat.Marked, commit chat.Commit, err error,
) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return out, nil, err
	}
	defer s.leave()
	k := marking{store: s, who: who, marks: m}
	if k.origin, err = s.originOf(origin); err != nil {
		return out, nil, err
	}
	if err := s.take(ctx, name, &step{who: []accounts.Name{who}, take: k.take, after: k.after}); err != nil {
		return chat.Marked{}, nil, err
	}
	if k.wrote {
		commit = durable{}
	}
	return k.out, commit, nil
}

// marking is one move of somebody's marks.
type marking struct {
	store  *Store
	who    accounts.Name
	marks  chat.Marks
	origin *originDoc
	out    chat.Marked
	wrote  bool
	told   receipt
}

// receipt is what was told of a member: the place of it is known when it was told.
type receipt struct {
	of    *memberDoc
	entry int // in what the turn tells; -1: nothing was told
}

func (k *marking) take(ctx context.Context, t *turn) error {
	k.out, k.wrote, k.told = chat.Marked{}, false, receipt{entry: -1}
	m, err := t.member(k.who)
	if err != nil {
		return err
	}
	next, read, err := k.next(ctx, t, m)
	if err != nil {
		return err
	}
	k.out.Marks = next.marks()
	was := m.Read
	k.out.Unflagged = m.Side != nil && m.Side.Flag && chat.ReadsFlag(k.marks.Read, uint64(was), uint64(t.Head))
	k.out.Moved = read || next.Recv != m.Recv || next.Hid != m.Hid
	if !k.out.Moved && !k.out.Unflagged {
		return nil
	}
	k.wrote = true
	t.begin(entryIsState)
	t.origin = k.origin
	m.Recv, m.Read, m.Hid, m.ReadN, m.ReadOwn = next.Recv, next.Read, next.Hid, next.ReadN, next.ReadOwn
	if read {
		m.forgetMentions()
		t.tell(k.who, entryDoc{Type: chat.EntryRead, TS: t.now, Conversation: t.Name, Recv: m.Recv, Read: m.Read})
	}
	if k.out.Unflagged {
		t.changeSide(m, chat.Unflagged())
	}
	if k.out.Moved {
		k.out.Untold = !t.receipt(k.store, m, k.marks.ReceiptsTo, &k.told)
		m.noteUntold()
	}
	t.save(m)
	return nil
}

// after keeps in mind where the other one was told.
func (k *marking) after(usns []uint64) { k.told.after(usns) }

func (r *receipt) after(usns []uint64) {
	if r.entry >= 0 {
		r.of.ToldUSN = int64(usns[r.entry])
	}
}

// next gives what the marks become, with the ordinals of the message that is read then.
func (k *marking) next(ctx context.Context, t *turn, m *memberDoc) (next memberDoc, read bool, err error) {
	next = *m
	is := chat.Progress{Recv: uint64(m.Recv), Read: uint64(m.Read), Hid: uint64(m.Hid)}
	to := is.Move(k.marks, uint64(t.Head), m.private())
	next.Recv, next.Read, next.Hid = int64(to.Recv), int64(to.Read), int64(to.Hid)
	switch {
	case next.Read == m.Read:
		return next, false, nil
	case next.Read <= m.Base: // what counts begins after that
	case next.Read == t.Head:
		next.ReadN, next.ReadOwn = t.Count, t.own(m)
	case t.unwritten:
		return next, false, errLater
	default:
		next.ReadN, next.ReadOwn, err = k.store.ordinals(ctx, t.state, k.who, next.Read)
	}
	return next, true, err
}

// ordinals gives how many messages count up to a message that is there, or was, and how many of them are somebody's.
func (s *Store) ordinals(ctx context.Context, st *state, who accounts.Name, seq int64) (n, own int64, err error) {
	m, err := s.message(ctx, st.Name, uint64(seq))
	if err != nil {
		return 0, 0, err
	}
	n = int64(m.N)
	switch {
	case st.kind.Room():
		own, err = s.ownUpTo(ctx, st.Name, st.people[who], seq)
	case m.From == who:
		own = int64(m.Own)
	default:
		own = n - int64(m.Own)
	}
	return n, own, err
}

// ownUpTo gives how many of the counting messages up to seq somebody has sent in a room. What comes after says so: what was
// before may be removed.
func (s *Store) ownUpTo(ctx context.Context, c chat.Conversation, m *memberDoc, seq int64) (int64, error) {
	if m.Own == 0 {
		return 0, nil
	}
	var next []*logDoc
	filter := bson.D{{Key: "c", Value: c}, {Key: "f", Value: m.U}, {Key: "s", Value: bson.D{{Key: "$gt", Value: seq}}}}
	if err := s.findAll(ctx, logCollection, filter, &next, sortedBy("s", 1), limitedTo(1)); err != nil {
		return 0, err
	}
	switch {
	case len(next) == 0:
		return m.Own, nil
	case next[0].Message.Silent:
		return next[0].Message.Own, nil
	}
	return next[0].Message.Own - 1, nil
}

// forgetMentions drops what mentions a member up to his mark.
func (m *memberDoc) forgetMentions() {
	m.Mentions = m.Mentions[firstAfter(m.Mentions, m.since()):]
	m.Hidden = m.Hidden[firstAfter(m.Hidden, m.since()):]
}

// firstAfter gives the place of the first of some sorted seqs after one.
func firstAfter(list []int64, seq int64) int {
	i, _ := sortedSeqs(list, seq+1)
	return i
}

// receipt tells the other one of two people how far a member has come, unless the last one about him is too young or still
// waits; in rooms TellRoom does. It says whether nothing is left to tell.
func (t *turn) receipt(s *Store, m *memberDoc, receiptsTo int, of *receipt) (told bool) {
	switch {
	case t.kind.Room() && !t.quiet(receiptsTo):
		return !m.moved()
	case t.kind != chat.KindDirect:
		m.ToldRecv, m.ToldRead = m.Recv, m.public()
		return true
	}
	if p := t.pair(m.U, t.now); !p.Close() { // how far one has come is nobody's business then, also later
		m.ToldRecv, m.ToldRead = m.Recv, m.public()
		return true
	}
	peer, _ := t.Name.Peer(m.U)
	if t.early(s, m, peer) {
		return false
	}
	m.ToldRecv, m.ToldRead, m.ToldTS = m.Recv, m.public(), t.now
	*of = receipt{m, len(t.told)}
	t.tell(peer, entryDoc{
		Type: chat.EntryReceipt, TS: t.now, Conversation: t.Name, Who: m.U, Recv: m.Recv, Read: m.public(),
	})
	return true
}

// early says whether the last receipt about a member is too young for another one, or still waits. Where that is in the stream
// is known only when all has followed, and written with the next change: to who has read the member meanwhile nothing waits.
func (t *turn) early(s *Store, m *memberDoc, peer accounts.Name) bool {
	if m.ToldTS == 0 {
		return false
	}
	age := t.now - m.ToldTS
	young := age >= 0 && age < chat.ReceiptInterval.Milliseconds() // a clock that went back stops nothing
	return young || !s.seen(peer, uint64(m.ToldUSN))
}

// quiet says whether nobody is told in a room how far others have come.
func (st *state) quiet(receiptsTo int) bool {
	r := chat.Room{Conversation: st.Name, Large: st.Room.Large, Members: st.Room.Members}
	return r.Quiet(receiptsTo)
}

func (c chatStore) Tell(ctx context.Context, name chat.Conversation, who accounts.Name) (
	untold bool, commit chat.Commit, err error,
) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return false, nil, err
	}
	defer s.leave()
	var told receipt
	take := func(_ context.Context, t *turn) error {
		untold, commit, told = false, nil, receipt{entry: -1}
		m, err := t.member(who)
		if err != nil || !m.moved() && m.Owed == 0 {
			return err
		}
		if t.kind == chat.KindDirect {
			peer, _ := name.Peer(who)
			if p := t.pair(who, t.now); p.Close() && t.early(s, m, peer) {
				untold = true
				return nil
			}
		}
		t.begin(entryIsState)
		commit = durable{}
		t.receipt(s, m, 0, &told)
		m.noteUntold()
		t.save(m)
		return nil
	}
	err = s.take(ctx, name, &step{who: []accounts.Name{who}, take: take, after: func(usns []uint64) { told.after(usns) }})
	if err != nil {
		return false, nil, err
	}
	return untold, commit, nil
}

func (c chatStore) Untold(ctx context.Context, after chat.Member, limit int) (out []chat.Member, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	var all []*memberDoc
	filter := bson.D{{Key: "untold", Value: bson.D{{Key: "$gt", Value: untoldKey(after.Conversation, after.Who)}}}}
	err = s.findAll(ctx, membersCollection, filter, &all, sortedBy("untold", 1), limitedTo(limit), only("c", "u"))
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		out = append(out, chat.Member{Conversation: m.C, Who: m.U})
	}
	return out, nil
}

func (c chatStore) Membership(ctx context.Context, name chat.Conversation, who accounts.Name) (out chat.Marks, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return out, err
	}
	defer s.leave()
	err = s.look(ctx, name, []accounts.Name{who}, func(t *turn) error {
		m, err := t.member(who)
		if err == nil {
			out = m.marks()
		}
		return err
	})
	return out, err
}

func (c chatStore) AllMarks(ctx context.Context, name chat.Conversation) (out []chat.MemberMarks, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.look(ctx, name, nil, func(t *turn) error {
		if !t.exists() {
			return fmt.Errorf("marks in %s: %w", name, chat.ErrNoConversation)
		}
		for _, m := range t.crew() {
			is := chat.MemberMarks{
				Who: m.U, Marks: chat.Marks{Recv: uint64(m.Recv), Read: uint64(m.public())}, Joined: uint64(m.Joined),
			}
			if t.kind == chat.KindDirect { // what the other one was told
				is.Marks = chat.Marks{Recv: uint64(m.ToldRecv), Read: uint64(m.ToldRead)}
			}
			out = append(out, is)
		}
		return nil
	})
	return out, err
}
