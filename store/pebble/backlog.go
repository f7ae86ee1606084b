package pebble

import (
	"container/list"
	"context"
	"errors"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/broker/sessions"
)

// backlog is how much is in one queue, as far as it is known: entries at its front one by one, those behind them as numbers.
// The disk is not read to add to a queue; a new backlog counts from 0, and what was there before is added by the tender in
// the background. Guarded by sequencer.mu.
type backlog struct {
	number sessions.Number
	place  *list.Element // in backlogs.recent
	last   *commit       // of the last entry that was added; nil: none was
	tail   uint64        // its position; 0: none was
	acked  uint64        // every entry up to here is finished

	loaded bool
	queued bool // the tender is to look after it
	front  []mark
	bytes  int64  // of front
	end    uint64 // front has all entries up to here
	rest   tally  // entries after end

	// While the tender reads the queue:
	busy  bool
	since tally            // what was added to rest since
	gone  map[uint64]int64 // what was taken out of rest since: position and size
}

// mark is an entry at the front of a queue.
type mark struct {
	pos  uint64
	size int64
}

type tally struct{ count, bytes int64 }

func (t *tally) add(size int64) { t.count, t.bytes = t.count+1, t.bytes+size }

// take never goes below nothing: some of what goes is not known for sure to have been counted.
func (t *tally) take(count, bytes int64) {
	t.count, t.bytes = max(0, t.count-count), max(0, t.bytes-bytes)
}

func (l *backlog) count() int64 { return int64(len(l.front)) + l.rest.count }
func (l *backlog) size() int64  { return l.bytes + l.rest.bytes }

// exceeds says whether a queue has more than b allows, with an entry more.
func (l *backlog) exceeds(b sessions.Bounds, more tally) bool {
	return b.Count > 0 && l.count()+more.count > int64(b.Count) || b.Bytes > 0 && l.size()+more.bytes > b.Bytes
}

const (
	// maxFront is how many entries of one queue are known one by one; with a quarter of that left more are read.
	maxFront = 1024
	// maxFronts is how many there are in all queues before the fronts of further ones stay short.
	maxFronts  = 1 << 20
	shortFront = 32
)

// backlogs are those of the queues that were used last.
type backlogs struct {
	store *Store
	max   int // how many are kept

	// Guarded by sequencer.mu.
	byNumber map[sessions.Number]*backlog
	recent   *list.List // of *backlog, the one used last in front
	fronts   int        // entries of all fronts
	waiting  []*backlog // for the tender

	wake chan struct{} // tells the tender to look at waiting
}

func newBacklogs(s *Store, most int) *backlogs {
	return &backlogs{
		store: s, max: most, byNumber: map[sessions.Number]*backlog{}, recent: list.New(), wake: make(chan struct{}, 1),
	}
}

// useLocked gives the backlog of a queue, and makes one that is not loaded if there is none.
func (g *backlogs) useLocked(n sessions.Number) *backlog {
	if l := g.byNumber[n]; l != nil {
		g.recent.MoveToFront(l.place)
		return l
	}
	l := &backlog{number: n}
	l.place = g.recent.PushFront(l)
	g.byNumber[n] = l
	g.tendLocked(l)
	g.shrinkLocked()
	return l
}

// shrinkLocked forgets backlogs that can be loaded again without missing anything.
func (g *backlogs) shrinkLocked() {
	e := g.recent.Back()
	for tries := 0; len(g.byNumber) > g.max && e != nil && tries < 8; tries++ {
		l, ok := e.Value.(*backlog)
		if !ok {
			panic("recent backlog of another type")
		}
		e = e.Prev()
		if !l.queued && !l.busy && (l.last == nil || l.last.isDurable()) {
			g.forgetLocked(l)
		}
	}
}

func (g *backlogs) forgetLocked(l *backlog) {
	g.recent.Remove(l.place)
	delete(g.byNumber, l.number)
	g.fronts -= len(l.front)
}

// dropLocked forgets the backlog of a queue that is no more.
func (g *backlogs) dropLocked(n sessions.Number) {
	if l := g.byNumber[n]; l != nil {
		g.forgetLocked(l)
		l.front = nil // whoever has it still does not count in fronts
	}
}

// knownLocked says whether a backlog is still that of its queue.
func (g *backlogs) knownLocked(l *backlog) bool { return g.byNumber[l.number] == l }

// tendLocked has the tender look after a queue.
func (g *backlogs) tendLocked(l *backlog) {
	if l.queued {
		return
	}
	l.queued = true
	g.waiting = append(g.waiting, l)
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *backlogs) frontLimitLocked() int {
	if g.fronts > maxFronts {
		return shortFront
	}
	return maxFront
}

// addLocked counts an entry at the end.
func (g *backlogs) addLocked(l *backlog, pos uint64, size int64, c *commit) {
	l.last, l.tail = c, pos
	if l.loaded && l.rest.count == 0 && len(l.front) < g.frontLimitLocked() {
		l.front = append(l.front, mark{pos, size})
		l.bytes += size
		l.end = pos
		g.fronts++
		return
	}
	l.rest.add(size)
	if l.busy {
		l.since.add(size)
	}
}

// popLocked takes the first entry out of front and removes its row.
func (g *backlogs) popLocked(b *pebble.Batch, l *backlog) {
	first := l.front[0]
	l.front = l.front[1:]
	l.bytes -= first.size
	g.fronts--
	removeEntry(b, l.number, first.pos)
	g.refillLocked(l)
}

