package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

func (st sessionStore) Room(ctx context.Context) error {
	s := st.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.seq.room(ctx)
}

func (st sessionStore) Last() uint64 {
	st.seq.mu.Lock()
	defer st.seq.mu.Unlock()
	return st.seq.position
}

// positionBlock is how many positions are noted as used at once. After a start up to that many are left out.
const positionBlock = 1 << 16

// loadPosition finds where the order of positions goes on.
func (s *Store) loadPosition() error {
	value, closer, err := s.db.Get([]byte{byte(tablePositions)})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return unavailable("read positions", err)
	}
	n, err := cutNumber(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return unavailable("read positions", err)
	}
	s.seq.position, s.seq.reserved = n, n
	s.seq.reached.Store(n)
	return nil
}

// written is a step ready to be put into a batch.
type written struct {
	*sessions.Step
	stamp    sessions.Stamp
	from, to int // of the content in the buffer
	origin   origin
}

// origin is what a step came out of.
type origin struct {
	put, value []byte // a row that comes
	remove     []byte // a row that goes
	undelays   bool   // that of a delayed message
	move       sessions.MoveOrigin
}

// writing is what one Append needs; it is used again.
type writing struct {
	content []byte
	steps   []written
}

var writings = sync.Pool{New: func() any { return new(writing) }}

func (w *writing) release() {
	const keep = 1 << 20
	if cap(w.content) > keep {
		w.content = nil
	}
	clear(w.steps)
	w.content, w.steps = w.content[:0], w.steps[:0]
	writings.Put(w)
}

// add prepares a step, without any lock.
func (w *writing) add(step *sessions.Step) (err error) {
	s := written{Step: step, stamp: sessions.StampOf(step.Message), from: len(w.content)}
	w.content = appendContent(w.content, step.Message)
	s.to = len(w.content)
	if s.origin, err = originOf(step.Origin); err != nil {
		return err
	}
	w.steps = append(w.steps, s)
	return nil
}

func originOf(from any) (o origin, err error) {
	switch from := from.(type) {
	case nil:
	case sessions.DelayedOrigin:
		o.remove, o.undelays = delayedKey(sessions.Millis(from.Due), from.Pos), true
	case sessions.MoveOrigin:
		o.move = from
	case sessions.ReplayOrigin:
		key := replayKey(from.Key, from.Replay.ID)
		if from.Done {
			o.remove = key
		} else {
			o.put, o.value = key, encode(replayRowOf(from.Replay))
		}
	default:
		row, err := originKey(from)
		if err != nil {
			return o, err
		}
		if row.remove {
			o.remove = row.key
		} else {
			o.put = row.key
		}
	}
	return o, nil
}

func (st sessionStore) Append(bounds sessions.Bounds, steps ...sessions.Step) (sessions.Appended, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return sessions.Appended{}, err
	}
	defer s.leave()
	if err := s.health.writable(); err != nil {
		return sessions.Appended{}, err
	}
	w, ok := writings.Get().(*writing)
	if !ok {
		panic("pool gave something else")
	}
	defer w.release()
	for i := range steps {
		if err := w.add(&steps[i]); err != nil {
			return sessions.Appended{}, err
		}
	}
	a, err := s.appendSteps(bounds, w)
	if err != nil {
		return a, err
	}
	s.counts.appended.Add(float64(len(steps)))
	if a.Dropped > 0 {
		s.counts.dropped.Add(float64(a.Dropped))
	}
	return a, nil
}

func (s *Store) appendSteps(bounds sessions.Bounds, w *writing) (a sessions.Appended, err error) {
	q := s.seq
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return a, errClosed
	}
	if bounds.Refuse && !s.fitLocked(bounds, w.steps) {
		return a, sessions.ErrQueueFull
	}
	c := q.openLocked()
	a.First, a.Commit = q.position+1, c
	for i := range w.steps {
		q.position++
		a.Dropped += s.putStepLocked(c, bounds, &w.steps[i], w.content)
	}
	if q.position > q.reserved {
		q.reserved = q.position + positionBlock
		put(c.batch, []byte{byte(tablePositions)}, binary.BigEndian.AppendUint64(nil, q.reserved))
	}
	return a, q.joinedLocked()
}

