package chat

import (
	"context"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

const (
	historyLimit       = 50 // messages in a page of History, unless it is said
	maxHistory         = 100
	conversationsLimit = 50 // in a page of Conversations, unless it is said
	maxConversations   = 200
)

// HistoryQuery says which part of a conversation is wanted: at most one of First, After, Before and Around. With none it is
// the last messages.
type HistoryQuery struct {
	Conversation Conversation
	First        bool   // from the first message on: what After 0 would be
	After        uint64 // those after this seq
	Before       uint64 // the last ones before this seq
	Around       uint64 // those on both sides of this seq, and it
	Limit        int    // 0: 50; at most 100
}

// History gives a part of a conversation that who is in, without gaps, in the order of seq, and at least one message if
// there is one; not many more than fit into 256 KiB. ErrMalformed, ErrNotMember, ErrNoConversation.
func (s *Service) History(ctx context.Context, who accounts.Name, q HistoryQuery) (MessagePage, error) {
	if given := b2i(q.First) + b2i(q.After > 0) + b2i(q.Before > 0) + b2i(q.Around > 0); given > 1 {
		return MessagePage{}, fmt.Errorf("history of %.80q: more than one bound: %w", q.Conversation, ErrMalformed)
	}
	if _, err := s.member(ctx, who, q.Conversation); err != nil {
		return MessagePage{}, err
	}
	page, err := s.history(ctx, q, pageSize(q.Limit, historyLimit, maxHistory))
	if err != nil {
		return MessagePage{}, fmt.Errorf("history of %s: %w", q.Conversation, err)
	}
	return page, nil
}

func (s *Service) history(ctx context.Context, q HistoryQuery, limit int) (MessagePage, error) {
	switch {
	case q.Around > 0:
		return s.around(ctx, q.Conversation, q.Around, limit)
	case q.First || q.After > 0:
		page, err := s.store.Messages(ctx, q.Conversation, q.After, 0, limit)
		page.Messages = fit(page.Messages, 0)
		return page, err
	case q.Before == 0:
		q.Before = newest
	}
	page, err := s.store.Messages(ctx, q.Conversation, 0, q.Before, limit)
	page.Messages = fit(page.Messages, len(page.Messages)-1)
	return page, err
}

// around gives half of the messages before seq and half after it, or more of one side where the other has not as many.
func (s *Service) around(ctx context.Context, c Conversation, seq uint64, limit int) (MessagePage, error) {
	after := seq - min(seq, uint64(limit/2)+1)
	page, err := s.store.Messages(ctx, c, after, 0, limit)
	if err == nil && len(page.Messages) < limit {
		page, err = s.store.Messages(ctx, c, 0, newest, limit)
	}
	middle := 0
	for i, m := range page.Messages {
		if m.Seq <= seq {
			middle = i
		}
	}
	page.Messages = fit(page.Messages, middle)
	return page, err
}

// fit leaves as many of the messages around keep as maxPage has room for, keep among them.
func fit(all []Message, keep int) []Message {
	if len(all) == 0 {
		return all
	}
	first, last := keep, keep
	size := all[keep].size()
	for {
		grown := false
		if last+1 < len(all) && size+all[last+1].size() <= maxPage {
			last++
			size += all[last].size()
			grown = true
		}
		if first > 0 && size+all[first-1].size() <= maxPage {
			first--
			size += all[first].size()
			grown = true
		}
		if !grown {
			return slices.Clip(all[first : last+1])
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Conversations gives up to limit (0: 50; at most 200) conversations of who, the one with the newest message first, after
// cursor (empty: from the start), and the cursor of the next page (empty: there is none). What strangers wrote is in the
// box. ErrMalformed.
func (s *Service) Conversations(ctx context.Context, who accounts.Name, cursor string, limit int) (
	[]Overview, string, error,
) {
	list, next, err := s.store.Conversations(ctx, who, false, cursor, pageSize(limit, conversationsLimit, maxConversations))
	if err != nil {
		return nil, "", fmt.Errorf("conversations of %s: %w", who, err)
	}
	return list, next, nil
}

// Box is Conversations of what strangers wrote who were not answered.
func (s *Service) Box(ctx context.Context, who accounts.Name, cursor string, limit int) ([]Overview, string, error) {
	list, next, err := s.store.Conversations(ctx, who, true, cursor, pageSize(limit, conversationsLimit, maxConversations))
	if err != nil {
		return nil, "", fmt.Errorf("box of %s: %w", who, err)
	}
	return list, next, nil
}
