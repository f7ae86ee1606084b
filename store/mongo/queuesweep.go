package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/broker/sessions"
)

// A sweep removes publications that nobody will read any more: those which all queues that they are for have come past, and
// that are neither retained nor delayed. Others it takes out of the queues that have come past them, if that is most of them.

const (
	// firstSweep is when the first sweep is after Open, and sweepEvery when the next one is after each.
	firstSweep = time.Minute
	sweepEvery = time.Hour
	// sweepSlice is how many publications are removed at once.
	sweepSlice = 1000
)

// Sweep removes what nobody will read any more, which happens from time to time anyway, and waits for the end of it.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.tender.sweeps.Ask(ctx, errClosed)
}

// isSweepDue says whether so much was published that a sweep is due.
func (q *sequencer) isSweepDue() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pace.IsDue()
}

// countLocked counts what is published, which has to be swept one day.
func (q *sequencer) countLocked(b *batch, size int64) {
	if q.pace.Wrote(size) {
		q.backlogs.WakeTender()
	}
	if q.unnoted > manyUnnoted {
		b.note = true
	}
}

// manyUnnoted is from how many publications on, of which something follows, it is noted that it has.
const manyUnnoted = 1024

// sweeping is one sweep.
type sweeping struct {
	*tender
	until  int64                     // looks at publications up to here
	floors map[int64]int64           // up to where each queue has come, if it is not at its beginning
	kept   map[sessions.Number]int64 // queues from which was dropped, and up to where
	now    time.Time
	live   int64 // size of what stays

	remove []int64            // publications
	change []mongo.WriteModel // others
	clears []publicationDoc   // that say that a topic has no retained message
	over   []publicationDoc   // whose time is over
}