// putStepLocked writes a step at the last position.
func (s *Store) putStepLocked(c *commit, bounds sessions.Bounds, w *written, contents []byte) (dropped int) {
	b, pos, content := c.batch, s.seq.position, contents[w.from:w.to]
	shared := len(w.To) > 1
	for _, t := range w.To {
		if bounds.Bytes > 0 && w.stamp.Size > bounds.Bytes {
			dropped++ // has no room in the emptiest queue
			continue
		}
		l := s.backlogLocked(t.Number)
		over := l.MakeRoom(bounds, w.stamp.Size)
		removeEntries(b, t.Number, over)
		dropped += len(over)
		kind := byte(entryInline)
		if shared {
			kind = entryReference
		}
		putEntry(b, pos, kind, t, w.stamp, content)
		c.countLocked(l, pos, w.stamp.Size)
	}
	if shared {
		put(b, contentKey(pos), content)
		s.contents.add(pos, w.Message)
		s.wroteContentLocked(len(content))
	}
	if w.Retain {
		s.retained.putLocked(b, pos, w, content)
	}
	if !w.Due.IsZero() {
		value := appendStamp(make([]byte, 0, len(content)+32), w.stamp)
		put(b, delayedKey(sessions.Millis(w.Due), pos), append(value, content...))
		s.delayed.Add(1)
	}
	s.putStepOriginLocked(b, w)
	return dropped
}

// putEntry writes a row of a queue.
func putEntry(b *pebble.Batch, pos uint64, kind byte, t sessions.Target, s sessions.Stamp, content []byte) {
	var scratch [128]byte
	head := appendEntry(scratch[:0], kind, t, s)
	if kind != entryInline {
		content = nil
	}
	op := b.SetDeferred(queueKeySize, len(head)+len(content))
	appendQueueKey(op.Key[:0], t.Number, pos)
	copy(op.Value[copy(op.Value, head):], content)
	if err := op.Finish(); err != nil {
		panic(err)
	}
}

func (s *Store) putStepOriginLocked(b *pebble.Batch, w *written) {
	o := &w.origin
	if o.put != nil {
		put(b, o.put, o.value)
	}
	if o.remove != nil {
		remove(b, o.remove)
	}
	if o.undelays {
		s.delayed.Add(-1)
	}
	if o.move != (sessions.MoveOrigin{}) {
		removeEntry(b, o.move.Number, o.move.Pos)
		if l := s.backlogs.Known(o.move.Number); l != nil {
			l.Take(o.move.Pos, w.stamp.Size)
		}
	}
}

// fitLocked says whether every queue has room for what steps add to it.
func (s *Store) fitLocked(bounds sessions.Bounds, steps []written) bool {
	if len(steps) == 1 {
		for _, t := range steps[0].To {
			if s.backlogLocked(t.Number).Exceeds(bounds, backlogs.Tally{Count: 1, Bytes: steps[0].stamp.Size}) {
				return false
			}
		}
		return true
	}
	more := backlogs.Additions{}
	for _, w := range steps {
		for _, t := range w.To {
			if s.backlogLocked(t.Number).Exceeds(bounds, more.Add(t.Number, w.stamp.Size)) {
				return false
			}
		}
	}
	return true
}

func (st sessionStore) Queue(
	ctx context.Context, n sessions.Number, after uint64, limit int, age time.Duration,
) ([]sessions.Entry, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	// Positions are durable in their order: what is not durable yet is left out, and waited for only if there is nothing
	// else to show.
	if s.endsAt(n, after) {
		return nil, nil
	}
	reached := s.seq.reached.Load()
	out, err := s.entries(n, after, reached, limit, age)
	if len(out) > 0 || err != nil {
		return out, err
	}
	if last := s.lastCommit(n); last != nil {
		if err := last.Wait(ctx); err != nil {
			return nil, err
		}
	}
	if now := s.seq.reached.Load(); now > reached {
		return s.entries(n, max(after, reached), now, limit, age)
	}
	return nil, nil
}

// endsAt says whether it is known that a queue has nothing after a position.
func (s *Store) endsAt(n sessions.Number, after uint64) bool {
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	l := s.backlogs.Known(n)
	return l != nil && l.EndsAt(after)
}

// lastCommit gives what to wait for to see all of a queue; nil: nothing.
func (s *Store) lastCommit(n sessions.Number) *commit {
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if l := s.backlogs.Known(n); l != nil {
		return l.More.last
	}
	return nil
}

// entries reads a queue.
func (s *Store) entries(n sessions.Number, after, until uint64, limit int, age time.Duration) ([]sessions.Entry, error) {
	if after >= until {
		return nil, nil
	}
	var out []sessions.Entry
	_, before := sessions.Overdue(s.cfg.Clock(), age)
	from, to := queueRange(n, after, until)
	err := s.scan(from, to, "queue", func(key, value []byte) (bool, error) {
		_, pos, err := parseQueueKey(key)
		if err != nil {
			return false, err
		}
		h, content, err := parseEntry(value, true)
		if err != nil {
			return false, err
		}
		if h.stamp.Time < before {
			return true, nil
		}
		e := sessions.Entry{Pos: pos, Target: h.target(n)}
		if h.kind == entryReference {
			e.Message, err = s.content(pos, h.stamp)
		} else {
			e.Message, err = parseContent(content, h.stamp)
		}
		if errors.Is(err, pebble.ErrNotFound) {
			return true, nil // it was removed since, and its content swept
		}
		out = append(out, e)
		return len(out) < limit, err
	})
	return out, err
}

