package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Conversations reads all that the list is sorted by, and of the page the rest.
func (c chatStore) Conversations(ctx context.Context, user accounts.Name, q chat.ListQuery) (
	list []chat.Overview, more bool, err error,
) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	if q.Limit <= 0 {
		return nil, false, nil
	}
	boxed := q.List == chat.ListBox
	sides, err := s.sidesOf(ctx, user, bson.D{{Key: "in", Value: true}})
	if err != nil {
		return nil, false, err
	}
	sides = slices.DeleteFunc(sides, func(x *side) bool { return !x.listed(q, boxed) })
	slices.SortFunc(sides, func(a, b *side) int { return a.place(boxed).Compare(b.place(boxed)) })
	if more = len(sides) > q.Limit; more {
		sides = sides[:q.Limit]
	}
	last, err := s.lastOf(ctx, user, sides)
	if err != nil {
		return nil, false, err
	}
	for _, x := range sides {
		o := chat.Overview{Tally: x.tally(x.member), Last: last[x.Name], Own: x.member.Side.side(), Place: x.place(boxed)}
		if x.Room != nil {
			o.Title = x.Room.Title
		}
		list = append(list, o)
	}
	return list, more, nil
}

// listed says whether a conversation is in a list, behind where that is read from.
func (x *side) listed(q chat.ListQuery, boxed bool) bool {
	switch {
	case x.member.Boxed != boxed, x.member.Dropped, !x.in(x.member), x.kind.Room() && !x.exists():
		return false
	case !boxed && !q.List.Shows(x.member.Side.side(), uint64(x.Head)):
		return false
	}
	return q.After == (chat.ListPlace{}) || x.place(boxed).Compare(q.After) > 0
}

// place is where a conversation stands in a list.
func (x *side) place(boxed bool) chat.ListPlace {
	return chat.ListPlace{Pinned: !boxed && x.member.Side.side().Pin, TS: x.TS, Conversation: x.Name}
}

// lastOf reads the last messages of conversations, as one of their members sees them.
func (s *Store) lastOf(ctx context.Context, user accounts.Name, sides []*side) (map[chat.Conversation]chat.Message, error) {
	seqs, members := map[chat.Conversation][]int64{}, map[chat.Conversation]*memberDoc{}
	for _, x := range sides {
		if members[x.Name] = x.member; x.Head > 0 {
			seqs[x.Name] = []int64{x.Head}
		}
	}
	entries, err := s.entriesAt(ctx, "s", seqs)
	if err != nil {
		return nil, err
	}
	hidden, err := s.hiddenOf(ctx, user, members, seqs)
	if err != nil {
		return nil, err
	}
	out := map[chat.Conversation]chat.Message{}
	now := s.now()
	for at, e := range entries {
		m := shown(e.message(), now)
		if hidden[at] {
			m.Vanish(chat.WhyHidden)
		}
		out[at.c] = m
	}
	return out, nil
}
