package sessions

// seatQueue are lines of one class that wait in a seat, in the order in which they were offered.
type seatQueue struct {
	fifo[seatLine]
	bytes int
}

type seatLine struct {
	order uint64
	line  *Line
}

func (l *Line) size() int { return len(l.Payload) + lineStored }

func (q *seatQueue) push(order uint64, line *Line) {
	q.fifo.push(seatLine{order, line})
	q.bytes += line.size()
}

// replace puts a line in the place of the one with its key. It says whether there was one, and how much more there is.
func (q *seatQueue) replace(line *Line) (grown int, ok bool) {
	for i := range q.all() {
		if x := &q.all()[i]; x.line.Key == line.Key {
			grown = line.size() - x.line.size()
			q.bytes += grown
			x.line = line
			return grown, true
		}
	}
	return 0, false
}

func (q *seatQueue) pop() {
	q.bytes -= q.front().line.size()
	q.fifo.pop(8)
}
