package pebble

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Mark(
	ctx context.Context, name chat.Conversation, who accounts.Name, m chat.Marks, origin any,
) (chat.Marked, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Marked{}, nil, err
	}
	defer s.leave()
	from, err := originKey(origin)
	if err != nil {
		return chat.Marked{}, nil, err
	}
	p, err := s.parties(ctx, name, false, who)
	if err != nil {
		return chat.Marked{}, nil, err
	}
	defer p.release()
	return s.mark(ctx, &p, who, m, from)
}

// ordinals are the counting messages, and one's own among them, up to a message.
type ordinals struct{ seq, n, own uint64 }

// mark tries until it knows the ordinals of the message that is read: those of the last one are in memory, any other's
// are read without the lock, and may by then be behind what somebody else has marked.
func (s *Store) mark(
	ctx context.Context, p *parties, who accounts.Name, m chat.Marks, origin originRow,
) (chat.Marked, chat.Commit, error) {
	var known ordinals
	for {
		if err := s.seq.reserve(ctx); err != nil {
			return chat.Marked{}, nil, err
		}
		marked, commit, missing, err := s.tryMark(p, who, m, origin, known)
		if err != nil || missing == 0 {
			return marked, commit, err
		}
		if known, err = s.ordinals(p.conv.key, who, missing); err != nil {
			return chat.Marked{}, nil, err
		}
	}
}

func (s *Store) ordinals(c chat.Conversation, who accounts.Name, seq uint64) (ordinals, error) {
	read, err := s.message(c, seq)
	if err != nil {
		return ordinals{}, err
	}
	o := ordinals{seq, read.N, ownOf(who, read.From, placeRow{N: read.N, Own: read.Own})}
	if c.Kind().Room() {
		o.own, err = s.ownUpTo(s.db, c, who, seq)
	}
	return o, err
}

// tryMark uses up or gives back a reserved place. missing is the seq whose ordinals have to be known first.
func (s *Store) tryMark(
	p *parties, who accounts.Name, m chat.Marks, origin originRow, known ordinals,
) (marked chat.Marked, commit chat.Commit, missing uint64, err error) {
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	conv := p.conv.value
	i, err := p.memberLocked(who)
	if err != nil {
		s.seq.release()
		return chat.Marked{}, nil, 0, err
	}
	was := p.people[i].member.row
	next := was
	to := chat.Progress{Recv: was.Recv, Read: was.Read, Hid: was.Hid}.Move(m, conv.head, p.stream(i).sides.all[conv.name].Private)
	next.Recv, next.Read, next.Hid = to.Recv, to.Read, to.Hid
	switch {
	case next.Read == was.Read:
		if next.Recv == was.Recv && next.Hid == was.Hid {
			return s.markNothingLocked(p, i, m, origin)
		}
	case next.Read <= was.Base: // what counts begins after that
	case next.Read == conv.head:
		next.ReadN, next.ReadOwn = conv.n, p.people[i].own
	case next.Read == known.seq:
		next.ReadN, next.ReadOwn = known.n, known.own
	default:
		s.seq.release()
		return chat.Marked{}, nil, next.Read, nil
	}
	p.people[i].member.row = next
	b := s.batch()
	now := s.now()
	if next.Read != was.Read {
		conv.forgetMentionsLocked(b, p.people[i].member)
		p.pushLocked(b, i, encode(entryRow{
			Type: entryRead, TS: now, Conversation: conv.name, Recv: next.Recv, Read: next.Read,
		}))
		p.changedLocked(i)
	}
	unflagged := p.unflagLocked(b, i, m, was.Read, now)
	told := p.tellLocked(b, i, m.ReceiptsTo, now)
	switch {
	case !told && !was.untold():
		put(b, key2(tableUntold, conv.name, who), nil)
	case told && was.untold() && !p.people[i].member.row.untold():
		remove(b, key2(tableUntold, conv.name, who))
	}
	p.saveLocked(b, i)
	putOrigin(b, origin)
	written, err := p.commitLocked(b)
	if err != nil {
		return chat.Marked{}, nil, 0, err
	}
	return chat.Marked{Marks: next.marks(), Moved: true, Untold: !told, Unflagged: unflagged}, written, 0, nil
}

// unflagLocked takes the flag of one of the people away, if what he says that he has read is not behind what he had.
func (p *parties) unflagLocked(b *pebble.Batch, i int, m chat.Marks, was uint64, now int64) bool {
	c, st := p.conv.value, p.stream(i)
	if !st.sides.all[c.name].Flag || !chat.ReadsFlag(m.Read, was, c.head) {
		return false
	}
	st.changeSideLocked(b, c.name, chat.Unflagged(), c.head, now)
	return true
}

