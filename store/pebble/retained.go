package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/broker/sessions"
)

// retained knows which topics have a retained message, by hashes of 64 bits, so that they can be counted without reading.
// What was there before a start is added in the background. Guarded by sequencer.mu.
type retained struct {
	seed   maphash.Seed
	topics map[uint64]struct{}
	count  atomic.Int64 // of topics; read without the lock
	// touched are the topics that have changed since the tender began to read; nil: it does not.
	touched map[uint64]struct{}
}

func newRetained() *retained {
	return &retained{seed: maphash.MakeSeed(), topics: map[uint64]struct{}{}, touched: map[uint64]struct{}{}}
}

func (r *retained) putLocked(b *pebble.Batch, pos uint64, w *written, content []byte) {
	topic := w.Message.Topic
	hash := maphash.String(r.seed, topic)
	if r.touched != nil {
		r.touched[hash] = struct{}{}
	}
	if len(w.Message.Payload) == 0 {
		r.deleteLocked(hash)
		remove(b, retainedKey(topic))
		return
	}
	r.addLocked(hash)
	value := binary.AppendUvarint(make([]byte, 0, len(content)+32), pos)
	put(b, retainedKey(topic), append(appendStamp(value, w.stamp), content...))
}

func (r *retained) addLocked(hash uint64) {
	r.topics[hash] = struct{}{}
	r.count.Store(int64(len(r.topics)))
}

func (r *retained) deleteLocked(hash uint64) {
	delete(r.topics, hash)
	r.count.Store(int64(len(r.topics)))
}

// RetainedCount is how many topics have a retained message, expired ones included until they are swept. Shortly after
// Open it may be too low.
func (s *Store) RetainedCount() int64 {
	return s.retained.count.Load()
}

// HasRetained says whether a topic has a retained message. Shortly after Open it may not know.
func (s *Store) HasRetained(topic string) bool {
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	_, has := s.retained.topics[maphash.String(s.retained.seed, topic)]
	return has
}

// retainedAt reads a row of a retained message. Its message is nil if it is over.
func retainedAt(value []byte, now int64) (r sessions.Retained, err error) {
	c := cutter{row: value}
	r.Pos = c.uvarint()
	s := c.stamp()
	if c.bad {
		return r, fmt.Errorf("retained message: %w", ErrDamaged)
	}
	if s.HasExpired(now) {
		return r, nil
	}
	r.Message, err = parseContent(c.rest(), s)
	return r, err
}

// patience is how many rows Retained looks at for each one that is asked for, before it gives back what it has.
const patience = 64

func (st sessionStore) Retained(
	ctx context.Context, filter, after string, limit int,
) ([]sessions.Retained, string, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, after, nil
	}
	// What was retained before a subscription began has to be found, durable or not: it does not come live.
	if err := s.seq.show(ctx); err != nil {
		return nil, "", err
	}
	found, next, err := s.retainedAfter(filter, after, limit)
	if err != nil {
		return nil, "", unavailable("read retained messages", err)
	}
	return found, next, s.seq.settled(ctx)
}

func (s *Store) retainedAfter(filter, after string, limit int) (found []sessions.Retained, next string, err error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{byte(tableRetained)}, UpperBound: []byte{byte(tableRetained) + 1},
	})
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, iter.Error(), iter.Close()) }()
	from, more := sessions.SeekTopic(filter, after)
	if after != "" && from <= after {
		from = after + "\x00"
	}
	ok := more && iter.SeekGE(retainedKey(from))
	now := s.cfg.Clock().UnixMilli()
	for looked := 0; ok; looked++ {
		topic := string(iter.Key()[1:])
		if !sessions.Matches(filter, topic) {
			to, more := sessions.SeekTopic(filter, topic)
			switch {
			case !more:
				return found, "", nil
			case to > topic:
				ok = iter.SeekGE(retainedKey(to))
			default:
				ok = iter.Next()
			}
		} else {
			value, err := iter.ValueAndErr()
			if err != nil {
				return found, "", err
			}
			r, err := retainedAt(value, now)
			if err != nil {
				return found, "", err
			}
			if r.Message != nil {
				found = append(found, r)
			}
			ok = iter.Next()
		}
		if ok && (len(found) == limit || looked >= patience*limit) {
			return found, topic, nil
		}
	}
	return found, "", nil
}

// countRetained adds what was there before the start.
func (t *tender) countRetained(ctx context.Context) error {
	t.seq.mu.Lock()
	snapshot := t.db.NewSnapshot() // what is changed from now on is touched; what was before is counted already
	t.seq.mu.Unlock()
	iter, err := snapshot.NewIter(&pebble.IterOptions{
		LowerBound: []byte{byte(tableRetained)}, UpperBound: []byte{byte(tableRetained) + 1},
	})
	if err != nil {
		return errors.Join(err, snapshot.Close())
	}
	var hashes []uint64
	for ok := iter.First(); ok && ctx.Err() == nil; ok = iter.Next() {
		hashes = append(hashes, maphash.Bytes(t.retained.seed, iter.Key()[1:]))
		if len(hashes) == 1024 {
			t.addRetained(hashes)
			hashes = hashes[:0]
		}
	}
	t.addRetained(hashes)
	t.seq.mu.Lock()
	t.retained.touched = nil
	t.seq.mu.Unlock()
	return errors.Join(ctx.Err(), iter.Error(), iter.Close(), snapshot.Close())
}

func (t *tender) addRetained(hashes []uint64) {
	t.seq.mu.Lock()
	defer t.seq.mu.Unlock()
	for _, hash := range hashes {
		if _, is := t.retained.touched[hash]; !is {
			t.retained.addLocked(hash)
		}
	}
}
