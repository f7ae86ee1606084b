package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/transfer"
)

// readReactions reads all of a message at once: an emoji that is no UTF-8 is somewhere else in the order of the database.
func readReactions(ctx context.Context, s *Store, p *page, after *transfer.Reaction) error {
	filter := bson.D{{Key: "on", Value: true}}
	if after.C != "" {
		from := reactionKey{C: after.C, Seq: int64(after.Seq)}
		filter = with(bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: from}}}}, "on", true)
	}
	w := openWalk[reactionDoc](ctx, s, reactionsCollection, filter, byID(1))
	for w.at != nil && !p.full() {
		var all []*transfer.Reaction
		for c, seq := w.at.C, w.at.S; w.at != nil && w.at.C == c && w.at.S == seq; w.next() {
			all = append(all, &transfer.Reaction{
				C: c, Seq: uint64(seq), Emoji: transfer.Text(w.at.Key.Emoji), Who: w.at.U, TS: w.at.TS, N: uint64(w.at.Count),
			})
		}
		slices.SortFunc(all, func(a, b *transfer.Reaction) int { return transfer.Compare(a, b) })
		for _, r := range all {
			p.add(r, 0)
		}
	}
	return w.close()
}

func writeReactions(ctx context.Context, s *Store, records []*transfer.Reaction) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = reactionDoc{
			Key: reactionKey{r.C, int64(r.Seq), string(r.Emoji), r.Who}, C: r.C, S: int64(r.Seq), U: r.Who, On: true, TS: r.TS,
			Count: int64(r.N),
		}
	}
	return s.fill(ctx, reactionsCollection, docs)
}