// markNothingLocked is tryMark for marks that move nothing.
func (s *Store) markNothingLocked(
	p *parties, i int, m chat.Marks, origin originRow,
) (marked chat.Marked, commit chat.Commit, missing uint64, err error) {
	marked.Marks = p.people[i].member.row.marks()
	b := s.batch()
	if marked.Unflagged = p.unflagLocked(b, i, m, marked.Read, s.now()); !marked.Unflagged {
		s.seq.release()
		return marked, p.pendingLocked(), 0, b.Close()
	}
	putOrigin(b, origin)
	written, err := p.commitLocked(b)
	if err != nil {
		return chat.Marked{}, nil, 0, err
	}
	return marked, written, 0, nil
}

// tellLocked adds a receipt about member i to the other's stream, unless the last one is too young or still waits there; in
// rooms TellRoom does. The caller writes the member's row.
func (p *parties) tellLocked(b *pebble.Batch, i, receiptsTo int, now int64) (told bool) {
	c := p.conv.value
	if c.room != nil && !c.room.Quiet(receiptsTo) {
		return !p.people[i].member.row.moved()
	}
	if c.direct == nil {
		row := &p.people[i].member.row
		row.ToldRecv, row.ToldRead = row.Recv, row.public()
		return true
	}
	m := &c.members[i].row
	if pair := c.pairLocked(i, now); !pair.Close() { // how far one has come is nobody's business then, also later
		m.ToldRecv, m.ToldRead = m.Recv, m.public()
		return true
	}
	if m.ToldUSN != 0 {
		age := now - m.ToldTS
		young := age >= 0 && age < chat.ReceiptInterval.Milliseconds() // a clock that went back stops nothing
		if young || m.ToldUSN > p.stream(1-i).seen {
			return false
		}
	}
	m.ToldRecv, m.ToldRead, m.ToldTS = m.Recv, m.public(), now
	m.ToldUSN = p.pushLocked(b, 1-i, encode(entryRow{
		Type: entryReceipt, TS: now, Conversation: c.name, Who: c.members[i].who, Recv: m.Recv, Read: m.public(),
	}))
	return true
}

func (c chatStore) Tell(ctx context.Context, name chat.Conversation, who accounts.Name) (bool, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return false, nil, err
	}
	defer s.leave()
	p, err := s.parties(ctx, name, false, who)
	if err != nil {
		return false, nil, err
	}
	defer p.release()
	if err := s.seq.reserve(ctx); err != nil {
		return false, nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	conv := p.conv.value
	i, err := p.memberLocked(who)
	if err != nil || !p.people[i].member.row.untold() {
		s.seq.release()
		return false, nil, err
	}
	b := s.batch()
	if !p.tellLocked(b, i, 0, s.now()) {
		s.seq.release()
		return true, nil, b.Close()
	}
	remove(b, key2(tableUntold, conv.name, who))
	p.saveLocked(b, i)
	commit, err := p.commitLocked(b)
	if err != nil {
		return false, nil, err
	}
	return false, commit, nil
}

func (c chatStore) Untold(ctx context.Context, after chat.Member, limit int) ([]chat.Member, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	var out []chat.Member
	from := key2(tableUntold, after.Conversation, after.Who)
	err := s.scan(append(from, 0), prefixEnd([]byte{byte(tableUntold)}), "untold", func(key, _ []byte) (bool, error) {
		name, rest, err := cutString(key[1:])
		if err != nil {
			return false, err
		}
		who, _, err := cutString(rest)
		if err != nil {
			return false, err
		}
		out = append(out, chat.Member{Conversation: chat.Conversation(name), Who: accounts.Name(who)})
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

func (c chatStore) Membership(
	ctx context.Context, name chat.Conversation, who accounts.Name,
) (chat.Marks, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Marks{}, err
	}
	defer s.leave()
	p, err := s.parties(ctx, name, false, who)
	if err != nil {
		return chat.Marks{}, err
	}
	defer p.release()
	s.seq.mu.Lock()
	i, err := p.memberLocked(who)
	marks, commit := chat.Marks{}, p.conv.value.last
	if err == nil {
		marks = p.people[i].member.row.marks()
	}
	s.seq.mu.Unlock()
	if waitErr := commit.Wait(ctx); waitErr != nil {
		return chat.Marks{}, waitErr
	}
	return marks, err
}
