package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Messages(
	ctx context.Context, name chat.Conversation, after, before uint64, limit int,
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
	page, err := s.messagePage(name, after, before, limit)
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

func (s *Store) messagePage(name chat.Conversation, after, before uint64, limit int) (chat.MessagePage, error) {
	page := chat.MessagePage{Floor: 1} // nothing is cut off yet
	prefix := key1(tableMessages, name)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return page, unavailable("read messages", err)
	}
	if iter.Last() {
		page.Head, err = cutNumber(iter.Key()[len(prefix):])
	}
	first, end := window(after, before, page.Head, limit)
	if err == nil && first < end {
		page.Messages = make([]chat.Message, 0, end-first)
		for ok := iter.SeekGE(messageKey(name, first)); ok && err == nil && uint64(len(page.Messages)) < end-first; {
			var m chat.Message
			if m, err = messageAt(name, iter); err == nil {
				page.Messages = append(page.Messages, m)
			}
			ok = iter.Next()
		}
	}
	if err := errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return page, unavailable("read messages", err)
	}
	return page, nil
}

// window turns exclusive bounds and a limit into the seqs [first, end). Seqs have no gaps.
func window(after, before, head uint64, limit int) (first, end uint64) {
	if limit <= 0 || after >= head {
		return 0, 0
	}
	first, end = after+1, head+1
	if before != 0 && before < end {
		end = before
	}
	if first >= end {
		return 0, 0
	}
	if n := uint64(limit); end-first > n {
		if before != 0 {
			first = end - n
		} else {
			end = first + n
		}
	}
	return first, end
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
