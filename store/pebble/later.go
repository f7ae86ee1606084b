package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/broker/sessions"
)

// What is kept for later: wills, delayed messages, shared groups, and when the process last lived.

func (st sessionStore) PutWill(ctx context.Context, w sessions.Will) (sessions.Commit, error) {
	row := encode(willRowOf(w))
	return st.join(ctx, func(b *pebble.Batch) { put(b, sessionKey(tableWills, w.Key), row) })
}

func (st sessionStore) DropWill(ctx context.Context, k sessions.Key) (sessions.Commit, error) {
	return st.join(ctx, func(b *pebble.Batch) { remove(b, sessionKey(tableWills, k)) })
}

func (st sessionStore) Wills(ctx context.Context, after sessions.Key, limit int) ([]sessions.Will, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	if err := s.seq.show(ctx); err != nil {
		return nil, err
	}
	from := []byte{byte(tableWills)}
	to := prefixEnd(from)
	if after != (sessions.Key{}) {
		from = append(sessionKey(tableWills, after), 0)
	}
	var out []sessions.Will
	err := s.scan(from, to, "wills", func(key, value []byte) (bool, error) {
		k, err := parseSessionKey(key)
		if err != nil {
			return false, err
		}
		var row willRow
		if err := decode("will", value, &row); err != nil {
			return false, err
		}
		out = append(out, row.will(k))
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

func (st sessionStore) Delayed(
	ctx context.Context, now time.Time, limit int,
) (due []sessions.Delayed, next time.Time, err error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, time.Time{}, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return nil, time.Time{}, err
	}
	from := []byte{byte(tableDelayed)}
	err = s.scan(from, prefixEnd(from), "delayed messages", func(key, value []byte) (bool, error) {
		at, pos, err := parseDelayedKey(key)
		if err != nil {
			return false, err
		}
		if at > now.UnixMilli() || len(due) >= limit {
			next = time.UnixMilli(at).UTC()
			return false, nil
		}
		c := cutter{row: value}
		stamp := c.stamp()
		if c.bad {
			return false, fmt.Errorf("delayed message: %w", ErrDamaged)
		}
		m, err := parseContent(c.rest(), stamp)
		due = append(due, sessions.Delayed{Due: time.UnixMilli(at).UTC(), Pos: pos, Message: m})
		return true, err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return due, next, s.seq.settled(ctx)
}

// DelayedCount is how many delayed messages there are.
func (s *Store) DelayedCount() int64 { return s.delayed.Load() }

// countDelayed counts them at the start.
func (s *Store) countDelayed() error {
	from := []byte{byte(tableDelayed)}
	return s.scan(from, prefixEnd(from), "delayed messages", func(_, _ []byte) (bool, error) {
		s.delayed.Add(1)
		return true, nil
	})
}

func (st sessionStore) Groups(ctx context.Context) (map[string]sessions.Number, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return nil, err
	}
	out := map[string]sessions.Number{}
	from := []byte{byte(tableGroups)}
	err := s.scan(from, prefixEnd(from), "groups", func(key, value []byte) (bool, error) {
		name, _, err := cutString(key[1:])
		if err != nil || len(value) != 4 {
			return false, errors.Join(err, errKey)
		}
		out[name] = sessions.Number(binary.BigEndian.Uint32(value))
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

func (st sessionStore) SaveGroup(ctx context.Context, name string, n sessions.Number) (sessions.Commit, error) {
	return st.join(ctx, func(b *pebble.Batch) {
		put(b, key1(tableGroups, name), binary.BigEndian.AppendUint32(nil, uint32(n)))
	})
}

func (st sessionStore) DropGroup(ctx context.Context, name string, n sessions.Number) (sessions.Commit, error) {
	return st.writeDrop(ctx, &n, func(b *pebble.Batch) error {
		remove(b, key1(tableGroups, name))
		return st.dropQueue(b, n)
	})
}

func (st sessionStore) Beat(ctx context.Context, now time.Time) error {
	_, err := st.join(ctx, func(b *pebble.Batch) {
		put(b, []byte{byte(tableBeat)}, binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli())))
	})
	return err
}

func (st sessionStore) LastBeat(ctx context.Context) (time.Time, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return time.Time{}, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return time.Time{}, err
	}
	value, closer, err := s.db.Get([]byte{byte(tableBeat)})
	if errors.Is(err, pebble.ErrNotFound) {
		return time.Time{}, s.seq.settled(ctx)
	}
	if err != nil {
		return time.Time{}, unavailable("read beat", err)
	}
	n, err := cutNumber(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return time.Time{}, unavailable("read beat", err)
	}
	return time.UnixMilli(int64(n)).UTC(), s.seq.settled(ctx)
}
