// Package backlogs is what a store knows of its queues in memory: how much is in each of those that were used last, which bounds
// need, and whether it is time to sweep.
//
// Nothing is read to add to a queue. A new backlog counts from 0; what was there before is added by the store's tender, which
// reads in the background what [Shelf.Next] gives it. Of each queue the oldest entries are known one by one, so that they can be
// dropped when it is full, and those behind them as numbers.
//
// Nothing here is safe for concurrent use: a store guards its shelf with the lock of the order in which queues change.
package backlogs

import (
	"container/list"
	"sort"

	"github.com/magpie-im/magpie/broker/sessions"
)

// Entry is an entry of a queue, and what it counts for in Bounds.
type Entry struct {
	Pos  uint64
	Size int64
}

// Tally is a number of entries.
type Tally struct{ Count, Bytes int64 }

// Add counts an entry.
func (t *Tally) Add(size int64) { t.Count, t.Bytes = t.Count+1, t.Bytes+size }

// Plus gives what two tallies are together.
func (t Tally) Plus(more Tally) Tally { return Tally{t.Count + more.Count, t.Bytes + more.Bytes} }

// Take never goes below nothing: some of what goes is not known for sure to have been counted.
func (t *Tally) Take(gone Tally) {
	t.Count, t.Bytes = max(0, t.Count-gone.Count), max(0, t.Bytes-gone.Bytes)
}

// Queue is how much is in one queue, as far as it is known. X is what a store has to know besides.
type Queue[X any] struct {
	Number sessions.Number
	Tail   uint64 // position of the last entry that was added; 0: none was
	Floor  uint64 // every entry up to here is finished, or was dropped
	More   X

	Loaded bool // Front and Rest have all that is in the queue; else what was added since
	Front  []Entry
	End    uint64 // Front has all entries up to here
	Rest   Tally  // entries after End

	Busy bool             // the tender reads it
	Gone map[uint64]int64 // what was taken out meanwhile: position and size

	shelf  *Shelf[X]
	place  *list.Element // in shelf.recent
	queued bool          // the tender is to look after it
	bytes  int64         // of Front
}

// Total is all that is known to be in the queue.
func (q *Queue[X]) Total() Tally {
	return Tally{int64(len(q.Front)) + q.Rest.Count, q.bytes + q.Rest.Bytes}
}

// Exceeds says whether the queue has more than b allows, with something more.
func (q *Queue[X]) Exceeds(b sessions.Bounds, more Tally) bool {
	t := q.Total().Plus(more)
	return b.Count > 0 && t.Count > int64(b.Count) || b.Bytes > 0 && t.Bytes > b.Bytes
}

// EndsAt says whether it is known that there is nothing after a position.
func (q *Queue[X]) EndsAt(after uint64) bool { return q.Tail != 0 && q.Tail <= after }

// After gives what is in the queue if that is known and all of it comes after a position.
func (q *Queue[X]) After(after uint64) (t Tally, known bool) {
	if !q.Loaded || q.Floor > after || len(q.Front) == 0 || q.Front[0].Pos <= after {
		return t, false
	}
	return q.Total(), true
}

// Find gives the place of an entry in Front.
func (q *Queue[X]) Find(pos uint64) (i int, found bool) {
	i = sort.Search(len(q.Front), func(i int) bool { return q.Front[i].Pos >= pos })
	return i, i < len(q.Front) && q.Front[i].Pos == pos
}

// Add counts an entry at the end. It says whether it is in Front; else it is in Rest.
func (q *Queue[X]) Add(pos uint64, size int64) (listed bool) {
	q.Tail = pos
	if q.Loaded && q.Rest.Count == 0 && len(q.Front) < q.shelf.FrontLimit() {
		q.list(Entry{pos, size})
		q.End = pos
		return true
	}
	q.Rest.Add(size)
	return false
}

func (q *Queue[X]) list(e Entry) {
	q.Front = append(q.Front, e)
	q.bytes += e.Size
	q.shelf.fronts++
}

// List adds entries that were read to Front, but for those that were taken out meanwhile, and gives how many it has added.
func (q *Queue[X]) List(entries []Entry) (listed Tally) {
	for _, e := range entries {
		if _, is := q.Gone[e.Pos]; !is {
			q.list(e)
			listed.Add(e.Size)
		}
	}
	return listed
}

// Unlist forgets what is in Front.
func (q *Queue[X]) Unlist() {
	q.shelf.fronts -= len(q.Front)
	q.Front, q.bytes = nil, 0
}

// pop takes the first entries out of Front. What it gives is good until the queue changes.
func (q *Queue[X]) pop(n int) []Entry {
	first := q.Front[:n]
	q.Front = q.Front[n:]
	for _, e := range first {
		q.bytes -= e.Size
	}
	q.shelf.fronts -= n
	return first
}

// refill has more of the queue read if hardly any of it is known.
func (q *Queue[X]) refill() {
	if q.Loaded && q.Rest.Count > 0 && len(q.Front) < q.shelf.FrontLimit()/4 {
		q.shelf.Tend(q)
	}
}

// mostDropped is how many entries are dropped for one.
const mostDropped = 64

// MakeRoom drops the oldest entries for one more. It may not find all of them at once: some are known only when the tender has
// looked. What it gives is good until the queue changes.
func (q *Queue[X]) MakeRoom(bounds sessions.Bounds, size int64) (dropped []Entry) {
	n := 0
	more := Tally{1, size}
	for n < min(mostDropped, len(q.Front)) && q.Exceeds(bounds, more) {
		more.Count, more.Bytes = more.Count-1, more.Bytes-q.Front[n].Size
		n++
	}
	if n == 0 {
		return nil
	}
	dropped = q.pop(n)
	q.refill()
	return dropped
}

// Take counts an entry out that goes for another reason than its age in the queue.
func (q *Queue[X]) Take(pos uint64, size int64) {
	if pos <= q.Floor {
		return
	}
	if q.Busy {
		if _, again := q.Gone[pos]; again {
			return
		}
		q.Gone[pos] = size
	}
	if !q.Loaded || pos > q.End {
		q.Rest.Take(Tally{1, size})
		return
	}
	if i, found := q.Find(pos); found {
		q.bytes -= q.Front[i].Size
		q.Front = append(q.Front[:i], q.Front[i+1:]...)
		q.shelf.fronts--
		q.refill()
	}
}

// TakeGone counts out of Rest what was taken out while the queue was read, if it lies behind Front.
func (q *Queue[X]) TakeGone() {
	for pos, size := range q.Gone {
		if pos > q.End {
			q.Rest.Take(Tally{1, size})
		}
	}
}

// Advance counts the entries up to a position out, and gives those of them that were known one by one. What it gives is good
// until the queue changes.
func (q *Queue[X]) Advance(floor uint64) (finished []Entry) {
	q.Floor = max(q.Floor, floor)
	n := sort.Search(len(q.Front), func(i int) bool { return q.Front[i].Pos > q.Floor })
	finished = q.pop(n)
	if q.Loaded && q.Rest.Count > 0 && q.Floor > q.End {
		q.shelf.Tend(q)
	}
	q.refill()
	return finished
}
