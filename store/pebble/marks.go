package pebble

import (
	"context"
	"fmt"

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
	p, err := s.parties(ctx, name)
	if err != nil {
		return chat.Marked{}, nil, err
	}
	defer p.release()
	return s.mark(ctx, p, who, m, from)
}

// ordinals are the counting messages, and one's own among them, up to a message.
type ordinals struct{ seq, n, own uint64 }

// mark tries until it knows the ordinals of the message that is read: those of the last one are in memory, any other's
// are read without the lock, and may by then be behind what somebody else has marked.
func (s *Store) mark(
	ctx context.Context, p parties, who accounts.Name, m chat.Marks, origin originRow,
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
		read, err := s.message(p.conv.key, missing)
		if err != nil {
			return chat.Marked{}, nil, err
		}
		known = ordinals{missing, read.N, ownOf(who, read.From, placeRow{N: read.N, Own: read.Own})}
	}
}

// tryMark uses up or gives back a reserved place. missing is the seq whose ordinals have to be known first.
func (s *Store) tryMark(
	p parties, who accounts.Name, m chat.Marks, origin originRow, known ordinals,
) (marked chat.Marked, commit chat.Commit, missing uint64, err error) {
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	conv := p.conv.value
	i, err := conv.memberLocked(who)
	if err != nil {
		s.seq.release()
		return chat.Marked{}, nil, 0, err
	}
	was := conv.marks[i]
	next := was
	next.Read = max(was.Read, min(m.Read, conv.head))
	next.Recv = max(was.Recv, min(m.Recv, conv.head), next.Read)
	switch next.Read {
	case was.Read:
		if next.Recv == was.Recv {
			s.seq.release()
			return chat.Marked{Marks: was.marks()}, p.pendingLocked(), 0, nil
		}
	case conv.head:
		next.ReadN, next.ReadOwn = conv.n, conv.own[i]
	case known.seq:
		next.ReadN, next.ReadOwn = known.n, known.own
	default:
		s.seq.release()
		return chat.Marked{}, nil, next.Read, nil
	}
	conv.marks[i] = next
	b := s.batch()
	now := s.now()
	if next.Read != was.Read {
		p.pushLocked(b, i, encode(entryRow{
			Type: entryRead, TS: now, Conversation: conv.name, Recv: next.Recv, Read: next.Read,
		}))
		p.changedLocked(i)
	}
	told := p.tellLocked(b, i, now)
	switch {
	case !told && !was.untold():
		put(b, key2(tableUntold, conv.name, who), nil)
	case told && was.untold():
		remove(b, key2(tableUntold, conv.name, who))
	}
	put(b, key2(tableMembers, conv.name, who), encode(conv.marks[i]))
	putOrigin(b, origin)
	written, err := p.commitLocked(b)
	if err != nil {
		return chat.Marked{}, nil, 0, err
	}
	return chat.Marked{Marks: next.marks(), Moved: true, Untold: !told}, written, 0, nil
}

// pendingLocked is what an answer that changes nothing waits for: nil if all that it rests on is durable.
func (p parties) pendingLocked() chat.Commit {
	if c := p.conv.value.last; !c.isDurable() {
		return c
	}
	return nil
}

// tellLocked adds a receipt about member i to the other's stream, unless the last one is too young or still waits there.
// The caller writes the member's row.
func (p parties) tellLocked(b *pebble.Batch, i int, now int64) (told bool) {
	c := p.conv.value
	m := &c.marks[i]
	if pair := c.pairLocked(i, now); !pair.Close() { // how far one has come is nobody's business then, also later
		m.ToldRecv, m.ToldRead = m.Recv, m.Read
		return true
	}
	if m.ToldUSN != 0 {
		age := now - m.ToldTS
		young := age >= 0 && age < chat.ReceiptInterval.Milliseconds() // a clock that went back stops nothing
		if young || m.ToldUSN > p.stream(1-i).seen {
			return false
		}
	}
	m.ToldRecv, m.ToldRead, m.ToldTS = m.Recv, m.Read, now
	m.ToldUSN = p.pushLocked(b, 1-i, encode(entryRow{
		Type: entryReceipt, TS: now, Conversation: c.name, Who: c.members[i], Recv: m.Recv, Read: m.Read,
	}))
	return true
}

func (c chatStore) Tell(ctx context.Context, name chat.Conversation, who accounts.Name) (bool, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return false, nil, err
	}
	defer s.leave()
	p, err := s.parties(ctx, name)
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
	i, err := conv.memberLocked(who)
	if err != nil || !conv.marks[i].untold() {
		s.seq.release()
		return false, nil, err
	}
	b := s.batch()
	if !p.tellLocked(b, i, s.now()) {
		s.seq.release()
		return true, nil, b.Close()
	}
	remove(b, key2(tableUntold, conv.name, who))
	put(b, key2(tableMembers, conv.name, who), encode(conv.marks[i]))
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
	e, err := s.conversations.pin(ctx, name)
	if err != nil {
		return chat.Marks{}, err
	}
	defer s.conversations.unpin(e)
	s.seq.mu.Lock()
	i, err := e.value.memberLocked(who)
	marks, commit := e.value.marks[i].marks(), e.value.last
	s.seq.mu.Unlock()
	if waitErr := commit.Wait(ctx); waitErr != nil {
		return chat.Marks{}, waitErr
	}
	if err != nil {
		return chat.Marks{}, fmt.Errorf("%s in %s: %w", who, name, err)
	}
	return marks, nil
}
