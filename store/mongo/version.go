package mongo

import (
	"context"
	"crypto/rand"
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
	ID       string `bson:"_id"`
	Version  int    `bson:"version"`
	Database string `bson:"database"` // no other one has it
}

// ID names the database: it is another one for each that there ever was.
func (s *Store) ID() string { return s.id }

// Epoch says how often the database was opened. With Alone, nobody has written to it since the last time if it has grown by one.
func (s *Store) Epoch() int64 { return s.epoch }

// inspect sees whether what is in the database can be used.
func (s *Store) inspect(ctx context.Context) error {
	var meta metaDoc
	err := s.db.Collection(metaCollection).FindOne(ctx, bson.D{{Key: "_id", Value: schemaID}}).Decode(&meta)
	switch {
	case none(err):
	case err != nil:
		return starting("read the version of the database", err)
	case meta.Version > schemaVersion:
		return fmt.Errorf("the database has version %d, and this magpie knows %d: %w", meta.Version, schemaVersion, ErrNewer)
	}
	if s.cfg.Unfinished {
		return nil
	}
	return s.checkMoved(ctx)
}

// prepare makes what is missing: indexes, and the version.
func (s *Store) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	if err := createIndexes(ctx, s.db); err != nil {
		return err
	}
	meta, filter := s.db.Collection(metaCollection), bson.D{{Key: "_id", Value: schemaID}}
	_, err := meta.UpdateOne(ctx, filter, bson.D{
		set("version", schemaVersion), {Key: "$setOnInsert", Value: bson.D{{Key: "database", Value: rand.Text()}}},
	}, options.UpdateOne().SetUpsert(true))
	if err != nil && !mongo.IsDuplicateKeyError(err) { // somebody else opens it at the same moment
		return starting("write the version of the database", err)
	}
	var doc metaDoc
	err = meta.FindOne(ctx, filter).Decode(&doc)
	s.id = doc.Database
	return starting("read the version of the database", err)
}
