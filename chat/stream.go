package chat

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

const (
	maxEvents = 1000 // in one answer of Events
	syncLimit = 200  // events in a page of Sync, unless it is said
	maxSync   = 500
	// maxPage is about how many bytes of events or messages a page for a client has: four of them fit into a packet.
	maxPage = 256 << 10
	// overhead is about how many bytes a message has besides its body and fallback.
	overhead = 320
)

// Events gives up to limit events of who's stream, those after after, in order, and the last usn of the stream. The
// numbers of unread messages are of one moment, no earlier than the last of the events.
//
// If the stream no longer reaches back to after, or ends before it because an older copy of the store was put back, the
// only event is an EventReset; its USN, which may be less than after, is where to go on from.
func (s *Service) Events(ctx context.Context, who accounts.Name, after uint64, limit int) (
	events []Event, head uint64, err error,
) {
	events, page, _, err := s.events(ctx, who, after, min(max(limit, 1), maxEvents))
	return events, page.Head, err
}

func (s *Service) events(ctx context.Context, who accounts.Name, after uint64, limit int) (
	[]Event, StreamPage, []Tally, error,
) {
	page, err := s.store.Stream(ctx, who, after, limit)
	if err != nil {
		return nil, page, nil, fmt.Errorf("stream of %s after %d: %w", who, after, err)
	}
	if from, ok := page.reset(after); ok {
		page.Entries = []Entry{{Type: EventReset, USN: from}}
	}
	if len(page.Entries) == 0 {
		return nil, page, nil, nil
	}
	tallies, asOf, err := s.tallies(ctx, who)
	if err != nil {
		return nil, page, nil, err
	}
	for i := range page.Entries {
		if err := s.veilEntry(ctx, who, &page.Entries[i]); err != nil {
			return nil, page, nil, err
		}
		if err := s.quote(ctx, who, &page.Entries[i].Message); err != nil {
			return nil, page, nil, err
		}
	}
	events := s.counted(who, page.Entries, tallies, asOf)
	s.given(page.Entries)
	return events, page, tallies, nil
}

// counted makes events of entries, with the numbers of unread messages of one moment after all of them.
func (s *Service) counted(who accounts.Name, entries []Entry, tallies []Tally, asOf uint64) []Event {
	unread := make(map[Conversation]Tally, 8)
	for _, e := range entries {
		unread[e.Conversation] = Tally{}
	}
	total, now := uint64(0), s.now().UnixMilli()
	for _, t := range tallies {
		if t.counts(now) {
			total += t.Unread()
		}
		if _, wanted := unread[t.Conversation]; wanted {
			unread[t.Conversation] = t
		}
	}
	events := make([]Event, len(entries))
	for i, e := range entries {
		t := unread[e.Conversation]
		events[i] = Event{
			Entry: e, Unread: t.Unread(), Mention: t.Mention, Total: total, AsOf: asOf, Boxed: t.Boxed,
			Own: e.Type == EntryMessage && e.Message.From == who,
		}
	}
	return events
}

func (s *Service) tallies(ctx context.Context, who accounts.Name) ([]Tally, uint64, error) {
	tallies, asOf, err := s.store.Tallies(ctx, who)
	if err != nil {
		return nil, 0, fmt.Errorf("unread of %s: %w", who, err)
	}
	return tallies, asOf, nil
}

// reset says whether a reader who has everything up to after has to start over, and from where.
func (p StreamPage) reset(after uint64) (from uint64, ok bool) {
	switch {
	case after > p.Head:
		return p.Head, true
	case p.Floor > 0 && after < p.Floor-1:
		return p.Floor - 1, true
	}
	return after, false
}

// StreamHead gives the last usn of who's stream.
func (s *Service) StreamHead(ctx context.Context, who accounts.Name) (uint64, error) {
	page, err := s.store.Stream(ctx, who, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("head of the stream of %s: %w", who, err)
	}
	return page.Head, nil
}

// SyncPage is a part of a stream, for a client that keeps its own place in it.
type SyncPage struct {
	Events []Event
	USN    uint64  // where to go on from
	More   bool    // there is more after USN
	Reset  bool    // the stream does not reach back: take the list of conversations and their history, then go on from USN
	Total  uint64  // unread messages in all conversations
	Big    []Tally // of large conversations in which something is unread, in the order of their names
}

