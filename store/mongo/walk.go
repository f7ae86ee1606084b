package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// walkBatch is how many documents come at once, at most.
const walkBatch = 256

// walk goes through documents in an order, one after the other.
type walk[D any] struct {
	at   *D // nil: there are no more
	size int
	err  error

	ctx    context.Context
	cursor *mongo.Cursor
}

// openWalk stands at the first document. It has to be closed.
func openWalk[D any](ctx context.Context, s *Store, collection string, filter, sort bson.D, fields ...string) *walk[D] {
	w := &walk[D]{ctx: ctx}
	o := options.Find().SetSort(sort).SetBatchSize(walkBatch)
	if len(fields) > 0 {
		var d bson.D
		for _, f := range fields {
			d = append(d, bson.E{Key: f, Value: 1})
		}
		o.SetProjection(d)
	}
	w.err = retried(ctx, func() (err error) {
		w.cursor, err = s.db.Collection(collection).Find(ctx, filter, o)
		return err
	})
	w.next()
	return w
}

// next goes to the next document.
func (w *walk[D]) next() {
	if w.at = nil; w.err != nil {
		return
	}
	if !w.cursor.Next(w.ctx) {
		w.err = w.cursor.Err()
		return
	}
	var doc D
	if w.err = w.cursor.Decode(&doc); w.err == nil {
		w.at, w.size = &doc, len(w.cursor.Current)
	}
}

// close ends the walk, and gives what has gone wrong on it.
func (w *walk[D]) close() error {
	if w.cursor == nil {
		return w.err
	}
	return errors.Join(w.err, w.cursor.Close(w.ctx))
}

// visit visits documents in an order until that says that it wants no more.
func visit[D any](ctx context.Context, s *Store, collection string, filter, sort bson.D, each func(d *D, size int) bool) error {
	w := openWalk[D](ctx, s, collection, filter, sort)
	for w.at != nil && each(w.at, w.size) {
		w.next()
	}
	return w.close()
}

// behind finds what comes after some values in the order of fields. If the first value is empty, that is everything.
func behind(names []string, values ...any) bson.D {
	if values[0] == "" {
		return bson.D{}
	}
	var either bson.A
	for i := range names {
		var same bson.D
		for k := range i {
			same = append(same, bson.E{Key: names[k], Value: values[k]})
		}
		either = append(either, append(same, bson.E{Key: names[i], Value: bson.D{{Key: "$gt", Value: values[i]}}}))
	}
	return bson.D{{Key: "$or", Value: either}}
}

// with adds a condition to a filter.
func with(filter bson.D, field string, value any) bson.D {
	return append(filter[:len(filter):len(filter)], bson.E{Key: field, Value: value})
}

var (
	isThere  = bson.D{{Key: "$exists", Value: true}}
	positive = bson.D{{Key: "$gt", Value: int64(0)}}
)

// fill writes documents that are not there yet. Those that are stay as they are: an import writes the same ones again, and others
// of its records may have added to them meanwhile.
func (s *Store) fill(ctx context.Context, collection string, docs []any) error {
	if len(docs) == 0 {
		return nil
	}
	ids := make(bson.A, len(docs))
	for i, d := range docs {
		raw := bson.Raw(marshal(d))
		docs[i], ids[i] = raw, raw.Lookup("_id")
	}
	err := retried(ctx, func() error {
		_, err := s.db.Collection(collection).InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		return err
	})
	if !onlyDuplicates(err) {
		return err
	}
	var there []bson.Raw
	if err := s.findAll(ctx, collection, bson.D{{Key: "_id", Value: in(ids)}}, &there, only("_id")); err != nil {
		return err
	}
	if len(there) < len(ids) {
		return fmt.Errorf("%d of %d documents of %s cannot be there with others", len(ids)-len(there), len(ids), collection)
	}
	return nil
}
