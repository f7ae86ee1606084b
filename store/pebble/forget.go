package pebble

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

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
	for next := messageKey(name, 0); next != nil; {
		b := s.batch()
		var err error
		if next, err = s.wipe(b, name, from, next); err != nil {
			return errors.Join(err, b.Close())
		}
		if b.Empty() {
			if err := b.Close(); err != nil {
				return unavailable("close batch", err)
			}
			continue
		}
		commit, err := s.seq.write(ctx, b)
		if err == nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return s.seq.settled(ctx)
}

// wipe writes some messages without their content, and gives the key from which to go on; nil: there are no more.
func (s *Store) wipe(b *pebble.Batch, name chat.Conversation, from accounts.Name, start []byte) ([]byte, error) {
	n := 0
	var next []byte
	err := s.scan(start, prefixEnd(key1(tableMessages, name)), "messages", func(key, value []byte) (bool, error) {
		if n == wipeBatch {
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
		if content.From != from || content.Kind == chat.KindGone {
			return true, nil
		}
		n++
		put(b, slices.Clone(key), append(encode(place), encode(bareRow(content, chat.WhyDeleted))...))
		seq, err := cutNumber(key[len(key)-8:])
		belongings(b, content.message(name, seq, place))
		return true, err
	})
	return next, err
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
