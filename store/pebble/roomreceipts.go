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

// quiet says whether nobody is told in a room how far others have come.
func (c *conversation) quiet(receiptsTo int) bool {
	return c.large() || c.kind == chat.KindChannel || c.kind == chat.KindLive || c.room.Members > receiptsTo
}

// settleReceiptsLocked has one of the people leave nothing untold, without telling.
func (p *parties) settleReceiptsLocked(b *pebble.Batch, i int) {
	m := p.people[i].member
	if m.row.untold() {
		remove(b, key2(tableUntold, p.conv.key, m.who))
	}
	m.row.ToldRecv, m.row.ToldRead, m.row.Owed = m.row.Recv, m.row.public(), 0
}

// reader is how far a member had come at a moment.
type reader struct {
	recv, read         uint64 // that others may know of
	toldRecv, toldRead uint64
	joined             uint64
}

// moved says whether a message was received, or read, since that was told.
func (r *reader) moved(seq uint64) bool {
	return r.joined <= seq && (r.toldRecv < seq && seq <= r.recv || r.toldRead < seq && seq <= r.read)
}

// roomTelling is one round of receipts.
type roomTelling struct {
	parties parties
	readers []reader // of the people
	wrote   []uint64 // the last seq that each has sent, if that is known
	targets []uint64 // for each the newest of his messages of which something is to be told; 0: none
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
	t.readers, t.wrote = make([]reader, len(p.people)), make([]uint64, len(p.people))
	for i, q := range p.people {
		r := &q.member.row
		t.readers[i] = reader{
			recv: r.Recv, read: r.public(), toldRecv: r.ToldRecv, toldRead: r.ToldRead, joined: r.Joined,
		}
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
	first := uint64(1<<64 - 1) // what was told to all who have moved since
	for _, r := range t.readers {
		if r.recv > r.toldRecv || r.read > r.toldRead {
			first = min(first, r.toldRecv, r.toldRead)
		}
	}
	for i, q := range p.people {
		if t.wrote[i] != 0 && t.wrote[i] <= first {
			continue
		}
		seq, err := t.newest(i, q.who)
		if err != nil {
			return err
		}
		t.targets[i] = seq
	}
	return nil
}

// newest gives the newest message of one of the people that somebody else has received or read since that was told.
func (t *roomTelling) newest(i int, who accounts.Name) (uint64, error) {
	p := &t.parties
	for below := uint64(1<<64 - 1); ; {
		most := uint64(0) // the highest mark that has moved and is not above what was looked at
		for j := range t.readers {
			if r := &t.readers[j]; j != i {
				if r.recv > r.toldRecv && r.recv < below {
					most = max(most, r.recv)
				}
				if r.read > r.toldRead && r.read < below {
					most = max(most, r.read)
				}
			}
		}
		if most == 0 {
			return 0, nil
		}
		seq, err := p.store.lastOwn(p.conv.key, who, most)
		if err != nil || seq == 0 {
			return 0, err
		}
		for j := range t.readers {
			if j != i && t.readers[j].moved(seq) {
				return seq, nil
			}
		}
		below = seq
	}
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
		r.ToldRecv, r.ToldRead = max(r.ToldRecv, t.readers[i].recv), max(r.ToldRead, t.readers[i].read)
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
		r := &q.member.row
		if i == of || !c.in(q.member) || r.Joined > seq {
			continue
		}
		n.Of++
		if r.Recv >= seq {
			n.Recv++
		}
		if r.public() >= seq {
			n.Read++
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
