package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

// openQueues takes up the order of sessions and queues where it was left, and does what had not followed from it.
func (s *Store) openQueues(ctx context.Context) error {
	q := newSequencer(s)
	s.seq = q
	if err := s.loadFloors(ctx); err != nil {
		return err
	}
	is, err := s.queuesDoc(ctx)
	if err != nil {
		return err
	}
	q.voids = is.Voids
	go q.run()
	if err := s.recover(ctx, is.Followed); err != nil {
		q.kill()
		return err
	}
	q.recovered()
	s.tender = &tender{Store: s, sweeps: backlogs.NewRequests()}
	tending, cancel := context.WithCancel(context.Background())
	s.stopTender = cancel
	go s.tender.run(tending)
	return nil
}

// recovered says that everything has followed from what others have published.
func (q *sequencer) recovered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.followedTo = max(q.followedTo, q.store.epoch<<epochBits)
}

// closeQueues writes what has a place, and ends.
func (s *Store) closeQueues() {
	if s.tender == nil { // they were not opened
		return
	}
	s.stopTender()
	<-s.tender.sweeps.Ended()
	s.seq.close()
}

func (s *Store) loadFloors(ctx context.Context) error {
	cursor, err := s.db.Collection(queuesCollection).Find(ctx, bson.D{}, finding())
	var docs []struct {
		Number int64 `bson:"_id"`
		Floor  int64 `bson:"floor"`
	}
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	for _, d := range docs {
		s.seq.floors[sessions.Number(d.Number)] = d.Floor
	}
	return failed(ctx, "read floors of queues", err)
}

// recover removes publications whose Append was not written to its end, and does what follows from the others. Their places are
// those that they had: what has followed already does not do so again.
func (s *Store) recover(ctx context.Context, followed int64) error {
	docs, err := s.published(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: followed}}}}, finding().
		SetSort(byID(1)).SetProjection(bson.D{{Key: "p", Value: 1}, {Key: "e", Value: 1}, {Key: "o", Value: 1}}))
	if err != nil {
		return err
	}
	there, last := make(map[int64]bool, len(docs)), followed
	for i := range docs {
		there[docs[i].ID] = true
		last = max(last, docs[i].ID)
	}
	if err := s.noteVoid(ctx, last); err != nil {
		return err
	}
	var torn []int64
	var origins []*originDoc
	for i := range docs {
		switch d := &docs[i]; {
		case d.End != 0 && !there[d.End]:
			torn = append(torn, d.ID)
		case d.Origin != nil:
			origins = append(origins, d.Origin)
		}
	}
	if len(torn) > 0 {
		if _, err := s.publications().DeleteMany(ctx, bson.D{{Key: "_id", Value: in(torn)}}); err != nil {
			return failed(ctx, "remove publications that are incomplete", err)
		}
	}
	dropped, err := s.droppedSessions(ctx)
	if err != nil || len(origins)+len(dropped) == 0 {
		return err
	}
	b, err := s.seq.join(ctx, func(b *batch, _ int64) {
		for _, o := range origins {
			b.joinOrigin(o)
		}
		for _, d := range dropped {
			b.dropSession(d.ID, sessions.Number(d.Number), d.Dropped)
		}
		s.seq.unnoted++
	})
	if err != nil {
		return err
	}
	return b.all().Wait(ctx)
}

// droppedSessions gives sessions that are dropped, and whose documents are still there.
func (s *Store) droppedSessions(ctx context.Context) (docs []sessionDoc, err error) {
	cursor, err := s.sessionDocs().Find(ctx, bson.D{{Key: "x", Value: bson.D{{Key: "$gt", Value: 0}}}},
		finding().SetProjection(bson.D{{Key: "n", Value: 1}, {Key: "x", Value: 1}}))
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	return docs, failed(ctx, "read dropped sessions", err)
}
