package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// limits are how much one command may hold.
type limits struct {
	updates int // and deletes
	inserts int // in an order
}

// usual are those of MongoDB, which would bear a hundred times as much.
var usual = limits{updates: 1000, inserts: 1000}

// ferret are those of FerretDB v1: it keeps one of its own 100 connections for each update, and goes on behind the first hundred
// documents when one of these is refused.
var ferret = limits{updates: 48, inserts: 100}

// learnLimits asks the server what it is.
func (s *Store) learnLimits(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	var is struct {
		Ferret string `bson:"ferretdbVersion"`
	}
	err := s.db.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&is)
	if s.limits = usual; is.Ferret != "" {
		s.limits = ferret
	}
	return starting("ask what server it is", err)
}

// writeAll writes, in no order. It may be done again.
func (s *Store) writeAll(ctx context.Context, collection string, models []mongo.WriteModel) error {
	return s.writeBulk(ctx, collection, models, false)
}

// writeNewer is writeAll of upserts that only match what is older: a key that there is already means that what has it is newer.
func (s *Store) writeNewer(ctx context.Context, collection string, models []mongo.WriteModel) error {
	return s.writeBulk(ctx, collection, models, true)
}

func (s *Store) writeBulk(ctx context.Context, collection string, models []mongo.WriteModel, newer bool) error {
	for some := range slices.Chunk(models, s.limits.updates) {
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
