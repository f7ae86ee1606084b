package mongo

import (
	"cmp"
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const reactionsCollection = "reactions"

var reactionIndexes = []index{
	{reactionsCollection, "message", fields("c", "s", "u", "on"), false, false, "how many reactions there are, and one's own"},
}

// reactionDoc is that somebody has reacted to a message with an emoji; with an empty name, how many have. It is off, not removed,
// when there is none any more: an entry of the log that is applied late would bring it back.
type reactionDoc struct {
	Key   reactionKey       `bson:"_id"`
	N     int64             `bson:"n"`
	C     chat.Conversation `bson:"c"` // as in Key, for the index
	S     int64             `bson:"s"`
	U     accounts.Name     `bson:"u"`
	On    bool              `bson:"on"`
	TS    int64             `bson:"ts,omitempty"`    // of somebody's: since when, in Unix milliseconds
	Count int64             `bson:"count,omitempty"` // with an empty name
}

type reactionKey struct {
	C     chat.Conversation `bson:"c"`
	Seq   int64             `bson:"s"`
	Emoji string            `bson:"e"`
	User  accounts.Name     `bson:"u"`
}

// reacted is what is known of the reactions to a message before a change of them.
type reacted struct {
	has          bool  // his, with the emoji
	n            int64 // with the emoji
	mine, emojis int
}

// reactionsFor reads how many have reacted to messages, and somebody's own reactions. Others' are not read: they may be many.
func (s *Store) reactionsFor(
	ctx context.Context, c chat.Conversation, seqs []int64, who accounts.Name,
) (all []reactionDoc, err error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	err = s.findAll(ctx, reactionsCollection, bson.D{
		{Key: "c", Value: c}, {Key: "s", Value: in(seqs)},
		{Key: "u", Value: in(bson.A{"", who})}, {Key: "on", Value: true},
	}, &all)
	return all, err
}

// reactedBy reads what a decision about a reaction needs.
func (s *Store) reactedBy(ctx context.Context, e *logDoc, who accounts.Name, emoji string) (r reacted, err error) {
	all, err := s.reactionsFor(ctx, e.Conversation, []int64{e.Seq}, who)
	for _, d := range all {
		is := d.Key.Emoji == emoji
		if d.U != "" {
			r.mine++
			r.has = r.has || is
			continue
		}
		if r.emojis++; is {
			r.n = d.Count
		}
	}
	return r, err
}

// react makes a reaction come or go, and counts it.
func (t *turn) react(r *chat.Revision, of reacted) {
	t.changed[int64(r.Seq)] = true
	on, n := true, of.n+1
	if r.Op == chat.OpUnreact {
		on, n = false, of.n-1
	}
	t.putReaction(reactionDoc{Key: reactionKey{t.Name, int64(r.Seq), r.Emoji, r.By}, On: on, TS: r.TS})
	t.putReaction(reactionDoc{Key: reactionKey{t.Name, int64(r.Seq), r.Emoji, ""}, On: n > 0, Count: n})
}

func (t *turn) putReaction(d reactionDoc) {
	d.N, d.C, d.S, d.U = t.entry.N, d.Key.C, d.Key.Seq, d.Key.User
	t.put(reactionsCollection, d.Key, d)
}

// unreact removes the reactions to messages that are gone. What an older entry brings back of them is nowhere shown.
func (s *Store) unreact(ctx context.Context, c chat.Conversation, seqs []int64) error {
	if len(seqs) == 0 {
		return nil
	}
	err := retried(ctx, func() error {
		_, err := s.db.Collection(reactionsCollection).DeleteMany(ctx,
			bson.D{{Key: "c", Value: c}, {Key: "s", Value: in(seqs)}})
		return err
	})
	return failed(ctx, "remove reactions", err)
}

// withReactions adds the reactions to messages of a conversation that say something, as somebody sees them.
func (s *Store) withReactions(ctx context.Context, c chat.Conversation, all []chat.Message, who accounts.Name) error {
	at := make(map[int64]*chat.Message, len(all))
	var seqs []int64
	for i := range all {
		if m := &all[i]; m.Kind != chat.KindGone {
			at[int64(m.Seq)] = m
			seqs = append(seqs, int64(m.Seq))
		}
	}
	docs, err := s.reactionsFor(ctx, c, seqs, who)
	if err != nil {
		return err
	}
	mine := map[reactionKey]bool{}
	for _, d := range docs {
		if d.U == "" {
			m := at[d.S]
			m.Reactions = append(m.Reactions, chat.Reaction{Emoji: d.Key.Emoji, N: uint64(d.Count)})
			continue
		}
		mine[reactionKey{c, d.S, d.Key.Emoji, ""}] = true
	}
	for seq, m := range at {
		for i := range m.Reactions {
			m.Reactions[i].Me = mine[reactionKey{c, seq, m.Reactions[i].Emoji, ""}]
		}
		slices.SortFunc(m.Reactions, func(a, b chat.Reaction) int { return cmp.Compare(a.Emoji, b.Emoji) })
	}
	return nil
}