// refillLocked has more of a queue read if hardly any of it is known.
func (g *backlogs) refillLocked(l *backlog) {
	if l.loaded && l.rest.count > 0 && len(l.front) < g.frontLimitLocked()/4 {
		g.tendLocked(l)
	}
}

// makeRoomLocked drops the oldest entries of a queue for one more. It may not find all of them at once: some are known only
// when the tender has looked.
func (g *backlogs) makeRoomLocked(b *pebble.Batch, l *backlog, bounds sessions.Bounds, size int64) (dropped int) {
	const most = 64
	for dropped < most && len(l.front) > 0 && l.exceeds(bounds, tally{1, size}) {
		g.popLocked(b, l)
		dropped++
	}
	return dropped
}

// takeLocked counts an entry out that goes for another reason than its age in the queue. Its row is removed by the caller.
func (g *backlogs) takeLocked(l *backlog, pos uint64, size int64) {
	if pos <= l.acked {
		return
	}
	if l.loaded && pos <= l.end {
		i := sort.Search(len(l.front), func(i int) bool { return l.front[i].pos >= pos })
		if i < len(l.front) && l.front[i].pos == pos {
			l.bytes -= l.front[i].size
			l.front = append(l.front[:i], l.front[i+1:]...)
			g.fronts--
		}
		return
	}
	if l.busy {
		if _, again := l.gone[pos]; again {
			return
		}
		l.gone[pos] = size
	}
	l.rest.take(1, size)
}

// advanceLocked removes the entries up to acked, or has the tender do it.
func (g *backlogs) advanceLocked(b *pebble.Batch, l *backlog, acked uint64) {
	l.acked = max(l.acked, acked)
	for len(l.front) > 0 && l.front[0].pos <= l.acked {
		g.popLocked(b, l)
	}
	if l.loaded && l.rest.count > 0 && l.acked > l.end {
		g.tendLocked(l)
	}
}

// tender keeps backlogs right and, from time to time, sweeps (sweep.go). One goroutine runs it.
type tender struct {
	*Store
	sweeps chan sweepRequest
	ended  chan struct{} // closed when the goroutine has ended
}

// tend looks after the queues that wait for it.
func (t *tender) tend(ctx context.Context) error {
	for {
		t.seq.mu.Lock()
		var l *backlog
		if g := t.backlogs; len(g.waiting) > 0 {
			l = g.waiting[0]
			g.waiting[0] = nil
			g.waiting = g.waiting[1:]
			l.queued = false
		}
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
	finished tally // entries up to acked
	points   []uint64
	front    []mark
	rest     tally
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
	if t.seq.closed || !t.backlogs.knownLocked(l) {
		t.seq.mu.Unlock()
		return nil
	}
	if l.loaded && l.rest.count == 0 {
		t.seq.mu.Unlock()
		return nil
	}
	if !l.loaded {
		l.rest = tally{} // all that was counted is in the snapshot
	}
	l.busy, l.since, l.gone = true, tally{}, map[uint64]int64{}
	after, acked, loaded, until := l.end, l.acked, l.loaded, t.seq.position
	limit := t.backlogs.frontLimitLocked() - len(l.front)
	snapshot := t.db.NewSnapshot()
	t.seq.mu.Unlock()

	f, err := t.read(ctx, snapshot, l.number, after, until, acked, limit, !loaded)
	if err = errors.Join(err, snapshot.Close()); err != nil {
		t.seq.mu.Lock()
		l.busy, l.gone = false, nil
		t.seq.mu.Unlock()
		return err
	}
	_, err = t.seq.joinAnyway(ctx, func(c *commit) { t.backlogs.settleLocked(c.batch, l, f, after, until, acked) })
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
			f.finished.add(h.stamp.Size)
			if len(f.points) < manyFinished {
				f.points = append(f.points, pos)
			}
		case len(f.front) < limit:
			f.front = append(f.front, mark{pos, h.stamp.Size})
		case all:
			f.rest.add(h.stamp.Size)
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
func (g *backlogs) settleLocked(b *pebble.Batch, l *backlog, f found, after, until, acked uint64) {
	gone := l.gone
	l.busy, l.gone = false, nil
	if f.finished.count >= manyFinished {
		if err := b.DeleteRange(queueKey(l.number, after+1), append(queueKey(l.number, acked), 0), nil); err != nil {
			panic(err)
		}
	} else {
		for _, pos := range f.points {
			removeEntry(b, l.number, pos)
		}
	}
	if !g.knownLocked(l) {
		return
	}
	var listed tally
	for _, m := range f.front {
		if _, is := gone[m.pos]; !is {
			l.front = append(l.front, m)
			l.bytes += m.size
			g.fronts++
			listed.add(m.size)
		}
	}
	switch {
	case f.whole && f.rest.count == 0:
		l.end = until
	case len(f.front) > 0:
		l.end = f.front[len(f.front)-1].pos
	default:
		l.end = max(l.end, min(acked, until))
	}
	if f.whole {
		l.rest = tally{f.rest.count + l.since.count, f.rest.bytes + l.since.bytes}
		for pos, size := range gone {
			if pos > l.end {
				l.rest.take(1, size)
			}
		}
	} else {
		l.rest.take(listed.count+f.finished.count, listed.bytes+f.finished.bytes)
	}
	l.loaded = true
	g.advanceLocked(b, l, l.acked)
	g.refillLocked(l)
}

// removeEntry removes a row of a queue.
func removeEntry(b *pebble.Batch, n sessions.Number, pos uint64) {
	op := b.DeleteDeferred(queueKeySize)
	appendQueueKey(op.Key[:0], n, pos)
	if err := op.Finish(); err != nil {
		panic(err)
	}
}
