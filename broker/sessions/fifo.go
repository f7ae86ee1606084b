package sessions

// fifo is a queue in memory. Nothing is moved when its first entry is taken out, until that is most of what it holds.
type fifo[T any] struct {
	list  []T
	first int // in list
}

func (q *fifo[T]) len() int { return len(q.list) - q.first }

// all are its entries, oldest first; they are good until it changes.
func (q *fifo[T]) all() []T { return q.list[q.first:] }

// front is the oldest entry.
func (q *fifo[T]) front() *T { return &q.list[q.first] }

func (q *fifo[T]) push(entry T) { q.list = append(q.list, entry) }

// pop takes the oldest entry out. When it was the last one, room for up to keep entries stays.
func (q *fifo[T]) pop(keep int) {
	clear(q.list[q.first : q.first+1])
	q.first++
	switch {
	case q.first == len(q.list):
		q.list, q.first = q.list[:0], 0
		if cap(q.list) > keep {
			q.list = nil
		}
	case q.first >= 64 && 2*q.first >= len(q.list):
		n := copy(q.list, q.list[q.first:])
		clear(q.list[n:])
		q.list, q.first = q.list[:n], 0
	}
}
