package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/transfer"
)

// readRetained reads what is the last of all that was retained on a topic. Nothing has expired by then.
func readRetained(ctx context.Context, s *Store, p *page, after *transfer.Retained) error {
	if err := s.seq.show(ctx); err != nil {
		return err
	}
	filter := bson.D{{Key: "r", Value: bson.D{{Key: "$gt", Value: plain(string(after.Topic))}}}}
	w := openWalk[publicationDoc](ctx, s, publicationsCollection, filter, fields("r"))
	for w.at != nil && !p.full() {
		d, size := w.at, w.size
		for w.next(); w.at != nil && w.at.Topic == d.Topic; w.next() {
			if w.at.Pos > d.Pos {
				d, size = w.at, w.size
			}
		}
		if !d.Clear {
			p.add(transfer.RetainedOf(d.message()), size)
		}
	}
	return w.close()
}

// writeRetained gives messages positions before all others: whoever subscribes gets them.
func writeRetained(ctx context.Context, s *Store, records []*transfer.Retained) error {
	last, there, err := s.importedTopics(ctx, records)
	if err != nil {
		return err
	}
	var docs []any
	for _, r := range records {
		m := r.Message()
		if there[plain(m.Topic)] {
			continue
		}
		d, err := publicationOf(&sessions.Step{Message: m, Retain: true})
		if err != nil {
			return err
		}
		last++
		d.ID, d.Pos, d.Clear = last, last, false
		docs = append(docs, d)
	}
	return s.fill(ctx, publicationsCollection, docs)
}

// importedTopics gives the last position that was given by the import, and on which topics there is something already.
func (s *Store) importedTopics(ctx context.Context, records []*transfer.Retained) (last int64, there map[string]bool, err error) {
	before := bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: int64(1) << epochBits}}}}
	var newest, some []*publicationDoc
	if err = s.findAll(ctx, publicationsCollection, before, &newest, sortedBy("_id", -1), limitedTo(1), only("p")); err != nil {
		return 0, nil, err
	}
	if len(newest) > 0 {
		last = newest[0].Pos
	}
	topics := bson.A{}
	for _, r := range records {
		topics = append(topics, plain(string(r.Topic)))
	}
	filter := bson.D{{Key: "r", Value: in(topics)}}
	if err = s.findAll(ctx, publicationsCollection, filter, &some, only("r")); err != nil {
		return 0, nil, err
	}
	there = make(map[string]bool, len(some))
	for _, d := range some {
		there[d.Topic] = true
	}
	return last, there, nil
}
