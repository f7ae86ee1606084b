package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/transfer"
)

const recordsCollection = "records"

var recordCollections = []collection{
	{recordsCollection, "kind, scope, id",
		"what is small and changes rarely: scenes, automations, jobs, fences; `due` of what is due some time, `rev`", ""},
}

var recordIndexes = []index{
	{recordsCollection, "id", fields("k", "s", "i"), true, false, "Records, All, RemoveScope; exports"},
	{recordsCollection, "due", fields("k", "due"), false, false, "DueBy"},
}

// recordStore implements records.Store.
type recordStore struct{ deviceStore }

// Records is the store of records.
func (s *Store) Records() records.Store { return recordStore{deviceStore{s}} }

// recordName is the _id of a record.
type recordName struct {
	Kind  string `bson:"k"`
	Scope string `bson:"s"`
	ID    string `bson:"i"`
}

func (n recordName) where() bson.D { return bson.D{{Key: "_id", Value: n}} }

// recordDoc is a records.Record.
type recordDoc struct {
	Name recordName    `bson:"_id"`
	Rev  int64         `bson:"rev"`
	W    bson.ObjectID `bson:"w"`

	Kind  string `bson:"k"`
	Scope string `bson:"s"`
	ID    string `bson:"i"`
	Due   int64  `bson:"due,omitempty"`
	Body  []byte `bson:"body,omitempty"`
}

func recordDocOf(r records.Record) *recordDoc {
	return &recordDoc{
		Name: recordName(r.Key), W: bson.NewObjectID(), Kind: r.Kind, Scope: r.Scope, ID: r.ID,
		Rev: int64(r.Rev), Due: r.Due, Body: r.Body,
	}
}

func (d *recordDoc) record() records.Record {
	return records.Record{Key: records.Key(d.Name), Rev: uint64(d.Rev), Due: d.Due, Body: d.Body}
}

func (s recordStore) Record(ctx context.Context, k records.Key) (records.Record, error) {
	var doc recordDoc
	if err := s.read(ctx, recordsCollection, recordName(k).where(), &doc); err != nil {
		return records.Record{}, err
	}
	if doc.Rev == 0 {
		return records.Record{}, fmt.Errorf("%s %q of %q: %w", k.Kind, k.ID, k.Scope, records.ErrNone)
	}
	return doc.record(), nil
}

func (s recordStore) Put(ctx context.Context, r records.Record) error {
	if err := r.Check(); err != nil {
		return err
	}
	doc := recordDocOf(r)
	err := s.swap(ctx, recordsCollection, doc.Name.where(), written{doc.Rev, doc.W}, doc)
	if errors.Is(err, devices.ErrChanged) {
		return fmt.Errorf("put %s %q of %q: %w: %w", r.Kind, r.ID, r.Scope, records.ErrChanged, err)
	}
	return err
}

func (s recordStore) PutAll(ctx context.Context, all []records.Record) error {
	models := make([]mongo.WriteModel, len(all))
	for i, r := range all {
		if err := r.Check(); err != nil {
			return err
		}
		doc := recordDocOf(r)
		models[i] = mongo.NewReplaceOneModel().SetFilter(doc.Name.where()).SetReplacement(doc).SetUpsert(true)
	}
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	return s.writeAll(ctx, recordsCollection, models)
}

// Remove may be told of what it has removed itself that it is not there: an answer may be lost, and that is no error.
func (s recordStore) Remove(ctx context.Context, k records.Key, rev uint64) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	name := recordName(k)
	var removed int64
	err := retried(ctx, func() error {
		done, err := s.db.Collection(recordsCollection).DeleteOne(ctx, with(name.where(), "rev", int64(rev)))
		if err == nil {
			removed = done.DeletedCount
		}
		return err
	})
	if err != nil || removed > 0 {
		return failed(ctx, "remove records", err)
	}
	var there recordDoc
	if err := s.one(ctx, recordsCollection, name.where(), &there); err != nil {
		return err
	}
	if there.Rev != 0 {
		return fmt.Errorf("remove revision %d of %s %q of %q, which is %d: %w",
			rev, k.Kind, k.ID, k.Scope, there.Rev, records.ErrChanged)
	}
	return nil
}

func (s recordStore) RemoveScope(ctx context.Context, kind, scope string) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	err := retried(ctx, func() error {
		_, err := s.db.Collection(recordsCollection).DeleteMany(ctx, bson.D{{Key: "k", Value: kind}, {Key: "s", Value: scope}})
		return err
	})
	return failed(ctx, "remove records", err)
}

func (s recordStore) Records(ctx context.Context, kind, scope, after string, limit int) ([]records.Record, error) {
	filter := bson.D{{Key: "k", Value: kind}, {Key: "s", Value: scope}, {Key: "i", Value: more(after)}}
	return s.some(ctx, filter, limit, sortedBy("i", 1))
}

func (s recordStore) All(ctx context.Context, kind string, after records.Key, limit int) ([]records.Record, error) {
	rest, err := s.Records(ctx, kind, after.Scope, after.ID, limit)
	if err != nil || len(rest) == limit {
		return rest, err
	}
	filter := bson.D{{Key: "k", Value: kind}, {Key: "s", Value: more(after.Scope)}}
	others, err := s.some(ctx, filter, limit-len(rest), inOrder("s", "i"))
	return append(rest, others...), err
}

func (s recordStore) DueBy(ctx context.Context, kind string, by int64, limit int) ([]records.Record, error) {
	filter := bson.D{{Key: "k", Value: kind}, {Key: "due", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lte", Value: by}}}}
	return s.some(ctx, filter, limit, sortedBy("due", 1))
}

func (s recordStore) some(ctx context.Context, filter bson.D, limit int, how findOption) ([]records.Record, error) {
	var all []*recordDoc
	if err := s.find(ctx, recordsCollection, filter, &all, limit, how); err != nil {
		return nil, err
	}
	var out []records.Record
	for _, d := range all {
		out = append(out, d.record())
	}
	return out, nil
}

func readKept(ctx context.Context, s *Store, p *page, after *transfer.Kept) error {
	by := []string{"k", "s", "i"}
	from := behind(by, string(after.Kind), string(after.Scope), string(after.ID))
	return visit(ctx, s, recordsCollection, from, fields(by...), func(d *recordDoc, size int) bool {
		return p.add(recordOf[transfer.Kept](d), size)
	})
}

func writeKept(ctx context.Context, s *Store, all []*transfer.Kept) error {
	docs := make([]any, len(all))
	for i, r := range all {
		d := docOf[recordDoc](r)
		d.Name = recordName{string(r.Kind), string(r.Scope), string(r.ID)}
		docs[i] = d
	}
	return s.fill(ctx, recordsCollection, docs)
}