// Sync gives up to limit (0: 200; at most 500) events of who's stream, those after after, and not many more than fit into
// 256 KiB.
func (s *Service) Sync(ctx context.Context, who accounts.Name, after uint64, limit int) (SyncPage, error) {
	events, page, tallies, err := s.events(ctx, who, after, pageSize(limit, syncLimit, maxSync))
	if err != nil {
		return SyncPage{}, err
	}
	if len(events) == 0 {
		if tallies, _, err = s.tallies(ctx, who); err != nil {
			return SyncPage{}, err
		}
		return SyncPage{USN: after, Total: sum(tallies, s.now().UnixMilli()), Big: headsOf(tallies)}, nil
	}
	big := headsOf(tallies)
	if events[0].Type == EventReset {
		return SyncPage{USN: page.Head, Reset: true, Total: events[0].Total, Big: big}, nil
	}
	n := 0
	for size := 0; n < len(events); n++ {
		size += events[n].size()
		if n > 0 && size > maxPage {
			break
		}
	}
	last := events[n-1]
	return SyncPage{Events: events[:n], USN: last.USN, More: last.USN < page.Head, Total: last.Total, Big: big}, nil
}

// size is about how many bytes the event has.
func (e Event) size() int {
	size := e.Message.size() + len(e.Change.Message.Body) + 20*len(e.Hidden.Seqs)
	size += len(e.Greeting) + len(e.Card.Name) + len(e.Card.Avatar)
	if e.OwnSide.Draft != nil {
		size += len(*e.OwnSide.Draft)
	}
	return size
}

func (m Message) size() int {
	return overhead + len(m.Body) + len(m.Fallback) + (maxEmoji+24)*len(m.Reactions)
}

// pageSize is the limit of a page: preset if none is given, and most at most.
func pageSize(limit, preset, most int) int {
	if limit <= 0 {
		return preset
	}
	return min(limit, most)
}

// UnreadSummary is what somebody has not read, all of one moment.
type UnreadSummary struct {
	Total         uint64
	Conversations []UnreadCount // those with something unread or a flag that are not in the box, in the order of their names
	Box           int           // strangers whose message was not read
	AsOf          uint64        // the last usn of the user's stream then
}

// UnreadCount is the number of unread messages of a conversation.
type UnreadCount struct {
	Conversation Conversation
	Unread       uint64
	Mention      uint64 // those of them that mention him
	Mute         int64  // as in [OwnSide]; 0 too if it is over
	Flag         bool
}

// total gives what Unread gives as its total.
func (s *Service) total(ctx context.Context, who accounts.Name) (total, asOf uint64, err error) {
	tallies, asOf, err := s.tallies(ctx, who)
	return sum(tallies, s.now().UnixMilli()), asOf, err
}

func sum(tallies []Tally, now int64) (total uint64) {
	for i := range tallies {
		if tallies[i].counts(now) {
			total += tallies[i].Unread()
		}
	}
	return total
}

// Unread counts what who has not read. The total is the sum of the conversations that are not muted at this moment.
func (s *Service) Unread(ctx context.Context, who accounts.Name) (UnreadSummary, error) {
	tallies, asOf, err := s.tallies(ctx, who)
	if err != nil {
		return UnreadSummary{}, err
	}
	u, now := UnreadSummary{AsOf: asOf}, s.now().UnixMilli()
	for _, t := range tallies {
		switch n := t.Unread(); {
		case n > 0 && t.Boxed:
			u.Box++
		case !t.Boxed && (n > 0 || t.Flag):
			if !Muted(t.Mute, now) {
				u.Total += n
				t.Mute = 0
			}
			u.Conversations = append(u.Conversations, UnreadCount{t.Conversation, n, t.Mention, t.Mute, t.Flag})
		}
	}
	slices.SortFunc(u.Conversations, func(a, b UnreadCount) int {
		return strings.Compare(string(a.Conversation), string(b.Conversation))
	})
	return u, nil
}

// newest is a bound before which everything is.
const newest = math.MaxUint64
