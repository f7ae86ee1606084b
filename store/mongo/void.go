package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// void is a range of places that nothing counts in. A process that was killed may have asked the database for an insert that is
// carried out when the next process has looked at what there is already. Nobody was told that it is there: so it never was, or
// its publisher, who sends it again, would have published it twice.
type void struct {
	After  int64 `bson:"a"` // the last publication that was found
	Before int64 `bson:"b"` // the first place of the process that has looked
	Since  int64 `bson:"t"` // Unix milliseconds
}

// maxVoids is how many are remembered, of a process that is started again and again.
const maxVoids = 64

// noteVoid notes that what comes after the last publication that was found, and is not of this process, comes too late. Where
// several processes publish at the same time nobody can say that.
func (s *Store) noteVoid(ctx context.Context, last int64) error {
	first := s.epoch << epochBits
	last = max(last, 1<<epochBits) // what is before was imported
	if !s.cfg.Alone || last >= first {
		return nil
	}
	q := s.seq
	q.mu.Lock()
	q.voids = append(slices.Clone(q.voids), void{last, first, s.now()})
	q.voids = q.voids[max(0, len(q.voids)-maxVoids):]
	voids := q.voids
	q.mu.Unlock()
	return s.writeVoids(ctx, voids)
}

func (s *Store) writeVoids(ctx context.Context, voids []void) error {
	err := retried(ctx, func() error {
		_, err := s.db.Collection(nodesCollection).UpdateOne(ctx, bson.D{{Key: "_id", Value: queuesNode}},
			bson.D{set("voids", voids)}, options.UpdateOne().SetUpsert(true))
		return err
	})
	return failed(ctx, "write what comes too late", err)
}

// isVoid says whether a publication has come too late.
func (q *sequencer) isVoid(id int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.voids, func(v void) bool { return v.After < id && id < v.Before })
}

// upToVoid gives up to where things count that come after a place, and from where on they do again, none of which is after until.
func (q *sequencer) upToVoid(after, until int64) (end, next int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	end, next = until, until
	for _, v := range q.voids {
		if v.Before-1 > after && v.After < end {
			end, next = max(after, v.After), min(until, v.Before-1)
		}
	}
	return end, next
}

// sweepVoids removes what has come too late. After a day nothing does any more.
func (s *Store) sweepVoids(ctx context.Context) error {
	q := s.seq
	q.mu.Lock()
	voids := q.voids
	q.mu.Unlock()
	for _, v := range voids {
		late := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: v.After}, {Key: "$lt", Value: v.Before}}}}
		if _, err := s.publications().DeleteMany(ctx, late); err != nil {
			return failed(ctx, "remove what has come too late", err)
		}
	}
	old := s.now() - fenceLife.Milliseconds()
	kept := slices.DeleteFunc(slices.Clone(voids), func(v void) bool { return v.Since < old })
	if len(kept) == len(voids) {
		return nil
	}
	if err := s.writeVoids(ctx, kept); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.voids = kept
	return nil
}