// content reads what several queues share.
func (s *Store) content(pos uint64, h sessions.Stamp) (*sessions.Message, error) {
	if m := s.contents.get(pos); m != nil {
		return m, nil
	}
	value, closer, err := s.db.Get(contentKey(pos))
	if err != nil {
		return nil, fmt.Errorf("content at %d: %w", pos, err)
	}
	m, err := parseContent(value, h)
	if err = errors.Join(err, closer.Close()); err != nil {
		return nil, err
	}
	s.contents.add(pos, m)
	return m, nil
}

func (st sessionStore) QueueSize(
	ctx context.Context, n sessions.Number, after uint64,
) (count int, bytes int64, oldest time.Time, err error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return 0, 0, time.Time{}, err
	}
	defer s.leave()
	if last := s.lastCommit(n); last != nil {
		if err := last.Wait(ctx); err != nil {
			return 0, 0, time.Time{}, err
		}
	}
	total, known := s.sizeAfter(n, after)
	from, to := queueRange(n, after, s.seq.reached.Load())
	err = s.scan(from, to, "queue", func(_, value []byte) (bool, error) {
		h, _, err := parseEntry(value, false)
		if err != nil {
			return false, err
		}
		if count == 0 {
			oldest = sessions.TimeOf(h.stamp.Time)
		}
		count++
		bytes += h.stamp.Size
		return !known && (count%1024 != 0 || ctx.Err() == nil), nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if known && count > 0 && err == nil {
		count, bytes = int(total.Count), total.Bytes
	}
	return count, bytes, oldest, err
}

// sizeAfter gives what a queue has if that is known and all of it comes after after.
func (s *Store) sizeAfter(n sessions.Number, after uint64) (t backlogs.Tally, known bool) {
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if l := s.backlogs.Known(n); l != nil {
		return l.After(after)
	}
	return t, false
}

func (st sessionStore) Remove(ctx context.Context, n sessions.Number, positions []uint64) error {
	s := st.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	sizes := make([]int64, len(positions))
	for i, pos := range positions {
		var err error
		if sizes[i], err = s.entrySize(n, pos); err != nil {
			return err
		}
	}
	_, err := s.seq.joinAnyway(ctx, func(c *commit) {
		l := s.backlogs.Known(n)
		for i, pos := range positions {
			if sizes[i] < 0 {
				continue
			}
			removeEntry(c.batch, n, pos)
			if l != nil {
				l.Take(pos, sizes[i])
			}
		}
	})
	return err
}

// entrySize is -1 if there is no such entry.
func (s *Store) entrySize(n sessions.Number, pos uint64) (int64, error) {
	value, closer, err := s.db.Get(queueKey(n, pos))
	if errors.Is(err, pebble.ErrNotFound) {
		return -1, nil
	}
	if err != nil {
		return 0, unavailable("read entry", err)
	}
	h, _, err := parseEntry(value, false)
	if err = errors.Join(err, closer.Close()); err != nil {
		return 0, unavailable("read entry", err)
	}
	return h.stamp.Size, nil
}

func (st sessionStore) FlyQueue(
	ctx context.Context, k sessions.Key, flights []sessions.Flight,
) (sessions.Commit, error) {
	return st.fly(ctx, tableQueueFlights, k, flights)
}

func (st sessionStore) AdvanceQueue(ctx context.Context, k sessions.Key, n sessions.Number, acked uint64) error {
	s := st.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	landed, err := st.landedFlights(ctx, tableQueueFlights, k, acked)
	if err != nil {
		return err
	}
	cursor := sessionKey(tableQueueAcked, k)
	value := binary.BigEndian.AppendUint64(make([]byte, 0, 8), acked)
	_, err = s.seq.joinAnyway(ctx, func(c *commit) {
		for _, pos := range landed {
			remove(c.batch, flightKey(tableQueueFlights, k, pos))
		}
		put(c.batch, cursor, value)
		if n != 0 {
			removeEntries(c.batch, n, s.backlogLocked(n).Advance(acked))
		}
	})
	return err
}

// contentCache has the messages of the last steps that went to several queues: all of them are about to read them.
type contentCache struct {
	mu    sync.Mutex
	room  int64
	byPos map[uint64]*sessions.Message
	order []uint64
}

func newContentCache(room int64) *contentCache {
	return &contentCache{room: room, byPos: map[uint64]*sessions.Message{}}
}

// messageWeight is what a message takes besides its content.
const messageWeight = 512

func (c *contentCache) add(pos uint64, m *sessions.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPos[pos] != nil {
		return
	}
	c.byPos[pos] = m
	c.order = append(c.order, pos)
	for c.room -= m.Size() + messageWeight; c.room < 0; {
		c.room += c.byPos[c.order[0]].Size() + messageWeight
		delete(c.byPos, c.order[0])
		c.order = c.order[1:]
	}
}

func (c *contentCache) get(pos uint64) *sessions.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byPos[pos]
}
