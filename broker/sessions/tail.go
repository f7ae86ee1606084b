package sessions

import "sync"

// tail is the end of a session's queue in memory: what has been published since its connection is there, so that a client
// that keeps up is served without reading from the store. Of a session that ends with its connection it is the whole queue.
// Safe for concurrent use; its lock is taken last.
type tail struct {
	whole bool // there is no more of the queue in a store
	count int  // how many entries there may be
	bytes int  // and how large

	mu      sync.Mutex
	entries fifo[tailEntry] // guarded by mu, as all below; sorted by pos
	size    int             // bytes of entries
	from    uint64          // everything after this position is in entries
}

// tailEntry is a message in a tail.
type tailEntry struct {
	pos    uint64
	needs  uint64 // the position that has to be durable before anybody sees it
	qos    byte
	retain bool
	ids    []int
	m      *Message
}

// Bounds of a tail whose queue is stored.
const (
	tailCount = 1024
	tailBytes = 256 << 10
)

// push adds an entry, whose position is after all others; for a whole tail, that is given here. If there are too many,
// the oldest goes, which is stored; of a whole tail none may go: ok is false, and nothing was added.
func (q *tail) push(e tailEntry) (ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.entries.len()
	over := n >= q.count || n > 0 && q.size+e.m.weight() > q.bytes
	if q.whole {
		if over {
			return false
		}
		e.pos = q.from + uint64(n) + 1
	} else {
		for ; over; over = q.entries.len() > 0 && q.size+e.m.weight() > q.bytes {
			q.dropLocked()
		}
	}
	q.entries.push(e)
	q.size += e.m.weight()
	return true
}

// dropLocked takes the first entry out.
func (q *tail) dropLocked() {
	e := q.entries.front()
	q.from = e.pos
	q.size -= e.m.weight()
	q.entries.pop(64)
}

// start says that everything after a position will be pushed, and nothing before it is wanted from here.
func (q *tail) start(from uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries, q.size, q.from = fifo[tailEntry]{}, 0, from
}

// covers says whether everything after a position is here.
func (q *tail) covers(read uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.from <= read
}

// pull takes out what comes after read and is durable, if the tail covers that, and appends it to into: up to limit
// entries, and not much more than so many bytes.
func (q *tail) pull(read, durable uint64, limit, bytes int, into []Delivery) []Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.from > read {
		return into
	}
	for q.entries.len() > 0 && len(into) < limit && bytes > 0 {
		e := q.entries.front()
		if e.needs > durable {
			break
		}
		if e.pos > read {
			into = append(into, Delivery{
				Pos: e.pos, QoS: e.qos, Retain: e.retain, IDs: e.ids, Message: e.m, Expires: e.m.Expires,
			})
			bytes -= e.m.weight()
		}
		q.dropLocked()
	}
	return into
}

// skip moves read to the beginning of the tail, because the store has nothing between the two. That is certain when
// everything before the tail was durable before the store was asked. It says whether read was moved.
func (q *tail) skip(read *uint64, durable uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if *read >= q.from || durable < q.from {
		return false
	}
	*read = q.from
	return true
}

// weight is what a message counts for in a tail, where it takes memory.
func (m *Message) weight() int { return int(m.Size()) + 64 }

// pullLocked takes from the tail what comes next for the session's queue.
func (l *Link) pullLocked(s *feed) {
	if !s.queued || !s.behind || len(s.ahead) > 0 {
		return
	}
	s.ahead = l.tail.pull(s.read, l.registry.durable.Load(), chunk, aheadBytes, s.ahead)
	if cap(s.ahead) <= 4 {
		s.spare = s.ahead[:0]
	}
	if n := len(s.ahead); n > 0 {
		s.read = s.ahead[n-1].Pos
	} else if l.tail.covers(s.read) {
		s.behind = false // what comes next, kicks
	}
}
