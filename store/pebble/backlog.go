package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

// backlog is how much is in one queue, as far as it is known. Guarded by sequencer.mu, as the shelf is.
type backlog = backlogs.Queue[appended]

// appended is what is known of what was added to a queue.
type appended struct {
	last  *commit        // of the last entry; nil: none was added
	since backlogs.Tally // what was added to Rest since the tender began to read the queue
}

func newBacklogs(most int) *backlogs.Shelf[appended] {
	return backlogs.NewShelf(most, func(l *backlog) bool { return l.More.last == nil || l.More.last.isDurable() })
}

// backlogLocked gives the backlog of a queue, and has the tender load it if there was none.
func (s *Store) backlogLocked(n sessions.Number) *backlog {
	l, made := s.backlogs.Use(n)
	if made {
		s.backlogs.Tend(l)
		s.backlogs.Shrink()
	}
	return l
}

// countLocked counts an entry at the end of a queue.
func (c *commit) countLocked(l *backlog, pos uint64, size int64) {
	l.More.last = c
	if !l.Add(pos, size) && l.Busy {
		l.More.since.Add(size)
	}
}

// removeEntries removes rows of a queue.
func removeEntries(b *pebble.Batch, n sessions.Number, entries []backlogs.Entry) {
	for _, e := range entries {
		removeEntry(b, n, e.Pos)
	}
}

// tender keeps backlogs right and, from time to time, sweeps (sweep.go). One goroutine runs it.
type tender struct {
	*Store
	sweeps *backlogs.Requests
}

// tend looks after the queues that wait for it.
func (t *tender) tend(ctx context.Context) error {
	for {
		t.seq.mu.Lock()
		l := t.backlogs.Next()
		t.seq.mu.Unlock()
		if l == nil {
			return nil
		}
		if err := t.look(ctx, l); err != nil {
			return err
		}
	}
}

// found is what a look at a queue has found.
type found struct {
	finished backlogs.Tally // entries up to acked
	points   []uint64
	front    []backlogs.Entry
	rest     backlogs.Tally
	whole    bool // it has seen the end
}

// look reads the front of a queue, or all of it if it is not loaded.
func (t *tender) look(ctx context.Context, l *backlog) error {
	if err := t.seq.place(ctx); err != nil {
		return err
	}
	t.seq.mu.Lock()
	if err := t.seq.showLocked(); err != nil {
		t.seq.mu.Unlock()
		return err
	}
	if t.seq.closed || !t.backlogs.Has(l) {
		t.seq.mu.Unlock()
		return nil
	}
	if l.Loaded && l.Rest.Count == 0 {
		t.seq.mu.Unlock()
		return nil
	}
	if !l.Loaded {
		l.Rest = backlogs.Tally{} // all that was counted is in the snapshot
	}
	l.Busy, l.More.since, l.Gone = true, backlogs.Tally{}, map[uint64]int64{}
	after, acked, loaded, until := l.End, l.Floor, l.Loaded, t.seq.position
	limit := t.backlogs.FrontLimit() - len(l.Front)
	snapshot := t.db.NewSnapshot()
	t.seq.mu.Unlock()

	f, err := t.read(ctx, snapshot, l.Number, after, until, acked, limit, !loaded)
	if err = errors.Join(err, snapshot.Close()); err != nil {
		t.seq.mu.Lock()
		l.Busy, l.Gone = false, nil
		t.seq.mu.Unlock()
		return err
	}
	_, err = t.seq.joinAnyway(ctx, func(c *commit) { t.settleLocked(c.batch, l, f, after, until, acked) })
	return err
}

// manyFinished is from where on a range of a queue is removed as one.
const manyFinished = 512

// read reads entries after after, up to until.
func (t *tender) read(
	ctx context.Context, r pebble.Reader, n sessions.Number, after, until, acked uint64, limit int, all bool,
) (f found, err error) {
	from, to := queueRange(n, after, until)
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return f, unavailable("read queue", err)
	}
	f.whole = true
	steps := 0
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		if steps++; steps%1024 == 0 && ctx.Err() != nil {
			err = ctx.Err()
			break
		}
		var pos uint64
		var h entryHead
		if pos, h, err = entryAt(iter); err != nil {
			break
		}
		switch {
		case pos <= acked:
			f.finished.Add(h.stamp.Size)
			if len(f.points) < manyFinished {
				f.points = append(f.points, pos)
			}
		case len(f.front) < limit:
			f.front = append(f.front, backlogs.Entry{Pos: pos, Size: h.stamp.Size})
		case all:
			f.rest.Add(h.stamp.Size)
		default:
			f.whole = false
		}
		if !f.whole {
			break
		}
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return f, unavailable("read queue", err)
	}
	return f, nil
}

func entryAt(iter *pebble.Iterator) (pos uint64, h entryHead, err error) {
	if _, pos, err = parseQueueKey(iter.Key()); err != nil {
		return 0, h, err
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return 0, h, err
	}
	h, _, err = parseEntry(value, false)
	return pos, h, err
}

// settleLocked puts what was found into a backlog, and removes what is finished.
func (t *tender) settleLocked(b *pebble.Batch, l *backlog, f found, after, until, acked uint64) {
	if f.finished.Count >= manyFinished {
		if err := b.DeleteRange(queueKey(l.Number, after+1), append(queueKey(l.Number, acked), 0), nil); err != nil {
			panic(err)
		}
	} else {
		for _, pos := range f.points {
			removeEntry(b, l.Number, pos)
		}
	}
	known := t.backlogs.Has(l)
	if known {
		settle(l, f, until, acked)
	}
	l.Busy, l.Gone = false, nil
	if known {
		removeEntries(b, l.Number, l.Advance(l.Floor))
	}
}

// settle has a backlog count what was found in its queue.
func settle(l *backlog, f found, until, acked uint64) {
	listed := l.List(f.front)
	switch {
	case f.whole && f.rest.Count == 0:
		l.End = until
	case len(f.front) > 0:
		l.End = f.front[len(f.front)-1].Pos
	default:
		l.End = max(l.End, min(acked, until))
	}
	if f.whole {
		l.Rest = f.rest.Plus(l.More.since)
		l.TakeGone()
	} else {
		l.Rest.Take(listed.Plus(f.finished))
	}
	l.Loaded = true
}

// removeEntry removes a row of a queue.
func removeEntry(b *pebble.Batch, n sessions.Number, pos uint64) {
	op := b.DeleteDeferred(queueKeySize)
	appendQueueKey(op.Key[:0], n, pos)
	if err := op.Finish(); err != nil {
		panic(err)
	}
}
