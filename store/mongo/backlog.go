package mongo

import (
	"container/list"
	"sort"

	"github.com/magpie-im/magpie/broker/sessions"
)

// backlog is how much is in one queue, as far as it is known: entries at its front one by one, those behind them as numbers. The
// database is not asked when something is added to a queue: a new backlog counts from 0, and what was there before is added by
// the tender in the background, if the queue has bounds. Guarded by sequencer.mu.
type backlog struct {
	number sessions.Number
	place  *list.Element // in backlogs.recent
	last   *batch        // of the last entry that was added; nil: none was
	tail   int64         // its position; 0: none was
	floor  int64         // every entry up to here is finished or dropped

	loaded bool
	queued bool // the tender is to look after it
	front  []mark
	bytes  int64 // of front
	end    int64 // front has all entries up to here
	rest   tally // entries after end

	// While the tender reads the queue:
	busy  bool
	since []mark          // what was added since, or the first of it
	more  tally           // and what came after that
	gone  map[int64]int64 // what was taken out since: position and size
}

// mark is an entry at the front of a queue.
type mark struct{ pos, size int64 }

type tally struct{ count, bytes int64 }

func (t *tally) add(size int64) { t.count, t.bytes = t.count+1, t.bytes+size }

// take never goes below nothing: some of what goes is not known for sure to have been counted.
func (t *tally) take(count, bytes int64) {
	t.count, t.bytes = max(0, t.count-count), max(0, t.bytes-bytes)
}

func (l *backlog) count() int64 { return int64(len(l.front)) + l.rest.count }
func (l *backlog) size() int64  { return l.bytes + l.rest.bytes }

// exceeds says whether a queue has more than b allows, with something more.
func (l *backlog) exceeds(b sessions.Bounds, more tally) bool {
	return b.Count > 0 && l.count()+more.count > int64(b.Count) || b.Bytes > 0 && l.size()+more.bytes > b.Bytes
}

const (
	// maxBacklogs is how many are kept.
	maxBacklogs = 1 << 16
	// maxFront is how many entries of one queue are known one by one; with a quarter of that left more are read.
	maxFront = 1024
	// maxFronts is how many there are in all queues before the fronts of further ones stay short.
	maxFronts  = 1 << 20
	shortFront = 32
)

// backlogs are those of the queues that were used last. What ends in Locked wants sequencer.mu held, which guards all below.
type backlogs struct {
	seq      *sequencer
	byNumber map[sessions.Number]*backlog
	recent   *list.List // of *backlog, the one used last in front
	fronts   int        // entries of all fronts
	waiting  []*backlog // for the tender
	wake     chan struct{}
}

func newBacklogs(q *sequencer) *backlogs {
	return &backlogs{
		seq: q, byNumber: map[sessions.Number]*backlog{}, recent: list.New(), wake: make(chan struct{}, 1),
	}
}

// useLocked gives the backlog of a queue, and makes one that is not loaded if there is none.
func (g *backlogs) useLocked(n sessions.Number) *backlog {
	if l := g.byNumber[n]; l != nil {
		g.recent.MoveToFront(l.place)
		return l
	}
	l := &backlog{number: n, floor: g.seq.floors[n]}
	l.place = g.recent.PushFront(l)
	g.byNumber[n] = l
	g.shrinkLocked()
	return l
}

// boundLocked is useLocked for a queue whose size has to be known, if it has bounds.
func (g *backlogs) boundLocked(n sessions.Number, b sessions.Bounds) *backlog {
	l := g.useLocked(n)
	if !l.loaded && (b.Count > 0 || b.Bytes > 0) {
		g.tendLocked(l)
	}
	return l
}

// shrinkLocked forgets backlogs that can be loaded again without missing anything.
func (g *backlogs) shrinkLocked() {
	e := g.recent.Back()
	for tries := 0; len(g.byNumber) > maxBacklogs && e != nil && tries < 8; tries++ {
		l, ok := e.Value.(*backlog)
		if !ok {
			panic("recent backlog of another type")
		}
		e = e.Prev()
		if !l.queued && !l.busy && (l.last == nil || l.last.isThere()) {
			g.forgetLocked(l)
		}
	}
}

func (g *backlogs) forgetLocked(l *backlog) {
	g.recent.Remove(l.place)
	delete(g.byNumber, l.number)
	g.fronts -= len(l.front)
	l.front, l.bytes = nil, 0 // whoever has it still does not count in fronts
}

// dropLocked forgets the backlog of a queue that is no more.
func (g *backlogs) dropLocked(n sessions.Number) {
	if l := g.byNumber[n]; l != nil {
		g.forgetLocked(l)
	}
}

// knownLocked says whether a backlog is still that of its queue.
func (g *backlogs) knownLocked(l *backlog) bool { return g.byNumber[l.number] == l }

