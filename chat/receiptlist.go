package chat

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

const (
	receiptsLimit = 100 // names in a page, unless it is said
	maxReceipts   = 200
)

// Receipts says who has received and who has read a message.
type Receipts struct {
	Counts ReceiptCounts
	// Recv and Read are names, a page of them: whoever has read a message has received it. In rooms with more members than
	// Config.ReceiptsTo there are none.
	Recv, Read []accounts.Name
	Cursor     accounts.Name // of the next page; empty: there is none
}

// Receipts says what became of a message that who has sent. limit (0: 100; at most 200) is how many members are looked at for
// the names, those after after; the numbers are of all. ErrMalformed, ErrNoConversation, ErrNotMember, ErrNoMessage,
// ErrNoRight: it is another one's, or the conversation is a channel or large.
func (s *Service) Receipts(
	ctx context.Context, who accounts.Name, c Conversation, seq uint64, after accounts.Name, limit int,
) (Receipts, error) {
	if _, err := s.member(ctx, who, c); err != nil {
		return Receipts{}, err
	}
	if seq == 0 {
		return Receipts{}, fmt.Errorf("receipts in %s: %w", c, ErrNoMessage)
	}
	m, found, err := s.message(ctx, Source{c, seq})
	switch {
	case err != nil:
		return Receipts{}, err
	case !found:
		return Receipts{}, fmt.Errorf("receipts of %d in %s: %w", seq, c, ErrNoMessage)
	case m.From != who || m.Silent || c.Kind() == KindChannel || c.Kind() == KindLive:
		return Receipts{}, fmt.Errorf("receipts of %d in %s: %w", seq, c, ErrNoRight)
	}
	if c.Kind().Room() {
		r, err := s.store.Room(ctx, c)
		if err != nil {
			return Receipts{}, fmt.Errorf("room %s: %w", c, err)
		}
		if r.Large {
			return Receipts{}, fmt.Errorf("receipts in %s: %w", c, ErrNoRight)
		}
	}
	all, err := s.store.AllMarks(ctx, c)
	if err != nil {
		return Receipts{}, fmt.Errorf("marks in %s: %w", c, err)
	}
	return receiptsOf(all, who, seq, after, pageSize(limit, receiptsLimit, maxReceipts), len(all) <= s.cfg.ReceiptsTo), nil
}

// receiptsOf counts, and names those of a page.
func receiptsOf(all []MemberMarks, sender accounts.Name, seq uint64, after accounts.Name, limit int, names bool) Receipts {
	out := Receipts{Counts: ReceiptCounts{Seq: seq}}
	seen, last := 0, accounts.Name("")
	for _, m := range all {
		if m.Who == sender || m.Joined > seq {
			continue
		}
		page := names && m.Who > after && seen < limit
		if names && m.Who > after && seen == limit {
			out.Cursor = last
		}
		if page {
			seen, last = seen+1, m.Who
		}
		out.Counts.Of++
		if m.Recv >= seq {
			out.Counts.Recv++
			if page {
				out.Recv = append(out.Recv, m.Who)
			}
		}
		if m.Read >= seq {
			out.Counts.Read++
			if page {
				out.Read = append(out.Read, m.Who)
			}
		}
	}
	return out
}