func (t *tender) sweep(ctx context.Context) error {
	if err := t.sweepVoids(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	s := &sweeping{tender: t, now: t.cfg.Clock()}
	written, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if err := s.publications(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if err := s.forgetFloors(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if err := s.forgetGone(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	q := t.seq
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pace.Swept(written, s.live)
	return nil
}

// begin finds out how far queues have come.
func (s *sweeping) begin(ctx context.Context) (written int64, err error) {
	q := s.seq
	b, err := q.joinAnyway(func(b *batch, _ int64) {
		b.note = true
		written = q.pace.Written()
		s.kept = make(map[sessions.Number]int64, len(q.floors))
		for n, floor := range q.floors {
			s.kept[n] = floor
		}
	})
	if err != nil {
		return 0, err
	}
	if err := b.all().Wait(ctx); err != nil {
		return 0, err
	}
	s.until = b.noted
	s.floors = map[int64]int64{}
	cursor, err := s.sessionDocs().Find(ctx, bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: 0}}}},
		finding().SetProjection(bson.D{{Key: "n", Value: 1}, {Key: "qa", Value: 1}}))
	if err != nil {
		return 0, failed(ctx, "read sessions", err)
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for cursor.Next(ctx) {
		var d sessionDoc
		if err := cursor.Decode(&d); err != nil {
			return 0, failed(ctx, "read sessions", err)
		}
		s.floors[d.Number] = d.QueueAcked
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for l := range q.backlogs.All() {
		n := int64(l.Number)
		s.floors[n] = max(s.floors[n], int64(l.Floor))
	}
	for n, floor := range s.kept {
		s.floors[int64(n)] = max(s.floors[int64(n)], floor)
	}
	return written, failed(ctx, "read sessions", cursor.Err())
}

// publications looks at all publications.
func (s *sweeping) publications(ctx context.Context) error {
	fields := bson.D{}
	for _, field := range []string{"p", "q", "r", "clr", "due", "ts", "x", "s"} {
		fields = append(fields, bson.E{Key: field, Value: 1})
	}
	cursor, err := s.tender.publications().Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$lte", Value: s.until}}}},
		finding().SetSort(byID(1)).SetProjection(fields))
	if err != nil {
		return failed(ctx, "read publications", err)
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for n := 0; cursor.Next(ctx); n++ {
		var d publicationDoc
		if err := cursor.Decode(&d); err != nil {
			return failed(ctx, "read publications", err)
		}
		s.look(&d)
		if len(s.remove)+len(s.change) >= sweepSlice {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
		if n%sweepSlice == 0 {
			if err := s.tend(ctx); err != nil {
				return err
			}
		}
	}
	if err := cursor.Err(); err != nil {
		return failed(ctx, "read publications", err)
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	return s.clear(ctx)
}

// look decides what becomes of a publication.
func (s *sweeping) look(d *publicationDoc) {
	dead := s.dead(d)
	queued := len(d.Queues) > len(dead)
	retained := d.Topic != "" && s.retains(d)
	if !queued && !retained && d.Due == 0 {
		s.remove = append(s.remove, d.ID)
		return
	}
	s.live += d.Size
	var update bson.D
	if 2*len(dead) > len(d.Queues) || len(dead) > 0 && !queued {
		update = append(update, bson.E{Key: "$pullAll", Value: bson.D{{Key: "q", Value: dead}}})
		d.Queues = nil
	}
	if d.Topic != "" && !retained {
		update = append(update, unset("r", "clr"))
	}
	if len(update) > 0 {
		s.change = append(s.change, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: d.ID}}).SetUpdate(update))
	}
	for _, n := range d.Queues { // what was dropped from them has to be known still
		if s.floors[n] >= d.Pos {
			delete(s.kept, sessions.Number(n))
		}
	}
}

// dead gives the queues of a publication that it is nothing for any more.
func (s *sweeping) dead(d *publicationDoc) (dead []int64) {
	now, before := sessions.Overdue(s.now, s.cfg.QueueAge)
	if len(d.Queues) > 0 && d.stamp().IsOver(now-sessions.ExpiryGrace.Milliseconds(), before) {
		s.over = append(s.over, *d)
		return d.Queues
	}
	for _, n := range d.Queues {
		if s.floors[n] >= d.Pos {
			dead = append(dead, n)
		}
	}
	return dead
}

// retains says whether a publication is the retained message of its topic, or says that there is none.
func (s *sweeping) retains(d *publicationDoc) bool {
	q := s.seq
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.retained.isLocked(d) {
		return false
	}
	if d.Clear {
		s.clears = append(s.clears, *d)
		return true
	}
	return !d.stamp().HasExpired(s.now.UnixMilli()) || !q.retained.forgetLocked(d)
}

// flush removes what was found.
func (s *sweeping) flush(ctx context.Context) error {
	if len(s.over) > 0 {
		s.seq.mu.Lock()
		for i := range s.over {
			for _, n := range s.over[i].Queues {
				if l := s.seq.backlogs.Known(sessions.Number(n)); l != nil {
					l.Take(uint64(s.over[i].Pos), s.over[i].Size)
				}
			}
		}
		s.seq.mu.Unlock()
	}
	if len(s.change) > 0 {
		if err := s.tender.writeAll(ctx, publicationsCollection, s.change); err != nil {
			return err
		}
	}
	if len(s.remove) > 0 {
		if _, err := s.tender.publications().DeleteMany(ctx, bson.D{{Key: "_id", Value: in(s.remove)}}); err != nil {
			return failed(ctx, "remove publications", err)
		}
	}
	s.over, s.change, s.remove = s.over[:0], s.change[:0], s.remove[:0]
	return nil
}

// clear removes what says that a topic has no retained message, when the messages of before are gone.
func (s *sweeping) clear(ctx context.Context) error {
	q := s.seq
	for i := range s.clears {
		d := &s.clears[i]
		q.mu.Lock()
		last := q.retained.forgetLocked(d)
		q.mu.Unlock()
		if !last {
			continue // one that came later needs it no more, and has had it stripped
		}
		d.Topic = ""
		s.look(d)
		s.change = append(s.change, mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: d.ID}}).SetUpdate(bson.D{unset("r", "clr")}))
	}
	return s.flush(ctx)
}

// forgetGone removes documents of what was dropped before the last sweep.
func (s *sweeping) forgetGone(ctx context.Context) error {
	q := s.seq
	filter := bson.D{{Key: "gone", Value: true}, {Key: "v", Value: bson.D{{Key: "$lte", Value: q.sweptTo}}}}
	for _, collection := range []string{sessionsCollection, willsCollection, groupsCollection} {
		if _, err := s.db.Collection(collection).DeleteMany(ctx, filter); err != nil {
			return failed(ctx, "remove what was dropped from "+collection, err)
		}
	}
	q.sweptTo = s.until
	return nil
}

// forgetFloors forgets up to where queues were dropped of which nothing is left up to there.
func (s *sweeping) forgetFloors(ctx context.Context) error {
	q := s.seq
	var models []mongo.WriteModel
	q.mu.Lock()
	for n, floor := range s.kept {
		if floor <= s.until && q.floors[n] == floor {
			delete(q.floors, n)
			models = append(models, mongo.NewDeleteOneModel().
				SetFilter(bson.D{{Key: "_id", Value: int64(n)}, {Key: "floor", Value: floor}}))
		}
	}
	q.mu.Unlock()
	return s.writeAll(ctx, queuesCollection, models)
}
