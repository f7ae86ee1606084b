package sessions

// seatQueue are lines of one class that wait in a seat, in the order in which they were offered.
type seatQueue struct {
	list  []seatLine
	first int // in list
	bytes int
}

type seatLine struct {
	order uint64
	line  *Line
}

func (l *Line) size() int { return len(l.Payload) + lineStored }

func (q *seatQueue) len() int { return len(q.list) - q.first }

func (q *seatQueue) front() seatLine { return q.list[q.first] }

func (q *seatQueue) push(order uint64, line *Line) {
	q.list = append(q.list, seatLine{order, line})
	q.bytes += line.size()
}

// replace puts a line in the place of the one with its key. It says whether there was one, and how much more there is.
func (q *seatQueue) replace(line *Line) (grown int, ok bool) {
	for i := q.first; i < len(q.list); i++ {
		if old := q.list[i].line; old.Key == line.Key {
			grown = line.size() - old.size()
			q.bytes += grown
			q.list[i].line = line
			return grown, true
		}
	}
	return 0, false
}

func (q *seatQueue) pop() {
	q.bytes -= q.front().line.size()
	q.list[q.first] = seatLine{}
	q.first++
	switch {
	case q.first == len(q.list):
		q.list, q.first = q.list[:0], 0
		if cap(q.list) > 8 {
			q.list = nil
		}
	case q.first >= 64 && 2*q.first >= len(q.list):
		n := copy(q.list, q.list[q.first:])
		clear(q.list[n:])
		q.list, q.first = q.list[:n], 0
	}
}
