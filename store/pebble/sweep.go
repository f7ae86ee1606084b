package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/broker/sessions"
)

// A sweep removes what nobody will read any more: entries of queues that have expired or are too old, content that no queue
// refers to, and retained messages that have expired. References to content are not counted when they come and go: a
// sweep reads all queues, as of one moment, and what they do not refer to then is never referred to again.

const (
	// sweepSlice is how many rows are looked at before others get their turn.
	sweepSlice = 1024
	// manySwept is from where on neighbouring content is removed as a range.
	manySwept = 256
)

// Sweep removes what nobody will read any more, which happens from time to time anyway, and waits for the end of it.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.tender.sweeps.Ask(ctx, errClosed)
}

// run is the tender's goroutine.
func (t *tender) run(ctx context.Context) {
	defer t.sweeps.End()
	t.complain(ctx, t.countRetained(ctx))
	timer := time.NewTimer(min(t.cfg.SweepEvery, time.Minute))
	defer timer.Stop()
	for ctx.Err() == nil && t.health.err() == nil {
		sweep := false
		select {
		case <-ctx.Done():
		case <-t.health.failed:
		case r := <-t.sweeps.Asked():
			r.Done(t.sweep(ctx))
		case <-timer.C:
			sweep = true
		case <-t.backlogs.Wake():
			t.complain(ctx, t.tend(ctx))
			sweep = t.isSweepDue()
		}
		if sweep {
			t.complain(ctx, t.sweep(ctx))
			timer.Reset(t.cfg.SweepEvery)
		}
	}
}

func (t *tender) complain(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && t.health.err() == nil {
		t.log.Error("queues cannot be looked after", "err", err)
	}
}

func (t *tender) isSweepDue() bool {
	t.seq.mu.Lock()
	defer t.seq.mu.Unlock()
	return t.pace.IsDue()
}

// wroteContentLocked counts content that has to be swept one day.
func (s *Store) wroteContentLocked(size int) {
	if s.pace.Wrote(int64(size)) {
		s.backlogs.WakeTender()
	}
}

// moment gives a snapshot that has all that was given a place.
func (t *tender) moment(ctx context.Context, and func()) (*pebble.Snapshot, error) {
	if err := t.seq.place(ctx); err != nil {
		return nil, err
	}
	t.seq.mu.Lock()
	defer t.seq.mu.Unlock()
	if err := t.seq.showLocked(); err != nil {
		return nil, err
	}
	and()
	return t.db.NewSnapshot(), nil
}

func (t *tender) sweep(ctx context.Context) error {
	var until uint64
	var written int64
	snapshot, err := t.moment(ctx, func() { until, written = t.seq.position, t.pace.Written() })
	if err != nil {
		return err
	}
	used := bitmap{}
	err = t.sweepQueues(ctx, snapshot, used)
	live := int64(0)
	if err == nil {
		live, err = t.sweepContents(ctx, snapshot, used, until)
	}
	if err = errors.Join(err, snapshot.Close()); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	t.seq.mu.Lock()
	t.pace.Swept(written, live)
	t.seq.mu.Unlock()
	if err := t.sweepRetained(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	t.counts.sweeps.Inc()
	return nil
}

// bitmap is a set of positions, which lie close to each other.
type bitmap map[uint64]*[64]uint64

func (m bitmap) add(pos uint64) {
	block := m[pos>>12]
	if block == nil {
		block = new([64]uint64)
		m[pos>>12] = block
	}
	block[pos>>6&63] |= 1 << (pos & 63)
}

func (m bitmap) has(pos uint64) bool {
	block := m[pos>>12]
	return block != nil && block[pos>>6&63]&(1<<(pos&63)) != 0
}

// each calls visit for all rows of a table, and gives others their turn in between.
func (t *tender) each(
	ctx context.Context, r pebble.Reader, from, to []byte, visit func(key, value []byte) error,
) error {
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	n := 0
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		if n++; n%sweepSlice == 0 {
			if err = errors.Join(ctx.Err(), t.tend(ctx)); err != nil {
				break
			}
		}
		var value []byte
		if value, err = iter.ValueAndErr(); err == nil {
			err = visit(iter.Key(), value)
		}
	}
	return errors.Join(err, iter.Error(), iter.Close())
}

// overdueEntry is an entry that a sweep removes.
type overdueEntry struct {
	number sessions.Number
	pos    uint64
	size   int64
}

