package pebble

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// In rooms the senders are told of what became of their messages. A mark writes nothing for them: it notes that something is
// untold. Every now and then all that is untold in a room is told at once: one entry for each sender whose messages lie among
// what was read or received, with numbers that are counted from the marks of the members. So what that costs depends on the
// number of members and of senders, and not on how many have read how many messages.

// settleReceiptsLocked has one of the people leave nothing untold, without telling.
func (p *parties) settleReceiptsLocked(b *pebble.Batch, i int) {
	m := p.people[i].member
	if m.row.untold() {
		remove(b, key2(tableUntold, p.conv.key, m.who))
	}
	m.row.ToldRecv, m.row.ToldRead, m.row.Owed = m.row.Recv, m.row.public(), 0
}

// roomTelling is one round of receipts.
type roomTelling struct {
	parties parties
	readers chat.Readers // of the people
	wrote   []uint64     // the last seq that each has sent, if that is known
	targets []uint64     // for each the newest of his messages of which something is to be told; 0: none
}

func (c chatStore) TellRoom(
	ctx context.Context, name chat.Conversation,
) (told []accounts.Name, again bool, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, false, nil, err
	}
	defer s.leave()
	for {
		p, err := s.parties(ctx, name, true)
		if err != nil {
			return nil, false, nil, err
		}
		t := roomTelling{parties: p}
		told, again, commit, stale, err := t.take(ctx)
		p.release()
		if !stale {
			return told, again, commit, err
		}
	}
}

func (t *roomTelling) take(ctx context.Context) (told []accounts.Name, again bool, c chat.Commit, stale bool, err error) {
	s := t.parties.store
	pending, young := t.look()
	if !pending || young {
		return nil, pending, nil, false, nil
	}
	if err := t.find(); err != nil {
		return nil, false, nil, false, err
	}
	if err := s.seq.reserve(ctx); err != nil {
		return nil, false, nil, false, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if t.parties.staleLocked() {
		s.seq.release()
		return nil, false, nil, true, nil
	}
	b := s.batch()
	told, again = t.tellLocked(b)
	commit, err := t.parties.commitLocked(b)
	if err != nil {
		return nil, false, nil, false, err
	}
	return told, again, commit, false, nil
}

// look finds out how far everybody has come, and whether there is something to tell, and it is not too early for that.
func (t *roomTelling) look() (pending, young bool) {
	p := &t.parties
	p.store.seq.mu.Lock()
	defer p.store.seq.mu.Unlock()
	c := p.conv.value
	if c.room == nil || c.large() {
		return false, false
	}
	t.readers, t.wrote = make(chat.Readers, len(p.people)), make([]uint64, len(p.people))
	for i, q := range p.people {
		r := &q.member.row
		t.readers[i] = r.reader()
		t.wrote[i] = q.wrote
		pending = pending || r.moved() || r.Owed > 0 && !p.owesLocked(i)
	}
	age := p.store.now() - c.receiptsAt
	return pending, age >= 0 && age < chat.RoomReceiptInterval.Milliseconds() // a clock that went back stops nothing
}

// owesLocked says whether the last receipt for one of the people waits in his stream still.
func (p *parties) owesLocked(i int) bool { return p.people[i].member.row.ToldUSN > p.stream(i).seen }

// find looks for the newest message of each sender of which something is to be told.
func (t *roomTelling) find() error {
	p := &t.parties
	t.targets = make([]uint64, len(p.people))
	told := t.readers.Told()
	for i, q := range p.people {
		if t.wrote[i] != 0 && t.wrote[i] <= told {
			continue
		}
		var err error
		t.targets[i], err = t.readers.Newest(i, func(seq uint64) (uint64, error) {
			return p.store.lastOwn(p.conv.key, q.who, seq)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lastOwn gives the last counting message up to seq that somebody has sent in a room; 0: there is none.
func (s *Store) lastOwn(c chat.Conversation, who accounts.Name, seq uint64) (last uint64, err error) {
	prefix := key2(tableOwn, c, who)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: ownKey(c, who, seq+1)})
	if err != nil {
		return 0, unavailable("read own", err)
	}
	if iter.Last() {
		last, err = cutNumber(iter.Key()[len(prefix):])
	}
	if err := cmp.Or(err, iter.Error(), iter.Close()); err != nil {
		return 0, unavailable("read own", err)
	}
	return last, nil
}

// tellLocked tells, and notes that it was. again: more has come meanwhile.
func (t *roomTelling) tellLocked(b *pebble.Batch) (told []accounts.Name, again bool) {
	p := &t.parties
	c, now := p.conv.value, p.store.now()
	c.receiptsAt = now
	was := make([]memberRow, len(p.people))
	for i, q := range p.people {
		r := &q.member.row
		was[i] = *r
		r.ToldRecv, r.ToldRead = max(r.ToldRecv, t.readers[i].Recv), max(r.ToldRead, t.readers[i].Read)
		again = again || r.moved()
		if seq := max(t.targets[i], r.Owed); seq != 0 {
			if p.owesLocked(i) {
				r.Owed = seq
				continue
			}
			r.Owed = 0
			n := c.countLocked(p, i, seq)
			r.ToldUSN = p.pushLocked(b, i, encode(entryRow{
				Type: entryReceipt, TS: now, Conversation: c.name, Seq: seq, RecvN: n.Recv, ReadN: n.Read, OfN: n.Of,
			}))
			told = append(told, q.who)
		}
	}
	for i, q := range p.people {
		r := &q.member.row
		switch {
		case was[i].untold() && !r.untold():
			remove(b, key2(tableUntold, c.name, q.who))
		case !was[i].untold() && r.untold():
			put(b, key2(tableUntold, c.name, q.who), nil)
		}
		told := r.ToldRecv != was[i].ToldRecv || r.ToldRead != was[i].ToldRead
		if told || r.Owed != was[i].Owed || r.ToldUSN != was[i].ToldUSN {
			p.saveLocked(b, i)
			p.stream(i).changed = true
		}
	}
	return told, again
}

// countLocked counts the other members who have received and read a message of one of the people.
func (c *conversation) countLocked(p *parties, of int, seq uint64) (n chat.ReceiptCounts) {
	n.Seq = seq
	for i, q := range p.people {
		if i != of && c.in(q.member) {
			n.Count(q.member.row.reader())
		}
	}
	return n
}

func (c chatStore) AllMarks(ctx context.Context, name chat.Conversation) ([]chat.MemberMarks, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	p, err := s.parties(ctx, name, true)
	if err != nil {
		return nil, err
	}
	defer p.release()
	s.seq.mu.Lock()
	conv := p.conv.value
	exists, commit := conv.exists(), conv.last
	var out []chat.MemberMarks
	for _, q := range p.people {
		if !conv.in(q.member) {
			continue
		}
		r := &q.member.row
		m := chat.MemberMarks{Who: q.who, Marks: chat.Marks{Recv: r.Recv, Read: r.public()}, Joined: r.Joined}
		if conv.direct != nil { // what the other one was told
			m.Marks = chat.Marks{Recv: r.ToldRecv, Read: r.ToldRead}
		}
		out = append(out, m)
	}
	s.seq.mu.Unlock()
	if err := commit.Wait(ctx); err != nil {
		return nil, err
	}
	if !exists {
		return nil, fmt.Errorf("marks in %s: %w", name, chat.ErrNoConversation)
	}
	slices.SortFunc(out, func(a, b chat.MemberMarks) int { return cmp.Compare(a.Who, b.Who) })
	return out, nil
}
