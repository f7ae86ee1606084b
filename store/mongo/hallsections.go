package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

func readSnapshots(ctx context.Context, s *Store, p *page, after *transfer.Snapshot) error {
	return visit(ctx, s, snapshotsCollection, afterConversation(after.C), byID(1), func(d *boardDoc, size int) bool {
		return p.add(recordOf[transfer.Snapshot](d), size)
	})
}

func writeSnapshots(ctx context.Context, s *Store, records []*transfer.Snapshot) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = docOf[boardDoc](r)
	}
	if err := s.fill(ctx, snapshotsCollection, docs); err != nil {
		return err
	}
	of := func(r *transfer.Snapshot) chat.Conversation { return r.C }
	return addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Snapshot) {
		c.Snap = &snapshotDoc{Seq: int64(r.Seq), TS: r.TS}
	})
}

// readOutdated gives, of two snapshots of a board in the same millisecond, the later one: what that outdates is more.
func readOutdated(ctx context.Context, s *Store, p *page, after *transfer.Outdated) error {
	from := bson.D{{Key: "due", Value: positive}}
	if after.TS != 0 {
		from = behind([]string{"due", "c"}, after.TS, string(after.C))
	}
	w := openWalk[outdatedDoc](ctx, s, outdatedCollection, from, fields("due", "c", "s"))
	for w.at != nil && !p.full() {
		r := &transfer.Outdated{TS: w.at.Due, C: w.at.C, Seq: uint64(w.at.Seq)}
		if w.next(); w.at == nil || w.at.Due != r.TS || w.at.C != r.C {
			p.add(r, 0)
		}
	}
	return w.close()
}

func writeOutdated(ctx context.Context, s *Store, records []*transfer.Outdated) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = outdatedDoc{Key: outdatedKey{r.C, int64(r.Seq)}, C: r.C, Seq: int64(r.Seq), Due: r.TS}
	}
	return s.fill(ctx, outdatedCollection, docs)
}
