package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// wipeBatch is how many messages are written anew at once.
const wipeBatch = 256

func (c chatStore) Wipe(ctx context.Context, name chat.Conversation, from accounts.Name) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	for last := int64(0); ; {
		var next int64
		take := func(ctx context.Context, t *turn) (err error) {
			next, err = s.wipe(ctx, t, from, last)
			return err
		}
		if err := s.take(ctx, name, &step{reads: true, take: take}); err != nil || next == 0 {
			return err
		}
		last = next
	}
}

// wipe takes away what some messages of a sender say, those after a seq, but for the server's lines: as if they had been
// recalled, but that nobody is told. It gives the seq of the last one; 0: there are no more.
func (s *Store) wipe(ctx context.Context, t *turn, from accounts.Name, after int64) (last int64, err error) {
	var said []*logDoc
	filter := bson.D{
		{Key: "c", Value: t.Name}, {Key: "f", Value: from}, {Key: "s", Value: bson.D{{Key: "$gt", Value: after}}},
		{Key: "msg.k", Value: bson.D{{Key: "$nin", Value: bson.A{chat.KindGone, kindSys}}}},
	}
	err = s.findAll(ctx, logCollection, filter, &said, sortedBy("s", 1), limitedTo(wipeBatch))
	if err != nil || len(said) == 0 {
		return 0, err
	}
	t.begin(entryIsState)
	for _, e := range said {
		t.vanish(e, chat.WhyDeleted)
	}
	return said[len(said)-1].Seq, nil
}

func (c chatStore) Forget(ctx context.Context, user accounts.Name) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.forgetSides(ctx, user); err != nil {
		return err
	}
	for _, x := range []struct{ collection, field string }{
		{relationsCollection, "u"}, {hiddenCollection, "u"}, {asksCollection, "u"}, {seenCollection, "_id"},
		{streamCollection, "u"},
	} {
		err := retried(ctx, func() error {
			_, err := s.db.Collection(x.collection).DeleteMany(ctx, bson.D{{Key: x.field, Value: user}})
			return err
		})
		if err != nil {
			return failed(ctx, "forget in "+x.collection, err)
		}
	}
	s.forgetHead(user)
	return nil
}

// forgetSides forgets what conversations are to a user. It is done in each of them: whatever was begun there before has followed
// then. What is left of him is what others need: how far he has come, and what he was to a room.
func (s *Store) forgetSides(ctx context.Context, user accounts.Name) error {
	var names []chat.Conversation
	var members []*memberDoc
	if err := s.findAll(ctx, membersCollection, bson.D{{Key: "u", Value: user}}, &members, only("c")); err != nil {
		return err
	}
	for _, m := range members {
		names = append(names, m.C)
	}
	var relations []*relationDoc
	if err := s.findAll(ctx, relationsCollection, bson.D{{Key: "u", Value: user}}, &relations, only("p")); err != nil {
		return err
	}
	for _, r := range relations {
		names = append(names, chat.Direct(user, r.P))
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		take := func(_ context.Context, t *turn) error {
			if m := t.people[user]; !m.bare() {
				t.begin(entryIsState)
				m.strip()
				t.save(m)
			}
			return nil
		}
		if err := s.take(ctx, name, &step{who: []accounts.Name{user}, take: take}); err != nil {
			return err
		}
	}
	return nil
}

// strip takes away what the conversation is to the member.
func (m *memberDoc) strip() {
	m.In, m.Boxed, m.Dropped, m.Pending, m.Untold, m.Owed = false, false, false, "", "", 0
	m.Hides, m.HidCounted, m.Hidden, m.Mentions, m.Side = false, false, nil, nil, nil
}

// bare says whether strip has nothing to do.
func (m *memberDoc) bare() bool {
	return !m.In && !m.Boxed && !m.Dropped && m.Pending == "" && m.Untold == "" && m.Owed == 0 &&
		!m.Hides && len(m.Hidden) == 0 && len(m.Mentions) == 0 && m.Side == nil
}