// tendLocked has the tender look after a queue.
func (g *backlogs) tendLocked(l *backlog) {
	if l.queued || l.busy {
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

// fitLocked says whether every queue has room for what steps add to it.
func (g *backlogs) fitLocked(bounds sessions.Bounds, steps []sessions.Step, docs []*publicationDoc) bool {
	more := map[sessions.Number]tally{}
	for i := range steps {
		for _, t := range steps[i].To {
			m := more[t.Number]
			m.add(docs[i].Size)
			more[t.Number] = m
			if g.boundLocked(t.Number, bounds).exceeds(bounds, m) {
				return false
			}
		}
	}
	return true
}

// addLocked counts an entry at the end.
func (g *backlogs) addLocked(l *backlog, pos, size int64, b *batch) {
	l.last, l.tail = b, pos
	if l.busy {
		if len(l.since) < maxFront {
			l.since = append(l.since, mark{pos, size})
		} else {
			l.more.add(size)
		}
	}
	if l.loaded && l.rest.count == 0 && len(l.front) < g.frontLimitLocked() {
		l.front = append(l.front, mark{pos, size})
		l.bytes += size
		l.end = pos
		g.fronts++
		return
	}
	l.rest.add(size)
}

// popLocked takes the first entry out of front.
func (g *backlogs) popLocked(l *backlog) mark {
	first := l.front[0]
	l.front = l.front[1:]
	l.bytes -= first.size
	l.floor = max(l.floor, first.pos)
	g.fronts--
	return first
}

// refillLocked has more of a queue read if hardly any of it is known.
func (g *backlogs) refillLocked(l *backlog) {
	if l.loaded && l.rest.count > 0 && len(l.front) < g.frontLimitLocked()/4 {
		g.tendLocked(l)
	}
}

// makeRoomLocked drops the oldest entries of a queue for one more. It may not find all of them at once: some are known only when
// the tender has looked.
func (g *backlogs) makeRoomLocked(b *batch, l *backlog, bounds sessions.Bounds, size int64) (dropped int) {
	const most = 64
	for dropped < most && len(l.front) > 0 && l.exceeds(bounds, tally{1, size}) {
		b.drop(l.number, g.popLocked(l).pos)
		dropped++
	}
	if dropped > 0 {
		g.refillLocked(l)
	}
	return dropped
}

// takeLocked counts an entry out that goes for another reason than its age in the queue.
func (g *backlogs) takeLocked(l *backlog, pos, size int64) {
	if pos <= l.floor {
		return
	}
	if l.busy {
		if _, again := l.gone[pos]; again {
			return
		}
		l.gone[pos] = size
	}
	if l.loaded && pos <= l.end {
		i := sort.Search(len(l.front), func(i int) bool { return l.front[i].pos >= pos })
		if i < len(l.front) && l.front[i].pos == pos {
			l.bytes -= l.front[i].size
			l.front = append(l.front[:i], l.front[i+1:]...)
			g.fronts--
			g.refillLocked(l)
		}
		return
	}
	l.rest.take(1, size)
}

// advanceLocked counts the entries up to a position out.
func (g *backlogs) advanceLocked(l *backlog, acked int64) {
	l.floor = max(l.floor, acked)
	for len(l.front) > 0 && l.front[0].pos <= l.floor {
		g.popLocked(l)
	}
	if l.loaded && l.rest.count > 0 && l.floor > l.end {
		g.tendLocked(l)
	}
	g.refillLocked(l)
}

// reach gives after which position a queue is to be read, given one, and the batch to wait for to see all of it. ends: there is
// nothing, which is known.
func (g *backlogs) reach(n sessions.Number, after int64) (from int64, last *batch, ends bool) {
	g.seq.mu.Lock()
	defer g.seq.mu.Unlock()
	l := g.byNumber[n]
	if l == nil {
		return max(after, g.seq.floors[n]), nil, false
	}
	from = max(after, l.floor)
	return from, l.last, l.tail != 0 && l.tail <= from
}

// sizeAfter gives what a queue has if that is known and all of it comes after a position.
func (g *backlogs) sizeAfter(n sessions.Number, after int64) (t tally, known bool) {
	g.seq.mu.Lock()
	defer g.seq.mu.Unlock()
	l := g.byNumber[n]
	if l == nil || !l.loaded || l.floor > after || len(l.front) == 0 || l.front[0].pos <= after {
		return t, false
	}
	return tally{l.count(), l.size()}, true
}

// sizes gives the sizes of entries that are known, and the positions of those which are counted and not known.
func (g *backlogs) sizes(n sessions.Number, positions []int64) (sizes map[int64]int64, unknown []int64) {
	g.seq.mu.Lock()
	defer g.seq.mu.Unlock()
	sizes = map[int64]int64{}
	l := g.byNumber[n]
	if l == nil || !l.loaded && !l.busy {
		return sizes, nil
	}
	for _, pos := range positions {
		i := sort.Search(len(l.front), func(i int) bool { return l.front[i].pos >= pos })
		switch {
		case i < len(l.front) && l.front[i].pos == pos:
			sizes[pos] = l.front[i].size
		case pos > l.floor && (l.busy || pos > l.end):
			unknown = append(unknown, pos)
		}
	}
	return sizes, unknown
}
