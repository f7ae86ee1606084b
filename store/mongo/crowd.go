package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Large finds out which of a user's rooms are large by what they say: they grow without a word to their members.
func (c chatStore) Large(ctx context.Context, user accounts.Name) (out []chat.Attending, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	members, err := s.roomsOf(ctx, user, "c", "side.mute")
	if err != nil || len(members) == 0 {
		return nil, err
	}
	names := make(bson.A, len(members))
	for i, m := range members {
		names[i] = m.C
	}
	var large []convDoc
	filter := bson.D{{Key: "_id", Value: in(names)}, {Key: "room.large", Value: true}}
	if err := s.findAll(ctx, convsCollection, filter, &large, only("head")); err != nil {
		return nil, err
	}
	heads := make(map[chat.Conversation]int64, len(large))
	for _, conv := range large {
		heads[conv.Name] = conv.Head
	}
	for _, m := range members {
		if head, is := heads[m.C]; is {
			out = append(out, chat.Attending{Conversation: m.C, Head: uint64(head), Mute: m.Side.side().Mute})
		}
	}
	return out, nil
}

// settleLarge reads what a user is to large rooms again until that and the room are of one moment. What was read of the room
// first is so if he has not changed since: see replaceAll.
func (s *Store) settleLarge(ctx context.Context, user accounts.Name, sides []*side) error {
	var open []*side
	for _, x := range sides {
		if x.large() {
			open = append(open, x)
		}
	}
	for len(open) > 0 {
		at := make(map[chat.Conversation]*side, len(open))
		var names bson.A
		for _, x := range open {
			at[x.Name], names = x, append(names, x.Name)
		}
		var members []*memberDoc
		filter := bson.D{{Key: "c", Value: in(names)}, {Key: "u", Value: user}}
		if err := s.findAll(ctx, membersCollection, filter, &members); err != nil {
			return err
		}
		open, names = nil, nil
		for _, m := range members {
			x := at[m.C]
			if x.member = m; m.N > x.N {
				open, names = append(open, x), append(names, m.C)
			}
		}
		if len(open) == 0 {
			return nil
		}
		convs, err := s.convsNamed(ctx, names)
		if err != nil {
			return err
		}
		for _, x := range open {
			x.convDoc = convs[x.Name]
		}
	}
	return nil
}

func (c chatStore) Crew(ctx context.Context, name chat.Conversation) (out []accounts.Name, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if !name.Kind().Room() {
		return nil, nil
	}
	err = s.look(ctx, name, nil, func(t *turn) error {
		for _, m := range t.crew() {
			out = append(out, m.U)
		}
		return nil
	})
	return out, err
}
