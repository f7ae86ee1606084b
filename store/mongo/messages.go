package mongo

import (
	"context"
	"fmt"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Messages(ctx context.Context, name chat.Conversation, after, before uint64, limit int) (
	chat.MessagePage, error,
) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.MessagePage{}, err
	}
	defer s.leave()
	page, _, err := s.messagePage(ctx, name, after, before, limit)
	return page, err
}

// messagePage reads messages from the floor of a conversation on, and the entries they are in. There may be gaps among them.
func (s *Store) messagePage(ctx context.Context, name chat.Conversation, after, before uint64, limit int) (
	page chat.MessagePage, entries []*logDoc, err error,
) {
	var head uint64
	err = s.look(ctx, name, nil, func(t *turn) error { // the floor before what is there: it is raised before something is removed
		if !t.exists() {
			return fmt.Errorf("messages of %s: %w", name, chat.ErrNoConversation)
		}
		head, page.Head, page.Floor, page.Why = uint64(t.Head), uint64(t.Head), max(uint64(t.Floor.Floor), 1), chat.FloorStart
		return nil
	})
	if err != nil {
		return page, nil, err
	}
	if page.Floor > 1 {
		page.Why = chat.FloorRetention
	}
	if after == math.MaxUint64 {
		return page, nil, nil
	}
	first, end := max(after+1, page.Floor), head+1
	if before != 0 {
		end = min(end, before)
	}
	if first >= end || limit <= 0 {
		return page, nil, nil
	}
	order := 1
	if before != 0 {
		order = -1
	}
	most := int(min(uint64(limit), end-first))
	err = s.findAll(ctx, logCollection, seqRange(name, first, end), &entries, sortedBy("s", order), limitedTo(most))
	if err != nil {
		return page, nil, err
	}
	if before != 0 {
		slices.Reverse(entries)
	}
	now := s.now()
	for _, e := range entries {
		page.Messages = append(page.Messages, shown(e.message(), now))
	}
	return page, entries, nil
}

// seqRange finds the messages in [first, end) of a conversation.
func seqRange(c chat.Conversation, first, end uint64) bson.D {
	return bson.D{
		{Key: "c", Value: c},
		{Key: "s", Value: bson.D{{Key: "$gte", Value: int64(first)}, {Key: "$lt", Value: int64(min(end, math.MaxInt64))}}},
	}
}

// shown is a message as it is now: one whose time is over says nothing, also if nobody has come round to it yet.
func shown(m chat.Message, now int64) chat.Message {
	if end := m.Expires(); end != 0 && end <= now && m.Kind != chat.KindGone {
		m.Vanish(chat.WhyExpired)
	}
	return m
}

// messageAt reads the entry of a message; nil: there is none.
func (s *Store) messageAt(ctx context.Context, c chat.Conversation, seq uint64) (*logDoc, error) {
	return s.entry(ctx, bson.D{{Key: "c", Value: c}, {Key: "s", Value: int64(seq)}})
}

// message reads one message that is known to be there, or to have been: see gap.
func (s *Store) message(ctx context.Context, c chat.Conversation, seq uint64) (chat.Message, error) {
	e, err := s.messageAt(ctx, c, seq)
	if err != nil {
		return chat.Message{}, err
	}
	if e == nil {
		return s.gap(ctx, c, seq)
	}
	return e.message(), nil
}

// gap says what is known of a message that is not there any more: nothing but what counts before it.
func (s *Store) gap(ctx context.Context, c chat.Conversation, seq uint64) (m chat.Message, err error) {
	m = chat.Message{Conversation: c, Seq: seq, Kind: chat.KindGone, Silent: true}
	var near []*logDoc
	if err = s.findAll(ctx, logCollection, seqRange(c, 1, seq), &near, sortedBy("s", -1), limitedTo(1)); err != nil {
		return m, err
	}
	if len(near) > 0 {
		m.N, m.TS = uint64(near[0].Message.N), near[0].TS
		return m, nil
	}
	if err = s.findAll(ctx, logCollection, seqRange(c, seq, math.MaxInt64), &near, sortedBy("s", 1), limitedTo(1)); err != nil {
		return m, err
	}
	if len(near) > 0 {
		m.N, m.TS = uint64(near[0].Message.N), near[0].TS
		if !near[0].Message.Silent {
			m.N--
		}
	}
	return m, nil
}
