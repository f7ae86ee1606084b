package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// mostOperations is how many operations are sent at once. FerretDB v1 keeps one of its own 100 connections for each update.
const mostOperations = 48

// writeAll writes, in no order. It may be done again.
func (s *Store) writeAll(ctx context.Context, collection string, models []mongo.WriteModel) error {
	return s.writeBulk(ctx, collection, models, false)
}

// writeNewer is writeAll of upserts that only match what is older: a key that there is already means that what has it is newer.
func (s *Store) writeNewer(ctx context.Context, collection string, models []mongo.WriteModel) error {
	return s.writeBulk(ctx, collection, models, true)
}

func (s *Store) writeBulk(ctx context.Context, collection string, models []mongo.WriteModel, newer bool) error {
	for some := range slices.Chunk(models, mostOperations) {
		err := retried(ctx, func() error {
			_, err := s.db.Collection(collection).BulkWrite(ctx, some, options.BulkWrite().SetOrdered(false))
			if newer && onlyDuplicates(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return failed(ctx, "write "+collection, err)
		}
	}
	return nil
}
