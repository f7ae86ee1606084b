package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// What there is to be known of the database as a whole. docs/storage.md says what is in these collections.
const (
	metaCollection  = "meta"  // what is one for all: the version
	nodesCollection = "nodes" // who has the database
)

// schemaVersion is what this version of the program writes. A database of a lower one is brought up to it, one of a higher one
// is left alone.
const schemaVersion = 1

const schemaID = "schema"

// metaDoc is the one that says how the others are to be read.
type metaDoc struct {
	ID      string `bson:"_id"`
	Version int    `bson:"version"`
}

// inspect sees whether what is in the database can be used.
func (s *Store) inspect(ctx context.Context) error {
	var meta metaDoc
	err := s.db.Collection(metaCollection).FindOne(ctx, bson.D{{Key: "_id", Value: schemaID}}).Decode(&meta)
	switch {
	case none(err):
		return nil
	case err != nil:
		return starting("read the version of the database", err)
	case meta.Version > schemaVersion:
		return fmt.Errorf("the database has version %d, and this magpie knows %d: %w", meta.Version, schemaVersion, ErrNewer)
	}
	return nil
}

// prepare makes what is missing: indexes, and the version.
func (s *Store) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	if err := createIndexes(ctx, s.db); err != nil {
		return err
	}
	_, err := s.db.Collection(metaCollection).UpdateOne(ctx,
		bson.D{{Key: "_id", Value: schemaID}}, bson.D{set("version", schemaVersion)}, options.UpdateOne().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) { // somebody else opens it at the same moment
		return nil
	}
	return starting("write the version of the database", err)
}
