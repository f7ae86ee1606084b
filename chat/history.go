package chat

import (
	"context"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

const (
	historyLimit = 50 // messages in a page of History, unless it is said
	maxHistory   = 100
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

// History gives a part of a conversation that who is in, in the order of seq, without gaps, and at least one message
// if there is one; not many more than fit into 256 KiB. ErrMalformed, ErrNotMember, ErrNoConversation.
func (s *Service) History(ctx context.Context, who accounts.Name, q HistoryQuery) (MessagePage, error) {
	if given := b2i(q.First) + b2i(q.After > 0) + b2i(q.Before > 0) + b2i(q.Around > 0); given > 1 {
		return MessagePage{}, fmt.Errorf("history of %.80q: more than one bound: %w", q.Conversation, ErrMalformed)
	}
	periods, err := s.readable(ctx, who, q.Conversation)
	for err == nil {
		page, readErr := s.history(ctx, who, q, periods)
		if readErr != nil {
			return MessagePage{}, readErr
		}
		// Whoever has left meanwhile must not have read what came after that.
		before := periods
		if periods, err = s.readable(ctx, who, q.Conversation); slices.Equal(periods, before) {
			return page, err
		}
	}
	return MessagePage{}, err
}

// history reads what periods allow.
func (s *Service) history(ctx context.Context, who accounts.Name, q HistoryQuery, periods []Period) (MessagePage, error) {
	r := reading{ctx: ctx, store: s.store, who: who, conversation: q.Conversation, periods: periods}
	page, err := r.history(q, pageSize(q.Limit, historyLimit, maxHistory))
	if err != nil {
		return MessagePage{}, fmt.Errorf("history of %s: %w", q.Conversation, err)
	}
	all := make([]*Message, len(page.Messages))
	for i := range page.Messages {
		all[i] = &page.Messages[i]
	}
	if err := s.veil(ctx, who, all...); err != nil {
		return MessagePage{}, err
	}
	return page, s.quote(ctx, who, all...)
}

// reading reads what somebody may of a conversation.
type reading struct {
	ctx          context.Context
	store        Store
	who          accounts.Name
	conversation Conversation
	periods      []Period // oldest first
	head, floor  uint64
	why          FloorReason
}

func (r *reading) history(q HistoryQuery, limit int) (MessagePage, error) {
	var all []Message
	var err error
	keep := 0
	switch {
	case q.Around > 0:
		all, keep, err = r.around(q.Around, limit)
	case q.First || q.After > 0:
		all, err = r.forward(q.After, limit)
	default:
		if q.Before == 0 {
			q.Before = newest
		}
		all, err = r.backward(q.Before, limit)
		keep = len(all) - 1
	}
	page := MessagePage{Messages: fit(all, keep), Head: r.head, Floor: r.floor, Why: r.why}
	if from := r.periods[0].From; from > page.Floor {
		page.Floor, page.Why = from, FloorJoin
	}
	if end := r.periods[len(r.periods)-1].To; r.head >= end {
		page.Head = end - 1
	}
	return page, err
}

// read gives messages between two exclusive bounds, as [Ops.MessagesFor] does.
func (r *reading) read(after, before uint64, limit int) ([]Message, error) {
	page, err := r.store.MessagesFor(r.ctx, r.who, r.conversation, after, before, limit)
	r.head, r.floor, r.why = page.Head, page.Floor, page.Why
	return page.Messages, err
}

// forward gives the first messages after after.
func (r *reading) forward(after uint64, limit int) (all []Message, err error) {
	for _, p := range r.periods {
		if p.To <= after+1 || len(all) == limit && r.head > 0 {
			continue
		}
		some, err := r.read(max(after, p.From-1), 0, limit-len(all))
		if err != nil {
			return nil, err
		}
		for _, m := range some {
			if m.Seq < p.To {
				all = append(all, m)
			}
		}
	}
	return all, r.look()
}

// backward gives the last messages before before.
func (r *reading) backward(before uint64, limit int) (all []Message, err error) {
	for _, p := range slices.Backward(r.periods) {
		if before <= p.From || len(all) == limit && r.head > 0 {
			continue
		}
		some, err := r.read(p.From-1, min(before, p.To), limit-len(all))
		if err != nil {
			return nil, err
		}
		all = append(some, all...)
	}
	return all, r.look()
}

// look sees that head and floor are known.
func (r *reading) look() error {
	if r.head != 0 {
		return nil
	}
	_, err := r.read(0, 0, 0)
	return err
}

// around gives half of the messages before seq and half after it, or more of one side where the other has not as many, and
// which of them is the middle one.
func (r *reading) around(seq uint64, limit int) (all []Message, middle int, err error) {
	before, err := r.backward(seq, limit)
	if err != nil {
		return nil, 0, err
	}
	rest, err := r.forward(seq-1, limit)
	if err != nil {
		return nil, 0, err
	}
	n := min(len(rest), max(limit-len(before), limit-limit/2))
	before = before[len(before)-min(len(before), limit-n):]
	return append(before, rest[:n]...), min(len(before), max(len(before)+n-1, 0)), nil
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
