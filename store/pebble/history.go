package pebble

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Messages(
	ctx context.Context, name chat.Conversation, after, before uint64, limit int,
) (chat.MessagePage, error) {
	return c.messages(ctx, name, func(s *Store, floor uint64) (chat.MessagePage, error) {
		page, err := s.messagePage(name, floor, after, before, limit)
		now := s.now()
		for i := range page.Messages {
			page.Messages[i] = s.shown(page.Messages[i], now)
		}
		return page, err
	})
}

// messages reads a part of a conversation that exists, and waits until that is durable.
func (c chatStore) messages(
	ctx context.Context, name chat.Conversation, read func(s *Store, floor uint64) (chat.MessagePage, error),
) (chat.MessagePage, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.MessagePage{}, err
	}
	defer s.leave()
	e, err := s.conversations.pin(ctx, name)
	if err != nil {
		return chat.MessagePage{}, err
	}
	defer s.conversations.unpin(e)
	s.seq.mu.Lock()
	floor := e.value.floor.Floor // before what is there is looked at: it is raised before something is removed
	s.seq.mu.Unlock()
	page, err := read(s, floor)
	if err != nil {
		return chat.MessagePage{}, err
	}
	s.seq.mu.Lock()
	exists, commit := e.value.exists(), e.value.last
	s.seq.mu.Unlock()
	if err := commit.Wait(ctx); err != nil {
		return chat.MessagePage{}, err
	}
	if !exists {
		return chat.MessagePage{}, fmt.Errorf("messages of %s: %w", name, chat.ErrNoConversation)
	}
	return page, nil
}

// messagePage reads messages from floor on. There may be gaps among them.
func (s *Store) messagePage(
	name chat.Conversation, floor, after, before uint64, limit int,
) (page chat.MessagePage, err error) {
	page.Floor, page.Why = max(floor, 1), chat.FloorStart
	if floor > 1 {
		page.Why = chat.FloorRetention
	}
	prefix := key1(tableMessages, name)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return page, unavailable("read messages", err)
	}
	if iter.Last() {
		page.Head, err = cutNumber(iter.Key()[len(prefix):])
	}
	first, end := max(after+1, page.Floor), page.Head+1
	if after == math.MaxUint64 {
		first = after
	}
	if before != 0 {
		end = min(end, before)
	}
	if err == nil && first < end && limit > 0 {
		iter.SetBounds(messageKey(name, first), messageKey(name, end))
		page.Messages, err = readPage(name, iter, before != 0, min(uint64(limit), end-first))
	}
	if err := errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return page, unavailable("read messages", err)
	}
	return page, nil
}

// readPage reads up to most messages within the bounds of iter, in the order of seq: the first, or the last ones.
func readPage(name chat.Conversation, iter *pebble.Iterator, last bool, most uint64) (page []chat.Message, err error) {
	page = make([]chat.Message, 0, most)
	start, next := iter.First, iter.Next
	if last {
		start, next = iter.Last, iter.Prev
	}
	for ok := start(); ok && uint64(len(page)) < most; ok = next() {
		m, err := messageAt(name, iter)
		if err != nil {
			return nil, err
		}
		page = append(page, m)
	}
	if last {
		slices.Reverse(page)
	}
	return page, nil
}

// box reads what strangers wrote to a user who were not answered.
func (s *Store) box(r pebble.Reader, user accounts.Name) (map[chat.Conversation]boxRow, error) {
	prefix := key1(tableBox, user)
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return nil, unavailable("read box", err)
	}
	out := map[chat.Conversation]boxRow{}
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		var name string
		var row boxRow
		if name, _, err = cutString(iter.Key()[len(prefix):]); err == nil {
			if err = decode("box", iter.Value(), &row); err == nil {
				out[chat.Conversation(name)] = row
			}
		}
	}
	if err := errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return nil, unavailable("read box", err)
	}
	return out, nil
}
