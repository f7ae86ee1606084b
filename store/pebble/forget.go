package pebble

import (
	"context"
	"errors"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Partners(
	ctx context.Context, user, after accounts.Name, limit int,
) ([]accounts.Name, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var all []accounts.Name
	err := s.eachRelation(user, after, func(other accounts.Name, _ relationRow) bool {
		all = append(all, other)
		return true
	})
	if err != nil {
		return nil, err
	}
	err = s.eachConversation(s.db, user, func(name chat.Conversation) error {
		if other, ok := name.Peer(user); ok && other > after {
			all = append(all, other)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), limit)], s.seq.settled(ctx)
}

// wipeBatch is how many messages are written anew at once.
const wipeBatch = 256

func (c chatStore) Wipe(ctx context.Context, name chat.Conversation, from accounts.Name) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	e, err := s.conversations.pin(ctx, name)
	if err != nil {
		return err
	}
	defer s.conversations.unpin(e)
	if err := e.value.take(ctx); err != nil {
		return err
	}
	defer e.value.give()
	if err := s.loadChanges(e.value); err != nil {
		return err
	}
	for next := messageKey(name, 0); next != nil; {
		var said []saying
		var err error
		if said, next, err = s.said(name, from, next); err != nil {
			return err
		}
		for len(said) > 0 {
			n, err := s.wipe(ctx, name, said)
			if err != nil {
				return err
			}
			said = said[n:]
		}
	}
	return s.seq.settled(ctx)
}

// saying is a message that is to be wiped.
type saying struct {
	seq     uint64
	place   placeRow
	content contentRow
}

// said gives some messages of a sender that still say something, but for the server's lines, and the key from which to go on;
// nil: there are no more.
func (s *Store) said(name chat.Conversation, from accounts.Name, start []byte) (out []saying, next []byte, err error) {
	err = s.scan(start, prefixEnd(key1(tableMessages, name)), "messages", func(key, value []byte) (bool, error) {
		if len(out) == wipeBatch {
			next = slices.Clone(key)
			return false, nil
		}
		place, rest, err := decodePlace(value)
		if err != nil {
			return false, err
		}
		var content contentRow
		if err := decode("message", rest, &content); err != nil {
			return false, err
		}
		if content.From != from || content.Kind == chat.KindGone || content.Kind == chat.KindSys {
			return true, nil
		}
		seq, err := cutNumber(key[len(key)-8:])
		out = append(out, saying{seq, place, content})
		return true, err
	})
	return out, next, err
}

// wipe takes away what messages say, as if they had been recalled, but that nobody is told. It gives how many that were: 0 if
// members have come or gone meanwhile.
func (s *Store) wipe(ctx context.Context, name chat.Conversation, said []saying) (n int, err error) {
	p, err := s.parties(ctx, name, true)
	if err != nil {
		return 0, err
	}
	defer p.release()
	commit, err := p.wipe(ctx, said)
	if err != nil || commit == nil {
		return 0, err
	}
	return len(said), commit.Wait(ctx)
}

// wipe gives no commit if members have come or gone meanwhile.
func (p *parties) wipe(ctx context.Context, said []saying) (*commit, error) {
	s := p.store
	if err := s.seq.reserve(ctx); err != nil {
		return nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if p.staleLocked() {
		s.seq.release()
		return nil, nil
	}
	b := s.batch()
	for _, m := range said {
		r := chat.Revision{Conversation: p.conv.key, Seq: m.seq, Rev: m.content.Rev, Why: chat.WhyDeleted}
		p.vanishLocked(b, &r, m.place, m.content)
	}
	for i, q := range p.people {
		if !p.conv.value.large() && p.conv.value.in(q.member) {
			p.changedLocked(i)
		}
	}
	return p.commitLocked(b)
}

func (c chatStore) Forget(ctx context.Context, user accounts.Name) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	b := s.batch()
	for _, t := range []table{
		tableStreams, tableUserConvs, tableRelations, tableContactVersions, tableRequests, tableBox, tableSocial,
		tableSeen, tableOnline, tableSelf, tablePending, tableHidden,
	} {
		prefix := key1(t, user)
		if err := b.DeleteRange(prefix, prefixEnd(prefix), nil); err != nil {
			return errors.Join(unavailable("forget", err), b.Close())
		}
	}
	commit, err := s.seq.write(ctx, b)
	if err != nil {
		return err
	}
	return commit.Wait(ctx)
}
