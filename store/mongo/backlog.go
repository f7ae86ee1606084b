package mongo

import (
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

// backlog is how much is in one queue, as far as it is known. The database is not asked when something is added to a queue: what
// was there before is added by the tender in the background, if the queue has bounds. Guarded by sequencer.mu, as the shelf is.
type backlog = backlogs.Queue[appended]

// appended is what is known of what was added to a queue.
type appended struct {
	last *batch // of the last entry; nil: none was added

	// While the tender reads the queue:
	since []backlogs.Entry // what was added since, or the first of it
	later backlogs.Tally   // and what came after that
}

// maxBacklogs is how many are kept.
const maxBacklogs = 1 << 16

func newBacklogs() *backlogs.Shelf[appended] {
	return backlogs.NewShelf(maxBacklogs, func(l *backlog) bool { return l.More.last == nil || l.More.last.isThere() })
}

// backlogLocked gives the backlog of a queue.
func (q *sequencer) backlogLocked(n sessions.Number) *backlog {
	l, made := q.backlogs.Use(n)
	if made {
		l.Floor = uint64(q.floors[n])
		q.backlogs.Shrink()
	}
	return l
}

// boundLocked is backlogLocked for a queue whose size has to be known, if it has bounds.
func (q *sequencer) boundLocked(n sessions.Number, b sessions.Bounds) *backlog {
	l := q.backlogLocked(n)
	if !l.Loaded && (b.Count > 0 || b.Bytes > 0) {
		q.backlogs.Tend(l)
	}
	return l
}

// fitLocked says whether every queue has room for what steps add to it.
func (q *sequencer) fitLocked(bounds sessions.Bounds, steps []sessions.Step, docs []*publicationDoc) bool {
	more := backlogs.Additions{}
	for i := range steps {
		for _, t := range steps[i].To {
			if q.boundLocked(t.Number, bounds).Exceeds(bounds, more.Add(t.Number, docs[i].Size)) {
				return false
			}
		}
	}
	return true
}

// count counts an entry at the end of a queue.
func (b *batch) count(l *backlog, pos, size int64) {
	l.More.last = b
	if l.Busy {
		if len(l.More.since) < backlogs.MaxFront {
			l.More.since = append(l.More.since, backlogs.Entry{Pos: uint64(pos), Size: size})
		} else {
			l.More.later.Add(size)
		}
	}
	l.Add(uint64(pos), size)
}

// makeRoom drops the oldest entries of a queue for one more.
func (b *batch) makeRoom(l *backlog, bounds sessions.Bounds, size int64) (dropped int) {
	over := l.MakeRoom(bounds, size)
	if n := len(over); n > 0 {
		l.Floor = max(l.Floor, over[n-1].Pos)
		b.drop(l.Number, int64(over[n-1].Pos))
	}
	return len(over)
}

// reach gives after which position a queue is to be read, given one, and the batch to wait for to see all of it. ends: there is
// nothing, which is known.
func (q *sequencer) reach(n sessions.Number, after int64) (from int64, last *batch, ends bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.backlogs.Known(n)
	if l == nil {
		return max(after, q.floors[n]), nil, false
	}
	from = max(after, int64(l.Floor))
	return from, l.More.last, l.EndsAt(uint64(from))
}

// sizeAfter gives what a queue has if that is known and all of it comes after a position.
func (q *sequencer) sizeAfter(n sessions.Number, after int64) (t backlogs.Tally, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.backlogs.Known(n); l != nil {
		return l.After(uint64(after))
	}
	return t, false
}

// sizes gives the sizes of entries that are known, and the positions of those which are counted and not known.
func (q *sequencer) sizes(n sessions.Number, positions []int64) (sizes map[int64]int64, unknown []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	sizes = map[int64]int64{}
	l := q.backlogs.Known(n)
	if l == nil || !l.Loaded && !l.Busy {
		return sizes, nil
	}
	for _, at := range positions {
		pos := uint64(at)
		i, found := l.Find(pos)
		switch {
		case found:
			sizes[at] = l.Front[i].Size
		case pos > l.Floor && (l.Busy || pos > l.End):
			unknown = append(unknown, at)
		}
	}
	return sizes, unknown
}