// sweepQueues removes entries that are over, and notes which content the others refer to.
func (t *tender) sweepQueues(ctx context.Context, r pebble.Reader, used bitmap) error {
	now, before := sessions.Overdue(t.cfg.Clock(), t.cfg.QueueAge)
	var over []overdueEntry
	flush := func() error {
		if len(over) == 0 {
			return nil
		}
		_, err := t.seq.joinAnyway(ctx, func(c *commit) {
			for _, e := range over {
				removeEntry(c.batch, e.number, e.pos)
				if l := t.backlogs.Known(e.number); l != nil {
					l.Take(e.pos, e.size)
				}
			}
		})
		t.counts.swept.Add(float64(len(over)))
		over = over[:0]
		return err
	}
	from := []byte{byte(tableQueues)}
	err := t.each(ctx, r, from, prefixEnd(from), func(key, value []byte) error {
		n, pos, err := parseQueueKey(key)
		if err != nil {
			return err
		}
		h, _, err := parseEntry(value, false)
		if err != nil {
			return err
		}
		if h.stamp.IsOver(now-sessions.ExpiryGrace.Milliseconds(), before) {
			if over = append(over, overdueEntry{n, pos, h.stamp.Size}); len(over) == sweepSlice {
				return flush()
			}
			return nil
		}
		if h.kind == entryReference {
			used.add(pos)
		}
		return nil
	})
	return errors.Join(err, flush())
}

// sweepContents removes content that is not used, and gives the size of the rest.
func (t *tender) sweepContents(ctx context.Context, r pebble.Reader, used bitmap, until uint64) (live int64, err error) {
	var run []uint64 // positions of neighbours that go
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		_, err := t.seq.joinAnyway(ctx, func(c *commit) {
			if len(run) < manySwept {
				for _, pos := range run {
					remove(c.batch, contentKey(pos))
				}
				return
			}
			if err := c.batch.DeleteRange(contentKey(run[0]), append(contentKey(run[len(run)-1]), 0), nil); err != nil {
				panic(err)
			}
		})
		t.counts.swept.Add(float64(len(run)))
		run = run[:0]
		return err
	}
	to := append(contentKey(until), 0)
	err = t.each(ctx, r, []byte{byte(tableContents)}, to, func(key, value []byte) error {
		if len(key) != contentKeySize {
			return errKey
		}
		pos := binary.BigEndian.Uint64(key[1:])
		if used.has(pos) {
			live += int64(len(value))
			return flush()
		}
		if run = append(run, pos); len(run) == 64*sweepSlice {
			return flush()
		}
		return nil
	})
	return live, errors.Join(err, flush())
}

// sweepRetained removes retained messages that have expired, a slice at a time: those that were replaced while the slice
// was read stay.
func (t *tender) sweepRetained(ctx context.Context) error {
	from := []byte{byte(tableRetained)}
	for len(from) > 0 {
		if err := errors.Join(ctx.Err(), t.tend(ctx)); err != nil {
			return err
		}
		var err error
		if from, err = t.sweepRetainedSlice(ctx, from); err != nil {
			return err
		}
	}
	return nil
}

// sweepRetainedSlice gives where the next slice begins; nothing: there is none.
func (t *tender) sweepRetainedSlice(ctx context.Context, from []byte) (next []byte, err error) {
	snapshot, err := t.moment(ctx, func() { t.retained.touched = map[uint64]struct{}{} })
	if err != nil {
		return nil, err
	}
	defer func() {
		t.seq.mu.Lock()
		defer t.seq.mu.Unlock()
		t.retained.touched = nil
	}()
	iter, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{byte(tableRetained) + 1}})
	if err != nil {
		return nil, errors.Join(err, snapshot.Close())
	}
	now := t.cfg.Clock().UnixMilli()
	var over [][]byte
	n := 0
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		if n++; n > sweepSlice {
			next = append(next, iter.Key()...)
			break
		}
		var value []byte
		if value, err = iter.ValueAndErr(); err == nil {
			var gone bool
			if gone, err = retainedIsOver(value, now); gone {
				over = append(over, append([]byte(nil), iter.Key()...))
			}
		}
	}
	if err = errors.Join(err, iter.Error(), iter.Close(), snapshot.Close()); err != nil || len(over) == 0 {
		return next, err
	}
	_, err = t.seq.joinAnyway(ctx, func(c *commit) {
		for _, key := range over {
			hash := maphash.Bytes(t.retained.seed, key[1:])
			if _, is := t.retained.touched[hash]; !is {
				remove(c.batch, key)
				t.retained.deleteLocked(hash)
			}
		}
	})
	t.counts.swept.Add(float64(len(over)))
	return next, err
}

func retainedIsOver(value []byte, now int64) (bool, error) {
	c := cutter{row: value}
	c.uvarint()
	s := c.stamp()
	if c.bad {
		return false, fmt.Errorf("retained message: %w", ErrDamaged)
	}
	return s.HasExpired(now), nil
}
