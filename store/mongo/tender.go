package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/broker/sessions"
)

// tender keeps backlogs right and, from time to time, sweeps (sweep.go). One goroutine runs it.
type tender struct {
	*Store
	sweeps chan sweepRequest
	ended  chan struct{} // closed when the goroutine has ended
}

// run looks after queues until ctx ends.
func (t *tender) run(ctx context.Context) {
	defer close(t.ended)
	t.untroubled(ctx, t.countDelayed)
	t.untroubled(ctx, t.loadRetained)
	timer := time.NewTimer(firstSweep)
	defer timer.Stop()
	for ctx.Err() == nil {
		sweep := false
		select {
		case <-ctx.Done():
		case r := <-t.sweeps:
			r.done <- t.sweep(ctx)
		case <-timer.C:
			sweep = true
		case <-t.seq.backlogs.wake:
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
		var l *backlog
		if g := q.backlogs; len(g.waiting) > 0 {
			l = g.waiting[0]
			g.waiting[0] = nil
			g.waiting = g.waiting[1:]
			l.queued = false
		}
		q.mu.Unlock()
		if l == nil {
			return nil
		}
		if err := t.look(ctx, l); err != nil {
			q.mu.Lock()
			q.backlogs.tendLocked(l)
			q.mu.Unlock()
			return err
		}
	}
}

// found is what a look at a queue has found.
type found struct {
	acked int64
	front []mark
	rest  tally
}

// look reads how much is in a queue.
func (t *tender) look(ctx context.Context, l *backlog) error {
	q := t.seq
	q.mu.Lock()
	if q.closed || !q.backlogs.knownLocked(l) || l.loaded && l.rest.count == 0 {
		q.mu.Unlock()
		return nil
	}
	l.busy, l.since, l.more, l.gone = true, nil, tally{}, map[int64]int64{}
	floor, until := l.floor, q.position
	limit := q.backlogs.frontLimitLocked()
	q.mu.Unlock()

	f, err := t.read(ctx, l.number, floor, until, limit)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil && q.backlogs.knownLocked(l) {
		q.backlogs.settleLocked(l, f, until)
	}
	l.busy, l.since, l.gone = false, nil, nil
	if err == nil && q.backlogs.knownLocked(l) {
		q.backlogs.advanceLocked(l, l.floor)
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
		SetProjection(bson.D{{Key: "_id", Value: 0}, {Key: "p", Value: 1}, {Key: "s", Value: 1}}))
	if err != nil {
		return f, err
	}
	for i := range docs {
		f.front = append(f.front, mark{docs[i].Pos, docs[i].Size})
	}
	if len(f.front) == limit {
		f.rest, err = t.tally(ctx, entriesOf(n, f.front[limit-1].pos, until))
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

// settleLocked puts what was found into a backlog, with what has happened since. What was taken out in the meantime may have been
// found or not: if it lies behind the front, the backlog counts too little then, until it is read the next time.
func (g *backlogs) settleLocked(l *backlog, f found, until int64) {
	g.fronts -= len(l.front)
	l.front, l.bytes, l.loaded, l.rest = nil, 0, true, f.rest
	l.floor = max(l.floor, f.acked)
	whole := f.rest.count == 0
	l.end = until
	if !whole {
		l.end = f.front[len(f.front)-1].pos
	}
	list := f.front
	if whole && len(list)+len(l.since) <= maxFront && l.more.count == 0 {
		list = append(list, l.since...)
		if len(l.since) > 0 {
			l.end = l.since[len(l.since)-1].pos
		}
	} else {
		for _, m := range l.since {
			l.rest.add(m.size)
		}
		l.rest.count += l.more.count
		l.rest.bytes += l.more.bytes
	}
	for _, m := range list {
		if _, is := l.gone[m.pos]; !is && m.pos > l.floor {
			l.front = append(l.front, m)
			l.bytes += m.size
		}
	}
	g.fronts += len(l.front)
	for pos, size := range l.gone {
		if pos > l.end {
			l.rest.take(1, size)
		}
	}
}
