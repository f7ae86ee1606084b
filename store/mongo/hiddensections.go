package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/transfer"
)

func readHidden(ctx context.Context, s *Store, p *page, after *transfer.Hidden) error {
	from := bson.D{}
	if after.User != "" {
		from = bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: hiddenKey{after.User, after.C, int64(after.Seq)}}}}}
	}
	return visit(ctx, s, hiddenCollection, from, byID(1), func(d *hiddenDoc, size int) bool {
		return p.add(&transfer.Hidden{User: d.U, C: d.C, Seq: uint64(d.S), Counts: d.Counts, UpTo: uint64(d.UpTo)}, size)
	})
}

func writeHidden(ctx context.Context, s *Store, records []*transfer.Hidden) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = hiddenDoc{
			Key: hiddenKey{r.User, r.C, int64(r.Seq)}, U: r.User, C: r.C, S: int64(r.Seq), Counts: r.Counts, UpTo: int64(r.UpTo),
		}
	}
	if err := s.fill(ctx, hiddenCollection, docs); err != nil {
		return err
	}
	of := func(r *transfer.Hidden) memberKey { return memberKey{r.User, r.C} }
	return addToMembers(ctx, s, records, of, func(m *memberDoc, r *transfer.Hidden) {
		if m.Hides = true; r.Counts && int64(r.Seq) > m.since() {
			m.Hidden = addSeq(m.Hidden, int64(r.Seq))
		}
	})
}
