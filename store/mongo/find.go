package mongo

import (
	"cmp"
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
)

// findBatch is how many documents come at once, as far as a message holds them: what is read is bounded already, so that it
// comes in one round trip.
const findBatch = 100_000

// finding begins the options of a query.
func finding() *options.FindOptionsBuilder { return options.Find().SetBatchSize(findBatch) }

// findOption is how documents are read.
type findOption func(*options.FindOptionsBuilder)

// sortedBy reads them in the order of a field: 1 ascending, -1 descending.
func sortedBy(field string, direction int) findOption {
	return func(o *options.FindOptionsBuilder) { o.SetSort(bson.D{{Key: field, Value: direction}}) }
}

// limitedTo reads up to n.
func limitedTo(n int) findOption {
	return func(o *options.FindOptionsBuilder) { o.SetLimit(int64(n)) }
}

// only reads some fields.
func only(fields ...string) findOption {
	return func(o *options.FindOptionsBuilder) {
		var d bson.D
		for _, f := range fields {
			d = append(d, bson.E{Key: f, Value: 1})
		}
		o.SetProjection(d)
	}
}

// findAll reads documents into the slice that all points to.
func (s *Store) findAll(ctx context.Context, collection string, filter bson.D, all any, how ...findOption) error {
	err := retried(ctx, func() error {
		o := finding()
		for _, option := range how {
			option(o)
		}
		cursor, err := s.db.Collection(collection).Find(ctx, filter, o)
		if err != nil {
			return err
		}
		return cursor.All(ctx, all)
	})
	return failed(ctx, "read "+collection, err)
}

func compareNames(a, b accounts.Name) int { return cmp.Compare(a, b) }
