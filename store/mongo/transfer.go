package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/transfer"
)

// importsCollection has the import that is under way, if there is one.
const importsCollection = "imports"

// about are the collections in which there is nothing of what a store keeps for others: they say something of the store.
var about = []string{importsCollection, metaCollection, nodesCollection}

// importDoc is how far an import has come.
type importDoc struct {
	ID      string `bson:"_id"`
	Records int64  `bson:"records"`
	Bytes   int64  `bson:"bytes"`
	Sum     []byte `bson:"sum"`
}

const importID = "import"

// Transfer gives everything that the store has, or fills it.
func (s *Store) Transfer() transfer.Store { return transferStore{s} }

// transferStore implements transfer.Store.
type transferStore struct{ *Store }

// pageBytes is how much of documents is read at once for records: some messages and snapshots are large.
const pageBytes = 1 << 20

// Records implements transfer.Source.
func (t transferStore) Records(ctx context.Context, after transfer.Record, limit int) ([]transfer.Record, error) {
	s := t.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.finishAll(ctx); err != nil {
		return nil, err
	}
	p := &page{limit: limit}
	kinds := transfer.Kinds()
	if after != nil {
		kinds = kinds[slices.Index(kinds, after.Of()):]
	}
	for _, kind := range kinds {
		if p.full() {
			break
		}
		if p.after = nil; after != nil && after.Of() == kind {
			p.after = after
		}
		if err := sections[kind].read(ctx, s, p); err != nil {
			return nil, failed(ctx, fmt.Sprintf("read %ss", kind), err)
		}
	}
	return p.records, ctx.Err()
}

// page is what Records gives, on its way.
type page struct {
	limit   int
	after   transfer.Record // of the kind that is being read; nil: from the first on
	records []transfer.Record
	size    int
}

func (p *page) full() bool { return len(p.records) >= p.limit || p.size >= pageBytes }

// left is how many records have room.
func (p *page) left() int { return p.limit - len(p.records) }

// add adds a record, unless it was given before, and says whether there is room for more.
func (p *page) add(r transfer.Record, size int) (more bool) {
	if p.full() || p.after != nil && transfer.Compare(r, p.after) <= 0 {
		return !p.full()
	}
	p.records, p.size = append(p.records, r), p.size+size
	return !p.full()
}

// Progress implements transfer.Sink.
func (t transferStore) Progress(ctx context.Context) (p transfer.Progress, under bool, err error) {
	s := t.Store
	if err := s.enter(); err != nil {
		return p, false, err
	}
	defer s.leave()
	return s.progress(ctx)
}

func (s *Store) progress(ctx context.Context) (p transfer.Progress, under bool, err error) {
	var doc importDoc
	if err := s.get(ctx, importsCollection, importID, &doc); err != nil {
		return p, false, err
	}
	fit(&p, &doc)
	return p, doc.ID != "", nil
}

// Import implements transfer.Sink.
func (t transferStore) Import(ctx context.Context, records []transfer.Record, p transfer.Progress) error {
	s := t.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	_, under, err := s.progress(ctx)
	if err != nil {
		return err
	}
	if !under {
		if err := s.checkNothing(ctx); err != nil {
			return err
		}
		if err := s.noteProgress(ctx, transfer.Progress{}); err != nil {
			return err
		}
	}
	for len(records) > 0 {
		n := 1
		for n < len(records) && records[n].Of() == records[0].Of() {
			n++
		}
		if err := sections[records[0].Of()].write(ctx, s, records[:n]); err != nil {
			return failed(ctx, fmt.Sprintf("import %ss", records[0].Of()), err)
		}
		records = records[n:]
	}
	return s.noteProgress(ctx, p)
}

func (s *Store) noteProgress(ctx context.Context, p transfer.Progress) error {
	doc := importDoc{ID: importID}
	fit(&doc, &p)
	return retried(ctx, func() error {
		return s.replace(ctx, s.db.Collection(importsCollection), importID, doc)
	})
}

// Finish implements transfer.Sink.
func (t transferStore) Finish(ctx context.Context) error {
	s := t.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := retried(ctx, func() error {
		_, err := s.db.Collection(importsCollection).DeleteOne(ctx, bson.D{{Key: "_id", Value: importID}})
		return err
	})
	return failed(ctx, "end the import", err)
}

// checkNothing sees that nothing is in the store but what a store has that was opened once.
func (s *Store) checkNothing(ctx context.Context) error {
	names, err := s.db.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return failed(ctx, "look for what is there", err)
	}
	for _, name := range names {
		if slices.Contains(about, name) {
			continue
		}
		err := s.db.Collection(name).FindOne(ctx, bson.D{}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
		switch {
		case err == nil:
			return fmt.Errorf("import: %w: there is something in %s", transfer.ErrNotEmpty, name)
		case !none(err):
			return failed(ctx, "look for what is there", err)
		}
	}
	return nil
}

// checkMoved refuses a store into which an import is under way.
func (s *Store) checkMoved(ctx context.Context) error {
	var doc importDoc
	err := s.db.Collection(importsCollection).FindOne(ctx, bson.D{{Key: "_id", Value: importID}}).Decode(&doc)
	switch {
	case none(err):
		return nil
	case err != nil:
		return starting("look for an import", err)
	}
	return fmt.Errorf("%w: an import has come to record %d", ErrUnfinished, doc.Records)
}
