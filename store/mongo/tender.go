package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

// tender keeps backlogs right and, from time to time, sweeps (sweep.go). One goroutine runs it.
type tender struct {
	*Store
	sweeps *backlogs.Requests
}

// run looks after queues until ctx ends.
func (t *tender) run(ctx context.Context) {
	defer t.sweeps.End()
	t.untroubled(ctx, t.countDelayed)
	t.untroubled(ctx, t.loadRetained)
	timer := time.NewTimer(firstSweep)
	defer timer.Stop()
	for ctx.Err() == nil {
		sweep := false
		select {
		case <-ctx.Done():
		case r := <-t.sweeps.Asked():
			r.Done(t.sweep(ctx))
		case <-timer.C:
			sweep = true
		case <-t.seq.backlogs.Wake():
			t.untroubled(ctx, t.tend)
			sweep = t.seq.isSweepDue()
		}
		if sweep {
			t.untroubled(ctx, t.sweep)
			timer.Reset(sweepEvery)
		}
	}
}

// untroubled does something again until the database takes part.
func (t *tender) untroubled(ctx context.Context, do func(ctx context.Context) error) {
	for pause := shortPause; do(ctx) != nil; pause = min(2*pause, longPause) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// tend looks after the queues that wait for it.
func (t *tender) tend(ctx context.Context) error {
	q := t.seq
	for {
		q.mu.Lock()
		l := q.backlogs.Next()
		q.mu.Unlock()
		if l == nil {
			return nil
		}
		if err := t.look(ctx, l); err != nil {
			q.mu.Lock()
			q.backlogs.Tend(l)
			q.mu.Unlock()
			return err
		}
	}
}

// found is what a look at a queue has found.
type found struct {
	acked int64
	front []backlogs.Entry
	rest  backlogs.Tally
}

// look reads how much is in a queue.
func (t *tender) look(ctx context.Context, l *backlog) error {
	q := t.seq
	q.mu.Lock()
	if q.closed || !q.backlogs.Has(l) || l.Loaded && l.Rest.Count == 0 {
		q.mu.Unlock()
		return nil
	}
	l.Busy, l.Gone = true, map[uint64]int64{}
	l.More.since, l.More.later = nil, backlogs.Tally{}
	floor, until := int64(l.Floor), q.position
	limit := q.backlogs.FrontLimit()
	q.mu.Unlock()

	f, err := t.read(ctx, l.Number, floor, until, limit)
	q.mu.Lock()
	defer q.mu.Unlock()
	known := err == nil && q.backlogs.Has(l)
	if known {
		settle(l, f, until)
	}
	l.Busy, l.Gone, l.More.since = false, nil, nil
	if known {
		l.Advance(l.Floor)
	}
	return err
}

// read reads entries of a queue after a position, up to another one.
func (t *tender) read(ctx context.Context, n sessions.Number, after, until int64, limit int) (f found, err error) {
	if err := t.seq.newest().Wait(ctx); err != nil {
		return f, err
	}
	if f.acked, err = t.acked(ctx, n); err != nil {
		return f, err
	}
	after = max(after, f.acked)
	docs, err := t.published(ctx, entriesOf(n, after, until), finding().SetSort(byPosition).SetLimit(int64(limit)).
		SetProjection(bson.D{{Key: "p", Value: 1}, {Key: "s", Value: 1}}))
	if err != nil {
		return f, err
	}
	for i := range docs {
		f.front = append(f.front, backlogs.Entry{Pos: uint64(docs[i].Pos), Size: docs[i].Size})
	}
	if len(f.front) == limit {
		f.rest, err = t.tally(ctx, entriesOf(n, int64(f.front[limit-1].Pos), until))
	}
	return f, err
}

// acked gives how far the session has come that a queue is of.
func (t *tender) acked(ctx context.Context, n sessions.Number) (int64, error) {
	var d sessionDoc
	err := t.sessionDocs().FindOne(ctx, bson.D{{Key: "n", Value: int64(n)}},
		options.FindOne().SetProjection(bson.D{{Key: "qa", Value: 1}})).Decode(&d)
	if none(err) {
		err = nil
	}
	return d.QueueAcked, failed(ctx, "read session", err)
}

// settle puts what was found into a backlog, with what has happened since. What was taken out in the meantime may have been found
// or not: if it lies behind the front, the backlog counts too little then, until it is read the next time.
func settle(l *backlog, f found, until int64) {
	l.Unlist()
	l.Loaded, l.Rest = true, f.rest
	l.Floor = max(l.Floor, uint64(f.acked))
	whole, since := f.rest.Count == 0, l.More.since
	if l.End = uint64(until); !whole {
		l.End = f.front[len(f.front)-1].Pos
	}
	list := f.front
	if whole && len(list)+len(since) <= backlogs.MaxFront && l.More.later.Count == 0 {
		list = append(list, since...)
		if len(since) > 0 {
			l.End = since[len(since)-1].Pos
		}
	} else {
		for _, e := range since {
			l.Rest.Add(e.Size)
		}
		l.Rest = l.Rest.Plus(l.More.later)
	}
	l.List(list)
	l.TakeGone()
}
